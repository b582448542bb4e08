//! Files that hang on no message: uploads that wait are their owners', those of a former server are everybody's.

use session_protocol::auth::Signer;
use sogs_server::Config;
use sogs_server::admin::Operation;
use sqlx::Connection as _;

use crate::common::{Api, Body, on_both, operate, room, somebody, start, write_config};

async fn upload(api: &Api, who: &Signer) -> i64 {
    let uploaded = api
        .call(Some(who), "POST", "/room/test/file", Body::raw(b"bytes", &[]))
        .await
        .expect(201);
    uploaded.json()["id"].as_i64().unwrap()
}

/// Statuses for the owner, another member and nobody.
async fn seen(api: &Api, owner: &Signer, file: i64) -> [u16; 3] {
    let path = format!("/room/test/file/{file}");
    let other = Signer::blind15(&somebody(), &api.key);
    [
        api.get(Some(owner), &path).await.status,
        api.get(Some(&other), &path).await.status,
        api.get(None, &path).await.status,
    ]
}

async fn run(config: &Config, statement: String) {
    let (url, statement) = (config.database_url(), sqlx::AssertSqlSafe(statement));
    if url.starts_with("postgres") {
        let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    } else {
        let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
}

async fn a_shorter_time_for_uploads_makes_no_waiting_upload_public(mut config: Config) {
    config.files.unattached_seconds = 86_400.0;
    write_config(&config);
    let running = start(config.clone()).await;
    room(&running, "test").await;
    let api = Api::of(&running);
    let owner = Signer::blind15(&somebody(), &api.key);
    let file = upload(&api, &owner).await;
    assert_eq!(seen(&api, &owner, file).await, [200, 404, 404]);
    config.files.unattached_seconds = 60.0;
    write_config(&config);
    operate(&running, Operation::Reload).await;
    let applied = running.app().config().files.unattached_seconds;
    assert!((applied - 60.0).abs() < f64::EPSILON, "{applied}");
    assert_eq!(
        seen(&api, &owner, file).await,
        [200, 404, 404],
        "after the reload"
    );
    running.shutdown().await;
    let running = start(config).await;
    let api = Api::of(&running);
    assert_eq!(seen(&api, &owner, file).await, [200, 404, 404], "after a restart");
    running.shutdown().await;
}

/// Rows of a version that did not note where a file comes from.
async fn files_of_an_earlier_version_are_told_apart_when_the_server_opens_them(mut config: Config) {
    config.files.unattached_seconds = 86_400.0;
    let running = start(config.clone()).await;
    room(&running, "test").await;
    let api = Api::of(&running);
    let owner = Signer::blind15(&somebody(), &api.key);
    let [waiting, imported, kept] = [
        upload(&api, &owner).await,
        upload(&api, &owner).await,
        upload(&api, &owner).await,
    ];
    running.shutdown().await;
    run(
        &config,
        format!(
            "UPDATE files SET imported = NULL; UPDATE files SET expiry = uploaded + 1296000 WHERE id = {imported}; \
             UPDATE files SET expiry = NULL WHERE id = {kept}"
        ),
    )
    .await;
    let running = start(config.clone()).await;
    let api = Api::of(&running);
    assert_eq!(seen(&api, &owner, waiting).await, [200, 404, 404]);
    assert_eq!(seen(&api, &owner, imported).await, [200, 200, 200]);
    assert_eq!(seen(&api, &owner, kept).await, [200, 200, 200]);
    running.shutdown().await;
}

on_both!(
    a_shorter_time_for_uploads_makes_no_waiting_upload_public,
    files_of_an_earlier_version_are_told_apart_when_the_server_opens_them,
);
