//! Tests of the content of the outbox: files, secrets, limits, and removal.

use std::time::Duration;

use ackpost_notify::File;
use ackpost_notify::{Message, Outcome};
use ackpost_outbox::{AcceptOptions, Outbox, OutboxError, State};

use crate::support::{Place, Reaction, Sink, accept, flush, later, stamped, state, submission};

stamped!(
    files_are_copied_in_and_go_when_they_are_sent,
    nothing_is_readable_in_the_database,
    limits_are_kept_and_nothing_is_half_stored,
    another_key_is_noticed,
    a_lost_key_is_never_replaced,
    old_rows_go,
);

async fn count(place: &Place, table: &str) -> i64 {
    use sqlx::Connection as _;
    let sql = format!("SELECT COUNT(*) FROM {table}");
    if let Some(database) = &place.database {
        return database.sql(&sql).trim().parse().unwrap();
    }
    let path = place.folder.path().join("outbox.db");
    let mut one = sqlx::SqliteConnection::connect(path.to_str().unwrap())
        .await
        .unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut one)
        .await
        .unwrap()
}

async fn files_are_copied_in_and_go_when_they_are_sent(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let file = File {
        name: "report.pdf".to_owned(),
        media_type: "application/pdf".to_owned(),
        bytes: vec![7; 1_200_000].into(),
    };
    let files = [file.clone()];
    sink.next("b", [later(None)]);
    let submissions = vec![submission("a", &[]), submission("b", &[("digest", "5m")])];
    outbox
        .submit(
            &Message::new("see|more"),
            &files,
            submissions,
            &AcceptOptions::default(),
        )
        .await
        .unwrap();
    flush(&outbox).await;
    assert_eq!(sink.arrived()[0].files, files);
    assert!(
        sink.arrived()[1].files.is_empty(),
        "files go with the first piece"
    );
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(
        sink.texts("b"),
        ["see", "more"],
        "a message with files is in no digest"
    );
    assert_eq!(sink.arrived()[2].files, files);
    assert_eq!(
        count(&place, "outbox_file").await,
        0,
        "nobody needs them any more"
    );
}

async fn nothing_is_readable_in_the_database(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let refused = Outcome::refused("reason-in-clear", "remedy-in-clear");
    sink.next("a", [later(None), Reaction::Answer(refused)]);
    let file = File {
        name: "name-in-clear.txt".to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: b"bytes-in-clear".as_slice().into(),
    };
    let message = Message::new("body-in-clear").title("title-in-clear");
    let words = [("dedup", "key-in-clear")];
    outbox
        .submit(
            &message,
            &[file],
            vec![submission("a", &words)],
            &AcceptOptions::default(),
        )
        .await
        .unwrap();
    accept(&outbox, "b", &[("digest", "1h")], "collected-in-clear").await;
    for _ in 0..3 {
        flush(&outbox).await;
        place.advance(10);
    }
    let raw = match &place.database {
        Some(database) => {
            let tables = ["lane", "entry", "window", "file", "event", "meta", "counter"];
            let text: String = tables
                .iter()
                .map(|table| database.sql(&format!("SELECT t::text FROM outbox_{table} t")))
                .collect();
            // Bytes are shown in hexadecimal.
            assert!(text.contains("\\x"));
            let mut raw = text.clone().into_bytes();
            for part in text.split("\\x").skip(1) {
                let digits: String = part.chars().take_while(char::is_ascii_hexdigit).collect();
                raw.extend(hex::decode(&digits[..digits.len() / 2 * 2]).unwrap());
            }
            raw
        }
        None => std::fs::read_dir(place.folder.path())
            .unwrap()
            .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect(),
    };
    assert!(raw.len() > 1000);
    for secret in ["in-clear", "topsecretpassword", "test://"] {
        assert!(
            !raw.windows(secret.len()).any(|part| part == secret.as_bytes()),
            "{secret} can be read"
        );
    }
}

