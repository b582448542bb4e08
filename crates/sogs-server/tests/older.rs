//! A community that an older version wrote opens, goes forward, says the same, and its log can be undone, on both databases.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use sogs_server::admin::{AdminRequest, Operation, perform};
use sogs_server::import::{migrate, verify};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/ackpost-2026-11")
}

fn expected(name: &str) -> Value {
    let path = vectors().join("expected").join(name);
    serde_json::from_slice(&std::fs::read(&path).expect("expected")).expect("JSON")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("vectors").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}

async fn act(folder: &Path, operation: Operation) -> Value {
    let request = AdminRequest {
        actor: "operator".into(),
        dry_run: false,
        operation,
    };
    let answer = perform(folder, request).await;
    let data = answer
        .unwrap_or_else(|error| panic!("{error}: {}", error.remedy))
        .data;
    // Through text, like what is expected: reading a number may round it.
    serde_json::from_str(&data.to_string()).expect("JSON")
}

/// Every fact of then is there; a later version may print more of them.
fn says(now: &Value, then: &Value, what: &str) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (name, then) in then {
                says(
                    now.get(name).unwrap_or(&Value::Null),
                    then,
                    &format!("{what}.{name}"),
                );
            }
        }
        (Value::Array(now), Value::Array(then)) => {
            assert_eq!(now.len(), then.len(), "{what}");
            for (at, (now, then)) in now.iter().zip(then).enumerate() {
                says(now, then, &format!("{what}[{at}]"));
            }
        }
        (now, then) => assert_eq!(now, then, "{what}"),
    }
}

/// The facts that were printed when the community was written.
async fn says_the_same(folder: &Path) {
    for (operation, name) in [
        (Operation::BanList, "banlist.json"),
        (Operation::ModList, "modlist.json"),
        (Operation::FilterList, "filterlist.json"),
    ] {
        says(&act(folder, operation).await, &expected(name), name);
    }
    let log = Operation::LogList {
        room: None,
        actor: None,
        target: None,
        limit: 100,
        since: None,
        until: None,
    };
    says(&act(folder, log).await, &expected("log.json"), "log.json");
}

async fn every_entry_can_be_undone(folder: &Path) {
    for id in (2..=13).rev() {
        let done = act(folder, Operation::Undo { id: Some(id) }).await;
        assert_eq!(done["undone"], id, "{done}");
    }
    let bans = act(folder, Operation::BanList).await;
    let was = expected("banlist.json")["bans"].as_array().expect("bans").len();
    assert_eq!(bans["bans"].as_array().expect("bans").len(), was - 1, "{bans}");
}

async fn community(database: Option<&str>) {
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path().join("server");
    copy(&vectors().join("community"), &dir);
    // It can be looked at before anything opens it.
    let report = verify::verify(&dir, 1).await.expect("verify");
    assert!(report.is_good(), "{:?}", report.problems);
    if let Some(url) = database {
        migrate::migrate(&dir, url, false).await.expect("migrate");
    }
    let running = support::start(&dir).await;
    running.shutdown().await;
    says_the_same(&dir).await;
    let report = verify::verify(&dir, 1).await.expect("verify");
    assert!(report.is_good(), "{:?}", report.problems);
    every_entry_can_be_undone(&dir).await;
}

#[tokio::test]
async fn a_community_of_november_2026_goes_forward_on_sqlite() {
    community(None).await;
}

#[tokio::test]
async fn a_community_of_november_2026_goes_forward_to_postgresql() {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .expect("database");
    community(Some(database.url())).await;
}
