//! Paths through the network: the hops of a call, and the failures after which a path is abandoned.

use rand_core::CryptoRng;

use super::agreement::choose;
use super::nodes::Node;
use super::rpc::HOPS;
use crate::id::IdError;
use crate::onion::path::Hop;

/// Number of failures after which a path is abandoned, as in Session's apps.
pub const MAX_STRIKES: u32 = 3;

/// Requirements for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// Number of hops.
    pub hops: usize,
    /// True if no two nodes, hops or destination, may share the first three bytes of their addresses. Set it to false only in test networks.
    pub distinct_networks: bool,
}

impl Default for PathRules {
    /// Three hops in different networks, as in Session's apps.
    fn default() -> Self {
        Self {
            hops: HOPS,
            distinct_networks: true,
        }
    }
}

impl PathRules {
    /// Returns true if two nodes may both have a part in a call.
    pub fn keep_apart(&self, one: &Node, other: &Node) -> bool {
        one.ed25519 != other.ed25519
            && !(self.distinct_networks && one.ip.octets()[..3] == other.ip.octets()[..3])
    }
}

/// There are too few nodes for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path needs {needed} hops and only {found} fit; refresh the list of nodes")]
pub struct NoPath {
    /// Number of hops that the rules require.
    pub needed: usize,
    /// Number of hops that were found.
    pub found: usize,
}

/// The hops of a path and the number of its failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    nodes: Vec<Node>,
    strikes: u32,
}

impl Path {
    /// A path over random nodes for which `fits` holds.
    pub fn build<R: CryptoRng + ?Sized>(
        nodes: &[Node],
        rules: &PathRules,
        fits: impl Fn(&Node) -> bool,
        rng: &mut R,
    ) -> Result<Self, NoPath> {
        Self::build_behind(None, nodes, rules, fits, rng)
    }

    /// A path whose first hop is `guard`, if it is given and fits. The other hops are random.
    ///
    /// A client that keeps its guard shows its address to few nodes: with a new guard for each path, a node that keeps
    /// records would be the guard sooner or later.
    ///
    /// # Errors
    /// [`NoPath`] if too few nodes fit.
    pub fn build_behind<R: CryptoRng + ?Sized>(
        guard: Option<&Node>,
        nodes: &[Node],
        rules: &PathRules,
        fits: impl Fn(&Node) -> bool,
        rng: &mut R,
    ) -> Result<Self, NoPath> {
        let mut path = Self {
            nodes: Vec::with_capacity(rules.hops.min(nodes.len())),
            strikes: 0,
        };
        if rules.hops > 0 {
            path.nodes.extend(guard.copied().filter(|guard| fits(guard)));
        }
        while path.nodes.len() < rules.hops {
            let next = choose(nodes, 1, |node| fits(node) && path.takes(node, rules), rng);
            let Some(next) = next.first() else {
                return Err(NoPath {
                    needed: rules.hops,
                    found: path.nodes.len(),
                });
            };
            path.nodes.push(*next);
        }
        Ok(path)
    }

    fn takes(&self, node: &Node, rules: &PathRules) -> bool {
        self.nodes.iter().all(|hop| rules.keep_apart(hop, node))
    }

