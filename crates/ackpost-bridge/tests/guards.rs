//! Events that must not cross, and events that must not cross twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use ackpost_bridge::Store;
use ackpost_testkit::{Ejabberd, Postgres, Prosody, ServerOptions};
use ackpost_xmpp::{Attachment, Content, Event, Outgoing};
use bytes::Bytes;
use common::*;
use session_protocol::content::{AttachmentPointer, DataMessage, Quote};
use session_protocol::padding::Padding;
use sogs_client::{Post, PreparedPost, Signer, Upload};
use tokio::sync::watch;

/// Returns the texts of the bridge that everybody in the XMPP room saw within a time.
async fn bridged(events: &mut ackpost_xmpp::Events, time: Duration) -> Vec<String> {
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(time, async {
        while let Some(event) = events.next().await {
            if let Event::Room(received) = event
                && received.bridge.is_some()
            {
                seen.push(received.body);
            }
        }
    })
    .await;
    seen
}

/// 42wim/matterbridge #365, #1083 and #2144: own messages came back when the nick was not the expected one, and the
/// last messages were repeated after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_back_under_another_nick_or_after_a_restart() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::new(server).await;
        let (_carol, mut events) = stage.join("carol", "Session").await;
        let (alice, _events) = stage.join("alice", "alice").await;
        let dora = stage.main(0xd0);
        let bridge = stage.bridge("").await;
        enters(&mut events, "Session_2").await;
        say(&alice, &stage, "one").await;
        read(&dora, "one", |message| message.body() == Some("alice: one")).await;
        dora.post(Post::text("two").name("dora")).await.unwrap();
        wait(&mut events, "two", |event| match event {
            Event::Room(received) if received.body == "dora: two" => Some(()),
            _ => None,
        })
        .await;
        bridge.kill().await;
        say(&alice, &stage, "three").await;
        dora.post(Post::text("four").name("dora")).await.unwrap();
        let bridge = stage.bridge("").await;
        read(&dora, "three", |message| message.body() == Some("alice: three")).await;
        let seen = bridged(&mut events, Duration::from_secs(6)).await;
        assert_eq!(seen, ["dora: four"]);
        assert_eq!(texts(&dora).await, ["alice: one", "two", "four", "alice: three"]);
        bridge.end().await;
    }
}

/// Two bridges between the same rooms carry nothing in a circle, and say so.
#[tokio::test(flavor = "multi_thread")]
async fn two_bridges_on_the_same_rooms_do_not_carry_in_a_circle() {
    let stage = Stage::new(Prosody::shared()).await;
    stage.make_admin(0xb1).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let first = stage.bridge("").await;
    // The other bridge has its own account, identity, nick and database.
    let store = Store::open(&stage.folder.path().join("other.db").display().to_string())
        .await
        .unwrap();
    let mut parts = stage.parts("nick = 'Other'");
    parts.name = "other".into();
    parts.account = stage.account("carol", "other");
    parts.room = stage.main(0xb1);
    let (stop, stopped) = watch::channel(false);
    let other = tokio::spawn(ackpost_bridge::run(parts, store.clone(), stopped));
    // They enter in either order.
    let mut missing = HashSet::from(["Session", "Other"]);
    wait(&mut events, "both bridges", |event| {
        if let Event::Occupant {
            nick, present: true, ..
        } = event
        {
            missing.remove(nick.as_str());
        }
        missing.is_empty().then_some(())
    })
    .await;
    for number in 0..4 {
        say(&alice, &stage, &format!("round {number}")).await;
    }
    read(&dora, "the last", |message| {
        message.body() == Some("alice: round 3")
    })
    .await;
    let is_line =
        |text: &String| text.contains(" brings back messages that crossed, as another bridge does. ");
    let seen = bridged(&mut events, Duration::from_secs(8)).await;
    assert!(
        !seen.is_empty() && seen.iter().all(is_line),
        "no message comes back into the room, and the other bridge is named: {seen:?}"
    );
    // Each bridge carried what Alice wrote, and nothing that the other one carried.
    let (lines, all): (Vec<String>, Vec<String>) = texts(&dora).await.into_iter().partition(is_line);
    assert!(
        all.len() <= 8 && all.iter().all(|text| text.starts_with("alice: round ")),
        "{all:?}"
    );
    assert!(!lines.is_empty());
    let paused = [
        first.store.paused("lobby").await.unwrap(),
        store.paused("other").await.unwrap(),
    ];
    assert_eq!(paused, [None, None], "everybody else goes on");
    stop.send_replace(true);
    other.await.unwrap().unwrap();
    first.end().await;
}

