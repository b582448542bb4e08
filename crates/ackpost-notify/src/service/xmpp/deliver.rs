//! Messages to people and rooms over XMPP.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackpost_xmpp::omemo::{EncryptionMode, Omemo};
use ackpost_xmpp::{
    Account, Attachment, ChannelBinding, ConfirmedBy, Content, Doubt, Jid, Mode as StreamMode, Note,
    Outgoing, Plain, RoomTarget, Target as StanzaTarget, Verify, XmppError,
};
use secrecy::ExposeSecret as _;

use crate::dispatch::delivery::{Attempt, Delivery, MessageId};
use crate::dispatch::pool::{ConnectionOptions, ConnectionPool, Party, fingerprint};
use crate::env::Guest;
use crate::message::Format;
use crate::outcome::{Confirmation, Lack, Outcome};
use crate::problem::Diagnostic;
use crate::render::Chunk;
use crate::service::access::{XmppParts, authorities};
use crate::service::common::CommonParams;

use super::memory::{Login, memory_for, omemo_state, remember_replaced, replaced};
use super::piece::{XmppDelivery, XmppPiece};
use super::pool::XmppPool;
use super::smaller::Smaller;
use super::url::{Confirm, Mode, OmemoMode, Recipient, ScramPlus, Xmpp};

impl Xmpp {
    /// The account, as a delivery uses it.
    pub(super) fn account(
        &self,
        common: &CommonParams,
        options: &ConnectionOptions,
        agent: &str,
    ) -> Result<Account, Diagnostic> {
        let account = self.account_in_clear(common, options, agent)?;
        Ok(match self.omemo_device(self.omemo, common, options)? {
            Some(device) => account.omemo(device),
            None => account,
        })
    }

    /// The account without OMEMO.
    fn account_in_clear(
        &self,
        common: &CommonParams,
        options: &ConnectionOptions,
        agent: &str,
    ) -> Result<Account, Diagnostic> {
        // Such a URL loads, as in the reference, but no server takes it: that needs no connection to know.
        if self.password.expose_secret().is_empty() {
            return Err(Diagnostic::error(
                "no password is given",
                "write xmpps://user:password@host, or name it with ?password_file=PATH or {env:NAME}",
            )
            .key("password"));
        }
        let jid: Jid = self.jid.parse().map_err(|error: ackpost_xmpp::JidError| {
            Diagnostic::error(
                format!("the login address is not a JID: {error}"),
                "check user and host",
            )
            .key("user")
        })?;
        // The host is there in the form of DNS, the address in Unicode.
        let foreign = Jid::new(None, &self.host, None).map_or(true, |host| host.domain() != jid.domain());
        let mut account = Account::new(jid, self.password.expose_secret().to_owned().into())
            .connect_timeout(common.connect_timeout())
            .answer_timeout(common.read_timeout())
            .channel_binding(match self.scramplus {
                ScramPlus::Yes => ChannelBinding::Auto,
                ScramPlus::No => ChannelBinding::Never,
                ScramPlus::Require => ChannelBinding::Require,
            })
            .plain(if self.plain {
                Plain::Anywhere
            } else {
                Plain::Protected
            })
            .roster(self.roster)
            .nick(self.nick.clone())
            .software(agent);
        if let Some(rule) = common.guest.and_then(Guest::address_rule) {
            account = account.address_rule(rule);
        }
        account = if let Some(path) = &self.ca_file {
            account.verify(Verify::Authorities(authorities(path)?.into()))
        } else if common.verify {
            account.verify(Verify::Platform)
        } else {
            account.verify(Verify::No)
        };
        let connect = self
            .connect_host
            .as_deref()
            .or(foreign.then_some(self.host.as_str()));
        if let Some(host) = connect {
            account = account.host(host.trim_start_matches('[').trim_end_matches(']'));
        } else if self.host.starts_with('[') {
            account = account.host(self.host.trim_start_matches('[').trim_end_matches(']'));
        }
        if let Some(port) = self.port {
            account = account.port(port);
        }
        let fixed_place = connect.is_some() || self.port.is_some();
        account = match self.mode {
            Mode::None => account.mode(StreamMode::None),
            Mode::Tls => account.mode(StreamMode::Tls),
            Mode::StartTls if self.mode_written || fixed_place => account.mode(StreamMode::StartTls),
            Mode::StartTls => account,
        };
        if self.fast || options.resident || self.keepalive {
            account = account.token_store(memory_for(&self.login(common), self.fast, options));
        }
        Ok(account)
    }

