//! Finding the server (service records), the round trips of a login, files, and what logs may hold.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, Receiver, Relay, RelayOptions, ServerKind, XmppServer};
use ackpost_xmpp::{Account, Attachment, ConfirmedBy, Content, Mode, Outcome, Outgoing, Verify, XmppError};
use common::dns::NameServer;
use common::*;

fn both() -> [&'static XmppServer; 2] {
    [Prosody::shared(), Ejabberd::shared()]
}

// --- round trips ---

#[test]
fn six_round_trips_by_starttls_and_five_by_direct_tls() {
    for server in both() {
        // A server whose sessions work beside each other is asked a second time.
        let more = u64::from(server.kind == ServerKind::Ejabberd);
        for (mode, port, wanted) in [
            (Mode::StartTls, server.port, 6 + more),
            (Mode::Tls, server.tls_port, 5 + more),
        ] {
            let delay = Duration::from_millis(50);
            let relay = Relay::to_port(
                port,
                RelayOptions {
                    delay,
                    ..RelayOptions::default()
                },
            );
            let sender = account(server, "alice", mode).port(relay.port());
            let messages = vec![
                text(user("bob@localhost"), "counted"),
                text(room(&server.room("open")), "counted"),
            ];
            for outcome in block_on(ackpost_xmpp::send(&sender, messages)) {
                delivered(&outcome);
            }
            assert_eq!(relay.round_trips(), wanted, "{:?} {mode:?}", server.kind);
        }
    }
}

// --- service records ---

/// alice@xmpp.test, found by DNS alone.
fn found_by(server: &XmppServer, names: &NameServer) -> Account {
    Account::new(jid("alice@xmpp.test"), "alicepass".to_owned().into())
        .verify(trust(server))
        .dns(names.dns())
}

const SECURE: &str = "_xmpps-client._tcp.xmpp.test";
const PLAIN: &str = "_xmpp-client._tcp.xmpp.test";

fn srv(priority: u16, port: u16, target: &str) -> String {
    format!("SRV {priority} 0 {port} {target}")
}

#[test]
fn service_records_lead_to_the_server() {
    let server = Prosody::shared();
    let host = ("host.test", "A 127.0.0.1");
    let direct = srv(5, server.tls_port, "host.test");
    let starttls = srv(10, server.port, "host.test");
    let dead = srv(1, 9, "host.test");
    // Both services form one list; a server that cannot be reached is passed over.
    let names = NameServer::start(&[host, (SECURE, &direct), (PLAIN, &starttls), (PLAIN, &dead)]);
    delivered(&send_one(
        &found_by(server, &names),
        text(user("bob@xmpp.test"), "found"),
    ));
    // The mode decides which records count.
    let names = NameServer::start(&[host, (SECURE, &direct), (PLAIN, &starttls)]);
    for mode in [Mode::StartTls, Mode::Tls] {
        delivered(&send_one(
            &found_by(server, &names).mode(mode),
            text(user("bob@xmpp.test"), "found"),
        ));
    }
    // A port or a host of one's own means that DNS is not asked for them.
    let names = NameServer::start(&[("xmpp.test", "A 127.0.0.1")]);
    delivered(&send_one(
        &found_by(server, &names).port(server.port),
        text(user("bob@xmpp.test"), "found"),
    ));
    assert!(
        names
            .asked
            .lock()
            .unwrap()
            .iter()
            .all(|name| !name.starts_with('_'))
    );
}

#[test]
fn priorities_go_before_the_kind_of_encryption_and_one_service_may_be_off() {
    let server = Prosody::shared();
    let host = ("host.test", "A 127.0.0.1");
    let relays = [server.tls_port, server.port].map(|port| Relay::to_port(port, RelayOptions::default()));
    let [direct, starttls] = &relays;
    // Both services form one list, in which the smaller priority wins, whichever service it is in.
    for (first, second, wanted) in [(5, 10, [1, 0]), (10, 5, [0, 1])] {
        let before = relays.each_ref().map(Relay::connections);
        let names = NameServer::start(&[
            host,
            (SECURE, &srv(first, direct.port(), "host.test")),
            (PLAIN, &srv(second, starttls.port(), "host.test")),
        ]);
        delivered(&send_one(
            &found_by(server, &names),
            text(user("bob@xmpp.test"), "found"),
        ));
        let after = relays.each_ref().map(Relay::connections);
        assert_eq!([after[0] - before[0], after[1] - before[1]], wanted);
    }
    // Within one priority every server is tried until one takes the connection, whatever the weights.
    let names = NameServer::start(&[
        host,
        (PLAIN, "SRV 1 60000 9 host.test"),
        (PLAIN, "SRV 1 0 10 host.test"),
        (PLAIN, &srv(1, starttls.port(), "host.test")),
    ]);
    delivered(&send_one(
        &found_by(server, &names),
        text(user("bob@xmpp.test"), "found"),
    ));
    // One service is switched off, the other is not.
    let names = NameServer::start(&[
        host,
        (SECURE, &srv(0, 0, ".")),
        (PLAIN, &srv(9, starttls.port(), "host.test")),
    ]);
    delivered(&send_one(
        &found_by(server, &names),
        text(user("bob@xmpp.test"), "found"),
    ));
}

