//! A raid of 300 identities: one command stops it, one cleans up after it, and one undoes the cleanup.

mod support;

use http::Method;
use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::{Identity, Prefix, SessionId};
use sogs_server::admin::{AdminErrorKind, Operation, PermissionChange, RoomScope};
use support::{Community, person, shown};

const RAIDERS: u16 = 300;

fn raider(number: u16) -> Identity {
    let mut seed = [0xaa; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(seed)
}

async fn community(database: Option<&str>) -> Community {
    Community::with(|config| {
        if let Some(url) = database {
            url.clone_into(&mut config.database.url);
        }
    })
    .await
}

/// Unix seconds in whole milliseconds: more digits may not survive as text.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn now() -> f64 {
    support::now_ms() as f64 / 1000.0
}

fn sweep(since: f64, room: Option<&str>, ban: bool) -> Operation {
    Operation::RaidSweep {
        room: room.map(str::to_owned),
        since,
        until: None,
        ban,
        seconds: None,
    }
}

async fn react(all: &Community, who: &Identity, message: i64, reaction: &str) -> u16 {
    let path = format!("/room/test/reaction/{message}/{reaction}");
    all.request_raw(Method::PUT, &path, who).await.status.as_u16()
}

async fn letter(all: &Community, from: &Identity, to: &Identity) -> u16 {
    let path = format!("/inbox/{}", shown(&all.key, to));
    let body = Some(("application/json", br#"{"message":"aGVsbG8="}"#.to_vec()));
    all.request(Method::POST, &path, Some(from), body)
        .await
        .status
        .as_u16()
}

/// Returns everything that a member sees: messages with their reactions, the inbox, files and bans; without numbers
/// that only grow.
async fn look(all: &Community, files: &[i64]) -> Value {
    let member = person(1);
    let mut messages = Vec::new();
    let mut before = i64::MAX;
    loop {
        let path = format!("/room/test/messages/before/{before}?limit=256&reactors=20");
        let page = all.get(&path, Some(&member)).await.json();
        let page = page.as_array().expect("messages");
        let Some(last) = page.last() else { break };
        before = last["id"].as_i64().expect("id");
        for message in page {
            let reactions: serde_json::Map<String, Value> = message["reactions"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(emoji, given)| (emoji.clone(), json!([given["count"], given["reactors"]])))
                .collect();
            messages.push(json!([
                message["id"],
                message["session_id"],
                message["data"],
                message["signature"],
                reactions
            ]));
        }
    }
    let mut contents = Vec::new();
    for file in files {
        contents.push(all.get(&format!("/room/test/file/{file}"), None).await.text());
    }
    json!({
        "messages": messages,
        "inbox": all.get("/inbox", Some(&member)).await.json(),
        "files": contents,
        "bans": all.act(Operation::BanList).await.data,
    })
}

/// One wave: texts and reactions that share nothing, some files and direct messages. Returns the files.
async fn raid(all: &Community, message: i64) -> Vec<i64> {
    let mut files = Vec::new();
    for number in 0..RAIDERS {
        let who = raider(number);
        match number % 6 {
            0 | 1 => {
                let text = format!("{number:x} see https://site-{number}.example/{}", number * 7);
                let posted = all.post("test", &who, &text).await;
                assert_eq!(posted.status, 201, "{}", posted.text());
                // The raiders react to each other's posts.
                let id = posted.json()["id"].as_i64().expect("id");
                assert_eq!(react(all, &raider(number + 1), id, "👏").await, 200);
            }
            2 | 3 => {
                assert_eq!(react(all, &who, message, &format!("r{number}")).await, 200);
                assert_eq!(react(all, &who, message, "👎").await, 200);
            }
            4 => assert_eq!(letter(all, &who, &person(1)).await, 201),
            _ => {
                let upload = ("application/octet-stream", format!("file {number}").into_bytes());
                let got = all
                    .request(Method::POST, "/room/test/file", Some(&who), Some(upload))
                    .await;
                let file = got.json()["id"].as_i64().expect("a file");
                files.push(file);
                if number % 12 == 5 {
                    let mut post: Value =
                        serde_json::from_slice(&support::post_body(&all.key, &who, "look")).expect("JSON");
                    post["files"] = json!([file]);
                    let body = serde_json::to_vec(&post).expect("JSON");
                    let posted = all
                        .request(
                            Method::POST,
                            "/room/test/message",
                            Some(&who),
                            Some(("application/json", body)),
                        )
                        .await;
                    assert_eq!(posted.status, 201);
                }
            }
        }
    }
    files
}

#[expect(
    clippy::too_many_lines,
    reason = "one raid from its begin to the end of the cleaning"
)]
async fn a_raid(database: Option<&str>) {
    let all = community(database).await;
    // Members, one with a pin and files, and a moderator.
    let mut own = Vec::new();
    for number in 1..=5 {
        let posted = all
            .post("test", &person(number), &format!("member {number}"))
            .await;
        own.push(posted.json()["id"].as_i64().expect("id"));
    }
    for number in 2..=5 {
        assert_eq!(react(&all, &person(number), own[0], "👍").await, 200);
    }
    assert_eq!(letter(&all, &person(2), &person(1)).await, 201);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let since = now();
    let files = raid(&all, own[0]).await;
    // A new moderator, and a newcomer who is trusted, came during the raid.
    let (boss, friend) = (person(40), person(41));
    for who in [&boss, &friend] {
        assert_eq!(all.post("test", who, "I help").await.status, 201);
    }
    all.act(Operation::ModAdd {
        user: shown(&all.key, &boss),
        place: RoomScope::Global,
        admin: false,
        visible: None,
    })
    .await;
    all.act(Operation::UserPermissions {
        user: shown(&all.key, &friend),
        room: "test".into(),
        permissions: PermissionChange {
            write: Some(true),
            ..PermissionChange::default()
        },
        clear: false,
    })
    .await;
    let raided = look(&all, &files).await;

    // One command stops the raid.
    all.act(Operation::RaidOn {
        room: None,
        seconds: None,
        reach_back: now() - since,
    })
    .await;
    assert_eq!(all.post("test", &raider(0), "more").await.status, 403);
    assert_eq!(react(&all, &raider(0), own[0], "👎").await, 403);
    assert_eq!(all.post("test", &person(1), "still here").await.status, 201);
    assert_eq!(all.post("test", &friend, "me too").await.status, 201);
    let stopped = look(&all, &files).await;

    // One command cleans up, and says before what it would do.
    let tried = all
        .try_act(sweep(since, None, true), true)
        .await
        .expect("a dry run");
    let counts = json!({
        "since": since, "accounts": 300, "posts": 125, "reactions": 300, "files": 50, "direct_messages": 50,
        "bans": 300, "room": null,
    });
    assert_eq!(tried.data, counts);
    assert_eq!(look(&all, &files).await, stopped, "a dry run changes nothing");
    let log = || Operation::LogList {
        limit: 10_000,
        room: None,
        actor: None,
        target: None,
        since: None,
        until: None,
    };
    let entries = all.act(log()).await.data["log"].as_array().expect("log").len();
    let done = all.act(sweep(since, None, true)).await;
    assert_eq!(done.data, counts);
    let number = done.undo.expect("a number");
    assert_eq!(
        all.act(log()).await.data["log"].as_array().expect("log").len(),
        entries + 1,
        "one entry"
    );
    let clean = look(&all, &files).await;
    let texts: Vec<String> = all.texts("test", Some(&person(1))).await;
    assert_eq!(
        texts,
        [
            "me too",
            "still here",
            "I help",
            "I help",
            "member 5",
            "member 4",
            "member 3",
            "member 2",
            "member 1"
        ]
    );
    assert_eq!(
        clean["messages"]
            .as_array()
            .and_then(|list| list.last())
            .expect("one")[4],
        json!({ "👍": [4, (2..=5).map(|n| shown(&all.key, &person(n))).collect::<Vec<_>>()] }),
        "reactions of members stay"
    );
    assert_eq!(clean["inbox"].as_array().map(Vec::len), Some(1));
    assert_eq!(clean["bans"]["bans"].as_array().map(Vec::len), Some(300));
    assert_eq!(
        all.get("/room/test/messages/recent", Some(&raider(7)))
            .await
            .status,
        403
    );
    assert_eq!(
        all.get(&format!("/room/test/file/{}", files[0]), None)
            .await
            .status,
        404
    );
    let again = all.act(sweep(since, None, true)).await;
    assert_eq!((again.changed, again.undo), (0, None), "nothing is left");

    // One command undoes it.
    all.act(Operation::Undo { id: Some(number) }).await;
    let back = look(&all, &files).await;
    for part in ["messages", "inbox", "files", "bans"] {
        assert_eq!(back[part], stopped[part], "{part}");
    }
    assert_eq!(raided["files"], back["files"]);

    // In one room: no direct messages, and bans from there.
    all.act(sweep(since, Some("test"), true)).await;
    let here = look(&all, &files).await;
    assert_eq!(here["messages"], clean["messages"]);
    assert_eq!(here["inbox"], stopped["inbox"]);
    assert_eq!(here["bans"]["bans"][0]["room"], "test");
    all.act(Operation::Undo { id: None }).await;
    assert_eq!(look(&all, &files).await, stopped);
    let error = all
        .try_act(sweep(now() + 3600.0, None, false), false)
        .await
        .expect_err("in the future");
    assert_eq!(error.kind, AdminErrorKind::Usage);
}

