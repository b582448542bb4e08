//! What an XMPP account remembers between two runs: FAST tokens, and the messages that `replace=` replaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use xmpp_client::{FastToken, Memory, ProcessMemory, Remembered};

use crate::dispatch::{CourierOptions, fingerprint};

/// The memory of an account: a file in the state folder when tokens are wanted and there is one, else the process.
pub(super) fn memory_for(key: &str, fast: bool, options: &CourierOptions) -> Arc<dyn Memory> {
    match &options.state_folder {
        Some(folder) if fast => Arc::new(FileMemory {
            path: folder.join("xmpp").join(format!("{}.json", fingerprint(key))),
        }),
        _ => Arc::new(ProcessMemory::default()),
    }
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

impl Memory for FileMemory {
    fn recall(&self) -> Option<Remembered> {
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(&self.path).ok()?);
        let stored: Stored = serde_json::from_str(&text).ok()?;
        Some(Remembered {
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

    fn store(&self, remembered: Remembered) {
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
            && let Err(error) = write_private(&self.path, &text)
        {
            tracing::warn!(%error, "the login token could not be stored; the next login takes longer");
        }
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Replaces a file as a whole, readable by its owner only.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut chance = [0_u8; 8];
    getrandom::fill(&mut chance).map_err(std::io::Error::other)?;
    let fresh = path.with_extension(format!("{}.new", hex::encode(chance)));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = (|| {
        let mut file = options.open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        // The name must survive a power cut, too.
        std::fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

fn replace_file(key: &str, options: &CourierOptions) -> Option<PathBuf> {
    Some(
        options
            .state_folder
            .as_ref()?
            .join("xmpp-replace")
            .join(fingerprint(key)),
    )
}

/// The id of the message that a key stands for, when state is kept.
pub(super) fn replaced(key: &str, options: &CourierOptions) -> Option<String> {
    let id = std::fs::read_to_string(replace_file(key, options)?).ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty() && id.len() <= 256)
}

/// Notes the id of the message that a key stands for.
pub(super) fn remember_replaced(key: &str, id: &str, options: &CourierOptions) {
    if let Some(path) = replace_file(key, options)
        && let Err(error) = write_private(&path, id.as_bytes())
    {
        tracing::warn!(%error, "the id of the message could not be stored; the next one will not replace it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        Remembered {
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

    #[test]
    fn tokens_are_stored_only_when_wanted_and_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = CourierOptions {
            state_folder: Some(folder.path().to_owned()),
            ..CourierOptions::default()
        };
        memory_for("alice@localhost", false, &options).store(remembered());
        assert!(files(folder.path()).is_empty(), "off for one-shot URLs");
        let memory = memory_for("alice@localhost", true, &options);
        memory.store(remembered());
        let token = memory_for("alice@localhost", true, &options)
            .recall()
            .and_then(|known| known.token)
            .expect("a token");
        assert_eq!(token.secret.expose_secret(), "secret-token:abc");
        assert!(memory_for("bob@localhost", true, &options).recall().is_none());
        let found = files(folder.path());
        assert_eq!(found.len(), 1);
        assert!(!found[0].to_string_lossy().contains("alice"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&found[0]).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        memory.forget();
        assert!(files(folder.path()).is_empty());
    }
}
