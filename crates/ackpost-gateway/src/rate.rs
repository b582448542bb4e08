//! Rate limits: token buckets for callers, and a limit on guessing tokens.

use std::collections::HashMap;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Number of requests in a time, written `60/1m`, `5/16s`, `1000/1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(crate) count: u32,
    pub(crate) per: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a rate; write one like 60/1m, 5/16s or 1000/1h");
        let (count, per) = text.trim().split_once('/').ok_or_else(bad)?;
        let count: u32 = count.trim().parse().map_err(|_| bad())?;
        let per = super::units::duration(per).map_err(|_| bad())?;
        if count == 0 || per.is_zero() {
            return Err(bad());
        }
        Ok(Self { count, per })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}s", self.count, self.per.as_secs_f64())
    }
}

/// The most callers that are remembered; beyond it those with a full bucket are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// One bucket for each caller.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(crate) fn new() -> Self {
        Self {
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one; when none is left, says how long to wait.
    pub(crate) fn take(&self, key: &K, rate: Rate, now: Instant) -> Result<(), Duration> {
        let capacity = f64::from(rate.count);
        let per_second = capacity / rate.per.as_secs_f64();
        let mut buckets = self
            .buckets
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= MAX_REMEMBERED && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| refilled(bucket, capacity, per_second, now) < capacity);
            if buckets.len() >= MAX_REMEMBERED {
                // Everybody is over the line at once: nobody new until the oldest have waited.
                return Err(rate.per);
            }
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket {
            level: capacity,
            at: now,
        });
        bucket.level = refilled(bucket, capacity, per_second, now);
        bucket.at = now;
        if bucket.level < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.level) / per_second));
        }
        bucket.level -= 1.0;
        Ok(())
    }
}

fn refilled(bucket: &Bucket, capacity: f64, per_second: f64, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
    (bucket.level + passed * per_second).min(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_count_and_time() {
        assert_eq!(
            "60/1m".parse(),
            Ok(Rate {
                count: 60,
                per: Duration::from_secs(60)
            })
        );
        assert_eq!(
            "5/16s".parse(),
            Ok(Rate {
                count: 5,
                per: Duration::from_secs(16)
            })
        );
        for bad in ["", "5", "0/1s", "5/0s", "-1/1s", "x/y"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bucket_empties_and_refills() {
        let buckets = Buckets::new();
        let rate = Rate {
            count: 2,
            per: Duration::from_secs(10),
        };
        let start = Instant::now();
        assert!(buckets.take(&1, rate, start).is_ok());
        assert!(buckets.take(&1, rate, start).is_ok());
        let wait = buckets.take(&1, rate, start).expect_err("empty");
        assert!((4.9..=5.1).contains(&wait.as_secs_f64()));
        assert!(buckets.take(&2, rate, start).is_ok(), "others have their own");
        assert!(buckets.take(&1, rate, start + Duration::from_secs(5)).is_ok());
        assert!(buckets.take(&1, rate, start + Duration::from_secs(5)).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let buckets = Buckets::new();
        let rate = Rate {
            count: 1,
            per: Duration::from_secs(60),
        };
        let now = Instant::now();
        for key in 0..20_000_u32 {
            let _ = buckets.take(&key, rate, now);
        }
        assert!(buckets.buckets.lock().expect("no panic").len() <= MAX_REMEMBERED);
        assert!(buckets.take(&50_000, rate, now + Duration::from_secs(61)).is_ok());
    }
}
