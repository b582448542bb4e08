//! A bridge whose servers give wrong answers for a while.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackpost_testkit::{HttpAnswer, HttpSeen, Prosody};
use ackpost_xmpp::{About, Account, Content, Event, Events, Mode, Outgoing, Session};
use common::*;
use sogs_client::{Post, Room};

fn is_post(request: &HttpSeen) -> bool {
    request.method == "POST" && request.target.ends_with("/room/main/message")
}

fn is_edit(request: &HttpSeen) -> bool {
    request.method == "PUT" && request.target.contains("/room/main/message/")
}

/// Returns true if the bridge marked a message as one that did not cross, within a time.
async fn sees_mark(events: &mut Events, time: Duration) -> bool {
    let marked = tokio::time::timeout(time, async {
        while let Some(event) = events.next().await {
            if matches!(&event, Event::Reaction { emoji, .. } if emoji == &["⚠️"]) {
                return;
            }
        }
        std::future::pending::<()>().await;
    });
    marked.await.is_ok()
}

async fn retract(session: &Session, stage: &Stage, id: String) {
    let mut retraction = Outgoing::new(stage.target(), Content::text("deleted"));
    retraction.about = Some(About::Retraction { id });
    send(session, retraction).await;
}

async fn correct(session: &Session, stage: &Stage, id: &str, text: &str) {
    let mut correction = Outgoing::new(stage.target(), Content::text(text));
    correction.replaces = Some(id.to_owned());
    send(session, correction).await;
}

/// Waits until no text of the community fits.
async fn is_gone(room: &Room, what: &str, fits: impl Fn(&str) -> bool) {
    let gone = tokio::time::timeout(PATIENCE, async {
        while texts(room).await.iter().any(|text| fits(text)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    assert!(
        gone.await.is_ok(),
        "{what} is still there: {:?}",
        texts(room).await
    );
}

/// Answers of a proxy whose server restarts, and of a portal on the way, are no refusal of a message.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_of_a_web_server_lose_no_message() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let left = Arc::new(AtomicUsize::new(0));
    let wrong = Arc::clone(&left);
    let front = stage.front(move |request, _| {
        if !is_post(request) {
            return None;
        }
        let before = wrong.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        before.ok().map(|left| match left % 3 {
            0 => HttpAnswer::Status(404, "<html>not found</html>".to_owned()),
            1 => HttpAnswer::Status(401, "<html>log in</html>".to_owned()),
            _ => HttpAnswer::Status(200, "<html>welcome</html>".to_owned()),
        })
    });
    let mut parts = stage.parts("");
    parts.room = stage.through(&front, BRIDGE);
    let bridge = stage.bridge_with(parts).await;
    warm(&stage, &alice, &mut events).await;
    left.store(3, Ordering::SeqCst);
    for number in 0..3 {
        say(&alice, &stage, &format!("word {number}")).await;
    }
    read(&dora, "the last word", |message| {
        message.body() == Some("alice: word 2")
    })
    .await;
    let words: Vec<String> = texts(&dora)
        .await
        .into_iter()
        .filter(|text| text.contains("word"))
        .collect();
    assert_eq!(words, ["alice: word 0", "alice: word 1", "alice: word 2"]);
    assert_eq!(left.load(Ordering::SeqCst), 0);
    assert!(!sees_mark(&mut events, Duration::from_secs(2)).await);
    bridge.end().await;
}

/// A post that the community stored and did not prove is looked for, not reported as lost; later changes reach it.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_stored_without_a_proof_counts_as_carried() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let left = Arc::new(AtomicUsize::new(0));
    let wrong = Arc::clone(&left);
    let front = stage.front(move |request, pass| {
        let is_next = is_post(request)
            && wrong
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        is_next.then(|| {
            pass();
            HttpAnswer::Status(201, "{}".to_owned())
        })
    });
    let mut parts = stage.parts("");
    parts.room = stage.through(&front, BRIDGE);
    let bridge = stage.bridge_with(parts).await;
    warm(&stage, &alice, &mut events).await;
    left.store(1, Ordering::SeqCst);
    say(&alice, &stage, "once").await;
    let place = hear(&mut events, "the own text", |body| body == "once")
        .await
        .archive
        .unwrap()
        .id;
    read(&dora, "the text", |message| message.body() == Some("alice: once")).await;
    assert!(!sees_mark(&mut events, Duration::from_secs(5)).await);
    retract(&alice, &stage, place).await;
    is_gone(&dora, "the retracted text", |text| text == "alice: once").await;
    bridge.end().await;
}

/// A message that is removed takes the note about its edit along.
#[tokio::test(flavor = "multi_thread")]
async fn a_retraction_removes_the_note_about_an_edit_too() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("edits = 'note'").await;
    warm(&stage, &alice, &mut events).await;
    let id = say(&alice, &stage, "spam").await;
    let place = hear(&mut events, "the own text", |body| body == "spam")
        .await
        .archive
        .unwrap()
        .id;
    correct(&alice, &stage, &id, "more spam").await;
    read(&dora, "the note", |message| {
        message.body().is_some_and(|body| body.contains("more spam"))
    })
    .await;
    retract(&alice, &stage, place).await;
    is_gone(&dora, "the spam", |text| text.contains("spam")).await;
    bridge.end().await;
}