#[test]
fn services_that_are_switched_off_and_names_that_do_not_exist() {
    let server = Prosody::shared();
    let off = srv(0, 0, ".");
    let names = NameServer::start(&[(SECURE, &off), (PLAIN, &off), ("xmpp.test", "A 127.0.0.1")]);
    let outcome = send_one(&found_by(server, &names), text(user("bob@xmpp.test"), "x"));
    assert!(
        matches!(failure(&outcome), XmppError::ServiceNotOffered { .. }),
        "{outcome:?}"
    );
    let names = NameServer::start(&[]);
    let outcome = send_one(&found_by(server, &names), text(user("bob@xmpp.test"), "x"));
    assert!(
        matches!(failure(&outcome), XmppError::NoSuchHost { .. }),
        "{outcome:?}"
    );
    assert!(matches!(outcome, Outcome::Refused(_)));
}

// --- files ---

/// Fetches a file as a recipient would.
fn fetch(server: &XmppServer, url: &str) -> Vec<u8> {
    let _ = server;
    let out = std::process::Command::new("curl")
        .args(["-sk", "--max-time", "10", url])
        .output()
        .expect("curl runs");
    assert!(out.status.success(), "{out:?}");
    out.stdout
}

#[test]
fn files_arrive_as_messages_of_their_own() {
    for server in both() {
        let mut bob = Receiver::join(
            server.port,
            &server.domain,
            "bob",
            "bobpass",
            &[&server.room("open")],
        );
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut file = Attachment::new("pic tür.png", "image/png", bytes.clone());
        let tell = told.clone();
        file.progress = Some(Box::new(move |done, all| tell.lock().unwrap().push((done, all))));
        let body = unique("with a file");
        let content = Arc::new(Content {
            attachments: vec![Arc::new(file)],
            ..Content::text(body.clone())
        });
        let messages = vec![
            Outgoing::new(user("bob@localhost"), content.clone()),
            Outgoing::new(room(&server.room("open")), content.clone()),
        ];
        let outcomes = block_on(ackpost_xmpp::send(
            &account(server, "alice", Mode::StartTls),
            messages,
        ));
        assert_eq!(delivered(&outcomes[0]).confirmed_by, ConfirmedBy::Server);
        assert_eq!(delivered(&outcomes[1]).confirmed_by, ConfirmedBy::Room);
        for kind in ["chat", "groupchat"] {
            let fits = |s: &ackpost_testkit::Element| s.name == "message" && s.attr("type") == kind;
            let stanza = bob
                .wait(Duration::from_secs(10), |s| fits(s) && s.child("x").is_some())
                .expect("a file");
            let url = stanza.child_text("body").unwrap().to_owned();
            assert_eq!(
                stanza.child("x").unwrap().child_text("url"),
                Some(&*url),
                "the body is the address alone"
            );
            assert_eq!(fetch(server, &url), bytes);
        }
        bob.wait_body(&body);
        let told = told.lock().unwrap();
        assert_eq!(told.last(), Some(&(100_000, 100_000)));
        assert!(
            told.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "uploaded once, in order: {told:?}"
        );
    }
}

#[test]
fn files_larger_than_the_server_takes_and_servers_that_take_none() {
    for server in both() {
        let file = Arc::new(Attachment::new(
            "big.bin",
            "application/octet-stream",
            vec![0; 11 * 1024 * 1024],
        ));
        let content = Content {
            attachments: vec![file],
            ..Content::text("with a file")
        };
        let outcome = send_one(
            &account(server, "alice", Mode::StartTls),
            Outgoing::new(user("bob@localhost"), content),
        );
        assert!(
            matches!(
                failure(&outcome),
                XmppError::FileTooLarge {
                    limit: 10_485_760,
                    size: 11_534_336,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
    let server = Ejabberd::shared();
    let sender = Account::new(jid("alice@xmpp.test"), "alicepass".to_owned().into())
        .host("127.0.0.1")
        .port(server.port)
        .mode(Mode::StartTls)
        .verify(trust(server));
    let file = Arc::new(Attachment::new("small.txt", "text/plain", b"hello".to_vec()));
    let content = Content {
        attachments: vec![file],
        ..Content::default()
    };
    let outcome = send_one(&sender, Outgoing::new(user("bob@xmpp.test"), content));
    assert!(
        matches!(failure(&outcome), XmppError::NoUploadService { .. }),
        "{outcome:?}"
    );
}

/// Carries connections from 127.0.0.2 to a port of 127.0.0.1.
fn carry_from_another_address(port: u16) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut client, mut server) = (client, server);
            std::thread::spawn(move || std::io::copy(&mut up, &mut server));
            std::thread::spawn(move || std::io::copy(&mut down, &mut client));
        }
    });
    own
}

