//! Each fault on the way to a login by itself: the network, encryption, and what may be shown to whom.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ackpost_testkit::{Prosody, Relay, RelayOptions, SelfSigned};
use ackpost_xmpp::{Account, ConfirmedBy, Mode, Outcome, Plain, Step as At, Verify, XmppError};
use common::dns::NameServer;
use common::fake::*;
use common::hole::{BlackHole, own_address};
use common::*;

#[test]
fn a_server_that_says_nothing() {
    assert_ends!(
        ends(&one(vec![]), Mode::StartTls),
        XmppError::AnswerTimeout {
            step: At::Opening,
            ..
        }
    );
    assert_ends!(
        ends(&one(vec![]), Mode::None),
        XmppError::AnswerTimeout {
            step: At::Opening,
            ..
        }
    );
    assert_ends!(
        ends(&one(vec![]), Mode::Tls),
        XmppError::AnswerTimeout { step: At::Tls, .. }
    );
}

#[test]
fn a_stream_that_stays_half_open() {
    let fake = one(vec![on("<stream:stream", OPEN)]);
    for mode in [Mode::None, Mode::StartTls] {
        assert_ends!(
            ends(&fake, mode),
            XmppError::AnswerTimeout {
                step: At::Features,
                after: LIMIT,
            }
        );
    }
}

#[test]
fn a_server_that_drips() {
    const SECOND: Duration = Duration::from_secs(1);
    let offer = features(&mechanisms(&["PLAIN"]));
    let fake = one(vec![on("<stream:stream", ""), Step::Slowly(offer, SECOND)]);
    let outcome = ends(&fake, Mode::None);
    assert!(matches!(outcome, Outcome::Deferred(_)));
    assert_ends!(
        outcome,
        XmppError::TooSlow {
            step: At::Opening,
            bytes: 1..=3,
            after: LIMIT,
        }
    );
    // The same in the middle of the login, and where the message may have arrived.
    let fake = one(vec![
        on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
        on("</auth>", ""),
        Step::Slowly(
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
            SECOND,
        ),
    ]);
    assert_ends!(
        ends(&fake, Mode::None),
        XmppError::TooSlow { step: At::Login, .. }
    );
    let answer = "<iq type='result' id='x' from='localhost'/>".to_owned();
    let fake = after_login(vec![on("</message>", ""), Step::Slowly(answer, SECOND)]);
    let outcome = ends(&fake, Mode::None);
    assert!(failure(&outcome).may_have_arrived());
    assert_ends!(
        outcome,
        XmppError::AnswerTimeout {
            step: At::Confirming,
            ..
        }
    );
}

#[test]
fn a_server_that_chatters() {
    // An element each second, and never the one that is waited for.
    let chatter = || Step::Slowly("<a/>".repeat(60), Duration::from_millis(250));
    let in_time = |error: &XmppError, at| match error {
        XmppError::TooSlow { step, .. } | XmppError::AnswerTimeout { step, .. } => *step == at,
        _ => false,
    };
    let fake = one(vec![on("<stream:stream", OPEN), chatter()]);
    for mode in [Mode::None, Mode::StartTls] {
        let outcome = ends(&fake, mode);
        assert!(in_time(failure(&outcome), At::Features), "{outcome:?}");
    }
    let fake = one(vec![
        on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
        on("</auth>", ""),
        chatter(),
    ]);
    let outcome = ends(&fake, Mode::None);
    assert!(in_time(failure(&outcome), At::Login), "{outcome:?}");
}

