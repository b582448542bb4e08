//! kill -9 under load, many times: what was answered 201 is there, exactly once, and nothing is inconsistent.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use session_protocol::ServerKey;
use session_protocol::auth::Signer;
use tokio::signal::unix::SignalKind;

use crate::common::{Api, Body, Door, identity, message, pairs, raw_http, room, sign, start};

/// The signal of a file that grows beyond the limit of the process.
const SIGXFSZ: i32 = 25;
const MARK: &str = "listening on ";
/// Number of times that the server is killed.
const KILLS: u64 = 50;

/// Not a test by itself: the server that the test below kills, in its own process.
#[test]
#[ignore = "started by the crash test"]
fn server_to_kill() {
    let Ok(dir) = std::env::var("SOGS_CRASH_DIR") else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Writing beyond a limit of the size of files is an error like any other, not the end of the process.
        let _too_large = tokio::signal::unix::signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
        let dir = Path::new(&dir);
        let mut config = crate::common::config(dir);
        if dir.join("server.toml").exists() {
            let listen = config.net.listen;
            config = sogs_server::Config::load(dir).unwrap();
            config.net.listen = listen;
        }
        let running = start(config).await;
        println!("\n{MARK}{} {}", running.local_addr(), running.public_key());
        // Ends by being killed, or when the test is gone. Each line makes the clock wrong by so many seconds.
        tokio::task::spawn_blocking(|| {
            for line in std::io::stdin().lines() {
                sogs_server::set_clock_wrong_by(line.unwrap().parse().unwrap());
            }
        })
        .await
        .unwrap();
    });
}

pub(crate) fn spawn(dir: &Path) -> (Child, SocketAddr, ServerKey) {
    spawn_limited(dir, "true")
}

/// Starts the server under limits that a shell sets.
#[expect(clippy::zombie_processes, reason = "the caller kills it and waits")]
pub(crate) fn spawn_limited(dir: &Path, limits: &str) -> (Child, SocketAddr, ServerKey) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "crash::server_to_kill", "--ignored", "--nocapture"])
        .env("SOGS_CRASH_DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        if let Some(found) = line.unwrap().strip_prefix(MARK) {
            let (addr, key) = found.split_once(' ').unwrap();
            return (child, addr.parse().unwrap(), key.parse().unwrap());
        }
    }
    panic!("the server did not start");
}

/// Posts until told to stop; returns the answers with 201, by id.
async fn poster(
    addr: SocketAddr,
    key: ServerKey,
    n: u64,
    round: u64,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Vec<(i64, i64, String)> {
    let mut answered = Vec::new();
    let who = Signer::blind15(&identity(500_000 + round * 100 + n), &key);
    for number in 0..5 {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let body = message(&format!("round {round} poster {n} message {number}"));
        let bytes = body.to_string();
        let mut headers = pairs(&sign(&key, &who, "POST", "/room/r/message", bytes.as_bytes()));
        headers.push(("content-type".into(), "application/json".into()));
        let Ok(got) = raw_http(addr, "POST", "/room/r/message", &headers, bytes.as_bytes()).await else {
            break;
        };
        if got.status != 201 {
            break;
        }
        count.fetch_add(1, Ordering::SeqCst);
        let Ok(value) = serde_json::from_slice::<Value>(&got.body) else {
            break;
        };
        answered.push((
            value["id"].as_i64().unwrap(),
            value["seqno"].as_i64().unwrap(),
            body["data"].as_str().unwrap().to_owned(),
        ));
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn answered_writes_survive_fifty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "r").await;
    running.shutdown().await;
    let mut answered: Vec<(i64, i64, String)> = Vec::new();
    let mut files: Vec<(i64, Vec<u8>, Signer)> = Vec::new();
    for round in 0..KILLS {
        let (mut child, addr, key) = spawn(dir.path());
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let posters: Vec<_> = (0..6)
            .map(|n| tokio::spawn(poster(addr, key, n, round, Arc::clone(&stop), Arc::clone(&count))))
            .collect();
        let uploader = tokio::spawn(async move {
            let api = Api {
                addr,
                key,
                door: Door::Http,
            };
            let who = Signer::blind15(&identity(900_000 + round), &key);
            let content = vec![u8::try_from(round % 250).unwrap(); 2000];
            let headers = pairs(&sign(&key, &who, "POST", "/room/r/file", &content));
            let got = raw_http(api.addr, "POST", "/room/r/file", &headers, &content)
                .await
                .ok()?;
            let id = serde_json::from_slice::<Value>(&got.body).ok()?["id"].as_i64()?;
            (got.status == 201).then_some((id, content, who))
        });
        // The moment differs from round to round: after a number of answers and a number of milliseconds.
        let answers = usize::try_from(round % 8).unwrap();
        let began = std::time::Instant::now();
        while count.load(Ordering::SeqCst) < answers && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis((round * 37) % 60)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        stop.store(true, Ordering::SeqCst);
        for poster in posters {
            answered.extend(poster.await.unwrap());
        }
        files.extend(uploader.await.unwrap());
    }
    assert!(answered.len() > 100, "the load was a load: {}", answered.len());

    let running = start(crate::common::config(dir.path())).await;
    let api = Api::of(&running);
    all_there(&api, &answered, &files).await;
    let who = Signer::blind15(&identity(77), &api.key);
    api.call(
        Some(&who),
        "POST",
        "/room/r/message",
        Body::json(&message("after all")),
    )
    .await
    .expect(201);
    running.shutdown().await;
}

/// Everything that was answered is in the room `r`, exactly once, and the sequence numbers have no gap.
pub(crate) async fn all_there(api: &Api, answered: &[(i64, i64, String)], files: &[(i64, Vec<u8>, Signer)]) {
    let mut stored: HashMap<i64, Value> = HashMap::new();
    let (mut since, mut seqnos) = (0, Vec::new());
    loop {
        let page = api
            .get(None, &format!("/room/r/messages/since/{since}?t=r&limit=256"))
            .await
            .expect(200)
            .json();
        let page = page.as_array().unwrap().clone();
        for one in &page {
            seqnos.push(one["seqno"].as_i64().unwrap());
            assert!(
                stored.insert(one["id"].as_i64().unwrap(), one.clone()).is_none(),
                "an id came twice"
            );
        }
        let Some(last) = seqnos.last().filter(|_| !page.is_empty()) else {
            break;
        };
        since = *last;
    }
    let expected: Vec<i64> = (1..=i64::try_from(seqnos.len()).unwrap()).collect();
    assert_eq!(seqnos, expected, "sequence numbers without gaps or repeats");
    assert_eq!(
        api.get(None, "/room/r").await.json()["message_sequence"],
        json!(seqnos.len())
    );
    let mut texts: HashMap<String, usize> = HashMap::new();
    for one in stored.values() {
        *texts.entry(one["data"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for (id, seqno, data) in answered {
        let one = stored
            .get(id)
            .unwrap_or_else(|| panic!("message {id} was answered and is gone"));
        assert_eq!(
            (&one["data"], one["seqno"].as_i64()),
            (&json!(data), Some(*seqno))
        );
        assert_eq!(texts[data], 1, "exactly once");
    }
    for (id, content, uploader) in files {
        assert_eq!(
            &api.get(Some(uploader), &format!("/room/r/file/{id}"))
                .await
                .expect(200)
                .body,
            content
        );
    }
}
