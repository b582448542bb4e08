//! The store by itself: the same suite on both databases.

use std::sync::Arc;

use crate::store_operation::{
    an_act_and_its_entries_are_kept_together_or_not_at_all, data_for_an_undo_goes_and_its_entry_stays,
    many_messages_are_indexed_at_once_and_again_after_an_edit, open_reports_are_read_in_parts,
};
use crate::store_people::{people_find_their_rights_under_any_id, rows_of_one_person_are_joined};
use sogs_server::store::{
    ChangeSink, Changed, CleanupPlan, DynStore, FuturePermission, LastSeen, Mailbox, NewDm, NewFile, NewPost,
    NewRoom, NonceRow, Page, Person, Pinned, PostEdit, PostWindow, Posted, Reacted, RoomDefaults, RoomPatch,
    RoomPatched, StoreError, StoreOptions, Where, open,
};

const OPEN: RoomDefaults = RoomDefaults {
    read: true,
    accessible: true,
    write: true,
    upload: true,
};

pub(crate) fn post(room_id: i64, user_id: i64, now: f64) -> NewPost {
    NewPost {
        room_id,
        user_id,
        posted_as: None,
        now,
        data: "data".into(),
        data_size: 160,
        signature: vec![1; 64].into(),
        filtered: false,
        held: None,
        whisper_to: None,
        whisper_mods: false,
        for_moderators_of: None,
        files: Vec::new(),
        files_expire: None,
        windows: Vec::new(),
    }
}

pub(crate) async fn open_url(url: &str) -> Result<DynStore, StoreError> {
    let sink: ChangeSink = Arc::new(|_| {});
    open(
        &StoreOptions {
            url: url.to_owned(),
            readers: 2,
            migrate: true,
        },
        sink,
    )
    .await
}

/// Every test of the suite, once per database.
macro_rules! stamped {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $( #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", dir.path().join("t.db").display());
                super::$name(super::open_url(&url).await.unwrap()).await;
            } )+
        }
        mod postgresql {
            $( #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database()).await.unwrap();
                super::$name(super::open_url(database.url()).await.unwrap()).await;
            } )+
        }
    };
}
stamped!(
    rooms_are_found_without_regard_to_case,
    group_commit_gives_every_post_its_own_number,
    one_that_fails_does_not_spoil_the_others,
    sequence_numbers_follow_the_rules,
    rate_windows_are_checked_in_the_transaction,
    files_live_and_expire,
    people_find_their_rights_under_any_id,
    rows_of_one_person_are_joined,
    schedules_are_applied,
    nonces_and_direct_messages,
    deleting_a_room_leaves_nothing_behind,
    old_messages_go_and_pinned_ones_stay,
    open_reports_are_read_in_parts,
    an_act_and_its_entries_are_kept_together_or_not_at_all,
    data_for_an_undo_goes_and_its_entry_stays,
    many_messages_are_indexed_at_once_and_again_after_an_edit,
);

pub(crate) async fn known(store: &DynStore, id: &str, now: f64) -> i64 {
    store.ensure_user(Person::named(id), now).await.unwrap().0.user.id
}

pub(crate) async fn setup(store: &DynStore) -> (i64, i64, i64) {
    let room = store
        .create_room(NewRoom {
            token: "Room".into(),
            name: "R".into(),
            description: None,
            defaults: OPEN,
            now: 1.5,
        })
        .await
        .unwrap()
        .unwrap();
    let a = known(store, "15aa", 1.0).await;
    let b = known(store, "15bb", 2.0).await;
    (room, a, b)
}

pub(crate) async fn done(store: &DynStore, new: NewPost) -> (i64, i64) {
    match store.post(new).await.unwrap() {
        Posted::Done { id, seqno } => (id, seqno),
        other => panic!("{other:?}"),
    }
}

