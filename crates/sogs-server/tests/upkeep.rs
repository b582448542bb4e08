//! Work of operators on rooms, pins and files, on both databases.

mod support;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use session_protocol::Identity;
use sogs_server::admin::{Answer, Operation, PermissionChange, RoomScope};
use support::{Community, person, shown};

async fn on_both<F: AsyncFn(&Community)>(check: F) {
    let all = Community::new().await;
    check(&all).await;
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .expect("a database");
    let url = database.url().to_owned();
    let all = Community::with(|config| config.database.url = url).await;
    check(&all).await;
}

async fn undo(all: &Community, answer: &Answer) {
    all.act(Operation::Undo { id: answer.undo }).await;
}

/// Posts a message with a file; the numbers of both.
async fn with_file(all: &Community, who: &Identity, text: &str) -> (i64, i64) {
    let file = ("application/octet-stream", text.as_bytes().to_vec());
    let uploaded = all
        .request(Method::POST, "/room/test/file", Some(who), Some(file))
        .await
        .json()["id"]
        .as_i64()
        .expect("a number");
    let mut body: Value = serde_json::from_slice(&support::post_body(&all.key, who, text)).expect("JSON");
    body["files"] = json!([uploaded]);
    let body = ("application/json", serde_json::to_vec(&body).expect("JSON"));
    let posted = all
        .request(Method::POST, "/room/test/message", Some(who), Some(body))
        .await;
    assert_eq!(posted.status, 201, "{}", posted.text());
    (posted.json()["id"].as_i64().expect("a number"), uploaded)
}

