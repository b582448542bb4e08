//! Backup while people write, restore, verification, and the way to PostgreSQL and back.

mod support;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;
use sogs_server::Config;
use sogs_server::admin::{AdminRequest, Operation, perform};
use sogs_server::import::{ImportOptions, Origin, backup, import, migrate, verify};
use support::{Community, person, request, start, vectors};

async fn recent(folder: &Path, room: &str) -> Value {
    let running = start(folder).await;
    let path = format!("/room/{room}/messages/recent?limit=256&reactors=20");
    let got = request(
        running.local_addr(),
        &running.public_key(),
        Method::GET,
        &path,
        None,
        None,
    )
    .await;
    assert_eq!(got.status, 200, "{}", got.text());
    running.shutdown().await;
    got.json()
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_a_whole_community() {
    let mut all = Community::new().await;
    all.act(Operation::SettingSet {
        room: None,
        name: "rate_posts".into(),
        value: Some("1000".into()),
    })
    .await;
    let alice = person(1);
    let file = ("application/octet-stream", b"kept bytes".to_vec());
    let uploaded = all
        .request(Method::POST, "/room/test/file", Some(&alice), Some(file))
        .await
        .json()["id"]
        .clone();
    let to = all.folder.path().join("backup");
    let writing = async {
        for number in 0..60 {
            assert_eq!(
                all.post("test", &alice, &format!("number {number}")).await.status,
                201
            );
        }
    };
    let saving = async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        all.act(Operation::Backup { to: to.clone() }).await
    };
    let ((), saved) = tokio::join!(writing, saving);
    assert!(saved.data["rows"].as_u64().expect("rows") > 3, "{}", saved.data);
    let again = all
        .try_act(Operation::Backup { to: to.clone() }, false)
        .await
        .expect_err("not into a full folder");
    assert!(again.cause.contains("not empty"), "{again}");

    let restored = all.folder.path().join("restored");
    let manifest = backup::restore(&to, &restored, None).await.expect("restore");
    assert_eq!(manifest.public_key, all.key.to_string());
    let report = verify::verify(&restored, 1).await.expect("verify");
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.files, report.signatures_checked), (1, report.messages));
    assert_eq!(report.signatures_good, report.signatures_checked);
    // The restored messages are the first of those that were written, without gaps.
    let texts: Vec<String> = recent(&restored, "test")
        .await
        .as_array()
        .expect("list")
        .iter()
        .rev()
        .map(support::text_of)
        .collect();
    let expected: Vec<String> = (0..texts.len())
        .map(|number| format!("number {number}"))
        .collect();
    assert!(!texts.is_empty() && texts == expected, "{texts:?}");
    let running = start(&restored).await;
    let path = format!("/room/test/file/{uploaded}");
    let got = request(
        running.local_addr(),
        &running.public_key(),
        Method::GET,
        &path,
        Some(&alice),
        None,
    )
    .await;
    assert_eq!(&got.body[..], b"kept bytes");
    running.shutdown().await;
    all.stop().await;

    incomplete_backups_are_refused(&to, all.folder.path()).await;

    // A damaged backup is found out before anything is written.
    let database = to.join("community.db");
    let mut bytes = std::fs::read(&database).expect("database");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&database, bytes).expect("written");
    let target = all.folder.path().join("never");
    let error = backup::restore(&to, &target, None).await.expect_err("damaged");
    assert!(error.to_string().contains("changed or damaged"), "{error}");
    assert!(!target.exists());
}

/// A backup that lost a file is found out before anything is written, also if another file lies in its place.
async fn incomplete_backups_are_refused(to: &Path, folder: &Path) {
    let stored = stored_file(&to.join("uploads"));
    let elsewhere = folder.join("elsewhere");
    std::fs::rename(&stored, &elsewhere).expect("moved");
    let target = folder.join("never");
    let refused = async || {
        let error = backup::restore(to, &target, None).await.expect_err("incomplete");
        assert!(error.to_string().contains("that were put into it"), "{error}");
        assert!(!target.exists());
    };
    refused().await;
    let foreign = stored.with_file_name("ab".repeat(32));
    std::fs::write(&foreign, "something else").expect("written");
    refused().await;
    std::fs::remove_file(foreign).expect("removed");
    std::fs::rename(&elsewhere, &stored).expect("moved back");
}

