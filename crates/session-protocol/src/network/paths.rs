//! Paths through the network: which hops a call goes through, and when a path is given up.

use rand_core::CryptoRng;

use super::agreement::choose;
use super::nodes::Node;
use super::rpc::HOPS;
use crate::onion::path::Hop;

/// After how many failures a path is given up, as in Session's apps.
pub const MAX_STRIKES: u32 = 3;

/// How a path must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// How many hops it has.
    pub hops: usize,
    /// Whether no two hops may share the first three bytes of their addresses. Off for networks of tests alone.
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

/// There are too few nodes for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path needs {needed} hops and only {found} fit; refresh the list of nodes")]
pub struct NoPath {
    /// How many hops the rules ask for.
    pub needed: usize,
    /// How many were found.
    pub found: usize,
}

/// The hops of calls, and how often it failed.
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
        let mut path = Self {
            nodes: Vec::with_capacity(rules.hops.min(nodes.len())),
            strikes: 0,
        };
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
        self.nodes.iter().all(|hop| {
            hop.ed25519 != node.ed25519
                && !(rules.distinct_networks && hop.ip.octets()[..3] == node.ip.octets()[..3])
        })
    }

    /// The node to post to. `None` for a path of no hops: the destination itself.
    pub fn guard(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// The hops, the guard first.
    pub fn hops(&self) -> Vec<Hop> {
        self.nodes.iter().map(Node::as_hop).collect()
    }

    /// Whether a call to `destination` can take this path: the destination is none of the hops.
    pub fn leads_to(&self, destination: &Node) -> bool {
        !self.goes_through(&destination.ed25519)
    }

    /// Whether the node with this key is a hop. If it left the network, the path is of no use.
    pub fn goes_through(&self, ed25519: &[u8; 32]) -> bool {
        self.nodes.iter().any(|hop| hop.ed25519 == *ed25519)
    }

    /// Counts a failure. `true` if the path is to be given up.
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
            x25519: *keys.x25519_public(),
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
            let hops = path.hops();
            assert_eq!(hops.len(), 3);
            assert_eq!(path.guard().map(Node::as_hop), Some(hops[0]));
            assert!(!path.goes_through(&nodes[0].ed25519) && path.leads_to(&nodes[0]));
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
        assert!(!path.leads_to(&nodes[1]));
        let direct = PathRules { hops: 0, ..rules };
        assert_eq!(
            Path::build(&[], &direct, |_| true, &mut rng).unwrap().guard(),
            None
        );
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
