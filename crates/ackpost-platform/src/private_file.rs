//! Files that only their owner may read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes a whole file so that a crash leaves either the old or the new content, readable by the owner alone.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write_whole(path, content, |temporary| fs::rename(temporary, path))
}

/// Reads a file of at most `longest` bytes. `None` if there is none.
///
/// # Errors
/// The system's, and `InvalidData` for a longer file.
pub fn read(path: &Path, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    read_whole(file, longest).map(Some)
}

/// Reads a secret of at most `longest` bytes like [`read`]. Refuses a file that others may read.
///
/// # Errors
/// The system's, `PermissionDenied` for a file that others may read, and `InvalidData` for a longer file.
pub fn read_secret(path: &Path, longest: usize) -> io::Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    refuse_shared(&file)?;
    read_whole(file, longest).map(|bytes| Some(zeroize::Zeroizing::new(bytes)))
}

fn read_whole(file: File, longest: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(longest).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > longest {
        let text = format!("the file has more than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}

/// Writes a whole file like [`replace`], but fails if one exists.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    write_whole(path, content, |temporary| {
        fs::hard_link(temporary, path)?;
        fs::remove_file(temporary)
    })
}

fn write_whole(path: &Path, content: &[u8], put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = folder.join(format!(".{name}.{}", hex::encode(suffix)));
    let written = (|| {
        let mut file = create_private(&temporary)?;
        give_to_owner(&file, folder)?;
        file.write_all(content)?;
        file.sync_all()?;
        put(&temporary)?;
        // The name itself must survive a power cut, too.
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A locked file. A copy of it in a child process must not keep the lock, so that it is given back and not only closed.
#[derive(Debug)]
pub struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Locks a file for this process, made when it does not exist. Other processes wait for at most `longest`.
pub fn lock(path: &Path, longest: Duration) -> io::Result<LockedFile> {
    create_folder(path.parent().unwrap_or(Path::new(".")))?;
    let file = match create_private(path) {
        Ok(file) => {
            give_to_owner(&file, path.parent().unwrap_or(Path::new(".")))?;
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?,
        Err(error) => return Err(error),
    };
    let end = Instant::now() + longest;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(LockedFile(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another command holds the lock; try again when it has finished",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Makes a folder (and those above it) that only the owner may enter.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Gives a file that root just created to the owner of its folder: root administers a service that runs as another user, and the service
/// must be able to read the file.
#[cfg(unix)]
fn give_to_owner(created: &File, folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    })?;
    if created.metadata()?.uid() == 0 && owner.uid() != 0 {
        std::os::unix::fs::fchown(created, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn give_to_owner(_created: &File, _folder: &Path) -> io::Result<()> {
    Ok(())
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The 32 bytes of a key file (or 64 hexadecimal digits), made when it does not exist. Refuses one that others may read.
pub fn key(path: &Path) -> io::Result<zeroize::Zeroizing<[u8; 32]>> {
    let mut key = zeroize::Zeroizing::new([0; 32]);
    match File::open(path) {
        Ok(file) => {
            refuse_shared(&file)?;
            let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(1024));
            file.take(1024).read_to_end(&mut bytes)?;
            if bytes.len() == key.len() {
                key.copy_from_slice(&bytes);
            } else {
                hex::decode_to_slice(bytes.trim_ascii(), key.as_mut_slice()).map_err(|_| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the key file holds neither 32 bytes nor 64 hexadecimal digits",
                    )
                })?;
            }
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(key.as_mut_slice()).map_err(io::Error::other)?;
            match create(path, key.as_slice()) {
                // Another process made it first: its key counts.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self::key(path),
                made => made.map(|()| key),
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn refuse_shared(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = file.metadata()?;
    if is_private(&meta) {
        return Ok(());
    }
    let (mode, owner) = (meta.permissions().mode() & 0o777, meta.uid());
    let others = mode & 0o077;
    if others == 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the key file belongs to user {owner}; give it to the user of this program (chown)"),
        ));
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("the key file has mode {mode:03o}, others may read it; set it to 600 (chmod 600)"),
    ))
}

#[cfg(not(unix))]
fn refuse_shared(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Returns true: which other users may read a file is not visible in its metadata on this system.
#[cfg(not(unix))]
pub fn is_private(_file: &fs::Metadata) -> bool {
    true
}

/// Returns true when a file with a secret belongs to this user and shows it to nobody else. One that the system hands to a service (systemd's
/// credentials) belongs to root and is readable for the service by an access list, which shows as mode 0440.
#[cfg(unix)]
pub fn is_private(file: &fs::Metadata) -> bool {
    shows_nobody(file.mode(), file.uid(), rustix::process::geteuid().as_raw())
}

#[cfg(unix)]
fn shows_nobody(mode: u32, owner: u32, me: u32) -> bool {
    let handed_in = owner == 0 && me != 0;
    // The owner may read and change it, whatever its mode.
    (owner == me || handed_in) && mode & if handed_in { 0o037 } else { 0o077 } == 0
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_of_the_system_may_carry_an_access_list() {
        for (mode, owner, me, private) in [
            (0o600, 1000, 1000, true),
            (0o400, 1000, 1000, true),
            (0o440, 1000, 1000, false),
            (0o604, 1000, 1000, false),
            (0o440, 0, 1000, true),
            (0o444, 0, 1000, false),
            (0o460, 0, 1000, false),
            (0o440, 0, 0, false),
            (0o600, 1001, 1000, false),
            (0o600, 1001, 0, false),
            (0o400, 0, 1000, true),
        ] {
            assert_eq!(shows_nobody(mode, owner, me), private, "{mode:o} {owner} {me}");
        }
    }

    #[test]
    fn a_file_that_root_makes_belongs_to_the_owner_of_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        if std::os::unix::fs::chown(folder.path(), Some(12_345), Some(12_346)).is_err() {
            // Only root may give files away; another user's files already have the right owner.
            return;
        }
        let owner = |name: &str| {
            let meta = fs::metadata(folder.path().join(name)).expect("a file");
            (meta.uid(), meta.gid())
        };
        replace(&folder.path().join("tokens"), b"x").expect("written");
        create(&folder.path().join("key"), b"x").expect("written");
        drop(lock(&folder.path().join("lock"), Duration::from_secs(1)).expect("locked"));
        for name in ["tokens", "key", "lock"] {
            assert_eq!(owner(name), (12_345, 12_346), "{name}");
        }
        // A file that exists keeps its owner: a link to it may have been planted.
        fs::write(folder.path().join("old"), "").expect("written");
        drop(lock(&folder.path().join("old"), Duration::from_secs(1)).expect("locked"));
        assert_eq!(owner("old").0, 0);
    }

    #[test]
    fn a_file_is_replaced_whole_or_made_once_and_no_draft_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        create(&path, b"one").expect("made");
        let error = create(&path, b"two").expect_err("there is one");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("read"), b"one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        replace(&path, b"three").expect("replaced");
        assert_eq!(read(&path, 5).expect("read").as_deref(), Some(&b"three"[..]));
        assert_eq!(
            read(&path, 4).expect_err("too long").kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(read(&folder.path().join("none"), 4).expect("no file"), None);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }
}
