//! One key, four ids, one person: bans, rights, limits and what was written, on both databases, with blinding on and off.

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::{Identity, Prefix, SessionId};
use sogs_server::store::{CleanupPlan, FuturePermission, ModChange, PermissionPatch, RoomPatch, Where};
use sogs_server::{Config, Running};

use crate::common::{
    Api, Body, Resp, make_admin, message, on_both, pairs, raw_http, room, sign, somebody, start,
};

/// Ids by which a person can be named, each made from one account.
const NAMES: [&str; 5] = [
    "05",
    "15",
    "15 of the other sign",
    "25",
    "25 before the key of 15",
];
/// Acts that concern the person.
const ACTS: [&str; 7] = [
    "room ban",
    "global ban",
    "timed ban",
    "timed global ban",
    "moderator",
    "no write",
    "admin",
];
/// Requests that the person made before.
const MOMENTS: [&str; 3] = ["nothing", "posted as 15", "posted as 25"];

fn named(api: &Api, who: &Identity, name: &str) -> SessionId {
    let blind15 = who.blind15(&api.key).id();
    let mut other = *blind15.key();
    other[31] ^= 0x80;
    match name {
        "05" => who.session_id(),
        "15" => blind15,
        "25" => who.blind25(&api.key).id(),
        "15 of the other sign" => SessionId::new(Prefix::Blind15, other),
        _ => SessionId::new(Prefix::Blind25, *blind15.key()),
    }
}

async fn act(running: &Running, id: &SessionId, room: i64, act: &str) {
    let app = running.app();
    let user = app.resolve(id, true).await.unwrap().unwrap().row.id;
    let rooms = || Where::Rooms(vec![room]);
    let appoint = |admin| ModChange::Appoint {
        admin: Some(admin),
        visible: true,
    };
    match act {
        "room ban" => app.store.ban(user, rooms(), None).await.unwrap(),
        "global ban" => app.store.ban(user, Where::Global, None).await.unwrap(),
        "timed ban" => app
            .store
            .ban(user, rooms(), Some(sogs_server::unix_now() + 3600.0))
            .await
            .unwrap(),
        "timed global ban" => app
            .store
            .ban(user, Where::Global, Some(sogs_server::unix_now() + 3600.0))
            .await
            .unwrap(),
        "moderator" => drop(
            app.store
                .set_moderator(user, rooms(), appoint(false))
                .await
                .unwrap(),
        ),
        "admin" => drop(
            app.store
                .set_moderator(user, Where::Global, appoint(true))
                .await
                .unwrap(),
        ),
        _ => {
            let patch = PermissionPatch {
                write: Some(Some(false)),
                ..PermissionPatch::default()
            };
            app.store.set_permissions(room, user, patch).await.unwrap();
        }
    }
}

/// Checks the answers that a person with this id gets.
async fn check(api: &Api, who: &Signer, act: &str, case: &str) {
    let info = api.get(Some(who), "/room/test").await;
    let read = api.get(Some(who), "/room/test/messages/recent").await.status;
    let post = api
        .post(Some(who), "/room/test/message", &message("x"))
        .await
        .status;
    let met = (info.status, read, post);
    match act {
        "room ban" | "timed ban" => assert_eq!(met, (404, 403, 403), "{case}"),
        "global ban" | "timed global ban" => assert_eq!(met, (403, 403, 403), "{case}"),
        "no write" => assert_eq!(met, (200, 200, 403), "{case}"),
        act => {
            assert_eq!((info.status, read), (200, 200), "{case}");
            assert_eq!(info.json()["moderator"], json!(true), "{case}");
            assert_eq!(info.json().get("admin").is_some(), act == "admin", "{case}");
        }
    }
}

/// A request under an id that no app makes: signed by a key, sent with another prefix before it.
async fn forged(api: &Api, who: &Signer, prefix: &str, path: &str) -> Resp {
    forged_as(api, who, |id| id.replace_range(..2, prefix), "GET", path, &[]).await
}

/// A request whose id was changed after it was signed.
async fn forged_as(
    api: &Api,
    who: &Signer,
    change: impl FnOnce(&mut String),
    method: &str,
    path: &str,
    body: &[u8],
) -> Resp {
    let mut headers = sign(&api.key, who, method, path, body);
    change(&mut headers.pubkey);
    let mut headers = pairs(&headers);
    headers.push(("content-type".into(), "application/json".into()));
    raw_http(api.addr, method, path, &headers, body).await.unwrap()
}

