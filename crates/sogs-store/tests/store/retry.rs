//! Transactions on PostgreSQL that another one makes fail, and connections that break before the commit is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackpost_testkit::{Database, Postgres};
use sogs_store::operation::LogEntry;
use sogs_store::{
    Change, DynStore, Id, NewPost, NewRoom, NonceRow, Person, Posted, RoomDefaults, StoreError, StoreOptions,
    StoreResult, with_entries,
};
use sqlx::{Connection as _, PgConnection};

const SERIALIZATION: &str = "RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'";
const DEADLOCK: &str = "RAISE EXCEPTION 'on purpose' USING ERRCODE = '40P01'";
/// The server ends the connection of the transaction.
const CUT: &str = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)";
/// The transaction waits until somebody ends its connection.
const HANG: &str = "PERFORM pg_sleep(30)";
/// More failures than any test waits for.
const ALWAYS: u32 = 1_000_000;

/// A moment at which a trigger runs.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Statement,
    Commit,
}

async fn database() -> Database {
    tokio::task::spawn_blocking(|| Postgres::shared().database())
        .await
        .expect("a database")
}

/// Makes the next `times` transactions that insert into a table fail. A sequence counts them, because a rollback does not
/// take its numbers back.
fn fail(database: &Database, table: &str, moment: Moment, failure: &str, times: u32) {
    let trigger = match moment {
        Moment::Statement => format!("CREATE TRIGGER fails AFTER INSERT ON {table}"),
        Moment::Commit => {
            format!("CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED")
        }
    };
    database.sql(&format!(
        "CREATE SEQUENCE attempts; \
         CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') <= {times} THEN {failure}; END IF; RETURN NULL; END $$; \
         {trigger} FOR EACH ROW EXECUTE FUNCTION fails()"
    ));
}

/// Number of rows that were inserted, whether or not they were kept.
fn attempts(database: &Database) -> u32 {
    let text = database.sql("SELECT last_value FROM attempts");
    text.parse().expect("a number")
}

fn heal(database: &Database) {
    database.sql("DROP FUNCTION fails CASCADE; DROP SEQUENCE attempts");
}

type Heard = Arc<Mutex<Vec<Change>>>;

async fn open(database: &Database) -> (DynStore, Heard) {
    let heard = Heard::default();
    let sink = Arc::clone(&heard);
    let options = StoreOptions {
        url: database.url().to_owned(),
        readers: 2,
        migrate: true,
    };
    let sink = move |changes: &[Change]| sink.lock().expect("not poisoned").extend_from_slice(changes);
    let store = sogs_store::open(&options, Arc::new(sink)).await.expect("opened");
    (store, heard)
}

async fn create_room(store: &DynStore, token: &str) -> StoreResult<Option<Id>> {
    let new = NewRoom {
        token: token.into(),
        name: "Room".into(),
        description: None,
        defaults: RoomDefaults {
            read: true,
            accessible: true,
            write: true,
            upload: true,
        },
        now: 1.0,
    };
    store.create_room(new).await
}

fn post(room_id: Id, user_id: Id) -> NewPost {
    NewPost {
        room_id,
        user_id,
        posted_as: None,
        now: 2.0,
        data: "data".into(),
        data_size: 160,
        signature: vec![1; 64].into(),
        filtered: false,
        held: None,
        whisper_to: None,
        whisper_mods: false,
        for_moderators_of: None,
        files: Vec::new(),
        files_expire: None,
        windows: Vec::new(),
    }
}

async fn user(store: &DynStore) -> Id {
    let person = Person::named(format!("05{}", "a".repeat(64)));
    store.ensure_user(person, 1.0).await.expect("a user").0.user.id
}

