//! Requests and mails are those of Apprise 2.3.0 (`scripts/channel-vectors` writes the vectors).

mod common;

use ackpost_notify::ServiceUrl;
use ackpost_notify::url::percent;
use ackpost_testkit::{FakeHttp, HttpAnswer, HttpSeen, SmtpOptions, SmtpServer};
use serde_json::{Value, json};

use common::{context, message, notify};

fn lines(name: &str) -> Vec<Value> {
    let path = format!("{}/vectors/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the vectors");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Cases in which requests differ on purpose, and why.
const DIFFERENT: [(&str, &str); 3] = [
    (
        "http-006",
        "a user without a password has an empty one; Apprise sends `None`",
    ),
    ("http-020", "tags keep the order of the URL; Apprise sorts them"),
    (
        "http-072",
        "a user without a password has an empty one; Apprise sends `None`",
    ),
];

/// Answers as each server would.
fn answer(seen: &HttpSeen) -> HttpAnswer {
    let path = seen.target.split('?').next().unwrap_or_default();
    let json: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let topic = json["topic"].as_str().unwrap_or_else(|| path.trim_matches('/'));
    let body = json!({"id": "x", "event": "message", "topic": topic});
    if path.ends_with("/message") {
        return HttpAnswer::Status(200, json!({"id": 7}).to_string());
    }
    HttpAnswer::Status(200, body.to_string())
}

fn pairs(text: &str) -> Value {
    let mut all: Vec<(String, String)> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| percent::decode(&text.replace('+', " "));
            (plain(name), plain(value))
        })
        .collect();
    all.sort();
    json!(all)
}

/// The fields and files of a form in several parts.
fn parts(boundary: &str, body: &str) -> Value {
    let mut all = Vec::new();
    for part in body.split(&format!("--{boundary}")).skip(1) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let between = |start: &str, end: char| {
            let (_, rest) = head.split_once(start)?;
            Some(rest.split(end).next().unwrap_or_default().to_owned())
        };
        let content = content.strip_suffix("\r\n").expect("a part ends with a line end");
        let media_type = between("Content-Type: ", '\r');
        all.push(json!([
            between(" name=\"", '"'),
            between("filename=\"", '"'),
            media_type,
            content
        ]));
    }
    json!(all)
}

fn canonical(seen: &HttpSeen) -> Value {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let content_type = seen.header("content-type").unwrap_or_default();
    let body = String::from_utf8(seen.body.clone()).expect("text");
    let body = if let Some((_, boundary)) = content_type.split_once("multipart/form-data; boundary=") {
        json!({"parts": parts(boundary, &body)})
    } else if content_type == "application/x-www-form-urlencoded" {
        json!({"form": pairs(&body)})
    } else {
        match serde_json::from_str::<Value>(&body) {
            Ok(json) if content_type.contains("json") => json!({"json": json}),
            _ => json!({"text": body}),
        }
    };
    let kept = |name: &str| {
        name == "authorization"
            || name.starts_with("x-")
            || (name == "content-type" && !content_type.starts_with("multipart/"))
    };
    let headers: serde_json::Map<String, Value> = (seen.headers.iter())
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({"method": seen.method, "path": path, "query": pairs(query), "headers": headers, "body": body})
}

/// Lists whose order is that of a URL are compared without it.
fn sorted(mut requests: Vec<Value>) -> Vec<String> {
    for request in &mut requests {
        for list in [&["query"][..], &["body", "form"]] {
            let mut place = &mut *request;
            for name in list {
                place = &mut place[*name];
            }
            if let Some(all) = place.as_array_mut() {
                all.sort_by_key(Value::to_string);
            }
        }
        if request["body"].get("form").is_some_and(Value::is_null) {
            request["body"].as_object_mut().expect("an object").remove("form");
        }
        request.sort_all_objects();
    }
    let mut all: Vec<String> = requests.iter().map(Value::to_string).collect();
    all.sort();
    all
}