    /// The OMEMO device of the account, if its messages are to be encrypted.
    fn omemo_device(
        &self,
        wish: Option<OmemoMode>,
        common: &CommonParams,
        options: &ConnectionOptions,
    ) -> Result<Option<Omemo>, Diagnostic> {
        if wish == Some(OmemoMode::No) {
            return Ok(None);
        }
        let store = omemo_state(&self.login(common), self.bare_jid(), options).map_err(|error| {
            Diagnostic::error(
                format!("the key of the OMEMO state cannot be read: {error}"),
                "check the folder and its permissions",
            )
            .key("omemo")
        })?;
        let mode = match (wish, &store) {
            (None, Some(state)) if state.exists => EncryptionMode::Auto,
            (None, _) => return Ok(None),
            (Some(OmemoMode::Require), _) => EncryptionMode::Require,
            (Some(OmemoMode::RequireAll), _) => EncryptionMode::RequireAll,
            (Some(_), _) => EncryptionMode::Auto,
        };
        let Some(state) = store else {
            return Err(Diagnostic::error(
                "OMEMO keys cannot be kept: no state folder is known for this URL",
                "send without omemo=, or give the program a state folder",
            )
            .key("omemo"));
        };
        Ok(Some(Omemo::new(state.store).mode(mode).trust(self.trust)))
    }

    /// The account, its rooms and its people.
    pub(in crate::service) fn parts(
        &self,
        common: &CommonParams,
        options: &ConnectionOptions,
        agent: &str,
    ) -> Result<XmppParts, Diagnostic> {
        self.parts_of(self.account(common, options, agent)?)
    }

    /// Returns the parts with an OMEMO device, whatever the URL says.
    pub(in crate::service) fn omemo_parts(
        &self,
        common: &CommonParams,
        options: &ConnectionOptions,
        agent: &str,
    ) -> Result<XmppParts, Diagnostic> {
        let wish = match self.omemo {
            None | Some(OmemoMode::No) => OmemoMode::Auto,
            Some(wish) => wish,
        };
        let account = self.account_in_clear(common, options, agent)?;
        let device = self.omemo_device(Some(wish), common, options)?;
        self.parts_of(match device {
            Some(device) => account.omemo(device),
            None => account,
        })
    }

    fn parts_of(&self, account: Account) -> Result<XmppParts, Diagnostic> {
        let mut parts = XmppParts {
            account,
            rooms: Vec::new(),
            people: Vec::new(),
        };
        for recipient in &self.recipients {
            match self.stanza_target(recipient)? {
                StanzaTarget::Room(room) => parts.rooms.push(room),
                other => parts.people.push(other.address()),
            }
        }
        if self.recipients.is_empty() {
            parts.people.push(parts.account.jid().to_bare());
        }
        Ok(parts)
    }

    fn stanza_target(&self, recipient: &Recipient) -> Result<StanzaTarget, Diagnostic> {
        let jid: Jid = recipient.jid.parse().map_err(|error: ackpost_xmpp::JidError| {
            Diagnostic::error(
                format!("`{}` is not a JID: {error}", recipient.jid),
                "check the target",
            )
            .key("to")
        })?;
        if !recipient.room {
            return Ok(StanzaTarget::User(jid));
        }
        let mut room = RoomTarget::new(jid);
        room.password = recipient.password.clone().or_else(|| self.room_password.clone());
        room.create = self.create;
        Ok(StanzaTarget::Room(room))
    }

