//! A list of nodes as bytes, to be kept between runs.
//!
//! 46 bytes for each node: Ed25519 key, swarm, address, port; all numbers big-endian. X25519 keys are not kept: they follow
//! from the Ed25519 keys, and a damaged file must not make requests go under another key.

use core::net::Ipv4Addr;

use super::nodes::{MAX_NODES, Node, NodeList, NodesError, SwarmId};

/// Length of one saved node, bytes.
const SAVED_NODE_LEN_BYTES: usize = 32 + 8 + 4 + 2;

impl NodeList {
    /// Returns the list of these nodes; a node whose Ed25519 key was met before is left out.
    pub fn from_nodes(nodes: impl IntoIterator<Item = Node>) -> Self {
        Self::of(nodes.into_iter())
    }

    /// Writes the list for [`NodeList::from_saved`].
    pub fn to_saved(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.nodes().len() * SAVED_NODE_LEN_BYTES);
        for node in self.nodes() {
            bytes.extend_from_slice(&node.ed25519);
            bytes.extend_from_slice(&node.swarm.0.to_be_bytes());
            bytes.extend_from_slice(&node.ip.octets());
            bytes.extend_from_slice(&node.port.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`NodeList::to_saved`] wrote. Ed25519 keys are read as they are: an unusable one fails when a request is
    /// sealed to it. The list says which nodes are believed, so the bytes must come from a place that nobody else can write.
    ///
    /// # Errors
    /// [`NodesError`] if the bytes have another length than a list, or hold too many nodes.
    pub fn from_saved(bytes: &[u8]) -> Result<Self, NodesError> {
        let (entries, rest) = bytes.as_chunks::<SAVED_NODE_LEN_BYTES>();
        if !rest.is_empty() {
            return Err(NodesError::Malformed);
        }
        if entries.len() > MAX_NODES {
            return Err(NodesError::TooMany);
        }
        let nodes = entries.iter().map(|entry| {
            let (ed25519, entry) = entry.split_first_chunk::<32>()?;
            let (swarm, entry) = entry.split_first_chunk::<8>()?;
            let (ip, entry) = entry.split_first_chunk::<4>()?;
            let (port, _) = entry.split_first_chunk::<2>()?;
            Some(Node {
                ip: Ipv4Addr::from(*ip),
                port: u16::from_be_bytes(*port),
                ed25519: *ed25519,
                swarm: SwarmId(u64::from_be_bytes(*swarm)),
            })
        });
        Ok(Self::of(nodes.flatten()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::paths::tests::node;

    #[test]
    fn no_saved_key_can_differ_from_the_one_that_follows_from_the_name() {
        let node = node(1, [10, 0, 0, 1]);
        let saved = NodeList::from_nodes([node]).to_saved();
        let key = node.x25519().unwrap();
        assert!(!saved.windows(32).any(|part| part == key), "the key is not kept");
        // A file with an Ed25519 key that is no point is read, and no request goes to that node.
        let mut damaged = saved;
        damaged[..32].fill(0xff);
        let list = NodeList::from_saved(&damaged).unwrap();
        assert!(list.nodes()[0].x25519().is_err() && list.nodes()[0].as_hop().is_err());
    }

    #[test]
    fn a_list_survives_saving() {
        let list = NodeList::from_nodes((0..5).map(|n| node(n, [10, 0, n, 1])));
        let saved = list.to_saved();
        assert_eq!(NodeList::from_saved(&saved), Ok(list));
        assert_eq!(
            NodeList::from_saved(&saved[1..]),
            Err(NodesError::Malformed),
            "cut"
        );
        let long = vec![1; (MAX_NODES + 1) * SAVED_NODE_LEN_BYTES];
        assert_eq!(NodeList::from_saved(&long), Err(NodesError::TooMany));
    }
}
