//! The tables of our own schema, in an order in which rows can be written (what is referred to comes first).

use super::bulk::{Kind, Table};
use Kind::{Blob, Bool, Int, Real, Text};

macro_rules! table {
    ($constant:ident, $name:literal, $automatic:literal, $($column:literal $kind:ident),+ $(,)?) => {
        pub(crate) const $constant: Table = Table { name: $name, columns: &[$(($column, $kind)),+], automatic: $automatic };
    };
}

table!(ROOMS, "rooms", true, "id" Int, "token" Text, "token_key" Text, "name" Text, "description" Text, "image_id" Int, "created" Real,
    "message_sequence" Int, "info_updates" Int, "active_users" Int, "can_read" Bool, "can_access" Bool, "can_write" Bool, "can_upload" Bool,
    "for_moderators" Bool);
table!(USERS, "users", true, "id" Int, "session_id" Text, "created" Real, "last_active" Real, "banned" Bool, "moderator" Bool, "admin" Bool,
    "visible_mod" Bool, "visited" Bool);
table!(ACCOUNT_IDS, "account_ids", false, "key" Text, "user_id" Int);
table!(JOINED_USERS, "joined_users", false, "id" Int, "user_id" Int, "session_id" Text);
table!(MESSAGES, "messages", true, "id" Int, "room_id" Int, "user_id" Int, "posted" Real, "edited" Real, "seqno" Int, "seqno_data" Int,
    "seqno_reactions" Int, "seqno_creation" Int, "data" Blob, "data_size" Int, "signature" Blob, "filtered" Bool, "whisper_to" Int,
    "whisper_mods" Bool, "posted_as" Text, "for_moderators_of" Int);
table!(HISTORY, "message_history", false, "message_id" Int, "replaced" Real, "data" Blob, "data_size" Int, "signature" Blob);
table!(REACTIONS, "reactions", true, "id" Int, "room_id" Int, "message_id" Int, "reaction" Text);
table!(USER_REACTIONS, "user_reactions", false, "reaction_id" Int, "user_id" Int, "at" Real);
table!(PINS, "pinned_messages", false, "room_id" Int, "message_id" Int, "pinned_by" Int, "pinned_at" Real);
table!(FILES, "files", true, "id" Int, "room_id" Int, "uploader_id" Int, "message_id" Int, "size" Int, "uploaded" Real, "expiry" Real,
    "filename" Text, "content" Text, "imported" Bool);
table!(ROOM_USERS, "room_users", false, "room_id" Int, "user_id" Int, "last_active" Real);
table!(OVERRIDES, "permission_overrides", false, "room_id" Int, "user_id" Int, "banned" Bool, "can_read" Bool, "can_access" Bool,
    "can_write" Bool, "can_upload" Bool, "moderator" Bool, "admin" Bool, "visible_mod" Bool);
table!(PERMISSION_FUTURES, "permission_futures", true, "id" Int, "room_id" Int, "user_id" Int, "at" Real, "can_read" Bool, "can_write" Bool,
    "can_upload" Bool);
table!(BAN_FUTURES, "ban_futures", true, "id" Int, "room_id" Int, "user_id" Int, "at" Real, "banned" Bool);
table!(NONCES, "nonces", false, "nonce" Blob, "stamp" Int);
table!(INBOX, "inbox", true, "id" Int, "recipient_id" Int, "sender_id" Int, "body" Blob, "posted_at" Real, "expiry" Real,
    "recipient_as" Text, "sender_as" Text);
table!(SETTINGS, "settings", false, "room_id" Int, "name" Text, "value" Text);
table!(FILTERS, "filters", true, "id" Int, "room_id" Int, "kind" Text, "pattern" Text, "action" Text, "reply" Text);
table!(RAIDS, "raids", false, "room_id" Int, "since" Real, "until_at" Real, "reason" Text);
table!(HELD, "held_messages", false, "message_id" Int, "room_id" Int, "at" Real, "reason" Text);
table!(CASES, "cases", true, "id" Int, "kind" Text, "subject_id" Int, "room_id" Int, "author" Text, "excerpt" Text, "opened_at" Real,
    "state" Text, "decided_by" Text, "decided_at" Real, "in_room" Bool, "posts" Int, "notice_id" Int, "revision" Int, "shown" Int);
table!(REPORTS, "reports", false, "case_id" Int, "user_id" Int, "at" Real, "reason" Text);
table!(AUDIT, "audit_log", true, "id" Int, "at" Real, "actor" Text, "action" Text, "room" Text, "target" Text, "detail" Text, "undo" Text,
    "undone_at" Real);

table!(FACTS, "community", false, "name" Text, "value" Text);

/// Every table, in the order of writing; the reverse is the order of emptying.
pub(crate) const ALL: [Table; 24] = [
    ROOMS,
    USERS,
    ACCOUNT_IDS,
    JOINED_USERS,
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
    SETTINGS,
    FILTERS,
    RAIDS,
    HELD,
    CASES,
    REPORTS,
    AUDIT,
    FACTS,
];

/// Tables of a copied community: all but the operator's own log and the note of the key.
pub(crate) const COMMUNITY: &[Table] = {
    let (community, _) = ALL.split_at(22);
    community
};
