//! Messages whose confirmation was lost: looked for in the account's archive before they are sent again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use ackpost_testkit::{Ejabberd, Element, Prosody, Receiver, Relay, RelayOptions, ServerOptions, XmppServer};
use ackpost_xmpp::{
    Confirm, ConfirmedBy, Doubt, Event, Events, Mode, Note, Outcome, Outgoing, Session, SessionOptions,
    Step as At, XmppError,
};
use common::fake::*;
use common::*;

/// Both have been up for longer than the second that their word about it may be off.
fn both() -> [&'static XmppServer; 2] {
    static UP: LazyLock<[&'static XmppServer; 2]> = LazyLock::new(|| {
        let servers = [Prosody::shared(), Ejabberd::shared()];
        for server in servers {
            wait_until_up_for(server, 3);
        }
        servers
    });
    *UP
}

/// Asks the server for its uptime (XEP-0012) until that is so many seconds.
fn wait_until_up_for(server: &XmppServer, seconds: u64) {
    let mut bob = bob_of(server);
    let until = Instant::now() + Duration::from_secs(30);
    for number in 0.. {
        let id = format!("uptime-{number}");
        bob.send(&format!(
            "<iq type='get' id='{id}' to='{}'><query xmlns='jabber:iq:last'/></iq>",
            server.domain
        ));
        let answer = bob.wait(Duration::from_secs(10), |stanza| stanza.attr("id") == id);
        let up = answer.as_ref().and_then(|answer| answer.child("query"));
        if up.is_some_and(|query| query.attr("seconds").parse().is_ok_and(|up: u64| up >= seconds)) {
            return;
        }
        assert!(Instant::now() < until, "{answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn bob_of(server: &XmppServer) -> Receiver {
    Receiver::join(server.port, &server.domain, "bob", "bobpass", &[])
}

/// Waits for a text without keeping this thread from writing it.
async fn arrives(bob: &mut Receiver, body: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    let is_it = |stanza: &Element| stanza.name == "message" && stanza.child_text("body") == Some(body);
    while bob.wait(Duration::from_millis(1), is_it).is_none() {
        assert!(Instant::now() < until, "{body} does not arrive");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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

/// The same once more, after a first attempt no sooner than `since`.
fn again(body: &str, id: &str, since: SystemTime) -> Outgoing {
    let mut message = message(body, id);
    message.repeat_since = Some(since);
    message
}

/// Says something over a connection on which no answer comes back, and cuts that once it has arrived.
async fn lose_the_confirmation(server: &XmppServer, message: Outgoing, bob: &mut Receiver) {
    let relay = Relay::to_port(server.port, RelayOptions::default());
    let through = account(server, "alice", Mode::StartTls).port(relay.port());
    let mut options = SessionOptions::default();
    options.send_timeout = Duration::from_secs(4);
    let (alice, _events) = Session::open(&through, options).await.unwrap();
    relay.mute(true);
    let body = message.content.body.clone();
    let sending = tokio::spawn(async move { alice.send(vec![message]).await.remove(0) });
    arrives(bob, &body).await;
    drop(relay);
    let outcome = sending.await.unwrap();
    let error = failure(&outcome);
    assert!(
        matches!(error, XmppError::GaveUp { written: true, .. }) && error.may_have_arrived(),
        "{outcome:?}"
    );
}

#[test]
fn archived_messages_are_not_sent_again() {
    for server in both() {
        block_on(async {
            let mut bob = bob_of(server);
            let since = SystemTime::now();
            let (body, id) = (unique("lost"), unique("id").replace(' ', "-"));
            lose_the_confirmation(server, message(&body, &id), &mut bob).await;

            // Repeated on its own connection, beside one that was never sent and one to somebody else.
            let (other, other_id) = (unique("never sent"), unique("id").replace(' ', "-"));
            let sender = account(server, "alice", Mode::StartTls);
            let outcomes = ackpost_xmpp::send(
                &sender,
                vec![again(&body, &id, since), again(&other, &other_id, since)],
            )
            .await;
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
                let mut repeated = again(&body, &id, since);
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

/// A message is found in the archive even behind many later messages to the same person.
#[test]
fn the_archive_is_looked_through_page_by_page() {
    for server in both() {
        block_on(async {
            let mut bob = bob_of(server);
            let since = SystemTime::now();
            let (body, id) = (unique("early"), unique("id").replace(' ', "-"));
            let sender = account(server, "alice", Mode::StartTls);
            let mut messages = vec![message(&body, &id)];
            let later = unique("later");
            messages.extend((0..250).map(|n| text(user("bob@localhost"), &format!("{later} {n}"))));
            for outcome in ackpost_xmpp::send(&sender, messages).await {
                delivered(&outcome);
            }
            bob.wait_body(&body);
            let outcome = ackpost_xmpp::send(&sender, vec![again(&body, &id, since)])
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

/// A kept session that cannot be resumed, one message in doubt, and a server that lived on meanwhile.
#[test]
fn a_kept_session_looks_before_it_repeats() {
    for server in both() {
        let relay = Relay::to_port(server.port, RelayOptions::default());
        let mut bob = bob_of(server);
        let (body, id) = (unique("in doubt"), unique("id").replace(' ', "-"));
        block_on(async {
            let through = account(server, "alice", Mode::StartTls)
                .port(relay.port())
                .answer_timeout(Duration::from_secs(60));
            let mut options = SessionOptions::default();
            options.resume = false;
            let (alice, mut events) = Session::open(&through, options).await.unwrap();
            relay.mute(true);
            let sending = {
                let (alice, message) = (alice.clone(), message(&body, &id));
                tokio::spawn(async move { alice.send(vec![message]).await.remove(0) })
            };
            arrives(&mut bob, &body).await;
            relay.mute(false);
            relay.cut();
            let outcome = sending.await.unwrap();
            let found = delivered(&outcome);
            assert_eq!(
                (found.confirmed_by, &found.id),
                (ConfirmedBy::HandedOver, &id),
                "{:?}",
                server.kind
            );
            assert_eq!(found.notes, [Note::FoundInArchive]);
            for _ in 0..2 {
                wait(&mut events, |event| {
                    matches!(event, Event::Online { resumed: false, .. })
                })
                .await;
            }
            delivered(&alice.send(vec![text(user("bob@localhost"), "after")]).await[0]);
        });
        bob.wait_body("after");
        assert!(!comes_again(&mut bob, &body));
    }
}

/// A message that is in the archive is never sent again, even if the server restarted since.
fn repeated_after_a_restart(mut server: XmppServer) -> Outcome {
    let since = SystemTime::now();
    let (body, id) = (unique("before"), unique("id").replace(' ', "-"));
    let sender = account(&server, "alice", Mode::StartTls);
    let mut bob = bob_of(&server);
    delivered(&send_one(&sender, message(&body, &id)));
    bob.wait_body(&body);
    server.stop();
    server.restart();
    let mut bob = bob_of(&server);
    let outcome = send_one(&sender, again(&body, &id, since));
    assert!(!comes_again(&mut bob, &body));
    outcome
}

#[test]
fn prosody_passes_on_what_it_archives() {
    let outcome = repeated_after_a_restart(Prosody::start(ServerOptions::default()));
    let proof = delivered(&outcome);
    assert_eq!(proof.confirmed_by, ConfirmedBy::HandedOver);
    assert_eq!(proof.notes, [Note::FoundInArchive]);
}

/// ejabberd may have archived what it never passed on.
#[test]
fn an_ejabberd_that_went_down_leaves_what_it_archived_in_doubt() {
    let outcome = repeated_after_a_restart(Ejabberd::start(ServerOptions::default()));
    assert!(failure(&outcome).is_permanent() && failure(&outcome).may_have_arrived());
    assert_ends!(
        outcome,
        XmppError::InDoubt {
            why: Doubt::Restarted,
            ..
        }
    );
}

// --- archives that misbehave ---

fn archive_says(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Fake {
    after_login(vec![
        reply("</query></iq>", move |heard| {
            let iq = heard.rfind("<iq ").map_or(heard, |at| &heard[at..]);
            answer(iq)
        }),
        Step::Pongs,
    ])
}

fn no_archive(iq: &str) -> String {
    let id = attr(iq, "<iq ", "id").unwrap();
    format!(
        "<iq type='error' id='{id}'><error type='cancel'><service-unavailable \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
}

fn said(fake: &Fake) -> bool {
    fake.heard()[0].contains("<message")
}

#[test]
fn without_an_archive_it_is_said_again_and_the_doubt_is_told() {
    let fake = archive_says(no_archive);
    let outcome = send_one(
        &to_fake(&fake, Mode::None),
        again("hello", "x1", SystemTime::now()),
    );
    assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
    assert_eq!(delivered(&outcome).notes, [Note::RepeatedInDoubt]);
    assert!(said(&fake));
}

/// A repeat in doubt that is not confirmed either ends there: it is never said a third time.
#[test]
fn a_second_doubt_is_the_last() {
    let script = || {
        let mut script = logged_in();
        script.push(reply("</query></iq>", |heard| {
            let iq = heard.rfind("<iq ").map_or(heard, |at| &heard[at..]);
            no_archive(iq)
        }));
        script.push(reply("jabber:iq:last'/></iq>", |heard| pong(heard, "localhost")));
        script.push(on("</message>", ""));
        script.push(Step::Close);
        script
    };
    let fake = one(script());
    let outcome = send_one(
        &to_fake(&fake, Mode::None),
        again("hello", "x1", SystemTime::now()),
    );
    assert!(failure(&outcome).is_permanent());
    assert_ends!(
        outcome,
        XmppError::InDoubt {
            why: Doubt::NoArchive,
            ..
        }
    );
    // Over a kept session the connection breaks under the message, under its repeat, and there it ends.
    let mut first = logged_in();
    first.push(on("</message>", ""));
    first.push(Step::Close);
    let mut quiet = logged_in();
    quiet.push(reply("</query></iq>", |heard| {
        let iq = heard.rfind("<iq ").map_or(heard, |at| &heard[at..]);
        no_archive(iq)
    }));
    quiet.push(Step::Pongs);
    let fake = Fake::start(vec![first, script(), quiet]);
    let outcome = block_on(async {
        let mut options = SessionOptions::default();
        options.resume = false;
        options.max_backoff = Duration::from_millis(200);
        let (alice, _events) = Session::open(&to_fake(&fake, Mode::None), options).await.unwrap();
        alice.send(vec![message("hello", "x1")]).await.remove(0)
    });
    assert_ends!(
        outcome,
        XmppError::InDoubt {
            why: Doubt::NoArchive,
            ..
        }
    );
    let times: Vec<usize> = fake
        .heard()
        .iter()
        .map(|heard| heard.matches("<message").count())
        .collect();
    assert_eq!(times, [1, 1, 0], "once, once more, and never again");
}

#[test]
fn an_archive_that_does_not_answer_leaves_it_in_doubt() {
    let fake = archive_says(|_| String::new());
    let outcome = send_one(
        &to_fake(&fake, Mode::None),
        again("hello", "x1", SystemTime::now()),
    );
    assert!(failure(&outcome).may_have_arrived());
    assert_ends!(
        outcome,
        XmppError::AnswerTimeout {
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
        let outcome = send_one(
            &to_fake(&fake, Mode::None),
            again("hello", "x1", SystemTime::now()),
        );
        assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
        assert!(said(&fake), "{from} {author}");
    }
}
