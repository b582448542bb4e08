//! Clocks that jump, machines that start with a clock of the past, and messages whose time ran out unseen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use ackpost_outbox::{Clock, FlushSettings, Outbox, State, Steady, SystemClock};

use crate::support::{NOON, Place, Reaction, Sink, accept, flush, later, stamped, state, worker};

stamped!(
    a_clock_set_back_does_not_hold_a_lane,
    a_clock_set_forward_kills_nothing,
    several_processes_move_the_times_once,
    a_machine_without_a_battery_goes_on_where_it_was,
    nothing_expires_untried,
    each_late_message_is_tried_once_when_its_target_fails,
    quiet_hours_longer_than_the_time_to_live,
    a_window_for_repeats_stays_as_long_as_it_was,
    a_budget_stays_as_it_was,
    a_lease_outlives_a_jump,
    a_flush_gives_back_what_is_under_way,
    a_clock_that_is_corrected_leaves_no_stamp_in_the_future,
    a_restart_after_a_jump_moves_nothing_again,
);

const HOUR: i64 = 3_600_000;

async fn a_clock_set_back_does_not_hold_a_lane(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(None)]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    flush(&outbox).await;
    place.clock.set_by(-2 * HOUR);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Waiting, "the pause lasts 2 s");
    place.advance(2);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}

async fn a_clock_set_forward_kills_nothing(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("b", [later(Some(60)), later(None)]);
    let untried = accept(&outbox, "a", &[], "text").await.id;
    let tried = accept(&outbox, "b", &[], "text").await.id;
    sink.next("a", [later(None)]);
    flush(&outbox).await;
    place.clock.set_by(72 * HOUR);
    place.advance(59);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &untried).await, State::Delivered);
    assert_eq!(
        state(&outbox, &tried).await,
        State::Waiting,
        "the server asked for 60 s"
    );
    let entry = outbox.get(&tried).await.unwrap().unwrap();
    let lives = entry.expires_at.duration_since(entry.accepted_at).unwrap();
    assert_eq!(lives, Duration::from_secs(24 * 3600));
    // The time to live still ends.
    place.advance(24 * 3600);
    sink.next("b", [later(None)]);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &tried).await, State::Dead);
}

async fn several_processes_move_the_times_once(place: Place) {
    let sink = Sink::new();
    let first = place.open(&sink).await;
    sink.next("a", [later(Some(600))]);
    let id = accept(&first, "a", &[], "text").await.id;
    flush(&first).await;
    let before = first.get(&id).await.unwrap().unwrap();
    place.clock.set_by(-2 * HOUR);
    let second = place.open(&sink).await;
    let third = place.open(&sink).await;
    for outbox in [&first, &second, &third] {
        flush(outbox).await;
        let after = outbox.get(&id).await.unwrap().unwrap();
        assert_eq!(
            before.due_at.duration_since(after.due_at).unwrap(),
            Duration::from_secs(2 * 3600)
        );
    }
    place.advance(600);
    flush(&second).await;
    assert_eq!(state(&third, &id).await, State::Delivered);
}

async fn a_machine_without_a_battery_goes_on_where_it_was(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(Some(60))]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    flush(&outbox).await;
    outbox.close().await;
    // It starts with a clock that is a year late, and learns the time a while later.
    place.clock.restart();
    place.clock.set_by(-365 * 24 * HOUR);
    let outbox = place.open(&sink).await;
    place.advance(30);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Waiting);
    place.clock.set_by(365 * 24 * HOUR);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Waiting);
    place.advance(31);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}

async fn nothing_expires_untried(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let id = accept(&outbox, "a", &[("ttl", "1h")], "text").await.id;
    outbox.close().await;
    // The machine was off for three days.
    place.clock.restart();
    place.clock.set_by(72 * HOUR);
    let outbox = place.open(&sink).await;
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}

async fn each_late_message_is_tried_once_when_its_target_fails(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(
            accept(&outbox, "a", &[("ttl", "1h")], &format!("text {number}"))
                .await
                .id,
        );
    }
    place.advance(2 * 3600);
    sink.next("a", [later(None), later(None)]);
    flush(&outbox).await;
    assert_eq!(state(&outbox, &ids[0]).await, State::Dead);
    assert_eq!(state(&outbox, &ids[1]).await, State::Dead);
    assert_eq!(state(&outbox, &ids[2]).await, State::Delivered);
    for id in &ids {
        let entry = outbox.get(id).await.unwrap().unwrap();
        assert_eq!(entry.attempts, 1, "{entry:?}");
    }
    assert_eq!(sink.attempts().len(), 3);
    assert_eq!(sink.texts("a"), ["text 2"]);
    let entry = outbox.get(&ids[1]).await.unwrap().unwrap();
    let reason = entry
        .outcome
        .as_ref()
        .and_then(ackpost_notify::Outcome::reason)
        .unwrap();
    assert!(reason.starts_with("not delivered within 1h; last: "), "{reason}");
}

