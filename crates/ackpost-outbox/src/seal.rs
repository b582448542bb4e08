//! Encryption at rest: XChaCha20-Poly1305 under a key that is in a file of mode 0600.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::OutboxError;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals rows and names lanes. Two keys are derived from the one in the file.
pub(crate) struct AtRestCipher {
    cipher: XChaCha20Poly1305,
    naming: Zeroizing<[u8; KEY_BYTES]>,
    path: PathBuf,
}

impl std::fmt::Debug for AtRestCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl AtRestCipher {
    /// Reads the key file; makes it when there is none.
    pub(crate) fn from_file(path: &Path) -> Result<Self, OutboxError> {
        match Self::existing(path)? {
            Some(seal) => Ok(seal),
            None => make_key(path)
                .and_then(|()| read_key(path))
                .map(|key| Self::new(&key, path))
                .map_err(|cause| unusable(path, &cause)),
        }
    }

    /// Reads the key file; `None` when there is none.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>, OutboxError> {
        match read_key(path) {
            Ok(key) => Ok(Some(Self::new(&key, path))),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(unusable(path, &cause)),
        }
    }

    fn new(key: &[u8], path: &Path) -> Self {
        let sealing = mac(key, &[b"ackpost outbox seal"]);
        let naming = mac(key, &[b"ackpost outbox name"]);
        Self {
            cipher: XChaCha20Poly1305::new((&*sealing).into()),
            naming,
            path: path.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Nonce and ciphertext. `place` says where the result is kept; it opens nowhere else.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system has random bytes");
        let sealed = self
            .cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: plain,
                    aad: place.as_bytes(),
                },
            )
            .expect("texts are far below the cipher's limit of 256 GiB");
        let mut out = Vec::with_capacity(NONCE_BYTES + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// The plain bytes, or `None` when they were changed, moved or sealed with another key.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        self.cipher
            .decrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: rest,
                    aad: place.as_bytes(),
                },
            )
            .ok()
            .map(Zeroizing::new)
    }

    /// A name for something secret: the same parts always give the same 16 bytes, and the bytes tell nothing.
    pub(crate) fn name(&self, parts: &[&[u8]]) -> Vec<u8> {
        mac(self.naming.as_slice(), parts)[..16].to_vec()
    }
}

fn unusable(path: &Path, cause: &std::io::Error) -> OutboxError {
    OutboxError::Key {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

/// HMAC-SHA-256 over length-prefixed parts.
fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn read_key(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = fs::File::open(path)?;
    let meta = file.metadata()?;
    if !ackpost_platform::private_file::is_private(&meta) {
        return Err(std::io::Error::other(exposed(&meta)));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    file.take(1024).read_to_end(&mut bytes)?;
    key_of(&bytes).map_err(std::io::Error::other)
}

/// Returns the reason why a key file is not private.
#[cfg(unix)]
fn exposed(meta: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let mode = meta.mode() & 0o777;
    if mode & 0o077 > 0 {
        format!("others may read it (mode {mode:03o})")
    } else {
        format!("it belongs to another user ({})", meta.uid())
    }
}

#[cfg(not(unix))]
fn exposed(_meta: &fs::Metadata) -> String {
    "others may read it".to_owned()
}

/// 32 bytes, or the same as hexadecimal text.
fn key_of(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    if bytes.len() == KEY_BYTES {
        return Ok(Zeroizing::new(bytes.to_vec()));
    }
    let key = hex::decode(bytes.trim_ascii())
        .map(Zeroizing::new)
        .map_err(|_| "it is not hexadecimal")?;
    if key.len() == KEY_BYTES {
        Ok(key)
    } else {
        Err(format!("it has {} bytes instead of {KEY_BYTES}", key.len()))
    }
}

/// Makes a key and puts it in place in one step, so that of several processes one wins and all use its key.
fn make_key(path: &Path) -> std::io::Result<()> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(std::io::Error::other)?;
    let text = Zeroizing::new(hex::encode(key.as_slice()));
    let mut chance = [0_u8; 8];
    getrandom::fill(&mut chance).map_err(std::io::Error::other)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", hex::encode(chance)));
    let draft = PathBuf::from(draft);
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let _ = fs::remove_file(&draft);
    written?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // Windows opens no folder as a file.
        #[cfg(unix)]
        fs::File::open(folder)?.sync_all()?;
        #[cfg(not(unix))]
        let _ = folder;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_sealed_row_opens_only_in_its_place_and_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let seal = AtRestCipher::from_file(&folder.path().join("key")).unwrap();
        let again = AtRestCipher::from_file(&folder.path().join("key")).unwrap();
        let other = AtRestCipher::from_file(&folder.path().join("other")).unwrap();
        let sealed = seal.seal("entry a", b"secret");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(again.open("entry a", &sealed).unwrap().as_slice(), b"secret");
        assert!(again.open("entry b", &sealed).is_none());
        assert!(other.open("entry a", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open("entry a", &changed).is_none());
        }
        assert!(seal.open("entry a", &sealed[..10]).is_none());
        assert_eq!(seal.name(&[b"a", b"b"]), again.name(&[b"a", b"b"]));
        assert_ne!(seal.name(&[b"a", b"b"]), seal.name(&[b"ab", b""]));
    }

    #[test]
    fn a_key_comes_as_bytes_or_as_text() {
        let text = format!("{}\n", "0a".repeat(32));
        assert_eq!(key_of(text.as_bytes()).unwrap().as_slice(), [10; 32]);
        assert_eq!(key_of(&[10; 32]).unwrap().as_slice(), [10; 32]);
        assert!(key_of(&[10; 31]).is_err());
        assert!(key_of(b"0a0a").unwrap_err().contains("2 bytes"));
    }

    #[test]
    fn the_key_file_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || AtRestCipher::from_file(&path).unwrap().name(&[b"x"]))
            })
            .collect();
        let names: std::collections::HashSet<_> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(names.len(), 1, "processes that start together use one key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no draft is left"
        );

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = AtRestCipher::from_file(&path).unwrap_err();
        assert!(
            error.to_string().contains("others may read it (mode 640)"),
            "{error}"
        );
        assert!(error.remedy().contains("chmod 600"), "{}", error.remedy());
    }
}
