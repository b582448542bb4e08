//! The entries that crossed or have yet to cross, and how far each side was read: SQLite or PostgreSQL.
//!
//! An event of one side becomes an entry in the same transaction that moves the place up to which that side was read.
//! Entries of one direction are worked off in their order.

mod entry;
mod map;
mod reactions;
mod view;

use std::path::Path;
use std::str::FromStr as _;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};

use crate::clock::now_ms;

pub(crate) use entry::{Entry, Most, NewEntry, Side, State};
pub(crate) use map::{NOTE, Peer, Taken};
pub(crate) use reactions::Reacted;
pub use view::{Counts, Mapped};

/// Version of the schema.
const VERSION: i64 = 1;

/// Reason why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error("the database of the bridge failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The file cannot be made.
    #[error("the database of the bridge cannot be made: {0}")]
    File(#[from] std::io::Error),
    /// A later version of Ackpost wrote it.
    #[error("the database of the bridge was written by a later version of Ackpost (schema {0})")]
    Newer(i64),
    /// Another process carries for this bridge.
    #[error("another process runs the bridge {0}")]
    Held(String),
    /// An entry of the database cannot be read.
    #[error("an entry of the database cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl StoreError {
    /// Remedy, as an imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Newer(_) => "install that version again, or name another database",
            Self::Held(_) => "end that process, or name another database",
            Self::Unreadable(_) => "restore the database from a backup, or name a new one",
            _ => "check the disk or the database server, then start the bridge again",
        }
    }
}

/// The database of all bridges of a process.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: sqlx::AnyPool,
    pub(crate) begin: &'static str,
    /// The file, if it is one.
    file: Option<std::path::PathBuf>,
}

/// The right to carry for a bridge.
#[derive(Debug)]
pub struct Held {
    /// Its end ends the lock, so it never goes back to the pool.
    connection: Option<sqlx::AnyConnection>,
    _file: Option<ackpost_platform::private_file::LockedFile>,
}

