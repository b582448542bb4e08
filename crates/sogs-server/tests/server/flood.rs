//! Requests that cost an attacker little must cost the server little: memory is bounded, and the server unpacks or
//! decodes nothing that it need not.

use std::process::Child;
use std::time::Duration;

use serde_json::json;
use session_protocol::auth::Signer;
use session_protocol::encoding::b64;
use session_protocol::onion::{Cipher, v4};
use sogs_server::admin::{AdminRequest, Operation, perform};
use sogs_server::model::filter::{FilterAction, FilterKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Api, Body, Door, Rng, config, identity, make_admin, raw_http, room, somebody, start};

/// Highest resident memory of a process in MB.
fn peak_mb(child: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// 600 MB of bodies are on their way at once.
///
/// The budget for bodies (64 MB by default) limits how much of them is kept, and a request that waits too long for a
/// share is refused.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_while_large_bodies_arrive_on_many_connections() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    room(&running, "r").await;
    running.shutdown().await;
    let (mut child, addr, key) = crate::crash::spawn(dir.path());
    let api = Api {
        addr,
        key,
        door: Door::Http,
    };
    let begun = peak_mb(&child);
    let senders: Vec<_> = (0..300)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(addr).await.unwrap();
                let head = "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut sent = 0;
                while sent < 1_900_000 {
                    let write = stream.write(&[b' '; 16_384]);
                    match tokio::time::timeout(Duration::from_secs(8), write).await {
                        Ok(Ok(count)) if count > 0 => sent += count,
                        _ => break,
                    }
                }
                stream
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Requests with small bodies need no share and are answered meanwhile.
    let who = Signer::blind15(&somebody(), &api.key);
    api.get(Some(&who), "/room/r").await.expect(200);
    api.post(
        Some(&who),
        "/room/r/message",
        &crate::common::message("meanwhile"),
    )
    .await
    .expect(201);
    let mut streams = Vec::new();
    for sender in senders {
        streams.push(sender.await.unwrap());
    }
    let grown = peak_mb(&child).saturating_sub(begun);
    assert!(grown < 160, "memory grew by {grown} MB");
    drop(streams);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Onions with a valid shell and an invalid inside, and keys that belong to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn onions_of_every_broken_kind_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    let api = Api::of(&running);
    let request = v4::Request {
        method: "GET".into(),
        endpoint: "/capabilities".into(),
        headers: Vec::new(),
        body: None,
    };
    for cipher in [Cipher::AesGcm, Cipher::XChaCha20] {
        let good = request.seal(&api.key, cipher, &mut Rng).unwrap().to_body();
        assert_eq!(
            raw_http(api.addr, "POST", v4::PATH, &[], &good)
                .await
                .unwrap()
                .status,
            200
        );
        // Cut anywhere, or with one bit turned anywhere: never an answer, never a failure of the server.
        for at in (0..good.len()).step_by(7) {
            let mut bent = good.clone();
            bent[at] ^= 1;
            for bytes in [&good[..at], &bent[..]] {
                let got = raw_http(api.addr, "POST", v4::PATH, &[], bytes).await.unwrap();
                // A field of the routing part that nobody reads may change.
                assert!(
                    got.status == 400 || (got.status == 200 && bytes.len() == good.len()),
                    "{}",
                    got.status
                );
            }
        }
    }
    // Public keys of small order: everybody would know the shared secret.
    for point in ["00", "01"] {
        let key = format!("{point}{}", "00".repeat(31));
        let meta = json!({ "ephemeral_key": key }).to_string();
        let mut body = 64_u32.to_le_bytes().to_vec();
        body.extend_from_slice(&[7; 64]);
        body.extend_from_slice(meta.as_bytes());
        let got = raw_http(api.addr, "POST", v4::PATH, &[], &body).await.unwrap();
        assert_eq!(got.status, 400);
    }
    // A length that promises 4 GB, a JSON part that nests without end.
    for body in [
        [&u32::MAX.to_le_bytes()[..], &[0; 100]].concat(),
        [&4_u32.to_le_bytes()[..], b"abcd", "[".repeat(200_000).as_bytes()].concat(),
    ] {
        let got = raw_http(api.addr, "POST", v4::PATH, &[], &body).await.unwrap();
        assert_eq!(got.status, 400);
    }
    running.shutdown().await;
}

