//! Direct messages between blinded ids.

use serde_json::json;

use super::{Stage, ids};
use crate::common::somebody;

pub(super) async fn run(stage: &Stage) {
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
