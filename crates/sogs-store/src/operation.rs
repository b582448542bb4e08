//! Decisions of operators, as stored: settings, filters, raid mode, held posts, the audit log, and listings.
//!
//! The calls that use them are in `operation_calls.rs`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FileRow, Id};
use crate::model::raid::Raid;

/// Raid mode that is on somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct RaidRow {
    /// The room; 0 = the whole server.
    pub room_id: Id,
    /// Start, end and cause.
    pub raid: Raid,
}

/// An entry to write into the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Time of the action (Unix seconds).
    pub at: f64,
    /// A session id, `operator:NAME` or `server`.
    pub actor: String,
    /// Kind of the action, one word with underscores.
    pub action: String,
    /// Room token.
    pub room: Option<String>,
    /// Session id or number.
    pub target: Option<String>,
    /// Description in words.
    pub detail: String,
    /// Data that `undo` needs.
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

    /// Sets the room token.
    pub fn room(mut self, token: impl Into<String>) -> Self {
        self.room = Some(token.into());
        self
    }

    /// Sets the target.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Sets the description.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Sets the data that `undo` needs.
    pub fn undo(mut self, undo: Value) -> Self {
        self.undo = Some(undo);
        self
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRow {
    /// Number of the entry.
    pub id: Id,
    /// Time of the action (Unix seconds).
    pub at: f64,
    /// Author: a session id, `operator:NAME` or `server`.
    pub actor: String,
    /// Kind of the action, one word with underscores.
    pub action: String,
    /// Room token.
    pub room: Option<String>,
    /// Session id or number.
    pub target: Option<String>,
    /// Description in words.
    pub detail: String,
    /// Data that `undo` needs.
    #[serde(skip)]
    pub undo: Option<String>,
    /// Time at which it was undone (Unix seconds).
    pub undone_at: Option<f64>,
}

/// Conditions for entries of the audit log. A condition that is `None` is not checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogQuery {
    /// Only those of this room.
    pub room: Option<String>,
    /// Only those with one of these authors: all ids of one person, or one name.
    pub actors: Option<Vec<String>>,
    /// Only those with one of these as target or author.
    pub about: Option<Vec<String>>,
    /// Only those at or after this time (Unix seconds).
    pub since: Option<f64>,
    /// Only those before this time (Unix seconds).
    pub until: Option<f64>,
    /// Only those with numbers from the first to the second, both included.
    pub ids: Option<(Id, Id)>,
    /// Maximum number of results, newest first.
    pub limit: i64,
}

/// A post that waits for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// Database id of the message.
    pub message_id: Id,
    /// Database id of its room.
    pub room_id: Id,
    /// Token of the room.
    pub token: String,
    /// Shown id of the author.
    pub session_id: String,
    /// Time since when it waits (Unix seconds).
    pub at: f64,
    /// Reason why the post is held.
    pub reason: String,
    /// Content without padding; `None` = deleted meanwhile.
    pub data: Option<Vec<u8>>,
}

/// A message as moderators see it: hidden ones too.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainMessage {
    /// Database id of the message.
    pub id: Id,
    /// Database id of its room.
    pub room_id: Id,
    /// Shown id of the author.
    pub session_id: String,
    /// Time of posting (Unix seconds).
    pub posted: f64,
    /// Content without padding; `None` = deleted.
    pub data: Option<Vec<u8>>,
    /// True if nobody sees it.
    pub filtered: bool,
}

/// Conditions for messages. A condition that is `None` is not checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageQuery {
    /// Only those of this room.
    pub room_id: Option<Id>,
    /// Only those of this author.
    pub user_id: Option<Id>,
    /// Only those with a smaller number.
    pub before: Option<Id>,
    /// Only those with this number or a larger one.
    pub from: Option<Id>,
    /// Posted not before this time (Unix seconds).
    pub since: Option<f64>,
    /// Posted before this time (Unix seconds).
    pub until: Option<f64>,
    /// Only those that are not deleted.
    pub standing: bool,
    /// Maximum number of results, newest first.
    pub limit: i64,
}

/// A ban in a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BanRow {
    /// Shown id of the person.
    pub session_id: String,
    /// Token of the room; `None` = the whole server.
    pub room: Option<String>,
    /// Time at which it ends by itself (Unix seconds).
    pub until: Option<f64>,
}

/// A person with moderator rights in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeratorRow {
    /// Id that the person is shown under.
    pub session_id: String,
    /// Token of the room; `None` = the whole server.
    pub room: Option<String>,
    /// True for an admin, false for a moderator.
    pub admin: bool,
    /// True if the moderator is listed for everybody.
    pub visible: bool,
}

/// A person in a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PersonRow {
    /// Database id of the person.
    #[serde(skip)]
    pub id: Id,
    /// Id that the person is shown under.
    pub session_id: String,
    /// Time at which the person was first seen (Unix seconds).
    pub created: f64,
    /// Time at which the person was last seen (Unix seconds).
    pub last_active: f64,
    /// True if the person is banned from the whole server.
    pub banned: bool,
    /// True for a moderator of the whole server.
    pub moderator: bool,
    /// True for an admin of the whole server.
    pub admin: bool,
}