/// Posts until the limit of a new room is reached, each time under the next of these ids; then none of them posts.
async fn share_one_limit(api: &Api, ids: &[&Signer], case: &str) {
    for n in 0..5 {
        let got = api
            .post(Some(ids[n % ids.len()]), "/room/test/message", &message("x"))
            .await;
        assert_eq!(got.status, 201, "{case}, post {n}: {}", got.text());
    }
    for id in ids {
        let got = api.post(Some(id), "/room/test/message", &message("x")).await;
        assert_eq!(got.status, 429, "{case}, as {id:?}: {}", got.text());
    }
    // Ids that no app makes give no further posts: the other sign, and a prefix that is not that of the key.
    let body = message("x").to_string();
    for id in ids {
        let prefixes = ["05", "15", "25"].map(|prefix| (format!("{prefix} before the key"), prefix));
        for (name, prefix) in &prefixes {
            if id.shown_id().to_string().starts_with(prefix) {
                continue;
            }
            let change = |text: &mut String| text.replace_range(..2, prefix);
            let got = forged_as(api, id, change, "POST", "/room/test/message", body.as_bytes()).await;
            assert!((400..500).contains(&got.status), "{case}, {name}: {}", got.text());
        }
        let other_sign = |text: &mut String| {
            let digit = u8::from_str_radix(&text[64..65], 16).unwrap() ^ 8;
            text.replace_range(64..65, &format!("{digit:x}"));
        };
        let got = forged_as(api, id, other_sign, "POST", "/room/test/message", body.as_bytes()).await;
        assert!(
            (400..500).contains(&got.status),
            "{case}, other sign: {}",
            got.text()
        );
    }
}

/// Returns true if a page has a whisper.
async fn whispers(api: &Api, who: &Signer) -> usize {
    let page = api
        .get(Some(who), "/room/test/messages/recent?limit=256")
        .await
        .expect(200)
        .json();
    let all = page.as_array().unwrap();
    all.iter().filter(|row| row.get("whisper").is_some()).count()
}

/// Rate limit, ownership and whispers, under every name, for people who never came and for people who did.
async fn limits_posts_and_whispers_are_the_persons(mut config: Config) {
    let running = start(config.clone()).await;
    room(&running, "test").await;
    let api = Api::of(&running);
    let boss = somebody();
    make_admin(&running, &boss).await;
    let boss = Signer::blind15(&boss, &api.key);
    let mut people = Vec::new();
    for name in NAMES {
        for moment in MOMENTS {
            let who = somebody();
            let case = format!("by {name}, who did: {moment}");
            let (blind15, blind25) = (Signer::blind15(&who, &api.key), Signer::blind25(&who, &api.key));
            let ids = if moment == "posted as 25" {
                [&blind25, &blind15]
            } else {
                [&blind15, &blind25]
            };
            if moment != "nothing" {
                api.post(Some(ids[0]), "/room/test/message", &message("first"))
                    .await
                    .expect(201);
            }
            let id = named(&api, &who, name);
            let mut whisper = message("psst");
            whisper["whisper_to"] = json!(id.to_string());
            if moment == "nothing" {
                // As on the reference server, nobody whispers to somebody who never came, whatever the name.
                api.post(Some(&boss), "/room/test/message", &whisper)
                    .await
                    .expect(404);
                api.post(Some(ids[0]), "/room/test/message", &message("first"))
                    .await
                    .expect(201);
            }
            let sent = api.post(Some(&boss), "/room/test/message", &whisper).await;
            assert_eq!(sent.status, 201, "{case}: {}", sent.text());
            for signer in ids {
                assert_eq!(whispers(&api, signer).await, 1, "{case}, read as {signer:?}");
            }
            people.push((who, name, case));
        }
    }
    // Their posts can be deleted under any name. The limit is one for all their ids.
    for (who, name, case) in &people {
        let id = named(&api, who, name);
        let gone = api.delete(Some(&boss), &format!("/room/test/all/{id}")).await;
        assert_eq!(gone.status, 200, "{case}: {}", gone.text());
        let page = api.get(None, "/room/test/messages/recent?limit=256").await.json();
        let own = [
            who.session_id(),
            who.blind15(&api.key).id(),
            who.blind25(&api.key).id(),
        ];
        let left = page.as_array().unwrap().iter().filter(|row| {
            let author = row["session_id"].as_str().unwrap();
            own.iter().any(|id| id.to_string() == author)
        });
        assert_eq!(left.count(), 0, "{case}");
    }
    let fresh = somebody();
    let (blind15, blind25) = (
        Signer::blind15(&fresh, &api.key),
        Signer::blind25(&fresh, &api.key),
    );
    share_one_limit(&api, &[&blind25, &blind15], "never seen").await;
    running.shutdown().await;
    for require in [false, true] {
        config.users.require_blind_keys = require;
        let running = start(config.clone()).await;
        let api = Api::of(&running);
        for known in [false, true] {
            let who = somebody();
            let account = Signer::account(&who);
            let (blind15, blind25) = (Signer::blind15(&who, &api.key), Signer::blind25(&who, &api.key));
            if known {
                api.get(Some(&blind15), "/room/test").await.expect(200);
            }
            let ids = [&blind25, &account, &blind15];
            let ids = if require { &[&blind25, &blind15][..] } else { &ids };
            share_one_limit(&api, ids, &format!("blinding: {require}, known: {known}")).await;
        }
        // Whispers from before the switch are still read under every id.
        for (who, _, case) in &people {
            let mut ids = vec![Signer::blind15(who, &api.key), Signer::blind25(who, &api.key)];
            if !require {
                ids.push(Signer::account(who));
            }
            for signer in &ids {
                assert_eq!(
                    whispers(&api, signer).await,
                    1,
                    "{case}, blinding: {require}, {signer:?}"
                );
            }
        }
        running.shutdown().await;
    }
}

