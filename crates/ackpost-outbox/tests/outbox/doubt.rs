//! Repeats in doubt and late replies: counted, and in the history of their entry.

use ackpost_outbox::State;

use crate::support::{Place, Reaction, Sink, accept, flush, stamped, state};

stamped!(
    a_repeat_in_doubt_is_counted_and_logged,
    a_late_reply_is_counted_and_logged
);

async fn a_repeat_in_doubt_is_counted_and_logged(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeTwice]);
    let id = accept(&outbox, "a", &[], "one").await.id;
    accept(&outbox, "a", &[], "two").await;
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    let stats = outbox.stats().await.unwrap();
    assert_eq!((stats.services[0].repeated, stats.services[0].late), (1, 0));
    let (_, events) = outbox.show(&id).await.unwrap().unwrap();
    let told = events
        .iter()
        .find(|event| event.kind == "repeated")
        .expect("a line in the log");
    assert!(told.text.contains("sent a second time"), "{told:?}");
}

async fn a_late_reply_is_counted_and_logged(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let id = accept(&outbox, "a", &[], "one").await.id;
    flush(&outbox).await;
    sink.send_back(&format!("{id}-0"));
    sink.send_back("of-another-outbox-0");
    flush(&outbox).await;
    // It stays delivered: the log says what came after.
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    let stats = outbox.stats().await.unwrap();
    assert_eq!((stats.services[0].repeated, stats.services[0].late), (0, 1));
    let (_, events) = outbox.show(&id).await.unwrap().unwrap();
    let told = events
        .iter()
        .find(|event| event.kind == "late")
        .expect("a line in the log");
    assert!(told.text.contains("accepts no messages"), "{told:?}");
}
