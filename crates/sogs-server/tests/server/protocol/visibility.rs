//! Files are as visible as their messages, and hidden rooms do not exist.

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use sogs_server::admin::{Operation, PermissionChange, RoomScope};
use sogs_server::model::filter::{FilterAction, FilterKind};

use super::Stage;
use crate::common::{Body, Resp, message, now, operate, room};

async fn upload(stage: &Stage, who: &Signer, text: &str) -> i64 {
    let body = Body::raw(text.as_bytes(), &[]);
    stage
        .api
        .call(Some(who), "POST", "/room/test/file", body)
        .await
        .expect(201)
        .json()["id"]
        .as_i64()
        .expect("a number")
}

/// Posts a message with a file; returns the numbers of both.
async fn attach(stage: &Stage, who: &Signer, text: &str, more: &Value) -> (i64, i64) {
    let file = upload(stage, who, text).await;
    let mut body = message(text);
    body["files"] = json!([file]);
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let posted = stage.api.post(Some(who), "/room/test/message", &body).await;
    (posted.expect(201).json()["id"].as_i64().expect("a number"), file)
}

/// Statuses of a file for: no authentication, the author's room mates 1 and 2, the author, a moderator, an admin.
async fn seen_by(stage: &Stage, file: i64, author: &Signer) -> Vec<u16> {
    let mut statuses = Vec::new();
    let users = &stage.users;
    for who in [
        None,
        Some(&users[1]),
        Some(&users[2]),
        Some(author),
        Some(&stage.moderator),
        Some(&stage.admin),
    ] {
        let path = format!("/room/test/file/{file}/name.bin");
        statuses.push(stage.api.get(who, &path).await.status);
    }
    statuses
}

pub(super) async fn files(stage: &Stage) {
    let (api, author, moderator) = (&stage.api, &stage.users[0], &stage.moderator);
    let loose = upload(stage, author, "loose").await;
    assert_eq!(
        seen_by(stage, loose, author).await,
        [404, 404, 404, 200, 404, 404]
    );

    let (public, file) = attach(stage, author, "public", &Value::Null).await;
    assert_eq!(seen_by(stage, file, author).await, [200; 6]);
    api.delete(Some(author), &format!("/room/test/message/{public}"))
        .await
        .expect(200);
    assert_eq!(
        seen_by(stage, file, author).await,
        [404; 6],
        "deleted with its message"
    );

    let to = json!({"whisper_to": stage.users[1].shown_id().to_string()});
    let (_, file) = attach(stage, moderator, "for one", &to).await;
    assert_eq!(
        seen_by(stage, file, moderator).await,
        [404, 200, 404, 200, 200, 404]
    );
    let (_, file) = attach(stage, moderator, "for moderators", &json!({"whisper_mods": true})).await;
    assert_eq!(
        seen_by(stage, file, moderator).await,
        [404, 404, 404, 200, 200, 200]
    );

    operate(
        &stage.running,
        Operation::FilterAdd {
            room: Some("test".into()),
            kind: FilterKind::Words,
            pattern: "unwanted".into(),
            action: FilterAction::Hide,
            reply: None,
        },
    )
    .await;
    let (_, file) = attach(stage, author, "unwanted", &Value::Null).await;
    assert_eq!(
        seen_by(stage, file, author).await,
        [404, 404, 404, 200, 200, 200],
        "hidden"
    );

    // A room picture becomes public, so nobody can choose a file that they may not see.
    for hidden in [loose, 999_999] {
        api.put(Some(&stage.admin), "/room/test", &json!({"image": hidden}))
            .await
            .expect(406);
    }
    let picture = upload(stage, &stage.admin, "picture").await;
    api.put(Some(&stage.admin), "/room/test", &json!({"image": picture}))
        .await
        .expect(200);
    assert_eq!(seen_by(stage, picture, author).await, [200; 6]);
}