#[tokio::test]
async fn a_raid_is_stopped_cleaned_up_and_the_cleaning_undone_on_sqlite() {
    a_raid(None).await;
}

#[tokio::test]
async fn a_raid_is_stopped_cleaned_up_and_the_cleaning_undone_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    a_raid(Some(database.url())).await;
}

/// A request of a moderator under one of their ids, which must succeed.
async fn moderate(all: &Community, who: &Signer, method: Method, path: &str, value: Option<Value>) {
    let body = value.map(|value| ("application/json", serde_json::to_vec(&value).expect("JSON")));
    let got = support::request_as(all.address, &all.key, method, path, Some(who), body, &[]).await;
    assert_eq!(got.status, 200, "{path}: {}", got.text());
}

/// Bans seven people and deletes twelve posts: as `25` at first, then as `15`, and as `05` after the operator switched
/// blinding off. Returns these ids.
async fn rampage(all: &mut Community, rogue: &Identity, ids: &[i64]) -> [String; 3] {
    let signers = [
        Signer::blind25(rogue, &all.key),
        Signer::blind15(rogue, &all.key),
        Signer::account(rogue),
    ];
    let victim = |number: u8, all: &Community| shown(&all.key, &person(number));
    for number in 1..=7_u8 {
        let path = format!("/user/{}/ban", victim(number, all));
        let rooms = json!({ "rooms": ["test"] });
        let signer = &signers[usize::from(number > 3)];
        moderate(all, signer, Method::POST, &path, Some(rooms)).await;
    }
    for id in &ids[..6] {
        let path = format!("/room/test/message/{id}");
        moderate(all, &signers[1], Method::DELETE, &path, None).await;
    }
    all.stop().await;
    let mut config = sogs_server::Config::load(all.dir()).expect("configuration");
    config.users.require_blind_keys = false;
    std::fs::write(all.dir().join("server.toml"), config.to_toml()).expect("written");
    all.start().await;
    for number in 7..=12 {
        let path = format!("/room/test/all/{}", victim(number, all));
        moderate(all, &signers[2], Method::DELETE, &path, None).await;
    }
    signers.map(|signer| signer.shown_id().to_string())
}

