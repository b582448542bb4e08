//! Messages to encrypted stanzas.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::omemo::xml::{Element as Tree, Envelope};
use ::omemo::{DeviceId, Encrypted, MessageBuilder, Version};
use sha2::{Digest as _, Sha256};

use super::device::Device;
use super::element::{from_omemo, to_omemo};
use super::error::OmemoError;
use super::files;
use super::left_out::{LeftOut, LeftOutReason};
use super::options::EncryptionMode;
use super::pep::VERSIONS;
use super::prepare::{Prepared, Readers};
use super::report::{EncryptedFor, EncryptionReport};
use super::server::Server;
use super::store::{Kept, SessionEntry, State};
use super::system::{now, rng};
use crate::connect::Connector;
use crate::error::XmppError;
use crate::id;
use crate::jid::Jid;
use crate::message::{Attachment, Confirm, Note, Outgoing, Target};
use crate::ns;
use crate::parts::parts_of;
use crate::stanza::{self, Part};
use crate::upload;
use crate::xml::Element;

/// Addresses of uploaded files.
type Links = Vec<(Arc<Attachment>, String)>;

/// The stanzas of each message: encrypted, or in clear text where that is allowed.
///
/// The state is saved before this returns, so that no message key is used twice.
pub(crate) async fn encrypt(
    device: &Device,
    server: &mut impl Server,
    connector: &Connector,
    messages: &[Outgoing],
) -> Vec<Result<Vec<Part>, XmppError>> {
    let targets: Vec<Target> = messages.iter().map(|message| message.target.clone()).collect();
    let prepared = match device.prepare(server, &targets).await {
        Ok(prepared) => Arc::new(prepared),
        Err(error) => return device.without_keys(server, connector, messages, error).await,
    };
    let kept = Arc::<[Outgoing]>::from(messages);
    let checked = {
        let (prepared, kept) = (prepared.clone(), kept.clone());
        device
            .change(move |this, state| Ok(this.check_all(state, &prepared, &kept)))
            .await
    };
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => return vec![Err(error.into()); messages.len()],
    };
    let mut plans = Vec::new();
    for (message, checked) in messages.iter().zip(checked) {
        plans.push(match checked {
            Ok(()) => device.plan_encrypted(server, connector, message).await,
            Err(hindrance) => device.plan_clear(server, connector, message, hindrance).await,
        });
    }
    let result = device
        .change(move |this, state| {
            let parts = plans.into_iter().zip(kept.iter());
            Ok(parts
                .map(|(plan, message)| this.carry_out(state, &prepared, message, plan))
                .collect::<Vec<_>>())
        })
        .await;
    match result {
        Ok(parts) => parts,
        Err(error) => vec![Err(error.into()); messages.len()],
    }
}

/// The stanzas of each message without asking anybody, if everything is known that they need.
pub(crate) async fn encrypt_at_once(
    device: &Device,
    messages: &[Outgoing],
) -> Option<Vec<Result<Vec<Part>, XmppError>>> {
    let mut prepared = Prepared::default();
    for message in messages {
        let Target::User(jid) = &message.target else {
            // Members of a room are asked for each time.
            return None;
        };
        if !message.content.attachments.is_empty() {
            return None;
        }
        let readers = Readers {
            people: vec![jid.to_bare()],
            room: None,
        };
        prepared.readers.insert(jid.to_bare().to_string(), Ok(readers));
    }
    let messages = messages.to_vec();
    let parts = device.change(move |this, state| {
        if !this.knows_enough(state, &prepared) {
            return Ok(None);
        }
        let all = this.check_all(state, &prepared, &messages);
        if all.iter().any(Result::is_err) {
            return Ok(None);
        }
        let parts = messages.iter().map(|message| {
            let plan = EncryptionPlan::Encrypt(Vec::new());
            this.carry_out(state, &prepared, message, plan)
        });
        Ok(Some(parts.collect()))
    });
    // Errors in the state are reported after the login.
    parts.await.ok().flatten()
}

/// The next step for a message.
enum EncryptionPlan {
    /// Encrypt its text, and these links.
    Encrypt(Links),
    /// Send its stanzas in clear text.
    Clear(Vec<Part>),
    Fail(XmppError),
}

/// The reason why a message is not encrypted.
#[derive(Clone)]
struct Hindrance {
    error: OmemoError,
    /// It is sent in clear text then.
    in_clear: bool,
}

/// Content to encrypt.
struct PlainContent {
    body: String,
    subject: String,
    unstyled: bool,
    replaces: Option<String>,
    receipt: bool,
}

