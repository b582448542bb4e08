//! The memory for bodies and large answers: one budget for all connections, however many there are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::reply::Refusal;

/// Bytes of a body that need no share.
pub(super) const SMALL_BODY: usize = 8 * 1024;
/// Bytes of an answer that need no share: more than a page of messages has.
pub(crate) const SMALL_ANSWER: usize = 256 * 1024;
/// How long a request waits for all parts of its share together.
const WAIT: Duration = Duration::from_secs(5);

/// A request's share of the memory.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    budget: &'a Arc<Semaphore>,
    /// What needs no share.
    free: usize,
    permit: Option<OwnedSemaphorePermit>,
    kib: u32,
    /// What is left of [`WAIT`].
    patience: Duration,
}

impl<'a> Share<'a> {
    /// Nothing yet.
    pub(crate) fn new(budget: &'a Arc<Semaphore>, free: usize) -> Self {
        Self {
            budget,
            free,
            permit: None,
            kib: 0,
            patience: WAIT,
        }
    }

    /// Takes what so many bytes need, or 503 when others hold it for too long.
    pub(crate) async fn cover(&mut self, length: usize) -> Result<(), Refusal> {
        let needed = u32::try_from(length.saturating_sub(self.free).div_ceil(1024)).unwrap_or(u32::MAX);
        let more = needed.saturating_sub(self.kib);
        if more == 0 {
            return Ok(());
        }
        let busy = || Refusal::text(503, "The server is busy; please try again later");
        let since = Instant::now();
        let permit = tokio::time::timeout(self.patience, Arc::clone(self.budget).acquire_many_owned(more))
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        self.patience = self.patience.saturating_sub(since.elapsed());
        self.kib = needed;
        match &mut self.permit {
            Some(share) => share.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }

    /// The bytes that were covered: the share is given back when they are gone.
    pub(crate) fn hold(self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        match self.permit {
            Some(permit) => Bytes::from_owner(Held {
                bytes,
                _permit: permit,
            }),
            None => bytes,
        }
    }
}

struct Held {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_comes_back_with_the_last_of_its_bytes() {
        let budget = Arc::new(Semaphore::new(100));
        let mut share = Share::new(&budget, 1024);
        share.cover(1024).await.expect("free");
        assert_eq!(budget.available_permits(), 100);
        share.cover(11 * 1024).await.expect("there is enough");
        share.cover(5 * 1024).await.expect("covered already");
        assert_eq!(budget.available_permits(), 90);
        let held = share.hold(vec![7; 11 * 1024]);
        let again = held.slice(..10);
        drop(held);
        assert_eq!(budget.available_permits(), 90);
        drop(again);
        assert_eq!(budget.available_permits(), 100);
    }

    #[tokio::test]
    async fn whoever_finds_no_memory_waits_until_others_give_theirs_back() {
        let budget = Arc::new(Semaphore::new(100));
        let mut first = Share::new(&budget, 0);
        first.cover(80 * 1024).await.expect("there is enough");
        let mut second = Share::new(&budget, 0);
        let waiting = tokio::time::timeout(Duration::from_millis(20), second.cover(30 * 1024));
        assert!(waiting.await.is_err(), "it waits");
        drop(first);
        second.cover(30 * 1024).await.expect("there is enough again");
        assert_eq!(budget.available_permits(), 70);
    }

    #[tokio::test]
    async fn the_waits_of_one_request_are_counted_together() {
        let budget = Arc::new(Semaphore::new(0));
        let mut share = Share::new(&budget, 0);
        share.patience = Duration::from_millis(200);
        let since = Instant::now();
        let given = Arc::clone(&budget);
        let giver = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(40)).await;
                given.add_permits(1);
            }
        });
        let mut parts = 0;
        while share.cover((parts + 1) * 1024).await.is_ok() {
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
