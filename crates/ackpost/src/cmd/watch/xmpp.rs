//! Events of XMPP accounts.

use std::time::Duration;

use ackpost_notify::service::XmppParts;
use ackpost_xmpp::{
    Account, ArchivePlace, Departure, Event, Jid, Received, RoomTarget, Session, SessionOptions, XmppError,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};

use super::{Cursors, Ended, Seen};
use crate::cmd::room::show;
use crate::exit::Failure;
use crate::output;

/// Pauses between two attempts to reach a server for the first time.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// One account and the rooms of its URL.
pub(super) struct Source {
    account: Account,
    rooms: Vec<RoomTarget>,
    key: String,
    /// Last seen id by archive, or since when an archive is followed in which nothing was seen.
    places: Map<String, Value>,
}

impl Source {
    pub(super) fn new(access: XmppParts, cursors: &Cursors) -> Self {
        let key = access.account.jid().to_bare().to_string();
        let places = cursors
            .get(&key)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        Self {
            account: access.account,
            rooms: access.rooms,
            key,
            places,
        }
    }

    /// Runs until the session ends permanently or the stop is requested; then it leaves in order.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Seen>, mut stop: watch::Receiver<bool>) -> Ended {
        let mut options = SessionOptions::receiving(self.rooms.clone());
        let archives: Vec<Jid> = std::iter::once(self.account.jid().to_bare())
            .chain(self.rooms.iter().map(|room| room.room.to_bare()))
            .collect();
        options.catch_up_since = archives
            .iter()
            .filter_map(|archive| {
                let since = self.places.get(&archive.to_string())?.get("since")?.as_str()?;
                Some((archive.clone(), since.to_owned()))
            })
            .collect();
        let began = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        options.catch_up = archives
            .iter()
            .cloned()
            .map(|archive| {
                let id = self
                    .places
                    .get(&archive.to_string())
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                (archive, id)
            })
            .collect();
        let mut wait = FIRST_WAIT;
        let (session, mut events) = loop {
            // A server that is not there yet is waited for like one that went away later.
            let opened = tokio::select! {
                opened = Session::open(&self.account, options.clone()) => opened,
                _ = stop.wait_for(|stop| *stop) => return None,
            };
            let error = match opened {
                Ok(opened) => break opened,
                Err(error) if error.is_permanent() => return Some(failed(&self.key, &error)),
                Err(error) => error,
            };
            let retry_in = wait.max(error.retry_after().unwrap_or_default());
            wait = (wait * 2).min(LONGEST_WAIT);
            let seen = self.seen(&Event::Offline {
                reason: error,
                retry_in,
            });
            tokio::select! {
                sent = sender.send(seen) => if sent.is_err() { return None },
                _ = stop.wait_for(|stop| *stop) => return None,
            }
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        };
        // An archive in which nothing is written during this run has no other place to go on from.
        for archive in &archives {
            self.places
                .entry(archive.to_string())
                .or_insert_with(|| json!({ "since": began }));
        }
        let place = Seen::place(self.key.clone(), Value::Object(self.places.clone()));
        // If nobody prints any more, the loop ends in order.
        let _ = sender.send(place).await;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            let Some(event) = event else { break };
            if let Event::Ended { reason: Some(error) } = &event {
                return Some(failed(&self.key, error));
            }
            let seen = self.seen(&event);
            tokio::select! {
                sent = sender.send(seen) => if sent.is_err() { break },
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        session.close().await;
        None
    }

    /// An event, ready to be printed; its place is remembered.
    fn seen(&mut self, event: &Event) -> Seen {
        let (mut value, text, place) = describe(event);
        value["service"] = "xmpp".into();
        value["source"] = self.key.as_str().into();
        if value.get("time").is_none() {
            value["time"] = format!("{:.3}", Timestamp::now()).into();
        }
        let mark = place.map(|place| {
            self.places.insert(place.by.to_string(), place.id.into());
            (self.key.clone(), Value::Object(self.places.clone()))
        });
        Seen {
            value,
            text,
            mark,
            printed: None,
        }
    }
}

fn failed(account: &str, error: &XmppError) -> Failure {
    Failure::new(format!("{account}: {error}"), error.remedy())
}

