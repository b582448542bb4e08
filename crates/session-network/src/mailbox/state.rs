//! Reading state of a mailbox: a position for each node, the messages seen, and the events not yet handled.

use std::collections::{BTreeMap, HashSet, VecDeque};

use blake2::digest::consts::{U16, U32};
use blake2::{Blake2b, Digest as _};
use session_protocol::network::storage::{MAX_TTL_MS, MessageHash};

/// Maximum number of entries of readable messages, two for each. Below [`crate::MAX_ITEM_LEN_BYTES`] when saved. If there are more,
/// those with the oldest signed times are forgotten, and messages up to the last forgotten time are refused from then on
/// ([`State::is_below_floor`]): a forgotten message can never be new again.
const MAX_SEEN: usize = 300_000;
/// Part of the entries that is forgotten at once when there are too many.
const FORGOTTEN_AT_ONCE: usize = MAX_SEEN / 8;
/// Maximum number of entries of messages that are dated ahead. These go last, and could otherwise fill the memory.
const MAX_AHEAD: usize = MAX_SEEN / 4;
/// Time from which on a message is dated ahead, milliseconds: clocks of senders differ by less.
const AHEAD_MS: u64 = 2 * 60 * 1000;
/// Maximum number of unreadable entries that are remembered. Anybody can invent them, and a forgotten one is only reported again.
const MAX_UNREADABLE: usize = 1024;
/// The time in saved entries of unreadable bytes: they are forgotten by their number.
const UNREADABLE: u64 = 0;
/// Maximum number of nodes whose position is remembered.
const MAX_CURSORS: usize = 64;
/// Time for which an entry is remembered longer than its message, milliseconds: nodes differ a little.
pub(super) const LEEWAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Length of a hash as text.
const HASH_LEN_BYTES: usize = 43;
/// The first bytes: the version of the format.
const MAGIC: &[u8; 4] = b"SNB2";
/// The first bytes of a state without a floor.
const MAGIC_BEFORE: &[u8; 4] = b"SNB1";
/// The first bytes of a journal.
const JOURNAL_MAGIC: &[u8; 4] = b"SNJ1";
/// Maximum number of entries of a journal: a longer one is replaced by the whole state.
const MAX_JOURNAL: usize = 256;

type Digest = [u8; 16];

/// The entries of one event.
type Entries = Vec<(Digest, u64)>;

#[derive(Debug, Default)]
pub(crate) struct State {
    cursors: BTreeMap<[u8; 32], MessageHash>,
    seen: HashSet<Digest>,
    /// The same, in order, with the time at which each may be forgotten.
    order: VecDeque<(Digest, u64)>,
    /// Unreadable entries.
    unreadable: HashSet<Digest>,
    /// The same, the oldest first.
    unreadable_order: VecDeque<Digest>,
    /// The entries of the events that were given and not handled, the oldest event first. They are not saved.
    open: VecDeque<Entries>,
    /// The positions when no event was open. These are saved.
    settled: BTreeMap<[u8; 32], MessageHash>,
    /// The entries of handled events since the state was saved.
    journal: Entries,
    /// The latest time of an entry that was forgotten early, as in [`State::order`]. Messages up to it are not new.
    floor: u64,
    /// Number of entries that were dated ahead when entries were last forgotten, and of those that came since.
    ahead: usize,
    changed: bool,
}

/// The time at which the entry of a message is forgotten, milliseconds since 1970. It follows from the signed time, so that
/// entries in this order are in the order of their messages.
pub(super) fn forgotten_ms(signed_ms: u64) -> u64 {
    signed_ms.saturating_add(MAX_TTL_MS).saturating_add(LEEWAY_MS)
}

impl State {
    /// Remembers that the entries of an event wait until it is handled.
    pub(crate) fn open(&mut self, keys: &[&[u8]], until: u64) {
        let entries = keys.iter().map(|key| (digest(key), until)).collect();
        self.open.push_back(entries);
    }

    /// Remembers that the entry of unreadable bytes waits until it is handled.
    pub(crate) fn open_unreadable(&mut self, key: &[u8]) {
        self.open.push_back(vec![(digest(key), UNREADABLE)]);
    }

    /// Adds a saved entry. Returns false if it was there already.
    fn restore(&mut self, digest: Digest, until: u64) -> bool {
        if until == UNREADABLE {
            return self.add_unreadable(digest);
        }
        let is_new = self.seen.insert(digest);
        if is_new {
            self.order.push_back((digest, until));
        }
        is_new
    }

