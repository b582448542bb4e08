//! The embedded back end: SQLite in WAL mode, one writer, a few readers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::migrate::{MIGRATIONS, known_version};
#[allow(clippy::wildcard_imports, reason = "the operations name most of the records")]
use super::types::*;
use super::writer::{ChangeSink, Undone, WriteConnection, Writer};
use super::{StoreError, StoreOptions, StoreResult};
use crate::operation::LogEntry;
use crate::search::Words;

/// Database driver.
pub(crate) type Db = sqlx::Sqlite;
/// Database connection.
pub(crate) type Conn = sqlx::SqliteConnection;
/// Database transaction.
pub(crate) type Tx<'c> = super::writer::Tx<'c, Conn>;

#[allow(
    clippy::duplicate_mod,
    reason = "one SQL text for both back ends is the point"
)]
#[path = "sql/mod.rs"]
mod sql;

mod posts;
mod search;

use posts::{count_recent, insert_messages};
use search::index_words;

pub use sql::SqlStore;

/// Type of an automatic primary key that is never given out twice.
const ID: &str = "INTEGER PRIMARY KEY AUTOINCREMENT";
/// Type of raw bytes.
const BLOB: &str = "BLOB";

/// Finds messages of a room that everybody may see: room, expression, number below which they are, how many.
///
/// The index gives the newest first. However many of them are not shown, a search looks at no more than a few thousand.
/// `CROSS JOIN` keeps the order of the tables: the planner would otherwise walk through all messages of the room, newest
/// first, and look each one up among the few that were found.
const FIND_WORDS: &str = "SELECT m.id FROM (SELECT rowid AS id FROM search_index WHERE search_index MATCH $2 AND rowid < $3 \
     ORDER BY rowid DESC LIMIT 4000) AS found CROSS JOIN messages m \
     WHERE m.id = found.id AND m.room_id = $1 AND m.data IS NOT NULL AND NOT m.filtered AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL \
     ORDER BY found.id DESC LIMIT $4";
/// The content of a message holds the bytes $6.
const CONTAINS: &str = "INSTR(near.data, $6) > 0";
/// Bounds the time of a search, where the database can.
const BOUND_SEARCH: Option<&str> = None;

/// A search as the index takes it.
fn search_expression(room_id: Id, words: &Words) -> String {
    // Words consist of letters and digits; nothing in them is syntax.
    let mut text = format!("room : \"r{room_id}\"");
    for word in words.wanted() {
        text.push_str(&format!(" AND text : \"{word}\""));
    }
    for word in words.unwanted() {
        text = format!("({text}) NOT text : \"{word}\"");
    }
    text
}

/// One process has the database, so that nonces need no gate in it.
enum Gate {}

fn pass(gate: &Gate, _nonces: &[NonceRow]) -> std::future::Ready<StoreResult<Passed>> {
    match *gate {}
}

/// Most nonces of one INSERT; their numbers are powers of two, so that few texts need preparing.
const NONCE_ROWS: usize = 64;

async fn insert_nonces(conn: &mut Conn, nonces: &[NonceRow]) -> StoreResult<()> {
    insert_nonces_and(conn, nonces, "").await
}