async fn limits_are_kept_and_nothing_is_half_stored(place: Place) {
    let sink = Sink::new();
    let mut config = place.config();
    config.limits.waiting = 3;
    config.limits.text_bytes = 100;
    config.limits.file_bytes = 1000;
    let outbox = Outbox::open(config, std::sync::Arc::new(sink.clone()))
        .await
        .unwrap();
    let put = |text: String, targets: usize| {
        let outbox = outbox.clone();
        async move {
            let submissions = ["a", "b", "c", "d"][..targets]
                .iter()
                .map(|address| submission(address, &[]))
                .collect();
            outbox
                .submit(&Message::new(text), &[], submissions, &AcceptOptions::default())
                .await
        }
    };
    let error = put("x".repeat(101), 1).await.unwrap_err();
    assert!(
        matches!(
            error,
            OutboxError::TooLarge {
                bytes: 101,
                limit: 100,
                ..
            }
        ),
        "{error}"
    );
    let file = File {
        name: "f".to_owned(),
        media_type: "t".to_owned(),
        bytes: vec![0; 1001].into(),
    };
    let files = [file];
    let error = outbox
        .submit(
            &Message::new("x"),
            &files,
            vec![submission("a", &[])],
            &AcceptOptions::default(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, OutboxError::TooLarge { .. }), "{error}");
    let error = put(String::new(), 1).await.unwrap_err();
    assert!(matches!(error, OutboxError::Unsendable { .. }), "{error}");
    put("fits".to_owned(), 2).await.unwrap();
    let error = put("no room".to_owned(), 2).await.unwrap_err();
    assert!(
        matches!(error, OutboxError::TooManyWaiting { waiting: 2, limit: 3 }),
        "{error}"
    );
    assert!(error.is_full() && !error.remedy().is_empty());
    put("fits".to_owned(), 1).await.unwrap();
    assert_eq!(outbox.stats().await.unwrap().waiting, 3);
    flush(&outbox).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    put("room again".to_owned(), 3).await.unwrap();
}

async fn another_key_is_noticed(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    accept(&outbox, "a", &[], "text").await;
    outbox.close().await;
    std::fs::write(place.key_file(), "0b".repeat(32)).unwrap();
    let error = Outbox::open(place.config(), std::sync::Arc::new(sink.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, OutboxError::WrongKey { .. }), "{error}");
    assert!(error.remedy().contains("key file"), "{}", error.remedy());
}

async fn a_lost_key_is_never_replaced(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    accept(&outbox, "a", &[], "text").await;
    outbox.close().await;
    let key = std::fs::read(place.key_file()).unwrap();
    std::fs::remove_file(place.key_file()).unwrap();
    for _ in 0..2 {
        let error = Outbox::open(place.config(), std::sync::Arc::new(sink.clone()))
            .await
            .unwrap_err();
        assert!(matches!(error, OutboxError::KeyMissing { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(place.key_file().to_str().unwrap()), "{said}");
        assert!(error.remedy().contains("backup"), "{}", error.remedy());
        assert!(!place.key_file().exists(), "no key was made in its place");
    }
    // With its key back, everything is there.
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options
        .write(true)
        .create_new(true)
        .open(place.key_file())
        .unwrap();
    std::io::Write::write_all(&mut file, &key).unwrap();
    let outbox = place.open(&sink).await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["text"]);
}

async fn old_rows_go(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::Answer(Outcome::refused("no", "none"))]);
    let dead = accept(&outbox, "a", &[], "dead").await.id;
    let done = accept(&outbox, "a", &[], "done").await.id;
    flush(&outbox).await;
    place.advance(8 * 24 * 3600);
    let fresh = accept(&outbox, "a", &[], "fresh").await.id;
    assert_eq!(outbox.prune().await.unwrap(), 1);
    assert!(outbox.get(&done).await.unwrap().is_none());
    assert_eq!(
        state(&outbox, &dead).await,
        State::Dead,
        "dead letters stay until somebody drops them"
    );
    assert_eq!(state(&outbox, &fresh).await, State::Waiting);
}