    fn add_unreadable(&mut self, digest: Digest) -> bool {
        if !self.unreadable.insert(digest) {
            return false;
        }
        if self.unreadable_order.len() >= MAX_UNREADABLE
            && let Some(oldest) = self.unreadable_order.pop_front()
        {
            self.unreadable.remove(&oldest);
        }
        self.unreadable_order.push_back(digest);
        true
    }

    /// Closes the oldest `count` open events.
    pub(crate) fn close(&mut self, count: usize) {
        for _ in 0..count.min(self.open.len()) {
            self.journal.extend(self.open.pop_front().into_iter().flatten());
            self.changed = true;
        }
    }

    /// Closes all open events.
    pub(crate) fn close_all(&mut self) {
        self.close(self.open.len());
    }

    /// The bytes of the journal. `None` if it is too long, and the whole state must be saved.
    pub(crate) fn journal_bytes(&self) -> Option<Vec<u8>> {
        (self.journal.len() <= MAX_JOURNAL).then(|| {
            let mut bytes = JOURNAL_MAGIC.to_vec();
            put(&mut bytes, self.journal.iter());
            seal(bytes)
        })
    }

    /// Adds the entries of a journal that was written after this state. Damaged bytes add nothing.
    pub(crate) fn add_journal(&mut self, bytes: &[u8]) {
        let entries = unseal(bytes)
            .and_then(|content| content.strip_prefix(JOURNAL_MAGIC))
            .and_then(read_entries)
            .unwrap_or_default();
        for (digest, until) in entries.into_iter().take(MAX_JOURNAL) {
            if self.restore(digest, until) {
                self.journal.push((digest, until));
            }
        }
    }

    pub(crate) fn cursor(&self, node: &[u8; 32]) -> Option<MessageHash> {
        self.cursors.get(node).copied()
    }

    pub(crate) fn set_cursor(&mut self, node: [u8; 32], hash: MessageHash) {
        if self.cursors.len() >= MAX_CURSORS && !self.cursors.contains_key(&node) {
            self.cursors.pop_first();
        }
        self.changed |= self.cursors.insert(node, hash) != Some(hash);
    }

    /// Returns true if an entry is remembered.
    pub(crate) fn knows(&self, key: &[u8]) -> bool {
        let digest = digest(key);
        self.seen.contains(&digest) || self.unreadable.contains(&digest)
    }

    fn is_full(&self) -> bool {
        self.order.len() + 2 > MAX_SEEN
    }

    /// Returns true if a message may have been forgotten early, so that nobody can tell whether it is new.
    pub(crate) fn is_below_floor(&self, signed_ms: u64) -> bool {
        forgotten_ms(signed_ms) <= self.floor
    }

    /// Returns true if a message is dated ahead, and too many of these are remembered.
    pub(crate) fn is_crowded_ahead(&self, signed_ms: u64, now_ms: u64) -> bool {
        is_ahead(forgotten_ms(signed_ms), now_ms) && self.ahead + 2 > MAX_AHEAD
    }

    /// Makes room for one more message, by forgetting the oldest ones if there are too many. Returns false if the oldest one is
    /// an event that is not handled yet.
    pub(crate) fn make_room(&mut self, now_ms: u64) -> bool {
        if !self.is_full() {
            return true;
        }
        let mut times: Vec<_> = self.order.iter().map(|(_, until)| *until).collect();
        let (_, limit, _) = times.select_nth_unstable(FORGOTTEN_AT_ONCE.min(self.order.len() - 1));
        // Messages that are signed from now on are above the floor.
        let mut floor = (*limit).min(forgotten_ms(now_ms));
        for (_, until) in self
            .open
            .iter()
            .flatten()
            .filter(|(_, until)| *until != UNREADABLE)
        {
            floor = floor.min(until.saturating_sub(1));
        }
        let before = self.order.len();
        self.drop_until(floor);
        if self.order.len() == before {
            return false;
        }
        self.floor = self.floor.max(floor);
        self.changed = true;
        true
    }

    /// Remembers the entry of unreadable bytes; `false` if it was there already.
    pub(crate) fn is_new_unreadable(&mut self, key: &[u8]) -> bool {
        let is_new = self.add_unreadable(digest(key));
        self.changed |= is_new;
        is_new
    }

