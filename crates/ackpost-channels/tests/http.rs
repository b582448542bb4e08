//! ntfy, Gotify and webhooks against servers that answer as their documentation says, and in one wrong way each.

mod common;

use std::time::Duration;

use ackpost_notify::{Attachment, ConnectionPool, Format, Kind, Lack, Message, Outcome, ServiceUrl};
use ackpost_testkit::{FakeHttp, HttpAnswer, HttpSeen, SelfSigned};

use common::{attempt_of, attempt_with, connections, context, guest, line, notify, parse};

fn text() -> Message {
    Message::new("91 % full").title("disk")
}

/// Answers like an ntfy server.
fn ntfy(seen: &HttpSeen) -> HttpAnswer {
    let path = seen
        .target
        .split('?')
        .next()
        .unwrap_or_default()
        .trim_matches('/');
    let json: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let topic = json["topic"].as_str().unwrap_or(path);
    let answer =
        format!(r#"{{"id":"hwQ2YpKdmg","time":1,"event":"message","topic":"{topic}","message":"m"}}"#);
    HttpAnswer::Status(200, answer)
}

fn gotify(_: &HttpSeen) -> HttpAnswer {
    HttpAnswer::Status(
        200,
        r#"{"id":25,"appid":5,"message":"m","priority":5}"#.to_owned(),
    )
}

#[tokio::test]
async fn the_answer_of_each_service_is_the_proof() {
    let server = FakeHttp::start(ntfy);
    let attempt = attempt_of(&parse(&format!("ntfy://{}/ops", server.place())), text()).await;
    assert_eq!(line(&attempt), "delivered by server, id hwQ2YpKdmg");
    let server = FakeHttp::start(gotify);
    let attempt = attempt_of(&parse(&format!("gotify://{}/token", server.place())), text()).await;
    assert_eq!(line(&attempt), "delivered by server, id 25");
    for status in [200, 201, 202, 204] {
        let server = FakeHttp::start(move |_| HttpAnswer::Status(status, String::new()));
        let attempt = attempt_of(&parse(&format!("json://{}/hook", server.place())), text()).await;
        assert_eq!(line(&attempt), "delivered by server, id -", "{status}");
    }
}

#[tokio::test]
async fn a_good_status_without_the_proof_is_not_a_delivery() {
    for (url, body) in [
        ("ntfy://{}/ops", "<html>please log in</html>"),
        ("ntfy://{}/ops", "{}"),
        ("ntfy://{}/ops", r#"{"id":"x","event":"message","topic":"other"}"#),
        ("ntfy://{}/ops", r#"{"id":"x","event":"open","topic":"ops"}"#),
        ("gotify://{}/token", "<html>please log in</html>"),
        ("gotify://{}/token", r#"{"id":"25"}"#),
        ("gotify://{}/token", "[]"),
    ] {
        let server = FakeHttp::start(move |_| HttpAnswer::Status(200, body.to_owned()));
        let attempt = attempt_of(&parse(&url.replace("{}", &server.place())), text()).await;
        assert!(
            matches!(attempt.outcome, Outcome::Refused { .. }),
            "{url} {body}: {attempt:?}"
        );
        assert!(
            line(&attempt).contains("does not answer like a"),
            "{}",
            line(&attempt)
        );
    }
}

/// Answers of a server, and their outcomes. `PLACE` is host and port.
fn faults() -> Vec<(&'static str, HttpAnswer, &'static str)> {
    let status = |status, body: &str| HttpAnswer::Status(status, body.to_owned());
    vec![
        (
            "ntfy",
            status(401, r#"{"code":40101,"http":401,"error":"unauthorized"}"#),
            "refused: the server refuses the login (401: unauthorized); check user, password and token in the URL, and their rights",
        ),
        (
            "ntfy",
            status(429, r#"{"code":42901,"http":429,"error":"limit reached"}"#),
            "deferred: the server limits the number of messages (429: limit reached); send less often, or raise the limit of the server",
        ),
        (
            "gotify",
            status(
                400,
                r#"{"error":"Bad Request","errorCode":400,"errorDescription":"no message"}"#,
            ),
            "refused: the server refuses the message (400: no message); check the parameters of the URL",
        ),
        (
            "json",
            status(404, "no\u{1b}[31m hook\r\nhere"),
            "refused: the server has no such address (404: no [31m hook  here); check host, port and path in the URL",
        ),
        (
            "json",
            status(413, ""),
            "refused: the message is too large for the server (413); send less, or raise the limit of the server",
        ),
        (
            "json",
            status(500, "oops"),
            "deferred: the server has a fault (500: oops); look into the log of the server",
        ),
        (
            "json",
            status(502, "bad gateway"),
            "deferred: the server has a fault (502: bad gateway); look into the log of the server [may have arrived]",
        ),
        (
            "json",
            HttpAnswer::With(
                302,
                "Location",
                "https://example.org/x?key=secret".to_owned(),
                String::new(),
            ),
            "refused: the server redirects to https://example.org/x (302); write that host and path into the URL; a redirect \
             within one host is followed with redirect=yes",
        ),
        (
            "json",
            HttpAnswer::Close,
            "deferred: the connection to PLACE broke before the answer: connection closed before message completed; look at the \
             server and the network [may have arrived]",
        ),
        (
            "json",
            HttpAnswer::Silent(Duration::from_secs(5)),
            "deferred: PLACE did not answer in time; look at the server, or raise `rto=` [may have arrived]",
        ),
        (
            "json",
            HttpAnswer::Raw(b"220 mail.example.org ESMTP\r\n"),
            "refused: PLACE does not speak HTTP; check schema and port in the URL [may have arrived]",
        ),
    ]
}

#[tokio::test]
async fn every_fault_has_a_cause_and_a_remedy() {
    for (schema, answer, expected) in faults() {
        let told = answer.clone();
        let server = FakeHttp::start(move |_| told.clone());
        let url = format!("{schema}://{}/token?rto=1", server.place());
        let attempt = attempt_of(&parse(&url), text()).await;
        assert_eq!(
            line(&attempt),
            expected.replace("PLACE", &server.place()),
            "{answer:?}"
        );
    }
    let port = ackpost_testkit::reserve_port();
    let attempt = attempt_of(&parse(&format!("gotify://127.0.0.1:{port}/token")), text()).await;
    let expected = format!(
        "deferred: nobody listens on 127.0.0.1:{port}; check host and port in the URL, and that the server runs"
    );
    assert_eq!(line(&attempt), expected);
    // A name that does not resolve.
    let attempt = attempt_of(&parse("gotify://host.invalid/token"), text()).await;
    assert!(
        line(&attempt).starts_with("deferred: no connection to host.invalid"),
        "{}",
        line(&attempt)
    );
}

#[tokio::test]
async fn the_pause_that_a_server_asks_for_is_passed_on() {
    for (header, seconds) in [("30", 30), ("999999999", 24 * 3600)] {
        let server =
            FakeHttp::start(move |_| HttpAnswer::With(503, "Retry-After", header.to_owned(), String::new()));
        let attempt = attempt_of(&parse(&format!("json://{}", server.place())), text()).await;
        let Outcome::Deferred { retry_after, .. } = attempt.outcome else {
            panic!("{attempt:?}");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(seconds)));
    }
}

#[tokio::test]
async fn a_redirect_within_one_host_keeps_method_and_body() {
    let server = FakeHttp::start(|seen| {
        if seen.target == "/new" {
            HttpAnswer::Status(200, String::new())
        } else {
            HttpAnswer::With(301, "Location", "/new".to_owned(), String::new())
        }
    });
    let url = format!("json://{}/old", server.place());
    let attempt = attempt_of(&parse(&format!("{url}?redirect=yes")), text()).await;
    assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    let seen = server.take();
    assert_eq!((seen.len(), seen[1].method.as_str()), (2, "POST"));
    assert_eq!(seen[0].body, seen[1].body);
    let attempt = attempt_of(&parse(&format!("{url}?redirect=no")), text()).await;
    assert!(
        matches!(attempt.outcome, Outcome::Refused { .. }),
        "{}",
        line(&attempt)
    );
    // Without end.
    let server = FakeHttp::start(|_| HttpAnswer::With(307, "Location", "/".to_owned(), String::new()));
    let attempt = attempt_of(&parse(&format!("json://{}?redirect=yes", server.place())), text()).await;
    assert!(line(&attempt).contains("without end"), "{}", line(&attempt));
    assert!(server.seen().len() <= 6);
}

#[tokio::test]
async fn a_repeat_in_doubt_is_sent_and_announced() {
    let server = FakeHttp::start(gotify);
    let service = parse(&format!("gotify://{}/token", server.place()));
    let attempt = attempt_with(&service, text(), true).await;
    assert!(attempt.outcome.is_delivered() && attempt.repeated, "{attempt:?}");
    assert!(
        attempt.notes[0].contains("may have arrived twice"),
        "{:?}",
        attempt.notes
    );
    assert!(!attempt_of(&service, text()).await.repeated);
}

#[tokio::test]
async fn a_text_is_never_lost_with_its_file() {
    let with_file = || text().attach(Attachment::bytes("a.txt", "hello"));
    // The server of ntfy keeps no files.
    let server = FakeHttp::start(|seen| {
        if seen.target.contains("filename=") {
            let answer = r#"{"code":40014,"http":400,"error":"attachments not allowed"}"#;
            return HttpAnswer::Status(400, answer.to_owned());
        }
        ntfy(seen)
    });
    let attempt = attempt_of(&parse(&format!("ntfy://{}/ops", server.place())), with_file()).await;
    let Outcome::Partial { lack, reason, id, .. } = &attempt.outcome else {
        panic!("{attempt:?}");
    };
    assert_eq!((*lack, id.as_deref()), (Lack::Files, Some("hwQ2YpKdmg")));
    assert!(
        reason.contains("`a.txt`") && reason.contains("attachments not allowed"),
        "{reason}"
    );
    let texts: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
        .collect();
    assert!(texts[1].contains("91 % full"), "{texts:?}");
    // Gotify has none.
    let server = FakeHttp::start(gotify);
    let attempt = attempt_of(&parse(&format!("gotify://{}/token", server.place())), with_file()).await;
    assert!(
        matches!(
            attempt.outcome,
            Outcome::Partial {
                lack: Lack::Files,
                ..
            }
        ),
        "{attempt:?}"
    );
    // A server that has a fault gets the same again later, with the file.
    let server = FakeHttp::start(|_| HttpAnswer::Status(500, String::new()));
    let attempt = attempt_of(&parse(&format!("ntfy://{}/ops", server.place())), with_file()).await;
    assert!(matches!(attempt.outcome, Outcome::Deferred { .. }), "{attempt:?}");
}

#[tokio::test]
async fn a_long_text_reaches_ntfy_as_a_file_and_a_split_one_in_order() {
    let server = FakeHttp::start(ntfy);
    let long = "A line of the report.\n".repeat(600);
    let report = notify(
        &format!("ntfy://{}/ops", server.place()),
        Message::new(long.clone()),
    )
    .await;
    assert!(report.targets[0].outcome.is_delivered(), "{report:?}");
    let seen = server.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(String::from_utf8_lossy(&seen[0].body), long.trim_end());
    let report = notify(
        &format!("ntfy://{}/ops?overflow=split", server.place()),
        Message::new(long.clone()),
    )
    .await;
    assert_eq!(report.targets[0].pieces.accepted, 2, "{report:?}");
}

#[tokio::test]
async fn type_and_format_reach_the_webhook() {
    let server = FakeHttp::start(|_| HttpAnswer::Status(200, String::new()));
    let message = text().kind(Kind::Failure).input_format(Format::Markdown);
    let _ = notify(&format!("json://{}", server.place()), message).await;
    let body: serde_json::Value = serde_json::from_slice(&server.take()[0].body).expect("JSON");
    assert_eq!(body["type"], "failure");
    assert_eq!(body["message"], "91 % full");
}

#[tokio::test]
async fn the_certificate_is_checked_and_an_own_authority_may_be_named() {
    let certificate = SelfSigned::new(&["127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, &certificate.pem).expect("a file");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("one").port();
    let config = certificate.server();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for tcp in listener.incoming().take(3).flatten() {
            let Ok(session) = rustls::ServerConnection::new(config.clone()) else {
                continue;
            };
            let mut stream = rustls::StreamOwned::new(session, tcp);
            let mut seen = [0; 4096];
            if stream.read(&mut seen).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n{\"id\":7}",
                );
                let _ = stream.flush();
            }
        }
    });
    let url = format!("gotifys://127.0.0.1:{port}/token");
    let attempt = attempt_of(&parse(&url), text()).await;
    let expected = format!(
        "refused: no encryption with 127.0.0.1:{port}: the certificate is signed by an authority that is not trusted here; \
         correct the certificate of the server, trust its authority with `ca_file=`, or write verify=no"
    );
    assert_eq!(line(&attempt), expected);
    let attempt = attempt_of(&parse(&format!("{url}?ca_file={}", pem.display())), text()).await;
    assert_eq!(line(&attempt), "delivered by server, id 7");
    let attempt = attempt_of(&parse(&format!("{url}?verify=no")), text()).await;
    assert_eq!(line(&attempt), "delivered by server, id 7");
}

#[tokio::test]
async fn a_guest_reaches_no_private_address_and_reads_no_words_of_a_server() {
    let server = FakeHttp::start(|_| HttpAnswer::Status(401, r#"{"error":"inner secret"}"#.to_owned()));
    let urls = |host: &str| {
        ["ntfy", "gotify", "json", "form"].map(|schema| format!("{schema}://{host}:{}/token", server.port))
    };
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
    ];
    for url in hosts.into_iter().flat_map(urls) {
        let service = match ServiceUrl::parse(&url, &guest(false)) {
            Ok(service) => service,
            Err(problem) => {
                assert_eq!(problem.key.as_deref(), Some("host"), "{url}: {problem}");
                continue;
            }
        };
        let attempt = attempt_of(&service, text()).await;
        let shown = line(&attempt);
        assert!(
            shown.starts_with("refused: the host has no allowed address"),
            "{url}: {shown}"
        );
        let pool = ConnectionPool::new(connections(), ackpost_notify::Asset::default());
        let findings = service.check(&pool).await;
        assert!(
            findings.iter().all(|finding| finding.result.is_err()),
            "{findings:?}"
        );
    }
    assert!(server.seen().is_empty());
    for url in urls("127.0.0.1") {
        let service = ServiceUrl::parse(&url, &guest(true)).expect("loads");
        let shown = line(&attempt_of(&service, text()).await);
        assert!(shown.contains("(401)") && !shown.contains("inner"), "{shown}");
        let file = ServiceUrl::parse(&format!("{url}?ca_file=/etc/passwd"), &guest(true));
        assert!(file.is_err_and(|problem| problem.cause.contains("a path on this machine")));
    }
}

#[test]
fn secrets_are_masked_and_urls_stay_the_same() {
    for (url, secrets) in [
        (
            "ntfys://bot:geheim@h.org/ops?priority=high&xtags=a,b&click=https://x.org",
            &["geheim"][..],
        ),
        ("ntfys://tk_geheim@h.org/ops", &["geheim"]),
        ("ntfys://h.org/ops?token=geheim", &["geheim"]),
        ("gotifys://h.org:8443/path/geheim?priority=8", &["geheim"]),
        (
            "jsons://bot:geheim@h.org/a/b/?method=put&+X-Key=heikel&-key=privat&:key=vertraulich",
            &["geheim", "heikel", "privat", "vertraulich"],
        ),
        ("form://h.org/a?attach-as=my*file", &[]),
    ] {
        let service = parse(url);
        assert!(service.warnings().is_empty(), "{url}: {:?}", service.warnings());
        let masked = service.masked_url();
        let shown = format!(
            "{service:?} {masked} {:?} {:?}",
            service.parameters(),
            service.target_label(&service.targets()[0])
        );
        for secret in secrets {
            assert!(!shown.contains(secret), "{shown}");
            assert!(service.expose_url().contains(secret), "{}", service.expose_url());
        }
        let canonical = service.expose_url();
        assert_eq!(parse(&canonical).expose_url(), canonical);
        assert_eq!(parse(&canonical).url_id(64), service.url_id(64));
        assert!(ServiceUrl::parse(&masked, &context()).is_ok(), "{masked}");
    }
}

#[test]
fn wrong_urls_name_what_is_wrong() {
    for (url, key) in [
        ("gotify://h.org", "token"),
        ("ntfy://h.org/ops!", "to"),
        ("ntfy://my%20host/ops", "host"),
        ("ntfy://[::x]/ops", "host"),
        ("ntfy://h.org/ops?auth=token", "token"),
        ("ntfy://h.org/ops?mode=bogus", "mode"),
        ("ntfy://h.org/ops?click=a%0Ab", "click"),
        ("json://h.org?method=bogus", "method"),
        ("json://h.org?+X-A=a%250D%250Ab", "X-A"),
        ("json://h.org?+a%20b=c", "a b"),
        ("json://h.org?+Content-Length=3", "Content-Length"),
        ("form://h.org?+transfer-encoding=chunked", "transfer-encoding"),
        ("form://h.org?attach-as=a%20b", "attach-as"),
    ] {
        let problem = ServiceUrl::parse(url, &context()).expect_err(url);
        assert_eq!(problem.key.as_deref(), Some(key), "{url}: {problem}");
    }
}

#[tokio::test]
async fn the_check_asks_the_server_and_sends_nothing() {
    let server = FakeHttp::start(|seen| match seen.target.as_str() {
        "/v1/health" => HttpAnswer::Status(200, r#"{"healthy":true}"#.to_owned()),
        "/version" => HttpAnswer::Status(200, r#"{"version":"2.6.1","commit":"x"}"#.to_owned()),
        _ => HttpAnswer::Status(404, String::new()),
    });
    let pool = ConnectionPool::new(connections(), ackpost_notify::Asset::default());
    for (url, expected) in [
        ("ntfy://{}/ops", "is healthy"),
        ("gotify://{}/token", "Gotify 2.6.1"),
        ("json://{}/x", "connected to"),
    ] {
        let findings = parse(&url.replace("{}", &server.place())).check(&pool).await;
        assert!(
            findings[0]
                .result
                .as_ref()
                .is_ok_and(|text| text.contains(expected)),
            "{findings:?}"
        );
    }
    assert!(server.take().iter().all(|seen| seen.method == "GET"));
    let other = FakeHttp::start(|_| HttpAnswer::Status(200, "<html>".to_owned()));
    for url in ["ntfy://{}/ops", "gotify://{}/token"] {
        let findings = parse(&url.replace("{}", &other.place())).check(&pool).await;
        assert!(
            findings[0]
                .result
                .as_ref()
                .is_err_and(|problem| problem.cause.contains("there is no")),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_answers_without_end_is_read_to_a_limit() {
    let server = FakeHttp::start(|_| HttpAnswer::Status(400, "x".repeat(5_000_000)));
    let attempt = attempt_of(&parse(&format!("json://{}", server.place())), text()).await;
    assert!(line(&attempt).len() < 500, "{}", line(&attempt).len());
}

/// A server that takes no body over 1,000 bytes.
fn small(seen: &HttpSeen) -> HttpAnswer {
    let status = if seen.body.len() > 1000 { 413 } else { 200 };
    HttpAnswer::Status(status, String::new())
}

#[tokio::test]
async fn a_text_is_not_lost_with_a_file_that_is_too_large() {
    for schema in ["json", "form"] {
        let server = FakeHttp::start(small);
        let file = Attachment::bytes("big.bin", vec![7; 5000]);
        let message = text().attach(file);
        let attempt = attempt_of(&parse(&format!("{schema}://{}/hook", server.place())), message).await;
        assert!(
            matches!(&attempt.outcome, Outcome::Partial { lack: Lack::Files, reason, .. }
                if reason == "the text was sent without `big.bin`: too large for the server"),
            "{schema}: {attempt:?}"
        );
        let seen = server.seen();
        assert_eq!(seen.len(), 2, "{schema}");
        assert!(
            String::from_utf8_lossy(&seen[1].body).contains("full"),
            "{schema}"
        );
        // A text that is too large itself is refused.
        let long = Message::new("x".repeat(2000));
        let attempt = attempt_of(&parse(&format!("{schema}://{}/hook", server.place())), long).await;
        assert!(
            line(&attempt).starts_with("refused: the message is too large"),
            "{attempt:?}"
        );
    }
}
