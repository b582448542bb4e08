//! The times of our messages, each used once, and since when a sender has its name.
//!
//! Apps drop a message whose time they have seen before. The last used time is therefore kept in the storage, and
//! taken under its lock: no two processes and no two runs use the same.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest as _};
use serde::{Deserialize, Serialize};
use session_protocol::SessionId;

use crate::storage::Storage;

/// The item in the storage.
const ITEM: &str = "sender";
/// Maximum number of accounts whose names are remembered.
const MAX_NAMES: usize = 64;
/// Maximum number of timestamps that are reserved at once.
const MAX_LEASE: u64 = 64;
/// Time by which the last used time may be ahead of the network's, milliseconds. One that is farther ahead comes from a
/// clock that was wrong, and is given up.
const FAR_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;
/// Maximum number of leaps, and of given up ranges, that are remembered.
const MAX_RANGES: usize = 64;

#[derive(Default, Serialize, Deserialize)]
struct SavedTimestamps {
    /// The last used time, milliseconds since 1970.
    stamp: u64,
    /// The leaps of more than a day, the oldest first: the last used time before, and the first one behind. Any may be due to a
    /// clock that was wrong.
    #[serde(default)]
    leaps: Vec<(u64, u64)>,
    /// The first and the last time of each range that was used and given up. No message gets one of these again.
    #[serde(default)]
    given_up: Vec<(u64, u64)>,
    /// For each account, a hash of its name and the time since which it has that name.
    #[serde(default)]
    names: BTreeMap<String, Name>,
}

impl SavedTimestamps {
    /// Goes back to the last used time before the leaps that a wrong clock made.
    fn give_up(&mut self, now: Now) {
        while now.is_long_before(self.stamp) {
            // Earlier versions kept no leaps: it is only known which time was the last.
            let (before, first) = self.leaps.pop().unwrap_or((0, self.stamp));
            self.leave_out((first, self.stamp));
            self.stamp = before;
        }
    }

    /// Remembers that no message may get one of these times again.
    fn leave_out(&mut self, mut range: (u64, u64)) {
        self.given_up.retain(|known| {
            let touches = known.0 <= range.1.saturating_add(1) && range.0 <= known.1.saturating_add(1);
            if touches {
                range = (range.0.min(known.0), range.1.max(known.1));
            }
            !touches
        });
        if self.given_up.len() >= MAX_RANGES {
            self.given_up.remove(0);
        }
        self.given_up.push(range);
    }

    /// Takes `size` times in a row, the first not before `now_ms`. Returns the first.
    fn take(&mut self, size: u64, now_ms: u64) -> u64 {
        let mut first = self.stamp.saturating_add(1).max(now_ms);
        let overlaps = |first: u64| {
            let last = first.saturating_add(size - 1);
            let mut ranges = self.given_up.iter();
            ranges.find(move |(from, to)| *from <= last && first <= *to)
        };
        while let Some((_, to)) = overlaps(first)
            && *to < u64::MAX
        {
            first = to + 1;
        }
        if first > self.stamp.saturating_add(FAR_AHEAD_MS) {
            if self.leaps.len() >= MAX_RANGES {
                self.leaps.remove(0);
            }
            self.leaps.push((self.stamp, first));
        }
        self.stamp = first.saturating_add(size - 1);
        first
    }
}

#[derive(Serialize, Deserialize)]
struct Name {
    hash: String,
    since_secs: u64,
}

/// Times that are ours and not used yet.
#[derive(Default)]
struct Lease {
    next: u64,
    end: u64,
    size: u64,
    /// The account and name that the last lease was taken for, and since when it has it.
    name: Option<(String, String, u64)>,
}

pub(crate) struct Timestamps {
    storage: Arc<dyn Storage>,
    lease: Mutex<Lease>,
}

/// The time of now, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Now {
    /// The median of three nodes says so.
    Network(u64),
    /// The system's clock says so, and no three nodes of this run confirmed it.
    Local(u64),
}

impl Now {
    fn ms(self) -> u64 {
        let (Self::Network(ms) | Self::Local(ms)) = self;
        ms
    }

    /// Returns true if a used time comes from a clock that was wrong.
    fn is_long_before(self, used_ms: u64) -> bool {
        matches!(self, Self::Network(ms) if used_ms > ms.saturating_add(FAR_AHEAD_MS))
    }
}

/// The time of one message, and since when its sender has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageTime {
    /// The message's time, milliseconds since 1970.
    pub(crate) timestamp_ms: u64,
    /// Time since which the sender has its name, seconds since 1970.
    pub(crate) name_changed_secs: u64,
}