/// Conditions for people.
#[derive(Debug, Clone, PartialEq)]
pub struct PeopleQuery {
    /// Only people active in this room.
    pub room_id: Option<Id>,
    /// First seen not before this time (Unix seconds).
    pub since: f64,
    /// First seen before this time (Unix seconds).
    pub until: f64,
    /// Number of results to skip.
    pub skip: i64,
    /// Maximum number of results, the most recently active first.
    pub limit: i64,
}

impl PeopleQuery {
    /// Returns a query for everybody.
    pub fn all() -> Self {
        Self {
            room_id: None,
            since: f64::MIN,
            until: f64::MAX,
            skip: 0,
            limit: i64::MAX,
        }
    }
}

/// Numbers of the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Number of rooms.
    pub rooms: i64,
    /// Number of people ever seen.
    pub users: i64,
    /// Number of messages that are not deleted.
    pub messages: i64,
    /// Number of files.
    pub files: i64,
    /// Bytes of all files.
    pub file_bytes: i64,
    /// Number of stored direct messages.
    pub direct_messages: i64,
    /// Number of posts that wait for approval.
    pub held: i64,
}

/// Numbers of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoomTotals {
    /// Number of messages that are not deleted.
    pub messages: i64,
    /// Bytes of their contents, without padding.
    pub message_bytes: i64,
    /// Number of reactions that people gave.
    pub reactions: i64,
    /// Number of files.
    pub files: i64,
    /// Bytes of all files.
    pub file_bytes: i64,
}

/// A reaction as it was: room, message, person, emoji, when it was given.
pub type KeptReaction = (Id, Id, Id, String, f64);

/// A direct message as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
pub struct KeptLetter {
    /// Number of the direct message.
    pub id: Id,
    /// Database id of the recipient.
    pub recipient_id: Id,
    /// Database id of the sender.
    pub sender_id: Id,
    /// The id the recipient was addressed by, where it is not the one shown now.
    #[serde(default)]
    pub recipient_as: Option<String>,
    /// The id the sender signed with, where it is not the one shown now.
    #[serde(default)]
    pub sender_as: Option<String>,
    /// Encrypted body.
    #[serde(with = "as_base64")]
    pub body: Vec<u8>,
    /// Time of posting (Unix seconds).
    pub posted_at: f64,
    /// Time of expiry (Unix seconds).
    pub expiry: f64,
}

/// Bytes as text in JSON.
mod as_base64 {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&session_protocol::encoding::b64(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        session_protocol::encoding::from_b64(&String::deserialize(from)?)
            .ok_or_else(|| serde::de::Error::custom("not valid base64"))
    }
}

/// A ban that the undone action made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBan {
    /// Database id of the person.
    pub user_id: Id,
    /// The room; `None` = the whole server.
    pub room_id: Option<Id>,
}

/// An account that was first seen lately, neither moderator nor trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Newcomer {
    /// Database id of the account.
    pub id: Id,
    /// Id that the person is shown under.
    pub session_id: String,
    /// Time at which the person was first seen (Unix seconds).
    pub created: f64,
    /// True if the person is banned from the whole server.
    pub banned: bool,
}

/// Deletions and bans in one transaction, with their entry of the audit log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Erase {
    /// Current time (Unix seconds).
    pub now: f64,
    /// Messages: room and message.
    pub messages: Vec<(Id, Id)>,
    /// Reactions; those to messages that go are gone with them.
    pub reactions: Vec<KeptReaction>,
    /// Files that expire at once, beyond those of the messages.
    pub files: Vec<Id>,
    /// Direct messages: number, recipient, sender.
    pub letters: Vec<(Id, Id, Id)>,
    /// Bans: person and room, `None` = the whole server.
    pub bans: Vec<(Id, Option<Id>)>,
    /// Time at which the bans end by themselves (Unix seconds).
    pub until: Option<f64>,
    /// The entry of the audit log. Its `undo` lists the messages that were actually deleted.
    pub log: Option<LogEntry>,
}

/// Result of an [`Erase`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Messages that were deleted by it.
    pub messages: Vec<Id>,
    /// Number of reactions, without those to deleted messages.
    pub reactions: u64,
    /// Number of files.
    pub files: u64,
    /// Number of direct messages.
    pub letters: u64,
    /// Number of bans.
    pub bans: u64,
    /// Number of the entry in the audit log.
    pub log: Option<Id>,
}

/// Deleted things to restore in one transaction. The contents of the files are already on disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Returning {
    /// Deleted messages, whose content is in the history.
    pub messages: Vec<Id>,
    /// Rows of the files to restore.
    pub files: Vec<FileRow>,
    /// Reactions to restore.
    pub reactions: Vec<KeptReaction>,
    /// Pins: room, message, who pinned it, when.
    pub pins: Vec<(Id, Id, Id, f64)>,
    /// Posts that waited for approval: room, message, why, since when.
    pub held: Vec<(Id, Id, String, f64)>,
    /// Direct messages to restore.
    pub letters: Vec<KeptLetter>,
    /// Bans to lift.
    pub unbans: Vec<KeptBan>,
}

/// Numbers of the things that a [`Returning`] restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought {
    /// Number of messages that were restored.
    pub messages: u64,
    /// Number of files.
    pub files: u64,
    /// Number of reactions.
    pub reactions: u64,
    /// Number of pins.
    pub pins: u64,
    /// Number of posts that wait for approval again.
    pub held: u64,
    /// Number of direct messages.
    pub letters: u64,
    /// Number of bans that were lifted.
    pub bans: u64,
}
