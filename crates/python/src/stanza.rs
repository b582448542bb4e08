//! Events of XMPP accounts as JSON.

use ackpost_xmpp::{ArchivePlace, Event, Jid, Received, XmppError};
use serde_json::{Value, json};

fn place(place: Option<&ArchivePlace>) -> Value {
    place.map_or(
        Value::Null,
        |place| json!({ "by": place.by.to_string(), "id": place.id }),
    )
}

fn message(kind: &str, message: &Received) -> Value {
    json!({
        "kind": kind,
        "from": message.from.as_ref().map(ToString::to_string),
        "room": message.room,
        "id": message.id,
        "origin_id": message.origin_id,
        "text": message.own_words(),
        "subject": message.subject,
        "files": message.files,
        "replaces": message.replaces,
        "stamp": message.stamp,
        "archive": place(message.archive.as_ref()),
        "own": message.own,
        "encrypted": message.encryption.is_some(),
        "occupant_id": message.occupant_id,
        "reply_to": message.reply.as_ref().map(|reply| reply.id.as_str()),
    })
}

fn trouble(kind: &str, room: Option<&Jid>, reason: &XmppError) -> Value {
    json!({
        "kind": kind, "room": room.map(ToString::to_string), "reason": reason.to_string(), "remedy": reason.remedy(),
        "permanent": reason.is_permanent(),
    })
}

/// Something that happened.
pub(crate) fn event(event: &Event) -> Value {
    match event {
        Event::Online { jid, resumed } => {
            json!({ "kind": "online", "jid": jid.to_string(), "resumed": resumed })
        }
        Event::Offline { reason, retry_in } => {
            let mut value = trouble("offline", None, reason);
            value["retry_in"] = retry_in.as_secs_f64().into();
            value
        }
        Event::Ended { reason: Some(reason) } => trouble("ended", None, reason),
        Event::Chat(received) | Event::Room(received) | Event::File(received) => message("message", received),
        Event::Correction(received) => message("edited", received),
        Event::Subject { room, nick, subject } => {
            json!({ "kind": "subject", "room": room.to_string(), "nick": nick, "subject": subject })
        }
        Event::Occupant {
            room,
            nick,
            jid,
            affiliation,
            role,
            present,
            own,
            occupant_id,
            ..
        } => json!({
            "kind": "occupant", "room": room.to_string(), "nick": nick, "jid": jid.as_ref().map(ToString::to_string),
            "affiliation": affiliation, "role": role, "present": present, "own": own, "occupant_id": occupant_id,
        }),
        Event::RoomLost { room, reason } => trouble("lost", Some(room), reason),
        Event::Retracted(retraction) => json!({
            "kind": "retracted", "from": retraction.from.to_string(), "id": retraction.id, "room": retraction.room,
            "own": retraction.own,
        }),
        Event::Receipt { from, id } => json!({ "kind": "receipt", "from": from.to_string(), "id": id }),
        Event::Reaction {
            from,
            to,
            emoji,
            room,
            own,
            ..
        } => json!({
            "kind": "reaction", "from": from.to_string(), "id": to, "emoji": emoji, "room": room, "own": own,
        }),
        Event::Undecryptable {
            from,
            room,
            reason,
            remedy,
            ..
        } => json!({
            "kind": "undecryptable", "from": from.to_string(), "room": room, "reason": reason, "remedy": remedy,
        }),
        Event::NewKey {
            owner,
            device,
            fingerprint,
            changed,
        } => json!({
            "kind": "new-key", "from": owner.to_string(), "device": device, "fingerprint": fingerprint, "changed": changed,
        }),
        Event::Gap { archive } => json!({ "kind": "gap", "archive": archive.to_string() }),
        Event::CaughtUp { archive } => json!({ "kind": "caught-up", "archive": archive.to_string() }),
        Event::Lagged(count) => json!({ "kind": "lagged", "count": count }),
        // `Ended` without a cause is the end that the program asked for.
        _ => json!({ "kind": "other" }),
    }
}
