//! The program of `docs/guide/session-direct-messages.md`: the guide shows the example word for word, and here it runs.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ackpost_testkit::FakeSwarm;
use session_network::{Event, Identity, Mode, Sender};
use support::{account, network};

const PHRASE: &str = "love love love love love love love love love love love love love";

#[test]
fn the_guide_shows_the_bot_word_for_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).expect("a file");
    let guide = read("../../docs/guide/session-direct-messages.md");
    let source = read("examples/guide_mailbox_bot.rs");
    // The heading and the lint of the example are not part of the program.
    let lines = source
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.starts_with("#!["));
    let program = lines.collect::<Vec<_>>().join("\n");
    let block = format!("\n```rust\n{}\n```\n", program.trim());
    assert!(guide.contains(&block), "the guide does not show:{block}");
    assert_eq!(
        guide.matches("\n```rust").count(),
        1,
        "every block of the guide runs here"
    );
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_bot_of_the_guide_keeps_notes_over_a_restart() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let folder = tempfile::tempdir().expect("a folder");
    // Cargo puts examples beside the folder of the tests.
    let this = std::env::current_exe().expect("this program");
    let program = this
        .parent()
        .and_then(Path::parent)
        .expect("a folder")
        .join("examples/guide_mailbox_bot");
    let start = || {
        let child = Command::new(&program)
            .env("PHRASE", PHRASE)
            .env("NETWORK", swarm.node_seed(0))
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn();
        Running(child.expect("the example is built with the tests"))
    };
    let robot = Identity::from_mnemonic(PHRASE).expect("a phrase").session_id();
    let network = network(&swarm, Mode::Direct);
    let alice = Sender::new(account(2), "Alice").expect("a good name");
    let mut mailbox = network.mailbox(account(2));
    let mut running = start();
    for (text, expected) in [
        ("hi", "Hello Alice, try `help`."),
        ("note water the plants", "note 1: water the plants"),
        ("!note again", "note 2: again"),
    ] {
        let _ = network.send_text(&alice, &robot, text).await.expect("stored");
        let end = Instant::now() + Duration::from_secs(60);
        let mut answers = Vec::new();
        while answers.is_empty() {
            assert!(Instant::now() < end, "no answer to {text}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            for event in mailbox.poll().await.expect("an answer").events {
                match event {
                    Event::Message(message) => answers.extend(message.text),
                    Event::RequestAccepted { from, .. } => assert_eq!(from, robot),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(answers, [expected]);
        drop(running);
        running = start();
    }
}
