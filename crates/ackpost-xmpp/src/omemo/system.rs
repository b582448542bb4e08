//! The clock and the randomness of the system.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// The operating system's randomness.
pub(super) fn rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}