impl Device {
    /// Returns true if a message that cannot be encrypted for this reason is sent in clear text.
    pub(super) fn may_be_clear(&self, state: &State, error: &OmemoError) -> bool {
        let is_without_omemo = match error {
            OmemoError::NoKeys { .. }
            | OmemoError::RoomHidesAddresses { .. }
            | OmemoError::RoomOpen { .. }
            | OmemoError::RoomListsRefused { .. }
            | OmemoError::NotEncryptable { .. } => true,
            // A server that took keys before must not turn encryption off by refusing them.
            OmemoError::PublishRefused { .. } => error.is_permanent() && state.keys.is_empty(),
            // Members whose keys are distrusted, hidden or broken are not members without OMEMO.
            OmemoError::RoomWithoutKeys { people, .. } => {
                people.iter().all(|left| left.reason == LeftOutReason::NoKeys)
            }
            _ => false,
        };
        self.omemo.mode == EncryptionMode::Auto && is_without_omemo
    }

    /// The keys could not be prepared at all.
    async fn without_keys(
        &self,
        server: &mut impl Server,
        connector: &Connector,
        messages: &[Outgoing],
        error: XmppError,
    ) -> Vec<Result<Vec<Part>, XmppError>> {
        let XmppError::Encryption(cause) = &error else {
            return vec![Err(error); messages.len()];
        };
        let cause = (**cause).clone();
        let judged = self
            .change(move |this, state| {
                let in_clear = this.may_be_clear(state, &cause);
                Ok(Hindrance {
                    error: cause,
                    in_clear,
                })
            })
            .await;
        let hindrance = match judged {
            Ok(hindrance) => hindrance,
            Err(error) => return vec![Err(error.into()); messages.len()],
        };
        let mut all = Vec::new();
        for message in messages {
            let plan = self
                .plan_clear(server, connector, message, hindrance.clone())
                .await;
            all.push(match plan {
                EncryptionPlan::Clear(parts) => Ok(parts),
                EncryptionPlan::Encrypt(_) => Err(error.clone()),
                EncryptionPlan::Fail(error) => Err(error),
            });
        }
        all
    }

    async fn plan_encrypted(
        &self,
        server: &mut impl Server,
        connector: &Connector,
        message: &Outgoing,
    ) -> EncryptionPlan {
        if message.content.attachments.is_empty() {
            return EncryptionPlan::Encrypt(Vec::new());
        }
        match files::upload(server, connector, &message.content.attachments).await {
            Ok(links) => EncryptionPlan::Encrypt(links),
            Err(error) => EncryptionPlan::Fail(error),
        }
    }

    async fn plan_clear(
        &self,
        server: &mut impl Server,
        connector: &Connector,
        message: &Outgoing,
        hindrance: Hindrance,
    ) -> EncryptionPlan {
        if !hindrance.in_clear {
            return EncryptionPlan::Fail(hindrance.error.into());
        }
        let mut links = Vec::new();
        if !message.content.attachments.is_empty() {
            match upload::all(server, connector, &message.content.attachments).await {
                Ok(all) => links = all,
                Err(error) => return EncryptionPlan::Fail(error),
            }
        }
        match parts_of(message, &links) {
            Ok(mut parts) => {
                if let Some(first) = parts.first_mut() {
                    first.notes.push(Note::NotEncrypted(Box::new(hindrance.error)));
                }
                EncryptionPlan::Clear(parts)
            }
            Err(error) => EncryptionPlan::Fail(error),
        }
    }

    fn check_all(
        &self,
        state: &State,
        prepared: &Prepared,
        messages: &[Outgoing],
    ) -> Vec<Result<(), Hindrance>> {
        messages
            .iter()
            .map(|message| self.check(state, prepared, message))
            .collect()
    }

    fn check(&self, state: &State, prepared: &Prepared, message: &Outgoing) -> Result<(), Hindrance> {
        let hindrance = |error: OmemoError| {
            let in_clear = self.may_be_clear(state, &error);
            Hindrance { error, in_clear }
        };
        if only_topic(message) {
            let what = "the topic of a room";
            return Err(hindrance(OmemoError::NotEncryptable { what }));
        }
        if message.about.is_some() || message.file.is_some() || message.bridge.is_some() {
            let what = "a message that is about another one";
            let mut hindrance = hindrance(OmemoError::NotEncryptable { what });
            // Nobody with known keys gets a text in clear. A reaction or a retraction has none.
            hindrance.in_clear &= !(has_text(message) && knows_reader(state, prepared, &message.target));
            return Err(hindrance);
        }
        match self.survey(state, prepared, &message.target) {
            Ok(_) => Ok(()),
            Err(error) => Err(hindrance(error)),
        }
    }

