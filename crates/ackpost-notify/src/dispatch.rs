//! From a rendered message to outcomes: lanes, attempts, limits, and the connections they share.

mod accounts;
mod attach;
mod courier;
pub(crate) mod lane;
mod plan;
mod recent;
mod run;

pub use courier::{ConnectionOptions, ConnectionPool, Progress, ProgressFn};
pub(crate) use courier::{Party, fingerprint, keyed_mark};
pub use plan::{Plan, Planned, Prepared, prepare, prepare_shared};
pub(crate) use run::{CUT_OFF, run};

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::service::{Target, Wire};

/// Called with the number of a piece and its final form before it is posted, when that form only came into being on
/// the way (files were uploaded, the quoted message was looked up). `false` means that it could not be stored: the
/// piece is then not posted.
pub type OnEncoded = Arc<dyn Fn(usize, Wire) -> BoxFuture<'static, bool> + Send + Sync>;

/// What goes to one target in one attempt.
#[derive(Clone)]
pub struct Parcel {
    /// Where to.
    pub target: Target,
    /// What, in order. Pieces the other side already has are left out.
    pub wires: Vec<Wire>,
    /// Files that go with the first piece.
    pub files: Arc<[File]>,
    /// For each piece: an earlier attempt may have arrived, so look for it before sending it again.
    pub repeat: Vec<bool>,
    /// Told about forms that were fixed on the way.
    pub fixed: Option<OnEncoded>,
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel")
            .field("target", &self.target)
            .field("wires", &self.wires.len())
            .finish_non_exhaustive()
    }
}

/// What identifies a message on the wire, fixed before the first attempt so that a repeat can be recognised:
/// XMPP's id and origin-id, and the time that a SOGS message carries and signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// A random id.
    pub id: String,
    /// Milliseconds since the epoch.
    pub sent_at_ms: u64,
}

impl MessageId {
    /// A fresh stamp.
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

/// What became of one piece in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of their own, each with its consequence"
)]
pub struct AttemptResult {
    /// The outcome.
    pub outcome: Outcome,
    /// Remarks that are no failures.
    pub notes: Vec<String>,
    /// It failed, but the other side may have it all the same: the next attempt should look first.
    pub may_have_arrived: bool,
    /// It was sent and came back: no copy arrived, whatever an archive of the sender holds.
    pub came_back: bool,
    /// It was refused because a name did not resolve. Who waits for an answer is served best by that; who can wait may
    /// try again, because an outage of DNS looks just so.
    pub unresolved: bool,
    /// It was sent a second time although nothing shows whether the first one arrived.
    pub repeated: bool,
}

/// A message that came back after it was reported delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The id of the piece on the wire.
    pub id: String,
    /// Its recipient.
    pub to: String,
    /// Why it came back.
    pub reason: String,
    /// What a person can do about it.
    pub remedy: String,
}

impl Parcel {
    /// Returns true if an earlier attempt at the piece with this number may have arrived.
    pub fn is_repeat(&self, piece: usize) -> bool {
        self.repeat.get(piece).copied().unwrap_or_default()
    }

    /// Returns true if an earlier attempt at any piece may have arrived.
    pub fn has_repeats(&self) -> bool {
        self.repeat.contains(&true)
    }
}

impl AttemptResult {
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
        let attempt = |may_have_arrived, came_back| AttemptResult {
            may_have_arrived,
            came_back,
            ..AttemptResult::new(Outcome::deferred("cause", "remedy"))
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
