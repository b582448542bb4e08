//! Rooms, their moderators and pins.

use super::Id;
use crate::model::permission::Defaults;

/// Permissions of a room or of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is its own permission in the protocol"
)]
pub struct RoomDefaults {
    /// Permission to fetch messages.
    #[sqlx(rename = "can_read")]
    pub read: bool,
    /// Permission to see that the room exists when `read` is off.
    #[sqlx(rename = "can_access")]
    pub accessible: bool,
    /// Permission to post.
    #[sqlx(rename = "can_write")]
    pub write: bool,
    /// Permission to upload files.
    #[sqlx(rename = "can_upload")]
    pub upload: bool,
}

impl From<&RoomDefaults> for Defaults {
    fn from(defaults: &RoomDefaults) -> Self {
        Self {
            read: defaults.read,
            accessible: defaults.accessible,
            write: defaults.write,
            upload: defaults.upload,
        }
    }
}

/// A room as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct RoomRow {
    /// Database id of the room.
    pub id: Id,
    /// Token as the operator wrote it.
    pub token: String,
    /// Name that is shown.
    pub name: String,
    /// Shown description, if any.
    pub description: Option<String>,
    /// File id of the room's picture.
    pub image_id: Option<Id>,
    /// Time of creation (Unix seconds).
    pub created: f64,
    /// Last sequence number given out.
    pub message_sequence: i64,
    /// Counter of metadata changes.
    pub info_updates: i64,
    /// Users seen within the activity threshold, as last counted.
    pub active_users: i64,
    /// Permissions of users without an override.
    #[sqlx(flatten)]
    pub defaults: RoomDefaults,
    /// The moderators' room: nobody but moderators sees it, whatever the permissions say.
    pub for_moderators: bool,
}

/// A moderator or admin of a room, its own or a global one.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ModRow {
    /// Database id of the user.
    pub user_id: Id,
    /// The id the user is shown under.
    pub session_id: String,
    /// True for an admin, false for a moderator.
    pub admin: bool,
    /// True if the moderator is listed for everybody.
    pub visible: bool,
    /// True if appointed for the whole server.
    pub global: bool,
}

/// A pinned message.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PinRow {
    /// Database id of the message.
    pub message_id: Id,
    /// Time of pinning (Unix seconds).
    pub pinned_at: f64,
    /// Session ID of the person who pinned it.
    pub pinned_by: String,
}

/// A room with everything its description shows.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomFull {
    /// The row of the room.
    pub room: RoomRow,
    /// Its moderators and the global ones, one entry each.
    pub mods: Vec<ModRow>,
    /// Pinned messages, oldest pin first.
    pub pins: Vec<PinRow>,
}

/// A room to create.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// Token; unique without regard to case.
    pub token: String,
    /// Name that is shown.
    pub name: String,
    /// Description that is shown.
    pub description: Option<String>,
    /// Permissions of users without an override.
    pub defaults: RoomDefaults,
    /// Current time (Unix seconds).
    pub now: f64,
}

/// Changes to a room; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct RoomPatch {
    /// New name of the room.
    pub name: Option<String>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// New default of [`RoomDefaults::read`].
    pub read: Option<bool>,
    /// New default of [`RoomDefaults::accessible`].
    pub accessible: Option<bool>,
    /// New default of [`RoomDefaults::write`].
    pub write: Option<bool>,
    /// New default of [`RoomDefaults::upload`].
    pub upload: Option<bool>,
    /// New picture: a file of this room; `Some(None)` removes it.
    pub image: Option<Option<Id>>,
}

/// Result of a change of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomPatched {
    /// Done; the room's `info_updates` now.
    Done(i64),
    /// The room no longer exists.
    NoRoom,
    /// The picture is not a file of this room.
    NoFile,
}
