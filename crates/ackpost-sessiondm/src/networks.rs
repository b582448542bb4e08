//! The networks in use, kept between deliveries with their nodes, paths and connections.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ackpost_notify::dispatch::ConnectionOptions;
use ackpost_notify::{Diagnostic, ServicePool};
use ackpost_platform::private_file;
use session_network::{FolderStorage, Identity, Network, NetworkError};

use crate::network_options::NetworkOptions;
use crate::proof::LiveProof;

/// Maximum number of networks that are kept.
const MAX_NETWORKS: usize = 16;
/// Name of the folder, below that of all state, in which networks keep their nodes and the last used time.
pub const FOLDER: &str = "session-network";

/// Name of the file with the account of URLs that name none.
const ACCOUNT: &str = "account";
/// Longest file of an account, bytes.
const MAX_ACCOUNT_LEN_BYTES: usize = 4096;

/// The folder in which networks keep their state.
pub(crate) fn folder(options: &ConnectionOptions) -> Result<FolderStorage, Diagnostic> {
    let folder = options.state_folder.as_ref().ok_or_else(no_folder)?;
    Ok(FolderStorage::new(folder.join(FOLDER)))
}

fn no_folder() -> Diagnostic {
    Diagnostic::error(
        "no state folder is known",
        "write ?seed_file=PATH in the URL, or set STATE_DIRECTORY or HOME",
    )
}

/// Reads the account of URLs that name none. It is made once, of 16 random bytes, so that it has a recovery phrase.
pub(crate) fn default_account(folder: &Path) -> Result<Identity, Diagnostic> {
    let path = folder.join(ACCOUNT);
    let unusable = |cause: String| {
        let remedy = format!(
            "make {} readable for this user, or write ?seed_file=PATH",
            path.display()
        );
        Diagnostic::error(
            format!("the account of the state folder cannot be used: {cause}"),
            remedy,
        )
    };
    let read = || {
        let bytes = private_file::read_secret(&path, MAX_ACCOUNT_LEN_BYTES)
            .map_err(|error| unusable(error.to_string()))?;
        bytes
            .map(|bytes| {
                let text = core::str::from_utf8(&bytes).unwrap_or_default();
                Identity::from_seed_hex(text.trim()).ok_or_else(|| unusable("it is damaged".to_owned()))
            })
            .transpose()
    };
    if let Some(identity) = read()? {
        return Ok(identity);
    }
    let mut entropy = zeroize::Zeroizing::new([0; 16]);
    getrandom::fill(&mut *entropy).map_err(|error| unusable(error.to_string()))?;
    let identity = Identity::from_entropy(&entropy);
    let mut text = identity.expose_seed_hex();
    text.push('\n');
    match private_file::create(&path, text.as_bytes()) {
        Ok(()) => Ok(identity),
        // Another process made it at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read()?.ok_or_else(|| unusable("it disappeared".to_owned()))
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

pub(crate) struct Networks {
    folder: Option<PathBuf>,
    proxies: bool,
    kept: Mutex<Vec<(NetworkOptions, Network)>>,
}

impl Networks {
    pub(crate) fn new(options: &ConnectionOptions) -> Self {
        Self {
            folder: options.state_folder.as_ref().map(|folder| folder.join(FOLDER)),
            proxies: options.proxies,
            kept: Mutex::default(),
        }
    }

    /// The account of URLs that name none.
    pub(crate) fn default_account(&self) -> Result<Identity, Diagnostic> {
        default_account(self.folder.as_deref().ok_or_else(no_folder)?)
    }

    /// The last day on which a network worked.
    pub(crate) fn live_proof(&self, options: &NetworkOptions) -> Option<LiveProof> {
        LiveProof::load(&FolderStorage::new(self.folder.as_ref()?), options)
    }

    /// Returns the network; it is made once.
    pub(crate) fn get(&self, options: &NetworkOptions) -> Result<Network, NetworkError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, network)) = kept.iter().find(|(known, _)| known == options) {
            return Ok(network.clone());
        }
        let mut builder = options.builder().use_proxies(self.proxies);
        if let Some(folder) = &self.folder {
            builder = builder.storage(FolderStorage::new(folder));
        }
        let network = builder.build()?;
        if kept.len() >= MAX_NETWORKS {
            kept.remove(0);
        }
        kept.push((options.clone(), network.clone()));
        Ok(network)
    }
}

impl ServicePool for Networks {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = default_account(folder.path()).expect("made");
        let path = folder.path().join(ACCOUNT);
        let mode = |mode: &str| {
            let set = std::process::Command::new("chmod").arg(mode).arg(&path).status();
            assert!(set.is_ok_and(|status| status.success()));
            default_account(folder.path())
        };
        let problem = mode("644").expect_err("others may read it");
        assert!(problem.cause.contains("others may read it"), "{}", problem.cause);
        let again = mode("600").expect("private");
        assert_eq!(again.session_id(), made.session_id());
    }
}
