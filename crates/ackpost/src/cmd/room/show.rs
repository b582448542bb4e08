//! Messages and rooms for people and for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};
use session_protocol::content::{AttachmentPointer, Content};
use session_protocol::encoding::b64;
use sogs_client::types::{Reactions, RoomInfo, Row};
use sogs_client::{Message, SessionId};

use crate::output::{self, one_line};

/// Unix seconds as local time, to the second, with its zone.
pub(crate) fn local_time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    Timestamp::from_second(seconds as i64).map_or_else(|_| "?".to_owned(), output::local)
}

/// Today in UTC: `2026-11-30`.
pub(crate) fn utc_day() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Unix seconds as RFC 3339 in UTC, to the millisecond.
pub(crate) fn utc_time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
    Timestamp::from_millisecond((seconds * 1000.0) as i64)
        .map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

/// Milliseconds since 1970 as RFC 3339 in UTC, to the millisecond.
fn utc_time_ms(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
        .map_or_else(|| "?".to_owned(), |time| format!("{time:.3}"))
}

/// Text from others may not move the cursor, turn the direction or fake lines of ours. CR LF, which is between a title and its body,
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

/// Number of an attached file: the last segment of its URL, as apps read it.
fn file_id(pointer: &AttachmentPointer) -> u64 {
    pointer
        .url
        .as_deref()
        .and_then(|url| url.rsplit('/').next()?.parse().ok())
        .unwrap_or(pointer.id)
}

fn file(pointer: &AttachmentPointer) -> Value {
    json!({
        "id": file_id(pointer),
        "name": pointer.file_name,
        "content_type": pointer.content_type,
        "size": pointer.size,
        "url": pointer.url,
        "width": pointer.width,
        "height": pointer.height,
        "caption": pointer.caption,
        "voice": pointer.flags.is_some_and(|flags| flags & 1 == 1),
    })
}

/// Adds the content of a post or direct message to its JSON object.
pub(crate) fn put_content(value: &mut Value, content: Option<&Content>) {
    let message = content.and_then(|content| content.data_message.as_ref());
    let profile = message.and_then(|message| message.profile.as_ref());
    let quote = message.and_then(|message| message.quote.as_ref());
    let picture = profile.and_then(|profile| profile.profile_picture.as_ref());
    let files = message
        .map(|message| message.attachments.as_slice())
        .unwrap_or_default();
    let previews = message
        .map(|message| message.previews.as_slice())
        .unwrap_or_default();
    let invitation = message.and_then(|message| message.invitation.as_ref());
    let fields = [
        (
            "sent",
            json!(content.and_then(|c| c.sig_timestamp).map(utc_time_ms)),
        ),
        ("name", json!(content.and_then(Content::display_name))),
        (
            "picture",
            json!(picture.map(|url| {
                json!({ "url": url, "key": message.and_then(|m| m.profile_key.as_deref()).map(hex::encode) })
            })),
        ),
        ("body", json!(content.and_then(Content::body))),
        (
            "reply_to",
            json!(quote.map(|quote| {
                json!({ "timestamp_ms": quote.id, "from": quote.author, "text": quote.text })
            })),
        ),
        ("files", files.iter().map(file).collect()),
        (
            "previews",
            previews
                .iter()
                .map(|preview| {
                    json!({
                        "url": preview.url, "title": preview.title, "image": preview.image.as_ref().map(file),
                    })
                })
                .collect(),
        ),
        (
            "invitation",
            json!(invitation.map(|invitation| json!({ "url": invitation.url, "name": invitation.name }))),
        ),
    ];
    for (name, field) in fields {
        value[name] = field;
    }
}

