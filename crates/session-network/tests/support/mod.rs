//! A network on loopback and accounts for the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackpost_testkit::{FakeSwarm, FaultPlan, SwarmFault};
use session_network::{Identity, Mode, Network, NetworkBuilder, Sender};

/// A network with the node seeds of this swarm.
pub(crate) fn builder(swarm: &FakeSwarm) -> NetworkBuilder {
    let seeds = (0..swarm.len().min(3)).map(|n| swarm.node_seed(n).parse().expect("a seed"));
    Network::builder().seeds(seeds).use_proxies(false)
}

pub(crate) fn network(swarm: &FakeSwarm, mode: Mode) -> Network {
    builder(swarm).mode(mode).build().expect("good options")
}

pub(crate) fn account(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

pub(crate) fn bot() -> Sender {
    Sender::new(account(1), "Backup").expect("a good name")
}

/// An account whose mailbox is in the swarm of node `node`.
pub(crate) fn account_at(swarm: &FakeSwarm, node: usize) -> Identity {
    (0..=255)
        .map(|n| {
            let mut seed = [7; 32];
            seed[0] = n;
            Identity::from_seed(seed)
        })
        .find(|account| swarm.swarm_of(&account.session_id().to_string()).contains(&node))
        .expect("one of 256 accounts lies there")
}

pub(crate) fn fault(fault: SwarmFault) -> FaultPlan {
    FaultPlan::new(fault).pause(Duration::from_millis(200))
}

/// A time of the last hour, milliseconds since 1970: the same for the same number.
pub(crate) fn recent(n: u64) -> u64 {
    static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let start = START.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        u64::try_from(now.as_millis()).expect("short") - 3_600_000
    });
    start + n
}

/// A clock that a test can move.
#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn forward(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("short");
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> session_network::SystemClock {
        let hands = Arc::clone(&self.0);
        Arc::new(move || {
            SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
                + Duration::from_millis(hands.load(Ordering::SeqCst))
        })
    }
}
