//! Events that were missed: the newest of them, and every removal.

use std::collections::VecDeque;

/// Maximum number of removals that are kept. They are small.
const REMOVALS_MAX: usize = 10_000;

/// The events that were missed, oldest first, while they are still being read.
///
/// A removal that is left out would leave spam on the other side for good, so removals do not count against the bound.
pub(crate) struct Backlog<E> {
    events: VecDeque<E>,
    removals: usize,
    most: usize,
    is_removal: fn(&E) -> bool,
}

impl<E> Backlog<E> {
    pub(crate) fn new(most: usize, is_removal: fn(&E) -> bool) -> Self {
        Self {
            events: VecDeque::new(),
            removals: 0,
            most,
            is_removal,
        }
    }

    /// Adds an event. Returns the one that is left out for it.
    pub(crate) fn push(&mut self, event: E) -> Option<E> {
        let is_removal = (self.is_removal)(&event);
        self.removals += usize::from(is_removal);
        self.events.push_back(event);
        let is_full = if is_removal {
            self.removals > REMOVALS_MAX
        } else {
            self.events.len() - self.removals > self.most
        };
        if !is_full {
            return None;
        }
        let oldest = self
            .events
            .iter()
            .position(|event| (self.is_removal)(event) == is_removal)?;
        self.removals -= usize::from(is_removal);
        self.events.remove(oldest)
    }

    /// Takes all events out, oldest first.
    pub(crate) fn take(&mut self) -> VecDeque<E> {
        self.removals = 0;
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_stay_when_many_messages_follow() {
        let mut backlog = Backlog::new(3, |event: &i32| *event < 0);
        let mut left_out = Vec::new();
        for event in [1, -1, 2, -2, 3, 4, 5] {
            left_out.extend(backlog.push(event));
        }
        assert_eq!(left_out, [1, 2]);
        assert_eq!(backlog.take(), [-1, -2, 3, 4, 5]);
        assert_eq!(backlog.push(6), None);
        assert_eq!(backlog.take(), [6]);
    }

    #[test]
    fn removals_have_a_bound_of_their_own() {
        let mut backlog = Backlog::new(3, |event: &i32| *event < 0);
        backlog.push(1);
        for removal in 1..=10_000 {
            assert_eq!(backlog.push(-removal), None);
        }
        assert_eq!(backlog.push(-10_001), Some(-1));
        assert_eq!(backlog.take().len(), 10_001);
    }
}
