//! Access tokens: made once, shown once, kept only as a hash.
//!
//! A token is `ackp_ID_SECRET`: eight hex digits that find its row, and 256 random bits. Because the secret is
//! random and long, one SHA-256 is enough at rest (there is nothing to guess a dictionary against), and the
//! comparison of the hashes takes the same time whatever differs.

mod grant;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::rate::Rate;
use ackpost_platform::private_file;
pub use grant::{Grant, NewToken, Scope};

/// Error of the token file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file is not a list of tokens.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The place and the fault in it.
        reason: String,
    },
    /// There is a token of this name.
    #[error("a token named `{0}` exists already; remove it first or choose another name")]
    NameTaken(String),
    /// There is no token of this name.
    #[error("no token is named `{0}`; `ackpost gateway token list` lists the tokens")]
    Unknown(String),
    /// The system provides no random bytes.
    #[error("no randomness from the operating system: {0}")]
    Random(getrandom::Error),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    #[serde(default, rename = "token")]
    tokens: Vec<Grant>,
}

/// Tokens of a gateway: `tokens.toml` in its folder, mode 0600.
///
/// Commands change the file under a lock (`tokens.lock`) and replace it whole. A gateway that ever had a token stays
/// closed without one: the file and the marker `closed` remember it, and so does the running process.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    table: RwLock<Table>,
    had_some: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    by_id: BTreeMap<String, Arc<Grant>>,
    read_from: Option<Version>,
}

/// Identity of one state of the file: a file that was replaced within one tick of the clock has another inode.
type Version = (Option<SystemTime>, u64, u64);