    /// Returns everything that decides who logs in where, and whom the login trusts. The state of one login, such as a
    /// login token, is never used for another. The text holds the password and is only ever hashed with a key.
    fn login<'a>(&'a self, common: &CommonParams) -> Login<'a> {
        let text = format!(
            "{:?}",
            (
                &self.jid,
                (&self.host, self.port, &self.connect_host),
                (self.mode, self.mode_written, self.plain, self.scramplus),
                (common.verify, &self.ca_file),
                self.password.expose_secret(),
            )
        );
        Login {
            text: zeroize::Zeroizing::new(text),
            jid: &self.jid,
            host: &self.host,
            port: self.port,
            party: Party::of(common.guest),
        }
    }

    /// Returns a chunk as a message.
    pub(super) fn piece(&self, common: &CommonParams, chunk: &Chunk, id: &MessageId) -> XmppPiece {
        let body = body_of(common, chunk).into_owned();
        XmppPiece {
            id: id.id.clone(),
            sent_at_ms: id.sent_at_ms,
            // CR LF of the title merge is one line end in XML.
            body: body.replace("\r\n", "\n").replace('\r', "\n"),
            subject: Some(chunk.title.clone()).filter(|title| self.subject && !title.is_empty()),
            html: chunk.xhtml.clone(),
            unstyled: common.format == Format::Text,
        }
    }

    /// Hands the pieces of a delivery to the account's connection, in order, and waits for what becomes of each. Pieces
    /// that are larger than the server takes are cut once more, where the URL allows it.
    pub(super) async fn send(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &Delivery,
    ) -> Vec<Attempt> {
        let decoded = XmppDelivery::of(delivery);
        let delivery = match &decoded {
            Ok(decoded) => decoded,
            Err(problem) => return vec![refused(problem.clone()); delivery.pieces.len()],
        };
        let (mut attempts, missing) = match self.deliver(common, pool, delivery).await {
            Ok(delivered) => delivered,
            Err(problem) => return vec![refused(problem); delivery.pieces.len()],
        };
        if let Some(missing) = missing {
            self.send_without_files(common, pool, delivery, &mut attempts, &missing)
                .await;
        }
        self.remember(common, pool, delivery, &attempts);
        attempts
    }

    /// Returns the result of each piece, and the files that could not be uploaded.
    async fn deliver(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &XmppDelivery,
    ) -> Result<(Vec<Attempt>, Option<String>), Diagnostic> {
        let outcomes = self.hand_over(common, pool, delivery).await?;
        let mut missing = missing_files(&outcomes, delivery);
        let limit = outcomes.iter().find_map(too_large);
        let number = |(number, outcome)| too_large(outcome).map(|_| number);
        let numbers: Vec<usize> = outcomes.iter().enumerate().filter_map(number).collect();
        let mut attempts = attempts(outcomes, delivery);
        if let Some(limit) = limit
            && let Some(smaller) = Smaller::of(delivery, &numbers, limit, common.overflow)
            && let Ok(outcomes) = self.hand_over(common, pool, &smaller.delivery).await
        {
            missing = missing.or_else(|| missing_files(&outcomes, &smaller.delivery));
            smaller.put_back(self::attempts(outcomes, &smaller.delivery), &mut attempts);
        }
        Ok((attempts, missing))
    }

    async fn hand_over(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &XmppDelivery,
    ) -> Result<Vec<ackpost_xmpp::Outcome>, Diagnostic> {
        let messages = self.outgoing(common, pool, delivery)?;
        let account = || self.account(common, pool.options(), &pool.asset().app_id);
        // Pieces that may have arrived are looked for in the history of the room while it is entered. A kept session
        // has entered it already.
        let look = delivery.has_repeats() && delivery.target.room;
        let keep = (self.keepalive || pool.options().resident) && !look;
        let outcomes = pool
            .of_service(XmppPool::new)
            .accounts
            .send(
                Party::of(common.guest),
                &self.account_key(common),
                keep,
                account,
                messages,
            )
            .await?;
        let told = |outcome| told(outcome, common.guest);
        Ok(outcomes.into_iter().map(told).collect())
    }

    /// Sends what was not delivered again, without the files: a text is worth more than its attachment.
    async fn send_without_files(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &XmppDelivery,
        attempts: &mut [Attempt],
        missing: &str,
    ) {
        let open: Vec<usize> = (0..attempts.len())
            .filter(|n| !attempts[*n].outcome.is_taken() && !attempts[*n].may_have_arrived)
            .collect();
        let bare = XmppDelivery {
            pieces: open.iter().map(|n| delivery.pieces[*n].clone()).collect(),
            repeat: open.iter().map(|n| delivery.is_repeat(*n)).collect(),
            files: Arc::default(),
            ..delivery.clone()
        };
        let Ok((again, _)) = self.deliver(common, pool, &bare).await else {
            return;
        };
        for (n, mut attempt) in open.into_iter().zip(again) {
            if n == 0 {
                attempt.outcome = attempt.outcome.without_files(&[missing.to_owned()]);
            }
            attempts[n] = attempt;
        }
    }

    fn outgoing(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &XmppDelivery,
    ) -> Result<Vec<Outgoing>, Diagnostic> {
        let own = Recipient {
            jid: self.bare_jid().to_owned(),
            room: false,
            password: None,
        };
        let recipient = self.recipient(&delivery.target).unwrap_or(&own);
        let target = self.stanza_target(recipient)?;
        let kept = pool.of_service(XmppPool::new);
        let files: Vec<Arc<Attachment>> = delivery
            .files
            .iter()
            .map(|file| kept.file(file, pool.options().progress.as_ref()))
            .collect();
        let mut messages = Vec::with_capacity(delivery.pieces.len());
        for (n, piece) in delivery.pieces.iter().enumerate() {
            let content = Content {
                lang: Some(pool.asset().language.clone()).filter(|language| !language.is_empty()),
                unstyled: piece.unstyled && piece.html.is_none() && looks_styled(&piece.body),
                attachments: if n == 0 { files.clone() } else { Vec::new() },
                ..piece.content()
            };
            let mut message = Outgoing::new(target.clone(), content);
            message.id = Some(piece.id.clone());
            message.repeat_since = delivery
                .is_repeat(n)
                .then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(piece.sent_at_ms));
            message.confirm = self.confirm.map(|confirm| match confirm {
                Confirm::Sent => ackpost_xmpp::Confirm::Sent,
                Confirm::Server => ackpost_xmpp::Confirm::Server,
                Confirm::Room => ackpost_xmpp::Confirm::Room,
                Confirm::Receipt => ackpost_xmpp::Confirm::Receipt,
            });
            if n == 0
                && let Some(id) = &self.edit
            {
                message.replaces = Some(id.clone());
            } else if n == 0
                && let Some(key) = &self.replace
            {
                message.replaces = replaced(&self.login(common), &delivery.target.address, key, pool);
            }
            messages.push(message);
        }
        Ok(messages)
    }

    /// The first message under a key is the one that later ones replace.
    fn remember(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        delivery: &XmppDelivery,
        attempts: &[Attempt],
    ) {
        let (Some(key), Some(first)) = (&self.replace, attempts.first()) else {
            return;
        };
        if let Outcome::Delivered { id: Some(id), .. } = &first.outcome {
            // A correction names the first version of a message, never another correction.
            let id = self.edit.as_ref().unwrap_or(id);
            let (login, to) = (self.login(common), &delivery.target.address);
            if replaced(&login, to, key, pool).is_none() {
                remember_replaced(&login, to, key, id, pool);
            }
        }
    }

    /// URLs with the same key share a connection: everything that the login and the stream depend on.
    fn account_key(&self, common: &CommonParams) -> String {
        format!(
            "{:?}|{}|{}|{:?}|{:?}|{:?}|{}|{:?}|{}|{:?}|{:?}|{:?}|{}|{}|{}|{}|{:?}|{:?}|{}",
            common.guest,
            self.jid,
            self.host,
            self.port,
            self.connect_host,
            self.mode,
            self.mode_written,
            self.scramplus,
            common.verify,
            common.connect_timeout(),
            common.read_timeout(),
            self.ca_file,
            self.plain,
            self.roster,
            self.nick,
            self.fast,
            self.omemo,
            self.trust,
            fingerprint(self.password.expose_secret()),
        )
    }
}

