//! Uploads and downloads.

use serde_json::json;
use session_protocol::auth::Signer;

use super::Stage;
use crate::common::{Body, message};

pub(super) async fn run(stage: &Stage) {
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
    let got = api.get(Some(a), &path).await.expect(200);
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
        api.get(Some(a), &format!("{path}/anything.bin"))
            .await
            .expect(200)
            .body,
        content
    );
    assert_eq!(
        api.get(Some(a), &format!("/room/test/file/{nameless}"))
            .await
            .header("content-disposition"),
        Some("attachment")
    );
    api.get(Some(a), &format!("/room/other/file/{id}"))
        .await
        .expect(404);
    api.get(Some(a), "/room/test/file/x").await.expect(404);
    api.get(None, &path).await.expect(404);
    // Attached it lasts longer; a second message does not take it over; deleting the message ends it.
    let mut body = message("with a file");
    body["files"] = json!([id]);
    let posted = api
        .post(Some(a), "/room/test/message", &body)
        .await
        .expect(201)
        .json();
    let got = api.get(None, &path).await.expect(200);
    assert_eq!(got.body, content, "attached to a message that everybody sees");
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
    assert_eq!(row(id).await, None, "gone at once");
    api.get(None, &path).await.expect(404);
    // A picture of the room stays; the one before it goes.
    let mut former = None;
    for _ in 0..2 {
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
        if let Some(former) = former.replace(picture) {
            assert_eq!(row(former).await, None, "gone at once");
        }
    }
}
