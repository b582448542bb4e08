//! The requests that a real server was asked, in their order, on a fresh server with the same setup: the same
//! status, the same type and the same JSON shape.
use std::collections::HashMap;

use crate::common::{Api, Body, Resp, make_admin, message, pairs, raw_http, room, sign, somebody, start};
use serde_json::{Value, json};
use session_protocol::auth::{Request, Signer};

/// Ids of the transcript, with their ids in this run.
#[derive(Default)]
struct Names {
    ids: HashMap<String, String>,
    numbers: HashMap<i64, i64>,
    seqno_offset: i64,
}

impl Names {
    fn path(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for (theirs, ours) in &self.ids {
            path = path.replace(theirs, ours);
        }
        let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        for at in 1..parts.len() {
            let kind = parts[at - 1].clone();
            let (number, rest) = match parts[at].split_once('?') {
                Some((number, rest)) => (number.to_owned(), format!("?{rest}")),
                None => (parts[at].clone(), String::new()),
            };
            let Ok(value) = number.parse::<i64>() else {
                continue;
            };
            let mapped = match kind.as_str() {
                "since" if parts.contains(&"messages".to_owned()) => value + self.seqno_offset,
                _ => self.numbers.get(&value).copied().unwrap_or(value),
            };
            parts[at] = format!("{mapped}{rest}");
        }
        parts.join("/")
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                if text.starts_with('/') {
                    return json!(self.path(text));
                }
                json!(self.ids.get(text).cloned().unwrap_or_else(|| text.clone()))
            }
            Value::Array(list) => list.iter().map(|one| self.value(one)).collect(),
            Value::Object(map) => {
                let mapped: serde_json::Map<String, Value> = map
                    .iter()
                    .map(|(key, one)| {
                        let one = if key == "files" {
                            one.as_array()
                                .unwrap()
                                .iter()
                                .map(|id| json!(self.numbers[&id.as_i64().unwrap()]))
                                .collect()
                        } else {
                            self.value(one)
                        };
                        (key.clone(), one)
                    })
                    .collect();
                mapped.into()
            }
            other => other.clone(),
        }
    }
}

