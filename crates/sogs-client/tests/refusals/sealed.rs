//! Connections that are sealed to the key of the server.

use serde_json::{Value, json};
use session_protocol::ServerSecret;
use session_protocol::onion::v4;
use sogs_client::{Blinding, Cause, Encrypt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{builder, created, fake, http, posted, room, secret};

/// A server that opens sealed requests with one key and answers as told.
async fn sealed_server(key: ServerSecret) -> (u16, Arc<AtomicUsize>) {
    fake(move |_, head, body| {
        if !head.starts_with("POST /oxen/v4/lsrpc ") {
            // Answer of a server to a request that is signed for another key.
            return http(
                401,
                "",
                b"Invalid authentication: X-SOGS-Signature verification failed",
            );
        }
        let Ok((request, reply)) = v4::Request::open(body, &key) else {
            return http(400, "", b"Invalid request");
        };
        assert!(
            !head.to_ascii_lowercase().contains("x-sogs"),
            "nothing of the request shows outside"
        );
        let body = if request.endpoint == "/capabilities" {
            json!({"capabilities": ["blind", "sogs"]})
        } else {
            posted(4, request.body.as_deref().unwrap_or_default(), &Value::Null)
        };
        let response = v4::Response {
            code: if request.method == "POST" { 201 } else { 200 },
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        };
        http(
            200,
            "",
            &response.seal(&reply, &mut rand_core::UnwrapErr(getrandom::SysRng)),
        )
    })
    .await
}

#[tokio::test]
async fn plain_http_is_sealed_and_a_wrong_key_shows() {
    let (port, count) = sealed_server(secret()).await;
    let sealed = room(builder(port).encrypt(Encrypt::Auto).blinding(Blinding::Auto));
    assert!(sealed.server().is_sealed());
    assert_eq!(sealed.post("x").await.unwrap().id, 4);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert!(sealed.server().is_sealed());

    let (port, _) = sealed_server(ServerSecret::from_bytes([3; 32])).await;
    for encrypt in [Encrypt::Auto, Encrypt::Yes] {
        let error = room(builder(port).encrypt(encrypt)).post("x").await.unwrap_err();
        assert_eq!(error.cause(), &Cause::WrongServerKey, "{error}");
    }
    // An answer that somebody on the way made up does not open, whatever it looks like.
    for body in [&br#"{"id":1}"#[..], &[0xf3; 200]] {
        let (port, _) = fake(move |_, _, _| http(200, "", body)).await;
        let error = room(builder(port).encrypt(Encrypt::Yes))
            .post("x")
            .await
            .unwrap_err();
        assert!(
            matches!(error.cause(), Cause::WrongServerKey | Cause::NotSealed),
            "{error}"
        );
    }
    let (port, count) = fake(|_, _, _| http(200, "", &[0xf3; 200])).await;
    let error = room(builder(port).encrypt(Encrypt::Auto))
        .post("x")
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::WrongServerKey);
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "bytes that may be sealed are no reason to go on unsealed"
    );
}

/// An unsealed answer to a sealed request does not prove the server's key: no later request is sent in clear.
#[tokio::test]
async fn no_answer_on_the_way_opens_a_sealed_connection() {
    let portal = "<html><title>Log in to the network</title>";
    let answers = [
        (404, ""),
        (405, ""),
        (501, ""),
        (500, ""),
        (400, "?"),
        (200, portal),
        (200, "OK"),
        (201, r#"{"id":7,"more":"text that is long enough"}"#),
        (302, ""),
        (429, ""),
        (502, ""),
        (503, ""),
        (504, ""),
    ];
    for (status, body) in answers {
        for encrypt in [Encrypt::Auto, Encrypt::Yes] {
            let (port, count) = fake(move |_, head, sent| {
                assert!(head.starts_with("POST /oxen/v4/lsrpc "), "{head}");
                assert!(!head.to_ascii_lowercase().contains("x-sogs"), "{head}");
                assert!(
                    serde_json::from_slice::<Value>(sent).is_err(),
                    "nothing is sent in clear"
                );
                http(status, "", body.as_bytes())
            })
            .await;
            let room = room(builder(port).encrypt(encrypt).blinding(Blinding::Auto));
            let options = sogs_client::ListOptions::default();
            for error in [
                room.post("x").await.unwrap_err(),
                room.recent(options).await.unwrap_err(),
                room.info().await.unwrap_err(),
                room.server().inbox().received(None).await.unwrap_err(),
            ] {
                assert_eq!(error.status(), Some(status), "{error}");
                if matches!(error.cause(), Cause::NotSealed | Cause::WrongServerKey) {
                    assert!(error.remedy().contains("encrypt=no"), "{}", error.remedy());
                }
            }
            assert!(room.server().is_sealed());
            assert_eq!(count.load(Ordering::SeqCst), 4, "{status}: one request each");
        }
        // The user may say that it goes in clear.
        let (port, _) = fake(move |_, head, body| {
            if head.starts_with("POST /oxen/") {
                http(status, "", b"")
            } else {
                created(2, body)
            }
        })
        .await;
        assert_eq!(
            room(builder(port).encrypt(Encrypt::No))
                .post("x")
                .await
                .unwrap()
                .id,
            2
        );
    }
}

#[tokio::test]
async fn a_sealed_redirect_stays_at_home_and_sealed() {
    let redirecting = |to: &'static str| async move {
        fake(move |_, head, body| {
            assert!(head.starts_with("POST /oxen/v4/lsrpc "), "{head}");
            let (request, reply) = v4::Request::open(body, &secret()).unwrap();
            let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            let (code, body) = if request.endpoint.starts_with("/moved") {
                let body = posted(9, request.body.as_deref().unwrap_or_default(), &Value::Null);
                (201, body.to_string().into_bytes())
            } else {
                headers.push(("location".to_owned(), to.to_owned()));
                (307, Vec::new())
            };
            let response = v4::Response { code, headers, body };
            http(
                200,
                "",
                &response.seal(&reply, &mut rand_core::UnwrapErr(getrandom::SysRng)),
            )
        })
        .await
    };
    let (port, count) = redirecting("/moved/room/main/message").await;
    let sealed = room(builder(port).encrypt(Encrypt::Auto));
    assert_eq!(sealed.post("x").await.unwrap().id, 9);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let error = room(builder(port).encrypt(Encrypt::Auto).redirects(false))
        .post("x")
        .await
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::Redirected { .. }), "{error}");

    for to in ["http://127.0.0.1:1/moved/room/main/message", "/again"] {
        let (port, _) = redirecting(to).await;
        let error = room(builder(port).encrypt(Encrypt::Auto))
            .post("x")
            .await
            .unwrap_err();
        assert!(matches!(error.cause(), Cause::Redirected { .. }), "{error}");
    }
}
