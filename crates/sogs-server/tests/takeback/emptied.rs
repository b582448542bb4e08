//! A wrong or empty database does not cost the stored files.

use std::time::Duration;

use sogs_server::admin::{AdminErrorKind, Operation};
use sogs_server::config::ConfigError;
use sogs_server::{Config, ContentError, Server, StartError};

use super::later::sql;
use super::restored::files_below;
use super::support::{Community, person};

async fn with_files(number: u8, database: Option<&str>) -> Community {
    let all = Community::with(|config| {
        if let Some(url) = database {
            url.clone_into(&mut config.database.url);
        }
    })
    .await;
    for file in 0..number {
        let got = all.upload("test", &person(1), "a.bin", vec![file; 100]).await;
        assert_eq!(got.status, 201, "{}", got.text());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_beside_key_and_files_is_refused() {
    let postgres = ackpost_testkit::Postgres::shared();
    let (right, wrong) = (postgres.database(), postgres.database());
    let mut all = with_files(2, Some(right.url())).await;
    all.stop().await;
    let uploads = all.dir().join("uploads");
    let before = files_below(&uploads);
    let use_database = |url: &str| {
        let mut config = Config::load(all.dir()).expect("configuration");
        url.clone_into(&mut config.database.url);
        std::fs::write(all.dir().join("server.toml"), config.to_toml()).expect("written");
        config.net.listen = ([127, 0, 0, 1], 0).into();
        config
    };
    let config = use_database(wrong.url());
    let error = Server::start(config).await.err().expect("it is the wrong one");
    assert!(
        matches!(error, StartError::Config(ConfigError::DatabaseEmpty { .. })),
        "{error}"
    );
    let room = Operation::RoomAdd {
        room: "other".into(),
        name: None,
        description: None,
        permissions: sogs_server::admin::PermissionChange::default(),
    };
    let error = all.try_act(room, false).await.expect_err("neither by a command");
    assert_eq!(error.kind, AdminErrorKind::Conflict, "{error}");
    assert!(error.remedy.contains("[database] url"), "{}", error.remedy);
    assert_eq!(files_below(&uploads), before);
    use_database(right.url());
    all.start().await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stay_when_the_database_does_not_know_most_of_them() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    for url in [None, Some(database.url())] {
        let all = with_files(5, url).await;
        let app = all.running.as_ref().expect("running").app();
        let uploads = all.dir().join("uploads");
        let before = files_below(&uploads);
        // As in a database that was restored from an old backup.
        sql(&all, "DELETE FROM files WHERE id > 2").await;
        let key = all.key.to_string();
        let sweep = async || app.contents.sweep_orphans(&app.store, &key, Duration::ZERO).await;
        let error = sweep().await.expect_err("most of them are unknown");
        assert!(
            matches!(
                error,
                ContentError::Unknown {
                    lost: 3,
                    known: 2,
                    ..
                }
            ),
            "{error}"
        );
        assert!(files_below(&uploads) >= before, "none is removed");
    }
}
