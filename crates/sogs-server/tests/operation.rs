//! Operations of an operator, on a running server over its socket and on a stopped one, and their undo.

mod support;

use http::Method;
use sogs_server::admin::{AdminErrorKind, Operation, PermissionChange, RoomScope};
use sogs_server::model::filter::{FilterAction, FilterKind};
use support::{Community, Got, person, shown};

fn rooms(token: &str) -> RoomScope {
    RoomScope::Rooms(vec![token.to_owned()])
}

fn setting(name: &str, value: &str) -> Operation {
    Operation::SettingSet {
        room: None,
        name: name.into(),
        value: Some(value.into()),
    }
}

fn undo() -> Operation {
    Operation::Undo { id: None }
}

#[tokio::test]
async fn rooms_are_added_changed_deleted_and_brought_back_running_or_stopped() {
    for running in [true, false] {
        let mut all = Community::new().await;
        let alice = person(1);
        assert_eq!(all.post("test", &alice, "one").await.status, 201);
        assert_eq!(all.post("test", &alice, "two").await.status, 201);
        let file = ("application/octet-stream", b"some bytes".to_vec());
        let uploaded = all
            .request(Method::POST, "/room/test/file", Some(&alice), Some(file))
            .await;
        assert_eq!(uploaded.status, 201, "{}", uploaded.text());
        let before = all.get("/room/test/messages/recent", None).await.json();
        if !running {
            all.stop().await;
        }
        let tried = all
            .try_act(Operation::RoomDelete { room: "TEST".into() }, true)
            .await
            .expect("dry run");
        assert_eq!(tried.data["rows"]["messages"], 2);
        let deleted = all.act(Operation::RoomDelete { room: "test".into() }).await;
        assert!(deleted.undo.is_some());
        if !running {
            all.start().await;
        }
        assert_eq!(all.get("/room/test", None).await.status, 404);
        let error = all
            .try_act(Operation::RoomShow { room: "test".into() }, false)
            .await
            .expect_err("gone");
        assert_eq!(error.kind, AdminErrorKind::NotFound);
        if !running {
            all.stop().await;
        }
        all.act(undo()).await;
        if !running {
            all.start().await;
        }
        assert_eq!(
            all.get("/room/test/messages/recent", None).await.json(),
            before,
            "as if nothing had been"
        );
        let number = uploaded.json()["id"].as_i64().expect("a number");
        let download = all.get(&format!("/room/test/file/{number}"), Some(&alice)).await;
        assert_eq!(
            (download.status.as_u16(), &download.body[..]),
            (200, &b"some bytes"[..])
        );
        let posted = all.post("test", &alice, "three").await;
        assert_eq!(posted.json()["seqno"], 3, "numbers go on");
        all.stop().await;
    }
}

#[tokio::test]
async fn a_room_is_edited_with_a_picture_and_back() {
    let all = Community::new().await;
    let edit = |image: &str| Operation::RoomEdit {
        room: "test".into(),
        name: Some("A better name".into()),
        description: Some("two\nlines".into()),
        permissions: PermissionChange {
            write: Some(false),
            ..PermissionChange::default()
        },
        image: Some(image.to_owned()),
    };
    let refused = all
        .try_act(edit("PHN2Zz4="), false)
        .await
        .expect_err("an SVG is not a picture for a room");
    assert_eq!(refused.kind, AdminErrorKind::Usage);
    // The smallest PNG there is.
    all.act(edit(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    ))
    .await;
    let room = all.get("/room/test", None).await.json();
    assert_eq!(
        (&room["name"], &room["description"], &room["write"]),
        (&"A better name".into(), &"two\nlines".into(), &false.into())
    );
    let image = room["image_id"].as_i64().expect("a picture");
    assert_eq!(
        all.get(&format!("/room/test/file/{image}"), None).await.status,
        200
    );
    all.act(undo()).await;
    let room = all.get("/room/test", None).await.json();
    assert_eq!(
        (&room["name"], room.get("image_id"), &room["write"]),
        (&"test".into(), None, &true.into())
    );
}

