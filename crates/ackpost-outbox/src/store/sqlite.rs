//! The outbox in one file. One connection writes, a few read beside it.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::clock::ServerClock;

#[path = "sql/accept.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod accept;
#[path = "sql/acts.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod acts;
#[path = "sql/admin.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod admin;
#[path = "sql/clock.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod clock;
#[path = "sql/lane.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod lane;
#[path = "sql/link.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod link;
#[path = "sql/rows.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod rows;
#[path = "sql/tidy.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod tidy;
#[path = "sql/view.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod view;

pub(super) type Db = sqlx::Sqlite;
type Row = sqlx::sqlite::SqliteRow;
type Tx = sqlx::Transaction<'static, Db>;

/// Types that differ in the schema.
const ID: &str = "INTEGER PRIMARY KEY AUTOINCREMENT";
const BLOB: &str = "BLOB";

/// Ends a look for lanes to take. There is one writer at a time, so nothing need be skipped.
const TAKE: &str = "";

/// Locks a lane: the transaction has the whole file already.
const LOCK: &str = "SELECT leased_by FROM outbox_lane WHERE id = $1";

/// Longest time that a statement waits for another process.
const BUSY: Duration = Duration::from_secs(20);

/// Runs a step. There is one writer at a time, so that no other makes it fail.
async fn again<T, F>(mut step: impl FnMut() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    step().await
}

/// Makes the database file readable by its owner alone; SQLite gives `-wal` and `-shm` the mode of the database. A file
/// that its owner shares with a group for writing stays shared.
#[cfg(unix)]
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for end in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(end);
        let Ok(meta) = std::fs::metadata(&file) else {
            continue;
        };
        let mode = meta.permissions().mode() & 0o777;
        let kept = mode & if mode & 0o020 == 0 { 0o700 } else { 0o770 };
        if meta.is_file() && kept != mode {
            // A file of another user cannot be changed; opening it tells.
            let _ = std::fs::set_permissions(&file, std::fs::Permissions::from_mode(kept));
        }
    }
    Ok(())
}

/// Makes the database file. The rights of its folder decide who may read it.
#[cfg(not(unix))]
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[derive(Debug)]
pub(crate) struct Backend {
    writer: sqlx::Pool<Db>,
    reader: sqlx::Pool<Db>,
}

impl Backend {
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        private(path).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit is on the disk before it is answered; a power cut takes nothing back.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(false)
            .pragma("secure_delete", "on")
            .pragma("cell_size_check", "on");
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY)
                .idle_timeout(None)
                .max_lifetime(None)
                // Saves a round trip per operation; a file does not go away.
                .test_before_acquire(false)
                // When the disk is full SQLite rolls back by itself, and the driver goes on believing that it is
                // inside a transaction: such a connection is of no use any more.
                .after_release(|connection, _| {
                    Box::pin(async move {
                        if connection.is_in_transaction() {
                            connection.ping().await?;
                        }
                        Ok(!connection.is_in_transaction())
                    })
                })
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        let reader = pool(2).connect_lazy_with(options);
        let backend = Self { writer, reader };
        backend.migrate().await?;
        Ok(backend)
    }

    /// Begins a write; waits for the writers of other processes.
    async fn begin(&self) -> Result<Tx, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    #[expect(clippy::unused_async, reason = "PostgreSQL has something to wait for here")]
    async fn lock_schema(_: &mut Tx) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn has_tables(tx: &mut Tx) -> Result<bool, sqlx::Error> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'outbox_meta'",
        )
        .fetch_one(&mut **tx)
        .await?;
        Ok(count > 0)
    }

    /// A file has no clock of its own.
    #[expect(clippy::unused_async, reason = "PostgreSQL has something to wait for here")]
    pub(super) async fn server_clock(&self) -> Result<Option<ServerClock>, sqlx::Error> {
        Ok(None)
    }

    pub(super) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}
