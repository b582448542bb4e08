//! Failures of the storage of files.

use std::io;

/// Reason why a content was not stored, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// There is no such content.
    #[error("the content is missing")]
    Missing,
    /// The content does not match its name and size.
    #[error("the content is damaged: {0}")]
    Damaged(String),
    /// The folder of files cannot be used.
    #[error("the folder of files cannot be used: {0}; check free space and permissions")]
    Disk(#[from] io::Error),
    /// The S3-compatible store does not do it now.
    #[error("the file store failed: {0}")]
    Store(String),
    /// The place belongs to another community, whose contents nobody else may remove.
    #[error(
        "{place} holds the files of another community, with the public key {community}; choose another folder, bucket or prefix"
    )]
    Foreign {
        /// The folder or bucket.
        place: String,
        /// Public key of that community, in hexadecimal.
        community: String,
    },
    /// Most files have no row in the database, so that the database may be another one than theirs.
    #[error(
        "{lost} of {} files in {place} are unknown to the database, so that none is removed; check that `[database] url` \
         names the database of this community, and restore its backup otherwise",
        lost + known
    )]
    Unknown {
        /// The folder or bucket.
        place: String,
        /// Files without a row.
        lost: u64,
        /// Files with a row.
        known: u64,
    },
    /// A folder or bucket that should be empty is not.
    #[error("{0} holds files already; choose another bucket or prefix, or remove them")]
    NotEmpty(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] crate::store::StoreError),
    /// Others use the memory for transfers.
    #[error("no memory is free for file transfers")]
    Busy,
}

impl ContentError {
    /// Returns true if the request may work later, without any change on this side.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Disk(_) | Self::Store(_) | Self::Busy)
    }

    /// The same as an error of reading, for bodies that are being sent.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Disk(error) => error,
            other => io::Error::other(other),
        }
    }
}

impl From<super::SpoolError> for ContentError {
    fn from(error: super::SpoolError) -> Self {
        match error {
            super::SpoolError::Busy => Self::Busy,
            super::SpoolError::Disk(error) => Self::Disk(error),
        }
    }
}
