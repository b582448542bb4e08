//! People: permissions, roles, and what changing them answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_protocol::{RoomToken, SessionId};

use super::{flag, is_false, opt_flag};

/// Permissions of one user that differ from the room's defaults: `GET /room/T/permissions[/SID]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct Permissions {
    /// True if the user may read.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub read: Option<bool>,
    /// True if the user may post.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub write: Option<bool>,
    /// True if the user may upload files.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub upload: Option<bool>,
    /// True if the user can see that the room exists.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub accessible: Option<bool>,
    /// True if the user is banned from the room.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub banned: bool,
    /// True if the user moderates the room.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub moderator: bool,
    /// True if the user administrates the room.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub admin: bool,
    /// True if the role is not shown to others.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub hidden: bool,
}

/// A change that the server will make: `GET /room/T/futurePermissions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FuturePermission {
    /// Time of the change, unix seconds.
    pub at: f64,
    /// The user, in lists over all users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// New permission to read.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub read: Option<bool>,
    /// New permission to post.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub write: Option<bool>,
    /// New permission to upload.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub upload: Option<bool>,
    /// A ban that begins or ends.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub banned: Option<bool>,
}

/// Scheduled changes of everybody, as servers group them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scheduled {
    /// Changes grouped by user.
    ByUser(BTreeMap<SessionId, Vec<FuturePermission>>),
    /// Changes of all users in one list.
    List(Vec<FuturePermission>),
}

/// A change of one user's permissions: give a value, take it back to the default, or leave it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct PermissionChange {
    /// Set the permission to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<bool>,
    /// Set the permission to post.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// Set the permission to upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<bool>,
    /// Set whether the room exists for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessible: Option<bool>,
    /// Clear the permission to read.
    #[serde(skip_serializing_if = "is_false")]
    pub default_read: bool,
    /// Clear the permission to post.
    #[serde(skip_serializing_if = "is_false")]
    pub default_write: bool,
    /// Clear the permission to upload.
    #[serde(skip_serializing_if = "is_false")]
    pub default_upload: bool,
    /// Clear whether the room exists for the user.
    #[serde(skip_serializing_if = "is_false")]
    pub default_accessible: bool,
    /// `Some(false)` keeps scheduled changes, which are dropped otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unschedule: Option<bool>,
}

/// Scope of a ban or a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The rooms with these tokens.
    Rooms(Vec<RoomToken>),
    /// Every room where we have the right.
    AllRooms,
    /// The whole server.
    Global,
}

impl Scope {
    /// Returns the scope of one room.
    pub fn room(token: &RoomToken) -> Self {
        Self::Rooms(vec![token.clone()])
    }

    pub(crate) fn write_to(&self, body: &mut serde_json::Map<String, serde_json::Value>) {
        match self {
            Self::Rooms(rooms) => {
                let rooms = rooms.iter().map(|token| token.as_str().into()).collect();
                body.insert("rooms".to_owned(), serde_json::Value::Array(rooms));
            }
            Self::AllRooms => {
                body.insert("rooms".to_owned(), serde_json::json!(["*"]));
            }
            Self::Global => {
                body.insert("global".to_owned(), true.into());
            }
        }
    }
}

/// A change of a user's role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoleChange {
    /// Make (or, with `false`, no longer) a moderator; `false` removes admin rights too.
    pub moderator: Option<bool>,
    /// Make (or no longer) an admin; `true` makes a moderator too, `false` alone demotes to moderator.
    pub admin: Option<bool>,
    /// True if others see the role. The server's default: in rooms yes, globally no.
    pub visible: Option<bool>,
}

impl RoleChange {
    /// Makes the user a moderator.
    pub const MODERATOR: Self = Self {
        moderator: Some(true),
        admin: None,
        visible: None,
    };
    /// Makes the user an admin.
    pub const ADMIN: Self = Self {
        moderator: None,
        admin: Some(true),
        visible: None,
    };
    /// Take both roles away.
    pub const NONE: Self = Self {
        moderator: Some(false),
        admin: None,
        visible: None,
    };
}

/// The new `info_updates` of a room that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoUpdates {
    /// New value of the room's counter.
    pub info_updates: i64,
}

/// The new `info_updates` of all rooms whose moderators changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeratorsChanged {
    /// New counter of each room.
    #[serde(default)]
    pub info_updates: BTreeMap<RoomToken, i64>,
}

/// Answer to a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reacted {
    /// `false` when it was there before.
    pub added: bool,
    /// The room's sequence number now.
    pub seqno: i64,
}

/// Answer to taking a reaction back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreacted {
    /// `false` when it was not there.
    pub removed: bool,
    /// The room's sequence number now.
    pub seqno: i64,
}

/// Answer to a moderator's removal of reactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionsRemoved {
    /// Number of reactions that were removed.
    pub removed: u64,
    /// The room's sequence number now.
    pub seqno: i64,
}

/// Answer to a deletion of several items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Number of items that were deleted.
    pub deleted: u64,
}

/// Messages of a user that were deleted in all rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedEverywhere {
    /// Number of messages deleted in all rooms.
    pub total: u64,
    /// Number of messages deleted in each room.
    pub rooms: BTreeMap<RoomToken, u64>,
}
