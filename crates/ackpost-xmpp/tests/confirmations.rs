//! Proof of "confirmed by the server" and "confirmed by a receipt": a message that the recipient's
//! account rejects is never reported delivered.
//!
//! `ACKPOST_PROOF_SENDS` sets how many messages go to each server each way (`scripts/delivery-proof`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Element, Prosody, Receiver, ServerOptions, Strangers, XmppServer};
use ackpost_xmpp::probe::Probe;
use ackpost_xmpp::{Confirm, ConfirmedBy, Event, Mode, Outcome, Session, SessionOptions, XmppError};
use common::fake::*;
use common::*;

fn count(usual: usize) -> usize {
    std::env::var("ACKPOST_PROOF_SENDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(usual)
}

fn bob_who_blocks_alice(server: &XmppServer) -> Receiver {
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let block = "<block xmlns='urn:xmpp:blocking'><item jid='alice@localhost'/></block>";
    assert_eq!(bob.set("block", None, block).attr("type"), "result");
    bob
}

fn all_refused(outcomes: &[Outcome], server: &XmppServer) {
    let taken = outcomes
        .iter()
        .filter(|outcome| outcome.delivered().is_some())
        .count();
    assert_eq!(taken, 0, "{} of {} on {}", taken, outcomes.len(), server.version);
    for outcome in outcomes {
        let error = failure(outcome);
        // Servers answer service-unavailable, which they also say when they cannot store a message: the message
        // is known not to have arrived, and may be taken later.
        let known = matches!(error, XmppError::NoSuchUser { temporary: true, .. }) || error.is_permanent();
        assert!(known && !error.may_have_arrived(), "{outcome:?}");
    }
}

/// Sends to bob, who is online and whose account rejects alice, one message at a time and many at once.
fn a_rejected_sender_is_told(server: &XmppServer, bob: &mut Receiver) {
    let sender = account(server, "alice", Mode::StartTls);
    let message = || text(user("bob@localhost"), "rejected");
    let outcomes: Vec<Outcome> = (0..count(15)).map(|_| send_one(&sender, message())).collect();
    all_refused(&outcomes, server);
    let outcomes = block_on(async {
        let (alice, _events) = Session::open(&sender, SessionOptions::default()).await.unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..count(30) {
            outcomes.extend(alice.send(vec![message()]).await);
        }
        // And many at once.
        outcomes.extend(alice.send((0..30).map(|_| message()).collect()).await);
        outcomes
    });
    all_refused(&outcomes, server);
    assert!(
        bob.wait(Duration::from_millis(100), |s| s.name == "message")
            .is_none()
    );
}

/// The same account gets through, so that its messages were rejected for the one reason only.
fn an_accepted_sender_gets_through(server: &XmppServer, sender: &str, bob: &mut Receiver) {
    let body = unique("accepted");
    let sender = account(server, sender, Mode::StartTls);
    let outcome = send_one(&sender, text(user("bob@localhost"), &body));
    assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
    bob.wait_body(&body);
}

fn a_blocked_sender_is_told(server: &XmppServer) {
    let mut bob = bob_who_blocks_alice(server);
    a_rejected_sender_is_told(server, &mut bob);
    assert_eq!(
        bob.set("unblock", None, "<unblock xmlns='urn:xmpp:blocking'/>")
            .attr("type"),
        "result"
    );
    an_accepted_sender_gets_through(server, "alice", &mut bob);
}

#[test]
fn prosody_tells_a_blocked_sender() {
    a_blocked_sender_is_told(&Prosody::start(ServerOptions::default()));
}

#[test]
fn ejabberd_tells_a_blocked_sender() {
    a_blocked_sender_is_told(&Ejabberd::start(ServerOptions::default()));
}

/// Privacy lists (XEP-0016) are decided in the session of the recipient: the active list of one session, and the
/// default list of the account.
#[test]
fn ejabberd_tells_a_sender_whom_a_privacy_list_rejects() {
    let server = Ejabberd::start(ServerOptions::default());
    for kind in ["active", "default"] {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let list = "<query xmlns='jabber:iq:privacy'><list name='quiet'><item type='jid' value='alice@localhost' \
                    action='deny' order='1'><message/></item></list></query>";
        let choose = |name: &str| format!("<query xmlns='jabber:iq:privacy'><{kind}{name}/></query>");
        for (id, query) in [("list", list.to_owned()), ("choose", choose(" name='quiet'"))] {
            let answer = bob.set(id, None, &query);
            assert_eq!(answer.attr("type"), "result", "{answer:?}");
        }
        a_rejected_sender_is_told(&server, &mut bob);
        let answer = bob.set("decline", None, &choose(""));
        assert_eq!(answer.attr("type"), "result", "{answer:?}");
        an_accepted_sender_gets_through(&server, "alice", &mut bob);
    }
}

/// A filter against strangers that sends their messages back; carol, who is a contact of bob, gets through.
fn a_stranger_is_told(server: &XmppServer) {
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let mut carol = Receiver::join(server.port, &server.domain, "carol", "carolpass", &[]);
    // Answers to subscriptions go to clients that have asked for the contact list.
    for person in [&mut bob, &mut carol] {
        person.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
        let roster = person.wait(Duration::from_secs(20), |stanza| stanza.attr("id") == "roster");
        assert!(roster.is_some());
    }
    subscribe(&mut bob, &mut carol);
    subscribe(&mut carol, &mut bob);
    a_rejected_sender_is_told(server, &mut bob);
    an_accepted_sender_gets_through(server, "carol", &mut bob);
}

/// Subscribes one person to the presence of the other, who agrees.
fn subscribe(one: &mut Receiver, other: &mut Receiver) {
    let bare = |person: &Receiver| person.jid.split('/').next().unwrap().to_owned();
    let (from, to) = (bare(one), bare(other));
    let is_presence = |sender: String, kind: &'static str| {
        move |stanza: &Element| {
            stanza.name == "presence"
                && stanza.attr("type") == kind
                && stanza.attr("from").split('/').next() == Some(&*sender)
        }
    };
    one.send(&format!("<presence type='subscribe' to='{to}'/>"));
    let asked = other.wait(Duration::from_secs(20), is_presence(from.clone(), "subscribe"));
    assert!(asked.is_some());
    other.send(&format!("<presence type='subscribed' to='{from}'/>"));
    let granted = one.wait(Duration::from_secs(20), is_presence(to, "subscribed"));
    assert!(granted.is_some());
}