async fn rooms(store: &DynStore) -> usize {
    store.rooms().await.expect("read").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_tried_again_and_the_change_is_kept_once() {
    for failure in [SERIALIZATION, DEADLOCK] {
        for moment in [Moment::Statement, Moment::Commit] {
            let database = database().await;
            let (store, heard) = open(&database).await;
            heard.lock().expect("not poisoned").clear();
            fail(&database, "rooms", moment, failure, 2);
            // The entry in the audit log is part of the transaction.
            let entry = |_: &Option<Id>| vec![LogEntry::new("operator:test", "room_create", 1.0)];
            let (made, entries) = with_entries(create_room(&store, "lobby"), entry)
                .await
                .unwrap_or_else(|error| panic!("{failure} at {moment:?}: {error}"));
            assert!(made.is_some(), "a new token");
            assert!(entries[0].1.is_some(), "the entry has a number");
            assert_eq!(attempts(&database), 3, "{failure} at {moment:?}");
            assert_eq!(rooms(&store).await, 1);
            assert_eq!(database.sql("SELECT COUNT(*) FROM audit_log"), "1");
            let heard = heard.lock().expect("not poisoned").clone();
            let told = heard.iter().filter(|change| **change == Change::Everything);
            assert_eq!(told.count(), 1, "only the last attempt is announced: {heard:?}");
            store.close().await.expect("closed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_share_a_transaction_are_kept_once_each() {
    let database = database().await;
    let (store, _) = open(&database).await;
    let room = create_room(&store, "lobby").await.expect("made").expect("new");
    let user = user(&store).await;
    fail(&database, "messages", Moment::Statement, DEADLOCK, 2);
    let tasks: Vec<_> = (0..24)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                if number % 6 == 0 {
                    create_room(&store, &format!("room{number}")).await.expect("made");
                }
                store.post(post(room, user)).await
            })
        })
        .collect();
    let mut numbers = Vec::new();
    for task in tasks {
        match task.await.expect("no panic").expect("stored") {
            Posted::Done { seqno, .. } => numbers.push(seqno),
            other => panic!("{other:?}"),
        }
    }
    numbers.sort_unstable();
    let expected: Vec<i64> = (1..=24).collect();
    assert_eq!(numbers, expected, "a failed attempt uses up no sequence number");
    assert_eq!(database.sql("SELECT COUNT(*) FROM messages"), "24");
    assert_eq!(rooms(&store).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_does_not_end_is_reported_after_a_few_attempts() {
    for (failure, moment) in [(DEADLOCK, Moment::Statement), (SERIALIZATION, Moment::Commit)] {
        let database = database().await;
        let (store, _) = open(&database).await;
        fail(&database, "rooms", moment, failure, ALWAYS);
        let error = create_room(&store, "lobby").await.expect_err("it always fails");
        assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
        assert!(
            error.to_string().contains("on purpose"),
            "names its cause: {error}"
        );
        assert!(!error.is_permanent() && error.retry_after().is_some());
        assert_eq!(attempts(&database), 4, "{failure} at {moment:?}");
        assert_eq!(rooms(&store).await, 0);
        heal(&database);
        assert!(create_room(&store, "lobby").await.expect("made").is_some());
        assert_eq!(rooms(&store).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_commit_is_opened_again() {
    for moment in [Moment::Statement, Moment::Commit] {
        let database = database().await;
        let (store, _) = open(&database).await;
        fail(&database, "rooms", moment, CUT, 1);
        let made = create_room(&store, "lobby").await;
        assert!(matches!(made, Ok(Some(_))), "{moment:?}: {made:?}");
        assert_eq!(attempts(&database), 2, "{moment:?}");
        assert_eq!(rooms(&store).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_always_breaks_is_reported_after_a_few_attempts() {
    let database = database().await;
    let (store, _) = open(&database).await;
    fail(&database, "rooms", Moment::Statement, CUT, ALWAYS);
    let error = create_room(&store, "lobby").await.expect_err("it always fails");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("terminating connection"), "{error}");
    assert!(!error.is_permanent() && error.retry_after().is_some());
    assert_eq!(attempts(&database), 4);
    heal(&database);
    assert!(create_room(&store, "lobby").await.expect("made").is_some());
}

/// Ends the connection that is in the trigger that hangs.
fn end_hanging(database: &Database) {
    for _ in 0..100 {
        let ended = database.sql(
            "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event = 'PgSleep'",
        );
        if ended != "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no transaction came to the trigger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_somebody_else_ends_is_opened_again() {
    let database = Arc::new(database().await);
    let (store, _) = open(&database).await;
    fail(&database, "rooms", Moment::Statement, HANG, 1);
    let other = Arc::clone(&database);
    let other = tokio::task::spawn_blocking(move || end_hanging(&other));
    let made = create_room(&store, "lobby").await;
    other.await.expect("ended");
    assert!(matches!(made, Ok(Some(_))), "{made:?}");
    assert_eq!(rooms(&store).await, 1);
    // Connections may also end while nobody uses them.
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(create_room(&store, "second").await.expect("made").is_some());
    assert_eq!(rooms(&store).await, 2);
    let nonce = NonceRow {
        nonce: [7; 16],
        stamp: 1,
    };
    let passed = store.pass(vec![nonce]).await.expect("passed");
    assert_eq!(passed.fresh, [[7; 16]]);
}

/// Waits until a connection of the store waits for a lock.
async fn until_somebody_waits(database: &Database) {
    for _ in 0..100 {
        let waiting = database.sql(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        if waiting != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody waits for a lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_another_program_is_tried_again() {
    let database = database().await;
    // The store is the one that finds the deadlock, and late enough for the other to have come to it.
    database.sql(&format!(
        "ALTER DATABASE {} SET deadlock_timeout = '3s'",
        database.name()
    ));
    let (store, _) = open(&database).await;
    let user = user(&store).await;
    let first = create_room(&store, "first").await.expect("made").expect("new");
    let second = create_room(&store, "second").await.expect("made").expect("new");
    for room in [first, second] {
        store.post(post(room, user)).await.expect("stored");
    }
    let mut other = PgConnection::connect(database.url()).await.expect("connected");
    sqlx::raw_sql("SET deadlock_timeout = '60s'")
        .execute(&mut other)
        .await
        .expect("set");
    let mut tx = other.begin().await.expect("begun");
    let lock = "UPDATE rooms SET info_updates = info_updates + 1 WHERE id = $1";
    sqlx::query(lock)
        .bind(second)
        .execute(&mut *tx)
        .await
        .expect("locked");
    let deleting = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.delete_all_posts(vec![first, second], user, 3.0).await })
    };
    until_somebody_waits(&database).await;
    sqlx::query(lock)
        .bind(first)
        .execute(&mut *tx)
        .await
        .expect("the store gives way");
    tx.commit().await.expect("committed");
    let deleted = deleting.await.expect("no panic").expect("deleted");
    assert_eq!(deleted, [(first, 1), (second, 1)]);
    assert_eq!(
        database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
        "1",
        "there was a deadlock"
    );
    assert_eq!(
        database.sql("SELECT string_agg(DISTINCT message_sequence::text, ',') FROM rooms"),
        "2",
        "one post and one deletion in each room"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_are_used_up_once_although_a_conflict_comes_first() {
    let database = database().await;
    let (store, _) = open(&database).await;
    fail(&database, "nonces", Moment::Statement, DEADLOCK, 2);
    let nonce = NonceRow {
        nonce: [7; 16],
        stamp: 1,
    };
    let passed = store.pass(vec![nonce]).await.expect("passed");
    assert_eq!(passed.fresh, [[7; 16]], "it is new in the attempt that is kept");
    let again = store.pass(vec![nonce]).await.expect("passed");
    assert!(again.fresh.is_empty(), "it is used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_another_transaction_makes_fail_is_tried_again() {
    let database = database().await;
    database.sql(
        "CREATE SEQUENCE attempts; \
         CREATE FUNCTION fails() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') IN (5, 9) THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40P01'; END IF; END $$; \
         CREATE EVENT TRIGGER fails ON ddl_command_end EXECUTE FUNCTION fails()",
    );
    let (store, _) = open(&database).await;
    assert!(create_room(&store, "lobby").await.expect("made").is_some());
    let steps = database
        .sql("SELECT COUNT(*) = MAX(version) AND COUNT(*) = COUNT(DISTINCT version) FROM schema_version");
    assert_eq!(steps, "t", "each step is done once");
}
