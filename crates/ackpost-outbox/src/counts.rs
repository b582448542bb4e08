//! Counts of the work that a worker has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::config::Summary;
use super::types::OutboxId;

/// Number of entries by what became of them.
#[derive(Default)]
pub(super) struct DeliveryCounts {
    pub(super) delivered: AtomicU64,
    pub(super) partial: AtomicU64,
    pub(super) deferred: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) failed: Mutex<Vec<OutboxId>>,
}

impl DeliveryCounts {
    pub(super) fn summary(&self, remaining: u64) -> Summary {
        Summary {
            delivered: self.delivered.load(Ordering::Relaxed),
            partial: self.partial.load(Ordering::Relaxed),
            deferred: self.deferred.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            remaining,
            failed: self.failed().clone(),
        }
    }

    /// Remembers an entry that ended without a full delivery.
    pub(super) fn fail(&self, id: &str) {
        let mut failed = self.failed();
        if let Ok(id) = id.parse()
            && failed.len() < Summary::NAMED
        {
            failed.push(id);
        }
    }

    pub(super) fn failed(&self) -> MutexGuard<'_, Vec<OutboxId>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
