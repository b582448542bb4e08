//! Each fault of a login and of sending by itself, provoked by a server that misbehaves in exactly that way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use ackpost_xmpp::{
    ChannelBinding, Confirm, ConfirmedBy, Mode, Note, Outcome, Step as At, Verify, XmppError,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::fake::*;
use common::*;

// --- login ---

const CHALLENGE: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

fn challenge(text: &str) -> String {
    format!(
        "<challenge xmlns='{CHALLENGE}'>{}</challenge>",
        BASE64.encode(text)
    )
}

/// Our nonce, from the first message.
fn nonce(heard: &str) -> String {
    let from = heard.rfind("<auth").unwrap();
    let body = &heard[from + heard[from..].find('>').unwrap() + 1..];
    let first = String::from_utf8(BASE64.decode(body.split('<').next().unwrap()).unwrap()).unwrap();
    first.rsplit("r=").next().unwrap().to_owned()
}

fn scram(first: impl Fn(&str) -> String + Send + Sync + 'static, last: &str) -> Fake {
    one(vec![
        on("<stream:stream", features(&mechanisms(&["SCRAM-SHA-1", "PLAIN"]))),
        reply("</auth>", move |heard| challenge(&first(&nonce(heard)))),
        on("</response>", last.to_owned()),
    ])
}

#[test]
fn a_server_that_cannot_prove_itself() {
    let good = |nonce: &str| format!("r={nonce}x,s=QUJD,i=4096");
    for last in [
        format!("<success xmlns='{CHALLENGE}'/>"),
        format!(
            "<success xmlns='{CHALLENGE}'>{}</success>",
            BASE64.encode("v=AAAA")
        ),
        format!("<success xmlns='{CHALLENGE}'>{}</success>", BASE64.encode("e=no")),
    ] {
        let fake = scram(good, &last);
        assert_ends!(ends(&fake, Mode::None), XmppError::ServerNotProven { .. });
        assert!(
            !fake.heard()[0].contains("hello"),
            "no message to a server that is none"
        );
    }
    // Without even a challenge.
    let fake = one(vec![
        on("<stream:stream", features(&mechanisms(&["SCRAM-SHA-1"]))),
        on("</auth>", format!("<success xmlns='{CHALLENGE}'/>")),
    ]);
    assert_ends!(ends(&fake, Mode::None), XmppError::ServerNotProven { .. });
}

#[test]
fn challenges_that_break_the_rules() {
    let few = scram(|nonce| format!("r={nonce}x,s=QUJD,i=1"), "");
    assert_ends!(ends(&few, Mode::None), XmppError::Iterations { count: 1, .. });
    let many = scram(|nonce| format!("r={nonce}x,s=QUJD,i=4000000000"), "");
    assert_ends!(ends(&many, Mode::None), XmppError::Iterations { .. });
    let foreign = scram(|_| "r=another,s=QUJD,i=4096".to_owned(), "");
    assert_ends!(ends(&foreign, Mode::None), XmppError::LoginProtocol { .. });
    let extension = scram(|nonce| format!("m=x,r={nonce}x,s=QUJD,i=4096"), "");
    assert_ends!(ends(&extension, Mode::None), XmppError::LoginProtocol { .. });
    let downgraded = scram(|nonce| format!("r={nonce}x,s=QUJD,i=4096,h=QUJD"), "");
    assert_ends!(ends(&downgraded, Mode::None), XmppError::Downgraded);
}

#[test]
fn a_refused_scram_login_is_never_repeated_with_plain() {
    let refusal =
        format!("<failure xmlns='{CHALLENGE}'><not-authorized/><text>no such luck</text></failure>");
    let fake = scram(|nonce| format!("r={nonce}x,s=QUJD,i=4096"), &refusal);
    let outcome = ends(&fake, Mode::None);
    assert!(outcome.error().unwrap().to_string().contains("no such luck"));
    assert_ends!(outcome, XmppError::WrongPassword { .. });
    let heard = fake.heard();
    assert_eq!(heard.len(), 1, "one attempt");
    assert!(!heard[0].contains("PLAIN"));
}

