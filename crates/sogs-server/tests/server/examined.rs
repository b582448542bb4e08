//! The order in which posts are examined, and what refused requests leave behind; on both databases.

use serde_json::{Value, json};
use session_protocol::auth::Signer;
use sogs_server::admin::Operation;
use sogs_server::model::filter::{FilterAction, FilterKind};
use sogs_server::{Config, Running};

use crate::common::{Api, make_admin, message, on_both, operate, raw_http, room, somebody, start};
use crate::pages::{body, now_ms, signed};

async fn set(running: &Running, name: &str, value: &str) {
    let rule = Operation::SettingSet {
        room: None,
        name: name.into(),
        value: Some(value.into()),
    };
    operate(running, rule).await;
}

/// PostgreSQL refuses a text with a zero byte: such a token or reaction is refused before, alike on both databases.
async fn zero_bytes_are_refused(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let posted = api.post(Some(&who), "/room/r/message", &message("x")).await;
    let id = posted.expect(201).json()["id"].clone();
    for (path, status) in [
        ("/room/%00".to_owned(), 404),
        ("/room/r%00/messages/recent".to_owned(), 404),
        ("/r/%00/".to_owned(), 404),
        (format!("/room/r/reactors/{id}/%00"), 400),
        (format!("/room/r/reactors/{id}/%F0%9F%91%8D%00"), 400),
    ] {
        let got = raw_http(api.addr, "GET", &path, &[], b"").await.unwrap();
        assert_eq!(got.status, status, "{path}");
    }
    for reaction in ["\0", "👍\0", "\u{7}"] {
        let path = format!("/room/r/reaction/{id}/{reaction}");
        api.put(Some(&who), &path, &json!({})).await.expect(400);
        api.delete(Some(&who), &path).await.expect(400);
    }
    let path = format!("/room/r/reaction/{id}/👩‍👧");
    api.put(Some(&who), &path, &json!({})).await.expect(200);
    // Keys that the audit log would repeat.
    let account = somebody();
    make_admin(&running, &account).await;
    let admin = Signer::blind15(&account, &api.key);
    let change = json!({ "name": "Other", "\0": 1 });
    api.put(Some(&admin), "/room/r", &change).await.expect(200);
    running.shutdown().await;
}

/// Posts that the rate limit refuses are neither examined by filters nor counted as a raid.
async fn the_rate_comes_before_everything_that_costs_more(config: Config) {
    let running = start(config).await;
    let room_id = room(&running, "r").await;
    let filter = Operation::FilterAdd {
        room: None,
        kind: FilterKind::Words,
        pattern: "unwanted".into(),
        action: FilterAction::Reject,
        reply: Some("not this word".into()),
    };
    operate(&running, filter).await;
    set(&running, "raid_posts", "7").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let post = |text: &'static str| {
        let who = who.clone();
        async move { api.post(Some(&who), "/room/r/message", &message(text)).await }
    };
    assert!(
        post("unwanted")
            .await
            .expect(429)
            .text()
            .contains("not this word")
    );
    for _ in 0..5 {
        post("x").await.expect(201);
    }
    for _ in 0..10 {
        let refused = post("unwanted").await.expect(429);
        assert_eq!(refused.text(), "Rate limited");
        assert!(refused.header("retry-after").is_some());
    }
    let is_raided = || async {
        let raids = running.app().store.raids().await.unwrap();
        raids.iter().any(|raid| raid.room_id == room_id)
    };
    assert!(!is_raided().await, "five posts were stored");
    let other = Signer::blind15(&somebody(), &api.key);
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let other = other.clone();
        posts.spawn(async move {
            api.post(Some(&other), "/room/r/message", &message("x"))
                .await
                .status
        });
    }
    posts.join_all().await;
    assert!(is_raided().await, "more posts were stored than the rule allows");
    running.shutdown().await;
}

/// One member whose posts are refused does not switch on raid mode for all.
async fn refused_posts_are_no_raid(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    set(&running, "raid_posts", "7").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let who = who.clone();
        posts.spawn(async move {
            api.post(Some(&who), "/room/r/message", &message("x"))
                .await
                .status
        });
    }
    let statuses = posts.join_all().await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        5,
        "{statuses:?}"
    );
    assert_eq!(running.app().store.raids().await.unwrap(), []);
    running.shutdown().await;
}

async fn direct_messages_at_once_do_not_pass_the_limit_together(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    set(&running, "dm_per_hour", "3").await;
    let api = Api::of(&running);
    let (who, other) = (
        Signer::blind15(&somebody(), &api.key),
        Signer::blind15(&somebody(), &api.key),
    );
    for one in [&who, &other] {
        api.post(Some(one), "/room/r/message", &message("x"))
            .await
            .expect(201);
    }
    let path = format!("/inbox/{}", other.shown_id());
    let mut letters = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (who, path) = (who.clone(), path.clone());
        letters.spawn(async move {
            api.post(Some(&who), &path, &json!({"message": "AAAA"}))
                .await
                .status
        });
    }
    let statuses = letters.join_all().await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        3,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [201, 429].contains(status)),
        "{statuses:?}"
    );
    running.shutdown().await;
}