#[tokio::test]
async fn a_moderator_named_before_the_first_visit_has_the_rights_then() {
    let mut all = Community::new().await;
    all.stop().await;
    let boss = person(7);
    // The account id; the server will see a blinded one.
    let account = boss.session_id().to_string();
    let named = all
        .act(Operation::ModAdd {
            user: account.clone(),
            place: RoomScope::Global,
            admin: true,
            visible: None,
        })
        .await;
    assert_eq!(named.data["session_id"], account.as_str());
    all.start().await;
    let room = all.get("/room/test", Some(&boss)).await.json();
    assert_eq!(
        (&room["admin"], &room["global_admin"]),
        (&true.into(), &true.into())
    );
    // By now the person is known by the blinded id, whichever is named.
    let removed = all
        .act(Operation::ModRemove {
            user: account,
            place: RoomScope::Global,
        })
        .await;
    assert_eq!(removed.data["session_id"], shown(&all.key, &boss).as_str());
    assert_eq!(
        all.get("/room/test", Some(&boss)).await.json().get("admin"),
        None,
        "at once"
    );
    all.act(undo()).await;
    assert_eq!(all.get("/room/test", Some(&boss)).await.json()["admin"], true);
}

#[tokio::test]
async fn bans_hold_at_once_take_the_posts_along_and_can_be_taken_back() {
    let all = Community::new().await;
    let (alice, troll) = (person(1), person(2));
    for text in ["spam 1", "spam 2"] {
        assert_eq!(all.post("test", &troll, text).await.status, 201);
    }
    all.post("test", &alice, "hello").await;
    let user = shown(&all.key, &troll);
    let ban = Operation::BanAdd {
        user: user.clone(),
        place: rooms("test"),
        seconds: Some(3600.0),
        delete_posts: true,
    };
    let tried = all.try_act(ban.clone(), true).await.expect("dry run");
    assert_eq!((tried.changed, tried.undo), (3, None));
    assert_eq!(
        all.texts("test", None).await.len(),
        3,
        "a dry run changes nothing"
    );
    all.act(ban).await;
    assert_eq!(all.texts("test", None).await, ["hello"]);
    assert_eq!(all.post("test", &troll, "more").await.status, 403);
    let list = all.act(Operation::BanList).await;
    assert_eq!(list.data["bans"][0]["room"], "test");
    assert!(list.data["bans"][0]["until"].as_f64().expect("timed") > 0.0);
    all.act(undo()).await;
    assert_eq!(all.texts("test", None).await.len(), 3, "posts are back");
    assert_eq!(all.post("test", &troll, "sorry").await.status, 201);

    all.act(Operation::BanAdd {
        user: user.clone(),
        place: RoomScope::Global,
        seconds: None,
        delete_posts: false,
    })
    .await;
    let got = all.get("/rooms", Some(&troll)).await;
    assert_eq!((got.status.as_u16(), got.text().as_str()), (403, "Banned"));
    all.act(Operation::BanRemove {
        user: user.clone(),
        place: RoomScope::Global,
    })
    .await;
    assert_eq!(all.get("/rooms", Some(&troll)).await.status, 200);
    let error = all
        .try_act(
            Operation::BanRemove {
                user,
                place: RoomScope::Global,
            },
            false,
        )
        .await
        .expect_err("twice");
    assert_eq!(error.kind, AdminErrorKind::NotFound);

    // Everything is in the log, newest first.
    let log = all
        .act(Operation::LogList {
            limit: 50,
            room: None,
            actor: None,
            target: None,
            since: None,
            until: None,
        })
        .await;
    let actions: Vec<&str> = log.data["log"]
        .as_array()
        .expect("log")
        .iter()
        .filter_map(|row| row["action"].as_str())
        .collect();
    assert_eq!(actions, ["unban", "ban", "undo", "ban", "room_add"]);
    assert!(
        log.data["log"]
            .as_array()
            .expect("log")
            .iter()
            .all(|row| row["actor"] == "operator:tester")
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one community, step by step")]
async fn messages_are_deleted_by_number_by_author_and_by_phrase() {
    let all = Community::new().await;
    let (alice, troll) = (person(1), person(2));
    let mut ids = Vec::new();
    for (who, text) in [
        (&alice, "buy my COINS now"),
        (&troll, "nothing"),
        (&troll, "coins, coins"),
        (&alice, "hello"),
    ] {
        ids.push(
            all.post("test", who, text).await.json()["id"]
                .as_i64()
                .expect("id"),
        );
    }
    let phrase = Operation::MessageDeleteContaining {
        place: RoomScope::EveryRoom,
        text: "coins".into(),
        since: None,
        until: None,
    };
    let tried = all.try_act(phrase.clone(), true).await.expect("dry run");
    assert_eq!(tried.data["deleted"], 2);
    assert_eq!(
        tried.lines.last().map(String::as_str),
        Some("2 messages would be deleted")
    );
    all.act(phrase).await;
    assert_eq!(all.texts("test", None).await, ["hello", "nothing"]);
    all.act(undo()).await;
    assert_eq!(all.texts("test", None).await.len(), 4);
    all.act(Operation::MessageDelete {
        room: "test".into(),
        ids: vec![ids[0]],
        ranges: vec![],
    })
    .await;
    let gone = all
        .try_act(
            Operation::MessageDelete {
                room: "test".into(),
                ids: vec![ids[0]],
                ranges: vec![],
            },
            false,
        )
        .await
        .expect_err("gone");
    assert_eq!(gone.kind, AdminErrorKind::NotFound);
    all.act(Operation::MessageDeleteAll {
        user: shown(&all.key, &troll),
        place: rooms("test"),
        reactions: true,
        since: None,
        until: None,
    })
    .await;
    assert_eq!(all.texts("test", None).await, ["hello"]);
    // A client that follows by sequence number sees what came back.
    let top = all.get("/room/test", None).await.json()["message_sequence"]
        .as_i64()
        .expect("number");
    all.act(undo()).await;
    let news = all
        .get(&format!("/room/test/messages/since/{top}"), None)
        .await
        .json();
    assert_eq!(news.as_array().expect("list").len(), 2);
    let list = all
        .act(Operation::MessageList {
            room: "test".into(),
            limit: 10,
            before: None,
            user: None,
            ids: None,
            since: None,
            until: None,
        })
        .await;
    assert_eq!(
        list.data["messages"].as_array().expect("list").len(),
        4,
        "deleted ones are listed as such"
    );
}

#[tokio::test]
async fn filters_refuse_or_hide_and_hold_at_once() {
    let all = Community::new().await;
    let (alice, boss) = (person(1), person(7));
    all.act(Operation::ModAdd {
        user: shown(&all.key, &boss),
        place: rooms("test"),
        admin: false,
        visible: None,
    })
    .await;
    let add = |kind, pattern: &str, action, room: Option<&str>| Operation::FilterAdd {
        room: room.map(str::to_owned),
        kind,
        pattern: pattern.to_owned(),
        action,
        reply: Some("Mind your words".to_owned()),
    };
    all.act(add(FilterKind::Words, "darn, buy*", FilterAction::Reject, None))
        .await;
    all.act(add(
        FilterKind::Alphabet,
        "cyrillic",
        FilterAction::Hide,
        Some("test"),
    ))
    .await;
    let refused = all.post("test", &alice, "Darn it").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text().as_str()),
        (429, "Mind your words")
    );
    let hidden = all.post("test", &alice, "привет").await;
    assert_eq!(
        (hidden.status.as_u16(), &hidden.json()["filtered"]),
        (201, &true.into()),
        "{}",
        hidden.text()
    );
    assert_eq!(hidden.json()["held"], false, "a filter hides it");
    assert_eq!(all.post("test", &boss, "darn, moderators may").await.status, 201);
    assert_eq!(all.texts("test", Some(&alice)).await, ["darn, moderators may"]);
    let test = all
        .act(Operation::FilterTest {
            room: Some("test".into()),
            text: "buying мир".into(),
        })
        .await;
    assert_eq!(test.data["hits"].as_array().expect("hits").len(), 2);
    let bad = all
        .try_act(add(FilterKind::Regex, "(", FilterAction::Hide, None), false)
        .await
        .expect_err("no pattern");
    assert_eq!(bad.kind, AdminErrorKind::Usage);
    all.act(Operation::FilterRemove { id: 1 }).await;
    assert_eq!(all.post("test", &alice, "darn").await.status, 201);
    all.act(undo()).await;
    assert_eq!(all.post("test", &alice, "darn again").await.status, 429);
}

