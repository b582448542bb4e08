//! What operators decide, as stored: settings, filters, raid mode, held posts, the audit log, and listings.
//!
//! These operations are written once in `sql/operation.rs` and called on any store.

use serde::Serialize;
use serde_json::Value;

use super::{Backend, Changed, FileRow, Id, RoomPatch, Store, StoreResult};
use crate::model::filter::Filter;
use crate::model::raid::Raid;

/// Raid mode that is on somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct RaidRow {
    /// The room; 0 = the whole server.
    pub room_id: Id,
    /// Since when, until when, why.
    pub raid: Raid,
}

/// Something to write into the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Unix seconds.
    pub at: f64,
    /// A session id, `operator:NAME` or `server`.
    pub actor: String,
    /// What was done, one word with underscores.
    pub action: String,
    /// Room token.
    pub room: Option<String>,
    /// Session id or number.
    pub target: Option<String>,
    /// In words.
    pub detail: String,
    /// What `undo` needs.
    pub undo: Option<Value>,
}

impl LogEntry {
    /// An entry without room, target and undo.
    pub fn new(actor: impl Into<String>, action: impl Into<String>, at: f64) -> Self {
        Self {
            at,
            actor: actor.into(),
            action: action.into(),
            room: None,
            target: None,
            detail: String::new(),
            undo: None,
        }
    }

    /// With a room token.
    pub fn room(mut self, token: impl Into<String>) -> Self {
        self.room = Some(token.into());
        self
    }

    /// With a target.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// With a description.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// With what `undo` needs.
    pub fn undo(mut self, undo: Value) -> Self {
        self.undo = Some(undo);
        self
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRow {
    /// Its number.
    pub id: Id,
    /// Unix seconds.
    pub at: f64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// Room token.
    pub room: Option<String>,
    /// Session id or number.
    pub target: Option<String>,
    /// In words.
    pub detail: String,
    /// What `undo` needs.
    #[serde(skip)]
    pub undo: Option<String>,
    /// When it was taken back.
    pub undone_at: Option<f64>,
}

/// Which entries of the audit log; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Of a room.
    pub room: Option<String>,
    /// By somebody.
    pub actor: Option<String>,
    /// About somebody or something.
    pub target: Option<String>,
    /// At most so many, newest first.
    pub limit: i64,
}

/// A post that waits for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// The message.
    pub message_id: Id,
    /// Its room.
    pub room_id: Id,
    /// Token of the room.
    pub token: String,
    /// Shown id of the author.
    pub session_id: String,
    /// Unix seconds.
    pub at: f64,
    /// Why.
    pub reason: String,
    /// Content without padding; `None` = deleted meanwhile.
    pub data: Option<Vec<u8>>,
}

/// A message as moderators see it: hidden ones too.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainMessage {
    /// The message.
    pub id: Id,
    /// Its room.
    pub room_id: Id,
    /// Shown id of the author.
    pub session_id: String,
    /// Unix seconds.
    pub posted: f64,
    /// Content without padding; `None` = deleted.
    pub data: Option<Vec<u8>>,
    /// Shown to nobody.
    pub filtered: bool,
}

/// Which messages; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageQuery {
    /// Of a room.
    pub room_id: Option<Id>,
    /// Of an author.
    pub user_id: Option<Id>,
    /// With a smaller number.
    pub before: Option<Id>,
    /// Only such that are not deleted.
    pub standing: bool,
    /// At most so many, newest first.
    pub limit: i64,
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BanRow {
    /// Shown id of the person.
    pub session_id: String,
    /// Token of the room; `None` = the whole server.
    pub room: Option<String>,
    /// When it ends by itself (Unix seconds).
    pub until: Option<f64>,
}

/// Somebody with moderator rights in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeratorRow {
    /// Shown id.
    pub session_id: String,
    /// Token of the room; `None` = the whole server.
    pub room: Option<String>,
    /// Admin rather than moderator.
    pub admin: bool,
    /// Listed for everybody.
    pub visible: bool,
}

/// A person in a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PersonRow {
    /// Shown id.
    pub session_id: String,
    /// First seen (Unix seconds).
    pub created: f64,
    /// Last seen (Unix seconds).
    pub last_active: f64,
    /// Banned from the whole server.
    pub banned: bool,
    /// Global moderator.
    pub moderator: bool,
    /// Global admin.
    pub admin: bool,
}

/// Numbers of the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Rooms.
    pub rooms: i64,
    /// People ever seen.
    pub users: i64,
    /// Messages that stand.
    pub messages: i64,
    /// Files.
    pub files: i64,
    /// Bytes of all files.
    pub file_bytes: i64,
    /// Direct messages that wait.
    pub direct_messages: i64,
    /// Posts that wait for approval.
    pub held: i64,
}

/// Numbers of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoomTotals {
    /// Messages that stand.
    pub messages: i64,
    /// Bytes of their contents, without padding.
    pub message_bytes: i64,
    /// Reactions that people gave.
    pub reactions: i64,
    /// Files.
    pub files: i64,
    /// Bytes of all files.
    pub file_bytes: i64,
}

/// What brings a deleted message back.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// Messages that stand again.
    pub messages: u64,
}

