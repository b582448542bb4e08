//! The tables of the reference server (and of bunsogs, which took them over), as far as they mean something here.

use super::bulk::{Kind, Table};
use Kind::{Blob, Bool, Int, Real, Text};

macro_rules! table {
    ($constant:ident, $name:literal, $($column:literal $kind:ident),+ $(,)?) => {
        pub(super) const $constant: Table = Table { name: $name, columns: &[$(($column, $kind)),+], automatic: false };
    };
}

table!(ROOMS, "rooms", "id" Int, "token" Text, "name" Text, "description" Text, "image" Int, "created" Real, "message_sequence" Int,
    "info_updates" Int, "active_users" Int, "read" Bool, "accessible" Bool, "write" Bool, "upload" Bool);
table!(RATE_LIMITS, "rooms", "id" Int, "rate_limit_size" Int, "rate_limit_interval" Real);
table!(USERS, "users", "id" Int, "session_id" Text, "created" Real, "last_active" Real, "banned" Bool, "moderator" Bool, "admin" Bool,
    "visible_mod" Bool);
table!(NEEDS_BLINDING, "needs_blinding", "blinded_abs" Text, "user" Int);
table!(MESSAGES, "messages", "id" Int, "room" Int, "user" Int, "posted" Real, "edited" Real, "seqno" Int, "seqno_data" Int,
    "seqno_reactions" Int, "seqno_creation" Int, "data" Blob, "data_size" Int, "signature" Blob, "filtered" Bool, "whisper" Int,
    "whisper_mods" Bool);
table!(HISTORY, "message_history", "message" Int, "replaced" Real, "data" Blob, "signature" Blob);
table!(REACTIONS, "reactions", "id" Int, "message" Int, "reaction" Text);
table!(USER_REACTIONS, "user_reactions", "reaction" Int, "user" Int, "at" Real);
table!(PINS, "pinned_messages", "room" Int, "message" Int, "pinned_by" Int, "pinned_at" Real);
table!(FILES, "files", "id" Int, "room" Int, "uploader" Int, "message" Int, "size" Int, "uploaded" Real, "expiry" Real, "filename" Text,
    "path" Text);
table!(ROOM_USERS, "room_users", "room" Int, "user" Int, "last_active" Real);
table!(OVERRIDES, "user_permission_overrides", "room" Int, "user" Int, "banned" Bool, "read" Bool, "accessible" Bool, "write" Bool,
    "upload" Bool, "moderator" Bool, "admin" Bool, "visible_mod" Bool);
table!(PERMISSION_FUTURES, "user_permission_futures", "room" Int, "user" Int, "at" Real, "read" Bool, "write" Bool, "upload" Bool);
table!(BAN_FUTURES, "user_ban_futures", "room" Int, "user" Int, "at" Real, "banned" Bool);
table!(NONCES, "user_request_nonces", "nonce" Blob, "expiry" Real);
table!(INBOX, "inbox", "id" Int, "recipient" Int, "sender" Int, "body" Blob, "posted_at" Real, "expiry" Real);

/// All of them, in the order of reading.
pub(super) const ALL: [Table; 15] = [
    ROOMS,
    USERS,
    NEEDS_BLINDING,
    MESSAGES,
    HISTORY,
    REACTIONS,
    USER_REACTIONS,
    PINS,
    FILES,
    ROOM_USERS,
    OVERRIDES,
    PERMISSION_FUTURES,
    BAN_FUTURES,
    NONCES,
    INBOX,
];
