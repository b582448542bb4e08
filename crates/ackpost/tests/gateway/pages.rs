//! The pages, in a real browser: headless Chromium, driven over its debugging pipe by `pages.mjs`.

use std::process::Command;

use ackpost_testkit::FakeSogs;
use serde_json::json;

use crate::process::{Gateway, dead_url};
use crate::support::{SEED, SERVER_KEY};

#[test]
fn the_pages_work_in_chromium() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = Gateway::start();
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let config = format!("good={url}\ndead={}\n", dead_url());
    assert_eq!(
        gateway
            .json("/add/ops", &json!({"config": config, "format": "text"}))
            .status,
        200
    );
    assert_eq!(
        gateway
            .json("/notify/ops", &json!({"body": "<b>waits</b>", "tag": "dead"}))
            .status,
        200
    );
    let token = gateway.token(&[
        "pages",
        "--allow",
        "notify",
        "--allow",
        "read",
        "--allow",
        "outbox",
        "--allow",
        "configure",
    ]);
    let axe = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/servers/install-axe.sh"
    ))
    .output()
    .expect("a shell");
    assert!(axe.status.success(), "{}", String::from_utf8_lossy(&axe.stderr));
    let axe = String::from_utf8_lossy(&axe.stdout).trim().to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/pages.mjs");
    let output = Command::new("node")
        .args([
            script,
            &format!("http://127.0.0.1:{}", gateway.port),
            &token,
            &axe,
        ])
        .output()
        .expect("node is needed (Debian: nodejs), and chromium");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}\n{}", gateway.log());
    assert!(!said.contains(SEED), "a page shows the seed");
    assert!(fake.posts().iter().any(|post| {
        post.text
            .as_deref()
            .is_some_and(|text| text.contains("from a browser"))
    }));
}

/// A message may hold secrets: its text is for those who logged in, and is gone once the message is.
#[test]
fn the_outbox_shows_texts_to_those_who_logged_in() {
    let gateway = Gateway::start();
    assert_eq!(
        gateway
            .json(
                "/add/ops",
                &json!({"config": format!("dead={}\n", dead_url()), "format": "text"})
            )
            .status,
        200
    );
    let bodies = [
        json!({"title": "Disk", "body": "full <b>on</b> db1", "tag": "dead"}),
        json!({"body": "first line\nsecond line", "tag": "dead"}),
    ];
    for body in &bodies {
        assert_eq!(gateway.json("/notify/ops", body).status, 200);
    }
    let list = gateway.get("/outbox?state=waiting").json();
    let ids: Vec<&str> = (list.as_array().expect("a list").iter())
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    let one = |id: &str| format!("/ui/outbox/{id}");
    for path in ["/ui/outbox".to_owned(), one(ids[0]), one(ids[1])] {
        let page = gateway.get(&path).body;
        // The first attempt may still be under way.
        assert!(page.contains("waiting") || page.contains("sending"), "{page}");
        for text in ["Disk", "db1", "first line"] {
            assert!(!page.contains(text), "{path}: {page}");
        }
    }
    let token = gateway.token(&["pages", "--allow", "outbox"]);
    // Before the login, no link leads anywhere.
    let page = gateway.get("/ui/login").body;
    assert!(page.contains("Log in") && !page.contains("<nav"), "{page}");
    let bearer = format!("Bearer {token}");
    let with = |path: &str| {
        gateway
            .request("GET", path, &[("Authorization", &bearer)], b"")
            .body
    };
    let page = with("/ui/outbox");
    assert!(page.contains("<nav"), "{page}");
    assert!(page.contains(">Disk<") && page.contains(">first line<"), "{page}");
    assert!(!page.contains("second line"), "{page}");
    // The newest comes first.
    let page = with(&one(ids[0]));
    assert!(page.contains("first line\nsecond line"), "{page}");
    let page = with(&one(ids[1]));
    assert!(
        page.contains(">Disk<") && page.contains("full &lt;b&gt;on&lt;/b&gt; db1"),
        "{page}"
    );
    let dropped = gateway.request(
        "POST",
        &format!("/outbox/{}/drop", ids[1]),
        &[("Authorization", &bearer)],
        b"",
    );
    assert_eq!(dropped.status, 200, "{dropped:?}");
    let page = with(&one(ids[1]));
    assert!(page.contains("not kept") && !page.contains("db1"), "{page}");
}

#[test]
fn every_page_is_strict_about_what_it_loads() {
    let gateway = Gateway::start();
    for path in ["/ui", "/ui/outbox", "/ui/login", "/ui/keys/none"] {
        let answer = gateway.get(path);
        if answer.status == 303 {
            continue;
        }
        let policy = answer
            .header("content-security-policy")
            .unwrap_or_else(|| panic!("{path}: {answer:?}"));
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(
            !answer.body.contains("<script") && !answer.body.contains("style="),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(gateway.get("/").status, 303);
    let headers = [
        ("Origin", "http://evil.example"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    assert_eq!(
        gateway
            .request("POST", "/ui/keys/x/send", &headers, b"body=x")
            .status,
        403
    );
}