#[test]
fn every_reason_a_login_is_refused_for() {
    for (condition, check) in [
        (
            "account-disabled",
            (|e| matches!(e, XmppError::AccountDisabled { .. })) as fn(&XmppError) -> bool,
        ),
        ("credentials-expired", |e| {
            matches!(e, XmppError::CredentialsExpired { .. })
        }),
        ("temporary-auth-failure", |e| {
            matches!(e, XmppError::LoginUnavailable { .. }) && !e.is_permanent()
        }),
        ("mechanism-too-weak", |e| {
            matches!(e, XmppError::LoginRefused { .. })
        }),
        ("not-authorized", |e| matches!(e, XmppError::WrongPassword { .. })),
    ] {
        let fake = one(vec![
            on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
            on(
                "</auth>",
                format!("<failure xmlns='{CHALLENGE}'><{condition}/></failure>"),
            ),
        ]);
        let outcome = ends(&fake, Mode::None);
        assert!(check(failure(&outcome)), "{condition}: {outcome:?}");
    }
}

#[test]
fn no_mechanism_in_common() {
    let fake = one(vec![on(
        "<stream:stream",
        features(&mechanisms(&["EXTERNAL", "SCRAM-SHA3-512", "PLAIN"])),
    )]);
    assert_ends!(ends(&fake, Mode::None), XmppError::NoMechanism { offered } if offered.contains("EXTERNAL"));
}

#[test]
fn a_rejected_channel_binding_is_retried_once_without_it() {
    let made = certificate(|_| ());
    let offer = features(&format!(
        "{}<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>\
         </sasl-channel-binding>",
        mechanisms(&["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"])
    ));
    let refusal = format!(
        "<failure xmlns='{CHALLENGE}'><not-authorized/><text>Invalid channel binding</text></failure>"
    );
    let script = || {
        vec![
            Step::Tls(made.server()),
            on("<stream:stream", offer.clone()),
            on("</auth>", refusal.clone()),
        ]
    };
    let trusted = || Verify::Authorities(made.pem.clone().into_bytes().into());

    let fake = Fake::start(vec![script()]);
    let account = to_fake(&fake, Mode::Tls).verify(trusted());
    let outcome = ends_for(&account, user("bob@localhost"));
    assert!(outcome.error().is_some(), "{outcome:?}");
    let heard = fake.heard();
    assert_eq!(heard.len(), 2, "one retry and no more");
    assert!(heard[0].contains("mechanism='SCRAM-SHA-1-PLUS'"));
    assert!(heard[1].contains("mechanism='SCRAM-SHA-1'"));
    let first = BASE64
        .decode(
            heard[1]
                .split("mechanism='SCRAM-SHA-1'>")
                .nth(1)
                .unwrap()
                .split('<')
                .next()
                .unwrap(),
        )
        .unwrap();
    assert!(first.starts_with(b"n,,"), "no claim that the server offered none");

    let fake = Fake::start(vec![script()]);
    let account = to_fake(&fake, Mode::Tls)
        .verify(trusted())
        .channel_binding(ChannelBinding::Require);
    assert_ends!(
        ends_for(&account, user("bob@localhost")),
        XmppError::ChannelBindingRejected { .. }
    );
    assert_eq!(fake.heard().len(), 1);
}

// --- sending ---

#[test]
fn a_server_that_dies_between_login_and_message() {
    let mut script = logged_in();
    script.truncate(2);
    script.push(Step::Close);
    let outcome = ends(&one(script), Mode::None);
    assert!(matches!(outcome, Outcome::Deferred(_)), "{outcome:?}");
    assert_ends!(outcome, XmppError::CutUnconfirmed);
}

#[test]
fn a_server_that_dies_after_the_message_and_before_its_answer() {
    let outcome = ends(&after_login(vec![on("</message>", ""), Step::Close]), Mode::None);
    assert!(failure(&outcome).may_have_arrived());
    assert_ends!(outcome, XmppError::CutUnconfirmed);
}

