//! Messages, reactions, pins and files.

use bytes::Bytes;

use super::Id;

/// A rate limit to check while posting: at most `posts` within the `seconds` before now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PostWindow {
    /// Maximum number of posts.
    pub posts: u32,
    /// Length of the window, seconds.
    pub seconds: f64,
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewPost {
    /// Database id of the room.
    pub room_id: Id,
    /// Database id of the author.
    pub user_id: Id,
    /// The id that the author used and that the signature is by; `None` = the one the author is shown under.
    pub posted_as: Option<String>,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Content without its padding.
    pub data: Bytes,
    /// Length of the content with padding, bytes.
    pub data_size: i64,
    /// Signature, 64 bytes.
    pub signature: Bytes,
    /// True to accept it, but show it to nobody.
    pub filtered: bool,
    /// Reason why it waits for a moderator's approval; such a post is `filtered` too.
    pub held: Option<String>,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// True if moderators see it.
    pub whisper_mods: bool,
    /// In the moderators' room: only moderators of this room see it.
    pub for_moderators_of: Option<Id>,
    /// Files of this room, uploaded by this user within the last hour, to be attached.
    pub files: Vec<Id>,
    /// Time at which attached files expire (Unix seconds); `None` = never.
    pub files_expire: Option<f64>,
    /// Rate limits that apply to this author.
    pub windows: Vec<PostWindow>,
}

/// A message that is about to be stored, with its sequence number in the room.
pub(crate) struct Numbered<'a> {
    pub new: &'a NewPost,
    pub seqno: i64,
}

/// A rate limit as it applies to one message: posts of this person in this room since a time, at most `limit`.
pub(crate) struct Window {
    pub user_id: Id,
    pub room_id: Id,
    /// Unix seconds.
    pub since: f64,
    pub limit: i64,
}

impl Window {
    /// Returns true if an earlier message counts towards the limit.
    pub(crate) fn counts(&self, earlier: &NewPost) -> bool {
        (earlier.user_id, earlier.room_id) == (self.user_id, self.room_id) && earlier.now >= self.since
    }
}

/// Result of posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// The message was stored.
    Done {
        /// Database id of the message.
        id: Id,
        /// Sequence number of the message.
        seqno: i64,
    },
    /// A rate limit is reached.
    RateLimited {
        /// Whole seconds after which this author may post again, if nothing else is posted meanwhile.
        wait: u64,
    },
    /// The room no longer exists.
    NoRoom,
}

/// A new content for a message.
#[derive(Debug, Clone)]
pub struct PostEdit {
    /// Database id of the room.
    pub room_id: Id,
    /// Database id of the message.
    pub message_id: Id,
    /// Database id of the user who edits.
    pub user_id: Id,
    /// Same as in [`NewPost`].
    pub posted_as: Option<String>,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Content without its padding.
    pub data: Bytes,
    /// Length of the content with padding, bytes.
    pub data_size: i64,
    /// Signature, 64 bytes.
    pub signature: Bytes,
    /// Hide the message from now on.
    pub filtered: bool,
    /// Files to attach, as in [`NewPost`].
    pub files: Vec<Id>,
    /// Same as in [`NewPost`].
    pub files_expire: Option<f64>,
}

/// Result of a change of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Done; the message's sequence number now.
    Done(i64),
    /// The message does not exist or no longer exists.
    NoMessage,
    /// The message belongs to another user.
    NotYours,
}

