//! Contexts of delivered messages, and the log of acts.

use ackpost_notify::Message;
use ackpost_outbox::{AcceptOptions, Act, ActResult, NewAct, Outbox, OutboxError, SecretText, TargetKey};
use serde_json::{Map, Value, json};

use crate::support::{Place, Sink, flush, stamped, submission};

stamped![
    a_delivered_message_leads_to_its_context_for_a_week,
    a_message_without_context_leads_nowhere,
    a_collection_carries_no_context,
    a_gesture_is_acted_on_once,
    two_processes_act_once_on_a_gesture,
];

const CONTEXT: &str = r#"{"alert":"DiskFull","secret":"hunter2"}"#;
const DAY: u64 = 86_400;

fn with_context() -> AcceptOptions {
    AcceptOptions::default().with_context(Some(SecretText::new(CONTEXT)))
}

fn place(outbox: &Outbox, address: &str) -> TargetKey {
    outbox.target_key_at(&submission(address, &[]).destination)
}

async fn context(outbox: &Outbox, address: &str, message: &str) -> Option<String> {
    let found = outbox.context_of(&place(outbox, address), message).await.unwrap();
    found.map(|linked| linked.text.reveal().to_owned())
}

async fn a_delivered_message_leads_to_its_context_for_a_week(at: Place) {
    let outbox = at.open(&Sink::new()).await;
    let targets = ["a", "b"].map(|address| submission(address, &[])).into();
    let message = Message::new("disk full|second piece");
    outbox
        .submit(&message, &[], targets, &with_context())
        .await
        .unwrap();
    assert_eq!(context(&outbox, "a", "7").await, None, "nothing arrived yet");
    flush(&outbox).await;
    for address in ["a", "b"] {
        assert_eq!(context(&outbox, address, "7").await.as_deref(), Some(CONTEXT));
        assert_eq!(context(&outbox, address, "8").await, None);
    }
    assert_eq!(context(&outbox, "c", "7").await, None);
    // A second id, such as the one of a room.
    let a = place(&outbox, "a");
    assert!(outbox.link_also(&a, "7", "stanza-1").await.unwrap());
    assert!(!outbox.link_also(&a, "7", "stanza-1").await.unwrap());
    assert!(!outbox.link_also(&a, "unknown", "stanza-2").await.unwrap());
    let linked = outbox.context_of(&a, "stanza-1").await.unwrap().unwrap();
    assert_eq!(
        (linked.message.as_str(), linked.piece, linked.pieces),
        ("7", 0, 2)
    );
    assert_eq!(outbox.latest_contexts(&a, 10).await.unwrap().len(), 2);
    // It outlives the entry, and a new key of the process.
    at.advance(6 * DAY);
    outbox.prune().await.unwrap();
    outbox.close().await;
    let outbox = at.open(&Sink::new()).await;
    assert_eq!(context(&outbox, "a", "stanza-1").await.as_deref(), Some(CONTEXT));
    at.advance(2 * DAY);
    outbox.prune().await.unwrap();
    assert_eq!(context(&outbox, "a", "7").await, None);
    if at.database.is_none() {
        let bytes = std::fs::read(at.folder.path().join("outbox.db")).unwrap();
        assert!(
            !bytes.windows(7).any(|part| part == b"hunter2"),
            "a context lies in clear"
        );
    }
}

async fn a_message_without_context_leads_nowhere(at: Place) {
    let outbox = at.open(&Sink::new()).await;
    crate::support::accept(&outbox, "a", &[], "hello").await;
    flush(&outbox).await;
    assert_eq!(context(&outbox, "a", "7").await, None);
    let large = AcceptOptions::default().with_context(Some(SecretText::new("x".repeat((64 << 10) + 1))));
    let refused = outbox
        .submit(&Message::new("x"), &[], vec![submission("a", &[])], &large)
        .await;
    assert!(
        matches!(refused, Err(OutboxError::TooLarge { .. })),
        "{refused:?}"
    );
}

async fn a_collection_carries_no_context(at: Place) {
    let outbox = at.open(&Sink::new()).await;
    for text in ["one", "two"] {
        let target = vec![submission("a", &[("digest", "1m")])];
        outbox
            .submit(&Message::new(text), &[], target, &with_context())
            .await
            .unwrap();
    }
    at.advance(120);
    flush(&outbox).await;
    assert_eq!(context(&outbox, "a", "7").await, None);
}

fn act<'a>(gesture: &'a str, result: ActResult, note: &str) -> NewAct<'a> {
    let detail: Map<String, Value> = [
        ("who".to_owned(), json!("jane@example.org")),
        ("note".to_owned(), json!(note)),
    ]
    .into_iter()
    .collect();
    NewAct {
        gesture,
        subject: "DiskFull",
        kind: "silence",
        result,
        detail,
    }
}

fn lines(acts: &[Act]) -> Vec<(ActResult, &str)> {
    acts.iter()
        .map(|act| (act.result, act.detail["note"].as_str().unwrap()))
        .collect()
}

async fn a_gesture_is_acted_on_once(at: Place) {
    let outbox = at.open(&Sink::new()).await;
    assert!(
        outbox
            .begin_act(&act("m1", ActResult::Begun, "1 begins"))
            .await
            .unwrap()
    );
    assert!(
        !outbox
            .begin_act(&act("m1", ActResult::Begun, "1 again"))
            .await
            .unwrap()
    );
    outbox
        .end_act(&act("m1", ActResult::Done, "1 done"))
        .await
        .unwrap();
    assert!(
        outbox
            .begin_act(&act("m2", ActResult::Begun, "2 begins"))
            .await
            .unwrap()
    );
    let expected = [(ActResult::Begun, "2 begins"), (ActResult::Done, "1 done")];
    let acts = outbox.acts(None, 10).await.unwrap();
    assert_eq!(lines(&acts), expected);
    assert_eq!(lines(&outbox.acts_about("DiskFull", 10).await.unwrap()), expected);
    assert!(outbox.acts_about("another", 10).await.unwrap().is_empty());
    let older = outbox.acts(Some(acts[0].number), 10).await.unwrap();
    assert_eq!(lines(&older), [(ActResult::Done, "1 done")]);
    // After a restart, and after a month without one.
    outbox.close().await;
    let outbox = at.open(&Sink::new()).await;
    assert!(
        !outbox
            .begin_act(&act("m2", ActResult::Begun, "2 again"))
            .await
            .unwrap()
    );
    at.advance(29 * DAY);
    outbox.prune().await.unwrap();
    assert!(
        !outbox
            .begin_act(&act("m2", ActResult::Begun, "2 again"))
            .await
            .unwrap()
    );
    at.advance(300 * DAY);
    outbox.prune().await.unwrap();
    assert_eq!(outbox.acts(None, 10).await.unwrap().len(), 2);
    at.advance(100 * DAY);
    outbox.prune().await.unwrap();
    assert!(outbox.acts(None, 10).await.unwrap().is_empty());
}

async fn two_processes_act_once_on_a_gesture(at: Place) {
    let (one, other) = (at.open(&Sink::new()).await, at.open(&Sink::new()).await);
    for number in 0..50 {
        let name = format!("gesture {number}");
        let (begun, act) = (ActResult::Begun, act);
        let (first, second) = (act(&name, begun, "first"), act(&name, begun, "second"));
        let (first, second) = tokio::join!(one.begin_act(&first), other.begin_act(&second));
        assert!(first.unwrap() ^ second.unwrap(), "{name}");
    }
    assert_eq!(one.acts(None, 100).await.unwrap().len(), 50);
}
