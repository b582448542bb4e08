//! People are named by id, short id, display name or the number of a message, alone or many at once; lists show names.

mod support;

use http::Method;
use serde_json::{Value, json};
use session_protocol::Identity;
use session_protocol::auth::Signer;
use session_protocol::content::Content;
use session_protocol::message::SignedPost;
use session_protocol::padding::Padding;
use sogs_server::admin::{AdminErrorKind, Operation, PermissionChange, RoomScope};
use support::{Community, person, shown};

fn rooms() -> RoomScope {
    RoomScope::Rooms(vec!["test".to_owned()])
}

/// Posts a text, under a display name or without one; the number of the message.
async fn post_as(all: &Community, who: &Identity, name: impl Into<Option<&str>>, text: &str) -> i64 {
    let signer = Signer::blind15(who, &all.key);
    let content = Content::text(text, name.into(), support::now_ms());
    let post = SignedPost::new(&content, &signer, Padding::Block);
    let body = json!({
        "data": session_protocol::encoding::b64(&post.data), "signature": session_protocol::encoding::b64(post.signature),
    });
    let body = Some(("application/json", serde_json::to_vec(&body).expect("JSON")));
    let got = all
        .request(Method::POST, "/room/test/message", Some(who), body)
        .await;
    assert_eq!(got.status, 201, "{}", got.text());
    got.json()["id"].as_i64().expect("id")
}

/// As apps and pages show an id.
fn short(id: &str) -> String {
    format!("{}…{}", &id[..4], &id[id.len() - 4..])
}

fn show(user: &str) -> Operation {
    Operation::UserShow {
        user: user.to_owned(),
    }
}

fn ban(user: &str) -> Operation {
    Operation::BanAdd {
        user: user.to_owned(),
        place: rooms(),
        seconds: None,
        delete_posts: true,
    }
}

