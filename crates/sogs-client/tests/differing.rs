//! Servers that differ from the reference: the client works around it and names the difference.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use ackpost_testkit::{DifferingSogs, SOGS_KEY};
use serde_json::{Value, json};
use session_protocol::Signer;
use sogs_client::poll::{Cursor, Event, PollOptions};
use sogs_client::{
    Cause, Difference, Encrypt, Identity, ListOptions, Message, Post, Room, RoomToken, Row, Server,
    ServerBuilder, ServerKey, calls,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn key() -> ServerKey {
    SOGS_KEY.parse().unwrap()
}

fn member() -> Identity {
    Identity::from_seed([3; 32])
}

/// Messages as a server lists them, numbered from 1.
fn rows(count: u64) -> Vec<Value> {
    let signer = Signer::blind15(&member(), &key());
    let row = |id: u64| {
        let post = Post::text(format!("message {id}"))
            .name("Bob")
            .prepare(&signer, 1_700_000_000_000)
            .unwrap();
        json!({
            "id": id, "seqno": id, "session_id": post.author, "posted": 1_700_000_000.5, "reactions": {},
            "data": session_protocol::encoding::b64(&post.data),
            "signature": session_protocol::encoding::b64(post.signature),
        })
    };
    (1..=count).map(row).collect()
}

fn item(id: u64) -> Value {
    let (from, to) = (member().blind15(&key()).id(), me().blind15(&key()).id());
    json!({ "id": id, "posted_at": 1_700_000_000, "expires_at": 1_800_000_000, "sender": from, "recipient": to,
            "message": "AAAA" })
}

fn me() -> Identity {
    Identity::from_seed([1; 32])
}

fn builder(port: u16) -> ServerBuilder {
    Server::builder(format!("http://127.0.0.1:{port}"), key())
        .identity(me())
        .encrypt(Encrypt::No)
        .proxies_from_environment(false)
}

fn token(name: &str) -> RoomToken {
    RoomToken::new(name).unwrap()
}

fn room(fake: &DifferingSogs, name: &str) -> Room {
    builder(fake.port()).build().unwrap().room(&token(name))
}

fn ids(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.id).collect()
}

#[tokio::test]
async fn the_newest_messages_are_found_where_the_oldest_are_called_recent() {
    let fake = DifferingSogs::start(rows(400), Vec::new());
    let main = room(&fake, "main");
    let recent = main.recent(ListOptions::limit(3)).await.unwrap();
    assert_eq!(ids(&recent), [400, 399, 398]);
    assert!(recent.iter().all(Message::is_authentic));
    assert_eq!(ids(&main.recent(ListOptions::limit(1)).await.unwrap()), [400]);
    assert_eq!(
        ids(&main.recent(ListOptions::default()).await.unwrap()).len(),
        100
    );
    assert_eq!(main.server().differences(), [Difference::RecentOldestFirst]);

    // A room that fits in one answer is turned round.
    let few = DifferingSogs::start(rows(5), Vec::new());
    let recent = room(&few, "main").recent(ListOptions::limit(20)).await.unwrap();
    assert_eq!(ids(&recent), [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_single_message_is_found_without_a_call_for_it() {
    let fake = DifferingSogs::start(rows(700), Vec::new());
    let main = room(&fake, "main");
    for id in [700, 430, 1] {
        assert_eq!(main.message(id).await.unwrap().id, id);
    }
    assert_eq!(main.server().differences(), [Difference::NoSingleMessage]);
    let error = main.message(9_999).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::NotFound);
    assert!(
        error.to_string().contains("cannot return a single message"),
        "{error}"
    );
}

#[tokio::test]
async fn the_inbox_is_read_without_a_limit_where_a_limit_fails() {
    let fake = DifferingSogs::start(rows(1), (1..=3).map(item).collect());
    let server = builder(fake.port()).build().unwrap();
    let items = server.inbox().received(None).await.unwrap();
    assert_eq!(
        items.iter().map(|message| message.item.id).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(server.inbox().received(Some(2)).await.unwrap().len(), 1);
    assert_eq!(server.differences(), [Difference::NoInboxLimit]);
}

#[tokio::test]
async fn one_bad_part_of_a_batch_ends_nothing() {
    let fake = DifferingSogs::start(rows(300), vec![item(1)]);
    let server = builder(fake.port()).build().unwrap();
    let options = PollOptions {
        interval: Duration::from_millis(20),
        backlog: 2,
        ..PollOptions::rooms(["main", "closed", "other"].map(token))
    };
    // A 403 without a body in one room, an empty part for the inbox: the other room is followed all the same.
    let mut poll = server.poll(options, Cursor::default());
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let event = tokio::time::timeout(Duration::from_secs(20), poll.next())
            .await
            .unwrap()
            .unwrap();
        seen.push(match event {
            Event::Message { room, message } => format!("{room} {}", message.id),
            Event::RoomLost { room, error } => format!("{room} lost {}", error.status().unwrap_or(0)),
            Event::Direct(message) => format!("direct {}", message.item.id),
            other => format!("{other:?}"),
        });
    }
    seen.sort();
    let wanted = [
        "closed lost 403",
        "direct 1",
        "main 299",
        "main 300",
        "other 299",
        "other 300",
    ];
    assert_eq!(seen, wanted);
    let differences = server.differences();
    for difference in [
        Difference::NoInboxLimit,
        Difference::BatchWithoutStatus,
        Difference::RecentOldestFirst,
    ] {
        assert!(differences.contains(&difference), "{differences:?}");
    }
}

#[tokio::test]
async fn a_server_that_gives_the_same_page_again_is_not_asked_without_a_pause() {
    let fake = DifferingSogs::start(rows(300), Vec::new());
    let cursor: Cursor = serde_json::from_value(json!({
        "rooms": { "stuck": { "seqno": 300, "last_id": 300, "info_updates": 1 } }, "inbox": 1,
    }))
    .unwrap();
    let options = PollOptions {
        interval: Duration::from_secs(60),
        ..PollOptions::rooms([token("stuck")])
    };
    let mut poll = builder(fake.port()).build().unwrap().poll(options, cursor);
    let caught_up = poll.caught_up();
    tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            () = caught_up => {}
            event = poll.next() => panic!("nothing is new: {event:?}"),
        }
    })
    .await
    .expect("the poll has reached the present");
}