/// Same shape: the same keys in the same order, the same kinds; texts and flags equal unless they are ids.
fn same(path: &str, theirs: &Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(
                a.keys().collect::<Vec<_>>(),
                b.keys().collect::<Vec<_>>(),
                "{path}"
            );
            for (key, value) in a {
                same(&format!("{path}.{key}"), value, &b[key]);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}: {theirs} / {ours}");
            for (at, value) in a.iter().enumerate() {
                same(&format!("{path}[{at}]"), value, &b[at]);
            }
        }
        (Value::Number(a), Value::Number(b)) => assert_eq!(a.is_f64(), b.is_f64(), "{path}: {a} / {b}"),
        (Value::String(a), Value::String(b)) => {
            let id = |text: &str| text.len() == 66 && text.bytes().all(|b| b.is_ascii_hexdigit());
            let blob = path.ends_with("data") || path.ends_with("signature") || path.ends_with("message");
            let date = path.ends_with("date") || path.ends_with("expires");
            if !(id(a) && id(b) || blob || date) {
                assert_eq!(a, b, "{path}");
            }
        }
        (a, b) => assert_eq!(a, b, "{path}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_has_the_same_status_and_shape() {
    let transcript: Vec<Value> =
        serde_json::from_str(include_str!("../../../../vectors/sogs/pysogs-transcript.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    let api = Api::of(&running);
    let people: HashMap<&str, session_protocol::Identity> = ["user", "user2", "user3", "admin", "other"]
        .into_iter()
        .map(|name| (name, somebody()))
        .collect();
    let signer = |name: &str| people.get(name).map(|who| Signer::blind15(who, &api.key));

    // The setup that the transcript shows: two rooms, an admin, a moderator who never came, a picture, a message.
    room(&running, "bench").await;
    room(&running, "test").await;
    make_admin(&running, &people["admin"]).await;
    api.put(signer("admin").as_ref(), "/room/test", &json!({"name": "Name2"}))
        .await
        .expect(200);
    api.put(signer("admin").as_ref(), "/room/bench", &json!({"name": "Bench"}))
        .await
        .expect(200);
    let never_came = somebody().session_id();
    api.post(
        signer("admin").as_ref(),
        &format!("/user/{never_came}/moderator"),
        &json!({"rooms": ["test"], "moderator": true}),
    )
    .await
    .expect(200);
    let picture = Body::raw(b"picture", &[("Content-Disposition", "attachment")]);
    let picture = api
        .call(signer("admin").as_ref(), "POST", "/room/test/file", picture)
        .await
        .expect(201)
        .json();
    api.put(
        signer("admin").as_ref(),
        "/room/test",
        &json!({"image": picture["id"]}),
    )
    .await
    .expect(200);
    api.post(signer("other").as_ref(), "/room/test/message", &message("before"))
        .await
        .expect(201);
    for name in ["user", "user2", "user3"] {
        api.get(signer(name).as_ref(), "/capabilities").await.expect(200);
    }

    let mut names = Names::default();
    // The ids the transcript's people have there.
    for (name, id) in [
        (
            "user",
            "1561ead2257c4dc7071131bd643f26a9d98bb8231e603c5b6879a74341fb2899e9",
        ),
        (
            "user2",
            "15afb43899edc7d784730da89dd2ead0fa190842a64ac8ba5adb39de7735b1b81e",
        ),
        (
            "user3",
            "15c902ace09bbf95b0fe1c35d81d4413bb4274dd68f7299bbaf59219aad6cfa501",
        ),
    ] {
        names
            .ids
            .insert(id.to_owned(), signer(name).unwrap().shown_id().to_string());
    }
    let info = api.get(None, "/room/test").await.json();
    names.numbers.insert(143, info["info_updates"].as_i64().unwrap());

    for (at, call) in transcript.iter().enumerate() {
        let request = &call["request"];
        let (method, path) = (
            request["method"].as_str().unwrap(),
            request["path"].as_str().unwrap(),
        );
        unseen(at, &api, &names, &signer).await;
        let path = names.path(path);
        let body = match request.get("body") {
            None => Body::none(),
            Some(body) if body.get("bytes").is_some() => {
                let disposition = request["headers"]["Content-Disposition"].as_str().unwrap();
                Body::raw(b"file content", &[("Content-Disposition", disposition)])
            }
            Some(body) => Body::json(&names.value(body)),
        };
        let got = match call.get("as").and_then(Value::as_str) {
            Some(name) => api.call(signer(name).as_ref(), method, &path, body).await,
            None => {
                refused(
                    &api,
                    call["note"].as_str().unwrap(),
                    &signer("user").unwrap(),
                    &people["user"],
                )
                .await
            }
        };
        let label = format!("#{at} {} {method} {path}", call["as"]);
        check(&label, call, &got);
        if got.status == 201 {
            let (theirs, ours) = (
                call["body"]["id"].as_i64().unwrap(),
                got.json()["id"].as_i64().unwrap(),
            );
            names.numbers.insert(theirs, ours);
            if at == 9 {
                names.seqno_offset =
                    got.json()["seqno"].as_i64().unwrap() - call["body"]["seqno"].as_i64().unwrap();
            }
        }
    }
    running.shutdown().await;
}

fn check(label: &str, call: &Value, got: &Resp) {
    assert_eq!(
        Some(u64::from(got.status)),
        call["status"].as_u64(),
        "{label}: {}",
        got.text()
    );
    for (name, value) in call["headers"].as_object().unwrap() {
        let ours = got
            .header(name)
            .unwrap_or_else(|| panic!("{label}: no header {name}"));
        if !matches!(name.as_str(), "date" | "expires") {
            assert_eq!(Some(ours), value.as_str(), "{label} {name}");
        }
    }
    match &call["body"] {
        Value::String(text) => assert_eq!(&got.text(), text, "{label}"),
        value => same(label, value, &got.json()),
    }
}

/// Repeats the events between two calls that the transcript does not contain.
async fn unseen(at: usize, api: &Api, names: &Names, signer: &impl Fn(&str) -> Option<Signer>) {
    let admin = signer("admin");
    let user2 = signer("user2").unwrap().shown_id();
    match at {
        18 => {
            let path = format!("/room/test/reaction/{}/🍆", names.numbers[&4093]);
            api.put(signer("user").as_ref(), &path, &json!({}))
                .await
                .expect(200);
        }
        45 => drop(
            api.post(
                admin.as_ref(),
                &format!("/user/{user2}/ban"),
                &json!({"global": true}),
            )
            .await
            .expect(200),
        ),
        46 => drop(
            api.post(
                admin.as_ref(),
                &format!("/user/{user2}/unban"),
                &json!({"global": true}),
            )
            .await
            .expect(200),
        ),
        62 => {
            for n in 0..5 {
                api.post(
                    signer("user3").as_ref(),
                    "/room/test/message",
                    &message(&n.to_string()),
                )
                .await
                .expect(201);
            }
        }
        _ => {}
    }
}

/// The refusals at the end: each wrong in one way.
async fn refused(api: &Api, note: &str, blinded: &Signer, account: &session_protocol::Identity) -> Resp {
    let mut headers = pairs(&sign(&api.key, blinded, "GET", "/rooms", b""));
    match note {
        "a header missing" => drop(headers.remove(1)),
        "bad signature" => headers = pairs(&sign(&api.key, blinded, "GET", "/room", b"")),
        "old timestamp" => {
            let request = Request {
                method: "GET",
                path: "/rooms",
                body: b"",
            };
            headers = pairs(&request.sign(
                blinded,
                &api.key,
                &crate::common::nonce(),
                crate::common::now() - 90_000,
            ));
        }
        "05 prefix" => headers[0].1 = account.session_id().to_string(),
        "00 key on a blinding server" => {
            headers = pairs(&sign(&api.key, &Signer::account(account), "GET", "/rooms", b""));
        }
        // y = 1 and so the neutral element: no key at all.
        "invalid point" => headers[0].1 = format!("15{:02x}{}", 1, "00".repeat(31)),
        other => panic!("unknown case {other}"),
    }
    raw_http(api.addr, "GET", "/rooms", &headers, b"").await.unwrap()
}
