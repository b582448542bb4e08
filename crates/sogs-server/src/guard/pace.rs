//! Rate limits of edits and reactions, counted in the memory of this process.
//!
//! Posts are counted in the database. Edits and reactions leave no row that could be counted there once they are
//! replaced or removed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::model::rules::Window;
use crate::store::Id;

/// Kinds of acts that are counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Paced {
    /// New content for an own post.
    Edit,
    /// A reaction given or taken back.
    Reaction,
}

type Key = (Id, Id, Paced);

/// People and rooms remembered in each of two generations.
const MAX_KEYS: usize = 20_000;
/// Most acts remembered for one person in one room; a higher limit counts as this.
const MAX_ACTS: usize = 1_000;

/// The times of recent acts by room, person and kind.
#[derive(Debug, Default)]
pub(super) struct Pace {
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, VecDeque<f64>>,
    old: HashMap<Key, VecDeque<f64>>,
}

impl Pace {
    /// Counts one act, unless a window is full.
    ///
    /// # Errors
    /// Returns the whole seconds after which the act is allowed.
    pub(super) fn take(
        &self,
        room_id: Id,
        user_id: Id,
        kind: Paced,
        windows: &[Window],
        now: f64,
    ) -> Result<(), u64> {
        let Some(most) = windows.iter().map(|window| acts(window.posts)).max() else {
            return Ok(());
        };
        let key = (room_id, user_id, kind);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old } = &mut *known;
        if young.len() >= MAX_KEYS && !young.contains_key(&key) {
            *old = std::mem::take(young);
        }
        let times = young
            .entry(key)
            .or_insert_with(|| old.remove(&key).unwrap_or_default());
        let mut wait = 0.0_f64;
        for window in windows {
            // The act that leaves the window next, when it is full.
            let filling = times
                .len()
                .checked_sub(acts(window.posts))
                .and_then(|n| times.get(n));
            if let Some(at) = filling {
                wait = wait.max(at + window.seconds - now);
            }
        }
        if wait > 0.0 {
            return Err(std::time::Duration::try_from_secs_f64(wait).map_or(1, |wait| wait.as_secs() + 1));
        }
        times.push_back(now);
        while times.len() > most {
            times.pop_front();
        }
        Ok(())
    }
}

fn acts(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(MAX_ACTS).clamp(1, MAX_ACTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(posts: u32, seconds: f64) -> Window {
        Window {
            posts,
            seconds,
            moderators_exempt: false,
        }
    }

    #[test]
    fn a_full_window_refuses_and_says_how_long() {
        let pace = Pace::default();
        let take = |user, now| pace.take(1, user, Paced::Edit, &[window(2, 60.0)], now);
        assert_eq!(take(1, 100.0), Ok(()));
        assert_eq!(take(1, 110.0), Ok(()));
        assert_eq!(take(1, 130.0), Err(31));
        assert_eq!(take(2, 130.0), Ok(()), "another person has their own limit");
        assert_eq!(
            pace.take(1, 1, Paced::Reaction, &[window(2, 60.0)], 130.0),
            Ok(())
        );
        assert_eq!(take(1, 160.0), Ok(()), "the first left the window");
        assert_eq!(take(1, 160.5), Err(10));
    }

    #[test]
    fn every_window_must_have_room_and_none_means_unlimited() {
        let pace = Pace::default();
        let both = [window(3, 10.0), window(1, 60.0)];
        assert_eq!(pace.take(1, 1, Paced::Edit, &both, 100.0), Ok(()));
        assert_eq!(pace.take(1, 1, Paced::Edit, &both, 120.0), Err(41));
        assert_eq!(pace.take(1, 1, Paced::Edit, &both, 160.0), Ok(()));
        for _ in 0..100 {
            assert_eq!(pace.take(1, 1, Paced::Edit, &[], 161.0), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let pace = Pace::default();
        for user in 0..100_000 {
            let _ = pace.take(1, user, Paced::Edit, &[window(2, 60.0)], 1.0);
        }
        for _ in 0..5_000 {
            let _ = pace.take(1, 1, Paced::Edit, &[window(u32::MAX, 0.0)], 1.0);
        }
        let known = pace.known.lock().expect("lock");
        assert!(known.young.len() + known.old.len() <= 2 * MAX_KEYS);
        assert!(known.young.values().all(|times| times.len() <= MAX_ACTS));
    }
}
