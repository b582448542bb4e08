//! Import of other servers' communities, and backup, restore, verification and migration of our own.

pub mod backup;
pub(crate) mod bulk;
mod convert;
mod copy;
mod foreign;
mod foreign_tables;
pub mod ini;
pub mod migrate;
pub mod move_files;
mod options;
mod settle;
mod source;
pub(crate) mod tables;
mod target;
pub mod verify;

pub(crate) use convert::REFERENCE_WAIT;
pub use foreign::{ImportReport, TableCount, import};
pub use options::{ImportOptions, Origin};

/// Reason why a community could not be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A file or folder failed.
    #[error("{path}: {error}")]
    File {
        /// Path of the file or folder.
        path: std::path::PathBuf,
        /// Cause of the failure.
        error: std::io::Error,
    },
    /// The source cannot be imported.
    #[error("{0}")]
    Source(String),
    /// The folder to restore from is not a complete backup of this program.
    #[error("{0}")]
    Backup(String),
    /// The target cannot take it.
    #[error("{0}")]
    Target(String),
    /// The copy differs from the original.
    #[error("the copy differs from the original: {0}")]
    Differs(String),
    /// The store of the target failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The storage of files failed.
    #[error("{0}")]
    Contents(#[from] crate::contents::ContentError),
    /// The configuration of the target failed.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}

impl ImportError {
    /// Remedy, as an imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Database(_) | Self::Store(_) => {
                "check that the database can be reached and its server is stopped, then try again"
            }
            Self::File { .. } => "check the path, its permissions and the free space",
            Self::Source(_) => "name the folder where the other server's database, key and configuration are",
            Self::Contents(_) => {
                "check the storage that [files] names, its keys and the free space, then try again"
            }
            Self::Backup(_) => "name a folder with a complete backup of `ackpost server backup`",
            Self::Target(_) => "choose an empty folder or database, or stop the server that uses this one",
            Self::Differs(_) => "nothing was kept; please report this with the output of the command",
            Self::Config(error) => error.remedy(),
        }
    }
}

/// Has the small versions of pictures made again, where their bytes were left behind.
async fn remake_thumbnails(conn: &mut bulk::Conn) -> Result<(), ImportError> {
    // A database that no server of this version has opened has none.
    if conn.columns("thumbnails").await?.is_empty() {
        return Ok(());
    }
    conn.run("INSERT INTO thumbnail_queue (file_id) SELECT file_id FROM thumbnails WHERE TRUE ON CONFLICT DO NOTHING")
        .await?;
    conn.run("DELETE FROM thumbnails").await.map(drop)
}

/// `1 thing`, `2 things`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

pub(crate) fn file_error(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> ImportError {
    let path = path.to_path_buf();
    move |error| ImportError::File { path, error }
}