async fn rooms_are_found_without_regard_to_case(store: DynStore) {
    let (room, ..) = setup(&store).await;
    let row = store.room_by_token("rOOM".into()).await.unwrap().unwrap();
    assert_eq!((row.id, row.token.as_str(), row.created), (room, "Room", 1.5));
    let again = NewRoom {
        token: "ROOM".into(),
        name: "x".into(),
        description: None,
        defaults: OPEN,
        now: 0.0,
    };
    assert_eq!(store.create_room(again).await.unwrap(), None);
    let patch = RoomPatch {
        name: Some("N".into()),
        description: Some(Some("D".into())),
        write: Some(false),
        ..RoomPatch::default()
    };
    assert_eq!(
        store.patch_room(room, patch.clone()).await.unwrap(),
        RoomPatched::Done(2)
    );
    assert_eq!(
        store.patch_room(room, patch).await.unwrap(),
        RoomPatched::Done(2),
        "nothing changed"
    );
    let bad = RoomPatch {
        image: Some(Some(99)),
        ..RoomPatch::default()
    };
    assert_eq!(store.patch_room(room, bad).await.unwrap(), RoomPatched::NoFile);
    assert_eq!(
        store.patch_room(99, RoomPatch::default()).await.unwrap(),
        RoomPatched::NoRoom
    );
    assert!(!store.room_full(room).await.unwrap().unwrap().room.defaults.write);
    store.close().await.unwrap();
    assert!(matches!(store.delete_room(room).await, Err(StoreError::Closed)));
}

async fn group_commit_gives_every_post_its_own_number(store: DynStore) {
    let (room, a, _) = setup(&store).await;
    let posts: Vec<_> = (0..300)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { done(&store, post(room, a, f64::from(n))).await })
        })
        .collect();
    let mut all = Vec::new();
    for one in posts {
        all.push(one.await.unwrap());
    }
    let mut seqnos: Vec<i64> = all.iter().map(|(_, seqno)| *seqno).collect();
    seqnos.sort_unstable();
    assert_eq!(seqnos, (1..=300).collect::<Vec<i64>>());
    all.sort_unstable();
    all.dedup_by_key(|(id, _)| *id);
    assert_eq!(all.len(), 300);
    assert!(
        all.windows(2).all(|w| w[0].1 < w[1].1),
        "ids and numbers rise together"
    );
    assert_eq!(
        store
            .messages(room, Page::Since(0, true), 1000)
            .await
            .unwrap()
            .len(),
        300
    );
    assert_eq!(store.count_posts(a, Some(room), 10).await.unwrap(), 10);
    store.close().await.unwrap();
}

async fn one_that_fails_does_not_spoil_the_others(store: DynStore) {
    let (room, a, _) = setup(&store).await;
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            // A user who does not exist breaks a reference.
            let user = if n % 10 == 0 { 999_999 } else { a };
            tokio::spawn(async move { store.post(post(room, user, f64::from(n))).await })
        })
        .collect();
    let (mut good, mut bad) = (Vec::new(), 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(Posted::Done { seqno, .. }) => good.push(seqno),
            Ok(other) => panic!("{other:?}"),
            Err(StoreError::Statement(_)) => bad += 1,
            Err(error) => panic!("{error}"),
        }
    }
    good.sort_unstable();
    assert_eq!((good, bad), ((1..=45).collect::<Vec<i64>>(), 5));
    store.close().await.unwrap();
}