    fn carry_out(
        &self,
        state: &mut State,
        prepared: &Prepared,
        message: &Outgoing,
        plan: EncryptionPlan,
    ) -> Result<Vec<Part>, XmppError> {
        let links = match plan {
            EncryptionPlan::Clear(parts) => return Ok(parts),
            EncryptionPlan::Fail(error) => return Err(error),
            EncryptionPlan::Encrypt(links) => links,
        };
        let content = &message.content;
        let asked = message.asked();
        let receipt = asked == Confirm::Receipt && matches!(message.target, Target::User(_));
        let texts = content.plain_on_wire();
        let mut own_id = message.id.clone();
        let mut parts = Vec::new();
        let has_text = !texts.body.is_empty() || !texts.subject.is_empty();
        if !has_text && links.is_empty() {
            return Err(XmppError::Empty);
        }
        if has_text {
            let id = own_id.take().unwrap_or_else(id::uuid);
            let plain = PlainContent {
                body: texts.body,
                subject: texts.subject,
                unstyled: content.unstyled,
                replaces: message.replaces.clone(),
                receipt,
            };
            let mut part = self.seal(state, prepared, message, asked, id, &plain)?;
            if texts.replaced > 0 {
                part.notes.push(Note::CharactersReplaced(texts.replaced));
            }
            parts.push(part);
        }
        for (number, (_, link)) in links.into_iter().enumerate() {
            let of_message = message.id.as_ref().map(|id| format!("{id}.{number}"));
            let id = own_id.take().or(of_message).unwrap_or_else(id::uuid);
            let plain = PlainContent {
                body: link,
                subject: String::new(),
                unstyled: false,
                replaces: None,
                receipt,
            };
            parts.push(self.seal(state, prepared, message, asked, id, &plain)?);
        }
        for part in &mut parts {
            part.repeat_since = message.repeat_since;
        }
        Ok(parts)
    }

    /// Encrypts one stanza.
    fn seal(
        &self,
        state: &mut State,
        prepared: &Prepared,
        message: &Outgoing,
        asked: Confirm,
        id: String,
        plain: &PlainContent,
    ) -> Result<Part, XmppError> {
        let name = format!("{} {id}", message.target.address());
        let digest = plain.digest();
        let earlier = state
            .stanzas
            .iter()
            .find(|kept| kept.name == name && kept.digest == digest);
        let repeated = match earlier {
            Some(kept) => self.repeat(state, prepared, &message.target, kept)?,
            None => None,
        };
        let (elements, report) = if let Some(repeated) = repeated {
            repeated
        } else {
            let (elements, report) = self.seal_anew(state, prepared, &message.target, plain)?;
            if message.id.is_some() {
                let xml = elements
                    .iter()
                    .map(|element| to_omemo(element).to_xml())
                    .collect();
                let at = now();
                state.stanzas.push_back(Kept {
                    name,
                    digest,
                    at,
                    xml,
                });
            }
            (elements, report)
        };
        let mut part = stanza::sealed_part(
            &message.target,
            &message.content,
            asked,
            id,
            plain.replaces.as_deref(),
            elements,
        );
        stanza::fits(part.xml.len(), None)?;
        part.notes.push(Note::Encrypted(Box::new(report)));
        Ok(part)
    }

    /// Returns a kept stanza once more, without the keys of devices that may not read it any more: they were distrusted or
    /// removed meanwhile. `None` if no key is left.
    fn repeat(
        &self,
        state: &State,
        prepared: &Prepared,
        target: &Target,
        kept: &Kept,
    ) -> Result<Option<(Vec<Element>, EncryptionReport)>, OmemoError> {
        let survey = self.survey(state, prepared, target)?;
        // The older version has no accounts in its keys, so ids decide.
        let usable: BTreeSet<DeviceId> = survey.usable.iter().map(|address| address.device).collect();
        let own = self.survey_person(state, prepared, &self.own)?;
        let mut others = survey.left_out.iter().chain(&own.left_out);
        if others.any(|left| {
            let id = left.device.and_then(DeviceId::new);
            id.is_some_and(|id| usable.contains(&id))
        }) {
            // Two devices share an id, and only one of them may read: their keys cannot be told apart.
            return Ok(None);
        }
        let mut elements = Vec::new();
        for xml in &kept.xml {
            let mut encrypted = Encrypted::from_element(&Tree::parse(xml)?)?;
            encrypted.keys.retain(|key| match &key.jid {
                Some(jid) => survey
                    .usable
                    .iter()
                    .any(|address| address.jid == *jid && address.device == key.device),
                None => usable.contains(&key.device),
            });
            if !encrypted.keys.is_empty() {
                elements.push(from_omemo(&encrypted.to_element()));
            }
        }
        let report = EncryptionReport {
            repeated: true,
            left_out: survey.left_out,
            ..EncryptionReport::default()
        };
        Ok((!elements.is_empty()).then_some((elements, report)))
    }

