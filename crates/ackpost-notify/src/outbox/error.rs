//! What can go wrong with the queue itself; what goes wrong with a message is an [`crate::Outcome`].

use std::path::PathBuf;

/// The queue could not do what it was asked for. Nothing was half done: a write that failed left no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The disk or the database is full.
    #[error("the disk of the outbox is full ({location}); the message was not stored")]
    Full {
        /// Where the outbox is, without secrets.
        location: String,
    },
    /// More messages wait than [`super::OutboxLimits::waiting`] allows.
    #[error("{waiting} messages are waiting, the outbox takes no more than {limit}")]
    TooManyWaiting {
        /// How many wait.
        waiting: u64,
        /// How many may.
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
    #[error("{what} has {bytes} bytes, the outbox takes at most {limit}")]
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
        /// Why.
        cause: String,
        /// Remedy, as an imperative.
        remedy: String,
    },
    /// A file of the message cannot be read.
    #[error("the file {name} cannot be copied in: {cause}")]
    Attachment {
        /// The name of the file.
        name: String,
        /// Why.
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
        /// Why.
        cause: String,
    },
    /// The outbox was begun with a key, and there is no key file any more.
    #[error("the key file {path} of the outbox at {location} is missing")]
    KeyMissing {
        /// Where the key file should be.
        path: PathBuf,
        /// Where the outbox is, without secrets.
        location: String,
    },
    /// The outbox was written with another key.
    #[error("the outbox was written with another key than the one in {path}")]
    WrongKey {
        /// The key file.
        path: PathBuf,
    },
    /// The outbox was written by a newer program.
    #[error("the outbox has version {found}, this program knows {known}")]
    Version {
        /// Version of the outbox.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// A stored row cannot be read.
    #[error("entry {id} of the outbox cannot be read: {cause}")]
    Damaged {
        /// Whose row it is.
        id: String,
        /// Why.
        cause: String,
    },
    /// The database does not answer, or answers with an error.
    #[error("the outbox at {location} cannot be used: {cause}")]
    Database {
        /// Where the outbox is, without secrets.
        location: String,
        /// What the database said.
        cause: String,
        /// True when trying again may help (connection lost, database busy or restarting).
        passing: bool,
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

    /// What a person can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Full { .. } => {
                "free some space (`ackpost outbox drop --dead` empties the dead-letter box) and send again"
                    .to_owned()
            }
            Self::TooManyWaiting { .. } => {
                "see with `ackpost outbox stats` which target does not answer; drop what is not needed"
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
                "bring the file back as it was made (64 hexadecimal digits), readable for its owner only: chmod 600 {}",
                path.display()
            ),
            Self::KeyMissing { .. } => {
                "bring it back (from a backup, or from another machine that uses the same outbox), or say where it is \
                 with --outbox-key; without it what is stored cannot be read, and only an empty outbox can be begun"
                    .to_owned()
            }
            Self::WrongKey { .. } => {
                "bring back the key file that belongs to this outbox, or begin with an empty outbox"
                    .to_owned()
            }
            Self::Version { .. } => {
                "use a version of this program at least as new as the one that wrote it".to_owned()
            }
            Self::Damaged { .. } => {
                "drop the entry; if many are damaged, restore the outbox from a backup".to_owned()
            }
            Self::Database { passing: true, .. } => "try again when the database answers".to_owned(),
            Self::Database { .. } => {
                "check that the folder exists and may be written, or that the database URL is right"
                    .to_owned()
            }
            Self::Closed => "open it again".to_owned(),
        }
    }

    /// Sorts what the database driver reports. `location` holds no secret.
    pub(crate) fn database(location: &str, error: &sqlx::Error) -> Self {
        let location = location.to_owned();
        match error {
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
                Self::Database {
                    location,
                    cause: inner.message().to_owned(),
                    passing,
                }
            }
            sqlx::Error::Io(io) => Self::Database {
                location,
                cause: io
                    .to_string()
                    .split(" (os error")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                passing: true,
            },
            sqlx::Error::PoolTimedOut => Self::Database {
                location,
                cause: "no answer in time".to_owned(),
                passing: true,
            },
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
            sqlx::Error::Configuration(cause) => Self::Database {
                location,
                cause: format!("the address is not understood: {cause}"),
                passing: false,
            },
            other => Self::Database {
                location,
                cause: other.to_string(),
                passing: matches!(other, sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)),
            },
        }
    }
}
