//! The request examples of Apprise API's documentation (its README, its welcome page and appriseit.com/api), made with
//! curl as they are printed there: each gives the documented status code. Only the service addresses are others.

use std::process::Command;

use crate::process::Gateway;
use crate::support::Program;
use crate::support::community::Community;

/// Runs curl with these words after `curl -X POST`; `/…` at the end is a path of the gateway. The status.
fn curl(gateway: &Gateway, words: &[&str]) -> (u16, String) {
    let (path, options) = words.split_last().expect("a path");
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "30", "--write-out", "\n%{http_code}"])
        .args(options)
        .arg(format!("http://127.0.0.1:{}{path}", gateway.port))
        .current_dir(gateway.program.home())
        .output()
        .expect("curl is needed (Debian: curl)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').expect("a status");
    (
        status.parse().unwrap_or_else(|_| panic!("{words:?}: {said}")),
        body.to_owned(),
    )
}

const JSON: &str = "Content-Type: application/json";

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "the examples in the order of the documentation"
)]
fn every_documented_example_gives_its_documented_code() {
    let community = Community::start("lobby");
    let url = format!("{}/lobby", community.server_url());
    let pictures = crate::hostile::Pictures::start();
    let program = Program::new()
        .file("attachment.doc", "a document")
        .file("Screenshot-2.png", "a picture")
        .file("syslog", "lines");
    let gateway = Gateway::with(
        program,
        "access = \"open\"\n[attach]\nprivate_addresses = true\n[limits]\ntoken_rate = \"10000/1m\"\n",
    );
    let picture = format!("http://127.0.0.1:{}/a.png", pictures.port);
    let posts = |words: &[&str]| {
        let mut all = vec!["-X", "POST"];
        all.extend(words);
        curl(&gateway, &all)
    };
    let gives = |status: u16, words: &[&str]| {
        let (got, body) = posts(words);
        assert_eq!(got, status, "{words:?}: {body}");
        body
    };
    let form = |status: u16, parts: &[&str], path: &str| {
        let mut words: Vec<&str> = parts.iter().flat_map(|part| ["-F", *part]).collect();
        words.push(path);
        gives(status, &words)
    };
    let json = |status: u16, body: &str, path: &str| gives(status, &["-d", body, "-H", JSON, path]);

    // README, "Stateless Solution".
    gives(
        200,
        &[
            "-d",
            &format!("urls={}&body=test message", encode(&url)),
            "/notify",
        ],
    );
    let direct = format!("{{\"urls\": \"{url}\", \"body\":\"test message\"}}");
    json(200, &direct, "/notify");
    // Files: as parts of a form, several, and by an address.
    let to = format!("urls={url}");
    form(
        200,
        &[&to, "body=test message", "Screenshot=@Screenshot-2.png"],
        "/notify",
    );
    form(
        200,
        &[
            &to,
            "title=test title",
            "body=test body",
            "attach1=@attachment.doc",
            "attach2=@Screenshot-2.png",
        ],
        "/notify/",
    );
    form(200, &[&to, "body=See attached log.", "attach=@syslog"], "/notify");
    form(
        200,
        &[&to, "body=snapshot", &format!("attach={picture}")],
        "/notify",
    );
    form(
        200,
        &[&to, "body=snapshot", &format!("attachment={picture}")],
        "/notify",
    );
    let with_file = format!("{{\"urls\":\"{url}\",\"body\":\"test\",\"attach\":\"{picture}\"}}");
    json(200, &with_file, "/notify");
    let with_files =
        format!("{{\"urls\":\"{url}\",\"body\":\"test\",\"attachment\":[\"{picture}\",\"{picture}\"]}}");
    json(200, &with_files, "/notify");
    // 204: no valid URL to notify.
    gives(204, &["-d", "body=test message", "/notify"]);

    // README and welcome page, "Persistent Storage Solution": nothing there yet, save, send, read, delete.
    gives(204, &["-d", "body=test message", "/notify/abc123"]);
    gives(204, &["/get/abc123"]);
    assert_eq!(curl(&gateway, &["/json/urls/abc123"]).0, 204);
    json(200, &format!("{{\"urls\":\"{url}\"}}"), "/add/abc123");
    gives(
        200,
        &["-d", &format!("urls={0},{0}", encode(&url)), "/add/abc123"],
    );
    let yaml =
        format!("version: 1\\nurls:\\n  - {url}:\\n      tag: devops, admin\\n  - {url}:\\n      tag: me\\n");
    let saved = format!("{{\"config\":\"{yaml}\",\"format\":\"yaml\"}}");
    json(200, &saved, "/add/abc123");
    gives(200, &["-d", "body=test message", "/notify/abc123"]);
    json(200, "{\"body\":\"test message\"}", "/notify/abc123");
    form(
        200,
        &["body=test message", "Screenshot=@Screenshot-2.png"],
        "/notify/abc123",
    );
    // Tags: one, either, both.
    gives(200, &["-d", "tag=devops&body=test message", "/notify/abc123"]);
    json(
        200,
        "{\"tag\":\"devops\", \"body\":\"test message\"}",
        "/notify/abc123",
    );
    json(200, "{\"tag\":\"devops, me\", \"body\":\"x\"}", "/notify/abc123");
    json(
        200,
        "{\"tag\":\"devops admin\", \"body\":\"x\"}",
        "/notify/abc123",
    );
    json(200, "{\"tags\":[\"me\"], \"body\":\"x\"}", "/notify/abc123");
    json(424, "{\"tag\":\"devops me\", \"body\":\"x\"}", "/notify/abc123");
    json(400, "{\"tag\":{\"a\":1}, \"body\":\"x\"}", "/notify/abc123");
    // Type, title, format.
    let full = "{\"title\":\"t\",\"body\":\"**b**\",\"type\":\"warning\",\"format\":\"markdown\"}";
    json(200, full, "/notify/abc123");
    gives(400, &["-d", "body=x&type=loud", "/notify/abc123"]);
    gives(400, &["-d", "body=x&format=pdf", "/notify/abc123"]);
    gives(400, &["-d", "title=only", "/notify/abc123"]);
    // Other programs' payloads, mapped.
    let foreign = "{\"message\":\"m\",\"alert\":{\"name\":\"n\"}}";
    json(200, foreign, "/notify/abc123?:message=body");
    json(
        200,
        foreign,
        "/notify/abc123?:alert.name=title&:message=body&:format=markdown",
    );
    json(400, foreign, "/notify/abc123?:alert.nothing=title&:message=body");
    // The way of the answer.
    let body = gives(
        200,
        &["-H", "Accept: application/json", "-d", "body=x", "/notify/abc123"],
    );
    assert!(body.starts_with('{'), "{body}");
    let body = gives(
        200,
        &["-H", "Accept: text/html", "-d", "body=x", "/notify/abc123"],
    );
    assert!(body.starts_with("<!DOCTYPE html>"), "{body}");
    // Read back.
    assert!(gives(200, &["/get/abc123"]).contains("version: 1"));
    assert!(gives(200, &["/cfg/abc123"]).contains("version: 1"));
    for path in [
        "/json/urls/abc123",
        "/json/urls/abc123?privacy=1",
        "/json/urls/abc123?privacy=1&tag=me",
    ] {
        let (status, body) = curl(&gateway, &[path]);
        let urls: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let count = if path.ends_with("me") { 1 } else { 2 };
        assert_eq!(
            (status, urls["urls"].as_array().map(Vec::len)),
            (200, Some(count)),
            "{body}"
        );
    }
    assert_eq!(curl(&gateway, &["/cfg"]).1, "[\"abc123\"]");
    json(400, "{\"config\":\"urls: [\",\"format\":\"pdf\"}", "/add/abc123");
    gives(400, &["-d", "nothing=here", "/add/abc123"]);
    // Recursion and size.
    gives(
        406,
        &[
            "-H",
            "X-Apprise-Recursion-Count: 9",
            "-d",
            "body=x",
            "/notify/abc123",
        ],
    );
    gives(
        400,
        &[
            "-H",
            "X-Apprise-Recursion-Count: many",
            "-d",
            "body=x",
            "/notify/abc123",
        ],
    );
    let huge = gateway.program.home().join("huge");
    std::fs::write(&huge, vec![b'x'; 17 << 20]).expect("written");
    form(431, &["body=x", "attach=@huge"], "/notify/abc123");
    // Delete.
    gives(200, &["/del/abc123"]);
    gives(204, &["/del/abc123"]);
    gives(204, &["-d", "body=test message", "/notify/abc123"]);

    // Health, services, metrics.
    let (status, body) = curl(&gateway, &["/status"]);
    assert_eq!((status, body.trim()), (200, "OK"));
    let (status, body) = curl(&gateway, &["-H", "Accept: application/json", "/status"]);
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, &health["status"]["details"][0]),
        (200, &serde_json::json!("OK")),
        "{body}"
    );
    assert_eq!(curl(&gateway, &["/details"]).0, 200);
    assert_eq!(
        curl(&gateway, &["-H", "Accept: application/json", "/details?all=yes"]).0,
        200
    );
    assert_eq!(curl(&gateway, &["/metrics"]).0, 200);
    // 405: a method the endpoint does not take. 403: locked.
    assert_eq!(curl(&gateway, &["/notify/abc123"]).0, 405);
    let locked = Gateway::with(Program::new(), "config_lock = true\n");
    for path in ["/add/abc123", "/del/abc123", "/get/abc123"] {
        let (status, body) = curl(&locked, &["-X", "POST", "-d", "urls=xmpps://u:p@h.org/j", path]);
        assert_eq!(status, 403, "{path}: {body}");
    }
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
