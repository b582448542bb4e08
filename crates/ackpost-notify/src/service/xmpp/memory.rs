//! State that an XMPP account keeps between two runs: FAST tokens, OMEMO keys, and the messages that `replace=`
//! replaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackpost_omemo_state::FileStore;
use ackpost_platform::private_file;
use ackpost_xmpp::omemo::OmemoStore;
use ackpost_xmpp::{FastToken, ProcessTokenStore, SavedLogin, TokenStore};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::dispatch::pool::{ConnectionOptions, ConnectionPool, Party, fingerprint, keyed_mark};

use super::pool::XmppPool;

/// One way to log in to one account.
pub(super) struct Login<'a> {
    /// Everything that tells this login from others, with the password. It is only ever hashed with a key.
    pub(super) text: Zeroizing<String>,
    pub(super) jid: &'a str,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) party: Party,
}

impl Login<'_> {
    /// Returns the state folder and its key. A URL that somebody else handed over has none: what it says about itself,
    /// such as its server, must not reach what was stored for others, and nobody bounds how many there are.
    fn store<'o>(&self, options: &'o ConnectionOptions) -> Option<(&'o Path, [u8; 32])> {
        let folder = options.state_folder.as_deref()?;
        if self.party == Party::Guest {
            return None;
        }
        match key_of(folder) {
            Ok(key) => Some((folder, key)),
            Err(error) => {
                tracing::warn!(%error, "the key of the state folder cannot be read or written; nothing is kept there");
                None
            }
        }
    }

    /// The name under which versions before this one stored a token, for every password and every server.
    fn old_token(&self, folder: &Path) -> PathBuf {
        use sha2::Digest as _;
        let text = format!("{}@{}:{}", self.jid, self.host, self.port.unwrap_or_default());
        let name = hex::encode(&sha2::Sha256::digest(text.as_bytes())[..16]);
        folder.join("xmpp").join(format!("{name}.json"))
    }
}

/// Returns the memory of an account: a file in the state folder if tokens are wanted and there is one, else the process.
pub(super) fn memory_for(login: &Login<'_>, fast: bool, options: &ConnectionOptions) -> Arc<dyn TokenStore> {
    if fast && let Some((folder, key)) = login.store(options) {
        let _ = std::fs::remove_file(login.old_token(folder));
        let name = format!("{}.json", keyed_mark(&key, &login.text));
        return Arc::new(FileMemory {
            path: folder.join("xmpp").join(name),
        });
    }
    Arc::new(ProcessTokenStore::default())
}

/// The place of an account's OMEMO keys.
pub(super) struct OmemoState {
    pub(super) store: Arc<dyn OmemoStore>,
    /// The account has a device.
    pub(super) exists: bool,
}

/// Returns the place of the OMEMO keys of an account: one file for each account, whatever its password. None for a URL of
/// somebody else, and without a state folder.
///
/// # Errors
/// Those of reading or making the key that seals the file.
pub(super) fn omemo_state(
    login: &Login<'_>,
    jid: &str,
    options: &ConnectionOptions,
) -> std::io::Result<Option<OmemoState>> {
    let Some((folder, key)) = login.store(options) else {
        return Ok(None);
    };
    let path = folder.join("omemo").join(keyed_mark(&key, jid));
    let exists = path.exists();
    Ok(Some(OmemoState {
        store: Arc::new(FileStore::new(
            path,
            private_file::key(&folder.join("omemo.key"))?,
        )),
        exists,
    }))
}

/// Returns the key with which the names in a state folder are made. They stand for passwords: without a key, somebody who
/// reads the names could guess the passwords.
fn key_of(folder: &Path) -> std::io::Result<[u8; 32]> {
    let path = folder.join("xmpp.key");
    let read = || {
        let text = Zeroizing::new(std::fs::read(&path)?);
        let key = <[u8; 32]>::try_from(text.as_slice());
        key.map_err(|_| std::io::Error::other("xmpp.key does not have 32 bytes"))
    };
    if let Ok(key) = read() {
        return Ok(key);
    }
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut()).map_err(std::io::Error::other)?;
    private_file::replace(&path, key.as_ref())?;
    // If two processes begin together, both use the key that stays.
    read()
}

/// A memory in a file that only its owner may read.
struct FileMemory {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    user_agent: String,
    mechanism: Option<String>,
    binding: Option<String>,
    token: Option<StoredToken>,
}

#[derive(Serialize, Deserialize)]
struct StoredToken {
    mechanism: String,
    secret: String,
    expiry: Option<String>,
}

impl TokenStore for FileMemory {
    fn recall(&self) -> Option<SavedLogin> {
        let text = Zeroizing::new(std::fs::read_to_string(&self.path).ok()?);
        let stored: Stored = serde_json::from_str(&text).ok()?;
        Some(SavedLogin {
            user_agent: stored.user_agent,
            mechanism: stored.mechanism,
            binding: stored.binding,
            token: stored.token.map(|token| FastToken {
                mechanism: token.mechanism,
                secret: SecretString::from(token.secret),
                expiry: token.expiry,
            }),
        })
    }

