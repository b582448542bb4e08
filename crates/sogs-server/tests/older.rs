//! A community that an older version wrote opens, goes forward, says the same, and its log can be undone, on both databases.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::{Identity, ServerSecret};
use sogs_server::admin::{AdminErrorKind, AdminRequest, Operation, perform};
use sogs_server::import::{migrate, verify};
use sqlx::Connection as _;

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

/// Checks that every former fact exists; a later version may print more of them.
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
    for (operation, name) in [
        (Operation::RoomList, "roomlist.json"),
        (Operation::SettingList { room: None }, "settingslist.json"),
        (messages("news"), "messages-news.json"),
        (messages("quiet"), "messages-quiet.json"),
    ] {
        says(&act(folder, operation).await, &expected(name), name);
    }
    // Rows of one person are one by now: a former id names the person, who has the rights of both.
    let by_id = |value: Value| -> BTreeMap<String, Value> {
        let people = value["people"].as_array().expect("people").clone();
        people
            .into_iter()
            .map(|person| (person["session_id"].as_str().expect("an id").to_owned(), person))
            .collect()
    };
    let people = Operation::UserList {
        room: None,
        limit: 1_000,
        since: None,
        until: None,
        name: None,
    };
    let now = by_id(act(folder, people).await);
    let mut then = by_id(expected("userlistlimit.json"));
    // The account of the server itself is no longer listed among the people.
    then.retain(|id, _| !id.starts_with("ff"));
    let mut joined = BTreeMap::new();
    for id in then.keys().filter(|id| !now.contains_key(*id)) {
        let shown = act(folder, Operation::UserShow { user: id.clone() }).await;
        joined.insert(id, shown["session_id"].as_str().expect("an id").to_owned());
    }
    assert_eq!(now.len(), then.len() - joined.len());
    for (id, person) in &then {
        let present = joined.get(id).unwrap_or(id);
        if joined.values().all(|stays| stays != present) {
            says(&now[present], person, id);
            continue;
        }
        for fact in ["banned", "moderator", "admin"] {
            let is_so = now[present][fact] == json!(true) || person[fact] == json!(false);
            assert!(is_so, "{id}: {fact}");
        }
    }
}

fn messages(room: &str) -> Operation {
    Operation::MessageList {
        room: room.to_owned(),
        limit: 100,
        before: None,
        user: None,
        since: None,
        until: None,
        ids: None,
    }
}

