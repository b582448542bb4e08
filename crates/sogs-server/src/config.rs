//! The configuration: `server.toml` in the server's folder. Every default is what the reference server does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the configuration file in the server's folder.
pub const CONFIG_FILE: &str = "server.toml";
/// Name of the key file in the server's folder, as the reference server calls it.
pub const KEY_FILE: &str = "key_x25519";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be; the text names line and option.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Problem and its position.
        message: String,
    },
    /// An option has a value that cannot work.
    #[error("{option}: {message}")]
    Value {
        /// Section and name.
        option: &'static str,
        /// Problem and correction.
        message: String,
    },
    /// There is a community in the database, but the key that its join links name is gone.
    #[error("the key file {path} is missing although a community is stored already{}", of_key(public_key.as_deref()))]
    KeyMissing {
        /// Expected path.
        path: PathBuf,
        /// The public key of the community, in hexadecimal, where the database knows it.
        public_key: Option<String>,
    },
    /// The key is that of another community than the one in the database.
    #[error(
        "the key file {path} has the public key {found}, but the community in the database has {expected}"
    )]
    KeyDiffers {
        /// The key file.
        path: PathBuf,
        /// Its public key, in hexadecimal.
        found: String,
        /// The public key of the community.
        expected: String,
    },
    /// There is a key, but the database file of its community is gone: an empty one would look like success.
    #[error("the key of a community is here, but its database {path} is missing or empty")]
    DatabaseMissing {
        /// Expected path.
        path: PathBuf,
    },
    /// There is a key, and there are files, but the database holds no community: it is the wrong one.
    #[error("the key of a community is here and {place} holds files, but its database is empty")]
    DatabaseEmpty {
        /// Folder or bucket of the files.
        place: String,
    },
    /// The key file is unusable.
    #[error("key file {path}: {message}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Problem.
        message: String,
    },
}

impl ConfigError {
    /// Returns the remedy, one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name the folder of a server; `ackpost server init DIR` makes one",
            Self::KeyMissing { .. } | Self::KeyDiffers { .. } => {
                "restore the file from a backup: all join links depend on it"
            }
            Self::DatabaseMissing { .. } => {
                "restore the file or mount its disk, or restore a backup with `ackpost server restore`; for an \
                 empty community under this key, move server.toml and the files away and use `ackpost server init`"
            }
            Self::DatabaseEmpty { .. } => {
                "correct `[database] url` so that it names the database of this community, or restore a backup with \
                 `ackpost server restore`; for an empty community under this key, choose another place for the files \
                 in `[files]`"
            }
            Self::Key { .. } => "restore the file from a backup, readable by the user that runs the server",
            Self::Parse { .. } | Self::Value { .. } => {
                "correct the line; `ackpost server config check --dir DIR` shows every problem"
            }
        }
    }
}

fn of_key(public_key: Option<&str>) -> String {
    public_key.map_or_else(String::new, |key| format!(" (its public key is {key})"))
}

/// Everything a server can be told. Options marked (reload) follow a SIGHUP, the others need a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server's folder: relative paths below start here. Not part of the file.
    #[serde(skip)]
    pub dir: PathBuf,
    /// Addresses and names.
    pub net: Net,
    /// Database.
    pub database: Database,
    /// Uploaded files.
    pub files: Files,
    /// Users.
    pub users: Users,
    /// Activity of rooms.
    pub rooms: Rooms,
    /// Messages.
    pub messages: Messages,
    /// Direct messages.
    pub direct_messages: DirectMessages,
    /// Bounds against abuse.
    pub limits: Limits,
    /// Pages for browsers.
    pub web: Web,
    /// Health and metrics.
    pub metrics: Metrics,
    /// Logging.
    pub log: Log,
    /// Programs that hear events and decide about posts.
    pub plugins: Vec<crate::plugin::PluginConfig>,
}

/// `[net]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Net {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Public URL of the server, for join links; empty: `http://` and the address. (reload)
    pub base_url: String,
    /// Proxies whose `X-Forwarded-For` is believed, as addresses or networks (`10.0.0.0/8`): the address of the client
    /// goes into the log and bounds its uploads. (reload)
    pub trusted_proxies: Vec<bounded_http::Network>,
    /// Lets a second process listen on the same port, for a restart without a gap.
    pub reuse_port: bool,
    /// Answer the old `/legacy/` routes and onion requests of version 3. (reload)
    pub legacy_routes: bool,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            base_url: String::new(),
            trusted_proxies: Vec::new(),
            reuse_port: false,
            legacy_routes: true,
        }
    }
}

/// `[database]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` (relative to the server's folder) or `postgres://USER:PASSWORD@HOST/NAME`.
    pub url: String,
    /// Connections for reading.
    pub readers: u32,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("url", &crate::database_url::without_password(&self.url))
            .field("readers", &self.readers)
            .finish()
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "sqlite:community.db".to_owned(),
            readers: 4,
        }
    }
}

/// Storage of uploaded files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In a folder of this machine, or one that several machines share.
    #[default]
    Folder,
    /// In a bucket of an S3-compatible store.
    S3,
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Folder => "folder",
            Self::S3 => "s3",
        })
    }
}