#[tokio::test]
async fn requests_are_those_of_apprise() {
    let sink = FakeHttp::start(answer);
    let mut wrong = Vec::new();
    let vectors = lines("http");
    for line in &vectors {
        let url = line["input"]["url"].as_str().expect("a URL");
        let url = url.replace("{sink}", &sink.place());
        if DIFFERENT.iter().any(|(id, _)| line["id"] == *id) {
            continue;
        }
        let expected = line["expected"]["requests"].as_array().expect("requests").clone();
        let loaded = ServiceUrl::parse(&url, &context());
        if loaded.is_ok() && line["expected"]["valid"] == false {
            wrong.push(format!("{} {url} loads here alone", line["id"]));
        }
        if let Ok(service) = &loaded {
            // The canonical URL sends the same.
            for url in [url.clone(), service.expose_url()] {
                sink.take();
                let _ = notify(&url, message(&line["input"])).await;
                let ours = sorted(sink.take().iter().map(canonical).collect());
                let theirs = sorted(expected.clone());
                if ours != theirs {
                    let (ours, theirs) = (ours.join("\n    "), theirs.join("\n    "));
                    wrong.push(format!(
                        "{} {url}\n  ours\n    {ours}\n  theirs\n    {theirs}",
                        line["id"]
                    ));
                }
            }
        } else if !expected.is_empty() {
            wrong.push(format!(
                "{} {url}: {}",
                line["id"],
                loaded.expect_err("not loaded")
            ));
        }
    }
    assert!(vectors.len() >= 103, "{} vectors", vectors.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A mail as the vectors have it, without what may be written in several ways.
fn plain(mail: &Value) -> Value {
    let mut headers: Vec<(String, String)> = mail["headers"]
        .as_array()
        .expect("headers")
        .iter()
        .map(|pair| {
            let text = |n: usize| pair[n].as_str().expect("a text").to_owned();
            (text(0).to_lowercase(), text(1))
        })
        .filter(|(name, _)| {
            ["from", "to", "cc", "reply-to", "subject"].contains(&name.as_str()) || name.starts_with("x-")
        })
        // No title: one writes an empty subject, the other none.
        .filter(|(name, value)| name != "subject" || !value.is_empty())
        .map(|(name, value)| {
            let mut people: Vec<&str> = value.split(", ").collect();
            people.sort_unstable();
            (name, people.join(", "))
        })
        .collect();
    headers.sort();
    let parts: Vec<Value> = mail["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| {
            let mut part = part.clone();
            if let Some(text) = part["text"].as_str() {
                part["text"] = json!(text.replace("\r\n", "\n").trim_end());
            }
            part
        })
        .collect();
    let mut to: Vec<&Value> = mail["to"].as_array().expect("recipients").iter().collect();
    to.sort_by_key(ToString::to_string);
    json!({"from": mail["from"], "to": to, "headers": headers, "structure": mail["structure"], "parts": parts})
}

#[tokio::test]
async fn mails_are_those_of_apprise() {
    let server = SmtpServer::start(&SmtpOptions::default());
    let mut wrong = Vec::new();
    let vectors = lines("mail");
    for line in &vectors {
        let url = line["input"]["url"].as_str().expect("a URL");
        let url = url.replace("{port}", &server.port.to_string());
        let report = notify(&url, message(&line["input"])).await;
        let theirs = line["expected"]["mails"].as_array().expect("mails");
        let failed = report.targets.iter().filter(|one| !one.outcome.is_delivered());
        for target in failed {
            wrong.push(format!("{} {url}: {:?}", line["id"], target.outcome));
        }
        let mails: Vec<Value> = (0..theirs.len()).map(|_| server.next()).collect();
        for mail in &mails {
            if mail["defects"] != json!([]) {
                wrong.push(format!("{} {url}: {}", line["id"], mail["defects"]));
            }
        }
        let text = |mails: &[Value]| {
            let mut all: Vec<String> = mails.iter().map(|mail| plain(mail).to_string()).collect();
            all.sort();
            all
        };
        let (ours, theirs) = (text(&mails), text(theirs));
        if ours != theirs {
            let (ours, theirs) = (ours.join("\n    "), theirs.join("\n    "));
            wrong.push(format!(
                "{} {url}\n  ours\n    {ours}\n  theirs\n    {theirs}",
                line["id"]
            ));
        }
    }
    assert!(server.rest().is_empty());
    assert!(vectors.len() >= 17, "{} vectors", vectors.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
