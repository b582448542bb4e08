//! Servers that misbehave in one exact way, and what a caller is told.
#![expect(clippy::unwrap_used, reason = "a test")]

mod answers;
mod connection;
mod sealed;
mod status;

use serde_json::{Value, json};
use session_protocol::{Identity, RoomToken, ServerSecret};
use sogs_client::{Blinding, Cause, Encrypt, Room, Server, ServerBuilder, SogsError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn secret() -> ServerSecret {
    ServerSecret::from_bytes([0x5e; 32])
}

fn builder(port: u16) -> ServerBuilder {
    Server::builder(format!("http://127.0.0.1:{port}"), secret().public())
        .identity(Identity::from_seed([1; 32]))
        .blinding(Blinding::Yes)
        .encrypt(Encrypt::No)
        .proxies_from_environment(false)
        .read_timeout(Duration::from_secs(5))
}

fn room(builder: ServerBuilder) -> Room {
    builder.build().unwrap().room(&RoomToken::new("main").unwrap())
}

/// One HTTP request: head and body.
async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = socket.read(&mut buffer).await.ok()?;
        if n == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..n]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|v| v.trim().parse::<usize>().unwrap())
            })
            .unwrap_or(0);
        while bytes.len() < end + 4 + length {
            let n = socket.read(&mut buffer).await.ok()?;
            if n == 0 {
                return None;
            }
            bytes.extend_from_slice(&buffer[..n]);
        }
        return Some((head, bytes[end + 4..].to_vec()));
    }
}

/// Answers each request with what `answer` makes of its number, head and body.
async fn fake(
    answer: impl Fn(usize, &str, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (answer, seen) = (answer.clone(), seen.clone());
            tokio::spawn(async move {
                while let Some((head, body)) = read_request(&mut socket).await {
                    let n = seen.fetch_add(1, Ordering::SeqCst);
                    if socket.write_all(&answer(n, &head, &body)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, count)
}

fn http(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// The answer of a server that took the message in `body`, with `more` fields over it.
fn posted(id: u64, body: &[u8], more: &Value) -> Value {
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    let author = Identity::from_seed([1; 32]).blind15(&secret().public()).id();
    let mut answer = json!({
        "id": id, "session_id": author, "posted": 1_700_000_000.5, "seqno": id,
        "data": sent["data"], "signature": sent["signature"], "reactions": {},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        answer[name] = value.clone();
    }
    answer
}

fn created(id: u64, body: &[u8]) -> Vec<u8> {
    http(201, "", posted(id, body, &Value::Null).to_string().as_bytes())
}

async fn refusal(status: u16, headers: &'static str, body: &'static str) -> SogsError {
    let (port, _) = fake(move |_, _, _| http(status, headers, body.as_bytes())).await;
    room(builder(port)).post("x").await.unwrap_err()
}

#[tokio::test]
async fn unsendable_posts_are_refused_before_anything_goes_out() {
    let (port, count) = fake(|_, _, _| http(201, "", br#"{"id":2}"#)).await;
    let room = room(builder(port));
    assert!(matches!(
        room.post("").await.unwrap_err().cause(),
        Cause::InvalidInput { .. }
    ));
    for emoji in ["", "a/b", "x?y", "1234567890123"] {
        assert!(
            matches!(
                room.react(1, emoji).await.unwrap_err().cause(),
                Cause::InvalidInput { .. }
            ),
            "{emoji}"
        );
    }
    assert!(matches!(
        room.server()
            .raw("GET", "no-slash", None)
            .await
            .unwrap_err()
            .cause(),
        Cause::InvalidInput { .. }
    ));
    let anonymous = Server::builder(format!("http://127.0.0.1:{port}"), secret().public())
        .build()
        .unwrap();
    let error = anonymous.room(room.token()).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NoIdentity);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    for url in ["ftp://host", "not a url", "http://"] {
        assert!(Server::builder(url, secret().public()).build().is_err(), "{url}");
    }
}

#[tokio::test]
async fn secrets_do_not_show() {
    let identity = Identity::from_seed([0xc1; 32]);
    let server = Server::builder("http://127.0.0.1:1", secret().public())
        .identity(identity)
        .build()
        .unwrap();
    let shown = format!(
        "{server:?} {:?} {:?}",
        server.inbox(),
        server.rooms().await.unwrap_err()
    );
    assert!(!shown.contains("c1c1c1"), "{shown}");
}
