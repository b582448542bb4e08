//! Configurations saved by `/add/KEY`: one sealed file for each key.
//!
//! A configuration holds passwords and seeds, so it is encrypted (XChaCha20-Poly1305) with the gateway's key file.
//! The name of a file is a hash of the key: no key, however odd, names a path, and two keys that differ only in
//! case stay two files everywhere.

use std::io;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::Key;
use ackpost_platform::private_file;

/// Language of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConfigFormat {
    Text,
    Yaml,
}

impl ConfigFormat {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Yaml => "yaml",
        }
    }
}

/// A configuration as it was saved.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The key it belongs to; checked when it is read.
    key: String,
    pub(crate) format: ConfigFormat,
    pub(crate) text: String,
}

impl Drop for Stored {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.text);
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("key", &self.key)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// The folder of sealed configurations.
pub(crate) struct Store {
    folder: PathBuf,
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

const NONCE_BYTES: usize = 24;
/// Room that a configuration of the largest size takes, with the file that it replaces.
const ROOM_BYTES: u64 = 256 << 10;
const EXTENSION: &str = "sealed";
/// First byte of every file: how the rest is to be read.
const VERSION: u8 = 1;

impl Store {
    /// Opens (or makes) the folder and its key file.
    pub(crate) fn open(folder: &Path, key_file: &Path) -> io::Result<Self> {
        private_file::create_folder(folder)?;
        let key = private_file::key(key_file)?;
        let cipher = XChaCha20Poly1305::new_from_slice(key.as_slice()).map_err(io::Error::other)?;
        Ok(Self {
            folder: folder.to_owned(),
            cipher,
        })
    }

    fn path(&self, key: &Key) -> PathBuf {
        let digest = Sha256::digest(key.as_str().as_bytes());
        self.folder
            .join(format!("{}.{EXTENSION}", hex::encode(&digest[..20])))
    }

    /// Saves or replaces a configuration.
    pub(crate) fn save(&self, key: &Key, format: ConfigFormat, text: &str) -> io::Result<()> {
        let path = self.path(key);
        let stored = Stored {
            key: key.to_string(),
            format,
            text: text.to_owned(),
        };
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(&stored)?);
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let sealed = self
            .cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &plain,
                    aad: &bound_to(&path),
                },
            )
            .map_err(|_| io::Error::other("sealing failed"))?;
        let mut content = vec![VERSION];
        content.extend_from_slice(&nonce);
        content.extend_from_slice(&sealed);
        private_file::replace(&path, &content)
    }

    /// Returns the configuration saved under a key.
    pub(crate) fn load(&self, key: &Key) -> io::Result<Option<Stored>> {
        let Some(stored) = self.open_file(&self.path(key))? else {
            return Ok(None);
        };
        if stored.key != key.as_str() {
            return Err(damaged());
        }
        Ok(Some(stored))
    }

    fn open_file(&self, path: &Path) -> io::Result<Option<Stored>> {
        let content = match std::fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (version, rest) = content.split_first().ok_or_else(damaged)?;
        if *version != VERSION || rest.len() < NONCE_BYTES {
            return Err(damaged());
        }
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| damaged())?;
        let plain = self
            .cipher
            .decrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: sealed,
                    aad: &bound_to(path),
                },
            )
            .map_err(|_| damaged())?;
        let plain = zeroize::Zeroizing::new(plain);
        serde_json::from_slice(&plain).map(Some).map_err(|_| damaged())
    }

    /// Deletes what is saved under a key; false when nothing was.
    pub(crate) fn delete(&self, key: &Key) -> io::Result<bool> {
        match std::fs::remove_file(self.path(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns true if a configuration could be saved. Writes nothing.
    pub(crate) fn is_writable(&self) -> bool {
        ackpost_platform::disk::check_room(&self.folder, ROOM_BYTES).is_ok()
    }

    /// A tag that changes whenever the configuration of a key does.
    pub(crate) fn version(&self, key: &Key) -> Option<(std::time::SystemTime, u64)> {
        let meta = std::fs::metadata(self.path(key)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    }

    /// Every key something is saved under, sorted.
    pub(crate) fn keys(&self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            match self.open_file(&path) {
                Ok(Some(stored)) => keys.extend(Key::parse(&stored.key).ok()),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "a stored configuration is skipped");
                }
            }
        }
        keys.sort();
        Ok(keys)
    }
}

/// Returns the name of a sealed file, to which the file is bound, so that one file cannot be passed off as another.
fn bound_to(path: &Path) -> Vec<u8> {
    path.file_name()
        .map(|name| name.as_encoded_bytes().to_vec())
        .unwrap_or_default()
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a stored configuration cannot be opened: another key file, or damaged; save it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).expect("a key")
    }

    #[test]
    fn saved_configurations_come_back_and_are_sealed_at_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keys, file) = (folder.path().join("keys"), folder.path().join("key"));
        let store = Store::open(&keys, &file).expect("opened");
        let text = "xmpps://user:verysecret@example.org";
        store.save(&key("ops"), ConfigFormat::Text, text).expect("saved");
        store
            .save(&key("OPS"), ConfigFormat::Yaml, "urls: []")
            .expect("saved");
        let again = Store::open(&keys, &file).expect("opened again");
        let stored = again.load(&key("ops")).expect("readable").expect("there");
        assert_eq!((stored.text.as_str(), stored.format), (text, ConfigFormat::Text));
        assert_eq!(again.keys().expect("listed"), [key("OPS"), key("ops")]);
        for entry in std::fs::read_dir(&keys).expect("listed") {
            let bytes = std::fs::read(entry.expect("an entry").path()).expect("readable");
            assert!(!bytes.windows(10).any(|part| part == b"verysecret"));
        }
        assert!(again.delete(&key("ops")).expect("deleted"));
        assert!(!again.delete(&key("ops")).expect("nothing left"));
        assert!(again.load(&key("ops")).expect("readable").is_none());
    }

    #[test]
    fn a_swapped_damaged_or_foreign_file_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keys, file) = (folder.path().join("keys"), folder.path().join("key"));
        let store = Store::open(&keys, &file).expect("opened");
        store.save(&key("a"), ConfigFormat::Text, "one").expect("saved");
        store.save(&key("b"), ConfigFormat::Text, "two").expect("saved");
        std::fs::copy(store.path(&key("a")), store.path(&key("b"))).expect("swapped");
        assert!(store.load(&key("b")).is_err());
        let mut bytes = std::fs::read(store.path(&key("a"))).expect("readable");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(store.path(&key("a")), bytes).expect("damaged");
        assert!(store.load(&key("a")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let (keys, file) = (folder.path().join("keys"), folder.path().join("key"));
        Store::open(&keys, &file).expect("opened");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("opened up");
        let error = Store::open(&keys, &file).expect_err("refused").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