async fn sequence_numbers_follow_the_rules(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    let (id, _) = done(&store, post(room, a, 10.0)).await;
    let (other, _) = done(&store, post(room, b, 11.0)).await;
    let edit = |data: &str, user_id| PostEdit {
        posted_as: None,
        room_id: room,
        message_id: id,
        user_id,
        now: 12.0,
        data: data.to_owned().into(),
        data_size: 160,
        signature: vec![2; 64].into(),
        filtered: false,
        files: Vec::new(),
        files_expire: None,
    };
    assert_eq!(store.edit_post(edit("new", b)).await.unwrap(), Changed::NotYours);
    assert_eq!(store.edit_post(edit("new", a)).await.unwrap(), Changed::Done(3));
    assert_eq!(
        store.edit_post(edit("new", a)).await.unwrap(),
        Changed::Done(3),
        "the same content"
    );
    let react = |user, emoji: &str| store.add_reaction(room, id, user, emoji.to_owned(), None, 13.0);
    assert_eq!(
        react(a, "x").await.unwrap(),
        Reacted::Done { changed: 1, seqno: 4 }
    );
    assert_eq!(
        react(a, "x").await.unwrap(),
        Reacted::Done { changed: 0, seqno: 4 }
    );
    assert_eq!(
        react(b, "x").await.unwrap(),
        Reacted::Done { changed: 1, seqno: 5 }
    );
    assert_eq!(
        react(b, "y").await.unwrap(),
        Reacted::Done { changed: 1, seqno: 6 }
    );
    let page = store.messages(room, Page::Since(3, true), 10).await.unwrap();
    assert_eq!(
        (page.len(), page[0].id, page[0].seqno, page[0].seqno_data),
        (1, id, 6, 3)
    );
    assert!(
        store
            .messages(room, Page::Since(3, false), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let reactions = store.reactions(room, vec![id, other], 1).await.unwrap();
    assert_eq!(reactions.rows.len(), 2);
    assert_eq!((reactions.rows[0].count, reactions.rows[0].first.len()), (2, 1));
    assert_eq!(store.own_reactions(room, vec![id], b).await.unwrap().len(), 2);
    assert_eq!(
        store.pin(room, id, a, 14.0).await.unwrap(),
        Pinned::Done {
            changed: 1,
            info_updates: 1
        }
    );
    assert_eq!(
        store.delete_post(room, id, Some(b), 15.0).await.unwrap(),
        Changed::NotYours
    );
    assert_eq!(
        store.delete_post(room, id, Some(a), 15.0).await.unwrap(),
        Changed::Done(10),
        "one and three reactions"
    );
    assert_eq!(
        store.delete_post(room, id, None, 15.0).await.unwrap(),
        Changed::NoMessage
    );
    let full = store.room_full(room).await.unwrap().unwrap();
    assert_eq!(
        (
            full.room.message_sequence,
            full.room.info_updates,
            full.pins.len()
        ),
        (10, 2, 0)
    );
    let tomb = store.messages(room, Page::Since(6, true), 10).await.unwrap();
    assert_eq!((tomb.len(), tomb[0].data.is_none(), tomb[0].seqno), (1, true, 10));
    assert_eq!(store.messages(room, Page::Recent, 10).await.unwrap().len(), 1);
    // All of a user's, in the order of posting, one number each.
    for n in 0..3 {
        done(&store, post(room, a, 20.0 + f64::from(n))).await;
    }
    assert_eq!(
        store.delete_all_posts(vec![room], a, 30.0).await.unwrap(),
        [(room, 3)]
    );
    let rows = store.messages(room, Page::Since(13, true), 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seqno).collect::<Vec<_>>(), [14, 15, 16]);
    assert!(rows.windows(2).all(|w| w[0].id < w[1].id));
    store.close().await.unwrap();
}

async fn rate_windows_are_checked_in_the_transaction(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    let limited = |user, now| NewPost {
        windows: vec![PostWindow {
            posts: 5,
            seconds: 16.0,
        }],
        ..post(room, user, now)
    };
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (store, new) = (store.clone(), limited(a, 100.0));
            tokio::spawn(async move { store.post(new).await.unwrap() })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += i32::from(matches!(task.await.unwrap(), Posted::Done { .. }));
    }
    assert_eq!(stored, 5, "however many come at once");
    assert_eq!(
        store.post(limited(a, 116.0)).await.unwrap(),
        Posted::RateLimited { wait: 1 },
        "the edge counts"
    );
    assert!(matches!(
        store.post(limited(a, 116.1)).await.unwrap(),
        Posted::Done { .. }
    ));
    assert!(matches!(
        store.post(limited(b, 100.0)).await.unwrap(),
        Posted::Done { .. }
    ));
    store.close().await.unwrap();
}

pub(crate) fn plan(now: f64) -> CleanupPlan {
    CleanupPlan {
        now,
        history_before: 0.0,
        activity_before: 0.0,
        nonce_clock: 0.0,
        nonces_before: 0,
        active_since: 0.0,
    }
}

