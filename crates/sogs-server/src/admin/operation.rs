//! The typed operations of an operator: one list for the local socket and for a stopped server.

use serde::{Deserialize, Serialize};

pub use super::answer::{AdminError, AdminErrorKind, Answer};
use crate::model::filter::{FilterAction, FilterKind};

/// Scope of an operation: named rooms, all rooms that exist, or the whole server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomScope {
    /// In these rooms, by token.
    Rooms(Vec<String>),
    /// In every room that exists now.
    EveryRoom,
    /// For the whole server, later rooms included.
    Global,
}

/// Permissions that a room gives to everybody; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PermissionChange {
    /// Permission to read messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<bool>,
    /// Permission to see that the room exists, without reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessible: Option<bool>,
    /// Permission to post.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// Permission to upload files (needs posting too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<bool>,
}

impl PermissionChange {
    /// Returns true if nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One operation. The names in snake case are the protocol of the socket (`{"op":"room_add", …}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Reports that the server runs, and its numbers.
    Status,
    /// Reads the configuration and all rules again.
    Reload,
    /// Lists all rooms.
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
        /// Description of the room.
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
        /// Limits the list to people who posted in this room or were active in it.
        #[serde(default)]
        room: Option<String>,
        /// Maximum number of results.
        #[serde(default = "default_limit")]
        limit: u32,
        /// First seen not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// First seen before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
        /// Limits the list to people whose display name contains this text (case does not matter).
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
        /// Resets the person to the defaults of the room first.
        #[serde(default)]
        clear: bool,
    },
    /// All moderators and admins.
    ModList,
    /// Makes a moderator or admin.
    ModAdd {
        /// Session id.
        user: String,
        /// Rooms or server in which the person moderates.
        place: RoomScope,
        /// Admin rather than moderator.
        #[serde(default)]
        admin: bool,
        /// True if the person is listed for everybody; by default yes in rooms and no for the whole server.
        #[serde(default)]
        visible: Option<bool>,
    },
    /// Takes moderator and admin rights.
    ModRemove {
        /// Session id.
        user: String,
        /// Rooms or server in which the person loses the rights.
        place: RoomScope,
    },
    /// Lists all bans, with the end of timed ones.
    BanList,
    /// Bans people.
    BanAdd {
        /// People, one a line.
        user: String,
        /// Rooms or server from which the people are banned.
        place: RoomScope,
        /// Seconds until it ends; permanent when absent.
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
        /// Rooms or server whose bans are lifted.
        place: RoomScope,
    },
    /// Lists recent messages of a room, newest first.
    MessageList {
        /// Token of the room.
        room: String,
        /// Maximum number of messages.
        #[serde(default = "default_limit")]
        limit: u32,
        /// Limits the list to messages with a smaller number.
        #[serde(default)]
        before: Option<i64>,
        /// Limits the list to messages of this person.
        #[serde(default)]
        user: Option<String>,
        /// Posted not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Posted before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
        /// Limits the list to messages with numbers from the first to the second, both included.
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
        /// Ranges of numbers, both ends included; numbers without a message are skipped.
        #[serde(default)]
        ranges: Vec<(i64, i64)>,
    },
    /// Deletes all messages of people, and their reactions when asked.
    MessageDeleteAll {
        /// People, one a line.
        user: String,
        /// Rooms to delete from; `Global` and `EveryRoom` mean the same.
        place: RoomScope,
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
        /// Rooms to delete from; `Global` and `EveryRoom` mean the same.
        place: RoomScope,
        /// The phrase, at least three characters.
        text: String,
        /// Posted not before this time (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Posted before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
    },
    /// Held posts.
    HeldList {
        /// Limits the list to this room.
        #[serde(default)]
        room: Option<String>,
    },
    /// Shows a held post to everybody, as new.
    HeldApprove {
        /// Number of the message.
        id: i64,
    },
    /// Deletes a held post.
    #[serde(alias = "held_refuse")]
    HeldReject {
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
    /// Shows the moderators' room, the account that posts there, and the number of waiting cases.
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
    /// Keeps the files of messages permanently.
    FileKeep {
        /// Rooms concerned; `Global` and `EveryRoom` mean the same.
        place: RoomScope,
    },
    /// Files of a room, newest first.
    FileList {
        /// Token of the room.
        room: String,
        /// Maximum number of files.
        #[serde(default = "default_limit")]
        limit: u32,
    },
    /// Removes a file.
    FileDelete {
        /// Number of the file.
        id: i64,
    },
    /// Lists all filters.
    FilterList,
    /// Adds a filter.
    FilterAdd {
        /// Token of the room; every room when absent.
        #[serde(default)]
        room: Option<String>,
        /// Kind of the filter.
        kind: FilterKind,
        /// List or pattern.
        #[serde(default)]
        pattern: String,
        /// Action when the filter matches.
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
    /// Shows which filters of a room match a text.
    FilterTest {
        /// Token of the room; only filters of every room when absent.
        #[serde(default)]
        room: Option<String>,
        /// The text of a message.
        text: String,
    },
    /// Lists the rules that are set.
    SettingList {
        /// Limits the list to this room.
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
        /// Value of the rule; the rule is cleared when absent.
        #[serde(default)]
        value: Option<String>,
    },
    /// Lists the rooms in which raid mode is on.
    RaidList,
    /// Switches raid mode on.
    RaidOn {
        /// Token of the room; everywhere when absent.
        #[serde(default)]
        room: Option<String>,
        /// Seconds until it ends; until `off` when absent.
        #[serde(default)]
        seconds: Option<f64>,
        /// Number of seconds: identities first seen within this time may only read, too.
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
        /// Seconds until the bans end; permanent when absent.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// Switches raid mode off.
    RaidOff {
        /// Token of the room; the server-wide one when absent.
        #[serde(default)]
        room: Option<String>,
    },
    /// Lists the entries of the audit log, newest first.
    LogList {
        /// Maximum number of entries.
        #[serde(default = "default_limit")]
        limit: u32,
        /// Limits the list to this room.
        #[serde(default)]
        room: Option<String>,
        /// Limits the list to this actor.
        #[serde(default)]
        actor: Option<String>,
        /// Limits the list to entries of or about this session id or object.
        #[serde(default)]
        target: Option<String>,
        /// Limits the list to entries from this time on (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Limits the list to entries before this time (Unix seconds).
        #[serde(default)]
        until: Option<f64>,
    },
    /// Undoes an entry of the log.
    Undo {
        /// Number in the log; the latest that can be undone when absent.
        #[serde(default)]
        id: Option<i64>,
    },
    /// Undoes several entries of the log, the latest first. Entries that cannot be undone are named and skipped.
    UndoMany {
        /// Ranges of numbers, both ends included; all numbers when empty.
        #[serde(default)]
        ranges: Vec<(i64, i64)>,
        /// Limits the undo to acts of this actor: a person, `operator:NAME` or `server`.
        #[serde(default)]
        actor: Option<String>,
        /// Limits the undo to this room.
        #[serde(default)]
        room: Option<String>,
        /// Limits the undo to entries from this time on (Unix seconds).
        #[serde(default)]
        since: Option<f64>,
        /// Limits the undo to entries before this time (Unix seconds).
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
    /// Returns true if the operation only reads.
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

/// A request over the socket: an operation, its author, and whether it is a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminRequest {
    /// Name of the person at the terminal, for the log.
    #[serde(default)]
    pub actor: String,
    /// True for a dry run: the server reports what would happen and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Operation to carry out.
    pub operation: Operation,
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
                place: RoomScope::Global,
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
