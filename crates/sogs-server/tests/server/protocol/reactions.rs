//! Reactions and pinned messages.

use serde_json::{Value, json};

use super::{Stage, ids, say};
use crate::common::message;

pub(super) async fn run(stage: &Stage) {
    let (api, a, b) = (&stage.api, &stage.users[3], &stage.users[4]);
    let posted = say(api, a, "react to me").await;
    let id = posted["id"].as_i64().unwrap();
    let path = |emoji: &str| format!("/room/test/reaction/{id}/{emoji}");
    let put = |who, emoji: &str| {
        let path = path(emoji);
        async move { api.put(Some(who), &path, &json!({})).await }
    };
    let added = put(a, "👍").await.expect(200).json();
    assert_eq!(
        added,
        json!({"added": true, "seqno": posted["seqno"].as_i64().unwrap() + 1})
    );
    assert_eq!(put(a, "👍").await.expect(200).json()["added"], json!(false));
    put(b, "👍").await.expect(200);
    put(b, "🎉").await.expect(200);
    put(a, "a/b").await.expect(200);
    put(a, &"x".repeat(12)).await.expect(200);
    put(a, &"x".repeat(13)).await.expect(400);
    api.put(None, &path("👍"), &json!({})).await.expect(401);
    api.put(Some(a), "/room/test/reaction/999999/👍", &json!({}))
        .await
        .expect(404);

    let single = format!("/room/test/message/{id}");
    let map = api
        .get(Some(a), &format!("{single}?reactors=1"))
        .await
        .expect(200)
        .json()["reactions"]
        .clone();
    assert_eq!(
        map["👍"],
        json!({"count": 2, "you": true, "index": 0, "reactors": [a.shown_id().to_string()]}),
        "one is named, two are counted"
    );
    assert_eq!(
        map["🎉"],
        json!({"count": 1, "index": 1, "reactors": [b.shown_id().to_string()]})
    );
    let bare = api.get(None, &format!("{single}?reactors=0")).await.json();
    assert_eq!(bare["reactions"]["👍"], json!({"count": 2, "index": 0}));
    let only = api
        .get(
            Some(b),
            &format!("/room/test/messages/since/{}?t=r", posted["seqno"]),
        )
        .await
        .json();
    let only = only
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["id"] == json!(id))
        .unwrap()
        .clone();
    assert_eq!(
        only.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id", "seqno", "reactions"]
    );
    assert_eq!(only["reactions"]["🎉"]["you"], json!(true));
    let without = api
        .get(Some(b), &format!("/room/test/messages/since/{}", posted["seqno"]))
        .await
        .json();
    assert!(
        !ids(&without).contains(&id),
        "only those who ask hear of reactions"
    );

    let reactors = api
        .get(None, &format!("/room/test/reactors/{id}/👍"))
        .await
        .expect(200)
        .json();
    let names: Vec<&Value> = reactors.as_array().unwrap().iter().map(|pair| &pair[0]).collect();
    assert_eq!(
        names,
        [&json!(a.shown_id().to_string()), &json!(b.shown_id().to_string())]
    );
    assert_eq!(
        api.get(None, &format!("/room/test/reactors/{id}/👍?limit=1"))
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    api.get(None, "/room/test/reactors/999999/👍").await.expect(404);

    assert_eq!(
        api.delete(Some(a), &path("👍")).await.expect(200).json()["removed"],
        json!(true)
    );
    assert_eq!(
        api.delete(Some(a), &path("👍")).await.expect(200).json()["removed"],
        json!(false)
    );
    let all = format!("/room/test/reactions/{id}");
    api.delete(Some(a), &all).await.expect(403);
    assert_eq!(
        api.delete(Some(&stage.moderator), &format!("{all}/🎉"))
            .await
            .expect(200)
            .json()["removed"],
        json!(1)
    );
    assert_eq!(
        api.delete(Some(&stage.moderator), &all).await.expect(200).json()["removed"],
        json!(3)
    );
    assert_eq!(api.get(None, &single).await.json()["reactions"], json!({}));

    // A whisper accepts no reactions and no pin.
    let mut whisper = message("psst");
    whisper["whisper_to"] = json!(a.shown_id().to_string());
    let whisper = api
        .post(Some(&stage.admin), "/room/test/message", &whisper)
        .await
        .expect(201)
        .json()["id"]
        .clone();
    api.put(Some(a), &format!("/room/test/reaction/{whisper}/👍"), &json!({}))
        .await
        .expect(404);
    api.post(
        Some(&stage.admin),
        &format!("/room/test/pin/{whisper}"),
        &json!({}),
    )
    .await
    .expect(404);

    // Pins.
    let pin = format!("/room/test/pin/{id}");
    api.post(None, &pin, &json!({})).await.expect(401);
    api.post(Some(&stage.moderator), &pin, &json!({}))
        .await
        .expect(403);
    let updates = api
        .post(Some(&stage.admin), &pin, &json!({}))
        .await
        .expect(200)
        .json()["info_updates"]
        .as_i64()
        .unwrap();
    let again = api
        .post(Some(&stage.admin), &pin, &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        again,
        json!({"info_updates": updates + 1}),
        "pinning again counts"
    );
    let pins = api.get(None, "/room/test").await.json()["pinned_messages"].clone();
    assert_eq!((pins.as_array().unwrap().len(), &pins[0]["id"]), (1, &json!(id)));
    let unpin = format!("/room/test/unpin/{id}");
    let one = api
        .post(Some(&stage.admin), &unpin, &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(one, json!({"info_updates": updates + 2, "unpinned": true}));
    let none = api
        .post(Some(&stage.admin), &unpin, &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(none, json!({"info_updates": updates + 2, "unpinned": false}));
    api.post(Some(&stage.admin), &pin, &json!({})).await.expect(200);
    let all = api
        .post(Some(&stage.admin), "/room/test/unpin/all", &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(all["unpinned"], json!(1));
    // Deleting a pinned message unpins it.
    api.post(Some(&stage.admin), &pin, &json!({})).await.expect(200);
    api.delete(Some(a), &single).await.expect(200);
    assert!(
        api.get(None, "/room/test")
            .await
            .json()
            .get("pinned_messages")
            .is_none()
    );
    api.post(Some(&stage.admin), &pin, &json!({})).await.expect(404);
}
