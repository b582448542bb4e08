//! Behaviour of a bridge under too much traffic, after an absence, and when a side refuses it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, Receiver, XmppServer};
use ackpost_xmpp::{About, Content, Event, Outgoing, Session, SessionOptions};
use common::*;
use sogs_client::{Message, Post};
use sqlx::Connection as _;

/// Of what was missed, the newest messages cross, and a line counts the others.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_of_many_missed_messages_cross_and_a_line_counts_the_others() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::new(server).await;
        stage.make_admin(0xd0).await;
        let (alice, mut events) = stage.join("alice", "alice").await;
        let dora = stage.main(0xd0);
        let bridge = stage.bridge("").await;
        warm(&stage, &alice, &mut events).await;
        bridge.kill().await;
        for number in 0..7 {
            say(&alice, &stage, &format!("word {number}")).await;
            dora.post(Post::text(format!("note {number}")).name("dora"))
                .await
                .unwrap();
        }
        let bridge = stage.bridge_within("", |limits| limits.backlog = 3).await;
        hear(&mut events, "the last note", |body| body == "dora: note 6").await;
        read(&dora, "the last word", |message| {
            message.body() == Some("alice: word 6")
        })
        .await;
        let from_xmpp: Vec<String> = texts(&dora)
            .await
            .into_iter()
            .filter(|text| text.starts_with("alice: word") || text.contains("not carried"))
            .collect();
        assert_eq!(
            from_xmpp,
            [
                "4 earlier messages were not carried.",
                "alice: word 4",
                "alice: word 5",
                "alice: word 6"
            ],
            "{}",
            server.domain
        );
        // In the XMPP room the same, as everybody who comes later finds it in the archive.
        let shown = archive(&stage).await;
        let notes: Vec<&String> = shown
            .iter()
            .filter(|text| text.starts_with("dora: note") || text.contains("not carried"))
            .collect();
        assert_eq!(
            notes,
            [
                "4 earlier messages were not carried.",
                "dora: note 4",
                "dora: note 5",
                "dora: note 6"
            ]
        );
        bridge.end().await;
    }
}

/// The texts of the XMPP room, oldest first.
async fn archive(stage: &Stage) -> Vec<String> {
    let mut options = SessionOptions::default();
    options.rooms = vec![stage.target()];
    options.catch_up = vec![(stage.target().room, Some("0".to_owned()))];
    let (session, mut events) = Session::open(&stage.account("carol", "reader"), options)
        .await
        .unwrap();
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(event) = events.next().await {
            if let Event::Room(received) = event {
                seen.push(received.body);
            }
        }
    })
    .await;
    session.close().await;
    seen
}

/// With `backfill = "0"`, no earlier message crosses.
#[tokio::test(flavor = "multi_thread")]
async fn without_backfill_nothing_of_before_crosses() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    bridge.kill().await;
    say(&alice, &stage, "missed").await;
    dora.post(Post::text("missed too").name("dora")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let bridge = stage.bridge("backfill = '0'").await;
    hear(&mut events, "the gap", |body| {
        body == "1 earlier message was not carried."
    })
    .await;
    read(&dora, "the gap", |message| {
        message.body() == Some("1 earlier message was not carried.")
    })
    .await;
    say(&alice, &stage, "now").await;
    read(&dora, "the text of now", |message| {
        message.body() == Some("alice: now")
    })
    .await;
    assert!(!texts(&dora).await.contains(&"alice: missed".to_owned()));
    bridge.end().await;
}

fn is_marked(message: &Message) -> bool {
    message.reactions.keys().any(|emoji| emoji == "⚠️")
}

