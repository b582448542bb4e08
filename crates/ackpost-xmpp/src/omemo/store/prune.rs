//! The limits of a state: data of strangers is removed first, then the oldest data.

use std::collections::BTreeMap;

use super::state::{
    Address, KEYS_MAX, Kept, LISTS_MAX, OTHERS_MAX, SESSIONS_MAX, STANZAS_MAX, SessionEntry, State,
};

/// Maximum number of sessions with devices of one account.
const SESSIONS_OF_ONE_MAX: usize = 200;
/// Maximum total size of the sessions of one account, in bytes. A session has some 600 bytes, and 68 more for each
/// skipped message.
const SESSIONS_OF_ONE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of sessions with strangers: accounts that no message was ever sent to. Any number of them can write
/// to us, and must displace nobody else.
const SESSIONS_OF_STRANGERS_MAX: usize = 1000;
/// Maximum total size of the sessions of strangers, in bytes.
const SESSIONS_OF_STRANGERS_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Maximum total size of all sessions, in bytes.
const SESSIONS_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Maximum number of keys of strangers that nobody decided about.
const KEYS_OF_STRANGERS_MAX: usize = 2000;
/// Maximum total size of the stanzas kept for a repetition, in bytes.
const STANZAS_MAX_BYTES: usize = 1024 * 1024;
/// Time for which a stanza is kept for a repetition, in seconds.
const STANZA_AGE_MAX: u64 = 2 * 24 * 3600;

type Sessions = BTreeMap<Address, SessionEntry>;

impl State {
    /// Removes the oldest data beyond the limits.
    pub(super) fn prune(&mut self) {
        self.prune_stanzas();
        self.prune_sessions();
        drop_oldest(&mut self.lists, LISTS_MAX, |_, lists| Some(lists.at));
        drop_oldest(&mut self.missing, OTHERS_MAX, |_, missing| Some(missing.at));
        drop_oldest(&mut self.repaired, OTHERS_MAX, |_, at| Some(*at));
        let (own, lists) = (&self.jid, &self.lists);
        drop_oldest(&mut self.keys, KEYS_OF_STRANGERS_MAX, |(jid, _), known| {
            let is_strange = jid != own && !lists.contains_key(jid) && !known.trust.is_decided();
            is_strange.then_some(known.since)
        });
        // Keys that a person decided about are kept as long as possible.
        drop_oldest(&mut self.keys, KEYS_MAX, |_, known| {
            Some(if known.trust.is_decided() {
                u64::MAX
            } else {
                known.since
            })
        });
        for set in [&mut self.answers, &mut self.repairs] {
            while set.len() > OTHERS_MAX {
                set.pop_first();
            }
        }
    }

    fn prune_stanzas(&mut self) {
        let newest = self.stanzas.iter().map(|kept| kept.at).max().unwrap_or_default();
        self.stanzas.retain(|kept| kept.at + STANZA_AGE_MAX >= newest);
        let mut bytes = self.stanzas.iter().map(Kept::len).sum::<usize>();
        while self.stanzas.len() > STANZAS_MAX || bytes > STANZAS_MAX_BYTES {
            let Some(oldest) = self.stanzas.pop_front() else {
                break;
            };
            bytes -= oldest.len();
        }
    }

    fn prune_sessions(&mut self) {
        let mut sizes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (address, entry) in &self.sessions {
            let (count, bytes) = sizes.entry(&address.jid).or_default();
            (*count, *bytes) = (*count + 1, *bytes + entry.bytes.len());
        }
        let is_crowded = |(count, bytes): &(usize, usize)| {
            *count > SESSIONS_OF_ONE_MAX || *bytes > SESSIONS_OF_ONE_MAX_BYTES
        };
        let crowded = sizes.iter().filter(|(_, size)| is_crowded(size));
        let crowded: Vec<String> = crowded.map(|(jid, _)| (*jid).to_owned()).collect();
        for jid in crowded {
            drop_sessions(
                &mut self.sessions,
                SESSIONS_OF_ONE_MAX,
                SESSIONS_OF_ONE_MAX_BYTES,
                |of| *of == *jid,
            );
        }
        // A list of devices is read before the first message to somebody, and not before.
        let (own, lists) = (&self.jid, &self.lists);
        drop_sessions(
            &mut self.sessions,
            SESSIONS_OF_STRANGERS_MAX,
            SESSIONS_OF_STRANGERS_MAX_BYTES,
            |of| of != own && !lists.contains_key(of),
        );
        drop_sessions(&mut self.sessions, SESSIONS_MAX, SESSIONS_MAX_BYTES, |_| true);
    }
}

