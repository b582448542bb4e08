//! Direct messages in a server's inbox and outbox.

use serde::{Deserialize, Serialize};
use session_protocol::SessionId;
use session_protocol::content::Content;
use session_protocol::dm::DmError;

/// Answer to a message put into an inbox: `POST /inbox/SID`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxReceipt {
    /// Number of the item.
    pub id: u64,
    /// Time of posting, unix seconds.
    pub posted_at: f64,
    /// Time at which the server drops it, unix seconds.
    pub expires_at: f64,
    /// Blinded id of the sender, which is ours.
    pub sender: SessionId,
    /// Account whose inbox has the message.
    pub recipient: SessionId,
}

/// An item of an inbox or outbox, still encrypted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxItem {
    /// Number of the item.
    pub id: u64,
    /// Time of posting, unix seconds.
    pub posted_at: f64,
    /// Time at which the server drops it, unix seconds.
    pub expires_at: f64,
    /// Blinded id of the sender.
    pub sender: SessionId,
    /// Blinded id of the recipient.
    pub recipient: SessionId,
    /// The encrypted message in base64.
    pub message: String,
}

/// An item of an inbox or outbox, opened as far as it opens.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectMessage {
    /// The item as it came.
    pub item: InboxItem,
    /// Content and the sender's real id, or why it does not open.
    pub opened: Result<(Content, SessionId), DmError>,
}

impl DirectMessage {
    /// The text, if the message opened and has any.
    pub fn body(&self) -> Option<&str> {
        self.opened.as_ref().ok()?.0.body()
    }

    /// The sender's real id (`05`), if the message opened.
    pub fn sender(&self) -> Option<SessionId> {
        self.opened.as_ref().ok().map(|(_, sender)| *sender)
    }
}
