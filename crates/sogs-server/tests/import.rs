//! Communities that real servers left on disk, imported, and asked as their members would ask.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use session_protocol::Identity;
use sogs_server::import::{ImportOptions, ImportReport, Origin, import, verify};
use sqlx::Connection as _;
use support::{Got, request, start, vectors};

fn options(origin: Origin, source: &Path, target: &Path) -> ImportOptions {
    ImportOptions {
        origin,
        source: source.to_path_buf(),
        target: target.to_path_buf(),
        database: None,
        dry_run: false,
        replace: false,
    }
}

fn copied(report: &ImportReport, table: &str) -> (u64, u64) {
    let count = report
        .tables
        .iter()
        .find(|count| count.table == table)
        .expect(table);
    (count.source, count.copied)
}

/// Names and bytes of everything below a folder.
fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.push((path.display().to_string(), Vec::new()));
            all.extend(snapshot(&path));
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).expect("file")));
        }
    }
    all.sort();
    all
}

/// A value without what depends on the day.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove("active_users");
            for (_, inner) in map.iter_mut() {
                *inner = timeless(inner.take());
            }
        }
        Value::Array(list) => {
            for inner in list.iter_mut() {
                *inner = timeless(inner.take());
            }
        }
        _ => {}
    }
    value
}

fn body_of(got: &Got) -> Value {
    let kind = got
        .headers
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    match kind {
        "application/json" => got.json(),
        "application/octet-stream" => {
            use sha2::Digest as _;
            json!({ "sha256": hex::encode(sha2::Sha256::digest(&got.body)), "length": got.body.len() })
        }
        // The golden answers hold the first 200 characters of texts.
        _ => got.text().chars().take(200).collect::<String>().into(),
    }
}

#[tokio::test]
async fn every_member_of_the_pysogs_sample_gets_the_same_answers_as_before() {
    let source = vectors().join("pysogs-sample");
    let before = snapshot(&source);
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");

    let tried = import(&ImportOptions {
        dry_run: true,
        ..options(Origin::Pysogs, &source, &target)
    })
    .await
    .expect("dry run");
    assert!(!target.exists(), "a dry run writes nothing");
    let report = import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect("import");
    assert_eq!(tried.tables, report.tables);
    assert_eq!(snapshot(&source), before, "the source is only read");
    for (table, rows) in [
        ("rooms", 3),
        ("users", 140),
        ("messages", 118),
        ("message_history", 12),
        ("reactions", 10),
        ("user_reactions", 24),
        ("pinned_messages", 1),
        ("files", 2),
        ("room_users", 42),
        ("user_permission_overrides", 12),
        ("user_permission_futures", 2),
        ("user_ban_futures", 1),
        ("user_request_nonces", 497),
        ("inbox", 5),
        ("needs_blinding", 4),
    ] {
        assert_eq!(copied(&report, table), (rows, rows), "{table}");
    }
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    let key = std::fs::read(target.join("key_x25519")).expect("key");
    assert_eq!(key, std::fs::read(source.join("key_x25519")).expect("key"));

    let checked = verify::verify(&target, 1).await.expect("verify");
    assert!(checked.is_good(), "{:?}", checked.problems);
    assert_eq!(checked.files, 2);

    let running = start(&target).await;
    let text = std::fs::read(source.join("answers.json")).expect("answers");
    let answers: Vec<Value> = serde_json::from_slice(&text).expect("answers");
    assert_eq!(answers.len(), 240);
    for expected in &answers {
        let who = expected["seed"]
            .as_str()
            .map(|seed| Identity::from_seed_hex(seed).expect("seed"));
        let path = expected["path"].as_str().expect("path");
        let got = request(
            running.local_addr(),
            &running.public_key(),
            http::Method::GET,
            path,
            who.as_ref(),
            None,
        )
        .await;
        let name = format!("{} {path}", expected["as"]);
        assert_eq!(got.status.as_u16(), expected["status"], "{name}: {}", got.text());
        for (header, value) in expected["headers"].as_object().expect("headers") {
            let found = got.headers.get(header).and_then(|value| value.to_str().ok());
            assert_eq!(found, value.as_str(), "{name}: {header}");
        }
        assert_eq!(
            timeless(body_of(&got)),
            timeless(expected["body"].clone()),
            "{name}"
        );
    }
    running.shutdown().await;
}

#[tokio::test]
async fn an_import_can_be_run_again_until_people_use_the_new_server() {
    let source = vectors().join("pysogs-sample");
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect("first");
    let again = import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect("second");
    assert_eq!(copied(&again, "messages"), (118, 118));
    assert!(
        again
            .notes
            .iter()
            .all(|note| !note.contains("key of the imported")),
        "{:?}",
        again.notes
    );

    let running = start(&target).await;
    let admin = Identity::from_seed([0xad; 32]);
    let key = running.public_key();
    let body = support::post_body(&key, &admin, "the first of the new server");
    let got = request(
        running.local_addr(),
        &key,
        http::Method::POST,
        "/room/quiet/message",
        Some(&admin),
        Some(("application/json", body)),
    )
    .await;
    assert_eq!(got.status, 201, "{}", got.text());
    let posted = got.json();
    assert_eq!(
        (posted["id"].as_i64(), posted["seqno"].as_i64()),
        (Some(119), Some(68)),
        "numbers go on"
    );
    running.shutdown().await;

    let refused = import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect_err("somebody wrote here");
    assert!(refused.to_string().contains("--replace"), "{refused}");
    let replaced = import(&ImportOptions {
        replace: true,
        ..options(Origin::Pysogs, &source, &target)
    })
    .await
    .expect("replaced");
    assert_eq!(copied(&replaced, "messages"), (118, 118));
}

