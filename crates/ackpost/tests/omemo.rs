//! Encrypted messages from the command line, read by a client of others.
#![allow(unused_crate_dependencies, reason = "the binary uses them")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use ackpost_testkit::{OmemoPeer, Prosody, XmppServer};
use serde_json::Value;

use crate::support::Program;

fn url(server: &XmppServer, from: &str, to: &str, parameters: &str) -> String {
    format!(
        "xmpps://{from}:keyspass@localhost:{}/{to}?mode=starttls&rto=20&cto=20&ca_file={}{parameters}",
        server.port,
        server.ca.display()
    )
}

/// Sends a text and returns the one line of the report.
#[track_caller]
fn send(program: &Program, url: &str, text: &str) -> (i32, Value) {
    let ran = program.run(&["send", "--json", "-b", text, url]);
    let line = ran.stdout.lines().next().unwrap_or_else(|| panic!("{ran:?}"));
    (ran.code, serde_json::from_str(line).expect("one object"))
}

#[test]
fn a_url_with_omemo_encrypts_and_from_then_on_the_account_does() {
    let server = Prosody::shared();
    let program = Program::new();
    let folder = program.home().join("their-state");
    let mut peer = OmemoPeer::start(server, "omemo", "keys33", &folder);
    let (code, report) = send(
        &program,
        &url(server, "keys32", "keys33", "&omemo=require"),
        "first",
    );
    assert_eq!(code, 0, "{report}");
    assert!(
        report.to_string().contains("encrypted for 1 of 1 device"),
        "{report}"
    );
    let (text, about) = peer.text();
    assert_eq!((text.as_str(), &about["exchange"]), ("first", &true.into()));
    peer.nothing_more();
    // The account has keys now: without the parameter it encrypts, and it has read the answer.
    let plain = url(server, "keys32", "keys33", "");
    let (code, report) = send(&program, &plain, "second");
    assert_eq!(code, 0, "{report}");
    let (text, about) = peer.text();
    assert_eq!((text.as_str(), &about["exchange"]), ("second", &false.into()));
    // Another home has no keys, and sends clear text.
    let (code, report) = send(&Program::new(), &plain, "in clear text");
    assert_eq!(code, 0, "{report}");
    assert!(!report.to_string().contains("encrypted"), "{report}");
    assert_eq!(peer.expect("plain")["text"], "in clear text");
    let (code, report) = send(
        &program,
        &url(server, "keys32", "keys33", "&omemo=no"),
        "clear by wish",
    );
    assert_eq!(code, 0, "{report}");
    assert_eq!(peer.expect("plain")["text"], "clear by wish");
    // The state is sealed and private.
    let found = std::process::Command::new("grep")
        .args(["-r", "-l", "-a", "-e", "keys33@localhost"])
        .arg(program.home().join(".local"))
        .output()
        .expect("grep runs");
    assert!(
        found.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
}

/// The first event of this name that `watch` prints.
fn watched(program: &Program, url: &str, name: &str, meanwhile: impl FnOnce()) -> Value {
    let mut child = program
        .command(&["watch", "--json", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut meanwhile = Some(meanwhile);
    let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let event: Value = serde_json::from_str(&line).expect("one object");
        if event["event"] == "online"
            && let Some(meanwhile) = meanwhile.take()
        {
            meanwhile();
        }
        (event["event"] == name).then_some(event)
    });
    let _ = child.kill();
    let _ = child.wait();
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn the_queue_encrypts_and_watch_decrypts() {
    let server = Prosody::shared();
    let program = Program::new();
    let folder = program.home().join("their-state");
    let mut peer = OmemoPeer::start(server, "dr", "keys37", &folder);
    let queued = url(server, "keys36", "keys37", "&omemo=require");
    let ran = program.run(&["send", "--queue", "--no-drain", "-b", "from the queue", &queued]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = program.run(&["outbox", "flush"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(peer.text().0, "from the queue");
    let own = "keys36@localhost";
    let event = watched(&program, &url(server, "keys36", "keys37", ""), "direct", || {
        peer.send(own, "read by watch", "eu.siacs.conversations.axolotl");
    });
    assert_eq!(event["body"], "read by watch", "{event}");
    assert_eq!(event["encrypted"]["device"], peer.device, "{event}");
    assert_eq!(event["encrypted"]["fingerprint"], peer.fingerprint.as_str());
    // The checks of doctor go on where they were.
    let ran = program.run(&["doctor", &queued]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_recipient_without_omemo_is_refused_or_gets_clear_text_by_the_word_of_the_url() {
    let server = Prosody::shared();
    let program = Program::new();
    let (code, report) = send(
        &program,
        &url(server, "keys34", "keys35", "&omemo=require"),
        "secret",
    );
    assert_ne!(code, 0, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("keys35@localhost publishes no OMEMO keys"),
        "{text}"
    );
    let (code, report) = send(&program, &url(server, "keys34", "keys35", "&omemo=auto"), "clear");
    assert_eq!(code, 0, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("not encrypted: keys35@localhost publishes no OMEMO keys"),
        "{text}"
    );
    let ran = program.run(&["-b", "x", &url(server, "keys34", "keys35", "&omemo=perhaps")]);
    assert!(ran.code != 0 && ran.stderr.contains("omemo=auto"), "{ran:?}");
}
