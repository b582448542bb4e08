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

use crate::ns;
use crate::stream::shorten;
use crate::xml::Element;

/// The sender of a stanza error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorOrigin {
    /// The server of the recipient, on behalf of the recipient.
    Recipient,
    /// A room, or another service with its own address.
    Room,
    /// The server of the account, about the session or one of its services.
    OwnServer,
}

/// The type of a stanza error (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Auth,
    Cancel,
    Continue,
    Modify,
    Wait,
    /// Absent or unknown.
    None,
}

impl ErrorKind {
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

/// Returns true if the same stanza may be taken later without a change.
pub(crate) fn may_pass(condition: &str, kind: ErrorKind, origin: ErrorOrigin) -> bool {
    if matches!(kind, ErrorKind::Wait | ErrorKind::Continue) {
        return true;
    }
    match condition {
        "internal-server-error"
        | "recipient-unavailable"
        | "remote-server-not-found"
        | "remote-server-timeout"
        | "resource-constraint" => true,
        "service-unavailable" => origin != ErrorOrigin::OwnServer,
        "conflict" => origin == ErrorOrigin::OwnServer,
        // Known to be final, and everything unknown.
        _ => false,
    }
}

/// The error inside a stanza (RFC 6120 section 8.3).
#[derive(Clone, Debug)]
pub(crate) struct StanzaError {
    pub(crate) condition: String,
    pub(crate) text: Option<String>,
    pub(crate) kind: ErrorKind,
    /// The application condition of a block list (XEP-0191).
    pub(crate) blocked: bool,
}

impl StanzaError {
    pub(crate) fn of(stanza: &Element) -> Self {
        let error = stanza
            .find("error", ns::CLIENT)
            .or_else(|| stanza.elements().find(|e| e.name == "error"));
        let condition = error
            .and_then(|error| {
                error
                    .elements()
                    .find(|child| child.ns == ns::STANZAS && child.name != "text")
            })
            .map_or_else(
                || "undefined-condition".to_owned(),
                |child| child.name.to_string(),
            );
        Self {
            condition,
            text: error
                .and_then(|error| error.content_of("text", ns::STANZAS))
                .map(shorten)
                .filter(|text| !text.is_empty()),
            kind: ErrorKind::of(error),
            blocked: error.is_some_and(|error| error.find("blocked", ns::BLOCKING_ERRORS).is_some()),
        }
    }

    /// Returns true if the same stanza may be taken later (the table of this module).
    pub(crate) fn may_pass(&self, origin: ErrorOrigin) -> bool {
        may_pass(&self.condition, self.kind, origin)
    }

    /// Returns true if the one asked does not know such questions (RFC 6120 section 8.4).
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(
            self.condition.as_str(),
            "service-unavailable" | "feature-not-implemented"
        ) && self.kind != ErrorKind::Wait
    }

    /// Returns true if the error names other domains as the cause.
    pub(crate) fn is_about_remote_domains(&self) -> bool {
        self.text
            .as_deref()
            .is_some_and(|text| text.to_lowercase().contains("remote"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_its_class_per_sender() {
        // The table above is the text that people read: it must be what the code does.
        let rows = include_str!("stanza_error.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .filter(|line| line.contains("may pass") || line.contains("final"));
        let mut seen = 0;
        for row in rows {
            let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
            let origins = [ErrorOrigin::Recipient, ErrorOrigin::Room, ErrorOrigin::OwnServer];
            for (origin, class) in origins.into_iter().zip(&cells[1..]) {
                for kind in [
                    ErrorKind::Auth,
                    ErrorKind::Cancel,
                    ErrorKind::Modify,
                    ErrorKind::None,
                ] {
                    assert_eq!(
                        may_pass(cells[0], kind, origin),
                        *class == "may pass",
                        "{} {kind:?} {origin:?}",
                        cells[0]
                    );
                }
                for kind in [ErrorKind::Wait, ErrorKind::Continue] {
                    assert!(may_pass(cells[0], kind, origin), "{} {kind:?}", cells[0]);
                }
            }
            seen += 1;
        }
        assert_eq!(seen, 22, "RFC 6120 defines 22 conditions");
    }
}
