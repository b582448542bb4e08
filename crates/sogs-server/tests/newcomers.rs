//! Newcomers in raid mode, people who are trusted, and the limits of edits and reactions.

mod support;

use http::Method;
use serde_json::json;
use sogs_server::admin::{Operation, PermissionChange, RoomScope};
use support::{Community, Got, person, shown};

fn setting(name: &str, value: &str) -> Operation {
    Operation::SettingSet {
        room: Some("test".into()),
        name: name.into(),
        value: Some(value.into()),
    }
}

fn raid_on() -> Operation {
    Operation::RaidOn {
        room: None,
        seconds: None,
        reach_back: 0.0,
    }
}

fn trust(user: String, write: Option<bool>) -> Operation {
    Operation::UserPermissions {
        user,
        room: "test".into(),
        permissions: PermissionChange {
            write,
            ..PermissionChange::default()
        },
        clear: write.is_none(),
    }
}

/// A server on SQLite, or on its own database in PostgreSQL.
async fn community(database: Option<&str>) -> Community {
    Community::with(|config| {
        if let Some(url) = database {
            url.clone_into(&mut config.database.url);
        }
    })
    .await
}

async fn react(all: &Community, who: u8, message: i64, reaction: &str) -> Got {
    let path = format!("/room/test/reaction/{message}/{reaction}");
    all.request_raw(Method::PUT, &path, &person(who)).await
}

async fn edit(all: &Community, who: u8, message: i64, text: &str) -> Got {
    let body = support::post_body(&all.key, &person(who), text);
    let path = format!("/room/test/message/{message}");
    all.request(
        Method::PUT,
        &path,
        Some(&person(who)),
        Some(("application/json", body)),
    )
    .await
}

fn answer(got: &Got) -> (u16, String) {
    (got.status.as_u16(), got.text())
}

fn wait(got: &Got) -> u64 {
    let text = got.headers["retry-after"].to_str().expect("text");
    text.parse().expect("seconds")
}

const ONLY_READ: &str = "New members can only read at the moment; please try again later";