    /// The node to post to. `None` for a path of no hops: the destination itself.
    pub fn guard(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// The nodes of the path, the guard first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the hops to seal a call to, the guard first.
    ///
    /// # Errors
    /// [`IdError`] if a node has an unusable key, which only a list that was read from a damaged file can have.
    pub fn hops(&self) -> Result<Vec<Hop>, IdError> {
        self.nodes.iter().map(Node::as_hop).collect()
    }

    /// Returns true if a call to `destination` can take this path: the destination is not one of the hops, nor in the network of
    /// one, whose owner would see both the sender's address and the mailbox.
    pub fn leads_to(&self, destination: &Node, rules: &PathRules) -> bool {
        self.takes(destination, rules)
    }

    /// Returns true if the node with this key is a hop. If the node left the network, the path is of no use.
    pub fn goes_through(&self, ed25519: &[u8; 32]) -> bool {
        self.nodes.iter().any(|hop| hop.ed25519 == *ed25519)
    }

    /// Returns the number of failures since an answer came through.
    pub fn strikes(&self) -> u32 {
        self.strikes
    }

    /// Counts a failure. Returns true if the path is to be abandoned.
    pub fn strike(&mut self) -> bool {
        self.strikes = self.strikes.saturating_add(1);
        self.strikes >= MAX_STRIKES
    }

    /// Forgets earlier failures, after an answer came through.
    pub fn worked(&mut self) {
        self.strikes = 0;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use rand_core::UnwrapErr;

    use super::*;
    use crate::Identity;
    use crate::network::nodes::SwarmId;

    pub(crate) fn node(n: u8, ip: [u8; 4]) -> Node {
        let keys = Identity::from_seed([n; 32]);
        Node {
            ip: Ipv4Addr::from(ip),
            port: 1000 + u16::from(n),
            ed25519: *keys.ed25519_public(),
            swarm: SwarmId(7),
        }
    }

    #[test]
    fn hops_are_different_and_in_different_networks() {
        let mut rng = UnwrapErr(getrandom::SysRng);
        // Two nodes in each of four networks.
        let nodes: Vec<_> = (0..8).map(|n| node(n, [10, 0, n / 2, n])).collect();
        let rules = PathRules::default();
        for _ in 0..100 {
            let path = Path::build(&nodes, &rules, |node| node.port != 1000, &mut rng).unwrap();
            let hops = path.nodes();
            assert_eq!(hops.len(), 3);
            assert_eq!(path.guard(), Some(&hops[0]));
            assert!(!path.goes_through(&nodes[0].ed25519));
            for node in &nodes {
                let shares = path
                    .nodes
                    .iter()
                    .any(|hop| hop.ip.octets()[..3] == node.ip.octets()[..3]);
                assert_eq!(path.leads_to(node, &rules), !shares);
            }
            let mut networks: Vec<_> = path.nodes.iter().map(|hop| hop.ip.octets()[2]).collect();
            networks.sort_unstable();
            networks.dedup();
            assert_eq!(networks.len(), 3);
        }
        let two_networks = Path::build(&nodes[..4], &rules, |_| true, &mut rng);
        assert_eq!(two_networks, Err(NoPath { needed: 3, found: 2 }));
        let anywhere = PathRules {
            distinct_networks: false,
            ..rules
        };
        let path = Path::build(&nodes[..3], &anywhere, |_| true, &mut rng).unwrap();
        assert!(!path.leads_to(&nodes[1], &anywhere) && path.leads_to(&nodes[3], &anywhere));
        let direct = PathRules { hops: 0, ..rules };
        assert_eq!(
            Path::build(&[], &direct, |_| true, &mut rng).unwrap().guard(),
            None
        );
    }

    #[test]
    fn a_guard_that_fits_stays_the_first_hop() {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let nodes: Vec<_> = (0..6).map(|n| node(n, [10, 0, n, 1])).collect();
        let rules = PathRules::default();
        let behind = |fits: &dyn Fn(&Node) -> bool, rng: &mut _| {
            Path::build_behind(Some(&nodes[4]), &nodes, &rules, fits, rng).unwrap()
        };
        for _ in 0..50 {
            let path = behind(&|_| true, &mut rng);
            assert_eq!((path.guard(), path.nodes().len()), (Some(&nodes[4]), 3));
            let other = behind(&|node| node.port != nodes[4].port, &mut rng);
            assert!(!other.goes_through(&nodes[4].ed25519));
        }
        let direct = PathRules { hops: 0, ..rules };
        let none = Path::build_behind(Some(&nodes[4]), &nodes, &direct, |_| true, &mut rng);
        assert_eq!(none.unwrap().guard(), None);
    }

    #[test]
    fn three_failures_in_a_row_end_a_path() {
        let mut path = Path {
            nodes: Vec::new(),
            strikes: 0,
        };
        assert!(!path.strike() && !path.strike());
        path.worked();
        assert!(!path.strike() && !path.strike() && path.strike());
    }
}