/// Removes the sessions of these accounts that were not used for the longest time, until the rest is within the limits.
fn drop_sessions(sessions: &mut Sessions, max: usize, max_bytes: usize, of: impl Fn(&String) -> bool) {
    let (mut count, mut bytes) = (0, 0);
    for (_, entry) in sessions.iter().filter(|(address, _)| of(&address.jid)) {
        (count, bytes) = (count + 1, bytes + entry.bytes.len());
    }
    if count <= max && bytes <= max_bytes {
        return;
    }
    let found = sessions.iter().filter(|(address, _)| of(&address.jid));
    let mut oldest: Vec<_> = found
        .map(|(address, entry)| (entry.used, address.clone(), entry.bytes.len()))
        .collect();
    oldest.sort();
    for (_, address, len) in oldest {
        if count <= max && bytes <= max_bytes {
            break;
        }
        sessions.remove(&address);
        (count, bytes) = (count - 1, bytes - len);
    }
}

/// Removes the oldest of the entries that have an age, until at most `max` of them are left.
fn drop_oldest<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, max: usize, age: impl Fn(&K, &V) -> Option<u64>) {
    if map.len() <= max {
        return;
    }
    let mut ages: Vec<(u64, K)> = map
        .iter()
        .filter_map(|(key, value)| age(key, value).map(|age| (age, key.clone())))
        .collect();
    if ages.len() <= max {
        return;
    }
    ages.sort();
    for (_, key) in ages.drain(..ages.len() - max) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use ::omemo::{DeviceId, Version};
    use zeroize::Zeroizing;

    use super::super::state::{Known, Lists};
    use super::*;
    use crate::omemo::trust::Trust;

    fn address(jid: &str, device: u32) -> Address {
        Address {
            jid: jid.to_owned(),
            version: Version::Axolotl,
            device: DeviceId::new(device).unwrap(),
        }
    }

    fn session(used: u64, len: usize) -> SessionEntry {
        SessionEntry {
            used,
            confirmed: true,
            bytes: Zeroizing::new(vec![1; len]),
        }
    }

    fn key(n: u32) -> [u8; 32] {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn known(trust: Trust, since: u64) -> Known {
        Known { trust, since }
    }

    /// The sessions with a person whom we write to, and the decisions of a person, are the oldest of all.
    fn state() -> State {
        let mut state = State::new("me@x.example");
        state
            .lists
            .insert("friend@x.example".to_owned(), Lists::default());
        state
            .sessions
            .insert(address("friend@x.example", 1), session(1, 700));
        state.sessions.insert(address("me@x.example", 1), session(1, 700));
        let of_friend = ("friend@x.example".to_owned(), key(0));
        state.keys.insert(of_friend, known(Trust::Blind, 1));
        let decided = ("judged@x.example".to_owned(), key(0));
        state.keys.insert(decided, known(Trust::Distrusted, 1));
        state
    }

    fn keeps_friends(state: &State) {
        assert!(state.sessions.contains_key(&address("friend@x.example", 1)));
        assert!(state.sessions.contains_key(&address("me@x.example", 1)));
        for jid in ["friend@x.example", "judged@x.example"] {
            assert!(state.keys.contains_key(&(jid.to_owned(), key(0))), "{jid}");
        }
    }

    #[test]
    fn twenty_thousand_strangers_displace_nobody_but_strangers() {
        let mut state = state();
        for n in 1..=20_000 {
            let jid = format!("s{n}@flood.example");
            state
                .sessions
                .insert(address(&jid, n), session(9 + u64::from(n), 700));
            state
                .keys
                .insert((jid, key(n)), known(Trust::Blind, 9 + u64::from(n)));
            if n % 500 == 0 {
                state.prune();
            }
        }
        keeps_friends(&state);
        assert_eq!(state.sessions.len(), SESSIONS_OF_STRANGERS_MAX + 2);
        assert!(
            state
                .sessions
                .contains_key(&address("s20000@flood.example", 20_000)),
            "the newest stay"
        );
        assert_eq!(state.keys.len(), KEYS_OF_STRANGERS_MAX + 2);
        assert!(state.to_bytes().len() < 2 * 1024 * 1024);
    }

    #[test]
    fn skipped_messages_of_strangers_do_not_fill_the_disk() {
        let mut state = state();
        for n in 1..=60 {
            state
                .sessions
                .insert(address("one@flood.example", n), session(u64::from(n), 120_000));
            let jid = format!("s{n}@flood.example");
            state
                .sessions
                .insert(address(&jid, n), session(u64::from(n), 120_000));
            state.prune();
            let bytes: usize = state.sessions.values().map(|entry| entry.bytes.len()).sum();
            assert!(bytes <= SESSIONS_OF_STRANGERS_MAX_BYTES + 1400, "{bytes}");
        }
        keeps_friends(&state);
    }
}