/// A picture that claims to have 65,535 x 65,535 points (17 GB unpacked): the server never unpacks pictures.
fn picture_of_nothing() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x06\0\0\0".to_vec();
    png.extend_from_slice(&[0; 4]);
    png.extend_from_slice(b"\0\x01\0\0IDAT");
    png.resize(70_000, 0);
    png
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_bytes_whatever_size_they_claim() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let account = somebody();
    make_admin(&running, &account).await;
    let admin = Signer::blind15(&account, &api.key);
    let picture = picture_of_nothing();
    let id = api
        .call(Some(&admin), "POST", "/room/r/file", Body::raw(&picture, &[]))
        .await
        .expect(201)
        .json()["id"]
        .clone();
    api.put(Some(&admin), "/room/r", &json!({ "image": id }))
        .await
        .expect(200);
    assert_eq!(
        api.get(None, &format!("/room/r/file/{id}"))
            .await
            .expect(200)
            .body,
        picture
    );
    let page = raw_http(api.addr, "GET", "/r/r/image", &[], b"").await.unwrap();
    assert_eq!((page.status, &page.body), (200, &picture));
    assert_eq!(page.header("content-type"), Some("image/png"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // Content that a browser would run is not a picture.
    let script = Body::raw(
        b"<svg onload=alert(1) xmlns=\"http://www.w3.org/2000/svg\"/>",
        &[],
    );
    let id = api
        .call(Some(&admin), "POST", "/room/r/file", script)
        .await
        .expect(201)
        .json()["id"]
        .clone();
    api.put(Some(&admin), "/room/r", &json!({ "image": id }))
        .await
        .expect(200);
    let page = raw_http(api.addr, "GET", "/r/r/image", &[], b"").await.unwrap();
    assert_eq!(page.status, 404);
    running.shutdown().await;
}

/// Neither the filters nor the page decode Protobuf that nests or repeats to be expensive.
#[tokio::test(flavor = "multi_thread")]
async fn protobuf_made_to_be_expensive_is_cheap() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    room(&running, "r").await;
    let filter = AdminRequest {
        actor: "tester".into(),
        dry_run: false,
        operation: Operation::FilterAdd {
            room: None,
            kind: FilterKind::Regex,
            pattern: "(x+x+)+y".into(),
            action: FilterAction::Reject,
            reply: None,
        },
    };
    std::fs::write(dir.path().join("server.toml"), "").unwrap();
    perform(dir.path(), filter).await.unwrap();
    crate::common::allow_large_messages(&running).await;
    let api = Api::of(&running);
    // Groups within groups, messages within messages, 400,000 attachments of two bytes each, a length that lies.
    let mut nested = Vec::new();
    for _ in 0..5000 {
        let mut outer = vec![0x0a];
        let mut length = nested.len();
        while length >= 0x80 {
            outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        outer.push(u8::try_from(length).unwrap());
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    let mut many = vec![0x0a, 0x80, 0xea, 0x30];
    many.extend(std::iter::repeat_n([0x12, 0x00], 400_000).flatten());
    for (n, data) in [
        vec![0x0b; 100_000],
        nested,
        many,
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ]
    .into_iter()
    .enumerate()
    {
        let who = Signer::blind15(&identity(70_000 + n as u64), &api.key);
        let began = std::time::Instant::now();
        api.post(
            Some(&who),
            "/room/r/message",
            &json!({"data": b64(&data), "signature": b64([0; 64])}),
        )
        .await
        .expect(201);
        let page = raw_http(api.addr, "GET", "/r/r/", &[], b"").await.unwrap();
        assert_eq!(page.status, 200);
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    running.shutdown().await;
}

/// Headers without end, and one that never ends: closed, with the memory of one connection.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path())).await;
    let api = Api::of(&running);
    let mut floods = Vec::new();
    for n in 0..50 {
        floods.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(api.addr).await.unwrap();
            stream
                .write_all(b"GET /rooms HTTP/1.1\r\nhost: x\r\n")
                .await
                .unwrap();
            let piece = if n % 2 == 0 {
                b"x-flood: yes\r\n".repeat(500)
            } else {
                vec![b'a'; 7000]
            };
            let mut sent = 0_usize;
            // The server closes long before this much.
            while sent < 20_000_000 {
                match tokio::time::timeout(Duration::from_secs(10), stream.write_all(&piece)).await {
                    Ok(Ok(())) => sent += piece.len(),
                    _ => break,
                }
            }
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            (sent, answer)
        }));
    }
    for flood in floods {
        let (sent, answer) = flood.await.unwrap();
        assert!(sent < 20_000_000, "cut off");
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    }
    api.get(None, "/rooms").await.expect(200);
    running.shutdown().await;
}
