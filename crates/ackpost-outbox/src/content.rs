//! Content of drafts, sealed when the store asks for it.

use std::sync::Arc;

use super::encode::encode;
use super::payload::{Fold, Payload, Slim};
use super::seal::AtRestCipher;
use super::store::{Collected, Collecting, Content};
use super::transport::{StoredMessage, Transport};
use super::types::{OutboxId, StoredOutcome};

/// The parts that the targets of one service share.
pub(super) struct SharedParts {
    /// Id of the shared row.
    pub(super) id: i64,
    /// Number of pieces of the message, for every target.
    pub(super) pieces: i64,
    pub(super) message: StoredMessage,
    /// Outcome when the message goes without some of its files.
    pub(super) partial: Option<StoredOutcome>,
    /// The log has one line about the acceptance of all.
    pub(super) logged_together: bool,
}

/// Additions of a draft to a shared row.
pub(super) struct SharedContent {
    pub(super) seal: Arc<AtRestCipher>,
    pub(super) id: OutboxId,
    pub(super) sharing: Arc<SharedParts>,
    /// The number of its target in the shared row.
    pub(super) number: i64,
    pub(super) fold: Fold,
}

impl SharedContent {
    fn slim(&self, fold: Fold) -> Slim {
        Slim {
            fold,
            had_files: fold == Fold::Repeats && self.sharing.message.had_files,
            partial: self.sharing.partial.clone(),
            ..Slim::default()
        }
    }
}

impl Content for SharedContent {
    /// The stamp is stored beside the row.
    fn fixed(&self, _first_stamp: i64) -> Vec<u8> {
        self.slim(self.fold).seal(&self.seal, self.id.as_str())
    }

    fn follow_up(&self) -> Vec<u8> {
        self.slim(Fold::Repeats).seal(&self.seal, self.id.as_str())
    }

    fn collected(&self, row: &Collecting) -> Option<Collected> {
        let message = &self.sharing.message;
        if row.share.is_none() {
            return collected_in_full(&self.seal, row, message);
        }
        let mut slim = Slim::open(&self.seal, &row.id, row.sealed.as_deref()?).ok()?;
        let mut share = None;
        if slim.fold == Fold::Repeats {
            // The latest repeat stands for all.
            slim.had_files |= message.had_files;
            slim.messages = Vec::new();
            slim.address = String::new();
            share = Some((self.sharing.id, self.number));
        } else {
            slim.collect(message.clone());
        }
        let sealed = slim.seal(&self.seal, &row.id);
        Some(Collected { sealed, share })
    }
}

/// Contents of a draft that shares nothing.
pub(super) struct FullContent {
    pub(super) seal: Arc<AtRestCipher>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) id: OutboxId,
    pub(super) stamp: i64,
    /// Sealed as it is, for `stamp`.
    pub(super) ready: Vec<u8>,
    pub(super) message: StoredMessage,
    pub(super) payload: Payload,
}

impl Content for FullContent {
    fn fixed(&self, first_stamp: i64) -> Vec<u8> {
        if first_stamp == 0 || first_stamp == self.stamp {
            return self.ready.clone();
        }
        // Another process took these stamps first.
        let mut payload = self.payload.clone();
        let again = encode(
            self.transport.as_ref(),
            &payload.destination,
            &self.message.to_message(),
            &self.id,
            first_stamp,
        );
        if let Ok(pieces) = again
            && pieces.len() == payload.pieces.len()
        {
            payload.pieces = pieces;
        }
        payload.seal(&self.seal, self.id.as_str())
    }

    fn follow_up(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        payload.fold = Fold::Repeats;
        payload.pieces = Vec::new();
        payload.seal(&self.seal, self.id.as_str())
    }

    fn collected(&self, row: &Collecting) -> Option<Collected> {
        if row.share.is_none() {
            return collected_in_full(&self.seal, row, &self.message);
        }
        let mut slim = Slim::open(&self.seal, &row.id, row.sealed.as_deref()?).ok()?;
        slim.collect(self.message.clone());
        let sealed = slim.seal(&self.seal, &row.id);
        Some(Collected { sealed, share: None })
    }
}

/// Puts a message to an entry that shares nothing.
fn collected_in_full(seal: &AtRestCipher, row: &Collecting, message: &StoredMessage) -> Option<Collected> {
    let mut payload = Payload::open(seal, &row.id, row.sealed.as_deref()).ok()?;
    payload.collect(message.clone());
    Some(Collected {
        sealed: payload.seal(seal, &row.id),
        share: None,
    })
}
