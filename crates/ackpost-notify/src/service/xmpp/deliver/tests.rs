//! The result of a message of which only a part arrived.

use super::*;

/// A text that arrived, and a file that came back.
fn part_failed(temporary: bool, room: bool) -> Attempt {
    let cause = XmppError::Bounced {
        to: "bob@example.org".parse().expect("an address"),
        condition: "resource-constraint".to_owned(),
        text: None,
        temporary,
    };
    let error = XmppError::PartFailed {
        part: 2,
        parts: 2,
        cause: Box::new(cause),
    };
    attempt(ackpost_xmpp::Outcome::failed(error), "x1", room)
}

#[test]
fn a_text_that_arrived_beside_a_file_that_came_back_is_not_sent_again_without_a_look() {
    // The room is searched for the parts before the next attempt.
    let in_room = part_failed(true, true);
    assert_eq!(in_room.outcome.word(), "deferred");
    assert!(in_room.may_have_arrived && in_room.leaves_doubt(false));
    // The sender's archive holds the file that came back as well, and cannot tell which part is missing.
    for (temporary, room) in [(true, false), (false, false), (false, true)] {
        let ended = part_failed(temporary, room);
        assert_eq!(ended.outcome.word(), "unconfirmed", "{temporary} {room}");
        let reason = ended.outcome.reason().unwrap_or_default().to_owned();
        assert!(
            reason.starts_with("part 2 of 2 of the message failed"),
            "{reason}"
        );
    }
}
