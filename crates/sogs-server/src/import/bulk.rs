//! Whole tables, row by row: the engine behind import, migration, backup and archives.
//!
//! A table is described by its columns and their kinds; rows are lists of values. One description reads from and
//! writes to SQLite and PostgreSQL alike, so a copy cannot forget a column on one side only.

use std::path::Path;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection};

use sogs_store::postgres::WRITE_LOCK;
use sogs_store::{Retries, StoreError, is_conflict, is_cut};

use super::ImportError;

/// Rows that are held in memory at a time.
const CHUNK: usize = 500;
/// Parameters of one INSERT: both databases have a bound (SQLite 32,766), and it costs time to prepare many.
const PARAMETERS: usize = 3000;

/// Kind of value in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole number.
    Int,
    /// Floating point number.
    Real,
    /// Text.
    Text,
    /// Bytes.
    Blob,
    /// Yes or no.
    Bool,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Value {
    /// No value (NULL).
    Null,
    /// Whole number.
    Int(i64),
    /// Floating point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// Yes or no.
    Bool(bool),
}

impl Value {
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn real(&self) -> Option<f64> {
        match self {
            Self::Real(value) => Some(*value),
            #[expect(clippy::cast_precision_loss, reason = "times and sizes, far below 2^52")]
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn blob(&self) -> Option<&[u8]> {
        match self {
            Self::Blob(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn flag(&self) -> bool {
        matches!(self, Self::Bool(true))
    }
}

/// A row: values in the order of the columns.
pub(crate) type RowValues = Vec<Value>;

/// A table and its columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Name of the table.
    pub(crate) name: &'static str,
    /// Columns and kinds.
    pub(crate) columns: &'static [(&'static str, Kind)],
    /// True if the first column is an automatic key whose counter must follow inserted values.
    pub(crate) automatic: bool,
}

/// Columns of ours that came later: table, column, and the value for rows from before, as SQL.
const ADDED: [(&str, &str, &str); 7] = [
    ("users", "visited", "TRUE"),
    ("messages", "posted_as", "NULL"),
    ("inbox", "recipient_as", "NULL"),
    ("inbox", "sender_as", "NULL"),
    ("rooms", "for_moderators", "FALSE"),
    ("messages", "for_moderators_of", "NULL"),
    ("files", "imported", "NULL"),
];

impl Table {
    /// The value of a column for rows that are older than it; `None` for columns that were always there.
    fn added(&self, column: &str) -> Option<&'static str> {
        ADDED
            .iter()
            .find(|(table, name, _)| (*table, *name) == (self.name, column))
            .map(|(.., value)| *value)
    }

    /// The value of a column for rows that are older than it.
    pub(crate) fn value_before(&self, column: &str) -> Value {
        match self.added(column) {
            Some("TRUE") => Value::Bool(true),
            Some("FALSE") => Value::Bool(false),
            _ => Value::Null,
        }
    }

    /// Returns the number of columns in rows of the oldest version.
    ///
    /// Columns that were added later are at the end and may be absent.
    pub(crate) fn oldest_width(&self) -> usize {
        let added = self.columns.iter().filter(|(name, _)| self.added(name).is_some());
        self.columns.len() - added.count()
    }

    /// Position of a column.
    pub(crate) fn at(&self, column: &str) -> usize {
        self.columns
            .iter()
            .position(|(name, _)| *name == column)
            .expect("the table has the column")
    }
}

/// One connection to either database.
pub(crate) enum Conn {
    /// An embedded SQLite database.
    Sqlite(SqliteConnection),
    /// A PostgreSQL server.
    Postgres(Box<PostgresConn>),
}

/// A connection to a PostgreSQL server.
pub(crate) struct PostgresConn {
    conn: PgConnection,
    options: PgConnectOptions,
    /// Number of the running transaction that writes, by which its outcome can be asked for.
    transaction: Option<i64>,
}

impl PostgresConn {
    async fn open(options: PgConnectOptions) -> Result<Self, ImportError> {
        Ok(Self {
            conn: options.connect().await?,
            options,
            transaction: None,
        })
    }