/// Days until a file expires; `None` = never.
async fn days_left(all: &Community, file: i64) -> Option<f64> {
    let store = all.running.as_ref().expect("running").app().store.clone();
    let room = store
        .room_by_token("test".into())
        .await
        .expect("store")
        .expect("room");
    let row = store.file(room.id, file).await.expect("store").expect("the file");
    row.expiry
        .map(|expiry| (expiry - sogs_server::unix_now()) / 86_400.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rooms_are_changed_together_and_back() {
    on_both(async |all| {
        let room = |token: &str, write| Operation::RoomAdd {
            room: token.into(),
            name: None,
            description: None,
            permissions: PermissionChange {
                write,
                ..PermissionChange::default()
            },
        };
        all.act(room("quiet", Some(false))).await;
        let writes = async || {
            let rooms = all.act(Operation::RoomList).await;
            let list = rooms.data["rooms"].as_array().expect("a list").clone();
            (
                list.iter().map(|room| room["write"] == true).collect::<Vec<_>>(),
                rooms.lines,
            )
        };
        let (before, lines) = writes().await;
        assert_eq!(before, [false, true], "quiet, test");
        assert!(
            lines[0].contains(" r--a ") && lines[1].contains(" rwua "),
            "{lines:?}"
        );
        let close = Operation::RoomEditEvery {
            permissions: PermissionChange {
                write: Some(false),
                ..PermissionChange::default()
            },
        };
        let closed = all.act(close.clone()).await;
        assert_eq!(closed.data["rooms"], json!(["test"]), "the other was so already");
        assert_eq!(writes().await.0, [false, false]);
        assert_eq!(all.post("test", &person(1), "closed").await.status, 403);
        let again = all.act(close).await;
        assert_eq!((again.changed, again.undo), (0, None));
        undo(all, &closed).await;
        assert_eq!(writes().await.0, [false, true]);
        let nothing = Operation::RoomEditEvery {
            permissions: PermissionChange::default(),
        };
        all.try_act(nothing, false).await.expect_err("nothing to change");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_pin_and_unpin_and_files_keep_their_lifetime() {
    on_both(async |all| {
        let (message, file) = with_file(all, &person(1), "to pin").await;
        let pinned = async || all.get("/room/test", None).await.json()["pinned_messages"].clone();
        let pin = Operation::MessagePin {
            room: "test".into(),
            id: message,
        };
        let done = all.act(pin.clone()).await;
        assert_eq!(pinned().await[0]["id"], message);
        assert_eq!(days_left(all, file).await, None);
        undo(all, &done).await;
        assert_eq!(pinned().await, Value::Null);
        assert!((14.9..15.1).contains(&days_left(all, file).await.expect("it expires")));

        all.act(pin).await;
        // An old file: counted from its upload, it would be gone at once.
        let unpin = |id| Operation::MessageUnpin {
            room: "test".into(),
            id,
        };
        let done = all.act(unpin(Some(message))).await;
        assert!(
            done.lines.join("\n").contains("1 file expire at"),
            "{:?}",
            done.lines
        );
        assert!((14.9..15.1).contains(&days_left(all, file).await.expect("it expires")));
        undo(all, &done).await;
        assert_eq!(pinned().await[0]["id"], message);
        assert_eq!(days_left(all, file).await, None);
        all.act(unpin(None)).await;
        assert_eq!(pinned().await, Value::Null);
        all.try_act(unpin(None), false)
            .await
            .expect_err("nothing is pinned");
        let absent = Operation::MessagePin {
            room: "test".into(),
            id: 999_999,
        };
        all.try_act(absent, false)
            .await
            .expect_err("there is no such message");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_permanently_and_released() {
    on_both(async |all| {
        let (_, file) = with_file(all, &person(1), "keep me").await;
        let keep = Operation::FileKeep {
            place: RoomScope::EveryRoom,
        };
        let tried = all.try_act(keep.clone(), true).await.expect("a dry run");
        assert_eq!(tried.data["files"], 1);
        assert!(days_left(all, file).await.is_some());
        let kept = all.act(keep.clone()).await;
        assert_eq!(days_left(all, file).await, None);
        assert_eq!(all.act(keep).await.changed, 0);
        undo(all, &kept).await;
        assert!((14.9..15.1).contains(&days_left(all, file).await.expect("it expires")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_show_their_sizes_and_lists_everybody_who_posted() {
    on_both(async |all| {
        for number in 1..=12 {
            assert_eq!(all.post("test", &person(number), "hello").await.status, 201);
        }
        let id = all.get("/room/test/messages/recent?limit=1", None).await.json()[0]["id"].clone();
        for number in 1..=3 {
            let body = ("application/json", b"{}".to_vec());
            let path = format!("/room/test/reaction/{id}/x");
            all.request(Method::PUT, &path, Some(&person(number)), Some(body))
                .await;
        }
        with_file(all, &person(1), "12345").await;
        let room = all.act(Operation::RoomShow { room: "test".into() }).await;
        let totals = &room.data["totals"];
        assert_eq!(
            (
                &totals["messages"],
                &totals["reactions"],
                &totals["files"],
                &totals["file_bytes"]
            ),
            (&json!(13), &json!(3), &json!(1), &json!(5)),
            "{totals}"
        );
        assert!(totals["message_bytes"].as_i64().expect("bytes") > 13 * 20);
        let text = room.lines.join("\n");
        assert!(
            text.contains("reactions    3") && text.contains("files        1 (5 bytes)"),
            "{text}"
        );
        let people = all
            .act(Operation::UserList {
                room: Some("test".into()),
                limit: 50,
                since: None,
                until: None,
                name: None,
            })
            .await;
        assert_eq!(people.lines.len(), 12, "{:?}", people.lines);

        let troll = shown(&all.key, &person(2));
        let banned = all
            .act(Operation::BanAdd {
                user: troll,
                place: RoomScope::Rooms(vec!["test".into()]),
                seconds: None,
                delete_posts: true,
            })
            .await;
        assert!(
            banned.lines[0].contains("deleted 1 post and 1 reaction"),
            "{:?}",
            banned.lines
        );
        let left = async || {
            all.get(&format!("/room/test/message/{id}"), None).await.json()["reactions"]["x"]["count"].clone()
        };
        assert_eq!(left().await, 2);
        undo(all, &banned).await;
        assert_eq!(left().await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_age_limit_says_how_much_it_removes() {
    let all = Community::new().await;
    all.post("test", &person(1), "old").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let limit = |value: &str| Operation::SettingSet {
        room: None,
        name: "retention_days".into(),
        value: Some(value.into()),
    };
    let tried = all.try_act(limit("0.0000001"), true).await.expect("a dry run");
    let text = tried.lines.join("\n");
    assert!(
        text.contains("1 message will be permanently removed") && text.contains("settings clear"),
        "{text}"
    );
    let harmless = all.try_act(limit("30"), true).await.expect("a dry run");
    assert!(!harmless.lines.join("\n").contains("older"));
}
