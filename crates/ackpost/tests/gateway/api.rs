//! The routes of Apprise API: the request examples of its documentation give the documented status codes.

use ackpost_testkit::FakeSogs;
use serde_json::json;

use crate::process::{Gateway, dead_url};
use crate::support::community::Community;
use crate::support::{Program, SEED, SERVER_KEY};

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "the examples in the order of the documentation"
)]
fn the_documented_examples_give_the_documented_codes() {
    let community = Community::start("lobby");
    let gateway = Gateway::with(Program::new(), "access = \"open\"\n");
    let url = format!("{}/lobby", community.server_url());

    // "Send your notifications directly", form and JSON.
    let answer = gateway.form("/notify", &format!("urls={}&body=test message", encode(&url)));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.json("/notify", &json!({"urls": url, "body": "test message"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["error"], json!(null));
    // … and without any URL: 204.
    assert_eq!(gateway.form("/notify/", "body=test message").status, 204);
    assert_eq!(
        gateway
            .form("/notify/", "urls=bogus://x&body=test message")
            .status,
        204
    );

    // The persistent store: nothing there yet.
    assert_eq!(gateway.form("/notify/abc123", "body=test message").status, 204);
    assert_eq!(gateway.request("POST", "/get/abc123", &[], b"").status, 204);
    assert_eq!(gateway.request("POST", "/del/abc123", &[], b"").status, 204);
    assert_eq!(gateway.get("/json/urls/abc123").status, 204);
    // Save.
    assert_eq!(gateway.form("/add/abc123", "").status, 400);
    assert_eq!(gateway.form("/add/abc123", "urls=nonsense").status, 400);
    let bad = encode("xmpps://a:p@h.org/b?ttl=banana");
    assert_eq!(gateway.form("/add/abc123", &format!("urls={bad}")).status, 400);
    let config = format!("devops={url}\nadmin=xmpps://u:p@127.0.0.1:1/jane");
    let answer = gateway.json("/add/abc123", &json!({"config": config, "format": "text"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        gateway
            .json("/add/abc123", &json!({"config": config, "format": "pdf"}))
            .status,
        400
    );
    // Read back.
    let answer = gateway.request("POST", "/get/abc123", &[], b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, config.as_str()));
    assert!(
        answer
            .header("content-type")
            .expect("a type")
            .starts_with("text/plain")
    );
    let answer = gateway.request("GET", "/get/abc123/", &[("Accept", "application/json")], b"");
    assert_eq!(answer.json(), json!({"format": "text", "config": config}));
    // Send to all, and to a tag.
    assert_eq!(
        gateway
            .form("/notify/abc123", "body=test message&tag=devops")
            .status,
        200
    );
    let answer = gateway.json(
        "/notify/abc123",
        &json!({"tag": "devops", "body": "test message", "title": "t"}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["outbox"].as_array().map(Vec::len), Some(1));
    // Bad payloads.
    assert_eq!(gateway.form("/notify/abc123", "title=only").status, 400);
    assert_eq!(
        gateway
            .json("/notify/abc123", &json!({"body": "x", "type": "loud"}))
            .status,
        400
    );
    assert_eq!(
        gateway
            .json("/notify/abc123", &json!({"body": "x", "format": "pdf"}))
            .status,
        400
    );
    let answer = gateway.request(
        "POST",
        "/notify/abc123",
        &[("Content-Type", "application/json")],
        b"{\"body\":",
    );
    assert_eq!(answer.status, 400);
    // Nobody has the tag: it could not be sent.
    assert_eq!(gateway.form("/notify/abc123", "body=x&tag=nobody").status, 424);
    // Recursion.
    for (count, status) in [("1", 200), ("2", 406), ("x", 400)] {
        let headers = [
            ("X-Apprise-Recursion-Count", count),
            ("Content-Type", "application/json"),
        ];
        let answer = gateway.request(
            "POST",
            "/notify/abc123",
            &headers,
            b"{\"body\":\"x\",\"tag\":\"devops\"}",
        );
        assert_eq!(answer.status, status, "{count}: {answer:?}");
    }
    // The key in a header, as newer clients send it.
    let headers = [
        ("X-Apprise-Config-ID", "abc123"),
        ("Content-Type", "application/json"),
    ];
    let answer = gateway.request(
        "POST",
        "/notify",
        &headers,
        b"{\"body\":\"x\",\"tag\":\"devops\"}",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(gateway.request("POST", "/get", &headers[..1], b"").body, config);
    assert_eq!(gateway.request("POST", "/get", &[], b"").status, 400);
    assert_eq!(
        gateway
            .request("POST", "/notify", &[("X-Apprise-Config-ID", "../x")], b"body=x")
            .status,
        400
    );
    // Delete.
    assert_eq!(gateway.request("POST", "/del/abc123", &[], b"").status, 200);
    assert_eq!(gateway.form("/notify/abc123", "body=test message").status, 204);
    // Introspection.
    assert_eq!(gateway.get("/status").body.trim(), "OK");
    let answer = gateway.request("GET", "/status", &[("Accept", "application/json")], b"");
    assert_eq!(answer.json()["status"]["details"], json!(["OK"]));
    let answer = gateway.get("/details");
    assert_eq!(answer.json()["schemas"].as_array().map(Vec::len), Some(8));
    assert_eq!(gateway.get("/nowhere").status, 404);
    assert_eq!(gateway.get("/notify/abc123").status, 405);
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[test]
fn messages_arrive_and_waiting_tells_the_outcome() {
    let community = Community::start("lobby");
    let gateway = Gateway::start();
    let url = format!("{}/lobby", community.server_url());
    assert_eq!(
        gateway.form("/add/ops", &format!("urls={}", encode(&url))).status,
        200
    );

    let answer = gateway.json(
        "/notify/ops?wait=20",
        &json!({"title": "T", "body": "it arrives"}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert_eq!(said["status"], "delivered", "{said}");
    let id = said["outbox"][0]["id"].as_str().expect("an id").to_owned();
    let entry = gateway.get(&format!("/outbox/{id}")).json();
    assert_eq!(
        (entry["state"].as_str(), entry["id"].as_str()),
        (Some("delivered"), Some(id.as_str()))
    );

    // The same with an attachment, as multipart.
    let body = "--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nwith a file\r\n--b\r\n\
        Content-Disposition: form-data; name=\"attach\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n";
    let headers = [
        ("Content-Type", "multipart/form-data; boundary=b"),
        ("Prefer", "wait=20"),
        ("Accept", "application/json"),
    ];
    let answer = gateway.request("POST", "/notify/ops", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], "delivered", "{answer:?}");

    let seen = room_texts(&community);
    assert!(seen.iter().any(|text| text.contains("it arrives")), "{seen:?}");
    assert!(seen.iter().any(|text| text.contains("with a file")), "{seen:?}");
}

#[test]
fn a_refusal_is_told_and_a_dead_target_holds_nobody_up() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = Gateway::start();
    let url = |room: &str| {
        format!(
            "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/{room}?encrypt=no",
            fake.port()
        )
    };
    let text = format!(
        "good={}\nbad={}\ndead={}\n",
        url("lobby"),
        url("e403"),
        dead_url()
    );
    assert_eq!(
        gateway
            .json("/add/ops", &json!({"config": text, "format": "text"}))
            .status,
        200
    );

    let answer = gateway.json("/notify/ops?wait=20", &json!({"body": "x", "tag": "bad"}));
    assert_eq!(answer.status, 424, "{answer:?}");
    assert_eq!(answer.json()["status"], "refused", "{answer:?}");
    // The dead one waits in the outbox; the good one is there.
    let answer = gateway.json("/notify/ops?wait=3", &json!({"body": "y", "tag": "good,dead"}));
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("queued")),
        "{answer:?}"
    );
    assert!(fake.posts().iter().any(|post| post.text.as_deref() == Some("y")));
    let list = gateway.get("/outbox?state=waiting").json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let id = list[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(gateway.form(&format!("/outbox/{id}/drop"), "").status, 200);
    assert_eq!(gateway.form(&format!("/outbox/{id}/drop"), "").status, 409);
    assert_eq!(gateway.get("/outbox/zzzzzzzzzzzzzzzz").status, 404);
    assert_eq!(gateway.get("/outbox?state=nonsense").status, 400);

    let metrics = gateway.get("/metrics").body;
    for line in [
        "ackpost_messages_total{service=\"sogs\",outcome=\"delivered\"} 1",
        "ackpost_accepted_total 3",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    }
    assert_eq!(gateway.get("/healthz").status, 200);
}

/// A masked URL has the parameters that somebody wrote, and no defaults that nobody asked for.
#[test]
fn masked_urls_have_no_defaults() {
    let gateway = Gateway::start();
    let url = |room: &str| format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:1/{room}");
    let urls = json!({"urls": [url("lobby"), url("hall?overflow=split&retry=0")]});
    assert_eq!(gateway.json("/add/ops", &urls).status, 200);
    let body = gateway.get("/json/urls/ops").body;
    let shown: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let shown: Vec<&str> = (shown["urls"].as_array().expect("a list").iter())
        .filter_map(|one| one["url"].as_str())
        .collect();
    assert_eq!(shown.len(), 2, "{body}");
    assert!(shown[0].ends_with("@127.0.0.1:1/lobby"), "{shown:?}");
    assert!(
        shown[1].ends_with("@127.0.0.1:1/hall?overflow=split"),
        "{shown:?}"
    );
    let page = gateway.get("/ui/keys/ops").body;
    assert!(
        page.contains("127.0.0.1:1/lobby<") && !page.contains("optional=no"),
        "{page}"
    );
    assert_eq!(gateway.json("/notify/ops", &json!({"body": "later"})).status, 200);
    for path in ["/outbox", "/ui/outbox"] {
        let answer = gateway.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("lobby"), "{path}: {}", answer.body);
        assert!(!answer.body.contains("optional="), "{path}: {}", answer.body);
    }
}

#[test]
fn secrets_are_masked_unless_somebody_may_configure() {
    let gateway = Gateway::start();
    let url = format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:1/lobby");
    assert_eq!(gateway.json("/add/ops", &json!({"urls": [url]})).status, 200);
    for path in ["/json/urls/ops", "/json/urls/ops?privacy=1", "/ui/keys/ops"] {
        let answer = gateway.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.body.contains(SEED), "{path}");
    }
    // A program of this machine that showed nothing is shown nothing, however it asks.
    assert!(!gateway.get("/json/urls/ops?privacy=0").body.contains(SEED));
    for answer in [
        gateway.get("/get/ops"),
        gateway.form("/get/ops", ""),
        gateway.get("/cfg/ops"),
        gateway.request("POST", "/get", &[("X-Apprise-Config-ID", "ops")], b""),
    ] {
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(
            answer.body.contains("token add") && !answer.body.contains(SEED),
            "{answer:?}"
        );
    }
    assert!(
        gateway.log().contains("secrets are not shown"),
        "{}",
        gateway.log()
    );
    // With a token that may configure.
    let token = gateway.token(&["admin", "--allow", "configure"]);
    let bearer = format!("Bearer {token}");
    let with = |path: &str| gateway.request("GET", path, &[("Authorization", &bearer)], b"");
    assert!(with("/get/ops").body.contains(SEED));
    assert!(with("/json/urls/ops?privacy=0").body.contains(SEED));
    assert!(!with("/json/urls/ops").body.contains(SEED));
    // Or where the operator wrote that everybody may.
    let open = Gateway::with(Program::new(), "access = \"open\"\n");
    assert_eq!(open.json("/add/ops", &json!({"urls": [url]})).status, 200);
    assert!(open.get("/get/ops").body.contains(SEED));
    assert!(open.get("/json/urls/ops?privacy=0").body.contains(SEED));
    assert!(open.log().contains("read their secrets"), "{}", open.log());
    let locked = Gateway::with(Program::new(), "config_lock = true\n");
    assert_eq!(locked.json("/add/ops", &json!({"urls": [url]})).status, 403);
    assert_eq!(locked.get("/get/ops").status, 403);
    assert_eq!(locked.form("/del/ops", "").status, 403);
}

/// Returns the texts in the room, read by somebody else.
pub(crate) fn room_texts(community: &Community) -> Vec<String> {
    community.texts("lobby")
}
