//! Replay protection: every nonce counts once, as long as its timestamp would be accepted.
//!
//! Nonces are remembered by the hour of their signed timestamp, which a replay must repeat. When there are more
//! than memory allows, the hour farthest from now is dropped and its timestamps are refused from then on: the
//! tolerated clock difference shrinks, but nothing can be replayed.
//!
//! The database keeps nonces too. Neither a clock that jumps nor a process that is killed brings one back:
//!
//! * Memory forgets by the clock; what it forgot is asked for in the database ([`Nonces::may_be_kept`]).
//! * The database forgets by a [`KeepClock`], which goes at most twice as fast as time passes while the server runs, and
//!   whatever was forgotten sets a floor: older timestamps are permanently refused.
//! * Requests that only read are written down within a second, and before their answer when their own clock is off. After a
//!   run that did not end by itself, timestamps of its last seconds are refused ([`Gap`]).

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Seconds of one bucket.
const BUCKET: i64 = 3600;
/// Tolerated clock difference in seconds.
pub(crate) const TOLERANCE: i64 = 86_400;

/// Hasher that keeps its input: the keys are hashes already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Set = HashSet<u64, BuildHasherDefault<Plain>>;

/// Result of checking a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceCheck {
    /// New, as far as this process knows.
    New,
    /// Known to be used before.
    Used,
    /// Its timestamp is in an hour that is no longer remembered.
    TooFar,
}

/// The nonces of one process.
pub(crate) struct Nonces {
    keys: RandomState,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<i64, Set>,
    count: usize,
    /// Accepted hours: those outside were dropped for want of memory.
    floor: i64,
    ceiling: Option<i64>,
    /// Hours before this one were forgotten because they were long ago, by the clock of that moment.
    forgotten: i64,
    /// Timestamps before this one were forgotten by the database too.
    oldest: i64,
    gap: Option<Gap>,
}

/// Gap of timestamps for which use is unknown: the last seconds of a run that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// First second of the gap.
    pub(crate) from: i64,
    /// Last second of the gap.
    pub(crate) to: i64,
}

impl Gap {
    /// Gap between a run that was last known to be alive at `alive` and a run that begins at `now`.
    pub(crate) fn new(alive: i64, now: i64) -> Self {
        Self {
            from: alive - LATE - 2,
            to: now,
        }
    }
}

/// Seconds that a reading request may be late and still wait a second to be written down.
pub(crate) const LATE: i64 = 60;
/// Time for which the database keeps nonces, in seconds of a [`KeepClock`].
const KEPT: f64 = 2.0 * 86_400.0;

/// The clock by which the database forgets. It follows the system's clock, but at most twice as fast as time passes while
/// the server runs: a clock that is wrong for less than a day makes nothing forgotten that counts when it is right again.
#[derive(Debug)]
pub(crate) struct KeepClock {
    at: f64,
    seen: Instant,
}

impl KeepClock {
    /// Creates a clock that shows `at` (Unix seconds).
    pub(crate) fn new(at: f64) -> Self {
        Self {
            at,
            seen: Instant::now(),
        }
    }

    /// Moves the clock forward.
    ///
    /// Returns the time that it shows, and the timestamp before which nonces may be forgotten.
    pub(crate) fn advance(&mut self, wall: f64) -> (f64, f64) {
        let passed = self.seen.elapsed();
        self.seen = Instant::now();
        self.pass(passed.as_secs_f64(), wall)
    }

    fn pass(&mut self, seconds: f64, wall: f64) -> (f64, f64) {
        self.at += (wall - self.at).clamp(0.0, 2.0 * seconds);
        (self.at, self.at.min(wall) - KEPT)
    }
}

impl Nonces {
    /// An empty memory for up to `capacity` nonces (9 bytes each, up to twice that while it grows).
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            keys: RandomState::new(),
            capacity: capacity.max(1),
            state: Mutex::default(),
        }
    }

    /// Checks a nonce without using it.
    pub(crate) fn peek(&self, nonce: &[u8; 16], stamp: i64, now: i64) -> NonceCheck {
        self.look(nonce, stamp, now, false)
    }

    /// Uses a nonce: `New` exactly once.
    pub(crate) fn take(&self, nonce: &[u8; 16], stamp: i64, now: i64) -> NonceCheck {
        self.look(nonce, stamp, now, true)
    }

    /// Returns true if a timestamp belongs to an hour that memory forgot, but the database may not have.
    pub(crate) fn may_be_kept(&self, stamp: i64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        stamp.div_euclid(BUCKET) < state.forgotten
    }

    /// Refuses timestamps before `oldest`, of which the database has forgotten some.
    pub(crate) fn refuse_before(&self, oldest: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.oldest = state.oldest.max(oldest);
    }

    /// Refuses the timestamps of a gap.
    pub(crate) fn refuse_gap(&self, gap: Gap) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).gap = Some(gap);
    }

    /// Returns the number of remembered nonces.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    fn look(&self, nonce: &[u8; 16], stamp: i64, now: i64, keep: bool) -> NonceCheck {
        let key = self.keys.hash_one(nonce);
        let hour = stamp.div_euclid(BUCKET);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let in_gap = state.gap.is_some_and(|gap| (gap.from..=gap.to).contains(&stamp));
        if in_gap || stamp < state.oldest {
            return NonceCheck::TooFar;
        }
        if hour < state.floor || state.ceiling.is_some_and(|ceiling| hour > ceiling) {
            return NonceCheck::TooFar;
        }
        if state
            .buckets
            .get(&hour)
            .is_some_and(|bucket| bucket.contains(&key))
        {
            return NonceCheck::Used;
        }
        if keep {
            state.buckets.entry(hour).or_default().insert(key);
            state.count += 1;
            state.shrink(now.div_euclid(BUCKET), self.capacity);
        }
        NonceCheck::New
    }
}