/// Whispers stay where they are.
#[tokio::test(flavor = "multi_thread")]
async fn whispers_never_cross() {
    let stage = Stage::new(Prosody::shared()).await;
    stage.make_admin(0xd0).await;
    let (_alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    enters(&mut events, "Session").await;
    dora.post(Post::text("for moderators").name("dora").whisper_mods())
        .await
        .unwrap();
    dora.post(Post::text("for all").name("dora")).await.unwrap();
    wait(&mut events, "the public post", |event| match event {
        Event::Room(received) if received.body == "dora: for all" => Some(()),
        Event::Room(received) if received.body.contains("moderators") => panic!("a whisper crossed"),
        _ => None,
    })
    .await;
    bridge.end().await;
}

/// Waits until something crossed in a direction, however long that takes: a file is as fast as the machine. A refusal ends it.
async fn idle(bridge: &Running2, to_session: bool) {
    let done = tokio::time::timeout(Duration::from_mins(8), async {
        loop {
            let counts = bridge.store.counts("lobby", to_session).await.unwrap();
            assert_eq!(counts.refused, 0, "{:?}", counts.error);
            if counts.carried > 0 && counts.waiting == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    done.await.expect("the queue is empty in the end");
}

/// A file of 10 MiB, the largest that crosses by default, in each direction, byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn files_cross_byte_for_byte() {
    // A server of its own: others would ask the shared one for long archives, and every request waits for the one before.
    let server = Box::leak(Box::new(Prosody::start(ServerOptions::default())));
    let stage = Stage::new(server).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    // Requests that are not sealed: to seal a file costs a debug build most of the time, and the bridge has no part in it.
    let dora = stage.unsealed(0xd0);
    let mut parts = stage.parts("private_addresses = true");
    parts.room = stage.unsealed(BRIDGE);
    let bridge = stage.bridge_with(parts).await;
    enters(&mut events, "Session").await;
    let bytes: Bytes = (0..10_u32 * 1024 * 1024)
        .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();

    let url = alice
        .upload_file(Attachment::new("map.png", "image/png", bytes.clone()))
        .await
        .unwrap();
    let mut message = Outgoing::new(stage.target(), Content::text(""));
    message.file = Some(url);
    send(&alice, message).await;
    idle(&bridge, true).await;
    let crossed = read(&dora, "the file", |message| {
        message
            .content()
            .is_ok_and(|content| !content.attachments().is_empty())
    })
    .await;
    let pointer = crossed.content().unwrap().attachments()[0].clone();
    assert_eq!(
        (pointer.file_name.as_deref(), pointer.content_type.as_deref()),
        (Some("map.png"), Some("image/png"))
    );
    assert_eq!(dora.download(pointer.id).await.unwrap().bytes, bytes);

    let uploaded = dora
        .upload(
            Upload::new(bytes.clone())
                .name("plan.bin")
                .content_type("application/octet-stream"),
        )
        .await
        .unwrap();
    dora.post(Post::text("the plan").name("dora").file(uploaded))
        .await
        .unwrap();
    idle(&bridge, false).await;
    wait(&mut events, "the caption", |event| match event {
        Event::Room(received) if received.body == "dora: the plan" => Some(()),
        _ => None,
    })
    .await;
    let file = wait(&mut events, "the file", |event| match event {
        Event::File(received) if !received.own => Some(received.files[0].clone()),
        _ => None,
    })
    .await;
    let trust = sogs_client::Verify::Authorities(std::fs::read(&stage.server.ca).unwrap().into());
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(trust.client_config().unwrap())
        .no_proxy()
        .build()
        .unwrap();
    assert_eq!(
        client.get(file).send().await.unwrap().bytes().await.unwrap(),
        bytes
    );
    bridge.end().await;
}

/// Posts a message whose content no app makes.
async fn post_hostile(room: &sogs_client::Room, text: &str, change: impl FnOnce(&mut DataMessage)) {
    let server = room.server();
    let mut content = Post::text(text).name("eve").content(server.now_ms());
    change(content.data_message.as_mut().unwrap());
    let data = Padding::Block.pad(content.to_bytes());
    let signer = Signer::blind15(server.identity().unwrap(), &server.key());
    let prepared = PreparedPost {
        author: server.my_id().await.unwrap(),
        signature: signer.sign_message(&data),
        data,
        files: Vec::new(),
        whisper_to: None,
        whisper_mods: false,
        signed_at_ms: server.now_ms(),
    };
    room.post_prepared(&prepared).await.unwrap();
}

/// Contents that a database or a server refuses must not stop a bridge: it would start again at the same message for ever.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_contents_of_the_community_do_not_stop_the_bridge() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let database = tokio::task::spawn_blocking(|| Postgres::shared().database())
        .await
        .unwrap();
    // PostgreSQL takes no NUL in a text.
    let store = Store::open(database.url()).await.unwrap();
    let bridge = Stage::bridge_on(stage.parts("private_addresses = true"), store);
    warm(&stage, &alice, &mut events).await;
    let (eve, dora) = (stage.main(0xc7), stage.main(0xd0));
    let quote = Quote {
        id: Some(u64::MAX),
        author: Some("\0\u{202e}' OR 1=1".to_owned()),
        ..Quote::default()
    };
    post_hostile(&eve, "a quote", |data| data.quote = Some(quote)).await;
    post_hostile(&eve, "a text", |data| {
        data.body = Some("nul \0 in it\0".to_owned());
    })
    .await;
    post_hostile(&eve, "a name", |data| {
        data.profile.as_mut().unwrap().display_name = Some("alice: yes.\0 eve".to_owned());
    })
    .await;
    let pointer = AttachmentPointer {
        id: 999_999_999,
        content_type: Some("image/png\r\nx: y".to_owned()),
        file_name: Some("../../x\0".to_owned()),
        size: Some(u32::MAX),
        ..AttachmentPointer::default()
    };
    post_hostile(&eve, "a file", |data| data.attachments = vec![pointer]).await;
    dora.post(Post::text("still here").name("dora")).await.unwrap();
    let mut seen = Vec::new();
    wait(&mut events, "the last post", |event| {
        if let Event::Room(received) = event
            && received.bridge.is_some()
        {
            seen.push(received.body.clone());
        }
        seen.last()
            .is_some_and(|line| line == "dora: still here")
            .then_some(())
    })
    .await;
    let starts = [
        "eve: a quote",
        "eve: nul ",
        "alice yes. eve",
        "eve: a file",
        "dora: still here",
    ];
    assert!(
        seen.len() == starts.len()
            && seen
                .iter()
                .zip(starts)
                .all(|(line, start)| line.starts_with(start)),
        "{seen:#?}"
    );
    // The other way too.
    say(&alice, &stage, "and back").await;
    read(&dora, "the text after that", |message| {
        message.body() == Some("alice: and back")
    })
    .await;
    bridge.end().await;
}
