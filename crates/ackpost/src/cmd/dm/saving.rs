//! Files of direct messages, saved in a folder.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use session_network::{IncomingMessage, Network};

use crate::cmd::room::files::local_name;
use crate::exit::Failure;

/// Decides about a name that another file has already. No file is ever replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Fails: a person looks at the folder.
    Fails,
    /// Puts the time of the message in front of the name: a program watches the mailbox.
    GetsTime,
}

/// Saves the files of a message, under names of which no part is a folder. Returns where each is, or why it is not there.
///
/// A file that was saved before, under the same name, is left as it is.
pub(crate) async fn save_files(
    network: &Network,
    message: &IncomingMessage,
    folder: &Path,
    taken: Taken,
) -> Vec<Result<PathBuf, Failure>> {
    let mut saved = Vec::new();
    for (number, file) in message.files().iter().enumerate() {
        let id = message
            .timestamp_ms
            .saturating_mul(10)
            .saturating_add(number as u64);
        let name = local_name(file.file_name.as_deref(), id);
        saved.push(match network.download(file).await {
            Ok(bytes) => write(folder, &name, id, &bytes, taken),
            Err(error) => Err(Failure::new(error.to_string(), error.remedy())),
        });
    }
    saved
}

fn write(folder: &Path, name: &Path, id: u64, bytes: &[u8], taken: Taken) -> Result<PathBuf, Failure> {
    let mut names = vec![name.to_owned()];
    if taken == Taken::GetsTime {
        names.push(PathBuf::from(format!("{id}-{}", name.display())));
    }
    let mut failure = None;
    for name in names {
        let path = folder.join(name);
        match write_new(&path, bytes) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if has(&path, bytes) {
                    return Ok(path);
                }
                failure = Some((path, error));
            }
            Err(error) => {
                failure = Some((path, error));
                break;
            }
        }
    }
    let (path, error) = failure.unwrap_or_else(|| (folder.to_owned(), io::Error::other("it has no name")));
    let cause = format!("{}: {error}", path.display());
    Err(Failure::new(cause, "name another folder"))
}

/// Writes a file that does not exist yet. A part of it is not left behind.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut out = File::create_new(path)?;
    out.write_all(bytes).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

/// Returns true if a file has these bytes, and no others.
fn has(path: &Path, bytes: &[u8]) -> bool {
    let read = || {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        let mut there = Vec::new();
        file.take(bytes.len() as u64 + 1).read_to_end(&mut there)?;
        Ok::<_, io::Error>(there == bytes)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_replaced_and_a_file_that_is_there_is_not_saved_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let save = |bytes: &[u8], taken| {
            let path = write(folder.path(), Path::new("a.txt"), 7, bytes, taken).ok()?;
            path.file_name()?.to_str().map(str::to_owned)
        };
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(save(b"one", Taken::Fails), name("a.txt"));
        assert_eq!(save(b"one", Taken::Fails), name("a.txt"));
        assert_eq!(save(b"two", Taken::Fails), None);
        assert_eq!(save(b"two", Taken::GetsTime), name("7-a.txt"));
        assert_eq!(save(b"two", Taken::GetsTime), name("7-a.txt"));
        assert_eq!(save(b"three", Taken::GetsTime), None);
        let read = |name: &str| std::fs::read(folder.path().join(name)).expect("saved");
        assert_eq!(
            (read("a.txt"), read("7-a.txt")),
            (b"one".to_vec(), b"two".to_vec())
        );
        let missing = folder.path().join("missing");
        assert!(write(&missing, Path::new("a"), 7, b"x", Taken::GetsTime).is_err());
    }
}
