//! Uploads before their signature can be checked: what can be refused is refused first, and an address has a few.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_protocol::auth::Signer;
use sogs_server::admin::{Operation, PermissionChange, RoomScope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::common::{Api, Body, config, message, operate, pairs, room, sign, somebody, start};

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

/// Returns the server's answer, which arrives although most of the body has not been sent.
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
    operate(&running, ban(RoomScope::Rooms(vec!["open".into()]))).await;
    let answer = refused(begin(&api, &banned, "open", client).await).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("x-sogs-banned: room"),
        "{answer}"
    );
    operate(&running, ban(RoomScope::Global)).await;
    let answer = refused(begin(&api, &banned, "open", client).await).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("x-sogs-banned: server"),
        "{answer}"
    );
    running.shutdown().await;
}

/// Log of the server in this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, so that the log is that of this server.
#[tokio::test]
async fn an_address_has_a_few_uploads_at_a_time_and_shuts_nobody_out() {
    let log = Lines::default();
    let writer = log.clone();
    let _guard = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .set_default();
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
    // The log names the cause, and does not blame the disk.
    let said = String::from_utf8(log.0.lock().expect("lines").clone()).expect("text");
    let about: Vec<_> = said
        .lines()
        .filter(|line| line.contains("a file was refused"))
        .collect();
    assert!(
        matches!(about.as_slice(), [line] if line.contains("too many uploads are arriving at the moment")),
        "{said}"
    );
    assert!(!said.contains("disk") && !said.contains("space"), "{said}");
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

/// Sends this many bytes of an upload of 400 MB, and keeps the connection open.
async fn send_part(api: &Api, who: &Signer, bytes: usize) -> TcpStream {
    let mut stream = claim(api, who).await;
    let part = vec![7; 1 << 20];
    for _ in 0..bytes >> 20 {
        stream.write_all(&part).await.expect("sent");
    }
    stream
}

/// Claims an upload of 400 MB.
async fn claim(api: &Api, who: &Signer) -> TcpStream {
    let mut stream = TcpStream::connect(api.addr).await.expect("connected");
    let path = "/room/r/file";
    let mut head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 400000000\r\nconnection: close\r\n");
    for (name, value) in pairs(&sign(&api.key, who, "POST", path, b"another")) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

/// Accounts that the server has never seen fill their quarter of the space; members upload meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_fill_a_quarter_of_the_space_and_members_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut config = config(dir.path());
    config.files.max_size = 400_000_000;
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let member = Signer::blind15(&somebody(), &api.key);
    api.post(Some(&member), "/room/r/message", &message("hello"))
        .await
        .expect(201);
    let stranger = || Signer::blind15(&somebody(), &api.key);
    let first = send_part(&api, &stranger(), 200 << 20).await;
    let (mut reader, mut writer) = claim(&api, &stranger()).await.into_split();
    let sending = tokio::spawn(async move {
        let part = vec![7; 1 << 16];
        // Ends when the server closes.
        while writer.write_all(&part).await.is_ok() {}
    });
    let mut answer = String::new();
    let answered = reader.read_to_string(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(60), answered)
        .await
        .expect("an answer before the end of the body");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("Too many files are arriving"),
        "{answer}"
    );
    sending.await.expect("it ends");
    // More than the strangers have left, and members still have space.
    let body = vec![9; 80 << 20];
    api.call(Some(&member), "POST", "/room/r/file", Body::raw(&body, &[]))
        .await
        .expect(201);
    drop(first);
    running.shutdown().await;
}
