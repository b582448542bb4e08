//! Many messages: repeats, digests, budgets, quiet hours. Nothing vanishes.

use std::time::Duration;

use ackpost_notify::Message;
use ackpost_outbox::{AcceptOptions, Dedup, State};

use crate::support::{Place, Reaction, Sink, accept, flush, later, stamped, state, submission};

stamped!(
    repeats_are_folded_and_counted,
    repeats_of_a_text_are_found_without_a_key,
    a_digest_is_one_message_that_says_how_many,
    a_digest_closes_while_its_target_is_dead,
    a_budget_spreads_posts,
    quiet_hours_hold_and_let_go,
    quiet_hours_hold_back_nobody_else,
    a_message_in_parts_is_not_overtaken,
    a_pause_after_a_failure_counts_for_the_target,
    options_win_over_the_url,
);

async fn repeats_are_folded_and_counted(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let words = [("dedup", "disk/10m")];
    let first = accept(&outbox, "a", &words, "90 %").await;
    assert_eq!((first.state, first.folded), (State::Waiting, false));
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["90 %"], "the first goes at once");

    let second = accept(&outbox, "a", &words, "91 %").await;
    assert_eq!((second.state, second.folded), (State::Collecting, false));
    for text in ["92 %", "93 %"] {
        let repeat = accept(&outbox, "a", &words, text).await;
        assert_eq!((repeat.id.clone(), repeat.folded), (second.id.clone(), true));
    }
    accept(&outbox, "b", &words, "another target").await;
    accept(&outbox, "a", &[("dedup", "cpu/10m")], "another key").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["90 %", "another key"]);
    assert_eq!(sink.texts("b"), ["another target"]);

    place.advance(600);
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a"),
        ["90 %", "another key", "93 %\n(repeated 3 more times within 10m)"]
    );
    // The report began a new window.
    place.advance(60);
    accept(&outbox, "a", &words, "94 %").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a").len(), 3);
    place.advance(540);
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a").last().unwrap(),
        "94 %\n(repeated once more within 10m)"
    );
    // Without repeats the window just ends.
    place.advance(601);
    accept(&outbox, "a", &words, "95 %").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a").last().unwrap(), "95 %");
    assert_eq!(outbox.stats().await.unwrap().collecting, 0);
}

async fn repeats_of_a_text_are_found_without_a_key(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let words = [("dedup", "auto")];
    for text in ["a", "b", "a", "a", "b"] {
        accept(&outbox, "a", &words, text).await;
    }
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["a", "b"]);
    place.advance(3600);
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a")[2..],
        [
            "a\n(repeated 2 more times within 1h)",
            "b\n(repeated once more within 1h)"
        ]
    );
}

async fn a_digest_is_one_message_that_says_how_many(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let words = [("digest", "5m")];
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(accept(&outbox, "a", &words, &format!("text {number}")).await.id);
        place.advance(5);
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(state(&outbox, &ids[0]).await, State::Collecting);
    flush(&outbox).await;
    assert!(sink.arrived().is_empty());
    place.advance(150);
    flush(&outbox).await;
    let texts = sink.texts("a");
    assert_eq!(texts.len(), 1);
    assert!(
        texts[0].starts_with("30 messages in 5m: 1. text 0\n2. text 1\n"),
        "{}",
        texts[0]
    );
    assert!(texts[0].ends_with("\nand 10 more"), "{}", texts[0]);
    assert_eq!(outbox.get(&ids[0]).await.unwrap().unwrap().folded, 29);
    // A single message is sent as it is.
    accept(&outbox, "a", &words, "alone").await;
    place.advance(300);
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[1], "alone");
}

async fn a_digest_closes_while_its_target_is_dead(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None), later(None)]);
    accept(&outbox, "a", &[], "head").await;
    flush(&outbox).await;
    accept(&outbox, "a", &[("digest", "1m")], "one").await;
    accept(&outbox, "a", &[("digest", "1m")], "two").await;
    place.advance(61);
    flush(&outbox).await;
    accept(&outbox, "a", &[("digest", "1m")], "three").await;
    place.advance(61);
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a"),
        ["head", "2 messages in 1m: 1. one\n2. two", "three"]
    );
}