/// An event for programs, for people, and its place in an archive.
#[expect(clippy::too_many_lines, reason = "one arm for each event")]
fn describe(event: &Event) -> (Value, Option<String>, Option<ArchivePlace>) {
    match event {
        Event::Online { jid, resumed } => (
            json!({ "event": "online", "jid": jid.to_string(), "resumed": resumed }),
            Some(format!("online as {jid}")),
            None,
        ),
        Event::Offline { reason, retry_in } => (
            json!({
                "event": "offline", "reason": reason.to_string(), "remedy": reason.remedy(),
                "retry_in_secs": retry_in.as_secs(),
            }),
            Some(format!(
                "{}; again in {} s",
                show::safe(&reason.to_string()),
                retry_in.as_secs()
            )),
            None,
        ),
        Event::Ended { .. } => (json!({ "event": "ended" }), None, None),
        Event::Chat(message) => received("direct", message),
        Event::Room(message) => received("message", message),
        Event::Correction(message) => received("edited", message),
        Event::File(message) => received("file", message),
        Event::Subject { room, nick, subject } => (
            json!({ "event": "subject", "room": room.to_string(), "name": nick, "body": subject }),
            Some(format!("[{room}] topic: {}", show::safe(subject))),
            None,
        ),
        Event::Occupant {
            room,
            nick,
            jid,
            affiliation,
            role,
            present,
            own,
            occupant_id,
            departure,
        } => (
            json!({
                "event": "presence", "room": room.to_string(), "name": nick, "from": jid.as_ref().map(Jid::to_string),
                "affiliation": affiliation, "role": role, "present": present, "own": own, "occupant_id": occupant_id,
                "departure": departure.as_ref().map(departure_word),
            }),
            Some(format!(
                "[{room}] {} {}",
                show::safe(nick),
                match departure {
                    Some(departure) => departure_text(departure),
                    None if *present => "is here".to_owned(),
                    None => "left".to_owned(),
                }
            )),
            None,
        ),
        Event::RoomLost { room, reason } => (
            json!({
                "event": "room_lost", "room": room.to_string(), "reason": reason.to_string(), "remedy": reason.remedy(),
            }),
            Some(format!("[{room}] {}", show::safe(&reason.to_string()))),
            None,
        ),
        Event::Retracted(retraction) => (
            json!({
                "event": "retracted", "from": retraction.from.to_string(), "id": retraction.id,
                "in_room": retraction.room, "own": retraction.own, "occupant_id": retraction.occupant_id,
                "by_moderator": retraction.moderated.is_some(),
                "reason": retraction.moderated.as_ref().and_then(|moderated| moderated.reason.as_deref()),
            }),
            Some(format!(
                "{} took back {}",
                show::safe(&retraction.from.to_string()),
                show::safe(&retraction.id)
            )),
            retraction.archive.clone(),
        ),
        Event::CaughtUp { archive } => (
            json!({ "event": "caught_up", "room": archive.to_string() }),
            None,
            None,
        ),
        Event::Receipt { from, id } => (
            json!({ "event": "receipt", "from": from.to_string(), "id": id }),
            Some(format!(
                "{} has {}",
                show::safe(&from.to_string()),
                show::safe(id)
            )),
            None,
        ),
        Event::Reaction {
            from,
            to,
            emoji,
            room,
            own,
            occupant_id,
            stamp,
            archive,
            ..
        } => (
            json!({
                "event": "reactions", "time": stamp.clone().unwrap_or_else(|| format!("{:.3}", Timestamp::now())), "from": from.to_string(), "id": to, "emoji": emoji, "in_room": room, "own": own,
                "occupant_id": occupant_id,
            }),
            Some(format!(
                "{} reacts to {}: {}",
                show::safe(&from.to_string()),
                show::safe(to),
                show::safe(&emoji.join(" "))
            )),
            archive.clone(),
        ),
        Event::Undecryptable {
            from,
            room,
            id,
            device,
            reason,
            remedy,
            repaired,
            archive,
        } => (
            json!({
                "event": "undecryptable", "from": from.to_string(), "in_room": room, "id": id, "device": device,
                "reason": reason, "remedy": remedy, "repaired": repaired,
            }),
            Some(format!(
                "{}  cannot be decrypted: {}",
                show::safe(&from.to_string()),
                show::safe(reason)
            )),
            archive.clone(),
        ),
        Event::NewKey {
            owner,
            device,
            fingerprint,
            changed,
        } => (
            json!({
                "event": "new_key", "from": owner.to_string(), "device": device, "fingerprint": fingerprint,
                "changed": changed,
            }),
            Some(format!(
                "{} key of device {device} of {}: {}",
                if *changed { "changed" } else { "new" },
                show::safe(&owner.to_string()),
                ackpost_xmpp::omemo::grouped(fingerprint)
            )),
            None,
        ),
        Event::Gap { archive } => (
            json!({ "event": "gap", "room": archive.to_string() }),
            Some(format!(
                "the archive of {archive} does not reach back far enough: messages may be missing"
            )),
            None,
        ),
        Event::Lagged(count) => (
            json!({ "event": "lagged", "count": count }),
            Some(format!(
                "dropped, because it was not read in time: {}",
                output::count(*count, "event")
            )),
            None,
        ),
        _ => (json!({ "event": "other" }), None, None),
    }
}