/// A stored file of a folder of contents.
fn stored_file(uploads: &Path) -> PathBuf {
    std::fs::read_dir(uploads)
        .expect("a folder")
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.len() >= 64))
        .expect("a file")
}

#[tokio::test]
async fn verification_names_what_is_missing_or_damaged() {
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    let options = ImportOptions {
        origin: Origin::Pysogs,
        source: vectors().join("pysogs-sample"),
        target: target.clone(),
        database: None,
        dry_run: false,
        replace: false,
    };
    import(&options).await.expect("import");
    let uploads = target.join("uploads");
    let mut files: Vec<_> = std::fs::read_dir(&uploads)
        .expect("uploads")
        .flatten()
        .flat_map(|entry| std::fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2);
    std::fs::remove_file(&files[0]).expect("removed");
    std::fs::write(&files[1], b"something else").expect("written");
    let report = verify::verify(&target, 10).await.expect("verify");
    let problems = report.problems.join("; ");
    assert!(
        problems.contains("is missing") && problems.contains("is damaged"),
        "{problems}"
    );
    assert!(report.signatures_checked < report.messages);
}

#[tokio::test]
async fn a_community_moves_to_postgresql_and_back_and_answers_the_same() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    let options = ImportOptions {
        origin: Origin::Pysogs,
        source: vectors().join("pysogs-sample"),
        target: target.clone(),
        database: None,
        dry_run: false,
        replace: false,
    };
    import(&options).await.expect("import");
    let before = recent(&target, "quiet").await;

    let tried = migrate::migrate(&target, database.url(), true)
        .await
        .expect("dry run");
    let moved = migrate::migrate(&target, database.url(), false)
        .await
        .expect("migrate");
    assert_eq!(tried.tables, moved.tables);
    assert!(moved.tables.contains(&("messages", 118)), "{:?}", moved.tables);
    let config = Config::load(&target).expect("configuration");
    assert_eq!(config.database.url, database.url());
    assert_eq!(recent(&target, "quiet").await, before);

    // New rows come after the moved ones, on this database too.
    let running = start(&target).await;
    let (key, admin) = (
        running.public_key(),
        session_protocol::Identity::from_seed([0xad; 32]),
    );
    let body = Some((
        "application/json",
        support::post_body(&key, &admin, "on PostgreSQL"),
    ));
    let posted = request(
        running.local_addr(),
        &key,
        Method::POST,
        "/room/quiet/message",
        Some(&admin),
        body,
    )
    .await;
    assert_eq!(posted.status, 201, "{}", posted.text());
    assert_eq!(
        (&posted.json()["id"], &posted.json()["seqno"]),
        (&119.into(), &68.into())
    );
    running.shutdown().await;

    // A backup of it is a file again, and a second community is not poured into the first.
    let occupied = import(&ImportOptions {
        target: folder.path().join("second"),
        database: Some(database.url().to_owned()),
        ..options.clone()
    })
    .await;
    assert!(occupied.is_err());
    let to = folder.path().join("backup");
    let request = AdminRequest {
        actor: String::new(),
        dry_run: false,
        operation: Operation::Backup { to: to.clone() },
    };
    perform(&target, request).await.expect("backup");
    let back = folder.path().join("back");
    backup::restore(&to, &back, None).await.expect("restore");
    assert!(verify::verify(&back, 1).await.expect("verify").is_good());
    let list = recent(&back, "quiet").await;
    assert_eq!(
        list.as_array().expect("list").len(),
        before.as_array().expect("list").len() + 1
    );
}

