//! Operations on a server from outside: over its socket if it runs, on its database otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use session_protocol::ServerKey;

use super::context::Admin;
use super::operation::{AdminError, AdminRequest, Answer};
use super::private::{private_folder, write_private};
use super::reference::commented_config;
use super::socket::{SocketReply, ask};
use crate::config::{CONFIG_FILE, Config, ConfigError};
use crate::contents::BlobStore;
use crate::key::{KeyCheck, KeyError, load_key};
use crate::moderation::Account;
use crate::store;

impl From<ConfigError> for AdminError {
    fn from(error: ConfigError) -> Self {
        let remedy = match &error {
            ConfigError::Read { .. } => "name the folder of a server with --dir, or make one",
            ConfigError::Key { .. } | ConfigError::KeyMissing { .. } | ConfigError::KeyDiffers { .. } => {
                "restore the key from a backup: without it every join link breaks"
            }
            ConfigError::DatabaseMissing { .. } | ConfigError::DatabaseEmpty { .. } => {
                return Self::conflict(error.to_string(), error.remedy());
            }
            _ => "run `ackpost server config check` for details",
        };
        // A mistake in the file is shown with its line, and the line ends.
        Self::usage(error.to_string().trim_end(), remedy)
    }
}

impl From<KeyError> for AdminError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Config(error) => error.into(),
            KeyError::Store(error) => error.into(),
        }
    }
}

/// Carries out one operation on the server of a folder, whether it runs or not.
pub async fn perform(folder: &Path, request: AdminRequest) -> Result<Answer, AdminError> {
    holds_server(folder)?;
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    match ask(&folder, &request).await {
        Ok(SocketReply::Answered(answer)) => answer,
        Ok(SocketReply::Stopped) => directly(&folder, request).await,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(AdminError::conflict(
            format!("the local socket of the server cannot be opened: {error}"),
            "run the command as the user that runs the server, or as root",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(AdminError::conflict(
            error.to_string(),
            "its process is stopped (continue it with `kill -CONT`) or stuck (restart it); the command may still be \
             executed when it continues",
        )),
        Err(error) => Err(AdminError::failed(error)),
    }
}

/// Checks that a folder holds a server.
///
/// A folder that may not be entered gets another error than one without a server.
fn holds_server(folder: &Path) -> Result<(), AdminError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match std::fs::metadata(folder.join(CONFIG_FILE)) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Err(AdminError::usage(
            format!(
                "{} does not contain a server: it has no {CONFIG_FILE}",
                folder.display()
            ),
            "name the folder of a server with --dir, or make one with `ackpost server init DIR`",
        )),
        Err(error) => {
            let cause = error.to_string().to_lowercase();
            let cause = cause.split(" (os error").next().unwrap_or_default();
            Err(AdminError::conflict(
                format!("cannot read {CONFIG_FILE} in {}: {cause}", folder.display()),
                "run the command as the user that runs the server, or as root",
            ))
        }
    }
}

async fn directly(folder: &Path, request: AdminRequest) -> Result<Answer, AdminError> {
    let config = Config::load(folder)?;
    // A command makes no key: without one, the folder is no server that could be operated on.
    load_key(&config.key_path())?;
    let check = KeyCheck::before_opening(&config)?;
    config.check_database()?;
    let store = store::open(&config.store_options(true), Arc::new(|_| {})).await?;
    let secret = match check.claim(&store).await {
        Ok(secret) => secret,
        Err(error) => {
            store.close().await?;
            return Err(error.into());
        }
    };
    let admin = Admin {
        store: Arc::clone(&store),
        folder: folder.to_path_buf(),
        stored: BlobStore::of(&config)?,
        database: config.database_url(),
        configured_url: base_url(&config),
        key: secret.public(),
        account: Account::new(&secret),
        require_blind: config.users.require_blind_keys,
        guard: None,
        live: None,
    };
    let outcome = admin.perform(request).await;
    store.close().await?;
    outcome
}

/// The address for join links when the server does not run.
fn base_url(config: &Config) -> String {
    if config.net.base_url.is_empty() {
        format!("http://{}", config.net.listen)
    } else {
        config.net.base_url.trim_end_matches('/').to_owned()
    }
}

/// Returns the reason why the join links of a configuration would not lead people outside to the server, if they
/// would not.
pub fn link_problem(config: &Config) -> Option<String> {
    let url = base_url(config);
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let is_local = match host.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_unspecified() => {
            return Some(format!("join links contain {url}, which is not an address"));
        }
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    is_local.then(|| format!("join links contain {url}, which works on this machine only"))
}

/// Options of `init`; everything else is edited in the configuration.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Public address.
    pub base_url: Option<String>,
    /// Address to listen on.
    pub listen: Option<std::net::SocketAddr>,
    /// Path or URL of the database.
    pub database: Option<String>,
}

/// Result of `init`.
#[derive(Debug, Clone)]
pub struct Initialised {
    /// Reason why join links would not lead people outside to the server; `None` if they would.
    pub link_problem: Option<String>,
    /// The configuration file.
    pub config: PathBuf,
    /// The key file.
    pub key_file: PathBuf,
    /// Public key of the server.
    pub public_key: ServerKey,
    /// Path or URL of the database, without a password.
    pub database: String,
}

/// Makes a server in a folder: configuration, key and database. What is there already stays as it is; a folder
/// with a configuration is refused.
pub async fn init(folder: &Path, options: &InitOptions) -> Result<Initialised, AdminError> {
    let path = folder.join(CONFIG_FILE);
    if path.exists() {
        return Err(AdminError::conflict(
            format!("{} already contains a server", folder.display()),
            "start it with `ackpost server run`, or choose another folder",
        ));
    }
    let mut config = Config::for_dir(std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf()));
    if let Some(url) = &options.base_url {
        url.trim_end_matches('/').clone_into(&mut config.net.base_url);
    }
    if let Some(listen) = options.listen {
        config.net.listen = listen;
    }
    if let Some(database) = &options.database {
        config.database.url.clone_from(database);
    }
    config
        .check()
        .map_err(|error| AdminError::usage(error.to_string(), "correct the command line"))?;
    private_folder(folder)?;
    let key_file = config.key_path();
    let key = KeyCheck::before_opening(&config)?;
    let store = store::open(&config.store_options(true), Arc::new(|_| {})).await?;
    let claimed = key.claim(&store).await;
    store.close().await?;
    let public_key = claimed?.public();
    // The configuration is written last, so that a folder with one has everything else.
    write_private(&path, commented_config(&config).as_bytes())?;
    Ok(Initialised {
        link_problem: link_problem(&config),
        config: path,
        key_file,
        public_key,
        database: crate::database_url::without_password(&config.database_url()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::AdminErrorKind;

    #[test]
    fn a_folder_without_a_server_is_told_from_one_that_cannot_be_looked_into() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = holds_server(folder.path()).expect_err("it is empty");
        assert!(
            error.cause.contains("does not contain a server"),
            "{}",
            error.cause
        );
        // Permissions do not stop root; a link to itself stops everybody in the same place.
        let config = folder.path().join(CONFIG_FILE);
        std::os::unix::fs::symlink(&config, &config).expect("a link");
        let error = holds_server(folder.path()).expect_err("it leads nowhere");
        assert_eq!(error.kind, AdminErrorKind::Conflict);
        assert!(error.cause.contains(": too many levels"), "{}", error.cause);
    }
}
