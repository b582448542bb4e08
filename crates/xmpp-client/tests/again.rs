//! Messages whose confirmation was lost: looked for in the account's archive before they are said again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use std::time::{Duration, SystemTime};

use common::fake::*;
use common::*;
use testkit::{Ejabberd, Prosody, Receiver, Relay, RelayOptions, ServerOptions, XmppServer};
use xmpp_client::{
    Confirm, ConfirmedBy, Event, Events, Mode, Note, Outgoing, Session, SessionOptions, Step as At, XmppError,
};

fn both() -> [&'static XmppServer; 2] {
    [Prosody::shared(), Ejabberd::shared()]
}

fn bob_of(server: &XmppServer) -> Receiver {
    Receiver::join(server.port, &server.domain, "bob", "bobpass", &[])
}

fn comes_again(bob: &mut Receiver, body: &str) -> bool {
    bob.wait(Duration::from_millis(500), |s| s.child_text("body") == Some(body))
        .is_some()
}

fn message(body: &str, id: &str) -> Outgoing {
    let mut message = text(user("bob@localhost"), body);
    message.id = Some(id.to_owned());
    message
}

fn again(body: &str, id: &str) -> Outgoing {
    let mut message = message(body, id);
    message.repeat_since = Some(SystemTime::now() - Duration::from_secs(60));
    message
}

/// Says something over a connection on which no answer comes back, and cuts that once it has arrived.
async fn lose_the_confirmation(server: &XmppServer, message: Outgoing, bob: &mut Receiver) {
    let relay = Relay::to_port(server.port, RelayOptions::default());
    let through = account(server, "alice", Mode::StartTls).port(relay.port());
    let mut options = SessionOptions::default();
    options.patience = Duration::from_secs(4);
    let (alice, _events) = Session::open(&through, options).await.unwrap();
    relay.mute(true);
    let body = message.content.body.clone();
    let sending = tokio::spawn(async move { alice.send(vec![message]).await.remove(0) });
    // Let it be written before this thread waits for its arrival.
    tokio::time::sleep(Duration::from_millis(100)).await;
    bob.wait_body(&body);
    drop(relay);
    let outcome = sending.await.unwrap();
    let error = failure(&outcome);
    assert!(
        matches!(error, XmppError::GaveUp { written: true, .. }) && error.may_have_arrived(),
        "{outcome:?}"
    );
}

#[test]
fn what_stands_in_the_archive_is_not_said_again() {
    for server in both() {
        block_on(async {
            let mut bob = bob_of(server);
            let (body, id) = (unique("lost"), unique("id").replace(' ', "-"));
            lose_the_confirmation(server, message(&body, &id), &mut bob).await;

            // Repeated on a connection of its own, beside one that was never sent and one to somebody else.
            let (other, other_id) = (unique("never sent"), unique("id").replace(' ', "-"));
            let sender = account(server, "alice", Mode::StartTls);
            let outcomes =
                xmpp_client::send(&sender, vec![again(&body, &id), again(&other, &other_id)]).await;
            let found = delivered(&outcomes[0]);
            assert_eq!(
                (found.confirmed_by, &found.id),
                (ConfirmedBy::HandedOver, &id),
                "{:?}",
                server.kind
            );
            assert_eq!(found.notes, [Note::FoundInArchive]);
            let sent = delivered(&outcomes[1]);
            assert_eq!(
                (sent.confirmed_by, &sent.notes[..]),
                (ConfirmedBy::Server, &[][..])
            );
            bob.wait_body(&other);
            assert!(!comes_again(&mut bob, &body));

            // And over a kept session, whatever level is asked for.
            let (alice, _events) = Session::open(&sender, SessionOptions::default()).await.unwrap();
            for (level, reached) in [
                (Confirm::Sent, ConfirmedBy::Sent),
                (Confirm::Server, ConfirmedBy::HandedOver),
            ] {
                let mut repeated = again(&body, &id);
                repeated.confirm = Some(level);
                let outcome = alice.send(vec![repeated]).await.remove(0);
                assert_eq!(delivered(&outcome).confirmed_by, reached);
            }
            assert!(!comes_again(&mut bob, &body));
            // Without the word that it may have arrived it is a message like any other.
            delivered(&alice.send(vec![message(&body, &id)]).await[0]);
            bob.wait_body(&body);
        });
    }
}

/// What stands behind many later messages to the same person is found too.
#[test]
fn the_archive_is_looked_through_page_by_page() {
    for server in both() {
        block_on(async {
            let mut bob = bob_of(server);
            let (body, id) = (unique("early"), unique("id").replace(' ', "-"));
            let sender = account(server, "alice", Mode::StartTls);
            let mut messages = vec![message(&body, &id)];
            let later = unique("later");
            messages.extend((0..250).map(|n| text(user("bob@localhost"), &format!("{later} {n}"))));
            for outcome in xmpp_client::send(&sender, messages).await {
                delivered(&outcome);
            }
            bob.wait_body(&body);
            let outcome = xmpp_client::send(&sender, vec![again(&body, &id)])
                .await
                .remove(0);
            assert_eq!(
                delivered(&outcome).notes,
                [Note::FoundInArchive],
                "{:?}",
                server.kind
            );
            assert!(!comes_again(&mut bob, &body));
        });
    }
}