/// A message that waited too long gets a mark, and its author one private line.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_expired_is_marked_and_its_author_told_once() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::new(server).await;
        stage.make_admin(0xd0).await;
        let (alice, mut events) = stage.join("alice", "alice").await;
        let dora = stage.main(0xd0);
        let bridge = stage
            .bridge_within("", |limits| limits.expiry = Duration::from_secs(8))
            .await;
        warm(&stage, &alice, &mut events).await;
        bridge.store.set_paused("lobby", true).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut places = Vec::new();
        for number in 0..2 {
            let body = format!("too late {number}");
            say(&alice, &stage, &body).await;
            let own = hear(&mut events, "the own text", |heard| heard == body).await;
            places.push(own.archive.unwrap().id);
        }
        let posted = dora.post(Post::text("also too late").name("dora")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        // Messages that wait during a pause by command cross afterwards. This test removes the pause as if it had never been.
        let mut database = sqlx::SqliteConnection::connect(stage.database().to_str().unwrap())
            .await
            .unwrap();
        sqlx::query("UPDATE bridge_meta SET value = '' WHERE name = 'paused'")
            .execute(&mut database)
            .await
            .unwrap();

        let (mut marked, mut lines) = (Vec::new(), Vec::new());
        let _ = tokio::time::timeout(Duration::from_secs(12), async {
            while let Some(event) = events.next().await {
                match event {
                    Event::Reaction { to, emoji, .. } if emoji == ["⚠️"] => marked.push(to),
                    Event::Chat(received) => lines.push(received),
                    _ => {}
                }
            }
        })
        .await;
        assert_eq!(marked, places, "{}", server.domain);
        assert_eq!(lines.len(), 1, "one private line: {lines:?}");
        assert_eq!(lines[0].from.as_ref().unwrap().resource(), Some("Session"));
        assert!(
            lines[0].body.starts_with(
                "Your message “too late 0” did not reach the community: it waited for more than 8 seconds"
            ),
            "{}",
            lines[0].body
        );
        read(&dora, "the mark", |message| {
            message.id == posted.id && is_marked(message)
        })
        .await;
        let direct = tokio::time::timeout(PATIENCE, async {
            loop {
                let inbox = dora.server().inbox().received(None).await.unwrap();
                if let Some(first) = inbox.first() {
                    assert_eq!(inbox.len(), 1);
                    return first.body().unwrap_or_default().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
        .await
        .unwrap();
        assert!(
            direct.starts_with("Your message “also too late” did not reach the XMPP room: "),
            "{direct}"
        );
        bridge.end().await;
    }
}

/// The community takes 5 posts in 16 seconds of a bridge that is not an admin: the others wait, which is told; those that find
/// the queue full are counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_delay_and_a_full_queue_are_told_where_the_messages_were_written() {
    let stage = Stage::without_admin(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage
        .bridge_within("", |limits| {
            limits.waiting = 8;
            limits.delay_told = Duration::from_secs(4);
        })
        .await;
    enters(&mut events, "Session").await;
    let all: Vec<Outgoing> = (0..14)
        .map(|number| Outgoing::new(stage.target(), Content::text(format!("word {number}"))))
        .collect();
    for outcome in alice.send(all).await {
        outcome.into_result().unwrap();
    }
    let mut lost = 0;
    let mut told = Vec::new();
    while told.len() < 3 {
        let line = hear(&mut events, "the delay, its end, and what was lost", |body| {
            body.starts_with("Messages to the community are ") || body.contains("because the queue was full")
        })
        .await
        .body;
        if let Some((count, _)) = line.split_once(" message")
            && let Ok(count) = count.parse::<usize>()
        {
            lost = count;
        }
        told.push(line);
    }
    told.sort();
    assert!(
        told[0].ends_with(" did not reach the community, because the queue was full.")
            && told[1].starts_with("Messages to the community are delayed; ")
            && told[2] == "Messages to the community are no longer delayed.",
        "{told:?}"
    );
    // Nothing else is lost, and what crosses keeps its order.
    tokio::time::timeout(PATIENCE, async {
        while texts(&dora).await.len() < 14 - lost {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await
    .unwrap();
    let all = texts(&dora).await;
    assert!(lost > 0 && all.len() == 14 - lost, "{told:?} {all:?}");
    let numbers: Vec<usize> = all
        .iter()
        .map(|text| text.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{all:?}");
    bridge.end().await;
}

/// After a kick the bridge comes back later, and what was written meanwhile crosses; after a ban it stays out.
#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_bridge_comes_back_and_a_banned_one_does_not() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let stage = Stage::new(server).await;
        let (carol, mut events) = stage.join("carol", "carol").await;
        let dora = stage.main(0xd0);
        let bridge = stage
            .bridge_within("", |limits| limits.back_after = [Duration::from_secs(4); 2])
            .await;
        warm(&stage, &carol, &mut events).await;
        stage
            .as_owner(&["<item nick='Session' role='none'/>".into()])
            .await;
        say(&carol, &stage, "meanwhile").await;
        read(&dora, "the line about the kick", |message| {
            message.body() == Some("The bridge is out of the XMPP room and tries again in 4 seconds.")
        })
        .await;
        read(&dora, "the text of meanwhile", |message| {
            message.body() == Some("carol: meanwhile")
        })
        .await;
        dora.post(Post::text("back").name("dora")).await.unwrap();
        hear(&mut events, "the post after the return", |body| {
            body == "dora: back"
        })
        .await;

        stage
            .as_owner(&[format!(
                "<item jid='bob@{}' affiliation='outcast'/>",
                server.domain
            )])
            .await;
        read(&dora, "the line about the ban", |message| {
            message.body() == Some("The bridge is banned from the XMPP room. It no longer carries messages.")
        })
        .await;
        let came_back = tokio::time::timeout(Duration::from_secs(9), enters(&mut events, "Session")).await;
        assert!(came_back.is_err(), "it came back after a ban");
        bridge.kill().await;
    }
}

/// A community that refuses the bridge pauses one direction; the XMPP room is told once, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_community_pauses_that_direction_and_loses_nothing() {
    let stage = Stage::without_admin(Prosody::shared()).await;
    stage.make_admin(0xd0).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage
        .bridge_within("", |limits| limits.refused = [Duration::from_secs(3); 3])
        .await;
    warm(&stage, &alice, &mut events).await;
    let me = stage.main(BRIDGE).server().my_id().await.unwrap();
    dora.ban(&me, None).await.unwrap();
    for number in 0..3 {
        say(&alice, &stage, &format!("word {number}")).await;
    }
    hear(&mut events, "the refusal", |body| {
        body.starts_with("The community refuses the bridge: ") && body.contains("again in 3 seconds")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    dora.unban(&me).await.unwrap();
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
    bridge.end().await;
}

async fn deleted_by_a_moderator(server: &'static XmppServer, is_moderator: bool, expected: bool) {
    let stage = Stage::new(server).await;
    stage.make_admin(0xd0).await;
    let (carol, mut events) = stage.join("carol", "carol").await;
    let dora = stage.main(0xd0);
    if is_moderator {
        let item = format!("<item jid='bob@{}' affiliation='admin'/>", server.domain);
        stage.as_owner(&[item]).await;
    }
    let bridge = stage.bridge("").await;
    warm(&stage, &carol, &mut events).await;
    say(&carol, &stage, "spam").await;
    let place = hear(&mut events, "the spam", |body| body == "spam")
        .await
        .archive
        .unwrap()
        .id;
    let crossed = read(&dora, "the spam", |message| message.body() == Some("carol: spam")).await;
    // The community reports the deletion of what the bridge has seen there; it looks every second.
    tokio::time::sleep(Duration::from_secs(4)).await;
    dora.delete(crossed.id).await.unwrap();
    let line =
        "A moderator of the community removed a message of carol there. The bridge cannot remove it here.";
    let removed = wait(&mut events, "the removal", |event| match event {
        Event::Retracted(retraction) if retraction.id == place && retraction.moderated.is_some() => {
            Some(true)
        }
        Event::Room(received) if received.body == line => Some(false),
        _ => None,
    })
    .await;
    assert_eq!(removed, expected, "{:?}", server.kind);

    // A message that its author retracts disappears on the other side, and nobody is told of a moderator.
    say(&carol, &stage, "taken back").await;
    let own = hear(&mut events, "the own text", |body| body == "taken back").await;
    read(&dora, "the own text", |message| {
        message.body() == Some("carol: taken back")
    })
    .await;
    let mut retraction = Outgoing::new(stage.target(), Content::text("retracted"));
    retraction.about = Some(About::Retraction {
        id: own.archive.unwrap().id,
    });
    send(&carol, retraction).await;
    tokio::time::timeout(PATIENCE, async {
        while texts(&dora).await.iter().any(|text| text == "carol: taken back") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(4), async {
        loop {
            match events.next().await {
                Some(Event::Room(received)) if received.bridge.is_some() => return received.body,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    })
    .await;
    assert!(quiet.is_err(), "{quiet:?}");
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_moderator_of_the_community_deletes_is_removed_from_the_xmpp_room() {
    deleted_by_a_moderator(Prosody::shared(), true, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_does_not_let_the_bridge_remove_a_message_gets_a_line() {
    // Not a moderator, and an ejabberd that does not know the extension.
    deleted_by_a_moderator(Prosody::shared(), false, false).await;
    deleted_by_a_moderator(Ejabberd::shared(), true, false).await;
}

/// The announcement comes once for each text; a topic becomes a line in the community.
#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_announces_itself_once_and_carries_topics() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let announcements = |events: ackpost_xmpp::Events| async {
        let mut events = events;
        let mut count = 0;
        let _ = tokio::time::timeout(Duration::from_secs(5), async {
            while let Some(event) = events.next().await {
                if let Event::Room(received) = event
                    && received.body.starts_with("Bridged")
                {
                    count += 1;
                }
            }
        })
        .await;
        count
    };
    for (text, expected) in [("Bridged.", 1), ("Bridged.", 0), ("Bridged again.", 1)] {
        let (carol, watched) = stage.join("carol", "carol").await;
        let mut parts = stage.parts("");
        parts.options.announce = text.to_owned();
        let bridge = stage.bridge_with(parts).await;
        assert_eq!(announcements(watched).await, expected, "{text}");
        carol.close().await;
        bridge.end().await;
    }
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    let mut topic = Content::text("");
    topic.subject = Some("Spring cleaning".to_owned());
    send(&alice, Outgoing::new(stage.target(), topic)).await;
    read(&dora, "the topic", |message| {
        message.body() == Some("* alice changed the topic to: Spring cleaning")
    })
    .await;
    bridge.end().await;
}

/// A break that is longer than a signature counts, in the middle of a long message: the rest is signed anew, and the part that
/// arrived is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_break_in_the_middle_of_a_message_repeats_no_part() {
    let stage = Stage::without_admin(Prosody::shared()).await;
    stage.make_admin(0xd0).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage
        .bridge_within("", |limits| {
            limits.refused = [Duration::from_secs(2); 3];
            limits.signed_for = Duration::from_secs(3);
        })
        .await;
    enters(&mut events, "Session").await;
    // The community takes 5 posts in 16 seconds: the first part is the fifth, and the second one waits.
    for number in 0..4 {
        say(&alice, &stage, &format!("word {number}")).await;
    }
    say(&alice, &stage, &"long ".repeat(900)).await;
    read(&dora, "the first part", |message| {
        message.body().is_some_and(|body| body.ends_with("(1/3)"))
    })
    .await;
    let me = stage.main(BRIDGE).server().my_id().await.unwrap();
    dora.ban(&me, None).await.unwrap();
    hear(&mut events, "the refusal", |body| {
        body.starts_with("The community refuses the bridge: ")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    dora.unban(&me).await.unwrap();
    read(&dora, "the last part", |message| {
        message.body().is_some_and(|body| body.ends_with("(3/3)"))
    })
    .await;
    let parts: Vec<String> = texts(&dora)
        .await
        .iter()
        .filter_map(|text| text.rsplit_once(" (").map(|(_, end)| end.to_owned()))
        .collect();
    assert_eq!(parts, ["1/3)", "2/3)", "3/3)"]);
    bridge.end().await;
}

/// People who come and go make no line in the community, and do not hold up what is said.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_people_who_come_and_go_make_no_line() {
    let stage = Stage::new(Prosody::shared()).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    let before = texts(&dora).await;
    let (port, domain) = (stage.server.port, stage.server.domain.clone());
    let place = stage.place.clone();
    let began = std::time::Instant::now();
    tokio::task::spawn_blocking(move || {
        let mut dave = Receiver::join(port, &domain, "dave", "pä ss,=1", &[]);
        for number in 0..2_000 {
            dave.send(&format!(
                "<presence to='{place}/guest {number}'><x xmlns='http://jabber.org/protocol/muc'/></presence>\
                 <presence to='{place}/guest {number}' type='unavailable'/>"
            ));
        }
        let last = format!("{place}/guest 1999");
        let gone = dave.wait(Duration::from_secs(120), |presence| {
            presence.attr("from") == last && presence.attr("type") == "unavailable"
        });
        assert!(gone.is_some(), "all of them came and went");
    })
    .await
    .unwrap();
    println!("2,000 people came and went in {:?}", began.elapsed());
    say(&alice, &stage, "still here").await;
    read(&dora, "the text after the flood", |message| {
        message.body() == Some("alice: still here")
    })
    .await;
    let new: Vec<String> = texts(&dora).await.into_iter().skip(before.len()).collect();
    assert_eq!(new, ["alice: still here"]);
    // Nobody of them is remembered as being there: a name of theirs in the community needs no suffix.
    dora.post(Post::text("hello").name("guest 7")).await.unwrap();
    hear(&mut events, "the post", |body| body == "guest 7: hello").await;
    bridge.end().await;
}
