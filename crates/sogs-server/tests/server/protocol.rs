//! Every route and its edges, through every door, on both databases.

use serde_json::{Value, json};
use session_core::Identity;
use session_core::auth::Signer;
use sogs_server::{Config, Running};

use crate::common::{Api, Body, DOORS, Door, make_admin, message, room, somebody, start};

struct Stage {
    running: Running,
    api: Api,
    admin: Signer,
    moderator: Signer,
    users: Vec<Signer>,
    accounts: Vec<Identity>,
}

async fn stage(config: Config, door: Door) -> Stage {
    let running = start(config).await;
    for token in ["other", "test"] {
        if running.app().room(token).await.unwrap().is_none() {
            room(&running, token).await;
        }
    }
    let api = Api::of(&running).through(door);
    let admin_account = somebody();
    make_admin(&running, &admin_account).await;
    let accounts: Vec<Identity> = (0..6).map(|_| somebody()).collect();
    let users: Vec<Signer> = accounts
        .iter()
        .map(|who| Signer::blind15(who, &api.key))
        .collect();
    let admin = Signer::blind15(&admin_account, &api.key);
    let moderator = Signer::blind15(&somebody(), &api.key);
    api.get(Some(&admin), "/rooms").await.expect(200);
    api.post(
        Some(&admin),
        &format!("/user/{}/moderator", moderator.shown_id()),
        &json!({"rooms": ["test"], "moderator": true}),
    )
    .await
    .expect(200);
    for who in users.iter().chain([&moderator]) {
        api.get(Some(who), "/capabilities").await.expect(200);
    }
    Stage {
        running,
        api,
        admin,
        moderator,
        users,
        accounts,
    }
}

