//! The limits on the head of a request hold for what is sent over a real connection.

use std::sync::Arc;
use std::time::Duration;

use bounded_http::{ConnectionLimiter, Counters, HeadLimits};
use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Sends a head in one piece to a listener with the default limits, and returns the status line of the answer.
async fn status_of(head: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let running = bounded_http::start(
        vec![listener],
        ConnectionLimiter::new(8),
        Arc::new(Counters::default()),
        HeadLimits::default,
        |_request, _peer| async { http::Response::new(Full::new(Bytes::from("hello"))) },
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), async {
        let mut piece = [0; 1024];
        while !answer.ends_with(b"hello") {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
            }
        }
    });
    read.await.expect("an answer within ten seconds");
    drop(stream);
    running.stop(Duration::from_secs(5)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_request_line_and_headers_share_one_limit() {
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "a".repeat(bytes));
    assert_eq!(status_of(line(20_000)).await, "HTTP/1.1 200 OK");
    for bytes in [33_000, 40_000, 60_000] {
        assert!(
            status_of(line(bytes)).await.contains(" 431 "),
            "a line of {bytes} bytes"
        );
    }
    let both = |bytes: usize| {
        let (path, value) = ("a".repeat(bytes), "b".repeat(bytes));
        format!("GET /{path} HTTP/1.1\r\nhost: test\r\nx-value: {value}\r\n\r\n")
    };
    assert_eq!(status_of(both(16_000)).await, "HTTP/1.1 200 OK");
    assert!(
        status_of(both(17_000)).await.contains(" 431 "),
        "a line and a header of 17 kB each"
    );
}

#[tokio::test]
async fn a_request_names_one_host() {
    let get = |version: &str, hosts: &str| format!("GET / {version}\r\n{hosts}\r\n");
    assert_eq!(
        status_of(get("HTTP/1.1", "Host: test\r\n")).await,
        "HTTP/1.1 200 OK"
    );
    assert_eq!(status_of(get("HTTP/1.1", "Host:\r\n")).await, "HTTP/1.1 200 OK");
    assert_eq!(status_of(get("HTTP/1.0", "")).await, "HTTP/1.0 200 OK");
    for (version, hosts) in [
        ("HTTP/1.1", ""),
        ("HTTP/1.1", "Host: one\r\nHost: two\r\n"),
        ("HTTP/1.0", "Host: one\r\nHost: two\r\n"),
    ] {
        let status = status_of(get(version, hosts)).await;
        assert!(status.contains(" 400 "), "{version} {hosts:?}: {status}");
    }
}
