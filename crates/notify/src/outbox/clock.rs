//! Time and chance, handed in: what depends on them can be tested without waiting.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> i64;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        to_ms(SystemTime::now())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<i64>);

impl ManualClock {
    /// A clock that shows this time (milliseconds since 1970-01-01 UTC).
    pub fn at(now_ms: i64) -> Self {
        Self(Mutex::new(now_ms))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += span_ms(by);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        // Without chance the repeats are not spread; nothing else depends on it.
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

/// How long to wait before attempt `failures + 1`: it doubles from `first` up to `longest`, and half of
/// it is left to chance.
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
