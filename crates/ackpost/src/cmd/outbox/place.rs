//! Choice of the outbox.

use std::io::{ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ackpost_notify::{Asset, ConnectionOptions, ConnectionPool, Environment, Services};
use ackpost_outbox::{Location, Outbox, OutboxConfig, OutboxError, ServiceTransport};
use clap::Args;

use crate::exit::Failure;

/// Time for opening an outbox after which a person is told about the wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which outbox, for every command that has one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Outbox")]
pub(crate) struct PlaceArgs {
    /// The outbox: a file, or a postgres:// URL [default: $ACKPOST_OUTBOX, else outbox.db in the state folder]
    #[arg(long, value_name = "FILE|URL", id = "outbox_place", global = true)]
    outbox: Option<String>,
    /// Key file of the outbox; a new outbox creates it [default: $ACKPOST_OUTBOX_KEY, else beside the
    /// outbox, with PostgreSQL outbox.key in the state folder]
    #[arg(long, value_name = "FILE", global = true)]
    outbox_key: Option<PathBuf>,
}

impl PlaceArgs {
    /// The one that other words than our own options name.
    pub(crate) fn named_by(outbox: Option<String>, outbox_key: Option<PathBuf>) -> Self {
        Self { outbox, outbox_key }
    }

    /// The one a configuration names, unless the command line names one.
    pub(crate) fn or(mut self, configured: Option<&str>) -> Self {
        if self.outbox.is_none() {
            self.outbox = configured.map(str::to_owned);
        }
        self
    }

    /// Opens it, and makes it when there is none.
    pub(crate) async fn open(&self, services: Services) -> Result<Outbox, Failure> {
        let config = self.config(true)?;
        opening(&config, with_state(config.clone(), services))
            .await
            .map_err(|error| failure(&error))
    }

    /// Opens it if it is there: no file, no outbox, and nothing is made.
    pub(crate) async fn open_existing(&self, services: Services) -> Result<Option<Outbox>, Failure> {
        let mut config = self.config(false)?;
        if let Location::Sqlite(file) = &config.location {
            match std::fs::metadata(file) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                Err(error) => {
                    return Err(Failure::new(
                        format!("the outbox at {} cannot be used: {error}", file.display()),
                        "run the command as the user that owns the outbox, or name another with --outbox",
                    ));
                }
            }
        } else {
            // A database is there by itself; the first to use it may have to make the key.
            config = self.config(true)?;
        }
        opening(&config, with_state(config.clone(), services))
            .await
            .map(Some)
            .map_err(|error| failure(&error))
    }

    /// Fails if a named outbox does not exist.
    ///
    /// For commands that need an outbox: without a name, a missing outbox just counts as empty.
    pub(crate) fn absent(&self) -> Result<(), Failure> {
        if self.named().is_none() {
            return Ok(());
        }
        Err(Failure::new(
            format!("no outbox exists at {}", self.config(false)?.location.masked()),
            "check the name; `ackpost send --queue` makes an outbox",
        ))
    }

    /// Returns the outbox named on the command line or in the environment.
    fn named(&self) -> Option<String> {
        self.outbox.clone().or_else(|| variable("ACKPOST_OUTBOX"))
    }

    /// Returns the configuration for opening it; `make` creates the folder.
    pub(crate) fn config(&self, make: bool) -> Result<OutboxConfig, Failure> {
        let key = self
            .outbox_key
            .clone()
            .or_else(|| variable("ACKPOST_OUTBOX_KEY").map(PathBuf::from));
        let location = self.named().map(|text| Location::parse(&text));
        let folder = match &location {
            Some(Location::Sqlite(file)) => parent(file),
            _ => state_folder(&variable),
        };
        if make {
            private_folder(&folder).map_err(|error| {
                Failure::new(
                    format!("the folder {} cannot be made: {error}", folder.display()),
                    "make it yourself, or name another outbox with --outbox",
                )
            })?;
        }
        let mut config = OutboxConfig::in_folder(&folder);
        if let Some(location) = location {
            if let Location::Sqlite(file) = &location {
                config.key_file = file.with_extension("key");
            }
            config.location = location;
        }
        if let Some(key) = key {
            config.key_file = key;
        }
        Ok(config)
    }
}

/// Waits for an outbox to open; a person hears what for when it takes longer than they may think.
pub(crate) async fn opening<T>(config: &OutboxConfig, open: impl Future<Output = T>) -> T {
    let mut open = std::pin::pin!(open);
    tokio::select! {
        opened = &mut open => return opened,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    if std::io::stderr().is_terminal() {
        crate::output::note(&format!("waiting for the outbox at {}", config.location.masked()));
    }
    open.await
}

/// Opens an outbox whose deliveries use what the commands keep in the state folder, such as OMEMO keys: a queued message
/// must not be less protected than one that is sent at once.
async fn with_state(config: OutboxConfig, services: Services) -> Result<Outbox, OutboxError> {
    let options = ConnectionOptions::default()
        .with_resident(true)
        .with_state_folder(Some(own_state_folder()));
    let pool = ConnectionPool::new(options, Asset::default());
    Outbox::open(config, Arc::new(ServiceTransport::new(pool, services))).await
}

/// Returns the state folder by the environment of this process.
pub(crate) fn own_state_folder() -> PathBuf {
    state_folder(&variable)
}

/// `$STATE_DIRECTORY` (systemd), else `ackpost` in the state folder of the user.
pub(crate) fn state_folder(variable: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    if let Some(folders) = variable("STATE_DIRECTORY") {
        return PathBuf::from(folders.split(':').next().unwrap_or(&folders));
    }
    let base = variable("XDG_STATE_HOME")
        .filter(|folder| folder.starts_with('/'))
        .map_or_else(
            || PathBuf::from(variable("HOME").unwrap_or_else(|| "/var/lib".to_owned())).join(".local/state"),
            PathBuf::from,
        );
    base.join("ackpost")
}

/// A variable of the environment that says something. Without `HOME`, as below cron, the home folder is that of the user.
fn variable(name: &str) -> Option<String> {
    Environment::system().var(name).filter(|value| !value.is_empty())
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Nobody else may look into a folder that we make; one that is there stays as it is.
pub(crate) fn private_folder(folder: &Path) -> std::io::Result<()> {
    ackpost_platform::private_file::create_folder(folder)
}

/// Error for a failure of the outbox, with its remedy.
pub(crate) fn failure(error: &OutboxError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}
