//! Room on a disk, found out without writing.

use std::io;
use std::path::Path;

/// Checks that this process could write so many bytes into a folder. Writes nothing, and does not see a user's quota.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`], [`io::ErrorKind::ReadOnlyFilesystem`], or the error of the system.
#[cfg(unix)]
pub fn check_room(folder: &Path, bytes: u64) -> io::Result<()> {
    use rustix::fs::{Access, StatVfsMountFlags};

    // An empty path is the current folder.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let disk = rustix::fs::statvfs(folder)?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(io::ErrorKind::ReadOnlyFilesystem.into());
    }
    // Some file systems have no number of files.
    let no_file = disk.f_files > 0 && disk.f_favail == 0;
    if no_file || disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
        return Err(io::ErrorKind::StorageFull.into());
    }
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(())
}

/// Checks that this process could write so many bytes into a folder. Here the system cannot be asked.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_room(_folder: &Path, _bytes: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_room_is_told_and_nothing_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        check_room(folder.path(), 1).expect("there is room");
        check_room(Path::new(""), 1).expect("there is room");
        let full = check_room(folder.path(), u64::MAX).expect_err("no disk is so large");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let gone = check_room(&folder.path().join("none"), 1).expect_err("no folder");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
