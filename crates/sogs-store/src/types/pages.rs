//! Messages and files as pages for browsers need them.

use super::Id;

/// Messages of a room that everybody may see: neither deleted nor hidden, and no whispers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// With a number below this, newest first.
    Before(Id),
    /// With a number above this, oldest first.
    After(Id),
    /// The messages with these ids, newest first.
    These(Vec<Id>),
}

/// Bytes of content after which a page is full, however few rows it has: nothing but very long messages reaches it.
pub const PAGE_BYTES: usize = 8 << 20;

/// Rows of a page, as far as their content fits into the given memory.
#[derive(Debug, Default)]
pub struct Portion {
    /// The first rows.
    pub rows: Vec<super::MessageRow>,
    /// True if more rows were asked for and exist, but do not fit.
    pub is_cut: bool,
}

/// A message that a reply may mean.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Candidate {
    /// Database id of the message.
    pub id: Id,
    /// Time of posting (Unix seconds).
    pub posted: f64,
    /// Content without padding, if it may hold the time that was asked for; of a deleted message its last content, as
    /// long as that is kept.
    pub data: Option<Vec<u8>>,
    /// True if it is deleted.
    pub is_deleted: bool,
    /// True if everybody may see it, unless it is deleted.
    pub is_shown: bool,
}

/// A stored small version of a picture.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Thumbnail {
    /// The file it is of.
    pub file_id: Id,
    /// Name of its content.
    pub content: String,
    /// Size, bytes.
    pub size: i64,
    /// Width, pixels.
    pub width: i64,
    /// Height, pixels.
    pub height: i64,
}

/// A file whose small version is to be made.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Unseen {
    /// Database id of the file.
    pub id: Id,
    /// Bytes; `None` if the file is gone.
    pub size: Option<i64>,
    /// Name of its content.
    pub content: Option<String>,
}