/// The plain text of a chunk: Markdown becomes message styling (XEP-0393).
pub(super) fn body_of<'c>(common: &CommonParams, chunk: &'c Chunk) -> Cow<'c, str> {
    if common.format == Format::Markdown {
        ackpost_xmpp::styling_from_markdown(&chunk.body).into()
    } else {
        Cow::Borrowed(&chunk.body)
    }
}

/// The files of a delivery with text whose upload failed, and why.
fn missing_files(outcomes: &[ackpost_xmpp::Outcome], delivery: &XmppDelivery) -> Option<String> {
    let (Some(first), Some(outcome)) = (delivery.pieces.first(), outcomes.first()) else {
        return None;
    };
    let (ackpost_xmpp::Outcome::Refused(error) | ackpost_xmpp::Outcome::Deferred(error)) = outcome else {
        return None;
    };
    let is_upload = matches!(
        error,
        XmppError::NoUploadService { .. }
            | XmppError::UploadRefused { .. }
            | XmppError::UploadFailed { .. }
            | XmppError::AnswerTimeout {
                step: ackpost_xmpp::Step::Upload,
                ..
            }
    );
    if !is_upload || delivery.files.is_empty() || first.body.trim().is_empty() {
        return None;
    }
    let names: Vec<&str> = delivery.files.iter().map(|file| file.name.as_str()).collect();
    Some(format!("the attachment `{}`: {error}", names.join("`, `")))
}

/// A plain text in which a program that knows message styling (XEP-0393) would see some.
fn looks_styled(body: &str) -> bool {
    body.contains(['*', '_', '~', '`']) || body.lines().any(|line| line.starts_with('>'))
}

