//! Stanza errors (RFC 6120 section 8.3.3): which may pass with time, and which are final.
//!
//! The type of the error decides first: `wait` and `continue` may pass. Servers rarely set it well, so
//! the condition decides for the other types:
//!
//! | Condition | Recipient's server | Room | Own server |
//! |---|---|---|---|
//! | bad-request | final | final | final |
//! | conflict | final | final | may pass |
//! | feature-not-implemented | final | final | final |
//! | forbidden | final | final | final |
//! | gone | final | final | final |
//! | internal-server-error | may pass | may pass | may pass |
//! | item-not-found | final | final | final |
//! | jid-malformed | final | final | final |
//! | not-acceptable | final | final | final |
//! | not-allowed | final | final | final |
//! | not-authorized | final | final | final |
//! | policy-violation | final | final | final |
//! | recipient-unavailable | may pass | may pass | may pass |
//! | redirect | final | final | final |
//! | registration-required | final | final | final |
//! | remote-server-not-found | may pass | may pass | may pass |
//! | remote-server-timeout | may pass | may pass | may pass |
//! | resource-constraint | may pass | may pass | may pass |
//! | service-unavailable | may pass | may pass | final |
//! | subscription-required | final | final | final |
//! | undefined-condition | final | final | final |
//! | unexpected-request | final | final | final |
//!
//! Prosody answers service-unavailable when its disk is full, when the recipient's offline storage is
//! full, and when there is no such account: nothing tells them apart. An own server that answers a
//! question so does not have the service.

use crate::xml::Element;

/// The sender of a stanza error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The server of the recipient, on behalf of the recipient.
    Recipient,
    /// A room, or another service with an address of its own.
    Room,
    /// The server of the account, about the session or one of its services.
    OwnServer,
}

/// The type of a stanza error (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Auth,
    Cancel,
    Continue,
    Modify,
    Wait,
    /// Absent or unknown.
    None,
}

impl Kind {
    pub(crate) fn of(error: Option<&Element>) -> Self {
        match error.and_then(|error| error.get("type")) {
            Some("auth") => Self::Auth,
            Some("cancel") => Self::Cancel,
            Some("continue") => Self::Continue,
            Some("modify") => Self::Modify,
            Some("wait") => Self::Wait,
            _ => Self::None,
        }
    }
}

/// Whether the same stanza may be taken later without a change.
pub(crate) fn may_pass(condition: &str, kind: Kind, speaker: Speaker) -> bool {
    if matches!(kind, Kind::Wait | Kind::Continue) {
        return true;
    }
    match condition {
        "internal-server-error"
        | "recipient-unavailable"
        | "remote-server-not-found"
        | "remote-server-timeout"
        | "resource-constraint" => true,
        "service-unavailable" => speaker != Speaker::OwnServer,
        "conflict" => speaker == Speaker::OwnServer,
        // Known to be final, and everything unknown.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_its_class_per_sender() {
        // The table above is the text that people read: it must be what the code does.
        let rows = include_str!("conditions.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .filter(|line| line.contains("may pass") || line.contains("final"));
        let mut seen = 0;
        for row in rows {
            let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
            let speakers = [Speaker::Recipient, Speaker::Room, Speaker::OwnServer];
            for (speaker, class) in speakers.into_iter().zip(&cells[1..]) {
                for kind in [Kind::Auth, Kind::Cancel, Kind::Modify, Kind::None] {
                    assert_eq!(
                        may_pass(cells[0], kind, speaker),
                        *class == "may pass",
                        "{} {kind:?} {speaker:?}",
                        cells[0]
                    );
                }
                for kind in [Kind::Wait, Kind::Continue] {
                    assert!(may_pass(cells[0], kind, speaker), "{} {kind:?}", cells[0]);
                }
            }
            seen += 1;
        }
        assert_eq!(seen, 22, "RFC 6120 defines 22 conditions");
    }
}
