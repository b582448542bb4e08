//! Users, their overrides, and what their requests use up.

use super::Id;
use crate::model::permission::{Override, Standing};

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
    /// Whether the person was here; otherwise somebody else named them (a grant, a ban).
    pub visited: bool,
}

impl From<&UserRow> for Standing {
    fn from(user: &UserRow) -> Self {
        Self {
            banned: user.banned,
            moderator: user.moderator,
            admin: user.admin,
        }
    }
}

/// How well an id suits a server as the one that a person is shown under: the higher the better.
pub fn suitability(session_id: &str, blind: bool) -> u8 {
    match (session_id.get(..2), blind) {
        (Some("15"), true) | (Some("05"), false) => 3,
        (Some("25"), true) | (Some("15"), false) => 2,
        (Some("25"), false) => 1,
        _ => 0,
    }
}

impl UserRow {
    /// Whether a visit under `session_id` makes that the id which the person is shown under. `blind`: the server insists on
    /// blinded ids.
    pub fn is_better_shown_as(&self, session_id: &str, blind: bool) -> bool {
        !self.visited
            || (self.session_id != session_id
                && suitability(session_id, blind) > suitability(&self.session_id, blind))
    }
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

impl From<&OverrideRow> for Override {
    fn from(own: &OverrideRow) -> Self {
        Self {
            banned: own.banned,
            read: own.read,
            accessible: own.accessible,
            write: own.write,
            upload: own.upload,
            moderator: own.moderator,
            admin: own.admin,
        }
    }
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

/// One person as an id names them: the id, and all others that follow from it. `account::person` makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The id as it was given.
    pub session_id: String,
    /// The key under which the person is looked up first: the blinded id of version 1 with its sign bit clear, or, for a
    /// `25` id, that with its sign bit clear.
    pub key: String,
    /// All keys that are this person's, `key` included.
    pub keys: Vec<String>,
    /// Keys of ids that the same secret can answer for and that no app makes, for instance `25` before the key of a `15` id.
    pub forged: Vec<String>,
    /// The person is here, and not only named by somebody else.
    pub visits: bool,
    /// The server insists on blinded ids.
    pub blind: bool,
}

impl Person {
    /// Somebody of whom nothing but the id is known.
    pub fn named(session_id: impl Into<String>) -> Self {
        let session_id = session_id.into();
        Self {
            key: session_id.clone(),
            keys: vec![session_id.clone()],
            forged: Vec::new(),
            session_id,
            visits: true,
            blind: true,
        }
    }
}

/// A key of an id that is known, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownKey {
    /// As in [`Person::keys`].
    pub key: String,
    /// The person.
    pub user_id: Id,
    /// Whether the account id or version 1 of the person is known, and not only a `25` id.
    pub has_account: bool,
}

/// A used nonce and the timestamp that was signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceRow {
    /// The 16 bytes.
    pub nonce: [u8; 16],
    /// Unix seconds.
    pub stamp: i64,
}
