//! Every operation that takes something away can be tried without effect and taken back, on a running server and on a
//! stopped one, in both databases.

#[path = "takeback/emptied.rs"]
mod emptied;
#[path = "takeback/files.rs"]
mod files;
#[path = "takeback/key.rs"]
mod key;
#[path = "takeback/later.rs"]
mod later;
#[path = "takeback/restored.rs"]
mod restored;
mod support;

use http::Method;
use serde_json::{Value, json};
use sogs_server::admin::{AdminErrorKind, Operation, PermissionChange, RoomScope};
use sogs_server::model::filter::{FilterAction, FilterKind};
use support::{Community, person, shown};

fn rooms(token: &str) -> RoomScope {
    RoomScope::Rooms(vec![token.to_owned()])
}

fn setting(name: &str, value: Option<&str>) -> Operation {
    Operation::SettingSet {
        room: Some("test".into()),
        name: name.into(),
        value: value.map(str::to_owned),
    }
}

fn filter(pattern: &str) -> Operation {
    Operation::FilterAdd {
        room: Some("test".into()),
        kind: FilterKind::Words,
        pattern: pattern.into(),
        action: FilterAction::Reject,
        reply: Some("Mind your words".into()),
    }
}

fn raid_on() -> Operation {
    Operation::RaidOn {
        room: Some("test".into()),
        seconds: Some(3600.0),
        reach_back: 0.0,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "requests take it so")]
fn body(value: &Value) -> Option<(&'static str, Vec<u8>)> {
    Some(("application/json", serde_json::to_vec(value).expect("JSON")))
}

/// A community with everything that an operation may remove.
struct Full {
    all: Community,
    troll: String,
    moderator: String,
    message: i64,
    held: i64,
    file: i64,
}

impl Full {
    async fn new(database: Option<&str>) -> Self {
        let all = Community::with(|config| {
            if let Some(url) = database {
                url.clone_into(&mut config.database.url);
            }
        })
        .await;
        let (boss, alice, troll) = (person(7), person(1), person(2));
        let id = |number: u8| shown(&all.key, &person(number));
        for (user, admin) in [(id(7), true), (id(8), false)] {
            let place = rooms("test");
            all.act(Operation::ModAdd {
                user,
                place,
                admin,
                visible: None,
            })
            .await;
        }
        // A post of the troll with a file, a pin and reactions.
        let upload = ("application/octet-stream", b"some bytes".to_vec());
        let uploaded = all
            .request(Method::POST, "/room/test/file", Some(&troll), Some(upload))
            .await;
        let file = uploaded.json()["id"].as_i64().expect("a file");
        let mut post: Value =
            serde_json::from_slice(&support::post_body(&all.key, &troll, "look at my coins")).expect("JSON");
        post["files"] = json!([file]);
        let posted = all
            .request(Method::POST, "/room/test/message", Some(&troll), body(&post))
            .await;
        let message = posted.json()["id"].as_i64().expect("a message");
        assert_eq!(all.post("test", &alice, "hello").await.status, 201);
        for (who, emoji) in [(&alice, "👍"), (&boss, "👍"), (&troll, "🎉")] {
            let path = format!("/room/test/reaction/{message}/{emoji}");
            assert_eq!(all.request_raw(Method::PUT, &path, who).await.status, 200);
        }
        let path = format!("/room/test/pin/{message}");
        assert_eq!(
            all.request(Method::POST, &path, Some(&boss), body(&json!({})))
                .await
                .status,
            200
        );
        // Waiting entries: a post, and a change of permissions.
        all.act(setting("approve_first", Some("1"))).await;
        let held = all.post("test", &person(3), "may I?").await.json()["id"]
            .as_i64()
            .expect("a held post");
        all.act(setting("approve_first", None)).await;
        all.act(setting("slow_seconds", Some("1"))).await;
        let path = format!("/room/test/futurePermissions/{}", id(2));
        let later = body(&json!({ "in": 3600.0, "write": false, "upload": false }));
        assert_eq!(
            all.request(Method::POST, &path, Some(&boss), later).await.status,
            200
        );
        all.act(filter("darn")).await;
        all.act(Operation::BanAdd {
            user: id(4),
            place: rooms("test"),
            seconds: Some(7200.0),
            delete_posts: false,
        })
        .await;
        let (troll, moderator) = (id(2), id(8));
        Self {
            all,
            troll,
            moderator,
            message,
            held,
            file,
        }
    }

