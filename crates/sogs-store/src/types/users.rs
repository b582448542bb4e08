//! Users, their overrides, and what their requests use up.

use super::Id;
use crate::model::permission::{Override, UserFlags};

/// A user as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is its own permission in the protocol"
)]
pub struct UserRow {
    /// Database id of the user.
    pub id: Id,
    /// Shown id: `05`, `15` or `25`.
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
    /// True if the person is listed as moderator of every room.
    pub visible_mod: bool,
    /// True if the person was here; otherwise somebody else named them (a grant, a ban).
    pub visited: bool,
}

impl From<&UserRow> for UserFlags {
    fn from(user: &UserRow) -> Self {
        Self {
            banned: user.banned,
            moderator: user.moderator,
            admin: user.admin,
        }
    }
}

/// Rates an id as the one that a person is shown under on a server: higher is better.
pub fn suitability(session_id: &str, blind: bool) -> u8 {
    match (session_id.get(..2), blind) {
        (Some("15"), true) | (Some("05"), false) => 3,
        (Some("25"), true) | (Some("15"), false) => 2,
        (Some("25"), false) => 1,
        _ => 0,
    }
}

impl UserRow {
    /// Returns true if a visit under `session_id` makes it the id that the person is shown under.
    ///
    /// `blind`: the server requires blinded ids.
    pub fn is_better_shown_as(&self, session_id: &str, blind: bool) -> bool {
        !self.visited
            || (self.session_id != session_id
                && suitability(session_id, blind) > suitability(&self.session_id, blind))
    }
}

/// Permissions of one user in one room that replace the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "one column each")]
pub struct OverrideRow {
    /// Database id of the room.
    pub room_id: Id,
    /// Database id of the user.
    pub user_id: Id,
    /// True if the person is banned from the room.
    pub banned: bool,
    /// Permission to fetch messages; `None` = the room's default.
    #[sqlx(rename = "can_read")]
    pub read: Option<bool>,
    /// Permission to see that the room exists; `None` = the room's default.
    #[sqlx(rename = "can_access")]
    pub accessible: Option<bool>,
    /// Permission to post; `None` = the room's default.
    #[sqlx(rename = "can_write")]
    pub write: Option<bool>,
    /// Permission to upload files; `None` = the room's default.
    #[sqlx(rename = "can_upload")]
    pub upload: Option<bool>,
    /// True if the person moderates the room.
    pub moderator: bool,
    /// True if the person administers the room.
    pub admin: bool,
    /// True if the moderator is listed for everybody.
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
    /// Returns an override that changes nothing, as for people without a row.
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
    /// The row of the user.
    pub user: UserRow,
    /// Overrides in any room.
    pub overrides: Vec<OverrideRow>,
}

/// A person named by an id: the id, and all ids that follow from it. `account::person` creates it.
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
    /// True if the person makes a request, and is not only named by somebody else.
    pub visits: bool,
    /// True if the server requires blinded ids.
    pub blind: bool,
}

impl Person {
    /// Returns a person of whom only the id is known.
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

impl Person {
    /// Returns [`Person::keys`] and [`Person::forged`] together.
    pub fn all_keys(&self) -> Vec<String> {
        self.keys.iter().chain(&self.forged).cloned().collect()
    }
}

/// Returns a number that stands for a key in [`Change::Claimed`](super::Change::Claimed): the 64-bit FNV-1a hash of its
/// text, so that all processes and versions compute the same. Two keys rarely share one.
pub fn key_fingerprint(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A known key of an id, and the person it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownKey {
    /// The key, as in [`Person::keys`].
    pub key: String,
    /// Database id of the person.
    pub user_id: Id,
    /// True if the account id or version 1 of the person is known, and not only a `25` id.
    pub has_account: bool,
}

/// A used nonce and the timestamp that was signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceRow {
    /// The nonce, 16 bytes.
    pub nonce: [u8; 16],
    /// The signed timestamp (Unix seconds).
    pub stamp: i64,
}
