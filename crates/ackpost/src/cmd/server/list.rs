//! Lists of the server: a table for people, one object a line for programs.

use serde_json::Value;
use sogs_server::admin::{Answer, Operation};

use super::json;
use crate::context::Context;
use crate::output::{self, one_line};

/// List that an operation answers with.
pub(super) struct List {
    /// Field of the answer that holds the entries.
    field: &'static str,
    /// Name of the entries, for the phrase that there are none.
    things: &'static str,
    /// Headings of the table.
    headings: &'static [&'static str],
    /// Returns the cells of an entry, in the order of the headings.
    cells: fn(&Value) -> Vec<String>,
}

/// Returns the list that an operation answers with; `None` if it answers with one object.
pub(super) fn of(operation: &Operation) -> Option<List> {
    let list = |field, things, headings, cells| {
        Some(List {
            field,
            things,
            headings,
            cells,
        })
    };
    match operation {
        Operation::RoomList => list("rooms", "rooms", &["TOKEN", "ALLOWED", "ACTIVE", "NAME"], room),
        Operation::UserList { .. } => list(
            "people",
            "people",
            &["SESSION ID", "LAST ACTIVE", "ROLE", "NAME"],
            person,
        ),
        Operation::ModList => list(
            "moderators",
            "moderators",
            &["SESSION ID", "ROLE", "ROOM", "NAME"],
            moderator,
        ),
        Operation::BanList => list("bans", "bans", &["SESSION ID", "ROOM", "UNTIL", "NAME"], ban),
        Operation::MessageList { .. } => list(
            "messages",
            "messages",
            &["ID", "POSTED", "SESSION ID", "NAME", "TEXT"],
            message,
        ),
        Operation::HeldList { .. } => {
            let headings = &["ID", "HELD", "ROOM", "SESSION ID", "NAME", "REASON", "TEXT"];
            list("held", "held posts", headings, held)
        }
        Operation::FileList { .. } => list(
            "files",
            "files",
            &["ID", "BYTES", "UPLOADED", "KEPT UNTIL", "NAME"],
            file,
        ),
        Operation::FilterList => list(
            "filters",
            "filters",
            &["ID", "ROOM", "ACTION", "KIND", "PATTERN"],
            filter,
        ),
        Operation::SettingList { .. } => list("settings", "settings", &["ROOM", "NAME", "VALUE"], setting),
        Operation::RaidList => list(
            "raids",
            "rooms in raid mode",
            &["ROOM", "NEW SINCE", "UNTIL", "REASON"],
            raid,
        ),
        Operation::LogList { .. } => {
            let headings = &["ID", "TIME", "AUTHOR", "ACTION", "ROOM", "TARGET", "DETAIL"];
            list("log", "log entries", headings, log_entry)
        }
        _ => None,
    }
}

impl List {
    /// Prints the entries of an answer.
    pub(super) fn print(&self, answer: &Answer, context: Context) {
        let entries = answer.data[self.field].as_array().map_or(&[][..], Vec::as_slice);
        if context.json {
            for entry in entries {
                let mut entry = entry.clone();
                // Every line is complete without the others.
                if let (Some(fields), Some(room)) = (entry.as_object_mut(), answer.data.get("room")) {
                    fields.entry("room").or_insert_with(|| room.clone());
                }
                json::with_times(&mut entry);
                output::json(&entry);
            }
        } else if entries.is_empty() {
            output::none(self.things, context);
        } else {
            let rows: Vec<_> = entries.iter().map(self.cells).collect();
            output::table(self.headings, &rows, context);
        }
    }
}

