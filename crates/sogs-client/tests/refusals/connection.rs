//! Redirects, names, time limits and TLS.

use ackpost_testkit::SelfSigned;
use session_protocol::Identity;
use sogs_client::{Cause, Server, Verify};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{builder, created, fake, http, read_request, room};

#[tokio::test]
async fn redirects_stay_at_home_and_are_signed_anew() {
    let (port, count) = fake(|_, head, body| {
        let line = head.lines().next().unwrap();
        if line.starts_with("POST /room/main/message ") {
            http(307, "location: /moved/room/main/message\r\n", b"")
        } else {
            assert!(
                line.starts_with("POST /moved/room/main/message "),
                "the method stays: {line}"
            );
            let value = |name: &str| {
                head.lines().find_map(|l| {
                    l.to_ascii_lowercase()
                        .strip_prefix(name)
                        .map(|_| l[name.len()..].trim().to_owned())
                })
            };
            assert!(value("x-sogs-signature:").is_some() && value("x-sogs-nonce:").is_some());
            created(3, body)
        }
    })
    .await;
    assert_eq!(room(builder(port)).post("x").await.unwrap().id, 3);
    assert_eq!(count.load(Ordering::SeqCst), 2);

    let (elsewhere, reached) = fake(|_, _, _| http(201, "", br#"{"id":1}"#)).await;
    for status in [301, 302, 303, 307, 308] {
        let (port, _) = fake(move |_, _, _| {
            http(
                status,
                &format!("location: http://127.0.0.1:{elsewhere}/room/main/message\r\n"),
                b"",
            )
        })
        .await;
        let error = room(builder(port)).post("x").await.unwrap_err();
        assert_eq!(
            error.cause(),
            &Cause::Redirected {
                to: format!("http://127.0.0.1:{elsewhere}")
            }
        );
        assert!(error.is_permanent());
    }
    assert_eq!(
        reached.load(Ordering::SeqCst),
        0,
        "nothing goes to another origin"
    );

    let (port, count) = fake(|_, _, _| http(307, "location: /moved\r\n", b"")).await;
    let error = room(builder(port).redirects(false)).post("x").await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Redirected { .. }), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 1);

    let (port, count) = fake(|_, _, _| http(302, "location: /again\r\n", b"")).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Redirected { .. }), "{error}");
    assert!(count.load(Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn nobody_there_no_name_no_answer() {
    let port = ackpost_testkit::reserve_port();
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Refused);
    assert!(!error.is_permanent() && !error.is_ambiguous());

    let server = Server::builder("http://no-such-host.invalid", super::secret().public())
        .identity(Identity::from_seed([1; 32]))
        .proxies_from_environment(false)
        .build()
        .unwrap();
    assert_eq!(server.rooms().await.unwrap_err().cause(), &Cause::Dns);

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = room(builder(port).read_timeout(Duration::from_millis(200)))
        .post("x")
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::Timeout { phase: "answer" });
    assert!(error.is_ambiguous(), "the server may have taken it");

    let cutting = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = cutting.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = cutting.accept().await {
            let _ = read_request(&mut socket).await;
        }
    });
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Network { .. }), "{error}");
    assert!(error.is_ambiguous());
}

#[tokio::test]
async fn a_large_file_may_take_longer_to_arrive_than_an_answer() {
    // The system takes the whole body at once; it arrives later than the time for an answer allows.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(900)).await;
                read_request(&mut socket).await?;
                socket.write_all(&http(201, "", br#"{"id":11}"#)).await.ok()
            });
        }
    });
    let room = room(builder(port).read_timeout(Duration::from_millis(300)));
    let file = room
        .upload(sogs_client::Upload::new(vec![7; 400_000]))
        .await
        .unwrap();
    assert_eq!(file.id, 11);
    let error = room
        .upload(sogs_client::Upload::new(vec![7; 4_000]))
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::Timeout { phase: "answer" });
}

#[tokio::test]
async fn tls_and_its_absence() {
    let certificate = SelfSigned::new(&["localhost", "127.0.0.1"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(certificate.server());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    return;
                };
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream
                    .write_all(&http(200, "", br#"{"capabilities":["sogs"]}"#))
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let https = |port: u16| {
        Server::builder(format!("https://localhost:{port}"), super::secret().public())
            .proxies_from_environment(false)
    };
    let error = https(port).build().unwrap().capabilities().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Tls { .. }), "{error}");
    assert!(error.is_permanent() && error.remedy().contains("verify=no"));
    let open = https(port).verify(Verify::No).build().unwrap();
    assert!(open.capabilities().await.unwrap().has("sogs"));
    let known = https(port)
        .verify(Verify::Authorities(certificate.pem.clone().into_bytes().into()))
        .build()
        .unwrap();
    assert!(known.capabilities().await.unwrap().has("sogs"));

    let none = https(port)
        .verify(Verify::Authorities(b"no certificate".to_vec().into()))
        .build();
    assert!(matches!(none.unwrap_err().cause(), Cause::InvalidInput { .. }));

    let (plain, _) = fake(|_, _, _| http(200, "", b"{}")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chatty = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket
                .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    let error = https(chatty)
        .verify(Verify::No)
        .build()
        .unwrap()
        .capabilities()
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::NotTls, "{error}");
    let _ = plain;
}
