//! Several processes on one PostgreSQL: they work as one.

use std::sync::Arc;

use serde_json::json;
use session_protocol::auth::Signer;

use sogs_server::store::{NonceRow, with_nonce};

use crate::common::{Api, make_admin, message, nonce, now, pairs, raw_http, room, somebody, start};
use crate::store::{known, open_url};

/// A database of its own, a configuration that names it, and the folder of the community.
async fn on_postgres() -> (ackpost_testkit::Database, sogs_server::Config, tempfile::TempDir) {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(folder.path());
    database.url().clone_into(&mut config.database.url);
    (database, config, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_agree() {
    let (_database, config, _folder) = on_postgres().await;
    let (one, two) = (start(config.clone()).await, start(config).await);
    room(&one, "r").await;
    let (first, second) = (Api::of(&one), Api::of(&two));
    assert_eq!(first.key, second.key);
    let admin = somebody();
    make_admin(&one, &admin).await;
    let admin = Signer::blind15(&admin, &first.key);

    // A post that one process has answered is known to the other at once, in both directions.
    let writers: Vec<Signer> = (0..4).map(|_| Signer::blind15(&somebody(), &first.key)).collect();
    for n in 0..20 {
        let (here, there) = if n % 2 == 0 {
            (&first, &second)
        } else {
            (&second, &first)
        };
        let posted = here
            .post(Some(&writers[n % 4]), "/room/r/message", &message(&n.to_string()))
            .await
            .expect(201)
            .json();
        let newest = there
            .get(None, "/room/r/messages/recent?limit=1")
            .await
            .expect(200)
            .json();
        assert_eq!(newest[0]["id"], posted["id"]);
        let known = posted["seqno"].as_i64().unwrap() - 1;
        let news = there
            .get(Some(&writers[0]), &format!("/room/r/messages/since/{known}?t=r"))
            .await
            .json();
        assert_eq!(news[0]["id"], posted["id"]);
    }
    // Rate limits are common: five posts were spent on both together.
    let limited = second
        .post(Some(&writers[0]), "/room/r/message", &message("six"))
        .await;
    assert_eq!(limited.status, 429);
    // Nonces are shared, too.
    let request = session_protocol::auth::Request {
        method: "GET",
        path: "/rooms",
        body: b"",
    };
    let headers = pairs(&request.sign(&writers[1], &first.key, &nonce(), now()));
    assert_eq!(
        raw_http(first.addr, "GET", "/rooms", &headers, b"")
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        raw_http(second.addr, "GET", "/rooms", &headers, b"")
            .await
            .unwrap()
            .status,
        425
    );
    // A ban, a permission and a description hold on the other server with the next request.
    let target = Signer::blind15(&somebody(), &first.key);
    second
        .get(Some(&target), "/room/r/messages/recent")
        .await
        .expect(200);
    first
        .post(
            Some(&admin),
            &format!("/user/{}/ban", target.shown_id()),
            &json!({"rooms": ["r"]}),
        )
        .await
        .expect(200);
    second
        .get(Some(&target), "/room/r/messages/recent")
        .await
        .expect(403);
    first
        .post(
            Some(&admin),
            &format!("/user/{}/unban", target.shown_id()),
            &json!({"rooms": ["r"]}),
        )
        .await
        .expect(200);
    second
        .get(Some(&target), "/room/r/messages/recent")
        .await
        .expect(200);
    second
        .put(Some(&admin), "/room/r", &json!({"name": "Both"}))
        .await
        .expect(200);
    assert_eq!(first.get(None, "/room/r").await.json()["name"], json!("Both"));
    let dm = json!({"message": "AAAA"});
    first.get(Some(&target), "/inbox").await.expect(200);
    second
        .post(Some(&admin), &format!("/inbox/{}", target.shown_id()), &dm)
        .await
        .expect(201);
    assert_eq!(
        first
            .get(Some(&target), "/inbox")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // A mixed load on both, then both say the same.
    let people: Arc<Vec<Signer>> = Arc::new(
        (0..24)
            .map(|_| Signer::blind15(&somebody(), &first.key))
            .collect(),
    );
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let (api, people) = (if n % 2 == 0 { first } else { second }, Arc::clone(&people));
            tokio::spawn(async move {
                let mut stored = 0;
                for count in 0..5 {
                    let got = api
                        .post(
                            Some(&people[n]),
                            "/room/r/message",
                            &message(&format!("{n} {count}")),
                        )
                        .await;
                    stored += usize::from(got.status == 201);
                    let path = format!("/room/r/reaction/{}/👍", got.json()["id"]);
                    api.put(Some(&people[(n + 1) % 24]), &path, &json!({}))
                        .await
                        .expect(200);
                    api.get(Some(&people[n]), "/room/r/messages/recent")
                        .await
                        .expect(200);
                }
                stored
            })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += task.await.unwrap();
    }
    assert_eq!(stored, 120);
    let all = "/room/r/messages/since/0?t=r&limit=256";
    let (a, b) = (
        first.get(None, all).await.json(),
        second.get(None, all).await.json(),
    );
    assert_eq!(a, b);
    assert_eq!(a.as_array().unwrap().len(), 140);
    let last = a
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["seqno"].as_i64().unwrap())
        .max();
    assert_eq!(
        first.get(None, "/room/r").await.json()["message_sequence"].as_i64(),
        last
    );
    assert_eq!(last, Some(20 + 240), "posts and reactions, without gaps");
    one.shutdown().await;
    second.get(None, "/rooms").await.expect(200);
    two.shutdown().await;
}

/// A rule or raid mode that one process has answered holds in the other with the next request, also if the other one
/// hears of no change.
#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_in_every_process_with_the_next_request() {
    let (database, config, _folder) = on_postgres().await;
    let (one, two) = (start(config.clone()).await, start(config).await);
    let room_id = room(&one, "r").await;
    let second = Api::of(&two);
    let store = &one.app().store;
    let who = Signer::blind15(&somebody(), &second.key);
    second
        .post(Some(&who), "/room/r/message", &message("known"))
        .await
        .expect(201);
    let tries = |status: u16| {
        let who = who.clone();
        async move {
            let long = message(&"x".repeat(150));
            let got = second.post(Some(&who), "/room/r/message", &long).await;
            assert_eq!(got.status, status, "{}", got.text());
        }
    };
    let rule = |name: &'static str, value: &'static str| {
        store.set_setting(room_id, name.to_owned(), Some(value.to_owned()))
    };
    rule("rate_posts", "1000").await.unwrap();
    for round in 0..20 {
        // Every few rounds the connection on which changes are announced is lost.
        if round % 5 == 4 {
            database.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                 AND query ILIKE 'listen%'",
            );
        }
        rule("message_bytes", "100").await.unwrap();
        tries(413).await;
        rule("message_bytes", "100000").await.unwrap();
        tries(201).await;
        let raid = sogs_server::model::raid::Raid {
            since: 0.0,
            until: None,
            reason: "test".into(),
        };
        store.set_raid(room_id, Some(raid)).await.unwrap();
        tries(403).await;
        store.set_raid(room_id, None).await.unwrap();
        tries(201).await;
    }
    one.shutdown().await;
    two.shutdown().await;
}