/// Returns a field as text: `-` if it has no value.
fn text(entry: &Value, field: &str) -> String {
    match &entry[field] {
        Value::String(text) if !text.is_empty() => one_line(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

/// Returns a field as text, or a word if it has no value.
fn text_or(entry: &Value, field: &str, word: &str) -> String {
    entry[field].as_str().map_or_else(|| word.to_owned(), one_line)
}

fn is(entry: &Value, field: &str) -> bool {
    entry[field] == Value::Bool(true)
}

/// Returns a time in the zone of this machine, or a word if there is none.
fn time(entry: &Value, field: &str, never: &str) -> String {
    json::moment(&entry[field]).map_or_else(|| never.to_owned(), output::local)
}

fn room(entry: &Value) -> Vec<String> {
    // Uploading needs posting too.
    let upload = is(entry, "upload") && is(entry, "write");
    let allowed = [
        (is(entry, "read"), 'r'),
        (is(entry, "write"), 'w'),
        (upload, 'u'),
        (is(entry, "accessible"), 'a'),
    ];
    let letters = allowed.map(|(allowed, letter)| if allowed { letter } else { '-' });
    vec![
        text(entry, "token"),
        letters.iter().collect(),
        text(entry, "active_users"),
        text(entry, "name"),
    ]
}

fn person(entry: &Value) -> Vec<String> {
    let role = if is(entry, "banned") {
        "banned"
    } else if is(entry, "admin") {
        "admin"
    } else if is(entry, "moderator") {
        "moderator"
    } else {
        "-"
    };
    vec![
        text(entry, "session_id"),
        time(entry, "last_active", "-"),
        role.to_owned(),
        text(entry, "name"),
    ]
}

fn moderator(entry: &Value) -> Vec<String> {
    let role = if is(entry, "admin") { "admin" } else { "moderator" };
    let hidden = if is(entry, "visible") { "" } else { ", hidden" };
    vec![
        text(entry, "session_id"),
        format!("{role}{hidden}"),
        text_or(entry, "room", "the whole server"),
        text(entry, "name"),
    ]
}

fn ban(entry: &Value) -> Vec<String> {
    vec![
        text(entry, "session_id"),
        text_or(entry, "room", "the whole server"),
        time(entry, "until", "permanent"),
        text(entry, "name"),
    ]
}

fn message(entry: &Value) -> Vec<String> {
    let mark = if is(entry, "deleted") {
        "[deleted] "
    } else if is(entry, "hidden") {
        "[hidden] "
    } else {
        ""
    };
    let said = text_or(entry, "text", "");
    vec![
        text(entry, "id"),
        time(entry, "posted", "-"),
        text(entry, "session_id"),
        text(entry, "name"),
        format!("{mark}{said}"),
    ]
}

fn held(entry: &Value) -> Vec<String> {
    vec![
        text(entry, "id"),
        time(entry, "at", "-"),
        text(entry, "room"),
        text(entry, "session_id"),
        text(entry, "name"),
        text(entry, "reason"),
        text_or(entry, "text", ""),
    ]
}

fn file(entry: &Value) -> Vec<String> {
    vec![
        text(entry, "id"),
        text(entry, "size"),
        time(entry, "uploaded", "-"),
        time(entry, "expiry", "permanent"),
        text(entry, "filename"),
    ]
}

fn filter(entry: &Value) -> Vec<String> {
    let pattern = text(entry, "pattern");
    vec![
        text(entry, "id"),
        text_or(entry, "room", "every room"),
        text(entry, "action"),
        text(entry, "kind"),
        match entry["reply"].as_str().filter(|reply| !reply.is_empty()) {
            Some(reply) => format!("{pattern}  (answers: {})", one_line(reply)),
            None => pattern,
        },
    ]
}

fn setting(entry: &Value) -> Vec<String> {
    vec![
        text_or(entry, "room", "the whole server"),
        text(entry, "name"),
        text(entry, "value"),
    ]
}

fn raid(entry: &Value) -> Vec<String> {
    vec![
        text_or(entry, "room", "the whole server"),
        time(entry, "since", "-"),
        time(entry, "until", "`raid off`"),
        text(entry, "reason"),
    ]
}

/// Returns an id with the display name that belongs to it.
fn named(entry: &Value, id: &str, name: &str) -> String {
    let id = text(entry, id);
    match entry[name].as_str() {
        Some(name) => format!("{id} ({})", one_line(name)),
        None => id,
    }
}

fn log_entry(entry: &Value) -> Vec<String> {
    let state = match json::moment(&entry["undone_at"]) {
        Some(at) => format!("[undone {}]", output::local(at)),
        None if is(entry, "undoable") => "[can be undone]".to_owned(),
        None => String::new(),
    };
    let detail = text_or(entry, "detail", "");
    vec![
        text(entry, "id"),
        time(entry, "at", "-"),
        named(entry, "actor", "actor_name"),
        text(entry, "action"),
        text(entry, "room"),
        named(entry, "target", "target_name"),
        format!("{detail}  {state}").trim().to_owned(),
    ]
}
