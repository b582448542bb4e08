//! Real answers of the reference server: every recorded request is what our calls send, every recorded answer reads
//! into its type and writes back to the same JSON.
#![expect(clippy::unwrap_used, clippy::too_many_lines, reason = "a test")]

use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use session_protocol::encoding::{array_from_b64, from_b64};
use sogs_client::calls::{self, DirectBox};
use sogs_client::types::{PermissionChange, RawRow};
use sogs_client::{
    Batch, Call, Cause, ListOptions, PreparedPost, RoleChange, RoomToken, RoomUpdate, Scope, SessionId,
    SogsError,
};

struct Item {
    method: String,
    path: String,
    request: Value,
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Item {
    fn bytes(&self) -> Vec<u8> {
        let json = self
            .headers
            .iter()
            .any(|(name, value)| name == "content-type" && value == "application/json");
        match &self.body {
            Value::String(text) if !json => text.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        }
    }
}

fn transcript() -> Vec<Item> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sogs/pysogs-transcript.json");
    let items: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    items
        .into_iter()
        .map(|item| Item {
            method: item["request"]["method"].as_str().unwrap().to_owned(),
            path: item["request"]["path"].as_str().unwrap().to_owned(),
            request: item["request"].clone(),
            status: u16::try_from(item["status"].as_u64().unwrap()).unwrap(),
            headers: item["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
            body: item["body"].clone(),
        })
        .collect()
}

/// Two spellings of one thing: 1 and true, 604800 and 604800.0, null and absent.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            keys.into_iter().all(|key| {
                same(
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Bool(flag), Value::Number(n)) | (Value::Number(n), Value::Bool(flag)) => {
            n.as_u64() == Some(u64::from(*flag))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn check_request<T: 'static>(item: &Item, call: &Call<T>) {
    assert_eq!(
        (call.method(), call.path()),
        (item.method.as_str(), item.path.as_str())
    );
    let body = item.request.get("body");
    match (body, call.json_body()) {
        (Some(body), Some(ours)) => {
            assert!(same(body, ours), "{} {}: {body} / {ours}", item.method, item.path);
        }
        (Some(body), None) => assert!(
            body.get("bytes").is_some(),
            "{} {}: no body",
            item.method,
            item.path
        ),
        (None, Some(ours)) => panic!(
            "{} {}: a body {ours} where the reference has none",
            item.method, item.path
        ),
        (None, None) => {}
    }
    for (name, value) in item
        .request
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let ours = call.headers().iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        assert_eq!(ours.map(|(_, v)| v.as_str()), value.as_str(), "{name}");
    }
}

/// Checks the request, reads the answer, and compares what the typed answer writes with what came.
fn check<T: 'static, V: Serialize>(
    item: &Item,
    call: Call<T>,
    write: impl FnOnce(T) -> V,
) -> Option<SogsError> {
    check_request(item, &call);
    let label = format!("{} {}", item.method, item.path);
    match call.read(item.status, item.headers.clone(), item.bytes()) {
        Ok(answer) => {
            let ours = serde_json::to_value(write(answer)).unwrap();
            assert!(same(&ours, &item.body), "{label}:\n{ours}\n{}", item.body);
            None
        }
        Err(error) => {
            assert!(!(200..300).contains(&item.status), "{label}: {error}");
            Some(error)
        }
    }
}

fn post_of(body: &Value) -> PreparedPost {
    PreparedPost {
        author: SessionId::new(session_protocol::Prefix::Blind15, [0; 32]),
        data: from_b64(body["data"].as_str().unwrap()).unwrap(),
        signature: array_from_b64(body["signature"].as_str().unwrap()).unwrap(),
        files: body["files"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|id| id.as_u64().unwrap())
            .collect(),
        whisper_to: body["whisper_to"].as_str().map(|id| id.parse().unwrap()),
        whisper_mods: body["whisper_mods"].as_bool().unwrap_or(false),
        signed_at_ms: 0,
    }
}

/// The value of a query parameter.
fn query(path: &str, key: &str) -> Option<u32> {
    path.split_once('?')?
        .1
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?
        .parse()
        .ok()
}

fn options(path: &str) -> ListOptions {
    ListOptions {
        limit: query(path, "limit"),
        reactors: query(path, "reactors"),
        with_reaction_rows: path.contains("t=r"),
    }
}

fn rows<T>(rows: Vec<T>) -> Vec<RawRow>
where
    RawRow: From<T>,
{
    rows.into_iter().map(RawRow::from).collect()
}

