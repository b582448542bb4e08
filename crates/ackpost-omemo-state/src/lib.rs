#![doc = include_str!("../README.md")]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackpost_platform::private_file;
use ackpost_xmpp::omemo::{Change, OmemoStore, StoreError};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// First bytes of a sealed state; the last one is the number of the format.
const MAGIC: &[u8; 20] = b"ackpost omemo state\x01";
const NONCE_BYTES: usize = 24;
/// The largest file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Maximum time to wait for a transaction of another process.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The OMEMO state of one account in a sealed file. A lock file is beside it.
pub struct FileStore {
    path: PathBuf,
    key: Zeroizing<[u8; 32]>,
    longest_wait: Duration,
}

impl FileStore {
    /// A state in this file, sealed with this key. The file and its folder are made at the first transaction.
    pub fn new(path: impl Into<PathBuf>, key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            path: path.into(),
            key,
            longest_wait: LONGEST_WAIT,
        }
    }

    /// Sets how long a transaction of another process is waited for; 10 seconds by default.
    #[must_use]
    pub fn longest_wait(mut self, longest: Duration) -> Self {
        self.longest_wait = longest;
        self
    }

    fn lock_path(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        self.path.with_file_name(name)
    }

    fn lock(&self) -> Result<private_file::LockedFile, StoreError> {
        private_file::lock(&self.lock_path(), self.longest_wait).map_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                StoreError::Busy
            } else {
                StoreError::NotSaved(error.to_string())
            }
        })
    }

    fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let sealed = match read_whole(&self.path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Unusable(error.to_string())),
        };
        let damaged = || StoreError::Unusable("the file is not a sealed OMEMO state".to_owned());
        let rest = sealed.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let opened = XChaCha20Poly1305::new((&*self.key).into())
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: ciphertext,
                    aad: MAGIC,
                },
            )
            .map_err(|_| {
                StoreError::Unusable("the file is damaged, or it was sealed with another key".to_owned())
            })?;
        Ok(Some(Zeroizing::new(opened)))
    }

    fn write(&self, state: &[u8]) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::NotSaved(error.to_string());
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| failed(io::Error::other(error)))?;
        let ciphertext = XChaCha20Poly1305::new((&*self.key).into())
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: state,
                    aad: MAGIC,
                },
            )
            .map_err(|_| StoreError::NotSaved("the state is too large".to_owned()))?;
        let mut sealed = Vec::with_capacity(MAGIC.len() + NONCE_BYTES + ciphertext.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        private_file::replace(&self.path, &sealed).map_err(failed)
    }
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl OmemoStore for FileStore {
    fn update(&self, change: Change<'_>) -> Result<(), StoreError> {
        // Held until the new file is on the disk.
        let _lock = self.lock()?;
        let saved = self.read()?;
        match change(saved.as_ref().map(|state| state.as_slice())) {
            Some(new) => self.write(&new),
            None => Ok(()),
        }
    }

    fn clear(&self) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::NotSaved(error.to_string()))
            }
            _ => Ok(()),
        }
    }
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut file = File::open(path)?.take(FILE_MAX_BYTES + 1);
    file.read_to_end(&mut content)?;
    if content.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(content)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn store(path: &Path, seed: u8) -> FileStore {
        FileStore::new(path, Zeroizing::new([seed; 32])).longest_wait(Duration::from_millis(200))
    }

    fn set(store: &FileStore, value: &[u8]) -> Result<(), StoreError> {
        store.update(&mut |_| Some(Zeroizing::new(value.to_vec())))
    }

    fn get(store: &FileStore) -> Result<Option<Vec<u8>>, StoreError> {
        let mut found = None;
        store.update(&mut |saved| {
            found = saved.map(<[u8]>::to_vec);
            None
        })?;
        Ok(found)
    }

    #[test]
    fn a_state_is_sealed_private_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let file = store(&path, 1);
        assert_eq!(get(&file), Ok(None));
        assert!(!path.exists(), "nothing was saved");
        set(&file, b"identity and sessions").unwrap();
        assert_eq!(get(&file), Ok(Some(b"identity and sessions".to_vec())));
        let sealed = std::fs::read(&path).unwrap();
        assert!(!sealed.windows(8).any(|window| window == b"identity"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{file:?}").contains("[1, 1"));
    }

    #[test]
    fn damage_and_another_key_are_refused_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        set(&store(&path, 1), b"state").unwrap();
        let good = std::fs::read(&path).unwrap();
        let refused = |what: &str| {
            let result = set(&store(&path, 1), b"new");
            assert!(
                matches!(result, Err(StoreError::Unusable(_))),
                "{what}: {result:?}"
            );
        };
        let result = set(&store(&path, 2), b"new");
        assert!(matches!(result, Err(StoreError::Unusable(_))), "{result:?}");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            refused(&format!("byte {at}"));
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        std::fs::write(&path, b"").unwrap();
        refused("an empty file");
        std::fs::write(&path, &good).unwrap();
        assert_eq!(get(&store(&path, 1)), Ok(Some(b"state".to_vec())));
        // A state that nobody can read can still be removed.
        store(&path, 2).clear().unwrap();
        assert_eq!(get(&store(&path, 1)), Ok(None));
        assert_eq!(store(&path, 1).clear(), Ok(()));
    }

    #[test]
    fn a_transaction_waits_for_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let store = FileStore::new(path, Zeroizing::new([1; 32]));
                    for _ in 0..10 {
                        store
                            .update(&mut |saved| {
                                let count = saved.map_or(0, |saved| saved[0]);
                                Some(Zeroizing::new(vec![count + 1]))
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(get(&store(&path, 1)), Ok(Some(vec![80])));
        let held = private_file::lock(&store(&path, 1).lock_path(), Duration::ZERO).unwrap();
        assert_eq!(set(&store(&path, 1), b"x"), Err(StoreError::Busy));
        assert_eq!(store(&path, 1).clear(), Err(StoreError::Busy));
        drop(held);
        assert_eq!(set(&store(&path, 1), b"x"), Ok(()));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::create_dir(&path).unwrap();
        let result = set(&store(&path, 1), b"x");
        assert!(result.is_err(), "{result:?}");
    }
}