/// Returns the seconds that `Retry-After` gives.
fn wait(reply: &Got) -> u64 {
    let text = reply.headers["retry-after"].to_str().expect("text");
    text.parse().expect("seconds")
}

#[tokio::test]
async fn rate_slow_mode_and_size_follow_the_rules() {
    let all = Community::new().await;
    let (alice, bob) = (person(1), person(2));
    all.act(setting("rate_posts", "2")).await;
    assert_eq!(all.post("test", &alice, "1").await.status, 201);
    assert_eq!(all.post("test", &alice, "2").await.status, 201);
    let fast = all.post("test", &alice, "3").await;
    assert_eq!(fast.status, 429);
    // The window of the reference is 16 seconds; both posts of it are a moment old.
    assert!(matches!(wait(&fast), 10..=16), "{}", wait(&fast));
    all.act(Operation::SettingSet {
        room: Some("test".into()),
        name: "slow_seconds".into(),
        value: Some("3600".into()),
    })
    .await;
    assert_eq!(all.post("test", &bob, "1").await.status, 201);
    let slow = all.post("test", &bob, "2").await;
    assert_eq!(
        (slow.status.as_u16(), slow.text().as_str()),
        (429, "Rate limited")
    );
    assert!(matches!(wait(&slow), 3590..=3600), "{}", wait(&slow));
    all.act(setting("message_bytes", "200")).await;
    all.act(setting("rate_posts", "100")).await;
    let long = all.post("test", &person(3), &"x".repeat(300)).await;
    assert_eq!(
        (long.status.as_u16(), long.text().as_str()),
        (413, "Messages in this room are at most 200 bytes")
    );
    all.act(setting("file_bytes", "1000")).await;
    let file = ("application/octet-stream", vec![1; 2000]);
    assert_eq!(
        all.request(Method::POST, "/room/test/file", Some(&alice), Some(file))
            .await
            .status,
        413
    );
    let unknown = all
        .try_act(setting("no_such_rule", "1"), false)
        .await
        .expect_err("unknown");
    assert_eq!(unknown.kind, AdminErrorKind::Usage);
}

