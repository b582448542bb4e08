//! Direct messages, periodic work, and the news of changes.

use bytes::Bytes;

use super::Id;

/// A direct message as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct InboxRow {
    /// Database id of the message.
    pub id: Id,
    /// Shown id of the recipient.
    pub recipient: String,
    /// Shown id of the sender.
    pub sender: String,
    /// Encrypted body.
    pub body: Vec<u8>,
    /// Time of posting (Unix seconds).
    pub posted_at: f64,
    /// Time of expiry (Unix seconds).
    pub expiry: f64,
}

/// Choice between received and sent direct messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailbox {
    /// Messages that the user received.
    Inbox,
    /// Messages that the user sent.
    Outbox,
}

/// A direct message to store.
#[derive(Debug, Clone)]
pub struct NewDm {
    /// Database id of the recipient.
    pub recipient_id: Id,
    /// Database id of the sender.
    pub sender_id: Id,
    /// The id that the recipient was addressed by, which the body is encrypted for.
    pub recipient_as: String,
    /// The id that the sender used.
    pub sender_as: String,
    /// Encrypted body.
    pub body: Bytes,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Time of expiry (Unix seconds).
    pub expiry: f64,
}

/// Time at which a user was last seen in a room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastSeen {
    /// Database id of the user.
    pub user_id: Id,
    /// The room, or none for the server as a whole.
    pub room_id: Option<Id>,
    /// Time at which the user was seen (Unix seconds).
    pub at: f64,
}

/// Limits for the periodic cleanup.
#[derive(Debug, Clone, Copy)]
pub struct CleanupPlan {
    /// Current time (Unix seconds).
    pub now: f64,
    /// Message history replaced before this time (Unix seconds) is removed.
    pub history_before: f64,
    /// Room activity before this time (Unix seconds) is removed.
    pub activity_before: f64,
    /// Nonces with timestamps before this one are removed.
    pub nonces_before: i64,
    /// Time of the clock by which nonces are removed (Unix seconds).
    pub nonce_clock: f64,
    /// Activity since then counts a user as active.
    pub active_since: f64,
}

/// Result of the periodic cleanup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Names of contents that no file refers to any more; to be removed from disk.
    pub contents: Vec<String>,
    /// Number of files that were removed.
    pub files: u64,
    /// Number of direct messages that were removed.
    pub direct_messages: u64,
    /// Number of scheduled permission changes that were applied.
    pub permissions: u64,
    /// Number of scheduled bans and unbans that were applied.
    pub bans: u64,
}

/// Marks of the last removal of nonces.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NonceMarks {
    /// Time of the clock when nonces were last removed (Unix seconds).
    pub clock: Option<f64>,
    /// Nonces with timestamps before this one were removed.
    pub oldest: Option<i64>,
}

/// Change made by a committed transaction, so that caches can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A room's description, permissions, pins or moderators.
    Room(Id),
    /// A room's messages: its sequence number now.
    Messages {
        /// Database id of the room.
        room_id: Id,
        /// `message_sequence` after the transaction.
        seqno: i64,
    },
    /// Rows of a room went without a trace in its sequence (retention, approval).
    Rewritten(Id),
    /// The number of active users of a room.
    Activity {
        /// Database id of the room.
        room_id: Id,
        /// New number of active users.
        active_users: i64,
    },
    /// A user's rights, bans or overrides.
    User(Id),
    /// The key with this [fingerprint](super::key_fingerprint) belongs to a row since now.
    Claimed(u64),
    /// A direct message was stored for or by this user.
    DirectMessage(Id),
    /// Settings or filters changed.
    Settings,
    /// Anything may have changed: rooms were created or removed, or an import ran.
    Everything,
    /// Number of committed transactions of all processes that have been followed (PostgreSQL).
    Counted(i64),
}

/// Result of recording nonces in a shared database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Nonces that had not been used before.
    pub fresh: Vec<[u8; 16]>,
    /// Number of transactions that all processes have committed until now.
    pub changes: i64,
}
