//! Kept sessions against real servers: what arrives, and what breaks in between.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Prosody, Receiver, Relay, RelayOptions, ServerOptions, XmppServer};
use ackpost_xmpp::{
    Confirm, ConfirmedBy, Content, Event, Events, Mode, Outcome, Outgoing, Received, RoomTarget, Session,
    SessionOptions, XmppError,
};
use common::*;

/// Servers of one's own: a receiver hears what other tests send to its account.
fn both() -> [XmppServer; 2] {
    [
        Prosody::start(ServerOptions::default()),
        Ejabberd::start(ServerOptions::default()),
    ]
}

/// The next event that fits; others are passed over.
async fn wait<T>(events: &mut Events, what: &str, mut fits: impl FnMut(Event) -> Option<T>) -> T {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(event) = events.next().await {
            seen.push(format!("{event:?}"));
            if let Some(found) = fits(event) {
                return Some(found);
            }
        }
        None
    })
    .await;
    match found {
        Ok(Some(found)) => found,
        _ => panic!("no {what}; seen: {seen:#?}"),
    }
}

fn chat(event: Event) -> Option<Received> {
    match event {
        Event::Chat(received) => Some(received),
        _ => None,
    }
}

fn receiving(rooms: &[String]) -> SessionOptions {
    SessionOptions::receiving(rooms.iter().map(|room| RoomTarget::new(jid(room))).collect())
}

async fn open(server: &XmppServer, user: &str, options: SessionOptions) -> (Session, Events) {
    Session::open(&account(server, user, Mode::StartTls), options)
        .await
        .unwrap()
}

async fn topic_is_seen(author: &Session, room_name: &str, events: &mut Events) {
    let topic = unique("topic");
    let subject = Content {
        subject: Some(topic.clone()),
        ..Content::default()
    };
    delivered(&author.send(vec![Outgoing::new(room(room_name), subject)]).await[0]);
    wait(events, "subject", |event| match event {
        Event::Subject { subject, .. } if subject == topic => Some(()),
        _ => None,
    })
    .await;
}

#[test]
fn everything_that_can_be_said_is_understood_on_the_other_side() {
    for server in &both() {
        block_on(async {
            let room_name = server.room("open");
            let (bob, mut events) = open(server, "bob", receiving(std::slice::from_ref(&room_name))).await;
            wait(&mut events, "own presence in the room", |event| match event {
                Event::Occupant {
                    own: true,
                    present: true,
                    nick,
                    ..
                } => Some(nick),
                _ => None,
            })
            .await;
            // A nick that no other test of the account has in this room.
            let nick = unique("alice").replace(' ', "-");
            let (alice, mut alice_events) = Session::open(
                &account(server, "alice", Mode::StartTls).nick(&nick),
                SessionOptions::default(),
            )
            .await
            .expect("a session");

            // A chat message, with a receipt.
            let body = unique("chat");
            let mut message = text(user("bob@localhost"), &body);
            message.confirm = Some(Confirm::Receipt);
            let proof = delivered(&alice.send(vec![message]).await[0]).clone();
            assert_eq!(proof.confirmed_by, ConfirmedBy::Receipt);
            let got = wait(&mut events, "chat", chat).await;
            assert_eq!(
                (got.body, got.origin_id.as_deref()),
                (body.clone(), Some(&*proof.id))
            );
            assert!(got.from.unwrap().same_bare(&jid("alice@localhost")) && got.archive.is_some());

            // Its correction.
            let mut correction = text(user("bob@localhost"), "corrected");
            correction.replaces = Some(proof.id.clone());
            delivered(&alice.send(vec![correction]).await[0]);
            let got = wait(&mut events, "correction", |event| match event {
                Event::Correction(received) => Some(received),
                _ => None,
            })
            .await;
            assert_eq!((got.body.as_str(), got.replaces), ("corrected", Some(proof.id)));

            // A room message, seen by its author too.
            let body = unique("room");
            let outcome = alice.send(vec![text(room(&room_name), &body)]).await;
            assert_eq!(delivered(&outcome[0]).confirmed_by, ConfirmedBy::Room);
            let got = wait(&mut events, "room message", |event| match event {
                Event::Room(received) if received.body == body => Some(received),
                _ => None,
            })
            .await;
            assert_eq!(got.from.unwrap().resource(), Some(nick.as_str()));
            assert!(!got.own);
            let own = wait(&mut alice_events, "own room message", |event| match event {
                Event::Room(received) if received.body == body => Some(received),
                _ => None,
            })
            .await;
            assert!(own.own);

            topic_is_seen(&alice, &room_name, &mut events).await;
            alice.close().await;
            wait(&mut events, "alice leaving", |event| match event {
                Event::Occupant {
                    present: false,
                    nick: left,
                    ..
                } if left == nick => Some(()),
                _ => None,
            })
            .await;
            bob.close().await;
            wait(&mut events, "the end", |event| match event {
                Event::Ended { reason: None } => Some(()),
                _ => None,
            })
            .await;
        });
    }
}

