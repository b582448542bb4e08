//! Undo of what concerns files, and the last content of an edited message.

use http::Method;
use serde_json::json;
use sogs_server::admin::{Operation, RoomScope};

use super::later::{on_both, sql};
use super::support::{person, post_body};
use super::{Full, body};

fn days_from_now(days: f64) -> f64 {
    sogs_server::unix_now() + days * 86_400.0
}

/// Time until the file of a community expires, in days; `None` = never.
async fn days_left(full: &Full) -> Option<f64> {
    let store = &full.all.running.as_ref().expect("running").app().store;
    let file = store.any_file(full.file).await.expect("read").expect("the file");
    file.expiry
        .map(|expiry| (expiry - sogs_server::unix_now()) / 86_400.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_whose_time_is_over_stay_for_a_whole_lifetime_after_an_undo() {
    on_both(async |mut full| {
        let keep = Operation::FileKeep {
            place: RoomScope::EveryRoom,
        };
        let pin = Operation::MessagePin {
            room: "test".into(),
            id: full.message,
        };
        full.all
            .act(Operation::MessageUnpin {
                room: "test".into(),
                id: None,
            })
            .await;
        for operation in [keep, pin] {
            // On a stopped server, which does not clean up in between.
            full.all.stop().await;
            let over = days_from_now(-1.0);
            sql(
                &full.all,
                &format!("UPDATE files SET expiry = {over} WHERE id = {}", full.file),
            )
            .await;
            let done = full.all.act(operation.clone()).await;
            let lines = full.all.act(Operation::Undo { id: done.undo }).await.lines;
            assert!(
                lines
                    .iter()
                    .any(|line| line.contains("would have expired by now")),
                "{lines:?}"
            );
            full.all.start().await;
            let left = days_left(&full).await.expect("it expires");
            assert!((14.9..15.1).contains(&left), "{operation:?}: {left}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_picture_that_was_posted_outlives_its_message() {
    on_both(async |full| {
        let all = &full.all;
        let picture = body(&json!({ "image": full.file }));
        let set = all
            .request(Method::PUT, "/room/test", Some(&person(7)), picture)
            .await;
        assert_eq!(set.status, 200, "{}", set.text());
        assert_eq!(days_left(&full).await, None);
        let path = format!("/room/test/message/{}", full.message);
        assert_eq!(
            all.request(Method::DELETE, &path, Some(&person(7)), None)
                .await
                .status,
            200
        );
        assert_eq!(days_left(&full).await, None, "after the deletion");
        let store = &all.running.as_ref().expect("running").app().store;
        let room = store
            .room_by_token("test".into())
            .await
            .expect("read")
            .expect("a room");
        store
            .prune_messages(room.id, days_from_now(1.0))
            .await
            .expect("pruned");
        assert_eq!(days_left(&full).await, None, "after the retention");
        assert_eq!(room.image_id, Some(full.file));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_message_comes_back_as_an_edited_one() {
    on_both(async |full| {
        let (all, troll) = (&full.all, person(2));
        let path = format!("/room/test/message/{}", full.message);
        let edit = ("application/json", post_body(&all.key, &troll, "look again"));
        let edited = all.request(Method::PUT, &path, Some(&troll), Some(edit)).await;
        assert_eq!(edited.status, 200, "{}", edited.text());
        let seen = async || all.get(&path, None).await.json();
        let before = seen().await;
        assert!(before["edited"].is_f64(), "{before}");
        let deleted = all
            .act(Operation::MessageDelete {
                room: "test".into(),
                ids: vec![full.message],
                ranges: Vec::new(),
            })
            .await;
        all.act(Operation::Undo { id: deleted.undo }).await;
        let after = seen().await;
        assert_eq!(
            (&after["edited"], &after["data"]),
            (&before["edited"], &before["data"])
        );
    })
    .await;
}
