//! What servers answer, typed. Everything serializes back to the JSON it came from.

mod inbox;
mod message;
mod room;
mod user;

pub use inbox::{DirectMessage, InboxItem, InboxReceipt};
pub use message::{
    Message, MessageProblem, RawRow, Reaction, ReactionRow, Reactions, Row, RowError, Tombstone,
};
pub use room::{Pin, PollInfo, RoomInfo, Unpinned};
pub use user::{
    Deleted, DeletedEverywhere, FuturePermission, InfoUpdates, ModeratorsChanged, PermissionChange,
    Permissions, Reacted, ReactionsRemoved, RoleChange, Scheduled, Scope, Unreacted,
};

use serde::{Deserialize, Deserializer, Serialize};

/// `GET /capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What the server can do, sorted: `blind`, `reactions`, `sogs`.
    pub capabilities: Vec<String>,
    /// Of those that were asked for, what it cannot do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Capabilities {
    /// Whether the server has the capability.
    pub fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|c| c == name)
    }

    /// Whether the server insists on blinded ids.
    pub fn requires_blinding(&self) -> bool {
        self.has("blind")
    }
}

/// A file that was uploaded: `POST /room/T/file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Its number on the server.
    pub id: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// `true`, `false`, and the 0 and 1 that SQLite-backed servers write for them.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(opt_flag(deserializer)?.unwrap_or(false))
}

/// Like [`flag`], and `None` for null.
pub(crate) fn opt_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    struct Flag;
    impl<'de> serde::de::Visitor<'de> for Flag {
        type Value = Option<bool>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("true, false, 1 or 0")
        }
        fn visit_bool<E>(self, value: bool) -> Result<Option<bool>, E> {
            Ok(Some(value))
        }
        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<bool>, E> {
            match value {
                0 => Ok(Some(false)),
                1 => Ok(Some(true)),
                _ => Err(E::custom("a flag is neither 0 nor 1")),
            }
        }
        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<bool>, E> {
            self.visit_u64(value.unsigned_abs())
        }
        fn visit_unit<E>(self) -> Result<Option<bool>, E> {
            Ok(None)
        }
        fn visit_none<E>(self) -> Result<Option<bool>, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<bool>, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    deserializer.deserialize_any(Flag)
}

/// A list that some servers write as null when it is empty.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
