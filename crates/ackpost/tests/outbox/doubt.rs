//! Messages whose confirmation is lost on the way: sent a second time only if no archive shows them, which is counted
//! and said.

use std::time::{Duration, Instant};

use ackpost_testkit::{Element, Prosody, Receiver, Relay, RelayOptions, ServerOptions};
use serde_json::Value;

use crate::support::Program;

/// Result of a message whose first attempt got no answer.
struct Delivered {
    /// Number of times the recipient got it.
    times: usize,
    repeated: Value,
    entry: Value,
    said: String,
}

/// Sends over a connection on which no answer comes back from the moment that the message is written. Later
/// connections work. The server cannot resume a session, which would settle the doubt.
fn deliver_in_doubt(without_archive: bool) -> Delivered {
    let server = Prosody::start(ServerOptions {
        without_archive,
        without_resumption: true,
        ..ServerOptions::default()
    });
    let relay = Relay::to_port(
        server.port,
        RelayOptions {
            mute_once_said: Some("<message"),
            ..RelayOptions::default()
        },
    );
    let text = "in doubt";
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[]);
    let url = format!(
        "xmpp://alice:alicepass@localhost:{}/bob?xmpp=127.0.0.1&mode=none&rto=2",
        relay.port()
    );
    wait_until_up_for(&mut bob, 3);
    let program = Program::new();
    let ran = program.run(&["send", "--queue", "-b", text, &url]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(relay.connections(), 2, "{}", ran.all());
    bob.wait_body(text);
    let is_it = |stanza: &Element| stanza.child_text("body") == Some(text);
    let mut times = 1;
    while bob.wait(Duration::from_millis(500), is_it).is_some() {
        times += 1;
    }
    let accepted = &program.run(&["--json", "outbox", "log"]).json()[0];
    let id = accepted["entry"].as_str().expect("an id").to_owned();
    Delivered {
        times,
        repeated: program.run(&["--json", "outbox", "stats"]).json()[0]["services"][0]["repeated"].clone(),
        entry: program.run(&["--json", "outbox", "show", &id]).json().remove(0),
        said: ran.all(),
    }
}

/// Asks the server for its uptime (XEP-0012) until that is so many seconds: a server that says less than the age of the
/// message may have restarted since.
fn wait_until_up_for(bob: &mut Receiver, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(30);
    for number in 0.. {
        let id = format!("uptime-{number}");
        bob.send(&format!(
            "<iq type='get' id='{id}' to='localhost'><query xmlns='jabber:iq:last'/></iq>"
        ));
        let answer = bob.wait(Duration::from_secs(10), |stanza| stanza.attr("id") == id);
        let up = answer.as_ref().and_then(|answer| answer.child("query"));
        if up.is_some_and(|query| query.attr("seconds").parse().is_ok_and(|up: u64| up >= seconds)) {
            return;
        }
        assert!(Instant::now() < until, "{answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn events<'e>(entry: &'e Value, kind: &str) -> Vec<&'e str> {
    let all = entry["events"].as_array().expect("its history").iter();
    all.filter(|event| event["kind"] == kind)
        .filter_map(|event| event["text"].as_str())
        .collect()
}

#[test]
fn a_repeat_on_a_server_without_an_archive_is_counted_and_said() {
    let done = deliver_in_doubt(true);
    assert_eq!(
        (done.times, &done.repeated),
        (2, &Value::from(1)),
        "{}",
        done.said
    );
    assert_eq!(done.entry["state"], "delivered", "{}", done.entry);
    let said = events(&done.entry, "repeated");
    assert_eq!(said.len(), 1, "{}", done.entry);
    assert!(
        said[0].contains("sent a second time under the same id"),
        "{}",
        said[0]
    );
    let notes = events(&done.entry, "note").concat();
    assert!(notes.contains("sent twice under the same id"), "{}", done.entry);
}

#[test]
fn a_message_that_the_archive_shows_is_not_repeated() {
    let done = deliver_in_doubt(false);
    assert_eq!(
        (done.times, &done.repeated),
        (1, &Value::from(0)),
        "{}",
        done.said
    );
    assert!(events(&done.entry, "repeated").is_empty(), "{}", done.entry);
    let notes = events(&done.entry, "note").concat();
    assert!(
        notes.contains("archive contains an earlier attempt"),
        "{}",
        done.entry
    );
}
