//! Service nodes, and the assignment of mailboxes to them.

use core::fmt;
use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::entries::Entries;
use crate::encoding::array_from_hex;
use crate::id::{IdError, Prefix, SessionId};
use crate::keys;
use crate::onion::path::Hop;

/// Longest list of nodes that is read, bytes. The list of 2026 has below 1 MB.
pub const MAX_LIST_LEN_BYTES: usize = 8 * 1024 * 1024;
/// Most nodes that are read of one list. The network of 2026 has about 1000.
pub const MAX_NODES: usize = 10_000;
/// Length of one node in the binary list, bytes.
pub const BINARY_NODE_LEN_BYTES: usize = 51;

/// Reason why an answer is not a valid list of nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// The list is longer than [`MAX_LIST_LEN_BYTES`].
    #[error("the list of nodes has more than {MAX_LIST_LEN_BYTES} bytes; ask another node")]
    TooLong,
    /// More than [`MAX_NODES`] nodes.
    #[error("the list has more than {MAX_NODES} nodes; ask another node")]
    TooMany,
    /// Neither JSON nor the binary list, as expected.
    #[error("the answer is not a list of nodes; ask another node")]
    Malformed,
}

/// The number of a swarm. Printed as nodes print it: hexadecimal, without leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwarmId(pub u64);

impl SwarmId {
    /// The number of nodes that belong to no swarm.
    pub const NONE: Self = Self(u64::MAX);

    /// The swarm of an account among `swarms`, which may be in any order and repeat themselves. `None` if there
    /// is no swarm, or the id is not that of an account or a group.
    ///
    /// The swarm whose number is nearest to the account's position, in a circle of 2^64; of two that are equally
    /// near, the lower.
    pub fn of(id: &SessionId, swarms: impl IntoIterator<Item = Self>) -> Option<Self> {
        if !matches!(id.prefix(), Prefix::Account | Prefix::Group) {
            return None;
        }
        let position = position(id);
        // Distance forward to each swarm; the first behind the position is the right one, the last the left one.
        let (mut right, mut left) = (None::<(u64, Self)>, None::<(u64, Self)>);
        for swarm in swarms.into_iter().filter(|swarm| *swarm != Self::NONE) {
            let forward = swarm.0.wrapping_sub(position);
            let backward = position.wrapping_sub(swarm.0);
            if right.is_none_or(|(distance, _)| forward < distance) {
                right = Some((forward, swarm));
            }
            // A swarm exactly at the position is the right one, and the left one only after a whole turn.
            if backward != 0 && left.is_none_or(|(distance, _)| backward < distance) {
                left = Some((backward, swarm));
            }
        }
        match (left, right) {
            (Some((backward, left)), Some((forward, right))) => {
                Some(if forward < backward { right } else { left })
            }
            (_, right) => right.map(|(_, swarm)| swarm),
        }
    }
}

impl fmt::Display for SwarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The exclusive-or of the key's four big-endian numbers.
fn position(id: &SessionId) -> u64 {
    id.key()
        .as_chunks::<8>()
        .0
        .iter()
        .fold(0, |position, chunk| position ^ u64::from_be_bytes(*chunk))
}

/// A service node.
///
/// Requests are sealed to the X25519 key that follows from `ed25519` ([`Node::x25519`]). It is computed at each use and kept
/// nowhere, so that no list, fresh or saved, can name another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// Address of the node.
    pub ip: Ipv4Addr,
    /// HTTPS port of the node.
    pub port: u16,
    /// Its name in the network, and the key of its receipts.
    pub ed25519: [u8; 32],
    /// Its swarm; [`SwarmId::NONE`] if it has none.
    pub swarm: SwarmId,
}

impl Node {
    /// Creates a node from its parts, with its X25519 key. Returns `None` if it cannot be reached or its key is not usable.
    fn new(ip: Ipv4Addr, port: u16, ed25519: [u8; 32], swarm: SwarmId) -> Option<(Self, [u8; 32])> {
        if ip.is_unspecified() || port == 0 {
            return None;
        }
        let node = Self {
            ip,
            port,
            ed25519,
            swarm,
        };
        Some((node, node.x25519().ok()?))
    }

    /// Computes the key that requests to this node are sealed to.
    ///
    /// # Errors
    /// [`IdError`] if the Ed25519 key is not a usable point.
    pub fn x25519(&self) -> Result<[u8; 32], IdError> {
        keys::x25519_from_ed25519(&self.ed25519)
    }

