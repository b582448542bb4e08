//! The context of a delivered message: found by the target and the id of the message, for a week.

use std::fmt;
use std::time::SystemTime;

use ackpost_notify::{Outcome, ServiceUrl, Target};
use serde::{Deserialize, Serialize};

use super::error::OutboxError;
use super::outbox::{Core, Outbox, system_time};
use super::services::destination;
use super::store::{Head, LinkRow, LinkedRow};
use super::transport::{Destination, SecretText};

/// The key of a target, the same for all URLs of one account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetKey(Vec<u8>);

impl fmt::Debug for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetKey")
    }
}

/// A delivered message and its context.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Linked {
    /// Number of the context. The messages of one call of [`Outbox::accept`] share it.
    pub context: i64,
    /// The text that [`AcceptOptions::context`](super::AcceptOptions::context) held.
    pub text: SecretText,
    /// Id of the message as it was confirmed.
    pub message: String,
    /// Number of the piece, from 0.
    pub piece: i64,
    /// Number of pieces of the whole message.
    pub pieces: i64,
    /// Time of the delivery.
    pub at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct StoredLink {
    message: String,
    piece: i64,
    pieces: i64,
}

impl Outbox {
    /// Returns the key of a target. Messages that other URLs of the same account send there have the same key.
    pub fn target_key(&self, service: &ServiceUrl, target: &Target) -> TargetKey {
        self.target_key_at(&destination(service, target))
    }

    /// Returns the key of the target of a destination.
    pub fn target_key_at(&self, destination: &Destination) -> TargetKey {
        TargetKey(self.0.lane_of(destination))
    }

    /// Finds what a delivered message was about, by its id at that target.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn context_of(&self, key: &TargetKey, message: &str) -> Result<Option<Linked>, OutboxError> {
        let id = self.0.link_id(&key.0, message);
        let row = self.0.store.linked(&id).await?;
        Ok(row.and_then(|row| self.0.opened(&row)))
    }

    /// Returns the latest delivered messages with a context at a target, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn latest_contexts(&self, key: &TargetKey, limit: usize) -> Result<Vec<Linked>, OutboxError> {
        let limit = i64::try_from(limit.min(1_000)).unwrap_or(1_000);
        let rows = self.0.store.latest_linked(&key.0, limit).await?;
        Ok(rows.iter().filter_map(|row| self.0.opened(row)).collect())
    }

    /// Lets a second id of a delivered message lead to its context, such as the id that a room gave to it. Returns false
    /// if the first id leads nowhere, or the second one leads somewhere already.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub async fn link_also(&self, key: &TargetKey, message: &str, other: &str) -> Result<bool, OutboxError> {
        let inner = &self.0;
        let Some(row) = inner.store.linked(&inner.link_id(&key.0, message)).await? else {
            return Ok(false);
        };
        let Some(linked) = inner.opened(&row) else {
            return Ok(false);
        };
        let stored = StoredLink {
            message: linked.message,
            piece: linked.piece,
            pieces: linked.pieces,
        };
        let link = inner.link_row(&key.0, other, row.link.context, row.link.at, &stored);
        inner.store.add_link(&link).await
    }
}

impl Core {
    /// The link of a piece that arrived just now, if its message carries a context.
    pub(super) fn link_of(&self, lane: &[u8], head: &Head, outcome: &Outcome, now: i64) -> Option<LinkRow> {
        let (Outcome::Delivered { id: Some(id), .. } | Outcome::Partial { id: Some(id), .. }) = outcome
        else {
            return None;
        };
        let stored = StoredLink {
            message: id.clone(),
            piece: head.pieces_done,
            pieces: head.pieces,
        };
        Some(self.link_row(lane, id, head.context?, now, &stored))
    }

    fn link_id(&self, lane: &[u8], message: &str) -> Vec<u8> {
        self.seal.name(&[b"link", lane, message.as_bytes()])
    }

    fn link_row(&self, lane: &[u8], message: &str, context: i64, at: i64, stored: &StoredLink) -> LinkRow {
        let id = self.link_id(lane, message);
        let plain = serde_json::to_vec(stored).expect("texts can be written");
        let sealed = self.seal.seal(&link_place(&id), &plain);
        LinkRow {
            id,
            lane: lane.to_vec(),
            context,
            at,
            sealed,
        }
    }

    /// The link in clear; `None` if it was changed.
    fn opened(&self, row: &LinkedRow) -> Option<Linked> {
        let link = self.seal.open(&link_place(&row.link.id), &row.link.sealed)?;
        let link: StoredLink = serde_json::from_slice(&link).ok()?;
        let place = format!("context {}", row.link.context);
        let text = self.seal.open(&place, &row.context_sealed)?;
        Some(Linked {
            context: row.link.context,
            text: SecretText::new(std::str::from_utf8(&text).ok()?),
            message: link.message,
            piece: link.piece,
            pieces: link.pieces,
            at: system_time(row.link.at),
        })
    }
}

fn link_place(id: &[u8]) -> String {
    format!("link {}", hex::encode(id))
}
