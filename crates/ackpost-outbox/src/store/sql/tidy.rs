//! Removing files and shared messages that no entry needs any more.

use std::collections::BTreeSet;

use super::{Backend, again};

/// Files and shared messages that entries needed until now; others may still need them.
#[derive(Default)]
pub(super) struct Unneeded {
    pub(super) bundles: BTreeSet<String>,
    pub(super) shares: BTreeSet<i64>,
}

impl Backend {
    /// Removes those of them that no entry needs. Must be called after the commit: of two transactions that end the last
    /// two entries, neither sees what the other does. An error does no harm, because [`Backend::prune`] removes the rest.
    pub(super) async fn tidy(&self, unneeded: Unneeded) {
        if unneeded.bundles.is_empty() && unneeded.shares.is_empty() {
            return;
        }
        if let Err(error) = again(|| self.try_tidy(&unneeded)).await {
            tracing::debug!(%error, "what is no longer needed is removed later");
        }
    }

    async fn try_tidy(&self, unneeded: &Unneeded) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        for bundle in &unneeded.bundles {
            sqlx::query(
                "DELETE FROM outbox_file WHERE bundle = $1 AND NOT EXISTS (SELECT 1 FROM outbox_entry WHERE bundle = $1)",
            )
            .bind(bundle)
            .execute(&mut *tx)
            .await?;
        }
        for share in &unneeded.shares {
            sqlx::query(
                // Its label is needed for as long as there are entries.
                "UPDATE outbox_shared SET sealed = $2 WHERE id = $1 AND NOT EXISTS \
                 (SELECT 1 FROM outbox_entry WHERE shared = $1 AND sealed IS NOT NULL)",
            )
            .bind(share)
            .bind(Vec::<u8>::new())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }
}