impl Timestamps {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            lease: Mutex::default(),
        }
    }

    /// Returns true if the last used time is more than a day ahead of `now_ms`: either clock is wrong.
    pub(crate) fn is_far_ahead(&self, now_ms: u64) -> bool {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stamp = lease.next;
        drop(lease);
        if stamp == 0 {
            let saved = self.storage.load(ITEM).ok().flatten();
            let saved: Option<SavedTimestamps> = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            stamp = saved.map_or(0, |saved| saved.stamp);
        }
        Now::Network(now_ms).is_long_before(stamp)
    }

    /// Takes `count` times, each later than all before, and not before `now`.
    ///
    /// Times that are more than a day ahead of the network's come from a clock that was wrong. They are given up, or all
    /// later messages would have such times. Later messages go on after the last time before the leap, and leave out the times
    /// that were used behind it.
    pub(crate) fn take(
        &self,
        count: usize,
        now: Now,
        account: &SessionId,
        name: &str,
    ) -> io::Result<Vec<MessageTime>> {
        let (count, now_ms) = (count as u64, now.ms());
        let (account, name) = (account.to_string(), digest(name));
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_long_before(lease.next) {
            *lease = Lease::default();
        }
        let since = lease
            .name
            .as_ref()
            .filter(|(of, is, _)| *of == account && *is == name)
            .map(|(.., since)| *since);
        lease.next = lease.next.max(now_ms);
        let fits = lease
            .end
            .checked_sub(lease.next)
            .is_some_and(|left| left >= count);
        let since = match since {
            Some(since) if fits => since,
            _ => self.renew(&mut lease, count, now, &account, &name)?,
        };
        let first = lease.next;
        lease.next += count;
        let times = first..first + count;
        Ok(times
            .map(|timestamp_ms| MessageTime {
                timestamp_ms,
                name_changed_secs: since,
            })
            .collect())
    }

    /// Takes a lease: of exactly `count` times at first, of more for a process that sends many messages.
    fn renew(&self, lease: &mut Lease, count: u64, now: Now, account: &str, name: &str) -> io::Result<u64> {
        let now_ms = now.ms();
        let size = count.max((lease.size * 8).min(MAX_LEASE));
        let (mut first, mut since) = (now_ms, now_ms / 1000);
        self.storage.update(ITEM, &mut |old| {
            // Unreadable data is damaged; the clock has moved on since it was written.
            let mut saved: SavedTimestamps = old
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            saved.give_up(now);
            first = saved.take(size, now_ms);
            match saved.names.get(account) {
                Some(known) if known.hash == name => since = known.since_secs,
                known => {
                    // Apps keep the name with the latest date: a change is dated after the name before, whatever clock that
                    // one was dated by.
                    since = known.map_or(now_ms / 1000, |known| {
                        known.since_secs.saturating_add(1).max(now_ms / 1000)
                    });
                    if saved.names.len() >= MAX_NAMES {
                        saved.names.clear();
                    }
                    let entry = Name {
                        hash: name.to_owned(),
                        since_secs: since,
                    };
                    saved.names.insert(account.to_owned(), entry);
                }
            }
            serde_json::to_vec(&saved).unwrap_or_default()
        })?;
        *lease = Lease {
            next: first,
            end: first.saturating_add(size),
            size,
            name: Some((account.to_owned(), name.to_owned(), since)),
        };
        Ok(since)
    }
}