#[test]
fn an_address_that_swallows_every_attempt() {
    let hole = BlackHole::at(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    for mode in [Mode::None, Mode::StartTls, Mode::Tls] {
        let account = Account::new(jid("alice@localhost"), "secret-pw-1".to_owned().into())
            .host("127.0.0.1")
            .port(hole.address.port())
            .mode(mode)
            .connect_timeout(Duration::from_millis(700))
            .answer_timeout(Duration::from_secs(60));
        let outcome = ends_for(&account, user("bob@localhost"));
        assert!(matches!(outcome, Outcome::Deferred(_)));
        assert!(failure(&outcome).remedy().contains("cto="));
        assert_ends!(
            outcome,
            XmppError::ConnectTimeout { after, .. } if *after == Duration::from_millis(700)
        );
    }
}

#[test]
fn an_address_that_swallows_every_attempt_does_not_cost_the_whole_limit() {
    const LONG: Duration = Duration::from_secs(60);
    let server = Prosody::shared();
    let relay = Relay::to_port(server.port, RelayOptions::default());
    // Without IPv6 on this machine that attempt fails at once, which is the same to the others.
    let six = BlackHole::at(Ipv6Addr::LOCALHOST.into(), relay.port());
    let _four = BlackHole::at(Ipv4Addr::new(127, 0, 0, 2).into(), relay.port()).unwrap();
    let names = NameServer::start(&[
        ("host.test", "AAAA ::1"),
        ("host.test", "A 127.0.0.2"),
        ("host.test", "A 127.0.0.1"),
    ]);
    let account = account(server, "alice", Mode::StartTls)
        .host("host.test")
        .port(relay.port())
        .dns(names.dns())
        .connect_timeout(LONG);
    let started = Instant::now();
    delivered(&send_one(&account, text(user("bob@localhost"), "past the holes")));
    assert!(started.elapsed() < LONG / 2, "took {:?}", started.elapsed());
    assert_eq!(relay.connections(), 1);
    drop(six);
}

#[test]
fn a_server_that_hangs_up() {
    assert_ends!(
        ends(&one(vec![Step::Close]), Mode::None),
        XmppError::ConnectionLost { step: At::Opening }
    );
    let fake = one(vec![
        on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
        on("</auth>", ""),
        Step::Close,
    ]);
    assert_ends!(
        ends(&fake, Mode::None),
        XmppError::ConnectionLost { .. } | XmppError::CutUnconfirmed
    );
}

#[test]
fn something_else_listens() {
    let web = one(vec![on(
        "<?xml",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    )]);
    assert_ends!(ends(&web, Mode::StartTls), XmppError::NotXmpp { .. });
    let mail = one(vec![on("<?xml", "220 mail.example ESMTP\r\n")]);
    assert_ends!(ends(&mail, Mode::None), XmppError::NotXmpp { .. });
    let tls = one(vec![on("<?xml", "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{46}")]);
    assert_ends!(ends(&tls, Mode::StartTls), XmppError::PortExpectsTls);
}

#[test]
fn starttls_missing_or_stripped_or_refused() {
    let fake = one(vec![on(
        "<starttls",
        features(&mechanisms(&["PLAIN", "SCRAM-SHA-1"])),
    )]);
    assert_ends!(ends(&fake, Mode::StartTls), XmppError::StartTlsNotOffered { .. });
    assert!(!fake.heard()[0].contains("<auth"), "nothing secret in clear");
    let offer = features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let fake = one(vec![on(
        "<starttls",
        format!("{offer}<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    )]);
    assert_ends!(ends(&fake, Mode::StartTls), XmppError::StartTlsRefused);
}

#[test]
fn text_slipped_in_before_the_handshake() {
    let offer = features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let fake = one(vec![on(
        "<starttls",
        format!("{offer}<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><success xmlns='x'/>"),
    )]);
    assert_ends!(ends(&fake, Mode::StartTls), XmppError::DataBeforeTls);
}

fn with_certificate(made: &SelfSigned, trusted: bool) -> Outcome {
    let fake = one(vec![
        Step::Tls(made.server()),
        on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
    ]);
    let account = to_fake(&fake, Mode::Tls);
    let account = if trusted {
        account.verify(Verify::Authorities(made.pem.clone().into_bytes().into()))
    } else {
        account.verify(Verify::Authorities(certificate(|_| ()).pem.into_bytes().into()))
    };
    let outcome = ends_for(&account, user("bob@localhost"));
    assert!(fake.heard().iter().all(|heard| !heard.contains("<auth")));
    outcome
}

#[test]
fn certificates_that_are_wrong_in_one_way() {
    let expired = certificate(|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    assert_ends!(
        with_certificate(&expired, true),
        XmppError::CertificateExpired { .. }
    );
    let early = certificate(|params| {
        params.not_before = rcgen::date_time_ymd(2900, 1, 1);
        params.not_after = rcgen::date_time_ymd(2901, 1, 1);
    });
    assert_ends!(
        with_certificate(&early, true),
        XmppError::CertificateNotYetValid { .. }
    );
    let other =
        SelfSigned::from_params(&rcgen::CertificateParams::new(vec!["other.example".to_owned()]).unwrap());
    assert_ends!(
        with_certificate(&other, true),
        XmppError::CertificateWrongName { .. }
    );
    assert_ends!(
        with_certificate(&certificate(|_| ()), false),
        XmppError::CertificateUntrusted { .. }
    );
}

#[test]
fn an_authority_that_is_none() {
    let fake = one(vec![]);
    let account = to_fake(&fake, Mode::Tls).verify(Verify::Authorities(b"not a certificate".to_vec().into()));
    assert_ends!(
        ends_for(&account, user("bob@localhost")),
        XmppError::BadAuthority { .. }
    );
}

#[test]
fn a_password_is_shown_only_where_policy_allows() {
    let made = certificate(|_| ());
    let offer = || features(&mechanisms(&["PLAIN"]));
    let bob = || user("bob@localhost");
    let clear = "an unencrypted connection";
    let unverified = "a connection whose certificate is not verified";
    let refused = |fake: &Fake, account: &Account, wanted: &str| {
        let outcome = ends_for(account, bob());
        assert!(matches!(outcome, Outcome::Refused(_)));
        assert_ends!(outcome, XmppError::OnlyPlain { link } if *link == wanted);
        assert!(fake.heard().iter().all(|heard| !heard.contains("<auth")));
    };
    // By the usual policy PLAIN goes to this machine itself, but not over another address of it.
    if let Some(ip) = own_address() {
        let fake = Fake::at(ip, vec![vec![on("<stream:stream", offer())]]);
        refused(&fake, &to_fake(&fake, Mode::None).host(ip.to_string()), clear);
        let fake = Fake::at(
            ip,
            vec![vec![Step::Tls(made.server()), on("<stream:stream", offer())]],
        );
        let account = to_fake(&fake, Mode::Tls).host(ip.to_string()).verify(Verify::No);
        refused(&fake, &account, unverified);
    }
    // By the strict one it needs a verified certificate everywhere.
    let fake = one(vec![on("<stream:stream", offer())]);
    refused(&fake, &to_fake(&fake, Mode::None).plain(Plain::Verified), clear);
    let fake = one(vec![Step::Tls(made.server()), on("<stream:stream", offer())]);
    let account = to_fake(&fake, Mode::Tls)
        .verify(Verify::No)
        .plain(Plain::Verified);
    refused(&fake, &account, unverified);
    // And with one it goes.
    let mut script = vec![Step::Tls(made.server())];
    script.append(&mut logged_in());
    script.push(Step::Pongs);
    let fake = one(script);
    let account = to_fake(&fake, Mode::Tls)
        .verify(Verify::Authorities(made.pem.clone().into_bytes().into()))
        .plain(Plain::Verified);
    assert_eq!(
        delivered(&ends_for(&account, bob())).confirmed_by,
        ConfirmedBy::Server
    );
}
