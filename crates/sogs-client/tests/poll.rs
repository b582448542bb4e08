//! Polling the real server: nothing lost, nothing twice, over failures and restarts of both sides.
#![expect(clippy::unwrap_used, reason = "a test")]

mod community;

use std::time::Duration;

use community::{Community, Way, admin, person, token};
use futures_util::StreamExt as _;
use sogs_client::poll::{Cursor, Event, Poll, PollOptions};
use sogs_client::{Cause, RoomUpdate};
use sogs_server::admin::Operation;

fn options() -> PollOptions {
    PollOptions {
        interval: Duration::from_millis(50),
        ..PollOptions::rooms([token("main")])
    }
}

async fn next(poll: &mut Poll) -> Event {
    tokio::time::timeout(Duration::from_secs(20), poll.next())
        .await
        .expect("an event")
        .unwrap()
}

/// Takes one turn without events, so that the poll is at "now".
async fn settle(poll: &mut Poll) {
    let quiet = tokio::time::timeout(Duration::from_millis(400), poll.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn every_kind_of_event_comes_once_and_in_order() {
    let community = Community::start().await;
    let (room, user) = (
        community.room(Way::Direct, &admin()),
        community.server(Way::Direct, &person(Way::Direct, 0)),
    );
    let before = room.post("from before").await.unwrap().id;
    let mut poll = user.poll(options(), Cursor::default());
    settle(&mut poll).await;

    let id = room.post("new").await.unwrap().id;
    let Event::Message { message, .. } = next(&mut poll).await else {
        panic!()
    };
    assert_eq!((message.id, message.body()), (id, Some("new")));
    room.edit(before, "changed").await.unwrap();
    let Event::Edited { message, .. } = next(&mut poll).await else {
        panic!()
    };
    assert_eq!((message.id, message.body()), (before, Some("changed")));
    room.react(id, "👍").await.unwrap();
    let Event::Reactions { row, .. } = next(&mut poll).await else {
        panic!()
    };
    assert_eq!((row.id, row.reactions["👍"].count), (id, 1));
    room.pin(id).await.unwrap();
    let Event::RoomChanged { info } = next(&mut poll).await else {
        panic!()
    };
    assert_eq!(info.pinned_messages[0].id, id);
    room.delete(id).await.unwrap();
    // The pin of the deleted message is gone too, which changes the room.
    let events = [next(&mut poll).await, next(&mut poll).await];
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::RoomChanged { info } if info.pinned_messages.is_empty()))
    );
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::Deleted { tombstone, .. } if tombstone.id == id)),
        "{events:?}"
    );
    let me = user.my_id().await.unwrap();
    room.server().inbox().send(&me, "directly", None).await.unwrap();
    let Event::Direct(message) = next(&mut poll).await else {
        panic!()
    };
    assert_eq!(
        (message.body(), message.sender()),
        (Some("directly"), Some(admin().session_id()))
    );
    settle(&mut poll).await;
}

