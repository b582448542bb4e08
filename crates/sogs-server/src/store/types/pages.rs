//! Messages and files as pages for browsers need them.

use super::Id;

/// Messages of a room that everybody may see: neither deleted nor hidden, and no whispers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// With a number below this, newest first.
    Before(Id),
    /// With a number above this, oldest first.
    After(Id),
    /// These, newest first.
    These(Vec<Id>),
}

/// A message that a reply may mean.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Candidate {
    /// The message.
    pub id: Id,
    /// Unix seconds.
    pub posted: f64,
    /// Content without padding; of a deleted message its last content, as long as that is kept.
    pub data: Option<Vec<u8>>,
    /// Whether it is deleted.
    pub is_deleted: bool,
    /// Whether everybody may see it, unless it is deleted.
    pub is_shown: bool,
}

/// A stored small version of a picture.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Thumbnail {
    /// The file it is of.
    pub file_id: Id,
    /// Name of its content.
    pub content: String,
    /// Bytes.
    pub size: i64,
    /// Pixels.
    pub width: i64,
    /// Pixels.
    pub height: i64,
}

/// A file whose small version is to be made.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Unseen {
    /// The file.
    pub id: Id,
    /// Bytes; `None` if the file is gone.
    pub size: Option<i64>,
    /// Name of its content.
    pub content: Option<String>,
}
