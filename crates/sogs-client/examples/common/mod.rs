//! Code that the example bots share: arguments, shutdown, and a folder for their state.
#![allow(dead_code, unreachable_pub, reason = "each example uses its own part")]

use std::path::{Path, PathBuf};

use sogs_client::bot::{StateStore, StoreError};
use sogs_client::{Identity, JoinLink};

/// The join link of the command line, and the identity of the environment: nothing secret is in the process list.
pub fn arguments() -> Result<(JoinLink, Identity), Box<dyn std::error::Error>> {
    let link = std::env::args()
        .nth(1)
        .ok_or("give a join link: https://host/room?public_key=…")?
        .parse()?;
    let secret =
        std::env::var("SESSION_SEED").map_err(|_| "set SESSION_SEED to a recovery phrase or a seed")?;
    let identity = match Identity::from_seed_hex(secret.trim()) {
        Some(identity) => identity,
        None => Identity::from_mnemonic(&secret)?,
    };
    Ok((link, identity))
}

/// Ready when somebody presses Ctrl-C.
pub async fn until_ctrl_c() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Keeps each piece in a file of a folder, replaced whole.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: impl AsRef<Path>) -> std::io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self(path.as_ref().to_owned()))
    }
}

impl StateStore for Folder {
    fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match std::fs::read(self.0.join(key)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::new(error)),
        }
    }

    fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let new = self.0.join(format!("{key}.new"));
        std::fs::write(&new, bytes)
            .and_then(|()| std::fs::rename(&new, self.0.join(key)))
            .map_err(StoreError::new)
    }
}
