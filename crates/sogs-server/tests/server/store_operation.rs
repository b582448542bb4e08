//! The store by itself: reports, the audit log and the index of the search. Run by `store` on both databases.

use serde_json::json;
use session_protocol::content::Content;
use sogs_server::store::cases::{Filed, NewReport};
use sogs_server::store::operation::{LogEntry, LogQuery};
use sogs_server::store::search::Words;
use sogs_server::store::{DynStore, Id, NewPost, PostEdit, StoreError, Where, with_entries};

use crate::store::{done, post, setup};

pub(crate) async fn open_reports_are_read_in_parts(store: DynStore) {
    let (room, a, b) = setup(&store).await;
    let mut reported = Vec::new();
    for n in 0..5 {
        let (message_id, _) = done(&store, post(room, a, f64::from(n))).await;
        reported.push(message_id);
        let report = NewReport {
            message_id,
            room_id: room,
            user_id: b,
            reason: "spam".into(),
            author: "15aa".into(),
            excerpt: "text".into(),
            now: 10.0 + f64::from(n),
            per_hour: 100,
        };
        assert_eq!(store.file_report(report).await.unwrap(), Filed::Done(1));
    }
    let (mut after, mut found, mut parts) = (0, Vec::new(), Vec::new());
    loop {
        let part = store.open_reports(room, after, 2).await.unwrap();
        let Some(last) = part.last() else { break };
        after = last.id;
        parts.push(part.len());
        found.extend(part.into_iter().map(|case| case.subject_id));
    }
    assert_eq!((found, parts), (reported, vec![2, 2, 1]));
    assert!(store.open_reports(room + 1, 0, 2).await.unwrap().is_empty());
    store.close().await.unwrap();
}

pub(crate) async fn data_for_an_undo_goes_and_its_entry_stays(store: DynStore) {
    let entry = |at| LogEntry {
        undo: Some(json!({ "secret": "what somebody wrote" })),
        ..LogEntry::new("operator", "message_delete", at)
    };
    let old = store.add_log(entry(100.0)).await.unwrap();
    let young = store.add_log(entry(200.0)).await.unwrap();
    assert_eq!(store.forget_undo(200.0).await.unwrap(), 1);
    assert_eq!(store.forget_undo(200.0).await.unwrap(), 0, "it is gone already");
    let undo = async |id| store.log_entry(Some(id)).await.unwrap().unwrap().undo;
    assert_eq!(undo(old).await, None);
    assert!(undo(young).await.is_some());
    let next = store.log_entry(None).await.unwrap().unwrap();
    assert_eq!(next.id, young, "the latest entry that can be undone");
    store.close().await.unwrap();
}

pub(crate) async fn an_act_and_its_entries_are_kept_together_or_not_at_all(store: DynStore) {
    let (room, _, b) = setup(&store).await;
    let entry = |detail: String| LogEntry::new("15aa", "ban", 5.0).detail(detail);
    let log = async || {
        store
            .log(LogQuery {
                limit: 100,
                ..LogQuery::default()
            })
            .await
            .unwrap()
    };
    let ban = || store.ban(b, Where::Rooms(vec![room]), None);
    let is_banned = async || {
        store
            .user_by_id(b)
            .await
            .unwrap()
            .unwrap()
            .overrides
            .iter()
            .any(|one| one.banned)
    };

    // An entry that either database refuses, beside another change that waits at the same moment.
    let unwritable = LogEntry::new("15aa", "ban", f64::NAN).detail("\0");
    let refused = with_entries(ban(), move |()| vec![unwritable.clone()]);
    let beside = store.set_setting(room, "rate_posts".into(), Some("7".into()));
    let (refused, beside) = tokio::join!(refused, beside);
    assert!(matches!(refused, Err(StoreError::Statement(_))), "{refused:?}");
    beside.unwrap();
    assert!(!is_banned().await && log().await.is_empty());

    let ((), written) = with_entries(ban(), move |()| vec![entry("one".into()), entry("two".into())])
        .await
        .unwrap();
    assert!(is_banned().await);
    let kept: Vec<_> = log()
        .await
        .into_iter()
        .rev()
        .map(|row| (Some(row.id), row.detail))
        .collect();
    let said: Vec<_> = written
        .into_iter()
        .map(|(entry, id)| (id, entry.detail))
        .collect();
    assert_eq!((kept.len(), &kept), (2, &said));

    // The entries follow from the result: nothing that did not happen is in the log.
    let gone = |gone: &bool| {
        gone.then(|| LogEntry::new("operator", "filter_remove", 6.0))
            .into_iter()
            .collect()
    };
    let (is_gone, written) = with_entries(store.remove_filter(77), gone).await.unwrap();
    assert!(!is_gone && written.is_empty() && log().await.len() == 2);
    store.close().await.unwrap();
}

pub(crate) async fn many_messages_are_indexed_at_once_and_again_after_an_edit(store: DynStore) {
    let (room, a, _) = setup(&store).await;
    let said = |text: &str, now: f64| NewPost {
        data: encoded(text).into(),
        ..post(room, a, now)
    };
    // More than one statement takes, with messages without words among them.
    let mut ids = Vec::new();
    for n in 0..75 {
        let text = match n % 5 {
            0 => "...".to_owned(),
            _ => format!("pear number{n}"),
        };
        ids.push(done(&store, said(&text, f64::from(n))).await.0);
    }
    assert_eq!(store.index_messages(1000).await.unwrap(), 75);
    assert_eq!(store.unindexed(10).await.unwrap(), 0);
    let find = async |text: &str| -> Vec<Id> {
        let found = store.find_words(room, Words::parse(text), Id::MAX, 100).await;
        found.unwrap().unwrap()
    };
    assert_eq!(find("pear").await.len(), 60);
    assert_eq!(find("number74").await, [ids[74]]);
    assert_eq!(find("number1").await, [ids[1]]);
    let edit = PostEdit {
        room_id: room,
        message_id: ids[1],
        user_id: a,
        posted_as: None,
        now: 100.0,
        data: encoded("apple number1").into(),
        data_size: 160,
        signature: vec![2; 64].into(),
        filtered: false,
        files: Vec::new(),
        files_expire: None,
    };
    store.edit_post(edit).await.unwrap();
    assert_eq!(store.index_messages(1000).await.unwrap(), 1);
    assert_eq!(find("apple").await, [ids[1]]);
    assert_eq!(find("pear").await.len(), 59);
    store.close().await.unwrap();
}

/// The content of a message with this text.
fn encoded(text: &str) -> Vec<u8> {
    Content::text(text, None, 1).to_bytes()
}
