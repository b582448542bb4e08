//! Messages, reactions, pins and files.

use bytes::Bytes;

use super::Id;

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
    /// The id that the author used and that the signature is by; `None` = the one the author is shown under.
    pub posted_as: Option<String>,
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
    /// Why it waits for a moderator's approval; such a post is `filtered` too.
    pub held: Option<String>,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// Moderators see it.
    pub whisper_mods: bool,
    /// In the moderators' room: only those see it who moderate this room.
    pub for_moderators_of: Option<Id>,
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
    RateLimited {
        /// Whole seconds after which this author may post again, if nothing else is posted meanwhile.
        wait: u64,
    },
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
    /// As in [`NewPost`].
    pub posted_as: Option<String>,
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
    /// The id that the author used; the signature is by it.
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
    /// In the moderators' room: only those see it who moderate this room.
    pub for_moderators_of: Option<Id>,
}

impl MessageRow {
    /// Returns the people the message is for.
    pub fn audience(&self) -> Audience {
        Audience {
            user_id: self.user_id,
            whisper_to: self.whisper_to,
            whisper_mods: self.whisper_mods,
            for_moderators_of: self.for_moderators_of,
        }
    }

    /// Whether only some may see it.
    pub fn is_whisper(&self) -> bool {
        self.whisper_to.is_some() || self.whisper_mods
    }
}

/// The people a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// Database id of the author.
    pub user_id: Id,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// Moderators see it.
    pub whisper_mods: bool,
    /// In the moderators' room: only those see it who moderate this room.
    pub for_moderators_of: Option<Id>,
}

/// What decides about the visibility of a message that is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct MessageView {
    /// Database id of the author.
    pub user_id: Id,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// Moderators see it.
    pub whisper_mods: bool,
    /// Shown to nobody.
    pub filtered: bool,
    /// In the moderators' room: only those see it who moderate this room.
    pub for_moderators_of: Option<Id>,
}

impl MessageView {
    /// Returns the people the message is for.
    pub fn audience(&self) -> Audience {
        Audience {
            user_id: self.user_id,
            whisper_to: self.whisper_to,
            whisper_mods: self.whisper_mods,
            for_moderators_of: self.for_moderators_of,
        }
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
    /// The message has as many different reactions as its room allows.
    TooMany,
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
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
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