    /// Returns this node as a hop of an onion request.
    ///
    /// # Errors
    /// [`IdError`] if the Ed25519 key is not a usable point.
    pub fn as_hop(&self) -> Result<Hop, IdError> {
        Ok(Hop {
            x25519: self.x25519()?,
            ed25519: self.ed25519,
        })
    }
}

/// Nodes of the network, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeList {
    nodes: Vec<Node>,
    dropped: usize,
}

/// The fields of a node in a list. Everything is optional, so that a bad entry does not affect the others.
#[derive(Deserialize)]
struct State {
    public_ip: Option<String>,
    storage_port: Option<u16>,
    pubkey_ed25519: Option<String>,
    pubkey_x25519: Option<String>,
    swarm_id: Option<u64>,
}

/// The fields of a node in the answer to `get_swarm`, and beside status 421.
#[derive(Deserialize)]
struct SwarmNode {
    ip: Option<String>,
    port_https: Option<u16>,
    pubkey_ed25519: Option<String>,
    pubkey_x25519: Option<String>,
}

impl NodeList {
    /// Reads the answer of a seed or a node: the list is `result.service_node_states` or `service_node_states`.
    ///
    /// An entry is dropped if it lacks a field, has no address, names an X25519 key that does not follow from its
    /// Ed25519 key, or repeats an earlier one. [`NodeList::dropped`] counts them.
    pub fn from_json(text: &str) -> Result<Self, NodesError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            result: Option<States<'a>>,
            #[serde(borrow)]
            service_node_states: Option<Entries<'a, MAX_NODES>>,
        }
        #[derive(Deserialize)]
        struct States<'a> {
            #[serde(borrow)]
            service_node_states: Entries<'a, MAX_NODES>,
        }
        if text.len() > MAX_LIST_LEN_BYTES {
            return Err(NodesError::TooLong);
        }
        let answer: Answer = serde_json::from_str(text).map_err(|_| NodesError::Malformed)?;
        let states = answer
            .result
            .map(|result| result.service_node_states)
            .or(answer.service_node_states)
            .ok_or(NodesError::Malformed)?;
        Self::from_entries(&states, |entry| {
            let state: State = serde_json::from_str(entry).ok()?;
            let (node, key) = Node::new(
                state.public_ip?.parse().ok()?,
                state.storage_port?,
                array_from_hex(&state.pubkey_ed25519?)?,
                SwarmId(state.swarm_id?),
            )?;
            (array_from_hex(&state.pubkey_x25519?)? == key).then_some(node)
        })
    }

    /// Reads the binary list (`active_nodes_bin`), after base64: 51 bytes for each node.
    pub fn from_binary(bytes: &[u8]) -> Result<Self, NodesError> {
        if bytes.len() > MAX_LIST_LEN_BYTES {
            return Err(NodesError::TooLong);
        }
        let (entries, rest) = bytes.as_chunks::<BINARY_NODE_LEN_BYTES>();
        if !rest.is_empty() {
            return Err(NodesError::Malformed);
        }
        Self::collect(
            entries.len(),
            entries.iter().map(|entry| {
                let (ed25519, entry) = entry.split_first_chunk::<32>()?;
                let (swarm, entry) = entry.split_first_chunk::<8>()?;
                let (ip, entry) = entry.split_first_chunk::<4>()?;
                let (port, _) = entry.split_first_chunk::<2>()?;
                Node::new(
                    Ipv4Addr::from(*ip),
                    u16::from_be_bytes(*port),
                    *ed25519,
                    SwarmId(u64::from_be_bytes(*swarm)),
                )
                .map(|(node, _)| node)
            }),
        )
    }

    /// Reads the answer to `get_swarm`, or the body beside status 421: the nodes of one swarm.
    pub fn from_swarm_json(text: &str) -> Result<Self, NodesError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            swarm: String,
            #[serde(borrow)]
            snodes: Entries<'a, MAX_NODES>,
        }
        if text.len() > MAX_LIST_LEN_BYTES {
            return Err(NodesError::TooLong);
        }
        let answer: Answer = serde_json::from_str(text).map_err(|_| NodesError::Malformed)?;
        let swarm = u64::from_str_radix(&answer.swarm, 16)
            .map(SwarmId)
            .map_err(|_| NodesError::Malformed)?;
        Self::from_entries(&answer.snodes, |entry| {
            let state: SwarmNode = serde_json::from_str(entry).ok()?;
            let (node, key) = Node::new(
                state.ip?.parse().ok()?,
                state.port_https?,
                array_from_hex(&state.pubkey_ed25519?)?,
                swarm,
            )?;
            (array_from_hex(&state.pubkey_x25519?)? == key).then_some(node)
        })
    }

    /// These nodes, each once.
    pub(super) fn of(nodes: impl Iterator<Item = Node>) -> Self {
        let mut seen = HashSet::new();
        Self {
            nodes: nodes.filter(|node| seen.insert(node.ed25519)).collect(),
            dropped: 0,
        }
    }

    fn from_entries(
        list: &Entries<MAX_NODES>,
        read: impl Fn(&str) -> Option<Node>,
    ) -> Result<Self, NodesError> {
        if list.too_many {
            return Err(NodesError::TooMany);
        }
        Self::collect(list.kept.len(), list.kept.iter().map(|entry| read(entry.get())))
    }

    fn collect(len: usize, entries: impl Iterator<Item = Option<Node>>) -> Result<Self, NodesError> {
        if len > MAX_NODES {
            return Err(NodesError::TooMany);
        }
        let mut seen = HashSet::with_capacity(len);
        let nodes: Vec<_> = entries
            .flatten()
            .filter(|node| seen.insert(node.ed25519))
            .collect();
        Ok(Self {
            dropped: len - nodes.len(),
            nodes,
        })
    }

    /// The nodes, in the order of the list.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of entries of the list that were not usable.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The swarm that keeps the mailbox of `id`, and its nodes.
    pub fn swarm_of(&self, id: &SessionId) -> Option<(SwarmId, Vec<Node>)> {
        let swarm = SwarmId::of(id, self.nodes.iter().map(|node| node.swarm))?;
        let members = self
            .nodes
            .iter()
            .filter(|node| node.swarm == swarm)
            .copied()
            .collect();
        Some((swarm, members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> SessionId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&position.to_be_bytes());
        SessionId::new(Prefix::Account, key)
    }

    #[test]
    fn the_nearest_swarm_in_the_circle_keeps_the_mailbox() {
        let of = |position, swarms: &[u64]| {
            SwarmId::of(&at(position), swarms.iter().map(|&id| SwarmId(id))).map(|swarm| swarm.0)
        };
        assert_eq!(of(5, &[]), None);
        assert_eq!(of(5, &[u64::MAX]), None);
        assert_eq!(of(5, &[u64::MAX, 900]), Some(900));
        assert_eq!(of(5, &[5]), Some(5));
        assert_eq!(of(10, &[20, 0]), Some(0), "in the middle, the lower one");
        assert_eq!(of(11, &[0, 20]), Some(20));
        assert_eq!(of(20, &[20, 0, 20]), Some(20));
        assert_eq!(of(u64::MAX - 3, &[10, u64::MAX - 30]), Some(10), "around the end");
        assert_eq!(
            of(2, &[100, u64::MAX - 10]),
            Some(u64::MAX - 10),
            "around the start"
        );
        let blinded = SessionId::new(Prefix::Blind15, [1; 32]);
        assert_eq!(SwarmId::of(&blinded, [SwarmId(1)]), None);
    }

    /// The description of the swarm's choice, word for word.
    fn described(x: u64, swarms: &[u64]) -> u64 {
        let mut ids = swarms.to_vec();
        ids.sort_unstable();
        let right = ids.iter().position(|&id| id >= x).unwrap_or(0);
        let left = (right + ids.len() - 1) % ids.len();
        if ids[right].wrapping_sub(x) < x.wrapping_sub(ids[left]) {
            ids[right]
        } else {
            ids[left]
        }
    }

    proptest::proptest! {
        #[test]
        fn one_pass_over_the_list_finds_what_the_description_says(
            position: u64, swarms in proptest::collection::hash_set(0..u64::MAX, 1..9), near in 0usize..9,
        ) {
            let swarms: Vec<u64> = swarms.into_iter().collect();
            let exact = swarms[near % swarms.len()];
            for position in [position, exact, exact.wrapping_add(1), exact.wrapping_sub(1)] {
                // With one swarm alone and the position on it, the description's left is the swarm itself.
                let found = SwarmId::of(&at(position), swarms.iter().map(|&id| SwarmId(id)));
                proptest::prop_assert_eq!(found, Some(SwarmId(described(position, &swarms))));
            }
        }
    }
}
