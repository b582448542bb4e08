//! Messages to two Session IDs through the real outbox while its worker is killed with SIGKILL: none is lost, none is stored
//! twice, and the order of each recipient holds.
//!
//! `ACKPOST_KILL_MESSAGES` and `ACKPOST_KILLS` make the run larger; `scripts/network-kills` does so.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ackpost_notify::service::{SOGS, ServiceUrl, Services, XMPP};
use ackpost_notify::{Context, Message};
use ackpost_outbox::{AcceptOptions, Location, Outbox, OutboxConfig, State};
use ackpost_sessiondm::SESSIONDM;
use ackpost_testkit::{FakeSwarm, FaultPlan, SwarmFault};
use session_protocol::Identity;
use session_protocol::network::message;
use support::{Program, SEED};

static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &SESSIONDM]);
const NODES: usize = 5;

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The worker that the test kills.
struct Worker(Child);

impl Worker {
    fn start(program: &Program, outbox: &Path, key: &Path) -> Self {
        let (outbox, key) = (outbox.display().to_string(), key.display().to_string());
        let args = [
            "outbox",
            "--outbox",
            &outbox,
            "--outbox-key",
            &key,
            "run",
            "--lease",
            "1s",
        ];
        let child = program
            .command(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the program runs"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outbox_stores_each_message_once_over_kills_of_its_worker() {
    let messages = number("ACKPOST_KILL_MESSAGES", 60);
    let kills = number("ACKPOST_KILLS", 6);
    let end = Instant::now() + Duration::from_secs(60 + messages as u64);
    let swarm = FakeSwarm::start(NODES);
    // Nodes misbehave as well, so that some messages need several nodes or several attempts.
    for kind in [
        SwarmFault::MissingPeers,
        SwarmFault::Dropped,
        SwarmFault::ForgedSignature,
    ] {
        for node in [1, 3] {
            let plan = FaultPlan::new(kind).method("store").on(node);
            swarm.add_fault(plan.times(messages / 40 + 1));
        }
    }
    let program = Program::new();
    let (file, key) = (
        program.home().join("outbox.db"),
        program.home().join("outbox.key"),
    );
    let readers = [2, 3].map(|n| Identity::from_seed([n; 32]));
    let network = swarm.node_seed(0).replace('@', "%40").replace(':', "%3A");
    let services = readers.clone().map(|reader| {
        let url = format!(
            "sessiondm://:{SEED}@{}?network={network}&mode=direct&budget=off",
            reader.session_id()
        );
        ServiceUrl::parse(&url, &Context::default().with_services(SERVICES)).expect("a good URL")
    });
    let config = OutboxConfig::new(Location::Sqlite(file.clone()), &key);
    let outbox = Outbox::for_services(config, SERVICES).await.expect("opened");
    let mut ids = Vec::new();
    let accept = async |n: usize| {
        let services: Vec<_> = services.iter().collect();
        let accepted = outbox
            .accept(&Message::new(n.to_string()), &services, &AcceptOptions::default())
            .await;
        accepted
            .expect("stored")
            .into_iter()
            .map(|one| one.id)
            .collect::<Vec<_>>()
    };
    for round in 0..kills {
        for n in messages * round / kills..messages * (round + 1) / kills {
            ids.extend(accept(n).await);
        }
        let worker = Worker::start(&program, &file, &key);
        // Killed after some more store calls, at a moment that differs each time.
        let goal = swarm.count("store") + messages / kills + round % 7;
        let patience = Instant::now() + Duration::from_secs(8);
        while swarm.count("store") < goal && Instant::now() < patience {
            tokio::time::sleep(Duration::from_micros(400 + 190 * (round as u64 % 11))).await;
        }
        drop(worker);
    }
    let worker = Worker::start(&program, &file, &key);
    loop {
        assert!(
            Instant::now() < end,
            "not everything ends: {:?}",
            outbox.lanes().await
        );
        let entries = outbox.wait(&ids, Duration::from_secs(2)).await.expect("readable");
        assert_eq!(entries.len(), ids.len(), "no entry vanishes");
        let wrong = entries
            .iter()
            .find(|entry| matches!(entry.state, State::Dead | State::Dropped));
        assert!(wrong.is_none(), "{wrong:?}");
        if entries.iter().all(|entry| entry.state.is_final()) {
            break;
        }
    }
    drop(worker);
    outbox.close().await;
    for reader in &readers {
        check(&swarm, reader, messages);
    }
    println!(
        "{messages} messages to 2 accounts, {kills} kills, {} store calls: 0 lost, 0 stored twice, in order",
        swarm.count("store")
    );
}

/// Every message is on a majority of the nodes, once on each, and their times have the order of the messages.
fn check(swarm: &FakeSwarm, reader: &Identity, messages: usize) {
    let id = reader.session_id().to_string();
    let mut nodes_of: HashMap<usize, usize> = HashMap::new();
    let mut times: HashMap<u64, usize> = HashMap::new();
    for node in 0..NODES {
        let mut here = Vec::new();
        for row in swarm.stored_at(node, &id, 0) {
            let opened = message::open(&row.data, reader).expect("ours");
            let n: usize = opened.content.body().expect("a text").parse().expect("a number");
            assert!(!here.contains(&n), "number {n} is stored twice on node {node}");
            here.push(n);
            *nodes_of.entry(n).or_default() += 1;
            let other = times.insert(opened.timestamp_ms, n);
            assert!(other.is_none_or(|other| other == n), "one time, two messages");
        }
    }
    for n in 0..messages {
        let nodes = nodes_of.get(&n).copied().unwrap_or(0);
        assert!(nodes > NODES / 2, "number {n} lies on {nodes} of {NODES} nodes");
    }
    assert_eq!(nodes_of.len(), messages);
    let mut in_order: Vec<_> = times.into_iter().collect();
    in_order.sort_unstable();
    assert!(in_order.iter().map(|(_, n)| *n).eq(0..messages), "{in_order:?}");
}