    fn seal_anew(
        &self,
        state: &mut State,
        prepared: &Prepared,
        target: &Target,
        plain: &PlainContent,
    ) -> Result<(Vec<Element>, EncryptionReport), OmemoError> {
        let survey = self.survey(state, prepared, target)?;
        let device = state.device()?;
        let now = now();
        let mut elements = Vec::new();
        state.told(&survey.new_keys, now);
        let mut report = EncryptionReport {
            left_out: survey.left_out,
            new_keys: survey.new_keys,
            ..EncryptionReport::default()
        };
        for version in VERSIONS {
            let mut readers = survey
                .usable
                .iter()
                .filter(|address| address.version == version)
                .peekable();
            if readers.peek().is_none() {
                continue;
            }
            let content = match version {
                Version::Axolotl => plain.text().into_bytes(),
                Version::Omemo2 => self.envelope(target, plain).to_bytes(&mut rng()).to_vec(),
            };
            let mut builder = MessageBuilder::new(version, device, &content, &mut rng())?;
            for address in readers {
                let Some(entry) = state.sessions.get(address) else {
                    continue;
                };
                let mut session = entry.session()?;
                let Ok(jid) = address.jid.parse::<Jid>() else {
                    continue;
                };
                if builder.add(&address.jid, address.device, &mut session).is_err() {
                    report.left_out.push(LeftOut {
                        jid,
                        device: Some(address.device.get()),
                        reason: LeftOutReason::TooMany,
                    });
                    continue;
                }
                state
                    .sessions
                    .insert(address.clone(), SessionEntry::of(&session, now));
                report.devices.push(EncryptedFor {
                    own: jid == self.own,
                    jid,
                    device: address.device.get(),
                    namespace: version.namespace(),
                });
            }
            elements.push(from_omemo(&builder.finish().to_element()));
        }
        Ok((elements, report))
    }

    fn envelope(&self, target: &Target, plain: &PlainContent) -> Envelope {
        let mut envelope = Envelope::text(self.own.to_string(), plain.text());
        if let Target::Room(room) = target {
            envelope.to = Some(room.room.to_bare().to_string());
        }
        if let Some(replaces) = &plain.replaces {
            let element = Tree::new("replace", ns::CORRECT).with_attribute("id", replaces);
            envelope.content.push(element);
        }
        if plain.receipt {
            envelope.content.push(Tree::new("request", ns::RECEIPTS));
        }
        if plain.unstyled {
            envelope.content.push(Tree::new("unstyled", ns::STYLING));
        }
        envelope
    }
}

fn has_text(message: &Outgoing) -> bool {
    let content = &message.content;
    message.file.is_some()
        || !content.body.is_empty()
        || !content.attachments.is_empty()
        || content.subject.as_deref().is_some_and(|text| !text.is_empty())
}

/// Returns true if keys of one of the readers are known.
fn knows_reader(state: &State, prepared: &Prepared, target: &Target) -> bool {
    let readers = prepared.readers.get(&target.address().to_bare().to_string());
    readers
        .into_iter()
        .flatten()
        .flat_map(|readers| &readers.people)
        .any(|jid| state.keys_of(&jid.to_string()).next().is_some())
}

/// A subject without body changes the topic of a room.
fn only_topic(message: &Outgoing) -> bool {
    let content = &message.content;
    matches!(message.target, Target::Room(_))
        && content.body.is_empty()
        && content.attachments.is_empty()
        && content.subject.as_deref().is_some_and(|text| !text.is_empty())
}

impl PlainContent {
    /// The text that people read. Nothing but it is encrypted in the older version, so the subject is its first line.
    fn text(&self) -> String {
        match (self.subject.is_empty(), self.body.is_empty()) {
            (true, _) => self.body.clone(),
            (false, true) => self.subject.clone(),
            (false, false) => format!("{}\n{}", self.subject, self.body),
        }
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [
            self.subject.as_str(),
            &self.body,
            self.replaces.as_deref().unwrap_or_default(),
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}
