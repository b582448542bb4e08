//! The end of a kept session: the server must know at once that it is over.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Prosody, ServerOptions, XmppServer};
use ackpost_xmpp::{Event, Events, Mode, Session, SessionOptions};
use common::fake::*;
use common::*;

/// Returns how long the end of a session takes when the server answers with this.
fn closes_in(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Duration {
    let fake = after_login(vec![reply("</stream:stream>", answer)]);
    let began = block_on(async {
        let mut options = SessionOptions::receiving(Vec::new());
        options.resume = false;
        let (session, _events) = Session::open(&to_fake(&fake, Mode::None), options).await.unwrap();
        let began = Instant::now();
        session.close().await;
        began
    });
    began.elapsed()
}

#[test]
fn the_end_of_a_session_waits_for_the_servers_end() {
    let wait = Duration::from_millis(400);
    let took = closes_in(move |_| {
        std::thread::sleep(wait);
        // Bytes that nobody reads would reset the connection.
        let unread = "<message from='bob@localhost/x' to='alice@localhost'><body>late</body></message>";
        format!("{}</stream:stream>", unread.repeat(1000))
    });
    assert!(took >= wait, "{took:?}");
    assert!(took < wait + Duration::from_millis(1500), "{took:?}");
}

#[test]
fn the_end_of_a_session_does_not_wait_for_ever() {
    let took = closes_in(|_| String::new());
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Collects texts until the session ends, or until all have come and none comes twice in 300 ms.
async fn texts(events: &mut Events, all: usize, seen: &mut BTreeMap<String, usize>) {
    loop {
        let wait = if seen.len() < all { 10_000 } else { 300 };
        match tokio::time::timeout(Duration::from_millis(wait), events.next()).await {
            Ok(Some(Event::Chat(received))) => *seen.entry(received.body).or_default() += 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Messages that arrive while a session ends come to the next session at once, and none comes twice.
fn messages_during_the_end_of_a_session_come_to_the_next_one(server: &XmppServer) {
    const MESSAGES: usize = 60;
    let bob = account(server, "bob", Mode::StartTls);
    for round in 0..3 {
        let seen = block_on(async {
            let (receiver, mut events) = Session::open(&bob, SessionOptions::receiving(Vec::new()))
                .await
                .unwrap();
            let (alice, _) = Session::open(
                &account(server, "alice", Mode::StartTls),
                SessionOptions::default(),
            )
            .await
            .unwrap();
            let to = format!("bob@{}", server.domain);
            let sending = async {
                for number in 0..MESSAGES {
                    let message = text(user(&to), &format!("{round} {number}"));
                    delivered(&alice.send(vec![message]).await[0]);
                }
            };
            let mut seen = BTreeMap::new();
            let closing = async {
                while seen.len() < MESSAGES / 4 {
                    if let Some(Event::Chat(received)) = events.next().await {
                        *seen.entry(received.body).or_default() += 1;
                    }
                }
                receiver.close().await;
                texts(&mut events, MESSAGES, &mut seen).await;
            };
            tokio::join!(sending, closing);
            alice.close().await;
            let (receiver, mut events) = Session::open(&bob, SessionOptions::receiving(Vec::new()))
                .await
                .unwrap();
            texts(&mut events, MESSAGES, &mut seen).await;
            receiver.close().await;
            seen
        });
        let missing: Vec<String> = (0..MESSAGES)
            .map(|number| format!("{round} {number}"))
            .filter(|name| !seen.contains_key(name))
            .collect();
        assert_eq!(missing, Vec::<String>::new(), "round {round}");
        let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "round {round}: {twice:?}");
    }
}

#[test]
fn messages_during_the_end_of_a_session_on_prosody() {
    messages_during_the_end_of_a_session_come_to_the_next_one(&Prosody::start(ServerOptions::default()));
}

#[test]
fn messages_during_the_end_of_a_session_on_ejabberd() {
    messages_during_the_end_of_a_session_come_to_the_next_one(&Ejabberd::start(ServerOptions::default()));
}
