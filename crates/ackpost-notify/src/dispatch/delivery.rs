//! One delivery: what goes to a target in one attempt, and what became of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::service::encoded::Encoded;
use crate::service::target::Target;

/// A future that owns what it needs, or borrows for `'a`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Called with the number of a piece and its final form before it is posted, when that form only came into being on
/// the way (files were uploaded, the quoted message was looked up). `false` means that it could not be stored: the
/// piece is then not posted.
pub type OnEncoded = Arc<dyn Fn(usize, Encoded) -> BoxFuture<'static, bool> + Send + Sync>;

/// Pieces and files for one target in one attempt.
#[derive(Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// Target of the delivery.
    pub target: Target,
    /// Pieces, in order. Pieces the other side already has are left out.
    pub pieces: Vec<Encoded>,
    /// Files that go with the first piece.
    pub files: Arc<[File]>,
    /// For each piece: an earlier attempt may have arrived, so look for it before sending it again.
    pub repeat: Vec<bool>,
    /// Time before which no attempt was made, if it is known. A look for an earlier attempt begins there if the pieces bear
    /// a later time, because the clock was ahead when they were made.
    pub since: Option<SystemTime>,
    /// Called before a piece is sent that was encoded anew on the way.
    pub on_encoded: Option<OnEncoded>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("target", &self.target)
            .field("pieces", &self.pieces.len())
            .finish_non_exhaustive()
    }
}

/// Identity of a message on the wire, fixed before the first attempt so that a repeat can be recognised: XMPP's id and
/// origin-id, and the time that a SOGS message carries and signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// A random id.
    pub id: String,
    /// Milliseconds since the epoch.
    pub sent_at_ms: u64,
}

impl MessageId {
    /// Makes a fresh id.
    pub fn new(now: SystemTime) -> Self {
        let mut random = [0_u8; 16];
        // Without randomness from the system the id is only as unique as the clock; still better than not sending.
        let _ = getrandom::fill(&mut random);
        let millis = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        Self {
            id: hex::encode(random),
            sent_at_ms: u64::try_from(millis).unwrap_or(u64::MAX),
        }
    }

    /// Returns the id of the piece with this number (from 0) of a message that goes out in several: `ID-n`, stamped n
    /// milliseconds later.
    pub fn piece(&self, number: usize) -> Self {
        Self {
            id: format!("{}-{number}", self.id),
            sent_at_ms: self.sent_at_ms + number as u64,
        }
    }
}

/// An attachment, read into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The name shown to the reader.
    pub name: String,
    /// The media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// Result of one piece in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "their own facts, each with its consequence"
)]
#[non_exhaustive]
pub struct Attempt {
    /// The outcome.
    pub outcome: Outcome,
    /// Remarks that are not failures.
    pub notes: Vec<String>,
    /// It failed, but the other side may have it all the same: the next attempt should look first.
    pub may_have_arrived: bool,
    /// It was sent and came back: no copy arrived, whatever an archive of the sender holds.
    pub came_back: bool,
    /// It was refused because a name did not resolve. A caller that waits for an answer should report that. A caller
    /// that can wait may try again, because an outage of DNS looks the same.
    pub unresolved: bool,
    /// It was sent a second time although nothing shows whether the first one arrived.
    pub repeated: bool,
}

/// A message that came back after it was reported delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The id of the piece on the wire.
    pub id: String,
    /// Recipient of the message.
    pub to: String,
    /// Reason why it came back.
    pub reason: String,
    /// Remedy: an action that a person can take.
    pub remedy: String,
}

impl Delivery {
    /// Makes the first delivery of these pieces, without files.
    pub fn new(target: Target, pieces: Vec<Encoded>) -> Self {
        Self {
            target,
            repeat: vec![false; pieces.len()],
            pieces,
            files: Arc::default(),
            since: None,
            on_encoded: None,
        }
    }

    /// Returns the time from which on an earlier attempt at a piece may have arrived, in milliseconds since the epoch.
    pub(crate) fn begun_ms(&self, sent_at_ms: u64) -> u64 {
        let since = self
            .since
            .and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok())
            .and_then(|since| u64::try_from(since.as_millis()).ok());
        since.map_or(sent_at_ms, |since| since.min(sent_at_ms))
    }

    /// Returns true if an earlier attempt at the piece with this number may have arrived.
    pub fn is_repeat(&self, piece: usize) -> bool {
        self.repeat.get(piece).copied().unwrap_or_default()
    }

    /// Returns true if an earlier attempt at any piece may have arrived.
    pub fn has_repeats(&self) -> bool {
        self.repeat.contains(&true)
    }
}

impl Attempt {
    /// Returns true if a copy of the piece may have arrived by now. `repeat`: an earlier attempt may have.
    ///
    /// Once in doubt, a piece stays in doubt, also when a later attempt surely failed, unless it came back.
    pub fn leaves_doubt(&self, repeat: bool) -> bool {
        self.may_have_arrived || (repeat && !self.came_back)
    }

    /// An outcome without remarks.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            notes: Vec::new(),
            may_have_arrived: false,
            came_back: false,
            unresolved: false,
            repeated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_in_doubt_stays_in_doubt_until_it_comes_back() {
        let attempt = |may_have_arrived, came_back| Attempt {
            may_have_arrived,
            came_back,
            ..Attempt::new(Outcome::deferred("cause", "remedy"))
        };
        // Refused before it was written.
        assert!(!attempt(false, false).leaves_doubt(false));
        assert!(attempt(false, false).leaves_doubt(true));
        // The connection broke.
        assert!(attempt(true, false).leaves_doubt(false));
        // Sent, and sent back.
        assert!(!attempt(false, true).leaves_doubt(true));
    }
}