#[tokio::test]
async fn a_saved_cursor_resumes_behind_what_was_dealt_with() {
    let mut community = Community::start().await;
    let room = community.room(Way::Sealed, &admin());
    let user = community.server(Way::Sealed, &person(Way::Sealed, 0));
    let mut poll = user.poll(options(), Cursor::default());
    settle(&mut poll).await;
    let mut cursor = serde_json::to_string(poll.cursor()).unwrap();
    drop(poll);

    // 300 messages: more than one page. The process "stops" after every 37 events, the server once in the middle.
    let mut ids = Vec::new();
    for n in 0..300 {
        ids.push(room.post(format!("{n}")).await.unwrap().id);
    }
    let mut seen = Vec::new();
    while seen.len() < ids.len() {
        let mut poll = user.poll(options(), serde_json::from_str(&cursor).unwrap());
        for _ in 0..37.min(ids.len() - seen.len()) {
            match next(&mut poll).await {
                Event::Message { message, .. } => seen.push(message.id),
                other => panic!("{other:?}"),
            }
            cursor = serde_json::to_string(poll.cursor()).unwrap();
        }
        if seen.len() == 37 * 4 {
            community.restart().await;
        }
    }
    assert_eq!(seen, ids);
    let mut poll = user.poll(options(), serde_json::from_str(&cursor).unwrap());
    settle(&mut poll).await;
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_is_waited_for() {
    let mut community = Community::start().await;
    let room = community.room(Way::Direct, &admin());
    let user = community.server(Way::Direct, &person(Way::Direct, 0));
    let mut poll = user.poll(options(), Cursor::default());
    settle(&mut poll).await;
    room.post("one").await.unwrap();
    assert!(matches!(next(&mut poll).await, Event::Message { .. }));
    community.restart().await;
    room.post("two").await.unwrap();
    loop {
        match next(&mut poll).await {
            Event::Message { message, .. } => {
                assert_eq!(message.body(), Some("two"));
                break;
            }
            Event::Interrupted { error, retry_in } => {
                assert!(!error.is_permanent() && retry_in > Duration::ZERO);
            }
            other => panic!("{other:?}"),
        }
    }
    community.stop().await;
    let Event::Interrupted { error, .. } = next(&mut poll).await else {
        panic!()
    };
    assert!(
        matches!(error.cause(), Cause::Refused | Cause::Network { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_room_that_is_closed_is_told_once_and_again_when_it_opens() {
    let community = Community::start().await;
    community.room_add("other").await;
    let room = community.room(Way::Direct, &admin());
    let user = community.server(Way::Direct, &person(Way::Direct, 0));
    let rooms = [token("main"), token("other")];
    let mut poll = user.poll(
        PollOptions {
            interval: Duration::from_millis(50),
            ..PollOptions::rooms(rooms)
        },
        Cursor::default(),
    );
    settle(&mut poll).await;
    room.update(&RoomUpdate {
        default_read: Some(false),
        ..RoomUpdate::default()
    })
    .await
    .unwrap();
    let Event::RoomLost { room: lost, .. } = next(&mut poll).await else {
        panic!()
    };
    assert_eq!(lost, token("main"));
    // The other room goes on.
    let other = room.server().room(&token("other"));
    other.post("still here").await.unwrap();
    assert!(matches!(next(&mut poll).await, Event::Message { room, .. } if room == token("other")));
    room.post("while it is closed").await.unwrap();
    room.update(&RoomUpdate {
        default_read: Some(true),
        ..RoomUpdate::default()
    })
    .await
    .unwrap();
    assert!(matches!(next(&mut poll).await, Event::RoomBack { .. }));
    let Event::Message { message, .. } = next(&mut poll).await else {
        panic!()
    };
    assert_eq!(message.body(), Some("while it is closed"));
}

#[tokio::test]
async fn the_past_is_given_on_request_and_a_ban_ends_the_stream() {
    let community = Community::start().await;
    let room = community.room(Way::Direct, &admin());
    for n in 0..8 {
        room.post(format!("{n}")).await.unwrap();
    }
    let user = community.server(Way::Direct, &person(Way::Direct, 0));
    let options = PollOptions {
        backlog: 3,
        ..options()
    };
    let mut poll = user.poll(options.clone(), Cursor::default());
    for expected in ["5", "6", "7"] {
        let Event::Message { message, .. } = next(&mut poll).await else {
            panic!()
        };
        assert_eq!(message.body(), Some(expected));
    }
    settle(&mut poll).await;
    let cursor = poll.cursor().clone();
    let me = user.my_id().await.unwrap();
    room.server()
        .ban(&me, &sogs_client::Scope::Global, None)
        .await
        .unwrap();
    let mut stream = std::pin::pin!(user.poll(options, cursor).into_stream());
    assert_eq!(stream.next().await.unwrap().unwrap_err().cause(), &Cause::Banned);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_held_post_is_new_when_a_moderator_approves_it() {
    let community = Community::start().await;
    let admin = community.room(Way::Direct, &admin());
    community
        .act(Operation::SettingSet {
            room: Some("main".to_owned()),
            name: "approve_first".to_owned(),
            value: Some("1".to_owned()),
        })
        .await;
    let reader = community.server(Way::Direct, &person(Way::Direct, 0));
    let mut poll = reader.poll(options(), Cursor::default());
    settle(&mut poll).await;
    let held = community
        .room(Way::Direct, &person(Way::Direct, 1))
        .post("may I come in")
        .await
        .unwrap();
    assert!(held.withheld.is_some());
    let later = admin.post("later").await.unwrap().id;
    assert!(matches!(next(&mut poll).await, Event::Message { message, .. } if message.id == later));
    community
        .act(Operation::HeldApprove {
            id: i64::try_from(held.id).unwrap(),
        })
        .await;
    let Event::Message { message, .. } = next(&mut poll).await else {
        panic!("the approved post is new")
    };
    assert_eq!((message.id, message.body()), (held.id, Some("may I come in")));
    // It is new once.
    admin.react(held.id, "👍").await.unwrap();
    assert!(matches!(next(&mut poll).await, Event::Reactions { .. }));
    settle(&mut poll).await;
}

#[tokio::test]
async fn a_community_that_is_restored_from_a_backup_is_followed_from_its_present_state() {
    let mut community = Community::start().await;
    let room = community.room(Way::Direct, &admin());
    let user = community.server(Way::Direct, &person(Way::Direct, 0));
    let me = user.my_id().await.unwrap();
    room.post("one").await.unwrap();
    // The server knows the recipient once it was here.
    user.room(&token("main")).info().await.unwrap();
    room.server().inbox().send(&me, "kept", None).await.unwrap();
    community.back_up().await;
    let mut poll = user.poll(options(), Cursor::default());
    for n in 0..3 {
        room.post(format!("lost {n}")).await.unwrap();
        room.server().inbox().send(&me, "lost", None).await.unwrap();
    }
    let quiet = async { while poll.next().await.is_ok() {} };
    assert!(
        tokio::time::timeout(Duration::from_millis(500), quiet)
            .await
            .is_err()
    );
    community.restore().await;
    let found = loop {
        match next(&mut poll).await {
            Event::Interrupted { .. } | Event::RoomChanged { .. } => {}
            other => break other,
        }
    };
    assert!(
        matches!(&found, Event::Gap { room } if *room == token("main")),
        "{found:?}"
    );
    settle(&mut poll).await;
    room.post("after").await.unwrap();
    assert!(
        matches!(next(&mut poll).await, Event::Message { message, .. } if message.body() == Some("after"))
    );
    room.server().inbox().send(&me, "directly", None).await.unwrap();
    assert!(matches!(next(&mut poll).await, Event::Direct(message) if message.body() == Some("directly")));
    settle(&mut poll).await;
}