#[tokio::test]
async fn first_posts_wait_for_a_moderator() {
    let all = Community::new().await;
    let alice = person(1);
    all.act(setting("approve_first", "1")).await;
    let held = all.post("test", &alice, "may I?").await;
    assert_eq!(
        (held.status.as_u16(), &held.json()["filtered"]),
        (201, &true.into())
    );
    assert_eq!(held.json()["held"], true, "it waits for a moderator");
    let refused = all.post("test", &person(2), "spam").await.json()["id"]
        .as_i64()
        .expect("id");
    assert!(all.texts("test", None).await.is_empty());
    let top = all.get("/room/test", None).await.json()["message_sequence"]
        .as_i64()
        .expect("number");
    let list = all
        .act(Operation::HeldList {
            room: Some("test".into()),
        })
        .await;
    assert_eq!(list.data["held"][0]["text"], "may I?");
    let id = list.data["held"][0]["id"].as_i64().expect("id");
    all.act(Operation::HeldApprove { id }).await;
    all.act(Operation::HeldReject { id: refused }).await;
    assert_eq!(all.texts("test", None).await, ["may I?"]);
    let news = all
        .get(&format!("/room/test/messages/since/{top}"), None)
        .await
        .json();
    assert!(
        news.as_array().expect("list").iter().any(|row| row["id"] == id),
        "pollers get it as new: {news}"
    );
    assert_eq!(all.post("test", &alice, "thank you").await.status, 201);
    assert_eq!(all.texts("test", None).await.len(), 2, "a member by now");
    assert!(
        all.act(Operation::HeldList { room: None }).await.data["held"]
            .as_array()
            .expect("list")
            .is_empty()
    );
}

#[tokio::test]
async fn new_members_wait_and_direct_messages_have_gates() {
    let all = Community::new().await;
    let (alice, bob) = (person(1), person(2));
    all.get("/rooms", Some(&bob)).await;
    all.act(setting("dm_posts", "1")).await;
    let inbox = format!("/inbox/{}", shown(&all.key, &bob));
    let letter = || {
        Some((
            "application/json",
            serde_json::to_vec(&serde_json::json!({ "message": "aGVsbG8=" })).expect("json"),
        ))
    };
    let refused = all.request(Method::POST, &inbox, Some(&alice), letter()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.text().as_str()),
        (403, "Direct messages are open to members with at least 1 post")
    );
    assert_eq!(all.post("test", &alice, "hello").await.status, 201);
    assert_eq!(
        all.request(Method::POST, &inbox, Some(&alice), letter())
            .await
            .status,
        201
    );
    all.act(setting("dm_per_hour", "1")).await;
    assert_eq!(
        all.request(Method::POST, &inbox, Some(&alice), letter())
            .await
            .status,
        429
    );
    all.act(Operation::SettingSet {
        room: None,
        name: "dm_per_hour".into(),
        value: None,
    })
    .await;
    all.act(setting("dm_block_banned", "yes")).await;
    all.act(Operation::RoomAdd {
        room: "other".into(),
        name: None,
        description: None,
        permissions: PermissionChange::default(),
    })
    .await;
    all.act(Operation::BanAdd {
        user: shown(&all.key, &alice),
        place: rooms("other"),
        seconds: None,
        delete_posts: false,
    })
    .await;
    assert_eq!(
        all.request(Method::POST, &inbox, Some(&alice), letter())
            .await
            .status,
        403
    );

    all.act(setting("member_age_seconds", "3600")).await;
    let young = all.post("test", &person(3), "hi").await;
    assert_eq!(young.status, 403);
    assert_eq!(young.text(), "New members can post here in 60 minutes");
}

