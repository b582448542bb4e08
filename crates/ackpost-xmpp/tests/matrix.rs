//! Every mode × login mechanism × kind of target × level of confirmation, on Prosody and ejabberd,
//! looked at from both sides: what the sender is told, and what the receiver gets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use ackpost_testkit::{Ejabberd, Prosody, Receiver, ServerOptions, XmppServer};
use ackpost_xmpp::{
    Account, ChannelBinding, Confirm, ConfirmedBy, Mode, Outcome, Outgoing, Target, XmppError,
};
use common::*;

const MODES: [Mode; 3] = [Mode::None, Mode::StartTls, Mode::Tls];
const LEVELS: [Option<Confirm>; 5] = [
    None,
    Some(Confirm::Sent),
    Some(Confirm::Server),
    Some(Confirm::Room),
    Some(Confirm::Receipt),
];

/// Returns the possible confirmations of a level.
///
/// They are never less than asked, and a room may answer before its barrier does.
fn expected(target: &Target, level: Option<Confirm>) -> &'static [ConfirmedBy] {
    match (target, level) {
        (Target::User(_), Some(Confirm::Sent)) => &[ConfirmedBy::Sent],
        (Target::User(_), _) => &[ConfirmedBy::Server],
        (_, Some(Confirm::Sent)) => &[ConfirmedBy::Sent, ConfirmedBy::Room],
        (_, Some(Confirm::Server)) => &[ConfirmedBy::Server, ConfirmedBy::Room],
        (_, _) => &[ConfirmedBy::Room],
    }
}

fn whole_row(server: &XmppServer, mode: Mode, binding: ChannelBinding) {
    let sender = account(server, "alice", mode)
        .channel_binding(binding)
        .answer_timeout(std::time::Duration::from_millis(1500));
    let mut bob = Receiver::join(
        server.port,
        &server.domain,
        "bob",
        "bobpass",
        &[&server.room("open")],
    );
    let full = jid(&bob.jid);
    let targets: [Target; 4] = [
        user("bob@localhost"),
        Target::User(full),
        room(&server.room("open")),
        room(&server.room("moderated")),
    ];
    for level in LEVELS {
        let mut messages = Vec::new();
        for target in &targets[..3] {
            let mut message = text(target.clone(), &unique("cell"));
            message.confirm = level;
            messages.push(message);
        }
        let outcomes = block_on(ackpost_xmpp::send(&sender, messages.clone()));
        for (message, outcome) in messages.iter().zip(&outcomes) {
            if level == Some(Confirm::Receipt) && matches!(message.target, Target::User(_)) {
                // The receiver of these tests gives no receipts, so the level is not reached.
                assert_ends!(outcome, XmppError::NoReceipt { .. });
                assert!(failure(outcome).is_permanent() && failure(outcome).may_have_arrived());
                bob.wait_body(&message.content.body);
                continue;
            }
            let proof = delivered(outcome);
            assert!(
                expected(&message.target, level).contains(&proof.confirmed_by),
                "{mode:?} {level:?} {:?}: {:?}",
                message.target,
                proof.confirmed_by
            );
            let stanza = bob.wait_body(&message.content.body);
            assert_eq!(stanza.attr("id"), proof.id);
            let kind = if matches!(message.target, Target::Room(_)) {
                "groupchat"
            } else {
                "chat"
            };
            assert_eq!(stanza.attr("type"), kind);
        }
    }
    // Two rooms and a person at once, and oneself.
    let mut alice = Receiver::join(server.port, &server.domain, "alice", "alicepass", &[]);
    let messages: Vec<Outgoing> = [
        room(&server.room("open")),
        user("bob@localhost"),
        user("alice@localhost"),
    ]
    .into_iter()
    .map(|target| text(target, &unique("mixed")))
    .collect();
    let outcomes = block_on(ackpost_xmpp::send(
        &sender.clone().nick("alice-two"),
        messages.clone(),
    ));
    for outcome in &outcomes {
        delivered(outcome);
    }
    bob.wait_body(&messages[0].content.body);
    bob.wait_body(&messages[1].content.body);
    alice.wait_body(&messages[2].content.body);
}

fn every_mode(server: &XmppServer) {
    for mode in MODES {
        whole_row(server, mode, ChannelBinding::Auto);
    }
}

#[test]
fn prosody_as_installed() {
    every_mode(Prosody::shared());
}

#[test]
fn ejabberd_as_installed() {
    every_mode(Ejabberd::shared());
}

/// The mechanism that was used, from the server's own log.
fn mechanism_in(server: &XmppServer, names: &[&str]) {
    let log = server.log_text();
    assert!(
        names.iter().any(|name| log.contains(name)),
        "none of {names:?} in the log"
    );
}

fn with(kind: fn(ServerOptions) -> XmppServer, scram: &str, tls: Option<&str>) -> XmppServer {
    kind(ServerOptions {
        scram: Some(scram.to_owned()),
        tls_protocol: tls.map(ToOwned::to_owned),
        ..ServerOptions::default()
    })
}

#[test]
fn prosody_with_each_hash_and_tls_version() {
    for (scram, tls) in [
        ("SHA-1", "tlsv1_2"),
        ("SHA-256", "tlsv1_2"),
        ("SHA-256", "tlsv1_3"),
    ] {
        let server = with(Prosody::start, scram, Some(tls));
        every_mode(&server);
    }
}

#[test]
fn ejabberd_with_each_hash_and_tls_version() {
    for (scram, tls) in [
        ("sha", "tlsv1_2"),
        ("sha256", "tlsv1_2"),
        ("sha512", "tlsv1_3"),
        ("plain", "tlsv1_3"),
    ] {
        let server = with(Ejabberd::start, scram, Some(tls));
        every_mode(&server);
        mechanism_in(&server, &["SCRAM-SHA"]);
    }
}

#[test]
fn passwords_with_every_kind_of_character() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        for mode in MODES {
            let outcome = send_one(
                &account(server, "dave", mode),
                text(user("dave@localhost"), "hello me"),
            );
            delivered(&outcome);
        }
    }
}

#[test]
fn never_binding_works_everywhere() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        for mode in MODES {
            let sender = account(server, "carol", mode).channel_binding(ChannelBinding::Never);
            let outcome = send_one(&sender, text(user("carol@localhost"), "hello me"));
            assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
        }
    }
}

/// SASLprep (RFC 4013): however the same password was typed, it is the same.
#[test]
fn passwords_are_prepared_before_they_are_hashed() {
    // `pä ss,=1` decomposed, with a no-break space, and with a soft hyphen in it.
    for typed in ["pa\u{308} ss,=1", "p\u{e4}\u{a0}ss,=1", "p\u{e4} s\u{ad}s,=1"] {
        for server in [Prosody::shared(), Ejabberd::shared()] {
            let sender = Account::new(jid("dave@localhost"), typed.to_owned().into())
                .host(&server.host)
                .port(server.port)
                .mode(Mode::StartTls)
                .verify(trust(server));
            let outcome = send_one(&sender, text(user("dave@localhost"), "hello me"));
            assert!(matches!(outcome, Outcome::Delivered(_)), "{typed:?} {outcome:?}");
        }
    }
}
