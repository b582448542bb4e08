//! The values that go into and come out of the store: plain records, no SQL, no HTTP.

use bytes::Bytes;

/// Database id of a row.
pub type Id = i64;

/// Permissions of a room or of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a permission of its own in the protocol"
)]
pub struct RoomDefaults {
    /// May fetch messages.
    #[sqlx(rename = "can_read")]
    pub read: bool,
    /// May see that the room exists when `read` is off.
    #[sqlx(rename = "can_access")]
    pub accessible: bool,
    /// May post.
    #[sqlx(rename = "can_write")]
    pub write: bool,
    /// May upload files.
    #[sqlx(rename = "can_upload")]
    pub upload: bool,
}

/// A room as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct RoomRow {
    /// Database id.
    pub id: Id,
    /// Token as the operator wrote it.
    pub token: String,
    /// Shown name.
    pub name: String,
    /// Shown description, if any.
    pub description: Option<String>,
    /// File id of the room's picture.
    pub image_id: Option<Id>,
    /// Unix seconds.
    pub created: f64,
    /// Last sequence number given out.
    pub message_sequence: i64,
    /// Counter of metadata changes.
    pub info_updates: i64,
    /// Users seen within the activity threshold, as last counted.
    pub active_users: i64,
    /// Permissions of users without an override.
    #[sqlx(flatten)]
    pub defaults: RoomDefaults,
}

/// A moderator or admin of a room, its own or a global one.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ModRow {
    /// Database id of the user.
    pub user_id: Id,
    /// The id the user is shown under.
    pub session_id: String,
    /// Admin and not only moderator.
    pub admin: bool,
    /// Listed for everybody.
    pub visible: bool,
    /// Appointed for the whole server.
    pub global: bool,
}

/// A pinned message.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PinRow {
    /// The message.
    pub message_id: Id,
    /// When (Unix seconds).
    pub pinned_at: f64,
    /// Session ID of who pinned it.
    pub pinned_by: String,
}

/// A room with everything its description shows.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomFull {
    /// The row itself.
    pub room: RoomRow,
    /// Its moderators and the global ones, one entry each.
    pub mods: Vec<ModRow>,
    /// Pinned messages, oldest pin first.
    pub pins: Vec<PinRow>,
}

/// A new room.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// Token; unique without regard to case.
    pub token: String,
    /// Shown name.
    pub name: String,
    /// Shown description.
    pub description: Option<String>,
    /// Permissions of users without an override.
    pub defaults: RoomDefaults,
    /// Unix seconds.
    pub now: f64,
}

/// Changes to a room; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct RoomPatch {
    /// New name.
    pub name: Option<String>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// New default permissions.
    pub read: Option<bool>,
    /// See [`RoomDefaults::accessible`].
    pub accessible: Option<bool>,
    /// See [`RoomDefaults::write`].
    pub write: Option<bool>,
    /// See [`RoomDefaults::upload`].
    pub upload: Option<bool>,
    /// New picture: a file of this room; `Some(None)` removes it.
    pub image: Option<Option<Id>>,
}

/// What a room change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomPatched {
    /// Done; the room's `info_updates` now.
    Done(i64),
    /// The room is gone.
    NoRoom,
    /// The picture is no file of this room.
    NoFile,
}

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

/// A user with all overrides.
#[derive(Debug, Clone, PartialEq)]
pub struct UserFull {
    /// The row itself.
    pub user: UserRow,
    /// Overrides in any room.
    pub overrides: Vec<OverrideRow>,
}

/// The ids under which one person may be known: used to find a user given another form of the id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    /// Ids that would be this person; the first that exists is taken.
    pub candidates: Vec<String>,
    /// Keys under which the person will be recognised on their first visit (absolute 15 id, 25 id).
    pub pending: Vec<String>,
}

/// A used nonce and the timestamp that was signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceRow {
    /// The 16 bytes.
    pub nonce: [u8; 16],
    /// Unix seconds.
    pub stamp: i64,
}

/// A rate limit to check while posting: at most `posts` within the `seconds` before now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PostWindow {
    /// How many.
    pub posts: u32,
    /// Within how many seconds.
    pub seconds: f64,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewPost {
    /// The room.
    pub room_id: Id,
    /// The author.
    pub user_id: Id,
    /// Unix seconds.
    pub now: f64,
    /// Content without its padding.
    pub data: Bytes,
    /// Length with padding.
    pub data_size: i64,
    /// 64 bytes.
    pub signature: Bytes,
    /// Accept, but show it to nobody.
    pub filtered: bool,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// Moderators see it.
    pub whisper_mods: bool,
    /// Files of this room, uploaded by this user within the last hour, to be attached.
    pub files: Vec<Id>,
    /// When attached files expire (Unix seconds); `None` = never.
    pub files_expire: Option<f64>,
    /// Rate limits that apply to this author.
    pub windows: Vec<PostWindow>,
}

/// What a post came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// Stored.
    Done {
        /// The message.
        id: Id,
        /// Its sequence number.
        seqno: i64,
    },
    /// A rate limit is reached.
    RateLimited,
    /// The room is gone.
    NoRoom,
}

/// A new content for a message.
#[derive(Debug, Clone)]
pub struct PostEdit {
    /// The room.
    pub room_id: Id,
    /// The message.
    pub message_id: Id,
    /// Who edits.
    pub user_id: Id,
    /// Unix seconds.
    pub now: f64,
    /// Content without its padding.
    pub data: Bytes,
    /// Length with padding.
    pub data_size: i64,
    /// 64 bytes.
    pub signature: Bytes,
    /// Hide the message from now on.
    pub filtered: bool,
    /// Files to attach, as in [`NewPost`].
    pub files: Vec<Id>,
    /// As in [`NewPost`].
    pub files_expire: Option<f64>,
}

