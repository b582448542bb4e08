//! Options of an import: the community to import, and its target.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Program from which the community comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The reference server.
    Pysogs,
    /// The server for Bun.
    Bunsogs,
}

/// The community to import, and the folder to import it into.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Program that made the community.
    pub origin: Origin,
    /// Its folder: database, key, configuration, uploads.
    pub source: PathBuf,
    /// Folder of our server; made when there is none.
    pub target: PathBuf,
    /// Database of our server, when the folder is made; a file in the folder when absent.
    pub database: Option<String>,
    /// Reads and converts everything, and writes nothing.
    pub dry_run: bool,
    /// Removes data that was written in the target since an earlier import.
    pub replace: bool,
}

/// The folder of a path that may be a file.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    if path.is_file() {
        path.parent()
            .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
    } else {
        path.to_path_buf()
    }
}
