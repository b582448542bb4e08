//! Sequences, the old onion and the old routes.

use serde_json::{Value, json};

use super::stage;
use crate::common::{Door, message};

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
    assert!(batch[1]["body"].is_string(), "what is not JSON comes as base64");
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
    use session_protocol::onion::{Cipher, v3};
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
