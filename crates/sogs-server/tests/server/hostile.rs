//! Abuse: refused before work is spent, with everything bounded.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::onion::v4;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Api, Body, config, message, pairs, raw_http, room, sign, somebody, start};

async fn exchange(api: &Api, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(api.addr).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut all = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// A client that writes a large body completely before it reads gets the answer.
///
/// It does not get a broken connection, which looks worth another try.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_may_be_written_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.body_bytes = 200_000;
    config.files.max_size = 400_000;
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let body = vec![b'x'; 20_000_000];
    for (path, status) in [
        ("/batch", "413"),
        ("/room/r/file", "401"),
        ("/room/none/file", "404"),
    ] {
        let mut stream = TcpStream::connect(api.addr).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {answer}"
        );
    }
    running.shutdown().await;
}

/// A batch is counted while it is read, so that the requests of one body cannot take many times its memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_too_much_is_refused_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    let api = Api::of(&running);
    let request = r#"{"method":"GET","path":"/capabilities"}"#;
    let headers: Vec<String> = (0..65).map(|n| format!("\"h{n}\":\"\"")).collect();
    let list = |n: usize| format!("[{}]", vec![request; n].join(","));
    let with_headers = |n: usize| {
        format!(
            r#"[{{"method":"GET","path":"/capabilities","headers":{{{}}}}}]"#,
            headers[..n].join(",")
        )
    };
    for (body, status) in [
        (list(1000), 200),
        (list(1001), 400),
        (list(300_000), 400),
        (with_headers(64), 200),
        (with_headers(65), 400),
        (format!("[{}1]", "1,".repeat(5_000_000)), 400),
    ] {
        let length = body.len();
        let body = Body {
            kind: Some("application/json"),
            bytes: body.into_bytes(),
            extra: Vec::new(),
        };
        let answer = api.direct(None, "POST", "/batch", body).await;
        assert_eq!(answer.status, status, "a body of {length} bytes");
    }
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_the_server_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.body_bytes = 200_000;
    config.files.max_size = 100_000;
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);

    // No HTTP, too many headers, too long headers, bodies too large by word and by deed.
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        format!(
            "GET /rooms HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "a: b\r\n".repeat(5000)
        )
        .into_bytes(),
        format!(
            "GET /rooms HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
            "b".repeat(200_000)
        )
        .into_bytes(),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)).into_bytes(),
        b"POST /batch HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n[]".to_vec(),
    ] {
        let answer = exchange(&api, &bytes).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    let big = vec![b'['; 300_000];
    assert_eq!(
        raw_http(api.addr, "POST", "/batch", &[], &big)
            .await
            .unwrap()
            .status,
        413
    );
    let chunked = [
        b"POST /batch HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        {
            let mut body = Vec::new();
            for _ in 0..40 {
                body.extend_from_slice(b"2710\r\n");
                body.extend_from_slice(&[b'['; 10_000]);
                body.extend_from_slice(b"\r\n");
            }
            body
        },
    ]
    .concat();
    assert!(exchange(&api, &chunked).await.starts_with("HTTP/1.1 413"));

    // JSON that nests without end, batches in batches, huge batches, malformed subrequests.
    let deep = "[".repeat(100_000);
    assert_eq!(
        api.call(
            Some(&who),
            "POST",
            "/batch",
            Body {
                kind: Some("application/json"),
                bytes: deep.into_bytes(),
                extra: vec![]
            }
        )
        .await
        .status,
        400
    );
    let mut nested = json!([{"method": "GET", "path": "/capabilities"}]);
    for _ in 0..10 {
        nested = json!([{"method": "POST", "path": "/batch", "json": nested}]);
    }
    let got = api.post(Some(&who), "/batch", &nested).await.expect(200).json();
    let mut level = &got;
    while level[0]["code"] == json!(200) {
        level = &level[0]["body"];
    }
    assert_eq!(level[0]["code"], json!(400), "the depth is bounded");
    let huge: Vec<Value> = (0..1001)
        .map(|_| json!({"method": "GET", "path": "/capabilities"}))
        .collect();
    api.post(Some(&who), "/batch", &json!(huge)).await.expect(400);
    for bad in [
        json!({}),
        json!("x"),
        json!([1]),
        json!([{"method": "GET"}]),
        json!([{"method": "GET", "path": "rooms"}]),
        json!([{"method": "PATCH", "path": "/rooms"}]),
        json!([{"method": "GET", "path": "/rooms", "json": {}}]),
        json!([{"method": "POST", "path": "/batch"}]),
        json!([{"method": "POST", "path": "/batch", "json": [], "b64": ""}]),
        json!([{"method": "POST", "path": "/batch", "b64": "*"}]),
        json!([{"method": "POST", "path": "/room/r/message", "json": message("x")}, {"method": "GET", "path": "x"}]),
    ] {
        api.post(Some(&who), "/batch", &bad).await.expect(400);
        api.post(Some(&who), "/sequence", &bad).await.expect(400);
    }
    assert_eq!(
        api.get(None, "/room/r/messages/recent").await.json(),
        json!([]),
        "nothing of a malformed batch ran"
    );

    // Onions of garbage, of the wrong key, inside onions.
    for body in [&b""[..], b"\xff\xff\xff\xff", b"\x04\0\0\0abcd{}", &[0; 5000]] {
        assert_eq!(
            raw_http(api.addr, "POST", v4::PATH, &[], body)
                .await
                .unwrap()
                .status,
            400
        );
        assert_eq!(
            raw_http(api.addr, "POST", "/oxen/v3/lsrpc", &[], body)
                .await
                .unwrap()
                .status,
            400
        );
    }
    let inside = api
        .onion(
            None,
            "POST",
            v4::PATH,
            Body::raw(b"x", &[]),
            session_protocol::onion::Cipher::AesGcm,
        )
        .await;
    assert_eq!(inside.status, 404);

    // Paths that try to leave their folder.
    for path in [
        "/room/../etc/passwd",
        "/room/r/file/..%2f..%2fkey_x25519",
        "//rooms",
        "/room/r/file/1/../../x",
        "/room/%00/x",
    ] {
        let got = raw_http(api.addr, "GET", path, &[], b"").await.unwrap();
        assert!((400..500).contains(&got.status), "{path} {}", got.status);
    }
    // Files: too large by word and by deed, through the disk and in memory.
    let file = vec![0; 150_000];
    api.call(Some(&who), "POST", "/room/r/file", Body::raw(&file, &[]))
        .await
        .expect(413);
    let file = vec![0; 400_000];
    api.call(Some(&who), "POST", "/room/r/file", Body::raw(&file, &[]))
        .await
        .expect(413);
    // A name that wants out loses its path.
    let trick = Body::raw(
        b"x",
        &[(
            "Content-Disposition",
            "attachment; filename*=UTF-8''..%2f..%2fetc%2fpasswd",
        )],
    );
    let id = api
        .call(Some(&who), "POST", "/room/r/file", trick)
        .await
        .expect(201)
        .json()["id"]
        .clone();
    let got = api
        .get(Some(&who), &format!("/room/r/file/{id}"))
        .await
        .expect(200);
    assert_eq!(
        (got.text().as_str(), got.header("content-disposition")),
        ("x", Some("attachment; filename*=UTF-8''passwd"))
    );
    // Protobuf that is none, empty data, long data: bytes as any others.
    for data in [&b""[..], &[0xff; 1000], &[0x80], &[0; 160]] {
        let body = json!({"data": session_protocol::encoding::b64(data), "signature": session_protocol::encoding::b64([0; 64])});
        let posted = api
            .post(
                Some(&Signer::blind15(&somebody(), &api.key)),
                "/room/r/message",
                &body,
            )
            .await
            .expect(201)
            .json();
        let back = api
            .get(None, &format!("/room/r/message/{}", posted["id"]))
            .await
            .expect(200)
            .json();
        assert_eq!(back["data"], body["data"], "bytes come back exactly");
    }
    api.get(Some(&who), "/rooms").await.expect(200);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_connections_do_not_keep_others_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.header_seconds = 3.0;
    config.limits.body_seconds = 3.0;
    let running = start(config).await;
    let api = Api::of(&running);
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut stream = TcpStream::connect(api.addr).await.unwrap();
        let begin: &[u8] = if n % 2 == 0 {
            b"GET /rooms HT"
        } else {
            b"POST /batch HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n["
        };
        stream.write_all(begin).await.unwrap();
        slow.push(stream);
    }
    let who = Signer::blind15(&somebody(), &api.key);
    let mut worst = Duration::ZERO;
    for _ in 0..20 {
        let begin = Instant::now();
        api.get(Some(&who), "/capabilities").await.expect(200);
        worst = worst.max(begin.elapsed());
    }
    assert!(
        worst < Duration::from_secs(2),
        "others are served meanwhile: {worst:?}"
    );
    // One byte a second does not keep a connection alive.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        for stream in slow.iter_mut().take(20) {
            let _ = stream.write_all(b" ").await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut closed = 0;
    for stream in &mut slow {
        let mut rest = Vec::new();
        if tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut rest))
            .await
            .is_ok()
        {
            closed += 1;
        }
    }
    assert_eq!(closed, 1000, "every slow connection was closed");
    running.shutdown().await;
}

