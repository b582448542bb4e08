//! Tests of listing entries, waiting for outcomes, and deciding about entries.

use std::time::Duration;

use ackpost_outbox::{Filter, Selection, State};

use crate::support::{Place, Sink, accept, flush, later, stamped, state, worker};

stamped!(
    waiting_for_an_outcome,
    lists_are_pages,
    a_dropped_entry_is_not_sent,
    the_log_tells_the_story,
);

async fn waiting_for_an_outcome(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("slow", [later(Some(3600))]);
    let quick = accept(&outbox, "quick", &[], "text").await.id;
    let slow = accept(&outbox, "slow", &[], "text").await.id;
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.run(worker(), std::future::pending()).await }
    });
    let entries = outbox
        .wait(std::slice::from_ref(&quick), Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(entries[0].state, State::Delivered);
    let begun = std::time::Instant::now();
    let entries = outbox
        .wait(&[quick, slow], Duration::from_millis(300))
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        entries.iter().map(|entry| entry.state).collect::<Vec<_>>(),
        [State::Delivered, State::Waiting]
    );
    running.abort();
}

async fn lists_are_pages(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let address = if number % 2 == 0 { "even" } else { "odd" };
        ids.push(accept(&outbox, address, &[], "text").await.id);
    }
    outbox
        .drop_entries(&Selection::Ids(vec![ids[0].clone()]))
        .await
        .unwrap();
    let list = |filter: Filter| {
        let outbox = outbox.clone();
        async move {
            outbox
                .list(&filter)
                .await
                .unwrap()
                .into_iter()
                .map(|entry| entry.id)
                .collect::<Vec<_>>()
        }
    };
    let mut newest_first = ids.clone();
    newest_first.reverse();
    assert_eq!(list(Filter::default()).await, newest_first);
    let page = list(Filter::default().with_limit(3)).await;
    assert_eq!(page, newest_first[..3]);
    let next = list(Filter::default().with_limit(3).with_before(page.last().cloned())).await;
    assert_eq!(next, newest_first[3..6]);
    let odd = list(Filter::default().with_target(Some("/odd".to_owned()))).await;
    assert_eq!(odd.len(), 3);
    assert_eq!(
        list(Filter::default().with_states(vec![State::Dropped])).await,
        ids[..1]
    );
}

async fn a_dropped_entry_is_not_sent(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None)]);
    let first = accept(&outbox, "a", &[], "first").await.id;
    accept(&outbox, "a", &[], "second").await;
    flush(&outbox).await;
    assert_eq!(
        outbox
            .drop_entries(&Selection::Ids(vec![first.clone()]))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        outbox
            .drop_entries(&Selection::Ids(vec![first.clone()]))
            .await
            .unwrap(),
        0
    );
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a"),
        ["second"],
        "what is behind it need not wait for its pause"
    );
    assert_eq!(state(&outbox, &first).await, State::Dropped);
    assert_eq!(outbox.drop_entries(&Selection::Waiting).await.unwrap(), 0);
}

async fn the_log_tells_the_story(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None)]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    flush(&outbox).await;
    place.advance(2);
    flush(&outbox).await;
    let (entry, events) = outbox.show(&id).await.unwrap().unwrap();
    assert_eq!(entry.state, State::Delivered);
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.kind.as_str(), event.text.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("accepted", ""),
            ("deferred", "busy"),
            ("delivered", "confirmed by server, id 7")
        ]
    );
    let log = outbox.log(None, 2).await.unwrap();
    assert_eq!(
        log.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["deferred", "delivered"]
    );
    let rest = outbox.log(Some(log[0].number), 100).await.unwrap();
    assert_eq!(rest.len(), 1);
    let stats = outbox.stats().await.unwrap();
    assert_eq!(
        (stats.delivered, stats.waiting, stats.oldest_waiting_seconds),
        (1, 0, None)
    );
    let service = &stats.services[0];
    assert_eq!((service.delivered, service.deferred, service.attempts), (1, 1, 2));
    assert_eq!(
        (service.latency_ms_sum, service.latency),
        (2000, [0, 0, 1, 0, 0, 0, 0])
    );
}