async fn say(api: &Api, who: &Signer, text: &str) -> Value {
    api.post(Some(who), "/room/test/message", &message(text))
        .await
        .expect(201)
        .json()
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_through_every_door() {
    for door in DOORS {
        let dir = tempfile::tempdir().unwrap();
        let stage = stage(crate::common::config(dir.path()), door).await;
        messages(&stage).await;
        stage.running.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_through_every_door() {
    for door in DOORS {
        let dir = tempfile::tempdir().unwrap();
        let stage = stage(crate::common::config(dir.path()), door).await;
        rooms(&stage).await;
        reactions_and_pins(&stage).await;
        files(&stage).await;
        moderation(&stage).await;
        direct_messages(&stage).await;
        stage.running.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_on_postgresql() {
    let database = tokio::task::spawn_blocking(|| testkit::Postgres::shared().database())
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    database.url().clone_into(&mut config.database.url);
    for door in [Door::Http, Door::OnionBatch] {
        let stage = stage(config.clone(), door).await;
        if door == Door::Http {
            messages(&stage).await;
        }
        rooms(&stage).await;
        reactions_and_pins(&stage).await;
        files(&stage).await;
        moderation(&stage).await;
        direct_messages(&stage).await;
        stage.running.shutdown().await;
    }
}

async fn messages(stage: &Stage) {
    let (api, a, b) = (&stage.api, &stage.users[0], &stage.users[1]);
    let first = say(api, a, "one").await;
    let second = say(api, b, "two").await;
    assert_eq!(
        first["seqno"].as_i64().unwrap() + 1,
        second["seqno"].as_i64().unwrap()
    );
    let (one, two) = (first["id"].as_i64().unwrap(), second["id"].as_i64().unwrap());
    let start = first["seqno"].as_i64().unwrap() - 1;

    // Lists: order, limits, bounds, and what is no number.
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

    // What is wrong with a post.
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

    // Whispers: who sees which.
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

    // Deleting all: of oneself, of others, of nobody.
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

async fn rooms(stage: &Stage) {
    let (api, a) = (&stage.api, &stage.users[0]);
    let poll = |n: i64| format!("/room/test/pollInfo/{n}");
    let info = api.get(Some(a), "/room/test").await.expect(200).json();
    let updates = info["info_updates"].as_i64().unwrap();
    assert!(
        api.get(Some(a), &poll(updates))
            .await
            .expect(200)
            .json()
            .get("details")
            .is_none()
    );
    assert!(api.get(Some(a), &poll(updates + 1)).await.expect(200).json()["details"].is_object());
    api.get(Some(a), "/room/test/pollInfo/x").await.expect(404);
    assert!(
        info.get("moderator").is_none()
            && info.get("default_read").is_none()
            && info.get("pinned_messages").is_none()
    );
    let seen = api.get(Some(&stage.moderator), "/room/test").await.json();
    assert_eq!(
        (&seen["moderator"], seen.get("admin"), &seen["default_write"]),
        (&json!(true), None, &json!(true))
    );
    assert!(
        info["moderators"]
            .as_array()
            .unwrap()
            .contains(&json!(stage.moderator.shown_id().to_string()))
    );

    // Changing it.
    api.put(None, "/room/test", &json!({"name": "x"}))
        .await
        .expect(401);
    let refused = api
        .put(Some(&stage.moderator), "/room/test", &json!({"name": "x"}))
        .await
        .expect(403);
    assert_eq!(refused.text(), "This endpoint requires admin room permissions");
    for bad in [
        json!({}),
        json!({"name": 5}),
        json!({"default_read": "no"}),
        json!({"nothing": 1}),
        json!([]),
    ] {
        api.put(Some(&stage.admin), "/room/test", &bad).await.expect(400);
    }
    api.put(Some(&stage.admin), "/room/test", &json!({"image": 999_999}))
        .await
        .expect(406);
    let fresh = crate::common::nonce();
    let changed = api
        .put(
            Some(&stage.admin),
            "/room/test",
            &json!({"name": format!("a\n{}", hex::encode(fresh)), "description": "l1\nl2\u{1}"}),
        )
        .await
        .expect(200)
        .json();
    assert!(changed["info_updates"].as_i64().unwrap() > updates);
    let now = api.get(None, "/room/test").await.json();
    assert_eq!(
        (&now["name"], &now["description"]),
        (&json!(format!("a{}", hex::encode(fresh))), &json!("l1\nl2"))
    );
    let same = api
        .put(
            Some(&stage.admin),
            "/room/test",
            &json!({"description": "l1\nl2"}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(same["info_updates"], changed["info_updates"], "nothing changed");
    api.put(Some(&stage.admin), "/room/test", &json!({"description": null}))
        .await
        .expect(200);
    assert!(
        api.get(None, "/room/test")
            .await
            .json()
            .get("description")
            .is_none()
    );

    // Defaults decide what those see who have no rights of their own.
    let counted = api.get(None, "/room/test").await.json()["info_updates"].clone();
    api.put(
        Some(&stage.admin),
        "/room/test",
        &json!({"default_read": false, "default_write": false}),
    )
    .await
    .expect(200);
    let locked = api.get(Some(a), "/room/test").await.expect(200).json();
    assert_eq!(
        (&locked["read"], &locked["write"], &locked["upload"]),
        (&json!(false), &json!(false), &json!(false))
    );
    assert_eq!(
        locked["info_updates"], counted,
        "defaults are no change of the description"
    );
    let refused = api.get(Some(a), "/room/test/messages/recent").await.expect(403);
    assert_eq!(
        refused.text(),
        "This endpoint requires room message 'read' permission"
    );
    api.get(Some(&stage.moderator), "/room/test/messages/recent")
        .await
        .expect(200);
    api.put(
        Some(&stage.admin),
        "/room/test",
        &json!({"default_accessible": false}),
    )
    .await
    .expect(200);
    api.get(Some(a), "/room/test").await.expect(404);
    api.get(None, "/room/test").await.expect(404);
    let listed = api.get(Some(a), "/rooms").await.json();
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|room| room["token"] != json!("test"))
    );
    let listed = api.get(Some(&stage.admin), "/rooms").await.json();
    let tokens: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|room| room["token"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, ["other", "test"]);
    api.put(
        Some(&stage.admin),
        "/room/test",
        &json!({"default_read": true, "default_write": true, "default_accessible": true}),
    )
    .await
    .expect(200);

    // Capabilities.
    assert_eq!(
        api.get(None, "/capabilities?required=sogs,blind")
            .await
            .expect(200)
            .json()["capabilities"],
        json!(["blind", "reactions", "sogs"])
    );
    assert_eq!(
        api.get(None, "/capabilities?required=nope,sogs")
            .await
            .expect(412)
            .json()["missing"],
        json!(["nope"])
    );
}

async fn reactions_and_pins(stage: &Stage) {
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

    // A whisper takes no reactions and no pin.
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

async fn files(stage: &Stage) {
    let (api, a) = (&stage.api, &stage.users[3]);
    let content: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let upload = |who: Option<&Signer>, bytes: &[u8], extra: &[(&str, &str)]| {
        let (who, body) = (who.cloned(), Body::raw(bytes, extra));
        async move { api.call(who.as_ref(), "POST", "/room/test/file", body).await }
    };
    upload(None, &content, &[]).await.expect(401);
    let named = [("Content-Disposition", "attachment; filename*=UTF-8''na%20me.txt")];
    let id = upload(Some(a), &content, &named).await.expect(201).json()["id"]
        .as_i64()
        .unwrap();
    let nameless = upload(Some(a), &content, &[]).await.expect(201).json()["id"]
        .as_i64()
        .unwrap();
    assert_ne!(id, nameless, "equal contents are two files");
    let path = format!("/room/test/file/{id}");
    let got = api.get(None, &path).await.expect(200);
    assert_eq!(
        (got.body.as_slice(), got.header("content-type")),
        (content.as_slice(), Some("application/octet-stream"))
    );
    assert_eq!(
        got.header("content-disposition"),
        Some("attachment; filename*=UTF-8''na%20me.txt")
    );
    assert!(got.header("expires").is_some() && got.header("date").is_some());
    assert_eq!(
        api.get(None, &format!("{path}/anything.bin"))
            .await
            .expect(200)
            .body,
        content
    );
    assert_eq!(
        api.get(None, &format!("/room/test/file/{nameless}"))
            .await
            .header("content-disposition"),
        Some("attachment")
    );
    api.get(None, &format!("/room/other/file/{id}")).await.expect(404);
    api.get(None, "/room/test/file/x").await.expect(404);
    // Attached it lasts longer; a second message does not take it over; deleting the message ends it.
    let mut body = message("with a file");
    body["files"] = json!([id]);
    let posted = api
        .post(Some(a), "/room/test/message", &body)
        .await
        .expect(201)
        .json();
    let row = |file: i64| {
        let store = stage.running.app().store.clone();
        async move {
            let room = store.room_by_token("test".into()).await.unwrap().unwrap();
            store.file(room.id, file).await.unwrap()
        }
    };
    let kept = row(id).await.unwrap();
    assert_eq!(kept.message_id, posted["id"].as_i64());
    assert!((kept.expiry.unwrap() - posted["posted"].as_f64().unwrap() - 15.0 * 86_400.0).abs() < 1.0);
    let mut theirs = message("stolen");
    theirs["files"] = json!([id, nameless]);
    api.post(Some(&stage.users[5]), "/room/test/message", &theirs)
        .await
        .expect(201);
    assert_eq!(row(id).await.unwrap().message_id, posted["id"].as_i64());
    assert_eq!(
        row(nameless).await.unwrap().message_id,
        None,
        "only the uploader attaches"
    );
    api.delete(Some(a), &format!("/room/test/message/{}", posted["id"]))
        .await
        .expect(200);
    assert_eq!(row(id).await.unwrap().expiry, Some(0.0));
    // A picture of the room stays; the one before it goes.
    for expected in [None, Some(0.0)] {
        let picture = upload(Some(&stage.admin), b"picture", &[])
            .await
            .expect(201)
            .json()["id"]
            .as_i64()
            .unwrap();
        api.put(Some(&stage.admin), "/room/test", &json!({"image": picture}))
            .await
            .expect(200);
        assert_eq!(
            api.get(None, "/room/test").await.json()["image_id"],
            json!(picture)
        );
        assert_eq!(row(picture).await.unwrap().expiry, None);
        if expected.is_some() {
            let before = row(picture - 1).await.unwrap();
            assert_eq!(before.expiry, Some(0.0));
        }
    }
}

async fn moderation(stage: &Stage) {
    let (api, admin) = (&stage.api, &stage.admin);
    let target = Signer::blind15(&somebody(), &api.key);
    let id = target.shown_id();
    api.get(Some(&target), "/capabilities").await.expect(200);
    let act = |who: Option<&Signer>, what: &str, body: Value| {
        let (who, path) = (who.cloned(), format!("/user/{id}/{what}"));
        async move { api.post(who.as_ref(), &path, &body).await }
    };
    let rooms = json!(["test"]);
    // What is no request.
    for bad in [
        json!({}),
        json!({"moderator": true}),
        json!({"rooms": [], "moderator": true}),
        json!({"rooms": "test", "moderator": true}),
        json!({"rooms": rooms, "global": true, "moderator": true}),
        json!({"rooms": rooms}),
        json!({"rooms": rooms, "admin": true, "moderator": false}),
        json!({"rooms": rooms, "admin": null, "moderator": null}),
        json!({"rooms": ["*", "test"], "moderator": true}),
        json!({"rooms": [5], "moderator": true}),
    ] {
        act(Some(admin), "moderator", bad).await.expect(400);
    }
    act(None, "moderator", json!({"rooms": rooms, "moderator": true}))
        .await
        .expect(401);
    act(
        Some(&stage.moderator),
        "moderator",
        json!({"rooms": rooms, "moderator": true}),
    )
    .await
    .expect(403);
    act(
        Some(admin),
        "moderator",
        json!({"rooms": ["nosuch"], "moderator": true}),
    )
    .await
    .expect(403);
    act(Some(&stage.moderator), "ban", json!({"global": true}))
        .await
        .expect(403);
    api.post(Some(admin), "/user/xyz/ban", &json!({"rooms": rooms}))
        .await
        .expect(404);

    // Up and down again; hidden ones are shown to moderators alone.
    let perms = format!("/room/test/permissions/{id}");
    let steps = [
        (
            json!({"rooms": rooms, "moderator": true}),
            json!({"moderator": true}),
        ),
        (json!({"rooms": rooms, "admin": true}), json!({"admin": true})),
        (json!({"rooms": rooms, "moderator": true}), json!({"admin": true})),
        (
            json!({"rooms": rooms, "admin": false}),
            json!({"moderator": true}),
        ),
        (
            json!({"rooms": rooms, "admin": true, "visible": false}),
            json!({"admin": true, "hidden": true}),
        ),
        (json!({"rooms": rooms, "moderator": false}), json!({})),
    ];
    for (body, expected) in steps {
        act(Some(admin), "moderator", body.clone()).await.expect(200);
        assert_eq!(
            api.get(Some(admin), &perms).await.expect(200).json(),
            expected,
            "{body}"
        );
        let public = api.get(None, "/room/test").await.json();
        let listed = |key: &str| public[key].as_array().unwrap().contains(&json!(id.to_string()));
        let hidden = expected.get("hidden").is_some();
        assert_eq!(listed("admins"), expected.get("admin").is_some() && !hidden);
        assert_eq!(listed("moderators"), expected.get("moderator").is_some());
        let inside = api.get(Some(admin), "/room/test").await.json();
        assert_eq!(
            inside
                .get("hidden_admins")
                .is_some_and(|list| list.as_array().unwrap().contains(&json!(id.to_string()))),
            hidden
        );
    }
    let before = api.get(None, "/room/other").await.json()["info_updates"]
        .as_i64()
        .unwrap();
    let global = act(
        Some(admin),
        "moderator",
        json!({"global": true, "moderator": true}),
    )
    .await
    .expect(200)
    .json();
    assert_eq!(
        global["info_updates"]["other"].as_i64(),
        Some(before + 1),
        "all rooms count it"
    );
    assert_eq!(
        api.get(Some(&target), "/room/other").await.json()["global_moderator"],
        json!(true)
    );
    act(Some(&stage.moderator), "ban", json!({"rooms": rooms}))
        .await
        .expect(403);
    act(Some(admin), "ban", json!({"global": true})).await.expect(403);
    act(
        Some(admin),
        "moderator",
        json!({"global": true, "moderator": false}),
    )
    .await
    .expect(200);

    // Bans.
    for bad in [
        json!({"rooms": rooms, "timeout": 0}),
        json!({"rooms": rooms, "timeout": "x"}),
        json!({"rooms": rooms, "timeout": -5}),
    ] {
        act(Some(admin), "ban", bad).await.expect(400);
    }
    let own = format!("/user/{}/ban", stage.moderator.shown_id());
    api.post(Some(&stage.moderator), &own, &json!({"rooms": rooms}))
        .await
        .expect(403);
    assert_eq!(
        act(
            Some(&stage.moderator),
            "ban",
            json!({"rooms": rooms, "timeout": 60})
        )
        .await
        .expect(200)
        .json(),
        json!({})
    );
    assert_eq!(api.get(Some(admin), &perms).await.json(), json!({"banned": true}));
    api.get(Some(&target), "/room/test").await.expect(404);
    api.get(Some(&target), "/room/test/messages/recent")
        .await
        .expect(403);
    api.post(Some(&target), "/room/test/message", &message("x"))
        .await
        .expect(403);
    api.get(Some(&target), "/room/other").await.expect(200);
    let futures = format!("/room/test/futurePermissions/{id}");
    let planned = api.get(Some(admin), &futures).await.expect(200).json();
    assert_eq!(
        (planned.as_array().unwrap().len(), &planned[0]["banned"]),
        (1, &json!(false))
    );
    act(Some(&stage.moderator), "ban", json!({"rooms": ["*"]}))
        .await
        .expect(200);
    assert_eq!(
        api.get(Some(admin), &futures).await.json(),
        json!([]),
        "a ban for good replaces one for a time"
    );
    act(Some(&stage.moderator), "unban", json!({"rooms": rooms}))
        .await
        .expect(200);
    api.get(Some(&target), "/room/test/messages/recent")
        .await
        .expect(200);
    act(Some(admin), "ban", json!({"global": true})).await.expect(200);
    assert_eq!(
        api.get(Some(&target), "/rooms").await.expect(403).text(),
        "Banned"
    );
    act(Some(admin), "unban", json!({"global": true}))
        .await
        .expect(200);
    api.get(Some(&target), "/rooms").await.expect(200);

    // Permissions of one user, now and later.
    let mine = api.get(Some(&target), &perms).await.expect(403);
    assert_eq!(mine.text(), "This endpoint requires moderator room permissions");
    api.get(None, &perms).await.expect(401);
    for bad in [
        json!({}),
        json!({"write": 1}),
        json!({"write": true, "default_write": true}),
        json!({"default_write": false}),
    ] {
        api.post(Some(admin), &perms, &bad).await.expect(400);
    }
    for bad in [
        json!({"in": 5}),
        json!({"write": true}),
        json!({"write": true, "in": 0}),
        json!({"write": true, "in": 1e9}),
        json!({"write": "x", "in": 5}),
    ] {
        api.post(Some(admin), &futures, &bad).await.expect(400);
    }
    let later = api
        .post(
            Some(admin),
            &futures,
            &json!({"write": true, "upload": false, "in": 3600}),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            &later[0]["write"],
            &later[0]["upload"],
            later[0].get("session_id")
        ),
        (&json!(true), &json!(false), None)
    );
    let set = api
        .post(Some(admin), &perms, &json!({"write": false, "unschedule": false}))
        .await
        .expect(200)
        .json();
    assert_eq!(set, json!({"write": false}));
    assert_eq!(
        api.get(Some(admin), &futures).await.json()[0]["write"],
        json!(true),
        "kept on request"
    );
    api.post(Some(&target), "/room/test/message", &message("x"))
        .await
        .expect(403);
    assert_eq!(
        api.get(Some(&target), "/room/test").await.json()["upload"],
        json!(false),
        "upload needs write"
    );
    api.post(Some(admin), &perms, &json!({"write": false}))
        .await
        .expect(200);
    let left = api.get(Some(admin), &futures).await.json();
    assert_eq!(
        (left[0].get("write"), &left[0]["upload"]),
        (None, &json!(false)),
        "setting one unschedules it"
    );
    api.post(
        Some(admin),
        &perms,
        &json!({"default_write": true, "upload": true}),
    )
    .await
    .expect(200);
    assert_eq!(api.get(Some(admin), &futures).await.json(), json!([]));
    let listed = api
        .get(Some(admin), "/room/test/permissions")
        .await
        .expect(200)
        .json();
    assert_eq!(listed[id.to_string()], json!({"upload": true}));
    assert_eq!(
        api.post(Some(admin), &perms, &json!({"default_upload": true}))
            .await
            .expect(200)
            .json(),
        json!({})
    );

    // An account id means the blinded user, of either sign, and also before the first visit.
    for account in &stage.accounts[..3] {
        let known = account.blind15(&api.key).id();
        api.post(
            Some(admin),
            &format!("/room/test/permissions/{}", account.session_id()),
            &json!({"upload": false}),
        )
        .await
        .expect(200);
        let listed = api.get(Some(admin), "/room/test/permissions").await.json();
        assert_eq!(listed[known.to_string()], json!({"upload": false}));
    }
    for blinding in [Signer::blind15, Signer::blind25] {
        for _ in 0..4 {
            let newcomer = somebody();
            let path = format!("/user/{}/moderator", newcomer.session_id());
            api.post(Some(admin), &path, &json!({"rooms": rooms, "moderator": true}))
                .await
                .expect(200);
            let listed = api.get(None, "/room/test").await.json()["moderators"].clone();
            assert!(
                listed
                    .as_array()
                    .unwrap()
                    .contains(&json!(newcomer.session_id().to_string()))
            );
            let who = blinding(&newcomer, &api.key);
            assert_eq!(
                api.get(Some(&who), "/room/test").await.expect(200).json()["moderator"],
                json!(true)
            );
            let listed = api.get(None, "/room/test").await.json()["moderators"].clone();
            assert!(
                listed
                    .as_array()
                    .unwrap()
                    .contains(&json!(who.shown_id().to_string()))
            );
            assert!(
                !listed
                    .as_array()
                    .unwrap()
                    .contains(&json!(newcomer.session_id().to_string()))
            );
        }
    }
}

async fn direct_messages(stage: &Stage) {
    let (api, a, b) = (&stage.api, &stage.users[0], &stage.users[1]);
    let to_b = format!("/inbox/{}", b.shown_id());
    api.post(None, &to_b, &json!({"message": "AAAA"}))
        .await
        .expect(401);
    for bad in [
        json!({}),
        json!({"message": 5}),
        json!({"message": "*"}),
        json!({"message": ""}),
    ] {
        api.post(Some(a), &to_b, &bad).await.expect(400);
    }
    let nobody = somebody().blind15(&api.key).id();
    api.post(Some(a), &format!("/inbox/{nobody}"), &json!({"message": "AAAA"}))
        .await
        .expect(404);
    assert_eq!(api.get(Some(b), "/inbox/since/0").await.status, 304);
    assert_eq!(api.get(Some(b), "/inbox").await.expect(200).json(), json!([]));
    let sent = api
        .post(Some(a), &to_b, &json!({"message": "AAAA"}))
        .await
        .expect(201)
        .json();
    assert_eq!(
        sent.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["expires_at", "id", "posted_at", "recipient", "sender"]
    );
    let second = api
        .post(Some(a), &to_b, &json!({"message": "AAAB"}))
        .await
        .expect(201)
        .json();
    let got = api.get(Some(b), "/inbox").await.expect(200).json();
    assert_eq!(
        ids(&got),
        [sent["id"].as_i64().unwrap(), second["id"].as_i64().unwrap()]
    );
    assert_eq!(
        (&got[0]["message"], &got[0]["sender"]),
        (&json!("AAAA"), &json!(a.shown_id().to_string()))
    );
    assert_eq!(
        ids(&api.get(Some(b), "/inbox?limit=1").await.json()),
        [sent["id"].as_i64().unwrap()]
    );
    assert_eq!(
        ids(&api
            .get(Some(b), &format!("/inbox/since/{}", sent["id"]))
            .await
            .expect(200)
            .json()),
        [second["id"].as_i64().unwrap()]
    );
    assert_eq!(
        api.get(Some(b), &format!("/inbox/since/{}", second["id"]))
            .await
            .status,
        304
    );
    assert_eq!(api.get(Some(a), "/outbox").await.json(), got);
    assert_eq!(
        api.get(Some(a), &format!("/outbox/since/{}", second["id"]))
            .await
            .status,
        304
    );
    assert_eq!(
        api.delete(Some(b), "/inbox").await.expect(200).json(),
        json!({"deleted": 2})
    );
    assert_eq!(api.get(Some(b), "/inbox").await.json(), json!([]));
    api.get(None, "/inbox").await.expect(401);
    api.post(
        Some(&stage.admin),
        &format!("/user/{}/ban", b.shown_id()),
        &json!({"global": true}),
    )
    .await
    .expect(200);
    api.post(Some(a), &to_b, &json!({"message": "AAAA"}))
        .await
        .expect(404);
    api.post(
        Some(&stage.admin),
        &format!("/user/{}/unban", b.shown_id()),
        &json!({"global": true}),
    )
    .await
    .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_stops_at_the_first_failure_and_a_batch_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(crate::common::config(dir.path()), Door::Http).await;
    let (api, a) = (&stage.api, &stage.users[0]);
    let list = json!([
        {"method": "POST", "path": "/room/test/message", "json": message("one")},
        {"method": "GET", "path": "/room/nosuch"},
        {"method": "POST", "path": "/room/test/message", "json": message("two")},
    ]);
    let sequence = api.post(Some(a), "/sequence", &list).await.expect(200).json();
    let codes = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["code"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&sequence), [201, 404]);
    let batch = api.post(Some(a), "/batch", &list).await.expect(200).json();
    assert_eq!(codes(&batch), [201, 404, 201]);
    assert!(batch[1]["body"].is_string(), "what is no JSON comes as base64");
    // A ban inside a batch holds for the rest of it.
    let own = stage.users[5].shown_id();
    let list = json!([
        {"method": "POST", "path": format!("/user/{own}/ban"), "json": {"rooms": ["test"]}},
        {"method": "POST", "path": format!("/user/{own}/unban"), "json": {"rooms": ["test"]}},
        {"method": "GET", "path": "/room/test/permissions/".to_owned() + &own.to_string()},
    ]);
    let done = api
        .post(Some(&stage.admin), "/sequence", &list)
        .await
        .expect(200)
        .json();
    assert_eq!(codes(&done), [200, 200, 200]);
    assert_eq!(done[2]["body"], json!({}));
    stage.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_onion_and_old_routes_work_and_can_be_switched_off() {
    use session_core::onion::{Cipher, v3};
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    for legacy in [true, false] {
        config.net.legacy_routes = legacy;
        let stage = stage(config.clone(), Door::Http).await;
        let ask = |endpoint: &'static str| {
            let request = v3::Request {
                method: "GET".into(),
                endpoint: endpoint.into(),
                headers: vec![],
                body: String::new(),
            };
            let sealed = request
                .seal(&stage.api.key, Cipher::AesGcm, &mut crate::common::Rng)
                .unwrap();
            let addr = stage.api.addr;
            async move {
                let got = crate::common::raw_http(addr, "POST", "/loki/v3/lsrpc", &[], &sealed.to_body())
                    .await
                    .unwrap();
                let body = v3::open_reply(&got.body, &sealed.reply).unwrap();
                serde_json::from_slice::<Value>(&body).unwrap()
            }
        };
        assert_eq!(ask("/capabilities").await["capabilities"][0], json!("blind"));
        assert_eq!(ask("/room/nosuch").await, json!({"status_code": 404}));
        let rooms = ask("rooms").await;
        if legacy {
            assert_eq!(rooms["rooms"][0]["id"], json!("other"));
        } else {
            assert_eq!(rooms, json!({"status_code": 404}));
        }
        stage.running.shutdown().await;
    }
}