/// An edit that the community hides is reported to its author.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_the_community_hides_is_reported() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let front = stage.front(|request, pass| {
        is_edit(request).then(|| {
            pass();
            HttpAnswer::Status(200, r#"{"filtered": true}"#.to_owned())
        })
    });
    let mut parts = stage.parts("");
    parts.room = stage.through(&front, BRIDGE);
    let bridge = stage.bridge_with(parts).await;
    warm(&stage, &alice, &mut events).await;
    let id = say(&alice, &stage, "first").await;
    read(&dora, "the text", |message| {
        message.body() == Some("alice: first")
    })
    .await;
    correct(&alice, &stage, &id, "second").await;
    let line = wait(&mut events, "a private line", |event| match event {
        Event::Chat(received) => Some(received.body.clone()),
        _ => None,
    })
    .await;
    assert!(
        line.starts_with("Your edit “second” did not reach the community: "),
        "{line}"
    );
    assert_eq!(bridge.store.counts("lobby", true).await.unwrap().refused, 1);
    bridge.end().await;
}

/// An edit that is longer than the parts of its message crosses whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_needs_more_parts_is_carried_whole() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    let id = say(&alice, &stage, "short").await;
    let text = format!("{} the end", "long ".repeat(500));
    correct(&alice, &stage, &id, &text).await;
    read(&dora, "the end of the edit", |message| {
        message.body().is_some_and(|body| body.contains("the end"))
    })
    .await;
    bridge.end().await;
}

/// A bridge that may not delete a message says so in the room where it was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_cannot_cross_is_told() {
    let stage = Stage::without_admin(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    dora.post(Post::text("spam").name("dora")).await.unwrap();
    let shown = hear(&mut events, "the spam", |body| body == "dora: spam").await;
    alice
        .moderate(&stage.target().room, &shown.archive.unwrap().id, "spam")
        .await
        .unwrap();
    hear(&mut events, "the line about the deletion", |body| {
        body.starts_with("A message that was deleted here is still in the community: ")
    })
    .await;
    bridge.end().await;
}

/// A link in clear text between the bridge and the XMPP server that changes what the bridge says and hears.
struct Link {
    port: u16,
}

type Change = dyn Fn(&str) -> String + Send + Sync;

impl Link {
    fn start(server: u16, up: Arc<Change>, down: Arc<Change>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (Arc::clone(&up), Arc::clone(&down));
                std::thread::spawn(move || Self::pump(client, server, &*up));
                std::thread::spawn(move || Self::pump(ends.1, ends.0, &*down));
            }
        });
        Self { port }
    }

    fn pump(mut from: TcpStream, mut to: TcpStream, change: &Change) {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let changed = match std::str::from_utf8(&buffer[..count]) {
                Ok(text) => to.write_all(change(text).as_bytes()),
                Err(_) => to.write_all(&buffer[..count]),
            };
            if changed.is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    fn account(&self, stage: &Stage) -> Account {
        stage
            .account("bob", "relay")
            .mode(Mode::None)
            .port(self.port)
            .answer_timeout(Duration::from_secs(2))
    }
}

/// An archive that cannot be read at first, as after a restart of its server, is asked again: what was missed crosses.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_fails_once_is_asked_again() {
    let server = Prosody::shared();
    let stage = Stage::new(server).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    bridge.end().await;
    say(&alice, &stage, "missed").await;
    let left = Arc::new(AtomicUsize::new(1));
    let wrong = Arc::clone(&left);
    let link = Link::start(
        server.port,
        Arc::new(move |text| {
            let is_next = text.contains("<query xmlns='urn:xmpp:mam:2'")
                && wrong
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok();
            if is_next {
                // A service that is not there (yet).
                text.replacen("urn:xmpp:mam:2", "urn:xmpp:mam:9", 1)
            } else {
                text.to_owned()
            }
        }),
        Arc::new(str::to_owned),
    );
    let mut parts = stage.parts("");
    parts.account = link.account(&stage);
    let bridge = stage.bridge_with(parts).await;
    read(&dora, "the missed text", |message| {
        message.body() == Some("alice: missed")
    })
    .await;
    assert_eq!(left.load(Ordering::SeqCst), 0);
    bridge.end().await;
}

/// An archive that stays away is not waited for without end, and the community is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_gone_is_told() {
    let server = Prosody::shared();
    let stage = Stage::new(server).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    bridge.end().await;
    let link = Link::start(
        server.port,
        Arc::new(|text| text.replace("urn:xmpp:mam:2", "urn:xmpp:mam:9")),
        Arc::new(str::to_owned),
    );
    let mut parts = stage.parts("");
    parts.account = link.account(&stage);
    parts.limits.archive_tries = 1;
    let bridge = stage.bridge_with(parts).await;
    read(&dora, "the line about the archive", |message| {
        message
            .body()
            .is_some_and(|body| body.contains("its archive does not have all of them"))
    })
    .await;
    say(&alice, &stage, "now").await;
    read(&dora, "the text of now", |message| {
        message.body() == Some("alice: now")
    })
    .await;
    bridge.end().await;
}

/// A paused bridge still says that it is paused, and carries nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_bridge_still_answers() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    bridge.store.set_paused("lobby", true).await.unwrap();
    // The bridge notices the pause within seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    dora.post(Post::text("waits").name("dora")).await.unwrap();
    say(&alice, &stage, "!bridge").await;
    let first = hear(&mut events, "the answer", |body| {
        body.starts_with("The bridge ") || body == "dora: waits"
    })
    .await;
    assert!(
        first.body.starts_with("The bridge lobby is paused"),
        "{}",
        first.body
    );
    bridge.store.set_paused("lobby", false).await.unwrap();
    hear(&mut events, "the message after the pause", |body| {
        body == "dora: waits"
    })
    .await;
    bridge.end().await;
}
