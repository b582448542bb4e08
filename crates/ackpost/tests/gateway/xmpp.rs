//! The gateway's kept XMPP sessions on real servers: proof, repeats, and the size of messages on the wire.

use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Prosody, Receiver, Relay, RelayOptions, ServerOptions, XmppServer};
use serde_json::{Value, json};

use crate::process::Gateway;
use crate::support::Program;

/// A gateway whose key `ops` sends as alice to this recipient, by this port.
fn gateway(server: &XmppServer, port: u16, to: &str) -> Gateway {
    let url = format!(
        "xmpps://alice:alicepass@localhost:{port}/{to}?xmpp=127.0.0.1&mode=starttls&budget=off&ca_file={}",
        server.ca.display()
    );
    let program = Program::new().file("ops.conf", &format!("{url}\n"));
    Gateway::with(program, "[keys]\nops = \"ops.conf\"\n")
}

fn bob(server: &XmppServer, rooms: &[&str]) -> Receiver {
    Receiver::join(server.port, &server.domain, "bob", "bobpass", rooms)
}

fn delivered(gateway: &Gateway, text: &str) {
    let answer = gateway.json("/notify/ops?wait=60", &json!({"body": text}));
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("delivered")),
        "{answer:?} {}",
        gateway.log()
    );
}

/// The bodies of the messages that have come, until nothing more comes for a moment.
fn bodies(bob: &mut Receiver) -> Vec<String> {
    let mut all = Vec::new();
    bob.drain(Duration::from_secs(1), |stanza| {
        if stanza.name == "message" {
            all.extend(stanza.child_text("body").map(str::to_owned));
        }
    });
    all
}

/// Waits until an entry was tried, and returns it.
fn tried(gateway: &Gateway, id: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let entry = gateway.get(&format!("/outbox/{id}")).json();
        if entry["attempts"].as_u64() > Some(0) && entry["state"] != "sending" {
            return entry;
        }
        assert!(Instant::now() < until, "{entry} {}", gateway.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_blocked_sender_is_never_delivered_over_a_kept_session() {
    let server = Ejabberd::start(ServerOptions::default());
    let relay = Relay::to_port(server.port, RelayOptions::default());
    let gateway = gateway(&server, relay.port(), "bob");
    let mut bob = bob(&server, &[]);
    delivered(&gateway, "before");
    bob.wait_body("before");
    let block = "<block xmlns='urn:xmpp:blocking'><item jid='alice@localhost'/></block>";
    assert_eq!(bob.set("block", None, block).attr("type"), "result");
    for number in 0..12 {
        let sent = gateway.json("/notify/ops", &json!({"body": format!("blocked {number}")}));
        assert_eq!(sent.status, 200, "{sent:?}");
        let id = sent.json()["outbox"][0]["id"].as_str().expect("an id").to_owned();
        let entry = tried(&gateway, &id);
        assert!(
            entry["state"] == "waiting" || entry["state"] == "dead",
            "message {number}: {entry}"
        );
        // A message that may be taken later would hold up the next one.
        if entry["state"] == "waiting" {
            assert_eq!(gateway.form(&format!("/outbox/{id}/drop"), "").status, 200);
        }
    }
    assert_eq!(relay.connections(), 1, "the session was kept: {}", gateway.log());
    let unblock = "<unblock xmlns='urn:xmpp:blocking'/>";
    assert_eq!(bob.set("unblock", None, unblock).attr("type"), "result");
    delivered(&gateway, "after");
    bob.wait_body("after");
    assert_eq!(bodies(&mut bob), Vec::<String>::new(), "a blocked message came");
}

#[test]
fn a_restart_of_the_server_repeats_no_confirmed_message() {
    let mut server = Prosody::start(ServerOptions::default());
    let gateway = gateway(&server, server.port, "bob");
    let mut online = bob(&server, &[]);
    for number in 0..20 {
        let text = format!("message {number}");
        delivered(&gateway, &text);
        online.wait_body(&text);
    }
    server.stop();
    server.restart();
    let mut online = bob(&server, &[]);
    // In order: a repeat would come first, from the outbox or from the server's storage.
    delivered(&gateway, "after the restart");
    online.wait_body("after the restart");
    delivered(&gateway, "and on");
    online.wait_body("and on");
    assert_eq!(
        bodies(&mut online),
        Vec::<String>::new(),
        "repeated: {}",
        gateway.log()
    );
}

/// Bytes of a text between tags.
fn on_the_wire(text: &str) -> usize {
    let escaped = |c: char| match c {
        '&' => 5,
        '<' | '>' => 4,
        '"' | '\'' => 6,
        c => c.len_utf8(),
    };
    text.chars().map(escaped).sum()
}

/// Longest body and longest message on the wire.
const BODY_BYTES: usize = 60 << 10;
const STANZA_BYTES: usize = 64 << 10;

#[test]
fn a_long_webhook_message_arrives_in_pieces_that_fit_the_wire() {
    let server = Prosody::shared();
    let room = server.room("open");
    let lines: Vec<String> = (0..800)
        .map(|n| format!("<host{n}> \"memory\" & 'disk' {}", "&<>\"'".repeat(20)))
        .collect();
    let made = lines.join("\n");
    assert!(on_the_wire(&made) > 6 * BODY_BYTES, "{}", on_the_wire(&made));
    let storm: Value = serde_json::from_str(include_str!("payloads/grafana-storm-60.json")).expect("JSON");
    let sent = storm["message"].as_str().expect("a message").to_owned();
    for (to, rooms) in [
        ("carol".to_owned(), vec![]),
        (format!("%23{}", room.replace('@', "%40")), vec![room.as_str()]),
    ] {
        let gateway = gateway(server, server.port, &to);
        let mut carol = Receiver::join(server.port, &server.domain, "carol", "carolpass", &rooms);
        for (path, body, text, least) in [
            ("/hook/json/ops", json!({"text": made}), &made, 7),
            ("/hook/grafana/ops", storm.clone(), &sent, 1),
        ] {
            let answer = gateway.json(&format!("{path}?wait=60"), &body);
            assert_eq!(
                (answer.status, answer.json()["status"].as_str()),
                (200, Some("delivered")),
                "{answer:?} {}",
                gateway.log()
            );
            let mut pieces = Vec::new();
            carol.drain(Duration::from_secs(2), |stanza| {
                if let Some(body) = stanza.child_text("body").filter(|_| stanza.name == "message") {
                    assert!(on_the_wire(body) <= BODY_BYTES, "{} bytes", on_the_wire(body));
                    assert!(stanza.raw.len() <= STANZA_BYTES, "{} bytes", stanza.raw.len());
                    pieces.push(body.to_owned());
                }
            });
            assert!(pieces.len() >= least, "{to}: {} pieces", pieces.len());
            let all = pieces.join("\n");
            for line in text.lines() {
                assert!(all.contains(line.trim()), "{to}: {line}");
            }
        }
    }
}
