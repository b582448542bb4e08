//! Sessions that are resumed (XEP-0198).

use super::*;

/// A resumed session writes what waits. A message that was given up meanwhile is not sent behind its owner's back.
#[test]
fn a_message_that_was_given_up_offline_is_not_written_on_resumption() {
    let mut tracker = kept();
    tracker.cut(Instant::now(), Ending::Cut);
    add(
        &mut tracker,
        1,
        &outgoing(person("bob@localhost"), "x1", "given up"),
    );
    add(
        &mut tracker,
        2,
        &outgoing(person("bob@localhost"), "x2", "still wanted"),
    );
    assert!(!tracker.was_taken(1));
    tracker.cancel(1, XmppError::SessionClosed);
    let _ = ended(&mut tracker);
    tracker.touch();
    let written = write(&mut tracker);
    assert!(!written.contains("given up"), "{written}");
    assert!(written.contains("still wanted"), "{written}");
}

/// The room showed the message, and the connection broke within the settle time.
#[test]
fn a_message_that_the_room_had_shown_is_delivered_after_a_resumption() {
    let mut tracker = kept();
    add(&mut tracker, 1, &outgoing(room(), "x1", "hello"));
    write(&mut tracker);
    enter(&mut tracker);
    show(&mut tracker, "x1", "hello");
    assert!(
        tracker.take_settled().is_empty(),
        "it waits for the second answer"
    );
    tracker.cut(Instant::now(), Ending::Cut);
    pass(&mut tracker, Duration::from_secs(30));
    tracker.touch();
    tracker.tick();
    let written = write(&mut tracker);
    pong(&mut tracker, &written);
    let outcome = ended(&mut tracker);
    assert_eq!(outcome.delivered().unwrap().confirmed_by, ConfirmedBy::Room);
}

/// The server had answered the first question, and the second one was not yet due.
#[test]
fn the_second_question_is_asked_after_a_resumption() {
    let mut tracker = kept();
    add(&mut tracker, 1, &outgoing(person("bob@localhost"), "x1", "hello"));
    let written = write(&mut tracker);
    pong(&mut tracker, &written);
    tracker.cut(Instant::now(), Ending::Cut);
    pass(&mut tracker, Duration::from_secs(30));
    tracker.touch();
    tracker.tick();
    let written = write(&mut tracker);
    pong(&mut tracker, &written);
    let outcome = ended(&mut tracker);
    assert_eq!(outcome.delivered().unwrap().confirmed_by, ConfirmedBy::Server);
}
