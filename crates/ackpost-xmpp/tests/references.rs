//! Messages about other messages, and how people leave rooms, on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, Receiver, ServerOptions, XmppServer};
use ackpost_xmpp::{
    About, Content, Departure, Event, Events, Mode, Outgoing, Received, RoomTarget, Session, SessionOptions,
    XmppError,
};
use common::*;

fn both() -> [XmppServer; 2] {
    [
        Prosody::start(ServerOptions::default()),
        Ejabberd::start(ServerOptions::default()),
    ]
}

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

async fn inside(server: &XmppServer, user: &str, catch_up: Option<String>) -> (Session, Events) {
    let place = jid(&server.room("open"));
    let mut options = SessionOptions::default();
    options.rooms = vec![RoomTarget::new(place.clone())];
    options.catch_up = vec![(place, catch_up)];
    options.ping_after = Duration::from_secs(1);
    let (session, mut events) = Session::open(&account(server, user, Mode::StartTls), options)
        .await
        .unwrap();
    wait(&mut events, "own presence", |event| match event {
        Event::Occupant {
            own: true,
            present: true,
            ..
        } => Some(()),
        _ => None,
    })
    .await;
    (session, events)
}

fn room_text(event: Event, body: &str) -> Option<Received> {
    match event {
        Event::Room(received) if received.body == body => Some(received),
        _ => None,
    }
}

fn about(server: &XmppServer, body: &str, about: About) -> Outgoing {
    let mut message = text(room(&server.room("open")), body);
    message.about = Some(about);
    message
}

/// Bob answers a message and corrects his answer; gives the id that the room gave the answer.
async fn answered_and_corrected(
    server: &XmppServer,
    bob: &Session,
    events: &mut Events,
    got: &Received,
) -> String {
    let place = got.archive.clone().unwrap().id;
    // A reply with a quote, marked as carried by a bridge.
    let mut reply = about(
        server,
        "> first\nindeed",
        About::Reply {
            id: place.clone(),
            to: got.from.clone(),
            quoted: 8,
        },
    );
    reply.bridge = Some("lobby".into());
    let proof = delivered(&bob.send(vec![reply]).await[0]).clone();
    let seen = wait(events, "the reply", |event| match event {
        Event::Room(received) if received.reply.is_some() => Some(received),
        _ => None,
    })
    .await;
    let named = seen.reply.clone().unwrap();
    assert_eq!((named.id, named.to), (place.clone(), got.from.clone()));
    assert_eq!(
        (seen.own_words().as_str(), seen.bridge.as_deref()),
        ("indeed", Some("lobby"))
    );
    let reply_place = seen.archive.unwrap().id;

    // Its correction keeps the id of the first version as its target.
    let mut correction = text(room(&server.room("open")), "indeed!");
    correction.replaces = Some(proof.id.clone());
    delivered(&bob.send(vec![correction]).await[0]);
    let seen = wait(events, "the correction", |event| match event {
        Event::Correction(received) => Some(received),
        _ => None,
    })
    .await;
    assert_eq!(seen.replaces, Some(proof.id));
    reply_place
}

