//! Every route and its edges, through every door, on both databases.

mod direct_messages;
mod files;
mod messages;
mod moderation;
mod reactions;
mod rooms;
mod visibility;
mod ways;

use serde_json::{Value, json};
use session_protocol::Identity;
use session_protocol::auth::Signer;
use sogs_server::{Config, Running};

use crate::common::{Api, DOORS, Door, make_admin, message, room, somebody, start};

struct Stage {
    running: Running,
    api: Api,
    admin: Signer,
    moderator: Signer,
    users: Vec<Signer>,
    accounts: Vec<Identity>,
}

async fn stage(config: Config, door: Door) -> Stage {
    let running = start(config).await;
    for token in ["other", "test"] {
        if running.app().room(token).await.unwrap().is_none() {
            room(&running, token).await;
        }
    }
    let api = Api::of(&running).through(door);
    let admin_account = somebody();
    make_admin(&running, &admin_account).await;
    let accounts: Vec<Identity> = (0..6).map(|_| somebody()).collect();
    let users: Vec<Signer> = accounts
        .iter()
        .map(|who| Signer::blind15(who, &api.key))
        .collect();
    let admin = Signer::blind15(&admin_account, &api.key);
    let moderator = Signer::blind15(&somebody(), &api.key);
    api.get(Some(&admin), "/rooms").await.expect(200);
    api.post(
        Some(&admin),
        &format!("/user/{}/moderator", moderator.shown_id()),
        &json!({"rooms": ["test"], "moderator": true}),
    )
    .await
    .expect(200);
    for who in users.iter().chain([&moderator]) {
        api.get(Some(who), "/capabilities").await.expect(200);
    }
    Stage {
        running,
        api,
        admin,
        moderator,
        users,
        accounts,
    }
}

async fn say(api: &Api, who: &Signer, text: &str) -> Value {
    api.post(Some(who), "/room/test/message", &message(text))
        .await
        .expect(201)
        .json()
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_through_every_door() {
    for door in DOORS {
        let dir = tempfile::tempdir().unwrap();
        let stage = stage(crate::common::config(dir.path()), door).await;
        messages::run(&stage).await;
        stage.running.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_through_every_door() {
    for door in DOORS {
        let dir = tempfile::tempdir().unwrap();
        let stage = stage(crate::common::config(dir.path()), door).await;
        rooms::run(&stage).await;
        reactions::run(&stage).await;
        files::run(&stage).await;
        visibility::files(&stage).await;
        visibility::hidden_rooms(&stage).await;
        moderation::run(&stage).await;
        direct_messages::run(&stage).await;
        stage.running.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_on_postgresql() {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    database.url().clone_into(&mut config.database.url);
    whole_suite(&config).await;
}

/// Every route, through one plain and one nested door.
pub(crate) async fn whole_suite(config: &Config) {
    for door in [Door::Http, Door::OnionBatch] {
        let stage = stage(config.clone(), door).await;
        if door == Door::Http {
            messages::run(&stage).await;
        }
        rooms::run(&stage).await;
        reactions::run(&stage).await;
        files::run(&stage).await;
        visibility::files(&stage).await;
        visibility::hidden_rooms(&stage).await;
        moderation::run(&stage).await;
        direct_messages::run(&stage).await;
        stage.running.shutdown().await;
    }
}
