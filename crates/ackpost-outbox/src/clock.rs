//! Clock and source of jitter, passed in so that the code that depends on them can be tested without waiting.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Source of the current time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. People and programs set this clock, so it may jump.
    fn now_ms(&self) -> i64;

    /// Milliseconds since the machine started, and which start that was. Nobody can set this clock. `None`: there is
    /// no such clock, and jumps of the other one go unnoticed.
    fn steady(&self) -> Option<Steady> {
        None
    }

    /// Returns true for the clock of this machine; in a database that several machines share, the clock of the database
    /// server then counts.
    fn is_machine(&self) -> bool {
        false
    }
}

/// A reading of a clock that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Start of the machine that the time is counted from. Readings with different starts cannot be compared.
    pub boot: Arc<str>,
    /// Milliseconds since then, sleep included.
    pub ms: i64,
}

/// The clock of a database server.
pub(crate) struct ServerClock {
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) now: i64,
    /// Sum of all moves of the stored times because this clock was set, in milliseconds.
    pub(crate) moved: i64,
}

/// A reading of the clock of the database server, compared with the clock of this machine that cannot be set.
pub(crate) struct ServerReading<'a> {
    /// Start of this machine.
    pub(crate) boot: &'a str,
    pub(crate) now: i64,
    /// The sum of all moves when the clock was read.
    pub(crate) moved: i64,
    /// Time by which the server's clock is ahead of the steady one, less the moves. It changes only when somebody sets the
    /// clock.
    pub(crate) ahead: i64,
    /// That time at the reading before.
    pub(crate) last: Option<i64>,
    /// The smallest difference that counts as a jump.
    pub(crate) jump: i64,
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        to_ms(SystemTime::now())
    }

    fn steady(&self) -> Option<Steady> {
        static BOOT: OnceLock<Arc<str>> = OnceLock::new();
        let boot = BOOT.get_or_init(
            || match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
                Ok(id) => id.trim().into(),
                // Without a name for the start, only this process can compare its readings.
                Err(_) => format!("process {:016x}", fraction_bits()).into(),
            },
        );
        Some(Steady {
            boot: Arc::clone(boot),
            ms: since_boot_ms(),
        })
    }

    fn is_machine(&self) -> bool {
        true
    }
}

/// Without a clock of the system that counts from its start, the process counts from its own start.
#[cfg(not(unix))]
fn since_boot_ms() -> i64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(unix)]
fn since_boot_ms() -> i64 {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let (seconds, nanoseconds) = (time.tv_sec, time.tv_nsec);
    seconds * 1000 + nanoseconds / 1_000_000
}

fn fraction_bits() -> u64 {
    let mut bytes = [0_u8; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<ManualTime>);

#[derive(Debug)]
struct ManualTime {
    wall: i64,
    steady: i64,
    boot: Arc<str>,
}

impl ManualClock {
    /// A clock that shows this time (milliseconds since 1970-01-01 UTC).
    pub fn at(now_ms: i64) -> Self {
        Self(Mutex::new(ManualTime {
            wall: now_ms,
            steady: 0,
            boot: "first".into(),
        }))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.wall += span_ms(by);
        hands.steady += span_ms(by);
    }

    /// Sets the wall clock by this number of milliseconds; no time passes.
    pub fn set_by(&self, ms: i64) {
        self.hands().wall += ms;
    }

    /// Starts the machine again: the time since the start begins at zero.
    pub fn restart(&self) {
        let mut hands = self.hands();
        hands.boot = format!("after {}", hands.boot).into();
        hands.steady = 0;
    }

    fn hands(&self) -> std::sync::MutexGuard<'_, ManualTime> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.hands().wall
    }

    fn steady(&self) -> Option<Steady> {
        let hands = self.hands();
        Some(Steady {
            boot: Arc::clone(&hands.boot),
            ms: hands.steady,
        })
    }
}

/// Spreads repeats, so that many senders do not come back at the same instant.
pub trait Jitter: Send + Sync + 'static {
    /// A number from 0 (included) to 1 (excluded).
    fn fraction(&self) -> f64;
}

/// Chance from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn fraction(&self) -> f64 {
        let mut bytes = [0_u8; 4];
        // Without randomness the retries are not spread; nothing else depends on it.
        let _ = getrandom::fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Always the same fraction.
#[derive(Clone, Copy, Debug)]
pub struct FixedJitter(pub f64);

impl Jitter for FixedJitter {
    fn fraction(&self) -> f64 {
        self.0
    }
}

/// Returns the time to wait before attempt `failures + 1`. It doubles from `first` up to `longest`; jitter then takes
/// away up to half of it.
pub(crate) fn backoff(failures: u32, first: Duration, longest: Duration, jitter: &dyn Jitter) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(30)));
    let whole = doubled.min(longest);
    whole.mul_f64(0.5 + jitter.fraction().clamp(0.0, 1.0) / 2.0)
}

pub(crate) fn span_ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}

pub(crate) fn to_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => span_ms(since),
        Err(before) => -span_ms(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_and_stops_growing() {
        let first = Duration::from_secs(2);
        let longest = Duration::from_secs(900);
        let at = |failures, fraction| backoff(failures, first, longest, &FixedJitter(fraction)).as_millis();
        assert_eq!(at(1, 1.0), 2_000);
        assert_eq!(at(1, 0.0), 1_000);
        assert_eq!(at(2, 1.0), 4_000);
        assert_eq!(at(3, 0.5), 6_000);
        assert_eq!(at(40, 1.0), 900_000);
        assert_eq!(at(u32::MAX, 0.0), 450_000);
    }
}
