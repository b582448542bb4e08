//! Accept, send, put off, give up.

use std::time::{Duration, UNIX_EPOCH};

use ackpost_notify::{Message, Outcome};
use ackpost_outbox::{AcceptOptions, FlushSettings, Selection, State};

use crate::support::{
    NOON, Place, Reaction, Sink, accept, delivered, flush, later, stamped, state, submission, worker,
};

stamped!(
    accepted_messages_arrive_once_and_in_order,
    a_lane_that_waits_holds_no_other,
    pauses_double_and_a_server_may_ask_for_longer,
    a_refused_message_lies_in_the_dead_letter_box,
    a_message_out_of_time_is_given_up_with_its_last_reason,
    pieces_that_arrived_are_not_sent_again,
    an_attempt_without_an_outcome_is_repeated_with_a_look_first,
    a_flush_without_retries_tries_each_lane_once_however_slow_another_is,
    a_lost_answer_does_not_double,
    a_killed_worker_leaves_its_lane_to_the_next,
    flush_tries_at_once_what_pauses,
    a_worker_stops_when_told,
);

async fn accepted_messages_arrive_once_and_in_order(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let submissions = vec![submission("a", &[]), submission("b", &[])];
        let message = Message::new(format!("text {number}"));
        let accepted = outbox
            .submit(&message, &[], submissions, &AcceptOptions::default())
            .await
            .unwrap();
        assert_eq!(accepted.len(), 2);
        assert_eq!(accepted[1].target, "test://host/b");
        assert_eq!(accepted[0].state, State::Waiting);
        ids.extend(accepted.into_iter().map(|one| one.id));
    }
    assert!(sink.arrived().is_empty(), "accepting sends nothing");
    outbox.close().await;

    // As after a reboot.
    let outbox = place.open(&sink).await;
    let summary = flush(&outbox).await;
    assert_eq!((summary.delivered, summary.remaining), (40, 0));
    let expected: Vec<String> = (0..20).map(|number| format!("text {number}")).collect();
    assert_eq!(sink.texts("a"), expected);
    assert_eq!(sink.texts("b"), expected);
    let stamps: std::collections::HashSet<_> = sink
        .arrived()
        .into_iter()
        .map(|one| (one.address, one.sent_at))
        .collect();
    assert_eq!(stamps.len(), 40, "no two pieces for a target have one stamp");
    for id in &ids {
        let entry = outbox.get(id).await.unwrap().unwrap();
        assert_eq!(entry.state, State::Delivered);
        assert_eq!(entry.attempts, 1);
        assert_eq!(entry.outcome, Some(delivered()));
        assert_eq!(
            entry.url,
            entry.target.replace("test://host", "test://user:****@host")
        );
    }
    assert_eq!(flush(&outbox).await.delivered, 0);
    assert_eq!(sink.arrived().len(), 40);
}

async fn a_lane_that_waits_holds_no_other(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("dead", [later(None)]);
    for number in 0..3 {
        accept(&outbox, "dead", &[], &format!("d{number}")).await;
        accept(&outbox, "alive", &[], &format!("a{number}")).await;
    }
    let summary = flush(&outbox).await;
    assert_eq!(
        (summary.delivered, summary.deferred, summary.remaining),
        (3, 1, 3)
    );
    assert_eq!(sink.texts("alive"), ["a0", "a1", "a2"]);
    assert!(
        sink.texts("dead").is_empty(),
        "what is behind the first waits with it"
    );
    let lanes = outbox.lanes().await.unwrap();
    assert_eq!(lanes.len(), 1);
    assert_eq!(
        (lanes[0].target.as_str(), lanes[0].waiting, lanes[0].failures),
        ("test://host/dead", 3, 1)
    );
    assert_eq!(lanes[0].reason.as_deref(), Some("busy"));
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("dead"), ["d0", "d1", "d2"]);
    assert!(outbox.lanes().await.unwrap().is_empty());
}