#[expect(clippy::too_many_lines, reason = "one community, looked at in every way")]
async fn named(database: Option<&str>) {
    let all = Community::with(|config| {
        if let Some(url) = database {
            url.clone_into(&mut config.database.url);
        }
    })
    .await;
    let id = |number: u8| shown(&all.key, &person(number));
    post_as(&all, &person(1), "Alice", "before the name changed").await;
    let first = post_as(&all, &person(1), "Alice B.", "hello").await;
    let second = post_as(&all, &person(2), "Bob", "hi").await;
    post_as(&all, &person(3), "bob", "I am Bob").await;
    for text in [
        id(1),
        short(&id(1)),
        short(&id(1)).replace('…', "..."),
        short(&id(1)).to_uppercase(),
        first.to_string(),
        format!("#{first}"),
        "alice b.".to_owned(),
        "name:Alice B.".to_owned(),
    ] {
        assert_eq!(
            all.act(show(&text)).await.data["session_id"],
            id(1).as_str(),
            "{text}"
        );
    }
    let fails = async |text: &str| {
        all.try_act(show(text), false)
            .await
            .expect_err(&format!("`{text}` means nobody"))
    };
    let twice = fails("Bob").await;
    assert_eq!(twice.kind, AdminErrorKind::Usage);
    assert!(
        twice.cause.starts_with("`Bob` fits several people: ")
            && twice.cause.contains(&format!("{} (Bob)", id(2)))
            && twice.cause.contains(&format!("{} (bob)", id(3))),
        "{}",
        twice.cause
    );
    assert_eq!(twice.remedy, "give the whole id of one of them");
    let several = fails("15…").await;
    assert_eq!(several.kind, AdminErrorKind::NotFound, "too short to be an id");
    for nobody in ["Carol", "15ffffff…0000", "999999", "name:7", "Alice"] {
        assert_eq!(fails(nobody).await.kind, AdminErrorKind::NotFound, "{nobody}");
    }
    assert_eq!(fails(&"0".repeat(66)).await.kind, AdminErrorKind::Usage);

    // Names in every list, and a search.
    let list = |name: Option<&str>, since: Option<f64>| Operation::UserList {
        room: None,
        limit: 50,
        since,
        until: None,
        name: name.map(str::to_owned),
    };
    let people = all.act(list(None, None)).await;
    let name_of = |data: &Value, list: &str, id: &str| {
        let rows = data[list].as_array().expect("rows");
        let row = rows.iter().find(|row| row["session_id"] == id);
        row.unwrap_or_else(|| panic!("{id} in {data}"))["name"].clone()
    };
    assert_eq!(name_of(&people.data, "people", &id(1)), "Alice B.");
    assert!(
        people.lines.iter().any(|line| line.ends_with("Alice B.")),
        "{:?}",
        people.lines
    );
    assert!(
        people.lines.iter().all(|line| !line.starts_with("ff")),
        "{:?}",
        people.lines
    );
    let found = all.act(list(Some("BO"), None)).await;
    assert_eq!(found.data["people"].as_array().map(Vec::len), Some(2));
    let later = all.act(list(None, Some(4e9))).await;
    assert_eq!(later.data["people"], json!([]));
    all.act(Operation::ModAdd {
        user: "Alice B.".into(),
        place: rooms(),
        admin: false,
        visible: None,
    })
    .await;
    let mods = all.act(Operation::ModList).await;
    assert_eq!(name_of(&mods.data, "moderators", &id(1)), "Alice B.");
    // By the number of a message; the posts go, the name stays known.
    all.act(ban(&second.to_string())).await;
    let bans = all.act(Operation::BanList).await;
    assert_eq!(name_of(&bans.data, "bans", &id(2)), "Bob");
    assert!(bans.lines[0].ends_with("Bob"), "{:?}", bans.lines);
    let messages = all
        .act(Operation::MessageList {
            room: "test".into(),
            limit: 50,
            before: None,
            user: Some(short(&id(2))),
            since: None,
            until: None,
            ids: None,
        })
        .await;
    assert_eq!(name_of(&messages.data, "messages", &id(2)), "Bob");
    let log = all
        .act(Operation::LogList {
            limit: 1,
            room: None,
            actor: None,
            target: None,
            since: None,
            until: None,
        })
        .await;
    assert_eq!(log.data["log"][0]["target_name"], "Bob");

    // Many at once, as from a file: one entry, one undo.
    let many = format!(
        "# raiders\n{}\n\n{}  # the second\n{}\n",
        id(10),
        id(11),
        short(&id(3))
    );
    let banned = all.act(ban(&many)).await;
    assert_eq!(banned.data["people"].as_array().map(Vec::len), Some(3));
    assert_eq!(all.texts("test", None).await.len(), 2, "the post of bob is gone");
    for number in [3, 10, 11] {
        assert_eq!(
            all.get("/room/test/messages/recent", Some(&person(number)))
                .await
                .status,
            403
        );
    }
    all.act(Operation::Undo { id: banned.undo }).await;
    assert_eq!(all.texts("test", None).await.len(), 3);
    for number in [3, 10, 11] {
        assert_eq!(
            all.get("/room/test/messages/recent", Some(&person(number)))
                .await
                .status,
            200
        );
    }
    let muted = all
        .act(Operation::UserPermissions {
            user: format!("{}\n{}", id(10), id(11)),
            room: "test".into(),
            permissions: PermissionChange {
                write: Some(false),
                ..PermissionChange::default()
            },
            clear: false,
        })
        .await;
    assert_eq!(all.post("test", &person(10), "x").await.status, 403);
    all.act(Operation::Undo { id: muted.undo }).await;
    assert_eq!(all.post("test", &person(10), "x").await.status, 201);
    let lifted = all
        .act(Operation::BanRemove {
            user: format!("{}\n{}", id(2), id(10)),
            place: rooms(),
        })
        .await;
    assert_eq!(lifted.data["people"], json!([id(2)]), "the other was not banned");
}

/// Posts without a name, such as those of a script, hide neither a person nor the name that they used last.
async fn named_once(database: Option<&str>) {
    let all = Community::with(|config| {
        if let Some(url) = database {
            url.clone_into(&mut config.database.url);
        }
    })
    .await;
    let id = |number: u8| shown(&all.key, &person(number));
    post_as(&all, &person(1), "Dora", "her first name").await;
    post_as(&all, &person(1), "Dora B.", "her second name").await;
    // With the two of before: all that one person may post at once.
    for number in 0..3 {
        post_as(&all, &person(1), None, &format!("without a name {number}")).await;
    }
    post_as(&all, &person(2), None, "never a name").await;
    let found = all.act(show("dora b.")).await;
    assert_eq!(found.data["session_id"], id(1).as_str());
    assert_eq!(found.data["name"], "Dora B.");
    let former = all
        .try_act(show("Dora"), false)
        .await
        .expect_err("another name since");
    assert_eq!(former.kind, AdminErrorKind::NotFound);
    // The posts with the name are deleted: the history has them.
    let deleted = Operation::MessageDelete {
        room: "test".to_owned(),
        ids: vec![1, 2],
        ranges: Vec::new(),
    };
    all.act(deleted).await;
    assert_eq!(all.act(show("Dora B.")).await.data["session_id"], id(1).as_str());
    assert_eq!(all.act(show(&id(2))).await.data["name"], Value::Null);
}

