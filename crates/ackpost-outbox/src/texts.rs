//! Title and text of stored messages, for people who look through the outbox.

use super::error::OutboxError;
use super::outbox::Outbox;
use super::payload::{Payload, Slim};
use super::transport::{MessageText, StoredMessage};
use super::types::OutboxId;

impl Outbox {
    /// Returns the messages of an entry: one, or those that were collected for a digest. Delivered and dropped entries have
    /// none: their content is deleted.
    ///
    /// # Errors
    /// The database cannot be read, or the entry is damaged.
    pub async fn texts(&self, id: &OutboxId) -> Result<Vec<MessageText>, OutboxError> {
        let core = &self.0;
        let Some(row) = core.store.content(id.as_str()).await? else {
            return Ok(Vec::new());
        };
        let Some(sealed) = row.sealed.as_deref() else {
            return Ok(Vec::new());
        };
        let messages = match row.share {
            None => Payload::open(&core.seal, id.as_str(), Some(sealed))?.messages,
            Some(share) => {
                let Some(shared) = core.store.shared(share).await? else {
                    return Ok(Vec::new());
                };
                Slim::open(&core.seal, id.as_str(), sealed)?.with_shared(
                    &core.seal,
                    id.as_str(),
                    share,
                    &shared,
                )?
            }
        };
        Ok(messages.iter().map(StoredMessage::text).collect())
    }
}
