//! Files in a bucket of a real S3-compatible store, and what clients see while the store is away or misbehaves.

use std::path::Path;
use std::time::{Duration, Instant};

use ackpost_testkit::{FakeS3, FakeS3Mode, ObjectStore};
use serde_json::json;
use session_protocol::ServerKey;
use session_protocol::auth::Signer;
use sogs_server::{Config, ContentError};

use crate::common::{
    Api, Body, identity, in_bucket, make_admin, message, room, shared_store, somebody, start,
};

/// Objects below a folder of the store, without the note whose they are.
pub(crate) fn objects(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() >= 64)
        .collect();
    names.sort();
    names
}

/// Person who uploads: the files are attached to no message, so nobody else may fetch them.
pub(crate) fn uploader(key: &ServerKey) -> Signer {
    Signer::blind15(&identity(690_000), key)
}

/// Bytes that no other file has.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub(crate) async fn upload(api: &Api, who: &Signer, bytes: &[u8]) -> i64 {
    api.call(Some(who), "POST", "/room/r/file", Body::raw(bytes, &[]))
        .await
        .expect(201)
        .json()["id"]
        .as_i64()
        .unwrap()
}

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(40), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_to_the_bucket_and_back_and_expire() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    let prefix = in_bucket(&mut config, store);
    config.files.unattached_seconds = 12.0;
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = uploader(&api.key);
    let began = Instant::now();
    let mut files = Vec::new();
    // In memory, above the limit for memory, of several pieces, on the borders of a piece.
    for size in [1, 100_000, 262_143, 262_144, 262_145, 3_000_000] {
        let bytes = content(size);
        files.push((upload(&api, &who, &bytes).await, bytes));
    }
    let twin = upload(&api, &who, &files[1].1).await;
    files.push((twin, files[1].1.clone()));
    for (id, bytes) in &files {
        let got = api
            .get(Some(&who), &format!("/room/r/file/{id}"))
            .await
            .expect(200);
        assert!(got.body == *bytes, "file {id}");
        let sealed = api
            .through(crate::common::Door::OnionGcm)
            .get(Some(&who), &format!("/room/r/file/{id}"))
            .await
            .expect(200);
        assert!(sealed.body == *bytes, "file {id} through an onion");
    }
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "the rest of the test needs files that are there"
    );
    let folder = store.folder(&prefix);
    assert_eq!(
        objects(&folder).len(),
        files.len(),
        "each upload has its own object"
    );
    let arriving = std::fs::read_dir(dir.path().join("uploads/tmp")).unwrap().count();
    assert_eq!(arriving, 0, "nothing stays on the disk");
    assert_eq!(
        std::fs::read_dir(dir.path().join("uploads")).unwrap().count(),
        1,
        "only tmp"
    );
    eventually("expired files leave the bucket", || objects(&folder).is_empty()).await;
    api.get(Some(&who), &format!("/room/r/file/{twin}"))
        .await
        .expect(404);
    running.shutdown().await;
}

