//! Memory for bodies and large answers: one budget for all connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Total time that one request waits for memory.
const WAIT: Duration = Duration::from_secs(5);
/// Unit of the budget, bytes.
const STEP: usize = 1024;

/// A number of bytes that all requests share.
#[derive(Debug)]
pub struct MemoryBudget {
    /// Size of the budget.
    bytes: usize,
    shared: Arc<Semaphore>,
    /// Held by the one request that goes on beyond the budget.
    overflow: Option<Arc<Semaphore>>,
    wait: Duration,
}

/// The part of a [`MemoryBudget`] that one request holds; given back when it is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    budget: Arc<MemoryBudget>,
    /// Bytes that are not counted.
    free: usize,
    held: Option<OwnedSemaphorePermit>,
    steps: u32,
    overflow: Option<OwnedSemaphorePermit>,
    /// Rest of the time that this request may wait. A large body asks for memory many times.
    wait: Duration,
}

/// Other requests held the memory for longer than a request may wait. A later try may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("other requests use all the memory for bodies")
    }
}

impl std::error::Error for OutOfMemory {}

impl MemoryBudget {
    /// A budget of `bytes`. A request that finds no memory waits up to 5 seconds in all.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes,
            shared: Arc::new(Semaphore::new((bytes / STEP).min(Semaphore::MAX_PERMITS))),
            overflow: None,
            wait: WAIT,
        }
    }

    /// Lets one request at a time go on beyond the budget, so that half-received bodies never block each other.
    #[must_use]
    pub fn with_overflow(mut self) -> Self {
        self.overflow = Some(Arc::new(Semaphore::new(1)));
        self
    }

    /// Sets the time that one request waits for memory, in all.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Returns the time that one request waits for memory, in all.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns the size of the budget in bytes.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes that nobody holds.
    pub fn available(&self) -> usize {
        self.shared.available_permits() * STEP
    }

    /// Returns a permit that holds nothing yet. Its first `free` bytes are not counted.
    pub fn permit(self: &Arc<Self>, free: usize) -> MemoryPermit {
        MemoryPermit {
            budget: Arc::clone(self),
            free,
            held: None,
            steps: 0,
            overflow: None,
            wait: self.wait,
        }
    }
}

impl MemoryPermit {
    /// Makes the permit large enough for `bytes`.
    ///
    /// # Errors
    /// [`OutOfMemory`] when others hold the memory for too long.
    pub async fn cover(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let needed = self.steps_for(bytes);
        let more = needed.saturating_sub(self.steps);
        if more == 0 || self.overflow.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.budget.shared);
        if let Ok(permit) = Arc::clone(&shared).try_acquire_many_owned(more) {
            self.add(permit, needed);
            return Ok(());
        }
        let overflow = self.budget.overflow.clone();
        let overflow = async {
            match overflow {
                Some(overflow) => overflow.acquire_owned().await,
                None => std::future::pending().await,
            }
        };
        let since = Instant::now();
        tokio::select! {
            biased;
            Ok(permit) = shared.acquire_many_owned(more) => self.add(permit, needed),
            Ok(permit) = overflow => self.overflow = Some(permit),
            () = tokio::time::sleep(self.wait) => return Err(OutOfMemory),
        }
        self.wait = self.wait.saturating_sub(since.elapsed());
        Ok(())
    }

    /// Gives back what is not needed for `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let needed = self.steps_for(bytes);
        let surplus = self.steps.saturating_sub(needed);
        let surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
        if let Some(held) = &mut self.held
            && let Some(given_back) = held.split(surplus)
        {
            drop(given_back);
            self.steps = self.steps.min(needed);
        }
    }

    fn steps_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.saturating_sub(self.free).div_ceil(STEP)).unwrap_or(u32::MAX)
    }

    /// Ties the permit to the bytes that it covers: it is given back when the last of them is dropped.
    pub fn hold(self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        if self.held.is_none() && self.overflow.is_none() {
            return bytes;
        }
        Bytes::from_owner(Held { bytes, _permit: self })
    }

    fn add(&mut self, permit: OwnedSemaphorePermit, needed: u32) {
        self.steps = needed;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
    }
}