async fn every_entry_can_be_undone(folder: &Path) {
    for id in (2..=13).rev() {
        let done = act(folder, Operation::Undo { id: Some(id) }).await;
        assert_eq!(done["undone"], id, "{done}");
    }
    // The first entry is the import itself.
    let request = AdminRequest {
        actor: "operator".into(),
        dry_run: false,
        operation: Operation::Undo { id: Some(1) },
    };
    let error = perform(folder, request).await.expect_err("an import");
    assert_eq!(error.kind, AdminErrorKind::Conflict, "{error}");
    // Everything that the entries changed is as it was before them: the message, the rules, the rooms.
    let settings = act(folder, Operation::SettingList { room: None }).await;
    assert_eq!(settings["settings"], Value::Array(Vec::new()), "{settings}");
    let filters = act(folder, Operation::FilterList).await;
    let was = expected("filterlist.json")["filters"]
        .as_array()
        .expect("filters")
        .len();
    assert_eq!(
        filters["filters"].as_array().expect("filters").len(),
        was - 2,
        "{filters}"
    );
    let list = act(folder, messages("quiet")).await;
    let then = expected("messages-quiet.json");
    let (list, then) = (
        list["messages"].as_array().expect("a list"),
        then["messages"].as_array().expect("a list"),
    );
    assert_eq!(list.len(), then.len());
    assert_eq!(
        (&list[0]["id"], &list[0]["deleted"]),
        (&json!(118), &json!(false)),
        "{}",
        list[0]
    );
    assert_ne!(list[0]["text"], json!(""));
    for (now, then) in list.iter().zip(then).skip(1) {
        says(now, then, "messages of quiet");
    }
    says(
        &act(folder, messages("news")).await,
        &expected("messages-news.json"),
        "messages of news",
    );
    let rooms = act(folder, Operation::RoomList).await;
    for (now, then) in rooms["rooms"]
        .as_array()
        .expect("rooms")
        .iter()
        .zip(expected("roomlist.json")["rooms"].as_array().expect("rooms"))
    {
        let mut then = then.clone();
        let is_quiet = then["token"] == "quiet";
        let facts = then.as_object_mut().expect("a room");
        // Each undo is an update of the rooms that it concerns.
        facts.remove("info_updates");
        if is_quiet {
            let messages = facts["messages"].as_i64().expect("a number");
            facts.insert("messages".into(), json!(messages + 1));
        }
        says(now, &then, "rooms");
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

/// Ids under which somebody may come, in the order of the twins below.
fn ids(who: &Identity, key: &session_protocol::ServerKey) -> [Signer; 3] {
    [
        Signer::account(who),
        Signer::blind15(who, key),
        Signer::blind25(who, key),
    ]
}

/// Writes two rows of one person each into a community that knew no accounts, with the ban on one of them: from the
/// server for the first pair, from the room `test` for the second.
async fn add_twins(dir: &Path, people: &[Identity; 4], key: &session_protocol::ServerKey) {
    let database = format!("sqlite:{}", dir.join("community.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&database)
        .await
        .expect("database");
    for (n, who) in people.iter().enumerate() {
        let [account, blind15, blind25] = ids(who, key).map(|signer| signer.shown_id().to_string());
        // The banned one first.
        let (banned, other) = match n {
            0 => (account, blind15),
            1 => (blind15, account),
            2 => (blind15, blind25),
            _ => (blind25, blind15),
        };
        let everywhere = n % 2 == 0;
        for (id, is_banned) in [(banned, true), (other, false)] {
            let user: i64 = sqlx::query_scalar(
                "INSERT INTO users (session_id, created, last_active, banned) VALUES ($1, 1795294700, 1795294700, $2) \
                 RETURNING id",
            )
            .bind(id)
            .bind(is_banned && everywhere)
            .fetch_one(&mut conn)
            .await
            .expect("a row");
            if is_banned && !everywhere {
                sqlx::query(
                    "INSERT INTO permission_overrides (room_id, user_id, banned) VALUES (1, $1, TRUE)",
                )
                .bind(user)
                .execute(&mut conn)
                .await
                .expect("a ban");
            }
        }
    }
    conn.close().await.expect("closed");
}

/// In a community that knew no accounts, one row of a person is banned and another is not: both are from then on.
async fn twins(database: Option<&str>) {
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path().join("server");
    copy(&vectors().join("community"), &dir);
    let secret: [u8; 32] = std::fs::read(dir.join("key_x25519"))
        .expect("key")
        .try_into()
        .expect("32 bytes");
    let key = ServerSecret::from_bytes(secret).public();
    let people = [201, 202, 203, 204].map(|seed| Identity::from_seed([seed; 32]));
    add_twins(&dir, &people, &key).await;
    if let Some(url) = database {
        migrate::migrate(&dir, url, false).await.expect("migrate");
    }
    let mut config = sogs_server::Config::load(&dir).expect("configuration");
    for require_blind in [true, false] {
        config.users.require_blind_keys = require_blind;
        std::fs::write(dir.join("server.toml"), config.to_toml()).expect("written");
        let running = support::start(&dir).await;
        let address = running.local_addr();
        for (n, who) in people.iter().enumerate() {
            for signer in &ids(who, &key)[usize::from(require_blind)..] {
                let path = "/room/test/messages/recent";
                let got =
                    support::request_as(address, &key, http::Method::GET, path, Some(signer), None, &[])
                        .await;
                assert_eq!(got.status, 403, "twins {n} as {signer:?}: {}", got.text());
                assert!(
                    got.text().to_lowercase().contains("banned") || n % 2 == 1,
                    "{}",
                    got.text()
                );
            }
        }
        // Everybody else still reads.
        let stranger = Signer::blind15(&Identity::from_seed([205; 32]), &key);
        let path = "/room/test/messages/recent";
        let got =
            support::request_as(address, &key, http::Method::GET, path, Some(&stranger), None, &[]).await;
        assert_eq!(got.status, 200, "{}", got.text());
        running.shutdown().await;
    }
}

#[tokio::test]
async fn a_ban_of_one_row_binds_the_person_on_sqlite() {
    twins(None).await;
}

#[tokio::test]
async fn a_ban_of_one_row_binds_the_person_on_postgresql() {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .expect("database");
    twins(Some(database.url())).await;
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
