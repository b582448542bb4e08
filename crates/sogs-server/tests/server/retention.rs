//! Retention by room, from the setting to what clients see.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use sogs_server::admin::{AdminRequest, Operation, perform};

use crate::common::{Api, Body, make_admin, message, room, somebody, start};

#[tokio::test(flavor = "multi_thread")]
async fn messages_older_than_a_room_keeps_them_are_gone_and_polls_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "short").await;
    room(&running, "long").await;
    let account = somebody();
    make_admin(&running, &account).await;
    let setting = AdminRequest {
        actor: "tester".into(),
        dry_run: false,
        operation: Operation::SettingSet {
            room: Some("short".into()),
            name: "retention_days".into(),
            // The value is three seconds, in days.
            value: Some((3.0 / 86_400.0).to_string()),
        },
    };
    std::fs::write(dir.path().join("server.toml"), "").unwrap();
    perform(dir.path(), setting).await.unwrap();
    let api = Api::of(&running);
    let admin = Signer::blind15(&account, &api.key);
    let say = async |token: &str, text: &str| -> Value {
        api.post(Some(&admin), &format!("/room/{token}/message"), &message(text))
            .await
            .expect(201)
            .json()
    };
    let file = api
        .call(Some(&admin), "POST", "/room/short/file", Body::raw(b"kept?", &[]))
        .await
        .expect(201)
        .json()["id"]
        .clone();
    let mut with_file = message("with a file");
    with_file["files"] = json!([file]);
    let gone = api
        .post(Some(&admin), "/room/short/message", &with_file)
        .await
        .expect(201)
        .json();
    let pinned = say("short", "pinned").await;
    say("long", "kept").await;
    api.put(
        Some(&admin),
        &format!("/room/short/reaction/{}/x", gone["id"]),
        &json!({}),
    )
    .await
    .expect(200);
    api.post(
        Some(&admin),
        &format!("/room/short/pin/{}", pinned["id"]),
        &json!({}),
    )
    .await
    .expect(200);
    let before = api.get(None, "/room/short").await.json()["message_sequence"].clone();
    assert_eq!(before, json!(3));

    // The look for old messages belongs to the cleanup, ten seconds after the start.
    let began = Instant::now();
    loop {
        let list = api
            .get(None, "/room/short/messages/recent")
            .await
            .expect(200)
            .json();
        if list.as_array().unwrap().len() == 1 {
            assert_eq!(list[0]["id"], pinned["id"], "a pinned message stays");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{list}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    api.get(None, &format!("/room/short/message/{}", gone["id"]))
        .await
        .expect(404);
    // No client is notified: clients keep what they have, and the sequence goes on from where it was.
    assert_eq!(
        api.get(None, "/room/short").await.json()["message_sequence"],
        before
    );
    let poll = format!("/room/short/messages/since/{before}?t=r");
    assert_eq!(api.get(None, &poll).await.expect(200).json(), json!([]));
    let whole = api.get(None, "/room/short/messages/since/0?t=r").await.json();
    assert_eq!(whole.as_array().unwrap().len(), 1, "no tombstone: {whole}");
    let next = say("short", "new").await;
    assert_eq!(next["seqno"], json!(4));
    assert!(next["id"].as_i64() > pinned["id"].as_i64());
    assert_eq!(
        api.get(None, &poll).await.json().as_array().unwrap().len(),
        1,
        "the poll goes on"
    );
    assert_eq!(
        api.get(None, "/room/long/messages/recent")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1,
        "other rooms keep theirs"
    );
    // Its file went with it, at the latest with the next cleanup.
    while api.get(None, &format!("/room/short/file/{file}")).await.status != 404 {
        assert!(began.elapsed() < Duration::from_secs(90), "the file stays");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    running.shutdown().await;
}