#[test]
fn a_slot_at_a_forbidden_address_is_not_used() {
    for server in both() {
        let upload = |rule: fn(std::net::IpAddr) -> bool| {
            let sender = account(server, "alice", Mode::StartTls)
                .host("127.0.0.2")
                .port(carry_from_another_address(server.port))
                .address_rule(rule);
            let content = Content {
                attachments: vec![Arc::new(Attachment::new(
                    "a.txt",
                    "text/plain",
                    b"hello".to_vec(),
                ))],
                ..Content::default()
            };
            send_one(&sender, Outgoing::new(user("carol@localhost"), content))
        };
        // The server is at an address that is allowed, and names a slot at one that is not.
        let outcome = upload(|ip| ip.to_string() == "127.0.0.2");
        let error = failure(&outcome);
        assert!(matches!(error, XmppError::UploadFailed { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("the address of the slot is not allowed"),
            "{error}"
        );
        delivered(&upload(|ip| ip.is_loopback()));
    }
}

// --- secrets ---

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_login_payload_in_any_log_at_any_level() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        for server in both() {
            for mode in [Mode::None, Mode::StartTls, Mode::Tls] {
                let sender = account(server, "alice", mode);
                delivered(&send_one(
                    &sender,
                    text(user("bob@localhost"), "a body nobody logs"),
                ));
                let wrong = Account::new(jid("alice@localhost"), "wrong-pw-77".to_owned().into())
                    .host("127.0.0.1")
                    .port(if mode == Mode::Tls {
                        server.tls_port
                    } else {
                        server.port
                    })
                    .mode(mode)
                    .verify(Verify::No);
                assert!(
                    send_one(&wrong, text(user("bob@localhost"), "x"))
                        .error()
                        .is_some()
                );
            }
        }
    });
    let log = String::from_utf8_lossy(&buffer.0.lock().unwrap()).into_owned();
    assert!(log.contains("logging in"), "something is logged");
    for secret in [
        "alicepass",
        "wrong-pw-77",
        "<auth",
        "<response",
        "<challenge",
        ",r=",
        "biws",
        "a body nobody logs",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let shown = format!("{:?}", account(both()[0], "alice", Mode::Tls));
    assert!(!shown.contains("alicepass"), "{shown}");
}

// --- content, as the other side sees it ---

#[test]
fn formats_subjects_languages_and_corrections_arrive() {
    for server in both() {
        let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
        let body = unique("formatted");
        let content = Content {
            body: body.clone(),
            subject: Some("The title".to_owned()),
            html: Some("<p>Hi <b>you</b> & <a href='https://x.invalid/'>all</a><br></p>".to_owned()),
            lang: Some("en".to_owned()),
            ..Content::default()
        };
        let sender = account(server, "alice", Mode::Tls);
        let first = send_one(&sender, Outgoing::new(user("bob@localhost"), content));
        let stanza = bob.wait_body(&body);
        assert_eq!(stanza.child_text("subject"), Some("The title"));
        assert_eq!(stanza.attr("xml:lang"), "en");
        assert!(
            stanza.raw.contains("<strong>you</strong>") && stanza.raw.contains("xhtml-im"),
            "{}",
            stanza.raw
        );
        let mut correction = text(user("bob@localhost"), &unique("corrected"));
        correction.replaces = Some(delivered(&first).id.clone());
        delivered(&send_one(&sender, correction.clone()));
        let stanza = bob.wait_body(&correction.content.body);
        assert_eq!(stanza.child("replace").unwrap().attr("id"), delivered(&first).id);
        assert!(stanza.child("subject").is_none(), "no empty subject");
        // A repetition under the same id is recognisable.
        let mut again = text(user("bob@localhost"), &unique("again"));
        again.id = Some("fixed-id-1".to_owned());
        assert_eq!(delivered(&send_one(&sender, again.clone())).id, "fixed-id-1");
        let stanza = bob.wait_body(&again.content.body);
        assert_eq!(
            (stanza.attr("id"), stanza.child("origin-id").unwrap().attr("id")),
            ("fixed-id-1", "fixed-id-1")
        );
    }
}