/// Returns the kind of a departure, as a word for programs.
fn departure_word(departure: &Departure) -> &'static str {
    match departure {
        Departure::Kicked { .. } => "kicked",
        Departure::Banned { .. } => "banned",
        Departure::Renamed { .. } => "renamed",
        Departure::NotMember => "not-member",
        Departure::Broken => "broken",
        Departure::Destroyed => "destroyed",
        _ => "other",
    }
}

fn departure_text(departure: &Departure) -> String {
    let why = |what: &str, by: &Option<String>, reason: &Option<String>| {
        let mut text = what.to_owned();
        if let Some(by) = by {
            text.push_str(&format!(" by {}", show::safe(by)));
        }
        if let Some(reason) = reason {
            text.push_str(&format!(": {}", show::safe(reason)));
        }
        text
    };
    match departure {
        Departure::Kicked { by, reason } => why("was kicked", by, reason),
        Departure::Banned { by, reason } => why("was banned", by, reason),
        Departure::Renamed { to } => format!("is now {}", show::safe(to)),
        Departure::NotMember => "left: not a member any more".to_owned(),
        Departure::Broken => "left: the connection broke".to_owned(),
        Departure::Destroyed => "left: the room was removed".to_owned(),
        _ => "left".to_owned(),
    }
}

fn received(event: &str, message: &Received) -> (Value, Option<String>, Option<ArchivePlace>) {
    let from = message.from.as_ref();
    let room = from
        .filter(|_| message.room)
        .map(|from| from.to_bare().to_string());
    let name = from
        .filter(|_| message.room)
        .and_then(|from| from.resource().map(str::to_owned));
    let time = message
        .stamp
        .clone()
        .unwrap_or_else(|| format!("{:.3}", Timestamp::now()));
    let value = json!({
        "event": event,
        "time": time,
        "room": room,
        "from": from.map(Jid::to_string),
        "name": name,
        "id": message.origin_id.as_ref().or(message.id.as_ref()),
        "archive_id": message.archive.as_ref().map(|place| &place.id),
        "body": message.body,
        "subject": message.subject,
        "lang": message.lang,
        "files": message.files,
        "replaces": message.replaces,
        "own": message.own,
        "occupant_id": message.occupant_id,
        "reply_to": message.reply.as_ref().map(|reply| &reply.id),
        "encrypted": message.encryption.as_ref().map(|encryption| json!({
            "device": encryption.device,
            "fingerprint": encryption.fingerprint,
            "verified": encryption.verified,
        })),
    });
    let who = show::safe(&from.map(Jid::to_string).unwrap_or_default());
    let mut text = match event {
        "edited" => format!("{time}  {who}  edited\n    {}", show::safe(&message.body)),
        _ => format!("{time}  {who}\n    {}", show::safe(&message.body)),
    };
    for file in &message.files {
        text.push_str("\n    [file: ");
        text.push_str(&show::safe(file));
        text.push(']');
    }
    (value, Some(text), message.archive.clone())
}
