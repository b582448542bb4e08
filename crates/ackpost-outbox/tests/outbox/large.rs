//! Many targets in one URL, and an outbox that an earlier version wrote.

use std::collections::HashSet;
use std::path::Path;

use ackpost_notify::{Context, Message, ServiceUrl, Services};
use ackpost_notify::{Encoded, MessageId};
use ackpost_outbox::{
    AcceptOptions, DeliveryRequest, Destination, Filter, Outbox, OutboxConfig, OutboxError, State, Transport,
};

use crate::support::{Place, Reaction, Sink, flush, later, stamped};

stamped!(
    two_thousand_targets_cost_little,
    two_thousand_targets_with_repeats_cost_little,
    two_thousand_targets_with_a_digest_cost_little,
    shared_rows_go_with_the_last_entry_that_needs_them,
    repeats_share_the_latest_message,
    repeats_of_an_entry_that_shares_nothing,
    digests_share_their_first_message,
    pieces_stay_as_they_were_first_sent,
    a_bound_on_targets,
);

const KEY: &str = "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0";
const SEED: &str = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b";

fn rooms(count: usize, query: &str) -> ServiceUrl {
    let rooms: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
    let url = format!("session://{KEY}:{SEED}@127.0.0.1:9/{}{query}", rooms.join("/"));
    ServiceUrl::parse(&url, &Context::default()).unwrap()
}

/// Bytes of all rows and indexes. PostgreSQL also keeps maps of free pages, which its vacuum makes at times of its own: they do
/// not count.
fn size(place: &Place) -> u64 {
    if let Some(database) = &place.database {
        let sizes = database.sql(
            "WITH tables AS (SELECT oid, reltoastrelid FROM pg_class WHERE relkind = 'r' AND relname LIKE 'outbox%'), \
             rows AS (SELECT oid FROM tables UNION SELECT reltoastrelid FROM tables WHERE reltoastrelid > 0), \
             all_of_them AS (SELECT oid FROM rows UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM rows)) \
             SELECT SUM(pg_relation_size(oid)) FROM all_of_them",
        );
        return sizes.trim().parse().unwrap();
    }
    let files = std::fs::read_dir(place.folder.path()).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

async fn two_thousand_targets_cost_little(place: Place) {
    cost_little(place, "").await;
}

async fn two_thousand_targets_with_repeats_cost_little(place: Place) {
    cost_little(place, "?dedup=disk/10m").await;
}

async fn two_thousand_targets_with_a_digest_cost_little(place: Place) {
    cost_little(place, "?digest=10m").await;
}

/// Answer and database stay below 2 MB.
async fn cost_little(place: Place, query: &str) {
    const LIMIT: u64 = 2_000_000;
    let outbox = Outbox::for_services(place.config(), Services::default())
        .await
        .unwrap();
    let service = rooms(2_000, query);
    let message = Message::new("the disk of db1 is full");
    let accepted = outbox
        .accept(&message, &[&service], &AcceptOptions::default())
        .await
        .unwrap();
    assert_eq!(accepted.len(), 2_000);
    let answer = serde_json::to_vec(&accepted).unwrap().len() as u64;
    assert!(answer < LIMIT, "the answer has {answer} bytes");
    let listed = outbox.list(&Filter::default().with_limit(2_000)).await.unwrap();
    assert_eq!(listed.len(), 2_000);
    for room in ["r0", "r7", "r1999"] {
        let target = format!("session://127.0.0.1:9/{room}");
        let entry = listed.iter().find(|entry| entry.target == target).unwrap();
        let accepted = accepted.iter().find(|one| one.id == entry.id).unwrap();
        assert_eq!((&entry.url, &entry.url_id), (&accepted.url, &accepted.url_id));
        let path = entry.url.split('?').next().unwrap_or_default();
        assert!(path.ends_with(&format!("@127.0.0.1:9/{room}")), "{}", entry.url);
        let (_, events) = outbox.show(&entry.id).await.unwrap().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].kind, "accepted");
        assert_eq!(events[0].entry, entry.id.to_string());
    }
    let log = outbox.log(None, 10).await.unwrap();
    let lines: Vec<_> = log
        .iter()
        .map(|event| (event.kind.as_str(), event.text.as_str()))
        .collect();
    assert_eq!(lines, [("accepted", "2000 targets of one URL")]);
    let list = serde_json::to_vec(&listed).unwrap().len() as u64;
    assert!(list < 2 * LIMIT, "the list has {list} bytes");
    outbox.close().await;
    let size = size(&place);
    assert!(size < LIMIT, "the database has {size} bytes");
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

