//! Entries of other services in the outbox: back-off, digests, quiet hours.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::apprise::Sink;
use crate::{NEWEST, program};

#[test]
fn the_outbox_delivers_other_services_and_leaves_a_message_in_doubt_alone() {
    let sink = Sink::start();
    let program = program(NEWEST).file(
        "c.yml",
        &format!(
            "urls:\n  - json://127.0.0.1:{0}/queued:\n      - user: me\n        \"+X-Token\": tok\n  \
             - json://127.0.0.1:{0}/never/queued?rto=1\n",
            sink.port
        ),
    );
    let ran = program.run(&[
        "--json",
        "send",
        "--queue",
        "--no-drain",
        "-t",
        "T",
        "-b",
        "- x",
        "-n",
        "warning",
        "-c",
        "c.yml",
    ]);
    assert_eq!((ran.code, sink.posted().len()), (0, 0), "{}", ran.all());
    let ids: Vec<String> = (ran.json().iter())
        .filter_map(|one| one["id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 2, "{}", ran.all());
    let flush = program.run(&["--json", "outbox", "flush"]);
    let posted = sink.posted();
    let one = posted
        .iter()
        .find(|one| one.path == "/queued")
        .unwrap_or_else(|| panic!("{}", flush.all()));
    assert!(one.head.contains("X-Token: tok"), "{}", one.head);
    assert_eq!(
        (&one.json["type"], &one.json["message"]),
        (&json!("warning"), &json!("- x"))
    );
    let show = |id: &str| program.run(&["--json", "outbox", "show", id]).json().remove(0);
    let entry = show(&ids[0]);
    assert_eq!(
        (
            &entry["state"],
            &entry["outcome"]["outcome"],
            &entry["outcome"]["confirmed_by"]
        ),
        (&json!("delivered"), &json!("handed-over"), &json!("apprise")),
        "{entry}"
    );
    let entry = show(&ids[1]);
    assert_eq!(entry["outcome"]["outcome"], "deferred", "{entry}");
    assert_eq!(program.run(&["outbox", "retry", &ids[1]]).code, 0);
    program.run(&["outbox", "flush"]);
    let entry = show(&ids[1]);
    assert_eq!(entry["state"], "dead", "{entry}");
    assert!(
        entry["outcome"]["reason"]
            .as_str()
            .is_some_and(|text| text.contains("may have arrived")),
        "{entry}"
    );
    assert_eq!((sink.count("/queued"), sink.count("/never/queued")), (1, 1));
}

/// The minutes from midnight in UTC, as `HH:MM`.
fn clock(minutes: u64) -> String {
    let minutes = minutes % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[test]
fn digests_and_quiet_hours_hold_for_other_services_too() {
    let sink = Sink::start();
    let port = sink.port;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
        / 60
        % (24 * 60);
    let quiet = format!("{}-{}", clock(now + 24 * 60 - 60), clock(now + 120));
    let loud = format!("{}-{}", clock(now + 120), clock(now + 180));
    let program = program(NEWEST)
        .file("digest.conf", &format!("json://127.0.0.1:{port}/digest?digest=10s\n"))
        .file(
            "quiet.conf",
            &format!(
                "json://127.0.0.1:{port}/quiet?quiet={quiet}&tz=UTC\njson://127.0.0.1:{port}/loud?quiet={loud}&tz=UTC\n"
            ),
        );
    let queue = |config: &str, body: &str| {
        let ran = program.run(&[
            "--json",
            "send",
            "--queue",
            "--no-drain",
            "-b",
            body,
            "-c",
            config,
        ]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        ran.json()
    };
    for body in ["one", "two", "three"] {
        queue("digest.conf", body);
    }
    let until = Instant::now() + Duration::from_secs(60);
    while sink.count("/digest") == 0 {
        assert!(Instant::now() < until, "the digest does not come");
        std::thread::sleep(Duration::from_millis(200));
        program.run(&["outbox", "flush"]);
    }
    let posted = sink.posted();
    assert_eq!(posted.len(), 1, "one message for three: {posted:?}");
    let text = posted[0].json["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        ["one", "two", "three"].iter().all(|body| text.contains(body)),
        "{text}"
    );
    assert!(!posted[0].head.contains("digest="), "{}", posted[0].head);
    let ids = queue("quiet.conf", "hush");
    program.run(&["outbox", "flush"]);
    assert_eq!((sink.count("/quiet"), sink.count("/loud")), (0, 1));
    let id = ids[0]["id"].as_str().expect("an id");
    let entry = program.run(&["--json", "outbox", "show", id]).json().remove(0);
    assert_eq!(
        (&entry["state"], &entry["waits_for"]),
        (&json!("waiting"), &json!("quiet")),
        "{entry}"
    );
}
