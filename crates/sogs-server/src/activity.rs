//! Activity of people: collected in memory and written every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::cache::User;
use crate::store::{Id, LastSeen};

/// Entries that wait to be written; beyond that new ones are dropped until the next writing.
const MAX_WAITING: usize = 200_000;
/// Seconds after which the same person in the same place is noted again.
const COARSE: f64 = 60.0;

/// Seconds after which a person who is still here gets a row in the database, to be counted as active.
const STAYS: f64 = 60.0;
/// Seconds without activity after which a person without a row is forgotten.
const LEFT: f64 = 600.0;
/// People without a row that are watched at a time.
const MAX_VISITORS: usize = 50_000;

/// A person without a row.
struct Visitor {
    first: f64,
    last: f64,
    /// The room that was looked at last.
    room: Option<Id>,
}

/// A person who stays and has no row yet.
#[derive(Debug, PartialEq)]
pub(crate) struct Stayed {
    /// The id they use.
    pub(crate) name: String,
    /// Time of arrival (Unix seconds).
    pub(crate) since: f64,
    /// Time of the latest visit (Unix seconds).
    pub(crate) seen: f64,
    /// The room that they looked at last.
    pub(crate) room: Option<Id>,
}

/// Collects when people were seen.
#[derive(Default)]
pub(crate) struct Activity {
    visitors: Mutex<HashMap<String, Visitor>>,
    waiting: Mutex<HashMap<(Id, Id), f64>>,
    noted: Mutex<HashMap<(Id, Id), f64>>,
}

impl Activity {
    /// Notes a person who was seen, in a room or (`None`) on the server.
    ///
    /// A person without a row gets none for a single visit. One who is seen again a minute later stays, and is one of
    /// [`Activity::stayed`].
    pub(crate) fn see(&self, user: &User, room_id: Option<Id>, now: f64) {
        if user.is_known() {
            self.note(user.row.id, room_id, now);
            return;
        }
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(visitor) = visitors.get_mut(&user.name) {
            visitor.last = now;
            visitor.room = room_id.or(visitor.room);
        } else if visitors.len() < MAX_VISITORS {
            let visitor = Visitor {
                first: now,
                last: now,
                room: room_id,
            };
            visitors.insert(user.name.clone(), visitor);
        }
    }

    /// Returns true if a person without a row was here a moment ago.
    pub(crate) fn is_visiting(&self, name: &str) -> bool {
        let visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        visitors.contains_key(name)
    }

    /// Returns the people without a row who stay, and forgets those who left.
    pub(crate) fn stayed(&self, now: f64) -> Vec<Stayed> {
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stayed = Vec::new();
        visitors.retain(|name, visitor| {
            let stays = visitor.last - visitor.first >= STAYS;
            if stays {
                stayed.push(Stayed {
                    name: name.clone(),
                    since: visitor.first,
                    seen: visitor.last,
                    room: visitor.room,
                });
            }
            !stays && (now - visitor.last).abs() < LEFT
        });
        stayed
    }

    /// Notes that a person with a row was seen, in a room or (`None`) on the server.
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

    /// Forgets when a user was seen: a ban removes their activity from a room, and the next visit counts as new.
    pub(crate) fn forget(&self, user_id: Id) {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(user, _), _| *user != user_id);
    }

    /// Takes the entries that wait to be written.
    pub(crate) fn take(&self) -> Vec<LastSeen> {
        let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        taken
            .into_iter()
            .map(|((user_id, room), at)| LastSeen {
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
            vec![LastSeen {
                user_id: 1,
                room_id: Some(2),
                at: 170.0
            }]
        );
    }
}