#[tokio::test]
async fn an_import_straight_into_postgresql_answers_like_one_into_a_file() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    let folder = tempfile::tempdir().expect("folder");
    let options = |name: &str, database: Option<String>| ImportOptions {
        origin: Origin::Bunsogs,
        source: vectors().join("bunsogs-sample"),
        target: folder.path().join(name),
        database,
        dry_run: false,
        replace: false,
    };
    import(&options("file", None)).await.expect("import");
    import(&options("postgres", Some(database.url().to_owned())))
        .await
        .expect("import");
    import(&options("postgres", None)).await.expect("again");
    assert_eq!(
        recent(&folder.path().join("postgres"), "test").await,
        recent(&folder.path().join("file"), "test").await
    );
}

/// Makes the next `times` changes of a table fail. A sequence counts them, because a rollback does not take its numbers
/// back.
fn fail(database: &ackpost_testkit::Database, change: &str, failure: &str, times: u32) {
    database.sql(&format!(
        "DROP SEQUENCE IF EXISTS attempts; CREATE SEQUENCE attempts; DROP FUNCTION IF EXISTS fails CASCADE; \
         CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') <= {times} THEN {failure}; END IF; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER fails AFTER {change} DEFERRABLE FOR EACH ROW EXECUTE FUNCTION fails()"
    ));
}

#[tokio::test]
async fn a_migration_a_removal_and_an_undo_that_are_interrupted_are_done_once() {
    const DEADLOCK: &str = "RAISE EXCEPTION 'on purpose' USING ERRCODE = '40P01'";
    const CUT: &str = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)";
    let database = ackpost_testkit::Postgres::shared().database();
    let folder = tempfile::tempdir().expect("folder");
    let target = folder.path().join("server");
    let options = ImportOptions {
        origin: Origin::Pysogs,
        source: vectors().join("pysogs-sample"),
        target: target.clone(),
        database: None,
        dry_run: false,
        replace: false,
    };
    import(&options).await.expect("import");
    let before = recent(&target, "quiet").await;
    // The tables are there before the trigger.
    let tables = sogs_server::store::StoreOptions {
        url: database.url().to_owned(),
        readers: 1,
        migrate: true,
    };
    let tables = sogs_server::store::open(&tables, std::sync::Arc::new(|_| {})).await;
    tables.expect("opened").close().await.expect("closed");

    fail(&database, "INSERT ON messages", DEADLOCK, 1000);
    let error = migrate::migrate(&target, database.url(), false)
        .await
        .expect_err("it always fails");
    assert!(error.to_string().contains("on purpose"), "{error}");
    assert_eq!(database.sql("SELECT last_value FROM attempts"), "4");
    assert_eq!(database.sql("SELECT COUNT(*) FROM rooms"), "0", "nothing is kept");

    fail(&database, "INSERT ON messages", DEADLOCK, 2);
    let moved = migrate::migrate(&target, database.url(), false)
        .await
        .expect("migrate");
    assert!(moved.tables.contains(&("messages", 118)), "{:?}", moved.tables);
    assert_eq!(database.sql("SELECT COUNT(*) FROM messages"), "118");

    let act = |operation| {
        let request = AdminRequest {
            actor: "tester".to_owned(),
            dry_run: false,
            operation,
        };
        perform(&target, request)
    };
    for failure in [DEADLOCK, CUT] {
        fail(&database, "DELETE ON rooms", failure, 2);
        let room = "quiet".to_owned();
        act(Operation::RoomDelete { room }).await.expect("deleted");
        assert_eq!(database.sql("SELECT last_value FROM attempts"), "3");
        database.sql("DROP FUNCTION fails CASCADE");
        assert_eq!(
            database.sql("SELECT COUNT(*) FROM rooms WHERE token = 'quiet'"),
            "0"
        );
        fail(&database, "INSERT ON rooms", failure, 2);
        act(Operation::Undo { id: None }).await.expect("restored");
        assert_eq!(database.sql("SELECT last_value FROM attempts"), "3");
        database.sql("DROP FUNCTION fails CASCADE");
        assert_eq!(recent(&target, "quiet").await, before, "{failure}");
    }
    let deleted = "SELECT COUNT(*) FROM audit_log WHERE action = 'room_delete'";
    assert_eq!(database.sql(deleted), "2", "one entry for each removal");
}
