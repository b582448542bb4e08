//! The paths in use, their guard, and the nodes that do not work.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use rand_core::CryptoRng;
use session_protocol::network::nodes::{Node, NodeList};
use session_protocol::network::paths::{NoPath, Path, PathRules};

/// Time for which a path is used, as in Session's apps.
const PATH_LIFETIME: Duration = Duration::from_mins(10);
/// Maximum number of paths at a time; Session's apps have two.
const MAX_PATHS: usize = 2;
/// Time for which a node that failed is left alone.
const AVOID: Duration = Duration::from_mins(10);
/// Maximum number of nodes that are avoided.
const MAX_AVOIDED: usize = 512;

/// Number of failures after which a guard is replaced.
const MAX_GUARD_STRIKES: u8 = 3;
/// Number of paths behind a guard that must work to make up for one failure: one that fails more often than that goes, however
/// the failures are spread.
const PATHS_FOR_A_STRIKE: u8 = 4;
/// Number of destinations that must fail behind a guard, with none that works in between, before paths go without it.
const MAX_SILENT_DESTINATIONS: usize = 2;
/// Time for which a guard is kept, over all runs.
const GUARD_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// The first bytes of a kept guard: the version of the format.
const MAGIC: &[u8; 4] = b"SNG1";

/// The first hop of our paths, which sees our address. Keeping it shows the address to few nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guard {
    key: [u8; 32],
    /// Time since which it is our guard, by the local clock, milliseconds since 1970.
    since_ms: u64,
    /// Number of failures behind it, less those that it made up for. Other nodes may have been the cause.
    strikes: u8,
    /// Number of paths behind it that worked since, while there are strikes.
    worked: u8,
}

impl Guard {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.since_ms.to_be_bytes());
        bytes.extend([self.strikes, self.worked]);
        let hash = Blake2b::<U32>::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// `None` if the bytes are damaged or of another version.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, hash) = bytes.split_last_chunk::<32>()?;
        let (key, rest) = content.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
        let (since_ms, rest) = rest.split_first_chunk::<8>()?;
        // Earlier versions wrote the strikes alone.
        let (strikes, worked) = match *rest {
            [strikes] => (strikes, 0),
            [strikes, worked] => (strikes, worked),
            _ => return None,
        };
        let is_whole = Blake2b::<U32>::digest(content)[..] == hash[..];
        is_whole.then_some(Self {
            key: *key,
            since_ms: u64::from_be_bytes(*since_ms),
            strikes,
            worked,
        })
    }

    fn is_old(self, now_ms: u64) -> bool {
        // One from the future was chosen before the clock was set back: its age is not known.
        let age = now_ms.checked_sub(self.since_ms).map(Duration::from_millis);
        age.is_none_or(|age| age > GUARD_LIFETIME)
    }
}

pub(crate) struct Routes {
    rules: PathRules,
    guard: Option<Guard>,
    /// True if the guard differs from the kept one.
    guard_changed: bool,
    /// True if the last path behind the guard failed. The failure counts once another path works: without a connection
    /// to the network every path fails, and no guard is the cause.
    guard_suspected: bool,
    /// The destinations that failed behind the guard since one answered. `None` stands for a server outside the network.
    silent: Vec<Option<[u8; 32]>>,
    paths: Vec<(Path, Instant)>,
    avoided: HashMap<[u8; 32], Instant>,
}

impl Routes {
    pub(crate) fn new(rules: PathRules) -> Self {
        Self {
            rules,
            guard: None,
            guard_changed: false,
            guard_suspected: false,
            silent: Vec::new(),
            paths: Vec::new(),
            avoided: HashMap::new(),
        }
    }

    /// Uses a guard of an earlier run.
    pub(crate) fn set_guard(&mut self, guard: Option<Guard>) {
        self.guard = guard;
    }

    /// Returns the guard if it is to be kept. Later calls return `None` until it changes again.
    pub(crate) fn changed_guard(&mut self) -> Option<Guard> {
        core::mem::take(&mut self.guard_changed)
            .then_some(self.guard)
            .flatten()
    }

    /// Leaves a node alone for a while, and every path through it.
    pub(crate) fn avoid(&mut self, node: [u8; 32]) {
        if self.avoided.len() >= MAX_AVOIDED {
            self.avoided.clear();
        }
        self.avoided.insert(node, Instant::now());
        self.paths.retain(|(path, _)| !path.goes_through(&node));
    }

    /// Returns true if a node is left alone.
    pub(crate) fn is_avoided(&self, node: &[u8; 32]) -> bool {
        self.avoided
            .get(node)
            .is_some_and(|since| since.elapsed() < AVOID)
    }

