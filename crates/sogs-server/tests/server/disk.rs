//! A disk or a database that takes nothing any more: a clear 503 for what would be stored, everything else goes on,
//! and all is well again without a restart.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::encoding::b64;

use crate::common::{Api, Body, Door, Resp, allow_large_messages, identity, message, room, start};

/// Checks the answer that a client gets.
pub(crate) fn assert_clear(refused: &Resp) {
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.text().contains("please try again later"));
}

async fn stored(api: &Api) -> Vec<Value> {
    let list = api.get(None, "/room/r/messages/since/0").await.expect(200).json();
    list.as_array().unwrap().clone()
}

/// Reads the same from a database whose connections were cut; retries while requests meet a cut connection and get
/// 503.
async fn stored_in_the_end(api: &Api) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let got = api.get(None, "/room/r/messages/since/0").await;
        if got.status == 200 {
            return got.json().as_array().unwrap().clone();
        }
        assert_clear(&got);
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "reading does not recover"
        );
    }
}

/// Makes every kind of request that asks the server to store something.
pub(crate) async fn writes(api: &Api, who: &Signer, id: &Value) -> Vec<Resp> {
    vec![
        api.post(Some(who), "/room/r/message", &message("stored?")).await,
        api.call(
            Some(who),
            "PUT",
            &format!("/room/r/message/{id}"),
            Body::json(&message("edited?")),
        )
        .await,
        api.call(
            Some(who),
            "PUT",
            &format!("/room/r/reaction/{id}/x"),
            Body::json(&json!({})),
        )
        .await,
        api.call(Some(who), "POST", "/room/r/file", Body::raw(&[7; 5000], &[]))
            .await,
        // Large enough to be received on the disk.
        api.call(Some(who), "POST", "/room/r/file", Body::raw(&[7; 500_000], &[]))
            .await,
        api.post(
            Some(who),
            &format!("/inbox/{}", who.shown_id()),
            &json!({"message": b64(b"direct")}),
        )
        .await,
        api.call(
            Some(who),
            "DELETE",
            &format!("/room/r/message/{id}"),
            Body::none(),
        )
        .await,
    ]
}

/// SQLite's own limit makes the database full at this size, with the same error as a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_gives_503_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    allow_large_messages(&running).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&identity(31), &api.key);
    api.post(Some(&who), "/room/r/message", &message("before"))
        .await
        .expect(201);
    let store = running.app().store.clone();
    let sogs_server::store::Backend::Sqlite(sqlite) = store.backend() else {
        panic!("embedded")
    };
    sqlite.limit_pages(true).await.unwrap();
    let big = json!({"data": b64(vec![1; 500_000]), "signature": b64([7; 64])});
    // Again and again: the connection is as usable after the tenth refusal as after the first.
    for _ in 0..10 {
        assert_clear(&api.post(Some(&who), "/room/r/message", &big).await);
        assert_eq!(stored(&api).await.len(), 1, "reading goes on");
    }
    let others: Vec<_> = (0..20)
        .map(|n| {
            let big = big.clone();
            tokio::spawn(async move {
                let who = Signer::blind15(&identity(31), &api.key);
                let kind = if n % 2 == 0 { &big } else { &message("small") };
                api.post(Some(&who), "/room/r/message", kind).await.status
            })
        })
        .collect();
    for other in others {
        let status = other.await.unwrap();
        assert!([201, 429, 503].contains(&status), "{status}");
    }
    sqlite.limit_pages(false).await.unwrap();
    let other = Signer::blind15(&identity(32), &api.key);
    let posted = api
        .post(Some(&other), "/room/r/message", &big)
        .await
        .expect(201)
        .json();
    let all = stored(&api).await;
    assert_eq!(posted["seqno"], json!(all.len()), "what was refused left no gap");
    running.shutdown().await;
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Killed {
    /// From now on the files of the process end at this size.
    fn limit_files(&self, bytes: &str) {
        let done = Command::new("prlimit")
            .args(["--pid", &self.0.id().to_string()])
            .arg(format!("--fsize={bytes}:"))
            .status()
            .expect("prlimit of util-linux");
        assert!(done.success());
    }
}

