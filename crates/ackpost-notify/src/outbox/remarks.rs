//! Repeats in doubt and late replies: logged with their entry and counted in the statistics.

use super::outbox::Outbox;
use super::store::Remark;
use crate::dispatch::Late;

impl Outbox {
    /// Logs and counts a remark about an entry. It is no reason to hold up the delivery when that fails.
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
        for Late { id, to, reason, .. } in self.0.carrier.take_late() {
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
