//! `people = "each"`: everybody of the XMPP room has their own identity in the community.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, Receiver};
use ackpost_xmpp::{About, Content, Event, Outgoing};
use common::*;
use sogs_client::{ListOptions, Message, Post, Room, Row, SessionId};

const EACH: &str = "people = 'each'";

/// The authors and names of all messages with a text.
async fn authors(room: &Room, text: &str) -> Vec<(SessionId, String)> {
    let messages = room.recent(ListOptions::limit(100)).await.unwrap();
    messages
        .iter()
        .filter(|message| message.body() == Some(text))
        .map(|message| {
            (
                message.author,
                message.display_name().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

async fn with_text(room: &Room, text: &str) -> Message {
    read(room, text, |message| message.body() == Some(text)).await
}

/// Texts, edits, reactions, answers, actions and deletions are those of the person, also after a restart.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one life of a bridge, event after event")]
async fn people_have_identities_of_their_own_that_survive_a_restart() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let (carol, _events) = stage.join("carol", "carol").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge(EACH).await;
    enters(&mut events, "Session").await;

    let sent = say(&alice, &stage, "hello").await;
    let place = hear(&mut events, "the own text", |body| body == "hello")
        .await
        .archive
        .unwrap()
        .id;
    let hello = with_text(&dora, "hello").await;
    assert_eq!(hello.display_name(), Some("alice"));
    say(&carol, &stage, "/me waves").await;
    let waves = with_text(&dora, "* carol waves").await;
    assert_ne!(waves.author, hello.author);
    let bridge_id = stage.main(BRIDGE).server().my_id().await.unwrap();
    assert!(![hello.author, waves.author].contains(&bridge_id));

    // Reactions of two people count as two; nobody's is shown in the XMPP room as one of the community.
    let react = |emoji: &[&str]| {
        let mut reaction = Outgoing::new(stage.target(), Content::text(""));
        reaction.about = Some(About::Reactions {
            id: place.clone(),
            emoji: emoji.iter().map(|&one| one.to_owned()).collect(),
        });
        reaction
    };
    send(&alice, react(&["👍"])).await;
    send(&carol, react(&["👍", "🎉"])).await;
    let count =
        |message: &Message, emoji: &str| message.reactions.get(emoji).map_or(0, |reaction| reaction.count);
    read(&dora, "both reactions", |message| {
        message.id == hello.id && (count(message, "👍"), count(message, "🎉")) == (2, 1)
    })
    .await;
    send(&carol, react(&[])).await;
    read(&dora, "the reaction of one", |message| {
        message.id == hello.id && (count(message, "👍"), count(message, "🎉")) == (1, 0)
    })
    .await;

    let mut correction = Outgoing::new(stage.target(), Content::text("hello, all"));
    correction.replaces = Some(sent);
    send(&alice, correction).await;
    let edited = with_text(&dora, "hello, all").await;
    assert_eq!((edited.id, edited.author), (hello.id, hello.author));

    // Somebody of the community answers Alice, and Alice answers them.
    dora.post(Post::text("welcome").name("dora").reply_to(&edited))
        .await
        .unwrap();
    let welcome = hear(&mut events, "the answer", |body| body.ends_with("dora: welcome")).await;
    assert_eq!(welcome.reply.clone().unwrap().id, place);
    let mut answer = Outgoing::new(stage.target(), Content::text("thanks"));
    answer.about = Some(About::Reply {
        id: welcome.archive.unwrap().id,
        to: welcome.from,
        quoted: 0,
    });
    send(&alice, answer).await;
    let thanks = with_text(&dora, "thanks").await;
    assert_eq!(thanks.author, hello.author);
    let quote = thanks
        .content()
        .unwrap()
        .data_message
        .clone()
        .unwrap()
        .quote
        .unwrap();
    assert_eq!(
        quote.author,
        Some(dora.server().my_id().await.unwrap().to_string())
    );
    bridge.kill().await;

    let bridge = stage.bridge(EACH).await;
    say(&alice, &stage, "again").await;
    let again = with_text(&dora, "again").await;
    assert_eq!(again.author, hello.author, "the same person after a restart");
    let mut retraction = Outgoing::new(stage.target(), Content::text("gone"));
    retraction.about = Some(About::Retraction { id: place });
    send(&alice, retraction).await;
    tokio::time::timeout(PATIENCE, async {
        while dora.message(hello.id).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .unwrap();
    bridge.end().await;

    // The same bridge with one identity for all: what it once posted under others is still its own, and does not come back.
    let bridge = stage.bridge("").await;
    say(&alice, &stage, "as one").await;
    let as_one = with_text(&dora, "alice: as one").await;
    assert_eq!(as_one.author, bridge_id);
    let quiet = tokio::time::timeout(Duration::from_secs(4), async {
        loop {
            match events.next().await {
                Some(Event::Room(received)) if received.bridge.is_some() => return received.body,
                Some(Event::Reaction { from, .. }) if from.resource() == Some("Session") => {
                    return "a reaction".to_owned();
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    })
    .await;
    assert!(quiet.is_err(), "{quiet:?}");
    bridge.end().await;
}

/// A ban in the community hits one person, who is told; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_ban_in_the_community_hits_one_person() {
    let stage = Stage::new(Prosody::shared()).await;
    stage.make_admin(0xd0).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let (carol, _events) = stage.join("carol", "carol").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge(EACH).await;
    enters(&mut events, "Session").await;
    say(&alice, &stage, "spam").await;
    let spam = with_text(&dora, "spam").await;
    let place = hear(&mut events, "the spam", |body| body == "spam")
        .await
        .archive
        .unwrap()
        .id;
    dora.ban(&spam.author, None).await.unwrap();
    say(&alice, &stage, "more spam").await;
    say(&carol, &stage, "what was that?").await;
    with_text(&dora, "what was that?").await;
    let told = wait(&mut events, "the private line", |event| match event {
        Event::Chat(received) => Some(received.body.clone()),
        _ => None,
    })
    .await;
    assert!(
        told.starts_with("Your message “more spam” did not reach the community: ")
            && told.ends_with("ask a moderator of the community"),
        "{told}"
    );
    assert!(authors(&dora, "more spam").await.is_empty());
    // The bridge is a moderator, so it still deletes what she retracts.
    let mut retraction = Outgoing::new(stage.target(), Content::text("gone"));
    retraction.about = Some(About::Retraction { id: place });
    send(&alice, retraction).await;
    tokio::time::timeout(PATIENCE, async {
        while dora.message(spam.id).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .unwrap();
    bridge.end().await;
}

/// A nick that somebody else takes over does not bring the identity of its former owner along.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_nick_is_another_person() {
    let stage = Stage::new(Prosody::shared()).await;
    let (_carol, mut events) = stage.join("carol", "carol").await;
    let (alice, _events) = stage.join("alice", "boss").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge(EACH).await;
    enters(&mut events, "Session").await;
    say(&alice, &stage, "from the boss").await;
    let boss = with_text(&dora, "from the boss").await;
    alice.close().await;
    let (port, domain) = (stage.server.port, stage.server.domain.clone());
    let place = stage.place.clone();
    tokio::task::spawn_blocking(move || {
        let mut dave = Receiver::join(port, &domain, "dave", "pä ss,=1", &[]);
        dave.send(&format!(
            "<presence to='{place}/boss'><x xmlns='http://jabber.org/protocol/muc'/></presence>\
             <message to='{place}' type='groupchat' id='d1'><body>give me money</body></message>"
        ));
        std::thread::sleep(Duration::from_secs(3));
    })
    .await
    .unwrap();
    let forged = with_text(&dora, "give me money").await;
    assert_eq!(forged.display_name(), Some("boss"));
    assert_ne!(forged.author, boss.author);

    bridge.end().await;
}

/// The messages of all rounds with the names of their authors, in order, and the ids behind each name.
async fn rounds(dora: &Room) -> (Vec<(String, String)>, HashMap<String, HashSet<SessionId>>) {
    let mut crossed = Vec::new();
    let mut authors: HashMap<String, HashSet<SessionId>> = HashMap::new();
    let mut since = 0;
    loop {
        let rows = dora.since(since, ListOptions::limit(256)).await.unwrap();
        let Some(last) = rows.last() else { break };
        since = last.seqno();
        for row in rows {
            if let Row::Message(message) = row
                && let Some(text) = message.body().filter(|text| text.starts_with("round "))
            {
                let name = message.display_name().unwrap_or_default().to_owned();
                authors.entry(name.clone()).or_default().insert(message.author);
                crossed.push((text.to_owned(), name));
            }
        }
    }
    (crossed, authors)
}

/// Fifty people, a kill in the middle, and reactions of all of them to one message: everybody keeps their identity, nothing is
/// lost, doubled or out of order.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_people_have_fifty_identities_over_a_kill() {
    const PEOPLE: usize = 50;
    let stage = Stage::new(Prosody::shared()).await;
    let (carol, mut events) = stage.join("carol", "carol").await;
    let dora = stage.main(0xd0);
    let mut bridge = stage.bridge(EACH).await;
    enters(&mut events, "Session").await;
    let mut people = Vec::new();
    for number in 1..=PEOPLE {
        let (session, mut unread) = stage
            .join(&format!("keys{number}"), &format!("guest {number}"))
            .await;
        tokio::spawn(async move { while unread.next().await.is_some() {} });
        people.push(session);
    }
    let mut expected = Vec::new();
    for round in 0..3 {
        for (at, session) in people.iter().enumerate() {
            let text = format!("round {round} of guest {}", at + 1);
            say(session, &stage, &text).await;
            expected.push((text, format!("guest {}", at + 1)));
        }
        if round == 1 {
            bridge.kill().await;
            bridge = stage.bridge(EACH).await;
        }
    }
    say(&carol, &stage, "like it?").await;
    let place = hear(&mut events, "the question", |body| body == "like it?")
        .await
        .archive
        .unwrap()
        .id;
    tokio::time::timeout(Duration::from_mins(5), async {
        while !texts(&dora).await.contains(&"like it?".to_owned()) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("the last message crosses");
    let (crossed, authors) = rounds(&dora).await;
    assert_eq!(
        crossed, expected,
        "each once, in order, under the name of its author"
    );
    assert_eq!(authors.len(), PEOPLE);
    assert!(authors.values().all(|ids| ids.len() == 1), "{authors:?}");
    let all: HashSet<&SessionId> = authors.values().flatten().collect();
    assert_eq!(all.len(), PEOPLE, "no two people share an identity");

    for session in &people {
        let mut reaction = Outgoing::new(stage.target(), Content::text(""));
        let emoji = vec!["👍".to_owned()];
        let id = place.clone();
        reaction.about = Some(About::Reactions { id, emoji });
        send(session, reaction).await;
    }
    let question = with_text(&dora, "like it?").await;
    let count = async || {
        let message = dora.message(question.id).await.unwrap();
        message.reactions.get("👍").map_or(0, |reaction| reaction.count)
    };
    tokio::time::timeout(Duration::from_mins(5), async {
        while count().await < PEOPLE as u64 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("all reactions cross");
    assert_eq!(count().await, PEOPLE as u64);
    bridge.end().await;
}

/// A room without permanent ids (XEP-0421) cannot tell people apart: all speak through the bridge.
#[tokio::test(flavor = "multi_thread")]
async fn without_permanent_ids_everybody_speaks_through_the_bridge() {
    let stage = Stage::new(Ejabberd::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let (carol, _events) = stage.join("carol", "carol").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge(EACH).await;
    enters(&mut events, "Session").await;
    say(&alice, &stage, "hello").await;
    say(&carol, &stage, "hello too").await;
    let bridge_id = stage.main(BRIDGE).server().my_id().await.unwrap();
    for text in ["alice: hello", "carol: hello too"] {
        assert_eq!(with_text(&dora, text).await.author, bridge_id, "{text}");
    }
    bridge.end().await;
}
