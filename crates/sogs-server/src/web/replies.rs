//! Messages that replies name, in memory: finding one reads and decodes up to 20 messages of its author.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::page::Reply;
use crate::http::response_cache::Stamp;
use crate::store::Id;

/// Replies in each of two generations; one takes some 300 bytes.
const MAX_REPLIES: usize = 4096;

/// The message that a reply names: room, author and time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ReplyKey {
    pub(super) room_id: Id,
    pub(super) user_id: Id,
    pub(super) time: u64,
}

type Known = HashMap<ReplyKey, (Stamp, Reply)>;

/// The messages that replies named, valid as long as nothing changes in their room.
#[derive(Default)]
pub struct Replies {
    /// Young and old ones.
    known: Mutex<(Known, Known)>,
}

impl Replies {
    pub(super) fn get(&self, key: &ReplyKey, stamp: Stamp) -> Option<Reply> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, reply)) = known.0.get(key) {
            return (*at == stamp).then(|| reply.clone());
        }
        let (at, reply) = known.1.remove(key)?;
        if at != stamp {
            return None;
        }
        insert(&mut known, *key, stamp, reply.clone());
        Some(reply)
    }

    pub(super) fn put(&self, key: ReplyKey, stamp: Stamp, reply: Reply) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        insert(&mut known, key, stamp, reply);
    }
}

fn insert((young, old): &mut (Known, Known), key: ReplyKey, stamp: Stamp, reply: Reply) {
    if young.len() >= MAX_REPLIES {
        *old = std::mem::take(young);
    }
    young.insert(key, (stamp, reply));
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(time: u64) -> ReplyKey {
        ReplyKey {
            room_id: 1,
            user_id: 2,
            time,
        }
    }

    #[test]
    fn a_reply_is_known_until_the_room_changes_and_the_memory_is_bounded() {
        let replies = Replies::default();
        let stamp = |seqno| Stamp { seqno, rewritten: 0 };
        replies.put(key(1), stamp(1), Reply::Missing);
        assert!(replies.get(&key(1), stamp(1)).is_some());
        assert!(replies.get(&key(1), stamp(2)).is_none() && replies.get(&key(2), stamp(1)).is_none());
        for time in 0..100_000 {
            replies.put(key(time), stamp(1), Reply::Missing);
        }
        let known = replies.known.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(known.0.len() + known.1.len() <= 2 * MAX_REPLIES);
    }
}
