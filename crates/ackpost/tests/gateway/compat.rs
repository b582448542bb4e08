//! Requests of programs that know only another service: ntfy, gotify, Slack, Discord, plain text.

use ackpost_testkit::FakeSogs;
use base64::Engine as _;
use serde_json::json;

use crate::process::Gateway;
use crate::support::{Program, SEED, SERVER_KEY};

/// A gateway with the key `ops` for a room of this fake.
fn gateway(fake: &FakeSogs, config: &str) -> Gateway {
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let program = Program::new().file("ops.conf", &format!("alerts={url}\n"));
    Gateway::with(
        program,
        &format!("wait = \"20s\"\n{config}[keys]\nops = \"ops.conf\"\n"),
    )
}

fn texts(fake: &FakeSogs) -> Vec<String> {
    let posts = fake.posts();
    posts.iter().filter_map(|post| post.text.clone()).collect()
}

/// The answers have the form of the service, and say what is true.
#[test]
#[expect(clippy::too_many_lines, reason = "one gateway, each service in turn")]
fn each_service_is_answered_in_its_own_form() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = gateway(&fake, "");
    let plain = [("Content-Type", "text/plain")];

    let headers = [("Title", "Backup"), ("Priority", "high"), ("Tags", "nas")];
    let answer = gateway.request("PUT", "/compat/ntfy/alerts+ops", &headers, "läuft".as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert_eq!(
        (
            &said["event"],
            &said["topic"],
            &said["message"],
            &said["priority"],
            &said["tags"]
        ),
        (
            &json!("message"),
            &json!("ops"),
            &json!("läuft"),
            &json!(4),
            &json!(["nas"])
        )
    );
    assert_eq!(answer.header("x-ackpost-outbox"), said["id"].as_str());
    let actions = json!({"topic": "ops", "message": "json", "actions": [{"action": "http", "label": "Off", "url": "http://x"}]});
    let answer = gateway.json("/compat/ntfy", &actions);
    assert_eq!(answer.status, 200, "{answer:?}");
    let note = answer.header("x-ackpost-note").expect("a note");
    assert!(note.contains("Off"), "{note}");
    // A page of any site can make a browser ask for an image at this address.
    let image = gateway.get("/compat/ntfy/ops/publish?message=by+get");
    assert_eq!(image.status, 403, "{image:?}");
    let put = gateway.request("PUT", "/compat/ntfy/ops/publish?message=by+put", &[], b"");
    assert_eq!(put.status, 200, "{put:?}");
    let answer = gateway.request("POST", "/compat/ntfy/nokey", &[], b"x");
    assert_eq!((answer.status, &answer.json()["http"]), (404, &json!(404)));
    let later = gateway.request("POST", "/compat/ntfy/ops", &[("Delay", "30min")], b"x");
    assert_eq!((later.status, &later.json()["code"]), (400, &json!(40_000)));

    let answer = gateway.form(
        "/compat/gotify/ops/message",
        "title=T&message=from+a+form&priority=9",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert!(
        said["id"].as_u64().is_some_and(|id| id < 1 << 31) && said["priority"] == 9,
        "{said}"
    );
    let answer = gateway.json("/compat/gotify/message", &json!({"message": "x"}));
    assert_eq!(
        (answer.status, &answer.json()["errorCode"]),
        (400, &json!(400)),
        "no token, no key"
    );
    assert_eq!(gateway.get("/compat/gotify/version").status, 200);
    assert_eq!(gateway.get("/compat/gotify/ops/health").json()["health"], "green");

    let answer = gateway.json(
        "/compat/slack/services/ops/-/xyz",
        &json!({"text": "<https://x.example|slack>"}),
    );
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    let answer = gateway.form("/compat/slack/ops", "payload=%7B%22text%22%3A%22in+a+form%22%7D");
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = gateway.json("/compat/slack/ops", &json!({"text": ""}));
    assert!(
        answer.status == 400 && answer.body.starts_with("no_text\n"),
        "{answer:?}"
    );

    let answer = gateway.json(
        "/compat/discord/api/webhooks/ops/xyz",
        &json!({"content": "discord"}),
    );
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let answer = gateway.json(
        "/compat/discord/api/v10/webhooks/ops/xyz?wait=true",
        &json!({"content": "and wait"}),
    );
    assert_eq!(
        (answer.status, &answer.json()["content"]),
        (200, &json!("and wait"))
    );
    let answer = gateway.json("/compat/discord/ops", &json!({"content": ""}));
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(50_035)));
    let answer = gateway.json(
        "/compat/discord/api/webhooks/ops/xyz/slack",
        &json!({"text": "slack to discord"}),
    );
    assert_eq!(answer.status, 204, "{answer:?}");

    let answer = gateway.request(
        "POST",
        "/compat/text/ops?title=T&type=warning",
        &plain,
        b"cpu=93% & rising",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        gateway.request("POST", "/compat/text/ops", &plain, b" \n").status,
        400
    );

    let got = texts(&fake);
    let expected = [
        "⚠️ Backup\r\nläuft\nTags: nas",
        "json",
        "by put",
        "🔴 T\r\nfrom a form",
        "slack (https://x.example)",
        "in a form",
        "discord",
        "and wait",
        "slack to discord",
        "⚠️ T\r\ncpu=93% & rising",
    ];
    assert_eq!(got, expected);
    // Without the option nothing of this is at the root.
    assert_eq!(gateway.request("POST", "/ops", &[], b"x").status, 404);
    assert_eq!(gateway.json("/message", &json!({"message": "x"})).status, 404);
}

