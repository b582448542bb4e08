//! Two servers of different make that talk to each other: people and rooms on another domain.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Federation, Prosody, Receiver, ServerOptions, XmppServer, reserve_port};
use ackpost_xmpp::{Account, Confirm, ConfirmedBy, Event, Mode, Session, SessionOptions, XmppError};
use common::dns::NameServer;
use common::*;

const PROSODY: &str = "one.test";
const EJABBERD: &str = "two.test";

struct Two {
    prosody: XmppServer,
    ejabberd: XmppServer,
    _names: NameServer,
}

fn two() -> Two {
    let (one, two) = (reserve_port(), reserve_port());
    let record = |port: u16| format!("SRV 0 0 {port} localhost");
    let names = NameServer::start(&[
        ("_xmpp-server._tcp.one.test", &record(one)),
        ("_xmpp-server._tcp.conference.one.test", &record(one)),
        ("_xmpp-server._tcp.two.test", &record(two)),
        ("_xmpp-server._tcp.conference.two.test", &record(two)),
    ]);
    let options = |host: &str, port, peer: &str, peer_port| ServerOptions {
        federation: Some(Federation {
            host: host.to_owned(),
            port,
            peer: peer.to_owned(),
            peer_port,
            dns_port: names.address.port(),
        }),
        ..ServerOptions::default()
    };
    Two {
        prosody: Prosody::start(options(PROSODY, one, EJABBERD, two)),
        ejabberd: Ejabberd::start(options(EJABBERD, two, PROSODY, one)),
        _names: names,
    }
}

/// An account on the domain that talks to the other one. The certificates do not name it.
fn on(server: &XmppServer, user: &str, domain: &str) -> Account {
    Account::new(jid(&format!("{user}@{domain}")), password(user).into())
        .host("127.0.0.1")
        .port(server.port)
        .mode(Mode::None)
        .answer_timeout(Duration::from_secs(20))
}

impl Two {
    /// Both directions: the sender's server and domain, then the recipient's.
    fn directions(&self) -> [(&XmppServer, &'static str, &XmppServer, &'static str); 2] {
        [
            (&self.prosody, PROSODY, &self.ejabberd, EJABBERD),
            (&self.ejabberd, EJABBERD, &self.prosody, PROSODY),
        ]
    }
}

#[test]
fn people_and_rooms_on_another_domain() {
    let two = two();
    for (near, here, far, there) in two.directions() {
        let sender = on(near, "alice", here);
        let to = |name: &str| user(&format!("{name}@{there}"));
        let hall = format!("hall@conference.{there}");

        // Somebody of theirs makes the room, and stays so that it lives to the end.
        let mut made = text(room(&hall), "made");
        if let ackpost_xmpp::Target::Room(target) = &mut made.target {
            target.create = true;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (keeper, _events) = runtime
            .block_on(Session::open(&on(far, "bob", there), SessionOptions::default()))
            .unwrap();
        delivered(&runtime.block_on(keeper.send(vec![made]))[0]);

        let mut bob = Receiver::join(far.port, there, "bob", "bobpass", &[]);
        let body = unique("across");
        let outcome = send_one(&sender, text(to("bob"), &body));
        assert_eq!(
            delivered(&outcome).confirmed_by,
            ConfirmedBy::Server,
            "{here}: {outcome:?}"
        );
        assert_eq!(bob.wait_body(&body).attr("id"), delivered(&outcome).id);

        // Nobody of that name: their server says so, and it is believed.
        let outcome = send_one(&sender, text(to("nobody"), "x"));
        assert!(
            matches!(failure(&outcome), XmppError::NoSuchUser { .. }),
            "{here}: {outcome:?}"
        );

        // A receipt from a client over there.
        block_on(async {
            let (kept, mut events) =
                Session::open(&on(far, "carol", there), SessionOptions::receiving(vec![]))
                    .await
                    .unwrap();
            while !matches!(events.next().await, Some(Event::Online { .. })) {}
            let mut message = text(to("carol"), &unique("receipt"));
            message.confirm = Some(Confirm::Receipt);
            let outcome = ackpost_xmpp::send(&sender, vec![message]).await.remove(0);
            assert_eq!(
                delivered(&outcome).confirmed_by,
                ConfirmedBy::Receipt,
                "{here}: {outcome:?}"
            );
            kept.close().await;
        });

        // A room over there: reflected; and as a person it is seen to be a room.
        let body = unique("in the hall");
        let mut message = text(room(&hall), &body);
        if let ackpost_xmpp::Target::Room(target) = &mut message.target {
            target.create = true;
        }
        let outcome = send_one(&sender, message);
        assert_eq!(
            delivered(&outcome).confirmed_by,
            ConfirmedBy::Room,
            "{here}: {outcome:?}"
        );
        let outcome = send_one(&sender, text(user(&hall), "x"));
        assert!(
            matches!(
                failure(&outcome),
                XmppError::IsRoom { .. } | XmppError::NoSuchUser { .. }
            ),
            "{here}: {outcome:?}"
        );
        runtime.block_on(keeper.close());
    }
}

#[test]
fn a_domain_that_falls_silent_and_one_that_is_gone() {
    let two = two();
    for (near, here, far, there) in two.directions() {
        let sender = on(near, "alice", here).answer_timeout(Duration::from_secs(3));
        let bob = || user(&format!("bob@{there}"));
        // The two know each other now.
        delivered(&send_one(&on(near, "alice", here), text(bob(), "hello")));
        far.freeze();
        let started = Instant::now();
        let outcome = send_one(&sender, text(bob(), "into the silence"));
        far.thaw();
        let proof = delivered(&outcome);
        assert_eq!(proof.confirmed_by, ConfirmedBy::HandedOver, "{here}");
        assert!(!proof.confirmed_by.reaches(Confirm::Server));
        assert!(proof.notes.is_empty(), "{proof:?}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    // Gone altogether: nothing listens any more, and their server says so.
    two.ejabberd.kill();
    let mut last = None;
    for _ in 0..5 {
        // The connection that stood has to be noticed to be gone first.
        let outcome = send_one(
            &on(&two.prosody, "alice", PROSODY),
            text(user("bob@two.test"), "x"),
        );
        let gone = matches!(
            outcome.error(),
            Some(XmppError::RemoteServerNotFound { .. } | XmppError::RemoteServerTimeout { .. })
        );
        last = Some(outcome);
        if gone {
            return;
        }
    }
    panic!("{last:?}");
}
