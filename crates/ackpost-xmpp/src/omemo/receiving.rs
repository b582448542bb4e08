//! Decryption of stanzas, and the work that follows.

use ::omemo::xml::Envelope;
use ::omemo::{Decrypted, DeviceList, Encrypted, Error, IdentityKey, Session, Version};

use super::device::Device;
use super::element::{from_omemo, to_omemo};
use super::error::OmemoError;
use super::left_out::LeftOutReason;
use super::pep::VERSIONS;
use super::report::NewKey;
use super::store::{Address, SessionEntry, State, ids};
use super::system::{now, rng};
use super::trust::Trust;
use super::trust_rules::is_of_another;
use crate::jid::Jid;
use crate::ns;
use crate::session::event::Encryption;
use crate::xml::Element;

/// Shortest time between two restarts of a session without a person's command, in seconds.
const REPAIR_EVERY: u64 = 24 * 3600;
/// Maximum number of sessions with one account that are started again in that time.
const REPAIRS_OF_ONE_MAX: usize = 8;
/// Elements that belong inside an envelope. Everything else in there comes from a server and is dropped.
const INSIDE: [(&str, &str); 11] = [
    ("body", ns::CLIENT),
    ("subject", ns::CLIENT),
    ("thread", ns::CLIENT),
    ("x", ns::OOB),
    ("replace", ns::CORRECT),
    ("request", ns::RECEIPTS),
    ("received", ns::RECEIPTS),
    ("reactions", ns::REACTIONS),
    ("unstyled", ns::STYLING),
    ("reply", ns::REPLY),
    ("fallback", ns::FALLBACK),
];
/// Namespaces of the elements that belong beside an envelope (XEP-0420, "Outside"). Anything else there may have been added
/// to change the meaning of the content.
const BESIDE: [&str; 5] = [ns::SID, ns::HINTS, ns::DELAY, ns::MUC_USER, ns::OCCUPANT_ID];

/// Returns true if a stanza is encrypted in a known version.
pub(crate) fn encrypted_of(message: &Element) -> bool {
    VERSIONS
        .iter()
        .any(|version| message.find("encrypted", version.namespace()).is_some())
}

/// An encrypted message with its real sender.
#[derive(Debug)]
pub(crate) struct EncryptedMessage {
    /// The newer version first.
    parts: Vec<Encrypted>,
    /// Bare address.
    sender: Jid,
    room: Option<Jid>,
    pub(super) from_archive: bool,
}

/// The result of decrypting a message.
#[derive(Debug)]
pub(crate) enum Opened {
    /// There is nothing to show: it is empty, came before, or is our own.
    Quiet,
    /// It has content.
    Content(Box<DecryptedContent>),
    /// It could not be read.
    Failed {
        /// The device that sent it.
        device: u32,
        error: OmemoError,
        /// The session will be started again.
        repair: bool,
    },
}

/// The content of a message.
#[derive(Debug)]
pub(crate) struct DecryptedContent {
    pub(crate) elements: Vec<Element>,
    pub(crate) encryption: Encryption,
    pub(crate) new_key: Option<NewKey>,
    version: Version,
}

impl EncryptedMessage {
    /// Reads the encrypted elements of a message. `sender` is the real bare address, `room` that of the room.
    pub(crate) fn of(message: &Element, sender: Jid, room: Option<Jid>) -> Option<Self> {
        let mut parts: Vec<Encrypted> = Vec::new();
        for version in VERSIONS.into_iter().rev() {
            if let Some(element) = message.find("encrypted", version.namespace())
                && let Ok(encrypted) = Encrypted::from_element(&to_omemo(element))
            {
                parts.push(encrypted);
            }
        }
        (!parts.is_empty()).then_some(Self {
            parts,
            sender,
            room,
            from_archive: false,
        })
    }

    /// Marks a message that was read from an archive: its session may be another one by now.
    pub(crate) fn archived(mut self, archived: bool) -> Self {
        self.from_archive = archived;
        self
    }

