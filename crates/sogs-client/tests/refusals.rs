//! Servers that misbehave in one exact way, and what a caller is told.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackpost_testkit::SelfSigned;
use serde_json::{Value, json};
use session_protocol::onion::v4;
use session_protocol::{Identity, RoomToken, ServerSecret};
use sogs_client::{Blinding, Cause, Encrypt, Post, Room, Server, ServerBuilder, SogsError, Verify, Withheld};
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
async fn each_status_has_its_cause_and_remedy() {
    let cases = [
        (400, "", "no data", Cause::BadRequest, true),
        (
            401,
            "",
            "X-SOGS-* request authentication required",
            Cause::AuthenticationRequired,
            true,
        ),
        (
            401,
            "",
            "Invalid authentication: X-SOGS-Signature verification failed",
            Cause::WrongServerKey,
            true,
        ),
        (403, "", "Banned", Cause::Banned, true),
        (403, "", "Permission denied", Cause::Forbidden, true),
        (
            404,
            "content-type: text/html\r\n",
            "<!doctype html><title>404</title>",
            Cause::NotFound,
            true,
        ),
        (405, "", "", Cause::NotASogs, true),
        (413, "", "", Cause::TooLarge, true),
        (429, "", "Rate limited", Cause::RateLimited, false),
        (
            429,
            "retry-after: 300\r\n",
            "Rate limited",
            Cause::RateLimited,
            false,
        ),
        (429, "", "filtration rejected message", Cause::Rejected, true),
        (500, "", "", Cause::ServerError, false),
        (503, "retry-after: 7\r\n", "", Cause::ServerError, false),
        (418, "", "", Cause::UnexpectedStatus, true),
    ];
    let mut remedies = std::collections::BTreeSet::new();
    for (status, headers, body, cause, permanent) in cases {
        let error = refusal(status, headers, body).await;
        assert_eq!((error.cause(), error.status()), (&cause, Some(status)), "{error}");
        assert_eq!(error.is_permanent(), permanent, "{error}");
        assert!(error.to_string().starts_with("127.0.0.1:"), "{error}");
        assert!(
            !error.to_string().contains('<'),
            "a page is not repeated: {error}"
        );
        remedies.insert(error.remedy());
    }
    assert!(remedies.len() >= 8);
    // Only what the server said is told as a number.
    assert!(
        remedies.contains("wait 300 seconds") && remedies.contains("wait a while"),
        "{remedies:?}"
    );
    assert_eq!(
        refusal(503, "retry-after: 7\r\n", "").await.retry_after(),
        Some(Duration::from_secs(7))
    );
    assert_eq!(
        refusal(429, "", "Rate limited").await.retry_after(),
        Some(Duration::from_secs(16))
    );
}

