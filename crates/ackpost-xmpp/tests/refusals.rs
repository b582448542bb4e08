//! Refusals of real servers, each with its own cause; nothing else is reported delivered.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Prosody, Receiver, ServerKind, XmppServer};
use ackpost_xmpp::{
    Account, ConfirmedBy, Content, Mode, Note, Outcome, Outgoing, RoomTarget, Step, Target, Verify, XmppError,
};
use common::*;

fn both() -> [&'static XmppServer; 2] {
    [Prosody::shared(), Ejabberd::shared()]
}

/// Refused, for a reason that no repetition changes, and with something to do about it.
#[track_caller]
fn refused(outcome: &Outcome) -> &XmppError {
    let error = failure(outcome);
    assert!(
        matches!(outcome, Outcome::Refused(_)) && error.is_permanent(),
        "{error:?}"
    );
    assert!(error.retry_after().is_none() && !error.remedy().is_empty());
    error
}

/// Both servers say service-unavailable, which Prosody also says when it cannot store the message: it may pass.
#[track_caller]
fn unknown_user(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Deferred(_)), "{outcome:?}");
    let error = failure(outcome);
    assert!(
        matches!(error, XmppError::NoSuchUser { temporary: true, .. }),
        "{outcome:?}"
    );
    assert!(error.retry_after().is_some() && error.remedy().starts_with("check the address"));
}

#[test]
fn wrong_password() {
    for server in both() {
        for mode in [Mode::None, Mode::StartTls, Mode::Tls] {
            let sender = Account::new(jid("alice@localhost"), "wrong-password-9".to_owned().into())
                .host("127.0.0.1")
                .port(if mode == Mode::Tls {
                    server.tls_port
                } else {
                    server.port
                })
                .mode(mode)
                .verify(trust(server));
            let body = unique("never");
            let started = Instant::now();
            let outcome = send_one(&sender, text(user("bob@localhost"), &body));
            assert!(
                matches!(refused(&outcome), XmppError::WrongPassword { .. }),
                "{outcome:?}"
            );
            assert!(!format!("{outcome:?} {}", failure(&outcome)).contains("wrong-password-9"));
            assert!(started.elapsed() < Duration::from_secs(10), "no endless retry");
        }
    }
}

#[test]
fn no_such_user() {
    for server in both() {
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("nobody@localhost"), "x"),
        );
        unknown_user(&outcome);
    }
}

#[test]
fn unreachable_domain() {
    for server in both() {
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("bob@nowhere.invalid"), "x"),
        );
        let error = failure(&outcome);
        assert!(
            matches!(
                error,
                XmppError::RemoteNotAllowed { .. }
                    | XmppError::RemoteServerNotFound { .. }
                    | XmppError::RemoteServerTimeout { .. }
            ),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_neighbour_on_another_domain_of_the_same_server() {
    for server in both() {
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("bob@xmpp.test"), "x"),
        );
        assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("nobody@xmpp.test"), "x"),
        );
        unknown_user(&outcome);
    }
}

