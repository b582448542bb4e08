//! Rows of the reference server's tables turned into rows of ours. Ids stay; what refers to nothing is left out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::bulk::{RowValues, Table, Value};
use super::foreign_tables as theirs;

/// Seconds for which an upload waits to be attached on the reference server.
pub(crate) const REFERENCE_WAIT: f64 = 3600.0;

/// Rows that other rows may refer to, filled as the tables are read in order.
pub(super) struct Known {
    rooms: HashSet<i64>,
    users: HashSet<i64>,
    /// Room of each message.
    messages: HashMap<i64, i64>,
    reactions: HashSet<i64>,
    blinded: HashSet<String>,
    next_id: i64,
    /// Lifetime of a direct message in seconds: for rows whose expiry is implausible.
    pub(super) dm_lifetime: f64,
    /// Rows left out, by reason.
    pub(super) skipped: BTreeMap<&'static str, u64>,
    /// Number of direct messages whose expiry was corrected.
    pub(super) mended: u64,
}

/// A reader of rows by column name.
struct Row<'a> {
    table: &'a Table,
    values: RowValues,
}

impl Row<'_> {
    fn take(&mut self, column: &str) -> Value {
        std::mem::replace(&mut self.values[self.table.at(column)], Value::Null)
    }

    fn int(&self, column: &str) -> Option<i64> {
        self.values[self.table.at(column)].int()
    }

    fn real(&self, column: &str) -> Option<f64> {
        self.values[self.table.at(column)].real()
    }

    fn text(&self, column: &str) -> Option<&str> {
        self.values[self.table.at(column)].text()
    }

    fn flag(&self, column: &str) -> bool {
        self.values[self.table.at(column)].flag()
    }

    /// The value, or another where the source has none but we need one.
    fn or(&mut self, column: &str, other: Value) -> Value {
        match self.take(column) {
            Value::Null => other,
            value => value,
        }
    }
}

impl Known {
    pub(super) fn new(dm_lifetime: f64) -> Self {
        Self {
            rooms: HashSet::new(),
            users: HashSet::new(),
            messages: HashMap::new(),
            reactions: HashSet::new(),
            blinded: HashSet::new(),
            next_id: 0,
            dm_lifetime,
            skipped: BTreeMap::new(),
            mended: 0,
        }
    }

    fn skip<T>(&mut self, reason: &'static str) -> Option<T> {
        *self.skipped.entry(reason).or_default() += 1;
        None
    }

    fn is_user(&self, id: Option<i64>) -> bool {
        id.is_some_and(|id| self.users.contains(&id))
    }

    fn is_room(&self, id: Option<i64>) -> bool {
        id.is_some_and(|id| self.rooms.contains(&id))
    }

    fn next(&mut self) -> Value {
        self.next_id += 1;
        Value::Int(self.next_id)
    }

    /// The row of ours for a row of theirs; `None` when it refers to nothing. Files have their own way.
    pub(super) fn convert(&mut self, table: &'static Table, values: RowValues) -> Option<RowValues> {
        let row = Row { table, values };
        match table.name {
            "rooms" => self.room(row),
            "users" => self.user(row),
            "needs_blinding" => self.needs_blinding(&row),
            "messages" => self.message(row),
            "message_history" => self.history(row),
            "reactions" => self.reaction(row),
            "user_reactions" => self.user_reaction(row),
            "pinned_messages" => self.pin(row),
            "room_users" => self.room_user(row),
            "user_permission_overrides" => self.permission_override(row),
            "user_permission_futures" => self.permission_future(row),
            "user_ban_futures" => self.ban_future(row),
            "user_request_nonces" => self.nonce(row),
            "inbox" => self.direct_message(row),
            _ => None,
        }
    }

    /// Starts a new table: automatic numbers start over.
    pub(super) fn begin(&mut self) {
        self.next_id = 0;
    }

    fn room(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (Some(id), Some(token)) = (row.int("id"), row.text("token").map(str::to_owned)) else {
            return self.skip("rooms without a token");
        };
        self.rooms.insert(id);
        let yes = || Value::Bool(true);
        Some(vec![
            Value::Int(id),
            Value::Text(token.clone()),
            Value::Text(token.to_ascii_lowercase()),
            row.or("name", Value::Text(token)),
            row.take("description"),
            row.take("image"),
            row.or("created", Value::Real(0.0)),
            row.or("message_sequence", Value::Int(0)),
            row.or("info_updates", Value::Int(0)),
            row.or("active_users", Value::Int(0)),
            row.or("read", yes()),
            row.or("accessible", yes()),
            row.or("write", yes()),
            row.or("upload", yes()),
            Value::Bool(false),
        ])
    }

