//! How an outbox is opened and worked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::clock::{Clock, Jitter, RandomJitter, SystemClock};
use super::store::Location;
use super::types::OutboxId;
use crate::service::Service;

/// How an outbox is opened.
#[derive(Clone)]
pub struct OutboxConfig {
    /// Where it is.
    pub location: Location,
    /// The file with the key of the seal; made with mode 0600 when there is neither it nor an outbox.
    pub key_file: PathBuf,
    /// Sizes.
    pub limits: OutboxLimits,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub jitter: Arc<dyn Jitter>,
}

impl std::fmt::Debug for OutboxConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxConfig")
            .field("location", &self.location.masked())
            .field("key_file", &self.key_file)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl OutboxConfig {
    /// An outbox here, with this key.
    pub fn new(location: Location, key_file: impl Into<PathBuf>) -> Self {
        Self {
            location,
            key_file: key_file.into(),
            limits: OutboxLimits::default(),
            clock: Arc::new(SystemClock),
            jitter: Arc::new(RandomJitter),
        }
    }

    /// `outbox.db` and `outbox.key` in a folder, which must exist.
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(
            Location::Sqlite(folder.join("outbox.db")),
            folder.join("outbox.key"),
        )
    }
}

/// What an outbox takes at most, and how long it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Entries that wait. Default 100,000.
    pub waiting: u64,
    /// Targets of one message. Default 5,000.
    pub targets: u64,
    /// Title and body together, in bytes. Default 1 MiB.
    pub text_bytes: u64,
    /// All files of one message together, in bytes. Default 64 MiB.
    pub file_bytes: u64,
    /// How long delivered and dropped entries (without their content) and the log are kept. Default 7 days.
    pub keep_done: Duration,
    /// How long dead letters are kept; `None` until somebody drops them. Default `None`.
    pub keep_dead: Option<Duration>,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            waiting: 100_000,
            targets: 5_000,
            text_bytes: 1024 * 1024,
            file_bytes: 64 * 1024 * 1024,
            keep_done: Duration::from_secs(7 * 24 * 3600),
            keep_dead: None,
        }
    }
}

/// How an outbox is worked.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Number of targets that are sent to at the same time. Default 16. One account has at most three quarters of them.
    /// Of URLs that somebody else handed over, one account has at most a quarter, those of one origin have three
    /// quarters, and all together seven eighths.
    pub lanes_at_once: usize,
    /// A worker that says nothing for so long has lost its lanes: the time after which another takes over what a
    /// killed one left. Must be longer than a post can be under way unnoticed. Default 15 s.
    pub lease: Duration,
    /// How often to look for what other processes stored. Default 0.5 s.
    pub poll: Duration,
    /// The longest time for one attempt. Default 2 min.
    pub attempt: Duration,
    /// Pause after the first failure; it doubles from there. Default 2 s.
    pub first_pause: Duration,
    /// The longest pause. Default 15 min.
    pub longest_pause: Duration,
    /// How many entries of one lane are sent before others get a turn. Default 50.
    pub turn: usize,
    /// How long attempts under way may take to end when the worker is told to stop. Default 20 s.
    pub drain: Duration,
    /// Who is told about trouble.
    pub alarm: Option<Alarm>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            lanes_at_once: 16,
            lease: Duration::from_secs(15),
            poll: Duration::from_millis(500),
            attempt: Duration::from_secs(120),
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(900),
            turn: 50,
            drain: Duration::from_secs(20),
            alarm: None,
        }
    }
}

/// Who is told when a target does not answer for long or the dead-letter box grows.
#[derive(Clone, Debug)]
pub struct Alarm {
    /// After how long, for targets whose URL does not say `alarm_after=`.
    pub after: Duration,
    /// The services to choose from. The first target that is not in trouble itself is told.
    pub services: AlarmServices,
}

/// The services of an [`Alarm`]; they can be exchanged while a worker runs. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct AlarmServices(Arc<RwLock<Arc<[Service]>>>);

impl AlarmServices {
    /// These services from now on.
    pub fn set(&self, services: Vec<Service>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = services.into();
    }

    /// The services as they are now.
    pub fn get(&self) -> Arc<[Service]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Vec<Service>> for AlarmServices {
    fn from(services: Vec<Service>) -> Self {
        Self(Arc::new(RwLock::new(services.into())))
    }
}

/// How an outbox is emptied once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushSettings {
    /// The longest time for it. Default 60 s.
    pub deadline: Duration,
    /// Try at once what pauses after a failed attempt. Default yes. What a server asked for, budgets and quiet hours
    /// count in any case.
    pub now: bool,
    /// Wait for what becomes due before the deadline: budgets, digests, the leases of workers that are gone. Default
    /// yes.
    pub wait: bool,
    /// Go on with what fails, pause after pause, until the deadline. Default no.
    pub retries: bool,
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            now: true,
            wait: true,
            retries: false,
        }
    }
}

/// What a worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Entries delivered.
    pub delivered: u64,
    /// Entries taken, but not as they were asked for.
    pub partial: u64,
    /// Attempts put off.
    pub deferred: u64,
    /// Entries refused for good.
    pub refused: u64,
    /// Entries out of time.
    pub expired: u64,
    /// Entries that still wait or collect (only after a flush).
    pub remaining: u64,
    /// Entries that ended without a full delivery, the first [`Summary::NAMED`] of them.
    #[serde(skip)]
    pub failed: Vec<OutboxId>,
}

impl Summary {
    /// Greatest number of entries in [`Summary::failed`].
    pub const NAMED: usize = 10;

    /// Returns how many entries ended without a full delivery.
    pub fn failures(&self) -> u64 {
        self.partial + self.refused + self.expired
    }
}