async fn pauses_double_and_a_server_may_ask_for_longer(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None), later(None), later(Some(60)), later(Some(1))]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    let due = || async {
        let entry = outbox.get(&id).await.unwrap().unwrap();
        let due = i64::try_from(entry.due_at.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() - NOON;
        (due / 1000, entry.waits_for.as_str())
    };
    flush(&outbox).await;
    assert_eq!(due().await, (2, "the delay after a failed attempt"));
    place.advance(1);
    flush(&outbox).await;
    assert_eq!(sink.attempts().len(), 1, "not before its time");
    place.advance(1);
    flush(&outbox).await;
    assert_eq!(due().await, (2 + 4, "the delay after a failed attempt"));
    place.advance(4);
    flush(&outbox).await;
    assert_eq!(due().await, (6 + 60, "the time that the server requested"));
    // Neither impatience nor a further message shortens what the server asked for.
    accept(&outbox, "a", &[], "another").await;
    let settings = FlushSettings::default().with_wait(false);
    outbox.flush(worker(), settings).await.unwrap();
    assert_eq!(sink.attempts().len(), 3);
    place.advance(60);
    flush(&outbox).await;
    assert_eq!(
        due().await,
        (66 + 16, "the delay after a failed attempt"),
        "it asked for less than the pause"
    );
    place.advance(16);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["text", "another"]);
    assert_eq!(outbox.get(&id).await.unwrap().unwrap().attempts, 5);
}

async fn a_refused_message_lies_in_the_dead_letter_box(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let refused = Outcome::refused("banned from the room", "ask its moderators");
    sink.next("a", [Reaction::Answer(refused.clone())]);
    let id = accept(&outbox, "a", &[], "one").await.id;
    accept(&outbox, "a", &[], "two").await;
    let summary = flush(&outbox).await;
    assert_eq!((summary.refused, summary.delivered), (1, 1));
    let entry = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.outcome), (State::Dead, Some(refused)));
    assert_eq!(sink.texts("a"), ["two"], "it does not hold what is behind it");
    assert_eq!(outbox.stats().await.unwrap().dead, 1);

    assert_eq!(outbox.retry(&Selection::Dead).await.unwrap(), 1);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["two", "one"]);
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    assert_eq!(
        outbox.retry(&Selection::Ids(vec![id])).await.unwrap(),
        0,
        "what is delivered stays delivered"
    );
}

async fn a_message_out_of_time_is_given_up_with_its_last_reason(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", std::iter::repeat_n(later(None), 50));
    let short = accept(&outbox, "a", &[("ttl", "10m")], "short").await.id;
    let usual = accept(&outbox, "b", &[], "usual").await.id;
    sink.next("b", std::iter::repeat_n(later(None), 500));
    for _ in 0..12 {
        flush(&outbox).await;
        place.advance(60);
    }
    let entry = outbox.get(&short).await.unwrap().unwrap();
    assert_eq!(entry.state, State::Dead);
    let reason = entry
        .outcome
        .as_ref()
        .and_then(Outcome::reason)
        .unwrap()
        .to_owned();
    assert!(
        reason.starts_with("not delivered within 10m; last: busy"),
        "{reason}"
    );
    assert_eq!(
        state(&outbox, &usual).await,
        State::Waiting,
        "others have 24 hours"
    );
    place.advance(24 * 3600);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &usual).await, State::Dead);
    assert_eq!(outbox.stats().await.unwrap().services[0].expired, 2);
}

async fn pieces_that_arrived_are_not_sent_again(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAnd(delivered()), later(None)]);
    let id = accept(&outbox, "a", &[], "one|two|three").await.id;
    accept(&outbox, "a", &[], "behind").await;
    flush(&outbox).await;
    let entry = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!(
        (entry.state, entry.pieces_done, entry.pieces),
        (State::Waiting, 1, 3)
    );
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two", "three", "behind"]);
    let ids: Vec<String> = sink.arrived().into_iter().map(|one| one.id).collect();
    assert_eq!(
        ids[..3],
        [format!("{id}-0"), format!("{id}-1"), format!("{id}-2")]
    );
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}

