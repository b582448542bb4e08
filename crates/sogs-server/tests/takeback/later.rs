//! An undo leaves what was decided since, and what is gone, as it is.

use serde_json::json;
use sogs_server::admin::{AdminErrorKind, Operation, PermissionChange, RoomScope};
use sqlx::Connection as _;

use super::support::{Community, person, shown};
use super::{Full, rooms, setting};

/// Runs a statement on the database of a community.
pub(super) async fn sql(all: &Community, statement: &str) {
    let url = sogs_server::Config::load(all.dir())
        .expect("configuration")
        .database_url();
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    if url.starts_with("postgres") {
        let mut conn = sqlx::PgConnection::connect(&url).await.expect("opened");
        sqlx::raw_sql(statement).execute(&mut conn).await.expect("done");
        conn.close().await.expect("closed");
    } else {
        let mut conn = sqlx::SqliteConnection::connect(&url).await.expect("opened");
        sqlx::raw_sql(statement).execute(&mut conn).await.expect("done");
        conn.close().await.expect("closed");
    }
}

/// A community on each database.
pub(super) async fn on_both(check: impl AsyncFn(Full)) {
    check(Full::new(None).await).await;
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .expect("a database");
    check(Full::new(Some(database.url())).await).await;
}

fn undo(id: Option<i64>) -> Operation {
    Operation::Undo { id }
}

fn ban(user: String) -> Operation {
    Operation::BanAdd {
        user,
        place: rooms("test"),
        seconds: None,
        delete_posts: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_leaves_what_others_decided_since() {
    on_both(async |full| {
        let all = &full.all;
        // A rule.
        let first = all.act(setting("slow_seconds", Some("5"))).await.undo;
        let second = all.act(setting("slow_seconds", Some("9"))).await.undo;
        let error = all.try_act(undo(first), false).await.expect_err("decided since");
        assert_eq!(error.kind, AdminErrorKind::Conflict);
        assert!(
            error
                .cause
                .contains(&format!("entry {} (setting by", second.expect("a number"))),
            "{error}"
        );
        let value = async || {
            let list = all
                .act(Operation::SettingList {
                    room: Some("test".into()),
                })
                .await;
            list.data["settings"].to_string()
        };
        assert!(value().await.contains("\"9\""), "{}", value().await);
        all.act(undo(second)).await;
        all.act(undo(first)).await;
        assert!(
            value().await.contains("\"1\""),
            "as before both: {}",
            value().await
        );
        // Rights: a moderator made by mistake, whom somebody else banned meanwhile.
        let appointed = all
            .act(Operation::ModAdd {
                user: full.troll.clone(),
                place: rooms("test"),
                admin: false,
                visible: None,
            })
            .await
            .undo;
        all.act(ban(full.troll.clone())).await;
        let error = all
            .try_act(undo(appointed), false)
            .await
            .expect_err("banned since");
        assert_eq!(error.kind, AdminErrorKind::Conflict);
        let bans = async || all.act(Operation::BanList).await.data["bans"].to_string();
        assert!(bans().await.contains(&full.troll), "the ban stays");
        // Of one act about several people, the others come back.
        let others: Vec<String> = [11, 12].map(|number| shown(&all.key, &person(number))).into();
        let wave = all.act(ban(others.join("\n"))).await.undo;
        all.act(Operation::BanRemove {
            user: others[0].clone(),
            place: rooms("test"),
        })
        .await;
        all.act(ban(others[0].clone())).await;
        let lines = all.act(undo(wave)).await.lines;
        let listed = bans().await;
        assert!(
            listed.contains(&others[0]) && !listed.contains(&others[1]),
            "{listed}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("left as it is") && line.contains("(ban by")),
            "{lines:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_an_edit_restores_the_parts_that_nobody_changed_since() {
    on_both(async |full| {
        let all = &full.all;
        let edit = |name: Option<&str>, description: Option<&str>, write| Operation::RoomEdit {
            room: "test".into(),
            name: name.map(str::to_owned),
            description: description.map(str::to_owned),
            permissions: PermissionChange {
                write,
                ..PermissionChange::default()
            },
            image: None,
        };
        let first = all.act(edit(Some("Raided"), Some("by trolls"), None)).await.undo;
        all.act(edit(None, Some("Back soon"), Some(false))).await;
        let lines = all.act(undo(first)).await.lines;
        let room = all.act(Operation::RoomShow { room: "test".into() }).await.data;
        assert_eq!(
            (&room["name"], &room["description"], &room["write"]),
            (&json!("test"), &json!("Back soon"), &json!(false)),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("the description of the room")),
            "{lines:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_removed_meanwhile_does_not_keep_the_rest_from_coming_back() {
    on_both(async |full| {
        let all = &full.all;
        let limit = sogs_server::unix_now();
        let posted = all.post("test", &person(9), "a later one").await;
        let later = posted.json()["id"].as_i64().expect("a number");
        let deleted = all
            .act(Operation::MessageDelete {
                room: "test".into(),
                ids: vec![full.message, full.held, later],
                ranges: Vec::new(),
            })
            .await;
        let store = &all.running.as_ref().expect("running").app().store;
        let room = store
            .room_by_token("test".into())
            .await
            .expect("read")
            .expect("a room");
        store.prune_messages(room.id, limit).await.expect("pruned");
        sql(all, &format!("DELETE FROM files WHERE id = {}", full.file)).await;
        let lines = all.act(undo(deleted.undo)).await.lines;
        assert!(
            lines.contains(&"1 of 3 messages restored".to_owned()),
            "{lines:?}"
        );
        let texts = all.texts("test", None).await;
        assert_eq!(texts[0], "a later one");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_in_a_room_that_is_gone_do_not_keep_the_others_from_coming_back() {
    on_both(async |full| {
        let all = &full.all;
        all.act(Operation::RoomAdd {
            room: "other".into(),
            name: None,
            description: None,
            permissions: PermissionChange::default(),
        })
        .await;
        let appoint = |room: &str| Operation::ModAdd {
            user: full.troll.clone(),
            place: rooms(room),
            admin: false,
            visible: None,
        };
        all.act(appoint("test")).await;
        all.act(appoint("other")).await;
        let banned = all
            .act(Operation::BanAdd {
                user: full.troll.clone(),
                place: RoomScope::EveryRoom,
                seconds: None,
                delete_posts: false,
            })
            .await;
        all.act(Operation::RoomDelete { room: "other".into() }).await;
        let lines = all.act(undo(banned.undo)).await.lines;
        assert!(
            lines.iter().any(|line| line.contains("no longer exists")),
            "{lines:?}"
        );
        let mods = all.act(Operation::ModList).await.data.to_string();
        assert!(mods.contains(&full.troll), "{mods}");
    })
    .await;
}