/// When all connections are in use, silent ones make room for new requests, and an upload in progress stays.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_make_room_for_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.connections = 50;
    config.limits.header_seconds = 300.0;
    config.limits.body_seconds = 300.0;
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let content = vec![7; 400_000];
    let mut head = format!(
        "POST /room/r/file HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        content.len()
    );
    for (name, value) in pairs(&sign(&api.key, &who, "POST", "/room/r/file", &content)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut upload = TcpStream::connect(api.addr).await.unwrap();
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(b"\r\n").await.unwrap();
    let mut sent = 0;
    let mut silent = Vec::new();
    let all = async {
        for n in 0..500 {
            let mut stream = TcpStream::connect(api.addr).await.unwrap();
            if n % 2 == 0 {
                stream.write_all(b"GET /rooms HT").await.unwrap();
            }
            silent.push(stream);
            if n % 5 == 0 {
                // An upload that pauses for a second has to make room too, and this machine may be slow.
                upload.write_all(&content[sent..sent + 2_000]).await.unwrap();
                sent += 2_000;
            }
            if n % 25 == 0 {
                api.get(Some(&who), "/rooms").await.expect(200);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("long before the time of the silent ones is up");
    let made_room = &running.app().counters.listener.evicted;
    assert!(made_room.load(std::sync::atomic::Ordering::Relaxed) >= 400);
    upload.write_all(&content[sent..]).await.unwrap();
    let mut answer = Vec::new();
    upload.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    drop(silent);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_running_requests_finish() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let body = message("in flight").to_string();
    let mut headers = pairs(&sign(&api.key, &who, "POST", "/room/r/message", body.as_bytes()));
    headers.push(("content-type".into(), "application/json".into()));
    let mut head = "POST /room/r/message HTTP/1.1\r\nhost: x\r\n".to_owned();
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(api.addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..20]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stop = tokio::spawn(running.shutdown());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(api.addr).await.is_err(), "no new connections");
    stream.write_all(&body.as_bytes()[20..]).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 201"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stop.await.unwrap();
}

/// With the rules of a new server, a message has at most 100,000 bytes, also when it is edited.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_over_the_default_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    room(&running, "test").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let sized = |bytes: usize| {
        let mut body = message("x");
        body["data"] = json!(session_protocol::encoding::b64(vec![b'x'; bytes]));
        body
    };
    let path = "/room/test/message";
    let posted = api.post(Some(&who), path, &sized(100_000)).await.expect(201);
    let refused = api.post(Some(&who), path, &sized(100_001)).await.expect(413);
    assert!(refused.text().contains("100000 bytes"), "{}", refused.text());
    let own = format!("{path}/{}", posted.json()["id"]);
    api.put(Some(&who), &own, &sized(100_001)).await.expect(413);
    let page = api.get(None, "/room/test/messages/recent").await.json();
    assert_eq!(page.as_array().unwrap().len(), 1);
    running.shutdown().await;
}
