//! Keys whose URLs lead back to the gateway: a message goes round a bounded number of times, by mail and over HTTP.

use std::time::{Duration, Instant};

use ackpost_apprise::APPRISE_VERSION;
use serde_json::json;

use crate::process::Gateway;
use crate::smtp::{Client, SMTP};
use crate::support::Program;
use crate::support::apprise::installed;

/// Sends one message to a key that has this URL alone. Returns the states of all entries once one was refused, the first
/// one first, and the reason of the refusal.
fn goes_round(gateway: &Gateway, url: &str) -> (Vec<String>, String) {
    let saved = gateway.json("/add/loop", &json!({"urls": url}));
    assert_eq!(saved.status, 200, "{url}: {saved:?}");
    sent_round(gateway, url)
}

/// The same for a key that has its URL already.
fn sent_round(gateway: &Gateway, url: &str) -> (Vec<String>, String) {
    let sent = gateway.json("/notify/loop", &json!({"title": "round", "body": "and round"}));
    assert_eq!(sent.status, 200, "{url}: {sent:?}");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let list = gateway.get("/outbox").json();
        let entries = list.as_array().expect("a list");
        assert!(
            entries.len() < 20,
            "{url}: it goes round without end: {}",
            gateway.log()
        );
        let state = |state: &str| entries.iter().filter(|entry| entry["state"] == state).count();
        if state("dead") > 0 && state("dead") + state("delivered") == entries.len() {
            let dead = entries.iter().find(|entry| entry["state"] == "dead");
            let reason = dead.map(|entry| entry["outcome"].to_string()).unwrap_or_default();
            let states = entries.iter().filter_map(|entry| entry["state"].as_str());
            let mut states: Vec<String> = states.map(str::to_owned).collect();
            states.sort();
            states.reverse();
            return (states, reason);
        }
        assert!(Instant::now() < until, "{url}: {list} {}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Makes the URL that leads back to a gateway.
type UrlOf = fn(&Gateway) -> String;

#[test]
fn a_message_that_comes_back_is_refused_as_a_loop() {
    let urls: [(&str, UrlOf, &str); 6] = [
        (
            "mail",
            |gateway| format!("mailto://127.0.0.1:{}/loop@x.org?from=b@x.org", gateway.smtp),
            "(554)",
        ),
        (
            "JSON",
            |gateway| format!("json://127.0.0.1:{}/notify/loop", gateway.port),
            "406",
        ),
        (
            "webhook",
            |gateway| format!("form://127.0.0.1:{}/hook/json/loop", gateway.port),
            "406",
        ),
        (
            "a header of the URL",
            |gateway| {
                format!(
                    "json://127.0.0.1:{}/notify/loop?+X-Apprise-Recursion-Count=0",
                    gateway.port
                )
            },
            "406",
        ),
        (
            "ntfy",
            |gateway| format!("ntfy://127.0.0.1:{}/loop", gateway.port),
            "406",
        ),
        (
            "Gotify",
            |gateway| {
                format!(
                    "gotify://127.0.0.1:{}/compat/gotify/loop/Abcdefghijklmno",
                    gateway.port
                )
            },
            "406",
        ),
    ];
    for (most, delivered) in [(1, 1), (3, 3)] {
        for (name, url, code) in &urls {
            let config = format!("max_recursion = {most}\n[compat]\nroot = [\"ntfy\"]\n{SMTP}");
            let gateway = Gateway::with(Program::new(), &config);
            let (states, reason) = goes_round(&gateway, &url(&gateway));
            let mut expected = vec!["delivered"; delivered];
            expected.push("dead");
            assert_eq!(states, expected, "{name}, {most} gateways before: {reason}");
            assert!(reason.contains(code), "{name}: {reason}");
        }
    }
}

/// A digest of messages that came from other gateways counts as the one of them that went through the most.
#[test]
fn a_digest_and_a_mail_keep_the_count() {
    let gateway = Gateway::with(Program::new(), &format!("max_recursion = 1\n{SMTP}"));
    let urls = format!("json://127.0.0.1:{}/notify/loop?digest=1s", gateway.port);
    assert_eq!(gateway.json("/add/loop", &json!({"urls": urls})).status, 200);
    assert_eq!(gateway.json("/notify/loop", &json!({"body": "near"})).status, 200);
    let mut client = Client::open(&gateway);
    let from_afar =
        |count: &str| format!("X-Apprise-Recursion-Count: {count}\r\nSubject: far\r\n\r\nx\r\n.\r\n");
    let answer = client.mail("loop@x", from_afar("2").as_bytes());
    assert!(answer.starts_with("554 5.4.6"), "{answer}");
    let answer = client.mail("loop@x", from_afar("1").as_bytes());
    assert!(answer.starts_with("250 "), "{answer}");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let list = gateway.get("/outbox").json();
        let entries = list.as_array().expect("a list");
        if entries.iter().any(|entry| entry["state"] == "dead") {
            assert!(list.to_string().contains("406"), "{list}");
            return;
        }
        assert!(
            entries.len() < 4 && Instant::now() < until,
            "{list} {}",
            gateway.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `apprise://` is a service of Apprise, which counts the hop itself: one message makes as many rounds as with our own.
#[test]
fn a_message_that_comes_back_through_apprise_is_refused_as_a_loop() {
    let apprise = installed(APPRISE_VERSION).display().to_string();
    for (most, delivered) in [(1, 1), (3, 3)] {
        let program = Program::new()
            .env("ACKPOST_APPRISE", &apprise)
            .file("loop.conf", "json://127.0.0.1:1/");
        let gateway = Gateway::with(
            program,
            &format!("max_recursion = {most}\n[keys]\nloop = \"loop.conf\"\n"),
        );
        let url = format!("apprise://127.0.0.1:{}/loop", gateway.port);
        std::fs::write(gateway.program.home().join("loop.conf"), &url).expect("written");
        let (states, reason) = sent_round(&gateway, &url);
        let mut expected = vec!["delivered"; delivered];
        expected.push("dead");
        assert_eq!(states, expected, "{most} gateways before: {reason}");
        assert!(reason.contains("406"), "{reason}");
    }
}