#[tokio::test]
async fn the_bunsogs_sample_is_taken_over_and_its_orphans_are_named() {
    let source = vectors().join("bunsogs-sample");
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    let report = import(&options(Origin::Bunsogs, &source, &target))
        .await
        .expect("import");
    assert_eq!(copied(&report, "messages"), (51, 51));
    assert_eq!(
        copied(&report, "pinned_messages"),
        (2, 1),
        "one pin is of a message that never was"
    );
    assert_eq!(
        copied(&report, "reactions"),
        (9, 8),
        "one reaction is to a message that never was"
    );
    assert_eq!(copied(&report, "inbox"), (3, 3));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("3 direct messages had an invalid expiry")),
        "{:?}",
        report.notes
    );
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("max_size = 6000000")),
        "{:?}",
        report.notes
    );
    assert!(report.signatures_checked > 0);
    assert!(verify::verify(&target, 1).await.expect("verify").is_good());

    let running = start(&target).await;
    let list = request(
        running.local_addr(),
        &running.public_key(),
        http::Method::GET,
        "/room/test/messages/recent?limit=256",
        None,
        None,
    )
    .await;
    assert_eq!(list.status, 200, "{}", list.text());
    let list = list.json();
    let list = list.as_array().expect("a list");
    assert_eq!(list[0]["id"], 51);
    assert!(list.iter().all(|message| message["data"].is_string()));
    running.shutdown().await;
}

#[tokio::test]
async fn folders_without_a_community_are_refused_with_the_missing_part() {
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    let error = import(&options(Origin::Pysogs, folder.path(), &target))
        .await
        .expect_err("nothing there");
    assert!(error.to_string().contains("does not exist"), "{error}");

    // A database without its key.
    let source = folder.path().join("keyless");
    std::fs::create_dir(&source).expect("folder");
    std::fs::copy(vectors().join("pysogs-sample/sogs.db"), source.join("sogs.db")).expect("copy");
    let error = import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect_err("no key");
    assert!(error.to_string().contains("key"), "{error}");
    assert!(!target.exists());

    // Uploads that are gone are named, and the community comes without them.
    std::fs::copy(
        vectors().join("pysogs-sample/key_x25519"),
        source.join("key_x25519"),
    )
    .expect("copy");
    let report = import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect("import");
    assert_eq!(copied(&report, "files"), (2, 0));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("2 files are not on the disk")),
        "{:?}",
        report.notes
    );
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("1 room picture without its file")),
        "{:?}",
        report.notes
    );

    // A server with its own rooms is not overwritten.
    let own = support::Community::new().await;
    let mut own = own;
    own.stop().await;
    let error = import(&options(Origin::Pysogs, &source, &own.dir()))
        .await
        .expect_err("own rooms");
    assert!(
        error.to_string().contains("another key and its own rooms"),
        "{error}"
    );
}

/// A commit that the database refuses leaves the folder with the key of what the database holds.
#[tokio::test]
async fn a_refused_commit_leaves_the_key_and_the_next_import_replaces_it() {
    let source = vectors().join("pysogs-sample");
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    let own = sogs_server::admin::init(
        &target,
        &sogs_server::admin::InitOptions {
            base_url: None,
            listen: None,
            database: None,
        },
    )
    .await
    .expect("init")
    .public_key;
    let config = sogs_server::Config::load(&target).expect("configuration");
    let key = || sogs_server::load_key(&config.key_path()).expect("key").public();
    let mut conn = sqlx::SqliteConnection::connect(&config.database_url())
        .await
        .expect("database");
    // A reference that is checked at the commit, to a room that nobody has.
    let trap = "CREATE TABLE trap (room BIGINT REFERENCES rooms (id) DEFERRABLE INITIALLY DEFERRED); \
         CREATE TRIGGER trap_rooms AFTER INSERT ON rooms BEGIN INSERT INTO trap VALUES (-1); END;";
    sqlx::raw_sql(trap).execute(&mut conn).await.expect("trap");

    import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect_err("the commit fails");
    assert_eq!(key(), own);
    start(&target).await.shutdown().await;
    assert_eq!(key(), own, "also after a start");

    sqlx::raw_sql("DROP TRIGGER trap_rooms; DROP TABLE trap")
        .execute(&mut conn)
        .await
        .expect("trap removed");
    conn.close().await.expect("closed");
    import(&options(Origin::Pysogs, &source, &target))
        .await
        .expect("import");
    assert_ne!(key(), own);
    let running = start(&target).await;
    assert_eq!(running.public_key(), key());
    running.shutdown().await;
}
