//! Uploads before their signature can be checked: what can be refused is refused first, and an address has a few.

use std::time::Duration;

use session_protocol::auth::Signer;
use sogs_server::admin::{Operation, PermissionChange, Place};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Api, config, message, operate, pairs, room, sign, somebody, start};

/// Begins an upload of 400,000 bytes that a proxy on this machine forwards, and sends a little of it.
async fn begin(api: &Api, who: &Signer, token: &str, client: &str) -> TcpStream {
    let path = format!("/room/{token}/file");
    let mut stream = TcpStream::connect(api.addr).await.expect("connected");
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\nconnection: close\r\nx-forwarded-for: {client}\r\n"
    );
    // The signature of another body: a claim, as the server sees it.
    for (name, value) in pairs(&sign(&api.key, who, "POST", &path, b"another")) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&[7; 1000]).await.expect("sent");
    stream
}

/// What the server answers although most of the body has not come.
async fn refused(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer))
        .await
        .expect("an answer before the body")
        .expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_checked_before_bytes_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = start(config(dir.path())).await;
    for token in ["open", "hidden", "mute"] {
        room(&running, token).await;
    }
    let edit = |room: &str, permissions| Operation::RoomEdit {
        room: room.into(),
        name: None,
        description: None,
        permissions,
        image: None,
    };
    let hidden = PermissionChange {
        read: Some(false),
        accessible: Some(false),
        ..PermissionChange::default()
    };
    operate(&running, edit("hidden", hidden)).await;
    let mute = PermissionChange {
        upload: Some(false),
        ..PermissionChange::default()
    };
    operate(&running, edit("mute", mute)).await;
    let api = Api::of(&running);
    let (who, banned) = (
        Signer::blind15(&somebody(), &api.key),
        Signer::blind15(&somebody(), &api.key),
    );
    for one in [&who, &banned] {
        api.post(Some(one), "/room/open/message", &message("hello"))
            .await
            .expect(201);
    }
    let ban = |place| Operation::BanAdd {
        user: banned.shown_id().to_string(),
        place,
        seconds: Some(60.0),
        delete_posts: false,
    };
    let client = "203.0.113.1";
    for (who, token, status) in [(&who, "hidden", 404), (&who, "nowhere", 404), (&who, "mute", 403)] {
        let answer = refused(begin(&api, who, token, client).await).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{token}: {answer}"
        );
    }
    operate(&running, ban(Place::Rooms(vec!["open".into()]))).await;
    let answer = refused(begin(&api, &banned, "open", client).await).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("x-sogs-banned: room"),
        "{answer}"
    );
    operate(&running, ban(Place::Global)).await;
    let answer = refused(begin(&api, &banned, "open", client).await).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("x-sogs-banned: server"),
        "{answer}"
    );
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_few_uploads_at_a_time_and_shuts_nobody_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut config = config(dir.path());
    config.net.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let mut arriving = Vec::new();
    for _ in 0..16 {
        arriving.push(begin(&api, &who, "r", "203.0.113.1").await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answer = refused(begin(&api, &who, "r", "203.0.113.1").await).await;
    assert!(
        answer.starts_with("HTTP/1.1 503")
            && answer.contains("retry-after: ")
            && answer.contains("Too many files are arriving"),
        "{answer}"
    );
    // From another address it goes on.
    let mut other = begin(&api, &who, "r", "198.51.100.1").await;
    let early = tokio::time::timeout(Duration::from_millis(500), other.read_u8()).await;
    assert!(early.is_err(), "the body is waited for");
    drop(arriving);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut again = begin(&api, &who, "r", "203.0.113.1").await;
    let early = tokio::time::timeout(Duration::from_millis(500), again.read_u8()).await;
    assert!(early.is_err(), "the body is waited for");
    drop((other, again));
    running.shutdown().await;
}
