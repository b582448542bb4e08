//! Messages, rooms and events of communities as JSON.

use serde_json::{Map, Value, json};
use session_protocol::SessionId;
use session_protocol::content::Content;
use sogs_client::poll::Event;
use sogs_client::types::{DirectMessage, Reactions};
use sogs_client::{Message, RoomInfo};

fn id(id: &SessionId) -> Value {
    json!({ "id": id, "short": id.short() })
}

fn content(value: &mut Value, content: Option<&Content>) {
    value["text"] = json!(content.and_then(Content::body).unwrap_or_default());
    value["name"] = json!(content.and_then(Content::display_name));
    let files = content.map(Content::attachments).unwrap_or_default();
    let files = files.iter().map(|file| {
        json!({ "id": file.id, "name": file.file_name, "media_type": file.content_type, "size": file.size })
    });
    value["files"] = files.collect();
    let quote = content
        .and_then(|content| content.data_message.as_ref())
        .and_then(|data| data.quote.as_ref());
    value["quotes"] = quote.map_or(
        Value::Null,
        |quote| json!({ "time_ms": quote.id, "author": quote.author }),
    );
}

fn reactions(reactions: &Reactions) -> Value {
    let all = reactions.iter().map(|(emoji, one)| {
        (
            emoji.clone(),
            json!({ "count": one.count, "you": one.you, "people": one.reactors.clone().unwrap_or_default() }),
        )
    });
    Value::Object(all.collect::<Map<_, _>>())
}

/// A message of a room. The content of a message that is not authentic is marked by its `problem`.
pub(crate) fn message(message: &Message) -> Value {
    let mut value = json!({
        "id": message.id,
        "author": id(&message.author),
        "posted": message.posted,
        "edited": message.edited,
        "problem": message.problem().map(ToString::to_string),
        "whisper": message.whisper,
        "reactions": reactions(&message.reactions),
    });
    content(&mut value, message.unverified_content());
    value
}

/// A room.
pub(crate) fn room(info: &RoomInfo) -> Value {
    json!({
        "token": info.token,
        "name": info.name,
        "description": info.description,
        "active_users": info.active_users,
        "moderators": info.moderators.iter().chain(&info.admins).collect::<Vec<_>>(),
        "admins": info.admins,
        "pinned": info.pinned_messages.iter().map(|pin| pin.id).collect::<Vec<_>>(),
        "moderator": info.moderator || info.admin,
        "admin": info.admin,
        "read": info.read,
        "write": info.write,
        "upload": info.upload,
    })
}

fn direct(message: &DirectMessage) -> Value {
    let mut value = json!({
        "id": message.item.id,
        "author": message.sender().as_ref().map(id),
        "problem": message.opened.as_ref().err().map(ToString::to_string),
    });
    content(
        &mut value,
        message.opened.as_ref().ok().map(|(content, _)| content),
    );
    value
}

/// Something that happened.
pub(crate) fn event(event: &Event, me: Option<SessionId>) -> Value {
    let own = |message: &Message| Some(message.author) == me;
    match event {
        Event::Message { room, message } => {
            json!({ "kind": "message", "room": room, "own": own(message), "message": self::message(message) })
        }
        Event::Edited { room, message } => {
            json!({ "kind": "edited", "room": room, "own": own(message), "message": self::message(message) })
        }
        Event::Deleted { room, tombstone } => json!({ "kind": "deleted", "room": room, "id": tombstone.id }),
        Event::Reactions { room, row } => {
            json!({ "kind": "reactions", "room": room, "id": row.id, "reactions": reactions(&row.reactions) })
        }
        Event::RoomChanged { info } => {
            json!({ "kind": "room", "room": info.token, "info": room(info) })
        }
        Event::RoomLost { room, error } => {
            json!({ "kind": "lost", "room": room, "reason": error.to_string(), "remedy": error.remedy() })
        }
        Event::RoomBack { room } => json!({ "kind": "back", "room": room }),
        Event::Direct(message) => json!({ "kind": "direct", "message": direct(message) }),
        Event::InboxLost { error } => {
            json!({ "kind": "lost", "room": null, "reason": error.to_string(), "remedy": error.remedy() })
        }
        Event::Gap { room } => json!({ "kind": "gap", "room": room }),
        Event::InboxBack => json!({ "kind": "back", "room": null }),
        Event::Interrupted { error, retry_in } => json!({
            "kind": "interrupted", "reason": error.to_string(), "remedy": error.remedy(),
            "retry_in": retry_in.as_secs_f64(),
        }),
        // Of a later version of the library.
        _ => json!({ "kind": "other" }),
    }
}