#[tokio::test]
async fn newcomers_in_raid_mode_neither_react_nor_edit_nor_upload() {
    let all = community(None).await;
    let message = all.post("test", &person(1), "hello").await.json()["id"]
        .as_i64()
        .expect("id");
    let since = all.act(raid_on()).await;
    for newcomer in 10..20 {
        for reaction in ["👍", "buycoins", "t.me/x"] {
            assert_eq!(
                answer(&react(&all, newcomer, message, reaction).await),
                (403, ONLY_READ.to_owned())
            );
        }
        assert_eq!(
            answer(&all.post("test", &person(newcomer), "raid").await),
            (403, ONLY_READ.to_owned())
        );
    }
    let file = ("application/octet-stream", b"bytes".to_vec());
    let upload = all
        .request(Method::POST, "/room/test/file", Some(&person(10)), Some(file))
        .await;
    assert_eq!(upload.status, 403);
    assert_eq!(react(&all, 1, message, "👍").await.status, 200, "members react");
    all.act(Operation::Undo { id: since.undo }).await;
    // Somebody who posted just before raid mode began puts no other text there.
    let early = all.post("test", &person(30), "innocent").await.json()["id"]
        .as_i64()
        .expect("id");
    all.act(Operation::RaidOn {
        room: None,
        seconds: None,
        reach_back: 3600.0,
    })
    .await;
    assert_eq!(
        answer(&edit(&all, 30, early, "buy my coins").await),
        (403, ONLY_READ.to_owned())
    );
    // People may take back the reactions and posts they made.
    let path = format!("/room/test/message/{early}");
    assert_eq!(
        all.request(Method::DELETE, &path, Some(&person(30)), None)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn reactions_of_newcomers_trip_raid_mode() {
    let all = community(None).await;
    let message = all.post("test", &person(1), "hello").await.json()["id"]
        .as_i64()
        .expect("id");
    all.act(setting("raid_new_users", "5")).await;
    let mut statuses = Vec::new();
    for newcomer in 10..20 {
        statuses.push(react(&all, newcomer, message, "👎").await.status.as_u16());
    }
    assert_eq!(statuses[..4], [200; 4]);
    assert_eq!(statuses[4..], [403; 6]);
}

async fn trusted_people(database: Option<&str>) {
    let all = community(database).await;
    let id = |number: u8| shown(&all.key, &person(number));
    let message = all.post("test", &person(1), "hello").await.json()["id"]
        .as_i64()
        .expect("id");
    all.act(raid_on()).await;
    all.act(setting("member_age_seconds", "3600")).await;
    all.act(setting("approve_first", "2")).await;
    assert_eq!(all.post("test", &person(2), "no").await.status, 403);
    all.act(trust(id(2), Some(true))).await;
    let posted = all.post("test", &person(2), "trusted").await;
    assert_eq!(posted.status, 201, "{}", posted.text());
    assert_eq!(posted.json()["filtered"], json!(null), "not held");
    assert_eq!(react(&all, 2, message, "👍").await.status, 200);
    let file = ("application/octet-stream", b"bytes".to_vec());
    let upload = all
        .request(Method::POST, "/room/test/file", Some(&person(2)), Some(file))
        .await;
    assert_eq!(upload.status, 201);
    let letter = Some(("application/json", br#"{"message":"aGVsbG8="}"#.to_vec()));
    let inbox = format!("/inbox/{}", id(1));
    assert_eq!(
        all.request(Method::POST, &inbox, Some(&person(2)), letter)
            .await
            .status,
        201
    );
    // Posting ends with the permission.
    all.act(trust(id(2), None)).await;
    assert_eq!(all.post("test", &person(2), "no more").await.status, 403);
    // Trust is no way around a ban.
    all.act(trust(id(2), Some(true))).await;
    all.act(Operation::BanAdd {
        user: id(2),
        place: RoomScope::Global,
        seconds: None,
        delete_posts: false,
    })
    .await;
    assert_eq!(all.post("test", &person(2), "banned").await.status, 403);
}

#[tokio::test]
async fn trusted_people_are_exempt_on_sqlite() {
    trusted_people(None).await;
}

#[tokio::test]
async fn trusted_people_are_exempt_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    trusted_people(Some(database.url())).await;
}

#[tokio::test]
async fn edits_and_reactions_have_rates_of_their_own_and_respect_slow_mode() {
    let all = community(None).await;
    let message = all.post("test", &person(1), "0").await.json()["id"]
        .as_i64()
        .expect("id");
    // The limits of a room where nothing is set.
    let mut edits = Vec::new();
    for n in 1..=30 {
        edits.push(edit(&all, 1, message, &n.to_string()).await);
    }
    let refused: Vec<&Got> = edits.iter().filter(|got| got.status != 200).collect();
    assert_eq!(refused.len(), 10, "20 a minute");
    assert!(refused.iter().all(|got| got.status == 429 && wait(got) <= 61));
    let seqno = all.get("/room/test", None).await.json()["message_sequence"].clone();
    assert_eq!(seqno, 21, "what was refused is not a change for anybody");
    let mut reactions = Vec::new();
    for n in 0..40 {
        reactions.push(react(&all, 2, message, &format!("r{n}")).await.status.as_u16());
    }
    assert_eq!(reactions.iter().filter(|status| **status == 200).count(), 30);
    let path = format!("/room/test/reaction/{message}/r0");
    assert_eq!(
        all.request(Method::DELETE, &path, Some(&person(2)), None)
            .await
            .status,
        429,
        "to give and take back in turns is limited as well"
    );

    all.act(setting("rate_edits", "0")).await;
    all.act(setting("rate_reactions", "0")).await;
    assert_eq!(edit(&all, 1, message, "free").await.status, 200);
    all.act(setting("slow_seconds", "60")).await;
    let slow = all.post("test", &person(3), "slow").await.json()["id"]
        .as_i64()
        .expect("id");
    assert_eq!(edit(&all, 3, slow, "a typo").await.status, 200, "one edit");
    let second = edit(&all, 3, slow, "another text").await;
    assert_eq!(second.status, 429);
    assert!(matches!(wait(&second), 50..=61), "{}", wait(&second));
    assert_eq!(react(&all, 3, message, "👍").await.status, 200);
    assert_eq!(react(&all, 3, message, "👎").await.status, 429);
    // Moderators do not wait in slow mode; admins never do.
    for (user, admin) in [(4, false), (5, true)] {
        all.act(Operation::ModAdd {
            user: shown(&all.key, &person(user)),
            place: RoomScope::Rooms(vec!["test".into()]),
            admin,
            visible: None,
        })
        .await;
        for reaction in ["👍", "👎", "🎉"] {
            assert_eq!(react(&all, user, message, reaction).await.status, 200);
        }
    }
    all.act(setting("rate_reactions", "1")).await;
    assert_eq!(react(&all, 5, message, "🙂").await.status, 200);
}

async fn reaction_rules(database: Option<&str>) {
    let all = community(database).await;
    let message = all.post("test", &person(1), "hello").await.json()["id"]
        .as_i64()
        .expect("id");
    all.act(setting("reactions", "emoji")).await;
    let emoji_only = "Only emoji are allowed as reactions in this room";
    for text in ["buycoins", "t.me/x", "👍👍"] {
        assert_eq!(
            answer(&react(&all, 2, message, text).await),
            (403, emoji_only.to_owned())
        );
    }
    assert_eq!(react(&all, 2, message, "👍").await.status, 200);
    assert_eq!(react(&all, 2, message, "❤️").await.status, 200);
    all.act(setting("reaction_kinds", "2")).await;
    assert_eq!(
        answer(&react(&all, 3, message, "🎉").await),
        (
            403,
            "This message has as many different reactions as this room allows".to_owned()
        )
    );
    assert_eq!(
        react(&all, 3, message, "👍").await.status,
        200,
        "one that is there"
    );
    all.act(setting("reactions", "off")).await;
    assert_eq!(
        answer(&react(&all, 4, message, "👍").await),
        (403, "Reactions are off in this room".to_owned())
    );
    let path = format!("/room/test/reaction/{message}/👍");
    assert_eq!(
        all.request_raw(Method::DELETE, &path, &person(3)).await.status,
        200,
        "an own one can go"
    );
}

#[tokio::test]
async fn reactions_are_limited_per_room_on_sqlite() {
    reaction_rules(None).await;
}

#[tokio::test]
async fn reactions_are_limited_per_room_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    reaction_rules(Some(database.url())).await;
}
