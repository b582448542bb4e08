//! Many targets in one URL, and an outbox that an earlier version wrote.

use std::collections::HashSet;

use ackpost_notify::outbox::{AcceptOptions, Filter, Outbox, OutboxConfig, OutboxError, State};
use ackpost_notify::{Context, Message, Service};

use crate::support::{Place, Reaction, Sink, flush, later, stamped};

stamped!(
    two_thousand_targets_cost_little,
    what_is_shared_goes_with_the_last_that_needs_it,
    pieces_stay_as_they_were_first_sent,
    a_bound_on_targets,
);

const KEY: &str = "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0";
const SEED: &str = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b";

fn rooms(count: usize, query: &str) -> Service {
    let rooms: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
    let url = format!("session://{KEY}:{SEED}@127.0.0.1:9/{}{query}", rooms.join("/"));
    Service::parse(&url, &Context::default()).unwrap()
}

fn size(place: &Place) -> u64 {
    if let Some(database) = &place.database {
        let sizes = database.sql(
            "SELECT SUM(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'outbox%'",
        );
        return sizes.trim().parse().unwrap();
    }
    let files = std::fs::read_dir(place.folder.path()).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

async fn two_thousand_targets_cost_little(place: Place) {
    const LIMIT: u64 = 2_000_000;
    let outbox = Outbox::for_services(place.config()).await.unwrap();
    let service = rooms(2_000, "");
    let message = Message::new("the disk of db1 is full");
    let accepted = outbox
        .accept(&message, &[&service], &AcceptOptions::default())
        .await
        .unwrap();
    assert_eq!(accepted.len(), 2_000);
    let answer = serde_json::to_vec(&accepted).unwrap().len() as u64;
    assert!(answer < LIMIT, "the answer has {answer} bytes");
    let listed = outbox
        .list(&Filter {
            limit: 2_000,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(listed.len(), 2_000);
    let first = listed
        .iter()
        .find(|entry| entry.target == "session://127.0.0.1:9/r0")
        .unwrap();
    assert!(first.url.contains("@127.0.0.1:9/r0?"), "{}", first.url);
    let list = serde_json::to_vec(&listed).unwrap().len() as u64;
    assert!(list < 2 * LIMIT, "the list has {list} bytes");
    outbox.close().await;
    let size = size(&place);
    // PostgreSQL pads each row and keeps its indexes apart.
    let limit = if place.database.is_some() {
        2_700_000
    } else {
        LIMIT
    };
    assert!(size < limit, "the database has {size} bytes");
}

async fn rows(place: &Place, sql: &str) -> i64 {
    use sqlx::Connection as _;
    if let Some(database) = &place.database {
        return database.sql(sql).trim().parse().unwrap();
    }
    let path = place.folder.path().join("outbox.db");
    let mut one = sqlx::SqliteConnection::connect(path.to_str().unwrap())
        .await
        .unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()))
        .fetch_one(&mut one)
        .await
        .unwrap()
}

async fn what_is_shared_goes_with_the_last_that_needs_it(place: Place) {
    const SHARED: &str = "SELECT COUNT(*) FROM outbox_shared";
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let (four, digest) = (rooms(4, "?budget=off"), rooms(2, "?digest=5m&budget=off"));
    let message = Message::new("one|two");
    sink.next("r3", [later(None)]);
    let accepted = outbox
        .accept(&message, &[&four, &digest], &AcceptOptions::default())
        .await
        .unwrap();
    let ids: HashSet<_> = accepted.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids.len(), 6);
    assert_eq!(rows(&place, SHARED).await, 1);
    flush(&outbox).await;
    assert_eq!(rows(&place, SHARED).await, 1, "r3 still needs it");
    place.advance(301);
    flush(&outbox).await;
    for address in ["r0", "r1", "r2", "r3"] {
        let mut expected = vec!["one", "two"];
        if ["r0", "r1"].contains(&address) {
            expected.extend(["one", "two"]);
        }
        assert_eq!(sink.texts(address), expected);
    }
    assert_eq!(rows(&place, SHARED).await, 0);
    assert_eq!(outbox.stats().await.unwrap().delivered, 6);
}

async fn pieces_stay_as_they_were_first_sent(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let service = rooms(2, "?budget=off");
    sink.next(
        "r0",
        [Reaction::TakeAnd(ackpost_notify::Outcome::deferred(
            "cut", "wait",
        ))],
    );
    sink.next("r1", [later(None)]);
    outbox
        .accept(&Message::new("text"), &[&service], &AcceptOptions::default())
        .await
        .unwrap();
    flush(&outbox).await;
    outbox.close().await;
    let outbox = place.open(&sink).await;
    place.advance(10);
    flush(&outbox).await;
    assert_eq!(sink.texts("r0"), ["text"], "the repeat was recognised");
    assert_eq!(sink.texts("r1"), ["text"]);
    let mut stamps: Vec<(String, u64)> = Vec::new();
    for arrived in sink.arrived() {
        stamps.push((arrived.address, arrived.sent_at));
    }
    let noon = u64::try_from(crate::support::NOON).unwrap();
    assert!(stamps.iter().all(|(_, stamp)| *stamp == noon), "{stamps:?}");
}

async fn a_bound_on_targets(place: Place) {
    let mut config = place.config();
    config.limits.targets = 10;
    let outbox = Outbox::for_services(config).await.unwrap();
    let options = AcceptOptions::default();
    let message = Message::new("text");
    outbox
        .accept(&message, &[&rooms(10, "")], &options)
        .await
        .unwrap();
    let error = outbox
        .accept(&message, &[&rooms(10, ""), &rooms(1, "")], &options)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OutboxError::TooManyTargets {
                targets: 11,
                limit: 10
            }
        ),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "the message has 11 targets; at most 10 are allowed"
    );
}

/// The outbox that the program of 2026-11-22 wrote.
#[tokio::test]
async fn an_outbox_of_an_earlier_version_opens() {
    use std::os::unix::fs::PermissionsExt as _;

    let vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/ackpost-2026-11");
    let folder = tempfile::tempdir().unwrap();
    for name in ["outbox.db", "outbox.key"] {
        std::fs::write(
            folder.path().join(name),
            std::fs::read(vectors.join("outbox").join(name)).unwrap(),
        )
        .unwrap();
    }
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("outbox.key"), owner).unwrap();
    let expected = std::fs::read_to_string(vectors.join("expected/outbox.jsonl")).unwrap();
    for _ in 0..2 {
        let outbox = Outbox::for_services(OutboxConfig::in_folder(folder.path()))
            .await
            .unwrap();
        let mut found: Vec<serde_json::Value> = outbox
            .list(&Filter::default())
            .await
            .unwrap()
            .iter()
            .map(|entry| serde_json::to_value(entry).unwrap())
            .collect();
        found.sort_by_key(|entry| entry["id"].to_string());
        let expected: Vec<serde_json::Value> = expected
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(found, expected);
        outbox.close().await;
    }
    // Its messages can be worked with: one fails once more, and stays.
    let outbox = Outbox::for_services(OutboxConfig::in_folder(folder.path()))
        .await
        .unwrap();
    let settings = ackpost_notify::outbox::FlushSettings {
        deadline: std::time::Duration::from_secs(20),
        ..ackpost_notify::outbox::FlushSettings::default()
    };
    outbox.flush(crate::support::worker(), settings).await.unwrap();
    let entries = outbox.list(&Filter::default()).await.unwrap();
    assert_eq!(entries.len(), 4);
    assert!(
        entries
            .iter()
            .all(|entry| entry.attempts > 0 || entry.state == State::Waiting)
    );
}