/// A message as stored, with the names it shows.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct MessageRow {
    /// Database id of the message.
    pub id: Id,
    /// Database id of the author.
    pub user_id: Id,
    /// The id that the author used; the signature is by it.
    pub session_id: String,
    /// Time of posting (Unix seconds).
    pub posted: f64,
    /// Unix seconds of the last edit or of the deletion.
    pub edited: Option<f64>,
    /// Larger of the two below.
    pub seqno: i64,
    /// Sequence number of the last change of the content.
    pub seqno_data: i64,
    /// Sequence number of the last change of the reactions.
    pub seqno_reactions: i64,
    /// Sequence number at creation.
    pub seqno_creation: i64,
    /// Content without padding; `None` = deleted.
    pub data: Option<Vec<u8>>,
    /// Length of the content with padding, bytes.
    pub data_size: Option<i64>,
    /// Signature, 64 bytes.
    pub signature: Option<Vec<u8>>,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// Shown id of that user.
    pub whisper_to_id: Option<String>,
    /// True if moderators see it.
    pub whisper_mods: bool,
    /// In the moderators' room: only moderators of this room see it.
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

    /// Returns true if only some people may see it.
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
    /// True if moderators see it.
    pub whisper_mods: bool,
    /// In the moderators' room: only moderators of this room see it.
    pub for_moderators_of: Option<Id>,
}

/// Data that decides who can see a message that is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct MessageView {
    /// Database id of the author.
    pub user_id: Id,
    /// The only user who may see it.
    pub whisper_to: Option<Id>,
    /// True if moderators see it.
    pub whisper_mods: bool,
    /// True if nobody sees it.
    pub filtered: bool,
    /// In the moderators' room: only moderators of this room see it.
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

/// Range of messages of a room to fetch. Filtered messages are never returned.
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
    /// Database id of the message.
    pub message_id: Id,
    /// Database id of the reaction; their order is the order of first use.
    pub reaction_id: Id,
    /// Emoji or text of the reaction.
    pub reaction: String,
    /// Number of users.
    pub count: i64,
    /// The first users, in order, at most as many as were asked for: database id and shown id.
    pub first: Vec<(Id, String)>,
}

/// The reactions to a range of messages, and the people who reacted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reactions {
    /// Reactions, ordered by message, then by first use.
    pub rows: Vec<ReactionRow>,
    /// Everybody who reacted to any of them, at most [`MAX_REACTORS`]; more than that comes back as `None`.
    pub reactors: Option<Vec<Id>>,
}

/// Maximum number of distinct reactors of one page that are tracked for caching.
pub const MAX_REACTORS: usize = 4096;

/// Result of adding or removing a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reacted {
    /// The reactions were changed.
    Done {
        /// Number of user reactions that were added or removed.
        changed: i64,
        /// Sequence number of the message now.
        seqno: i64,
    },
    /// No such message, or one that accepts no reactions.
    NoMessage,
    /// The message has as many different reactions as its room allows.
    TooMany,
}

/// Result of pinning or unpinning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// The pins were changed.
    Done {
        /// Number of pins that changed.
        changed: i64,
        /// The room's `info_updates` now.
        info_updates: i64,
    },
    /// No such message, or one that cannot be pinned.
    NoMessage,
}

/// A file as stored.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
pub struct FileRow {
    /// Database id of the file.
    pub id: Id,
    /// Database id of its room.
    pub room_id: Option<Id>,
    /// Database id of the uploader.
    pub uploader_id: Option<Id>,
    /// The message it is attached to.
    pub message_id: Option<Id>,
    /// Size, bytes.
    pub size: i64,
    /// Time of upload (Unix seconds).
    pub uploaded: f64,
    /// Time of expiry (Unix seconds); `None` = never.
    pub expiry: Option<f64>,
    /// Name given by the user.
    pub filename: Option<String>,
    /// Name of the content on disk (BLAKE2b-256 in hexadecimal).
    pub content: String,
    /// True for a file of a former server that hangs on no message; `None` in rows of a version that did not note it.
    #[serde(default)]
    pub imported: Option<bool>,
}

/// A file to register; its content is already on disk.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Database id of its room.
    pub room_id: Id,
    /// Database id of the uploader.
    pub uploader_id: Id,
    /// Size, bytes.
    pub size: i64,
    /// Current time (Unix seconds).
    pub now: f64,
    /// Time of expiry (Unix seconds).
    pub expiry: Option<f64>,
    /// Name given by the user.
    pub filename: Option<String>,
    /// Name of the content on disk.
    pub content: String,
}