/// The system refuses every write of the process, to the database and to the folder of files, as a read-only or
/// broken disk does.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_gives_503_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "r").await;
    running.shutdown().await;
    let (child, addr, key) = crate::crash::spawn(dir.path());
    let server = Killed(child);
    let api = Api {
        addr,
        key,
        door: Door::Http,
    };
    let who = Signer::blind15(&identity(41), &api.key);
    let id = api
        .post(Some(&who), "/room/r/message", &message("before"))
        .await
        .expect(201)
        .json()["id"]
        .clone();
    server.limit_files("1");
    for _ in 0..3 {
        for refused in writes(&api, &who, &id).await {
            assert_clear(&refused);
        }
        assert_eq!(stored(&api).await.len(), 1, "reading goes on");
        let me = api.get(Some(&who), "/room/r/messages/recent").await.expect(200);
        assert_eq!(me.json()[0]["id"], id);
        api.get(Some(&who), "/rooms").await.expect(200);
    }
    server.limit_files("unlimited");
    for (done, status) in writes(&api, &who, &id)
        .await
        .iter()
        .zip([201, 200, 200, 201, 201, 201, 200])
    {
        assert_eq!(done.status, status, "{}", done.text());
    }
    let all = stored(&api).await;
    // Post, edit, reaction, deletion, the reaction gone with it.
    let last = all.iter().map(|row| row["seqno"].as_i64().unwrap()).max();
    assert_eq!(
        api.get(None, "/room/r").await.json()["message_sequence"],
        json!(6)
    );
    assert!(last <= Some(6));
    drop(server);
    // Everything that was written is complete.
    let running = start(crate::common::config(dir.path())).await;
    assert_eq!(stored(&Api::of(&running)).await, all);
    running.shutdown().await;
}

/// A PostgreSQL that goes away, returns read-only, and recovers.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_is_away_or_read_only_gives_503_and_recovers() {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let sql = |text: String| {
        let _ = database.sql(&text);
    };
    let end_sessions = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()",
        database.name()
    );
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    database.url().clone_into(&mut config.database.url);
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&identity(51), &api.key);
    api.post(Some(&who), "/room/r/message", &message("before"))
        .await
        .expect(201);

    sql(end_sessions.clone());
    let first = api.post(Some(&who), "/room/r/message", &message("away")).await;
    assert!([201, 503].contains(&first.status), "{}", first.text());
    becomes(&api, &who, 201).await;

    sql(format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    ));
    sql(end_sessions.clone());
    becomes(&api, &who, 503).await;
    let before = stored_in_the_end(&api).await;
    // From another database: this one accepts no change any more.
    ackpost_testkit::Postgres::shared().sql(&format!(
        "ALTER DATABASE {} RESET default_transaction_read_only",
        database.name()
    ));
    sql(end_sessions);
    becomes(&api, &who, 201).await;
    let after = stored_in_the_end(&api).await;
    assert_eq!(after[..before.len()], before[..]);
    running.shutdown().await;
}

/// Posts until the answer has this status; meanwhile there is none but 201 and 503.
pub(crate) async fn becomes(api: &Api, who: &Signer, status: u16) {
    let began = Instant::now();
    for n in 0.. {
        // Another author each time: the rate limit is none of this test's business.
        let other = Signer::blind15(&identity(60_000 + n), &api.key);
        let who = if n == 0 { who } else { &other };
        let got = api.post(Some(who), "/room/r/message", &message("again")).await;
        if got.status == 503 {
            assert_clear(&got);
        } else {
            assert_eq!(got.status, 201, "{}", got.text());
        }
        if got.status == status {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it stays {}",
            got.status
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
