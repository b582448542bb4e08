//! The store by itself: one person, one row. Run by `store` on both databases.

use sogs_server::store::{
    DynStore, Mailbox, ModChange, NewDm, NewPost, Page, PermissionPatch, Person, Where,
};

use crate::store::{done, known, plan, post, setup};

/// A person with an account, under one of its ids.
fn person(id: &str, visits: bool) -> Person {
    Person {
        session_id: id.into(),
        key: "15pos".into(),
        keys: vec!["15pos".into(), "25x".into()],
        forged: vec!["25pos".into()],
        visits,
        blind: true,
    }
}

pub(crate) async fn people_find_their_rights_under_any_id(store: DynStore) {
    let (room, ..) = setup(&store).await;
    assert!(store.user("15pos".into()).await.unwrap().is_none());
    let (me, new) = store.ensure_user(person("05me", false), 1.0).await.unwrap();
    assert!(new && me.user.session_id == "05me" && !me.user.visited);
    let appoint = ModChange::Appoint {
        admin: None,
        visible: true,
    };
    let place = || Where::Rooms(vec![room]);
    store.set_moderator(me.user.id, place(), appoint).await.unwrap();
    // The person comes under the other sign: one row, shown under the id that was used, known since now.
    let (came, new) = store.ensure_user(person("15neg", true), 5.0).await.unwrap();
    assert!(!new && came.user.id == me.user.id && came.overrides[0].moderator);
    assert_eq!((came.user.session_id.as_str(), came.user.created), ("15neg", 5.0));
    for key in ["15pos", "25x"] {
        assert_eq!(
            store.user(key.into()).await.unwrap().unwrap().user.id,
            me.user.id,
            "{key}"
        );
    }
    let mods = store.room_full(room).await.unwrap().unwrap().mods;
    assert_eq!(
        mods.iter().map(|one| one.session_id.as_str()).collect::<Vec<_>>(),
        ["15neg"]
    );
    // Global rights count in every room; a ban takes the rank.
    let global = ModChange::Appoint {
        admin: Some(true),
        visible: false,
    };
    let updates = store
        .set_moderator(me.user.id, Where::Global, global)
        .await
        .unwrap();
    assert_eq!(updates.len(), 1);
    assert!(store.global_mods().await.unwrap()[0].admin);
    store.ban(me.user.id, place(), None).await.unwrap();
    let banned = store.user_by_id(me.user.id).await.unwrap().unwrap();
    assert!(banned.overrides[0].banned && !banned.overrides[0].moderator);
    store.close().await.unwrap();
}

pub(crate) async fn rows_of_one_person_are_joined(store: DynStore) {
    let (room, a, _) = setup(&store).await;
    let place = || Where::Rooms(vec![room]);
    let set = |write| PermissionPatch {
        write: Some(Some(write)),
        upload: Some(Some(true)),
        ..PermissionPatch::default()
    };
    // Known by a 25 id alone, then by its account; banned under the one until 100, under the other until 200.
    let other = known(&store, "25x", 1.0).await;
    let first = done(&store, post(room, other, 2.0)).await.0;
    let by_a = done(&store, post(room, a, 3.0)).await.0;
    store
        .add_reaction(room, by_a, other, "👍".into(), None, 4.0)
        .await
        .unwrap();
    store.ban(other, place(), Some(100.0)).await.unwrap();
    store.ban(other, Where::Global, None).await.unwrap();
    store.set_permissions(room, other, set(false)).await.unwrap();
    let whisper = NewPost {
        whisper_to: Some(other),
        ..post(room, a, 5.0)
    };
    done(&store, whisper).await;
    let dm = NewDm {
        recipient_id: other,
        sender_id: a,
        recipient_as: "25x".into(),
        sender_as: "15aa".into(),
        body: "dm".into(),
        now: 6.0,
        expiry: 1e9,
    };
    store.add_dm(dm).await.unwrap();
    let lone = Person {
        keys: vec!["15pos".into()],
        ..person("05me", false)
    };
    let me = store.ensure_user(lone, 7.0).await.unwrap().0.user.id;
    assert_ne!(me, other);
    store.ban(me, place(), Some(200.0)).await.unwrap();
    store.set_permissions(room, me, set(true)).await.unwrap();
    store
        .add_reaction(room, by_a, me, "👍".into(), None, 8.0)
        .await
        .unwrap();

    let (one, new) = store.ensure_user(person("15neg", true), 9.0).await.unwrap();
    assert!(!new && one.user.banned, "the stricter ban");
    assert_eq!((one.user.session_id.as_str(), one.overrides.len()), ("15neg", 1));
    let own = &one.overrides[0];
    assert!(own.banned && own.write == Some(false) && own.upload == Some(true));
    for (now, stands) in [(150.0, true), (250.0, false)] {
        store.cleanup(plan(now)).await.unwrap();
        let one = store.user_by_id(me).await.unwrap().unwrap();
        assert!(one.user.banned, "permanently");
        assert_eq!(one.overrides[0].banned, stands, "the longer of two");
    }
    for former in [me, other] {
        assert_eq!(
            store.user_by_id(former).await.unwrap().unwrap().user.id,
            one.user.id
        );
    }
    // A stored message keeps the id that signed it, and belongs to this person.
    let page = store.messages(room, Page::Recent, 10).await.unwrap();
    let mine = page.iter().find(|row| row.id == first).unwrap();
    assert_eq!((mine.session_id.as_str(), mine.user_id), ("25x", one.user.id));
    assert_eq!(page[0].whisper_to, Some(one.user.id));
    let reactions = store.reactions(room, vec![by_a], 4).await.unwrap();
    assert_eq!(reactions.rows[0].count, 1, "one person reacts once");
    let box_ = store.dms(one.user.id, Mailbox::Inbox, 0, 10).await.unwrap();
    assert_eq!(box_[0].recipient, "25x");
    // A later act on a former row means the person.
    store.unban(other, Where::Global).await.unwrap();
    assert!(!store.user_by_id(me).await.unwrap().unwrap().user.banned);
    assert_eq!(
        store.delete_all_posts(vec![room], me, 10.0).await.unwrap(),
        [(room, 1)]
    );
    store.close().await.unwrap();
}
