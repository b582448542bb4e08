//! Errors of the store, grouped by their remedy.

use std::time::Duration;

use crate::retry::is_conflict;

/// A store operation that did not happen. Nothing of it was kept, except perhaps after [`StoreError::Uncertain`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, read-only or broken. Reading may still work; writing may work again later.
    #[error("the database cannot be written: {0}; check free space and permissions of its folder")]
    Unwritable(String),
    /// The database does not answer.
    #[error("the database does not answer: {0}; check that it runs and the `[database] url`")]
    Unavailable(String),
    /// Other transactions made this one fail in every attempt: deadlock or serialization failure.
    #[error("other transactions made this change fail in every attempt: {0}; try again")]
    Conflict(String),
    /// The connection to the database broke after the change was sent and before it was confirmed, and the database could
    /// not be asked since: the change is kept as a whole or not at all.
    #[error(
        "the database did not confirm the change, which may be kept all the same: {0}; look before trying again"
    )]
    Uncertain(String),
    /// Another process has the database.
    #[error(
        "another process is using this database; stop it, or run the command on the server of that process"
    )]
    InUse,
    /// The database is newer than this program, or older and migrations were not asked for.
    #[error("the database has version {found}, and this program reads version {known}; {remedy}")]
    Version {
        /// Version of the database.
        found: i64,
        /// Version of this program.
        known: i64,
        /// Advice on how to fix it.
        remedy: &'static str,
    },
    /// The URL has no database that is known here.
    #[error("`{0}` is not a database; write sqlite:PATH or postgres://USER@HOST/NAME")]
    Url(String),
    /// A statement failed for a reason that trying again does not change.
    #[error("the database refused a statement: {0}")]
    Statement(String),
    /// The store is closed.
    #[error("the server is stopping")]
    Closed,
}

impl StoreError {
    /// Returns true if a later retry cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Url(_) | Self::Statement(_))
    }

    /// Returns the delay after which a retry may help; `None` if the error is permanent, or if a retry might do twice what
    /// is done already.
    pub fn retry_after(&self) -> Option<Duration> {
        (!self.is_permanent() && !matches!(self, Self::Uncertain(_))).then_some(Duration::from_secs(5))
    }
}

/// SQLite's primary result codes for disk problems: permission, read-only, I/O, full, cannot open.
const SQLITE_DISK: [i32; 5] = [3, 8, 10, 13, 14];
/// SQLite's primary result codes for a locked database: busy, locked.
const SQLITE_BUSY: [i32; 2] = [5, 6];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::PoolClosed => Self::Closed,
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::Decode(_) => Self::Statement(error.to_string()),
                other => Self::Unavailable(other.to_string()),
            };
        };
        let text = database.message().to_owned();
        let code = database.code().unwrap_or_default();
        if let Some(sqlite) = database.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
            let primary = sqlx::error::DatabaseError::code(sqlite)
                .and_then(|code| code.parse::<i32>().ok())
                .map_or(0, |code| code & 0xff);
            return if SQLITE_DISK.contains(&primary) {
                Self::Unwritable(text)
            } else if SQLITE_BUSY.contains(&primary) {
                Self::InUse
            } else {
                Self::Statement(text)
            };
        }
        if is_conflict(&error) {
            return Self::Conflict(text);
        }
        // PostgreSQL classes: 53 resources (53100 disk full), 25006 read-only, 57 stopping, 08 connection, 40 retry.
        match code.get(..2) {
            Some("53") => Self::Unwritable(text),
            _ if code == "25006" => Self::Unwritable(text),
            // Another process holds the lock of the writers too long, or this one held its transaction too long.
            _ if code == "55P03" || code == "25P03" => Self::Unavailable(text),
            Some("57" | "08" | "40") => Self::Unavailable(text),
            _ => Self::Statement(text),
        }
    }
}
