//! Messages that the other side took, but not as they were asked for.

use ackpost_notify::{Confirmation, Lack, Outcome};
use ackpost_outbox::{Selection, State};
use sqlx::Connection as _;

use crate::support::{Place, Reaction, Sink, accept, delivered, flush, later, stamped, state};

stamped!(
    a_partial_message_is_never_sent_again,
    a_partial_piece_decides_about_the_whole_message,
    a_piece_without_proof_decides_about_the_whole_message,
    an_outbox_of_version_1_is_migrated,
);

fn withheld() -> Outcome {
    Outcome::Partial {
        lack: Lack::Withheld,
        id: Some("8".to_owned()),
        reason: "it waits for approval".to_owned(),
        remedy: "ask a moderator".to_owned(),
    }
}

async fn a_partial_message_is_never_sent_again(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAnd(withheld())]);
    let id = accept(&outbox, "a", &[], "one").await.id;
    accept(&outbox, "a", &[], "two").await;
    let summary = flush(&outbox).await;
    assert_eq!((summary.partial, summary.delivered, summary.remaining), (1, 1, 0));
    let entry = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.outcome), (State::Partial, Some(withheld())));
    let stats = outbox.stats().await.unwrap();
    assert_eq!((stats.partial, stats.services[0].partial), (1, 1));
    assert_eq!(stats.services[0].latency.iter().sum::<u64>(), 1);

    assert_eq!(outbox.retry(&Selection::Dead).await.unwrap(), 0);
    let chosen = Selection::Ids(vec![id.clone()]);
    assert_eq!(outbox.retry(&chosen).await.unwrap(), 0);
    assert_eq!(outbox.drop_entries(&chosen).await.unwrap(), 0);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two"]);
    assert_eq!(state(&outbox, &id).await, State::Partial);
}

async fn a_partial_piece_decides_about_the_whole_message(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next(
        "a",
        [
            Reaction::TakeAnd(withheld()),
            later(None),
            Reaction::TakeAnd(delivered()),
        ],
    );
    let id = accept(&outbox, "a", &[], "one|two|three").await.id;
    flush(&outbox).await;
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two", "three"]);
    let entry = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.outcome), (State::Partial, Some(withheld())));
}

async fn a_piece_without_proof_decides_about_the_whole_message(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let handed_over = Outcome::Delivered {
        confirmed_by: Confirmation::HandedOver,
        id: Some("1".to_owned()),
    };
    sink.next(
        "a",
        [
            Reaction::TakeAnd(delivered()),
            Reaction::TakeAnd(handed_over),
            later(None),
            Reaction::TakeAnd(delivered()),
        ],
    );
    let id = accept(&outbox, "a", &[], "one|two|three").await.id;
    flush(&outbox).await;
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two", "three"]);
    let entry = outbox.get(&id).await.unwrap().unwrap();
    let confirmed_by = match entry.outcome {
        Some(Outcome::Delivered { confirmed_by, .. }) => confirmed_by,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (entry.state, confirmed_by),
        (State::Delivered, Confirmation::HandedOver)
    );
}

async fn an_outbox_of_version_1_is_migrated(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let id = accept(&outbox, "a", &[], "from before").await.id;
    outbox.close().await;
    let back = [
        "DROP INDEX outbox_entry_shared",
        "DROP INDEX outbox_entry_held",
        "ALTER TABLE outbox_entry DROP COLUMN shared",
        "ALTER TABLE outbox_entry DROP COLUMN target_no",
        "ALTER TABLE outbox_entry DROP COLUMN stamp",
        "DROP TABLE outbox_shared",
        "ALTER TABLE outbox_entry DROP COLUMN context",
        "DROP TABLE outbox_context",
        "DROP TABLE outbox_link",
        "DROP TABLE outbox_gesture",
        "DROP TABLE outbox_act",
        "ALTER TABLE outbox_lane DROP COLUMN account",
        "ALTER TABLE outbox_lane DROP COLUMN origin",
        "ALTER TABLE outbox_counter DROP COLUMN partial",
        "ALTER TABLE outbox_counter DROP COLUMN repeated",
        "ALTER TABLE outbox_counter DROP COLUMN late",
        "ALTER TABLE outbox_counter DROP COLUMN handed_over",
        "UPDATE outbox_meta SET value = CAST('1' AS {blob}) WHERE name = 'version'",
    ];
    let back = |blob: &str| back.map(|sql| sql.replace("{blob}", blob));
    if let Some(database) = &place.database {
        let mut connection = sqlx::PgConnection::connect(database.url()).await.unwrap();
        for sql in back("BYTEA") {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
    } else {
        let path = place.folder.path().join("outbox.db");
        let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap())
            .await
            .unwrap();
        for sql in back("BLOB") {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
    }
    for _ in 0..2 {
        let outbox = place.open(&sink).await;
        flush(&outbox).await;
        assert_eq!(state(&outbox, &id).await, State::Delivered);
        outbox.close().await;
    }
    assert_eq!(sink.texts("a"), ["from before"]);
}
