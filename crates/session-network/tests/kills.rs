//! A sender that is killed again and again: no message is lost, and none is stored twice.
//!
//! The sender is this test program itself, started with the test `the_sender` alone. `ACKPOST_KILLS` and
//! `ACKPOST_KILL_MESSAGES` make the run larger; `scripts/network-kills` does so.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSwarm, SwarmFault};
use session_network::{Draft, FolderStorage, Mode, Network, PreparedMessage, Seed, Storage as _};
use session_protocol::network::message;
use support::{account, bot, fault};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The sender process: prepares each message once, keeps its bytes, and sends until the swarm has signed.
#[tokio::test]
#[ignore = "the process that the other test starts and kills"]
async fn the_sender() {
    let Ok(folder) = std::env::var("ACKPOST_SENDER_FOLDER") else {
        return;
    };
    let seed: Seed = std::env::var("ACKPOST_SENDER_SEED")
        .expect("set by the other test")
        .parse()
        .expect("a seed");
    let messages = number("ACKPOST_KILL_MESSAGES", 0);
    let spool = FolderStorage::new(Path::new(&folder).join("spool"));
    let network = Network::builder()
        .seeds([seed])
        .mode(Mode::Direct)
        .use_proxies(false)
        .storage(FolderStorage::new(Path::new(&folder).join("state")))
        .build()
        .expect("good options");
    let reader = account(9).session_id();
    for n in 0..messages {
        if spool.load(&format!("done-{n}")).expect("readable").is_some() {
            continue;
        }
        let name = format!("message-{n}");
        let mut message = if let Some(bytes) = spool.load(&name).expect("readable") {
            PreparedMessage::from_bytes(&bytes).expect("whole")
        } else {
            let draft = Draft::text(format!("number {n}"));
            let made = network.prepare(&bot(), &reader, &draft).await.expect("made");
            spool.save(&name, &made[0].to_bytes()).expect("kept");
            made.into_iter().next().expect("one")
        };
        // Bounded: the other test ends a sender that never succeeds.
        while network.send(&mut message).await.is_err() {
            spool.save(&name, &message.to_bytes()).expect("kept");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        spool.save(&format!("done-{n}"), b"").expect("kept");
    }
}

struct Sender(Child);

impl Sender {
    fn start(folder: &Path, seed: &str, messages: usize) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "the_sender", "--ignored", "--test-threads=1"])
            .env("ACKPOST_SENDER_FOLDER", folder)
            .env("ACKPOST_SENDER_SEED", seed)
            .env("ACKPOST_KILL_MESSAGES", messages.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Self(child)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn messages_survive_kills_of_their_sender_and_none_is_stored_twice() {
    let messages = number("ACKPOST_KILL_MESSAGES", 120);
    let kills = number("ACKPOST_KILLS", 12);
    let swarm = FakeSwarm::start(5);
    let reader = account(9);
    let id = reader.session_id().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    // Nodes misbehave as well, so that some messages need several nodes and several attempts.
    for kind in [
        SwarmFault::MissingPeers,
        SwarmFault::Dropped,
        SwarmFault::ForgedSignature,
    ] {
        swarm.add_fault(fault(kind).method("store").on(1).times(messages / 20 + 1));
        swarm.add_fault(fault(kind).method("store").on(3).times(messages / 20 + 1));
    }
    let stored = || swarm.count("store");
    let end = Instant::now() + Duration::from_secs(540);
    let mut killed = 0;
    while killed < kills {
        let sender = Sender::start(folder.path(), &swarm.node_seed(0), messages);
        // Killed after some more store calls, at a moment that differs each time.
        let goal = stored() + (messages / kills).max(1) - killed % 3;
        while stored() < goal && Instant::now() < end {
            thread::sleep(Duration::from_micros(500 + 137 * (killed as u64 % 11)));
        }
        drop(sender);
        killed += 1;
    }
    let mut last = Sender::start(folder.path(), &swarm.node_seed(0), messages);
    while last.0.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < end, "the last sender does not end");
        thread::sleep(Duration::from_millis(20));
    }
    let mut everywhere: HashMap<String, usize> = HashMap::new();
    let mut times = HashMap::new();
    for node in 0..5 {
        let mut here: HashMap<String, usize> = HashMap::new();
        for row in swarm.stored_at(node, &id, 0) {
            let opened = message::open(&row.data, &reader).expect("ours");
            let text = opened.content.body().expect("a text").to_owned();
            *here.entry(text.clone()).or_default() += 1;
            let other = times.insert(opened.timestamp_ms, text.clone());
            assert!(other.is_none_or(|other| other == text), "one time, two messages");
        }
        for (text, count) in here {
            assert_eq!(count, 1, "{text} is stored {count} times on node {node}");
            *everywhere.entry(text).or_default() += 1;
        }
    }
    for n in 0..messages {
        let nodes = everywhere.remove(&format!("number {n}")).unwrap_or(0);
        assert!(nodes >= 3, "number {n} lies on {nodes} of 5 nodes");
    }
    assert!(everywhere.is_empty(), "{everywhere:?}");
    println!("{messages} messages, {kills} kills, {} store calls", stored());
}
