//! Files and folders that only their owner can read.

use std::path::Path;

use ackpost_platform::private_file;

use super::operation::AdminError;

/// Makes a folder that only its owner can enter, unless it is there.
pub(crate) fn private_folder(folder: &Path) -> Result<(), AdminError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| AdminError {
            remedy: "check the path, its permissions and the free space".to_owned(),
            ..AdminError::failed(format!("{}: {error}", folder.display()))
        })
}

/// Writes a file that only its owner can read (it may hold the password of a database).
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), AdminError> {
    private_file::replace(path, bytes)
        .map_err(|error| AdminError::failed(format!("{}: {error}", path.display())))
}