    /// Returns every operation that removes or changes something.
    #[expect(clippy::too_many_lines, reason = "a list")]
    fn operations(&self) -> Vec<Operation> {
        let (troll, all_rooms) = (self.troll.clone(), RoomScope::EveryRoom);
        vec![
            Operation::RoomAdd {
                room: "other".into(),
                name: None,
                description: None,
                permissions: PermissionChange::default(),
            },
            Operation::RoomEdit {
                room: "test".into(),
                name: Some("Another name".into()),
                description: Some("and words".into()),
                permissions: PermissionChange {
                    upload: Some(false),
                    ..PermissionChange::default()
                },
                image: None,
            },
            Operation::RoomDelete { room: "test".into() },
            Operation::UserPermissions {
                user: troll.clone(),
                room: "test".into(),
                permissions: PermissionChange {
                    write: Some(true),
                    upload: Some(false),
                    ..PermissionChange::default()
                },
                clear: false,
            },
            Operation::ModAdd {
                user: troll.clone(),
                place: RoomScope::Global,
                admin: true,
                visible: Some(true),
            },
            Operation::ModRemove {
                user: self.moderator.clone(),
                place: rooms("test"),
            },
            Operation::BanAdd {
                user: troll.clone(),
                place: rooms("test"),
                seconds: None,
                delete_posts: true,
            },
            Operation::BanAdd {
                user: self.moderator.clone(),
                place: all_rooms.clone(),
                seconds: Some(60.0),
                delete_posts: false,
            },
            Operation::BanRemove {
                user: shown(&self.all.key, &person(4)),
                place: rooms("test"),
            },
            Operation::MessageDelete {
                room: "test".into(),
                ids: vec![self.message],
                ranges: vec![],
            },
            Operation::MessageDelete {
                room: "test".into(),
                ids: vec![self.held],
                ranges: vec![],
            },
            Operation::MessageDeleteAll {
                user: troll.clone(),
                place: all_rooms.clone(),
                reactions: true,
                since: None,
                until: None,
            },
            Operation::MessageDeleteContaining {
                place: all_rooms,
                text: "coins".into(),
                since: None,
                until: None,
            },
            Operation::HeldApprove { id: self.held },
            Operation::HeldReject { id: self.held },
            Operation::FileDelete { id: self.file },
            filter("another"),
            Operation::FilterRemove { id: 1 },
            setting("slow_seconds", Some("30")),
            setting("slow_seconds", None),
            raid_on(),
        ]
    }