/// Takes the server's words out of an outcome of a URL that somebody else handed over.
fn told(outcome: ackpost_xmpp::Outcome, guest: Option<Guest>) -> ackpost_xmpp::Outcome {
    match outcome {
        ackpost_xmpp::Outcome::Refused(error) if guest.is_some() => {
            ackpost_xmpp::Outcome::Refused(error.without_answer())
        }
        ackpost_xmpp::Outcome::Deferred(error) if guest.is_some() => {
            ackpost_xmpp::Outcome::Deferred(error.without_answer())
        }
        outcome => outcome,
    }
}

/// The limit of the server, where a message is larger.
fn too_large(outcome: &ackpost_xmpp::Outcome) -> Option<usize> {
    match outcome.error() {
        Some(XmppError::TooLarge { limit, .. }) => Some(*limit),
        _ => None,
    }
}

/// Returns the result of each piece.
fn attempts(outcomes: Vec<ackpost_xmpp::Outcome>, delivery: &XmppDelivery) -> Vec<Attempt> {
    let ids = delivery.pieces.iter().map(|piece| piece.id.as_str());
    outcomes
        .into_iter()
        .zip(ids)
        .map(|(outcome, id)| attempt(outcome, id, delivery.target.room))
        .collect()
}

fn attempt(outcome: ackpost_xmpp::Outcome, id: &str, room: bool) -> Attempt {
    match outcome {
        ackpost_xmpp::Outcome::Delivered(proof) => Attempt {
            outcome: Outcome::Delivered {
                confirmed_by: match proof.confirmed_by {
                    ConfirmedBy::Sent => Confirmation::Sent,
                    ConfirmedBy::HandedOver => Confirmation::HandedOver,
                    ConfirmedBy::Room => Confirmation::Room,
                    ConfirmedBy::Receipt => Confirmation::Receipt,
                    _ => Confirmation::Server,
                },
                id: Some(proof.id),
            },
            notes: proof.notes.iter().map(ToString::to_string).collect(),
            may_have_arrived: false,
            came_back: false,
            unresolved: false,
            repeated: proof.notes.contains(&Note::RepeatedInDoubt),
        },
        // The server took it, or may have: it is not sent again.
        ackpost_xmpp::Outcome::Refused(error @ (XmppError::NoReceipt { .. } | XmppError::InDoubt { .. })) => {
            Attempt {
                repeated: matches!(
                    error,
                    XmppError::InDoubt {
                        why: Doubt::NoArchive,
                        ..
                    }
                ),
                ..partial(&error, id)
            }
        }
        ackpost_xmpp::Outcome::Refused(error @ XmppError::PartFailed { .. }) => partial(&error, id),
        // The archive holds all parts alike, so a repeat could not tell which of them came back.
        ackpost_xmpp::Outcome::Deferred(XmppError::PartFailed { part, parts, cause })
            if !room && cause.came_back() =>
        {
            partial(&XmppError::PartFailed { part, parts, cause }, id)
        }
        ackpost_xmpp::Outcome::Refused(error) => failed(&error, true, room),
        ackpost_xmpp::Outcome::Deferred(error) => failed(&error, false, room),
        _ => Attempt::new(Outcome::deferred("nothing is known about it", "send again")),
    }
}

/// The result of a piece that arrived, or may have, at least in part.
fn partial(error: &XmppError, id: &str) -> Attempt {
    Attempt {
        may_have_arrived: true,
        ..Attempt::new(Outcome::Partial {
            lack: Lack::Proof,
            id: Some(id.to_owned()),
            reason: error.to_string(),
            remedy: error.remedy().into_owned(),
        })
    }
}

fn failed(error: &XmppError, permanent: bool, room: bool) -> Attempt {
    if matches!(error, XmppError::AddressNotAllowed { .. }) {
        return Attempt::new(Outcome::refused(error.to_string(), crate::address::REMEDY));
    }
    let outcome = if permanent {
        Outcome::refused(error.to_string(), error.remedy())
    } else {
        Outcome::Deferred {
            reason: error.to_string(),
            remedy: error.remedy().into_owned(),
            // XMPP has no way to ask for a pause; the pauses of the sender count.
            retry_after: None,
        }
    };
    Attempt {
        outcome,
        notes: Vec::new(),
        may_have_arrived: error.may_have_arrived(),
        // A room may have refused the entry, before it was sent anything.
        came_back: !room && error.came_back(),
        unresolved: matches!(error, XmppError::NoSuchHost { .. }),
        repeated: false,
    }
}

fn refused(problem: Diagnostic) -> Attempt {
    Attempt::new(Outcome::refused(problem.cause, problem.remedy))
}

#[cfg(test)]
mod tests;