async fn a_rogue_moderator(database: Option<&str>) {
    let mut all = community(database).await;
    let rogue = person(50);
    let blind15 = rogue.blind15(&all.key).id();
    all.act(Operation::ModAdd {
        user: rogue.blind25(&all.key).id().to_string(),
        place: RoomScope::Rooms(vec!["test".into()]),
        admin: false,
        visible: None,
    })
    .await;
    let mut ids = Vec::new();
    for number in 1..=12_u8 {
        let posted = all.post("test", &person(number), &format!("text {number}")).await;
        let id = posted.json()["id"].as_i64().expect("id");
        ids.push(id);
        assert_eq!(react(&all, &person(number), ids[0], "👍").await, 200);
    }
    let before = look(&all, &[]).await;
    let since = now();
    let used = rampage(&mut all, &rogue, &ids).await;
    assert_eq!(all.texts("test", Some(&rogue)).await, Vec::<String>::new());

    // The log names the id of the moment; a search by any of his ids finds all of them.
    let log = async |actor: Option<String>, target: Option<String>| {
        let list = Operation::LogList {
            limit: 100,
            room: None,
            actor,
            target,
            since: Some(since),
            until: None,
        };
        let answer = all.act(list).await.data;
        answer["log"].as_array().expect("a log").clone()
    };
    let everything = log(None, None).await;
    for (id, count) in used.iter().zip([3, 10, 6]) {
        let acts = everything.iter().filter(|entry| entry["actor"] == json!(id));
        assert_eq!(acts.count(), count, "{id}");
    }
    let mut other_sign = *blind15.key();
    other_sign[31] ^= 0x80;
    let names = [
        used[0].clone(),
        used[1].clone(),
        used[2].clone(),
        SessionId::new(Prefix::Blind15, other_sign).to_string(),
        format!("{}…{}", &used[0][..6], &used[0][62..]),
    ];
    let undo = |actor: &str| Operation::UndoMany {
        ranges: Vec::new(),
        actor: Some(actor.to_owned()),
        room: None,
        since: Some(since),
        until: None,
    };
    for name in &names {
        assert_eq!(log(Some(name.clone()), None).await, everything, "{name}");
        assert_eq!(log(None, Some(name.clone())).await, everything, "{name}");
        let tried = all.try_act(undo(name), true).await.expect("a dry run");
        assert_eq!(tried.data["undone"].as_array().map(Vec::len), Some(19), "{name}");
    }
    let victim = person(1);
    for name in [victim.session_id(), victim.blind25(&all.key).id()] {
        let about = log(None, Some(name.to_string())).await;
        assert_eq!(about.len(), 1, "{name}");
        assert_eq!(about[0]["action"], "ban", "{name}");
    }
    assert_eq!(log(None, Some("nobody".to_owned())).await, Vec::<Value>::new());
    assert_eq!(all.texts("test", Some(&rogue)).await, Vec::<String>::new());

    let done = all.act(undo(&names[0])).await;
    assert_eq!(done.data["left"], json!([]));
    assert_eq!(look(&all, &[]).await, before);
    for name in &names {
        let error = all
            .try_act(undo(name), false)
            .await
            .expect_err("all of it is undone");
        assert_eq!(error.kind, AdminErrorKind::NotFound, "{name}");
    }
}