/// Every route below a room.
fn routes(token: &str) -> Vec<(&'static str, String, Body)> {
    let json = |value: Value| Body::json(&value);
    let id = format!("15{}", "0".repeat(64));
    [
        ("GET", "", Body::none()),
        ("PUT", "", json(json!({"name": "x"}))),
        ("GET", "/pollInfo/0", Body::none()),
        ("GET", "/messages/recent", Body::none()),
        ("GET", "/messages/before/9", Body::none()),
        ("GET", "/messages/since/0", Body::none()),
        ("POST", "/message", json(message("x"))),
        ("GET", "/message/1", Body::none()),
        ("PUT", "/message/1", json(message("x"))),
        ("DELETE", "/message/1", Body::none()),
        ("DELETE", "/all/ID", Body::none()),
        ("POST", "/pin/1", json(json!({}))),
        ("POST", "/unpin/1", json(json!({}))),
        ("POST", "/unpin/all", json(json!({}))),
        ("PUT", "/reaction/1/x", json(json!({}))),
        ("DELETE", "/reaction/1/x", Body::none()),
        ("DELETE", "/reactions/1", Body::none()),
        ("DELETE", "/reactions/1/x", Body::none()),
        ("GET", "/reactors/1/x", Body::none()),
        ("POST", "/file", Body::raw(b"x", &[])),
        ("GET", "/file/1", Body::none()),
        ("GET", "/permissions", Body::none()),
        ("GET", "/permissions/ID", Body::none()),
        ("POST", "/permissions/ID", json(json!({"read": true}))),
        ("GET", "/futurePermissions", Body::none()),
        ("GET", "/futurePermissions/ID", Body::none()),
        (
            "POST",
            "/futurePermissions/ID",
            json(json!({"read": true, "in": 5})),
        ),
    ]
    .into_iter()
    .map(|(method, rest, body)| (method, format!("/room/{token}{}", rest.replace("ID", &id)), body))
    .collect()
}

pub(super) async fn hidden_rooms(stage: &Stage) {
    let (api, user) = (&stage.api, &stage.users[2]);
    if stage.running.app().room("secret").await.unwrap().is_none() {
        room(&stage.running, "secret").await;
    }
    operate(
        &stage.running,
        Operation::RoomEdit {
            room: "secret".into(),
            name: None,
            description: None,
            permissions: PermissionChange {
                read: Some(false),
                accessible: Some(false),
                ..PermissionChange::default()
            },
            image: None,
        },
    )
    .await;
    let shown = |got: &Resp| {
        (
            got.status,
            got.text(),
            got.header("content-type").map(str::to_owned),
        )
    };
    for who in [None, Some(user)] {
        for ((method, path, body), (_, nowhere, _)) in routes("secret").into_iter().zip(routes("nowhere")) {
            let got = api.call(who, method, &path, body.clone()).await;
            let absent = api.call(who, method, &nowhere, body).await;
            assert_eq!(shown(&got), shown(&absent), "{method} {path}");
            assert_eq!(got.status, 404, "{method} {path}");
        }
        for path in ["/legacy/rooms/secret", "/legacy/rooms/secret/image"] {
            api.get(who, path).await.expect(404);
        }
        for header in ["/legacy/member_count", "/legacy/moderators"] {
            let body = Body::raw(b"", &[("room", "secret")]);
            api.call(who, "GET", header, body).await.expect(404);
        }
    }
    assert_ne!(api.get(Some(&stage.admin), "/room/secret").await.status, 404);
    // A ban from a hidden room does not tell that there is one.
    for (token, status) in [("secret", 404), ("test", 403)] {
        let banned = &stage.users[4];
        let ban = Operation::BanAdd {
            user: banned.shown_id().to_string(),
            place: RoomScope::Rooms(vec![token.into()]),
            seconds: Some(3600.0),
            delete_posts: false,
        };
        operate(&stage.running, ban).await;
        for (method, path, body) in routes(token) {
            let got = api.call(Some(banned), method, &path, body).await;
            // The description of a room is missing for the banned, as on the reference server.
            let is_info = (method, path.as_str()) == ("GET", "/room/test");
            assert_eq!(got.status, if is_info { 404 } else { status }, "{method} {path}");
            let until = got.header("x-sogs-banned-until").map(str::parse::<u64>);
            let place = got.header("x-sogs-banned");
            if status == 403 {
                let left = until.expect("a time").expect("a number") - now();
                assert!(
                    place == Some("room") && (3500..=3601).contains(&left),
                    "{method} {path}"
                );
            } else {
                assert_eq!((place, until), (None, None), "{method} {path}");
            }
        }
        let unban = Operation::BanRemove {
            user: banned.shown_id().to_string(),
            place: RoomScope::Rooms(vec![token.into()]),
        };
        operate(&stage.running, unban).await;
    }
    let room = "secret".to_owned();
    operate(&stage.running, Operation::RoomDelete { room }).await;
}
