//! The example bots as their own programs, against the real server.
#![expect(clippy::unwrap_used, reason = "a test")]

mod community;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use community::{Community, Way, admin, person};
use sogs_client::types::RoleChange;
use sogs_client::{ListOptions, Message, Room};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for anything; a bot looks every four seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The built example; cargo builds examples along with the tests.
fn example(name: &str) -> PathBuf {
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

struct Bot {
    child: Child,
}

impl Bot {
    /// Starts it as the global admin and waits until it listens.
    async fn start(name: &str, community: &Community, folder: &Path) -> Self {
        let link = format!("{}/main?public_key={}", community.url(), community.key());
        let mut child = Command::new(example(name))
            .arg(link)
            .env("SESSION_SEED", "ad".repeat(32))
            .current_dir(folder)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap();
        assert!(
            first
                .as_deref()
                .is_some_and(|line| line.contains("Ctrl-C ends it")),
            "{first:?}"
        );
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                drop(line);
            }
        });
        Self { child }
    }

    /// Ctrl-C.
    async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap();
        assert!(sent.success());
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "{status}");
    }
}

async fn wait(room: &Room, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let messages = room.recent(ListOptions::limit(50)).await.unwrap();
            if let Some(found) = messages.into_iter().find(|message| fits(message)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what} does not come"))
}

async fn wait_body(room: &Room, body: &str) -> Message {
    wait(room, body, |message| message.body() == Some(body)).await
}

#[tokio::test]
async fn the_echo_bot_says_it_again() {
    let community = Community::start().await;
    let folder = tempfile::tempdir().unwrap();
    let bot = Bot::start("echo_bot", &community, folder.path()).await;
    let user = community.room(Way::Sealed, &person(Way::Sealed, 0));
    user.post("!echo hello from outside").await.unwrap();
    let answer = wait_body(&user, "hello from outside").await;
    assert_eq!(answer.display_name(), Some("Echo"));
    let keeper = community.server(Way::Direct, &admin()).my_id().await.unwrap();
    user.server().inbox().send(&keeper, "psst", None).await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while user
            .server()
            .inbox()
            .received(None)
            .await
            .unwrap()
            .iter()
            .all(|m| m.body() != Some("psst"))
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the answer comes");
    bot.stop().await;
}

#[tokio::test]
async fn the_welcome_bot_greets_newcomers_with_the_text_it_was_told() {
    let community = Community::start().await;
    let folder = tempfile::tempdir().unwrap();
    let helper = community.room(Way::Direct, &person(Way::Direct, 7));
    helper.post("I was here first").await.unwrap();
    let helper_id = helper.server().my_id().await.unwrap();
    let keeper = community.room(Way::Direct, &admin());
    keeper.set_role(&helper_id, RoleChange::MODERATOR).await.unwrap();

    let bot = Bot::start("welcome_bot", &community, folder.path()).await;
    let first = community.room(Way::Direct, &person(Way::Direct, 0));
    first
        .post(sogs_client::Post::text("hi").name("Ann"))
        .await
        .unwrap();
    wait_body(&first, "Welcome, Ann!").await;
    let told = helper
        .post("!welcome Hello {name}, the rules are pinned.")
        .await
        .unwrap()
        .id;
    wait(&helper, "the mark", |m| {
        m.id == told && m.reactions.contains_key("✅")
    })
    .await;
    bot.stop().await;

    let bot = Bot::start("welcome_bot", &community, folder.path()).await;
    let second = community.room(Way::Direct, &person(Way::Direct, 1));
    second
        .post(sogs_client::Post::text("hi").name("Bob"))
        .await
        .unwrap();
    wait_body(&second, "Hello Bob, the rules are pinned.").await;
    let greetings = second.recent(ListOptions::limit(50)).await.unwrap();
    let count = greetings
        .iter()
        .filter(|m| m.body().is_some_and(|body| body.contains("Ann")))
        .count();
    assert_eq!(count, 1, "nobody is greeted twice");
    bot.stop().await;
}

#[tokio::test]
async fn the_moderation_bot_deletes_strikes_and_mutes() {
    let community = Community::start().await;
    let folder = tempfile::tempdir().unwrap();
    let helper = community.room(Way::Direct, &person(Way::Direct, 7));
    helper.recent(ListOptions::default()).await.unwrap();
    let keeper = community.room(Way::Direct, &admin());
    let helper_id = helper.server().my_id().await.unwrap();
    keeper.set_role(&helper_id, RoleChange::MODERATOR).await.unwrap();

    let bot = Bot::start("moderation_bot", &community, folder.path()).await;
    let user = community.room(Way::Direct, &person(Way::Direct, 0));
    let user_id = user.server().my_id().await.unwrap();
    user.post("!forbid hello").await.unwrap();
    wait_body(&user, "Only moderators may do that.").await;
    let told = helper.post("!forbid spam").await.unwrap().id;
    wait(&helper, "the mark", |m| {
        m.id == told && m.reactions.contains_key("✅")
    })
    .await;
    let id = user.post("cheap SPAM here").await.unwrap().id;
    let strike = wait(&user, "the strike", |m| {
        m.body().is_some_and(|body| body.contains("Strike 1 of 3"))
    })
    .await;
    assert!(strike.whisper && strike.whisper_to == Some(user_id));
    assert!(user.message(id).await.is_err(), "the message is gone");
    helper.post(format!("!mute {user_id} 10")).await.unwrap();
    wait_body(&helper, "Muted for 10 minutes.").await;
    assert_eq!(user.post("may I?").await.unwrap_err().status(), Some(403));
    bot.stop().await;
}
