//! Messages to people and rooms over XMPP.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackpost_xmpp::{
    Account, Attachment, ChannelBinding, ConfirmedBy, Content, Doubt, Jid, Mode as StreamMode, Note,
    Outgoing, Plain, RoomTarget, Target as StanzaTarget, Verify, XmppError,
};
use secrecy::ExposeSecret as _;

use crate::Guest;
use crate::dispatch::{AttemptResult, ConnectionOptions, ConnectionPool, MessageId, Parcel, Party};
use crate::message::Format;
use crate::outcome::{Confirmation, Lack, Outcome};
use crate::problem::Diagnostic;

use super::access::{XmppParts, authorities};
use super::wire::XmppWire;
use super::xmpp::{Confirm, Mode, Place, ScramPlus, Xmpp};
use super::xmpp_memory::{Login, memory_for, remember_replaced, replaced};
use super::xmpp_smaller::Smaller;
use super::{Chunk, CommonParams, Wire};

impl Xmpp {
    /// The account, as a delivery uses it.
    pub(super) fn account(
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
                format!("the login address is no JID: {error}"),
                "check user and host",
            )
            .key("user")
        })?;
        // The host stands there in the form of DNS, the address in Unicode.
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
            account = account.memory(memory_for(&self.login(common), self.fast, options));
        }
        Ok(account)
    }

    /// The account, its rooms and its people.
    pub(super) fn parts(
        &self,
        common: &CommonParams,
        options: &ConnectionOptions,
        agent: &str,
    ) -> Result<XmppParts, Diagnostic> {
        let account = self.account(common, options, agent)?;
        let mut parts = XmppParts {
            account,
            rooms: Vec::new(),
            people: Vec::new(),
        };
        for place in &self.places {
            match self.stanza_target(place)? {
                StanzaTarget::Room(room) => parts.rooms.push(room),
                other => parts.people.push(other.address()),
            }
        }
        if self.places.is_empty() {
            parts.people.push(parts.account.jid().to_bare());
        }
        Ok(parts)
    }

    fn stanza_target(&self, place: &Place) -> Result<StanzaTarget, Diagnostic> {
        let jid: Jid = place.jid.parse().map_err(|error: ackpost_xmpp::JidError| {
            Diagnostic::error(format!("`{}` is no JID: {error}", place.jid), "check the target").key("to")
        })?;
        if !place.room {
            return Ok(StanzaTarget::User(jid));
        }
        let mut room = RoomTarget::new(jid);
        room.password = place.password.clone().or_else(|| self.room_password.clone());
        room.create = self.create;
        Ok(StanzaTarget::Room(room))
    }

    /// Everything that decides who logs in where, and whom the login trusts. What one of them remembers, such as a login
    /// token, is for no other. The text holds the password and is only ever hashed with a key.
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

    /// What a chunk is on the wire.
    pub(super) fn wire(&self, common: &CommonParams, chunk: &Chunk, stamp: &MessageId) -> XmppWire {
        let body = body_of(common, chunk).into_owned();
        XmppWire {
            id: stamp.id.clone(),
            sent_at_ms: stamp.sent_at_ms,
            // CR LF of the title merge is one line end in XML.
            body: body.replace("\r\n", "\n").replace('\r', "\n"),
            subject: Some(chunk.title.clone()).filter(|title| self.subject && !title.is_empty()),
            html: chunk.xhtml.clone(),
            unstyled: common.format == Format::Text,
            cut: chunk.cut,
        }
    }

    /// Hands the pieces of a parcel to the account's connection, in order, and waits for what becomes of each. Pieces
    /// that are larger than the server takes are cut once more, where the URL allows it.
    pub(super) async fn send(
        &self,
        common: &CommonParams,
        courier: &ConnectionPool,
        parcel: &Parcel,
    ) -> Vec<AttemptResult> {
        let (mut attempts, missing) = match self.deliver(common, courier, parcel).await {
            Ok(delivered) => delivered,
            Err(problem) => return vec![refused(problem); parcel.wires.len()],
        };
        if let Some(missing) = missing {
            self.send_without_files(common, courier, parcel, &mut attempts, &missing)
                .await;
        }
        self.remember(common, courier, parcel, &attempts);
        attempts
    }

    /// What became of each piece, and the files that could not be uploaded.
    async fn deliver(
        &self,
        common: &CommonParams,
        courier: &ConnectionPool,
        parcel: &Parcel,
    ) -> Result<(Vec<AttemptResult>, Option<String>), Diagnostic> {
        let outcomes = self.hand_over(common, courier, parcel).await?;
        let mut missing = missing_files(&outcomes, parcel);
        let limit = outcomes.iter().find_map(too_large);
        let number = |(number, outcome)| too_large(outcome).map(|_| number);
        let numbers: Vec<usize> = outcomes.iter().enumerate().filter_map(number).collect();
        let mut attempts = attempts(outcomes, parcel);
        if let Some(limit) = limit
            && let Some(smaller) = Smaller::of(parcel, &numbers, limit, common.overflow)
            && let Ok(outcomes) = self.hand_over(common, courier, &smaller.parcel).await
        {
            missing = missing.or_else(|| missing_files(&outcomes, &smaller.parcel));
            smaller.put_back(self::attempts(outcomes, &smaller.parcel), &mut attempts);
        }
        Ok((attempts, missing))
    }

    async fn hand_over(
        &self,
        common: &CommonParams,
        courier: &ConnectionPool,
        parcel: &Parcel,
    ) -> Result<Vec<ackpost_xmpp::Outcome>, Diagnostic> {
        let messages = self.outgoing(common, courier, parcel)?;
        let account = || self.account(common, courier.options(), &courier.asset().app_id);
        // What may have arrived is looked for in the history of the room while it is entered, which a kept session has
        // done already.
        let look = parcel.has_repeats() && parcel.target.room;
        let keep = (self.keepalive || courier.options().resident) && !look;
        let outcomes = courier
            .xmpp_send(
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
        courier: &ConnectionPool,
        parcel: &Parcel,
        attempts: &mut [AttemptResult],
        missing: &str,
    ) {
        let open: Vec<usize> = (0..attempts.len())
            .filter(|n| !attempts[*n].outcome.is_taken() && !attempts[*n].may_have_arrived)
            .collect();
        let bare = Parcel {
            wires: open.iter().map(|n| parcel.wires[*n].clone()).collect(),
            repeat: open.iter().map(|n| parcel.is_repeat(*n)).collect(),
            files: Arc::default(),
            ..parcel.clone()
        };
        let Ok((again, _)) = self.deliver(common, courier, &bare).await else {
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
        courier: &ConnectionPool,
        parcel: &Parcel,
    ) -> Result<Vec<Outgoing>, Diagnostic> {
        let own = Place {
            jid: self.bare_jid().to_owned(),
            room: false,
            password: None,
        };
        let place = self.place(&parcel.target).unwrap_or(&own);
        let target = self.stanza_target(place)?;
        let files: Vec<Arc<Attachment>> = parcel.files.iter().map(|file| courier.xmpp_file(file)).collect();
        let mut messages = Vec::with_capacity(parcel.wires.len());
        for (n, wire) in parcel.wires.iter().enumerate() {
            let Wire::Xmpp(wire) = wire else {
                return Err(Diagnostic::error(
                    "the stored message belongs to another service",
                    "send it again",
                ));
            };
            let content = Content {
                lang: Some(courier.asset().language.clone()).filter(|language| !language.is_empty()),
                unstyled: wire.unstyled && wire.html.is_none() && looks_styled(&wire.body),
                attachments: if n == 0 { files.clone() } else { Vec::new() },
                ..wire.content()
            };
            let mut message = Outgoing::new(target.clone(), content);
            message.id = Some(wire.id.clone());
            message.repeat_since = parcel
                .is_repeat(n)
                .then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(wire.sent_at_ms));
            message.confirm = self.confirm.map(|confirm| match confirm {
                Confirm::Sent => ackpost_xmpp::Confirm::Sent,
                Confirm::Server => ackpost_xmpp::Confirm::Server,
                Confirm::Room => ackpost_xmpp::Confirm::Room,
                Confirm::Receipt => ackpost_xmpp::Confirm::Receipt,
            });
            if n == 0
                && let Some(key) = &self.replace
            {
                message.replaces = replaced(&self.login(common), &parcel.target.address, key, courier);
            }
            messages.push(message);
        }
        Ok(messages)
    }

    /// The first message under a key is the one that later ones replace.
    fn remember(
        &self,
        common: &CommonParams,
        courier: &ConnectionPool,
        parcel: &Parcel,
        attempts: &[AttemptResult],
    ) {
        let (Some(key), Some(first)) = (&self.replace, attempts.first()) else {
            return;
        };
        if let Outcome::Delivered { id: Some(id), .. } = &first.outcome {
            let (login, to) = (self.login(common), &parcel.target.address);
            if replaced(&login, to, key, courier).is_none() {
                remember_replaced(&login, to, key, id, courier);
            }
        }
    }

    /// URLs with the same key share a connection: everything that the login and the stream depend on.
    fn account_key(&self, common: &CommonParams) -> String {
        format!(
            "{:?}|{}|{}|{:?}|{:?}|{:?}|{}|{:?}|{}|{:?}|{:?}|{:?}|{}|{}|{}|{}|{}",
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
            crate::dispatch::fingerprint(self.password.expose_secret()),
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

/// The files of a parcel with text whose upload failed, and why.
fn missing_files(outcomes: &[ackpost_xmpp::Outcome], parcel: &Parcel) -> Option<String> {
    let (Some(Wire::Xmpp(first)), Some(outcome)) = (parcel.wires.first(), outcomes.first()) else {
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
            | XmppError::Silent {
                step: ackpost_xmpp::Step::Upload,
                ..
            }
    );
    if !is_upload || parcel.files.is_empty() || first.body.trim().is_empty() {
        return None;
    }
    let names: Vec<&str> = parcel.files.iter().map(|file| file.name.as_str()).collect();
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

/// What became of each piece.
fn attempts(outcomes: Vec<ackpost_xmpp::Outcome>, parcel: &Parcel) -> Vec<AttemptResult> {
    let ids = parcel.wires.iter().map(|wire| match wire {
        Wire::Xmpp(wire) => wire.id.as_str(),
        _ => "",
    });
    outcomes
        .into_iter()
        .zip(ids)
        .map(|(outcome, id)| attempt(outcome, id, parcel.target.room))
        .collect()
}

fn attempt(outcome: ackpost_xmpp::Outcome, id: &str, room: bool) -> AttemptResult {
    match outcome {
        ackpost_xmpp::Outcome::Delivered(proof) => AttemptResult {
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
            AttemptResult {
                repeated: matches!(
                    error,
                    XmppError::InDoubt {
                        why: Doubt::NoArchive,
                        ..
                    }
                ),
                may_have_arrived: true,
                ..AttemptResult::new(Outcome::Partial {
                    lack: Lack::Proof,
                    id: Some(id.to_owned()),
                    reason: error.to_string(),
                    remedy: error.remedy().into_owned(),
                })
            }
        }
        ackpost_xmpp::Outcome::Refused(error) => failed(&error, true, room),
        ackpost_xmpp::Outcome::Deferred(error) => failed(&error, false, room),
        _ => AttemptResult::new(Outcome::deferred("nothing is known about it", "send again")),
    }
}

fn failed(error: &XmppError, permanent: bool, room: bool) -> AttemptResult {
    if matches!(error, XmppError::AddressNotAllowed { .. }) {
        return AttemptResult::new(Outcome::refused(error.to_string(), crate::address::REMEDY));
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
    AttemptResult {
        outcome,
        notes: Vec::new(),
        may_have_arrived: error.may_have_arrived(),
        // A room may have refused the entry, before it was sent anything.
        came_back: !room && error.came_back(),
        unresolved: matches!(error, XmppError::NoSuchHost { .. }),
        repeated: false,
    }
}

fn refused(problem: Diagnostic) -> AttemptResult {
    AttemptResult::new(Outcome::refused(problem.cause, problem.remedy))
}