/// A number of `/metrics`.
fn counted(metrics: std::net::SocketAddr, name: &str) -> f64 {
    use std::io::{Read as _, Write as _};
    let mut connection = std::net::TcpStream::connect(metrics).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let prefix = format!("ackpost_{name} ");
    let line = answer.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("{name} in {answer}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_is_503_and_loses_nothing() {
    let mut store = tokio::task::spawn_blocking(ObjectStore::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    in_bucket(&mut config, &store);
    let metrics = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.metrics.listen = Some(metrics);
    let running = start(config.clone()).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = uploader(&api.key);
    let bytes = content(400_000);
    let id = upload(&api, &who, &bytes).await;
    let path = format!("/room/r/file/{id}");
    let account = somebody();
    make_admin(&running, &account).await;
    let admin = Signer::blind15(&account, &api.key);
    let picture = upload(&api, &admin, b"\x89PNG\r\n\x1a\nrest").await;
    api.put(Some(&admin), "/room/r", &json!({ "image": picture }))
        .await
        .expect(200);
    api.get(None, "/r/r/image").await.expect(200);
    store.kill();
    // Not 404: browsers and caches would remember that there is no picture.
    api.get(None, "/r/r/image").await.expect(503);
    for size in [1000, 400_000] {
        let got = api
            .call(Some(&who), "POST", "/room/r/file", Body::raw(&content(size), &[]))
            .await
            .expect(503);
        assert_eq!(got.header("retry-after"), Some("5"));
        assert!(got.text().contains("try again later"), "{}", got.text());
    }
    let got = api.get(Some(&who), &path).await.expect(503);
    assert_eq!(got.header("retry-after"), Some("5"));
    api.post(Some(&who), "/room/r/message", &message("posts go on"))
        .await
        .expect(201);
    assert!(
        counted(metrics, "bucket_requests_total") > counted(metrics, "bucket_failed_total"),
        "the first upload was stored"
    );
    assert!(counted(metrics, "bucket_failed_total") >= 3.0);
    // The server starts without the store.
    running.shutdown().await;
    let began = Instant::now();
    let running = start(config).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    let api = Api::of(&running);
    let store = tokio::task::spawn_blocking(move || {
        store.restart();
        store
    })
    .await
    .unwrap();
    assert!(api.get(Some(&who), &path).await.expect(200).body == bytes);
    upload(&api, &who, &content(1000)).await;
    running.shutdown().await;
    drop(store);
}

fn at_fake(dir: &Path, fake: &FakeS3) -> Config {
    let mut config = crate::common::config(dir);
    config.files.storage = sogs_server::config::Storage::S3;
    config.files.s3_endpoint = fake.endpoint();
    config.files.s3_bucket = "files".into();
    config.files.s3_timeout_seconds = 0.4;
    std::fs::write(
        dir.join("keys"),
        "aws_access_key_id=AK\naws_secret_access_key=hidden-secret\n",
    )
    .unwrap();
    config.files.s3_credentials_file = "keys".into();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_misbehaves_is_given_up_in_bounded_time() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeS3::start(FakeS3Mode::Works);
    let running = start(at_fake(dir.path(), &fake)).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = uploader(&api.key);
    let bytes = content(300_000);
    let id = upload(&api, &who, &bytes).await;
    let path = format!("/room/r/file/{id}");
    assert!(api.get(Some(&who), &path).await.expect(200).body == bytes);
    for (mode, up, down, requests) in [
        (FakeS3Mode::Silent, 503, 503, 1),
        (FakeS3Mode::HangsUp, 503, 200, 3),
        (FakeS3Mode::Denies, 503, 503, 1),
        (FakeS3Mode::Redirects, 503, 503, 1),
        (FakeS3Mode::SlowDownTwice, 201, 200, 3),
        (FakeS3Mode::SendsLess, 201, 503, 1),
        (FakeS3Mode::IgnoresRange, 201, 503, 1),
    ] {
        fake.behave(mode);
        let began = Instant::now();
        let got = api
            .call(Some(&who), "POST", "/room/r/file", Body::raw(&bytes, &[]))
            .await;
        assert_eq!(got.status, up, "{mode:?}: {}", got.text());
        assert_eq!(got.header("retry-after").is_some(), up == 503, "{mode:?}");
        assert_eq!(fake.requests(), requests, "{mode:?}: attempts of the upload");
        let got = api.get(Some(&who), &path).await;
        assert_eq!(got.status, down, "{mode:?}: {}", got.text());
        assert!(got.status != 200 || got.body == bytes, "{mode:?}");
        // 0.4 s, and one second for every 64 KiB.
        let limit = if mode == FakeS3Mode::Silent { 20 } else { 5 };
        assert!(
            began.elapsed() < Duration::from_secs(limit),
            "{mode:?}: {:?}",
            began.elapsed()
        );
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_store_name_the_cause_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeS3::start(FakeS3Mode::Works);
    let running = start(at_fake(dir.path(), &fake)).await;
    for (mode, cause) in [
        (FakeS3Mode::Silent, "it does not answer in time"),
        (FakeS3Mode::Denies, "it answered 403 InvalidAccessKeyId"),
        (FakeS3Mode::Redirects, "it answered 301 PermanentRedirect"),
    ] {
        fake.behave(mode);
        let error = running
            .app()
            .contents
            .claim("some key")
            .await
            .expect_err("refused");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("bucket files at 127.0.0.1") && text.contains(cause),
            "{text}"
        );
        for secret in ["hidden", "Signature", "AK", "X-Amz"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_a_row_are_swept_from_bucket_and_folder() {
    let store = shared_store().await;
    for bucket in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = crate::common::config(dir.path());
        let prefix = if bucket {
            in_bucket(&mut config, store)
        } else {
            String::new()
        };
        let running = start(config).await;
        room(&running, "r").await;
        let api = Api::of(&running);
        let who = uploader(&api.key);
        let (kept, gone) = (content(1000), content(2000));
        let kept_id = upload(&api, &who, &kept).await;
        let gone_id = upload(&api, &who, &gone).await;
        // As a crash leaves it between the bytes and the row.
        let database = dir.path().join("community.db");
        let url = format!("sqlite:{}", database.display());
        forget(&url, gone_id).await;
        let (app, key) = (running.app(), running.public_key().to_string());
        let sweep = async |age: u64| {
            let age = Duration::from_secs(age);
            app.contents.sweep_orphans(&app.store, &key, age).await.unwrap()
        };
        assert_eq!(
            sweep(3600).await.removed,
            0,
            "it may be an upload whose row is about to come"
        );
        let swept = sweep(0).await;
        assert_eq!(swept.removed, 1, "{swept:?}");
        assert_eq!(sweep(0).await.removed, 0);
        let got = api
            .get(Some(&who), &format!("/room/r/file/{kept_id}"))
            .await
            .expect(200);
        assert!(got.body == kept);
        if bucket {
            assert_eq!(objects(&store.folder(&prefix)).len(), 1);
        }
        // Another community that was pointed here removes nothing.
        let other = app
            .contents
            .sweep_orphans(&app.store, &"ab".repeat(32), Duration::ZERO)
            .await
            .expect_err("not its own");
        assert!(matches!(other, ContentError::Foreign { .. }), "{other}");
        running.shutdown().await;
    }
}

async fn forget(url: &str, id: i64) {
    use sqlx::Connection as _;
    let mut conn = sqlx::SqliteConnection::connect(url).await.unwrap();
    sqlx::query("DELETE FROM files WHERE id = $1")
        .bind(id)
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
}
