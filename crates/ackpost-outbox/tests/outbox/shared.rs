//! Several workers and many senders on one outbox.

use std::collections::HashSet;
use std::time::Duration;

use ackpost_notify::Message;
use ackpost_outbox::{AcceptOptions, Filter};

use crate::support::{Place, Reaction, Sink, accept, flush, stamped, submission, worker};

stamped!(
    two_workers_share_the_lanes,
    senders_at_the_same_time_get_stamps_of_their_own,
    accepts_and_sends_mix,
    a_lane_is_not_worked_twice_by_one_worker,
);

async fn two_workers_share_the_lanes(place: Place) {
    let sink = Sink::new();
    let (first, second) = (place.open(&sink).await, place.open(&sink).await);
    for number in 0..30 {
        for lane in 0..8 {
            accept(&first, &format!("lane{lane}"), &[], &number.to_string()).await;
        }
    }
    let few = || worker().with_lanes_at_once(2).with_turn(3);
    let settings = ackpost_outbox::FlushSettings::default()
        .with_deadline(Duration::from_secs(60))
        .with_now(false)
        .with_wait(true)
        .with_retries(true);
    let (one, two) = tokio::join!(first.flush(few(), settings), second.flush(few(), settings));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.delivered + two.delivered, 240);
    let expected: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for lane in 0..8 {
        assert_eq!(sink.texts(&format!("lane{lane}")), expected, "lane {lane}");
    }
    assert!(
        sink.attempts().iter().all(|(_, repeat)| !repeat),
        "nobody had to take over from the other"
    );
}

async fn senders_at_the_same_time_get_stamps_of_their_own(place: Place) {
    let sink = Sink::new();
    let outboxes = [place.open(&sink).await, place.open(&sink).await];
    let mut tasks = Vec::new();
    for number in 0..60 {
        let outbox = outboxes[number % 2].clone();
        tasks.push(tokio::spawn(async move {
            let submissions = vec![submission("b", &[]), submission("a", &[]), submission("c", &[])];
            let message = Message::new("the same text|for everybody");
            outbox
                .submit(&message, &[], submissions, &AcceptOptions::default())
                .await
                .unwrap()
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    flush(&outboxes[0]).await;
    let arrived = sink.arrived();
    assert_eq!(arrived.len(), 360);
    for address in ["a", "b", "c"] {
        let stamps: HashSet<u64> = arrived
            .iter()
            .filter(|one| one.address == address)
            .map(|one| one.sent_at)
            .collect();
        assert_eq!(stamps.len(), 120, "{address}");
    }
}

async fn accepts_and_sends_mix(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.run(worker(), std::future::pending()).await }
    });
    let mut ids = Vec::new();
    for number in 0..100 {
        ids.push(accept(&outbox, "a", &[], &number.to_string()).await.id);
    }
    let entries = outbox.wait(&ids, Duration::from_secs(60)).await.unwrap();
    assert!(entries.iter().all(|entry| entry.state.is_final()));
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(sink.texts("a"), expected);
    running.abort();
}

/// A worker that was held up for longer than its lease takes its own lane again.
async fn a_lane_is_not_worked_twice_by_one_worker(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::Slow(Duration::from_millis(1500))]);
    for text in ["one", "two"] {
        accept(&outbox, "a", &[], text).await;
    }
    let settings = worker().with_lease(Duration::from_secs(2));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move {
            outbox
                .run(settings, async {
                    let _ = stopped.await;
                })
                .await
        }
    });
    while sink.attempts().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // As if the machine had slept: the lease is over, and nobody has renewed it.
    place.advance(60);
    let ids: Vec<_> = outbox
        .list(&Filter::default())
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    let entries = outbox.wait(&ids, Duration::from_secs(30)).await.unwrap();
    assert!(entries.iter().all(|entry| entry.state.is_final()), "{entries:?}");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(sink.texts("a"), ["one", "two"]);
}