/// The nonce is committed before the write, without a flush; the flush of the write must cover both.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_outlives_the_database_keeps_its_nonce() {
    let mut cluster = tokio::task::spawn_blocking(ackpost_testkit::Postgres::start)
        .await
        .unwrap();
    let database = cluster.database();
    // The clusters of the tests do without; a real one has it on.
    database.sql(&format!(
        "ALTER DATABASE {} SET synchronous_commit = on",
        database.name()
    ));
    for round in 0..8_u8 {
        let store = open_url(database.url()).await.unwrap();
        let row = NonceRow {
            nonce: [round; 16],
            stamp: 1,
        };
        assert_eq!(store.pass(vec![row]).await.unwrap().fresh, [row.nonce]);
        let (written, _) = with_nonce(row, known(&store, &format!("05{round}"), 1.0)).await;
        cluster.kill();
        drop(store);
        cluster = tokio::task::spawn_blocking(move || {
            cluster.restart();
            cluster
        })
        .await
        .unwrap();
        let store = open_url(database.url()).await.unwrap();
        assert!(
            store.user_by_id(written).await.unwrap().is_some(),
            "round {round}"
        );
        assert!(store.nonce_used(row.nonce).await.unwrap(), "round {round}");
        store.close().await.unwrap();
    }
}
