//! Stream management (XEP-0198): for resuming, never as proof of delivery.

use std::collections::VecDeque;

/// Stanzas that were sent and not yet acknowledged, and the number of those received.
#[derive(Debug, Default)]
pub(super) struct Resumable {
    pub(super) id: String,
    unacked: VecDeque<String>,
    /// Number of our stanzas that the server has acknowledged, modulo 2³².
    acked: u32,
    /// Number of the server's stanzas that we have handled, modulo 2³².
    pub(super) handled: u32,
}

impl Resumable {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    pub(super) fn sent(&mut self, stanza: &str) {
        self.unacked.push_back(stanza.to_owned());
    }

    /// `<a h='…'/>`: that many were handled since the session began.
    pub(super) fn acknowledged(&mut self, handled: u32) {
        let fresh = usize::try_from(handled.wrapping_sub(self.acked)).unwrap_or(usize::MAX);
        // A count above the number of sent stanzas is wrong; ignoring it loses nothing.
        if fresh <= self.unacked.len() {
            self.unacked.drain(..fresh);
            self.acked = handled;
        }
    }

    /// Returns the number of stanzas that the server has not acknowledged.
    pub(super) fn waiting(&self) -> usize {
        self.unacked.len()
    }

    /// Tells the server how many of its stanzas were handled.
    pub(super) fn acknowledgement(&self) -> String {
        format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled)
    }

    pub(super) fn received(&mut self) {
        self.handled = self.handled.wrapping_add(1);
    }

    /// Returns the stanzas that have to be sent again after a resumption.
    pub(super) fn unacked(&self) -> impl Iterator<Item = &str> {
        self.unacked.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(sm: &Resumable) -> Vec<&str> {
        sm.unacked().collect()
    }

    #[test]
    fn acknowledged_stanzas_are_forgotten_in_order() {
        let mut sm = Resumable::new("x".into());
        for stanza in ["a", "b", "c"] {
            sm.sent(stanza);
        }
        sm.acknowledged(2);
        assert_eq!(left(&sm), ["c"]);
        sm.acknowledged(2);
        assert_eq!(left(&sm), ["c"]);
        sm.acknowledged(99);
        assert_eq!(left(&sm), ["c"], "more than was sent");
        sm.acknowledged(3);
        assert!(left(&sm).is_empty());
    }

    #[test]
    fn the_counters_wrap() {
        let mut sm = Resumable {
            acked: u32::MAX,
            handled: u32::MAX,
            ..Resumable::default()
        };
        sm.sent("a");
        sm.acknowledged(0);
        assert!(left(&sm).is_empty());
        sm.received();
        assert_eq!(sm.handled, 0);
    }
}
