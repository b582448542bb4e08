//! From a rendered message to outcomes: lanes, attempts, limits, and the connections they share.

mod attach;
mod courier;
pub(crate) mod lane;
mod plan;
mod run;

pub use courier::{Courier, CourierOptions};
pub use plan::{Plan, Planned, Prepared, prepare};
pub(crate) use run::run;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::outcome::Outcome;
use crate::service::{Chunk, Target};

/// What goes to one target in one attempt.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Where to.
    pub target: Target,
    /// What, in order. Pieces the other side already has are left out.
    pub pieces: Vec<Piece>,
    /// Files, sent before the first piece (and only with it).
    pub attachments: Arc<[File]>,
}

/// One piece of text, with what identifies it on the wire.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The text.
    pub chunk: Chunk,
    /// Its identity, the same in every attempt.
    pub wire: WireIdentity,
}

/// What identifies a message on the wire, fixed before the first attempt so that a repeat can be recognised:
/// XMPP's origin-id, and the time that a SOGS message carries and signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireIdentity {
    /// A random id.
    pub id: String,
    /// Milliseconds since the epoch.
    pub timestamp_ms: u64,
}

impl WireIdentity {
    /// A fresh identity.
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
            timestamp_ms: u64::try_from(millis).unwrap_or(u64::MAX),
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
pub struct Attempt {
    /// The outcome.
    pub outcome: Outcome,
    /// Remarks that are no failures.
    pub notes: Vec<String>,
}

impl Attempt {
    /// An outcome without remarks.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            notes: Vec::new(),
        }
    }
}
