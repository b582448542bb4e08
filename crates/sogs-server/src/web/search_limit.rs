//! Limits for the searches of all visitors: how many run at a time, and how many start per second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Searches that run at the same time.
const AT_A_TIME: usize = 2;
/// Time for which a search waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Searches a second, over all visitors: requests of browsers are not signed, and may all come from one proxy.
const PER_SECOND: f64 = 10.0;
/// Searches that may come at once after a quiet time.
const BURST: f64 = 40.0;
/// Limits of the searches of all visitors.
pub struct Searches {
    turns: Semaphore,
    left: Mutex<(f64, Instant)>,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_A_TIME),
            left: Mutex::new((BURST, Instant::now())),
        }
    }
}

impl Searches {
    fn admit(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.1).as_secs_f64();
        *left = ((left.0 + passed * PER_SECOND).min(BURST), now);
        if left.0 < 1.0 {
            return false;
        }
        left.0 -= 1.0;
        true
    }

    /// Waits for a turn; `None` when there are too many searches at the moment.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if !self.admit(Instant::now()) {
            return None;
        }
        tokio::time::timeout(PATIENCE, self.turns.acquire())
            .await
            .ok()?
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let searches = Searches::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| searches.admit(start)).count();
        assert_eq!(passed, 40);
        assert!(!searches.admit(start + Duration::from_millis(50)));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| searches.admit(later)).count(), 10);
    }
}
