//! XMPP, against Prosody.

use ackpost_notify::{Attachment, Confirmation, Message, Options, Outcome, Status};
use ackpost_testkit::{Prosody, Receiver, ServerOptions, XmppServer};

use super::{notifier, unique};

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
    let mut list = notifier(Options::default());
    // Two URLs of one account.
    list.add(&url(server, "bob", "")).expect("a URL");
    list.add(&url(server, &format!("%23{room}"), "")).expect("a URL");
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
    let mut list = notifier(Options::default());
    list.add(&url(server, "bob", "&subject=yes&format=html&keepalive=yes"))
        .expect("a URL");
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
    let mut list = notifier(Options::default());
    let wrong = url(server, "bob", "&retry=3&wait=0").replace("alicepass", "wrong");
    list.add(&wrong).expect("a URL");
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

    let mut list = notifier(Options::default());
    list.add(&url(server, &format!("%23{}", server.room("typo-room")), ""))
        .expect("a URL");
    let report = list.notify(Message::new("x")).await;
    assert_eq!(
        report.targets[0].outcome.word(),
        "refused",
        "a room made by a typo is no delivery: {report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_uploaded_once_for_all_targets() {
    let server = Prosody::shared();
    let mut list = notifier(Options::default());
    list.add(
        &url(server, &format!("bob/%23{}", server.room("open")), "&verify=no").replace("&ca_file", "&x"),
    )
    .expect("a URL");
    let report = list
        .notify(Message::new(unique("file")).attach(Attachment::bytes("a.txt", "hello")))
        .await;
    assert_eq!(report.targets.len(), 2);
    for target in &report.targets {
        assert!(target.outcome.is_delivered(), "{target:?}");
    }
}

/// Sends one text and wants it delivered.
async fn deliver(list: &ackpost_notify::Notifier, text: &str) -> String {
    let report = list.notify(Message::new(text)).await;
    match &report.targets[0].outcome {
        Outcome::Delivered { id: Some(id), .. } => id.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replace_corrects_the_first_message_under_its_key() {
    let server = Prosody::shared();
    let state = tempfile::tempdir().expect("a temporary folder");
    let options = || {
        let mut options = Options::default();
        options.courier.state_folder = Some(state.path().to_owned());
        options
    };
    let mut disk = notifier(options());
    disk.add(&url(server, "bob", "&replace=disk")).expect("a URL");
    let mut other = notifier(options());
    other.add(&url(server, "bob", "&replace=other")).expect("a URL");
    let texts = ["first", "second", "third", "elsewhere"].map(unique);
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let first = deliver(&disk, &texts[0]).await;
    for text in &texts[1..3] {
        deliver(&disk, text).await;
    }
    deliver(&other, &texts[3]).await;
    tokio::task::spawn_blocking(move || {
        let replaced = texts.map(|text| {
            let stanza = bob.wait_body(&text);
            stanza
                .child("replace")
                .map(|replace| replace.attr("id").to_owned())
        });
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
        let mut list = notifier(Options::default());
        list.add(&url(server, &target, query)).expect("a URL");
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
        let mut list = notifier(Options::default());
        let url = url(server, "bob", &format!("&confirm=receipt&retry=3&wait=0{kept}"));
        list.add(&url.replace("rto=10", "rto=1")).expect("a URL");
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
        let mut list = notifier(Options::default());
        list.add(&url(server, "bob", &format!("&overflow={overflow}")))
            .expect("a URL");
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
    let mut list = notifier(Options::default());
    list.add(&url(server, "bob", "")).expect("a URL");
    let report = list.notify(Message::new("<".repeat(70_000))).await;
    let Outcome::Refused { reason, .. } = &report.targets[0].outcome else {
        panic!("{report:?}");
    };
    assert!(reason.ends_with("the server takes at most 262144"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_session_ends_and_another_account_takes_its_place() {
    // One of its own: the shared one is logged in to by other tests as well.
    let server = &Prosody::start(ServerOptions::default());
    let mut options = Options::default();
    options.courier.resident = true;
    options.courier.kept_sessions = 1;
    options.courier.session_idle = std::time::Duration::from_secs(2);
    let courier =
        ackpost_notify::ConnectionPool::new(options.courier.clone(), ackpost_notify::Asset::default());
    let mut list = notifier(options);
    list.add(&url(server, "bob", "")).expect("a URL");
    let logins = || server.log_text().matches("Authenticated as alice").count();
    let send = async |list: &ackpost_notify::Notifier, text: &str| {
        let message = Message::new(unique(text));
        let report = list
            .notify_with(&courier, message, &ackpost_notify::TagFilter::All)
            .await;
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
    list.add(&url(server, "carol", "&name=other")).expect("a URL");
    for _ in 0..3 {
        send(&list, "both").await;
    }
    courier.close().await;
}