#[test]
fn reactions_and_files_are_events_of_their_own() {
    for server in &both() {
        block_on(async {
            let (_bob, mut events) = open(server, "bob", receiving(&[])).await;
            let mut raw = tokio::task::spawn_blocking(|| ())
                .await
                .map(|()| Receiver::join(server.port, &server.domain, "carol", "carolpass", &[]))
                .unwrap();
            raw.send(
                "<message to='bob@localhost' type='chat' id='r1'><reactions xmlns='urn:xmpp:reactions:0' id='m1'>\
                 <reaction>👍</reaction><reaction>🎉</reaction></reactions>\
                 <store xmlns='urn:xmpp:hints'/></message>",
            );
            let (to, emoji) = wait(&mut events, "reaction", |event| match event {
                Event::Reaction { to, emoji, .. } => Some((to, emoji)),
                _ => None,
            })
            .await;
            assert_eq!(
                (to.as_str(), emoji),
                ("m1", vec!["👍".to_owned(), "🎉".to_owned()])
            );
            raw.send(
                "<message to='bob@localhost' type='chat' id='f1'><body>https://x.invalid/a.png</body>\
                 <x xmlns='jabber:x:oob'><url>https://x.invalid/a.png</url></x></message>",
            );
            let file = wait(&mut events, "file", |event| match event {
                Event::File(received) => Some(received),
                _ => None,
            })
            .await;
            assert_eq!(file.files, ["https://x.invalid/a.png"]);
        });
    }
}

#[test]
fn missed_messages_are_fetched_from_the_archive() {
    for server in &both() {
        block_on(async {
            let (bob, mut events) = open(server, "bob", receiving(&[])).await;
            let sender = account(server, "alice", Mode::StartTls);
            let first = unique("first");
            delivered(&ackpost_xmpp::send(&sender, vec![text(user("bob@localhost"), &first)]).await[0]);
            let place = wait(&mut events, "first", |event| {
                chat(event).filter(|m| m.body == first)
            })
            .await
            .archive
            .expect("a place in the archive");
            bob.close().await;
            let missed: Vec<String> = (0..3).map(|_| unique("missed")).collect();
            for body in &missed {
                delivered(&ackpost_xmpp::send(&sender, vec![text(user("bob@localhost"), body)]).await[0]);
            }
            let mut options = receiving(&[]);
            options.catch_up = vec![(jid("bob@localhost"), Some(place.id))];
            let (_bob, mut events) = open(server, "bob", options).await;
            let mut got = Vec::new();
            while got.len() < missed.len() {
                let message = wait(&mut events, "missed", |event| {
                    chat(event).filter(|m| m.body.starts_with("missed"))
                })
                .await;
                assert!(message.archive.is_some() && message.stamp.is_some());
                got.push(message.body);
            }
            assert_eq!(
                got, missed,
                "each once, in order, although the server also stored them as offline messages"
            );
        });
    }
}

/// Counts how often each body came, by a receiver that shares no code with the sender.
fn counts(receiver: &mut Receiver, prefix: &str, wanted: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let until = Instant::now() + Duration::from_secs(30);
    while counts.len() < wanted && Instant::now() < until {
        let Some(stanza) = receiver.wait(Duration::from_secs(2), |s| {
            s.name == "message" && s.child_text("body").is_some_and(|body| body.starts_with(prefix))
        }) else {
            continue;
        };
        *counts
            .entry(stanza.child_text("body").unwrap().to_owned())
            .or_insert(0) += 1;
    }
    counts
}

#[test]
fn a_cut_connection_is_resumed_and_nothing_is_said_twice() {
    for server in &both() {
        let relay = Relay::to_port(server.port, RelayOptions::default());
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let prefix = unique("cut");
        let (outcomes, resumed) = block_on(async {
            let through = account(server, "alice", Mode::StartTls).port(relay.port());
            let (alice, mut events) = Session::open(&through, SessionOptions::default()).await.unwrap();
            let mut outcomes = Vec::new();
            for round in 0..5 {
                let messages: Vec<Outgoing> = (0..20)
                    .map(|n| text(user("bob@localhost"), &format!("{prefix} {round} {n}")))
                    .collect();
                let sending = alice.send(messages);
                let cutting = async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    relay.cut();
                };
                let (sent, ()) = tokio::join!(sending, cutting);
                outcomes.extend(sent);
            }
            let mut resumed = 0;
            while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(500), events.next()).await
            {
                resumed += usize::from(matches!(event, Event::Online { resumed: true, .. }));
            }
            (outcomes, resumed)
        });
        assert!(resumed >= 3, "resumed {resumed} times");
        for outcome in &outcomes {
            delivered(outcome);
        }
        let counts = counts(&mut bob, &prefix, 100);
        assert_eq!(counts.len(), 100);
        assert!(
            counts.values().all(|&count| count == 1),
            "{:?}: {counts:?}",
            server.kind
        );
    }
}

