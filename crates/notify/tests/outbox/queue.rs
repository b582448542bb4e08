//! Accept, send, put off, give up, look, decide.

use std::time::{Duration, UNIX_EPOCH};

use notify::outbox::{
    AcceptOptions, Filter, FlushSettings, Outbox, OutboxError, Selection, State, StoredFile, WorkerSettings,
};
use notify::{Message, Outcome};

use crate::support::{
    NOON, Place, Reaction, Sink, accept, delivered, flush, later, parcel, stamped, state, worker,
};

stamped!(
    what_was_accepted_arrives_once_and_in_order,
    a_lane_that_waits_holds_no_other,
    pauses_double_and_a_server_may_ask_for_longer,
    a_refused_message_lies_in_the_dead_letter_box,
    a_message_out_of_time_is_given_up_with_its_last_reason,
    pieces_that_arrived_are_not_sent_again,
    an_attempt_without_an_outcome_is_repeated_with_a_look_first,
    a_lost_answer_does_not_double,
    a_killed_worker_leaves_its_lane_to_the_next,
    files_are_copied_in_and_go_when_they_are_sent,
    nothing_is_readable_in_the_database,
    limits_are_kept_and_nothing_is_half_stored,
    another_key_is_noticed,
    waiting_for_an_outcome,
    lists_are_pages,
    old_rows_go,
    flush_tries_at_once_what_pauses,
    a_dropped_entry_is_not_sent,
    the_log_tells_the_story,
    a_worker_stops_when_told,
);

async fn what_was_accepted_arrives_once_and_in_order(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let parcels = vec![parcel("a", &[]), parcel("b", &[])];
        let message = Message::new(format!("text {number}"));
        let accepted = outbox
            .accept_parcels(&message, &[], parcels, &AcceptOptions::default())
            .await
            .unwrap();
        assert_eq!(accepted.len(), 2);
        assert_eq!(accepted[1].target, "test://host/b");
        assert_eq!(accepted[0].state, State::Waiting);
        ids.extend(accepted.into_iter().map(|one| one.id));
    }
    assert!(sink.arrived().is_empty(), "accepting sends nothing");
    outbox.close().await;

    // As after a reboot.
    let outbox = place.open(&sink).await;
    let summary = flush(&outbox).await;
    assert_eq!((summary.delivered, summary.remaining), (40, 0));
    let expected: Vec<String> = (0..20).map(|number| format!("text {number}")).collect();
    assert_eq!(sink.texts("a"), expected);
    assert_eq!(sink.texts("b"), expected);
    let stamps: std::collections::HashSet<_> = sink
        .arrived()
        .into_iter()
        .map(|one| (one.address, one.sent_at))
        .collect();
    assert_eq!(stamps.len(), 40, "no two pieces for a target have one stamp");
    for id in &ids {
        let entry = outbox.get(id).await.unwrap().unwrap();
        assert_eq!(entry.state, State::Delivered);
        assert_eq!(entry.attempts, 1);
        assert_eq!(entry.outcome, Some(delivered()));
        assert_eq!(
            entry.url,
            entry.target.replace("test://host", "test://user:****@host")
        );
    }
    assert_eq!(flush(&outbox).await.delivered, 0);
    assert_eq!(sink.arrived().len(), 40);
}

async fn a_lane_that_waits_holds_no_other(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("dead", [later(None)]);
    for number in 0..3 {
        accept(&outbox, "dead", &[], &format!("d{number}")).await;
        accept(&outbox, "alive", &[], &format!("a{number}")).await;
    }
    let summary = flush(&outbox).await;
    assert_eq!(
        (summary.delivered, summary.deferred, summary.remaining),
        (3, 1, 3)
    );
    assert_eq!(sink.texts("alive"), ["a0", "a1", "a2"]);
    assert!(
        sink.texts("dead").is_empty(),
        "what is behind the first waits with it"
    );
    let lanes = outbox.lanes().await.unwrap();
    assert_eq!(lanes.len(), 1);
    assert_eq!(
        (lanes[0].target.as_str(), lanes[0].waiting, lanes[0].failures),
        ("test://host/dead", 3, 1)
    );
    assert_eq!(lanes[0].reason.as_deref(), Some("busy"));
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("dead"), ["d0", "d1", "d2"]);
    assert!(outbox.lanes().await.unwrap().is_empty());
}

