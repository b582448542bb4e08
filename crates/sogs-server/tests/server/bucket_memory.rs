//! Large files go to a bucket and back through a process that could not hold one of them.

use std::process::Child;

use session_protocol::auth::Signer;

use crate::bucket::content;
use crate::common::{
    Api, Door, config, identity, in_bucket, message, pairs, raw_http, room, shared_store, sign, start,
    write_config,
};
use crate::crash::spawn_limited;

/// Bytes of a file.
const SIZE: usize = 100_000_000;
/// Files at once.
const FILES: u64 = 2;
/// Most resident memory of the server, kilobytes: less than one file.
const MAX_KILOBYTES: u64 = 75_000;

/// Most memory that a process ever had, kilobytes.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_held_whole_on_its_way_to_the_bucket_and_back() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    in_bucket(&mut config, store);
    config.files.max_size = SIZE as u64 + FILES;
    config.limits.body_seconds = 300.0;
    write_config(&config);
    let running = start(config).await;
    room(&running, "r").await;
    running.shutdown().await;
    let (mut child, addr, key) = spawn_limited(dir.path(), "export MALLOC_ARENA_MAX=2 && ulimit -v 400000");
    let api = Api {
        addr,
        key,
        door: Door::Http,
    };
    let uploads = (0..FILES).map(|n| async move {
        let who = Signer::blind15(&identity(800_000 + n), &key);
        // Strangers share too little space for two such files.
        api.post(Some(&who), "/room/r/message", &message("hello"))
            .await
            .expect(201);
        let bytes = content(SIZE + usize::try_from(n).unwrap());
        let path = "/room/r/file";
        let headers = pairs(&sign(&key, &who, "POST", path, &bytes));
        let got = raw_http(addr, "POST", path, &headers, &bytes)
            .await
            .unwrap()
            .expect(201);
        (got.json()["id"].as_i64().unwrap(), who, bytes)
    });
    let files = futures_util::future::join_all(uploads).await;
    let downloads = files.iter().map(|(id, who, bytes)| async move {
        let got = api
            .get(Some(who), &format!("/room/r/file/{id}"))
            .await
            .expect(200);
        assert!(got.body == *bytes, "file {id} differs");
    });
    futures_util::future::join_all(downloads).await;
    let most = peak(&child);
    assert!(most < MAX_KILOBYTES, "{most} kB");
    child.kill().unwrap();
    child.wait().unwrap();
}
