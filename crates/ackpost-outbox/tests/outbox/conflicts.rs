//! Transactions on PostgreSQL that another one makes fail, and connections that break before the commit is sent.

use std::time::Duration;

use ackpost_notify::Message;
use ackpost_outbox::{
    AcceptOptions, ActResult, FlushSettings, NewAct, Outbox, OutboxError, Selection, State,
};
use ackpost_testkit::Database;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{Place, Sink, accept, flush, later, state, submission, worker};

const SERIALIZATION: &str = "RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'";
const DEADLOCK: &str = "RAISE EXCEPTION 'on purpose' USING ERRCODE = '40P01'";
/// The server ends the connection of the transaction.
const CUT: &str = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)";
/// The transaction waits until somebody ends its connection.
const HANG: &str = "PERFORM pg_sleep(25)";

const AT_STATEMENT: &str = "CREATE TRIGGER fails AFTER INSERT OR UPDATE ON TABLE_NAME";
const AT_COMMIT: &str =
    "CREATE CONSTRAINT TRIGGER fails AFTER INSERT OR UPDATE ON TABLE_NAME DEFERRABLE INITIALLY DEFERRED";

/// Makes changes of a table fail. A sequence counts them as `n`, because a rollback does not take its numbers back.
fn fail(database: &Database, table: &str, moment: &str, condition: &str, failure: &str) {
    let trigger = moment.replace("TABLE_NAME", table);
    database.sql(&format!(
        "CREATE SEQUENCE attempts; \
         CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE n bigint = nextval('attempts'); BEGIN \
         IF {condition} THEN {failure}; END IF; RETURN NULL; END $$; \
         {trigger} FOR EACH ROW EXECUTE FUNCTION fails()"
    ));
}

/// Number of rows that were changed, whether or not the change was kept.
fn attempts(database: &Database) -> u32 {
    database.sql("SELECT last_value FROM attempts").parse().unwrap()
}

fn heal(database: &Database) {
    database.sql("DROP FUNCTION fails CASCADE; DROP SEQUENCE attempts");
}

async fn open(sink: &Sink) -> (Place, Outbox) {
    let place = Place::postgres();
    let outbox = place.open(sink).await;
    (place, outbox)
}

/// Works one lane at a time until nothing is due.
async fn work(outbox: &Outbox) {
    let settings = FlushSettings::default()
        .with_deadline(Duration::from_secs(60))
        .with_now(false)
        .with_wait(false)
        .with_retries(true);
    outbox
        .flush(worker().with_lanes_at_once(1), settings)
        .await
        .unwrap();
}