    /// Forgets paths through nodes that a new list does not have, and the nodes that were left alone.
    pub(crate) fn renew(&mut self, list: &NodeList) {
        self.avoided.clear();
        let known: std::collections::HashSet<_> = list.nodes().iter().map(|node| node.ed25519).collect();
        self.paths
            .retain(|(path, _)| path.nodes().iter().all(|hop| known.contains(&hop.ed25519)));
    }

    /// A path to this node, or out of the network, in use already or made over random nodes. It shares no hop but the guard with
    /// `failed`, if there are enough nodes: another first hop would see our address, and the guard may not be the cause.
    pub(crate) fn path_to<R: CryptoRng + ?Sized>(
        &mut self,
        destination: Option<&Node>,
        failed: Option<&Path>,
        list: &NodeList,
        now_ms: u64,
        rng: &mut R,
    ) -> Result<Path, NoPath> {
        self.paths.retain(|(_, since)| since.elapsed() < PATH_LIFETIME);
        let kept_guard = self.guard.map(|guard| guard.key);
        let is_apart = |key: &[u8; 32]| {
            kept_guard == Some(*key) || failed.is_none_or(|failed| !failed.goes_through(key))
        };
        let serves = |path: &&Path| {
            destination.is_none_or(|node| path.leads_to(node, &self.rules))
                && path.nodes().iter().all(|hop| is_apart(&hop.ed25519))
        };
        let in_use = self.paths.iter().map(|(path, _)| path).filter(serves);
        if let Some(path) = in_use.min_by_key(|path| path.strikes()) {
            return Ok(path.clone());
        }
        let is_dismissed = |guard: &Guard| guard.strikes >= MAX_GUARD_STRIKES;
        let dismissed = self.guard.filter(is_dismissed).map(|guard| guard.key);
        let fits = |node: &Node| destination.is_none_or(|to| self.rules.keep_apart(node, to));
        let healthy = |node: &Node| {
            let key = node.ed25519;
            fits(node) && !self.is_avoided(&key) && is_apart(&key) && dismissed != Some(key)
        };
        let known = |guard: &Guard| {
            let mut nodes = list.nodes().iter();
            nodes.find(|node| node.ed25519 == guard.key).copied()
        };
        let usable = |guard: &Guard| !guard.is_old(now_ms) && !is_dismissed(guard);
        let guard = self.guard.filter(usable).and_then(|guard| known(&guard));
        let built = Path::build_behind(guard.as_ref(), list.nodes(), &self.rules, healthy, rng);
        let path = if let Ok(path) = built {
            path
        } else {
            // Too few nodes are left: nodes that failed before are used again.
            let guard = guard.filter(|guard| !self.is_avoided(&guard.ed25519));
            Path::build_behind(guard.as_ref(), list.nodes(), &self.rules, fits, rng)?
        };
        if guard.is_none()
            && let Some(first) = path.guard()
        {
            self.guard = Some(Guard {
                key: first.ed25519,
                since_ms: now_ms,
                strikes: 0,
                worked: 0,
            });
            self.silent.clear();
            self.guard_changed = true;
        }
        if self.paths.len() >= MAX_PATHS {
            self.paths.remove(0);
        }
        self.paths.push((path.clone(), Instant::now()));
        Ok(path)
    }

    /// Counts a failure of a path, and gives it up after three, or at once if it is `certain`.
    pub(crate) fn strike(&mut self, path: &Path, certain: bool) {
        let hops = path.nodes();
        self.paths
            .retain_mut(|(known, _)| known.nodes() != hops || !(known.strike() || certain));
    }

    /// Notes that a call to this node, or out of the network, failed on a path. The destination may be the cause as well as any hop;
    /// once two different ones failed behind the guard, paths go without it for a while. If these work, that counts against it.
    pub(crate) fn destination_failed(&mut self, path: &Path, destination: Option<[u8; 32]>) {
        let Some(guard) = self.guard.filter(|_| self.is_behind_guard(path)) else {
            return;
        };
        if !self.silent.contains(&destination) {
            self.silent.push(destination);
        }
        if self.silent.len() >= MAX_SILENT_DESTINATIONS {
            self.silent.clear();
            self.guard_suspected = true;
            self.avoid(guard.key);
        }
    }

    /// Notes that no connection to the guard of a path could be made, or that it broke.
    pub(crate) fn guard_failed(&mut self, path: &Path) {
        self.guard_suspected |= self.is_behind_guard(path);
        if let Some(guard) = path.guard() {
            self.avoid(guard.ed25519);
        }
    }

    /// Returns true if our guard is the first hop of this path.
    fn is_behind_guard(&self, path: &Path) -> bool {
        let guard = self.guard.map(|guard| guard.key);
        guard.is_some() && path.guard().map(|first| first.ed25519) == guard
    }

