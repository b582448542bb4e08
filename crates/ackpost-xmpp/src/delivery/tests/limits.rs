//! Time limits under traffic, and rooms that answer too late.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A message to somebody else is sent and confirmed each second, so many times.
fn traffic(tracker: &mut DeliveryTracker, seconds: u64) {
    for second in 0..seconds {
        pass(tracker, SECOND);
        let key = 100 + second;
        let mut message = outgoing(person("carol@localhost"), &format!("t{key}"), "traffic");
        message.confirm = Some(Confirm::Server);
        add(tracker, key, &message);
        for _ in 0..2 {
            let written = write(tracker);
            pong(tracker, &written);
            pass(tracker, SECOND / 10);
            tracker.tick();
        }
    }
}

fn outcome_of(tracker: &mut DeliveryTracker, key: Key) -> Outcome {
    let settled = tracker.take_settled();
    let found = settled.into_iter().find(|(of, _)| *of == key);
    found.expect("the message has ended").1
}

#[test]
fn a_receipt_that_does_not_come_is_not_waited_for_longer_under_traffic() {
    let mut tracker = kept();
    let mut message = outgoing(person("bob@localhost"), "x1", "hello");
    message.confirm = Some(Confirm::Receipt);
    add(&mut tracker, 1, &message);
    for _ in 0..2 {
        let written = write(&mut tracker);
        pong(&mut tracker, &written);
        pass(&mut tracker, SECOND / 10);
        tracker.tick();
    }
    traffic(&mut tracker, 8);
    let outcome = outcome_of(&mut tracker, 1);
    assert!(
        matches!(outcome.error(), Some(XmppError::NoReceipt { .. })),
        "{outcome}"
    );
}

#[test]
fn a_room_that_does_not_show_a_message_is_not_waited_for_longer_under_traffic() {
    let mut tracker = kept();
    add(&mut tracker, 1, &outgoing(room(), "x1", "hello"));
    write(&mut tracker);
    enter(&mut tracker);
    traffic(&mut tracker, 8);
    let outcome = outcome_of(&mut tracker, 1);
    assert!(
        matches!(outcome.error(), Some(XmppError::NoEcho { .. })),
        "{outcome}"
    );
}

/// A server that is slow works through what was written. Each answer shows that it does.
#[test]
fn a_message_behind_others_has_the_time_that_they_take() {
    let mut tracker = kept();
    let mut written = Vec::new();
    for key in 1..=3 {
        add(&mut tracker, key, &outgoing(room(), &format!("x{key}"), "hello"));
        written.push(write(&mut tracker));
    }
    enter(&mut tracker);
    for key in 1..=3 {
        pass(&mut tracker, SECOND * 3);
        tracker.tick();
        assert!(tracker.jobs.contains_key(&key), "{:?}", tracker.take_settled());
        show(&mut tracker, &format!("x{key}"), "hello");
    }
}

fn joins(written: &str) -> bool {
    written.contains("<presence ") && written.contains(ROOM)
}

/// Our join made the room, and its removal is answered late or never.
#[test]
fn a_room_that_is_removed_too_slowly_is_entered_again() {
    for late in [true, false] {
        let mut tracker = kept();
        add(&mut tracker, 1, &outgoing(room(), "x1", "hello"));
        write(&mut tracker);
        hear(
            &mut tracker,
            &format!(
                "<presence from='{ROOM}/alice'><x xmlns='{}'><item affiliation='owner' role='moderator'/>\
                 <status code='110'/><status code='201'/></x></presence>",
                ns::MUC_USER
            ),
        );
        let removal = write(&mut tracker);
        assert!(removal.contains("<destroy"), "{removal}");
        pass(&mut tracker, LIMIT + SECOND);
        tracker.tick();
        let outcome = ended(&mut tracker);
        assert!(
            matches!(outcome.error(), Some(XmppError::NoSuchRoom { .. })),
            "{outcome}"
        );
        if late {
            answer(&mut tracker, &removal, "<destroy", ROOM, "");
            assert_eq!(tracker.rooms().count(), 0);
        }
        // Somebody has made the room meanwhile.
        add(&mut tracker, 2, &outgoing(room(), "x2", "again"));
        let written = write(&mut tracker);
        assert!(joins(&written) && written.contains("again"), "{written}");
        enter(&mut tracker);
        assert!(tracker.rooms().all(|(_, view)| view.inside));
    }
}

#[test]
fn a_join_that_was_lost_is_repeated() {
    let mut tracker = kept();
    let target = RoomTarget::new(ROOM.parse().unwrap());
    tracker.join_room(&target);
    assert!(joins(&write(&mut tracker)));
    tracker.join_room(&target);
    assert!(!joins(&write(&mut tracker)), "the answer may still come");
    pass(&mut tracker, LIMIT + SECOND);
    tracker.join_room(&target);
    assert!(joins(&write(&mut tracker)));
}

/// The room that our join made is set up too slowly, and is set up anew.
#[test]
fn a_room_that_was_not_set_up_in_time_is_set_up_again() {
    let mut tracker = kept();
    let mut target = RoomTarget::new(ROOM.parse().unwrap());
    target.create = true;
    tracker.join_room(&target);
    write(&mut tracker);
    let owner = |codes: &str| {
        format!(
            "<presence from='{ROOM}/alice'><x xmlns='{}'><item affiliation='owner' role='moderator'/>\
             <status code='110'/>{codes}</x></presence>",
            ns::MUC_USER
        )
    };
    hear(&mut tracker, &owner("<status code='201'/>"));
    assert!(write(&mut tracker).contains("muc#roomconfig_persistentroom"));
    pass(&mut tracker, LIMIT + SECOND);
    tracker.join_room(&target);
    assert!(joins(&write(&mut tracker)));
    hear(&mut tracker, &owner(""));
    assert!(write(&mut tracker).contains("muc#roomconfig_persistentroom"));
}