#[test]
fn tokens_work_where_clients_put_them_and_are_never_logged() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = gateway(
        &fake,
        "[compat]\nroot = [\"ntfy\", \"gotify\", \"slack\", \"discord\"]\n",
    );
    let token = gateway.token(&["door", "--key", "ops", "--allow", "notify"]);
    let other = gateway.token(&["other", "--key", "else", "--allow", "notify"]);
    let json = |path: &str| {
        gateway.json(
            path,
            &json!({"message": "m", "text": "t", "content": "c", "topic": "ops"}),
        )
    };
    for (path, refused) in [
        (format!("/message?token={token}"), None),
        (format!("/compat/gotify/message?token={token}"), None),
        (format!("/services/ops/alerts/{token}"), None),
        (format!("/compat/slack/ops/{token}"), None),
        (format!("/api/webhooks/ops/{token}"), None),
        (format!("/compat/discord/ops/{token}"), None),
        (format!("/compat/text/ops/{token}"), None),
        ("/message".to_owned(), Some(401)),
        ("/services/ops/alerts/wrong".to_owned(), Some(401)),
        (format!("/services/ops/alerts/{other}"), Some(403)),
        (format!("/message?token={other}"), Some(404)),
        (format!("/?token={other}"), Some(403)),
        (format!("/ops/publish?token={other}"), Some(403)),
    ] {
        let answer = json(&path);
        let status = refused.unwrap_or(if path.contains("/api/") || path.contains("discord") {
            204
        } else {
            200
        });
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let header = [("X-Gotify-Key", token.as_str())];
    let body = b"{\"message\":\"by header\"}";
    assert_eq!(gateway.request("POST", "/message", &header, body).status, 200);
    let auth = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("Bearer {token}"));
    assert_eq!(
        gateway
            .request("POST", &format!("/ops?auth={auth}"), &[], b"by query")
            .status,
        200
    );
    let log = gateway.log();
    for secret in [&token, &other, &auth] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    // A page of another site cannot make a browser publish.
    let foreign = [("Sec-Fetch-Site", "cross-site")];
    let path = format!("/ops/publish?message=x&token={token}");
    assert_eq!(gateway.request("GET", &path, &foreign, b"").status, 403);
    assert_eq!(gateway.get(&path).status, 200, "by GET with a token");
}

/// Files in a form of gotify or Slack are attached.
#[test]
fn files_in_forms_are_attached() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = gateway(&fake, "");
    let field = |name: &str, value: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
        Content-Type: text/plain\r\n\r\nthe content\r\n--x--\r\n";
    let headers = [("Content-Type", "multipart/form-data; boundary=x")];
    for (number, (path, name, value)) in [
        ("/compat/gotify/ops/message", "message", "with a file"),
        ("/compat/slack/ops", "payload", "{\"text\": \"with a file\"}"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("{}{file}", field(name, value));
        let answer = gateway.request("POST", path, &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let uploads = fake.requests();
        let uploads = uploads.iter().filter(|one| one.path.ends_with("/file"));
        assert_eq!(uploads.count(), number + 1, "{path}");
    }
}

/// A text is not lost with its attachment: the message names the missing file and counts as incomplete.
#[test]
fn a_file_that_cannot_be_fetched_is_named_and_the_text_arrives() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = gateway(&fake, "private_addresses = false\n");
    let headers = [("Attach", "http://127.0.0.1:9/camera.jpg")];
    let answer = gateway.request("POST", "/compat/ntfy/ops", &headers, b"somebody is at the door");
    assert_eq!(answer.status, 424, "{answer:?}");
    let got = texts(&fake).join("\n");
    assert!(
        got.starts_with("somebody is at the door\n(file missing: http://127.0.0.1:9/camera.jpg: "),
        "{got}"
    );
    let answer = gateway.request("POST", "/compat/ntfy/ops?wait=0", &headers, b"again");
    assert_eq!(answer.status, 424, "{answer:?}");
    let error = answer.json()["error"].to_string();
    assert!(error.contains("lacks a file"), "{error}");
}
