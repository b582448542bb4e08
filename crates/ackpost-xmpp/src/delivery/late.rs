//! Bounces that come after their message was reported delivered, on a kept session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::DeliveryTracker;
use super::refusal::explain;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::stanza_error::StanzaError;
use crate::xml::Element;

/// Maximum number of ended messages that are remembered.
const ENDED_MAX: usize = 4_096;
/// Maximum number of late bounces that wait to be taken; the session takes them after each stanza.
const LATE_MAX: usize = 64;

/// A message that came back after it was reported delivered.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) id: String,
    pub(crate) to: Jid,
    pub(crate) reason: XmppError,
}

/// The messages delivered last, and those of them that came back.
#[derive(Default)]
pub(super) struct Ended {
    by_id: HashMap<Arc<str>, Arc<Jid>>,
    order: VecDeque<Arc<str>>,
    /// The recipient of the last one. Most messages of a session go to few recipients, one after the other.
    last_to: Option<Arc<Jid>>,
    late: Vec<Late>,
}

impl Ended {
    pub(super) fn note(&mut self, id: String, to: Jid) {
        let id: Arc<str> = id.into();
        let to = match &self.last_to {
            Some(last) if **last == to => last.clone(),
            _ => self.last_to.insert(Arc::new(to)).clone(),
        };
        if self.by_id.insert(id.clone(), to).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}

impl DeliveryTracker {
    /// Remembers delivered messages, to recognise bounces that come later.
    pub(crate) fn keep_ended(&mut self) {
        self.ended = Some(Ended::default());
    }

    /// The messages that came back late since the last call.
    pub(crate) fn take_late(&mut self) -> Vec<Late> {
        self.ended
            .as_mut()
            .map(|ended| std::mem::take(&mut ended.late))
            .unwrap_or_default()
    }

    /// Handles an error for a message that is no longer under way.
    pub(super) fn late_bounce(&mut self, stanza: &Element, from: Option<&Jid>) {
        let own_domain = self.own.domain().to_owned();
        let (Some(ended), Some(id)) = (&mut self.ended, stanza.get("id")) else {
            return;
        };
        // Only the recipient's address speaks for the recipient.
        let ours = ended
            .by_id
            .get(id)
            .is_some_and(|to| from.is_none_or(|from| from.same_bare(to)));
        if !ours || ended.late.len() >= LATE_MAX {
            return;
        }
        // Each is reported once; its place in `order` is taken by the next one that gets old.
        if let Some(to) = ended.by_id.remove(id) {
            let reason = explain(&StanzaError::of(stanza), &to, &own_domain);
            ended.late.push(Late {
                id: id.to_owned(),
                to: Arc::unwrap_or_clone(to),
                reason,
            });
        }
    }
}