#[test]
fn replies_reactions_corrections_and_retractions_name_their_message() {
    for server in &both() {
        block_on(async {
            let (alice, mut alice_events) = inside(server, "alice", None).await;
            let (bob, mut events) = inside(server, "bob", None).await;
            let first = unique("first");
            delivered(&alice.send(vec![text(room(&server.room("open")), &first)]).await[0]);
            let got = wait(&mut events, "the text", |event| room_text(event, &first)).await;
            let place = got.archive.clone().expect("the room gives ids").id;
            let own = wait(&mut alice_events, "the own text", |event| {
                room_text(event, &first)
            })
            .await;
            assert!(own.own);
            assert_eq!(
                own.archive.expect("a place").id,
                place,
                "the same id for everybody"
            );
            if server.domain == "localhost" && got.occupant_id.is_some() {
                assert_eq!(own.occupant_id, got.occupant_id, "the same id for everybody");
            }

            let reply_place = answered_and_corrected(server, &bob, &mut alice_events, &got).await;

            // Reactions, and their end.
            for emoji in [vec!["👍".to_owned(), "🎉".to_owned()], Vec::new()] {
                let reactions = About::Reactions {
                    id: place.clone(),
                    emoji: emoji.clone(),
                };
                delivered(&bob.send(vec![about(server, "", reactions)]).await[0]);
                let (to, seen, own) = wait(&mut alice_events, "the reaction", |event| match event {
                    Event::Reaction { to, emoji, own, .. } => Some((to, emoji, own)),
                    _ => None,
                })
                .await;
                assert_eq!((to, seen, own), (place.clone(), emoji, false));
            }

            // The author takes the reply back.
            let retraction = About::Retraction {
                id: reply_place.clone(),
            };
            delivered(
                &bob.send(vec![about(server, "bob took a message back", retraction)])
                    .await[0],
            );
            let seen = wait(&mut alice_events, "the retraction", |event| match event {
                Event::Retracted(retraction) => Some(retraction),
                _ => None,
            })
            .await;
            assert_eq!((seen.id, seen.moderated, seen.own), (reply_place, None, false));

            // A client that was away finds all of it in the archive, and then hears that this was all.
            let (_carol, mut carol_events) = inside(server, "carol", Some(place)).await;
            let mut kinds = Vec::new();
            wait(&mut carol_events, "the end of the archive", |event| {
                match event {
                    Event::Room(_) => kinds.push("text"),
                    Event::Correction(_) => kinds.push("correction"),
                    Event::Reaction { .. } => kinds.push("reaction"),
                    Event::Retracted(_) => kinds.push("retraction"),
                    Event::CaughtUp { .. } => return Some(()),
                    _ => {}
                }
                None
            })
            .await;
            assert_eq!(
                kinds,
                ["text", "correction", "reaction", "reaction", "retraction"],
                "in order"
            );
        });
    }
}

#[test]
fn a_kicked_account_learns_it_and_stays_out_until_it_rejoins() {
    for server in &both() {
        block_on(async {
            let (bob, mut events) = inside(server, "bob", None).await;
            let place = server.room("open");
            let mut owner = Receiver::join(server.port, &server.domain, "alice", "alicepass", &[&place]);
            wait(&mut events, "the owner", |event| match event {
                Event::Occupant {
                    nick,
                    present: true,
                    own: false,
                    ..
                } => Some(nick),
                _ => None,
            })
            .await;
            let admin = |item: &str| {
                format!(
                    "<iq type='set' to='{place}' id='k1'><query xmlns='http://jabber.org/protocol/muc#admin'>\
                     {item}</query></iq>"
                )
            };
            owner.send(&admin(
                "<item nick='bob' role='none'><reason>too loud</reason></item>",
            ));
            let departure = wait(&mut events, "the kick", |event| match event {
                Event::Occupant {
                    own: true,
                    present: false,
                    departure,
                    ..
                } => Some(departure),
                Event::RoomLost { .. } => panic!("how we left comes first"),
                _ => None,
            })
            .await;
            assert!(
                matches!(&departure, Some(Departure::Kicked { reason: Some(reason), .. }) if reason == "too loud"),
                "{departure:?}"
            );
            bob.leave(jid(&place)).await.unwrap();
            // Nobody goes in by themselves: two looks after the rooms pass.
            let came_back = tokio::time::timeout(Duration::from_secs(3), async {
                loop {
                    if let Some(Event::Occupant {
                        own: true,
                        present: true,
                        ..
                    }) = events.next().await
                    {
                        return;
                    }
                }
            })
            .await;
            assert!(
                came_back.is_err(),
                "the room was entered again without being told to"
            );
            bob.join(RoomTarget::new(jid(&place))).await.unwrap();
            wait(&mut events, "the way back", |event| match event {
                Event::Occupant {
                    own: true,
                    present: true,
                    ..
                } => Some(()),
                _ => None,
            })
            .await;
            owner.send(&admin("<item jid='bob@localhost' affiliation='outcast'/>"));
            let reason = wait(&mut events, "the ban", |event| match event {
                Event::RoomLost { reason, .. } => Some(reason),
                _ => None,
            })
            .await;
            assert!(matches!(reason, XmppError::Banned { .. }), "{reason}");
            let content = Content::text("anybody?");
            let outcome = bob.send(vec![Outgoing::new(room(&place), content)]).await;
            assert!(matches!(failure(&outcome[0]), XmppError::Banned { .. }));
        });
    }
}
