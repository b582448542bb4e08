//! Messages and rooms as JSON, in the field order of the reference.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use session_protocol::encoding::b64;

use crate::cache::Room;
use crate::model::permission::Rights;
use crate::store::{Id, MessageRow, ReactionRow};

/// The content with its padding again: the bytes that were signed.
pub(crate) fn padded(data: &[u8], size: i64) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(0).max(data.len());
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(data);
    if size > data.len() {
        out.push(0x80);
        out.resize(size, 0);
    }
    out
}

/// Reactions as a viewer sees them.
pub(crate) struct ReactionView<'a> {
    /// Reactions by message, in the order of first use.
    pub(crate) by_message: HashMap<Id, Vec<&'a ReactionRow>>,
    /// Reaction ids that are the viewer's own.
    pub(crate) own: Vec<Id>,
    /// Number of reactors that are named; 0 leaves the list out.
    pub(crate) named: usize,
}

fn text(out: &mut String, value: &str) {
    out.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned()));
}

fn number(out: &mut String, value: f64) {
    out.push_str(&serde_json::to_string(&value).unwrap_or_else(|_| "0.0".to_owned()));
}

/// Writes one message. `since` is the sequence number a poll starts from: a message whose content did not change
/// after it comes with its reactions alone.
pub(crate) fn message(out: &mut String, row: &MessageRow, since: Option<i64>, reactions: &ReactionView<'_>) {
    let only_reactions = since.is_some_and(|since| row.seqno_data <= since) && row.data.is_some();
    if only_reactions {
        let _ = write!(out, "{{\"id\":{},\"seqno\":{},\"reactions\":", row.id, row.seqno);
        reaction_map(out, row.id, reactions);
        out.push('}');
        return;
    }
    let _ = write!(
        out,
        "{{\"id\":{},\"session_id\":\"{}\",\"posted\":",
        row.id, row.session_id
    );
    number(out, row.posted);
    let _ = write!(out, ",\"seqno\":{},\"data\":", row.seqno);
    match &row.data {
        None => out.push_str("null,\"deleted\":true"),
        Some(data) => {
            let signature = row.signature.as_deref().unwrap_or_default();
            let data = b64(padded(data, row.data_size.unwrap_or(0)));
            let _ = write!(out, "\"{data}\",\"signature\":\"{}\"", b64(signature));
        }
    }
    if let Some(edited) = row.edited {
        out.push_str(",\"edited\":");
        number(out, edited);
    }
    if row.is_whisper() {
        // The reference gives the database's number here, not a boolean.
        let _ = write!(
            out,
            ",\"whisper\":true,\"whisper_mods\":{}",
            u8::from(row.whisper_mods)
        );
        if let Some(to) = &row.whisper_to_id {
            let _ = write!(out, ",\"whisper_to\":\"{to}\"");
        }
    }
    if row.data.is_some() {
        out.push_str(",\"reactions\":");
        reaction_map(out, row.id, reactions);
    }
    out.push('}');
}

fn reaction_map(out: &mut String, message_id: Id, view: &ReactionView<'_>) {
    out.push('{');
    for (index, row) in view.by_message.get(&message_id).into_iter().flatten().enumerate() {
        if index > 0 {
            out.push(',');
        }
        text(out, &row.reaction);
        let _ = write!(out, ":{{\"count\":{}", row.count);
        if view.own.contains(&row.reaction_id) {
            out.push_str(",\"you\":true");
        }
        let _ = write!(out, ",\"index\":{index}");
        if view.named > 0 {
            out.push_str(",\"reactors\":[");
            for (place, (_, id)) in row.first.iter().take(view.named).enumerate() {
                let _ = write!(out, "{}\"{id}\"", if place > 0 { "," } else { "" });
            }
            out.push(']');
        }
        out.push('}');
    }
    out.push('}');
}

/// Seconds of the activity threshold as the room object tells it.
pub(crate) fn cutoff(days: f64) -> Value {
    let seconds = days * 86_400.0;
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the configuration")]
    if seconds.fract() == 0.0 {
        json!(seconds as i64)
    } else {
        json!(seconds)
    }
}