fn scope(body: &Value) -> Scope {
    match body.get("rooms").and_then(Value::as_array) {
        Some(rooms) if rooms == &[json!("*")] => Scope::AllRooms,
        Some(rooms) => Scope::Rooms(
            rooms
                .iter()
                .map(|t| t.as_str().unwrap().parse().unwrap())
                .collect(),
        ),
        None => Scope::Global,
    }
}

fn flag(body: &Value, key: &str) -> Option<bool> {
    body.get(key).and_then(Value::as_bool)
}

fn nothing(_: ()) -> Value {
    json!({})
}

fn room_call(item: &Item, room: &RoomToken, rest: &[&str]) -> Option<SogsError> {
    let body = item.request.get("body").cloned().unwrap_or(Value::Null);
    let n = |text: &str| text.parse::<u64>().unwrap();
    match (item.method.as_str(), rest) {
        ("GET", []) => check(item, calls::room(room), |v| v),
        ("PUT", []) => {
            let update = RoomUpdate {
                name: body["name"].as_str().map(str::to_owned),
                description: body.get("description").map(|d| d.as_str().map(str::to_owned)),
                ..RoomUpdate::default()
            };
            check(item, calls::update_room(room, &update), |v| v)
        }
        ("GET", ["pollInfo", counter]) => {
            check(item, calls::poll_info(room, counter.parse().unwrap()), |v| v)
        }
        ("GET", ["messages", "recent"]) => check(item, calls::recent(room, options(&item.path)), rows),
        ("GET", ["messages", "before", id]) => {
            check(item, calls::before(room, n(id), options(&item.path)), rows)
        }
        ("GET", ["messages", "since", seqno]) => check(
            item,
            calls::since(room, seqno.parse().unwrap(), options(&item.path)),
            rows,
        ),
        ("GET", ["message", id]) => check(item, calls::message(room, n(id)), RawRow::from),
        ("POST", ["message"]) => {
            let mut post = post_of(&body);
            if let Some(author) = item.body["session_id"].as_str() {
                post.author = author.parse().unwrap();
            }
            check(item, calls::post(room, &post), |posted| {
                RawRow::from(*posted.message.unwrap())
            })
        }
        ("PUT", ["message", id]) => check(item, calls::edit(room, n(id), &post_of(&body)), |_| json!({})),
        ("DELETE", ["message", id]) => check(item, calls::delete(room, n(id)), nothing),
        ("DELETE", ["all", user]) => check(item, calls::delete_all(room, &user.parse().unwrap()), nothing),
        ("PUT", ["reaction", id, emoji]) => check(item, calls::react(room, n(id), emoji), |v| v),
        ("DELETE", ["reaction", id, emoji]) => check(item, calls::unreact(room, n(id), emoji), |v| v),
        ("DELETE", ["reactions", id]) => check(item, calls::clear_reactions(room, n(id), None), |v| v),
        ("DELETE", ["reactions", id, emoji]) => {
            check(item, calls::clear_reactions(room, n(id), Some(emoji)), |v| v)
        }
        ("GET", ["reactors", id, emoji]) => check(
            item,
            calls::reactors(room, n(id), emoji, query(&item.path, "limit")),
            |v| v,
        ),
        ("POST", ["pin", id]) => check(item, calls::pin(room, n(id)), |v| v),
        ("POST", ["unpin", "all"]) => check(item, calls::unpin_all(room), |v| v),
        ("POST", ["unpin", id]) => check(item, calls::unpin(room, n(id)), |v| v),
        ("POST", ["file"]) => check(
            item,
            calls::upload(room, Some("my 🎂.txt"), Bytes::from_static(b"file content")),
            |v| v,
        ),
        ("GET", ["file", id]) => {
            let headers = item.headers.clone();
            check(item, calls::download(room, n(id)), move |file| {
                assert_eq!(file.name.as_deref(), Some("my 🎂.txt"));
                let expires = headers
                    .iter()
                    .find(|(name, _)| name == "expires")
                    .map(|(_, v)| v.clone());
                assert_eq!(file.expires, expires);
                String::from_utf8(file.bytes.to_vec()).unwrap()
            })
        }
        ("GET", ["permissions"]) => check(item, calls::permissions(room), |v| v),
        ("GET", ["permissions", user]) => {
            check(item, calls::permissions_of(room, &user.parse().unwrap()), |v| v)
        }
        ("POST", ["permissions", user]) => {
            let change = PermissionChange {
                read: flag(&body, "read"),
                write: flag(&body, "write"),
                upload: flag(&body, "upload"),
                accessible: flag(&body, "accessible"),
                default_read: flag(&body, "default_read").unwrap_or(false),
                default_write: flag(&body, "default_write").unwrap_or(false),
                default_upload: flag(&body, "default_upload").unwrap_or(false),
                default_accessible: flag(&body, "default_accessible").unwrap_or(false),
                unschedule: flag(&body, "unschedule"),
            };
            check(
                item,
                calls::set_permissions(room, &user.parse().unwrap(), change),
                |v| v,
            )
        }
        ("GET", ["futurePermissions"]) => check(item, calls::future_permissions(room), |v| v),
        ("GET", ["futurePermissions", user]) => check(
            item,
            calls::future_permissions_of(room, &user.parse().unwrap()),
            |v| v,
        ),
        ("POST", ["futurePermissions", user]) => {
            let call = calls::schedule_permissions(
                room,
                &user.parse().unwrap(),
                flag(&body, "read"),
                flag(&body, "write"),
                flag(&body, "upload"),
                body["in"].as_f64().unwrap(),
            );
            check(item, call, |v| v)
        }
        _ => panic!("no call for {} {}", item.method, item.path),
    }
}

