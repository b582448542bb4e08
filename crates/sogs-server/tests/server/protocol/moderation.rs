//! Moderators, bans, permissions now and later.

use serde_json::{Value, json};
use session_protocol::auth::Signer;

use super::Stage;
use crate::common::{message, somebody};

pub(super) async fn run(stage: &Stage) {
    let (api, admin) = (&stage.api, &stage.admin);
    let target = Signer::blind15(&somebody(), &api.key);
    let id = target.shown_id();
    api.get(Some(&target), "/capabilities").await.expect(200);
    let act = |who: Option<&Signer>, what: &str, body: Value| {
        let (who, path) = (who.cloned(), format!("/user/{id}/{what}"));
        async move { api.post(who.as_ref(), &path, &body).await }
    };
    let rooms = json!(["test"]);
    // Malformed requests are refused.
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
        "a permanent ban replaces a timed one"
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
