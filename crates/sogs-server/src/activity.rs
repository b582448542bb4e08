//! Who was seen when: collected in memory and written down every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::store::{Id, Seen};

/// Entries that wait to be written; beyond that new ones are dropped until the next writing.
const MAX_WAITING: usize = 200_000;
/// The same person in the same place is noted again only after so many seconds.
const COARSE: f64 = 60.0;

/// Collects sightings.
#[derive(Default)]
pub(crate) struct Activity {
    waiting: Mutex<HashMap<(Id, Id), f64>>,
    noted: Mutex<HashMap<(Id, Id), f64>>,
}

impl Activity {
    /// Somebody was seen, in a room or (`None`) on the server.
    pub(crate) fn note(&self, user_id: Id, room_id: Option<Id>, now: f64) {
        let key = (user_id, room_id.unwrap_or(0));
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            match noted.get_mut(&key) {
                Some(at) if now - *at < COARSE => return,
                Some(at) => *at = now,
                None => {
                    if noted.len() >= MAX_WAITING {
                        noted.clear();
                    }
                    noted.insert(key, now);
                }
            }
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.insert(key, now);
        }
    }

    /// A ban removes the activity of a user from a room: the next sighting is new.
    pub(crate) fn forget(&self, user_id: Id) {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(user, _), _| *user != user_id);
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<Seen> {
        let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        taken
            .into_iter()
            .map(|((user_id, room), at)| Seen {
                user_id,
                room_id: (room != 0).then_some(room),
                at,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sighting_is_written_once_a_minute() {
        let activity = Activity::default();
        activity.note(1, Some(2), 100.0);
        activity.note(1, Some(2), 130.0);
        activity.note(1, None, 130.0);
        assert_eq!(activity.take().len(), 2);
        activity.note(1, Some(2), 150.0);
        assert!(activity.take().is_empty());
        activity.note(1, Some(2), 170.0);
        assert_eq!(
            activity.take(),
            vec![Seen {
                user_id: 1,
                room_id: Some(2),
                at: 170.0
            }]
        );
    }
}