    /// Keeps only messages without text.
    pub(super) fn keep_empty(&mut self) {
        self.parts.retain(|part| part.payload.is_none());
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Device {
    /// Decrypts a message and saves what has changed.
    pub(crate) async fn open(&self, encrypted: EncryptedMessage) -> Result<Opened, OmemoError> {
        self.change(move |this, state| {
            let opened = open(this, state, &encrypted)?;
            if let Opened::Content(content) = &opened {
                // It becomes an event. Keys of messages without content wait for the next one, or for an outcome.
                state.told(content.new_key.as_slice(), now());
            }
            Ok(opened)
        })
        .await
    }
}

impl Device {
    /// Takes a device list that an account announced. Returns true if the own list lacks this device and is to be repaired;
    /// without `may_put_back`, that waits for the daily check.
    pub(crate) async fn take_list(&self, of: Jid, list: DeviceList, may_put_back: bool) -> bool {
        let result = self.change(move |this, state| {
            let name = of.to_string();
            // Lists of strangers are read when a message goes there, and tell strangers from others.
            let known = of == this.own || state.lists.contains_key(&name);
            let lost = of == this.own && state.own.as_ref().is_some_and(|own| !list.contains(own.device));
            if lost && may_put_back {
                // Another device wrote the list without having read it.
                state.published = 0;
            } else if known {
                state.set_list(&name, list.version(), ids(&list), now());
            }
            Ok(lost && may_put_back)
        });
        result.await.unwrap_or(false)
    }
}

/// Decrypts a message. A failure of one message is not a failure of the transaction.
pub(super) fn open(
    this: &Device,
    state: &mut State,
    encrypted: &EncryptedMessage,
) -> Result<Opened, OmemoError> {
    let own = this.own.to_string();
    let device = state.device()?;
    let is_for_us = |part: &&Encrypted| part.keys_for(&own, device).next().is_some();
    let mut parts: Vec<&Encrypted> = encrypted.parts.iter().filter(is_for_us).collect();
    if parts.is_empty() {
        parts.extend(encrypted.parts.first());
    }
    // A text in both versions is one message: the first part that can be read is shown, and the other one is used up, so
    // that it cannot be sent again by itself.
    let mut shown: Option<Opened> = None;
    for part in parts {
        if part.sender == device && encrypted.sender == this.own {
            return Ok(Opened::Quiet);
        }
        let opened = open_part(this, state, part, encrypted);
        let is_better = match &shown {
            None => true,
            Some(Opened::Failed { .. }) => !matches!(opened, Opened::Failed { .. }),
            Some(Opened::Quiet | Opened::Content(_)) => false,
        };
        if is_better {
            shown = Some(opened);
        }
    }
    Ok(shown.unwrap_or(Opened::Quiet))
}

/// Decrypts a message in one version.
fn open_part(this: &Device, state: &mut State, part: &Encrypted, encrypted: &EncryptedMessage) -> Opened {
    let address = Address {
        jid: encrypted.sender.to_string(),
        version: part.version,
        device: part.sender,
    };
    let failed = |error: OmemoError, repair| Opened::Failed {
        device: part.sender.get(),
        error,
        repair,
    };
    let decrypted = match decrypt(this, state, &address, part, encrypted) {
        Ok(decrypted) => decrypted,
        Err(OmemoError::Protocol(Error::Duplicate)) => return Opened::Quiet,
        Err(error) => {
            let repair = needs_repair(&error, encrypted.from_archive) && repair(state, &address);
            return failed(error, repair);
        }
    };
    let (elements, key, new_key) = decrypted;
    let Some(elements) = elements else {
        return Opened::Quiet;
    };
    Opened::Content(Box::new(DecryptedContent {
        elements,
        encryption: Encryption {
            namespace: part.version.namespace(),
            device: part.sender.get(),
            fingerprint: key.fingerprint(),
            verified: state.trust_of(&address.jid, &key) == Some(Trust::Verified),
        },
        new_key,
        version: part.version,
    }))
}

fn read_envelope(bytes: &[u8], own: &str, encrypted: &EncryptedMessage) -> Result<Vec<Element>, Error> {
    let envelope = Envelope::from_bytes(bytes)?;
    let room = encrypted.room.as_ref().map(ToString::to_string);
    let sender = encrypted.sender.to_string();
    envelope.check(&sender, room.as_deref())?;
    // A server could pass a message to a room off as one to this account alone. Own copies are for somebody else.
    let is_for_another = envelope.to.as_deref().is_some_and(|to| to != own);
    if room.is_none() && sender != own && is_for_another {
        return Err(Error::Malformed("envelope: it names another recipient"));
    }
    Ok(envelope
        .content
        .iter()
        .filter(|element| INSIDE.iter().any(|(name, namespace)| element.is(name, namespace)))
        .map(from_omemo)
        .collect())
}

/// Returns the content of a message; `None` if it is empty.
fn elements_of(
    message: &Decrypted,
    version: Version,
    own: &str,
    encrypted: &EncryptedMessage,
) -> Result<Option<Vec<Element>>, Error> {
    let Some(bytes) = &message.content else {
        return Ok(None);
    };
    match version {
        Version::Axolotl => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            Ok(Some(vec![Element::new("body", ns::CLIENT).text(text)]))
        }
        Version::Omemo2 => read_envelope(bytes, own, encrypted).map(Some),
    }
}

type DecryptedParts = (Option<Vec<Element>>, IdentityKey, Option<NewKey>);

/// Decrypts with the session of the device, and stores the changes. A message that fails changes nothing: a message
/// that somebody forwarded under another address must not use up the key exchange of its author.
fn decrypt(
    this: &Device,
    state: &mut State,
    address: &Address,
    part: &Encrypted,
    encrypted: &EncryptedMessage,
) -> Result<DecryptedParts, OmemoError> {
    let own = this.own.to_string();
    let rules = this.trust_rules();
    let mut account = state.account()?;
    let mut slot = state
        .sessions
        .get(address)
        .map(SessionEntry::session)
        .transpose()?;
    let claimed = part
        .keys_for(&own, account.device_id())
        .find_map(|key| key.identity_key(part.version).ok().flatten())
        .or_else(|| slot.as_ref().map(|session| *session.identity_key()));
    if let Some(key) = &claimed
        && let Some(reason) = rules.objection(state, &address.jid, key)
    {
        return Err(OmemoError::Untrusted {
            fingerprint: key.fingerprint(),
            reason,
        });
    }
    let mut result = account.decrypt(part, &own, &mut slot, &mut rng());
    let mut known = slot.is_some();
    // The key is acceptable, and not the one of the session: the device was set up anew.
    if matches!(result, Err(Error::IdentityChanged(_))) {
        let mut fresh: Option<Session> = None;
        result = account.decrypt(part, &own, &mut fresh, &mut rng());
        known = false;
        slot = fresh;
    }
    let message = match result {
        // There is no session in which the first copy of a duplicate could have come.
        Err(Error::Duplicate) if !known => return Err(OmemoError::ExchangeReused),
        result => result?,
    };
    let session = slot.ok_or(Error::NoSession)?;
    let now = now();
    let key = *session.identity_key();
    // A message may have several keys for this device; the one that fits decides.
    let of_another = is_of_another(state, &address.jid, &key).then_some(LeftOutReason::OtherAccount);
    if let Some(reason) = rules.objection(state, &address.jid, &key).or(of_another) {
        return Err(OmemoError::Untrusted {
            fingerprint: key.fingerprint(),
            reason,
        });
    }
    let elements = elements_of(&message, part.version, &own, encrypted)?;
    state
        .sessions
        .insert(address.clone(), SessionEntry::of(&session, now));
    state.repairs.remove(address);
    if message.new_session {
        state.set_account(&account);
        state.republish = true;
    }
    if message.answer_due {
        state.answers.insert(address.clone());
    }
    rules.note(state, &address.jid, &key);
    let new_key = state.untold(address, &key);
    Ok((elements, key, new_key))
}

/// Returns true if the failure shows that the session is lost. In an archive a message may be older than the session.
const fn needs_repair(error: &OmemoError, from_archive: bool) -> bool {
    match error {
        OmemoError::Protocol(Error::NoSession | Error::NotAuthentic | Error::TooFarAhead) => true,
        OmemoError::Protocol(Error::UnknownPreKey(_)) | OmemoError::ExchangeReused => !from_archive,
        _ => false,
    }
}

/// Stores that a session must be started again, at most once a day: a broken client would otherwise be answered for
/// ever. Returns true if it was stored.
fn repair(state: &mut State, address: &Address) -> bool {
    let now = now();
    let is_recent = |at: &u64| *at + REPAIR_EVERY > now;
    let of_one = state
        .repaired
        .iter()
        .filter(|(other, at)| other.jid == address.jid && is_recent(at))
        .count();
    if state.repaired.get(address).is_some_and(is_recent) || of_one >= REPAIRS_OF_ONE_MAX {
        return false;
    }
    state.repaired.insert(address.clone(), now);
    state.repairs.insert(address.clone());
    state.missing.remove(address);
    true
}

/// Returns the message as it would have come in clear text: the encrypted elements replace those that were beside them.
pub(crate) fn in_clear(message: &Element, content: &DecryptedContent) -> Element {
    let mut clear = message.clone();
    let newer = content.version == Version::Omemo2;
    clear.keep(|child| {
        if newer {
            return BESIDE.contains(&&*child.ns);
        }
        let encrypted = child.name == "encrypted" && Version::from_namespace(&child.ns).is_some();
        let sensitive = child.is("body", ns::CLIENT)
            || child.is("subject", ns::CLIENT)
            || child.is("thread", ns::CLIENT)
            || child.is("x", ns::OOB)
            || child.ns == ns::XHTML_IM
            || child.ns == ns::EME;
        // The older version encrypts nothing but the text: corrections and references stand beside it. A range of the
        // text that is not to be shown may cover a quotation, and no words of the author.
        let hides_words = child.is("fallback", ns::FALLBACK) && !covers_quotation(child, content);
        !(encrypted || sensitive || hides_words)
    });
    for element in &content.elements {
        clear.push(element.clone());
    }
    clear
}

/// Returns true if every range of a fallback covers whole lines at the start of the text that quote another message.
fn covers_quotation(fallback: &Element, content: &DecryptedContent) -> bool {
    let body = content
        .elements
        .iter()
        .find(|element| element.is("body", ns::CLIENT));
    let body = body.map(Element::content).unwrap_or_default();
    let mut ranges = fallback.find_all("body", ns::FALLBACK).peekable();
    ranges.peek().is_some()
        && ranges.all(|range| {
            let end = range.get("end").and_then(|end| end.parse::<usize>().ok());
            let Some(end) = end.filter(|_| range.get("start") == Some("0")) else {
                return false;
            };
            let quoted: String = body.chars().take(end).collect();
            let is_whole = quoted.ends_with('\n') || body[quoted.len()..].starts_with('\n') || quoted == body;
            is_whole
                && quoted
                    .lines()
                    .all(|line| line.starts_with('>') || line.is_empty())
        })
}
