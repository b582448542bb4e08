//! Moderator rights, bans and permissions.

use super::{Id, OverrideRow};

/// A change of moderator rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModChange {
    /// Make moderator; `admin` None keeps admin as it is.
    Appoint {
        /// Admin right to set.
        admin: Option<bool>,
        /// True if the moderator is listed for everybody.
        visible: bool,
    },
    /// Take both rights away.
    Dismiss,
    /// Take the admin right away, stay moderator.
    Demote,
}

/// Scope of a moderation action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// The rooms with these ids.
    Rooms(Vec<Id>),
    /// The whole server.
    Global,
}

/// New values of a user's permissions in a room: outer `None` leaves, inner `None` returns to the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PermissionPatch {
    /// New value of the permission to read.
    pub read: Option<Option<bool>>,
    /// New value of the permission to see that the room exists.
    pub accessible: Option<Option<bool>>,
    /// New value of the permission to post.
    pub write: Option<Option<bool>>,
    /// New value of the permission to upload files.
    pub upload: Option<Option<bool>>,
    /// Keep scheduled changes of the permissions that are set here.
    pub keep_scheduled: bool,
}

/// A scheduled change of permissions, to set at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FuturePermission {
    /// Time of the change (Unix seconds).
    pub at: f64,
    /// New value of the permission to read.
    pub read: Option<bool>,
    /// New value of the permission to post.
    pub write: Option<bool>,
    /// New value of the permission to upload files.
    pub upload: Option<bool>,
}

/// A scheduled change as it is listed: of permissions, or of a ban.
#[derive(Debug, Clone, PartialEq)]
pub struct FutureRow {
    /// Shown id of the user.
    pub session_id: String,
    /// The change; its fields are empty for a ban.
    pub change: FuturePermission,
    /// Ban (true) or unban (false).
    pub banned: Option<bool>,
}

/// An override with the shown id of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// Id that the person is shown under.
    pub session_id: String,
    /// The override of the room's permissions.
    pub row: OverrideRow,
}
