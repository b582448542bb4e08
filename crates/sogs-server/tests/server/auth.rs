//! Authentication: every refusal, and which of two comes first.

use serde_json::json;
use session_protocol::auth::{Request, Signer};

use crate::common::{Api, Body, make_admin, nonce, now, pairs, raw_http, room, sign, somebody, start};

struct Case {
    name: &'static str,
    change: fn(&mut Vec<(String, String)>),
    status: u16,
    text: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "three missing",
        change: |h| h.truncate(1),
        status: 400,
        text: "Invalid authentication headers: missing 3/4 required X-SOGS-* headers",
    },
    Case {
        name: "one empty counts as missing",
        change: |h| h[2].1.clear(),
        status: 400,
        text: "Invalid authentication headers: missing 1/4 required X-SOGS-* headers",
    },
    Case {
        name: "missing comes before an undecodable key",
        change: |h| {
            h[0].1 = "zz".into();
            h.remove(3);
        },
        status: 400,
        text: "Invalid authentication headers: missing 1/4 required X-SOGS-* headers",
    },
    Case {
        name: "undecodable key",
        change: |h| h[0].1 = "zz".into(),
        status: 400,
        text: "Invalid authentication: X-SOGS-Pubkey is not a valid 66-hex digit id",
    },
    Case {
        name: "a prefix that is not a user's, before the point",
        change: |h| h[0].1 = format!("05{}", "00".repeat(32)),
        status: 400,
        text: "Invalid authentication: X-SOGS-Pubkey must be 00- or 15- prefixed",
    },
    Case {
        name: "no point, before a bad nonce",
        change: |h| {
            h[0].1 = format!("15{}", "ff".repeat(32));
            h[1].1 = "x".into();
        },
        status: 400,
        text: "Invalid authentication: given X-SOGS-Pubkey is not a valid Ed25519 pubkey",
    },
    Case {
        name: "undecodable nonce, before an old timestamp",
        change: |h| {
            h[1].1 = "x".into();
            h[2].1 = "1".into();
        },
        status: 400,
        text: "Invalid authentication: X-SOGS-Nonce must be 16 bytes (base64 or hex)",
    },
    Case {
        name: "undecodable signature, before an old timestamp",
        change: |h| {
            h[3].1 = "x".into();
            h[2].1 = "1".into();
        },
        status: 400,
        text: "Invalid authentication: X-SOGS-Signature must be 64 bytes (base64 or hex)",
    },
    Case {
        name: "no number",
        change: |h| h[2].1 = "soon".into(),
        status: 400,
        text: "Invalid authentication: X-SOGS-Timestamp is not a valid timestamp",
    },
    Case {
        name: "old, before the signature is looked at",
        change: |h| h[2].1 = (now() - 86_500).to_string(),
        status: 425,
        text: "Invalid authentication: X-SOGS-Timestamp is too far from current time",
    },
    Case {
        name: "from the future",
        change: |h| h[2].1 = (now() + 86_500).to_string(),
        status: 425,
        text: "Invalid authentication: X-SOGS-Timestamp is too far from current time",
    },
    Case {
        name: "within a day but another than was signed",
        change: |h| h[2].1 = (now() - 1000).to_string(),
        status: 401,
        text: "Invalid authentication: X-SOGS-Signature verification failed",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_text_in_the_order_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    for case in CASES {
        let mut headers = pairs(&sign(&api.key, &who, "GET", "/rooms", b""));
        (case.change)(&mut headers);
        let got = raw_http(api.addr, "GET", "/rooms", &headers, b"").await.unwrap();
        assert_eq!(
            (got.status, got.text().as_str()),
            (case.status, case.text),
            "{}",
            case.name
        );
        assert_eq!(
            got.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{}",
            case.name
        );
    }
    // An unknown path is refused for its headers before it is missed.
    let got = raw_http(
        api.addr,
        "GET",
        "/nope",
        &[("X-SOGS-Nonce".into(), "x".into())],
        b"",
    )
    .await
    .unwrap();
    assert_eq!(got.status, 400);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_all_kinds_are_known_as_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    let running = start(config.clone()).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let someone = somebody();
    let refused = api
        .get(Some(&Signer::account(&someone)), "/rooms")
        .await
        .expect(400);
    assert_eq!(
        refused.text(),
        "Invalid authentication: this server requires the use of blinded ids"
    );
    for who in [
        Signer::blind15(&someone, &api.key),
        Signer::blind25(&someone, &api.key),
    ] {
        let posted = api
            .post(Some(&who), "/room/r/message", &crate::common::message("x"))
            .await
            .expect(201);
        assert_eq!(posted.json()["session_id"], json!(who.shown_id().to_string()));
        // The key as base64 of 33 bytes, nonce and signature as hexadecimal.
        let request = Request {
            method: "GET",
            path: "/rooms",
            body: b"",
        };
        let signed = request.sign(&who, &api.key, &nonce(), now());
        let hex = |text: &str| hex::encode(session_protocol::encoding::from_b64(text).unwrap());
        let headers = vec![
            (
                "X-SOGS-Pubkey".to_owned(),
                session_protocol::encoding::b64(who.header_id().as_bytes()),
            ),
            ("X-SOGS-Nonce".to_owned(), hex(&signed.nonce)),
            ("X-SOGS-Timestamp".to_owned(), signed.timestamp.clone()),
            ("X-SOGS-Signature".to_owned(), hex(&signed.signature)),
        ];
        assert_eq!(
            raw_http(api.addr, "GET", "/rooms", &headers, b"")
                .await
                .unwrap()
                .status,
            200
        );
    }
    running.shutdown().await;
    config.users.require_blind_keys = false;
    let running = start(config).await;
    let api = Api::of(&running);
    assert_eq!(
        api.get(None, "/capabilities").await.json(),
        json!({"capabilities": ["reactions", "sogs"]})
    );
    let who = Signer::account(&someone);
    let posted = api
        .post(Some(&who), "/room/r/message", &crate::common::message("x"))
        .await
        .expect(201);
    assert_eq!(
        posted.json()["session_id"],
        json!(someone.session_id().to_string())
    );
    let got = api
        .post(
            Some(&who),
            &format!("/inbox/{}", someone.blind15(&api.key).id()),
            &json!({"message": "AAAA"}),
        )
        .await;
    assert_eq!(got.status, 403, "direct messages need a blinded id");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_counts_once_for_everybody_and_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let (a, b) = (
        Signer::blind15(&somebody(), &api.key),
        Signer::blind15(&somebody(), &api.key),
    );
    let fixed = nonce();
    let path = "/rooms";
    let signed = |who: &Signer| {
        pairs(
            &Request {
                method: "GET",
                path,
                body: b"",
            }
            .sign(who, &api.key, &fixed, now()),
        )
    };
    let headers = signed(&a);
    assert_eq!(
        raw_http(api.addr, "GET", path, &headers, b"")
            .await
            .unwrap()
            .status,
        200
    );
    let again = raw_http(api.addr, "GET", path, &headers, b"").await.unwrap();
    assert_eq!(
        (again.status, again.text().as_str()),
        (425, "Invalid authentication: X-SOGS-Nonce cannot be reused")
    );
    assert_eq!(
        raw_http(api.addr, "GET", path, &signed(&b), b"")
            .await
            .unwrap()
            .status,
        425,
        "over all users"
    );

    // A request that stored something is not stored twice, even when the server was restarted in between.
    let body = crate::common::message("once").to_string();
    let mut post = pairs(&sign(&api.key, &a, "POST", "/room/r/message", body.as_bytes()));
    post.push(("content-type".into(), "application/json".into()));
    assert_eq!(
        raw_http(api.addr, "POST", "/room/r/message", &post, body.as_bytes())
            .await
            .unwrap()
            .status,
        201
    );
    running.shutdown().await;
    let running = start(crate::common::config(dir.path())).await;
    let addr = running.local_addr();
    assert_eq!(
        raw_http(addr, "POST", "/room/r/message", &post, body.as_bytes())
            .await
            .unwrap()
            .status,
        425
    );
    assert_eq!(
        raw_http(addr, "GET", path, &headers, b"").await.unwrap().status,
        425
    );
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_is_said_before_the_signature_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    let api = Api::of(&running);
    let (admin, bad) = (somebody(), somebody());
    make_admin(&running, &admin).await;
    let admin = Signer::blind15(&admin, &api.key);
    let who = Signer::blind15(&bad, &api.key);
    // Banned by the account id, before the person ever came.
    api.post(
        Some(&admin),
        &format!("/user/{}/ban", bad.session_id()),
        &json!({"global": true}),
    )
    .await
    .expect(200);
    let first = api.get(Some(&who), "/capabilities").await;
    assert_eq!((first.status, first.text().as_str()), (403, "Banned"));
    let mut headers = pairs(&sign(&api.key, &who, "GET", "/rooms", b""));
    headers[3].1 = session_protocol::encoding::b64([1; 64]);
    let got = raw_http(api.addr, "GET", "/rooms", &headers, b"").await.unwrap();
    assert_eq!((got.status, got.text().as_str()), (403, "Banned"));
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_cover_the_decoded_path_and_the_raw_query() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let id = api
        .post(Some(&who), "/room/r/message", &crate::common::message("x"))
        .await
        .expect(201)
        .json()["id"]
        .clone();
    let path = format!("/room/r/reaction/{id}/👍🏽");
    api.call(Some(&who), "PUT", &path, Body::none()).await.expect(200);
    let query = "/room/r/messages/recent?limit=%31&x=%20";
    assert_eq!(
        api.get(Some(&who), query)
            .await
            .expect(200)
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    running.shutdown().await;
}
