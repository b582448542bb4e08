//! Answers of servers as types. They serialize back to the JSON that they were read from.

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
    /// Capabilities of the server, sorted: `blind`, `reactions`, `sogs`.
    pub capabilities: Vec<String>,
    /// Requested capabilities that the server lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Capabilities {
    /// Returns true if the server has the capability.
    pub fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|c| c == name)
    }

    /// Returns true if the server requires blinded ids.
    pub fn requires_blinding(&self) -> bool {
        self.has("blind")
    }
}

/// Reason why a server stored a message and shows it to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Withheld {
    /// It waits for a moderator's approval.
    Approval,
    /// A filter or plugin of the community hides it.
    Filter,
    /// The server does not say which of the two it is.
    Unspecified,
}

impl Withheld {
    /// Reads `filtered` and `held` of the answer to a post. Only Ackpost's server says `held`.
    pub(crate) fn of(words: &serde_json::Value) -> Option<Self> {
        let is_set = |name: &str| match &words[name] {
            serde_json::Value::Bool(set) => Some(*set),
            serde_json::Value::Number(number) => Some(number.as_u64() != Some(0)),
            _ => None,
        };
        match (is_set("filtered"), is_set("held")) {
            (_, Some(true)) => Some(Self::Approval),
            (Some(true), Some(false)) => Some(Self::Filter),
            (Some(true), None) => Some(Self::Unspecified),
            _ => None,
        }
    }

    /// Says in words what became of the message.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Approval => "the community stored it, but it waits for a moderator's approval",
            Self::Filter => "the community stored it, but its filter hides it",
            Self::Unspecified => {
                "the community stored it, but does not show it: it waits for a moderator's approval or a filter hides it"
            }
        }
    }

    /// Says what a person can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Approval => "ask a moderator to approve it; do not send it again",
            Self::Filter => "change the text, or ask a moderator about the filter",
            Self::Unspecified => "ask a moderator of the community about it; do not send it again",
        }
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

/// Reads a value as [`flag`] does, and null as `None`.
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
