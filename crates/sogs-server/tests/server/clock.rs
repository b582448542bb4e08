//! A clock that is wrong for a while does not make a request count twice.

use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use session_protocol::auth::{Request, Signer};
use sogs_server::Config;

use crate::common::{
    Api, Body, Door, message, nonce, now, on_both, pairs, raw_http, room, somebody, start, write_config,
};

const DAY: i64 = 86_400;
/// Longest wait for a round of cleanup, which comes every ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the clock of the server's process wrong.
fn set_wrong_by(child: &mut Child, seconds: i64) {
    let stdin = child.stdin.as_mut().unwrap();
    writeln!(stdin, "{seconds}").unwrap();
}

/// Waits until the server takes a request that is signed at this time.
async fn takes(api: &Api, who: &Signer, wrong_by: i64) {
    let path = "/room/test/messages/recent";
    let signed_now = async || {
        let request = Request {
            method: "GET",
            path,
            body: &[],
        };
        let stamp = now().checked_add_signed(wrong_by).unwrap();
        let headers = pairs(&request.sign(who, &api.key, &nonce(), stamp));
        raw_http(api.addr, "GET", path, &headers, &[])
            .await
            .unwrap()
            .status
    };
    within(async || signed_now().await == 200, "the clock is not set").await;
}

async fn within(mut is_so: impl AsyncFnMut() -> bool, otherwise: &str) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect(otherwise);
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() { files_below(&path) } else { 1 }
        })
        .sum()
}

/// The clock goes 30 days forward, the cleanup of that time forgets what is old, and the clock comes back.
async fn a_post_counts_once_although_the_clock_was_wrong_by_a_month(config: Config) {
    write_config(&config);
    let running = start(config.clone()).await;
    room(&running, "test").await;
    running.shutdown().await;
    let (mut child, addr, key) = crate::crash::spawn(&config.dir);
    let api = Api {
        addr,
        key,
        door: Door::Http,
    };
    let who = Signer::blind15(&somebody(), &key);
    // Its removal shows that a cleanup ran.
    api.call(Some(&who), "POST", "/room/test/file", Body::raw(b"bytes", &[]))
        .await
        .expect(201);
    assert_eq!(files_below(&config.files_dir()), 1);

    let path = "/room/test/message";
    let body = message("once").to_string();
    let request = Request {
        method: "POST",
        path,
        body: body.as_bytes(),
    };
    let mut headers = pairs(&request.sign(&who, &key, &nonce(), now()));
    headers.push(("content-type".into(), "application/json".into()));
    let post = async |addr| {
        raw_http(addr, "POST", path, &headers, body.as_bytes())
            .await
            .unwrap()
            .status
    };
    assert_eq!(post(addr).await, 201);
    assert_eq!(post(addr).await, 425);

    set_wrong_by(&mut child, 30 * DAY);
    takes(&api, &who, 30 * DAY).await;
    assert_eq!(post(addr).await, 425, "its time is long ago");
    let files = config.files_dir();
    within(async || files_below(&files) == 0, "no cleanup").await;

    set_wrong_by(&mut child, 0);
    takes(&api, &who, 0).await;
    assert_eq!(post(addr).await, 425, "the clock is right again");
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut child, addr, _) = crate::crash::spawn(&config.dir);
    assert_eq!(post(addr).await, 425, "after a restart");
    let api = Api { addr, ..api };
    let page = api.get(None, "/room/test/messages/recent").await.json();
    assert_eq!(page.as_array().unwrap().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

on_both!(a_post_counts_once_although_the_clock_was_wrong_by_a_month);
