//! Only the entity asked, the room itself, and text that is ours count as an answer about a message.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

use std::time::{Duration, Instant};

use ackpost_testkit::Prosody;
use ackpost_xmpp::{
    Confirm, ConfirmedBy, Mode, Outcome, Outgoing, RoomTarget, Session, SessionOptions, Step as At, Target,
    XmppError,
};
use common::fake::*;
use common::*;

const ROOM: &str = "room@muc.localhost";

/// We are in, under our nick.
fn inside() -> String {
    format!(
        "<presence from='{ROOM}/alice'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <item affiliation='none' role='participant'/><status code='110'/></x></presence>"
    )
}

fn id_of(heard: &str) -> String {
    attr(heard, "<message ", "id").unwrap_or_default()
}

fn shown(from: &str, id: &str, body: &str, more: &str) -> String {
    format!("<message type='groupchat' from='{from}' id='{id}'><body>{body}</body>{more}</message>")
}

fn refused(id: &str, condition: &str, from: &str) -> String {
    format!(
        "<message type='error' from='{from}' id='{id}'><error type='modify'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
}

/// The answers to the questions in what was heard, from this address, whoever was asked.
fn answers(heard: &str, from: &str) -> String {
    heard
        .split("<iq ")
        .skip(1)
        .filter_map(|piece| {
            let id = attr(&format!("<iq {}>", piece.split('>').next()?), "<iq ", "id")?;
            Some(format!("<iq type='result' id='{id}' from='{from}'/>"))
        })
        .collect()
}

fn to_room(fake: &Fake) -> Outcome {
    ends_for(&to_fake(fake, Mode::None), room(ROOM))
}

fn pause() -> Step {
    Step::Slowly(" ".to_owned(), Duration::from_millis(600))
}

// --- from ---

#[test]
fn an_answer_from_another_address_proves_nothing() {
    for liar in [
        "evil.example",
        "bob@localhost",
        "localhost.evil.example",
        "alice@localhost/other",
    ] {
        let fake = after_login(vec![reply("</iq>", move |heard| answers(heard, liar))]);
        assert_ends!(
            ends(&fake, Mode::None),
            XmppError::AnswerTimeout {
                step: At::Confirming,
                ..
            }
        );
    }
}

/// Errors with the right id: they would be proof (the server handled the ping), a refusal (the other domain was never
/// reached) or the end of a message (the person does not exist), if the entity asked had sent them.
#[test]
fn an_error_from_another_address_is_no_proof_and_no_refusal() {
    let liars = [
        "evil.example",
        "bob@localhost",
        "localhost.evil.example",
        "alice@localhost/other",
        "mallory@else.example",
    ];
    let conditions = [
        ("cancel", "service-unavailable"),
        ("cancel", "feature-not-implemented"),
        ("auth", "not-allowed"),
        ("cancel", "remote-server-not-found"),
        ("wait", "remote-server-timeout"),
        ("cancel", "item-not-found"),
    ];
    let to_person = |to: &'static str, answer: Step| {
        let fake = after_login(vec![answer]);
        let account = to_fake(&fake, Mode::None).answer_timeout(Duration::from_millis(600));
        ends_for(&account, user(to))
    };
    let check = |liar: &'static str, kind: &'static str, condition: &'static str| {
        // The ping to our own server.
        let forge = move |heard: &str| errors(heard, "localhost", Some(liar), kind, condition);
        assert_ends!(
            to_person("bob@localhost", Step::Answers(Box::new(forge))),
            XmppError::AnswerTimeout {
                step: At::Confirming,
                ..
            }
        );
        // The questions to another domain and to the person there: our own server alone has answered.
        let forge = move |heard: &str| {
            pong(heard, "localhost")
                + &errors(heard, "else.example", Some(liar), kind, condition)
                + &errors(heard, "jane@else.example", Some(liar), kind, condition)
        };
        let outcome = to_person("jane@else.example", Step::Answers(Box::new(forge)));
        assert_eq!(
            delivered(&outcome).confirmed_by,
            ConfirmedBy::HandedOver,
            "{liar} {condition}"
        );
    };
    for liar in liars {
        std::thread::scope(|scope| {
            for (kind, condition) in conditions {
                scope.spawn(move || check(liar, kind, condition));
            }
        });
    }
}