async fn every_id_is_the_same_person(mut config: Config) {
    let running = start(config.clone()).await;
    let (room, api) = (room(&running, "test").await, Api::of(&running));
    let mut people = Vec::new();
    for name in NAMES {
        for done in ACTS {
            for moment in MOMENTS {
                let who = somebody();
                let case = format!("{done} by {name}, who did: {moment}");
                let blind15 = Signer::blind15(&who, &api.key);
                let blind25 = Signer::blind25(&who, &api.key);
                let first = if moment == "posted as 25" {
                    &blind25
                } else {
                    &blind15
                };
                if moment != "nothing" {
                    api.post(Some(first), "/room/test/message", &message("first"))
                        .await
                        .expect(201);
                }
                act(&running, &named(&api, &who, name), room, done).await;
                // Nothing follows from a 25 id alone; whoever was named by it is known by the others as soon as they come.
                check(&api, first, done, &case).await;
                for id in [&blind15, &blind25] {
                    check(&api, id, done, &format!("{case}, comes as {id:?}")).await;
                }
                let refused = forged(&api, &blind15, "25", "/rooms").await;
                assert!([400, 403].contains(&refused.status), "{case}: {}", refused.text());
                people.push((who, done, case));
            }
        }
    }
    // The operator switches blinding off, and on again: nothing has to be done about rights.
    running.shutdown().await;
    for require in [false, true] {
        config.users.require_blind_keys = require;
        let running = start(config.clone()).await;
        let api = Api::of(&running);
        for (who, done, case) in &people {
            let mut ids = vec![Signer::blind15(who, &api.key), Signer::blind25(who, &api.key)];
            if !require {
                ids.insert(0, Signer::account(who));
            }
            for id in &ids {
                check(&api, id, done, &format!("{case}, blinding: {require}, {id:?}")).await;
            }
        }
        running.shutdown().await;
    }
}