#[tokio::test]
async fn one_invalid_element_does_not_spoil_a_list() {
    let fake = DifferingSogs::start(rows(4), Vec::new());
    let recent = room(&fake, "odd").recent(ListOptions::limit(5)).await.unwrap();
    assert_eq!(ids(&recent), [1]);
}

/// Answers every request with these bytes after the head, one piece a pause.
async fn server_of(head: &'static str, body: Vec<u8>, pause: Option<Duration>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let body = body.clone();
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let _ = socket.read(&mut request).await;
                let head = format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n", body.len());
                socket.write_all(head.as_bytes()).await?;
                match pause {
                    None => socket.write_all(&body).await,
                    Some(pause) => {
                        for byte in body {
                            socket.write_all(&[byte]).await?;
                            tokio::time::sleep(pause).await;
                        }
                        Ok(())
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_drips_its_answer_is_left_in_time() {
    let port = server_of("", vec![b' '; 100_000], Some(Duration::from_millis(20))).await;
    let server = builder(port)
        .call_timeout(Duration::from_millis(400))
        .connect_timeout(Duration::from_millis(200))
        .read_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    let main = server.room(&token("main"));
    let started = Instant::now();
    let error = main.info().await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Timeout { phase: "answer" });
    assert!(main.recent(ListOptions::limit(5)).await.is_err());
    assert!(server.inbox().received(None).await.is_err());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn the_request_bounds_the_accepted_answer() {
    // 20 MB of capabilities.
    let many = format!("{{\"capabilities\":[{}\"\"]}}", "\"\",".repeat(6_000_000));
    let port = server_of("", many.into_bytes(), None).await;
    let error = builder(port).build().unwrap().capabilities().await.unwrap_err();
    assert_eq!(error.cause(), &Cause::AnswerTooLong { limit: 64 * 1024 });

    // 150,000 messages where 20 were asked for.
    let row: Value = rows(1).remove(0);
    let mut list = String::from("[");
    for id in 1..=150_000u64 {
        list.push_str(&format!(
            "{{\"id\":{id},\"seqno\":{id},\"posted\":1.5,\"session_id\":{}}},",
            row["session_id"]
        ));
    }
    list.pop();
    list.push(']');
    let read = |limit: u32, since: bool| {
        let options = ListOptions::limit(limit);
        let header = vec![("content-type".to_owned(), "application/json".to_owned())];
        let body = list.clone().into_bytes();
        if since {
            let rows = calls::since(&token("main"), 0, options)
                .read(200, header, body)
                .unwrap();
            rows.iter().map(Row::id).collect::<Vec<_>>()
        } else {
            ids(&calls::recent(&token("main"), options)
                .read(200, header, body)
                .unwrap())
        }
    };
    assert_eq!(read(3, false), [150_000, 149_999, 149_998]);
    assert_eq!(read(3, true), [1, 2, 3]);
    let before = calls::before(&token("main"), 2, ListOptions::limit(5));
    let body = serde_json::to_vec(&rows(4)).unwrap();
    assert_eq!(ids(&before.read(200, Vec::new(), body).unwrap()), [1]);

    let items: Vec<Value> = (1..=1_000).map(item).collect();
    let inbox = calls::direct_messages(calls::DirectBox::Inbox, None, Some(7));
    let items = inbox
        .read(200, Vec::new(), serde_json::to_vec(&items).unwrap())
        .unwrap();
    assert_eq!(items.last().unwrap().id, 7);
}

#[tokio::test]
async fn more_parts_than_calls_are_refused_without_being_kept() {
    let mut batch = sogs_client::Batch::new();
    let _ticket = batch.add(calls::capabilities());
    let body = format!("[{}0]", "0,".repeat(100_000));
    assert_eq!(
        batch.read(body.as_bytes(), false).unwrap_err().cause(),
        &Cause::NotASogs
    );
}