#[test]
fn a_black_hole_is_noticed_and_left() {
    for server in &both() {
        let relay = Relay::to_port(server.port, RelayOptions::default());
        block_on(async {
            let through = account(server, "alice", Mode::StartTls)
                .port(relay.port())
                .connect_timeout(Duration::from_secs(3))
                .answer_timeout(Duration::from_secs(3));
            let (alice, mut events) = Session::open(&through, SessionOptions::default()).await.unwrap();
            delivered(&alice.send(vec![text(user("bob@localhost"), "before")]).await[0]);
            relay.black_hole(true);
            let sending = alice.send(vec![text(user("bob@localhost"), "into the hole")]);
            let lifting = async {
                wait(&mut events, "offline", |event| match event {
                    Event::Offline {
                        reason: XmppError::AnswerTimeout { .. },
                        ..
                    } => Some(()),
                    _ => None,
                })
                .await;
                relay.black_hole(false);
                relay.cut();
            };
            let (outcomes, ()) = tokio::join!(sending, lifting);
            delivered(&outcomes[0]);
        });
    }
}

#[test]
fn an_idle_session_notices_that_the_other_end_is_gone() {
    let server = &Prosody::start(ServerOptions::default());
    let relay = Relay::to_port(server.port, RelayOptions::default());
    block_on(async {
        let through = account(server, "alice", Mode::StartTls)
            .port(relay.port())
            .answer_timeout(Duration::from_secs(8));
        let mut options = SessionOptions::default();
        options.ping_after = Duration::from_secs(1);
        let (_alice, mut events) = Session::open(&through, options).await.unwrap();
        // A first ping of the idle session is answered.
        let (up, down, started) = (relay.bytes_up(), relay.bytes_down(), Instant::now());
        while relay.bytes_up() == up || relay.bytes_down() == down {
            assert!(started.elapsed() < Duration::from_secs(30), "no ping");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        relay.black_hole(true);
        wait(&mut events, "offline", |event| match event {
            Event::Offline {
                reason: XmppError::AnswerTimeout { .. },
                ..
            } => Some(()),
            _ => None,
        })
        .await;
    });
}

#[test]
fn patience_ends_and_the_message_is_not_sent_later() {
    let mut server = Prosody::start(ServerOptions::default());
    let body = unique("late");
    block_on(async {
        let mut options = SessionOptions::default();
        options.send_timeout = Duration::from_secs(3);
        let (alice, _events) = open(&server, "alice", options).await;
        server.kill();
        let outcome = alice
            .send(vec![text(user("bob@localhost"), &body)])
            .await
            .remove(0);
        let error = failure(&outcome);
        assert!(
            matches!(error, XmppError::GaveUp { .. }) && matches!(outcome, Outcome::Deferred(_)),
            "{error:?}"
        );
        server.restart();
        // The session comes back; the message that was given up must not.
        delivered(&retry(&alice, "after").await);
    });
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    bob.wait_body("after");
    assert!(
        bob.wait(Duration::from_millis(300), |s| s.child_text("body")
            == Some(&*body))
            .is_none()
    );
}

async fn retry(session: &Session, body: &str) -> Outcome {
    for _ in 0..30 {
        let outcome = session
            .send(vec![text(user("bob@localhost"), body)])
            .await
            .remove(0);
        if outcome.delivered().is_some() {
            return outcome;
        }
    }
    panic!("the session did not come back");
}

#[test]
fn a_changed_password_ends_the_session_permanently() {
    let mut server = Prosody::start(ServerOptions::default());
    block_on(async {
        let (alice, mut events) = open(&server, "alice", SessionOptions::default()).await;
        server.stop();
        // An administrator could do this while the server is down.
        let accounts = server
            .ca
            .parent()
            .unwrap()
            .join("data/localhost/accounts/alice.dat");
        std::fs::remove_file(&accounts).unwrap();
        // From here on nothing is written any more.
        wait(&mut events, "the break", |event| {
            matches!(event, Event::Offline { .. }).then_some(())
        })
        .await;
        server.restart();
        let outcome = alice.send(vec![text(user("bob@localhost"), "x")]).await.remove(0);
        assert!(
            matches!(failure(&outcome), XmppError::WrongPassword { .. }),
            "{outcome:?}"
        );
        assert!(!failure(&outcome).may_have_arrived());
        wait(&mut events, "the end", |event| match event {
            Event::Ended {
                reason: Some(XmppError::WrongPassword { .. }),
            } => Some(()),
            _ => None,
        })
        .await;
        let outcome = alice.send(vec![text(user("bob@localhost"), "x")]).await.remove(0);
        assert!(outcome.error().is_some());
    });
}
