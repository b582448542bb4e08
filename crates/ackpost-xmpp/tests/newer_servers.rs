//! Prosody 13 and ejabberd 24.12 (Debian trixie): SASL2, Bind 2, FAST, and the round trips of each login.
//!
//! They run in a Debian tree of their own, which `tests/servers/make-trixie.sh` makes below the target
//! folder the first time (a minute, 400 MB, root), or in the one that `ACKPOST_TEST_TRIXIE` names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ackpost_testkit::{
    Ejabberd, Prosody, Receiver, Relay, RelayOptions, ServerKind, ServerOptions, XmppServer,
};
use ackpost_xmpp::{
    Account, ChannelBinding, ConfirmedBy, Event, Mode, ProcessTokenStore, Session, SessionOptions,
    TokenStore, XmppError,
};
use common::*;

fn options(tls: Option<&str>, scram: Option<&str>) -> ServerOptions {
    static TREE: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| {
        if let Some(tree) = std::env::var_os("ACKPOST_TEST_TRIXIE") {
            return tree.into();
        }
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trixie");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/make-trixie.sh");
        let made = std::process::Command::new(script)
            .arg(&tree)
            .output()
            .expect("the script runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        tree
    });
    ServerOptions {
        tls_protocol: tls.map(ToOwned::to_owned),
        scram: scram.map(ToOwned::to_owned),
        chroot: Some(TREE.clone()),
        ..ServerOptions::default()
    }
}

fn both() -> [XmppServer; 2] {
    [
        Prosody::start(options(None, None)),
        Ejabberd::start(options(None, None)),
    ]
}

fn remembering(account: Account) -> (Account, Arc<ProcessTokenStore>) {
    let memory = Arc::new(ProcessTokenStore::default());
    (account.token_store(memory.clone()), memory)
}

#[test]
fn every_mode_and_target() {
    for server in both() {
        assert!(
            server.version.contains("13.") || server.version.contains("24."),
            "{}",
            server.version
        );
        let mut bob = Receiver::join(
            server.port,
            &server.domain,
            "bob",
            "bobpass",
            &[&server.room("open")],
        );
        for mode in [Mode::None, Mode::StartTls, Mode::Tls] {
            for binding in [ChannelBinding::Auto, ChannelBinding::Never] {
                let sender = account(&server, "alice", mode).channel_binding(binding);
                let messages = [user("bob@localhost"), room(&server.room("open"))]
                    .map(|target| text(target, &unique("new")))
                    .to_vec();
                let outcomes = block_on(ackpost_xmpp::send(&sender, messages.clone()));
                assert_eq!(
                    delivered(&outcomes[0]).confirmed_by,
                    ConfirmedBy::Server,
                    "{mode:?} {binding:?}"
                );
                assert_eq!(delivered(&outcomes[1]).confirmed_by, ConfirmedBy::Room);
                for message in &messages {
                    bob.wait_body(&message.content.body);
                }
            }
        }
        delivered(&send_one(
            &account(&server, "dave", Mode::Tls),
            text(user("dave@localhost"), "me"),
        ));
    }
}

#[test]
fn bound_logins_on_both_tls_versions() {
    for tls in ["tlsv1_2", "tlsv1_3"] {
        for server in [
            Prosody::start(options(Some(tls), None)),
            Ejabberd::start(options(Some(tls), None)),
        ] {
            for mode in [Mode::StartTls, Mode::Tls] {
                let sender = account(&server, "alice", mode).channel_binding(ChannelBinding::Require);
                let outcome = send_one(&sender, text(user("bob@localhost"), "bound"));
                match outcome.error() {
                    None => {}
                    // Prosody 13 lists tls-unique only under TLS 1.2, which nobody should do any more.
                    Some(XmppError::ChannelBindingUnavailable { .. })
                        if tls == "tlsv1_2" && server.version.contains("prosody") => {}
                    Some(error) => panic!("{} {tls} {mode:?}: {error:?}", server.version),
                }
            }
        }
    }
}

#[test]
fn each_hash() {
    for scram in ["sha", "sha256", "sha512"] {
        let server = Ejabberd::start(options(None, Some(scram)));
        delivered(&send_one(
            &account(&server, "alice", Mode::Tls),
            text(user("bob@localhost"), scram),
        ));
    }
}