const SHARED: &str = "SELECT COUNT(*) FROM outbox_shared WHERE LENGTH(sealed) > 0";
const LABELS: &str = "SELECT COUNT(*) FROM outbox_shared";

async fn shared_rows_go_with_the_last_entry_that_needs_them(place: Place) {
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
    assert_eq!(rows(&place, SHARED).await, 2, "one for each URL");
    flush(&outbox).await;
    assert_eq!(rows(&place, SHARED).await, 2, "r3 and the digest still need them");
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
    // Lists still show where it went, until the entries are removed.
    let listed = outbox.list(&Filter::default()).await.unwrap();
    assert!(
        listed
            .iter()
            .all(|entry| entry.target.starts_with("session://127.0.0.1:9/r"))
    );
    assert_eq!(rows(&place, LABELS).await, 2);
    place.advance(400 * 24 * 3600);
    assert_eq!(outbox.prune().await.unwrap(), 6);
    assert_eq!(rows(&place, LABELS).await, 0);
}

async fn repeats_share_the_latest_message(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let options = AcceptOptions::default();
    let three = rooms(3, "?dedup=disk/10m&budget=off");
    let alone = rooms(1, "?dedup=disk/10m&budget=off");
    for text in ["90 %", "91 %", "92 %"] {
        let accepted = outbox
            .accept(&Message::new(text), &[&three], &options)
            .await
            .unwrap();
        assert_eq!(accepted.iter().all(|one| one.folded), text == "92 %");
    }
    assert_eq!(
        rows(&place, SHARED).await,
        2,
        "the one in the middle is not needed"
    );
    // One message to one target puts itself to an entry that shares, and the other way round.
    outbox
        .accept(&Message::new("93 %"), &[&alone], &options)
        .await
        .unwrap();
    flush(&outbox).await;
    assert_eq!(rows(&place, SHARED).await, 1);
    place.advance(601);
    flush(&outbox).await;
    let more = |text: &str, times| format!("{text}\n(repeated {times} more times within 10m)");
    assert_eq!(sink.texts("r0"), ["90 %".to_owned(), more("93 %", 3)]);
    assert_eq!(sink.texts("r1"), ["90 %".to_owned(), more("92 %", 2)]);
    assert_eq!(sink.texts("r2"), ["90 %".to_owned(), more("92 %", 2)]);
    assert_eq!(rows(&place, SHARED).await, 0);
    let listed = outbox.list(&Filter::default()).await.unwrap();
    let mut targets: Vec<_> = listed.iter().map(|entry| entry.target.as_str()).collect();
    targets.sort_unstable();
    let room = |number: usize| format!("session://127.0.0.1:9/r{number}");
    assert_eq!(targets, [room(0), room(0), room(1), room(1), room(2), room(2)]);
}

async fn repeats_of_an_entry_that_shares_nothing(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let options = AcceptOptions::default();
    let (one, two) = (
        rooms(1, "?dedup=disk/10m&budget=off"),
        rooms(2, "?dedup=disk/10m&budget=off"),
    );
    for text in ["a", "b"] {
        outbox
            .accept(&Message::new(text), &[&one], &options)
            .await
            .unwrap();
    }
    outbox
        .accept(&Message::new("c"), &[&two], &options)
        .await
        .unwrap();
    flush(&outbox).await;
    place.advance(601);
    flush(&outbox).await;
    assert_eq!(sink.texts("r0"), ["a", "c\n(repeated 2 more times within 10m)"]);
    assert_eq!(sink.texts("r1"), ["c"]);
    assert_eq!(rows(&place, SHARED).await, 0);
}