#[test]
fn a_server_that_dies_during_a_join() {
    let fake = after_login(vec![on("</presence>", ""), Step::Close]);
    assert_ends!(
        ends_for(&to_fake(&fake, Mode::None), room("room@muc.localhost")),
        XmppError::CutUnconfirmed
    );
}

#[test]
fn a_server_that_takes_the_message_and_falls_silent() {
    let outcome = ends(&after_login(vec![]), Mode::None);
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
fn an_acknowledgement_is_not_proof() {
    // ejabberd acknowledges on receipt and bounces later.
    let fake = after_login(vec![on("</message>", "<a xmlns='urn:xmpp:sm:3' h='1'/>")]);
    assert_ends!(
        ends(&fake, Mode::None),
        XmppError::AnswerTimeout {
            step: At::Confirming,
            ..
        }
    );
}

#[test]
fn stream_errors_are_told_apart() {
    for (condition, check) in [
        (
            "system-shutdown",
            (|e| matches!(e, XmppError::ShuttingDown { .. })) as fn(&XmppError) -> bool,
        ),
        ("conflict", |e| matches!(e, XmppError::Replaced { .. })),
        ("see-other-host", |e| {
            matches!(e, XmppError::SeeOtherHost { .. }) && !e.is_permanent()
        }),
        ("policy-violation", |e| {
            matches!(e, XmppError::StreamError { .. }) && e.is_permanent()
        }),
        ("resource-constraint", |e| {
            matches!(e, XmppError::StreamError { .. }) && !e.is_permanent()
        }),
    ] {
        let error = format!(
            "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>because</text></stream:error></stream:stream>"
        );
        let outcome = ends(&after_login(vec![on("</message>", error)]), Mode::None);
        // The message was written before it.
        let XmppError::Unconfirmed { cause } = failure(&outcome) else {
            panic!("{condition}: {outcome:?}");
        };
        assert!(check(cause), "{condition}: {outcome:?}");
        assert_eq!(failure(&outcome).is_permanent(), cause.is_permanent());
        assert!(cause.to_string().contains("because") || condition == "see-other-host");
    }
}

#[test]
fn a_stream_error_for_a_large_message_names_the_size() {
    for words in ["XML stanza is too big", "Stanza is too big"] {
        let error = format!(
            "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{words}</text></stream:error></stream:stream>"
        );
        let outcome = ends(&after_login(vec![on("</message>", error)]), Mode::None);
        let error = failure(&outcome);
        assert!(error.is_permanent(), "{error}");
        let told = error.to_string();
        assert!(told.contains("the message is larger than it takes"), "{told}");
        assert!(told.contains(words), "{told}");
        assert!(error.remedy().contains("overflow=split"), "{}", error.remedy());
    }
}

#[test]
fn a_message_handed_to_a_domain_that_does_not_answer() {
    // The ping to our own server goes last, so everything was read when it is answered.
    let fake = after_login(vec![reply("to='localhost'", |heard| {
        pong(&format!("{heard}>"), "localhost")
    })]);
    let outcome = ends_for(&to_fake(&fake, Mode::None), user("bob@far.example"));
    assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::HandedOver);
    assert!(!delivered(&outcome).confirmed_by.reaches(Confirm::Server));
}

fn join_answer(heard: &str, error: &str) -> String {
    let id = attr(heard, "<presence ", "id").unwrap_or_default();
    let to = attr(heard, "<presence ", "to").unwrap_or_default();
    format!("<presence type='error' id='{id}' from='{to}'><error type='cancel'>{error}</error></presence>")
}