/// `[files]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// Storage of files: `folder` or `s3`. Change it with `ackpost server file move`, which moves the files too.
    pub storage: Storage,
    /// Folder of the files, and of uploads while they arrive.
    pub directory: PathBuf,
    /// Address of the S3-compatible store; empty: Amazon S3 in the region below.
    pub s3_endpoint: String,
    /// Region that requests to the store are signed for.
    pub s3_region: String,
    /// Bucket; it must exist.
    pub s3_bucket: String,
    /// Start of the name of every object. A prefix belongs to one community alone.
    pub s3_prefix: String,
    /// Bucket in the path (`true`) or in the host name (`false`) of the address.
    pub s3_path_style: bool,
    /// Allows an `http://` address on another machine: files and answers are then readable on the network.
    pub s3_allow_http: bool,
    /// File with `aws_access_key_id` and `aws_secret_access_key`, relative to the server's folder; empty: the environment
    /// variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub s3_credentials_file: PathBuf,
    /// PEM file with the authorities that may sign the certificate of the store, relative to the server's folder; empty: those
    /// that the system trusts.
    pub s3_ca_file: PathBuf,
    /// Seconds for one request to the store; sending a file has one more for every 64 KiB of it.
    pub s3_timeout_seconds: f64,
    /// Largest upload in bytes, enforced while it arrives; at most 5000000000 with `s3`. (reload)
    pub max_size: u64,
    /// Days an attached file is kept; 0 = for ever. A change is for files attached from then on;
    /// `ackpost server file keep` keeps older ones. (reload)
    pub expiry_days: f64,
    /// Seconds within which an upload must be attached to a message. (reload)
    pub unattached_seconds: f64,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            storage: Storage::Folder,
            directory: PathBuf::from("uploads"),
            s3_endpoint: String::new(),
            s3_region: "us-east-1".to_owned(),
            s3_bucket: String::new(),
            s3_prefix: String::new(),
            s3_path_style: true,
            s3_allow_http: false,
            s3_credentials_file: PathBuf::new(),
            s3_ca_file: PathBuf::new(),
            s3_timeout_seconds: 15.0,
            max_size: 10_000_000,
            expiry_days: 15.0,
            unattached_seconds: 3600.0,
        }
    }
}

impl Files {
    /// Seconds after which a file without a message cannot be an upload that waits for one, as far as this configuration
    /// tells: neither one of this server nor one of the reference server, where uploads wait for an hour.
    pub(crate) fn longest_wait(&self) -> f64 {
        self.unattached_seconds.max(crate::import::REFERENCE_WAIT) + 1.0
    }
}

/// `[users]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Users {
    /// Refuse account keys (00) and insist on blinded ids (15, 25).
    pub require_blind_keys: bool,
    /// Answer requests without authentication where a room's defaults allow it. (reload)
    pub allow_anonymous: bool,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            require_blind_keys: true,
            allow_anonymous: true,
        }
    }
}

/// `[rooms]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// Days within which somebody counts as active. (reload)
    pub active_days: f64,
    /// Days after which activity is forgotten. (reload)
    pub active_prune_days: f64,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            active_days: 7.0,
            active_prune_days: 60.0,
        }
    }
}

/// `[messages]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Messages {
    /// Days the former contents of edited and deleted messages are kept. (reload)
    pub history_days: f64,
}

impl Default for Messages {
    fn default() -> Self {
        Self { history_days: 30.0 }
    }
}

/// `[direct_messages]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectMessages {
    /// Days a direct message is kept. (reload)
    pub expiry_days: f64,
    /// Largest encrypted message in bytes. (reload)
    pub max_bytes: usize,
}

impl Default for DirectMessages {
    fn default() -> Self {
        Self {
            expiry_days: 15.0,
            max_bytes: 100_000,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Largest request body in bytes (uploads have their own limit).
    pub body_bytes: usize,
    /// Bytes of request bodies held in memory at a time, over all connections.
    pub bodies_bytes: usize,
    /// Seconds for a request's headers to arrive, and for a connection to stay idle.
    pub header_seconds: f64,
    /// Seconds for a request's body to arrive, plus one for every 64 KiB of it.
    pub body_seconds: f64,
    /// Subrequests of one batch, those of nested batches included.
    pub batch_requests: usize,
    /// Batches within batches.
    pub batch_depth: usize,
    /// Bytes of rendered answers kept in memory.
    pub answer_cache_bytes: usize,
    /// Users kept in memory.
    pub cached_users: usize,
    /// Nonces kept in memory; beyond that the accepted clock difference shrinks from 24 hours.
    pub nonces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            body_bytes: 15_000_000,
            bodies_bytes: 64_000_000,
            header_seconds: 30.0,
            body_seconds: 30.0,
            batch_requests: 1000,
            batch_depth: 3,
            answer_cache_bytes: 16_000_000,
            cached_users: 20_000,
            nonces: 1_000_000,
        }
    }
}

