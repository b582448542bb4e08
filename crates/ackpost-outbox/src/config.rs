//! Settings for opening and working an outbox.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::clock::{Clock, Jitter, RandomJitter, SystemClock};
use super::store::Location;
use super::types::OutboxId;
use ackpost_notify::ServiceUrl;

/// Settings for opening an outbox.
#[non_exhaustive]
#[derive(Clone)]
pub struct OutboxConfig {
    /// Location of the outbox.
    pub location: Location,
    /// The file with the key of the seal; made with mode 0600 when there is neither it nor an outbox.
    pub key_file: PathBuf,
    /// Limits of the outbox.
    pub limits: OutboxLimits,
    /// Source of the time.
    pub clock: Arc<dyn Clock>,
    /// Source of random jitter.
    pub jitter: Arc<dyn Jitter>,
}

crate::setters::setters!(OutboxConfig {
    with_location(location: Location),
    with_key_file(key_file: PathBuf),
    with_limits(limits: OutboxLimits),
    with_clock(clock: Arc<dyn Clock>),
    with_jitter(jitter: Arc<dyn Jitter>),
});

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
    pub fn in_folder(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Self::new(
            Location::Sqlite(folder.join("outbox.db")),
            folder.join("outbox.key"),
        )
    }
}

/// Limits of an outbox, and the times for which it keeps entries.
#[non_exhaustive]
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
    /// Time for which delivered and dropped entries (without their content) and the log are kept. Default 7 days.
    pub keep_done: Duration,
    /// Time for which dead letters are kept; `None` keeps them until a user drops them. Default `None`.
    pub keep_dead: Option<Duration>,
}

crate::setters::setters!(OutboxLimits {
    with_waiting(waiting: u64),
    with_targets(targets: u64),
    with_text_bytes(text_bytes: u64),
    with_file_bytes(file_bytes: u64),
    with_keep_done(keep_done: Duration),
    with_keep_dead(keep_dead: Option<Duration>),
});

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

/// Settings of a worker.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Number of targets that are sent to at the same time. Default 16. One account has at most three quarters of them.
    /// Of URLs that somebody else handed over, one account has at most a quarter, those of one origin have three
    /// quarters, and all together seven eighths.
    pub lanes_at_once: usize,
    /// Time after which another worker takes over the lanes of one that stopped responding. Must be longer than a post
    /// can be under way unnoticed. Default 15 s.
    pub lease: Duration,
    /// Interval at which the worker looks for what other processes stored. Default 0.5 s.
    pub poll: Duration,
    /// The longest time for one attempt. Default 2 min.
    pub attempt: Duration,
    /// Pause after the first failure; it doubles from there. Default 2 s.
    pub first_pause: Duration,
    /// The longest pause. Default 15 min.
    pub longest_pause: Duration,
    /// Number of entries of one lane that are sent before others get a turn. Default 50.
    pub turn: usize,
    /// Longest time for attempts under way to end after the worker is asked to stop. Default 20 s.
    pub drain: Duration,
    /// Settings of the alarm about failing targets and dead letters.
    pub alarm: Option<Alarm>,
}

crate::setters::setters!(WorkerSettings {
    with_lanes_at_once(lanes_at_once: usize),
    with_lease(lease: Duration),
    with_poll(poll: Duration),
    with_attempt(attempt: Duration),
    with_first_pause(first_pause: Duration),
    with_longest_pause(longest_pause: Duration),
    with_turn(turn: usize),
    with_drain(drain: Duration),
    with_alarm(alarm: Option<Alarm>),
});

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

/// Alarm that is sent when a target does not answer for long or the dead-letter box grows.
#[derive(Clone, Debug)]
pub struct Alarm {
    /// Time after which the alarm is sent, for targets whose URL does not set `alarm_after=`.
    pub after: Duration,
    /// Services to choose from. The alarm goes to the first target that is not failing itself.
    pub services: AlarmServices,
}

/// The services of an [`Alarm`]; they can be exchanged while a worker runs. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct AlarmServices(Arc<RwLock<Arc<[ServiceUrl]>>>);

impl AlarmServices {
    /// Replaces the services.
    pub fn set(&self, services: Vec<ServiceUrl>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = services.into();
    }

    /// Returns the current services.
    pub fn get(&self) -> Arc<[ServiceUrl]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Vec<ServiceUrl>> for AlarmServices {
    fn from(services: Vec<ServiceUrl>) -> Self {
        Self(Arc::new(RwLock::new(services.into())))
    }
}

/// Settings for emptying an outbox once.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushSettings {
    /// The longest time for it. Default 60 s.
    pub deadline: Duration,
    /// Try entries at once that pause after a failed attempt. Default yes. Times that a server asked for, budgets and
    /// quiet hours count in any case.
    pub now: bool,
    /// Wait for entries that become due before the deadline: budgets, digests, the leases of workers that are gone.
    /// Default yes.
    pub wait: bool,
    /// Retry failing entries, pause after pause, until the deadline. Default no.
    pub retries: bool,
}

crate::setters::setters!(FlushSettings {
    with_deadline(deadline: Duration),
    with_now(now: bool),
    with_wait(wait: bool),
    with_retries(retries: bool),
});

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

/// Counts of the work that a worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Number of entries delivered.
    pub delivered: u64,
    /// Number of entries that were taken, but not as they were asked for.
    pub partial: u64,
    /// Number of attempts that were deferred.
    pub deferred: u64,
    /// Number of entries that were permanently refused.
    pub refused: u64,
    /// Number of entries that expired.
    pub expired: u64,
    /// Number of entries that still wait or collect (only after a flush).
    pub remaining: u64,
    /// Entries that ended without a full delivery, the first [`Summary::NAMED`] of them.
    #[serde(skip)]
    pub failed: Vec<OutboxId>,
}

impl Summary {
    /// Maximum number of entries in [`Summary::failed`].
    pub const NAMED: usize = 10;

    /// Returns the number of entries that ended without a full delivery.
    pub fn failures(&self) -> u64 {
        self.partial + self.refused + self.expired
    }
}
