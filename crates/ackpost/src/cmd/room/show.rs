//! Messages and rooms for people and for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use session_core::content::{AttachmentPointer, Content};
use sogs_client::types::{Reactions, RoomInfo, Row};
use sogs_client::{Message, SessionId};

use crate::output;

/// Unix seconds as local time, to the second.
pub(crate) fn local_time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    Timestamp::from_second(seconds as i64).map_or_else(
        |_| "?".to_owned(),
        |time| {
            time.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// Unix seconds as RFC 3339 in UTC, to the millisecond.
pub(crate) fn utc_time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
    Timestamp::from_millisecond((seconds * 1000.0) as i64)
        .map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

/// Text from others may not move the cursor, turn the direction or fake lines of ours. CR LF, which stands between a title and its body,
/// is a line break.
pub(crate) fn safe(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| {
            if output::misleads(c) && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect::<String>()
        .replace('\n', "\n    ")
}

fn file(pointer: &AttachmentPointer) -> Value {
    let id = pointer
        .url
        .as_deref()
        .and_then(|url| url.rsplit('/').next()?.parse().ok())
        .unwrap_or(pointer.id);
    json!({
        "id": id,
        "name": pointer.file_name,
        "content_type": pointer.content_type,
        "size": pointer.size,
        "url": pointer.url,
    })
}

/// A message as the commands print it with `--json`.
pub(crate) fn message_json(message: &Message) -> Value {
    let content = message.unverified_content();
    let quote = content.and_then(|c| c.data_message.as_ref()?.quote.as_ref());
    json!({
        "id": message.id,
        "seqno": message.seqno,
        "time": utc_time(message.posted),
        "edited": message.edited.map(utc_time),
        "from": message.author,
        "name": content.and_then(|c| c.display_name()),
        "body": content.and_then(|c| c.body()),
        "verified": message.is_authentic(),
        "problem": message.problem().map(ToString::to_string),
        "reply_to": quote.map(|quote| json!({ "timestamp_ms": quote.id, "from": quote.author })),
        "files": content.map(|c| c.attachments().iter().map(file).collect::<Vec<_>>()).unwrap_or_default(),
        "whisper": message.whisper,
        "whisper_to": message.whisper_to,
        "reactions": message.reactions,
    })
}

/// A row of what changed, with `--json`.
pub(crate) fn row_json(row: &Row) -> Value {
    match row {
        Row::Message(message) => {
            let mut value = message_json(message);
            value["event"] = "message".into();
            value
        }
        Row::Deleted(tombstone) => json!({
            "event": "deleted",
            "id": tombstone.id,
            "seqno": tombstone.seqno,
            "from": tombstone.author,
            "time": tombstone.deleted_at.map(utc_time),
        }),
        Row::Reactions(row) => json!({
            "event": "reactions",
            "id": row.id,
            "seqno": row.seqno,
            "reactions": row.reactions,
        }),
        _ => Value::Null,
    }
}

/// Who wrote, for people.
pub(crate) fn who(name: Option<&str>, id: &SessionId) -> String {
    match name {
        Some(name) => format!("{} {}", safe(name).replace('\n', " "), id.short()),
        None => id.short(),
    }
}

/// A message as a piece of a timeline.
pub(crate) fn message_text(message: &Message) -> String {
    let content = message.unverified_content();
    let mut text = format!(
        "{}  #{}  {}",
        local_time(message.posted),
        message.id,
        who(content.and_then(|c| c.display_name()), &message.author)
    );
    if message.edited.is_some() {
        text.push_str("  edited");
    }
    if message.whisper {
        text.push_str("  whisper");
    }
    if let Some(problem) = message.problem() {
        let _ = write!(text, "  NOT TO BE TRUSTED: {problem}");
    }
    if let Some(body) = content.and_then(|c| c.body()) {
        let _ = write!(text, "\n    {}", safe(body));
    }
    for pointer in content.map(Content::attachments).unwrap_or_default() {
        let name = pointer.file_name.as_deref().unwrap_or("without a name");
        let id = file(pointer)["id"].clone();
        let _ = write!(
            text,
            "\n    [file {id}: {}, {} bytes]",
            safe(name),
            pointer.size.unwrap_or(0)
        );
    }
    let reactions = reactions_text(&message.reactions);
    if !reactions.is_empty() {
        let _ = write!(text, "\n    {reactions}");
    }
    text
}

/// `👍 3  🎉 1`, in order of first use.
pub(crate) fn reactions_text(reactions: &Reactions) -> String {
    let mut sorted: Vec<_> = reactions.iter().collect();
    sorted.sort_by_key(|(_, reaction)| reaction.index);
    sorted
        .iter()
        .map(|(emoji, reaction)| format!("{} {}", safe(emoji), reaction.count))
        .collect::<Vec<_>>()
        .join("  ")
}

/// A row of what changed, as a piece of a timeline.
pub(crate) fn row_text(row: &Row) -> String {
    match row {
        Row::Message(message) => message_text(message),
        Row::Deleted(tombstone) => format!(
            "{}  #{}  deleted",
            tombstone.deleted_at.map(local_time).unwrap_or_default(),
            tombstone.id
        ),
        Row::Reactions(row) => format!("#{}  reactions now: {}", row.id, reactions_text(&row.reactions)),
        _ => String::new(),
    }
}

/// A room, for people.
pub(crate) fn room_text(info: &RoomInfo, link: &str) -> String {
    let mut rights = Vec::new();
    for (has, word) in [(info.read, "read"), (info.write, "post"), (info.upload, "upload")] {
        if has {
            rights.push(word);
        }
    }
    if info.admin {
        rights.push("administrate");
    } else if info.moderator {
        rights.push("moderate");
    }
    let mut lines = vec![format!("{}  ({})", safe(&info.name), info.token)];
    if let Some(description) = &info.description {
        lines.push(format!("    {}", safe(description)));
    }
    lines.push(format!(
        "    you may    {}",
        if rights.is_empty() {
            "nothing".to_owned()
        } else {
            rights.join(", ")
        }
    ));
    lines.push(format!("    people     {} active lately", info.active_users));
    lines.push(format!(
        "    moderators {}, admins {}",
        info.moderators.len(),
        info.admins.len()
    ));
    lines.push(format!("    since      {}", local_time(info.created)));
    if !info.pinned_messages.is_empty() {
        let pins: Vec<_> = info
            .pinned_messages
            .iter()
            .map(|pin| format!("#{}", pin.id))
            .collect();
        lines.push(format!("    pinned     {}", pins.join(" ")));
    }
    lines.push(format!(
        "    counters   info {}, sequence {}",
        info.info_updates, info.message_sequence
    ));
    lines.push(format!("    link       {link}"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_cannot_pretend() {
        assert_eq!(safe("a\r\nb\u{1b}[2J"), "a\n    b\u{fffd}[2J");
        assert_eq!(safe("txt.\u{202e}exe\u{2066}"), "txt.\u{fffd}exe\u{fffd}");
        assert_eq!(
            safe("\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}"),
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}"
        );
    }
}
