//! The programs of `docs/guide/session-sdk.md`: the guide shows the examples `guide_*` word for word, and here they run
//! against the real server. `scripts/outside-programs` compiles them in an empty project.
#![expect(clippy::unwrap_used, reason = "a test")]

mod community;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use community::{Community, Way, person, token};
use session_protocol::Identity;
use sogs_client::{ListOptions, Room};
use sogs_server::admin::{Operation, RoomScope};
use tokio::process::{Child, Command};

const PROGRAMS: [&str; 4] = ["guide_look", "guide_follow", "guide_send", "guide_bot"];
const PHRASE: &str = "love love love love love love love love love love love love love";
/// Longest wait for anything; a bot looks every four seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/session-sdk.md");
    std::fs::read_to_string(path).unwrap()
}

fn blocks(language: &str) -> Vec<String> {
    guide()
        .split(&format!("\n```{language}\n"))
        .skip(1)
        .map(|block| block.split("\n```").next().unwrap().trim().to_owned())
        .collect()
}

#[test]
fn every_rust_block_of_the_guide_is_a_whole_program_that_runs_here() {
    let programs: Vec<String> = PROGRAMS
        .iter()
        .map(|name| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
            let source = std::fs::read_to_string(path).unwrap();
            // The heading and the lint of the example are not part of the program.
            let lines = source
                .lines()
                .skip_while(|line| line.starts_with("//!") || line.starts_with("#!["));
            lines.collect::<Vec<_>>().join("\n").trim().to_owned()
        })
        .collect();
    let blocks = blocks("rust");
    for (name, program) in PROGRAMS.iter().zip(&programs) {
        assert!(program.contains("fn main()"), "{name} is a whole program");
        assert!(
            blocks.contains(program),
            "the guide does not show {name}:\n\n{program}\n"
        );
    }
    assert_eq!(blocks.len(), programs.len(), "every block of the guide runs here");
}

#[test]
fn the_guide_names_every_crate_that_its_programs_use() {
    let manifest = blocks("toml").join("\n");
    for block in blocks("rust") {
        for (used, dependency) in [
            ("sogs_client::", "sogs-client = { path ="),
            ("serde_json::", "serde_json = "),
            ("tokio::main", "\"macros\""),
            ("tokio::main", "\"rt-multi-thread\""),
            ("tokio::signal", "\"signal\""),
        ] {
            assert!(
                !block.contains(used) || manifest.contains(dependency),
                "{dependency} for {used}"
            );
        }
    }
}

struct Running {
    child: Child,
}

impl Running {
    fn start(name: &str, link: &str, folder: &Path) -> Self {
        let child = Command::new(program(name))
            .arg(link)
            .env("PHRASE", PHRASE)
            .env_remove("http_proxy")
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Waits for its end and returns what it printed.
    async fn finish(self) -> String {
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    async fn interrupt(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
        assert!(sent.success());
    }
}

/// The built example; cargo builds examples along with the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is not built: `cargo build -p sogs-client --examples`",
        path.display()
    );
    path
}

/// Waits until a message of the room has this text, writing `question` until then.
async fn answered(room: &Room, question: &str, answer: &str) {
    tokio::time::timeout(PATIENCE, async {
        for turn in 0u32.. {
            if turn % 20 == 0 {
                room.post(question).await.unwrap();
            }
            let messages = room.recent(ListOptions::limit(50)).await.unwrap();
            if messages.iter().any(|message| message.body() == Some(answer)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no {answer:?} after {question:?}"));
}

#[tokio::test]
async fn the_programs_of_the_guide_run() {
    let community = Community::start().await;
    let link = format!("{}/main?public_key={}", community.url(), community.key());
    let folder = tempfile::tempdir().unwrap();
    let helper = Identity::from_mnemonic(PHRASE).unwrap();
    community
        .act(Operation::ModAdd {
            user: helper.session_id().to_string(),
            place: RoomScope::Rooms(vec!["main".to_owned()]),
            admin: true,
            visible: Some(true),
        })
        .await;

    let follow = Running::start("guide_follow", &link, folder.path());
    let main = community
        .server(Way::Direct, &person(Way::Direct, 1))
        .room(&token("main"));
    // It saves its place after the first message that it sees.
    let cursor = folder.path().join("cursor.json");
    tokio::time::timeout(PATIENCE, async {
        let other = community
            .server(Way::Direct, &person(Way::Direct, 2))
            .room(&token("main"));
        for turn in 0u32.. {
            if cursor.exists() {
                return;
            }
            // It looks every four seconds, and five posts in sixteen seconds are allowed.
            if turn % 40 == 0 {
                other.post("is anybody following?").await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it follows");
    drop(follow);
    let sent = Running::start("guide_send", &link, folder.path()).finish().await;
    assert!(sent.starts_with("posted #"), "{sent}");
    let messages = main.recent(ListOptions::limit(5)).await.unwrap();
    assert_eq!(messages[0].body(), Some("That is all."));
    assert_eq!(messages[1].body(), Some("The numbers of today, corrected"));
    assert_eq!(
        messages[1].content().unwrap().attachments().len(),
        1,
        "an edit keeps the file"
    );

    let seen = Running::start("guide_look", &link, folder.path()).finish().await;
    assert!(seen.contains("main: ") && seen.contains("That is all."), "{seen}");

    let bot = Running::start("guide_bot", &link, folder.path());
    answered(&main, "!roll 6", "2 (roll number 1)").await;
    let spam = main.post("you should buy coins here").await.unwrap().id;
    tokio::time::timeout(PATIENCE, async {
        while main.message(spam).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .unwrap();
    let banned = main.post("still here?").await.unwrap_err();
    assert_eq!(banned.status(), Some(403), "{banned}");
    bot.interrupt().await;
    bot.finish().await;
}