fn one(item: &Item) -> Option<SogsError> {
    let body = item.request.get("body").cloned().unwrap_or(Value::Null);
    let path = item.path.split('?').next().unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (item.method.as_str(), parts.as_slice()) {
        ("GET", ["capabilities"]) => match item.path.split_once("required=") {
            None => check(item, calls::capabilities(), |v| v),
            Some((_, required)) => {
                let required: Vec<_> = required.split(',').collect();
                check(item, calls::capabilities_required(&required), |v| v)
            }
        },
        ("GET", ["rooms"]) => check(item, calls::rooms(), |v| v),
        ("DELETE", ["rooms", "all", user]) => {
            check(item, calls::delete_everywhere(&user.parse().unwrap()), |v| v)
        }
        (_, ["room", token, rest @ ..]) => room_call(item, &token.parse().unwrap(), rest),
        ("POST", ["user", user, "moderator"]) => {
            let change = RoleChange {
                moderator: flag(&body, "moderator"),
                admin: flag(&body, "admin"),
                visible: flag(&body, "visible"),
            };
            check(
                item,
                calls::set_role(&user.parse().unwrap(), &scope(&body), change),
                |v| v,
            )
        }
        ("POST", ["user", user, "ban"]) => check(
            item,
            calls::ban(&user.parse().unwrap(), &scope(&body), body["timeout"].as_f64()),
            nothing,
        ),
        ("POST", ["user", user, "unban"]) => {
            check(item, calls::unban(&user.parse().unwrap(), &scope(&body)), nothing)
        }
        ("POST", ["inbox", user]) => {
            let sealed = from_b64(body["message"].as_str().unwrap()).unwrap();
            check(item, calls::send_direct(&user.parse().unwrap(), &sealed), |v| v)
        }
        ("DELETE", ["inbox"]) => check(item, calls::clear_inbox(), |v| v),
        ("GET", [which @ ("inbox" | "outbox"), rest @ ..]) => {
            let which = if *which == "inbox" {
                DirectBox::Inbox
            } else {
                DirectBox::Outbox
            };
            let since = rest.get(1).map(|id| id.parse().unwrap());
            let call = calls::direct_messages(which, since, query(&item.path, "limit"));
            if item.status == 304 {
                check_request(item, &call);
                assert_eq!(call.read(304, vec![], vec![]).unwrap(), []);
                return None;
            }
            check(item, call, |v| v)
        }
        _ => panic!("no call for {} {}", item.method, item.path),
    }
}

