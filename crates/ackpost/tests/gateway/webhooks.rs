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
    // The program is recognised by its shape, and a form may hold the JSON in one field.
    let down = json!({"heartbeat": {"status": 0, "msg": "timeout"}, "monitor": {"name": "shop"}, "msg": "x"});
    let answer = gateway.json("/hook/auto/ops+ops?wait=20", &down);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.form(
        "/hook/uptimekuma/ops?wait=20",
        "data=%7B%22msg%22%3A%22a+test+of+Kuma%22%7D",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
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
        "🔴 shop: down\r\ntimeout",
        "a test of Kuma",
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

/// GitHub signs the bytes of its request with a shared secret. A key with a secret takes nothing else.
#[test]
fn a_key_with_a_secret_takes_signed_webhooks_only() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let program = Program::new()
        .file("ops.conf", &format!("{url}\n"))
        .secret_file("webhook.secret", "s3cret-of-the-hook\n");
    let config = "[keys]\nforge = \"ops.conf\"\n[signatures]\nforge = \"webhook.secret\"\n[smtp]\nlisten = \
                  \"127.0.0.1:0\"\n[hooks.deploy]\nkey = \"forge\"\n";
    let gateway = Gateway::with(program, config);
    let json = r#"{"zen":"Keep it logically awesome.","hook_id":1,"repository":{"full_name":"jane/site"},"sender":{"login":"jane"}}"#;
    let form = "payload=%7B%22zen%22%3A%22Keep+it+logically+awesome.%22%2C%22hook_id%22%3A1%2C%22repository%22%3A%7B%22full_name\
                %22%3A%22jane%2Fsite%22%7D%2C%22sender%22%3A%7B%22login%22%3A%22jane%22%7D%7D";
    // Made with Python's hmac.
    let of_json = "sha256=1c90557571e7433d044904113a68215347992076e36868273ce670373662761b";
    let of_form = "sha256=429b6e94ee95be052413230e4eec27d5c89dd501ec3242618b9286d9849bf2ee";
    let post = |path: &str, kind: &str, signature: Option<&str>, body: &str| {
        let mut headers = vec![("Content-Type", kind), ("X-GitHub-Event", "ping")];
        headers.extend(signature.map(|signature| ("X-Hub-Signature-256", signature)));
        gateway.request("POST", path, &headers, body.as_bytes())
    };
    let forged = json.replace("jane", "evil");
    let (as_json, as_form) = ("application/json", "application/x-www-form-urlencoded");
    for (path, kind, signature, body, status) in [
        ("/hook/github/forge?wait=20", as_json, Some(of_json), json, 200),
        ("/hook/auto/forge?wait=20", as_form, Some(of_form), form, 200),
        ("/hook/deploy?wait=20", as_json, Some(of_json), json, 200),
        ("/hook/github/forge", as_json, None, json, 401),
        ("/hook/github/forge", as_json, Some(of_form), json, 401),
        ("/hook/github/forge", as_json, Some(of_json), forged.as_str(), 401),
        ("/hook/json/forge", as_json, Some("sha256=00"), json, 401),
        ("/hook/deploy", as_json, None, json, 401),
        ("/notify/forge", as_json, Some(of_json), r#"{"body": "x"}"#, 401),
        ("/compat/text/forge", "text/plain", None, "x", 401),
    ] {
        let answer = post(path, kind, signature, body);
        assert_eq!(answer.status, status, "{path}: {answer:?} {}", gateway.log());
    }
    let mut client = crate::smtp::Client::open(&gateway);
    assert!(client.mail("forge@x", b"").starts_with("550 5.7.1"));
    let texts: Vec<String> = fake.posts().into_iter().filter_map(|post| post.text).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("jane/site: webhook connected"), "{texts:?}");
    assert!(!gateway.log().contains("s3cret"));
    // Without its file nothing is taken.
    std::fs::remove_file(gateway.program.home().join("webhook.secret")).expect("removed");
    let answer = post("/hook/github/forge", as_json, Some(of_json), json);
    assert_eq!(answer.status, 500, "{answer:?}");
}