/// Stores nonces; `then` is what follows the last statement and is sent together with it.
///
/// Each statement goes to the thread of the connection and back, which takes longer than a small statement itself.
async fn insert_nonces_and(conn: &mut Conn, nonces: &[NonceRow], then: &str) -> StoreResult<()> {
    let mut rest = nonces.len();
    for some in sql::chunks(nonces, NONCE_ROWS) {
        rest -= some.len();
        let then = if rest == 0 { then } else { "" };
        let values: Vec<String> = (0..some.len())
            .map(|n| format!("(${}, ${})", 2 * n + 1, 2 * n + 2))
            .collect();
        let text = format!(
            "INSERT INTO nonces (nonce, stamp) VALUES {} ON CONFLICT DO NOTHING{then}",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for row in some {
            query = query.bind(&row.nonce[..]).bind(row.stamp);
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

store_api!(implement_store Sqlite false);

impl SqlStore {
    /// Opens or creates the database file.
    pub(crate) async fn open(options: &StoreOptions, sink: ChangeSink) -> StoreResult<Self> {
        let path = path_of(&options.url)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| StoreError::Unwritable(e.to_string()))?;
        }
        let lock = lock(&path).await?;
        private(&path).map_err(|e| StoreError::Unwritable(format!("{}: {e}", path.display())))?;
        let base = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .locking_mode(SqliteLockingMode::Normal)
            // FULL flushes the log at every commit: an answered write survives power loss.
            .synchronous(SqliteSynchronous::Full)
            .pragma("temp_store", "memory")
            .statement_cache_capacity(256);
        let mut conn = Conn::connect_with(
            &base
                .clone()
                .create_if_missing(true)
                .pragma("cache_size", "-8000")
                .pragma("wal_autocheckpoint", "4000"),
        )
        .await?;
        migrate(&mut conn, options.migrate).await?;
        let readers = PoolOptions::<Db>::new()
            .max_connections(options.readers.max(1))
            .min_connections(0)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(20))
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(
                base.pragma("cache_size", "-2000")
                    .pragma("query_only", "on")
                    // Rows wait between the database and whoever reads them: few, they may be long.
                    .row_buffer_size(16),
            );
        let writer = Writer::start(WriteSide { conn }, sink);
        Ok(Self::assemble(readers, writer, None, Some(lock)))
    }
}

fn path_of(url: &str) -> StoreResult<PathBuf> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains("://") {
        return Err(StoreError::Url(url.to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// Makes the database file readable by its owner alone; SQLite gives `-wal` and `-shm` the mode of the database. A file
/// that its owner shares with a group for writing stays shared.
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

/// Maximum wait for the lock of a process that ends: after a kill the system needs a moment to close its files.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Takes the lock, and waits a moment for a process that is ending.
async fn lock(path: &Path) -> StoreResult<File> {
    let began = tokio::time::Instant::now();
    loop {
        match try_lock(path) {
            Err(StoreError::InUse) if began.elapsed() < LOCK_WAIT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Only one process may write; it holds a lock on a file beside the database.
fn try_lock(path: &Path) -> StoreResult<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|e| StoreError::Unwritable(e.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(std::fs::TryLockError::Error(e)) => Err(StoreError::Unwritable(e.to_string())),
    }
}

async fn migrate(conn: &mut Conn, allowed: bool) -> StoreResult<()> {
    let found: i64 = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut *conn)
        .await?
        .try_get(0)?;
    super::migrate_check(found, allowed)?;
    for step in MIGRATIONS.iter().filter(|step| step.version > found) {
        tracing::info!(version = step.version, name = step.name, "migrating the database");
        let text = format!(
            "BEGIN IMMEDIATE;\n{}\nPRAGMA user_version = {};\nCOMMIT;",
            step.sql("sqlite", ID, BLOB),
            step.version
        );
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *conn).await?;
    }
    debug_assert!(known_version() > 0);
    Ok(())
}

struct WriteSide {
    conn: Conn,
}

impl WriteConnection for WriteSide {
    type Conn = Conn;

    fn begin(&mut self) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async {
            Ok(sqlx::query("BEGIN IMMEDIATE")
                .execute(&mut self.conn)
                .await
                .map(drop)?)
        })
    }

    fn commit<'a>(
        &'a mut self,
        nonces: &'a [NonceRow],
        _changes: &'a [Change],
    ) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            if nonces.is_empty() {
                return Ok(sqlx::query("COMMIT").execute(&mut self.conn).await.map(drop)?);
            }
            insert_nonces_and(&mut self.conn, nonces, "; COMMIT").await
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Undone> {
        Box::pin(async {
            // Some errors end the transaction by themselves; then nothing to undo.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.conn).await;
            Undone::Kept
        })
    }

    fn posts<'a>(
        &'a mut self,
        posts: &'a [&'a NewPost],
        changes: &'a mut Vec<Change>,
    ) -> BoxFuture<'a, StoreResult<Vec<Posted>>> {
        Box::pin(sql::insert_all(&mut self.conn, changes, posts))
    }

    fn note<'a>(&'a mut self, entries: &'a [LogEntry]) -> BoxFuture<'a, StoreResult<Vec<Id>>> {
        Box::pin(sql::add_logs(&mut self.conn, entries))
    }

    fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    fn close(mut self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(&mut self.conn)
                .await;
            let _ = self.conn.close().await;
        })
    }
}

impl SqlStore {
    /// Makes the database full at its present size, or lets it grow again: how a full disk is tried out.
    #[doc(hidden)]
    pub async fn limit_pages(&self, limit: bool) -> StoreResult<()> {
        self.write(limit, |tx, limit| {
            Box::pin(async move {
                let pages: i64 = sqlx::query("PRAGMA page_count")
                    .fetch_one(&mut *tx.conn)
                    .await?
                    .try_get(0)?;
                let most = if *limit { pages + 2 } else { 1_073_741_823 };
                sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {most}")))
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}
