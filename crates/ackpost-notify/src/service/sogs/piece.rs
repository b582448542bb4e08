//! Pieces of messages for communities, encoded and decoded.

use serde::{Deserialize, Serialize};

use crate::service::encoded::Encoded;

use super::params::NAME;

/// A post in a community room. The outbox stores it; the names of the fields stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SogsPiece {
    /// The text.
    pub(super) body: String,
    /// The time that is signed, milliseconds since the epoch.
    pub(super) sent_at_ms: u64,
    /// The signed bytes; `None` while files or a quoted message are still to be added on the way.
    pub(super) fixed: Option<SignedPost>,
}

/// The signed bytes of a post, signed under each id that the server may want to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignedPost {
    /// Padded content, in hex.
    pub(super) data: String,
    /// Signature of the account's own id (05), in hex.
    pub(super) account_signature: String,
    /// Signature of the blinded id (15), in hex.
    pub(super) blinded_signature: String,
    /// Numbers of the uploaded files.
    pub(super) files: Vec<u64>,
    /// Files that could not be uploaded, and why; the text goes without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) missing: Vec<String>,
}

impl SogsPiece {
    /// Encodes the piece.
    pub(super) fn encode(&self) -> Encoded {
        Encoded::from_value(NAME, self)
    }
}
