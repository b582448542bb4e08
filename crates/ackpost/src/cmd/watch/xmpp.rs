//! Events of XMPP accounts.

use std::time::Duration;

use ackpost_notify::service::XmppAccess;
use ackpost_xmpp::{
    Account, ArchivePlace, Event, Jid, Received, RoomTarget, Session, SessionOptions, XmppError,
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
    /// Last seen id by archive.
    places: Map<String, Value>,
}

impl Source {
    pub(super) fn new(access: XmppAccess, cursors: &Cursors) -> Self {
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

    /// Until the session ends for good, or the stop is said; then it leaves in order.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Seen>, mut stop: watch::Receiver<bool>) -> Ended {
        let mut options = SessionOptions::receiving(self.rooms.clone());
        options.catch_up = std::iter::once(self.account.jid().to_bare())
            .chain(self.rooms.iter().map(|room| room.room.to_bare()))
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
        Seen { value, text, mark }
    }
}

fn failed(account: &str, error: &XmppError) -> Failure {
    Failure::new(format!("{account}: {error}"), error.remedy())
}

/// For programs, for people, and where it stands in an archive.
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
        } => (
            json!({
                "event": "presence", "room": room.to_string(), "name": nick, "from": jid.as_ref().map(Jid::to_string),
                "affiliation": affiliation, "role": role, "present": present, "own": own,
            }),
            Some(format!(
                "[{room}] {} {}",
                show::safe(nick),
                if *present { "is here" } else { "left" }
            )),
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
            archive,
        } => (
            json!({ "event": "reactions", "from": from.to_string(), "id": to, "emoji": emoji, "in_room": room }),
            Some(format!(
                "{} reacts to {}: {}",
                show::safe(&from.to_string()),
                show::safe(to),
                show::safe(&emoji.join(" "))
            )),
            archive.clone(),
        ),
        Event::Gap { archive } => (
            json!({ "event": "gap", "room": archive.to_string() }),
            Some(format!(
                "the archive of {archive} does not reach back to where we were: messages may be missing"
            )),
            None,
        ),
        Event::Lagged(count) => (
            json!({ "event": "lagged", "count": count }),
            Some(format!(
                "dropped, because it was not taken in time: {}",
                output::count(*count, "event")
            )),
            None,
        ),
        _ => (json!({ "event": "other" }), None, None),
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
