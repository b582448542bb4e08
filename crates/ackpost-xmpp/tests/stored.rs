//! Messages that meet a login: the server stores some of them although their recipient is online.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, ServerOptions, XmppServer};
use ackpost_xmpp::{Confirm, Event, Events, Mode, Session, SessionOptions};
use common::*;
use tokio::time::{Instant, timeout_at};

const LOGINS: usize = 6;
/// Messages that are sent during one login, at most.
const MESSAGES_MAX: usize = 400;

/// Sends messages one after the other until `stop` is true, and returns their texts.
async fn stream_of_messages(alice: &Session, to: &str, stop: &std::cell::Cell<bool>) -> Vec<String> {
    let mut sent = Vec::new();
    while !stop.get() && sent.len() < MESSAGES_MAX {
        let body = unique("meets a login");
        let mut message = text(user(to), &body);
        message.confirm = Some(Confirm::Sent);
        delivered(&alice.send(vec![message]).await[0]);
        sent.push(body);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sent
}

/// Counts the messages that arrive until `wanted` is complete, and a little longer, so that doubled ones are seen.
async fn arriving(events: &mut Events, wanted: &[String]) -> BTreeMap<String, usize> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut end = Instant::now() + Duration::from_secs(30);
    while let Ok(Some(event)) = timeout_at(end, events.next()).await {
        if let Event::Chat(received) = event {
            *seen.entry(received.body).or_default() += 1;
            if wanted.iter().all(|body| seen.contains_key(body)) {
                end = end.min(Instant::now() + Duration::from_millis(1500));
            }
        }
    }
    seen
}

async fn all_arrive_once(server: &XmppServer) {
    let (alice, _) = Session::open(
        &account(server, "alice", Mode::StartTls),
        SessionOptions::default(),
    )
    .await
    .unwrap();
    let bob = account(server, "bob", Mode::StartTls);
    for login in 0..LOGINS {
        let online = std::cell::Cell::new(false);
        let log_in = async {
            let opened = Session::open(&bob, SessionOptions::receiving(Vec::new()))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            online.set(true);
            opened
        };
        let (sent, (session, mut events)) =
            tokio::join!(stream_of_messages(&alice, "bob@localhost", &online), log_in);
        let seen = arriving(&mut events, &sent).await;
        let wrong: Vec<_> = sent.iter().filter(|body| seen.get(*body) != Some(&1)).collect();
        assert!(
            wrong.is_empty() && seen.len() == sent.len(),
            "login {login}: {} of {} messages did not arrive once: {wrong:?}",
            wrong.len(),
            sent.len()
        );
        session.close().await;
    }
    alice.close().await;
}

#[test]
fn every_message_that_meets_a_login_on_ejabberd_arrives_once() {
    block_on(all_arrive_once(&Ejabberd::start(ServerOptions::default())));
}

#[test]
fn every_message_that_meets_a_login_on_prosody_arrives_once() {
    block_on(all_arrive_once(&Prosody::start(ServerOptions::default())));
}
