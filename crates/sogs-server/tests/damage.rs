//! Damaged communities: verification, import and restore count what is bad and say where.

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use sogs_server::admin::Operation;
use sogs_server::import::{ImportOptions, Origin, backup, import, verify};
use sqlx::{Connection as _, SqliteConnection};
use support::{Community, person};

async fn run(database: &Path, statement: &'static str) {
    let mut conn = SqliteConnection::connect(&format!("sqlite:{}", database.display()))
        .await
        .expect("the database opens");
    sqlx::raw_sql(statement)
        .execute(&mut conn)
        .await
        .expect(statement);
    conn.close().await.expect("closed");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_counts_bad_messages_and_says_where() {
    let mut all = Community::new().await;
    for text in ["one", "two", "three", "four"] {
        assert_eq!(all.post("test", &person(1), text).await.status, 201);
    }
    all.act(Operation::MessageDelete {
        room: "test".into(),
        ids: vec![4],
        ranges: Vec::new(),
    })
    .await;
    all.stop().await;
    let dir = all.dir();
    let good = verify::verify(&dir, 1).await.expect("verified");
    assert!(good.is_good(), "{:?}", good.problems);
    let to = all.folder.path().join("backup");
    let database = dir.join("community.db");
    run(
        &database,
        "UPDATE messages SET data = zeroblob(length(data)) WHERE id IN (1, 3); \
         UPDATE message_history SET data = zeroblob(length(data))",
    )
    .await;
    let report = verify::verify(&dir, 1).await.expect("verified");
    assert!(!report.is_good());
    assert_eq!((report.signatures_checked, report.signatures_good), (3, 1));
    assert_eq!(
        report.problems,
        [
            "room test: 2 messages (1, 3): their signatures are not valid",
            "room test: 1 message (4): the signature of an earlier content, which an undo would restore, is not valid",
        ]
    );
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(
        json["bad_signatures"],
        json!([{ "room": "test", "count": 2, "first": [1, 3] }])
    );

    // A backup is written as it is; the restore says what it brings back.
    all.act(Operation::Backup { to: to.clone() }).await;
    let restored: PathBuf = all.folder.path().join("restored");
    backup::restore(&to, &restored, None).await.expect("restored");
    assert_eq!(
        backup::signatures(&to).await.expect("checked").problems,
        report.problems
    );
    assert_eq!(
        verify::verify(&restored, 1).await.expect("verified").problems,
        report.problems
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_counts_bad_messages_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("old");
    copy_folder(&support::vectors().join("pysogs-sample"), &source);
    let options = |dry_run| ImportOptions {
        origin: Origin::Pysogs,
        source: source.clone(),
        target: folder.path().join("new"),
        database: None,
        dry_run,
        replace: false,
    };
    let good = import(&options(true)).await.expect("a dry run");
    run(
        &source.join("sogs.db"),
        "UPDATE messages SET data = zeroblob(length(data)) WHERE data IS NOT NULL AND id % 2 = 0",
    )
    .await;
    let tried = import(&options(true)).await.expect("a dry run");
    let report = import(&options(false)).await.expect("imported");
    assert_eq!(tried.bad_signatures, report.bad_signatures);
    let bad: u64 = report.bad_signatures.iter().map(|room| room.count).sum();
    assert!(bad > 20, "{bad}");
    assert_eq!(report.signatures_good + bad, report.signatures_checked);
    assert!(good.signatures_good > report.signatures_good);
    assert!(
        report
            .bad_signatures
            .iter()
            .all(|room| !room.first.is_empty() && room.room != "?")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one case after the other")]
async fn a_dry_run_finds_what_the_import_finds() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("old");
    copy_folder(&support::vectors().join("pysogs-sample"), &source);
    let ini = source.join("sogs.ini");
    let text = std::fs::read_to_string(&ini).unwrap_or_default();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("base_url"))
        .map(str::to_owned)
        .collect();
    if !lines.iter().any(|line| line.trim() == "[net]") {
        lines.push("[net]".to_owned());
    }
    let net = lines
        .iter()
        .position(|line| line.trim() == "[net]")
        .expect("[net]");
    lines.splice(
        net + 1..=net,
        [
            "base_url = 0".to_owned(),
            "http_show_index = no".to_owned(),
            "http_show_recent = no".to_owned(),
        ],
    );
    std::fs::write(&ini, lines.join("\n")).expect("written");
    run(
        &source.join("sogs.db"),
        "PRAGMA foreign_keys = OFF; UPDATE rooms SET image = 999999 WHERE id = (SELECT MIN(id) FROM rooms)",
    )
    .await;
    let target = folder.path().join("new");
    let options = |dry_run| ImportOptions {
        origin: Origin::Pysogs,
        source: source.clone(),
        target: target.clone(),
        database: None,
        dry_run,
        replace: false,
    };
    let tried = import(&options(true)).await.expect("a dry run");
    assert!(!target.exists(), "a dry run makes nothing");
    let report = import(&options(false)).await.expect("imported");
    for note in &report.notes {
        let is_of_the_copy =
            note.contains("compared byte by byte") || note.contains("filters of the configuration");
        assert!(
            is_of_the_copy || tried.notes.contains(note),
            "{note}: {:?}",
            tried.notes
        );
    }
    let notes = report.notes.join("\n");
    assert!(notes.contains("base_url = 0 is not a URL"), "{notes}");
    assert!(notes.contains("1 room picture without its file"), "{notes}");

    // The list of rooms is off, the page of each room is there without its messages.
    let running = support::start(&target).await;
    let get = async |path: &str| {
        support::request(
            running.local_addr(),
            &running.public_key(),
            http::Method::GET,
            path,
            None,
            None,
        )
        .await
    };
    assert_eq!(get("/").await.status, 404);
    let rooms = get("/rooms").await.json();
    let token = rooms[0]["token"].as_str().expect("a token").to_owned();
    let page = get(&format!("/r/{token}/")).await;
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("can be read in the Session app") && !page.text().contains("All communities"),
        "{}",
        page.text()
    );

    // The dry run refuses everything that the import refuses, and neither changes anything.
    running.shutdown().await;
    run(
        &target.join("community.db"),
        "UPDATE rooms SET info_updates = info_updates + 1",
    )
    .await;
    for dry_run in [true, false] {
        let refused = import(&options(dry_run))
            .await
            .expect_err("people used it")
            .to_string();
        assert!(refused.contains("people have used this server"), "{refused}");
    }
    // A run that fails leaves no folder.
    std::fs::remove_file(source.join("key_x25519")).expect("removed");
    std::fs::write(source.join("key_x25519"), [7; 32]).expect("written");
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file").expect("written");
    let failed = ImportOptions {
        target: blocked.join("server"),
        ..options(false)
    };
    import(&failed).await.expect_err("a file is in the way");
    let unusable = ImportOptions {
        target: folder.path().join("unusable"),
        database: Some("postgres://nobody@127.0.0.1:1/nothing".into()),
        ..options(false)
    };
    import(&unusable).await.expect_err("no such database");
    assert!(!unusable.target.exists());
}