async fn pauses_double_and_a_server_may_ask_for_longer(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None), later(None), later(Some(60)), later(Some(1))]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    let due = || async {
        let entry = outbox.get(&id).await.unwrap().unwrap();
        let due = i64::try_from(entry.due_at.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() - NOON;
        (due / 1000, entry.waits_for.as_str())
    };
    flush(&outbox).await;
    assert_eq!(due().await, (2, "the pause after a failed attempt"));
    place.advance(1);
    flush(&outbox).await;
    assert_eq!(sink.attempts().len(), 1, "not before its time");
    place.advance(1);
    flush(&outbox).await;
    assert_eq!(due().await, (2 + 4, "the pause after a failed attempt"));
    place.advance(4);
    flush(&outbox).await;
    assert_eq!(due().await, (6 + 60, "the time the server asked for"));
    // Neither impatience nor a further message shortens what the server asked for.
    accept(&outbox, "a", &[], "another").await;
    let settings = FlushSettings {
        wait: false,
        ..FlushSettings::default()
    };
    outbox.flush(worker(), settings).await.unwrap();
    assert_eq!(sink.attempts().len(), 3);
    place.advance(60);
    flush(&outbox).await;
    assert_eq!(
        due().await,
        (66 + 16, "the pause after a failed attempt"),
        "it asked for less than the pause"
    );
    place.advance(16);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["text", "another"]);
    assert_eq!(outbox.get(&id).await.unwrap().unwrap().attempts, 5);
}

async fn a_refused_message_lies_in_the_dead_letter_box(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let refused = Outcome::refused("banned from the room", "ask its moderators");
    sink.next("a", [Reaction::Answer(refused.clone())]);
    let id = accept(&outbox, "a", &[], "one").await.id;
    accept(&outbox, "a", &[], "two").await;
    let summary = flush(&outbox).await;
    assert_eq!((summary.refused, summary.delivered), (1, 1));
    let entry = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.outcome), (State::Dead, Some(refused)));
    assert_eq!(sink.texts("a"), ["two"], "it does not hold what is behind it");
    assert_eq!(outbox.stats().await.unwrap().dead, 1);

    assert_eq!(outbox.retry(&Selection::Dead).await.unwrap(), 1);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["two", "one"]);
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    assert_eq!(
        outbox.retry(&Selection::Ids(vec![id])).await.unwrap(),
        0,
        "what is delivered stays delivered"
    );
}

async fn a_message_out_of_time_is_given_up_with_its_last_reason(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", std::iter::repeat_n(later(None), 50));
    let short = accept(&outbox, "a", &[("ttl", "10m")], "short").await.id;
    let usual = accept(&outbox, "b", &[], "usual").await.id;
    sink.next("b", std::iter::repeat_n(later(None), 500));
    for _ in 0..12 {
        flush(&outbox).await;
        place.advance(60);
    }
    let entry = outbox.get(&short).await.unwrap().unwrap();
    assert_eq!(entry.state, State::Dead);
    let reason = entry
        .outcome
        .as_ref()
        .and_then(Outcome::reason)
        .unwrap()
        .to_owned();
    assert!(
        reason.starts_with("not delivered within 10m; last: busy"),
        "{reason}"
    );
    assert_eq!(
        state(&outbox, &usual).await,
        State::Waiting,
        "others have 24 hours"
    );
    place.advance(24 * 3600);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &usual).await, State::Dead);
    assert_eq!(outbox.stats().await.unwrap().services[0].expired, 2);
}

async fn pieces_that_arrived_are_not_sent_again(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAnd(delivered()), later(None)]);
    let id = accept(&outbox, "a", &[], "one|two|three").await.id;
    accept(&outbox, "a", &[], "behind").await;
    flush(&outbox).await;
    let entry = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!(
        (entry.state, entry.pieces_done, entry.pieces),
        (State::Waiting, 1, 3)
    );
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two", "three", "behind"]);
    let ids: Vec<String> = sink.arrived().into_iter().map(|one| one.id).collect();
    assert_eq!(
        ids[..3],
        [format!("{id}-0"), format!("{id}-1"), format!("{id}-2")]
    );
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}