#[tokio::test]
async fn raid_mode_stops_newcomers_only_and_one_undo_ends_it() {
    let all = Community::new().await;
    let member = person(1);
    assert_eq!(all.post("test", &member, "I was here before").await.status, 201);
    all.act(Operation::RaidOn {
        room: None,
        seconds: None,
        reach_back: 0.0,
    })
    .await;
    let stranger = person(2);
    let stopped = all.post("test", &stranger, "raid!").await;
    assert_eq!(stopped.status, 403, "{}", stopped.text());
    assert_eq!(
        all.get("/room/test/messages/recent", Some(&stranger))
            .await
            .status,
        200,
        "they may read"
    );
    assert_eq!(all.post("test", &member, "not affected").await.status, 201);
    let letter = || Some(("application/json", br#"{"message":"aGVsbG8="}"#.to_vec()));
    let inbox = format!("/inbox/{}", shown(&all.key, &member));
    let stopped = all.request(Method::POST, &inbox, Some(&stranger), letter()).await;
    assert_eq!(stopped.status, 403, "no letters either: {}", stopped.text());
    let inbox = format!("/inbox/{}", shown(&all.key, &stranger));
    assert_eq!(
        all.request(Method::POST, &inbox, Some(&member), letter())
            .await
            .status,
        201
    );
    all.act(undo()).await;
    assert_eq!(all.post("test", &stranger, "hello then").await.status, 201);
    assert_eq!(
        all.act(Operation::RaidList).await.data["raids"]
            .as_array()
            .expect("list")
            .len(),
        0
    );
}

#[tokio::test]
async fn a_wave_of_newcomers_switches_raid_mode_on() {
    let all = Community::new().await;
    let member = person(1);
    assert_eq!(all.post("test", &member, "I was here before").await.status, 201);
    // The member must be older than the minute that is counted.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    all.act(setting("raid_new_users", "5")).await;
    let mut statuses = Vec::new();
    for number in 10..20 {
        statuses.push(all.post("test", &person(number), "raid").await.status.as_u16());
    }
    assert_eq!(statuses[..3], [201; 3]);
    assert_eq!(statuses[5..], [403; 5]);
    let list = all.act(Operation::RaidList).await;
    assert_eq!(list.data["raids"][0]["room"], "test");
    assert!(
        list.data["raids"][0]["reason"]
            .as_str()
            .expect("reason")
            .contains("new identities"),
        "{}",
        list.data
    );
    assert!(
        list.data["raids"][0]["until"].as_f64().is_some(),
        "it ends by itself"
    );
    let log = all
        .act(Operation::LogList {
            limit: 1,
            room: Some("test".into()),
            actor: Some("server".into()),
            target: None,
            since: None,
            until: None,
        })
        .await;
    assert_eq!(log.data["log"][0]["action"], "raid_on");
    all.act(undo()).await;
    assert_eq!(all.post("test", &person(30), "raid is over").await.status, 201);
}

#[tokio::test]
async fn acts_of_moderators_over_the_protocol_are_in_the_log() {
    let all = Community::new().await;
    let (boss, alice) = (person(7), person(1));
    let boss_id = shown(&all.key, &boss);
    all.act(Operation::ModAdd {
        user: boss_id.clone(),
        place: rooms("test"),
        admin: true,
        visible: None,
    })
    .await;
    let id = all.post("test", &alice, "delete me").await.json()["id"]
        .as_i64()
        .expect("id");
    let path = format!("/room/test/message/{id}");
    assert_eq!(
        all.request(Method::DELETE, &path, Some(&boss), None).await.status,
        200
    );
    let ban = Some(("application/json", br#"{"rooms":["test"]}"#.to_vec()));
    let path = format!("/user/{}/ban", shown(&all.key, &alice));
    assert_eq!(
        all.request(Method::POST, &path, Some(&boss), ban).await.status,
        200
    );
    let log = all
        .act(Operation::LogList {
            limit: 10,
            room: None,
            actor: Some(boss_id),
            target: None,
            since: None,
            until: None,
        })
        .await;
    assert_eq!(log.data["log"].as_array().expect("log").len(), 2, "{}", log.data);
}
