//! Taking over other servers' communities, and moving our own: import, backup, restore, verification, migration.

mod bulk;
pub mod ini;
mod tables;

/// Why a community could not be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A file or folder failed.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The source is not what it should be.
    #[error("{0}")]
    Source(String),
    /// The target cannot take it.
    #[error("{0}")]
    Target(String),
    /// What was copied is not what was there.
    #[error("the copy differs from the original: {0}")]
    Differs(String),
    /// The store of the target failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}
