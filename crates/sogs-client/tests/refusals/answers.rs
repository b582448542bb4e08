//! Tests of answers that prove a call's success, and of answers that do not.

use serde_json::{Value, json};
use session_protocol::Identity;
use sogs_client::{Cause, Withheld};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{builder, fake, http, posted, room, secret};

#[tokio::test]
async fn posted_is_what_the_answer_shows() {
    let mine = |more: Value| async move {
        let (port, count) = fake(move |_, _, body| {
            let answer = posted(18, body, &more);
            http(201, "", answer.to_string().as_bytes())
        })
        .await;
        let result = room(builder(port)).post("x").await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        result
    };
    let whole = mine(Value::Null).await.unwrap();
    assert_eq!((whole.id, whole.withheld), (18, None));
    assert_eq!(whole.message.unwrap().body(), Some("x"));
    // Fields that prove nothing may be missing or new.
    let odd = mine(json!({ "seqno": null, "posted": "now", "more": [1] }))
        .await
        .unwrap();
    assert_eq!((odd.id, odd.message), (18, None));

    let other = Identity::from_seed([2; 32]).blind15(&secret().public()).id();
    for more in [
        json!({ "id": null }),
        json!({ "id": "7" }),
        json!({ "id": -1 }),
        json!({ "id": 0 }),
        json!({ "id": 7.5 }),
        json!({ "data": "aGVsbG8=" }),
        json!({ "data": null }),
        json!({ "session_id": other }),
        json!({ "session_id": null }),
    ] {
        let error = mine(more.clone()).await.unwrap_err();
        assert!(
            matches!(error.cause(), Cause::Unproven { withheld: None, .. }),
            "{more}: {error}"
        );
        assert!(error.is_ambiguous() && error.is_permanent(), "{error}");
        assert!(
            error.to_string().contains("accepted the message, but its answer"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_our_message_proves_nothing() {
    let long = format!(r#"{{"id":18,"data":"{}"}}"#, "A".repeat(200_000));
    for (status, body, id) in [
        (201, "{}", None),
        (201, "[]", None),
        (201, "<html>this is not JSON", None),
        (201, r#"{"reactions":{"id":9},"id": 17, "data""#, Some(17)),
        (201, long.as_str(), Some(18)),
        (200, "{}", None),
        (200, r#"{"id":4}"#, Some(4)),
    ] {
        let text = body.to_owned();
        let (port, _) = fake(move |_, _, _| http(status, "", text.as_bytes())).await;
        let error = room(builder(port).max_answer_bytes(10_000))
            .post("x")
            .await
            .unwrap_err();
        let Cause::Unproven { id: found, .. } = error.cause() else {
            panic!("{status} {error}");
        };
        assert_eq!((*found, error.status()), (id, Some(status)), "{error}");
    }
    // The whole message with another status than the protocol's.
    let (port, _) =
        fake(|_, _, body| http(200, "", posted(3, body, &Value::Null).to_string().as_bytes())).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert!(error.to_string().contains("status 200 instead of 201"), "{error}");

    let (port, _) = fake(|_, _, _| http(200, "", b"<html>Welcome to nginx</html>")).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs);
    let (empty, _) = fake(|_, _, _| http(204, "", b"")).await;
    let error = room(builder(empty)).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs);
    let error = room(builder(port)).replace(1, "x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs, "a page edits nothing");
    let error = room(builder(port)).delete(1).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs, "nor deletes");
    let error = room(builder(port).max_answer_bytes(5))
        .recent(sogs_client::ListOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::AnswerTooLong { limit: 5 });
}

#[tokio::test]
async fn files_and_direct_messages_need_the_servers_own_words_too() {
    for body in ["{}", r#"{"id":null}"#, r#"{"id":"7"}"#, r#"{"id":-1}"#] {
        let (port, _) = fake(move |_, _, _| http(201, "", body.as_bytes())).await;
        let upload = sogs_client::Upload::new(vec![7; 10]);
        let error = room(builder(port)).upload(upload).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::NotASogs, "{body}");
    }
    let id = |seed: u8| Identity::from_seed([seed; 32]).blind15(&secret().public()).id();
    for (sender, recipient, good) in [(id(1), id(2), true), (id(3), id(2), false), (id(1), id(3), false)] {
        let (port, _) = fake(move |_, _, _| {
            let receipt = json!({
                "id": 5, "posted_at": 1.5, "expires_at": 2.5, "sender": sender, "recipient": recipient,
            });
            http(201, "", receipt.to_string().as_bytes())
        })
        .await;
        let sent = builder(port)
            .build()
            .unwrap()
            .inbox()
            .send(&id(2), "x", None)
            .await;
        match sent {
            Ok(receipt) => assert!(good && receipt.id == 5),
            Err(error) => assert!(
                !good && matches!(error.cause(), Cause::Unproven { .. }),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn hidden_posts_are_withheld() {
    for (more, withheld) in [
        (json!({ "filtered": true }), Withheld::Unspecified),
        (json!({ "filtered": 1 }), Withheld::Unspecified),
        (json!({ "filtered": true, "held": true }), Withheld::Approval),
        (json!({ "filtered": true, "held": false }), Withheld::Filter),
    ] {
        let (port, _) =
            fake(move |_, _, body| http(201, "", posted(6, body, &more).to_string().as_bytes())).await;
        let posted = room(builder(port)).post("x").await.unwrap();
        assert_eq!((posted.id, posted.withheld), (6, Some(withheld)));
    }
    let (port, _) = fake(|_, _, _| http(201, "", br#"{"filtered":true}"#)).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert!(
        matches!(
            error.cause(),
            Cause::Unproven {
                withheld: Some(Withheld::Unspecified),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_edit_that_hides_the_message_is_withheld() {
    // Ackpost's server says so in its answer.
    for (words, withheld) in [
        (r#"{"filtered":true,"held":false}"#, Withheld::Filter),
        (r#"{"filtered":true}"#, Withheld::Unspecified),
    ] {
        let (port, _) = fake(move |_, _, _| http(200, "", words.as_bytes())).await;
        let edited = room(builder(port)).replace(7, "x").await.unwrap();
        assert_eq!(edited.withheld, Some(withheld));
    }
    // Others say nothing; the message is gone for everybody.
    for (status, withheld) in [
        (404, Some(Withheld::Unspecified)),
        (403, None),
        (500, None),
        (200, None),
    ] {
        let (port, _) = fake(move |_, head, _| {
            if head.starts_with("PUT ") {
                http(200, "", b"{}")
            } else {
                http(status, "", b"{}")
            }
        })
        .await;
        let edited = room(builder(port)).replace(7, "x").await.unwrap();
        assert_eq!(edited.withheld, withheld, "{status}");
    }
}

#[tokio::test]
async fn a_post_without_an_answer_may_have_arrived() {
    let (port, _) = fake(|_, _, _| Vec::new()).await;
    let quick = builder(port).read_timeout(Duration::from_millis(300));
    let silent = room(quick).post("x").await.unwrap_err();
    assert!(
        silent.remedy().contains("may have arrived") && silent.remedy().contains("rto="),
        "{silent}; {}",
        silent.remedy()
    );
    let (port, _) = fake(|_, _, _| http(502, "", b"")).await;
    let gateway = room(builder(port)).post("x").await.unwrap_err();
    assert!(gateway.remedy().contains("may have arrived"), "{gateway}");
    // The server's own word that it failed, and questions, leave nothing open.
    let (port, _) = fake(|_, _, _| http(500, "", b"")).await;
    let failed = room(builder(port)).post("x").await.unwrap_err();
    assert!(!failed.remedy().contains("may have arrived"), "{failed}");
    let (port, _) = fake(|_, _, _| http(502, "", b"")).await;
    let asked = room(builder(port)).info().await.unwrap_err();
    assert!(!asked.remedy().contains("may have arrived"), "{asked}");
}

#[tokio::test]
async fn a_post_whose_answer_is_lost_is_looked_for() {
    let stored = std::sync::Mutex::new(None);
    let (port, count) = fake(move |_, head, body| {
        let mut stored = stored.lock().unwrap();
        if head.starts_with("POST ") {
            *stored = Some(posted(18, body, &Value::Null));
            return http(502, "", b"");
        }
        let list: Vec<Value> = stored.iter().cloned().collect();
        http(200, "", Value::from(list).to_string().as_bytes())
    })
    .await;
    let found = room(builder(port)).post_or_find("x").await.unwrap();
    assert_eq!((found.id, found.withheld), (18, None));
    assert_eq!(count.load(Ordering::SeqCst), 2, "one post, one look");

    // A message that is not there stays open.
    let (port, _) = fake(|_, head, _| {
        if head.starts_with("POST ") {
            http(502, "", b"")
        } else {
            http(200, "", b"[]")
        }
    })
    .await;
    let error = room(builder(port)).post_or_find("x").await.unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
}
