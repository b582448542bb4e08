//! Fair shares: how many deliveries at once one account, one origin and all guests may take up.
//!
//! A target that does not answer takes up its slot until the attempt times out. Without shares, one message to many
//! such targets takes up every slot, and nobody else's messages go out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::seal::AtRestCipher;
use super::transport::Destination;

/// Whom a lane counts for. The names are keyed hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// The account that sends.
    pub(crate) account: Option<Vec<u8>>,
    /// The origin of a message whose URL somebody else handed over; `None` for the operator's own.
    pub(crate) origin: Option<Vec<u8>>,
}

impl Shares {
    /// Returns whom the lane of a destination counts for.
    pub(crate) fn of(seal: &AtRestCipher, destination: &Destination, origin: Option<&str>) -> Self {
        let account = [
            destination
                .guest
                .map_or(b"account".as_slice(), |_| b"account of a guest"),
            destination.service.as_bytes(),
            destination.url_id.as_bytes(),
        ];
        let origin = origin.unwrap_or_default().as_bytes();
        Self {
            account: Some(seal.name(&account)),
            origin: destination.guest.map(|_| seal.name(&[b"guests of", origin])),
        }
    }
}

/// Groups that have all the slots they may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct FullGroups {
    pub(crate) accounts: Vec<Vec<u8>>,
    pub(crate) origins: Vec<Vec<u8>>,
    pub(crate) guests: bool,
}

impl FullGroups {
    /// Returns true if any group has its full share.
    pub(crate) fn any(&self) -> bool {
        self.guests || !self.accounts.is_empty() || !self.origins.is_empty()
    }
}

/// The slots of one worker.
#[derive(Debug)]
pub(crate) struct Slots {
    lanes: usize,
    taken: Mutex<TakenSlots>,
}

#[derive(Debug, Default)]
struct TakenSlots {
    accounts: GroupCounts,
    origins: GroupCounts,
    guests: usize,
}

/// Slots taken by each group of a kind.
type GroupCounts = HashMap<Vec<u8>, Count>;

#[derive(Debug)]
struct Count {
    taken: usize,
    most: usize,
}

fn add(counts: &mut GroupCounts, name: &[u8], most: usize) {
    let count = counts.entry(name.to_vec()).or_insert(Count { taken: 0, most });
    count.taken += 1;
}

fn give_back(counts: &mut GroupCounts, name: &[u8]) {
    if let Some(count) = counts.get_mut(name) {
        count.taken -= 1;
        if count.taken == 0 {
            counts.remove(name);
        }
    }
}

/// One slot; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    shares: Shares,
}

impl Slots {
    /// Returns the slots of a worker that sends to so many targets at the same time.
    pub(crate) fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self {
            lanes: lanes.max(1),
            taken: Mutex::default(),
        })
    }

    /// Three quarters, for one account of the operator; a quarter for one that somebody else handed over.
    fn of_account(&self, is_guest: bool) -> usize {
        let quarters = if is_guest { 1 } else { 3 };
        (self.lanes * quarters / 4).max(1)
    }

    /// Three quarters, for all guests of one origin.
    fn of_origin(&self) -> usize {
        (self.lanes * 3 / 4).max(1)
    }

    /// Seven eighths, for all guests together.
    fn of_guests(&self) -> usize {
        (self.lanes * 7 / 8).max(1)
    }

    /// Takes a slot, unless one of the groups has its full share.
    pub(crate) fn take(self: &Arc<Self>, shares: &Shares) -> Option<Slot> {
        let mut taken = self.lock();
        let is_guest = shares.origin.is_some();
        let of = |counts: &GroupCounts, name: &Option<Vec<u8>>| {
            let count = name.as_ref().and_then(|name| counts.get(name));
            count.map_or(0, |count| count.taken)
        };
        if of(&taken.accounts, &shares.account) >= self.of_account(is_guest)
            || of(&taken.origins, &shares.origin) >= self.of_origin()
            || (is_guest && taken.guests >= self.of_guests())
        {
            return None;
        }
        if let Some(account) = &shares.account {
            add(&mut taken.accounts, account, self.of_account(is_guest));
        }
        if let Some(origin) = &shares.origin {
            add(&mut taken.origins, origin, self.of_origin());
            taken.guests += 1;
        }
        Some(Slot {
            slots: Arc::clone(self),
            shares: shares.clone(),
        })
    }

    /// Returns the groups that have their full share.
    pub(crate) fn full(&self) -> FullGroups {
        let taken = self.lock();
        let full = |counts: &GroupCounts| {
            let full = counts.iter().filter(|(_, count)| count.taken >= count.most);
            full.map(|(name, _)| name.clone()).collect()
        };
        FullGroups {
            accounts: full(&taken.accounts),
            origins: full(&taken.origins),
            guests: taken.guests >= self.of_guests(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, TakenSlots> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        if let Some(account) = &self.shares.account {
            give_back(&mut taken.accounts, account);
        }
        if let Some(origin) = &self.shares.origin {
            give_back(&mut taken.origins, origin);
            taken.guests -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(account: u8, origin: Option<u8>) -> Shares {
        Shares {
            account: Some(vec![account]),
            origin: origin.map(|origin| vec![origin]),
        }
    }

    fn count(slots: &Arc<Slots>, each: impl Fn(u8) -> Shares) -> Vec<Slot> {
        (0..16).map_while(|n| slots.take(&each(n))).collect()
    }

    #[test]
    fn nobody_takes_up_every_slot() {
        let slots = Slots::new(16);
        let account = count(&slots, |_| shares(1, None));
        assert_eq!(account.len(), 12, "one account of the operator");
        assert_eq!(slots.full().accounts, [vec![1]]);
        assert!(slots.take(&shares(2, None)).is_some());
        drop(account);
        assert!(!slots.full().any());
        let account = count(&slots, |_| shares(101, Some(1)));
        assert_eq!(account.len(), 4, "one account of a guest");
        let origin = count(&slots, |n| shares(n, Some(1)));
        assert_eq!(account.len() + origin.len(), 12, "one origin with many accounts");
        let guests = count(&slots, |n| shares(200 + n, Some(2)));
        assert_eq!(guests.len(), 2, "all guests together have 14");
        assert!(slots.full().guests);
        assert!(slots.take(&shares(99, Some(3))).is_none());
        assert!(slots.take(&shares(99, None)).is_some());
        drop((account, origin, guests));
        assert!(!slots.full().any());
    }

    #[test]
    fn one_lane_is_enough_for_everybody() {
        let slots = Slots::new(1);
        let only = slots.take(&shares(1, Some(1))).expect("a slot");
        assert!(slots.take(&shares(1, None)).is_none());
        drop(only);
        assert!(slots.take(&shares(1, None)).is_some());
    }
}
