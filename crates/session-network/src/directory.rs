//! The list of nodes in use, and how it is kept between runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use session_protocol::SessionId;
use session_protocol::network::nodes::{Node, NodeList};

use crate::seed::Seed;

/// Time for which a list is used before another one is fetched.
pub const LIST_LIFETIME: Duration = Duration::from_hours(2);
/// Longest time for which a list may serve while there is no new one.
pub(crate) const LONGEST_USE: Duration = Duration::from_hours(14 * 24);
/// Time to wait after a fetch that failed, or before a list is given up because no node of it answers.
const RETRY: Duration = Duration::from_mins(10);
/// Number of nodes that must say that they cannot open their layer before the list is taken to be old.
const STALE_KEYS: usize = 2;
/// Maximum number of mailboxes whose swarm was corrected.
const MAX_CORRECTIONS: usize = 256;
/// The first bytes of a saved list: the version of the format.
const MAGIC: &[u8; 4] = b"SNL2";

/// The list in use.
pub(crate) struct Directory {
    pub(crate) item: String,
    /// File in which the guard is kept.
    pub(crate) guard_item: String,
    pub(crate) list: Option<Known>,
    /// Swarms that nodes named when the list was wrong, until the next list.
    pub(crate) corrected: HashMap<SessionId, Vec<Node>>,
    /// First hops that said since the list was fetched that they cannot open their layer.
    pub(crate) stale_keys: HashSet<[u8; 32]>,
    /// Time when a fetch failed last, by the local clock, milliseconds since 1970.
    pub(crate) failed_at_ms: Option<u64>,
    pub(crate) loaded: bool,
}

pub(crate) struct Known {
    pub(crate) list: Arc<NodeList>,
    pub(crate) fetched_ms: u64,
}

impl Directory {
    /// Lists of other seeds are another item.
    pub(crate) fn new(seeds: &[Seed]) -> Self {
        let mut names: Vec<_> = seeds.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        let digest = hex::encode(&Blake2b::<U32>::digest(names.join("\n"))[..6]);
        Self {
            item: format!("nodes-{digest}"),
            guard_item: format!("guard-{digest}"),
            list: None,
            corrected: HashMap::new(),
            stale_keys: HashSet::new(),
            failed_at_ms: None,
            loaded: false,
        }
    }

    /// Returns true if a fetch failed a short time ago.
    pub(crate) fn failed_lately(&self, now_ms: u64) -> bool {
        let since = self.failed_at_ms.and_then(|at| now_ms.checked_sub(at));
        since.is_some_and(|since| Duration::from_millis(since) < RETRY)
    }

    pub(crate) fn age(&self, now_ms: u64) -> Option<Duration> {
        let known = self.list.as_ref()?;
        // A list from the future was saved before the clock was set back: its age is not known.
        now_ms.checked_sub(known.fetched_ms).map(Duration::from_millis)
    }

    /// Drops a list of which no node answers, so that the next call fetches another one; at most every ten minutes.
    pub(crate) fn distrust(&mut self, now_ms: u64) {
        if self.age(now_ms).is_none_or(|age| age > RETRY)
            && let Some(known) = &mut self.list
        {
            let old = u64::try_from(LIST_LIFETIME.as_millis()).unwrap_or(0);
            known.fetched_ms = known.fetched_ms.min(now_ms.saturating_sub(old));
        }
    }

    /// Notes a node that cannot open its layer. The list is dropped once two said so.
    pub(crate) fn note_stale_key(&mut self, node: [u8; 32], now_ms: u64) {
        if self.stale_keys.len() < STALE_KEYS {
            self.stale_keys.insert(node);
        }
        if self.stale_keys.len() >= STALE_KEYS {
            self.stale_keys.clear();
            self.distrust(now_ms);
        }
    }

    /// Remembers the swarm of a mailbox until the next list.
    pub(crate) fn correct_swarm(&mut self, id: &SessionId, nodes: Vec<Node>) {
        if self.corrected.len() >= MAX_CORRECTIONS {
            self.corrected.clear();
        }
        self.corrected.insert(*id, nodes);
    }
}

/// `SNL2`, the time of the list, the clock's offset, and the list; behind it all, a hash against damage.
pub(crate) fn encode(list: &NodeList, fetched_ms: u64, offset_ms: i64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&fetched_ms.to_be_bytes());
    bytes.extend_from_slice(&offset_ms.to_be_bytes());
    bytes.extend_from_slice(&list.to_saved());
    let hash = Blake2b::<U32>::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// The list, its time, and the clock's offset; `None` if the bytes are damaged or not of this version.
pub(crate) fn decode(bytes: &[u8]) -> Option<(NodeList, u64, i64)> {
    let (content, hash) = bytes.split_last_chunk::<32>()?;
    if Blake2b::<U32>::digest(content)[..] != hash[..] {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?;
    let (fetched_ms, rest) = rest.split_first_chunk::<8>()?;
    let (offset_ms, rest) = rest.split_first_chunk::<8>()?;
    let list = NodeList::from_saved(rest).ok()?;
    let list = (!list.nodes().is_empty()).then_some(list)?;
    Some((
        list,
        u64::from_be_bytes(*fetched_ms),
        i64::from_be_bytes(*offset_ms),
    ))
}

#[cfg(test)]
mod tests {
    use session_protocol::Identity;
    use session_protocol::network::nodes::SwarmId;

    use super::*;

    #[test]
    fn a_saved_list_is_read_again_and_damage_is_noticed() {
        let keys = Identity::from_seed([3; 32]);
        let list = NodeList::from_nodes([Node {
            ip: core::net::Ipv4Addr::new(203, 0, 113, 7),
            port: 22021,
            ed25519: *keys.ed25519_public(),
            swarm: SwarmId(7),
        }]);
        let saved = encode(&list, 1_796_000_000_000, -250);
        assert_eq!(decode(&saved), Some((list, 1_796_000_000_000, -250)));
        for at in 0..saved.len() {
            let mut damaged = saved.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&saved[..at]), None, "cut at {at}");
        }
        assert_eq!(decode(&encode(&NodeList::default(), 1, 1)), None, "an empty list");
    }

    #[test]
    fn one_node_alone_that_cannot_open_its_layer_costs_no_list() {
        let keys = Identity::from_seed([3; 32]);
        let list = NodeList::from_nodes([Node {
            ip: core::net::Ipv4Addr::new(203, 0, 113, 7),
            port: 22021,
            ed25519: *keys.ed25519_public(),
            swarm: SwarmId(7),
        }]);
        let (fetched_ms, hour_ms) = (1_796_000_000_000, 3_600_000);
        let mut directory = Directory::new(&Seed::public());
        directory.list = Some(Known {
            list: Arc::new(list),
            fetched_ms,
        });
        let now = fetched_ms + hour_ms;
        for _ in 0..5 {
            directory.note_stale_key([1; 32], now);
            assert_eq!(directory.age(now), Some(Duration::from_hours(1)));
        }
        directory.note_stale_key([2; 32], now);
        assert_eq!(directory.age(now), Some(LIST_LIFETIME));
    }

    #[test]
    fn other_seeds_have_another_list() {
        let seeds = Seed::public();
        let mut turned = seeds.clone();
        turned.reverse();
        assert_eq!(Directory::new(&seeds).item, Directory::new(&turned).item);
        assert_ne!(Directory::new(&seeds).item, Directory::new(&seeds[1..]).item);
    }
}