async fn wait(events: &mut Events, fits: impl Fn(&Event) -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(event) = events.next().await {
            if fits(&event) {
                return;
            }
        }
        panic!("the session ended");
    })
    .await
    .expect("it happens in time");
}

/// A kept session whose server comes back without the old session: nothing to resume, one message in doubt.
fn a_kept_session_looks_before_it_repeats(mut server: XmppServer) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let relay = Relay::to_port(server.port, RelayOptions::default());
        let through = account(&server, "alice", Mode::StartTls)
            .port(relay.port())
            .answer_timeout(Duration::from_secs(60));
        let mut options = SessionOptions::default();
        options.longest_pause = Duration::from_secs(1);
        options.patience = Duration::from_secs(240);
        let (alice, mut events) = Session::open(&through, options).await.unwrap();
        wait(&mut events, |event| matches!(event, Event::Online { .. })).await;
        let (body, id) = (unique("in doubt"), unique("id").replace(' ', "-"));
        let mut bob = bob_of(&server);
        relay.mute(true);
        let sending = {
            let (alice, message) = (alice.clone(), message(&body, &id));
            tokio::spawn(async move { alice.send(vec![message]).await.remove(0) })
        };
        tokio::task::block_in_place(|| {
            bob.wait_body(&body);
            // Its confirmation never passed; with the server the session itself goes.
            server.stop();
            relay.mute(false);
            relay.cut();
            server.restart();
        });
        let outcome = sending.await.unwrap();
        let found = delivered(&outcome);
        assert_eq!((found.confirmed_by, &found.id), (ConfirmedBy::HandedOver, &id));
        assert_eq!(found.notes, [Note::FoundInArchive]);
        wait(&mut events, |event| {
            matches!(event, Event::Online { resumed: false, .. })
        })
        .await;
        let mut bob = bob_of(&server);
        // Had it been said again, it would lie here as an offline message or come now.
        delivered(&alice.send(vec![text(user("bob@localhost"), "after")]).await[0]);
        bob.wait_body("after");
        assert!(!comes_again(&mut bob, &body));
    });
}

#[test]
fn a_kept_session_looks_into_the_archive_of_prosody_before_it_repeats() {
    a_kept_session_looks_before_it_repeats(Prosody::start(ServerOptions::default()));
}

#[test]
fn a_kept_session_looks_into_the_archive_of_ejabberd_before_it_repeats() {
    a_kept_session_looks_before_it_repeats(Ejabberd::start(ServerOptions::default()));
}

// --- archives that misbehave ---

fn archive_says(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Fake {
    after_login(vec![
        reply("</query></iq>", move |heard| {
            let iq = heard.rfind("<iq ").map_or(heard, |at| &heard[at..]);
            answer(iq)
        }),
        reply("to='localhost'", |heard| pong(&format!("{heard}>"), "localhost")),
    ])
}

fn said(fake: &Fake) -> bool {
    fake.heard()[0].contains("<message")
}

#[test]
fn without_an_archive_it_is_said_again() {
    let fake = archive_says(|iq| {
        let id = attr(iq, "<iq ", "id").unwrap();
        format!(
            "<iq type='error' id='{id}'><error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
    });
    let outcome = send_one(&to_fake(&fake, Mode::None), again("hello", "x1"));
    assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
    assert!(said(&fake));
}

#[test]
fn an_archive_that_does_not_answer_leaves_it_in_doubt() {
    let fake = archive_says(|_| String::new());
    let outcome = send_one(&to_fake(&fake, Mode::None), again("hello", "x1"));
    assert!(failure(&outcome).may_have_arrived());
    assert_ends!(
        outcome,
        XmppError::Silent {
            step: At::Confirming,
            ..
        }
    );
    assert!(!said(&fake));
}

#[test]
fn only_our_own_archive_is_believed_and_only_about_our_own_messages() {
    for (from, author) in [
        ("mallory@localhost", "alice@localhost"),
        ("alice@localhost", "bob@localhost"),
    ] {
        let fake = archive_says(move |iq| {
            let id = attr(iq, "<iq ", "id").unwrap();
            let query = attr(iq, "<query ", "queryid").unwrap();
            format!(
                "<message from='{from}'><result xmlns='urn:xmpp:mam:2' queryid='{query}' id='1'><forwarded \
                 xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{author}' to='bob@localhost' id='x1'>\
                 <body>hello</body></message></forwarded></result></message><iq type='result' id='{id}'>\
                 <fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>"
            )
        });
        let outcome = send_one(&to_fake(&fake, Mode::None), again("hello", "x1"));
        assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
        assert!(said(&fake), "{from} {author}");
    }
}
