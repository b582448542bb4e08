//! Replay protection: every nonce counts once, as long as its timestamp would be accepted.
//!
//! Nonces are remembered by the hour of their signed timestamp, which a replay must repeat. When there are more
//! than memory allows, the hour farthest from now is dropped and its timestamps are refused from then on: the
//! tolerated clock difference shrinks, but nothing can be replayed.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Seconds of one bucket.
const BUCKET: i64 = 3600;
/// Tolerated clock difference in seconds.
pub(crate) const TOLERANCE: i64 = 86_400;

/// The keys are hashes already.
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

/// What the memory says of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// New, as far as this process knows.
    New,
    /// Used before.
    Used,
    /// Its timestamp lies in an hour that is no longer remembered.
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

    /// Whether a nonce was used, without using it.
    pub(crate) fn peek(&self, nonce: &[u8; 16], stamp: i64, now: i64) -> Seen {
        self.look(nonce, stamp, now, false)
    }

    /// Uses a nonce: `New` exactly once.
    pub(crate) fn take(&self, nonce: &[u8; 16], stamp: i64, now: i64) -> Seen {
        self.look(nonce, stamp, now, true)
    }

    /// How many are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    fn look(&self, nonce: &[u8; 16], stamp: i64, now: i64, keep: bool) -> Seen {
        let key = self.keys.hash_one(nonce);
        let hour = stamp.div_euclid(BUCKET);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if hour < state.floor || state.ceiling.is_some_and(|ceiling| hour > ceiling) {
            return Seen::TooFar;
        }
        if state
            .buckets
            .get(&hour)
            .is_some_and(|bucket| bucket.contains(&key))
        {
            return Seen::Used;
        }
        if keep {
            state.buckets.entry(hour).or_default().insert(key);
            state.count += 1;
            state.shrink(now.div_euclid(BUCKET), self.capacity);
        }
        Seen::New
    }
}

impl State {
    fn shrink(&mut self, now: i64, capacity: usize) {
        // Hours whose timestamps are refused anyway.
        let oldest = now - TOLERANCE / BUCKET - 1;
        while let Some(entry) = self.buckets.first_entry().filter(|entry| *entry.key() < oldest) {
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
        assert_eq!(nonces.peek(&nonce(1), 1_000_000, 1_000_000), Seen::New);
        assert_eq!(nonces.take(&nonce(1), 1_000_000, 1_000_000), Seen::New);
        assert_eq!(nonces.peek(&nonce(1), 1_000_000, 1_000_100), Seen::Used);
        assert_eq!(nonces.take(&nonce(1), 1_000_000, 1_050_000), Seen::Used);
        assert_eq!(nonces.take(&nonce(2), 1_000_000, 1_000_000), Seen::New);
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
                Seen::New,
                "nothing can be replayed"
            );
        }
        assert_eq!(
            nonces.peek(&nonce(99_999), now, now),
            Seen::New,
            "clocks that are right are served"
        );
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
