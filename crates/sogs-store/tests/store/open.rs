//! Opening and closing a database.

use std::sync::{Arc, Mutex};

use sogs_store::{Change, NewRoom, RoomDefaults, StoreError, StoreOptions};

#[tokio::test]
async fn a_database_is_opened_by_one_process_at_a_time_and_keeps_what_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = |migrate| StoreOptions {
        url: format!("sqlite:{}", folder.path().join("community.db").display()),
        readers: 1,
        migrate,
    };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let sink = move |changes: &[Change]| sink.lock().expect("not poisoned").extend_from_slice(changes);
    let first = sogs_store::open(&options(true), Arc::new(sink))
        .await
        .expect("opened");
    let second = sogs_store::open(&options(true), Arc::new(|_| {})).await;
    assert!(matches!(second.err(), Some(StoreError::InUse)));
    let defaults = RoomDefaults {
        read: true,
        accessible: true,
        write: false,
        upload: false,
    };
    let new = NewRoom {
        token: "lobby".into(),
        name: "Lobby".into(),
        description: None,
        defaults,
        now: 1.0,
    };
    first.create_room(new).await.expect("made").expect("a new token");
    assert!(
        !heard.lock().expect("not poisoned").is_empty(),
        "the change is announced"
    );
    first.close().await.expect("closed");
    // Nothing is to be migrated any more.
    let again = sogs_store::open(&options(false), Arc::new(|_| {}))
        .await
        .expect("opened again");
    let rooms = again.rooms().await.expect("read");
    assert_eq!(
        rooms.iter().map(|room| room.token.as_str()).collect::<Vec<_>>(),
        ["lobby"]
    );
    again.close().await.expect("closed");
}
