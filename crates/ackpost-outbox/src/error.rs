//! Errors of the queue itself; the failure of a message is an [`ackpost_notify::Outcome`].

use std::path::PathBuf;

/// The queue could not do what it was asked for. Nothing was half done: a write that failed left no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The disk or the database is full.
    #[error("the disk of the outbox is full ({location}); the message was not stored")]
    Full {
        /// Location of the outbox, without secrets.
        location: String,
    },
    /// More messages wait than [`super::OutboxLimits::waiting`] allows.
    #[error("{waiting} messages are waiting; the outbox accepts at most {limit}")]
    TooManyWaiting {
        /// Number of waiting messages.
        waiting: u64,
        /// Maximum number of waiting messages.
        limit: u64,
    },
    /// A message has more targets than [`super::OutboxLimits::targets`] allows.
    #[error("the message has {targets} targets; at most {limit} are allowed")]
    TooManyTargets {
        /// Number of targets.
        targets: u64,
        /// Largest number of targets.
        limit: u64,
    },
    /// A text or the files are larger than allowed.
    #[error("{what} has {bytes} bytes; the outbox accepts at most {limit}")]
    TooLarge {
        /// `the message`, or the name of a file.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The largest size in bytes.
        limit: u64,
    },
    /// There is nothing to send, or it can never be sent.
    #[error("{cause}")]
    Unsendable {
        /// Reason why it cannot be sent.
        cause: String,
        /// Remedy, as an imperative.
        remedy: String,
    },
    /// A file of the message cannot be read.
    #[error("the file {name} cannot be copied in: {cause}")]
    Attachment {
        /// The name of the file.
        name: String,
        /// Reason why the file cannot be read.
        cause: String,
    },
    /// `ttl=`, `dedup=`, `digest=`, `budget=` or `quiet=` is written in a way that is not understood.
    #[error("{0}")]
    Rule(#[from] super::RuleError),
    /// The key file cannot be used.
    #[error("the key file {path} cannot be used: {cause}")]
    Key {
        /// The key file.
        path: PathBuf,
        /// Reason why the key file cannot be used.
        cause: String,
    },
    /// The outbox was begun with a key, and there is no key file any more.
    #[error("the key file {path} of the outbox at {location} is missing")]
    KeyMissing {
        /// Path at which the key file is expected.
        path: PathBuf,
        /// Location of the outbox, without secrets.
        location: String,
    },
    /// The outbox was written with another key.
    #[error("the outbox was written with another key than the one in {path}")]
    WrongKey {
        /// The key file.
        path: PathBuf,
    },
    /// The outbox was written by a newer program.
    #[error("the outbox has version {found}; this program reads versions up to {known}")]
    Version {
        /// Version of the outbox.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// A stored row cannot be read.
    #[error("entry {id} of the outbox cannot be read: {cause}")]
    Damaged {
        /// Id of the entry that the row belongs to.
        id: String,
        /// Reason why the row cannot be read.
        cause: String,
    },
    /// The database does not answer, or answers with an error.
    #[error("the outbox at {location} cannot be used: {cause}")]
    Database {
        /// Location of the outbox, without secrets.
        location: String,
        /// Error message of the database.
        cause: String,
        /// True when trying again may help (connection lost, database busy or restarting).
        passing: bool,
        /// The error of the driver.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke while a change was committed, and the database could not be asked for the outcome since: the
    /// change is kept as a whole or not at all.
    #[error("the outbox at {location} did not confirm that it kept the change: {cause}")]
    Uncertain {
        /// Location of the outbox, without secrets.
        location: String,
        /// Error message of the connection.
        cause: String,
    },
    /// The program was built without the driver of this database.
    #[error("this program was built without the driver for the outbox at {location}")]
    NoDriver {
        /// Location of the outbox, without secrets.
        location: String,
    },
    /// The outbox was closed.
    #[error("the outbox is closed")]
    Closed,
}

impl OutboxError {
    /// True when there is no room for another message.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::TooManyWaiting { .. })
    }

    /// True when trying again later may help without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Full { .. } | Self::TooManyWaiting { .. } => true,
            Self::Database { passing, .. } => *passing,
            _ => false,
        }
    }

    /// Returns a copy if the error says that the outcome is unknown.
    pub(crate) fn uncertain(&self) -> Option<Self> {
        match self {
            Self::Uncertain { location, cause } => Some(Self::Uncertain {
                location: location.clone(),
                cause: cause.clone(),
            }),
            _ => None,
        }
    }

    /// True when the database may answer later; the change may be kept already.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_passing() || matches!(self, Self::Uncertain { .. })
    }

    /// Returns the remedy: an action that a person can take.
    pub fn remedy(&self) -> String {
        match self {
            Self::Full { .. } => {
                "free some space (`ackpost outbox drop --dead` empties the dead-letter box) and send again"
                    .to_owned()
            }
            Self::TooManyWaiting { .. } => {
                "find the target that does not answer with `ackpost outbox stats`, or drop messages"
                    .to_owned()
            }
            Self::TooManyTargets { .. } => {
                "send it to fewer targets at once, or to a room that all of them are in".to_owned()
            }
            Self::TooLarge { .. } => "send less, or put the file somewhere and send a link".to_owned(),
            Self::Unsendable { remedy, .. } => remedy.clone(),
            Self::Attachment { .. } => "check the name and that the file can be read".to_owned(),
            Self::Rule(error) => error.remedy.clone(),
            Self::Key { path, .. } => format!(
                "restore the file (64 hexadecimal digits) and make it readable for its owner only: chmod 600 {}",
                path.display()
            ),
            Self::KeyMissing { .. } => {
                "restore it (from a backup, or from another machine with the same outbox), or name it \
                 with --outbox-key; without it, stored messages cannot be read, and only a new outbox works"
                    .to_owned()
            }
            Self::WrongKey { .. } => {
                "restore the key file of this outbox, or start with an empty outbox".to_owned()
            }
            Self::Version { .. } => {
                "use a version of this program at least as new as the one that wrote it".to_owned()
            }
            Self::Damaged { .. } => {
                "drop the entry; if many are damaged, restore the outbox from a backup".to_owned()
            }
            Self::Database { passing: true, .. } => "try again when the database answers".to_owned(),
            Self::Database { .. } => {
                "check that the folder exists and is writable, or that the database URL is right".to_owned()
            }
            Self::Uncertain { .. } => {
                "look with `ackpost outbox list` whether it is there before you do it again".to_owned()
            }
            Self::NoDriver { .. } => {
                "build it with the features `sqlite` and `postgres` of ackpost-outbox, or use another outbox"
                    .to_owned()
            }
            Self::Closed => "open it again".to_owned(),
        }
    }

    /// Sorts what the database driver reports. `location` holds no secret.
    pub(crate) fn database(location: &str, error: sqlx::Error) -> Self {
        let location = location.to_owned();
        let (cause, passing) = match &error {
            sqlx::Error::Database(inner) => {
                let code = inner.code().unwrap_or_default().into_owned();
                // SQLite: primary result codes in the low byte; 13 = FULL. PostgreSQL: 53100 disk_full.
                let sqlite = code
                    .parse::<i64>()
                    .ok()
                    .filter(|_| code.len() < 5)
                    .map(|code| code & 0xff);
                if sqlite == Some(13) || code == "53100" {
                    return Self::Full { location };
                }
                let passing = matches!(sqlite, Some(5 | 6))
                    || code.starts_with("08")
                    || code.starts_with("57P")
                    || code.starts_with("53")
                    || code.starts_with("40")
                    || code == "55P03";
                let cause = if is_conflict(&error) {
                    format!(
                        "other transactions made the step fail in every attempt: {}",
                        inner.message()
                    )
                } else {
                    inner.message().to_owned()
                };
                (cause, passing)
            }
            sqlx::Error::Io(io) => {
                let text = io.to_string();
                (
                    text.split(" (os error").next().unwrap_or_default().to_owned(),
                    true,
                )
            }
            sqlx::Error::AnyDriverError(inner) if inner.is::<UncertainCommit>() => {
                return Self::Uncertain {
                    location,
                    cause: inner.to_string(),
                };
            }
            sqlx::Error::PoolTimedOut => ("no answer in time".to_owned(), true),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => return Self::Closed,
            sqlx::Error::Configuration(cause) => (format!("the address is not understood: {cause}"), false),
            other => {
                let passing = matches!(other, sqlx::Error::Tls(_) | sqlx::Error::Protocol(_));
                (other.to_string(), passing)
            }
        };
        Self::Database {
            location,
            cause,
            passing,
            source: Box::new(error),
        }
    }
}

/// SQLSTATEs of PostgreSQL for a transaction that failed only because of another one: serialization failure, deadlock.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];

/// Returns true if a transaction failed only because of another one. Nothing of it was kept, and a second attempt may
/// succeed.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| CONFLICTS.contains(&&*code))
}

/// The outcome of a commit is unknown, because the connection broke with this error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UncertainCommit(pub(crate) String);
