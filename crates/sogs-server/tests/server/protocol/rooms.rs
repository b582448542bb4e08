//! The list of rooms, their description and its changes.

use serde_json::json;

use super::Stage;

pub(super) async fn run(stage: &Stage) {
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

    // Changing the room.
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

    // Defaults decide what those see who have no individual rights.
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
        "defaults do not change the description"
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
