//! kill -9 of servers and of their S3-compatible store under load: every acknowledged file is there and identical.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackpost_testkit::ObjectStore;
use serde_json::Value;
use session_protocol::ServerKey;
use session_protocol::auth::Signer;
use sogs_server::Config;
use sogs_server::import::verify;

use crate::bucket::content;
use crate::common::{
    Api, identity, in_bucket, pairs, raw_http, room, shared_store, sign, start, write_config,
};
use crate::crash::spawn;
use crate::protocol::whole_suite;

/// Number, bytes and uploader of files.
type Acknowledged = Vec<(i64, Vec<u8>, Signer)>;

/// Uploads files of many sizes until told to stop or the server is gone; what was answered 201, and how many were
/// answered 503.
async fn uploader(
    addr: std::net::SocketAddr,
    key: ServerKey,
    room: &'static str,
    n: u64,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> (Acknowledged, usize) {
    let who = Signer::blind15(&identity(700_000 + n), &key);
    let (mut answered, mut refused) = (Vec::new(), 0);
    for size in [700, 300_000, 20_000, 900_000]
        .iter()
        .cycle()
        .skip(usize::try_from(n % 4).unwrap())
        .take(40)
    {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let bytes = content(*size);
        let path = format!("/room/{room}/file");
        let headers = pairs(&sign(&key, &who, "POST", &path, &bytes));
        let Ok(got) = raw_http(addr, "POST", &path, &headers, &bytes).await else {
            break;
        };
        match (got.status, serde_json::from_slice::<Value>(&got.body)) {
            (201, Ok(value)) => {
                answered.push((value["id"].as_i64().unwrap(), bytes, who.clone()));
                count.fetch_add(1, Ordering::SeqCst);
            }
            (503, _) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The server was killed while it answered.
            (201, Err(_)) => break,
            (status, _) => panic!("{status}: {}", got.text()),
        }
    }
    (answered, refused)
}

async fn all_identical(api: &Api, room: &str, files: &Acknowledged) {
    for (id, bytes, uploader) in files {
        let got = api
            .get(Some(uploader), &format!("/room/{room}/file/{id}"))
            .await
            .expect(200);
        assert!(got.body == *bytes, "file {id} was acknowledged and differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_file_survives_kills_of_server_and_store() {
    let mut store = tokio::task::spawn_blocking(ObjectStore::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    in_bucket(&mut config, &store);
    write_config(&config);
    let running = start(config.clone()).await;
    room(&running, "r").await;
    running.shutdown().await;
    let (mut files, mut refused) = (Acknowledged::new(), 0);
    for round in 0..18_u64 {
        let (mut child, addr, key) = spawn(dir.path());
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let uploaders: Vec<_> = (0..4)
            .map(|n| {
                tokio::spawn(uploader(
                    addr,
                    key,
                    "r",
                    round * 10 + n,
                    Arc::clone(&stop),
                    Arc::clone(&count),
                ))
            })
            .collect();
        let answers = usize::try_from(round % 6).unwrap();
        let began = Instant::now();
        while count.load(Ordering::SeqCst) < answers && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis((round * 37) % 60)).await;
        // The server, the store while the server goes on, or both in one moment.
        if round % 3 != 0 {
            store.kill();
            if round % 3 == 1 {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        stop.store(true, Ordering::SeqCst);
        for uploader in uploaders {
            let (more, away) = uploader.await.unwrap();
            files.extend(more);
            refused += away;
        }
        if round % 3 != 0 {
            store = tokio::task::spawn_blocking(move || {
                store.restart();
                store
            })
            .await
            .unwrap();
        }
    }
    assert!(files.len() > 40, "the load was a load: {}", files.len());
    let running = start(config).await;
    all_identical(&Api::of(&running), "r", &files).await;
    running.shutdown().await;
    let report = verify::verify(dir.path(), 1).await.unwrap();
    assert!(report.is_good(), "{:?}", report.problems);
    assert!(report.files >= files.len() as u64);
    println!(
        "{} files acknowledged, {refused} uploads answered 503, none lost",
        files.len()
    );
}

/// A configuration for one of several processes: its own folder with the same key, the same database and bucket.
fn sibling(config: &Config, dir: &Path) -> Config {
    let mut other = config.clone();
    other.dir = dir.to_path_buf();
    write_config(&other);
    std::fs::copy(config.key_path(), other.key_path()).unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_share_no_disk_pass_the_suite_while_one_is_killed() {
    let store = shared_store().await;
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = crate::common::config(here.path());
    database.url().clone_into(&mut config.database.url);
    in_bucket(&mut config, store);
    let running = start(config.clone()).await;
    room(&running, "other").await;
    running.shutdown().await;
    let other = sibling(&config, there.path());
    let done = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            // Kills count until the suite ends: later ones disturb nothing.
            let (mut files, mut kills) = (Acknowledged::new(), 0_u64);
            let began = Instant::now();
            while !done.load(Ordering::SeqCst) && began.elapsed() < Duration::from_secs(240) {
                let dir = other.dir.clone();
                let (mut child, addr, key) = tokio::task::spawn_blocking(move || spawn(&dir)).await.unwrap();
                let stop = Arc::new(AtomicBool::new(false));
                let count = Arc::new(AtomicUsize::new(0));
                let load = tokio::spawn(uploader(addr, key, "other", kills, Arc::clone(&stop), count));
                tokio::time::sleep(Duration::from_millis(200 + (kills * 137) % 700)).await;
                child.kill().unwrap();
                child.wait().unwrap();
                stop.store(true, Ordering::SeqCst);
                files.extend(load.await.unwrap().0);
                kills += u64::from(!done.load(Ordering::SeqCst));
            }
            (files, kills)
        }
    });
    whole_suite(&config).await;
    done.store(true, Ordering::SeqCst);
    let (files, kills) = killer.await.unwrap();
    assert!(
        kills >= 5 && files.len() > 10,
        "{kills} kills while the suite ran, {} files",
        files.len()
    );
    // Each reads what the other one stored.
    let running = start(config).await;
    all_identical(&Api::of(&running), "other", &files).await;
    running.shutdown().await;
    let report = verify::verify(here.path(), 1).await;
    assert!(report.is_err(), "this folder has no configuration file");
    let report = verify::verify(there.path(), 1).await.unwrap();
    let about_files: Vec<_> = report
        .problems
        .iter()
        .filter(|problem| problem.contains("file"))
        .collect();
    assert!(about_files.is_empty(), "{about_files:?}");
}