async fn an_attempt_without_an_outcome_is_repeated_with_a_look_first(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAndSilence]);
    accept(&outbox, "a", &[], "one").await;
    let settings = WorkerSettings {
        attempt: Duration::from_millis(100),
        ..worker()
    };
    let flush_settings = FlushSettings {
        deadline: Duration::from_secs(60),
        now: false,
        wait: false,
        retries: false,
    };
    let summary = outbox.flush(settings, flush_settings).await.unwrap();
    assert_eq!((summary.deferred, summary.remaining), (1, 1));
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one"]);
    assert_eq!(
        sink.attempts()
            .iter()
            .map(|(_, repeat)| *repeat)
            .collect::<Vec<_>>(),
        [false, true]
    );
}

async fn a_lost_answer_does_not_double(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let lost = Outcome::deferred("the connection was lost", "check the network");
    sink.next("a", [Reaction::TakeAnd(lost.clone()), Reaction::TakeAnd(lost)]);
    accept(&outbox, "a", &[], "one|two").await;
    for _ in 0..4 {
        flush(&outbox).await;
        place.advance(10);
    }
    assert_eq!(sink.texts("a"), ["one", "two"]);
}

async fn a_killed_worker_leaves_its_lane_to_the_next(place: Place) {
    let sink = Sink::new();
    let first = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAndSilence]);
    let id = accept(&first, "a", &[], "one").await.id;
    accept(&first, "a", &[], "two").await;
    let task = tokio::spawn({
        let first = first.clone();
        async move { first.run(worker(), std::future::pending()).await }
    });
    while sink.attempts().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(state(&first, &id).await, State::Sending);
    // Its tasks end with it; nothing is written any more.
    task.abort();
    let _ = task.await;

    let second = place.open(&sink).await;
    flush(&second).await;
    assert_eq!(
        sink.attempts().len(),
        1,
        "the lease of the first counts until it is over"
    );
    place.advance(16);
    flush(&second).await;
    assert_eq!(sink.texts("a"), ["one", "two"]);
    assert_eq!(sink.attempts().len(), 3);
    assert!(sink.attempts()[1].1, "it looks before it repeats");
}

async fn files_are_copied_in_and_go_when_they_are_sent(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let file = StoredFile {
        name: "report.pdf".to_owned(),
        media_type: "application/pdf".to_owned(),
        bytes: vec![7; 1_200_000].into(),
    };
    let files = [file.clone()];
    sink.next("b", [later(None)]);
    let parcels = vec![parcel("a", &[]), parcel("b", &[("digest", "5m")])];
    outbox
        .accept_parcels(
            &Message::new("see|more"),
            &files,
            parcels,
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

async fn nothing_is_readable_in_the_database(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let refused = Outcome::refused("reason-in-clear", "remedy-in-clear");
    sink.next("a", [later(None), Reaction::Answer(refused)]);
    let file = StoredFile {
        name: "name-in-clear.txt".to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: b"bytes-in-clear".as_slice().into(),
    };
    let message = Message::new("body-in-clear").title("title-in-clear");
    let words = [("dedup", "key-in-clear")];
    outbox
        .accept_parcels(
            &message,
            &[file],
            vec![parcel("a", &words)],
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
            let parcels = ["a", "b", "c", "d"][..targets]
                .iter()
                .map(|address| parcel(address, &[]))
                .collect();
            outbox
                .accept_parcels(&Message::new(text), &[], parcels, &AcceptOptions::default())
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
    let file = StoredFile {
        name: "f".to_owned(),
        media_type: "t".to_owned(),
        bytes: vec![0; 1001].into(),
    };
    let files = [file];
    let error = outbox
        .accept_parcels(
            &Message::new("x"),
            &files,
            vec![parcel("a", &[])],
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
    std::fs::remove_file(place.key_file()).unwrap();
    let error = Outbox::open(place.config(), std::sync::Arc::new(sink.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, OutboxError::WrongKey { .. }), "{error}");
    assert!(error.remedy().contains("key file"), "{}", error.remedy());
}

async fn waiting_for_an_outcome(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("slow", [later(Some(3600))]);
    let quick = accept(&outbox, "quick", &[], "text").await.id;
    let slow = accept(&outbox, "slow", &[], "text").await.id;
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.run(worker(), std::future::pending()).await }
    });
    let entries = outbox
        .wait(std::slice::from_ref(&quick), Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(entries[0].state, State::Delivered);
    let begun = std::time::Instant::now();
    let entries = outbox
        .wait(&[quick, slow], Duration::from_millis(300))
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        entries.iter().map(|entry| entry.state).collect::<Vec<_>>(),
        [State::Delivered, State::Waiting]
    );
    running.abort();
}

async fn lists_are_pages(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let address = if number % 2 == 0 { "even" } else { "odd" };
        ids.push(accept(&outbox, address, &[], "text").await.id);
    }
    outbox
        .drop_entries(&Selection::Ids(vec![ids[0].clone()]))
        .await
        .unwrap();
    let list = |filter: Filter| {
        let outbox = outbox.clone();
        async move {
            outbox
                .list(&filter)
                .await
                .unwrap()
                .into_iter()
                .map(|entry| entry.id)
                .collect::<Vec<_>>()
        }
    };
    let mut newest_first = ids.clone();
    newest_first.reverse();
    assert_eq!(list(Filter::default()).await, newest_first);
    let page = list(Filter {
        limit: 3,
        ..Filter::default()
    })
    .await;
    assert_eq!(page, newest_first[..3]);
    let next = list(Filter {
        limit: 3,
        before: page.last().cloned(),
        ..Filter::default()
    })
    .await;
    assert_eq!(next, newest_first[3..6]);
    let odd = list(Filter {
        target: Some("/odd".to_owned()),
        ..Filter::default()
    })
    .await;
    assert_eq!(odd.len(), 3);
    assert_eq!(
        list(Filter {
            states: vec![State::Dropped],
            ..Filter::default()
        })
        .await,
        ids[..1]
    );
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

async fn flush_tries_at_once_what_pauses(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None), later(None)]);
    accept(&outbox, "a", &[], "text").await;
    let settings = FlushSettings {
        wait: false,
        ..FlushSettings::default()
    };
    for (deferred, delivered) in [(1, 0), (1, 0), (0, 1)] {
        let summary = outbox.flush(worker(), settings).await.unwrap();
        assert_eq!((summary.deferred, summary.delivered), (deferred, delivered));
    }
}