#[tokio::test]
async fn acts_of_a_moderator_under_any_id_are_undone_on_sqlite() {
    a_rogue_moderator(None).await;
}

#[tokio::test]
async fn acts_of_a_moderator_under_any_id_are_undone_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    a_rogue_moderator(Some(database.url())).await;
}

#[tokio::test]
async fn ranges_of_the_log_are_undone_the_latest_first() {
    let all = community(None).await;
    let mut numbers = Vec::new();
    for value in ["1", "2", "3", "4"] {
        let done = all
            .act(Operation::SettingSet {
                room: None,
                name: "rate_posts".into(),
                value: Some(value.into()),
            })
            .await;
        numbers.push(done.undo.expect("a number"));
    }
    let value = async || {
        let list = all.act(Operation::SettingList { room: None }).await;
        list.data["settings"][0]["value"].as_str().map(str::to_owned)
    };
    all.act(Operation::UndoMany {
        ranges: vec![(numbers[2], numbers[3]), (numbers[1], numbers[1])],
        actor: None,
        room: None,
        since: None,
        until: None,
    })
    .await;
    assert_eq!(
        value().await.as_deref(),
        Some("1"),
        "as the oldest of them found it"
    );
    let error = all
        .try_act(
            Operation::UndoMany {
                ranges: Vec::new(),
                actor: None,
                room: None,
                since: None,
                until: None,
            },
            false,
        )
        .await
        .expect_err("everything");
    assert_eq!(error.kind, AdminErrorKind::Usage);
}

/// The account that posts the notices of the moderators' room is as new as the raid, and no part of it.
#[tokio::test]
async fn the_account_of_the_server_is_never_swept_or_banned() {
    for running in [true, false] {
        let mut all = community(None).await;
        let since = now() - 60.0;
        all.act(Operation::ModerationOn {
            room: "moderators".into(),
        })
        .await;
        let status = all.act(Operation::ModerationStatus).await;
        let account = status.data["account"].as_str().expect("an account").to_owned();
        // It is known from its first notice on.
        all.act(Operation::UserPermissions {
            user: account.clone(),
            room: "test".into(),
            permissions: PermissionChange {
                upload: Some(true),
                ..PermissionChange::default()
            },
            clear: false,
        })
        .await;
        assert_eq!(all.post("test", &person(5), "hello").await.status, 201);
        if !running {
            all.stop().await;
        }
        let swept = all.act(sweep(since, None, true)).await;
        assert_eq!(swept.data["bans"], 1, "{:?}", swept.lines);
        let refused = all
            .try_act(
                Operation::BanAdd {
                    user: account.clone(),
                    place: RoomScope::Global,
                    seconds: None,
                    delete_posts: false,
                },
                false,
            )
            .await
            .expect_err("its own account");
        assert!(refused.cause.contains("own account"), "{refused}");
        let bans = all.act(Operation::BanList).await.data["bans"].to_string();
        assert!(
            bans.contains(&shown(&all.key, &person(5))) && !bans.contains(&account),
            "{bans}"
        );
        all.stop().await;
    }
}