#[test]
fn a_wrong_password_delivers_nothing_although_the_message_rode_along() {
    for server in both() {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let body = unique("never");
        let sender = Account::new(jid("alice@localhost"), "wrong".to_owned().into())
            .host("127.0.0.1")
            .port(server.tls_port)
            .mode(Mode::Tls)
            .verify(trust(&server));
        let outcome = send_one(&sender, text(user("bob@localhost"), &body));
        assert!(
            matches!(failure(&outcome), XmppError::WrongPassword { .. }),
            "{outcome:?}"
        );
        assert!(
            bob.wait(Duration::from_millis(500), |s| s.child_text("body")
                == Some(&*body))
                .is_none()
        );
    }
}

#[test]
fn a_token_that_no_longer_works_is_dropped_and_the_password_used() {
    for server in both() {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let (sender, memory) = remembering(account(&server, "alice", Mode::Tls));
        delivered(&send_one(&sender, text(user("bob@localhost"), "first")));
        let mut known = memory.recall().unwrap();
        let token = known
            .token
            .as_mut()
            .unwrap_or_else(|| panic!("{} gave no token", server.version));
        token.secret = "secret-token:fast-wrong".to_owned().into();
        memory.store(known);
        let body = unique("after a bad token");
        delivered(&send_one(&sender, text(user("bob@localhost"), &body)));
        bob.wait_body(&body);
        assert!(
            bob.wait(Duration::from_millis(300), |s| s.child_text("body")
                == Some(&*body))
                .is_none(),
            "once"
        );
    }
}

/// Counts the round trips of a login, without TCP's, through a relay that makes each visible.
fn trips(server: &XmppServer, sender: &Account, mode: Mode) -> u64 {
    let port = if mode == Mode::Tls {
        server.tls_port
    } else {
        server.port
    };
    let relay = Relay::to_port(
        port,
        RelayOptions {
            delay: Duration::from_millis(50),
            ..RelayOptions::default()
        },
    );
    let outcome = send_one(
        &sender.clone().port(relay.port()),
        text(user("bob@localhost"), "counted"),
    );
    delivered(&outcome);
    relay.round_trips()
}

#[test]
fn round_trips_with_sasl2_and_tokens() {
    for server in both() {
        // A server whose sessions work beside each other is asked a second time.
        let more = u64::from(server.kind == ServerKind::Ejabberd);
        let trips_wanted = [(Mode::StartTls, 5, 4, 3), (Mode::Tls, 4, 3, 2)];
        for (mode, fresh, remembered, by_token) in
            trips_wanted.map(|(mode, a, b, c)| (mode, a + more, b + more, c + more))
        {
            let plain = account(&server, "alice", mode);
            assert_eq!(
                trips(&server, &plain, mode),
                fresh,
                "{} {mode:?} fresh",
                server.version
            );
            let (sender, memory) = remembering(plain);
            assert_eq!(
                trips(&server, &sender, mode),
                fresh,
                "{} {mode:?} first",
                server.version
            );
            assert_eq!(
                trips(&server, &sender, mode),
                by_token,
                "{} {mode:?} by token",
                server.version
            );
            let mut known = memory.recall().unwrap();
            known.token = None;
            memory.store(known);
            assert_eq!(
                trips(&server, &sender, mode),
                remembered,
                "{} {mode:?} remembered",
                server.version
            );
        }
    }
}

#[test]
fn kept_sessions_resume_inside_the_login() {
    for server in both() {
        let relay = Relay::to_port(server.port, RelayOptions::default());
        block_on(async {
            let through = account(&server, "alice", Mode::StartTls).port(relay.port());
            let (alice, mut events) = Session::open(&through, SessionOptions::default()).await.unwrap();
            delivered(&alice.send(vec![text(user("bob@localhost"), "one")]).await[0]);
            relay.cut();
            delivered(&alice.send(vec![text(user("bob@localhost"), "two")]).await[0]);
            let mut resumed = false;
            while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), events.next()).await
            {
                resumed |= matches!(event, Event::Online { resumed: true, .. });
            }
            assert!(resumed, "{}", server.version);
        });
    }
}