fn against_strangers(treatment: Strangers) -> ServerOptions {
    ServerOptions {
        strangers: Some(treatment),
        ..ServerOptions::default()
    }
}

#[test]
fn prosody_tells_a_rejected_stranger() {
    a_stranger_is_told(&Prosody::start(against_strangers(Strangers::Rejected)));
}

#[test]
fn ejabberd_tells_a_rejected_stranger() {
    a_stranger_is_told(&Ejabberd::start(against_strangers(Strangers::Rejected)));
}

/// A filter that loses messages without a word shows nothing to the sender: no receipt comes, so `confirm=receipt` is
/// the level that notices it.
#[test]
fn a_receipt_is_not_claimed_for_a_message_that_a_filter_dropped() {
    let server = Prosody::start(against_strangers(Strangers::Dropped));
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let sender = account(&server, "alice", Mode::StartTls).answer_timeout(Duration::from_secs(1));
    let mut message = text(user("bob@localhost"), &unique("dropped"));
    message.confirm = Some(Confirm::Receipt);
    assert_ends!(send_one(&sender, message), XmppError::NoReceipt { .. });
    assert!(
        bob.wait(Duration::from_millis(100), |s| s.name == "message")
            .is_none()
    );
}

#[test]
fn the_server_program_is_named() {
    for (server, program) in [(Prosody::shared(), "Prosody"), (Ejabberd::shared(), "ejabberd")] {
        for mode in [Mode::None, Mode::StartTls, Mode::Tls] {
            block_on(async {
                let visit = Probe::open(&account(server, "carol", mode)).await.unwrap();
                assert_eq!(visit.server_program(), Some(program));
                assert_eq!(visit.answers_before_it_stores(), program == "ejabberd");
                visit.close().await;
            });
        }
    }
}

// --- a server that answers the ping at once, and lets the message come back later ---

/// The steps up to a session with these features, on a stream with this id.
fn logged_in_by(id: &'static str, features: &'static str) -> Vec<Step> {
    let mut script = logged_in();
    script.truncate(2);
    script.push(reply("</iq>", move |text| {
        let bind = text
            .split("id='bind-")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .unwrap_or_default();
        format!(
            "{}<stream:features>{features}</stream:features><iq type='result' id='bind-{bind}'><bind \
             xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@localhost/x</jid></bind></iq>",
            OPEN.replace("id='s'", &format!("id='{id}'"))
        )
    }));
    script
}

