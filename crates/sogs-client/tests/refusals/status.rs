//! Status codes, clocks and blinding.

use sogs_client::{Blinding, Cause, Encrypt, Post};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{builder, created, fake, http, refusal, room};

#[tokio::test]
async fn each_status_has_its_cause_and_remedy() {
    let cases = [
        (400, "", "no data", Cause::BadRequest, true),
        (
            401,
            "",
            "X-SOGS-* request authentication required",
            Cause::AuthenticationRequired,
            true,
        ),
        (
            401,
            "",
            "Invalid authentication: X-SOGS-Signature verification failed",
            Cause::WrongServerKey,
            true,
        ),
        (403, "", "Banned", Cause::Banned, true),
        (403, "", "Permission denied", Cause::Forbidden, true),
        (
            404,
            "content-type: text/html\r\n",
            "<!doctype html><title>404</title>",
            Cause::NotFound,
            true,
        ),
        (405, "", "", Cause::NotASogs, true),
        (413, "", "", Cause::TooLarge, true),
        (429, "", "Rate limited", Cause::RateLimited, false),
        (
            429,
            "retry-after: 300\r\n",
            "Rate limited",
            Cause::RateLimited,
            false,
        ),
        (429, "", "filtration rejected message", Cause::Rejected, true),
        (500, "", "", Cause::ServerError, false),
        (503, "retry-after: 7\r\n", "", Cause::ServerError, false),
        (418, "", "", Cause::UnexpectedStatus, true),
    ];
    let mut remedies = std::collections::BTreeSet::new();
    for (status, headers, body, cause, permanent) in cases {
        let error = refusal(status, headers, body).await;
        assert_eq!((error.cause(), error.status()), (&cause, Some(status)), "{error}");
        assert_eq!(error.is_permanent(), permanent, "{error}");
        assert!(error.to_string().starts_with("127.0.0.1:"), "{error}");
        assert!(
            !error.to_string().contains('<'),
            "a page is not repeated: {error}"
        );
        remedies.insert(error.remedy());
    }
    assert!(remedies.len() >= 8);
    // Only what the server said is told as a number.
    assert!(
        remedies.contains("wait 300 seconds") && remedies.contains("wait a while"),
        "{remedies:?}"
    );
    assert_eq!(
        refusal(503, "retry-after: 7\r\n", "").await.retry_after(),
        Some(Duration::from_secs(7))
    );
    assert_eq!(
        refusal(429, "", "Rate limited").await.retry_after(),
        Some(Duration::from_secs(16))
    );
}

/// Other programs' ports: a plain web server, and one that speaks another protocol. Another try cannot help.
#[tokio::test]
async fn other_servers_are_reported_as_no_community_server() {
    let web = http(404, "content-type: text/html\r\n", b"<!doctype html>");
    let xmpp = b"<stream:error><not-well-formed/></stream:error></stream:stream>".to_vec();
    for encrypt in [Encrypt::No, Encrypt::Auto] {
        for (bytes, status) in [(web.clone(), Some(404)), (xmpp.clone(), None)] {
            let (port, _) = fake(move |_, _, _| bytes.clone()).await;
            let error = room(builder(port).blinding(Blinding::Auto).encrypt(encrypt))
                .post("x")
                .await
                .unwrap_err();
            // A login page on the way to the server may go away again.
            let unsealed = status.is_some() && encrypt == Encrypt::Auto;
            let cause = if unsealed {
                Cause::NotSealed
            } else {
                Cause::NotASogs
            };
            assert_eq!((error.cause(), error.status()), (&cause, status), "{error}");
            assert_eq!(error.is_permanent(), !unsealed, "{error}");
            assert!(error.remedy().contains("port"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_wrong_clock_is_measured() {
    let date = "date: Sat, 21 Nov 2015 20:12:55 GMT\r\n";
    let text = "Invalid authentication: X-SOGS-Timestamp is too far from current time";
    let error = refusal(425, date, text).await;
    let Cause::ClockSkew {
        offset_secs: Some(offset),
    } = error.cause()
    else {
        panic!("{error}")
    };
    assert!(*offset < -300_000_000, "{offset}");
    assert!(
        error.to_string().contains("days ahead of the server's"),
        "{error}"
    );
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn a_used_nonce_is_replaced_once() {
    let (port, count) = fake(|n, _, body| {
        if n == 0 {
            http(425, "", b"X-SOGS-Nonce cannot be reused")
        } else {
            created(5, body)
        }
    })
    .await;
    assert_eq!(room(builder(port)).post("x").await.unwrap().id, 5);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_account_is_blinded_when_the_server_says_so() {
    // The capabilities do not tell; the refusal does.
    let (port, _) = fake(|_, head, body| {
        let line = head.lines().next().unwrap();
        let blinded = head.to_ascii_lowercase().contains("x-sogs-pubkey: 15");
        if line.starts_with("GET /capabilities") {
            http(200, "", br#"{"capabilities":["sogs"]}"#)
        } else if blinded {
            created(8, body)
        } else {
            http(
                400,
                "",
                b"Invalid authentication: this server requires the use of blinded ids",
            )
        }
    })
    .await;
    let auto = room(builder(port).blinding(Blinding::Auto));
    assert_eq!(auto.post(Post::text("x")).await.unwrap().id, 8);
    assert_eq!(
        auto.server().my_id().await.unwrap().prefix(),
        session_protocol::Prefix::Blind15
    );
    let never = room(builder(port).blinding(Blinding::No));
    assert_eq!(
        never.post("x").await.unwrap_err().cause(),
        &Cause::BlindingRequired
    );
}