    fn store(&self, remembered: SavedLogin) {
        let stored = Stored {
            user_agent: remembered.user_agent,
            mechanism: remembered.mechanism,
            binding: remembered.binding,
            token: remembered.token.map(|token| StoredToken {
                mechanism: token.mechanism,
                secret: token.secret.expose_secret().to_owned(),
                expiry: token.expiry,
            }),
        };
        if let Ok(text) = serde_json::to_vec(&stored)
            && let Err(error) = private_file::replace(&self.path, &text)
        {
            tracing::warn!(%error, "the login token could not be stored; the next login takes longer");
        }
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns the name of a message that is replaced.
fn replace_text(login: &Login<'_>, to: &str, key: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{:?}", (login.text.as_str(), to, key)))
}

fn replace_file(login: &Login<'_>, text: &str, options: &ConnectionOptions) -> Option<PathBuf> {
    let (folder, key) = login.store(options)?;
    Some(folder.join("xmpp-replace").join(keyed_mark(&key, text)))
}

/// Returns the id of the message that a key stands for. It is in the state folder, for URLs of others in memory.
pub(super) fn replaced(login: &Login<'_>, to: &str, key: &str, pool: &ConnectionPool) -> Option<String> {
    let text = replace_text(login, to, key);
    if login.party == Party::Guest {
        return pool.of_service(XmppPool::new).replaced(&fingerprint(&text));
    }
    let id = std::fs::read_to_string(replace_file(login, &text, pool.options())?).ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty() && id.len() <= 256)
}

/// Stores the id of the message that a key stands for.
pub(super) fn remember_replaced(login: &Login<'_>, to: &str, key: &str, id: &str, pool: &ConnectionPool) {
    let text = replace_text(login, to, key);
    if login.party == Party::Guest {
        pool.of_service(XmppPool::new)
            .remember_replaced(&fingerprint(&text), id);
    } else if let Some(path) = replace_file(login, &text, pool.options())
        && let Err(error) = private_file::replace(&path, id.as_bytes())
    {
        tracing::warn!(%error, "the id of the message could not be stored; the next one will not replace it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> SavedLogin {
        SavedLogin {
            user_agent: "d4565fa7-4d72-4749-b3d3-740edbf87770".to_owned(),
            mechanism: Some("SCRAM-SHA-256".to_owned()),
            binding: None,
            token: Some(FastToken {
                mechanism: "HT-SHA-256-NONE".to_owned(),
                secret: "secret-token:abc".to_owned().into(),
                expiry: None,
            }),
        }
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(folder.join("xmpp"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }

    fn login(text: &str, party: Party) -> Login<'_> {
        Login {
            text: Zeroizing::new(text.to_owned()),
            jid: "alice@localhost",
            host: "localhost",
            port: None,
            party,
        }
    }

    fn in_folder(folder: &Path) -> ConnectionOptions {
        ConnectionOptions {
            state_folder: Some(folder.to_owned()),
            ..ConnectionOptions::default()
        }
    }

    #[test]
    fn tokens_are_stored_only_when_wanted_and_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = in_folder(folder.path());
        let alice = login("alice@localhost|secret", Party::Own);
        memory_for(&alice, false, &options).store(remembered());
        assert!(files(folder.path()).is_empty(), "off for one-shot URLs");
        let memory = memory_for(&alice, true, &options);
        memory.store(remembered());
        let token = memory_for(&alice, true, &options)
            .recall()
            .and_then(|known| known.token)
            .expect("a token");
        assert_eq!(token.secret.expose_secret(), "secret-token:abc");
        let wrong = login("alice@localhost|wrong", Party::Own);
        assert!(memory_for(&wrong, true, &options).recall().is_none());
        let found = files(folder.path());
        assert_eq!(found.len(), 1);
        assert!(!found[0].to_string_lossy().contains("alice"));
        #[cfg(unix)]
        for file in found.iter().chain([&folder.path().join("xmpp.key")]) {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(file).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        memory.forget();
        assert!(files(folder.path()).is_empty());
    }

    #[test]
    fn a_url_of_somebody_else_neither_reads_nor_writes_files() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = in_folder(folder.path());
        let text = "alice@localhost|secret";
        memory_for(&login(text, Party::Own), true, &options).store(remembered());
        let before = files(folder.path());
        let guest = memory_for(&login(text, Party::Guest), true, &options);
        assert!(guest.recall().is_none_or(|known| known.token.is_none()));
        guest.store(remembered());
        assert_eq!(files(folder.path()), before);
        let pool = ConnectionPool::new(options, crate::Asset::default());
        for (party, id) in [(Party::Guest, "of the guest"), (Party::Own, "our own")] {
            let login = login(text, party);
            assert_eq!(replaced(&login, "bob", "disk", &pool), None);
            remember_replaced(&login, "bob", "disk", id, &pool);
            assert_eq!(replaced(&login, "bob", "disk", &pool).as_deref(), Some(id));
        }
        let stored = std::fs::read_dir(folder.path().join("xmpp-replace")).expect("a folder");
        assert_eq!(stored.count(), 1);
    }

    #[test]
    fn a_token_of_an_earlier_version_is_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let alice = login("alice@localhost|secret", Party::Own);
        let old = alice.old_token(folder.path());
        private_file::replace(&old, b"{}").expect("written");
        let memory = memory_for(&alice, true, &in_folder(folder.path()));
        assert!(memory.recall().is_none() && !old.exists());
    }

    #[test]
    fn a_damaged_key_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("xmpp.key"), "short").expect("written");
        let key = key_of(folder.path()).expect("a key");
        assert_eq!(key_of(folder.path()).expect("the same"), key);
    }
}