impl Store {
    /// Opens the database, and makes it if it is a file that is missing. `place` is the name of a file, with or without
    /// `sqlite:` before it, or a `postgres://` URL.
    ///
    /// # Errors
    /// The database cannot be opened, or a later version wrote it.
    pub async fn open(place: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let postgres = place.starts_with("postgres://") || place.starts_with("postgresql://");
        let (url, begin, id) = if postgres {
            (place.to_owned(), "BEGIN", "BIGSERIAL PRIMARY KEY")
        } else {
            let path = Path::new(place.strip_prefix("sqlite:").unwrap_or(place));
            make_private(path)?;
            (
                file_url(path),
                "BEGIN IMMEDIATE",
                "INTEGER PRIMARY KEY AUTOINCREMENT",
            )
        };
        let options = AnyConnectOptions::from_str(&url)?;
        let pool = AnyPoolOptions::new()
            .max_connections(if postgres { 4 } else { 1 })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if !postgres {
                        use sqlx::Executor as _;
                        connection.execute(pragmas()).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await?;
        let file = (!postgres).then(|| Path::new(place.strip_prefix("sqlite:").unwrap_or(place)).to_owned());
        let store = Self { pool, begin, file };
        store.make_tables(id).await?;
        Ok(store)
    }

    /// Makes this process the only one that carries for a bridge, until the returned lock is dropped.
    ///
    /// # Errors
    /// Another process does, or the lock cannot be taken.
    pub async fn hold(&self, bridge: &str) -> Result<Held, StoreError> {
        let Some(file) = &self.file else {
            let mut connection = self.pool.acquire().await?;
            let mine: String =
                sqlx::query_scalar("SELECT CAST(pg_try_advisory_lock(716541204, hashtext($1)) AS TEXT)")
                    .bind(bridge.to_owned())
                    .fetch_one(&mut *connection)
                    .await?;
            if mine != "true" {
                return Err(StoreError::Held(bridge.to_owned()));
            }
            return Ok(Held {
                connection: Some(connection.detach()),
                _file: None,
            });
        };
        let mut name = file.clone().into_os_string();
        name.push(format!(".{bridge}.lock"));
        match ackpost_platform::private_file::lock(Path::new(&name), std::time::Duration::ZERO) {
            Ok(file) => Ok(Held {
                connection: None,
                _file: Some(file),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(StoreError::Held(bridge.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that this process still has the right to carry for a bridge. On PostgreSQL the lock ends unseen with its connection: after
    /// a restart of the database, another process may have taken it.
    ///
    /// # Errors
    /// The lock is gone, and another process has it or the database cannot be used.
    pub async fn keep(&self, bridge: &str, held: &mut Held) -> Result<(), StoreError> {
        if let Some(connection) = &mut held.connection
            && sqlx::query("SELECT 1").execute(&mut *connection).await.is_err()
        {
            *held = self.hold(bridge).await?;
        }
        Ok(())
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>, sqlx::Error> {
        self.pool.begin_with(self.begin).await
    }

    async fn make_tables(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if self.begin == "BEGIN" {
            // Several processes may open an empty database together.
            sqlx::query("SELECT CAST(pg_advisory_xact_lock(7165412039) AS TEXT)")
                .execute(&mut *tx)
                .await?;
        }
        for statement in include_str!("store/schema.sql").split(";\n") {
            let statement = statement.trim();
            if !statement.is_empty() {
                let statement = statement.replace("ID_TYPE", id);
                sqlx::query(sqlx::AssertSqlSafe(statement))
                    .execute(&mut *tx)
                    .await?;
            }
        }
        let version: Option<String> =
            sqlx::query_scalar("SELECT value FROM bridge_meta WHERE bridge = '' AND name = 'version'")
                .fetch_optional(&mut *tx)
                .await?;
        match version.and_then(|version| version.parse::<i64>().ok()) {
            Some(version) if version > VERSION => return Err(StoreError::Newer(version)),
            Some(_) => {}
            None => {
                sqlx::query("INSERT INTO bridge_meta (bridge, name, value) VALUES ('', 'version', $1)")
                    .bind(VERSION.to_string())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Reads the value that a bridge stored under a name.
    pub(crate) async fn meta(&self, bridge: &str, name: &str) -> Result<Option<String>, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT value FROM bridge_meta WHERE bridge = $1 AND name = $2")
                .bind(bridge.to_owned())
                .bind(name.to_owned())
                .fetch_optional(&self.pool)
                .await?,
        )
    }

    /// Remembers something under a name.
    #[cfg(test)]
    pub(crate) async fn set_meta(&self, bridge: &str, name: &str, value: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        set_meta(&mut tx, bridge, name, value).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Pauses a bridge, or ends the pause. A running process notices within seconds.
    pub async fn set_paused(&self, bridge: &str, paused: bool) -> Result<(), StoreError> {
        let why = if paused { "by command" } else { "" };
        self.write_pause(bridge, why, "").await
    }

    /// Pauses a bridge until a time, milliseconds since 1970, as earlier versions did.
    #[cfg(test)]
    pub(crate) async fn pause_until(&self, bridge: &str, why: &str, until: i64) -> Result<(), StoreError> {
        self.write_pause(bridge, why, &until.to_string()).await
    }

    async fn write_pause(&self, bridge: &str, why: &str, until: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // The time first, as where a pause ends: two processes lock the rows in the same order.
        set_meta(&mut tx, bridge, "paused.until", until).await?;
        set_meta(&mut tx, bridge, "paused", why).await?;
        if why.is_empty() {
            set_meta(&mut tx, bridge, "paused.ended", &now_ms().to_string()).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Returns the time when the last pause by command ended, milliseconds since 1970; 0 if there was none.
    pub(crate) async fn pause_ended(&self, bridge: &str) -> Result<i64, StoreError> {
        let ended = self.meta(bridge, "paused.ended").await?;
        Ok(ended.and_then(|ended| ended.parse().ok()).unwrap_or_default())
    }

    /// Ends the pause of a bridge if its time is over. Returns true if the bridge is paused after that.
    pub(crate) async fn is_paused_at(&self, bridge: &str, now: i64) -> Result<bool, StoreError> {
        if self.paused(bridge).await?.is_none() {
            return Ok(false);
        }
        let until = self.meta(bridge, "paused.until").await?.unwrap_or_default();
        let is_over = until.parse::<i64>().is_ok_and(|until| until <= now);
        if is_over {
            self.end_pause(bridge, &until).await?;
        }
        // Another process may have paused it meanwhile.
        Ok(self.paused(bridge).await?.is_some())
    }

    /// Ends the pause that lasts until this time, and no other: one that began in the meantime stays.
    pub(crate) async fn end_pause(&self, bridge: &str, until: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query(
            "UPDATE bridge_meta SET value = '' WHERE bridge = $1 AND name = 'paused.until' AND value = $2",
        )
        .bind(bridge.to_owned())
        .bind(until.to_owned())
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() > 0 {
            set_meta(&mut tx, bridge, "paused", "").await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Returns the reason why a bridge is paused; `None` when it is not.
    pub async fn paused(&self, bridge: &str) -> Result<Option<String>, StoreError> {
        Ok(self.meta(bridge, "paused").await?.filter(|why| !why.is_empty()))
    }
}

pub(crate) type Tx = sqlx::Transaction<'static, sqlx::Any>;

pub(crate) async fn set_meta(tx: &mut Tx, bridge: &str, name: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO bridge_meta (bridge, name, value) VALUES ($1, $2, $3) \
         ON CONFLICT (bridge, name) DO UPDATE SET value = excluded.value",
    )
    .bind(bridge.to_owned())
    .bind(name.to_owned())
    .bind(value.to_owned())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn pragmas() -> &'static str {
    // Another process is waited for. FULL: a commit is on the disk before it counts; a power cut takes nothing back. A bridge
    // reads few rows at a time: half a megabyte of pages is enough.
    "PRAGMA busy_timeout = 20000; PRAGMA cache_size = -512; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
}

/// The URL of a file for the driver.
fn file_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url.push_str("?mode=rwc");
    url
}

/// Makes the file, readable by its owner alone.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
