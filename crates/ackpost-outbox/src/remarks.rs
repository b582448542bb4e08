//! Log lines about entries: the end of each attempt. Repeats in doubt and late replies are counted in the statistics too.

use super::outbox::Outbox;
use super::store::{Ending, Head, Remark};
use ackpost_notify::Outcome;
use ackpost_notify::dispatch::Late;

/// Logs the end of an attempt: one line for each message that is finished, or that is tried again later.
pub(super) fn attempt(head: &Head, ending: &Ending, outcome: &Outcome) {
    let (id, service) = (head.id.as_str(), head.service.as_str());
    let reason = outcome.reason().unwrap_or_default();
    match ending {
        Ending::Piece => {}
        Ending::Delivered | Ending::HandedOver => tracing::info!(%id, service, "{}", outcome.word()),
        Ending::Deferred { .. } => tracing::info!(%id, service, reason, "deferred"),
        Ending::Partial => tracing::warn!(%id, service, reason, "partial"),
        Ending::Refused => tracing::warn!(%id, service, reason, "refused"),
        Ending::Expired => tracing::warn!(%id, service, reason, "expired"),
    }
}

impl Outbox {
    /// Logs and counts a remark about an entry. A failure to do so does not stop the delivery.
    pub(super) async fn remark(&self, entry: &str, remark: Remark, text: &str) {
        let inner = &self.0;
        let sealed = inner.seal_remark(entry, text);
        let now = inner.time.now_ms();
        if let Err(error) = inner.store.remark(now, entry, remark, &sealed).await {
            tracing::warn!(%error, entry, text, "a remark about a message cannot be written down");
        }
        inner.changed();
    }

    /// Notes the pieces that came back after they were reported delivered.
    pub(super) async fn note_late(&self) {
        for Late { id, to, reason, .. } in self.0.transport.take_late() {
            let text = format!("returned after it was reported delivered: {reason}");
            tracing::warn!(
                id,
                to,
                reason,
                "a message was returned after it was reported delivered"
            );
            // Piece n of an entry carries `ENTRY-n`.
            if let Some((entry, _)) = id.rsplit_once('-') {
                self.remark(entry, Remark::Late, &text).await;
            }
        }
    }
}
