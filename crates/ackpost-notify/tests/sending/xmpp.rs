//! Tests of sending over XMPP, against real servers.

use ackpost_notify::{
    Asset, Attachment, Confirmation, ConnectionOptions, ConnectionPool, Message, Outcome, Status,
};
use ackpost_testkit::{
    Ejabberd, FakeXmpp, FakeXmppMode, Prosody, Receiver, Relay, RelayOptions, ServerOptions, XmppEvent,
    XmppServer,
};

use super::{List, list_over, new_list, unique};

fn url(server: &XmppServer, targets: &str, query: &str) -> String {
    let ca = server.ca.display();
    format!(
        "xmpps://alice:alicepass@{}:{}/{targets}?xmpp={}&rto=10&ca_file={ca}{query}",
        server.domain, server.port, server.host
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_and_a_room_over_one_connection() {
    // One of its own: the shared one is logged in to by other tests as well.
    let server = &Prosody::start(ServerOptions::default());
    let room = server.room("open");
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[&room]);
    let mut list = new_list();
    // Two URLs of one account.
    list.add(&url(server, "bob", ""));
    list.add(&url(server, &format!("%23{room}"), ""));
    let before = server.log_text().matches("Authenticated as alice").count();
    let text = unique("both");
    let report = list.notify(Message::new(&text).title("Title")).await;
    assert_eq!(report.status, Status::Success, "{report:?}");
    let by = |n: usize| match &report.targets[n].outcome {
        Outcome::Delivered {
            confirmed_by,
            id: Some(id),
        } => (*confirmed_by, id.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(by(0).0, Confirmation::Server);
    assert_eq!(by(1).0, Confirmation::Room);
    let wanted = format!("Title\n{text}");
    tokio::task::spawn_blocking(move || {
        let mut kinds = Vec::new();
        for _ in 0..2 {
            kinds.push(bob.wait_body(&wanted).attr("type").to_owned());
        }
        kinds.sort();
        assert_eq!(kinds, ["chat", "groupchat"]);
    })
    .await
    .expect("the receiver");
    let logins = server.log_text().matches("Authenticated as alice").count() - before;
    assert!(logins <= 1, "one login for both URLs, not {logins}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_html_and_a_kept_session() {
    let server = Prosody::shared();
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let mut list = new_list();
    list.add(&url(server, "bob", "&subject=yes&format=html&keepalive=yes"));
    let word = unique("bold").replace(' ', "-");
    let message = Message::new(format!("<p>a <b>{word}</b></p>"))
        .title("Head")
        .input_format(ackpost_notify::Format::Html);
    let report = list.notify(message).await;
    assert_eq!(report.status, Status::Success, "{report:?}");
    tokio::task::spawn_blocking(move || {
        let stanza = bob.wait_body(&format!("a {word}"));
        let xml = format!("{stanza:?}");
        assert!(xml.contains("Head") && xml.contains("xhtml"), "{xml}");
    })
    .await
    .expect("the receiver");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_final_and_name_a_remedy() {
    let server = Prosody::shared();
    let mut list = new_list();
    let wrong = url(server, "bob", "&retry=3&wait=0").replace("alicepass", "wrong");
    list.add(&wrong);
    let report = list.notify(Message::new("x")).await;
    assert_eq!(report.status, Status::Failure);
    let target = &report.targets[0];
    assert_eq!(
        (target.outcome.word(), target.attempts),
        ("refused", 1),
        "{target:?}"
    );
    assert!(!target.outcome.remedy().expect("a remedy").is_empty());
    assert!(!format!("{report:?}").contains("wrong@") && !format!("{report:?}").contains(":wrong"));

    let mut list = new_list();
    list.add(&url(server, &format!("%23{}", server.room("typo-room")), ""));
    let report = list.notify(Message::new("x")).await;
    assert_eq!(
        report.targets[0].outcome.word(),
        "refused",
        "a room made by a typo is not a delivery: {report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_uploaded_once_for_all_targets() {
    let server = Prosody::shared();
    let mut list = new_list();
    list.add(
        &url(server, &format!("bob/%23{}", server.room("open")), "&verify=no").replace("&ca_file", "&x"),
    );
    let report = list
        .notify(Message::new(unique("file")).attach(Attachment::bytes("a.txt", "hello")))
        .await;
    assert_eq!(report.targets.len(), 2);
    for target in &report.targets {
        assert!(target.outcome.is_delivered(), "{target:?}");
    }
}

/// Sends one text and wants it delivered.
async fn deliver(list: &List, text: &str) -> String {
    let report = list.notify(Message::new(text)).await;
    match &report.targets[0].outcome {
        Outcome::Delivered { id: Some(id), .. } => id.clone(),
        other => panic!("{other:?}"),
    }
}

/// Returns the id of the message that a received one replaces.
fn replaced_by(receiver: &mut Receiver, text: &str) -> Option<String> {
    let stanza = receiver.wait_body(text);
    let replace = stanza.child("replace")?;
    Some(replace.attr("id").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replace_corrects_the_first_message_under_its_key() {
    let server = Prosody::shared();
    let state = tempfile::tempdir().expect("a temporary folder");
    let options = || ConnectionOptions::default().with_state_folder(Some(state.path().to_owned()));
    let mut disk = list_over(options());
    disk.add(&url(server, "bob", "&replace=disk"));
    let mut other = list_over(options());
    other.add(&url(server, "bob", "&replace=other"));
    let texts = ["first", "second", "third", "elsewhere"].map(unique);
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let first = deliver(&disk, &texts[0]).await;
    for text in &texts[1..3] {
        deliver(&disk, text).await;
    }
    deliver(&other, &texts[3]).await;
    tokio::task::spawn_blocking(move || {
        let replaced = texts.map(|text| replaced_by(&mut bob, &text));
        // XEP-0308: always the first one's id.
        assert_eq!(replaced, [None, Some(first.clone()), Some(first), None]);
    })
    .await
    .expect("the receiver");
    for entry in std::fs::read_dir(state.path().join("xmpp-replace")).expect("a folder") {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = entry
            .and_then(|entry| entry.metadata())
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// A correction names the first version of a message: after `edit=` under a key, that is the edited message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replace_after_an_edit_corrects_the_edited_message() {
    let server = Prosody::shared();
    let state = tempfile::tempdir().expect("a temporary folder");
    let sender = |query: &str| {
        let mut list =
            list_over(ConnectionOptions::default().with_state_folder(Some(state.path().to_owned())));
        list.add(&url(server, "bob", query));
        list
    };
    let texts = ["first", "edited", "replaced"].map(unique);
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let first = deliver(&sender(""), &texts[0]).await;
    deliver(&sender(&format!("&edit={first}&replace=disk")), &texts[1]).await;
    deliver(&sender("&replace=disk"), &texts[2]).await;
    tokio::task::spawn_blocking(move || {
        let replaced = texts.map(|text| replaced_by(&mut bob, &text));
        assert_eq!(replaced, [None, Some(first.clone()), Some(first)]);
    })
    .await
    .expect("the receiver");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_password_in_both_places() {
    let server = Prosody::shared();
    let room = server.room("secret");
    for (target, query, delivered) in [
        (format!("%23{room}:roompass"), "", true),
        (format!("%23{room}:room%70ass"), "", true),
        (format!("%23{room}"), "&room_password=roompass", true),
        (format!("%23{room}:nope"), "&room_password=roompass", false),
        (format!("%23{room}"), "", false),
    ] {
        let mut list = new_list();
        list.add(&url(server, &target, query));
        let report = list.notify(Message::new(unique("secret"))).await;
        let outcome = &report.targets[0].outcome;
        assert_eq!(
            outcome.word() == "delivered",
            delivered,
            "{target} {query}: {outcome:?}"
        );
        assert!(!format!("{report:?}").contains("roompass"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_receipt_a_message_is_unconfirmed_and_not_sent_again() {
    let server = Prosody::shared();
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    for kept in ["", "&keepalive=yes"] {
        let mut list = new_list();
        let url = url(server, "bob", &format!("&confirm=receipt&retry=3&wait=0{kept}"));
        list.add(&url.replace("rto=10", "rto=1"));
        let text = unique("receipt");
        let report = list.notify(Message::new(&text)).await;
        assert_eq!(report.status, Status::Failure, "{report:?}");
        let target = &report.targets[0];
        assert_eq!(
            (target.outcome.word(), target.attempts),
            ("unconfirmed", 1),
            "{target:?}"
        );
        let Outcome::Partial {
            id, reason, remedy, ..
        } = &target.outcome
        else {
            panic!("{target:?}");
        };
        assert!(reason.contains("no receipt") && remedy.contains("confirm=server"));
        let (times, id_seen);
        (bob, times, id_seen) = tokio::task::spawn_blocking(move || {
            let id = bob.wait_body(&text).attr("id").to_owned();
            let mut times = 1;
            while bob
                .wait(std::time::Duration::from_millis(200), |s| {
                    s.child_text("body") == Some(&*text)
                })
                .is_some()
            {
                times += 1;
            }
            (bob, times, id)
        })
        .await
        .expect("the receiver");
        assert_eq!((times, Some(&id_seen)), (1, id.as_ref()));
    }
}

/// `retry=` after an attempt whose answers were lost: the message had arrived. The archive shows that, so it is not sent
/// again; without an archive it is sent once more, and the outcome says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_in_doubt_looks_into_the_archive_first() {
    let without_archive = || ServerOptions {
        without_archive: true,
        ..ServerOptions::default()
    };
    let bare = [
        Prosody::start(without_archive()),
        Ejabberd::start(without_archive()),
    ];
    for (server, has_archive) in [
        (Prosody::shared(), true),
        (Ejabberd::shared(), true),
        (&bare[0], false),
        (&bare[1], false),
    ] {
        let relay = Relay::to_port(
            server.port,
            RelayOptions {
                mute_once_said: Some("<message"),
                ..RelayOptions::default()
            },
        );
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let mut list = new_list();
        list.add(&format!(
            "xmpp://alice:alicepass@localhost:{}/bob?xmpp=127.0.0.1&mode=none&rto=2&retry=3&wait=0",
            relay.port()
        ));
        let text = unique("retried");
        let report = list.notify(Message::new(&text)).await;
        let target = &report.targets[0];
        assert_eq!(target.attempts, 2, "{}: {target:?}", server.version);
        assert_eq!(report.status, Status::Success, "{}: {target:?}", server.version);
        let notes = target.notes.concat();
        let ids = tokio::task::spawn_blocking(move || {
            let is_it = |stanza: &ackpost_testkit::Element| stanza.child_text("body") == Some(&*text);
            let mut ids = vec![bob.wait_body(&text).attr("id").to_owned()];
            while let Some(again) = bob.wait(std::time::Duration::from_millis(500), is_it) {
                ids.push(again.attr("id").to_owned());
            }
            ids
        })
        .await
        .expect("the receiver");
        let word = target.outcome.word();
        if has_archive {
            assert_eq!((ids.len(), word), (1, "handed-over"), "{}", server.version);
            assert!(notes.contains("archive contains an earlier attempt"), "{notes}");
        } else {
            assert_eq!((ids.len(), word), (2, "delivered"), "{}", server.version);
            assert_eq!(ids[0], ids[1], "clients can recognise the repeat");
            assert!(notes.contains("sent twice under the same id"), "{notes}");
        }
    }
}

/// The reference sends 40,000 bytes to the same server; larger texts are cut as the wire counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_texts_go_whole_or_in_pieces_that_fit() {
    let server = Prosody::shared();
    for (unit, count, overflow, pieces) in [
        ("x", 40_000, "upstream", 1),
        ("\u{436}", 20_000, "split", 1),
        ("\u{436}", 20_000, "truncate", 1),
        ("<", 40_000, "split", 3),
        ("<", 40_000, "truncate", 0),
    ] {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let mut list = new_list();
        list.add(&url(server, "bob", &format!("&overflow={overflow}")));
        let text = unit.repeat(count);
        let report = list.notify(Message::new(&text)).await;
        assert_eq!(report.status, Status::Success, "{report:?}");
        let notes = report.targets[0].notes.concat();
        assert_eq!(notes.contains("cut off"), pieces == 0, "{overflow}: {notes}");
        if pieces == 0 {
            bob.wait_body(&text[..61_440 / 4]);
            continue;
        }
        let got = tokio::task::spawn_blocking(move || {
            let mut rest = text;
            let mut got = 0;
            while !rest.is_empty() {
                // Every piece is a beginning of what is left.
                let size = if pieces == 1 {
                    rest.len()
                } else {
                    rest.len().min(61_440 / 4)
                };
                bob.wait_body(&rest[..size]);
                rest.drain(..size);
                got += 1;
            }
            got
        })
        .await
        .expect("the receiver");
        assert_eq!(got, pieces, "{overflow}");
    }
    // Nothing larger than the server takes is written; the error names the limit.
    let mut list = new_list();
    list.add(&url(server, "bob", ""));
    let report = list.notify(Message::new("<".repeat(70_000))).await;
    let Outcome::Refused { reason, .. } = &report.targets[0].outcome else {
        panic!("{report:?}");
    };
    assert!(reason.ends_with("the server takes at most 262144"), "{reason}");
}

/// A subject holds 250 characters: the outcome says that the rest of a title is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_title_that_is_too_long_for_a_subject_is_noted() {
    let server = Prosody::shared();
    let cut = |report: &ackpost_notify::Report| {
        let notes = &report.targets[0].notes;
        notes
            .iter()
            .filter(|note| note.contains("the title is longer"))
            .count()
    };
    for (overflow, body, pieces) in [
        ("upstream", "short".to_owned(), 1),
        ("truncate", "short".to_owned(), 1),
        ("split", "short".to_owned(), 1),
        ("split", "<".repeat(40_000), 3),
    ] {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let mut list = new_list();
        list.add(&url(server, "bob", &format!("&subject=yes&overflow={overflow}")));
        let tag = unique("title").replace(' ', "-");
        let title = format!("{tag}{}", "ж".repeat(251 - tag.len()));
        let report = list.notify(Message::new(&body).title(&title)).await;
        assert_eq!(report.status, Status::Success, "{report:?}");
        assert_eq!(cut(&report), usize::from(overflow != "upstream"), "{report:?}");
        let subjects = tokio::task::spawn_blocking(move || -> Vec<String> {
            let subject = |stanza: &ackpost_testkit::Element| stanza.child_text("subject").map(str::to_owned);
            let is_it = |stanza: &ackpost_testkit::Element| {
                subject(stanza).is_some_and(|subject| subject.starts_with(&tag))
            };
            (0..pieces)
                .filter_map(|_| bob.wait(std::time::Duration::from_secs(20), is_it))
                .filter_map(|stanza| subject(&stanza))
                .collect()
        })
        .await
        .expect("the receiver");
        let whole = overflow == "upstream";
        let shown: Vec<String> = match pieces {
            1 if whole => vec![title],
            1 => vec![title.chars().take(250).collect()],
            _ => (1..=pieces)
                .map(|n| format!("{} [{n}/{pieces}]", title.chars().take(244).collect::<String>()))
                .collect(),
        };
        assert_eq!(subjects, shown, "{overflow}");
        // One that fits is not noted.
        let report = list.notify(Message::new("short").title(&shown[0])).await;
        assert_eq!(cut(&report), 0, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_session_ends_and_another_account_takes_its_place() {
    // One of its own: the shared one is logged in to by other tests as well.
    let server = &Prosody::start(ServerOptions::default());
    let mut list = list_over(
        ConnectionOptions::default()
            .with_resident(true)
            .with_kept_sessions(1)
            .with_session_idle(std::time::Duration::from_secs(2)),
    );
    let pool = ConnectionPool::new(list.connections.clone(), Asset::default());
    list.add(&url(server, "bob", ""));
    let logins = || server.log_text().matches("Authenticated as alice").count();
    let send = async |list: &List, text: &str| {
        let message = Message::new(unique(text));
        let report = list.notify_with(&pool, message).await;
        assert_eq!(report.status, Status::Success, "{report:?}");
    };
    for text in ["one", "two"] {
        send(&list, text).await;
    }
    assert_eq!(logins(), 1, "kept between two messages");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    send(&list, "three").await;
    assert_eq!(logins(), 2, "closed while nothing was sent");
    // Only one may be kept, and both are in use at the same time.
    list.add(&url(server, "carol", "&name=other"));
    for _ in 0..3 {
        send(&list, "both").await;
    }
    pool.close().await;
}

/// The login takes longer than the time limit of the message.
#[tokio::test]
async fn a_message_that_nobody_waits_for_is_not_sent_after_the_login() {
    for kept in ["", "&keepalive=yes"] {
        let server = FakeXmpp::start(FakeXmppMode::Plain);
        let options = RelayOptions {
            delay: std::time::Duration::from_millis(150),
            ..RelayOptions::default()
        };
        let relay = Relay::to_port(server.port(), options);
        let mut list = new_list();
        list.add(&format!(
            "xmpp://user:pass@localhost:{}/%23room%40rooms.localhost?xmpp=127.0.0.1&mode=none&confirm=room{kept}",
            relay.port()
        ));
        let pool = ConnectionPool::new(list.connections.clone(), Asset::default());
        let mut first_rules = list.rules.clone();
        first_rules.service_limit = Some(std::time::Duration::from_millis(400));
        let message = Message::new("given up");
        let report = list.run(&message).send(&first_rules, &pool, &message).await;
        assert_eq!(report.status, Status::Timeout, "{kept}: {report:?}");
        let message = Message::new("sent");
        let report = list.run(&message).send(&list.rules, &pool, &message).await;
        assert_eq!(report.status, Status::Success, "{kept}: {report:?}");
        pool.close().await;
        let bodies: Vec<String> = server
            .events()
            .into_iter()
            .filter_map(|event| match event {
                XmppEvent::Message { body, .. } => Some(body),
                _ => None,
            })
            .collect();
        assert_eq!(bodies, ["sent"], "{kept}");
    }
}
