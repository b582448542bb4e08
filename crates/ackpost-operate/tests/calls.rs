//! Calls to a real Alertmanager, and to programs that answer wrongly in one exact way.

use std::time::{Duration, Instant};

use ackpost_operate::calls::{Alerting, NewSilence, Source};
use ackpost_operate::model::alert::{Labels, SourceKind};
use ackpost_testkit::{Alertmanager, FakeHttp, HttpAnswer};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn alerting(kind: SourceKind, url: &str) -> Alerting {
    let source = Source::new("main", kind, url, vec!["ops".to_owned()]).expect("a source");
    Alerting::new(source.with_token(Some("glsa_topsecret".to_owned().into()))).expect("a client")
}

fn hours(hours: i64) -> (Timestamp, Timestamp) {
    let now = Timestamp::now();
    (now, now + SignedDuration::from_hours(hours))
}

#[tokio::test]
async fn a_silence_begins_and_ends_at_a_real_alertmanager() {
    let server = Alertmanager::start("http://127.0.0.1:9/");
    let client = alerting(SourceKind::Alertmanager, server.url());
    let matchers = labels(&[("alertname", "DiskFull"), ("instance", "db\"1\\")]);
    server.raise(&[("alertname", "DiskFull"), ("instance", "db\"1\\")]);
    server.raise(&[("alertname", "DiskFull"), ("instance", "db2")]);
    let patience = Instant::now() + Duration::from_secs(10);
    while client.firing(&matchers).await.expect("an answer") != 1 {
        assert!(Instant::now() < patience, "the alert does not show");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let silence = NewSilence::new(&matchers, hours(2)).by("jane@example.org via ackpost", "disk swap");
    let begun = Instant::now();
    let id = client.silence(&silence).await.expect("a silence");
    println!("silence made in {:?}", begun.elapsed());
    assert!(client.is_silenced(&id).await.expect("an answer"));
    while client.firing(&matchers).await.expect("an answer") != 0 {
        assert!(Instant::now() < patience, "the silence does not hold");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shown: Value = serde_json::from_str(&server.get(&format!("/api/v2/silence/{id}"))).expect("JSON");
    assert_eq!(shown["createdBy"], "jane@example.org via ackpost");
    assert_eq!(shown["comment"], "disk swap");
    assert_eq!(shown["matchers"][1]["value"], "db\"1\\");
    assert_eq!(shown["matchers"][1]["isRegex"], false);
    client.unsilence(&id).await.expect("it ends");
    assert!(!client.is_silenced(&id).await.expect("an answer"));
    client.unsilence(&id).await.expect("it had ended before");
    let unknown = "0b7f0c1e-0000-4000-8000-000000000000";
    assert!(!client.is_silenced(unknown).await.expect("an answer"));
}

#[tokio::test]
async fn grafana_is_called_below_its_own_path_with_the_token() {
    let server = FakeHttp::start(|_| HttpAnswer::Status(202, r#"{"silenceID":"s-1"}"#.to_owned()));
    let client = alerting(SourceKind::Grafana, &format!("http://{}/grafana", server.place()));
    let matchers = labels(&[("alertname", "CPU"), ("grafana_folder", "ops")]);
    let id = client
        .silence(&NewSilence::new(&matchers, hours(1)))
        .await
        .expect("a silence");
    assert_eq!(id, "s-1");
    let seen = server.seen();
    assert_eq!(
        seen[0].target,
        "/grafana/api/alertmanager/grafana/api/v2/silences"
    );
    assert_eq!(seen[0].header("authorization"), Some("Bearer glsa_topsecret"));
    let body: Value = serde_json::from_slice(&seen[0].body).expect("JSON");
    assert_eq!(body["matchers"][0]["isEqual"], true);
    assert!(!format!("{client:?}").contains("topsecret"));
}

#[tokio::test]
async fn failures_name_their_cause_and_a_remedy() {
    let found = |answer: HttpAnswer| async move {
        let server = FakeHttp::start(move |_| answer.clone());
        let client = alerting(SourceKind::Alertmanager, &format!("http://{}", server.place()));
        let matchers = labels(&[("alertname", "A"), ("job", "b")]);
        let error = client
            .silence(&NewSilence::new(&matchers, hours(1)))
            .await
            .expect_err("no silence");
        (error.to_string(), error.remedy())
    };
    for (answer, cause, remedy) in [
        (
            HttpAnswer::Status(401, "who are you?".to_owned()),
            "main refuses the call (401: who are you?)",
            "check the token of this source and its rights",
        ),
        (
            HttpAnswer::Status(400, "start time must not be in the past\u{1b}[2J".to_owned()),
            "main refuses the call (400: start time must not be in the past [2J)",
            "look into the log of the alerting program",
        ),
        (
            HttpAnswer::With(
                302,
                "location",
                "http://169.254.169.254/".to_owned(),
                String::new(),
            ),
            "main refuses the call (302)",
            "write the address that the program redirects to",
        ),
        (
            HttpAnswer::Status(500, "x".repeat(5_000)),
            &format!("main refuses the call (500: {}…)", "x".repeat(200)),
            "look at the alerting program, then repeat the answer",
        ),
    ] {
        assert_eq!(found(answer).await, (cause.to_owned(), remedy));
    }
    let (cause, _) = found(HttpAnswer::Status(200, "<html>".to_owned())).await;
    assert!(cause.starts_with("the answer cannot be read"), "{cause}");
    let (cause, _) = found(HttpAnswer::Close).await;
    assert!(cause.starts_with("main cannot be reached"), "{cause}");
}

#[test]
fn addresses_with_secrets_or_of_other_kinds_are_refused() {
    for url in [
        "",
        "example.org",
        "ftp://example.org",
        "http://u:secret@example.org",
        "http://example.org/?q",
        "file:///etc",
    ] {
        let error = Source::new("x", SourceKind::Alertmanager, url, Vec::new())
            .expect_err(url)
            .to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
