//! The events that cross between a room of a real XMPP server and a community, and how they are shown.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use ackpost_testkit::{Ejabberd, Prosody, Receiver, XmppServer};
use ackpost_xmpp::{About, Content, Event, Outgoing, Received};
use common::*;
use sogs_client::Post;

fn room_text(event: &Event, fits: impl Fn(&Received) -> bool) -> Option<Received> {
    match event {
        Event::Room(received) if fits(received) => Some(received.clone()),
        _ => None,
    }
}

async fn everything_crosses(server: &'static XmppServer) {
    let stage = Stage::new(server).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let bridge = stage.bridge("").await;
    enters(&mut events, "Session").await;
    let dora = stage.main(0xd0);
    from_xmpp(&stage, &alice, &mut events, &dora).await;
    from_session(&alice, &mut events, &dora).await;
    bridge.end().await;
}

/// A text, an action, a correction, a reaction and a retraction cross into the community.
async fn from_xmpp(
    stage: &Stage,
    alice: &ackpost_xmpp::Session,
    events: &mut ackpost_xmpp::Events,
    dora: &sogs_client::Room,
) {
    let id = say(alice, stage, "hello\nbob: forged").await;
    let place = wait(events, "the own text", |event| {
        room_text(event, |received| {
            received.own && received.body.starts_with("hello")
        })
    })
    .await
    .archive
    .unwrap()
    .id;
    let crossed = read(dora, "the text", |message| {
        message.body() == Some("alice: hello\n  bob: forged")
    })
    .await;
    say(alice, stage, "/me waves").await;
    read(dora, "the action", |message| {
        message.body() == Some("* alice waves")
    })
    .await;

    let mut correction = Outgoing::new(stage.target(), Content::text("hello, all"));
    correction.replaces = Some(id);
    send(alice, correction).await;
    read(dora, "the correction", |message| {
        message.id == crossed.id && message.body() == Some("alice: hello, all")
    })
    .await;

    let react = |emoji: &[&str]| {
        let mut reaction = Outgoing::new(stage.target(), Content::text(""));
        reaction.about = Some(About::Reactions {
            id: place.clone(),
            emoji: emoji.iter().map(|&emoji| emoji.to_owned()).collect(),
        });
        reaction
    };
    send(alice, react(&["👍", "🎉"])).await;
    read(dora, "the reactions", |message| {
        message.id == crossed.id && message.reactions.len() == 2
    })
    .await;
    send(alice, react(&["🎉"])).await;
    read(dora, "the change of the reactions", |message| {
        message.id == crossed.id && message.reactions.keys().map(String::as_str).eq(["🎉"])
    })
    .await;

    // Dora answers what Alice wrote: the answer points to it in the room.
    let posted = dora
        .post(Post::text("nice to hear").name("dora").reply_to(&crossed))
        .await
        .unwrap();
    let answer = wait(events, "the answer", |event| {
        room_text(event, |received| received.body.ends_with("dora: nice to hear"))
    })
    .await;
    assert_eq!(answer.reply.clone().unwrap().id, place);
    assert_eq!(answer.own_words(), "dora: nice to hear");
    assert_eq!(answer.bridge.as_deref(), Some("lobby"));
    // Programs replace the whole message by its correction: without the reference it would be no answer any more.
    dora.edit(posted.id, Post::text("good to hear")).await.unwrap();
    let corrected = wait(events, "the correction of the answer", |event| match event {
        Event::Correction(received) if !received.own => Some(received.clone()),
        _ => None,
    })
    .await;
    assert_eq!(corrected.replaces, answer.origin_id);
    assert_eq!(corrected.reply.clone().map(|reply| reply.id), Some(place.clone()));
    assert_eq!(corrected.own_words(), "dora: good to hear");

    let mut retraction = Outgoing::new(stage.target(), Content::text("taken back"));
    retraction.about = Some(About::Retraction { id: place });
    send(alice, retraction).await;
    tokio::time::timeout(PATIENCE, async {
        while texts(dora).await.iter().any(|text| text == "alice: hello, all") {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await
    .expect("the message is deleted");
}

/// A text, an edit, a reaction, an answer and a deletion cross into the XMPP room.
async fn from_session(
    alice: &ackpost_xmpp::Session,
    events: &mut ackpost_xmpp::Events,
    dora: &sogs_client::Room,
) {
    let posted = dora
        .post(Post::text("from afar").name("al\u{202e}ice"))
        .await
        .unwrap();
    let id = dora.server().my_id().await.unwrap().to_string();
    let shown = format!("a\u{2060}lice#{}: from afar", &id[id.len() - 4..]);
    let crossed = wait(events, "the text", |event| {
        room_text(event, |received| received.body == shown)
    })
    .await;
    let place = crossed.archive.clone().unwrap().id;

    // An answer by Alice points to it in the community.
    let mut answer = Outgoing::new(
        ackpost_xmpp::RoomTarget::new(crossed.from.clone().unwrap().to_bare()),
        Content::text("> from afar\nwelcome"),
    );
    answer.about = Some(About::Reply {
        id: place.clone(),
        to: crossed.from.clone(),
        quoted: 12,
    });
    send(alice, answer).await;
    let seen = read(dora, "the answer", |message| {
        message.body().is_some_and(|body| body.ends_with(": welcome"))
    })
    .await;
    let quote = seen
        .content()
        .unwrap()
        .data_message
        .clone()
        .unwrap()
        .quote
        .unwrap();
    let own = dora.message(posted.id).await.unwrap();
    assert_eq!(
        (quote.id, quote.author),
        (Some(own.quote_id()), Some(own.author.to_string()))
    );

    dora.edit(posted.id, Post::text("from far away")).await.unwrap();
    let correction = wait(events, "the correction", |event| match event {
        Event::Correction(received) => Some(received.clone()),
        _ => None,
    })
    .await;
    assert!(
        correction.body.ends_with(": from far away"),
        "{}",
        correction.body
    );
    assert_eq!(
        correction.replaces, crossed.origin_id,
        "the first version is named"
    );
    assert_ne!(correction.id, crossed.id, "a correction has its own id");

    dora.react(posted.id, "👀").await.unwrap();
    let reaction = wait(events, "the reaction", |event| match event {
        Event::Reaction {
            to,
            emoji,
            own: false,
            ..
        } => Some((to.clone(), emoji.clone())),
        _ => None,
    })
    .await;
    assert_eq!(reaction, (place.clone(), vec!["👀".to_owned()]));

    dora.delete(posted.id).await.unwrap();
    let gone = wait(events, "the retraction", |event| match event {
        Event::Retracted(retraction) if !retraction.own => Some(retraction.id.clone()),
        _ => None,
    })
    .await;
    assert_eq!(gone, place);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_crosses_on_prosody() {
    everything_crosses(Prosody::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_crosses_on_ejabberd() {
    everything_crosses(Ejabberd::shared()).await;
}

/// Corrections and answers as lines: `edits = "note"` and `replies = "quote"`.
#[tokio::test(flavor = "multi_thread")]
async fn edits_and_answers_may_cross_as_lines() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::new(server).await;
        let (alice, mut events) = stage.join("alice", "alice").await;
        let dora = stage.main(0xd0);
        let bridge = stage.bridge("edits = 'note'\nreplies = 'quote'").await;
        warm(&stage, &alice, &mut events).await;
        let id = say(&alice, &stage, "hello").await;
        let own = hear(&mut events, "the own text", |body| body == "hello").await;
        let place = own.archive.unwrap().id;
        let first = read(&dora, "the text", |message| {
            message.body() == Some("alice: hello")
        })
        .await;
        let mut correction = Outgoing::new(stage.target(), Content::text("hello, all"));
        correction.replaces = Some(id);
        send(&alice, correction).await;
        let note = read(&dora, "the note", |message| {
            message.body() == Some("\u{270f} alice: > hello\nhello, all")
        })
        .await;
        assert_ne!(note.id, first.id);
        let unchanged = dora.message(first.id).await.unwrap();
        assert_eq!(unchanged.body(), Some("alice: hello"));
        let posted = dora.post(Post::text("good day").name("dora")).await.unwrap();
        hear(&mut events, "the post", |body| body == "dora: good day").await;
        dora.edit(posted.id, Post::text("good evening")).await.unwrap();
        let note = hear(&mut events, "the note", |body| {
            body.ends_with("\u{270f} dora: good evening")
        })
        .await;
        assert!(
            note.body.starts_with("> ") && note.reply.is_none(),
            "{}",
            note.body
        );
        bridge.end().await;

        // An edit of an answer keeps its quoted line.
        let bridge = stage.bridge("replies = 'quote'").await;
        let answer = |text: &str| {
            let mut answer = Outgoing::new(stage.target(), Content::text(text));
            answer.about = Some(About::Reply {
                id: place.clone(),
                to: None,
                quoted: 0,
            });
            answer
        };
        let id = send(&alice, answer("indeed")).await;
        let crossed = read(&dora, "the answer", |message| {
            message.body() == Some("alice: > hello\nindeed")
        })
        .await;
        let mut correction = answer("indeed so");
        correction.replaces = Some(id);
        send(&alice, correction).await;
        read(&dora, "the corrected answer", |message| {
            message.id == crossed.id && message.body() == Some("alice: > hello\nindeed so")
        })
        .await;
        bridge.end().await;
    }
}

/// A moderator of the XMPP room removes messages of both sides (XEP-0425, which Prosody knows): the community loses them too.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_moderator_of_the_xmpp_room_removes_are_deleted_in_the_community() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, _unread) = stage.join("alice", "alice").await;
    let (carol, mut events) = stage.join("carol", "carol").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &carol, &mut events).await;
    say(&carol, &stage, "spam").await;
    let own = hear(&mut events, "the spam", |body| body == "spam").await;
    let of_carol = read(&dora, "the spam", |message| message.body() == Some("carol: spam")).await;
    let of_dora = dora.post(Post::text("more spam").name("dora")).await.unwrap();
    let other = hear(&mut events, "the post", |body| body == "dora: more spam").await;
    for (place, id) in [(own, of_carol.id), (other, of_dora.id)] {
        let place = place.archive.unwrap().id;
        let room = stage.target().room;
        assert!(alice.moderate(&room, &place, "spam").await.unwrap());
        tokio::time::timeout(PATIENCE, async {
            while dora.message(id).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        })
        .await
        .expect("the message is deleted");
    }
    bridge.end().await;
}

/// Signs of typing, markers, receipts and private messages of the room stay where they are.
#[tokio::test(flavor = "multi_thread")]
async fn only_messages_to_all_cross() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::new(server).await;
        let (_alice, mut events) = stage.join("alice", "alice").await;
        let dora = stage.main(0xd0);
        let bridge = stage.bridge("").await;
        enters(&mut events, "Session").await;
        let (port, domain, place) = (server.port, server.domain.clone(), stage.place.clone());
        let carol = tokio::task::spawn_blocking(move || {
            let mut carol = Receiver::join(port, &domain, "carol", "carolpass", &[&place]);
            let to_all =
                |payload: &str| format!("<message to='{place}' type='groupchat'>{payload}</message>");
            for payload in [
                "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
                "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
                "<received xmlns='urn:xmpp:receipts' id='x'/>",
            ] {
                carol.send(&to_all(payload));
            }
            carol.send(&format!(
                "<message to='{place}/Session' type='chat'><body>in private</body></message>"
            ));
            carol.send(&to_all("<body>to all</body>"));
            carol
        })
        .await
        .unwrap();
        read(&dora, "the message to all", |message| {
            message.body() == Some("carol: to all")
        })
        .await;
        assert_eq!(texts(&dora).await, ["carol: to all"], "{}", server.domain);
        drop(carol);
        bridge.end().await;
    }
}