fn act() -> NewAct<'static> {
    NewAct {
        gesture: "room message 7",
        subject: "alert",
        kind: "silence",
        result: ActResult::Begun,
        detail: serde_json::Map::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_meets_a_conflict_is_accepted_once() {
    for failure in [SERIALIZATION, DEADLOCK, CUT] {
        for moment in [AT_STATEMENT, AT_COMMIT] {
            for (words, table) in [
                (&[][..], "outbox_event"),
                (&[("dedup", "disk/10m")][..], "outbox_window"),
            ] {
                let sink = Sink::new();
                let (place, outbox) = open(&sink).await;
                let database = place.database.as_ref().unwrap();
                fail(database, table, moment, "n <= 2", failure);
                let id = accept(&outbox, "a", words, "text").await.id;
                assert_eq!(attempts(database), 3, "{failure}, {moment}");
                heal(database);
                let summary = flush(&outbox).await;
                assert_eq!(summary.delivered, 1);
                assert_eq!(sink.texts("a"), ["text"]);
                assert_eq!(state(&outbox, &id).await, State::Delivered);
                let accepted = "SELECT COUNT(*) FROM outbox_event WHERE kind = 'accepted'";
                assert_eq!(database.sql(accepted), "1");
                outbox.close().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_of_a_delivery_that_meets_a_conflict_is_done_once() {
    for failure in [SERIALIZATION, DEADLOCK, CUT] {
        let sink = Sink::new();
        let (place, outbox) = open(&sink).await;
        let database = place.database.as_ref().unwrap();
        // A step changes lanes at most six times, and one lane is worked at a time: no step fails twice in a row.
        fail(database, "outbox_lane", AT_STATEMENT, "n % 7 = 0", failure);
        let pieces = accept(&outbox, "a", &[], "one|two|three").await.id;
        sink.next("b", [later(Some(5))]);
        let deferred = accept(&outbox, "b", &[], "later").await.id;
        for text in ["full", "full", "full"] {
            accept(&outbox, "c", &[("dedup", "disk/10m")], text).await;
        }
        work(&outbox).await;
        place.advance(601);
        work(&outbox).await;
        assert_eq!(sink.texts("a"), ["one", "two", "three"], "{failure}");
        assert_eq!(sink.texts("b"), ["later"]);
        assert_eq!(
            sink.texts("c"),
            ["full", "full\n(repeated 2 more times within 10m)"]
        );
        for id in [&pieces, &deferred] {
            assert_eq!(state(&outbox, id).await, State::Delivered);
        }
        let services = outbox.stats().await.unwrap().services;
        assert_eq!((services[0].delivered, services[0].deferred), (4, 1));
        // Three pieces, two attempts, one message and the message of its repeats.
        assert_eq!(sink.attempts().len(), 7);
        assert!(attempts(database) > 20, "some steps failed");
        outbox.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_that_does_not_end_is_reported_after_a_few_attempts() {
    for (failure, cause) in [
        (
            DEADLOCK,
            "other transactions made the step fail in every attempt: on purpose",
        ),
        (CUT, "terminating connection due to administrator command"),
    ] {
        let (place, outbox) = open(&Sink::new()).await;
        let database = place.database.as_ref().unwrap();
        fail(database, "outbox_act", AT_STATEMENT, "TRUE", failure);
        let error = outbox.begin_act(&act()).await.unwrap_err();
        assert!(
            matches!(error, OutboxError::Database { passing: true, .. }),
            "{error:?}"
        );
        assert!(error.to_string().ends_with(cause), "{error}");
        assert!(error.is_passing());
        assert_eq!(attempts(database), 4);
        heal(database);
        assert!(outbox.begin_act(&act()).await.unwrap(), "nothing was kept before");
        assert_eq!(outbox.acts(None, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_no_attempt_changes_is_reported_at_once() {
    let (place, outbox) = open(&Sink::new()).await;
    let database = place.database.as_ref().unwrap();
    fail(
        database,
        "outbox_act",
        AT_STATEMENT,
        "TRUE",
        "RAISE EXCEPTION 'not allowed'",
    );
    let error = outbox.begin_act(&act()).await.unwrap_err();
    assert!(!error.is_passing(), "{error:?}");
    assert_eq!(attempts(database), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_whose_connection_somebody_else_ends_is_done_once() {
    let sink = Sink::new();
    let (place, outbox) = open(&sink).await;
    let database = place.database.as_ref().unwrap();
    fail(database, "outbox_event", AT_STATEMENT, "n = 1", HANG);
    let accepting = {
        let outbox = outbox.clone();
        tokio::spawn(async move { accept(&outbox, "a", &[], "text").await.id })
    };
    wait_for(database, "wait_event = 'PgSleep'").await;
    let ended = database.sql(
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event = 'PgSleep'",
    );
    assert_eq!(ended, "1");
    accepting.await.unwrap();
    assert_eq!(attempts(database), 2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["text"]);
}

/// Waits until one connection to the database is in a state.
async fn wait_for(database: &Database, state: &str) {
    let query =
        format!("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND {state}");
    for _ in 0..100 {
        if database.sql(&query) != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no connection came to {state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_with_another_program_is_tried_again() {
    let place = Place::postgres();
    let database = place.database.as_ref().unwrap();
    // The outbox is the one that finds the deadlock, and late enough for the other to have come to it.
    database.sql(&format!(
        "ALTER DATABASE {} SET deadlock_timeout = '3s'",
        database.name()
    ));
    let outbox = place.open(&Sink::new()).await;
    for address in ["a", "b"] {
        accept(&outbox, address, &[], "text").await;
    }
    // Locks the lanes against the order of the outbox.
    let lock = |order: &str| {
        AssertSqlSafe(format!(
            "UPDATE outbox_lane SET failures = 0 WHERE id = (SELECT id FROM outbox_lane ORDER BY id {order} LIMIT 1)"
        ))
    };
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    sqlx::raw_sql("SET deadlock_timeout = '60s'")
        .execute(&mut other)
        .await
        .unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query(lock("DESC")).execute(&mut *tx).await.unwrap();
    let dropping = {
        let outbox = outbox.clone();
        tokio::spawn(async move { outbox.drop_entries(&Selection::Waiting).await })
    };
    wait_for(database, "wait_event_type = 'Lock'").await;
    sqlx::query(lock("ASC")).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(dropping.await.unwrap().unwrap(), 2);
    assert_eq!(
        database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
        "1",
        "there was a deadlock"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_whose_tables_meet_a_conflict_is_opened() {
    let place = Place::postgres();
    let database = place.database.as_ref().unwrap();
    database.sql(
        "CREATE SEQUENCE attempts; \
         CREATE FUNCTION fails() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') IN (5, 9) THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40P01'; END IF; END $$; \
         CREATE EVENT TRIGGER fails ON ddl_command_end EXECUTE FUNCTION fails()",
    );
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let accepted = outbox
        .submit(
            &Message::new("text"),
            &[],
            vec![submission("a", &[])],
            &AcceptOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(accepted.len(), 1);
}
