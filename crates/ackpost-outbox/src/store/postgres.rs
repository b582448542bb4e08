//! The outbox in PostgreSQL, shared by workers on several machines.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::clock::ServerClock;
use crate::error::is_conflict;

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
mod transaction;
#[path = "sql/view.rs"]
#[cfg_attr(
    all(feature = "sqlite", feature = "postgres"),
    expect(
        clippy::duplicate_mod,
        reason = "one SQL text, compiled once for each database"
    )
)]
mod view;

pub(super) type Db = sqlx::Postgres;
type Row = sqlx::postgres::PgRow;
type Tx = transaction::Transaction;

/// Types that differ in the schema.
const ID: &str = "BIGSERIAL PRIMARY KEY";
const BLOB: &str = "BYTEA";

/// Ends a query for lanes to take: it skips those that another worker is just taking.
const TAKE: &str = " FOR UPDATE SKIP LOCKED";

/// Locks a lane, so that no other process adds to it while its next time is worked out.
const LOCK: &str = "SELECT leased_by FROM outbox_lane WHERE id = $1 FOR UPDATE";

/// Longest time to wait for a connection.
const BUSY: Duration = Duration::from_secs(10);

/// Delays before the second and each further attempt of a step that others made fail.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];

#[derive(Debug)]
pub(crate) struct Backend {
    writer: sqlx::Pool<Db>,
    reader: sqlx::Pool<Db>,
}

impl Backend {
    pub(super) async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name("ackpost outbox").options([
            // A worker that lost its network must not hold a lane's row for ever.
            ("idle_in_transaction_session_timeout", "30s"),
            // Accepted means durable, whatever the default of the server is.
            ("synchronous_commit", "on"),
            ("lock_timeout", "10s"),
            ("statement_timeout", "30s"),
        ]);
        let opened = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(BUSY)
            .idle_timeout(Duration::from_secs(60))
            .connect_with(options.clone())
            .await;
        let pool = match opened {
            Ok(pool) => pool,
            // The pool tried until its time was up and does not tell why it failed.
            Err(sqlx::Error::PoolTimedOut) => return Err(cause(&options).await),
            Err(error) => return Err(error),
        };
        let backend = Self {
            writer: pool.clone(),
            reader: pool,
        };
        again(|| backend.migrate()).await?;
        Ok(backend)
    }

    async fn begin(&self) -> Result<Tx, sqlx::Error> {
        Tx::begin(&self.writer).await
    }

    /// Several processes may open an empty database together.
    async fn lock_schema(tx: &mut Tx) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT pg_advisory_xact_lock(7165412038)")
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    async fn has_tables(tx: &mut Tx) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT to_regclass('outbox_meta') IS NOT NULL")
            .fetch_one(&mut **tx)
            .await
    }

    /// The clock of the server, and by how much the stored times were moved because it was set. The row is read before
    /// the clock: a move that is seen here belongs to a jump that the clock shows, too.
    pub(super) async fn server_clock(&self) -> Result<Option<ServerClock>, sqlx::Error> {
        let (now, moved): (i64, Option<Vec<u8>>) = sqlx::query_as(
            "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT), \
             (SELECT value FROM outbox_meta WHERE name = 'server moved')",
        )
        .fetch_one(&self.reader)
        .await?;
        Ok(Some(ServerClock {
            now,
            moved: clock::number(moved),
        }))
    }

    pub(super) async fn close(&self) {
        self.writer.close().await;
    }
}

/// Runs a step, which has at most one transaction that matters. If another transaction makes it fail, or the connection
/// breaks before the commit is sent, nothing of it is kept, and it runs again from its start on a working connection, a few
/// times. A commit of unknown outcome is never repeated.
pub(super) async fn again<T, F>(mut step: impl FnMut() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    for pause in PAUSES {
        match step().await {
            Err(error) if is_conflict(&error) || is_cut(&error) => {
                tracing::debug!(%error, "a step of the outbox was undone; trying again");
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    step().await
}

/// Returns true if the server or the network ended the connection. [`Transaction::commit`](transaction::Transaction::commit)
/// reports this of a COMMIT only if nothing was kept.
fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // 57P: stopped by somebody. 25P03: the transaction was idle for too long.
            code.starts_with("08") || code.starts_with("57P") || code == "25P03"
        }),
        _ => false,
    }
}

/// Returns the error that prevents a connection.
async fn cause(options: &PgConnectOptions) -> sqlx::Error {
    match tokio::time::timeout(Duration::from_secs(2), options.connect()).await {
        Ok(Err(error)) => error,
        _ => sqlx::Error::PoolTimedOut,
    }
}