    /// Returns everything that people and moderators see, without numbers that only grow.
    async fn look(&self) -> Value {
        let all = &self.all;
        let boss = person(7);
        let get = async |path: &str| {
            let got = all.get(path, Some(&boss)).await;
            assert_eq!(got.status, 200, "{path}: {}", got.text());
            got.json()
        };
        let mut room = get("/room/test").await;
        let pins: Vec<Value> = room["pinned_messages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pin| json!([pin["id"], pin["pinned_by"]]))
            .collect();
        for name in [
            "message_sequence",
            "info_updates",
            "active_users",
            "pinned_messages",
        ] {
            room.as_object_mut().expect("object").remove(name);
        }
        let messages = get("/room/test/messages/recent?reactors=20").await;
        let messages: Vec<Value> = messages
            .as_array()
            .expect("messages")
            .iter()
            .map(|message| {
                let reactions: serde_json::Map<String, Value> = message["reactions"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(emoji, given)| (emoji.clone(), json!([given["count"], given["reactors"]])))
                    .collect();
                json!([
                    message["id"],
                    message["session_id"],
                    message["data"],
                    message["signature"],
                    reactions
                ])
            })
            .collect();
        let data = async |operation: Operation| rounded(all.act(operation).await.data);
        let mut filters = data(Operation::FilterList).await;
        for one in filters["filters"].as_array_mut().expect("filters") {
            // A filter that comes back has a new number.
            one.as_object_mut().expect("object").remove("id");
        }
        let list = data(Operation::MessageList {
            room: "test".into(),
            limit: 50,
            before: None,
            user: None,
            ids: None,
            since: None,
            until: None,
        })
        .await;
        let user = |user: &str| Operation::UserShow { user: user.into() };
        let mut people = [data(user(&self.troll)).await, data(user(&self.moderator)).await];
        for one in &mut people {
            one.as_object_mut().expect("object").remove("last_active");
        }
        let files = data(Operation::FileList {
            room: "test".into(),
            limit: 50,
        })
        .await;
        json!({
            "room": room, "pins": pins, "messages": messages, "list": list["messages"], "filters": filters, "people": people, "files": files,
            "rooms": data(Operation::RoomList).await["rooms"].as_array().map(Vec::len),
            "mods": data(Operation::ModList).await, "bans": data(Operation::BanList).await,
            "held": data(Operation::HeldList { room: None }).await, "raids": data(Operation::RaidList).await,
            "settings": data(Operation::SettingList { room: None }).await,
            "futures": rounded(get("/room/test/futurePermissions").await),
            "file": all.get(&format!("/room/test/file/{}", self.file), None).await.text(),
        })
    }

    /// Does it on the running or on the stopped server; a stopped one runs again afterwards.
    async fn act(
        &mut self,
        operation: &Operation,
        dry_run: bool,
        running: bool,
    ) -> sogs_server::admin::Answer {
        if !running {
            self.all.stop().await;
        }
        let answer = self
            .all
            .try_act(operation.clone(), dry_run)
            .await
            .unwrap_or_else(|error| panic!("{operation:?}: {error}"));
        if !running {
            self.all.start().await;
        }
        answer
    }
}

/// Times to the millisecond: the last bit of a number may go when it is kept as text.
fn rounded(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) if number.is_f64() => {
            let at = number.as_f64().unwrap_or_default();
            return json!((at * 1000.0).round());
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| *inner = rounded(inner.take())),
        Value::Object(map) => map
            .iter_mut()
            .for_each(|(_, inner)| *inner = rounded(inner.take())),
        _ => {}
    }
    value
}

async fn every_operation(database: Option<&str>) {
    let mut full = Full::new(database).await;
    let operations = full.operations();
    let mut numbers = Vec::new();
    for running in [true, false] {
        for operation in &operations {
            let mut operation = operation.clone();
            if let Operation::FilterRemove { id } = &mut operation {
                let list = full.all.act(Operation::FilterList).await;
                *id = list.data["filters"][0]["id"].as_i64().expect("a filter");
            }
            let before = full.look().await;
            let tried = full.act(&operation, true, running).await;
            assert_eq!(tried.undo, None, "{operation:?}");
            assert!(tried.changed > 0, "{operation:?}");
            assert_eq!(
                full.look().await,
                before,
                "a dry run of {operation:?} changes nothing"
            );
            let done = full.act(&operation, false, running).await;
            let number = done
                .undo
                .unwrap_or_else(|| panic!("{operation:?} cannot be undone"));
            numbers.push(number);
            let undo = Operation::Undo { id: Some(number) };
            let tried = full.act(&undo, true, running).await;
            assert_eq!(tried.undo, None);
            full.act(&undo, false, running).await;
            let after = full.look().await;
            for (part, was) in before.as_object().expect("object") {
                assert_eq!(
                    &after[part], was,
                    "{part} after the undo of {operation:?} (running: {running})"
                );
            }
            let twice = full
                .all
                .try_act(undo, false)
                .await
                .expect_err("what is taken back stays so");
            assert_eq!(twice.kind, AdminErrorKind::Conflict);
        }
        // Raid mode off needs a raid.
        full.act(&raid_on(), false, running).await;
        let before = full.look().await;
        let off = Operation::RaidOff {
            room: Some("test".into()),
        };
        let done = full.act(&off, false, running).await;
        full.act(&Operation::Undo { id: done.undo }, false, running).await;
        assert_eq!(full.look().await["raids"], before["raids"]);
        full.act(&off, false, running).await;
    }
    // Each of them and each undo has an entry in the log.
    let log = full
        .all
        .act(Operation::LogList {
            limit: 1000,
            room: None,
            actor: Some("operator:tester".into()),
            target: None,
            since: None,
            until: None,
        })
        .await;
    let rows = log.data["log"].as_array().expect("log");
    for number in numbers {
        let row = rows.iter().find(|row| row["id"] == number).expect("an entry");
        assert!(row["undone_at"].is_f64(), "{row}");
        let target = number.to_string();
        assert!(
            rows.iter()
                .any(|row| row["action"] == "undo" && row["target"] == target.as_str())
        );
    }
    full.all.stop().await;
}

