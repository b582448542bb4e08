//! An upload that is not kept yet.

use std::path::PathBuf;

use crate::arrivals::Arriving;

/// An upload on disk; the file goes when this is dropped without being kept.
#[derive(Debug)]
pub(crate) struct StagedUpload {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// BLAKE2b-64, which the request's signature covers.
    pub(crate) auth_hash: [u8; 64],
    /// BLAKE2b-32 in hexadecimal, the content's name.
    pub(crate) content: String,
    /// MD5, which a store of files checks; zeros where files are kept in a folder.
    pub(crate) md5: [u8; 16],
    /// Reserved share of the disk while the upload arrives.
    pub(crate) share: Arriving,
}

impl Drop for StagedUpload {
    fn drop(&mut self) {
        // A kept upload was moved away, so that there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}
