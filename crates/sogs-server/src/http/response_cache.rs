//! Rendered pages of messages in memory.
//!
//! A page looks the same to everybody of a rank, except to those who take part in it: recipients of whispers, and
//! people who reacted (`you`). An answer is kept with the people for whom it would differ, and is valid as long as
//! the room's counters have not changed since it was rendered.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::cache::Room;
use crate::store::{Id, Page};

/// Key of a cached page: what was asked, and by which rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    pub(crate) room_id: Id,
    pub(crate) page: Page,
    pub(crate) limit: i64,
    pub(crate) reactors: i64,
    pub(crate) moderator: bool,
}

/// The room's counters when a page was rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) seqno: i64,
    pub(crate) rewritten: u64,
}

impl Stamp {
    /// The counters as they are now.
    pub(crate) fn of(room: &Room) -> Self {
        Self {
            seqno: room.live.seqno.load(Ordering::Acquire),
            rewritten: room.live.rewritten.load(Ordering::Acquire),
        }
    }
}

/// People for whom an answer is not valid.
#[derive(Debug, Clone)]
pub(crate) enum Except {
    /// The users with these numbers.
    Users(HashSet<Id>),
    /// Everybody with an id: too many take part to tell them apart.
    Known,
}

#[derive(Debug, Clone)]
struct Answer {
    stamp: Stamp,
    body: Bytes,
    except: Arc<Except>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<PageKey, Answer>,
    old: HashMap<PageKey, Answer>,
    young_bytes: usize,
}

/// The answers of one process.
pub(crate) struct ResponseCache {
    generations: Mutex<Generations>,
    /// Half of the budget: there are two generations.
    half: usize,
    /// Locks under which one request renders a page; the others wait and find it in the cache.
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// Memory that an entry takes beside its body, in bytes.
const OVERHEAD: usize = 256;

impl ResponseCache {
    pub(crate) fn new(budget: usize) -> Self {
        let turns = (0..64).map(|_| tokio::sync::Mutex::new(())).collect();
        Self {
            generations: Mutex::default(),
            half: (budget / 2).max(4096),
            turns,
        }
    }

    /// The answer for this user, if it is in memory and still holds.
    pub(crate) fn get(&self, question: &PageKey, stamp: Stamp, user: Option<Id>) -> Option<Bytes> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |answer: &Answer| {
            answer.stamp == stamp
                && match (&*answer.except, user) {
                    (_, None) => true,
                    (Except::Known, Some(_)) => false,
                    (Except::Users(users), Some(user)) => !users.contains(&user),
                }
        };
        if let Some(answer) = generations.young.get(question) {
            return fits(answer).then(|| answer.body.clone());
        }
        let answer = generations
            .old
            .get(question)
            .filter(|answer| fits(answer))?
            .clone();
        let body = answer.body.clone();
        generations.old.remove(question);
        generations.insert(*question, answer, self.half);
        Some(body)
    }

    /// Keeps an answer.
    pub(crate) fn put(&self, question: PageKey, stamp: Stamp, body: Bytes, except: Except) {
        if body.len() > self.half / 4 {
            return;
        }
        let answer = Answer {
            stamp,
            body,
            except: Arc::new(except),
        };
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(question, answer, self.half);
    }

    /// Returns the lock that is held while a request renders an answer to the same question.
    pub(crate) fn turn(&self, question: &PageKey) -> &tokio::sync::Mutex<()> {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(question);
        &self.turns[usize::try_from(hash % self.turns.len() as u64).unwrap_or(0)]
    }
}

impl Generations {
    fn insert(&mut self, question: PageKey, answer: Answer, half: usize) {
        let cost = |answer: &Answer| {
            let people = match &*answer.except {
                Except::Users(users) => users.len() * 16,
                Except::Known => 0,
            };
            answer.body.len() + people + OVERHEAD
        };
        let added = cost(&answer);
        if self.young_bytes + added > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += added;
        if let Some(replaced) = self.young.insert(question, answer) {
            self.young_bytes = self.young_bytes.saturating_sub(cost(&replaced));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        seqno: 5,
        rewritten: 0,
    };

    fn question(n: i64) -> PageKey {
        PageKey {
            room_id: 1,
            page: Page::Before(n),
            limit: 100,
            reactors: 4,
            moderator: false,
        }
    }

    #[test]
    fn an_answer_holds_for_others_until_the_room_changes() {
        let answers = ResponseCache::new(1_000_000);
        answers.put(
            question(1),
            STAMP,
            Bytes::from_static(b"[1]"),
            Except::Users(HashSet::from([7])),
        );
        assert!(answers.get(&question(1), STAMP, None).is_some());
        assert!(answers.get(&question(1), STAMP, Some(8)).is_some());
        assert!(answers.get(&question(1), STAMP, Some(7)).is_none());
        assert!(
            answers
                .get(&question(1), Stamp { seqno: 6, ..STAMP }, None)
                .is_none()
        );
        assert!(
            answers
                .get(
                    &question(1),
                    Stamp {
                        rewritten: 1,
                        ..STAMP
                    },
                    None
                )
                .is_none()
        );
    }

    #[test]
    fn memory_is_bounded() {
        let answers = ResponseCache::new(100_000);
        for n in 0..10_000 {
            answers.put(question(n), STAMP, Bytes::from(vec![0; 1000]), Except::Known);
        }
        let generations = answers.generations.lock().unwrap();
        let kept: usize = generations
            .young
            .values()
            .chain(generations.old.values())
            .map(|a| a.body.len())
            .sum();
        assert!(kept <= 100_000 && kept > 10_000);
    }
}
