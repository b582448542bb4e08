//! The time of day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds by which the clock of this process is wrong.
static WRONG_BY: AtomicI64 = AtomicI64::new(0);

/// Unix seconds with fraction.
pub fn unix_now() -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
    let wrong_by = WRONG_BY.load(Ordering::Relaxed) as f64;
    now + wrong_by
}

/// Makes the clock of this process wrong by these seconds, as a machine's clock may be. For tests.
#[doc(hidden)]
pub fn set_clock_wrong_by(seconds: i64) {
    WRONG_BY.store(seconds, Ordering::Relaxed);
}