    /// Remembers an entry until this time; `false` if it was there already.
    pub(crate) fn is_new(&mut self, key: &[u8], until: u64, now_ms: u64) -> bool {
        let digest = digest(key);
        if !self.seen.insert(digest) {
            return false;
        }
        self.ahead += usize::from(is_ahead(until, now_ms));
        self.order.push_back((digest, until));
        self.changed = true;
        true
    }

    /// Forgets what no node has any more.
    pub(crate) fn forget(&mut self, now_ms: u64) {
        self.drop_until(now_ms);
        let ahead = self.order.iter().filter(|(_, until)| is_ahead(*until, now_ms));
        self.ahead = ahead.count();
    }

    fn drop_until(&mut self, end_ms: u64) {
        let Self { seen, order, .. } = self;
        order.retain(|(digest, until)| {
            let keep = *until > end_ms;
            if !keep {
                seen.remove(digest);
            }
            keep
        });
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(crate) fn saved(&mut self) {
        self.changed = false;
        self.journal.clear();
        if self.open.is_empty() {
            self.settled = self.cursors.clone();
        }
    }

    /// Returns the bytes of the handled events. Open events are left out, and so are the positions behind them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let cursors = if self.open.is_empty() {
            &self.cursors
        } else {
            &self.settled
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.floor.to_be_bytes());
        bytes.push(u8::try_from(cursors.len()).unwrap_or(0));
        for (node, hash) in cursors {
            bytes.extend_from_slice(node);
            bytes.extend_from_slice(hash.to_string().as_bytes());
        }
        let open: HashSet<_> = self.open.iter().flatten().map(|(digest, _)| *digest).collect();
        let unreadable = self.unreadable_order.iter();
        let unreadable: Vec<_> = unreadable.map(|digest| (*digest, UNREADABLE)).collect();
        let entries = unreadable.iter().chain(&self.order);
        put(&mut bytes, entries.filter(|(digest, _)| !open.contains(digest)));
        seal(bytes)
    }

    /// `None` if the bytes are damaged or of another version.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let content = unseal(bytes)?;
        let (floor, rest) = if let Some(rest) = content.strip_prefix(MAGIC_BEFORE) {
            (0, rest)
        } else {
            let (floor, rest) = content.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*floor), rest)
        };
        let (&count, mut rest) = rest.split_first()?;
        let mut state = Self {
            floor,
            ..Self::default()
        };
        for _ in 0..count {
            let (node, after) = rest.split_first_chunk::<32>()?;
            let (hash, after) = after.split_first_chunk::<HASH_LEN_BYTES>()?;
            let hash = core::str::from_utf8(hash).ok()?.parse().ok()?;
            state.cursors.insert(*node, hash);
            rest = after;
        }
        let entries = read_entries(rest)?;
        // A journal may have added its entries to a full memory.
        if entries.len() > MAX_SEEN + MAX_UNREADABLE + MAX_JOURNAL || state.cursors.len() > MAX_CURSORS {
            return None;
        }
        for (digest, until) in entries {
            state.restore(digest, until);
        }
        state.settled = state.cursors.clone();
        Some(state)
    }
}

fn is_ahead(until: u64, now_ms: u64) -> bool {
    until > forgotten_ms(now_ms.saturating_add(AHEAD_MS))
}

fn digest(key: &[u8]) -> Digest {
    Blake2b::<U16>::digest(key).into()
}

fn put<'a>(bytes: &mut Vec<u8>, entries: impl Iterator<Item = &'a (Digest, u64)>) {
    for (digest, until) in entries {
        bytes.extend_from_slice(digest);
        bytes.extend_from_slice(&until.to_be_bytes());
    }
}

fn read_entries(bytes: &[u8]) -> Option<Entries> {
    let (entries, rest) = bytes.as_chunks::<24>();
    if !rest.is_empty() {
        return None;
    }
    let entry = |entry: &[u8; 24]| {
        let (digest, until) = entry.split_first_chunk::<16>()?;
        Some((*digest, u64::from_be_bytes(until.try_into().ok()?)))
    };
    entries.iter().map(entry).collect()
}

