//! A queue with a bounded number of items and a bounded size of them all. What finds no place is dropped and counted, and the
//! receiver learns the count in its place: before the next item, or when nothing waits any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// Maximum total size of the items that wait, in bytes.
pub(super) const WAITING_MAX_BYTES: usize = 32 * 1024 * 1024;

/// An item whose size counts.
pub(super) trait Weighed {
    /// About the number of bytes that it takes.
    fn weight(&self) -> usize;
}

#[derive(Debug, Default)]
struct Load {
    bytes: AtomicUsize,
    /// Items that were dropped since the last one that found a place.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    weight: usize,
    /// Items that were dropped before this one.
    lost: u64,
}

pub(super) struct QueueSender<T> {
    entries: mpsc::Sender<Entry<T>>,
    load: Arc<Load>,
}

#[derive(Debug)]
pub(super) struct QueueReceiver<T> {
    entries: mpsc::Receiver<Entry<T>>,
    load: Arc<Load>,
    /// The item behind a count that was just given out.
    next: Option<T>,
}

/// Output of a queue.
#[derive(Debug)]
pub(super) enum Taken<T> {
    Item(T),
    /// Number of items that were dropped at this place.
    Lost(u64),
}

/// A queue for at most `max` items.
pub(super) fn queue<T>(max: usize) -> (QueueSender<T>, QueueReceiver<T>) {
    let (sender, receiver) = mpsc::channel(max);
    let load = Arc::<Load>::default();
    (
        QueueSender {
            entries: sender,
            load: load.clone(),
        },
        QueueReceiver {
            entries: receiver,
            load,
            next: None,
        },
    )
}

impl<T: Weighed> QueueSender<T> {
    /// Puts an item in, or counts it as lost and returns false. When nobody listens any more, items are dropped.
    pub(super) fn put(&self, item: T) -> bool {
        let weight = item.weight();
        // One sender puts items in at a time, and the receiver only takes out: the sum cannot grow meanwhile.
        let waiting = self.load.bytes.load(Ordering::Acquire);
        let Some(place) = self
            .entries
            .try_reserve()
            .ok()
            .filter(|_| waiting == 0 || waiting + weight <= WAITING_MAX_BYTES)
        else {
            self.lose(1);
            return false;
        };
        self.load.bytes.fetch_add(weight, Ordering::AcqRel);
        place.send(Entry {
            item,
            weight,
            lost: self.load.lost.swap(0, Ordering::AcqRel),
        });
        true
    }

    /// Counts items that were lost before they came here.
    pub(super) fn lose(&self, count: u64) {
        self.load.lost.fetch_add(count, Ordering::AcqRel);
    }
}

impl<T> QueueReceiver<T> {
    /// Takes the next item or count; `None` when there is no sender any more. Nothing is lost if this is cancelled.
    pub(super) async fn take(&mut self) -> Option<Taken<T>> {
        if let Some(item) = self.next.take() {
            return Some(Taken::Item(item));
        }
        let entry = match self.entries.try_recv() {
            Ok(entry) => entry,
            Err(TryRecvError::Disconnected) => return self.count(),
            Err(TryRecvError::Empty) => {
                // A flood has ended, and nothing may come for hours.
                if let Some(lost) = self.count() {
                    return Some(lost);
                }
                match self.entries.recv().await {
                    Some(entry) => entry,
                    None => return self.count(),
                }
            }
        };
        self.load.bytes.fetch_sub(entry.weight, Ordering::AcqRel);
        if entry.lost > 0 {
            self.next = Some(entry.item);
            return Some(Taken::Lost(entry.lost));
        }
        Some(Taken::Item(entry.item))
    }

    fn count(&self) -> Option<Taken<T>> {
        let lost = self.load.lost.swap(0, Ordering::AcqRel);
        (lost > 0).then_some(Taken::Lost(lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    async fn drain(receiver: &mut QueueReceiver<usize>) -> (Vec<usize>, u64) {
        let (mut items, mut lost) = (Vec::new(), 0);
        while let Some(taken) = receiver.take().await {
            match taken {
                Taken::Item(item) => items.push(item),
                Taken::Lost(count) => lost += count,
            }
        }
        (items, lost)
    }

    #[tokio::test]
    async fn twenty_thousand_items_take_bounded_space_and_none_is_lost_uncounted() {
        for (weight, places) in [(1000, 8192), (250_000, WAITING_MAX_BYTES / 250_000)] {
            let (sender, mut receiver) = queue::<usize>(8192);
            for _ in 0..20_000 {
                sender.put(weight);
                assert!(sender.load.bytes.load(Ordering::Acquire) <= WAITING_MAX_BYTES);
            }
            // All that waits comes out, then the count, although nothing follows.
            for _ in 0..places {
                assert!(matches!(receiver.take().await, Some(Taken::Item(_))));
            }
            let Some(Taken::Lost(lost)) = receiver.take().await else {
                panic!("no count");
            };
            assert_eq!(lost + places as u64, 20_000);
            sender.put(weight);
            drop(sender);
            assert_eq!(drain(&mut receiver).await, (vec![weight], 0));
            assert_eq!(receiver.load.bytes.load(Ordering::Acquire), 0);
        }
    }

    #[tokio::test]
    async fn a_count_stands_where_the_items_are_missing() {
        let (sender, mut receiver) = queue::<usize>(2);
        for item in 1..=5 {
            sender.put(item);
        }
        assert!(matches!(receiver.take().await, Some(Taken::Item(1))));
        sender.put(6);
        sender.lose(1);
        drop(sender);
        assert!(matches!(receiver.take().await, Some(Taken::Item(2))));
        assert!(matches!(receiver.take().await, Some(Taken::Lost(3))));
        assert!(matches!(receiver.take().await, Some(Taken::Item(6))));
        assert!(matches!(receiver.take().await, Some(Taken::Lost(1))));
        assert!(receiver.take().await.is_none());
        let (sender, receiver) = queue::<usize>(1);
        drop(receiver);
        sender.put(1);
    }

    #[tokio::test]
    async fn an_item_beyond_the_limit_passes_alone() {
        let (sender, mut receiver) = queue::<usize>(2);
        sender.put(WAITING_MAX_BYTES + 1);
        sender.put(1);
        drop(sender);
        assert_eq!(drain(&mut receiver).await, (vec![WAITING_MAX_BYTES + 1], 1));
    }
}
