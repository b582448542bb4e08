//! Differences between servers and the reference that a client must work around.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// A way in which a server differs from the reference server (pysogs). The client works around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// `messages/recent` gives the oldest messages, in ascending order.
    RecentOldestFirst,
    /// There is no call for a single message.
    NoSingleMessage,
    /// `/inbox` and `/outbox` fail when a limit is given.
    NoInboxLimit,
    /// Parts of the answer to a batch have no status.
    BatchWithoutStatus,
}

const ALL: [Difference; 4] = [
    Difference::RecentOldestFirst,
    Difference::NoSingleMessage,
    Difference::NoInboxLimit,
    Difference::BatchWithoutStatus,
];

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RecentOldestFirst => {
                "it lists the oldest messages as recent; the newest are looked up by sequence number"
            }
            Self::NoSingleMessage => {
                "it cannot return a single message; the newest changes of the room are searched instead"
            }
            Self::NoInboxLimit => {
                "it fails when the inbox is asked for with a limit; it is asked without one"
            }
            Self::BatchWithoutStatus => {
                "parts of its batch answers have no status; such a part counts as failed if it is empty"
            }
        })
    }
}

/// The differences that were seen on one server.
#[derive(Debug, Default)]
pub(crate) struct Differences(AtomicU8);

impl Differences {
    /// Notes one; returns true the first time.
    pub(crate) fn note(&self, difference: Difference) -> bool {
        let bit = 1 << difference as u8;
        self.0.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub(crate) fn has(&self, difference: Difference) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << difference as u8) != 0
    }

    pub(crate) fn all(&self) -> Vec<Difference> {
        ALL.into_iter()
            .filter(|difference| self.has(*difference))
            .collect()
    }
}