    fn user(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (Some(id), Some(session_id)) = (row.int("id"), row.text("session_id").map(str::to_owned)) else {
            return self.skip("users without an id");
        };
        self.users.insert(id);
        // The program's own appearance: a hidden admin there, nobody here.
        let system = session_id.starts_with("ff");
        let flag = |row: &Row<'_>, name| Value::Bool(row.flag(name) && !system);
        let created = row.or("created", Value::Real(0.0));
        Some(vec![
            Value::Int(id),
            Value::Text(session_id),
            created.clone(),
            row.or("last_active", created),
            flag(&row, "banned"),
            flag(&row, "moderator"),
            flag(&row, "admin"),
            flag(&row, "visible_mod"),
            Value::Bool(true),
        ])
    }

    fn needs_blinding(&mut self, row: &Row<'_>) -> Option<RowValues> {
        let user = row.int("user");
        let Some(blinded) = row.text("blinded_abs").map(str::to_owned) else {
            return self.skip("waiting rights without an id");
        };
        if !self.is_user(user) {
            return self.skip("waiting rights of unknown users");
        }
        if !self.blinded.insert(blinded.clone()) {
            return self.skip("waiting rights named twice");
        }
        Some(vec![Value::Text(blinded), Value::Int(user?)])
    }

    fn message(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (id, room, user) = (row.int("id")?, row.int("room"), row.int("user"));
        if !self.is_room(room) || !self.is_user(user) {
            return self.skip("messages of unknown rooms or users");
        }
        let whisper = row.int("whisper");
        if whisper.is_some() && !self.is_user(whisper) {
            return self.skip("whispers to unknown users");
        }
        self.messages.insert(id, room?);
        let data = row.take("data");
        let size = match (&data, row.int("data_size")) {
            (Value::Blob(bytes), size) => {
                let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                Value::Int(size.unwrap_or(length).max(length))
            }
            _ => Value::Null,
        };
        Some(vec![
            Value::Int(id),
            Value::Int(room?),
            Value::Int(user?),
            row.or("posted", Value::Real(0.0)),
            row.take("edited"),
            row.or("seqno", Value::Int(0)),
            row.or("seqno_data", Value::Int(0)),
            row.or("seqno_reactions", Value::Int(0)),
            row.or("seqno_creation", Value::Int(0)),
            data,
            size,
            row.take("signature"),
            row.or("filtered", Value::Bool(false)),
            whisper.map_or(Value::Null, Value::Int),
            row.or("whisper_mods", Value::Bool(false)),
            Value::Null,
            Value::Null,
        ])
    }

    fn history(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let message = row.int("message")?;
        if !self.messages.contains_key(&message) {
            return self.skip("history of unknown messages");
        }
        let data = row.take("data");
        if data == Value::Null {
            return self.skip("history without content");
        }
        Some(vec![
            Value::Int(message),
            row.or("replaced", Value::Real(0.0)),
            data,
            Value::Null,
            row.take("signature"),
        ])
    }

    fn reaction(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (id, message) = (row.int("id")?, row.int("message")?);
        let Some(room) = self.messages.get(&message).copied() else {
            return self.skip("reactions to unknown messages");
        };
        self.reactions.insert(id);
        Some(vec![
            Value::Int(id),
            Value::Int(room),
            Value::Int(message),
            row.or("reaction", Value::Text(String::new())),
        ])
    }

    fn user_reaction(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (reaction, user) = (row.int("reaction")?, row.int("user"));
        if !self.reactions.contains(&reaction) || !self.is_user(user) {
            return self.skip("reactions to unknown messages");
        }
        Some(vec![
            Value::Int(reaction),
            Value::Int(user?),
            row.or("at", Value::Real(0.0)),
        ])
    }

    fn pin(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (room, message, user) = (row.int("room"), row.int("message")?, row.int("pinned_by"));
        if self.messages.get(&message).copied() != room {
            return self.skip("pins of unknown messages");
        }
        if !self.is_user(user) {
            return self.skip("pins by unknown users");
        }
        Some(vec![
            Value::Int(room?),
            Value::Int(message),
            Value::Int(user?),
            row.or("pinned_at", Value::Real(0.0)),
        ])
    }