async fn digests_share_their_first_message(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let options = AcceptOptions::default();
    let two = rooms(2, "?digest=10m&budget=off");
    for text in ["one", "two", "three"] {
        outbox
            .accept(&Message::new(text), &[&two], &options)
            .await
            .unwrap();
    }
    assert_eq!(rows(&place, SHARED).await, 1);
    outbox.close().await;
    let outbox = place.open(&sink).await;
    place.advance(601);
    flush(&outbox).await;
    let digest = "3 messages in 10m: 1. one\n2. two\n3. three";
    assert_eq!(
        (sink.texts("r0"), sink.texts("r1")),
        (vec![digest.to_owned()], vec![digest.to_owned()])
    );
    assert_eq!(rows(&place, SHARED).await, 0);
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
    assert_eq!(config.limits.targets, 5_000, "the default");
    config.limits.targets = 10;
    let outbox = Outbox::for_services(config, Services::default()).await.unwrap();
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
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/ackpost-2026-11");
    let folder = tempfile::tempdir().unwrap();
    copy_outbox(&vectors.join("outbox"), folder.path());
    let expected = std::fs::read_to_string(vectors.join("expected/outbox.jsonl")).unwrap();
    for _ in 0..2 {
        let outbox = Outbox::for_services(OutboxConfig::in_folder(folder.path()), Services::default())
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
    let outbox = Outbox::for_services(OutboxConfig::in_folder(folder.path()), Services::default())
        .await
        .unwrap();
    let settings = ackpost_outbox::FlushSettings::default().with_deadline(std::time::Duration::from_secs(20));
    outbox.flush(crate::support::worker(), settings).await.unwrap();
    let entries = outbox.list(&Filter::default()).await.unwrap();
    assert_eq!(entries.len(), 4);
    assert!(
        entries
            .iter()
            .all(|entry| entry.attempts > 0 || entry.state == State::Waiting)
    );
}

/// Delivers everything, and keeps what it was given.
#[derive(Clone, Default)]
struct Taker(std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>);

impl Transport for Taker {
    fn encode(
        &self,
        _: &Destination,
        message: &Message,
        _: &MessageId,
    ) -> Result<Vec<Encoded>, ackpost_notify::Outcome> {
        Ok(vec![Encoded::from_value(
            "test",
            &serde_json::json!({ "text": message.body }),
        )])
    }

    fn deliver<'a>(
        &'a self,
        request: DeliveryRequest<'a>,
    ) -> ackpost_notify::BoxFuture<'a, ackpost_notify::Outcome> {
        let taken = (
            request.destination.address.clone(),
            String::from_utf8_lossy(request.piece.bytes()).into_owned(),
        );
        self.0.lock().unwrap().push(taken);
        Box::pin(async { crate::support::delivered() })
    }
}

/// The outbox that the program of 2026-11-29 wrote: `send --queue` with two URLs of two targets. The first message was
/// tried once; the second waits for the end of its quiet hours.
#[tokio::test]
async fn shared_messages_of_an_earlier_version_are_sent() {
    // 2026-11-30 00:30:00 UTC.
    const LATER: i64 = 1_795_998_600_000;
    let place = Place {
        clock: std::sync::Arc::new(ackpost_outbox::ManualClock::at(LATER)),
        ..Place::sqlite()
    };
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/ackpost-2026-11/outbox-5");
    copy_outbox(&vectors, place.folder.path());
    let taker = Taker::default();
    let taken = || taker.0.lock().unwrap().clone();
    let outbox = Outbox::open(place.config(), std::sync::Arc::new(taker.clone()))
        .await
        .unwrap();
    let listed = outbox.list(&Filter::default()).await.unwrap();
    let targets: HashSet<_> = listed.iter().map(|entry| entry.target.clone()).collect();
    assert_eq!(
        targets,
        (0..4).map(|n| format!("session://127.0.0.1:9/r{n}")).collect()
    );
    flush(&outbox).await;
    let mut first = taken();
    first.sort();
    for ((address, wire), expected) in first.iter().zip(["r0", "r1"]) {
        assert_eq!(address, expected);
        assert!(wire.contains("tried and put off"), "{wire}");
    }
    assert_eq!(rows(&place, SHARED).await, 1);
    // 23:59:30, between the quiet hours.
    place.advance(24 * 3600 - 1830);
    flush(&outbox).await;
    let mut all = taken();
    all.sort();
    let text = "{\"text\":\"held\"}".to_owned();
    assert_eq!(
        all[2..],
        [("r2".to_owned(), text.clone()), ("r3".to_owned(), text)]
    );
    assert_eq!(rows(&place, SHARED).await, 0);
    let listed = outbox.list(&Filter::default()).await.unwrap();
    assert!(listed.iter().all(|entry| entry.state == State::Delivered
        && entry.target.starts_with("session://127.0.0.1:9/r")
        && entry.url.contains("@127.0.0.1:9/r")));
}

/// Copies an outbox and its key.
fn copy_outbox(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    for name in ["outbox.db", "outbox.key"] {
        std::fs::write(to.join(name), std::fs::read(from.join(name)).unwrap()).unwrap();
    }
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(to.join("outbox.key"), owner).unwrap();
}