impl State {
    fn shrink(&mut self, now: i64, capacity: usize) {
        // Hours whose timestamps are refused anyway.
        let oldest = now - TOLERANCE / BUCKET - 1;
        while let Some(entry) = self.buckets.first_entry().filter(|entry| *entry.key() < oldest) {
            self.forgotten = self.forgotten.max(*entry.key() + 1);
            self.count -= entry.remove().len();
        }
        // With time, hours that were cut off ahead come back: nothing of them was accepted since.
        if self.ceiling.is_some_and(|ceiling| ceiling < now + 1) && self.count < capacity / 2 {
            self.ceiling = None;
        }
        while self.count > capacity && self.buckets.len() > 1 {
            let first = self.buckets.keys().next().copied().unwrap_or(now);
            let last = self.buckets.keys().next_back().copied().unwrap_or(now);
            let (hour, bound_below) = if (now - first) >= (last - now) {
                (first, true)
            } else {
                (last, false)
            };
            self.count -= self.buckets.remove(&hour).map_or(0, |bucket| bucket.len());
            if bound_below {
                self.floor = self.floor.max(hour + 1);
            } else {
                self.ceiling = Some(self.ceiling.map_or(hour - 1, |ceiling| ceiling.min(hour - 1)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(n: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes
    }

    #[test]
    fn a_nonce_counts_once() {
        let nonces = Nonces::new(100);
        assert_eq!(nonces.peek(&nonce(1), 1_000_000, 1_000_000), NonceCheck::New);
        assert_eq!(nonces.take(&nonce(1), 1_000_000, 1_000_000), NonceCheck::New);
        assert_eq!(nonces.peek(&nonce(1), 1_000_000, 1_000_100), NonceCheck::Used);
        assert_eq!(nonces.take(&nonce(1), 1_000_000, 1_050_000), NonceCheck::Used);
        assert_eq!(nonces.take(&nonce(2), 1_000_000, 1_000_000), NonceCheck::New);
    }

    #[test]
    fn memory_is_bounded_and_what_is_dropped_is_refused() {
        let nonces = Nonces::new(1000);
        let now = 10_000_000;
        for n in 0..20_000 {
            let stamp = now - i64::try_from(n % 24).expect("small") * BUCKET;
            nonces.take(&nonce(n), stamp, now);
        }
        assert!(nonces.len() <= 1000 + 20_000 / 24);
        for n in 0..20_000 {
            let stamp = now - i64::try_from(n % 24).expect("small") * BUCKET;
            assert_ne!(
                nonces.peek(&nonce(n), stamp, now),
                NonceCheck::New,
                "nothing can be replayed"
            );
        }
        assert_eq!(
            nonces.peek(&nonce(99_999), now, now),
            NonceCheck::New,
            "clocks that are right are served"
        );
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_brings_no_nonce_back() {
        let nonces = Nonces::new(1000);
        let (now, month) = (10_000_000, 30 * 86_400);
        nonces.take(&nonce(1), now, now);
        nonces.take(&nonce(2), now + month, now + month);
        assert!(nonces.may_be_kept(now), "memory forgot it, the database is asked");
        assert!(!nonces.may_be_kept(now + month));
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let (start, later) = (now as f64, (now + month) as f64);
        let mut clock = KeepClock::new(start);
        for _ in 0..24 {
            let (_, forgets) = clock.pass(3600.0, later);
            assert!(
                forgets <= start,
                "a day of the wrong clock forgets nothing that counts"
            );
        }
        assert!(
            clock.pass(1.0, start - later).1 < 0.0,
            "nor does one that is behind"
        );
    }

    #[test]
    fn forgotten_nonces_and_the_end_of_a_killed_run_are_refused() {
        let nonces = Nonces::new(1000);
        nonces.refuse_before(5000);
        assert_eq!(nonces.peek(&nonce(1), 4999, 6000), NonceCheck::TooFar);
        nonces.refuse_gap(Gap::new(5900, 5990));
        for (stamp, seen) in [
            (5837, NonceCheck::New),
            (5838, NonceCheck::TooFar),
            (5990, NonceCheck::TooFar),
            (5991, NonceCheck::New),
        ] {
            assert_eq!(nonces.peek(&nonce(1), stamp, 6000), seen, "{stamp}");
        }
    }

    #[test]
    fn old_hours_are_forgotten_by_themselves() {
        let nonces = Nonces::new(1000);
        for n in 0..100 {
            nonces.take(&nonce(n), 1_000_000, 1_000_000);
        }
        nonces.take(&nonce(1000), 1_000_000 + 2 * TOLERANCE, 1_000_000 + 2 * TOLERANCE);
        assert_eq!(nonces.len(), 1);
    }
}