    /// A file, whose content is already known by its hash and size.
    pub(super) fn file(&mut self, values: RowValues, content: String, size: i64) -> Option<RowValues> {
        let mut row = Row {
            table: &theirs::FILES,
            values,
        };
        let id = row.int("id")?;
        let room = row.int("room").filter(|room| self.rooms.contains(room));
        let uploader = row.int("uploader").filter(|user| self.users.contains(user));
        let named = row.int("message");
        let message = named.filter(|message| self.messages.contains_key(message));
        // The old API did not note the message. Uploads that wait for theirs live for an hour.
        let life = row.real("expiry").zip(row.real("uploaded"));
        let imported =
            named.is_none() && life.is_none_or(|(expiry, uploaded)| expiry - uploaded > REFERENCE_WAIT + 1.0);
        let value = |id: Option<i64>| id.map_or(Value::Null, Value::Int);
        Some(vec![
            Value::Int(id),
            value(room),
            value(uploader),
            value(message),
            Value::Int(size),
            row.or("uploaded", Value::Real(0.0)),
            row.take("expiry"),
            row.take("filename"),
            Value::Text(content),
            Value::Bool(imported),
        ])
    }

    fn room_user(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (room, user) = (row.int("room"), row.int("user"));
        if !self.is_room(room) || !self.is_user(user) {
            return self.skip("activity of unknown rooms or users");
        }
        Some(vec![
            Value::Int(room?),
            Value::Int(user?),
            row.or("last_active", Value::Real(0.0)),
        ])
    }

    fn permission_override(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (room, user) = (row.int("room"), row.int("user"));
        if !self.is_room(room) || !self.is_user(user) {
            return self.skip("permissions of unknown rooms or users");
        }
        let no = || Value::Bool(false);
        Some(vec![
            Value::Int(room?),
            Value::Int(user?),
            row.or("banned", no()),
            row.take("read"),
            row.take("accessible"),
            row.take("write"),
            row.take("upload"),
            row.or("moderator", no()),
            row.or("admin", no()),
            row.or("visible_mod", Value::Bool(true)),
        ])
    }

    fn permission_future(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (room, user) = (row.int("room"), row.int("user"));
        if !self.is_room(room) || !self.is_user(user) {
            return self.skip("schedules of unknown rooms or users");
        }
        let id = self.next();
        Some(vec![
            id,
            Value::Int(room?),
            Value::Int(user?),
            row.or("at", Value::Real(0.0)),
            row.take("read"),
            row.take("write"),
            row.take("upload"),
        ])
    }

    fn ban_future(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (room, user) = (row.int("room"), row.int("user"));
        if (room.is_some() && !self.is_room(room)) || !self.is_user(user) {
            return self.skip("schedules of unknown rooms or users");
        }
        let id = self.next();
        let room = room.map_or(Value::Null, Value::Int);
        Some(vec![
            id,
            room,
            Value::Int(user?),
            row.or("at", Value::Real(0.0)),
            row.or("banned", Value::Bool(false)),
        ])
    }

    fn nonce(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let nonce = row.take("nonce");
        if nonce.blob().map(<[u8]>::len) != Some(16) {
            return self.skip("nonces of another length");
        }
        // The other program's nonces end a day after their use; ours are kept by the signed time, which is about the
        // same.
        #[expect(clippy::cast_possible_truncation, reason = "Unix seconds")]
        let stamp = row.real("expiry").map_or(0, |expiry| (expiry - 86_400.0) as i64);
        Some(vec![nonce, Value::Int(stamp)])
    }

    fn direct_message(&mut self, mut row: Row<'_>) -> Option<RowValues> {
        let (recipient, sender) = (row.int("recipient"), row.int("sender"));
        if !self.is_user(recipient) || !self.is_user(sender) {
            return self.skip("direct messages of unknown users");
        }
        let body = row.take("body");
        if body == Value::Null {
            return self.skip("direct messages without content");
        }
        let expiry = row.real("expiry");
        let posted = row
            .real("posted_at")
            .or_else(|| expiry.map(|expiry| expiry - self.dm_lifetime))
            .unwrap_or(0.0);
        // bunsogs adds days to milliseconds: such a message would never end.
        let expiry = expiry.filter(|expiry| expiry.abs() < 1e11);
        if expiry.is_none() {
            self.mended += 1;
        }
        Some(vec![
            row.take("id"),
            Value::Int(recipient?),
            Value::Int(sender?),
            body,
            Value::Real(posted),
            Value::Real(expiry.unwrap_or(posted + self.dm_lifetime)),
            Value::Null,
            Value::Null,
        ])
    }
}
