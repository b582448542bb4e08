//! Further attempts of transactions on PostgreSQL that others made fail.

use std::time::Duration;

/// Delays before the second and each further attempt.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];

/// Further attempts of one transaction: a few, with growing delays.
#[derive(Debug)]
pub struct Retries(std::array::IntoIter<Duration, 3>);

impl Default for Retries {
    fn default() -> Self {
        Self(PAUSES.into_iter())
    }
}

impl Retries {
    /// Waits before the next attempt. Returns false at once if no attempt is left.
    pub async fn wait(&mut self) -> bool {
        let Some(pause) = self.0.next() else {
            return false;
        };
        tokio::time::sleep(pause).await;
        true
    }
}

/// SQLSTATEs of PostgreSQL for a transaction that failed only because of another one: serialization failure, deadlock.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];

/// Returns true if a transaction failed only because of another one. Nothing of it was kept, and a second attempt may
/// succeed.
pub fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| CONFLICTS.contains(&&*code))
}

/// Returns true if an open connection to PostgreSQL ended. A transaction whose commit was not sent before is not kept.
pub fn is_cut(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
        ),
        // 57P: stopped by somebody. 25P03: the transaction was idle for too long.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P") || code == "25P03"),
        _ => false,
    }
}
