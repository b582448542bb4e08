//! The key of a community: never replaced by accident, replaced on purpose with a way back.

use sogs_server::admin::{AdminErrorKind, Operation, new_key};
use sogs_server::{ConfigError, Server, StartError};

use super::Full;

async fn key_is_kept(database: Option<&str>) {
    let mut full = Full::new(database).await;
    let key = full.all.key.to_string();
    full.all.stop().await;
    let dir = full.all.dir();
    let start = || async {
        let mut config = sogs_server::Config::load(&dir).expect("configuration");
        config.net.listen = ([127, 0, 0, 1], 0).into();
        Server::start(config).await
    };
    let path = dir.join("key_x25519");
    let bytes = std::fs::read(&path).expect("the key");

    // Lost: neither a server nor a command makes another one.
    std::fs::remove_file(&path).expect("removed");
    match start().await.map(drop).expect_err("no key") {
        StartError::Config(ConfigError::KeyMissing { public_key, .. }) => {
            assert_eq!(public_key.as_deref(), Some(key.as_str()));
        }
        other => panic!("{other}"),
    }
    assert!(!path.exists(), "no other key took its place");
    let error = full
        .all
        .try_act(Operation::RoomList, false)
        .await
        .expect_err("no key");
    assert!(error.remedy.contains("backup"), "{}", error.remedy);
    let problems = sogs_server::import::verify::verify(&dir, 1)
        .await
        .expect("verify")
        .problems;
    assert!(
        problems.iter().any(|problem| problem.contains(&key)),
        "{problems:?}"
    );

    // Another one: refused, with both keys named.
    std::fs::write(&path, [7; 32]).expect("written");
    match start().await.map(drop).expect_err("another key") {
        StartError::Config(ConfigError::KeyDiffers { expected, found, .. }) => {
            assert_eq!(expected, key);
            assert_ne!(found, key);
        }
        other => panic!("{other}"),
    }
    std::fs::write(&path, bytes).expect("put back");

    // The operator replaces the key on purpose.
    full.all.start().await;
    let refused = new_key(&dir, "tester", false).await.expect_err("it runs");
    assert_eq!(refused.kind, AdminErrorKind::Conflict);
    full.all.stop().await;
    let tried = new_key(&dir, "tester", true).await.expect("dry run");
    assert_eq!(
        (tried.former.as_deref(), tried.public_key),
        (Some(key.as_str()), None)
    );
    assert_eq!(tried.people_with_rights, 3, "two moderators and a ban");
    let changed = new_key(&dir, "tester", false).await.expect("another key");
    full.all.start().await;
    assert_ne!(full.all.key.to_string(), key);
    assert_eq!(
        changed.public_key.as_deref(),
        Some(full.all.key.to_string().as_str())
    );
    assert_eq!(full.all.texts("test", None).await, ["hello", "look at my coins"]);
    let undo = Operation::Undo { id: changed.undo };
    let running = full
        .all
        .try_act(undo.clone(), false)
        .await
        .expect_err("not while it runs");
    assert_eq!(running.kind, AdminErrorKind::Conflict);
    full.all.stop().await;
    full.all.act(undo).await;
    full.all.start().await;
    assert_eq!(full.all.key.to_string(), key);
    full.all.stop().await;
}

#[tokio::test]
async fn a_community_keeps_its_key_on_sqlite() {
    key_is_kept(None).await;
}

#[tokio::test]
async fn a_community_keeps_its_key_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    key_is_kept(Some(database.url())).await;
}
