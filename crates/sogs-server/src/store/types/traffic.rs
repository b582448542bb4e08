//! Direct messages, periodic work, and the news of changes.

use bytes::Bytes;

use super::Id;

/// A direct message as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct InboxRow {
    /// Its id.
    pub id: Id,
    /// Shown id of the recipient.
    pub recipient: String,
    /// Shown id of the sender.
    pub sender: String,
    /// Encrypted body.
    pub body: Vec<u8>,
    /// Unix seconds.
    pub posted_at: f64,
    /// Unix seconds.
    pub expiry: f64,
}

/// Which direct messages: those received or those sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailbox {
    /// Received.
    Inbox,
    /// Sent.
    Outbox,
}

/// A direct message to store.
#[derive(Debug, Clone)]
pub struct NewDm {
    /// Recipient.
    pub recipient_id: Id,
    /// Sender.
    pub sender_id: Id,
    /// The id that the recipient was addressed by, which the body is encrypted for.
    pub recipient_as: String,
    /// The id that the sender used.
    pub sender_as: String,
    /// Encrypted body.
    pub body: Bytes,
    /// Unix seconds.
    pub now: f64,
    /// Unix seconds.
    pub expiry: f64,
}

/// Somebody was seen in a room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// The user.
    pub user_id: Id,
    /// The room, or none for the server as a whole.
    pub room_id: Option<Id>,
    /// Unix seconds.
    pub at: f64,
}

/// What the periodic cleanup may remove.
#[derive(Debug, Clone, Copy)]
pub struct CleanupPlan {
    /// Now (Unix seconds).
    pub now: f64,
    /// Message history replaced before this goes.
    pub history_before: f64,
    /// Room activity before this goes.
    pub activity_before: f64,
    /// Nonces stamped before this go.
    pub nonces_before: i64,
    /// What the clock by which nonces are forgotten shows (Unix seconds).
    pub nonce_clock: f64,
    /// Activity since then counts a user as active.
    pub active_since: f64,
}

/// What the periodic cleanup did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Names of contents that no file refers to any more; to be removed from disk.
    pub contents: Vec<String>,
    /// Files removed.
    pub files: u64,
    /// Direct messages removed.
    pub direct_messages: u64,
    /// Scheduled permission changes applied.
    pub permissions: u64,
    /// Scheduled bans and unbans applied.
    pub bans: u64,
}

/// What the database knows of forgetting nonces.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NonceMarks {
    /// What the clock showed when nonces were last forgotten (Unix seconds).
    pub clock: Option<f64>,
    /// Timestamps before this one were forgotten.
    pub oldest: Option<i64>,
}

/// What a committed transaction changed, so that caches can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A room's description, permissions, pins or moderators.
    Room(Id),
    /// A room's messages: its sequence number now.
    Messages {
        /// The room.
        room_id: Id,
        /// `message_sequence` after the transaction.
        seqno: i64,
    },
    /// Rows of a room went without a trace in its sequence (retention, approval).
    Rewritten(Id),
    /// The number of active users.
    Activity {
        /// The room.
        room_id: Id,
        /// As counted now.
        active_users: i64,
    },
    /// A user's rights, bans or overrides.
    User(Id),
    /// A direct message was stored for or by this user.
    DirectMessage(Id),
    /// Settings or filters.
    Settings,
    /// Anything: rooms came or went, or an import ran.
    Everything,
    /// So many committed transactions of all processes have been followed (PostgreSQL).
    Counted(i64),
}

/// What the nonces of requests to a shared database came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Those that had not been used before.
    pub fresh: Vec<[u8; 16]>,
    /// How many transactions of all processes were committed until now.
    pub changes: i64,
}