#[test]
fn every_reason_a_room_refuses_for() {
    for (condition, check) in [
        (
            "registration-required",
            (|e| matches!(e, XmppError::MembersOnly { .. })) as fn(&XmppError) -> bool,
        ),
        ("not-authorized", |e| {
            matches!(e, XmppError::RoomPassword { given: false, .. })
        }),
        ("forbidden", |e| matches!(e, XmppError::Banned { .. })),
        ("not-allowed", |e| {
            matches!(e, XmppError::RoomCreationForbidden { .. })
        }),
        ("item-not-found", |e| matches!(e, XmppError::NoSuchRoom { .. })),
        ("service-unavailable", |e| {
            matches!(e, XmppError::RoomFull { .. }) && !e.is_permanent()
        }),
        ("not-acceptable", |e| matches!(e, XmppError::BadNick { .. })),
        ("remote-server-not-found", |e| {
            matches!(e, XmppError::RemoteServerNotFound { .. })
        }),
        ("gone", |e| matches!(e, XmppError::JoinRefused { .. })),
    ] {
        let fake = after_login(vec![reply("</presence>", move |heard| {
            join_answer(
                heard,
                &format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"),
            )
        })]);
        let outcome = ends_for(&to_fake(&fake, Mode::None), room("room@muc.localhost"));
        assert!(check(failure(&outcome)), "{condition}: {outcome:?}");
    }
}

#[test]
fn a_room_where_every_nick_is_taken() {
    let conflict = || {
        reply("</presence>", |heard| {
            join_answer(heard, "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>")
        })
    };
    let fake = after_login((0..6).map(|_| conflict()).collect());
    assert_ends!(
        ends_for(&to_fake(&fake, Mode::None), room("room@muc.localhost")),
        XmppError::NickTaken { nick, .. } if nick == "alice"
    );
    assert!(fake.heard()[0].contains("room@muc.localhost/alice_5"));
}

#[test]
fn rooms_that_let_us_in_and_show_nothing() {
    let fake = after_login(vec![reply("</presence>", |heard| {
        let to = attr(heard, "<presence ", "to").unwrap_or_default();
        format!(
            "<presence from='{to}'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' \
             role='participant'/><status code='110'/></x></presence>"
        )
    })]);
    assert_ends!(
        ends_for(&to_fake(&fake, Mode::None), room("room@muc.localhost")),
        XmppError::NoEcho { .. }
    );
    let fake = after_login(vec![]);
    assert_ends!(
        ends_for(&to_fake(&fake, Mode::None), room("room@muc.localhost")),
        XmppError::JoinUnanswered { .. }
    );
}

#[test]
fn the_reflection_of_somebody_else_proves_nothing() {
    let fake = after_login(vec![reply("</message>", |heard| {
        let to = attr(heard, "<presence ", "to").unwrap_or_else(|| "room@muc.localhost/alice".to_owned());
        let id = attr(heard, "<message ", "id").unwrap_or_default();
        format!(
            "<presence from='{to}'><x xmlns='http://jabber.org/protocol/muc#user'><item/><status code='110'/></x>\
             </presence><message type='groupchat' from='room@muc.localhost/mallory' id='{id}'><body>hello</body></message>"
        )
    })]);
    assert_ends!(
        ends_for(&to_fake(&fake, Mode::None), room("room@muc.localhost")),
        XmppError::NoEcho { .. }
    );
}

#[test]
fn a_contact_list_that_is_refused_is_said_and_hinders_nothing() {
    let fake = after_login(vec![
        reply("to='localhost'", |heard| {
            let roster = heard
                .split("id='roster-")
                .nth(1)
                .and_then(|rest| rest.split('\'').next())
                .unwrap_or_default();
            format!(
                "<iq type='error' id='roster-{roster}'><error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>{}",
                pong(&format!("{heard}>"), "localhost")
            )
        }),
        Step::Pongs,
    ]);
    let mut script_account = to_fake(&fake, Mode::None).roster(true);
    script_account = script_account.nick("alice");
    let outcome = ends_for(&script_account, user("bob@localhost"));
    assert!(
        matches!(outcome.delivered(), Some(proof) if proof.confirmed_by == ConfirmedBy::Server),
        "{outcome:?} {:?}",
        fake.heard()
    );
    assert!(
        delivered(&outcome)
            .notes
            .iter()
            .all(|note| matches!(note, Note::NoContactList(_)))
    );
}