#[tokio::test]
async fn everything_can_be_tried_and_taken_back_on_sqlite() {
    every_operation(None).await;
}

#[tokio::test]
async fn everything_can_be_tried_and_taken_back_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    every_operation(Some(database.url())).await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of requests and one of entries")]
async fn deletions_and_bans_over_the_protocol_are_logged() {
    let full = Full::new(None).await;
    let (all, boss, alice) = (&full.all, person(7), shown(&full.all.key, &person(1)));
    let message = full.message;
    let requests: Vec<(Method, String, Option<Value>)> = vec![
        (
            Method::POST,
            format!("/room/test/unpin/{message}"),
            Some(json!({})),
        ),
        (Method::POST, format!("/room/test/pin/{message}"), Some(json!({}))),
        (Method::POST, "/room/test/unpin/all".into(), Some(json!({}))),
        (
            Method::PUT,
            "/room/test".into(),
            Some(json!({ "name": "New", "default_upload": false })),
        ),
        (
            Method::POST,
            format!("/room/test/permissions/{alice}"),
            Some(json!({ "write": true })),
        ),
        (
            Method::POST,
            format!("/room/test/futurePermissions/{alice}"),
            Some(json!({ "in": 60.0, "write": false })),
        ),
        (
            Method::POST,
            format!("/user/{alice}/moderator"),
            Some(json!({ "rooms": ["test"], "moderator": true })),
        ),
        (
            Method::POST,
            format!("/user/{alice}/moderator"),
            Some(json!({ "rooms": ["test"], "moderator": false })),
        ),
        (
            Method::POST,
            format!("/user/{}/ban", full.troll),
            Some(json!({ "rooms": ["test"], "timeout": 60.0 })),
        ),
        (
            Method::POST,
            format!("/user/{}/unban", full.troll),
            Some(json!({ "rooms": ["test"] })),
        ),
        (Method::DELETE, format!("/room/test/reactions/{message}"), None),
        (Method::DELETE, format!("/room/test/message/{message}"), None),
        (Method::DELETE, format!("/room/test/all/{alice}"), None),
        (
            Method::DELETE,
            format!("/rooms/all/{}", shown(&full.all.key, &person(3))),
            None,
        ),
    ];
    for (method, path, value) in requests {
        let before = full.look().await;
        let request = async || {
            let got = all
                .request(method.clone(), &path, Some(&boss), value.as_ref().and_then(body))
                .await;
            assert_eq!(got.status, 200, "{method} {path}: {}", got.text());
        };
        request().await;
        all.act(Operation::Undo { id: None }).await;
        let after = full.look().await;
        for (part, was) in before.as_object().expect("object") {
            assert_eq!(&after[part], was, "{part} after the undo of {method} {path}");
        }
        request().await;
    }
    let log = all
        .act(Operation::LogList {
            limit: 100,
            room: None,
            actor: Some(shown(&all.key, &boss)),
            target: None,
            since: None,
            until: None,
        })
        .await;
    let mut actions: Vec<&str> = log.data["log"]
        .as_array()
        .expect("log")
        .iter()
        .filter_map(|row| row["action"].as_str())
        .collect();
    actions.reverse();
    // Each request after the making of the community was made twice: once to be undone.
    for pair in actions[2..].chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    let actions: Vec<&str> = actions[..2]
        .iter()
        .chain(actions[2..].iter().step_by(2))
        .copied()
        .collect();
    assert_eq!(
        actions,
        [
            // While the community was made: the pin and the scheduled change.
            "pin",
            "permissions_later",
            "unpin",
            "pin",
            "unpin",
            "room_edit",
            "permissions",
            "permissions_later",
            "mod_add",
            "mod_remove",
            "ban",
            "unban",
            "reactions_delete",
            "message_delete",
            "messages_delete",
            "messages_delete",
        ]
    );
}