/// The same about a room: the question behind a message that asks for `confirm=server`.
#[test]
fn an_error_from_another_address_says_nothing_about_a_room() {
    for liar in [
        "evil.example",
        "room@muc.localhost/mallory",
        "other@muc.localhost",
    ] {
        for condition in ["service-unavailable", "forbidden", "item-not-found"] {
            let fake = after_login(vec![Step::Answers(Box::new(move |heard| {
                let forged = errors(heard, ROOM, Some(liar), "cancel", condition);
                if heard.contains("<presence") {
                    inside() + &forged
                } else {
                    forged
                }
            }))]);
            let mut message = text(room(ROOM), "hello");
            message.confirm = Some(Confirm::Server);
            let account = to_fake(&fake, Mode::None).answer_timeout(Duration::from_millis(300));
            let outcome = send_one(&account, message);
            let error = failure(&outcome);
            assert!(
                error.may_have_arrived() && matches!(outcome, Outcome::Deferred(_)),
                "{liar} {condition}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_forged_delay_or_another_text_is_not_our_message() {
    let forged: [fn(&str) -> String; 4] = [
        |id| {
            shown(
                &format!("{ROOM}/mallory"),
                id,
                "hello",
                "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>",
            )
        },
        |id| shown(&format!("{ROOM}/mallory"), id, "hello", ""),
        |id| shown(ROOM, id, "hello", ""),
        |id| shown(&format!("{ROOM}/alice"), id, "something else", ""),
    ];
    for forge in forged {
        let fake = after_login(vec![reply("</message>", move |heard| {
            inside() + &forge(&id_of(heard))
        })]);
        let outcome = to_room(&fake);
        assert!(failure(&outcome).may_have_arrived());
        assert_ends!(outcome, XmppError::NoEcho { .. });
    }
}

#[test]
fn an_occupant_does_not_speak_for_the_room() {
    // A private error from an occupant, and a presence error under another nick.
    let fake = after_login(vec![reply("</message>", |heard| {
        let id = id_of(heard);
        format!(
            "<presence type='error' from='{ROOM}/mallory'><error type='auth'>\
             <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
        ) + &inside()
            + &refused(&id, "forbidden", &format!("{ROOM}/mallory"))
            + &shown(&format!("{ROOM}/alice"), &id, "hello", "")
    })]);
    assert_eq!(delivered(&to_room(&fake)).confirmed_by, ConfirmedBy::Room);
    // The room itself does.
    let fake = after_login(vec![reply("</message>", |heard| {
        inside() + &refused(&id_of(heard), "forbidden", ROOM)
    })]);
    assert_ends!(to_room(&fake), XmppError::NoVoice { .. });
}

#[test]
fn a_message_to_a_person_is_sent_back_by_nobody_else() {
    let fake = after_login(vec![reply("</iq>", |heard| {
        refused(&id_of(heard), "not-acceptable", "mallory@localhost") + &answers(heard, "localhost")
    })]);
    let outcome = ends(&fake, Mode::None);
    assert!(
        outcome
            .error()
            .is_none_or(|error| !matches!(error, XmppError::Bounced { .. })),
        "{outcome:?}"
    );
    let fake = after_login(vec![reply("</iq>", |heard| {
        refused(&id_of(heard), "not-acceptable", "bob@localhost") + &answers(heard, "localhost")
    })]);
    assert_ends!(
        ends(&fake, Mode::None),
        XmppError::Bounced { temporary: false, .. }
    );
}

// --- rooms that are slow or strange ---

#[test]
fn a_room_that_lets_us_in_late_gets_the_message_again() {
    for level in [Confirm::Room, Confirm::Sent, Confirm::Server] {
        let mut script = vec![
            // Refused, because we are not in yet; the join is answered later.
            reply("</message>", |heard| {
                refused(&id_of(heard), "not-acceptable", ROOM)
            }),
            pause(),
            on("", inside()),
            reply("</message>", |heard| {
                shown(&format!("{ROOM}/alice"), &id_of(heard), "hello", "")
            }),
        ];
        if level == Confirm::Server {
            script[0] = reply("</iq>", |heard| {
                refused(&id_of(heard), "not-acceptable", ROOM) + &answers(heard, ROOM)
            });
            script[3] = reply("</iq>", |heard| {
                shown(&format!("{ROOM}/alice"), &id_of(heard), "hello", "") + &answers(heard, ROOM)
            });
        }
        let fake = after_login(script);
        let mut message = text(room(ROOM), "hello");
        message.confirm = Some(level);
        let outcome = send_one(&to_fake(&fake, Mode::None), message);
        delivered(&outcome);
        // At the lowest level nothing waits until the other side has read it.
        let until = Instant::now() + LIMIT;
        while fake.heard()[0].matches("<body>hello</body>").count() < 2 {
            assert!(Instant::now() < until, "{level:?}: {:?}", fake.heard());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_room_that_gives_ids_of_its_own_and_strips_ours() {
    // Two messages with the same text, shown in order.
    let fake = after_login(vec![
        reply("</message>", |_| inside()),
        reply("</message>", |_| {
            let nick = format!("{ROOM}/alice");
            shown(
                &nick,
                "a1",
                "hello",
                "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.localhost' id='1'/>",
            ) + &shown(
                &nick,
                "a2",
                "hello",
                "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.localhost' id='2'/>",
            )
        }),
        reply("</iq>", |heard| answers(heard, ROOM)),
        reply("</iq>", |heard| answers(heard, ROOM)),
    ]);
    let outcomes = block_on(ackpost_xmpp::send(
        &to_fake(&fake, Mode::None),
        vec![text(room(ROOM), "hello"), text(room(ROOM), "hello")],
    ));
    for outcome in &outcomes {
        assert_eq!(delivered(outcome).confirmed_by, ConfirmedBy::Room);
    }
    // One that is shown once counts once.
    let fake = after_login(vec![
        reply("</message>", |_| inside()),
        reply("</message>", |_| {
            shown(&format!("{ROOM}/alice"), "a1", "hello", "")
        }),
        reply("</iq>", |heard| answers(heard, ROOM)),
    ]);
    let outcomes = block_on(ackpost_xmpp::send(
        &to_fake(&fake, Mode::None),
        vec![text(room(ROOM), "hello"), text(room(ROOM), "hello")],
    ));
    delivered(&outcomes[0]);
    assert_ends!(&outcomes[1], XmppError::NoEcho { .. });
    // Our other client, under the same nick, with an id that it gave: not ours.
    let fake = after_login(vec![reply("</message>", |_| {
        inside()
            + &shown(
                &format!("{ROOM}/alice"),
                "other",
                "hello",
                "<origin-id xmlns='urn:xmpp:sid:0' id='other'/>",
            )
    })]);
    assert_ends!(to_room(&fake), XmppError::NoEcho { .. });
}

// --- may have arrived ---

#[track_caller]
fn may_have_arrived(outcome: &Outcome) {
    let error = failure(outcome);
    let words = format!("{error}; {}", error.remedy());
    assert!(
        error.may_have_arrived() && words.contains("may have arrived"),
        "{words}"
    );
}

#[test]
fn every_fault_after_writing_says_that_the_message_may_have_arrived() {
    let error = |condition: &str| {
        format!(
            "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
        )
    };
    for target in [user("bob@localhost"), room(ROOM)] {
        let ends_with = |rest: Vec<Step>| ends_for(&to_fake(&after_login(rest), Mode::None), target.clone());
        // Silence, the end of the connection, errors of the stream, rubbish.
        may_have_arrived(&ends_with(vec![]));
        may_have_arrived(&ends_with(vec![on("</message>", ""), Step::Close]));
        for condition in [
            "system-shutdown",
            "conflict",
            "policy-violation",
            "see-other-host",
            "reset",
        ] {
            may_have_arrived(&ends_with(vec![on("</message>", error(condition))]));
        }
        may_have_arrived(&ends_with(vec![on("</message>", "<iq><<<")]));
        may_have_arrived(&ends_with(vec![on("</message>", "</stream:stream>")]));
    }
    let outcome = to_room(&after_login(vec![]));
    assert_ends!(outcome, XmppError::JoinUnanswered { .. });
}

#[test]
fn a_failure_of_the_session_before_the_message_is_over_is_told_apart() {
    // The session cannot be bound: nothing sent behind that was delivered.
    let mut script = logged_in();
    script[2] = reply("</iq>", |text| {
        let id = text
            .split("id='bind-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap();
        format!(
            "{}<iq type='error' id='bind-{id}'><error type='cancel'>\
             <not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
            features("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
        )
    });
    let outcome = ends(&one(script), Mode::None);
    assert!(!failure(&outcome).may_have_arrived(), "{outcome:?}");
    assert_ends!(outcome, XmppError::BindRefused { .. });
}

#[test]
fn a_kept_session_that_is_closed_says_that_the_message_may_have_arrived() {
    let fake = after_login(vec![]);
    let outcome = block_on(async {
        let mut options = SessionOptions::default();
        options.resume = false;
        let (session, _events) = Session::open(&to_fake(&fake, Mode::None), options).await.unwrap();
        let sending = tokio::spawn({
            let session = session.clone();
            async move {
                session
                    .send(vec![text(user("bob@localhost"), "hello")])
                    .await
                    .remove(0)
            }
        });
        while !fake.heard()[0].contains("hello") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        session.close().await;
        sending.await.unwrap()
    });
    may_have_arrived(&outcome);
}

// --- rooms that are made ---

fn making(facts: &'static str) -> Fake {
    after_login(vec![
        reply("</message>", |heard| {
            inside().replace("<status code='110'/>", "<status code='110'/><status code='201'/>")
                + &shown(&format!("{ROOM}/alice"), &id_of(heard), "hello", "")
        }),
        reply("</iq>", |heard| answers(heard, ROOM)),
        reply("</iq>", move |heard| {
            let id = attr(heard, "<iq ", "id").unwrap();
            format!(
                "<iq type='result' id='{id}' from='{ROOM}'>\
                 <query xmlns='http://jabber.org/protocol/disco#info'><feature var='{facts}'/></query></iq>"
            )
        }),
        reply("</iq>", |heard| answers(heard, ROOM)),
    ])
}

#[test]
fn a_room_that_ends_when_we_leave_delivers_nothing() {
    let target = || {
        let mut target = RoomTarget::new(jid(ROOM));
        target.create = true;
        Target::Room(target)
    };
    for level in [Confirm::Room, Confirm::Sent] {
        let send = |fake: &Fake| {
            let mut message = text(target(), "hello");
            message.confirm = Some(level);
            send_one(&to_fake(fake, Mode::None), message)
        };
        let fake = making("muc_temporary");
        assert_ends!(send(&fake), XmppError::RoomNotKept { .. });
        let heard = fake.heard();
        assert!(heard[0].contains("muc#roomconfig_persistentroom") && heard[0].contains("<destroy/>"));
        delivered(&send(&making("muc_persistent")));
    }
}

// --- errors of our own server about others ---

/// The questions to an address in a text, answered with an error.
fn errors(heard: &str, to: &str, from: Option<&str>, kind: &str, condition: &str) -> String {
    let from = from.map(|from| format!(" from='{from}'")).unwrap_or_default();
    let questions = heard.split("<iq ").skip(1).map(|piece| format!("<iq {piece}"));
    questions
        .filter(|piece| piece.contains(&format!(" to='{to}'")))
        .filter_map(|piece| attr(&piece, "<iq ", "id"))
        .map(|id| {
            format!(
                "<iq type='error' id='{id}'{from}><error type='{kind}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
        })
        .collect::<Vec<String>>()
        .concat()
}

#[test]
fn an_error_of_our_server_is_not_proof_of_another_domain() {
    let other = "else.example";
    let ends_with = |from: Option<&'static str>, condition: &'static str| {
        let fake = after_login(vec![Step::Answers(Box::new(move |heard| {
            let bob = "bob@else.example";
            let who = errors(heard, bob, Some(bob), "cancel", "service-unavailable");
            pong(heard, "localhost") + &who + &errors(heard, other, from, "cancel", condition)
        }))]);
        let account = to_fake(&fake, Mode::None).answer_timeout(Duration::from_millis(300));
        ends_for(&account, user("bob@else.example"))
    };
    for condition in [
        "internal-server-error",
        "policy-violation",
        "service-unavailable",
        "feature-not-implemented",
        "undefined-condition",
        "item-not-found",
        "recipient-unavailable",
        "jid-malformed",
        "not-authorized",
    ] {
        for from in [None, Some("localhost")] {
            let outcome = ends_with(from, condition);
            let proof = delivered(&outcome).confirmed_by;
            assert_eq!(proof, ConfirmedBy::HandedOver, "{condition} {from:?}");
        }
    }
    // Our server may report under the name of the domain too.
    for condition in ["internal-server-error", "jid-malformed", "policy-violation"] {
        let outcome = ends_with(Some(other), condition);
        assert_eq!(
            delivered(&outcome).confirmed_by,
            ConfirmedBy::HandedOver,
            "{condition}"
        );
    }
    // A domain that does not know pings has handled what came before.
    for condition in ["service-unavailable", "feature-not-implemented"] {
        let outcome = ends_with(Some(other), condition);
        assert_eq!(
            delivered(&outcome).confirmed_by,
            ConfirmedBy::Server,
            "{condition}"
        );
    }
}

#[test]
fn a_temporary_error_to_a_ping_is_not_proof() {
    let ends_with = |kind: &'static str| {
        let fake = after_login(vec![Step::Answers(Box::new(move |heard| {
            errors(heard, "localhost", Some("localhost"), kind, "resource-constraint")
        }))]);
        ends(&fake, Mode::None)
    };
    may_have_arrived(&ends_with("wait"));
    assert_eq!(delivered(&ends_with("cancel")).confirmed_by, ConfirmedBy::Server);
}

#[test]
fn an_error_of_our_server_is_not_proof_of_a_room() {
    let ends_with = |from: Option<&'static str>, condition: &'static str| {
        let fake = after_login(vec![Step::Answers(Box::new(move |heard| {
            let mut said = errors(heard, ROOM, from, "cancel", condition);
            if heard.contains("<presence") {
                said.insert_str(
                    0,
                    &(inside() + "<message type='groupchat' from='room@muc.localhost'><subject/></message>"),
                );
            }
            said
        }))]);
        let mut message = text(room(ROOM), "hello");
        message.confirm = Some(Confirm::Server);
        let account = to_fake(&fake, Mode::None).answer_timeout(Duration::from_millis(300));
        send_one(&account, message)
    };
    for condition in [
        "remote-server-timeout",
        "remote-server-not-found",
        "internal-server-error",
    ] {
        for from in [None, Some("localhost"), Some(ROOM)] {
            let outcome = ends_with(from, condition);
            assert!(outcome.delivered().is_none(), "{condition} {from:?}: {outcome:?}");
        }
    }
    assert_eq!(
        delivered(&ends_with(Some(ROOM), "forbidden")).confirmed_by,
        ConfirmedBy::Server
    );
}

// --- a server that cannot store ---

#[test]
fn a_server_that_cannot_store_the_message_defers_it() {
    let server = Prosody::start(ackpost_testkit::ServerOptions::default());
    let data = server.log.parent().unwrap().join("data/localhost");
    // Files where the folders of messages belong: nothing can be written, as on a full disk.
    let folders = ["offline", "archive"].map(|name| data.join(name));
    for folder in &folders {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::write(folder, "").unwrap();
    }
    let sender = account(&server, "alice", Mode::StartTls);
    let outcome = send_one(
        &sender,
        Outgoing::new(user("carol@localhost"), ackpost_xmpp::Content::text("x")),
    );
    assert!(matches!(outcome, Outcome::Deferred(_)), "{outcome:?}");
    assert_ends!(&outcome, XmppError::NoSuchUser { temporary: true, .. });
    assert!(failure(&outcome).remedy().contains("cannot store"));
    // With room on the disk again, the same message is taken.
    for folder in &folders {
        std::fs::remove_file(folder).unwrap();
    }
    delivered(&send_one(&sender, text(user("carol@localhost"), "x")));
}