    /// Forgets the failures of a path. Counts the one of the guard if this path goes without it, and makes up for failures of the
    /// guard if this path goes behind it.
    pub(crate) fn worked(&mut self, path: &Path) {
        let is_behind_guard = self.is_behind_guard(path);
        let is_suspected = core::mem::take(&mut self.guard_suspected);
        if is_behind_guard {
            self.silent.clear();
        }
        if let Some(guard) = &mut self.guard {
            let before = *guard;
            match (is_behind_guard, is_suspected) {
                (true, _) if guard.strikes > 0 => guard.worked += 1,
                (false, true) => guard.strikes = guard.strikes.saturating_add(1),
                _ => {}
            }
            if guard.worked >= PATHS_FOR_A_STRIKE {
                guard.worked = 0;
                guard.strikes = guard.strikes.saturating_sub(1);
            }
            self.guard_changed |= *guard != before;
        }
        let hops = path.nodes();
        if let Some((known, _)) = self.paths.iter_mut().find(|(known, _)| known.nodes() == hops) {
            known.worked();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use getrandom::SysRng;
    use rand_core::UnwrapErr;
    use session_protocol::Identity;
    use session_protocol::network::nodes::SwarmId;

    use super::*;

    const NOW: u64 = 1_796_000_000_000;

    pub(crate) fn nodes(count: u8) -> NodeList {
        NodeList::from_nodes((0..count).map(|n| {
            let keys = Identity::from_seed([n + 1; 32]);
            Node {
                ip: core::net::Ipv4Addr::new(10, 0, n, 1),
                port: 22021,
                ed25519: *keys.ed25519_public(),
                swarm: SwarmId(7),
            }
        }))
    }

    #[test]
    fn paths_share_a_guard_until_it_fails_or_gets_old() {
        let (list, rng) = (nodes(12), &mut UnwrapErr(SysRng));
        let run = |guard| {
            let mut routes = Routes::new(PathRules::default());
            routes.set_guard(guard);
            routes
        };
        let mut routes = run(None);
        let first = routes
            .path_to(Some(&list.nodes()[0]), None, &list, NOW, rng)
            .expect("a path");
        let guard = routes.changed_guard().expect("a new guard");
        assert_eq!(first.guard().map(|node| node.ed25519), Some(guard.key));
        assert_eq!(routes.changed_guard(), None, "kept once");
        for n in 0..12 {
            // Another run, and another destination. A guard that is the destination stays the guard of other paths.
            let (mut routes, to) = (run(Some(guard)), list.nodes()[n]);
            let path = routes
                .path_to(Some(&to), None, &list, NOW + 5, rng)
                .expect("a path");
            let is_guard = path.guard().map(|node| node.ed25519) == Some(guard.key);
            assert_eq!(is_guard, to.ed25519 != guard.key);
            assert_eq!(routes.changed_guard(), None);
        }
        let to = list
            .nodes()
            .iter()
            .find(|node| node.ed25519 != guard.key)
            .expect("another");
        let mut routes = run(Some(guard));
        routes.avoid(guard.key);
        let path = routes.path_to(Some(to), None, &list, NOW, rng).expect("a path");
        assert!(!path.goes_through(&guard.key));
        assert_eq!(routes.changed_guard(), None, "it stays the guard");
        for later in [NOW - 1, NOW + 31 * 24 * 3_600_000] {
            let mut routes = run(Some(guard));
            routes.path_to(Some(to), None, &list, later, rng).expect("a path");
            assert!(routes.changed_guard().is_some_and(|new| new.since_ms == later));
        }
    }

    #[test]
    fn a_guard_is_replaced_after_three_failures_while_other_paths_work() {
        let (list, rng) = (nodes(12), &mut UnwrapErr(SysRng));
        let run = |guard| {
            let mut routes = Routes::new(PathRules::default());
            routes.set_guard(guard);
            routes
        };
        let to = &list.nodes()[0];
        let guard = Guard {
            key: list.nodes()[1].ed25519,
            since_ms: NOW,
            strikes: 0,
            worked: 0,
        };
        // Any hop may be the cause of a failure: a guard goes after three, and the next path avoids it once two destinations
        // failed behind it.
        let mut kept = guard;
        for strikes in 1..=MAX_GUARD_STRIKES {
            let mut routes = run(Some(kept));
            let failed = routes.path_to(Some(to), None, &list, NOW, rng).expect("a path");
            assert!(failed.goes_through(&guard.key));
            for destination in [2, 2, 3] {
                routes.strike(&failed, true);
                assert!(!routes.is_avoided(&guard.key), "one destination alone");
                routes.destination_failed(&failed, Some(list.nodes()[destination].ed25519));
            }
            assert_eq!(routes.changed_guard(), None, "the network may be away");
            let other = routes
                .path_to(Some(to), Some(&failed), &list, NOW, rng)
                .expect("a path");
            assert!(other.nodes().iter().all(|hop| !failed.goes_through(&hop.ed25519)));
            routes.worked(&other);
            kept = routes.changed_guard().expect("struck");
            assert_eq!((kept.key, kept.strikes), (guard.key, strikes));
        }
        for _ in 0..40 {
            let mut routes = run(Some(kept));
            routes.path_to(Some(to), None, &list, NOW, rng).expect("a path");
            let new = routes.changed_guard().expect("another guard");
            assert!(new.strikes == 0 && new.key != guard.key);
        }
    }

    #[test]
    fn a_guard_that_fails_more_than_one_call_in_five_is_replaced() {
        let (list, rng) = (nodes(12), &mut UnwrapErr(SysRng));
        let to = &list.nodes()[0];
        for (good, replaced) in [(1, true), (3, true), (5, false)] {
            let mut routes = Routes::new(PathRules::default());
            let guard = Guard {
                key: list.nodes()[1].ed25519,
                since_ms: NOW,
                strikes: 0,
                worked: 0,
            };
            routes.set_guard(Some(guard));
            for _ in 0..40 {
                for _ in 0..good {
                    let path = routes.path_to(Some(to), None, &list, NOW, rng).expect("a path");
                    routes.worked(&path);
                }
                let path = routes.path_to(Some(to), None, &list, NOW, rng).expect("a path");
                for destination in [2, 3] {
                    routes.destination_failed(&path, Some(list.nodes()[destination].ed25519));
                }
                let other = routes
                    .path_to(Some(to), Some(&path), &list, NOW, rng)
                    .expect("a path");
                routes.worked(&other);
                // The time for which it is left alone is over.
                routes.avoided.clear();
                routes.paths.clear();
            }
            let now = routes.guard.expect("a guard").key;
            assert_eq!(now != guard.key, replaced, "{good} good paths for each bad one");
        }
    }

    #[test]
    fn no_hop_is_in_the_network_of_the_destination() {
        let rng = &mut UnwrapErr(SysRng);
        let mut all = nodes(12).nodes().to_vec();
        for (n, node) in all.iter_mut().enumerate() {
            node.ip = core::net::Ipv4Addr::new(
                10,
                0,
                u8::try_from(n / 2).expect("small"),
                u8::try_from(n).expect("small"),
            );
        }
        let list = NodeList::from_nodes(all);
        for _ in 0..20 {
            let mut routes = Routes::new(PathRules::default());
            for to in list.nodes() {
                let path = routes.path_to(Some(to), None, &list, NOW, rng).expect("a path");
                let neighbour = list
                    .nodes()
                    .iter()
                    .find(|node| node.ed25519 != to.ed25519 && node.ip.octets()[2] == to.ip.octets()[2])
                    .expect("two in each network");
                assert!(!path.goes_through(&neighbour.ed25519));
            }
        }
    }

    #[test]
    fn a_path_is_given_up_after_three_failures_or_at_a_certain_one() {
        let (list, rng) = (nodes(12), &mut UnwrapErr(SysRng));
        let to = list.nodes()[0];
        let mut routes = Routes::new(PathRules::default());
        let mut path = |routes: &mut Routes, failed: Option<&Path>| {
            let path = routes.path_to(Some(&to), failed, &list, NOW, rng);
            path.expect("a path")
        };
        let first = path(&mut routes, None);
        for _ in 0..2 {
            routes.strike(&first, false);
            assert_eq!(path(&mut routes, None).nodes(), first.nodes(), "two failures");
        }
        // The call that failed goes another way, and so do later ones while that works.
        let second = path(&mut routes, Some(&first));
        let shared = second
            .nodes()
            .iter()
            .copied()
            .filter(|hop| first.goes_through(&hop.ed25519));
        assert_eq!(
            shared.collect::<Vec<_>>(),
            [*second.guard().expect("a guard")],
            "the guard alone"
        );
        assert_eq!(second.guard(), first.guard());
        assert_eq!(path(&mut routes, None).nodes(), second.nodes());
        routes.strike(&second, true);
        assert_eq!(path(&mut routes, None).nodes(), first.nodes());
        routes.worked(&first);
        for _ in 0..2 {
            routes.strike(&first, false);
            assert_eq!(path(&mut routes, None).nodes(), first.nodes(), "counted anew");
        }
        routes.strike(&first, false);
        assert!(routes.paths.is_empty(), "three failures");
    }

    #[test]
    fn a_kept_guard_is_read_again_and_damage_is_noticed() {
        let guard = Guard {
            key: [3; 32],
            since_ms: NOW,
            strikes: 2,
            worked: 3,
        };
        let bytes = guard.to_bytes();
        assert_eq!(Guard::from_bytes(&bytes), Some(guard));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Guard::from_bytes(&damaged), None, "byte {at}");
            assert_eq!(Guard::from_bytes(&bytes[..at]), None);
        }
    }
}