    /// Asks for the outcome of the running transaction after the answer to its commit was lost.
    async fn settle(&mut self, lost: sqlx::Error) -> Result<(), ImportError> {
        let Some(transaction) = self.transaction.take() else {
            return Err(lost.into());
        };
        let unavailable = StoreError::Unavailable(lost.to_string());
        match sogs_store::postgres::settle(&self.options, transaction, unavailable).await {
            Ok(conn) => {
                self.conn = conn;
                Ok(())
            }
            Err(uncertain @ StoreError::Uncertain(_)) => Err(uncertain.into()),
            Err(_) => Err(lost.into()),
        }
    }
}

/// Waits before the next attempt of a transaction that ended with an error. Returns false if another attempt cannot help,
/// or if none is left. An attempt needs a new connection and begins from its start.
pub(crate) async fn wait_to_retry(error: &ImportError, retries: &mut Retries) -> bool {
    let may_help = match error {
        ImportError::Database(error) => is_conflict(error) || is_cut(error),
        ImportError::Store(error) => matches!(error, StoreError::Conflict(_)),
        _ => false,
    };
    may_help && retries.wait().await
}

/// Runs the same text on either connection.
macro_rules! on {
    ($self:expr, $conn:ident => $body:expr) => {
        match $self {
            Conn::Sqlite($conn) => $body,
            Conn::Postgres(postgres) => {
                let $conn = &mut postgres.conn;
                $body
            }
        }
    };
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

impl Conn {
    /// Opens a SQLite file for reading only; nothing beside it is created or touched.
    pub(crate) async fn read_file(path: &Path) -> Result<Self, ImportError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .immutable(true);
        Ok(Self::Sqlite(options.connect().await?))
    }

    /// Opens our own database by URL or path, for writing.
    pub(crate) async fn open(url: &str) -> Result<Self, ImportError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions = url.parse()?;
            return Ok(Self::Postgres(Box::new(PostgresConn::open(options).await?)));
        }
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(30))
            .foreign_keys(true);
        Ok(Self::Sqlite(options.connect().await?))
    }

    /// Opens a foreign PostgreSQL database for reading.
    pub(crate) async fn read_postgres(url: &str) -> Result<Self, ImportError> {
        let options: PgConnectOptions = url.parse()?;
        let mut postgres = PostgresConn::open(options).await?;
        sqlx::query("SET default_transaction_read_only = on")
            .execute(&mut postgres.conn)
            .await?;
        Ok(Self::Postgres(Box::new(postgres)))
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Runs a statement and returns the number of affected rows. The text must be put together from constants.
    pub(crate) async fn run(&mut self, sql: impl Into<String>) -> Result<u64, ImportError> {
        let sql = sql.into();
        Ok(on!(self, conn => sqlx::query(AssertSqlSafe(sql)).execute(conn).await?.rows_affected()))
    }

    /// The first column of the first row of a query, as a number.
    pub(crate) async fn number(&mut self, sql: impl Into<String>) -> Result<i64, ImportError> {
        let sql = sql.into();
        Ok(
            on!(self, conn => sqlx::query(AssertSqlSafe(sql)).fetch_one(conn).await?.try_get_unchecked::<Option<i64>, _>(0)?.unwrap_or(0)),
        )
    }

    /// The first column of all rows of a query, as text.
    pub(crate) async fn texts(&mut self, sql: impl Into<String>) -> Result<Vec<String>, ImportError> {
        let sql = sql.into();
        on!(self, conn => {
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(conn).await?;
            rows.iter().map(|row| Ok(row.try_get_unchecked::<Option<String>, _>(0)?.unwrap_or_default())).collect()
        })
    }

    /// Returns the number of rows in a table.
    pub(crate) async fn count(&mut self, table: &str) -> Result<i64, ImportError> {
        self.number(format!("SELECT COUNT(*) FROM {}", quoted(table)))
            .await
    }

    /// The columns that a table has; empty when there is no such table.
    pub(crate) async fn columns(&mut self, table: &str) -> Result<Vec<String>, ImportError> {
        // Both texts name only tables of the lists in this crate.
        let sql = if self.is_postgres() {
            format!(
                "SELECT column_name::TEXT FROM information_schema.columns WHERE table_name = '{table}' AND table_schema = ANY (current_schemas(false))"
            )
        } else {
            format!("SELECT name FROM pragma_table_info('{table}')")
        };
        self.texts(sql).await
    }

    /// Begins a transaction that sees one state of the database throughout: a reader by a snapshot, a writer because no
    /// other writer comes in between. A writer with a snapshot would fail when another one changed the same row.
    pub(crate) async fn begin(&mut self, write: bool) -> Result<(), ImportError> {
        let sql = match (self.is_postgres(), write) {
            (true, false) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            (false, true) => "BEGIN IMMEDIATE",
            (true, true) | (false, false) => "BEGIN",
        };
        if let Self::Postgres(postgres) = self {
            postgres.transaction = None;
        }
        self.run(sql).await?;
        if write && self.is_postgres() {
            let transaction = self
                .number(format!(
                    "SELECT txid_current() FROM pg_advisory_xact_lock({WRITE_LOCK})"
                ))
                .await?;
            if let Self::Postgres(postgres) = self {
                postgres.transaction = Some(transaction);
            }
        }
        Ok(())
    }

    /// Commits the transaction. An error means that nothing was kept, unless it is [`StoreError::Uncertain`].
    pub(crate) async fn commit(&mut self) -> Result<(), ImportError> {
        let sent = self.run("COMMIT").await;
        match (sent, self) {
            (Err(ImportError::Database(error)), Self::Postgres(postgres)) if is_cut(&error) => {
                postgres.settle(error).await
            }
            (sent, _) => sent.map(drop),
        }
    }

    /// Rolls the transaction back.
    pub(crate) async fn rollback(&mut self) -> Result<(), ImportError> {
        self.run("ROLLBACK").await.map(|_| ())
    }

    /// Closes the connection in an orderly way.
    pub(crate) async fn close(self) -> Result<(), ImportError> {
        match self {
            Self::Sqlite(conn) => conn.close().await?,
            Self::Postgres(postgres) => postgres.conn.close().await?,
        }
        Ok(())
    }

    /// Reads a table in chunks. `rest` is what follows the table name (`WHERE …`, `ORDER BY …`).
    /// A column that an older database lacks has the value that a migration gives it.
    pub(crate) async fn chunks<'a>(
        &'a mut self,
        table: &'a Table,
        rest: &str,
    ) -> Result<BoxStream<'a, Result<Vec<RowValues>, ImportError>>, ImportError> {
        let postgres = self.is_postgres();
        let there = if ADDED.iter().any(|(name, ..)| *name == table.name) {
            self.columns(table.name).await?
        } else {
            Vec::new()
        };
        let list: Vec<String> = table
            .columns
            .iter()
            .map(|(name, kind)| match table.added(name) {
                Some(value) if !there.iter().any(|column| column == name) => value.to_owned(),
                _ => selected(name, *kind, postgres),
            })
            .collect();
        let sql = format!("SELECT {} FROM {} {rest}", list.join(", "), quoted(table.name));
        Ok(on!(self, conn => {
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch(conn).map_err(ImportError::from).and_then(move |row| async move {
                let mut values = Vec::with_capacity(table.columns.len());
                for (at, (_, kind)) in table.columns.iter().enumerate() {
                    values.push(match kind {
                        Kind::Int => row.try_get_unchecked::<Option<i64>, _>(at)?.map_or(Value::Null, Value::Int),
                        Kind::Real => row.try_get_unchecked::<Option<f64>, _>(at)?.map_or(Value::Null, Value::Real),
                        Kind::Text => row.try_get_unchecked::<Option<Vec<u8>>, _>(at)?.map_or(Value::Null, |bytes| Value::Text(clean(&bytes))),
                        Kind::Blob => row.try_get_unchecked::<Option<Vec<u8>>, _>(at)?.map_or(Value::Null, Value::Blob),
                        Kind::Bool => row.try_get_unchecked::<Option<bool>, _>(at)?.map_or(Value::Null, Value::Bool),
                    });
                }
                Ok(values)
            });
            rows.try_chunks(CHUNK).map_err(|failed| failed.1).boxed()
        }))
    }

    /// All rows of a small table.
    pub(crate) async fn read_all(
        &mut self,
        table: &Table,
        rest: &str,
    ) -> Result<Vec<RowValues>, ImportError> {
        self.chunks(table, rest).await?.try_concat().await
    }

    /// Writes rows into a table, as they are.
    pub(crate) async fn write(&mut self, table: &Table, rows: &[RowValues]) -> Result<(), ImportError> {
        // Few texts, so that statements stay prepared, and none that takes long to prepare.
        let at_once = (PARAMETERS / table.columns.len()).max(1);
        for part in rows.chunks(at_once) {
            self.write_part(table, part).await?;
        }
        Ok(())
    }

    async fn write_part(&mut self, table: &Table, rows: &[RowValues]) -> Result<(), ImportError> {
        let names: Vec<String> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
        let mut sql = format!("INSERT INTO {} ({})", quoted(table.name), names.join(", "));
        if self.is_postgres() && table.automatic {
            sql.push_str(" OVERRIDING SYSTEM VALUE");
        }
        sql.push_str(" VALUES ");
        let mut parameter = 0;
        for (at, _) in rows.iter().enumerate() {
            sql.push_str(if at == 0 { "(" } else { ", (" });
            for column in 0..table.columns.len() {
                parameter += 1;
                if column > 0 {
                    sql.push_str(", ");
                }
                if self.is_postgres() {
                    sql.push('$');
                    sql.push_str(&parameter.to_string());
                } else {
                    // A numbered one is a name to SQLite, and it looks through all of them for each.
                    sql.push('?');
                }
            }
            sql.push(')');
        }
        on!(self, conn => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for row in rows {
                for (value, (_, kind)) in row.iter().zip(table.columns) {
                    query = match kind {
                        Kind::Int => query.bind(value.int()),
                        Kind::Real => query.bind(value.real()),
                        Kind::Text => query.bind(value.text().map(str::to_owned)),
                        Kind::Blob => query.bind(value.blob().map(<[u8]>::to_vec)),
                        Kind::Bool => query.bind(match value { Value::Bool(flag) => Some(*flag), _ => None }),
                    };
                }
            }
            query.execute(conn).await?;
        });
        Ok(())
    }

    /// Moves the counter past inserted keys, so that new rows come after them.
    pub(crate) async fn follow_keys(&mut self, table: &Table) -> Result<(), ImportError> {
        if !table.automatic || !self.is_postgres() {
            // SQLite's AUTOINCREMENT remembers the largest key by itself.
            return Ok(());
        }
        let (name, key) = (table.name, table.columns[0].0);
        // `false` when the table is empty: then the next key is 1.
        self.run(format!(
            "SELECT setval(pg_get_serial_sequence('{name}', '{key}'), GREATEST(COALESCE(MAX({key}), 1), 1), COALESCE(MAX({key}), 0) >= 1) FROM {name}"
        ))
        .await
        .map(|_| ())
    }
}