/// A message as the commands print it with `--json`.
pub(crate) fn message_json(message: &Message) -> Value {
    let mut value = json!({
        "id": message.id,
        "seqno": message.seqno,
        "time": utc_time(message.posted),
        "edited": message.edited.map(utc_time),
        "from": message.author,
    });
    put_content(&mut value, message.unverified_content());
    value["verified"] = message.is_authentic().into();
    value["problem"] = json!(message.problem().map(ToString::to_string));
    value["whisper"] = message.whisper.into();
    value["whisper_mods"] = message.whisper_mods.into();
    value["whisper_to"] = json!(message.whisper_to);
    value["reactions"] = json!(message.reactions);
    value["data"] = b64(&message.data).into();
    value["signature"] = b64(&message.signature).into();
    value
}

/// A room as the commands print it with `--json`.
pub(crate) fn room_json(info: &RoomInfo, link: Option<&str>) -> Value {
    let pins = info
        .pinned_messages
        .iter()
        .map(|pin| json!({ "id": pin.id, "pinned_at": utc_time(pin.pinned_at), "pinned_by": pin.pinned_by }));
    json!({
        "token": info.token,
        "name": info.name,
        "description": info.description,
        "link": link,
        "created": utc_time(info.created),
        "info_updates": info.info_updates,
        "message_sequence": info.message_sequence,
        "active_users": info.active_users,
        "active_users_cutoff": number(info.active_users_cutoff),
        "image_id": info.image_id,
        "pinned_messages": pins.collect::<Vec<_>>(),
        "moderators": info.moderators,
        "admins": info.admins,
        "hidden_moderators": info.hidden_moderators,
        "hidden_admins": info.hidden_admins,
        "moderator": info.moderator,
        "admin": info.admin,
        "global_moderator": info.global_moderator,
        "global_admin": info.global_admin,
        "read": info.read,
        "write": info.write,
        "upload": info.upload,
        "default_read": info.default_read,
        "default_accessible": info.default_accessible,
        "default_write": info.default_write,
        "default_upload": info.default_upload,
    })
}

/// A number without a fraction that is none.
fn number(value: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the range of i64"
    )]
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// Returns the row of a change, for `--json`.
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

/// Returns the author, for people.
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
    content_text(&mut text, content);
    let reactions = reactions_text(&message.reactions);
    if !reactions.is_empty() {
        let _ = write!(text, "\n    {reactions}");
    }
    text
}

/// Appends the content of a post or direct message as indented lines.
pub(crate) fn content_text(text: &mut String, content: Option<&Content>) {
    let Some(message) = content.and_then(|content| content.data_message.as_ref()) else {
        return;
    };
    if let Some(quote) = &message.quote {
        let author = quote.author.as_deref().unwrap_or("?");
        let author = author
            .parse::<SessionId>()
            .map_or_else(|_| one_line(author), |id| id.short());
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 52 bits")]
        let time = quote
            .id
            .map(|ms| local_time(ms as f64 / 1000.0))
            .unwrap_or_default();
        let _ = write!(text, "\n    [reply to {author}, {time}]");
    }
    if let Some(body) = content.and_then(Content::body) {
        let _ = write!(text, "\n    {}", safe(body));
    }
    for preview in &message.previews {
        let (url, title) = (preview.url.as_deref(), preview.title.as_deref());
        let _ = write!(
            text,
            "\n    [link {}: {}]",
            one_line(url.unwrap_or("?")),
            one_line(title.unwrap_or("without a title"))
        );
    }
    if let Some(invitation) = &message.invitation {
        let (url, name) = (invitation.url.as_deref(), invitation.name.as_deref());
        let _ = write!(
            text,
            "\n    [invitation to {}: {}]",
            one_line(name.unwrap_or("?")),
            one_line(url.unwrap_or("?"))
        );
    }
    for pointer in &message.attachments {
        let name = pointer.file_name.as_deref().unwrap_or("without a name");
        let _ = write!(
            text,
            "\n    [file {}: {}, {} bytes]",
            file_id(pointer),
            one_line(name),
            pointer.size.unwrap_or(0)
        );
    }
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

/// Returns the row of a change, as a part of a timeline.
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
