//! Reading, posting, editing and deleting messages.

use serde_json::json;

use super::{Stage, ids, say};
use crate::common::message;

pub(super) async fn run(stage: &Stage) {
    let (api, a, b) = (&stage.api, &stage.users[0], &stage.users[1]);
    let first = say(api, a, "one").await;
    let second = say(api, b, "two").await;
    assert_eq!(
        first["seqno"].as_i64().unwrap() + 1,
        second["seqno"].as_i64().unwrap()
    );
    let (one, two) = (first["id"].as_i64().unwrap(), second["id"].as_i64().unwrap());
    let start = first["seqno"].as_i64().unwrap() - 1;

    // Lists: order, limits, bounds, and what is not a number.
    assert_eq!(
        ids(&api
            .get(None, "/room/test/messages/recent?limit=2")
            .await
            .expect(200)
            .json()),
        [two, one]
    );
    assert_eq!(
        ids(&api
            .get(None, "/room/TEST/messages/recent?limit=1")
            .await
            .expect(200)
            .json()),
        [two]
    );
    assert_eq!(
        ids(&api
            .get(None, &format!("/room/test/messages/before/{two}?limit=1"))
            .await
            .expect(200)
            .json()),
        [one]
    );
    assert_eq!(
        ids(&api
            .get(None, &format!("/room/test/messages/since/{start}"))
            .await
            .expect(200)
            .json()),
        [one, two]
    );
    for bad in [
        "recent?limit=x",
        "recent?reactors=",
        "since/0?limit=1.5",
        "before/9?limit=z",
    ] {
        api.get(None, &format!("/room/test/messages/{bad}"))
            .await
            .expect(400);
    }
    for missing in ["since/x", "since/-1", "before/", "since", "recent/1"] {
        api.get(None, &format!("/room/test/messages/{missing}"))
            .await
            .expect(404);
    }
    api.get(None, "/room/test/message/999999").await.expect(404);
    api.get(None, "/room/other/message/1").await.expect(404);
    assert_eq!(
        api.get(None, &format!("/room/test/message/{one}"))
            .await
            .expect(200)
            .json()["id"],
        json!(one)
    );

    // Requests with faulty posts are refused.
    api.post(None, "/room/test/message", &message("x"))
        .await
        .expect(401);
    api.post(Some(a), "/room/nosuch/message", &message("x"))
        .await
        .expect(404);
    for bad in [
        json!({}),
        json!([]),
        json!({"data": "AAAA"}),
        json!({"data": "AAAA", "signature": "AAAA"}),
        json!({"data": 5, "signature": message("x")["signature"]}),
        json!({"data": "*", "signature": message("x")["signature"]}),
        json!({"data": "AAAA", "signature": message("x")["signature"], "files": "x"}),
        json!({"data": "AAAA", "signature": message("x")["signature"], "files": ["x"]}),
    ] {
        api.post(Some(a), "/room/test/message", &bad).await.expect(400);
    }
    for whisper in [
        json!({"whisper_to": b.shown_id().to_string()}),
        json!({"whisper_mods": true}),
    ] {
        let mut body = message("psst");
        body.as_object_mut()
            .unwrap()
            .extend(whisper.as_object().unwrap().clone());
        let refused = api.post(Some(a), "/room/test/message", &body).await.expect(403);
        assert_eq!(refused.text(), "Permission denied");
    }

    // Editing: the author alone, and an edit that changes nothing changes no number.
    let edited = format!("/room/test/message/{one}");
    assert_eq!(
        api.put(Some(a), &edited, &message("one, edited"))
            .await
            .expect(200)
            .json(),
        json!({})
    );
    let shown = api.get(None, &edited).await.json();
    assert!(shown["edited"].is_f64() && shown["data"] == message("one, edited")["data"]);
    api.put(Some(a), &edited, &message("one, edited"))
        .await
        .expect(200);
    assert_eq!(api.get(None, &edited).await.json()["seqno"], shown["seqno"]);
    for other in [b, &stage.moderator, &stage.admin] {
        assert_eq!(
            api.put(Some(other), &edited, &message("no"))
                .await
                .expect(403)
                .text(),
            "Permission denied"
        );
    }
    api.put(Some(a), "/room/test/message/999999", &message("no"))
        .await
        .expect(404);
    api.put(None, &edited, &message("no")).await.expect(401);

    // Visibility of whispers.
    let mut to_b = message("for b");
    to_b["whisper_to"] = json!(b.shown_id().to_string());
    let to_b = api
        .post(Some(&stage.moderator), "/room/test/message", &to_b)
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&to_b["whisper"], &to_b["whisper_mods"]),
        (&json!(true), &json!(false))
    );
    let mut to_mods = message("for moderators");
    to_mods["whisper_mods"] = json!(true);
    let to_mods = api
        .post(Some(&stage.admin), "/room/test/message", &to_mods)
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&to_mods["whisper_mods"], to_mods.get("whisper_to")),
        (&json!(true), None)
    );
    for (who, sees_b, sees_mods) in [
        (None, false, false),
        (Some(a), false, false),
        (Some(b), true, false),
        (Some(&stage.moderator), true, true),
        (Some(&stage.admin), false, true),
    ] {
        for _ in 0..2 {
            let list = ids(&api
                .get(who, "/room/test/messages/recent")
                .await
                .expect(200)
                .json());
            assert_eq!(list.contains(&to_b["id"].as_i64().unwrap()), sees_b, "{who:?}");
            assert_eq!(
                list.contains(&to_mods["id"].as_i64().unwrap()),
                sees_mods,
                "{who:?}"
            );
        }
        let single = api.get(who, &format!("/room/test/message/{}", to_b["id"])).await;
        assert_eq!(single.status == 200, sees_b, "{who:?}");
    }
    // A page is full although whispers to others lie between.
    assert_eq!(
        api.get(Some(a), "/room/test/messages/recent?limit=2")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // Deleting: tombstones for those who knew the message, numbers for its reactions too.
    api.put(Some(b), &format!("/room/test/reaction/{one}/👍"), &json!({}))
        .await
        .expect(200);
    api.put(Some(a), &format!("/room/test/reaction/{one}/🎉"), &json!({}))
        .await
        .expect(200);
    let before = api.get(None, "/room/test").await.json()["message_sequence"]
        .as_i64()
        .unwrap();
    assert_eq!(
        api.delete(Some(b), &edited).await.expect(403).text(),
        "Permission denied"
    );
    api.delete(None, &edited).await.expect(401);
    assert_eq!(api.delete(Some(a), &edited).await.expect(200).json(), json!({}));
    api.delete(Some(a), &edited).await.expect(404);
    api.get(None, &edited).await.expect(404);
    api.put(Some(a), &edited, &message("x")).await.expect(404);
    let after = api.get(None, "/room/test").await.json()["message_sequence"]
        .as_i64()
        .unwrap();
    assert_eq!(after, before + 3, "the deletion and two reactions");
    let since = api
        .get(None, &format!("/room/test/messages/since/{before}?t=r"))
        .await
        .expect(200)
        .json();
    let tomb = since
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["id"] == json!(one))
        .unwrap();
    assert_eq!(
        (&tomb["data"], &tomb["deleted"], tomb.get("signature")),
        (&json!(null), &json!(true), None)
    );
    assert_eq!(tomb["seqno"].as_i64(), Some(after));
    assert!(tomb.get("reactions").is_none() && tomb["session_id"].is_string() && tomb["posted"].is_f64());
    let unknown = api
        .get(None, &format!("/room/test/messages/since/{start}?t=r"))
        .await
        .json();
    assert!(
        !ids(&unknown).contains(&one),
        "whoever never saw it needs no tombstone"
    );

    // The rate limit: 5 in 16 seconds, but not for admins.
    for n in 0..4 {
        say(api, &stage.users[2], &n.to_string()).await;
        say(api, &stage.admin, &n.to_string()).await;
    }
    say(api, &stage.users[2], "five").await;
    say(api, &stage.admin, "five").await;
    say(api, &stage.admin, "six").await;
    let limited = api
        .post(Some(&stage.users[2]), "/room/test/message", &message("six"))
        .await
        .expect(429);
    assert_eq!(limited.text(), "Rate limited");
    api.post(
        Some(&stage.users[2]),
        "/room/other/message",
        &message("elsewhere"),
    )
    .await
    .expect(201);

    // Deleting all messages: of oneself, of others, of nobody.
    let two_id = stage.users[2].shown_id();
    api.delete(Some(a), &format!("/room/test/all/{two_id}"))
        .await
        .expect(403);
    api.delete(None, &format!("/room/test/all/{two_id}"))
        .await
        .expect(401);
    assert_eq!(
        api.delete(Some(&stage.moderator), &format!("/room/test/all/{two_id}"))
            .await
            .expect(200)
            .json(),
        json!({})
    );
    api.delete(Some(&stage.moderator), &format!("/room/test/all/{two_id}"))
        .await
        .expect(404);
    api.delete(
        Some(&stage.moderator),
        &format!("/room/test/all/{}", stage.admin.shown_id()),
    )
    .await
    .expect(403);
    let everywhere = api
        .delete(Some(&stage.users[2]), &format!("/rooms/all/{two_id}"))
        .await
        .expect(200)
        .json();
    assert_eq!(everywhere, json!({"rooms": {"other": 1, "test": 0}, "total": 1}));
    api.delete(Some(a), &format!("/rooms/all/{two_id}"))
        .await
        .expect(403);
    api.delete(Some(a), "/room/test/all/xyz").await.expect(404);
}