async fn acts_of_a_person_are_theirs_under_every_id(mut config: Config) {
    let running = start(config.clone()).await;
    room(&running, "test").await;
    let api = Api::of(&running);
    let (boss, who) = (somebody(), somebody());
    make_admin(&running, &boss).await;
    let boss = Signer::blind15(&boss, &api.key);
    let (one, two) = (Signer::blind15(&who, &api.key), Signer::blind25(&who, &api.key));
    // The 25 id comes first, then the other: one rate limit, one owner, each post with the id that signed it.
    let mut posts = Vec::new();
    // A file that the one id uploaded is attached by the other.
    let file = api
        .call(Some(&one), "POST", "/room/test/file", Body::raw(b"bytes", &[]))
        .await
        .expect(201)
        .json()["id"]
        .as_i64()
        .unwrap();
    for id in [&two, &one, &two, &one, &two] {
        let mut post = message("x");
        post["files"] = json!([file]);
        let posted = api.post(Some(id), "/room/test/message", &post).await.expect(201);
        assert_eq!(posted.json()["session_id"], json!(id.shown_id().to_string()));
        posts.push(posted.json()["id"].as_i64().unwrap());
    }
    api.post(Some(&one), "/room/test/message", &message("x"))
        .await
        .expect(429);
    let shown = |page: Value| -> Vec<String> {
        page.as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|row| row["session_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let room_id = running.app().room("test").await.unwrap().unwrap().id();
    let kept = running.app().store.file(room_id, file).await.unwrap().unwrap();
    assert_eq!(kept.message_id, Some(posts[0]));
    let page = api.get(None, "/room/test/messages/recent").await.json();
    let signers: Vec<String> = [&two, &one, &two, &one, &two]
        .iter()
        .map(|id| id.shown_id().to_string())
        .collect();
    assert_eq!(
        shown(page),
        signers,
        "clients verify a signature by the id that is shown"
    );
    let path = |id: i64| format!("/room/test/message/{id}");
    api.put(Some(&one), &path(posts[0]), &message("edited"))
        .await
        .expect(200);
    let edited = api.get(None, &path(posts[0])).await.json();
    assert_eq!(
        edited["session_id"],
        json!(one.shown_id().to_string()),
        "who edits signs"
    );
    api.delete(Some(&two), &path(posts[1])).await.expect(200);
    for (id, added) in [(&one, true), (&two, false)] {
        let reacted = api
            .put(
                Some(id),
                &format!("/room/test/reaction/{}/👍", posts[2]),
                &json!({}),
            )
            .await
            .expect(200);
        assert_eq!(reacted.json()["added"], json!(added));
    }
    // A whisper by any name, read and owned under any.
    for to in [who.session_id(), one.shown_id(), two.shown_id()] {
        let mut whisper = message("psst");
        whisper["whisper_to"] = json!(to.to_string());
        api.post(Some(&boss), "/room/test/message", &whisper)
            .await
            .expect(201);
    }
    api.post(
        Some(&boss),
        &format!("/inbox/{}", two.shown_id()),
        &json!({"message": "AAAA"}),
    )
    .await
    .expect(201);
    let whispers = |page: Value| {
        page.as_array()
            .unwrap()
            .iter()
            .filter(|row| row.get("whisper").is_some())
            .count()
    };
    for id in [&one, &two] {
        let page = api.get(Some(id), "/room/test/messages/recent").await.json();
        assert_eq!(whispers(page), 3, "{id:?}");
        let mail = api.get(Some(id), "/inbox").await.json();
        assert_eq!(
            mail[0]["recipient"],
            json!(two.shown_id().to_string()),
            "encrypted for that id"
        );
    }
    running.shutdown().await;
    config.users.require_blind_keys = false;
    let running = start(config).await;
    let api = Api::of(&running);
    let account = Signer::account(&who);
    let page = api.get(Some(&account), "/room/test/messages/recent").await.json();
    assert_eq!(whispers(page), 3);
    api.delete(Some(&account), &path(posts[2])).await.expect(200);
    let old = api.get(None, &path(posts[3])).await.json();
    assert_eq!(
        old["session_id"],
        json!(one.shown_id().to_string()),
        "as it was signed"
    );
    let gone = api
        .delete(Some(&account), &format!("/room/test/all/{}", one.shown_id()))
        .await;
    assert_eq!(gone.status, 200, "all of them are the account's: {}", gone.text());
    running.shutdown().await;
}

async fn readers_leave_no_row(config: Config) {
    let running = start(config).await;
    room(&running, "test").await;
    let api = Api::of(&running);
    let store = std::sync::Arc::clone(&running.app().store);
    let rows = || async { store.users_after(i64::MIN, 10_000).await.unwrap().len() };
    let before = rows().await;
    for _ in 0..100 {
        let who = Signer::blind15(&somebody(), &api.key);
        for path in [
            "/rooms",
            "/room/test/pollInfo/0",
            "/room/test/messages/recent",
            "/inbox",
        ] {
            api.get(Some(&who), path).await.expect(200);
        }
    }
    assert_eq!(rows().await, before, "reading needs none");
    let who = Signer::blind15(&somebody(), &api.key);
    let polls: Vec<Value> = vec![
        json!({"method": "GET", "path": "/rooms"}),
        json!({"method": "POST", "path": "/room/test/message", "json": message("x")}),
        json!({"method": "GET", "path": "/room/test/messages/recent"}),
    ];
    let done = api
        .post(Some(&who), "/batch", &json!(polls))
        .await
        .expect(200)
        .json();
    assert_eq!(done[1]["code"], json!(201));
    assert_eq!(rows().await, before + 1);
    running.shutdown().await;
}

async fn a_due_permission_that_the_room_grants_is_not_an_exception(config: Config) {
    let running = start(config).await;
    let (room, api) = (room(&running, "test").await, Api::of(&running));
    let who = somebody();
    let signer = Signer::blind15(&who, &api.key);
    let app = running.app();
    let user = app
        .resolve(&signer.shown_id(), true)
        .await
        .unwrap()
        .unwrap()
        .row
        .id;
    let now = sogs_server::unix_now();
    let write = |write| PermissionPatch {
        write: Some(Some(write)),
        ..PermissionPatch::default()
    };
    app.store.set_permissions(room, user, write(false)).await.unwrap();
    let later = FuturePermission {
        at: now,
        read: None,
        write: Some(true),
        upload: Some(false),
    };
    app.store.add_future(room, user, later).await.unwrap();
    let plan = CleanupPlan {
        now: now + 1.0,
        history_before: 0.0,
        activity_before: 0.0,
        nonces_before: 0,
        nonce_clock: now,
        active_since: 0.0,
    };
    assert_eq!(app.store.cleanup(plan).await.unwrap().permissions, 1);
    api.post(Some(&signer), "/room/test/message", &message("x"))
        .await
        .expect(201);
    let own = app.store.user_by_id(user).await.unwrap().unwrap().overrides;
    assert_eq!((own[0].write, own[0].upload), (None, Some(false)));
    // The permissions of the person follow those of the room.
    let patch = RoomPatch {
        write: Some(false),
        ..RoomPatch::default()
    };
    app.store.patch_room(room, patch).await.unwrap();
    api.post(Some(&signer), "/room/test/message", &message("x"))
        .await
        .expect(403);
    running.shutdown().await;
}

/// A request with its headers, to be sent again.
async fn send_again(api: &Api, path: &str, headers: &[(String, String)]) -> u16 {
    raw_http(api.addr, "GET", path, headers, &[])
        .await
        .unwrap()
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_request_cannot_be_sent_again_after_the_server_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "test").await;
    running.shutdown().await;
    for ago in [0, 3_600] {
        let (mut child, addr, key) = crate::crash::spawn(dir.path());
        let api = Api {
            addr,
            key,
            door: crate::common::Door::Http,
        };
        let who = Signer::blind15(&somebody(), &key);
        let path = "/room/test/messages/recent";
        let request = session_protocol::auth::Request {
            method: "GET",
            path,
            body: &[],
        };
        let signed = request.sign(&who, &key, &crate::common::nonce(), crate::common::now() - ago);
        let headers = pairs(&signed);
        assert_eq!(send_again(&api, path, &headers).await, 200);
        assert_eq!(send_again(&api, path, &headers).await, 425);
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut child, addr, _) = crate::crash::spawn(dir.path());
        let api = Api { addr, ..api };
        assert_eq!(send_again(&api, path, &headers).await, 425, "{ago} seconds old");
        api.get(Some(&who), path).await.expect(200);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

on_both!(
    limits_posts_and_whispers_are_the_persons,
    every_id_is_the_same_person,
    acts_of_a_person_are_theirs_under_every_id,
    readers_leave_no_row,
    a_due_permission_that_the_room_grants_is_not_an_exception,
);