/// Text that every database takes: SQLite keeps whatever it is given, also bytes that are not text and zeros. Both are
/// replaced, not left out: `👍` and `👍\0` beside each other stay two reactions, and the rows that refer to them remain.
fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

fn selected(name: &str, kind: Kind, postgres: bool) -> String {
    let name = quoted(name);
    // Foreign schemas use narrower types in places; PostgreSQL does not widen by itself.
    match (postgres, kind) {
        (true, Kind::Int) => format!("CAST({name} AS BIGINT)"),
        (true, Kind::Real) => format!("CAST({name} AS DOUBLE PRECISION)"),
        (true, Kind::Text) => format!("CAST({name} AS TEXT)"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACTIONS: Table = Table {
        name: "reactions",
        columns: &[
            ("id", Kind::Int),
            ("message_id", Kind::Int),
            ("reaction", Kind::Text),
        ],
        automatic: true,
    };

    #[tokio::test]
    async fn texts_that_differ_by_a_zero_byte_are_copied_as_two() {
        let folder = tempfile::tempdir().expect("folder");
        let table = "CREATE TABLE reactions (id INTEGER PRIMARY KEY, message_id BIGINT NOT NULL, reaction TEXT NOT NULL, \
             UNIQUE (message_id, reaction))";
        let mut ends = Vec::new();
        for name in ["from.db", "to.db"] {
            let path = folder.path().join(name);
            std::fs::write(&path, b"").expect("file");
            let mut conn = Conn::open(path.to_str().expect("path")).await.expect("open");
            conn.run(table).await.expect("table");
            ends.push(conn);
        }
        let (mut to, mut from) = (ends.pop().expect("to"), ends.pop().expect("from"));
        from.run(
            "INSERT INTO reactions (message_id, reaction) VALUES (1, '👍'), (1, CAST(X'f09f918d00' AS TEXT)), \
             (1, CAST(X'f09f918dff' AS TEXT) || 'x')",
        )
        .await
        .expect("rows");
        let rows = from.read_all(&REACTIONS, "ORDER BY id").await.expect("read");
        to.write(&REACTIONS, &rows).await.expect("no two are alike");
        assert_eq!(
            to.texts("SELECT reaction FROM reactions ORDER BY id")
                .await
                .expect("texts"),
            ["👍", "👍\u{fffd}", "👍\u{fffd}x"]
        );
    }
}
