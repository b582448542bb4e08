//! A transaction of PostgreSQL that knows its number. If the answer to its COMMIT is lost, the server is asked for the
//! outcome: no step is done twice because somebody believes that it failed.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Row as _};
use tokio::time::Instant;

use crate::error::UncertainCommit;

/// Time within which the server is asked for the outcome of a commit, and the pause between two questions.
const ASK: Duration = Duration::from_secs(5);
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// SQLSTATE for a number of a transaction that the server has not given yet.
const NEVER_BEGUN: &str = "22023";

/// A running transaction; it is rolled back when it is dropped.
pub(super) struct Transaction {
    pool: PgPool,
    /// `None` once the transaction has ended.
    connection: Option<PoolConnection<Postgres>>,
    number: i64,
}

impl Transaction {
    /// Begins a transaction. Its number comes with the answer, so that this costs no round trip more.
    pub(super) async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let connection = pool.acquire().await?;
        let mut transaction = Self {
            pool: pool.clone(),
            connection: Some(connection),
            number: 0,
        };
        let rows = sqlx::raw_sql("BEGIN; SELECT txid_current()")
            .fetch_all(&mut *transaction)
            .await?;
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        transaction.number = first.try_get(0)?;
        Ok(transaction)
    }

    /// Commits. An error means that nothing was kept, unless it is an [`UncertainCommit`].
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let committed = sqlx::raw_sql("COMMIT").execute(&mut *self).await;
        match committed {
            Ok(_) => {
                // Back to the pool.
                drop(self.connection.take());
                Ok(())
            }
            Err(error) if is_lost(&error) => {
                drop(self.connection.take().map(PoolConnection::detach));
                self.ask(error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the server whether the transaction was committed.
    async fn ask(&self, lost: sqlx::Error) -> Result<(), sqlx::Error> {
        let until = Instant::now() + ASK;
        loop {
            let status = sqlx::query_scalar::<_, Option<String>>("SELECT txid_status($1)")
                .bind(self.number)
                .fetch_one(&self.pool);
            match tokio::time::timeout_at(until, status).await {
                Ok(Ok(Some(status))) if status == "committed" => return Ok(()),
                Ok(Ok(Some(status))) if status == "aborted" => return Err(lost),
                // Another server took over, without this transaction.
                Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some(NEVER_BEGUN) => {
                    return Err(lost);
                }
                // Its process has not noticed yet, or the server is starting again.
                Ok(_) if Instant::now() + ASK_PAUSE < until => tokio::time::sleep(ASK_PAUSE).await,
                _ => {
                    return Err(sqlx::Error::AnyDriverError(Box::new(UncertainCommit(
                        lost.to_string(),
                    ))));
                }
            }
        }
    }
}

/// True if the connection broke, so that the answer to a COMMIT is unknown.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("08") || code.starts_with("57")),
        _ => true,
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is there until the end")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until the end")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The server rolls back when the connection ends.
            drop(connection.detach());
            return;
        };
        runtime.spawn(async move {
            if sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.is_err() {
                let _ = connection.detach().close_hard().await;
            }
        });
    }
}
