//! The key file: 32 raw bytes, readable by the owner alone.

use std::path::{Path, PathBuf};

use ackpost_platform::private_file;
use session_protocol::ServerSecret;
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError};
use crate::store::{DynStore, StoreError};

fn failed(path: &Path, message: impl std::fmt::Display) -> ConfigError {
    ConfigError::Key {
        path: path.to_path_buf(),
        message: message.to_string(),
    }
}

/// Reads the server's key.
pub fn load_key(path: &Path) -> Result<ServerSecret, ConfigError> {
    let bytes = Zeroizing::new(std::fs::read(path).map_err(|e| failed(path, e))?);
    let array: Zeroizing<[u8; 32]> = match bytes.len() {
        32 => Zeroizing::new(
            bytes
                .as_slice()
                .try_into()
                .map_err(|_| failed(path, "is not 32 bytes long"))?,
        ),
        // Some operators keep the key as text.
        64..=66 => {
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| failed(path, "is neither 32 bytes nor hexadecimal"))?;
            let mut out = Zeroizing::new([0; 32]);
            hex::decode_to_slice(text.trim(), &mut *out)
                .map_err(|_| failed(path, "is neither 32 bytes nor hexadecimal"))?;
            out
        }
        _ => {
            return Err(failed(
                path,
                "is not 32 bytes long; restore it from a backup, or every join link breaks",
            ));
        }
    };
    Ok(ServerSecret::from_bytes(*array))
}

/// Why the key of a server could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The key file is missing, unusable, or that of another community.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sees to it that a community keeps its key. A new key would look like success, and every join link of the
/// community would be dead; so one is made only where no community is stored yet, and the database notes it.
pub(crate) struct KeyCheck {
    path: PathBuf,
    /// There was a database file without a key file.
    orphaned: bool,
}

impl KeyCheck {
    /// Looks before the store is opened, which would make a database file.
    pub(crate) fn before_opening(config: &Config) -> Result<Self, ConfigError> {
        let path = config.key_path();
        if path.exists() {
            load_key(&path)?;
            return Ok(Self {
                path,
                orphaned: false,
            });
        }
        Ok(Self {
            path,
            orphaned: config.has_database_file(),
        })
    }

    /// The key of the community in this store; made and noted when it is the first.
    pub(crate) async fn claim(&self, store: &DynStore) -> Result<ServerSecret, KeyError> {
        let noted = store.community_key().await?;
        if !self.path.exists() && (self.orphaned || noted.is_some() || store.is_inhabited().await?) {
            return Err(ConfigError::KeyMissing {
                path: self.path.clone(),
                public_key: noted,
            }
            .into());
        }
        let secret = load_or_create_key(&self.path)?;
        let found = secret.public().to_string();
        let expected = match noted {
            Some(expected) => expected,
            None => store.claim_key(found.clone()).await?,
        };
        if expected != found {
            return Err(ConfigError::KeyDiffers {
                path: self.path.clone(),
                found,
                expected,
            }
            .into());
        }
        crate::account::settle(store, &secret.public()).await?;
        Ok(secret)
    }
}

/// Reads the server's key, or makes one when there is none.
pub fn load_or_create_key(path: &Path) -> Result<ServerSecret, ConfigError> {
    if path.exists() {
        return load_key(path);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| failed(path, e))?;
    write_key(path, &bytes)?;
    load_key(path)
}

/// Writes a key file; an existing one is never overwritten.
pub fn write_key(path: &Path, bytes: &[u8; 32]) -> Result<(), ConfigError> {
    private_file::create(path, bytes).map_err(|e| failed(path, e))
}
