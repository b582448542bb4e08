//! The nodes to trust: a list that several nodes agree on, and random choices from it.

use std::collections::HashMap;

use rand_core::CryptoRng;

use super::nodes::{Node, NodeList};

/// Number of nodes that are asked for a list; libsession asks as many.
pub const SOURCES: usize = 3;
/// Number of the sources that must name a node; libsession requires as many.
pub const PRESENCE: usize = 2;

/// The lists have too few nodes in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lists have {in_common} nodes in common, {needed} are needed; ask other nodes, or a seed if it happens again"
)]
pub struct Disagreement {
    /// Number of nodes that enough lists name.
    pub in_common: usize,
    /// Number of nodes that are needed.
    pub needed: usize,
}

/// The nodes that at least `presence` of the lists name with the same address, keys and swarm, in the order in which
/// they are met first.
///
/// A node that two lists describe differently counts once for each description. Fewer than `needed` nodes are a
/// disagreement: a list may be old, but it may also be made up.
pub fn agree(lists: &[NodeList], presence: usize, needed: usize) -> Result<NodeList, Disagreement> {
    let mut votes: HashMap<Node, usize> = HashMap::new();
    let mut order = Vec::new();
    // A list has each node once, so no list votes twice.
    for node in lists.iter().flat_map(NodeList::nodes) {
        let count = votes.entry(*node).or_insert_with(|| {
            order.push(*node);
            0
        });
        *count += 1;
    }
    let agreed = NodeList::of(order.into_iter().filter(|node| votes[node] >= presence.max(1)));
    if agreed.nodes().len() < needed.max(1) {
        return Err(Disagreement {
            in_common: agreed.nodes().len(),
            needed: needed.max(1),
        });
    }
    Ok(agreed)
}

/// Up to `count` different nodes for which `fits` holds, each choice equally likely.
pub fn choose<R: CryptoRng + ?Sized>(
    nodes: &[Node],
    count: usize,
    fits: impl Fn(&Node) -> bool,
    rng: &mut R,
) -> Vec<Node> {
    let mut left: Vec<&Node> = nodes.iter().filter(|node| fits(node)).collect();
    let mut chosen = Vec::with_capacity(count.min(left.len()));
    while chosen.len() < count && !left.is_empty() {
        chosen.push(*left.swap_remove(below(left.len(), rng)));
    }
    chosen
}

/// A number below `limit`, each equally likely.
fn below<R: CryptoRng + ?Sized>(limit: usize, rng: &mut R) -> usize {
    let limit = u64::try_from(limit).expect("no list is that long");
    // Numbers behind the last whole multiple would make the small ones likelier.
    let whole = u64::MAX - u64::MAX % limit;
    loop {
        let mut bytes = [0; 8];
        rng.fill_bytes(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        if number < whole {
            return usize::try_from(number % limit).expect("below a length");
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;
    use crate::network::paths::tests::node;

    fn list(nodes: &[Node]) -> NodeList {
        NodeList::of(nodes.iter().copied())
    }

    #[test]
    fn a_node_is_believed_if_enough_lists_say_the_same_of_it() {
        let nodes: Vec<_> = (0..6).map(|n| node(n, [10, 0, n, 1])).collect();
        let mut moved = nodes[2];
        moved.port += 1;
        let lists = [
            list(&nodes[..4]),
            list(&[nodes[1], moved, nodes[4]]),
            list(&[nodes[0], moved, nodes[3], nodes[5]]),
        ];
        let agreed = agree(&lists, PRESENCE, 3).unwrap();
        assert_eq!(agreed.nodes(), [nodes[0], nodes[1], nodes[3], moved]);
        assert_eq!(
            agree(&lists, PRESENCE, 5),
            Err(Disagreement {
                in_common: 4,
                needed: 5
            })
        );
        // One liar alone, and lists of nothing, give nothing to believe in.
        assert!(agree(&lists[..1], PRESENCE, 0).is_err());
        assert!(agree(&[], 0, 0).is_err());
    }

    #[test]
    fn two_descriptions_of_one_node_never_both_stand_in_the_list() {
        let first = node(1, [10, 0, 0, 1]);
        let second = Node {
            port: first.port + 1,
            ..first
        };
        let lists = [list(&[first]), list(&[first]), list(&[second]), list(&[second])];
        assert_eq!(agree(&lists, 2, 1).unwrap().nodes(), [first]);
    }

    #[test]
    fn choices_are_different_and_every_node_is_met() {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let nodes: Vec<_> = (0..5).map(|n| node(n, [10, 0, n, 1])).collect();
        let mut met = [0; 5];
        for _ in 0..500 {
            let chosen = choose(&nodes, 3, |node| node.port != nodes[4].port, &mut rng);
            assert_eq!(chosen.len(), 3);
            for node in &chosen {
                met[usize::from(node.port - nodes[0].port)] += 1;
                assert_eq!(chosen.iter().filter(|other| *other == node).count(), 1);
            }
        }
        // 375 are expected of each; 8 standard deviations are 77.
        assert!(
            met[..4].iter().all(|&times| (298..453).contains(&times)),
            "{met:?}"
        );
        assert_eq!(met[4], 0);
        assert_eq!(choose(&nodes, 9, |_| true, &mut rng).len(), 5);
        assert!(choose(&[], 3, |_| true, &mut rng).is_empty());
    }
}
