//! Users, their overrides, and what their requests use up.

use super::Id;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a permission of its own in the protocol"
)]
pub struct UserRow {
    /// Database id.
    pub id: Id,
    /// Shown id: `05`, `15` or `25`.
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
    /// Listed as moderator of every room.
    pub visible_mod: bool,
}

/// What holds for one user in one room instead of the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "one column each")]
pub struct OverrideRow {
    /// The room.
    pub room_id: Id,
    /// The user.
    pub user_id: Id,
    /// Banned from the room.
    pub banned: bool,
    /// Instead of the room default.
    #[sqlx(rename = "can_read")]
    pub read: Option<bool>,
    /// Instead of the room default.
    #[sqlx(rename = "can_access")]
    pub accessible: Option<bool>,
    /// Instead of the room default.
    #[sqlx(rename = "can_write")]
    pub write: Option<bool>,
    /// Instead of the room default.
    #[sqlx(rename = "can_upload")]
    pub upload: Option<bool>,
    /// Moderates the room.
    pub moderator: bool,
    /// Administers the room.
    pub admin: bool,
    /// Listed for everybody.
    pub visible_mod: bool,
}

impl OverrideRow {
    /// One that changes nothing: what holds for everybody without a row.
    pub const fn none(room_id: Id, user_id: Id) -> Self {
        Self {
            room_id,
            user_id,
            banned: false,
            read: None,
            accessible: None,
            write: None,
            upload: None,
            moderator: false,
            admin: false,
            visible_mod: true,
        }
    }
}

/// A user with all overrides.
#[derive(Debug, Clone, PartialEq)]
pub struct UserFull {
    /// The row itself.
    pub user: UserRow,
    /// Overrides in any room.
    pub overrides: Vec<OverrideRow>,
}

/// The ids under which one person may be known: used to find a user given another form of the id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    /// Ids that would be this person; the first that exists is taken.
    pub candidates: Vec<String>,
    /// Keys under which the person will be recognised on their first visit (absolute 15 id, 25 id).
    pub pending: Vec<String>,
}

/// A used nonce and the timestamp that was signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceRow {
    /// The 16 bytes.
    pub nonce: [u8; 16],
    /// Unix seconds.
    pub stamp: i64,
}