macro_rules! operations {
    ($( $(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),* $(,)?) -> $ret:ty; )+) => {
        impl dyn Store {
            $( $(#[$doc])*
            pub(crate) async fn $name(&self, $($arg: $type),*) -> StoreResult<$ret> {
                match self.backend() {
                    Backend::Sqlite(store) => store.$name($($arg),*).await,
                    Backend::Postgres(store) => store.$name($($arg),*).await,
                }
            } )+
        }
    };
}

operations! {
    /// All rules that are set: room (0 = server), name, value.
    fn settings() -> Vec<(Id, String, String)>;
    /// Sets a rule, or clears it with `None`.
    fn set_setting(room_id: Id, name: String, value: Option<String>) -> ();
    /// All filters, by number.
    fn filters() -> Vec<Filter>;
    /// Adds a filter (its `id` does not matter); with `Some(id)` under that number.
    fn add_filter(filter: Filter) -> Id;
    /// Removes a filter; false when there was none.
    fn remove_filter(id: Id) -> bool;
    /// Where raid mode is on.
    fn raids() -> Vec<RaidRow>;
    /// Switches raid mode on, or off with `None`.
    fn set_raid(room_id: Id, raid: Option<Raid>) -> ();
    /// Remembers a post as waiting for approval.
    fn hold(message_id: Id, room_id: Id, reason: String, at: f64) -> ();
    /// Posts that wait, oldest first.
    fn held(room_id: Option<Id>) -> Vec<HeldRow>;
    /// Shows a hidden post as new.
    fn show_hidden(message_id: Id) -> Changed;
    /// Hides a post again; it waits for approval as before.
    fn hide_shown(message_id: Id, reason: String, at: f64) -> Changed;
    /// Forgets that a post waits.
    fn drop_held(message_id: Id) -> ();
    /// Writes the audit log.
    fn add_log(entry: LogEntry) -> Id;
    /// Reads the audit log.
    fn log(query: LogQuery) -> Vec<LogRow>;
    /// One entry; with `None` the latest that can be undone.
    fn log_entry(id: Option<Id>) -> Option<LogRow>;
    /// Marks an entry as taken back.
    fn log_undone(id: Id, at: f64) -> ();
    /// Messages as moderators see them.
    fn plain_messages(query: MessageQuery) -> Vec<PlainMessage>;
    /// Brings deleted messages back from the history.
    fn restore_messages(ids: Vec<Id>) -> u64;
    /// The reactions of a person in a room: message, emoji, when.
    fn reactions_of(user_id: Id, room_id: Id) -> Vec<(Id, String, f64)>;
    /// Everybody's reactions to messages: room, message, user, emoji, when; in the order they were given.
    fn reactions_to(messages: Vec<Id>) -> Vec<(Id, Id, Id, String, f64)>;
    /// Pins of messages: room, message, who, when.
    fn pins_of(messages: Vec<Id>) -> Vec<(Id, Id, Id, f64)>;
    /// All bans.
    fn bans() -> Vec<BanRow>;
    /// When a user's ban from a room (`None`: from the server) ends by itself, in Unix seconds.
    fn ban_end(user_id: Id, room_id: Option<Id>) -> Option<f64>;
    /// All moderators, of rooms and of the server.
    fn moderators() -> Vec<ModeratorRow>;
    /// People, most recently active first.
    fn people(room_id: Option<Id>, limit: i64) -> Vec<PersonRow>;
    /// Files of a room, newest first.
    fn room_files(room_id: Id, limit: i64) -> Vec<FileRow>;
    /// Files of messages.
    fn files_of_messages(ids: Vec<Id>) -> Vec<FileRow>;
    /// A file by number, of any room.
    fn any_file(id: Id) -> Option<FileRow>;
    /// Changes when a file expires; false when there is none.
    fn set_file_expiry(id: Id, expiry: Option<f64>) -> bool;
    /// Files that are attached to a message and expire, of one room or of all: number and when they expire.
    fn expiring_files(room_id: Option<Id>) -> Vec<(Id, f64)>;
    /// Changes when files expire, in one transaction; how many there were.
    fn set_files_expiry(files: Vec<(Id, Option<f64>)>) -> u64;
    /// Puts a file row back as it was, unless the number is taken.
    fn put_file(row: FileRow) -> bool;
    /// Numbers of the whole server.
    fn totals() -> Totals;
    /// Numbers of a room.
    fn room_totals(room_id: Id) -> RoomTotals;
    /// Changes several rooms alike, in one transaction.
    fn patch_rooms(rooms: Vec<Id>, patch: RoomPatch) -> ();
    /// Messages of a room, pinned ones apart, that were posted before a time.
    fn count_older(room_id: Id, before: f64) -> i64;
    /// The public key of the community, in hexadecimal; `None` = no server was ever started on this database.
    fn community_key() -> Option<String>;
    /// Whether there are rooms or people.
    fn is_inhabited() -> bool;
    /// Notes the public key if there is none yet; the one that is noted now.
    fn claim_key(public_key: String) -> String;
    /// Notes another public key.
    fn set_community_key(public_key: String) -> ();
    /// Tells every process that anything may have changed.
    fn announce() -> ();
}