/// `[web]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Serve pages for browsers.
    pub enabled: bool,
    /// Serve a page that lists the rooms. Without it the page of each room is still there. (reload)
    pub index: bool,
    /// Name of the server on its pages and in previews of links to them; none when empty. (reload)
    pub title: String,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            enabled: true,
            index: true,
            title: String::new(),
        }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Address of the listener for `/healthz` and `/metrics`; none when absent.
    pub listen: Option<SocketAddr>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,sogs_server=debug`. (reload)
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            json: false,
        }
    }
}

impl Config {
    /// The defaults for a folder.
    pub fn for_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            ..Self::default()
        }
    }

    /// Reads `DIR/server.toml`; absent options have their defaults.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = dir.as_ref().join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        Self::parse(&text, dir.as_ref()).map_err(|error| match error {
            ConfigError::Parse { message, .. } => ConfigError::Parse {
                path: path.clone(),
                message,
            },
            other => other,
        })
    }

    /// Reads the text of a configuration file.
    pub fn parse(text: &str, dir: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: PathBuf::from(CONFIG_FILE),
            message: error.to_string(),
        })?;
        config.dir = dir.to_path_buf();
        config.check()?;
        Ok(config)
    }

    /// Refuses values that cannot work together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |option, message: &str| {
            Err(ConfigError::Value {
                option,
                message: message.to_owned(),
            })
        };
        let base_url = &self.net.base_url;
        let usable = ["http://", "https://"]
            .iter()
            .any(|scheme| base_url.starts_with(scheme));
        if !usable && !base_url.is_empty() {
            return value("net.base_url", "starts with http:// or https://, or is empty");
        }
        let database = &self.database.url;
        let other = |scheme: &str| !matches!(scheme, "sqlite" | "postgres" | "postgresql");
        if database.is_empty()
            || database
                .split_once("://")
                .is_some_and(|(scheme, _)| other(scheme))
        {
            // Not shown: it may hold a password.
            return value(
                "database.url",
                "is sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME; other databases are not supported",
            );
        }
        if self.database.readers == 0 || self.database.readers > 64 {
            return value("database.readers", "is from 1 to 64");
        }
        if self.limits.connections == 0 || self.limits.batch_requests == 0 {
            return value("limits", "connections and batch_requests are at least 1");
        }
        if self.limits.bodies_bytes < self.limits.body_bytes {
            return value("limits.bodies_bytes", "is at least limits.body_bytes");
        }
        if self.files.storage == Storage::S3 {
            crate::contents::check_bucket(&self.files)?;
        }
        for (option, days) in [
            ("files.expiry_days", self.files.expiry_days),
            ("files.unattached_seconds", self.files.unattached_seconds),
            ("files.s3_timeout_seconds", self.files.s3_timeout_seconds),
            ("rooms.active_days", self.rooms.active_days),
            ("rooms.active_prune_days", self.rooms.active_prune_days),
            ("messages.history_days", self.messages.history_days),
            ("direct_messages.expiry_days", self.direct_messages.expiry_days),
            ("limits.header_seconds", self.limits.header_seconds),
            ("limits.body_seconds", self.limits.body_seconds),
        ] {
            if !(0.0..=1e7).contains(&days) {
                return value(option, "is a number from 0 to 10000000");
            }
        }
        Ok(())
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// The database URL with a relative SQLite path resolved.
    pub fn database_url(&self) -> String {
        let url = &self.database.url;
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return url.clone();
        }
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        format!("sqlite:{}", self.dir.join(path).display())
    }

    /// The file of the database; nothing for PostgreSQL.
    fn database_file(&self) -> Option<PathBuf> {
        let url = self.database_url();
        let path = url.strip_prefix("sqlite:")?;
        Some(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
    }

    /// Returns true if the database is an existing file.
    pub(crate) fn has_database_file(&self) -> bool {
        self.database_file()
            .is_some_and(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0))
    }

    /// Refuses a folder that has the key of a community but not the file of its database. `init` makes both; a
    /// database that is missing later was moved, or its disk is not there.
    ///
    /// # Errors
    /// [`ConfigError::DatabaseMissing`].
    pub fn check_database(&self) -> Result<(), ConfigError> {
        match self.database_file() {
            Some(path) if self.key_path().exists() && !self.has_database_file() => {
                Err(ConfigError::DatabaseMissing { path })
            }
            _ => Ok(()),
        }
    }

    /// Returns the options to open the store.
    pub fn store_options(&self, migrate: bool) -> crate::store::StoreOptions {
        crate::store::StoreOptions {
            url: self.database_url(),
            readers: self.database.readers,
            migrate,
        }
    }

    /// Returns true if several processes may use the database at a time.
    pub(crate) fn is_shared(&self) -> bool {
        !self.database_url().starts_with("sqlite:")
    }

    /// Folder of the uploaded contents, and of uploads while they arrive.
    pub fn files_dir(&self) -> PathBuf {
        self.dir.join(&self.files.directory)
    }

    /// The key file.
    pub fn key_path(&self) -> PathBuf {
        self.dir.join(KEY_FILE)
    }
}