/// Renders a room for a person with these rights; keys sorted.
pub(crate) fn room(room: &Room, rights: &Rights, active_days: f64) -> Value {
    let row = &room.full.room;
    let mut out = Map::new();
    out.insert(
        "active_users".into(),
        json!(room.live.active.load(Ordering::Acquire)),
    );
    out.insert("active_users_cutoff".into(), cutoff(active_days));
    if rights.admin {
        out.insert("admin".into(), json!(true));
    }
    let list = |admin: bool, visible: bool| -> Vec<&str> {
        room.full
            .mods
            .iter()
            // The server's own user (ff…) is an admin that nobody sees.
            .filter(|one| one.admin == admin && one.visible == visible && !one.session_id.starts_with("ff"))
            .map(|one| one.session_id.as_str())
            .collect()
    };
    out.insert("admins".into(), json!(list(true, true)));
    out.insert("created".into(), json!(row.created));
    defaults(&mut out, room, rights);
    if let Some(description) = &row.description {
        out.insert("description".into(), json!(description));
    }
    global(&mut out, rights);
    if rights.moderator {
        let (admins, mods) = (list(true, false), list(false, false));
        if !admins.is_empty() {
            out.insert("hidden_admins".into(), json!(admins));
        }
        if !mods.is_empty() {
            out.insert("hidden_moderators".into(), json!(mods));
        }
    }
    if let Some(image) = row.image_id {
        out.insert("image_id".into(), json!(image));
    }
    out.insert("info_updates".into(), json!(row.info_updates));
    out.insert(
        "message_sequence".into(),
        json!(room.live.seqno.load(Ordering::Acquire)),
    );
    if rights.moderator {
        out.insert("moderator".into(), json!(true));
    }
    out.insert("moderators".into(), json!(list(false, true)));
    out.insert("name".into(), json!(row.name));
    if !room.full.pins.is_empty() {
        let pins: Vec<Value> = room
            .full
            .pins
            .iter()
            .map(|pin| json!({"id": pin.message_id, "pinned_at": pin.pinned_at, "pinned_by": pin.pinned_by}))
            .collect();
        out.insert("pinned_messages".into(), json!(pins));
    }
    out.insert("read".into(), json!(rights.read));
    out.insert("token".into(), json!(row.token));
    out.insert("upload".into(), json!(rights.upload));
    out.insert("write".into(), json!(rights.write));
    Value::Object(out)
}

/// The answer to a poll of a room's description.
pub(crate) fn poll_info(target: &Room, rights: &Rights, known: i64, active_days: f64) -> Value {
    let mut out = Map::new();
    out.insert(
        "active_users".into(),
        json!(target.live.active.load(Ordering::Acquire)),
    );
    if rights.admin {
        out.insert("admin".into(), json!(true));
    }
    defaults(&mut out, target, rights);
    if target.full.room.info_updates != known {
        out.insert("details".into(), room(target, rights, active_days));
    }
    global(&mut out, rights);
    if rights.moderator {
        out.insert("moderator".into(), json!(true));
    }
    out.insert("read".into(), json!(rights.read));
    out.insert("token".into(), json!(target.full.room.token));
    out.insert("upload".into(), json!(rights.upload));
    out.insert("write".into(), json!(rights.write));
    Value::Object(out)
}

fn defaults(out: &mut Map<String, Value>, room: &Room, rights: &Rights) {
    if rights.moderator {
        let defaults = &room.full.room.defaults;
        out.insert("default_accessible".into(), json!(defaults.accessible));
        out.insert("default_read".into(), json!(defaults.read));
        out.insert("default_upload".into(), json!(defaults.upload));
        out.insert("default_write".into(), json!(defaults.write));
    }
}

fn global(out: &mut Map<String, Value>, rights: &Rights) {
    if rights.global_admin {
        out.insert("global_admin".into(), json!(true));
    }
    if rights.global_moderator {
        out.insert("global_moderator".into(), json!(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_comes_back_exactly() {
        for tail in [&b""[..], b"\x80", b"\x80\0\0", b"\0\0", b"\x80\x80\0", b"\x01\0"] {
            let stored = [b"text", tail].concat();
            let data = session_protocol::padding::unpad(&stored);
            assert_eq!(
                padded(data, i64::try_from(stored.len()).unwrap()),
                stored,
                "{tail:?}"
            );
        }
    }
}