#[test]
fn a_domain_the_server_does_not_serve() {
    for server in both() {
        for mode in [Mode::None, Mode::StartTls] {
            let sender = Account::new(jid("alice@other.invalid"), "x".to_owned().into())
                .host("127.0.0.1")
                .port(server.port)
                .mode(mode)
                .verify(trust(server));
            let outcome = send_one(&sender, text(user("bob@localhost"), "x"));
            assert!(
                matches!(refused(&outcome), XmppError::HostUnknown { .. }),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn no_such_host_and_refused_port() {
    let base = Account::new(jid("alice@localhost"), "x".to_owned().into());
    let outcome = send_one(
        &base.clone().host("127.0.0.1").port(9),
        text(user("bob@localhost"), "x"),
    );
    assert!(
        matches!(failure(&outcome), XmppError::ConnectionRefused { .. }),
        "{outcome:?}"
    );
    assert!(matches!(outcome, Outcome::Deferred(_)));
    let outcome = send_one(
        &base.host("no-such-host.invalid").port(5222),
        text(user("bob@localhost"), "x"),
    );
    assert!(
        matches!(
            failure(&outcome),
            XmppError::NoSuchHost { .. } | XmppError::DnsFailed { .. }
        ),
        "{outcome:?}"
    );
}

#[test]
fn ports_that_do_not_fit_the_mode() {
    for server in both() {
        for mode in [Mode::None, Mode::StartTls] {
            let sender = account(server, "alice", mode)
                .port(server.tls_port)
                .answer_timeout(Duration::from_secs(3));
            let outcome = send_one(&sender, text(user("bob@localhost"), "x"));
            let error = failure(&outcome);
            assert!(
                matches!(
                    error,
                    XmppError::PortExpectsTls
                        | XmppError::ConnectionLost { step: Step::Opening }
                        | XmppError::AnswerTimeout {
                            step: Step::Opening,
                            ..
                        }
                ),
                "{:?} {mode:?}: {outcome:?}",
                server.kind
            );
            assert!(error.remedy().contains("mode="), "{}", error.remedy());
        }
        let sender = account(server, "alice", Mode::Tls).port(server.port);
        let outcome = send_one(&sender, text(user("bob@localhost"), "x"));
        assert!(
            matches!(refused(&outcome), XmppError::PortExpectsClearText),
            "{outcome:?}"
        );
    }
}

#[test]
fn encryption_that_the_server_insists_on() {
    for server in both() {
        let sender = Account::new(jid("alice@xmpp.test"), "alicepass".to_owned().into())
            .host("127.0.0.1")
            .port(server.strict_port)
            .mode(Mode::None);
        let outcome = send_one(&sender, text(user("bob@xmpp.test"), "x"));
        assert!(
            matches!(refused(&outcome), XmppError::TlsRequired { .. }),
            "{outcome:?}"
        );
        let outcome = send_one(
            &sender.mode(Mode::StartTls).verify(trust(server)),
            text(user("bob@xmpp.test"), "x"),
        );
        delivered(&outcome);
    }
}

#[test]
fn certificates_nobody_here_trusts() {
    for server in both() {
        for mode in [Mode::StartTls, Mode::Tls] {
            let sender = account(server, "alice", mode).verify(Verify::Platform);
            let outcome = send_one(&sender, text(user("bob@localhost"), "x"));
            assert!(
                matches!(refused(&outcome), XmppError::CertificateUntrusted { .. }),
                "{outcome:?}"
            );
            let outcome = send_one(&sender.verify(Verify::No), text(user("bob@localhost"), "x"));
            assert!(delivered(&outcome).notes.contains(&Note::CertificateNotVerified));
        }
    }
}

fn to_room(server: &XmppServer, sender: &str, target: RoomTarget) -> (Outcome, String) {
    let body = unique("room");
    let message = Outgoing::new(Target::Room(target), Content::text(body.clone()));
    (send_one(&account(server, sender, Mode::StartTls), message), body)
}

fn room_named(server: &XmppServer, name: &str) -> RoomTarget {
    RoomTarget::new(jid(&server.room(name)))
}

#[test]
fn rooms_for_members_only() {
    for server in both() {
        for name in ["members", "private"] {
            let (outcome, _) = to_room(server, "carol", room_named(server, name));
            assert!(
                matches!(refused(&outcome), XmppError::MembersOnly { .. }),
                "{outcome:?}"
            );
            let (outcome, _) = to_room(server, "bob", room_named(server, name));
            assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Room);
        }
    }
}

#[test]
fn rooms_with_a_password() {
    for server in both() {
        let (outcome, _) = to_room(server, "carol", room_named(server, "secret"));
        assert!(
            matches!(refused(&outcome), XmppError::RoomPassword { given: false, .. }),
            "{outcome:?}"
        );
        let with = |password: &str| RoomTarget {
            password: Some(password.to_owned().into()),
            ..room_named(server, "secret")
        };
        let (outcome, _) = to_room(server, "carol", with("nope"));
        assert!(
            matches!(refused(&outcome), XmppError::RoomPassword { given: true, .. }),
            "{outcome:?}"
        );
        let (outcome, _) = to_room(server, "carol", with("roompass"));
        assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Room);
    }
}

#[test]
fn rooms_where_visitors_have_no_voice() {
    for server in both() {
        for confirm in [None, Some(ackpost_xmpp::Confirm::Server)] {
            let mut message = text(room(&server.room("moderated")), "x");
            message.confirm = confirm;
            let outcome = send_one(&account(server, "carol", Mode::StartTls), message);
            assert!(
                matches!(refused(&outcome), XmppError::NoVoice { .. }),
                "{:?} {outcome:?}",
                server.kind
            );
        }
    }
}

#[test]
fn a_nick_that_is_taken() {
    for server in both() {
        let mut bob = Receiver::join(
            server.port,
            &server.domain,
            "bob",
            "bobpass",
            &[&server.room("open")],
        );
        let mut target = room_named(server, "open");
        target.nick = Some("bob".to_owned());
        let (outcome, body) = to_room(server, "carol", target);
        assert_eq!(delivered(&outcome).notes, [Note::NickChanged("bob_2".to_owned())]);
        let stanza = bob.wait_body(&body);
        assert_eq!(stanza.attr("from"), format!("{}/bob_2", server.room("open")));
        assert!(
            bob.wait(Duration::from_millis(300), |s| s.child_text("body")
                == Some(&*body))
                .is_none(),
            "once and no more"
        );
    }
}

#[test]
fn a_room_made_by_a_typo_is_removed_again() {
    for server in both() {
        let name = format!("typo{}", std::process::id());
        let (outcome, _) = to_room(server, "carol", room_named(server, &name));
        assert!(
            matches!(refused(&outcome), XmppError::NoSuchRoom { removed: true, .. }),
            "{outcome:?}"
        );
        // It is gone: the next attempt makes it anew, and says the same.
        let (outcome, _) = to_room(server, "bob", room_named(server, &name));
        assert!(
            matches!(refused(&outcome), XmppError::NoSuchRoom { removed: true, .. }),
            "{outcome:?}"
        );
        let allowed = RoomTarget {
            create: true,
            ..room_named(server, &name)
        };
        let (outcome, _) = to_room(server, "carol", allowed);
        assert!(
            delivered(&outcome).notes.contains(&Note::RoomCreated),
            "{outcome:?}"
        );
    }
}

#[test]
fn rooms_nobody_may_make() {
    for server in both() {
        let target = RoomTarget::new(jid("some@closed.xmpp.test"));
        let (outcome, _) = to_room(server, "carol", target);
        let error = refused(&outcome);
        assert!(
            matches!(
                error,
                XmppError::RoomCreationForbidden { .. } | XmppError::NoSuchRoom { .. }
            ),
            "{:?} {outcome:?}",
            server.kind
        );
    }
}

#[test]
fn a_room_written_as_a_person() {
    for server in both() {
        let outcome = send_one(
            &account(server, "carol", Mode::StartTls),
            text(user(&server.room("open")), "x"),
        );
        let error = refused(&outcome);
        assert!(
            matches!(error, XmppError::IsRoom { .. }),
            "{:?} {outcome:?}",
            server.kind
        );
        assert!(error.to_string().contains("did you mean #"));
    }
}

#[test]
fn characters_xml_forbids_and_bodies_too_large() {
    for server in both() {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let body = unique("control");
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("bob@localhost"), &format!("{body}\u{8}\u{0}")),
        );
        assert_eq!(delivered(&outcome).notes, [Note::CharactersReplaced(2)]);
        bob.wait_body(&format!("{body}\u{fffd}\u{fffd}"));
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("bob@localhost"), &"x".repeat(300_000)),
        );
        assert!(
            matches!(refused(&outcome), XmppError::TooLarge { .. }),
            "{outcome:?}"
        );
        // The largest that is allowed arrives whole.
        let large = format!("{body}{}", "&".repeat(5_000));
        delivered(&send_one(
            &account(server, "alice", Mode::StartTls),
            text(user("bob@localhost"), &large),
        ));
        bob.wait_body(&large);
    }
}

