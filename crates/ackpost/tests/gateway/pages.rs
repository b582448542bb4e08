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
        "pages", "--allow", "notify", "--allow", "read", "--allow", "outbox",
    ]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/pages.mjs");
    let output = Command::new("node")
        .args([script, &format!("http://127.0.0.1:{}", gateway.port), &token])
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