async fn an_attempt_without_an_outcome_is_repeated_with_a_look_first(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAndSilence]);
    accept(&outbox, "a", &[], "one").await;
    let settings = worker().with_attempt(Duration::from_millis(100));
    let flush_settings = FlushSettings::default()
        .with_deadline(Duration::from_secs(60))
        .with_now(false)
        .with_wait(false)
        .with_retries(false);
    let summary = outbox.flush(settings, flush_settings).await.unwrap();
    assert_eq!((summary.deferred, summary.remaining), (1, 1));
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one"]);
    assert_eq!(
        sink.attempts()
            .iter()
            .map(|(_, repeat)| *repeat)
            .collect::<Vec<_>>(),
        [false, true]
    );
}

async fn a_flush_without_retries_tries_each_lane_once_however_slow_another_is(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None), later(None), later(None)]);
    sink.next("slow", [Reaction::Slow(Duration::from_secs(3))]);
    let failing = accept(&outbox, "a", &[], "one").await.id;
    accept(&outbox, "slow", &[], "two").await;
    let settings = FlushSettings::default()
        .with_deadline(Duration::from_secs(60))
        .with_retries(false);
    let flushing = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.flush(worker(), settings).await }
    });
    let deferred = async || {
        let entry = outbox.get(&failing).await.unwrap().unwrap();
        entry.outcome.is_some()
    };
    while !deferred().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Its pause is over before the other one has answered.
    place.advance(10);
    let summary = flushing.await.unwrap().unwrap();
    assert_eq!(
        (summary.delivered, summary.deferred, summary.remaining),
        (1, 1, 1)
    );
    assert_eq!(sink.attempts().len(), 2);
}

async fn a_lost_answer_does_not_double(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let lost = Outcome::deferred("the connection was lost", "check the network");
    sink.next("a", [Reaction::TakeAnd(lost.clone()), Reaction::TakeAnd(lost)]);
    accept(&outbox, "a", &[], "one|two").await;
    for _ in 0..4 {
        flush(&outbox).await;
        place.advance(10);
    }
    assert_eq!(sink.texts("a"), ["one", "two"]);
}

async fn a_killed_worker_leaves_its_lane_to_the_next(place: Place) {
    let sink = Sink::new();
    let first = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAndSilence]);
    let id = accept(&first, "a", &[], "one").await.id;
    accept(&first, "a", &[], "two").await;
    let task = tokio::spawn({
        let first = first.clone();
        async move { first.run(worker(), std::future::pending()).await }
    });
    while sink.attempts().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(state(&first, &id).await, State::Sending);
    // Its tasks end with it; nothing is written any more.
    task.abort();
    let _ = task.await;

    let second = place.open(&sink).await;
    flush(&second).await;
    assert_eq!(
        sink.attempts().len(),
        1,
        "the lease of the first counts until it is over"
    );
    place.advance(16);
    flush(&second).await;
    assert_eq!(sink.texts("a"), ["one", "two"]);
    assert_eq!(sink.attempts().len(), 3);
    assert!(sink.attempts()[1].1, "it looks before it repeats");
}

async fn flush_tries_at_once_what_pauses(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None), later(None)]);
    accept(&outbox, "a", &[], "text").await;
    let settings = FlushSettings::default().with_wait(false);
    for (deferred, delivered) in [(1, 0), (1, 0), (0, 1)] {
        let summary = outbox.flush(worker(), settings).await.unwrap();
        assert_eq!((summary.deferred, summary.delivered), (deferred, delivered));
    }
}

async fn a_worker_stops_when_told(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move {
            outbox
                .run(worker(), async {
                    let _ = stopped.await;
                })
                .await
        }
    });
    let id = accept(&outbox, "a", &[], "text").await.id;
    outbox.wait(&[id], Duration::from_secs(20)).await.unwrap();
    stop.send(()).unwrap();
    let summary = running.await.unwrap().unwrap();
    assert_eq!(summary.delivered, 1);
    accept(&outbox, "a", &[], "later").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sink.texts("a"), ["text"]);
}