/// What a change of a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Done; the message's sequence number now.
    Done(i64),
    /// There is no such message (any more).
    NoMessage,
    /// It is somebody else's.
    NotYours,
}

/// A message as stored, with the names it shows.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct MessageRow {
    /// The message.
    pub id: Id,
    /// Database id of the author.
    pub user_id: Id,
    /// Shown id of the author.
    pub session_id: String,
    /// Unix seconds.
    pub posted: f64,
    /// Unix seconds of the last edit or of the deletion.
    pub edited: Option<f64>,
    /// Larger of the two below.
    pub seqno: i64,
    /// Last change of the content.
    pub seqno_data: i64,
    /// Last change of the reactions.
    pub seqno_reactions: i64,
    /// At creation.
    pub seqno_creation: i64,
    /// Content without padding; `None` = deleted.
    pub data: Option<Vec<u8>>,
    /// Length with padding.
    pub data_size: Option<i64>,
    /// 64 bytes.
    pub signature: Option<Vec<u8>>,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// Shown id of that user.
    pub whisper_to_id: Option<String>,
    /// Moderators see it.
    pub whisper_mods: bool,
}

impl MessageRow {
    /// Whether only some may see it.
    pub fn is_whisper(&self) -> bool {
        self.whisper_to.is_some() || self.whisper_mods
    }
}

/// Which messages of a room to fetch; filtered ones never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Page {
    /// The newest, newest first.
    Recent,
    /// With an id below this, newest first.
    Before(Id),
    /// Changed after this sequence number, in order of change; tombstones only for messages created up to it.
    /// The flag includes messages of which only the reactions changed.
    Since(i64, bool),
    /// This one, unless deleted.
    Single(Id),
}

/// A reaction of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactionRow {
    /// The message.
    pub message_id: Id,
    /// Database id of the reaction; their order is the order of first use.
    pub reaction_id: Id,
    /// The emoji.
    pub reaction: String,
    /// How many users.
    pub count: i64,
    /// The first users, in order, at most as many as were asked for: database id and shown id.
    pub first: Vec<(Id, String)>,
}

/// The reactions of a range of messages and who took part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reactions {
    /// By message, then order of first use.
    pub rows: Vec<ReactionRow>,
    /// Everybody who reacted to any of them, at most [`MAX_REACTORS`]; more than that comes back as `None`.
    pub reactors: Option<Vec<Id>>,
}

/// The most distinct reactors of one page that are told apart for caching.
pub const MAX_REACTORS: usize = 4096;

/// What adding or removing a reaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reacted {
    /// How many user reactions came or went, and the message's sequence number now.
    Done {
        /// Count.
        changed: i64,
        /// Sequence number.
        seqno: i64,
    },
    /// No such message, or one that takes no reactions.
    NoMessage,
}

/// What pinning came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// How many pins changed and the room's `info_updates` now.
    Done {
        /// Count.
        changed: i64,
        /// `info_updates`.
        info_updates: i64,
    },
    /// No such message, or one that cannot be pinned.
    NoMessage,
}

/// A file as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct FileRow {
    /// The file.
    pub id: Id,
    /// Its room.
    pub room_id: Option<Id>,
    /// Who uploaded it.
    pub uploader_id: Option<Id>,
    /// The message it is attached to.
    pub message_id: Option<Id>,
    /// Bytes.
    pub size: i64,
    /// Unix seconds.
    pub uploaded: f64,
    /// Unix seconds; `None` = never.
    pub expiry: Option<f64>,
    /// Name given by the user.
    pub filename: Option<String>,
    /// Name of the content on disk (BLAKE2b-256 in hexadecimal).
    pub content: String,
}

/// A file to register; its content is already on disk.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its room.
    pub room_id: Id,
    /// Who uploaded it.
    pub uploader_id: Id,
    /// Bytes.
    pub size: i64,
    /// Unix seconds.
    pub now: f64,
    /// Unix seconds.
    pub expiry: Option<f64>,
    /// Name given by the user.
    pub filename: Option<String>,
    /// Name of the content on disk.
    pub content: String,
}

/// A change of moderator rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModChange {
    /// Make moderator; `admin` None keeps admin as it is.
    Appoint {
        /// Admin right to set.
        admin: Option<bool>,
        /// Whether listed for everybody.
        visible: bool,
    },
    /// Take both rights away.
    Dismiss,
    /// Take the admin right away, stay moderator.
    Demote,
}

/// Where a moderation act applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// In these rooms.
    Rooms(Vec<Id>),
    /// On the whole server.
    Global,
}

/// New values of a user's permissions in a room: outer `None` leaves, inner `None` returns to the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PermissionPatch {
    /// Read.
    pub read: Option<Option<bool>>,
    /// Accessible.
    pub accessible: Option<Option<bool>>,
    /// Write.
    pub write: Option<Option<bool>>,
    /// Upload.
    pub upload: Option<Option<bool>>,
    /// Keep scheduled changes of the permissions that are set here.
    pub keep_scheduled: bool,
}

/// A scheduled change of permissions, to set at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FuturePermission {
    /// Unix seconds.
    pub at: f64,
    /// Read.
    pub read: Option<bool>,
    /// Write.
    pub write: Option<bool>,
    /// Upload.
    pub upload: Option<bool>,
}

/// A scheduled change as it is listed: of permissions, or of a ban.
#[derive(Debug, Clone, PartialEq)]
pub struct FutureRow {
    /// Shown id of the user.
    pub session_id: String,
    /// The change; its fields are empty for a ban.
    pub change: FuturePermission,
    /// Ban (true) or unban (false).
    pub banned: Option<bool>,
}

/// An override with the shown id of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// Shown id.
    pub session_id: String,
    /// The override.
    pub row: OverrideRow,
}

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