async fn quiet_hours_longer_than_the_time_to_live(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    // The clock shows 12:00 UTC.
    let words = [("quiet", "11:00-15:00"), ("ttl", "1h")];
    let id = accept(&outbox, "a", &words, "text").await.id;
    for _ in 0..2 {
        flush(&outbox).await;
        assert_eq!(state(&outbox, &id).await, State::Waiting);
        place.advance(5400);
    }
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}

async fn a_window_for_repeats_stays_as_long_as_it_was(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let words = [("dedup", "disk/10m")];
    accept(&outbox, "a", &words, "full").await;
    flush(&outbox).await;
    for jump in [HOUR, -3 * HOUR] {
        place.clock.set_by(jump);
        accept(&outbox, "a", &words, "full").await;
        flush(&outbox).await;
        assert_eq!(sink.texts("a").len(), 1, "the window of 10 minutes is not over");
    }
    place.advance(601);
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[1], "full\n(repeated 2 more times within 10m)");
}

async fn a_budget_stays_as_it_was(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let words = [("budget", "1/10m")];
    accept(&outbox, "a", &words, "one").await;
    accept(&outbox, "a", &words, "two").await;
    flush(&outbox).await;
    for jump in [HOUR, -3 * HOUR] {
        place.clock.set_by(jump);
        flush(&outbox).await;
        assert_eq!(sink.texts("a"), ["one"]);
    }
    place.advance(601);
    flush(&outbox).await;
    assert_eq!(sink.texts("a"), ["one", "two"]);
}

async fn a_lease_outlives_a_jump(place: Place) {
    let sink = Sink::new();
    let (ours, theirs) = (place.open(&sink).await, place.open(&sink).await);
    sink.next("a", [Reaction::Slow(Duration::from_millis(400))]);
    let id = accept(&ours, "a", &[], "text").await.id;
    let under_way = tokio::spawn({
        let ours = ours.clone();
        async move { flush(&ours).await }
    });
    while sink.attempts().is_empty() {
        tokio::task::yield_now().await;
    }
    place.clock.set_by(HOUR);
    flush(&theirs).await;
    under_way.await.unwrap();
    assert_eq!(sink.attempts().len(), 1, "nobody took the lane over");
    assert_eq!(state(&theirs, &id).await, State::Delivered);
}

async fn a_flush_gives_back_what_is_under_way(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [Reaction::TakeAndSilence]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    let settings = FlushSettings::default().with_deadline(Duration::from_millis(300));
    let begun = SystemTime::now();
    let summary = outbox.flush(worker(), settings).await.unwrap();
    assert!(
        begun.elapsed().unwrap() < Duration::from_secs(5),
        "it stops at its deadline"
    );
    assert_eq!(summary.remaining, 1);
    assert_eq!(state(&outbox, &id).await, State::Waiting);
    // Free for the next worker at once, which looks before it sends.
    flush(&outbox).await;
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    assert_eq!(sink.texts("a"), ["text"]);
    assert!(sink.attempts()[1].1, "the second attempt is marked as a repeat");
}

/// The clock of this machine, which somebody sets.
#[derive(Default)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + self.0.load(Ordering::Relaxed)
    }

    fn steady(&self) -> Option<Steady> {
        SystemClock.steady()
    }

    fn is_machine(&self) -> bool {
        true
    }
}

/// With PostgreSQL the clock of its server counts, so that of a worker may jump.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_a_worker_may_jump_beside_postgres() {
    let place = Place::postgres();
    let clock = Arc::new(SetClock::default());
    let mut config = place.config();
    config.clock = clock.clone();
    let sink = Sink::new();
    let outbox = Outbox::open(config, Arc::new(sink.clone())).await.unwrap();
    sink.next("a", [later(Some(2)), later(Some(3600))]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    flush(&outbox).await;
    let before = outbox.get(&id).await.unwrap().unwrap();
    for jump in [-2 * HOUR, 72 * HOUR] {
        clock.0.store(jump, Ordering::Relaxed);
        flush(&outbox).await;
        let after = outbox.get(&id).await.unwrap().unwrap();
        assert_eq!((after.state, after.attempts), (State::Waiting, 1));
        assert_eq!(
            (after.due_at, after.expires_at),
            (before.due_at, before.expires_at)
        );
    }
    // The pause of two seconds lasts two seconds, and the next one is counted from now.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    flush(&outbox).await;
    let after = outbox.get(&id).await.unwrap().unwrap();
    assert_eq!((after.state, after.attempts), (State::Waiting, 2));
    let pause = after.due_at.duration_since(before.due_at).unwrap();
    assert!((3600..3660).contains(&pause.as_secs()), "{pause:?}");
    let second = accept(&outbox, "b", &[("ttl", "1h")], "text").await.id;
    flush(&outbox).await;
    assert_eq!(state(&outbox, &second).await, State::Delivered);
    let accepted = outbox.get(&second).await.unwrap().unwrap().accepted_at;
    assert!(accepted.duration_since(before.accepted_at).unwrap() < Duration::from_secs(60));
}

