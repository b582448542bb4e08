//! One message as the queue keeps it.

use ackpost_notify::{Diagnostic, Encoded};
use serde::{Deserialize, Serialize};
use session_network::PreparedMessage;
use session_protocol::encoding::{b64, from_b64};

use crate::session_dm::NAME;

/// A text, and the sealed message with its receipts once it was sent for the first time.
///
/// Sealing needs randomness and a time that no other message has, so it happens at the first send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) id: String,
    pub(crate) text: String,
    /// Base64 of [`PreparedMessage::to_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    /// Reason why files are not part of the sealed message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
}

impl Piece {
    pub(crate) fn new(id: &str, text: &str) -> Self {
        Self {
            id: id.to_owned(),
            text: text.to_owned(),
            sealed: None,
            missing: Vec::new(),
        }
    }

    /// Reads a piece of the queue.
    pub(crate) fn read(encoded: &Encoded) -> Result<Self, Diagnostic> {
        encoded.to_value(NAME)
    }

    pub(crate) fn encode(&self) -> Encoded {
        Encoded::from_value(NAME, self)
    }

    /// The sealed message, if it was sealed.
    pub(crate) fn sealed(&self) -> Result<Option<PreparedMessage>, Diagnostic> {
        let damaged = || Diagnostic::error("the stored message is damaged", "send it again");
        let Some(sealed) = &self.sealed else {
            return Ok(None);
        };
        let bytes = from_b64(sealed).ok_or_else(damaged)?;
        PreparedMessage::from_bytes(&bytes)
            .map(Some)
            .map_err(|_| damaged())
    }

    /// The same piece with this sealed message.
    pub(crate) fn with(&self, message: &PreparedMessage) -> Self {
        Self {
            sealed: Some(b64(message.to_bytes())),
            ..self.clone()
        }
    }
}