async fn files_live_and_expire(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    let new = |content: &str| NewFile {
        room_id: room,
        uploader_id: a,
        size: 5,
        now: 100.0,
        expiry: Some(3700.0),
        filename: Some("ü.txt".into()),
        content: content.to_owned(),
    };
    let first = store.add_file(new("c1")).await.unwrap();
    let twin = store.add_file(new("c1")).await.unwrap();
    let lone = store.add_file(new("c2")).await.unwrap();
    let with = |user, files| NewPost {
        files,
        files_expire: Some(9000.0),
        ..post(room, user, 200.0)
    };
    done(&store, with(b, vec![first])).await;
    assert_eq!(
        store.file(room, first).await.unwrap().unwrap().message_id,
        None,
        "not the uploader"
    );
    let (message, _) = done(&store, with(a, vec![first])).await;
    done(&store, with(a, vec![first])).await;
    let row = store.file(room, first).await.unwrap().unwrap();
    assert_eq!(
        (row.message_id, row.expiry, row.filename.as_deref()),
        (Some(message), Some(9000.0), Some("ü.txt"))
    );
    assert_eq!(
        store.cleanup(plan(4000.0)).await.unwrap().contents,
        ["c2"],
        "the twin's content is still in use"
    );
    assert!(
        store.file(room, lone).await.unwrap().is_none() && store.file(room, twin).await.unwrap().is_none()
    );
    assert!(store.content_in_use("c1".into()).await.unwrap());
    store.pin(room, message, a, 5000.0).await.unwrap();
    assert_eq!(store.file(room, first).await.unwrap().unwrap().expiry, None);
    store.unpin(room, Some(message), Some(150.0)).await.unwrap();
    assert_eq!(
        store.file(room, first).await.unwrap().unwrap().expiry,
        Some(150.0)
    );
    let image = RoomPatch {
        image: Some(Some(first)),
        ..RoomPatch::default()
    };
    store.patch_room(room, image).await.unwrap();
    assert_eq!(
        store.cleanup(plan(99_999.0)).await.unwrap().files,
        0,
        "a room's picture stays"
    );
    store.close().await.unwrap();
}

async fn schedules_are_applied(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    store.ban(a, Where::Rooms(vec![room]), Some(100.0)).await.unwrap();
    store.ban(b, Where::Global, Some(100.0)).await.unwrap();
    let later = FuturePermission {
        at: 150.0,
        read: None,
        write: Some(false),
        upload: None,
    };
    store.add_future(room, a, later).await.unwrap();
    let futures = store.futures(room, None).await.unwrap();
    assert_eq!(
        futures
            .iter()
            .map(|row| (row.change.at, row.banned))
            .collect::<Vec<_>>(),
        [(100.0, Some(false)), (150.0, None)]
    );
    assert_eq!(store.cleanup(plan(99.0)).await.unwrap().bans, 0);
    assert_eq!(store.cleanup(plan(100.0)).await.unwrap().bans, 2);
    assert!(store.user_by_id(a).await.unwrap().unwrap().overrides.is_empty());
    assert!(!store.user_by_id(b).await.unwrap().unwrap().user.banned);
    assert_eq!(store.cleanup(plan(200.0)).await.unwrap().permissions, 1);
    assert_eq!(
        store.user_by_id(a).await.unwrap().unwrap().overrides[0].write,
        Some(false)
    );
    assert!(store.futures(room, None).await.unwrap().is_empty());
    // Activity is counted.
    let seen = |user_id, at| LastSeen {
        user_id,
        room_id: Some(room),
        at,
    };
    store
        .touch(vec![
            seen(a, 300.0),
            seen(b, 10.0),
            seen(999, 300.0),
            LastSeen {
                user_id: a,
                room_id: None,
                at: 300.0,
            },
        ])
        .await
        .unwrap();
    store
        .cleanup(CleanupPlan {
            active_since: 200.0,
            ..plan(301.0)
        })
        .await
        .unwrap();
    assert_eq!(store.room_full(room).await.unwrap().unwrap().room.active_users, 1);
    assert!((store.user_by_id(a).await.unwrap().unwrap().user.last_active - 300.0).abs() < f64::EPSILON);
    store.close().await.unwrap();
}