async fn a_clock_that_is_corrected_leaves_no_stamp_in_the_future(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    place.clock.set_by(2 * HOUR);
    accept(&outbox, "a", &[], "early").await;
    flush(&outbox).await;
    place.clock.set_by(-2 * HOUR);
    accept(&outbox, "a", &[], "now").await;
    // Another process knows the lane from the database alone.
    let second = place.open(&sink).await;
    accept(&second, "a", &[], "later").await;
    flush(&second).await;
    let stamps: Vec<i64> = sink
        .arrived()
        .iter()
        .map(|one| i64::try_from(one.sent_at).unwrap() - NOON)
        .collect();
    assert!(stamps[0] >= 2 * HOUR, "{stamps:?}");
    assert!(
        stamps[1..].iter().all(|stamp| (0..1000).contains(stamp)),
        "{stamps:?}"
    );
}

async fn a_restart_after_a_jump_moves_nothing_again(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    sink.next("a", [later(Some(3 * 3600))]);
    let id = accept(&outbox, "a", &[], "text").await.id;
    flush(&outbox).await;
    place.clock.set_by(-2 * HOUR);
    flush(&outbox).await;
    let before = outbox.get(&id).await.unwrap().unwrap().due_at;
    outbox.close().await;
    // The log still has lines of the clock that was ahead.
    place.advance(600);
    place.clock.restart();
    let outbox = place.open(&sink).await;
    assert_eq!(outbox.get(&id).await.unwrap().unwrap().due_at, before);
}

/// Sets the clock that a database shows to its sessions, ahead of the real one.
fn set_server_clock(place: &Place, milliseconds: i64) {
    let database = place.database.as_ref().unwrap();
    database.sql(&format!(
        "CREATE OR REPLACE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
         $$ SELECT pg_catalog.clock_timestamp() + interval '{milliseconds} ms' $$"
    ));
    database.sql(&format!(
        "ALTER DATABASE {} SET search_path = public, pg_catalog",
        database.name()
    ));
}

/// The clock of the database server counts, so that it may be set, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_postgres_may_jump() {
    let place = Place::postgres();
    set_server_clock(&place, 0);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut config = place.config();
    config.clock = Arc::clone(&clock);
    let sink = Sink::new();
    let open = async || {
        Outbox::open(config.clone(), Arc::new(sink.clone()))
            .await
            .unwrap()
    };
    let (first, second) = (open().await, open().await);
    sink.next("a", [later(Some(3600))]);
    let id = accept(&first, "a", &[], "text").await.id;
    flush(&first).await;
    let entry = async |outbox: &Outbox| outbox.get(&id).await.unwrap().unwrap();
    let before = entry(&first).await;
    let mut third = None;
    for jump in [72 * HOUR, -2 * HOUR] {
        set_server_clock(&place, jump);
        let by = Duration::from_millis(jump.unsigned_abs());
        let due = if jump > 0 {
            before.due_at + by
        } else {
            before.due_at - by
        };
        // Every process that notices, at its next look or at its start, moves nothing again.
        for _ in 0..2 {
            for outbox in [&first, &second].into_iter().chain(&third) {
                outbox.prune().await.unwrap();
                flush(outbox).await;
                let after = entry(outbox).await;
                assert_eq!((after.state, after.attempts), (State::Waiting, 1), "{jump}");
                let off = after
                    .due_at
                    .duration_since(due)
                    .unwrap_or_else(|error| error.duration());
                assert!(off < Duration::from_secs(5), "{jump}: {off:?}");
            }
        }
        // A message that is accepted now goes out now.
        let other = accept(&second, "b", &[], "text").await.id;
        flush(&first).await;
        assert_eq!(state(&first, &other).await, State::Delivered, "{jump}");
        third = Some(open().await);
    }
    // A process that was away while the clock was set.
    for outbox in [first, second].into_iter().chain(third.take()) {
        outbox.close().await;
    }
    set_server_clock(&place, 72 * HOUR);
    let outbox = open().await;
    flush(&outbox).await;
    let after = entry(&outbox).await;
    assert_eq!((after.state, after.attempts), (State::Waiting, 1));
}