/// Other programs' ports: a plain web server, and one that speaks another protocol. Another try cannot help.
#[tokio::test]
async fn what_is_no_community_server_is_said_to_be_none() {
    let web = http(404, "content-type: text/html\r\n", b"<!doctype html>");
    let xmpp = b"<stream:error><not-well-formed/></stream:error></stream:stream>".to_vec();
    for encrypt in [Encrypt::No, Encrypt::Auto] {
        for (bytes, status) in [(web.clone(), Some(404)), (xmpp.clone(), None)] {
            let (port, _) = fake(move |_, _, _| bytes.clone()).await;
            let error = room(builder(port).blinding(Blinding::Auto).encrypt(encrypt))
                .post("x")
                .await
                .unwrap_err();
            // A login page on the way to the server may go away again.
            let unsealed = status.is_some() && encrypt == Encrypt::Auto;
            let cause = if unsealed {
                Cause::NotSealed
            } else {
                Cause::NotASogs
            };
            assert_eq!((error.cause(), error.status()), (&cause, status), "{error}");
            assert_eq!(error.is_permanent(), !unsealed, "{error}");
            assert!(error.remedy().contains("port"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_wrong_clock_is_measured() {
    let date = "date: Sat, 21 Nov 2015 20:12:55 GMT\r\n";
    let text = "Invalid authentication: X-SOGS-Timestamp is too far from current time";
    let error = refusal(425, date, text).await;
    let Cause::ClockSkew {
        offset_secs: Some(offset),
    } = error.cause()
    else {
        panic!("{error}")
    };
    assert!(*offset < -300_000_000, "{offset}");
    assert!(
        error.to_string().contains("days ahead of the server's"),
        "{error}"
    );
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn a_used_nonce_is_replaced_once() {
    let (port, count) = fake(|n, _, body| {
        if n == 0 {
            http(425, "", b"X-SOGS-Nonce cannot be reused")
        } else {
            created(5, body)
        }
    })
    .await;
    assert_eq!(room(builder(port)).post("x").await.unwrap().id, 5);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn posted_is_what_the_answer_shows() {
    let mine = |more: Value| async move {
        let (port, count) = fake(move |_, _, body| {
            let answer = posted(18, body, &more);
            http(201, "", answer.to_string().as_bytes())
        })
        .await;
        let result = room(builder(port)).post("x").await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        result
    };
    let whole = mine(Value::Null).await.unwrap();
    assert_eq!((whole.id, whole.withheld), (18, None));
    assert_eq!(whole.message.unwrap().body(), Some("x"));
    // Fields that prove nothing may be missing or new.
    let odd = mine(json!({ "seqno": null, "posted": "now", "more": [1] }))
        .await
        .unwrap();
    assert_eq!((odd.id, odd.message), (18, None));

    let other = Identity::from_seed([2; 32]).blind15(&secret().public()).id();
    for more in [
        json!({ "id": null }),
        json!({ "id": "7" }),
        json!({ "id": -1 }),
        json!({ "id": 0 }),
        json!({ "id": 7.5 }),
        json!({ "data": "aGVsbG8=" }),
        json!({ "data": null }),
        json!({ "session_id": other }),
        json!({ "session_id": null }),
    ] {
        let error = mine(more.clone()).await.unwrap_err();
        assert!(
            matches!(error.cause(), Cause::Unproven { withheld: None, .. }),
            "{more}: {error}"
        );
        assert!(error.is_ambiguous() && error.is_permanent(), "{error}");
        assert!(
            error.to_string().contains("accepted the message, but its answer"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_our_message_proves_nothing() {
    let long = format!(r#"{{"id":18,"data":"{}"}}"#, "A".repeat(200_000));
    for (status, body, id) in [
        (201, "{}", None),
        (201, "[]", None),
        (201, "<html>this is no JSON", None),
        (201, r#"{"reactions":{"id":9},"id": 17, "data""#, Some(17)),
        (201, long.as_str(), Some(18)),
        (200, "{}", None),
        (200, r#"{"id":4}"#, Some(4)),
    ] {
        let text = body.to_owned();
        let (port, _) = fake(move |_, _, _| http(status, "", text.as_bytes())).await;
        let error = room(builder(port).max_answer_bytes(10_000))
            .post("x")
            .await
            .unwrap_err();
        let Cause::Unproven { id: found, .. } = error.cause() else {
            panic!("{status} {error}");
        };
        assert_eq!((*found, error.status()), (id, Some(status)), "{error}");
    }
    // The whole message with another status than the protocol's.
    let (port, _) =
        fake(|_, _, body| http(200, "", posted(3, body, &Value::Null).to_string().as_bytes())).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert!(error.to_string().contains("status 200 instead of 201"), "{error}");

    let (port, _) = fake(|_, _, _| http(200, "", b"<html>Welcome to nginx</html>")).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs);
    let (empty, _) = fake(|_, _, _| http(204, "", b"")).await;
    let error = room(builder(empty)).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs);
    let error = room(builder(port)).replace(1, "x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs, "a page edits nothing");
    let error = room(builder(port)).delete(1).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotASogs, "nor deletes");
    let error = room(builder(port).max_answer_bytes(5))
        .recent(sogs_client::ListOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::AnswerTooLong { limit: 5 });
}

#[tokio::test]
async fn files_and_direct_messages_need_the_servers_own_words_too() {
    for body in ["{}", r#"{"id":null}"#, r#"{"id":"7"}"#, r#"{"id":-1}"#] {
        let (port, _) = fake(move |_, _, _| http(201, "", body.as_bytes())).await;
        let upload = sogs_client::Upload::new(vec![7; 10]);
        let error = room(builder(port)).upload(upload).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::NotASogs, "{body}");
    }
    let id = |seed: u8| Identity::from_seed([seed; 32]).blind15(&secret().public()).id();
    for (sender, recipient, good) in [(id(1), id(2), true), (id(3), id(2), false), (id(1), id(3), false)] {
        let (port, _) = fake(move |_, _, _| {
            let receipt = json!({
                "id": 5, "posted_at": 1.5, "expires_at": 2.5, "sender": sender, "recipient": recipient,
            });
            http(201, "", receipt.to_string().as_bytes())
        })
        .await;
        let sent = builder(port)
            .build()
            .unwrap()
            .inbox()
            .send(&id(2), "x", None)
            .await;
        match sent {
            Ok(receipt) => assert!(good && receipt.id == 5),
            Err(error) => assert!(
                !good && matches!(error.cause(), Cause::Unproven { .. }),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn what_the_community_hides_is_withheld() {
    for (more, withheld) in [
        (json!({ "filtered": true }), Withheld::Unspecified),
        (json!({ "filtered": 1 }), Withheld::Unspecified),
        (json!({ "filtered": true, "held": true }), Withheld::Approval),
        (json!({ "filtered": true, "held": false }), Withheld::Filter),
    ] {
        let (port, _) =
            fake(move |_, _, body| http(201, "", posted(6, body, &more).to_string().as_bytes())).await;
        let posted = room(builder(port)).post("x").await.unwrap();
        assert_eq!((posted.id, posted.withheld), (6, Some(withheld)));
    }
    let (port, _) = fake(|_, _, _| http(201, "", br#"{"filtered":true}"#)).await;
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert!(
        matches!(
            error.cause(),
            Cause::Unproven {
                withheld: Some(Withheld::Unspecified),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_edit_that_hides_the_message_is_withheld() {
    // Ackpost's server says so in its answer.
    for (words, withheld) in [
        (r#"{"filtered":true,"held":false}"#, Withheld::Filter),
        (r#"{"filtered":true}"#, Withheld::Unspecified),
    ] {
        let (port, _) = fake(move |_, _, _| http(200, "", words.as_bytes())).await;
        let edited = room(builder(port)).replace(7, "x").await.unwrap();
        assert_eq!(edited.withheld, Some(withheld));
    }
    // Others say nothing; the message is gone for everybody.
    for (status, withheld) in [
        (404, Some(Withheld::Unspecified)),
        (403, None),
        (500, None),
        (200, None),
    ] {
        let (port, _) = fake(move |_, head, _| {
            if head.starts_with("PUT ") {
                http(200, "", b"{}")
            } else {
                http(status, "", b"{}")
            }
        })
        .await;
        let edited = room(builder(port)).replace(7, "x").await.unwrap();
        assert_eq!(edited.withheld, withheld, "{status}");
    }
}

#[tokio::test]
async fn a_post_without_an_answer_may_have_arrived() {
    let (port, _) = fake(|_, _, _| Vec::new()).await;
    let quick = builder(port).read_timeout(Duration::from_millis(300));
    let silent = room(quick).post("x").await.unwrap_err();
    assert!(
        silent.remedy().contains("may have arrived") && silent.remedy().contains("rto="),
        "{silent}; {}",
        silent.remedy()
    );
    let (port, _) = fake(|_, _, _| http(502, "", b"")).await;
    let gateway = room(builder(port)).post("x").await.unwrap_err();
    assert!(gateway.remedy().contains("may have arrived"), "{gateway}");
    // The server's own word that it failed, and questions, leave nothing open.
    let (port, _) = fake(|_, _, _| http(500, "", b"")).await;
    let failed = room(builder(port)).post("x").await.unwrap_err();
    assert!(!failed.remedy().contains("may have arrived"), "{failed}");
    let (port, _) = fake(|_, _, _| http(502, "", b"")).await;
    let asked = room(builder(port)).info().await.unwrap_err();
    assert!(!asked.remedy().contains("may have arrived"), "{asked}");
}

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
async fn an_account_is_blinded_when_the_server_says_so() {
    // The capabilities do not tell; the refusal does.
    let (port, _) = fake(|_, head, body| {
        let line = head.lines().next().unwrap();
        let blinded = head.to_ascii_lowercase().contains("x-sogs-pubkey: 15");
        if line.starts_with("GET /capabilities") {
            http(200, "", br#"{"capabilities":["sogs"]}"#)
        } else if blinded {
            created(8, body)
        } else {
            http(
                400,
                "",
                b"Invalid authentication: this server requires the use of blinded ids",
            )
        }
    })
    .await;
    let auto = room(builder(port).blinding(Blinding::Auto));
    assert_eq!(auto.post(Post::text("x")).await.unwrap().id, 8);
    assert_eq!(
        auto.server().my_id().await.unwrap().prefix(),
        session_protocol::Prefix::Blind15
    );
    let never = room(builder(port).blinding(Blinding::No));
    assert_eq!(
        never.post("x").await.unwrap_err().cause(),
        &Cause::BlindingRequired
    );
}

#[tokio::test]
async fn nobody_there_no_name_no_answer() {
    let port = ackpost_testkit::reserve_port();
    let error = room(builder(port)).post("x").await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Refused);
    assert!(!error.is_permanent() && !error.is_ambiguous());

    let server = Server::builder("http://no-such-host.invalid", secret().public())
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
        Server::builder(format!("https://localhost:{port}"), secret().public())
            .proxies_from_environment(false)
    };
    let error = https(port).build().unwrap().capabilities().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Tls { .. }), "{error}");
    assert!(error.is_permanent() && error.remedy().contains("verify=no"));
    let open = https(port).verify(Verify::No).build().unwrap();
    assert!(open.capabilities().await.unwrap().has("sogs"));
    let known = https(port)
        .verify(Verify::Authorities(certificate.pem.clone().into_bytes()))
        .build()
        .unwrap();
    assert!(known.capabilities().await.unwrap().has("sogs"));

    let none = https(port)
        .verify(Verify::Authorities(b"no certificate".to_vec()))
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

/// A server that opens sealed requests with one key and answers as told.
async fn sealed_server(key: ServerSecret) -> (u16, Arc<AtomicUsize>) {
    fake(move |_, head, body| {
        if !head.starts_with("POST /oxen/v4/lsrpc ") {
            // What a server says to a request that is signed for another key.
            return http(
                401,
                "",
                b"Invalid authentication: X-SOGS-Signature verification failed",
            );
        }
        let Ok((request, reply)) = v4::Request::open(body, &key) else {
            return http(400, "", b"Invalid request");
        };
        assert!(
            !head.to_ascii_lowercase().contains("x-sogs"),
            "nothing of the request shows outside"
        );
        let body = if request.endpoint == "/capabilities" {
            json!({"capabilities": ["blind", "sogs"]})
        } else {
            posted(4, request.body.as_deref().unwrap_or_default(), &Value::Null)
        };
        let response = v4::Response {
            code: if request.method == "POST" { 201 } else { 200 },
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        };
        http(
            200,
            "",
            &response.seal(&reply, &mut rand_core::UnwrapErr(getrandom::SysRng)),
        )
    })
    .await
}

#[tokio::test]
async fn plain_http_is_sealed_and_a_wrong_key_shows() {
    let (port, count) = sealed_server(secret()).await;
    let sealed = room(builder(port).encrypt(Encrypt::Auto).blinding(Blinding::Auto));
    assert!(sealed.server().is_sealed());
    assert_eq!(sealed.post("x").await.unwrap().id, 4);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert!(sealed.server().is_sealed());

    let (port, _) = sealed_server(ServerSecret::from_bytes([3; 32])).await;
    for encrypt in [Encrypt::Auto, Encrypt::Yes] {
        let error = room(builder(port).encrypt(encrypt)).post("x").await.unwrap_err();
        assert_eq!(error.cause(), &Cause::WrongServerKey, "{error}");
    }
    // An answer that somebody on the way made up does not open, whatever it looks like.
    for body in [&br#"{"id":1}"#[..], &[0xf3; 200]] {
        let (port, _) = fake(move |_, _, _| http(200, "", body)).await;
        let error = room(builder(port).encrypt(Encrypt::Yes))
            .post("x")
            .await
            .unwrap_err();
        assert!(
            matches!(error.cause(), Cause::WrongServerKey | Cause::NotSealed),
            "{error}"
        );
    }
    let (port, count) = fake(|_, _, _| http(200, "", &[0xf3; 200])).await;
    let error = room(builder(port).encrypt(Encrypt::Auto))
        .post("x")
        .await
        .unwrap_err();
    assert_eq!(error.cause(), &Cause::WrongServerKey);
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "bytes that may be sealed are no reason to go on unsealed"
    );
}

/// Whoever answers a sealed request unsealed has not shown the server's key: nothing is said in clear afterwards.
#[tokio::test]
async fn no_answer_on_the_way_opens_a_sealed_connection() {
    let portal = "<html><title>Log in to the network</title>";
    let answers = [
        (404, ""),
        (405, ""),
        (501, ""),
        (500, ""),
        (400, "?"),
        (200, portal),
        (200, "OK"),
        (201, r#"{"id":7,"more":"text that is long enough"}"#),
        (302, ""),
        (429, ""),
        (502, ""),
        (503, ""),
        (504, ""),
    ];
    for (status, body) in answers {
        for encrypt in [Encrypt::Auto, Encrypt::Yes] {
            let (port, count) = fake(move |_, head, sent| {
                assert!(head.starts_with("POST /oxen/v4/lsrpc "), "{head}");
                assert!(!head.to_ascii_lowercase().contains("x-sogs"), "{head}");
                assert!(
                    serde_json::from_slice::<Value>(sent).is_err(),
                    "nothing is sent in clear"
                );
                http(status, "", body.as_bytes())
            })
            .await;
            let room = room(builder(port).encrypt(encrypt).blinding(Blinding::Auto));
            let options = sogs_client::ListOptions::default();
            for error in [
                room.post("x").await.unwrap_err(),
                room.recent(options).await.unwrap_err(),
                room.info().await.unwrap_err(),
                room.server().inbox().received(None).await.unwrap_err(),
            ] {
                assert_eq!(error.status(), Some(status), "{error}");
                if matches!(error.cause(), Cause::NotSealed | Cause::WrongServerKey) {
                    assert!(error.remedy().contains("encrypt=no"), "{}", error.remedy());
                }
            }
            assert!(room.server().is_sealed());
            assert_eq!(count.load(Ordering::SeqCst), 4, "{status}: one request each");
        }
        // The user may say that it goes in clear.
        let (port, _) = fake(move |_, head, body| {
            if head.starts_with("POST /oxen/") {
                http(status, "", b"")
            } else {
                created(2, body)
            }
        })
        .await;
        assert_eq!(
            room(builder(port).encrypt(Encrypt::No))
                .post("x")
                .await
                .unwrap()
                .id,
            2
        );
    }
}

#[tokio::test]
async fn a_sealed_redirect_stays_at_home_and_sealed() {
    let redirecting = |to: &'static str| async move {
        fake(move |_, head, body| {
            assert!(head.starts_with("POST /oxen/v4/lsrpc "), "{head}");
            let (request, reply) = v4::Request::open(body, &secret()).unwrap();
            let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            let (code, body) = if request.endpoint.starts_with("/moved") {
                let body = posted(9, request.body.as_deref().unwrap_or_default(), &Value::Null);
                (201, body.to_string().into_bytes())
            } else {
                headers.push(("location".to_owned(), to.to_owned()));
                (307, Vec::new())
            };
            let response = v4::Response { code, headers, body };
            http(
                200,
                "",
                &response.seal(&reply, &mut rand_core::UnwrapErr(getrandom::SysRng)),
            )
        })
        .await
    };
    let (port, count) = redirecting("/moved/room/main/message").await;
    let sealed = room(builder(port).encrypt(Encrypt::Auto));
    assert_eq!(sealed.post("x").await.unwrap().id, 9);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let error = room(builder(port).encrypt(Encrypt::Auto).redirects(false))
        .post("x")
        .await
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::Redirected { .. }), "{error}");

    for to in ["http://127.0.0.1:1/moved/room/main/message", "/again"] {
        let (port, _) = redirecting(to).await;
        let error = room(builder(port).encrypt(Encrypt::Auto))
            .post("x")
            .await
            .unwrap_err();
        assert!(matches!(error.cause(), Cause::Redirected { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_goes_out() {
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