impl Tokens {
    /// Opens the file; one that does not exist holds no tokens.
    ///
    /// # Errors
    /// [`TokenError`] if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let tokens = Self {
            path: path.to_owned(),
            table: RwLock::default(),
            had_some: AtomicBool::new(false),
        };
        tokens.reload()?;
        Ok(tokens)
    }

    /// Reads the file again. If it cannot be read, no token is valid.
    pub(crate) fn reload(&self) -> Result<(), TokenError> {
        let read_from = version(&self.path);
        let read = self.read();
        let (tokens, result) = match read {
            Ok(file) => (file.tokens, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        if read_from.is_some() || !tokens.is_empty() {
            self.had_some.store(true, Ordering::Relaxed);
        }
        let by_id = tokens
            .into_iter()
            .map(|grant| (grant.id.clone(), Arc::new(grant)))
            .collect();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Table { by_id, read_from };
        result
    }

    /// Reads the file again if it was changed by `gateway token`.
    pub(crate) fn reload_if_changed(&self) -> Result<bool, TokenError> {
        let read_from = self
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .read_from;
        if read_from == version(&self.path) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Returns true if this gateway has a token or ever had one.
    pub(crate) fn ever_made(&self) -> bool {
        // A file that cannot be looked at counts as there.
        let there = |path: &Path| path.try_exists().unwrap_or(true);
        self.had_some.load(Ordering::Relaxed) || there(&self.path) || there(&self.beside(MARKER))
    }

    /// Writes the marker that keeps this gateway closed even if its token file is deleted.
    pub(crate) fn remember(&self) -> Result<(), TokenError> {
        let marker = self.beside(MARKER);
        if !self.ever_made() || marker.exists() {
            return Ok(());
        }
        private_file::replace(&marker, MARKER_TEXT.as_bytes())
            .map_err(|source| TokenError::File { path: marker, source })
    }

    /// Every row, by name.
    pub fn list(&self) -> Vec<Arc<Grant>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = table.by_id.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The grant of a presented token. An unknown id costs as much time as a wrong secret.
    pub(crate) fn check(&self, presented: &str, now: SystemTime) -> Option<Arc<Grant>> {
        let id = presented
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.get(..ID_CHARS))
            .unwrap_or_default();
        let grant = self.by_id(id);
        let expected = grant.as_ref().map_or([0; 64], |grant| hash_bytes(&grant.sha256));
        let seen = hash_bytes(&hash(presented));
        let same: bool = expected.ct_eq(&seen).into();
        grant.filter(|grant| same && !grant.expired(now))
    }

    /// The grant as it is now; `None` once its token was removed, replaced or expired.
    pub(crate) fn current(&self, grant: &Grant, now: SystemTime) -> Option<Arc<Grant>> {
        self.by_id(&grant.id)
            .filter(|found| found.sha256 == grant.sha256 && !found.expired(now))
    }

    fn by_id(&self, id: &str) -> Option<Arc<Grant>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_id.get(id).cloned()
    }

    /// Makes a token and writes its row. The token itself is returned this once.
    ///
    /// # Errors
    /// The name is taken, the file cannot be read or written, or the system has no randomness.
    pub fn add(&self, new: NewToken, now: SystemTime) -> Result<SecretString, TokenError> {
        let _lock = self.lock()?;
        let mut file = self.read()?;
        if file.tokens.iter().any(|grant| grant.name == new.name) {
            return Err(TokenError::NameTaken(new.name));
        }
        let mut id = [0; ID_CHARS / 2];
        getrandom::fill(&mut id).map_err(TokenError::Random)?;
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).map_err(TokenError::Random)?;
        let id = hex::encode(id);
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret.as_slice());
        let token = SecretString::from(format!("{PREFIX}{id}_{secret}"));
        let expires = new
            .lifetime
            .and_then(|life| now.checked_add(life))
            .and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map(|end| end.as_secs());
        file.tokens.push(Grant {
            name: new.name,
            id,
            sha256: hash(token.expose_secret()),
            keys: new.keys,
            tags: new.tags,
            allow: new.allow,
            rate: new.rate.map(|rate| rate.to_string()),
            expires,
        });
        self.write(&file)?;
        self.remember()?;
        Ok(token)
    }

    /// Removes a row by its name.
    ///
    /// # Errors
    /// No token has this name, or the file cannot be read or written.
    pub fn remove(&self, name: &str) -> Result<(), TokenError> {
        let _lock = self.lock()?;
        let mut file = self.read()?;
        let before = file.tokens.len();
        file.tokens.retain(|grant| grant.name != name);
        if file.tokens.len() == before {
            return Err(TokenError::Unknown(name.to_owned()));
        }
        self.write(&file)?;
        self.remember()
    }

    /// Waits until no other command changes the tokens; the lock ends with the returned file.
    fn lock(&self) -> Result<private_file::LockedFile, TokenError> {
        let path = self.beside(LOCK);
        private_file::lock(&path, LOCK_WAIT).map_err(|source| TokenError::File { path, source })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    fn read(&self) -> Result<TokenFile, TokenError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(TokenFile::default()),
            Err(source) => {
                return Err(TokenError::File {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let bad = |reason: String| TokenError::Content {
            path: self.path.clone(),
            reason,
        };
        let file: TokenFile = toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
        for grant in &file.tokens {
            if let Some(rate) = &grant.rate {
                rate.parse::<Rate>().map_err(bad)?;
            }
            if grant.sha256.len() != 64 || grant.id.len() != ID_CHARS {
                return Err(bad(format!(
                    "the row `{}` is damaged; make the token again",
                    grant.name
                )));
            }
        }
        Ok(file)
    }

    fn write(&self, file: &TokenFile) -> Result<(), TokenError> {
        let text = toml::to_string_pretty(file).map_err(|error| TokenError::Content {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        private_file::replace(&self.path, text.as_bytes()).map_err(|source| TokenError::File {
            path: self.path.clone(),
            source,
        })?;
        self.reload()
    }
}

const LOCK: &str = "tokens.lock";
const MARKER: &str = "closed";
const MARKER_TEXT: &str = "This gateway had a token, so it never answers without one.\n\
                           To open it, write access = \"open\" in gateway.toml.\n";
/// Longest wait for another command that changes the tokens.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const PREFIX: &str = "ackp_";
const ID_CHARS: usize = 8;

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

fn hash_bytes(hex_digest: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (to, from) in bytes.iter_mut().zip(hex_digest.bytes()) {
        *to = from;
    }
    bytes
}

fn version(path: &Path) -> Option<Version> {
    let meta = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&meta);
    #[cfg(not(unix))]
    let inode = 0;
    Some((meta.modified().ok(), meta.len(), inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn new(name: &str) -> NewToken {
        NewToken {
            name: name.into(),
            keys: vec!["ops-*".into(), "ci".into()],
            tags: Vec::new(),
            allow: vec![Scope::Notify],
            rate: Some(Rate {
                count: 5,
                per: Duration::from_secs(1),
            }),
            lifetime: Some(Duration::from_secs(60)),
        }
    }

    #[test]
    fn a_token_is_shown_once_and_kept_as_a_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let tokens = Tokens::open(&path).expect("empty");
        let now = SystemTime::now();
        let token = tokens.add(new("ci"), now).expect("added");
        let text = std::fs::read_to_string(&path).expect("written");
        let secret = token
            .expose_secret()
            .splitn(3, '_')
            .nth(2)
            .expect("a secret part");
        assert!(!text.contains(secret));
        let grant = tokens.check(token.expose_secret(), now).expect("valid");
        assert_eq!(grant.name, "ci");
        assert!(grant.covers(&Key::parse("ops-eu").expect("a key")));
        assert!(grant.covers(&Key::parse("ci").expect("a key")));
        assert!(!grant.covers(&Key::parse("ci2").expect("a key")));
        assert!(
            tokens
                .check(token.expose_secret(), now + Duration::from_secs(61))
                .is_none(),
            "expired"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                std::fs::metadata(&path).expect("there").permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn nothing_else_is_let_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::open(&folder.path().join("tokens.toml")).expect("empty");
        let now = SystemTime::now();
        let token = tokens.add(new("ci"), now).expect("added");
        let token = token.expose_secret();
        let mut wrong = token.to_owned();
        let last = wrong.pop().expect("not empty");
        wrong.push(if last == 'A' { 'B' } else { 'A' });
        for presented in [
            "",
            "ackp_",
            "ackp_00000000_",
            wrong.as_str(),
            &token[..token.len() - 1],
            &token[5..],
        ] {
            assert!(tokens.check(presented, now).is_none(), "{presented}");
        }
        assert!(matches!(
            tokens.add(new("ci"), now),
            Err(TokenError::NameTaken(_))
        ));
        tokens.remove("ci").expect("removed");
        assert!(tokens.check(token, now).is_none());
        assert!(matches!(tokens.remove("ci"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn concurrent_changes_lose_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let now = SystemTime::now();
        let made: Vec<_> = std::thread::scope(|scope| {
            let each: Vec<_> = (0..12)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || {
                        let tokens = Tokens::open(path).expect("opened");
                        tokens.add(new(&format!("t{number}")), now).expect("added")
                    })
                })
                .collect();
            each.into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect()
        });
        let tokens = Tokens::open(&path).expect("opened");
        assert_eq!(tokens.list().len(), 12);
        for token in &made {
            assert!(tokens.check(token.expose_secret(), now).is_some());
        }
    }

    #[test]
    fn a_token_removed_beside_an_addition_is_never_valid_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let now = SystemTime::now();
        let watching = Tokens::open(&path).expect("opened");
        for round in 0..200 {
            let gone = watching.add(new("gone"), now).expect("added");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    Tokens::open(&path)
                        .expect("opened")
                        .remove("gone")
                        .expect("removed");
                });
                scope.spawn(|| {
                    let name = format!("new{round}");
                    let tokens = Tokens::open(&path).expect("opened");
                    tokens.add(new(&name), now).expect("added");
                    tokens.remove(&name).expect("removed");
                });
            });
            watching.reload_if_changed().expect("readable");
            assert!(
                watching.check(gone.expose_secret(), now).is_none(),
                "round {round}"
            );
        }
    }

    #[test]
    fn a_gateway_that_had_a_token_remembers_it() {
        let now = SystemTime::now();
        let fresh = tempfile::tempdir().expect("a folder");
        let path = fresh.path().join("tokens.toml");
        let tokens = Tokens::open(&path).expect("opened");
        assert!(!tokens.ever_made());
        tokens.remember().expect("nothing to write");
        assert!(!tokens.ever_made());
        let token = tokens.add(new("only"), now).expect("added");
        tokens.remove("only").expect("removed");
        assert!(Tokens::open(&path).expect("opened").ever_made(), "removed");
        std::fs::write(&path, "").expect("truncated");
        assert!(Tokens::open(&path).expect("opened").ever_made(), "truncated");
        for file in ["tokens.toml", "tokens.lock"] {
            std::fs::remove_file(fresh.path().join(file)).expect("deleted");
        }
        assert!(Tokens::open(&path).expect("opened").ever_made(), "deleted");
        std::fs::write(&path, "token = 5").expect("garbled");
        assert!(tokens.reload_if_changed().is_err());
        assert!(
            tokens.check(token.expose_secret(), now).is_none() && tokens.ever_made(),
            "garbled"
        );
    }
}
