//! Rooms as servers describe them.

use serde::{Deserialize, Serialize};
use session_protocol::{RoomToken, SessionId};

use super::{flag, is_false, list, opt_flag};

/// A room: `GET /room/T`, an element of `GET /rooms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct RoomInfo {
    /// Token of the room.
    pub token: RoomToken,
    /// Name of the room.
    pub name: String,
    /// Description of the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Counts changes of name, description, image, pins and moderators.
    pub info_updates: i64,
    /// Counts posts, edits, deletions and reactions.
    pub message_sequence: i64,
    /// Time of creation, unix seconds.
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
    /// True if we are a moderator here (admins are).
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub moderator: bool,
    /// True if we are an admin here.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub admin: bool,
    /// True if we moderate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_moderator: bool,
    /// True if we administrate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_admin: bool,
    /// True if we may read.
    #[serde(default, deserialize_with = "flag")]
    pub read: bool,
    /// True if we may post.
    #[serde(default, deserialize_with = "flag")]
    pub write: bool,
    /// True if we may upload files.
    #[serde(default, deserialize_with = "flag")]
    pub upload: bool,
    /// True if everybody may read; shown to moderators only, as are the next three.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_read: Option<bool>,
    /// True if people without permission to read can see that the room exists.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_accessible: Option<bool>,
    /// True if everybody may post.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_write: Option<bool>,
    /// True if everybody may upload files.
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
    /// Number of the message.
    pub id: u64,
    /// Time of pinning, unix seconds.
    pub pinned_at: f64,
    /// Moderator or admin who pinned it.
    pub pinned_by: SessionId,
}

/// Data of a room that changes often: `GET /room/T/pollInfo/N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct PollInfo {
    /// The room's token.
    pub token: RoomToken,
    /// Number of people seen lately.
    pub active_users: u64,
    /// True if we may read.
    #[serde(default, deserialize_with = "flag")]
    pub read: bool,
    /// True if we may post.
    #[serde(default, deserialize_with = "flag")]
    pub write: bool,
    /// True if we may upload files.
    #[serde(default, deserialize_with = "flag")]
    pub upload: bool,
    /// True if we are a moderator here.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub moderator: bool,
    /// True if we are an admin here.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub admin: bool,
    /// True if we moderate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_moderator: bool,
    /// True if we administrate the whole server.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub global_admin: bool,
    /// Same as [`RoomInfo::default_read`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_read: Option<bool>,
    /// Same as [`RoomInfo::default_accessible`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_accessible: Option<bool>,
    /// Same as [`RoomInfo::default_write`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_write: Option<bool>,
    /// Same as [`RoomInfo::default_upload`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub default_upload: Option<bool>,
    /// The whole room, if its `info_updates` differs from the requested N.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<RoomInfo>,
}

/// Answer to an unpin of one message or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// Number of messages that were unpinned.
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
