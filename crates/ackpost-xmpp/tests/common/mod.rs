//! Shared parts of the tests against real servers.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod dns;
pub mod fake;
pub mod hole;

#[allow(unused_macros, reason = "each test binary uses its part")]
macro_rules! assert_ends {
    ($outcome:expr, $pattern:pat $(if $guard:expr)?) => {
        let outcome = $outcome;
        assert!(matches!(outcome.error(), Some($pattern) $(if $guard)?), "{outcome:?}");
    };
}

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackpost_testkit::XmppServer;
use ackpost_xmpp::{Account, Content, Jid, Mode, Outcome, Outgoing, RoomTarget, Target, Verify};

/// Runs a future to its end on a runtime like the one of the command.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

/// An account of the test servers, trusting their authority.
pub fn account(server: &XmppServer, user: &str, mode: Mode) -> Account {
    let port = if mode == Mode::Tls {
        server.tls_port
    } else {
        server.port
    };
    Account::new(jid(&format!("{user}@{}", server.domain)), password(user).into())
        .host(&server.host)
        .port(port)
        .mode(mode)
        .verify(trust(server))
        .answer_timeout(Duration::from_secs(10))
}

pub fn password(user: &str) -> String {
    if user == "dave" {
        "pä ss,=1".to_owned()
    } else {
        format!("{user}pass")
    }
}

pub fn trust(server: &XmppServer) -> Verify {
    Verify::Authorities(std::fs::read(&server.ca).unwrap().into())
}

pub fn user(address: &str) -> Target {
    Target::User(jid(address))
}

pub fn room(address: &str) -> Target {
    Target::Room(RoomTarget::new(jid(address)))
}

pub fn text(target: Target, body: &str) -> Outgoing {
    Outgoing::new(target, Content::text(body))
}

/// A body nobody else sends.
pub fn unique(what: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    format!(
        "{what} {}-{nanos}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Sends one message and returns the result.
pub fn send_one(account: &Account, message: Outgoing) -> Outcome {
    let mut outcomes = block_on(ackpost_xmpp::send(account, vec![message]));
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

#[track_caller]
pub fn delivered(outcome: &Outcome) -> &ackpost_xmpp::Delivered {
    match outcome {
        Outcome::Delivered(proof) => proof,
        other => panic!("not delivered: {other:?}"),
    }
}

#[track_caller]
pub fn failure(outcome: &Outcome) -> &ackpost_xmpp::XmppError {
    outcome
        .error()
        .unwrap_or_else(|| panic!("delivered: {outcome:?}"))
}