/// Newcomers in raid mode write nothing, a command to report included.
async fn a_report_by_reply_is_refused_in_raid_mode(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    let on = Operation::ModerationOn { room: "staff".into() };
    operate(&running, on).await;
    let api = Api::of(&running);
    let raid = Operation::RaidOn {
        room: None,
        seconds: None,
        reach_back: 0.0,
    };
    operate(&running, raid).await;
    let who = Signer::blind15(&somebody(), &api.key);
    let command = signed(&who, body("/report they insult people"), now_ms());
    let refused = api
        .post(Some(&who), "/room/r/message", &command)
        .await
        .expect(403);
    assert!(
        refused.text().contains("New members can only read"),
        "{}",
        refused.text()
    );
    let seen = api
        .get(Some(&who), "/room/r/messages/recent")
        .await
        .expect(200)
        .json();
    assert_eq!(seen, json!([]), "no whisper answers it");
    let info = running.app().room("r").await.unwrap().unwrap();
    let seqno = info.live.seqno.load(std::sync::atomic::Ordering::Acquire);
    assert_eq!(seqno, 0, "nothing was stored");
    running.shutdown().await;
}

/// A message that the caller does not see is answered as if it did not exist, whatever is done to it.
async fn a_hidden_message_does_not_show_by_its_refusals(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    let filter = Operation::FilterAdd {
        room: None,
        kind: FilterKind::Words,
        pattern: "unwanted".into(),
        action: FilterAction::Hide,
        reply: None,
    };
    operate(&running, filter).await;
    let api = Api::of(&running);
    let (author, other) = (
        Signer::blind15(&somebody(), &api.key),
        Signer::blind15(&somebody(), &api.key),
    );
    api.post(Some(&other), "/room/r/message", &message("x"))
        .await
        .expect(201);
    let post = |text: &'static str| {
        let author = author.clone();
        async move { api.post(Some(&author), "/room/r/message", &message(text)).await }
    };
    let shown = post("x").await.expect(201).json()["id"].clone();
    let hidden = post("unwanted").await.expect(201).json()["id"].clone();
    for (id, status) in [(&shown, 403), (&hidden, 404), (&json!(99_999), 404)] {
        let path = format!("/room/r/message/{id}");
        api.put(Some(&other), &path, &message("y")).await.expect(status);
        api.delete(Some(&other), &path).await.expect(status);
    }
    let path = format!("/room/r/message/{hidden}");
    api.delete(Some(&author), &path).await.expect(200);
    running.shutdown().await;
}

/// Authors see a held post nowhere: they send it again when the answer to it was lost.
async fn a_held_post_that_is_sent_again_is_held_once(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    set(&running, "approve_first", "1").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let account = somebody();
    make_admin(&running, &account).await;
    let admin = Signer::blind15(&account, &api.key);
    let post = signed(&who, body("once"), now_ms());
    let first = api
        .post(Some(&who), "/room/r/message", &post)
        .await
        .expect(201)
        .json();
    let again = api
        .post(Some(&who), "/room/r/message", &post)
        .await
        .expect(201)
        .json();
    assert_eq!(first["id"], again["id"]);
    assert_eq!(again["held"], json!(true));
    let other = signed(&who, body("once"), now_ms() + 1);
    api.post(Some(&who), "/room/r/message", &other).await.expect(201);
    let held = api
        .get(Some(&admin), "/ackpost/room/r/held")
        .await
        .expect(200)
        .json();
    assert_eq!(held["held"].as_array().unwrap().len(), 2, "{held}");
    running.shutdown().await;
}

/// The list of held posts comes in parts.
async fn held_posts_come_in_parts(config: Config) {
    let running = start(config).await;
    room(&running, "r").await;
    set(&running, "approve_first", "1").await;
    set(&running, "rate_posts", "100").await;
    let api = Api::of(&running);
    let who = Signer::blind15(&somebody(), &api.key);
    let account = somebody();
    make_admin(&running, &account).await;
    let admin = Signer::blind15(&account, &api.key);
    let mut ids: Vec<Value> = Vec::new();
    for _ in 0..15 {
        let post = signed(&who, body(&"word ".repeat(18_000)), now_ms());
        let posted = api.post(Some(&who), "/room/r/message", &post).await;
        ids.push(posted.expect(201).json()["id"].clone());
    }
    let mut listed: Vec<Value> = Vec::new();
    let mut path = "/ackpost/room/r/held".to_owned();
    let mut parts = 0;
    loop {
        let part = api.get(Some(&admin), &path).await.expect(200).json();
        listed.extend(
            part["held"]
                .as_array()
                .unwrap()
                .iter()
                .map(|held| held["id"].clone()),
        );
        parts += 1;
        let Some(next) = part["next"].as_i64() else { break };
        path = format!("/ackpost/room/r/held?after={next}");
    }
    assert_eq!(listed, ids);
    assert!(parts > 1, "one part is at most 1 MiB");
    running.shutdown().await;
}

on_both!(
    zero_bytes_are_refused,
    the_rate_comes_before_everything_that_costs_more,
    refused_posts_are_no_raid,
    direct_messages_at_once_do_not_pass_the_limit_together,
    a_report_by_reply_is_refused_in_raid_mode,
    a_hidden_message_does_not_show_by_its_refusals,
    a_held_post_that_is_sent_again_is_held_once,
    held_posts_come_in_parts,
);
