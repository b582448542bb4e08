//! The typed operations of an operator: one list for the local socket and for a stopped server.

use serde::{Deserialize, Serialize};

use crate::model::filter::{FilterAction, FilterKind};

/// Where something holds: in named rooms, in all rooms that exist, or for the whole server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In these rooms, by token.
    Rooms(Vec<String>),
    /// In every room that exists now.
    EveryRoom,
    /// For the whole server, later rooms included.
    Global,
}

/// What a room lets everybody do; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PermissionChange {
    /// Reading messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<bool>,
    /// Seeing that the room exists, without reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessible: Option<bool>,
    /// Posting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// Uploading files (needs posting too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<bool>,
}

impl PermissionChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One operation. The names in snake case are the protocol of the socket (`{"op":"room_add", …}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Whether the server runs, and its numbers.
    Status,
    /// Reads the configuration and all rules again.
    Reload,
    /// All rooms.
    RoomList,
    /// One room with its rules.
    RoomShow {
        /// Token of the room.
        room: String,
    },
    /// Makes a room.
    RoomAdd {
        /// Token: letters, digits, `_` and `-`, at most 64.
        room: String,
        /// Name; the token when absent.
        #[serde(default)]
        name: Option<String>,
        /// What the room is about.
        #[serde(default)]
        description: Option<String>,
        /// Default permissions that differ from "everything allowed".
        #[serde(default)]
        permissions: PermissionChange,
    },
    /// Changes a room.
    RoomEdit {
        /// Token of the room.
        room: String,
        /// New name.
        #[serde(default)]
        name: Option<String>,
        /// New description; an empty one removes it.
        #[serde(default)]
        description: Option<String>,
        /// Default permissions to change.
        #[serde(default)]
        permissions: PermissionChange,
        /// A picture for the room, base64; an empty text removes it.
        #[serde(default)]
        image: Option<String>,
    },
    /// Changes what every room lets everybody do.
    RoomEditEvery {
        /// Default permissions to change.
        permissions: PermissionChange,
    },
    /// Removes a room with everything in it; what it held is archived for `undo`.
    RoomDelete {
        /// Token of the room.
        room: String,
    },
    /// People, most recently active first.
    UserList {
        /// Only people who posted in this room or were active in it.
        #[serde(default)]
        room: Option<String>,
        /// At most this many.
        #[serde(default = "default_limit")]
        limit: u32,
        /// First seen not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// First seen before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
        /// Only people whose display name contains this text (case does not matter).
        #[serde(default)]
        name: Option<String>,
    },
    /// Everything known of one person.
    UserShow {
        /// A person: a session id (`05…`, `15…` or `25…`), a short id (`15e5…b6fe`), a display name, or the number of one
        /// of their messages. The same everywhere below.
        user: String,
    },
    /// Sets or clears what people may do in a room. An explicit permission to write exempts from raid mode, minimum age
    /// and approval.
    UserPermissions {
        /// People, one a line.
        user: String,
        /// Token of the room.
        room: String,
        /// Permissions to set.
        #[serde(default)]
        permissions: PermissionChange,
        /// Back to the defaults of the room first.
        #[serde(default)]
        clear: bool,
    },
    /// All moderators and admins.
    ModList,
    /// Makes a moderator or admin.
    ModAdd {
        /// Session id.
        user: String,
        /// Where.
        place: Place,
        /// Admin rather than moderator.
        #[serde(default)]
        admin: bool,
        /// Listed for everybody; rooms: yes, global: no, unless said.
        #[serde(default)]
        visible: Option<bool>,
    },
    /// Takes moderator and admin rights.
    ModRemove {
        /// Session id.
        user: String,
        /// Where.
        place: Place,
    },
    /// All bans, and when timed ones end.
    BanList,
    /// Bans people.
    BanAdd {
        /// People, one a line.
        user: String,
        /// Where.
        place: Place,
        /// Seconds until it ends; for good when absent.
        #[serde(default)]
        seconds: Option<f64>,
        /// Deletes the posts of these people there as well, and their reactions.
        #[serde(default)]
        delete_posts: bool,
    },
    /// Lifts bans.
    BanRemove {
        /// People, one a line.
        user: String,
        /// Where.
        place: Place,
    },
    /// Recent messages of a room, newest first.
    MessageList {
        /// Token of the room.
        room: String,
        /// At most this many.
        #[serde(default = "default_limit")]
        limit: u32,
        /// Only messages with a smaller number.
        #[serde(default)]
        before: Option<i64>,
        /// Only messages of this person.
        #[serde(default)]
        user: Option<String>,
        /// Posted not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Posted before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
        /// Only messages with numbers from the first to the second, both included.
        #[serde(default)]
        ids: Option<(i64, i64)>,
    },
    /// Deletes messages by number.
    MessageDelete {
        /// Token of the room.
        room: String,
        /// Numbers of the messages; each must be there.
        #[serde(default)]
        ids: Vec<i64>,
        /// Ranges of numbers, both ends included, with whatever is there.
        #[serde(default)]
        ranges: Vec<(i64, i64)>,
    },
    /// Deletes all messages of people, and their reactions when asked.
    MessageDeleteAll {
        /// People, one a line.
        user: String,
        /// Where; `Global` and `EveryRoom` mean the same.
        place: Place,
        /// Removes their reactions too.
        #[serde(default)]
        reactions: bool,
        /// Posted not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Posted before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
    },
    /// Deletes messages whose text has a phrase (case does not matter).
    MessageDeleteContaining {
        /// Where; `Global` and `EveryRoom` mean the same.
        place: Place,
        /// The phrase, at least three characters.
        text: String,
        /// Posted not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Posted before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
    },
    /// Posts that wait for approval.
    HeldList {
        /// Only of this room.
        #[serde(default)]
        room: Option<String>,
    },
    /// Shows a held post to everybody, as new.
    HeldApprove {
        /// Number of the message.
        id: i64,
    },
    /// Deletes a held post.
    HeldRefuse {
        /// Number of the message.
        id: i64,
    },
    /// Opens the moderators' room: held posts and reports appear there. The room is made if there is none of this token.
    ModerationOn {
        /// Token of the room.
        #[serde(default = "moderators_room")]
        room: String,
    },
    /// Closes the moderators' room; it stays, for moderators of the server.
    ModerationOff,
    /// The moderators' room, the account that posts there, and how much waits.
    ModerationStatus,
    /// Pins a message.
    MessagePin {
        /// Token of the room.
        room: String,
        /// Number of the message.
        id: i64,
    },
    /// Unpins a message, or all messages of a room.
    MessageUnpin {
        /// Token of the room.
        room: String,
        /// Number of the message; all pinned messages when absent.
        #[serde(default)]
        id: Option<i64>,
    },
    /// Keeps the files of messages for good.
    FileKeep {
        /// Where; `Global` and `EveryRoom` mean the same.
        place: Place,
    },
    /// Files of a room, newest first.
    FileList {
        /// Token of the room.
        room: String,
        /// At most this many.
        #[serde(default = "default_limit")]
        limit: u32,
    },
    /// Removes a file.
    FileDelete {
        /// Number of the file.
        id: i64,
    },
    /// All filters.
    FilterList,
    /// Adds a filter.
    FilterAdd {
        /// Token of the room; every room when absent.
        #[serde(default)]
        room: Option<String>,
        /// What it looks for.
        kind: FilterKind,
        /// List or pattern.
        #[serde(default)]
        pattern: String,
        /// What happens.
        action: FilterAction,
        /// Text of a refusal.
        #[serde(default)]
        reply: Option<String>,
    },
    /// Removes a filter.
    FilterRemove {
        /// Number of the filter.
        id: i64,
    },
    /// Says which filters of a room a text would meet.
    FilterTest {
        /// Token of the room; only filters of every room when absent.
        #[serde(default)]
        room: Option<String>,
        /// The text of a message.
        text: String,
    },
    /// Rules that are set.
    SettingList {
        /// Of this room only.
        #[serde(default)]
        room: Option<String>,
    },
    /// Sets a rule, or clears it.
    SettingSet {
        /// Token of the room; the whole server when absent.
        #[serde(default)]
        room: Option<String>,
        /// Name of the rule.
        name: String,
        /// Its value; absent clears it.
        #[serde(default)]
        value: Option<String>,
    },
    /// Where raid mode is on.
    RaidList,
    /// Switches raid mode on.
    RaidOn {
        /// Token of the room; everywhere when absent.
        #[serde(default)]
        room: Option<String>,
        /// Seconds until it ends; until `off` when absent.
        #[serde(default)]
        seconds: Option<f64>,
        /// Identities first seen within so many seconds before now read only as well.
        #[serde(default)]
        reach_back: f64,
    },
    /// Deletes everything that accounts first seen since a time wrote: posts, reactions, files, and direct messages
    /// unless a room is named. Moderators and trusted people are left out.
    RaidSweep {
        /// Token of the room; everywhere when absent.
        #[serde(default)]
        room: Option<String>,
        /// Accounts first seen at or after this time (Unix seconds).
        since: f64,
        /// Accounts first seen before this time (Unix seconds); now when absent.
        #[serde(default)]
        until: Option<f64>,
        /// Bans these accounts from the server, or from the room that is named.
        #[serde(default)]
        ban: bool,
        /// Seconds until the bans end; for good when absent.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// Switches raid mode off.
    RaidOff {
        /// Token of the room; the server-wide one when absent.
        #[serde(default)]
        room: Option<String>,
    },
    /// What was done, newest first.
    LogList {
        /// At most this many.
        #[serde(default = "default_limit")]
        limit: u32,
        /// Only of this room.
        #[serde(default)]
        room: Option<String>,
        /// Only by this actor.
        #[serde(default)]
        actor: Option<String>,
        /// Only of or about this session id or thing.
        #[serde(default)]
        target: Option<String>,
        /// Not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
    },
    /// Takes back something of the log.
    Undo {
        /// Number in the log; the latest that can be undone when absent.
        #[serde(default)]
        id: Option<i64>,
    },
    /// Takes back several entries of the log, the latest first. What cannot be undone is named and left.
    UndoMany {
        /// Ranges of numbers, both ends included; all numbers when empty.
        #[serde(default)]
        ranges: Vec<(i64, i64)>,
        /// Only what this actor did: a person, `operator:NAME` or `server`.
        #[serde(default)]
        actor: Option<String>,
        /// Only in this room.
        #[serde(default)]
        room: Option<String>,
        /// Not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
    },
    /// Writes a backup of the database and files.
    Backup {
        /// Folder to write; must not exist or be empty.
        to: std::path::PathBuf,
    },
}

fn moderators_room() -> String {
    "moderators".to_owned()
}

fn default_limit() -> u32 {
    50
}

impl Operation {
    /// Whether it only looks.
    pub fn is_read_only(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::RoomList
                | Self::RoomShow { .. }
                | Self::UserList { .. }
                | Self::UserShow { .. }
                | Self::ModList
                | Self::BanList
                | Self::MessageList { .. }
                | Self::HeldList { .. }
                | Self::ModerationStatus
                | Self::FileList { .. }
                | Self::FilterList
                | Self::FilterTest { .. }
                | Self::SettingList { .. }
                | Self::RaidList
                | Self::LogList { .. }
        )
    }
}

/// A request over the socket: an operation, who asks, and whether it is only tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminRequest {
    /// Name of the person at the terminal, for the log.
    #[serde(default)]
    pub actor: String,
    /// Says what would happen, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// What to do.
    pub operation: Operation,
}

/// What came of an operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The result for programs.
    pub data: serde_json::Value,
    /// The same for people, one line each.
    pub lines: Vec<String>,
    /// Rows that were (or with `dry_run` would be) changed.
    #[serde(default)]
    pub changed: u64,
    /// Number in the log by which it can be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<i64>,
}

impl Answer {
    /// An answer that only shows something.
    pub fn show(data: impl Serialize, lines: Vec<String>) -> Self {
        Self {
            data: serde_json::to_value(data).unwrap_or_default(),
            lines,
            ..Self::default()
        }
    }
}

/// Why an operation was not done: cause, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{cause}")]
pub struct AdminError {
    /// Kind of the failure.
    pub kind: AdminErrorKind,
    /// What is wrong.
    pub cause: String,
    /// Remedy, as an imperative.
    pub remedy: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminErrorKind {
    /// The request makes no sense.
    Usage,
    /// There is no such room, person, message, file, filter or log entry.
    NotFound,
    /// It would break a rule, such as banning a moderator.
    Conflict,
    /// The database or the disk failed.
    Failed,
}

impl AdminError {
    /// A request that makes no sense.
    pub fn usage(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: AdminErrorKind::Usage,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that is not there.
    pub fn not_found(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: AdminErrorKind::NotFound,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that a rule forbids.
    pub fn conflict(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: AdminErrorKind::Conflict,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// A failure of database or disk.
    pub fn failed(cause: impl std::fmt::Display) -> Self {
        Self {
            kind: AdminErrorKind::Failed,
            cause: cause.to_string(),
            remedy: "look at the server's log and the free space of its folder, then try again".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_protocol_is_what_is_documented() {
        let request: AdminRequest = serde_json::from_str(
            r#"{"operation":{"op":"mod_add","user":"05aa","place":"global","admin":true}}"#,
        )
        .expect("json");
        assert_eq!(
            request.operation,
            Operation::ModAdd {
                user: "05aa".into(),
                place: Place::Global,
                admin: true,
                visible: None
            }
        );
        let request: AdminRequest = serde_json::from_str(
            r#"{"dry_run":true,"operation":{"op":"ban_add","user":"05aa","place":{"rooms":["test"]}}}"#,
        )
        .expect("json");
        assert!(request.dry_run && !request.operation.is_read_only());
        assert!(serde_json::from_str::<AdminRequest>(r#"{"operation":{"op":"drop_database"}}"#).is_err());
    }
}
