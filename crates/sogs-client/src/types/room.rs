//! Rooms as servers describe them.

use serde::{Deserialize, Serialize};
use session_protocol::{RoomToken, SessionId};

use super::{flag, is_false, list, opt_flag};

/// A room: `GET /room/T`, an element of `GET /rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct RoomInfo {
    /// Its token.
    pub token: RoomToken,
    /// Its name.
    pub name: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Counts changes of name, description, image, pins and moderators.
    pub info_updates: i64,
    /// Counts posts, edits, deletions and reactions.
    pub message_sequence: i64,
    /// When it was made, unix seconds.
    pub created: f64,
    /// People seen in the last `active_users_cutoff` seconds.
    pub active_users: u64,
    /// Seconds that `active_users` looks back.
    pub active_users_cutoff: f64,
    /// File number of the room's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<u64>,
    /// Pinned messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub pinned_messages: Vec<Pin>,
    /// Visible moderators.
    #[serde(default, deserialize_with = "list")]
    pub moderators: Vec<SessionId>,
    /// Visible admins.
    #[serde(default, deserialize_with = "list")]
    pub admins: Vec<SessionId>,
    /// Hidden moderators; shown to moderators only.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub hidden_moderators: Vec<SessionId>,
    /// Hidden admins; shown to moderators only.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub hidden_admins: Vec<SessionId>,
    /// Whether we are a moderator here (admins are).
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub moderator: bool,
    /// Whether we are an admin here.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub admin: bool,
    /// Whether we moderate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_moderator: bool,
    /// Whether we administrate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_admin: bool,
    /// Whether we may read.
    #[serde(default, deserialize_with = "flag")]
    pub read: bool,
    /// Whether we may post.
    #[serde(default, deserialize_with = "flag")]
    pub write: bool,
    /// Whether we may upload files.
    #[serde(default, deserialize_with = "flag")]
    pub upload: bool,
    /// Whether everybody may read; shown to moderators only, as are the next three.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_read: Option<bool>,
    /// Whether the room exists for those who may not read.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_accessible: Option<bool>,
    /// Whether everybody may post.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_write: Option<bool>,
    /// Whether everybody may upload files.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_upload: Option<bool>,
}

/// A pinned message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// The message's number.
    pub id: u64,
    /// When it was pinned, unix seconds.
    pub pinned_at: f64,
    /// Who pinned it.
    pub pinned_by: SessionId,
}

/// What changes often: `GET /room/T/pollInfo/N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct PollInfo {
    /// The room's token.
    pub token: RoomToken,
    /// People seen lately.
    pub active_users: u64,
    /// Whether we may read.
    #[serde(default, deserialize_with = "flag")]
    pub read: bool,
    /// Whether we may post.
    #[serde(default, deserialize_with = "flag")]
    pub write: bool,
    /// Whether we may upload files.
    #[serde(default, deserialize_with = "flag")]
    pub upload: bool,
    /// Whether we are a moderator here.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub moderator: bool,
    /// Whether we are an admin here.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub admin: bool,
    /// Whether we moderate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_moderator: bool,
    /// Whether we administrate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_admin: bool,
    /// As in [`RoomInfo::default_read`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_read: Option<bool>,
    /// As in [`RoomInfo::default_accessible`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_accessible: Option<bool>,
    /// As in [`RoomInfo::default_write`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_write: Option<bool>,
    /// As in [`RoomInfo::default_upload`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_upload: Option<bool>,
    /// The whole room, when its `info_updates` differs from the N that was asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<RoomInfo>,
}

/// Answer to an unpin: of one message whether it was pinned, of all how many were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// How many messages were unpinned.
    #[serde(deserialize_with = "count")]
    pub unpinned: u64,
    /// The room's `info_updates` after it.
    pub info_updates: i64,
}

/// `true` counts as 1.
fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Count;
    impl serde::de::Visitor<'_> for Count {
        type Value = u64;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a count or a flag")
        }
        fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
            Ok(u64::from(value))
        }
        fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }
    }
    deserializer.deserialize_any(Count)
}