#[test]
fn every_recorded_call() {
    let items = transcript();
    assert!(items.len() >= 72);
    let mut batches = 0;
    for item in &items {
        if matches!(item.path.as_str(), "/batch" | "/sequence") {
            batches += 1;
            continue;
        }
        let Some(error) = one(item) else { continue };
        let text = item.body.as_str().unwrap_or_default();
        let expected = match item.status {
            400 if text.contains("requires the use of blinded ids") => Cause::BlindingRequired,
            400 => Cause::BadRequest,
            401 if text.contains("verification failed") => Cause::WrongServerKey,
            401 => Cause::AuthenticationRequired,
            403 if text == "Banned" => Cause::Banned,
            403 => Cause::Forbidden,
            404 => Cause::NotFound,
            425 => Cause::ClockSkew { offset_secs: None },
            429 => Cause::RateLimited,
            other => panic!("{} {} has status {other}", item.method, item.path),
        };
        assert_eq!(
            (error.cause(), error.status()),
            (&expected, Some(item.status)),
            "{} {}",
            item.method,
            item.path
        );
        assert!(!error.remedy().is_empty());
        // A page for browsers is not repeated to people.
        assert!(!error.to_string().contains('<'), "{error}");
    }
    assert!(batches >= 2);
}

#[test]
fn the_recorded_batch() {
    let items = transcript();
    let item = items.iter().find(|item| item.path == "/batch").unwrap();
    let room = RoomToken::new("test").unwrap();
    let mut batch = Batch::new();
    let capabilities = batch.add(calls::capabilities());
    let info = batch.add(calls::poll_info(&room, 0));
    let since = batch.add(calls::since(
        &room,
        720,
        ListOptions {
            reactors: Some(5),
            with_reaction_rows: true,
            ..ListOptions::default()
        },
    ));
    let inbox = batch.add(calls::direct_messages(DirectBox::Inbox, None, None));
    let file = batch.add(calls::download(&room, 69));
    assert_eq!(batch.len(), 5);
    let ours = batch.to_json();
    let theirs = item.request["body"].as_array().unwrap();
    assert!(same(&ours, &Value::Array(theirs[..5].to_vec())), "{ours}");

    let elements = item.body.as_array().unwrap();
    let answer = Value::Array(elements[..5].to_vec()).to_string();
    let mut answers = batch.read(answer.as_bytes(), false).unwrap();
    let compare = |ours: Value, at: usize| assert!(same(&ours, &elements[at]["body"]), "{ours}");
    compare(
        serde_json::to_value(answers.take(capabilities).unwrap().unwrap()).unwrap(),
        0,
    );
    compare(
        serde_json::to_value(answers.take(info).unwrap().unwrap()).unwrap(),
        1,
    );
    compare(
        serde_json::to_value(rows(answers.take(since).unwrap().unwrap())).unwrap(),
        2,
    );
    compare(
        serde_json::to_value(answers.take(inbox).unwrap().unwrap()).unwrap(),
        3,
    );
    let file = answers.take(file).unwrap().unwrap();
    assert_eq!(
        file.bytes.as_ref(),
        from_b64(elements[4]["body"].as_str().unwrap()).unwrap()
    );
}

#[test]
fn the_recorded_sequence_stops_at_the_failure() {
    let items = transcript();
    let item = items.iter().find(|item| item.path == "/sequence").unwrap();
    let mut sequence = Batch::new();
    let failing = sequence.add(calls::room(&RoomToken::new("nope").unwrap()));
    let never = sequence.add(calls::capabilities());
    let mut answers = sequence.read(item.body.to_string().as_bytes(), true).unwrap();
    assert_eq!(
        answers.take(failing).unwrap().unwrap_err().cause(),
        &Cause::NotFound
    );
    assert!(answers.take(never).is_none(), "it was never made");
}

#[test]
fn recorded_messages_come_verified() {
    let mut seen = 0;
    for item in transcript() {
        let Some(body) = item.body.as_array() else {
            continue;
        };
        for row in body
            .iter()
            .filter(|row| row["data"].is_string() && row["signature"].is_string())
        {
            let raw: RawRow = serde_json::from_value(row.clone()).unwrap();
            let message = sogs_client::Message::try_from(raw.clone()).unwrap();
            assert!(message.is_authentic(), "{:?}", message.problem());
            assert!(message.body().is_some() && message.display_name().is_some());
            seen += 1;

            let mut forged = raw;
            let other = format!(
                "15{}",
                "33202f87ce4ff20cbcd0f2e48c8c7f263d11a3609c673b8c7eae56653769c12f"
            );
            forged.session_id = Some(other);
            let forged = sogs_client::Message::try_from(forged).unwrap();
            assert_eq!(forged.problem(), Some(&sogs_client::MessageProblem::BadSignature));
            assert_eq!(
                forged.body(),
                None,
                "what is not verified is not given as the author's word"
            );
            assert!(forged.unverified_content().is_some(), "but it can be looked at");
        }
    }
    assert!(seen > 3);
}
