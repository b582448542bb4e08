//! What anonymous requests can make the server hold or do is bounded: pages of long messages, and batches of files.

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::json;
use session_protocol::auth::Signer;
use session_protocol::onion::{Cipher, v4};
use sogs_server::admin::Operation;

use crate::common::{
    Api, Body, Door, Rng, config, make_admin, message, operate, raw_http, room, somebody, start, sub, unbatch,
};
use crate::crash::spawn_limited;
use crate::pages::{body, now_ms, signed};

/// Requests at a time.
const MANY: usize = 64;
/// Longest time for an answer to others meanwhile, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with 300 MB of address space. Its room `r` has 84 messages of 90 kB and a file of 9 MB that everybody can fetch.
struct Bounded {
    _dir: tempfile::TempDir,
    child: Child,
    api: Api,
    file: i64,
}

impl Bounded {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let running = start(config(dir.path())).await;
        room(&running, "r").await;
        operate(
            &running,
            Operation::SettingSet {
                room: None,
                name: "rate_posts".into(),
                value: Some("1000".into()),
            },
        )
        .await;
        let api = Api::of(&running);
        let who = Signer::blind15(&somebody(), &api.key);
        let long = "word ".repeat(18_000);
        let upload = Body::raw(&vec![7; 9_000_000], &[]);
        let file = api
            .call(Some(&who), "POST", "/room/r/file", upload)
            .await
            .expect(201)
            .json()["id"]
            .as_i64()
            .unwrap();
        for number in 0..84 {
            let mut post = signed(&who, body(&long), now_ms());
            if number == 0 {
                post["files"] = json!([file]);
            }
            api.post(Some(&who), "/room/r/message", &post).await.expect(201);
        }
        running.shutdown().await;
        let (child, addr, key) = spawn_limited(dir.path(), "export MALLOC_ARENA_MAX=2 && ulimit -v 300000");
        let door = Door::Http;
        Self {
            api: Api { addr, key, door },
            _dir: dir,
            child,
            file,
        }
    }

    /// Sends these anonymous requests at once. Each gets an answer with one of these statuses, somebody else is served
    /// meanwhile, and the process lives.
    async fn survives(&mut self, requests: Vec<(&'static str, String, Vec<u8>)>, statuses: &[u16]) -> usize {
        let addr = self.api.addr;
        let mut all = tokio::task::JoinSet::new();
        for (method, target, body) in requests {
            let kind = vec![("content-type".to_owned(), "application/json".to_owned())];
            all.spawn(async move {
                raw_http(addr, method, &target, &kind, &body)
                    .await
                    .unwrap()
                    .status
            });
        }
        let who = Signer::blind15(&somebody(), &self.api.key);
        let mut met = Vec::new();
        let began = Instant::now();
        self.api.get(Some(&who), "/rooms").await.expect(200);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        while let Some(status) = all.join_next().await {
            met.push(status.unwrap());
        }
        assert_eq!(self.child.try_wait().unwrap(), None, "the server lives: {met:?}");
        assert!(met.iter().all(|status| statuses.contains(status)), "{met:?}");
        met.iter().filter(|status| **status == 200).count()
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_long_messages_do_not_exhaust_the_memory() {
    let mut server = Bounded::start().await;
    let get = |target: String| ("GET", target, Vec::new());
    let pages = (0..MANY).map(|n| get(format!("/room/r/messages/recent?limit={}", 100 + n)));
    let answered = server.survives(pages.collect(), &[200, 503]).await;
    assert!(answered > 0, "some pages were answered");
    let pages = (0..MANY).map(|n| get(format!("/r/r/?before={}", 1000 + n)));
    let answered = server.survives(pages.collect(), &[200, 503]).await;
    assert!(answered > 0, "some pages were answered");
    // Alone, each is answered; all messages are reached page by page.
    let api = server.api;
    let recent = api.get(None, "/room/r/messages/recent").await.expect(200).json();
    assert!(recent.as_array().unwrap().len() >= 50);
    let (mut path, mut seen) = ("/r/r/".to_owned(), 0);
    loop {
        let page = api.get(None, &path).await.expect(200).text();
        seen += page.matches("<li id=\"m").count();
        let Some((_, next)) = page.split_once("<link rel=\"next\" href=\"") else {
            break;
        };
        next.split('"').next().unwrap().clone_into(&mut path);
    }
    assert_eq!(seen, 84);
    server.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_files_do_not_exhaust_the_memory() {
    let mut server = Bounded::start().await;
    let path = format!("/room/r/file/{}", server.file);
    let list = json!(vec![sub("GET", &path, &Body::none()); 1000]).to_string();
    let batches = (0..20).map(|_| ("POST", "/batch".to_owned(), list.clone().into_bytes()));
    server.survives(batches.collect(), &[200, 503]).await;
    // The same through onions.
    let api = server.api;
    let mut onions = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let request = v4::Request {
            method: "GET".into(),
            endpoint: path.clone(),
            headers: Vec::new(),
            body: None,
        };
        let sealed = request.seal(&api.key, Cipher::AesGcm, &mut Rng).unwrap();
        let body = sealed.to_body();
        onions.spawn(async move {
            let answer = raw_http(api.addr, "POST", v4::PATH, &[], &body).await;
            answer.unwrap().status
        });
    }
    let met = onions.join_all().await;
    assert!(met.iter().all(|status| [200, 503].contains(status)), "{met:?}");
    assert_eq!(server.child.try_wait().unwrap(), None, "the server lives");
    // Two files of 12 MB in base64 fit; nothing is read for the rest.
    let began = Instant::now();
    let body = Body::json(&json!(vec![sub("GET", &path, &Body::none()); 1000]));
    let answers = api.direct(None, "POST", "/batch", body).await.expect(200).json();
    let statuses: Vec<u64> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses.len(), 1000);
    assert_eq!(statuses[..3], [200, 200, 413]);
    assert!(statuses[3..].iter().all(|status| *status == 413));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    server.end();
}

/// A request whose answer has no room is not carried out, and nothing that was carried out is answered as if it were not.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_carries_out_nothing_more_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let account = somebody();
    make_admin(&running, &account).await;
    let who = Signer::blind15(&account, &api.key);
    let upload = Body::raw(&vec![7; 9_000_000], &[]);
    let file = api
        .call(Some(&who), "POST", "/room/r/file", upload)
        .await
        .expect(201)
        .json()["id"]
        .clone();
    let get = sub("GET", &format!("/room/r/file/{file}"), &Body::none());
    let post = |text: &str| sub("POST", "/room/r/message", &Body::json(&message(text)));
    let inside = |list: serde_json::Value| sub("POST", "/batch", &Body::json(&list));
    let list = json!([
        get,
        post("one"),
        inside(json!([get, get, post("two")])),
        post("three"),
        get,
        post("four")
    ]);
    let answers = api.direct(Some(&who), "POST", "/batch", Body::json(&list)).await;
    let answers = answers.expect(200).json();
    let codes = |list: &serde_json::Value| -> Vec<u64> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one["code"].as_u64().unwrap()).collect()
    };
    assert_eq!(codes(&answers), [200, 201, 200, 201, 413, 413]);
    assert_eq!(codes(&answers[2]["body"]), [200, 413, 413]);
    let told = unbatch(&answers[5]).text();
    assert!(told.starts_with("Not carried out"), "{told}");
    let stored = api.get(Some(&who), "/room/r/messages/recent").await.json();
    assert_eq!(stored.as_array().unwrap().len(), 2, "one and three");
    running.shutdown().await;
}