#[test]
fn two_senders_do_not_disconnect_each_other() {
    for server in both() {
        let sender = account(server, "alice", Mode::StartTls);
        let outcomes = block_on(futures_util::future::join_all((0..5).map(|_| {
            let sender = sender.clone();
            async move {
                ackpost_xmpp::send(&sender, vec![text(user("bob@localhost"), "x")])
                    .await
                    .remove(0)
            }
        })));
        for outcome in &outcomes {
            delivered(outcome);
        }
    }
}

#[test]
fn one_failure_does_not_hide_the_others() {
    for server in both() {
        let mut bob = Receiver::join(
            server.port,
            &server.domain,
            "bob",
            "bobpass",
            &[&server.room("open")],
        );
        let messages = [
            user("nobody@localhost"),
            user("bob@localhost"),
            room(&server.room("members")),
            room(&server.room("open")),
            user("bob@nowhere.invalid"),
        ]
        .map(|target| text(target, &unique("mix")))
        .to_vec();
        let outcomes = block_on(ackpost_xmpp::send(
            &account(server, "carol", Mode::Tls),
            messages.clone(),
        ));
        assert!(
            matches!(outcomes[0].error(), Some(XmppError::NoSuchUser { .. })),
            "{:?}",
            outcomes[0]
        );
        assert!(
            matches!(outcomes[2].error(), Some(XmppError::MembersOnly { .. })),
            "{:?}",
            outcomes[2]
        );
        assert!(outcomes[4].error().is_some());
        delivered(&outcomes[1]);
        delivered(&outcomes[3]);
        bob.wait_body(&messages[1].content.body);
        bob.wait_body(&messages[3].content.body);
        assert!(matches!(server.kind, ServerKind::Prosody | ServerKind::Ejabberd));
    }
}

/// Our own block is named, and final.
#[test]
fn a_recipient_whom_this_account_blocks() {
    for server in both() {
        let mut carol = Receiver::join(server.port, &server.domain, "carol", "carolpass", &[]);
        let block = "<block xmlns='urn:xmpp:blocking'><item jid='blocked@localhost'/></block>";
        assert_eq!(carol.set("block", None, block).attr("type"), "result");
        let outcome = send_one(
            &account(server, "carol", Mode::StartTls),
            text(user("blocked@localhost"), "x"),
        );
        let error = refused(&outcome);
        assert!(!error.may_have_arrived());
        match server.kind {
            ServerKind::Prosody => {
                assert!(matches!(error, XmppError::Blocked { .. }), "{error:?}");
                assert!(error.remedy().contains("block list"));
            }
            // ejabberd names the privacy list in its words only.
            ServerKind::Ejabberd => assert!(error.to_string().contains("privacy list"), "{error:?}"),
        }
    }
}
