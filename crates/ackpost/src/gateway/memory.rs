//! Memory for request bodies and fetched attachments: one budget for all connections.
//!
//! A request counts with twice the bytes that it holds: as they came, and as they are understood. The first 64 KiB of
//! a request are free; the number of requests limits them. When the budget is used up, one request at a time may go on
//! beyond it, so that half-received bodies never block each other for good.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::reply::Reply;

/// Bytes of a request that are not counted.
pub(crate) const FREE_BYTES: usize = 64 << 10;
/// Time that a request waits for memory in all, and that a body which holds some may pause.
const PATIENCE: Duration = Duration::from_secs(5);
/// The budget is counted in steps of so many bytes.
const STEP: usize = 1024;

/// The budget.
#[derive(Debug)]
pub(crate) struct Memory {
    shared: Arc<Semaphore>,
    /// Held by the one request that goes on beyond the budget.
    beyond: Arc<Semaphore>,
    /// Held by the one large request that is being parsed or stored.
    large: Arc<Semaphore>,
    patience: Duration,
}

/// The part of the budget that one request holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    held: Option<OwnedSemaphorePermit>,
    steps: u32,
    beyond: Option<OwnedSemaphorePermit>,
    /// Rest of the time that it may wait. A large body asks for memory many times.
    patience: Duration,
}

impl Memory {
    /// A budget of `bytes`, of which `largest` are set aside for the request that goes on beyond.
    pub(crate) fn new(bytes: usize, largest: usize) -> Arc<Self> {
        Self::with_patience(bytes, largest, PATIENCE)
    }

    pub(crate) fn with_patience(bytes: usize, largest: usize, patience: Duration) -> Arc<Self> {
        let shared = bytes.saturating_sub(2 * largest) / STEP;
        Arc::new(Self {
            shared: Arc::new(Semaphore::new(shared.min(Semaphore::MAX_PERMITS))),
            beyond: Arc::new(Semaphore::new(1)),
            large: Arc::new(Semaphore::new(1)),
            patience,
        })
    }

    /// Returns an empty share.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            memory: Arc::clone(self),
            held: None,
            steps: 0,
            beyond: None,
            patience: self.patience,
        }
    }

    /// Longest pause in a body that holds memory.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits for the turn of a request of `bytes`, because parsing and storing a large one takes several times its size
    /// for a moment. A small one needs no turn.
    pub(crate) async fn turn(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= FREE_BYTES {
            return None;
        }
        Arc::clone(&self.large).acquire_owned().await.ok()
    }
}

impl Share {
    /// Makes the share large enough for `bytes` as they came.
    pub(crate) async fn cover(&mut self, bytes: usize) -> Result<(), Reply> {
        self.cover_weight(bytes.saturating_mul(2)).await
    }

    /// Makes the share large enough for `weight` bytes of memory.
    pub(crate) async fn cover_weight(&mut self, weight: usize) -> Result<(), Reply> {
        let needed = u32::try_from(weight.saturating_sub(2 * FREE_BYTES).div_ceil(STEP)).unwrap_or(u32::MAX);
        let more = needed.saturating_sub(self.steps);
        if more == 0 || self.beyond.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.memory.shared);
        if let Ok(permit) = Arc::clone(&shared).try_acquire_many_owned(more) {
            self.add(permit, needed);
            return Ok(());
        }
        let beyond = Arc::clone(&self.memory.beyond).acquire_owned();
        let since = Instant::now();
        tokio::select! {
            biased;
            Ok(permit) = shared.acquire_many_owned(more) => self.add(permit, needed),
            Ok(permit) = beyond => self.beyond = Some(permit),
            () = tokio::time::sleep(self.patience) => {
                return Err(Reply::unavailable("other requests use all the memory for bodies", Duration::from_secs(2)));
            }
        }
        self.patience = self.patience.saturating_sub(since.elapsed());
        Ok(())
    }

    fn add(&mut self, permit: OwnedSemaphorePermit, needed: u32) {
        self.steps = needed;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn one_request_goes_on_beyond_the_budget_and_the_next_is_told_to_come_again() {
        // 4 MiB for all, 2 MiB set aside.
        let memory = Memory::with_patience(6 * MIB, MIB, Duration::from_millis(50));
        let mut first = memory.share();
        first.cover(FREE_BYTES).await.expect("free");
        assert_eq!(memory.shared.available_permits(), 4 * 1024);
        first.cover(MIB).await.expect("there is enough");
        first.cover(MIB / 2).await.expect("covered already");
        assert_eq!(memory.shared.available_permits(), 2 * 1024 + 128);
        let mut second = memory.share();
        second.cover(2 * MIB).await.expect("beyond");
        second.cover(3 * MIB).await.expect("still beyond");
        let mut third = memory.share();
        let refused = third.cover(2 * MIB).await.expect_err("no memory");
        assert_eq!(refused.status().as_u16(), 503);
        third.cover(FREE_BYTES).await.expect("free");
        drop(second);
        third.cover(2 * MIB).await.expect("beyond");
        drop((first, third));
        assert_eq!(memory.shared.available_permits(), 4 * 1024);
        assert_eq!(memory.beyond.available_permits(), 1);
    }

    #[tokio::test]
    async fn the_waits_of_one_request_are_counted_together() {
        let memory = Memory::with_patience(0, 0, Duration::from_millis(200));
        let beyond = Arc::clone(&memory.beyond).acquire_owned().await;
        let mut share = memory.share();
        let since = Instant::now();
        let given = Arc::clone(&memory.shared);
        let giver = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(40)).await;
                given.add_permits(1);
            }
        });
        let mut parts = 0;
        while share
            .cover_weight(2 * FREE_BYTES + (parts + 1) * STEP)
            .await
            .is_ok()
        {
            parts += 1;
        }
        giver.abort();
        assert!(parts <= 5, "{parts} parts in 200 ms, one each 40 ms");
        assert!(since.elapsed() >= Duration::from_millis(200));
        drop(beyond);
    }

    #[tokio::test]
    async fn large_requests_are_worked_on_one_after_another() {
        let memory = Memory::new(MIB, 0);
        assert!(memory.turn(FREE_BYTES).await.is_none());
        let turn = memory.turn(FREE_BYTES + 1).await;
        assert!(turn.is_some());
        assert_eq!(memory.large.available_permits(), 0);
        drop(turn);
        assert_eq!(memory.large.available_permits(), 1);
    }
}