#[tokio::test]
async fn a_name_is_found_after_posts_without_one_on_sqlite() {
    named_once(None).await;
}

#[tokio::test]
async fn a_name_is_found_after_posts_without_one_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    named_once(Some(database.url())).await;
}

#[tokio::test]
async fn people_are_found_by_what_is_shown_of_them_on_sqlite() {
    named(None).await;
}

#[tokio::test]
async fn people_are_found_by_what_is_shown_of_them_on_postgresql() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    named(Some(database.url())).await;
}

#[tokio::test]
async fn a_short_id_that_fits_two_people_names_both() {
    let all = Community::new().await;
    // Somebody with the same four digits at the beginning: the first two are those of every id.
    let mut heads: std::collections::HashMap<String, String> = std::collections::HashMap::new();
    let (mut one, mut other) = (String::new(), String::new());
    for number in 1..=255 {
        let id = shown(&all.key, &person(number));
        if let Some(known) = heads.insert(id[..4].to_owned(), id.clone()) {
            (one, other) = (known, id);
            break;
        }
    }
    for id in [&one, &other] {
        all.act(Operation::BanAdd {
            user: id.clone(),
            place: rooms(),
            seconds: None,
            delete_posts: false,
        })
        .await;
    }
    let error = all
        .try_act(show(&format!("{}…", &one[..4])), false)
        .await
        .expect_err("two people");
    assert_eq!(error.kind, AdminErrorKind::Usage);
    assert!(
        error.cause.contains(&one) && error.cause.contains(&other),
        "{}",
        error.cause
    );
    assert_eq!(all.act(show(&short(&one))).await.data["session_id"], one.as_str());
}

#[tokio::test]
async fn messages_are_chosen_by_number_and_time() {
    let all = Community::new().await;
    let mut ids = Vec::new();
    for number in 1..=8 {
        ids.push(post_as(&all, &person(number), "Tester", &format!("text {number}")).await);
    }
    let listed = async |ids: Option<(i64, i64)>, since: Option<f64>| {
        let list = all
            .act(Operation::MessageList {
                room: "test".into(),
                limit: 50,
                before: None,
                user: None,
                since,
                until: None,
                ids,
            })
            .await;
        list.data["messages"].as_array().expect("list").len()
    };
    assert_eq!(listed(Some((ids[2], ids[4])), None).await, 3);
    assert_eq!(listed(None, Some(4e9)).await, 0);
    let deleted = all
        .act(Operation::MessageDelete {
            room: "test".into(),
            ids: vec![ids[0]],
            ranges: vec![(ids[2], ids[4]), (ids[4], ids[5])],
        })
        .await;
    assert_eq!(deleted.changed, 5);
    let nothing = all
        .try_act(
            Operation::MessageDelete {
                room: "test".into(),
                ids: vec![],
                ranges: vec![(ids[2], ids[4])],
            },
            false,
        )
        .await
        .expect_err("they are gone");
    assert_eq!(nothing.kind, AdminErrorKind::NotFound);
    all.act(Operation::Undo { id: deleted.undo }).await;
    assert_eq!(all.texts("test", None).await.len(), 8);
    let old = all
        .act(Operation::MessageDeleteAll {
            user: format!("{}\n{}", ids[0], ids[1]),
            place: RoomScope::Global,
            reactions: false,
            since: Some(4e9),
            until: None,
        })
        .await;
    assert_eq!((old.changed, old.undo), (0, None), "all of them are older");
    let recent = all
        .act(Operation::MessageDeleteContaining {
            place: RoomScope::Global,
            text: "text".into(),
            since: Some(1.0),
            until: Some(4e9),
        })
        .await;
    assert_eq!(recent.changed, 8);
}