/// A server that answers at once and bounces so much later, and how much later it really was.
fn answers_before_it_bounces(
    after_ms: u64,
    id: &'static str,
    features: &'static str,
) -> (Fake, Arc<AtomicU64>) {
    let took = Arc::new(AtomicU64::new(0));
    let mut script = logged_in_by(id, features);
    script.push(Step::Bounces(Duration::from_millis(after_ms), took.clone()));
    (one(script), took)
}

/// Refused, unless this machine was so busy that the bounce came much later than it should.
fn refused_in_time(outcome: &Outcome, took: &AtomicU64) {
    if outcome.delivered().is_some() {
        let until = Instant::now() + Duration::from_secs(10);
        while took.load(Ordering::SeqCst) == 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = took.swap(0, Ordering::SeqCst);
        assert!(
            took > 29_000,
            "delivered, and the bounce came {took} µs after the answer"
        );
        return;
    }
    took.store(0, Ordering::SeqCst);
    assert_ends!(outcome, XmppError::NoSuchUser { .. });
}

fn without_resuming() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.resume = false;
    options
}

/// Capabilities that announce Prosody, and an id of the kind that Prosody makes.
const CLAIM: &str =
    "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://prosody.im' ver='x'/>";
const UUID: &str = "7d9e4653-7e72-42f5-84d4-f920b1b5424e";

#[test]
fn a_bounce_20_ms_after_the_answer_is_waited_for() {
    for (id, features) in [("s", ""), ("s", CLAIM), (UUID, ""), ("s", ELSE)] {
        let (fake, took) = answers_before_it_bounces(20, id, features);
        let account = to_fake(&fake, Mode::None);
        for _ in 0..5 {
            refused_in_time(&ends_for(&account, user("bob@localhost")), &took);
        }
        block_on(async {
            let (alice, _events) = Session::open(&account, without_resuming()).await.unwrap();
            for _ in 0..10 {
                let outcome = alice.send(vec![text(user("bob@localhost"), "x")]).await.remove(0);
                refused_in_time(&outcome, &took);
            }
        });
    }
}

const ELSE: &str =
    "<c xmlns='http://jabber.org/protocol/caps' node='http://www.process-one.net/en/ejabberd/' ver='x'/>";

/// No settle time helps then; the session says so when it happens.
#[test]
fn a_bounce_after_the_end_is_reported_by_the_session() {
    let (fake, _) = answers_before_it_bounces(400, "s", "");
    block_on(async {
        let account = to_fake(&fake, Mode::None);
        let (alice, mut events) = Session::open(&account, without_resuming()).await.unwrap();
        let outcome = alice.send(vec![text(user("bob@localhost"), "x")]).await.remove(0);
        let sent = delivered(&outcome);
        assert_eq!(sent.confirmed_by, ConfirmedBy::Server);
        let late = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                match events.next().await {
                    Some(Event::Late { id, to, reason }) => return (id, to, reason),
                    Some(_) => {}
                    None => panic!("the session ended"),
                }
            }
        });
        let (id, to, reason) = late.await.expect("it is reported");
        assert_eq!((id, to), (sent.id.clone(), jid("bob@localhost")));
        assert!(matches!(reason, XmppError::NoSuchUser { .. }), "{reason:?}");
    });
}

/// A server that never answers the second question took the message, and no more is known.
#[test]
fn without_the_second_answer_it_is_handed_over() {
    let fake = after_login(vec![reply("to='localhost'", |heard| {
        pong(&format!("{heard}>"), "localhost")
    })]);
    let outcome = ends(&fake, Mode::None);
    assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::HandedOver);
}

// --- receipts ---

#[test]
fn without_a_receipt_it_is_not_delivered() {
    for server in [
        Prosody::start(ServerOptions::default()),
        Ejabberd::start(ServerOptions::default()),
    ] {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let sender = account(&server, "alice", Mode::StartTls).answer_timeout(Duration::from_secs(1));
        let body = unique("no receipt");
        let mut message = text(user("bob@localhost"), &body);
        message.confirm = Some(Confirm::Receipt);
        let started = Instant::now();
        let outcome = send_one(&sender, message.clone());
        bob.wait_body(&body);
        assert!(started.elapsed() < Duration::from_secs(10));
        let error = failure(&outcome);
        assert!(error.is_permanent() && error.may_have_arrived(), "{outcome:?}");
        assert!(error.to_string().contains("no receipt") && error.remedy().contains("rto="));
        assert_ends!(&outcome, XmppError::NoReceipt { .. });
        block_on(async {
            let (alice, _events) = Session::open(&sender, SessionOptions::default()).await.unwrap();
            assert_ends!(
                alice.send(vec![message]).await.remove(0),
                XmppError::NoReceipt { .. }
            );
        });
    }
}
