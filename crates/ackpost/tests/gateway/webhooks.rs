//! Alertmanager, Grafana and any JSON.

use ackpost_testkit::FakeSogs;
use serde_json::{Value, json};

use crate::process::Gateway;
use crate::support::{Program, SEED, SERVER_KEY};

#[test]
fn other_programs_are_understood() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let program = Program::new().file("ops.conf", &format!("ops={url}\n"));
    let config = "[keys]\nops = \"ops.conf\"\n\
        [hooks.deploy]\nkey = \"ops\"\ntag = \"ops\"\ntitle = \"{{ repo.name | upper }}\"\n\
        body = \"{{#each commits}}* {{ this }}\\n{{/each}}\"\n\
        [hooks.bomb]\nkey = \"ops\"\nbody = \"{{#each a}}{{#each a}}{{#each a}}{{ this }}{{/each}}{{/each}}{{/each}}\"\n";
    let gateway = Gateway::with(program, config);

    let alert = json!({"version": "4", "status": "firing", "alerts": [
        {"status": "firing", "labels": {"alertname": "DiskFull"}, "annotations": {"summary": "disk is full"}}],
        "commonLabels": {"alertname": "DiskFull"}, "groupLabels": {}});
    let answer = gateway.json("/hook/alertmanager/ops?wait=20", &alert);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.json(
        "/hook/grafana/ops?wait=20",
        &json!({"title": "CPU", "message": "hot", "alerts": []}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.json(
        "/hook/json/ops?wait=20&tag=ops",
        &json!({"event": "build", "text": "it is done"}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let commits = json!({"repo": {"name": "ackpost"}, "commits": ["one", "two"]});
    assert_eq!(gateway.json("/hook/deploy?wait=20", &commits).status, 200);
    let numbers: Vec<u32> = (0..3_000).collect();
    let answer = gateway.json("/hook/bomb", &json!({"a": numbers}));
    assert_eq!(
        answer.status, 200,
        "a bomb is cut, it does not go off: {answer:?}"
    );

    let texts: Vec<String> = fake.posts().iter().filter_map(|post| post.text.clone()).collect();
    for part in [
        "[FIRING:1] DiskFull",
        "disk is full",
        "hot",
        "it is done",
        "ACKPOST\r\n* one\n* two",
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part}: {texts:?}");
    }

    assert_eq!(
        gateway.json("/hook/alertmanager/ops", &json!({"x": 1})).status,
        400
    );
    assert_eq!(gateway.json("/hook/grafana/ops", &json!({"x": 1})).status, 400);
    assert_eq!(gateway.json("/hook/nothing", &json!({"x": 1})).status, 404);
    assert_eq!(gateway.json("/hook/other/ops", &json!({"x": 1})).status, 404);
    assert_eq!(
        gateway.json("/hook/json/nokey", &json!({"text": "x"})).status,
        404
    );
    // The operator's key is not changed over HTTP.
    assert_eq!(gateway.json("/add/ops", &json!({"urls": url})).status, 403);
    assert_eq!(gateway.get("/get/ops").status, 403);
}

/// Sixty alerts are more than a room takes in one message.
#[test]
fn a_long_webhook_message_arrives_whole_in_pieces() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no&budget=off",
        fake.port()
    );
    let config = "[keys]\nops = \"ops.conf\"\n[hooks.long]\nkey = \"ops\"\nbody = \"{{ text }}\"\n";
    let gateway = Gateway::with(Program::new().file("ops.conf", &format!("{url}\n")), config);
    let lines: Vec<String> = (0..60)
        .map(|n| format!("**Firing** <host{n}> \"memory\" & more: {}", "m".repeat(40)))
        .collect();
    let made = lines.join("\n");
    // A request as Grafana sends it.
    let storm: Value = serde_json::from_str(include_str!("payloads/grafana-storm-60.json")).expect("JSON");
    let sent = storm["message"].as_str().expect("a message").to_owned();
    for (path, body, text) in [
        (
            "/hook/grafana/ops?wait=40",
            json!({"status": "firing", "title": "[FIRING:60]", "message": made, "alerts": []}),
            &made,
        ),
        ("/hook/long?wait=40", json!({"title": "x", "text": made}), &made),
        ("/hook/grafana/ops?wait=40", storm, &sent),
    ] {
        let before = fake.posts().len();
        let answer = gateway.json(path, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let texts: Vec<String> = fake.posts()[before..]
            .iter()
            .filter_map(|post| post.text.clone())
            .collect();
        assert!(texts.len() > 1 && texts.iter().all(|text| text.chars().count() <= 2_000));
        let all = texts.join("\n");
        for line in text.lines() {
            assert!(all.contains(line.trim()), "{line}: {all}");
        }
    }
}

/// Text stays text, whatever signs are in it.
#[test]
fn text_is_passed_on_as_it_is() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let config = "[keys]\nops = \"ops.conf\"\n";
    let gateway = Gateway::with(Program::new().file("ops.conf", &format!("{url}\n")), config);
    let texts = ["cpu=93% & rising + more", "[alert] cpu is hot", "{not json"];
    for text in texts {
        for headers in [&[("Content-Type", "text/plain; charset=utf-8")][..], &[]] {
            let answer = gateway.request("POST", "/hook/json/ops?wait=20", headers, text.as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    // JSON without a type, and what `curl -d` sends, are still understood.
    for headers in [&[("Content-Type", "application/x-www-form-urlencoded")][..], &[]] {
        let body = br#" {"message": "from json", "title": "t"}"#;
        let answer = gateway.request("POST", "/hook/json/ops?wait=20", headers, body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(
        gateway
            .form("/hook/json/ops?wait=20", "message=from+a+form")
            .status,
        200
    );
    let got: Vec<String> = fake.posts().iter().filter_map(|post| post.text.clone()).collect();
    for (text, count) in texts.iter().map(|text| (*text, 2)).chain([("from a form", 1)]) {
        assert_eq!(
            got.iter().filter(|got| got.as_str() == text).count(),
            count,
            "{text}: {got:?}"
        );
    }
    assert_eq!(
        got.iter().filter(|got| got.contains("from json")).count(),
        2,
        "{got:?}"
    );
}