async fn nonces_and_direct_messages(store: DynStore) {
    let (_, a, b) = setup(&store).await;
    let row = |n: u8, stamp| NonceRow {
        nonce: [n; 16],
        stamp,
    };
    store
        .keep_nonces((0..150).map(|n| row(n, i64::from(n))).collect(), 0.0)
        .await
        .unwrap();
    store.keep_nonces(vec![row(7, 7)], 0.0).await.unwrap();
    assert!(store.nonce_used([149; 16]).await.unwrap() && !store.nonce_used([150; 16]).await.unwrap());
    assert_eq!(store.last_nonce_stamp().await.unwrap(), Some(149));
    store
        .cleanup(CleanupPlan {
            nonce_clock: 0.0,
            nonces_before: 100,
            ..plan(1.0)
        })
        .await
        .unwrap();
    assert!(!store.nonce_used([99; 16]).await.unwrap() && store.nonce_used([100; 16]).await.unwrap());
    // A database of several processes stores the nonce of every request first; a write need not repeat it.
    assert_eq!(store.pass(vec![row(200, 5)]).await.unwrap().fresh, [[200; 16]]);
    let (_, carried) = sogs_server::store::with_nonce(row(200, 5), store.delete_dms(a)).await;
    assert_eq!(carried, None, "a write takes the nonce along");
    assert!(store.nonce_used([200; 16]).await.unwrap());

    let dm = |expiry| NewDm {
        recipient_as: "15bb".into(),
        sender_as: "15aa".into(),
        recipient_id: b,
        sender_id: a,
        body: "secret".into(),
        now: 10.0,
        expiry,
    };
    let first = store.add_dm(dm(50.0)).await.unwrap();
    let second = store.add_dm(dm(500.0)).await.unwrap();
    assert_eq!(store.dm_tops(b).await.unwrap(), (second, 0));
    assert_eq!(store.dm_tops(a).await.unwrap(), (0, second));
    let rows = store.dms(b, Mailbox::Inbox, first, 10).await.unwrap();
    assert_eq!(
        (rows.len(), rows[0].sender.as_str(), rows[0].body.as_slice()),
        (1, "15aa", &b"secret"[..])
    );
    assert_eq!(store.dms(a, Mailbox::Outbox, 0, 1).await.unwrap().len(), 1);
    assert_eq!(store.count_dms(a, 5.0).await.unwrap(), 2);
    assert_eq!(store.cleanup(plan(60.0)).await.unwrap().direct_messages, 1);
    assert_eq!(store.delete_dms(b).await.unwrap(), 1);
    store.ping().await.unwrap();
    store.close().await.unwrap();
}

async fn deleting_a_room_leaves_nothing_behind(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    let (id, _) = done(&store, post(room, a, 1.0)).await;
    store
        .add_reaction(room, id, b, "x".into(), None, 2.0)
        .await
        .unwrap();
    store.pin(room, id, a, 3.0).await.unwrap();
    store.ban(b, Where::Rooms(vec![room]), Some(50.0)).await.unwrap();
    assert!(store.delete_room(room).await.unwrap());
    assert!(!store.delete_room(room).await.unwrap());
    assert!(store.rooms().await.unwrap().is_empty());
    assert!(store.messages(room, Page::Recent, 10).await.unwrap().is_empty());
    assert!(store.user_by_id(b).await.unwrap().unwrap().overrides.is_empty());
    assert_eq!(store.post(post(room, a, 4.0)).await.unwrap(), Posted::NoRoom);
    store.close().await.unwrap();
}

async fn old_messages_go_and_pinned_ones_stay(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    let mut ids = Vec::new();
    for n in 0..1203 {
        ids.push(done(&store, post(room, a, f64::from(n))).await.0);
    }
    store.pin(room, ids[0], a, 5.0).await.unwrap();
    store
        .add_reaction(room, ids[1], b, "x".into(), None, 5.0)
        .await
        .unwrap();
    assert_eq!(store.prune_messages(room, 1200.0).await.unwrap(), 1199);
    let left: Vec<i64> = store
        .messages(room, Page::Recent, 100)
        .await
        .unwrap()
        .iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(left, [ids[1202], ids[1201], ids[1200], ids[0]]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_writes_an_embedded_database() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("t.db").display());
    let first = open_url(&url).await.unwrap();
    assert!(matches!(open_url(&url).await, Err(StoreError::InUse)));
    first.close().await.unwrap();
    drop(first);
    open_url(&url).await.unwrap().close().await.unwrap();
    assert!(matches!(open_url("mysql://x").await, Err(StoreError::Url(_))));
}