async fn a_budget_spreads_posts(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let words = [("budget", "2/10s")];
    for number in 0..5 {
        accept(&outbox, "a", &words, &number.to_string()).await;
    }
    let arrived = || sink.texts("a").len();
    flush(&outbox).await;
    assert_eq!(arrived(), 2);
    assert_eq!(
        outbox.lanes().await.unwrap()[0].failures,
        0,
        "holding back is not a failure"
    );
    place.advance(9);
    // Impatience does not break it, neither does another process.
    let other = place.open(&sink).await;
    let settings = ackpost_outbox::FlushSettings::default().with_wait(false);
    other.flush(crate::support::worker(), settings).await.unwrap();
    assert_eq!(arrived(), 2);
    place.advance(1);
    flush(&other).await;
    assert_eq!(arrived(), 4);
    place.advance(10);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["0", "1", "2", "3", "4"]);
}

async fn quiet_hours_hold_back_nobody_else(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    // The clock shows 12:00 UTC.
    let (early, late) = ([("quiet", "11:00-12:30")], [("quiet", "11:00-13:00")]);
    accept(&outbox, "a", &late, "held 1").await;
    let first = accept(&outbox, "a", &[], "urgent 1").await.id;
    accept(&outbox, "a", &early, "held 2").await;
    accept(&outbox, "a", &late, "held 3").await;
    accept(&outbox, "a", &[], "urgent 2").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["urgent 1", "urgent 2"]);
    assert_eq!(state(&outbox, &first).await, State::Delivered);
    // One that comes later does not wait either.
    accept(&outbox, "a", &[], "urgent 3").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[2..], ["urgent 3"]);
    // Each goes when its own quiet hours end, and those that may go keep their order.
    place.advance(1800);
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[3..], ["held 2"]);
    place.advance(1800);
    accept(&outbox, "a", &[], "urgent 4").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[4..], ["held 1", "held 3", "urgent 4"]);
    assert_eq!(outbox.stats().await.unwrap().waiting, 0);
}

async fn a_message_in_parts_is_not_overtaken(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    // Quiet hours begin while its second part is put off.
    let quiet = [("quiet", "12:10-13:00")];
    accept(&outbox, "a", &quiet, "part 1|part 2").await;
    sink.next(
        "a",
        [Reaction::TakeAnd(crate::support::delivered()), later(Some(900))],
    );
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["part 1"]);
    place.advance(901);
    flush(&outbox).await;
    accept(&outbox, "a", &[], "behind it").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["part 1"], "a text is not torn apart");
    place.advance(3600);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["part 1", "part 2", "behind it"]);
}

async fn a_pause_after_a_failure_counts_for_the_target(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    accept(&outbox, "a", &[("quiet", "11:00-12:10")], "held").await;
    accept(&outbox, "a", &[], "one").await;
    sink.next("a", [later(Some(1200))]);
    flush(&outbox).await;
    accept(&outbox, "a", &[], "two").await;
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), [""; 0], "the server asked for 20 minutes");
    // The quiet hours of the first end before.
    place.advance(601);
    let begun = std::time::Instant::now();
    flush(&outbox).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing is due");
    assert_eq!(sink.texts("a"), [""; 0]);
    place.advance(599);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["held", "one", "two"]);
}

async fn quiet_hours_hold_and_let_go(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    // It is noon in UTC.
    let words = [("quiet", "11:00-13:30")];
    let id = accept(&outbox, "a", &words, "one").await.id;
    accept(&outbox, "a", &words, "two").await;
    accept(&outbox, "b", &[("quiet", "22:00-07:00")], "other").await;
    flush(&outbox).await;
    assert_eq!(sink.arrived().len(), 1);
    assert_eq!(
        outbox.get(&id).await.unwrap().unwrap().waits_for.as_str(),
        "the end of the quiet hours"
    );
    place.advance(89 * 60);
    flush(&outbox).await;
    assert!(sink.texts("a").is_empty());
    place.advance(60);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two"]);
}

async fn options_win_over_the_url(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let options = AcceptOptions::default().with_dedup(Some(Dedup {
        key: "x".to_owned(),
        window: Duration::from_secs(60),
    }));
    for text in ["one", "two"] {
        let words = [("dedup", text), ("digest", "1h")];
        let options = options.clone().with_digest(Some(Duration::from_secs(10)));
        outbox
            .submit(&Message::new(text), &[], vec![submission("a", &words)], &options)
            .await
            .unwrap();
    }
    place.advance(10);
    flush(&outbox).await;
    assert_eq!(
        sink.texts("a"),
        ["one"],
        "a digest may begin with the first of a series"
    );
    place.advance(50);
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[1], "two\n(repeated once more within 1m)");
}
