//! Servers that go away and come back, and people who are banned in the meantime.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, ServerOptions, XmppServer};
use ackpost_xmpp::{Event, Session, SessionOptions};
use common::*;
use sogs_client::Post;

/// The texts of the bridge in the XMPP room, with the number of messages that have this text. Reads the archive, then what is
/// said, until a text comes.
async fn carried_until(stage: &Stage, last: &str) -> HashMap<String, usize> {
    let mut options = SessionOptions::default();
    options.rooms = vec![stage.target()];
    options.catch_up = vec![(stage.target().room, Some("0".to_owned()))];
    let (session, mut events) = Session::open(&stage.account("carol", "reader"), options)
        .await
        .unwrap();
    let mut by_id = HashMap::new();
    wait(&mut events, last, |event| {
        if let Event::Room(received) = event
            && received.bridge.is_some()
            && let Some(place) = &received.archive
        {
            by_id.insert(place.id.clone(), received.body.clone());
        }
        by_id.values().any(|body| body == last).then_some(())
    })
    .await;
    session.close().await;
    let mut counts = HashMap::new();
    for body in by_id.into_values() {
        *counts.entry(body).or_default() += 1;
    }
    counts
}

/// A server of this test alone, whose end disturbs nobody.
fn own(server: XmppServer) -> &'static XmppServer {
    Box::leak(Box::new(server))
}

/// 42wim/matterbridge #1552: after a restart of the XMPP server nothing was bridged any more.
async fn the_xmpp_server_restarts(server: &'static XmppServer, ends: &[fn(&XmppServer)]) {
    let mut stage = Stage::new(server).await;
    // A room that is still there after the restart.
    stage.place = server.room("open");
    let dora = stage.main(0xd0);
    let (mut alice, mut events) = stage.join("alice", "alice").await;
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    for (round, end) in ends.iter().enumerate() {
        // The last words before the end: they are in the archive, whether or not the bridge heard them.
        say(&alice, &stage, &format!("before {round}")).await;
        alice.close().await;
        end(server);
        dora.post(Post::text(format!("meanwhile {round}")).name("dora"))
            .await
            .unwrap();
        tokio::task::spawn_blocking(|| server.bring_back()).await.unwrap();
        (alice, events) = stage.join("alice", "alice").await;
        say(&alice, &stage, &format!("after {round}")).await;
        read(&dora, "the text after the restart", |message| {
            message.body() == Some(&format!("alice: after {round}"))
        })
        .await;
        dora.post(Post::text(format!("later {round}")).name("dora"))
            .await
            .unwrap();
        let carried = carried_until(&stage, &format!("dora: later {round}")).await;
        for word in ["meanwhile", "later"] {
            assert_eq!(
                carried.get(&format!("dora: {word} {round}")),
                Some(&1),
                "{carried:?}"
            );
        }
    }
    let words: Vec<String> = texts(&dora)
        .await
        .into_iter()
        .filter(|text| text.starts_with("alice: before") || text.starts_with("alice: after"))
        .collect();
    let expected: Vec<String> = (0..ends.len())
        .flat_map(|round| ["before", "after"].map(|word| format!("alice: {word} {round}")))
        .collect();
    assert_eq!(words, expected);
    drop(events);
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_prosody_loses_and_doubles_nothing() {
    let server = own(Prosody::start(ServerOptions::default()));
    the_xmpp_server_restarts(server, &[XmppServer::stop, XmppServer::kill]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_ejabberd_loses_and_doubles_nothing() {
    // Only in order: a killed ejabberd may lose what it archived last.
    let server = own(Ejabberd::start(ServerOptions::default()));
    the_xmpp_server_restarts(server, &[XmppServer::stop]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_community_loses_and_doubles_nothing() {
    let mut stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    dora.post(Post::text("before").name("dora")).await.unwrap();
    stage.stop_community().await;
    for number in 0..3 {
        say(&alice, &stage, &format!("word {number}")).await;
    }
    stage.start_community().await;
    read(&dora, "the last word", |message| {
        message.body() == Some("alice: word 2")
    })
    .await;
    dora.post(Post::text("after").name("dora")).await.unwrap();
    let carried = carried_until(&stage, "dora: after").await;
    assert_eq!(
        (carried.get("dora: before"), carried.get("dora: after")),
        (Some(&1), Some(&1)),
        "{carried:?}"
    );
    let words: Vec<String> = texts(&dora)
        .await
        .into_iter()
        .filter(|text| text.starts_with("alice: word"))
        .collect();
    assert_eq!(words, ["alice: word 0", "alice: word 1", "alice: word 2"]);
    bridge.end().await;
}

/// Messages of a banned person that have not crossed yet stay on their side. Messages of others cross.
#[tokio::test(flavor = "multi_thread")]
async fn a_ban_in_the_xmpp_room_drops_what_waits_of_this_person() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::without_admin(server).await;
        stage.make_admin(0xd0).await;
        let (carol, mut events) = stage.join("carol", "carol").await;
        let (mallory, _events) = stage.join("keys98", "mallory").await;
        let dora = stage.main(0xd0);
        let bridge = stage
            .bridge_within("", |limits| limits.refused = [Duration::from_secs(3); 3])
            .await;
        warm(&stage, &carol, &mut events).await;
        // Messages wait: the community refuses the bridge. The first one is prepared, and may have arrived.
        let me = stage.main(BRIDGE).server().my_id().await.unwrap();
        dora.ban(&me, None).await.unwrap();
        say(&mallory, &stage, "spam 0").await;
        hear(&mut events, "the refusal", |body| {
            body.starts_with("The community refuses the bridge: ")
        })
        .await;
        for number in 1..4 {
            say(&mallory, &stage, &format!("spam {number}")).await;
        }
        let item = format!("<item jid='keys98@{}' affiliation='outcast'/>", server.domain);
        stage.as_owner(&[item]).await;
        say(&carol, &stage, "good riddance").await;
        wait(&mut events, "the own text", |event| match event {
            Event::Room(received) if received.body == "good riddance" => Some(()),
            _ => None,
        })
        .await;
        dora.unban(&me).await.unwrap();
        read(&dora, "the text after the ban", |message| {
            message.body() == Some("carol: good riddance")
        })
        .await;
        let spam: Vec<String> = texts(&dora)
            .await
            .into_iter()
            .filter(|text| text.starts_with("mallory: "))
            .collect();
        assert_eq!(spam, ["mallory: spam 0"], "{}", server.domain);
        bridge.end().await;
        carol.close().await;
        mallory.close().await;
    }
}