/// Adds a hash against damage.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = Blake2b::<U32>::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// The bytes before the hash. `None` if they are damaged.
fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, hash) = bytes.split_last_chunk::<32>()?;
    (Blake2b::<U32>::digest(content)[..] == hash[..]).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_protocol::network::storage::Namespace;
    use session_protocol::{Prefix, SessionId};

    #[test]
    fn the_state_survives_saving_and_damage_is_noticed() {
        let id = SessionId::new(Prefix::Account, [5; 32]);
        let hash = MessageHash::of(&id, Namespace::DEFAULT, b"one");
        let mut state = State::default();
        assert!(state.is_new(b"a", 1000, 1) && state.is_new(b"b", 3000, 1) && !state.is_new(b"a", 1, 1));
        state.set_cursor([7; 32], hash);
        let saved = state.to_bytes();
        let mut again = State::from_bytes(&saved).expect("readable");
        assert!(!again.is_changed());
        assert_eq!(again.cursor(&[7; 32]), Some(hash));
        assert!(!again.is_new(b"a", 1, 1) && !again.is_new(b"b", 1, 1));
        again.forget(2000);
        assert!(again.is_new(b"a", 1, 1) && !again.is_new(b"b", 1, 1));
        for at in 0..saved.len() {
            let mut damaged = saved.clone();
            damaged[at] ^= 1;
            assert!(State::from_bytes(&damaged).is_none(), "byte {at}");
        }
    }

    #[test]
    fn open_events_are_not_saved_and_neither_are_the_positions_behind_them() {
        let id = SessionId::new(Prefix::Account, [5; 32]);
        let hash = |text: &[u8]| MessageHash::of(&id, Namespace::DEFAULT, text);
        let mut state = State::default();
        state.set_cursor([7; 32], hash(b"before"));
        state.saved();
        for key in [b"a", b"b", b"c"] {
            assert!(state.is_new(key, 1000, 1));
            state.open(&[key], 1000);
        }
        state.set_cursor([7; 32], hash(b"behind"));
        state.close(1);
        let mut again = State::from_bytes(&state.to_bytes()).expect("readable");
        assert_eq!(again.cursor(&[7; 32]), Some(hash(b"before")));
        assert!(!again.is_new(b"a", 1, 1) && again.is_new(b"b", 1, 1) && again.is_new(b"c", 1, 1));
        // The journal has the events handled since, and nothing else.
        state.saved();
        state.close(1);
        let journal = state.journal_bytes().expect("short");
        let mut again = State::from_bytes(&state.to_bytes()).expect("readable");
        again.add_journal(&journal);
        assert!(!again.is_new(b"b", 1, 1) && again.is_new(b"c", 1, 1));
        for at in 0..journal.len() {
            let mut damaged = journal.clone();
            damaged[at] ^= 1;
            let mut other = State::default();
            other.add_journal(&damaged);
            assert!(other.is_new(b"b", 1, 1), "byte {at}");
        }
        state.close_all();
        let again = State::from_bytes(&state.to_bytes()).expect("readable");
        assert_eq!(again.cursor(&[7; 32]), Some(hash(b"behind")));
        for n in 0..=MAX_JOURNAL {
            state.open(&[&n.to_be_bytes()], 1000);
        }
        state.close_all();
        assert_eq!(state.journal_bytes(), None, "too long");
    }

    #[test]
    fn memory_is_bounded() {
        let id = SessionId::new(Prefix::Account, [5; 32]);
        let hash = MessageHash::of(&id, Namespace::DEFAULT, b"one");
        let mut state = State::default();
        let mut count = 0_u64;
        while !state.is_full() {
            for _ in 0..2 {
                assert!(state.is_new(&count.to_be_bytes(), u64::MAX, 1));
                count += 1;
            }
        }
        for n in 0..(MAX_UNREADABLE as u64 * 3) {
            assert!(state.is_new_unreadable(format!("bytes {n}").as_bytes()));
        }
        assert!(
            (0..count).all(|n| state.knows(&n.to_be_bytes())),
            "no entry goes before its time"
        );
        assert_eq!(state.unreadable.len(), MAX_UNREADABLE);
        for n in 0..=255 {
            state.set_cursor([n; 32], hash);
        }
        assert_eq!((state.seen.len(), state.order.len()), (MAX_SEEN, MAX_SEEN));
        assert_eq!(state.cursors.len(), MAX_CURSORS);
        let saved = state.to_bytes();
        assert!(saved.len() <= crate::MAX_ITEM_LEN_BYTES);
        let mut again = State::from_bytes(&saved).expect("readable");
        assert_eq!(
            (again.seen.len(), again.unreadable.len()),
            (MAX_SEEN, MAX_UNREADABLE)
        );
        again.forget(1);
        assert_eq!(again.to_bytes(), saved);
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_never_takes_them_for_new() {
        const NOW: u64 = 1_796_000_000_000;
        let mut state = State::default();
        let first = NOW - 7 * 24 * 3_600_000;
        let add = |state: &mut State, signed_ms: u64| {
            let until = forgotten_ms(signed_ms);
            for part in [b"hash", b"time"] {
                assert!(state.is_new(&[&part[..], &signed_ms.to_be_bytes()].concat(), until, NOW));
            }
        };
        let count = MAX_SEEN as u64 / 2;
        for n in 0..count {
            assert!(state.make_room(NOW));
            add(&mut state, first + n);
        }
        assert!(!state.is_below_floor(first));
        assert!(state.make_room(NOW));
        assert!(state.order.len() < MAX_SEEN);
        let forgotten = first + count / 8;
        assert!(state.is_below_floor(first) && state.is_below_floor(forgotten));
        assert!(!state.is_below_floor(forgotten + 1) && !state.is_below_floor(NOW));
        let again = State::from_bytes(&state.to_bytes()).expect("readable");
        assert!(again.is_below_floor(forgotten) && !again.is_below_floor(forgotten + 1));
        // An event that is not handled yet is not forgotten, nor is anything after it.
        while !state.is_full() {
            let next = first + count + state.order.len() as u64;
            add(&mut state, next);
        }
        state.open(&[b"open"], forgotten_ms(forgotten + 1));
        assert!(!state.make_room(NOW), "messages wait");
        state.close_all();
        assert!(state.make_room(NOW));
    }

    #[test]
    fn messages_that_are_dated_ahead_fill_a_quarter_and_raise_no_floor() {
        const NOW: u64 = 1_796_000_000_000;
        let ahead = NOW + 23 * 3_600_000;
        let mut state = State::default();
        let mut n = 0_u64;
        while !state.is_crowded_ahead(ahead, NOW) {
            n += 1;
            assert!(state.is_new(&n.to_be_bytes(), forgotten_ms(ahead), NOW));
        }
        assert!(state.order.len() <= MAX_AHEAD);
        assert!(!state.is_crowded_ahead(NOW, NOW), "messages of now come");
        while !state.is_full() {
            n += 1;
            assert!(state.is_new(&n.to_be_bytes(), forgotten_ms(NOW - n), NOW));
        }
        assert!(state.make_room(NOW));
        assert!(!state.is_below_floor(NOW + 1));
        // They are counted anew as time goes by.
        state.forget(NOW);
        assert!(state.is_crowded_ahead(ahead, NOW) || state.ahead + 2 <= MAX_AHEAD);
        state.forget(ahead);
        assert_eq!(state.ahead, 0);
    }

    #[test]
    fn a_state_of_the_version_before_is_read() {
        let mut bytes = MAGIC_BEFORE.to_vec();
        bytes.push(0);
        put(&mut bytes, [(digest(b"a"), 1000)].iter());
        let state = State::from_bytes(&seal(bytes)).expect("readable");
        assert!(state.knows(b"a") && !state.is_below_floor(0));
    }

    #[test]
    fn a_full_memory_with_a_journal_is_read_again() {
        let mut state = State::default();
        let mut n = 0_u64;
        while !state.is_full() {
            n += 1;
            assert!(state.is_new(&n.to_be_bytes(), u64::MAX, 1));
        }
        for n in 0..MAX_UNREADABLE {
            assert!(state.is_new_unreadable(&n.to_be_bytes()[1..]));
        }
        let mut handled = State::default();
        for n in 0..MAX_JOURNAL as u64 {
            handled.open(&[&[&b"journal"[..], &n.to_be_bytes()].concat()], u64::MAX);
        }
        handled.close_all();
        state.add_journal(&handled.journal_bytes().expect("short"));
        let saved = state.to_bytes();
        assert!(saved.len() <= crate::MAX_ITEM_LEN_BYTES);
        assert!(State::from_bytes(&saved).is_some());
    }

    #[test]
    fn unreadable_entries_survive_saving_and_the_journal() {
        let mut state = State::default();
        for key in [b"a", b"b"] {
            assert!(state.is_new_unreadable(key) && !state.is_new_unreadable(key));
            state.open_unreadable(key);
        }
        let mut again = State::from_bytes(&state.to_bytes()).expect("readable");
        assert!(!again.knows(b"a"), "not handled yet");
        state.close(1);
        again.add_journal(&state.journal_bytes().expect("short"));
        assert!(again.knows(b"a") && !again.knows(b"b"));
        state.close_all();
        let mut again = State::from_bytes(&state.to_bytes()).expect("readable");
        again.forget(u64::MAX - 1);
        assert!(again.knows(b"a") && again.knows(b"b"));
    }
}
