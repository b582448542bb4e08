//! Rooms, their moderators and pins.

use super::Id;
use crate::model::permission::Defaults;

/// Permissions of a room or of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a permission of its own in the protocol"
)]
pub struct RoomDefaults {
    /// May fetch messages.
    #[sqlx(rename = "can_read")]
    pub read: bool,
    /// May see that the room exists when `read` is off.
    #[sqlx(rename = "can_access")]
    pub accessible: bool,
    /// May post.
    #[sqlx(rename = "can_write")]
    pub write: bool,
    /// May upload files.
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
    /// Database id.
    pub id: Id,
    /// Token as the operator wrote it.
    pub token: String,
    /// Shown name.
    pub name: String,
    /// Shown description, if any.
    pub description: Option<String>,
    /// File id of the room's picture.
    pub image_id: Option<Id>,
    /// Unix seconds.
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
    /// Admin and not only moderator.
    pub admin: bool,
    /// Listed for everybody.
    pub visible: bool,
    /// Appointed for the whole server.
    pub global: bool,
}

/// A pinned message.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PinRow {
    /// The message.
    pub message_id: Id,
    /// When (Unix seconds).
    pub pinned_at: f64,
    /// Session ID of who pinned it.
    pub pinned_by: String,
}

/// A room with everything its description shows.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomFull {
    /// The row itself.
    pub room: RoomRow,
    /// Its moderators and the global ones, one entry each.
    pub mods: Vec<ModRow>,
    /// Pinned messages, oldest pin first.
    pub pins: Vec<PinRow>,
}

/// A new room.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// Token; unique without regard to case.
    pub token: String,
    /// Shown name.
    pub name: String,
    /// Shown description.
    pub description: Option<String>,
    /// Permissions of users without an override.
    pub defaults: RoomDefaults,
    /// Unix seconds.
    pub now: f64,
}

/// Changes to a room; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct RoomPatch {
    /// New name.
    pub name: Option<String>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// New default permissions.
    pub read: Option<bool>,
    /// See [`RoomDefaults::accessible`].
    pub accessible: Option<bool>,
    /// See [`RoomDefaults::write`].
    pub write: Option<bool>,
    /// See [`RoomDefaults::upload`].
    pub upload: Option<bool>,
    /// New picture: a file of this room; `Some(None)` removes it.
    pub image: Option<Option<Id>>,
}

/// What a room change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomPatched {
    /// Done; the room's `info_updates` now.
    Done(i64),
    /// The room is gone.
    NoRoom,
    /// The picture is no file of this room.
    NoFile,
}