struct Held {
    bytes: Bytes,
    _permit: MemoryPermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn budget(bytes: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget::new(bytes).with_wait(Duration::from_millis(200)))
    }

    #[tokio::test]
    async fn a_permit_comes_back_with_the_last_of_its_bytes() {
        let budget = budget(100 * KIB);
        let mut permit = budget.permit(KIB);
        permit.cover(KIB).await.expect("not counted");
        assert_eq!(budget.available(), 100 * KIB);
        permit.cover(11 * KIB).await.expect("there is enough");
        permit.cover(5 * KIB).await.expect("covered already");
        assert_eq!(budget.available(), 90 * KIB);
        let held = permit.hold(vec![7; 11 * KIB]);
        let slice = held.slice(..10);
        drop(held);
        assert_eq!(budget.available(), 90 * KIB);
        drop(slice);
        assert_eq!(budget.available(), 100 * KIB);
    }

    #[tokio::test]
    async fn a_permit_gives_back_what_is_no_longer_needed() {
        let budget = budget(100 * KIB);
        let mut permit = budget.permit(KIB);
        permit.cover(61 * KIB).await.expect("there is enough");
        permit.shrink(11 * KIB);
        assert_eq!(budget.available(), 90 * KIB);
        permit.shrink(40 * KIB);
        assert_eq!(budget.available(), 90 * KIB, "it never grows");
        permit.cover(21 * KIB).await.expect("there is enough");
        assert_eq!(budget.available(), 80 * KIB);
        permit.shrink(0);
        drop(permit.hold(vec![7; KIB]));
        assert_eq!(budget.available(), 100 * KIB);
    }

    #[tokio::test]
    async fn a_request_waits_until_others_give_memory_back() {
        let budget = budget(100 * KIB);
        let mut first = budget.permit(0);
        first.cover(80 * KIB).await.expect("there is enough");
        let mut second = budget.permit(0);
        let waiting = tokio::time::timeout(Duration::from_millis(20), second.cover(30 * KIB));
        assert!(waiting.await.is_err(), "it waits");
        drop(first);
        second.cover(30 * KIB).await.expect("there is enough again");
        assert_eq!(budget.available(), 70 * KIB);
    }

    #[tokio::test]
    async fn one_request_goes_on_beyond_the_budget_and_the_next_is_refused() {
        let budget = Arc::new(
            MemoryBudget::new(4 * KIB)
                .with_overflow()
                .with_wait(Duration::from_millis(50)),
        );
        let mut first = budget.permit(0);
        first.cover(3 * KIB).await.expect("there is enough");
        let mut second = budget.permit(0);
        second.cover(2 * KIB).await.expect("beyond");
        second.cover(3 * KIB).await.expect("still beyond");
        let mut third = budget.permit(KIB);
        assert_eq!(third.cover(3 * KIB).await, Err(OutOfMemory));
        third.cover(KIB).await.expect("not counted");
        drop(second);
        let mut fourth = budget.permit(0);
        fourth.cover(2 * KIB).await.expect("beyond");
        drop((first, fourth));
        assert_eq!(budget.available(), 4 * KIB);
    }

    #[tokio::test]
    async fn the_waits_of_one_request_are_counted_together() {
        let budget = budget(0);
        let mut permit = budget.permit(0);
        let since = Instant::now();
        let given = Arc::clone(&budget.shared);
        let giver = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(40)).await;
                given.add_permits(1);
            }
        });
        let mut parts = 0;
        while permit.cover((parts + 1) * KIB).await.is_ok() {
            parts += 1;
        }
        giver.abort();
        assert!(
            (1..=5).contains(&parts),
            "{parts} parts in 200 ms, one each 40 ms"
        );
        assert!(since.elapsed() >= Duration::from_millis(200));
    }
}
