//! The key file: 32 raw bytes, readable by the owner alone.

use std::path::{Path, PathBuf};

use ackpost_platform::private_file;
use session_protocol::ServerSecret;
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError};
use crate::contents::{BlobStore, ContentError};
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

/// Reason why the key of a server could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The key file is missing, unusable, or that of another community.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes sure that a community keeps its key.
///
/// A new key would look like success but break every join link. It is made only where no community is stored yet, and
/// the database notes it.
pub(crate) struct KeyCheck {
    path: PathBuf,
    /// True if a database file existed without a key file.
    orphaned: bool,
    /// The stored files: those of a community whose database is empty show that it is the wrong database.
    contents: BlobStore,
}

impl KeyCheck {
    /// Checks the key before the store is opened, which would make a database file.
    pub(crate) fn before_opening(config: &Config) -> Result<Self, ConfigError> {
        let path = config.key_path();
        let contents = BlobStore::of(config)?;
        if path.exists() {
            load_key(&path)?;
            return Ok(Self {
                path,
                orphaned: false,
                contents,
            });
        }
        Ok(Self {
            path,
            orphaned: config.has_database_file(),
            contents,
        })
    }

    /// Returns the key of the community in this store; makes and notes it when it is the first.
    pub(crate) async fn claim(&self, store: &DynStore) -> Result<ServerSecret, KeyError> {
        let noted = store.community_key().await?;
        settle_staged(&self.path, noted.as_deref())?;
        let is_empty = noted.is_none() && !store.is_inhabited().await?;
        if !self.path.exists() && (self.orphaned || !is_empty) {
            return Err(ConfigError::KeyMissing {
                path: self.path.clone(),
                public_key: noted,
            }
            .into());
        }
        if is_empty && self.path.exists() {
            self.refuse_abandoned_files().await?;
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

    /// Refuses an empty database beside the key and the files of a community: the database is another one than theirs,
    /// and the server would remove the files as unused.
    async fn refuse_abandoned_files(&self) -> Result<(), ConfigError> {
        match self.contents.must_be_empty().await {
            Ok(()) => Ok(()),
            Err(ContentError::NotEmpty(place)) => Err(ConfigError::DatabaseEmpty { place }),
            Err(error) => {
                // The search for files without a row has its own bound.
                tracing::warn!(%error, "the database is empty, and the storage of files cannot be checked");
                Ok(())
            }
        }
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

/// Name of a key that waits until the import that brings it is committed.
fn staged(path: &Path) -> PathBuf {
    path.with_extension("imported")
}

/// Writes the key of an import beside the present one. [`settle_staged`] puts it in place.
pub(crate) fn stage_key(path: &Path, bytes: &[u8; 32]) -> Result<(), ConfigError> {
    let staged = staged(path);
    if staged.exists() {
        std::fs::remove_file(&staged).map_err(|e| failed(&staged, e))?;
    }
    write_key(&staged, bytes)
}

/// Puts a staged key in place if the database is that of its community. Otherwise the import was never committed, and the
/// staged key is removed. `noted` is the key that the database names.
///
/// A kill or an error between the commit of an import and this leaves the staged key for the next start or import.
pub(crate) fn settle_staged(path: &Path, noted: Option<&str>) -> Result<(), ConfigError> {
    let staged = staged(path);
    if !staged.exists() {
        return Ok(());
    }
    let is_noted = load_key(&staged).is_ok_and(|key| noted == Some(key.public().to_string().as_str()));
    if !is_noted {
        return std::fs::remove_file(&staged).map_err(|e| failed(&staged, e));
    }
    if path.exists() {
        let replaced = path.with_extension("replaced");
        std::fs::rename(path, &replaced).map_err(|e| failed(path, e))?;
    }
    std::fs::rename(&staged, path).map_err(|e| failed(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_key_replaces_the_present_one_only_if_the_database_names_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        let public = |bytes: [u8; 32]| ServerSecret::from_bytes(bytes).public().to_string();
        let there = || load_key(&path).expect("key").public().to_string();
        write_key(&path, &[1; 32]).expect("present key");
        settle_staged(&path, None).expect("nothing is staged");

        stage_key(&path, &[2; 32]).expect("staged");
        settle_staged(&path, Some(&public([1; 32]))).expect("not committed");
        assert_eq!(there(), public([1; 32]));
        settle_staged(&path, Some(&public([2; 32]))).expect("it is gone");
        assert_eq!(there(), public([1; 32]), "the staged key was removed");

        stage_key(&path, &[3; 32]).expect("left by a killed import");
        stage_key(&path, &[2; 32]).expect("staged");
        settle_staged(&path, Some(&public([2; 32]))).expect("committed");
        assert_eq!(there(), public([2; 32]));
        let former = load_key(&path.with_extension("replaced")).expect("kept");
        assert_eq!(former.public().to_string(), public([1; 32]));
    }
}