fn digest(name: &str) -> String {
    hex::encode(Blake2b::<U16>::digest(name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use session_protocol::Prefix;

    use super::*;
    use crate::storage::{FolderStorage, MemoryStorage};

    fn id(n: u8) -> SessionId {
        SessionId::new(Prefix::Account, [n; 32])
    }

    #[test]
    fn no_time_is_used_twice_whoever_takes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage: Arc<dyn Storage> = Arc::new(FolderStorage::new(folder.path()));
        let taken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (taken, storage) = (&taken, &storage);
                scope.spawn(move || {
                    // Two runs each, as of processes that know nothing of one another.
                    for _ in 0..2 {
                        let timestamps = Timestamps::new(Arc::clone(storage));
                        for _ in 0..20 {
                            let some = timestamps.take(3, Now::Network(1000), &id(n), "bot");
                            taken.lock().expect("no panic").extend(some.expect("taken"));
                        }
                    }
                });
            }
        });
        let taken = taken.into_inner().expect("no panic");
        let times: HashSet<_> = taken.iter().map(|time| time.timestamp_ms).collect();
        assert_eq!(times.len(), 4 * 2 * 20 * 3);
    }

    #[test]
    fn times_follow_the_clock_and_never_go_back() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let timestamps = Timestamps::new(Arc::clone(&storage));
        let time = |now| {
            let taken = timestamps.take(1, Now::Network(now), &id(1), "bot");
            taken.expect("taken")[0].timestamp_ms
        };
        assert_eq!(time(5000), 5000);
        assert_eq!(time(5000), 5001);
        assert_eq!(time(9000), 9000);
        assert_eq!(time(10), 9001, "the clock was set back");
        let one_shot = Timestamps::new(storage)
            .take(1, Now::Network(10), &id(1), "bot")
            .expect("taken");
        assert!(one_shot[0].timestamp_ms > 9001);
    }

    #[test]
    fn a_clock_that_was_far_ahead_does_not_mark_later_messages() {
        let (now, ahead) = (1_796_000_000_000, 3_700_000_000_000);
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let runs = [Timestamps::new(Arc::clone(&storage)), Timestamps::new(storage)];
        let time = |run: usize, now| {
            let taken = runs[run].take(1, now, &id(1), "bot");
            taken.expect("taken")[0].timestamp_ms
        };
        for run in [0, 1, 0] {
            assert!(time(run, Now::Local(ahead)) >= ahead);
        }
        // Without the network nobody knows which of the two clocks was wrong.
        assert!(time(0, Now::Local(now)) > ahead);
        let mut used = HashSet::new();
        for run in [0, 1, 0, 1, 1, 0] {
            let time = time(run, Now::Network(now));
            assert!((now..now + 1000).contains(&time), "{time}");
            assert!(used.insert(time), "{time} is used twice");
        }
        // A few hours are not a mistake: another process may have been ahead.
        let later = now + FAR_AHEAD_MS / 2;
        let ahead = time(0, Now::Network(later));
        assert!(ahead >= later && time(0, Now::Network(now)) > ahead);
    }

    #[test]
    fn no_time_is_used_twice_when_the_network_is_behind_what_was_used_before_the_leap() {
        let (now, ahead) = (1_796_000_000_000, 3_700_000_000_000);
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let time = |now| {
            let timestamps = Timestamps::new(Arc::clone(&storage));
            timestamps.take(1, now, &id(1), "bot").expect("taken")[0].timestamp_ms
        };
        let before = time(Now::Local(now));
        let leaps = [time(Now::Local(ahead)), time(Now::Local(ahead * 2))];
        // The network is an hour behind what was used before the leaps.
        assert_eq!(time(Now::Network(now - 3_600_000)), before + 1);
        // A later leap to the same times leaves them out.
        assert_eq!(time(Now::Local(leaps[0])), leaps[0] + 1);
        assert_eq!(time(Now::Local(leaps[1])), leaps[1] + 1);
    }

    #[test]
    fn a_changed_name_is_dated_after_the_name_before() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let since = |now, name: &str| {
            let timestamps = Timestamps::new(Arc::clone(&storage));
            timestamps.take(1, now, &id(1), name).expect("taken")[0].name_changed_secs
        };
        let (now, ahead) = (1_796_000_000_000, 3_700_000_000_000);
        assert_eq!(since(Now::Local(ahead), "bot"), ahead / 1000);
        assert_eq!(since(Now::Network(now), "other"), ahead / 1000 + 1);
    }

    proptest::proptest! {
        #[test]
        fn no_time_is_used_twice_whatever_the_clocks_do(
            steps in proptest::collection::vec((0..6_u64, proptest::bool::ANY, 1..70_usize, proptest::bool::ANY), 1..40),
        ) {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
            let mut run = Timestamps::new(Arc::clone(&storage));
            let mut used = HashSet::new();
            for (day, proved, count, restarts) in steps {
                let ms = 1_796_000_000_000 + day * FAR_AHEAD_MS * 2 / 3;
                let now = if proved { Now::Network(ms) } else { Now::Local(ms) };
                if restarts {
                    run = Timestamps::new(Arc::clone(&storage));
                }
                for time in run.take(count, now, &id(1), "bot").expect("taken") {
                    proptest::prop_assert!(used.insert(time.timestamp_ms), "{} is used twice", time.timestamp_ms);
                }
            }
        }
    }

    #[test]
    fn a_name_has_one_date_until_it_changes() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let since = |now: u64, account, name: &str| {
            let timestamps = Timestamps::new(Arc::clone(&storage));
            let taken = timestamps.take(1, Now::Local(now), &id(account), name);
            taken.expect("taken")[0].name_changed_secs
        };
        assert_eq!(since(5_000, 1, "bot"), 5);
        assert_eq!(since(9_000, 1, "bot"), 5);
        assert_eq!(since(12_000, 2, "bot"), 12);
        assert_eq!(since(15_000, 1, "other"), 15);
        let saved = storage.load(ITEM).expect("read").expect("an item");
        assert!(
            !String::from_utf8_lossy(&saved).contains("other"),
            "names are kept as hashes"
        );
        storage.save(ITEM, b"damaged").expect("written");
        assert_eq!(since(20_000, 1, "other"), 20);
    }
}
