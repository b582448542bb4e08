//! Memory for request bodies and fetched attachments: one budget for all connections.
//!
//! A request counts with twice the bytes that it holds: as they came, and as they are understood. The first 64 KiB of
//! a request are not counted; the number of requests limits them. When the budget is used up, one request at a time may
//! go on beyond it, so that half-received bodies never block each other permanently.

use std::sync::Arc;
use std::time::Duration;

use bounded_http::{MemoryBudget, MemoryPermit, OutOfMemory};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::Reply;

/// Bytes of a request that are not counted.
pub(crate) const FREE_BYTES: usize = 64 << 10;

/// The budget.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: Arc<MemoryBudget>,
    /// Held by the one large request that is being parsed or stored.
    large: Arc<Semaphore>,
}

/// The part of the budget that one request holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: MemoryPermit,
    /// Bytes of memory that are in use.
    covered: usize,
}

impl Memory {
    /// A budget of `bytes` of memory, of which `largest` are set aside for the request that goes on beyond.
    pub(crate) fn new(bytes: usize, largest: usize) -> Arc<Self> {
        Self::of(MemoryBudget::new(bytes.saturating_sub(largest)))
    }

    /// The same with another longest wait.
    #[cfg(test)]
    pub(crate) fn with_patience(bytes: usize, largest: usize, wait: Duration) -> Arc<Self> {
        Self::of(MemoryBudget::new(bytes.saturating_sub(largest)).with_wait(wait))
    }

    fn of(budget: MemoryBudget) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::new(budget.with_overflow()),
            large: Arc::new(Semaphore::new(1)),
        })
    }

    /// Returns an empty share.
    pub(crate) fn share(&self) -> Share {
        Share {
            permit: self.budget.permit(2 * FREE_BYTES),
            covered: 0,
        }
    }

    /// Returns the bytes that no request holds.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.budget.available()
    }

    /// Longest pause in a body that holds memory.
    pub(crate) fn patience(&self) -> Duration {
        self.budget.wait()
    }

    /// Waits for the permit of a request of `bytes`, because parsing and storing a large one takes several times its size
    /// for a moment. A small one needs no permit.
    pub(crate) async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= FREE_BYTES {
            return None;
        }
        Arc::clone(&self.large).acquire_owned().await.ok()
    }
}

impl Share {
    /// Makes the share large enough for `bytes` as they came.
    pub(crate) async fn cover(&mut self, bytes: usize) -> Result<(), Reply> {
        self.cover_memory(bytes.saturating_mul(2)).await
    }

    /// Makes the share large enough for `memory` bytes of memory.
    pub(crate) async fn cover_memory(&mut self, memory: usize) -> Result<(), Reply> {
        let covered = self.permit.cover(memory).await;
        covered.map_err(|busy: OutOfMemory| Reply::unavailable(busy.to_string(), Duration::from_secs(2)))?;
        self.covered = self.covered.max(memory);
        Ok(())
    }

    /// Makes the share larger by `bytes` as they came.
    pub(crate) async fn cover_more(&mut self, bytes: usize) -> Result<(), Reply> {
        let more = bytes.saturating_mul(2);
        self.cover_memory(self.covered.saturating_add(more)).await
    }

    /// Returns the bytes of memory that are in use.
    pub(crate) fn covered(&self) -> usize {
        self.covered
    }

    /// Says that the memory beyond `covered` is free again. The share keeps it for what comes next.
    pub(crate) fn uncover(&mut self, covered: usize) {
        self.covered = self.covered.min(covered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn a_request_counts_twice_and_one_goes_on_beyond_the_budget() {
        // 4 MiB for all, 2 MiB set aside.
        let memory = Memory::with_patience(6 * MIB, 2 * MIB, Duration::from_millis(50));
        let mut first = memory.share();
        first.cover(FREE_BYTES).await.expect("not counted");
        assert_eq!(memory.budget.available(), 4 * MIB);
        first.cover(MIB).await.expect("there is enough");
        assert_eq!(memory.budget.available(), 2 * MIB + 2 * FREE_BYTES);
        let mut second = memory.share();
        second.cover(2 * MIB).await.expect("beyond");
        let refused = memory.share().cover(2 * MIB).await.expect_err("no memory");
        assert_eq!(refused.status().as_u16(), 503);
    }

    #[tokio::test]
    async fn large_requests_are_worked_on_one_after_another() {
        let memory = Memory::new(MIB, 0);
        assert!(memory.permit(FREE_BYTES).await.is_none());
        let permit = memory.permit(FREE_BYTES + 1).await;
        assert!(permit.is_some());
        assert_eq!(memory.large.available_permits(), 0);
        drop(permit);
        assert_eq!(memory.large.available_permits(), 1);
    }
}