async fn a_dropped_entry_is_not_sent(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None)]);
    let first = accept(&outbox, "a", &[], "first").await.id;
    accept(&outbox, "a", &[], "second").await;
    flush(&outbox).await;
    assert_eq!(
        outbox
            .drop_entries(&Selection::Ids(vec![first.clone()]))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        outbox
            .drop_entries(&Selection::Ids(vec![first.clone()]))
            .await
            .unwrap(),
        0
    );
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a"),
        ["second"],
        "what is behind it need not wait for its pause"
    );
    assert_eq!(state(&outbox, &first).await, State::Dropped);
    assert_eq!(outbox.drop_entries(&Selection::Waiting).await.unwrap(), 0);
}

async fn the_log_tells_the_story(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None)]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    flush(&outbox).await;
    place.advance(2);
    flush(&outbox).await;
    let (entry, events) = outbox.show(&id).await.unwrap().unwrap();
    assert_eq!(entry.state, State::Delivered);
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.kind.as_str(), event.text.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("accepted", ""),
            ("deferred", "busy"),
            ("delivered", "confirmed by server, id 7")
        ]
    );
    let log = outbox.log(None, 2).await.unwrap();
    assert_eq!(
        log.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["deferred", "delivered"]
    );
    let rest = outbox.log(Some(log[0].number), 100).await.unwrap();
    assert_eq!(rest.len(), 1);
    let stats = outbox.stats().await.unwrap();
    assert_eq!(
        (stats.delivered, stats.waiting, stats.oldest_waiting_seconds),
        (1, 0, None)
    );
    let service = &stats.services[0];
    assert_eq!((service.delivered, service.deferred, service.attempts), (1, 1, 2));
    assert_eq!(
        (service.latency_ms_sum, service.latency),
        (2000, [0, 0, 1, 0, 0, 0, 0])
    );
}

async fn a_worker_stops_when_told(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move {
            outbox
                .run(worker(), async {
                    let _ = stopped.await;
                })
                .await
        }
    });
    let id = accept(&outbox, "a", &[], "text").await.id;
    outbox.wait(&[id], Duration::from_secs(20)).await.unwrap();
    stop.send(()).unwrap();
    let summary = running.await.unwrap().unwrap();
    assert_eq!(summary.delivered, 1);
    accept(&outbox, "a", &[], "later").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sink.texts("a"), ["text"]);
}
