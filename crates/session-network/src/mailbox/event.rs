//! Messages and other events of a mailbox, and the result of a poll.

use core::fmt;
use std::time::Duration;

use session_protocol::SessionId;
use session_protocol::content::AttachmentPointer;
use session_protocol::network::content::DirectContent;
use session_protocol::network::message::{self, MessageError};
use session_protocol::network::storage::{MAX_TTL_MS, MessageHash};

use super::state;
use crate::draft::Disappearing;
use crate::file::MAX_FILES;

/// Pause between two polls while a mailbox has more.
const MORE_PAUSE: Duration = Duration::from_secs(1);
/// Time by which the signed time of a message may be ahead of the network's, milliseconds.
pub(super) const FAR_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;
/// The value of `flags` in a message that changes the expiration timer.
const TIMER_CHANGED: u32 = 2;

/// A message of the mailbox. Its debug form shows no text, name or key.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct IncomingMessage {
    /// The hash under which the nodes keep it.
    pub hash: MessageHash,
    /// The sender. Proved by a signature.
    pub from: SessionId,
    /// The name under which the sender wants to be shown.
    pub name: Option<String>,
    /// Text of the message.
    pub text: Option<String>,
    /// Time when it was sent, by the sender's clock, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Rule by which it disappears from the devices.
    pub disappearing: Option<Disappearing>,
    /// Time when the nodes drop it, milliseconds since 1970. Not signed.
    pub expires_ms: u64,
    /// The recipient of a copy that another device of this account left here.
    pub sent_to: Option<SessionId>,
    /// Everything else that the sender signed: attachments, quotes, reactions.
    pub content: DirectContent,
}

/// An event of a mailbox.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Box<IncomingMessage>),
    /// An account accepted our message request.
    RequestAccepted {
        /// Address of the account.
        from: SessionId,
        /// Displayed name of the account, if it sent one.
        name: Option<String>,
        /// Time of the event, milliseconds since 1970.
        timestamp_ms: u64,
    },
    /// An account changed when messages of the conversation disappear.
    ExpiryChanged {
        /// Address of the account.
        from: SessionId,
        /// The new rule; `None` if messages stay.
        disappearing: Option<Disappearing>,
        /// Time of the event, milliseconds since 1970.
        timestamp_ms: u64,
    },
    /// An account retracts a message.
    Unsent {
        /// Address of the account.
        from: SessionId,
        /// The time of the message, milliseconds since 1970.
        timestamp_ms: u64,
    },
    /// Bytes that are not a readable message: for another version of the protocol, forged, damaged, signed longer ago than
    /// nodes keep messages, in the future, or refused because of a flood ([`MessageError::Crowded`]). A poll gives at most 256 of
    /// these.
    Unreadable {
        /// Their hash.
        hash: MessageHash,
        /// The reason for it.
        reason: MessageError,
    },
}

/// The result of one poll.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Polled {
    /// New events, in the node's order.
    pub events: Vec<Event>,
    /// Number of entries that were dropped because their hash is not that of their bytes.
    pub dropped: usize,
    /// Number of entries that were known already.
    pub known: usize,
    /// Number of unreadable entries beyond the first 256, for which there is no event.
    pub unreadable: usize,
    /// Number of messages that wait, because too many are remembered and the oldest one is not handled yet. They come once it is.
    pub postponed: usize,
    /// True if the mailbox has more: poll again after [`Polled::pause`].
    pub more: bool,
}

impl Polled {
    /// Returns the time to wait before the next poll: `interval`, or at most a second while the mailbox has more. A node may say so
    /// for ever.
    pub fn pause(&self, interval: Duration) -> Duration {
        if self.more {
            interval.min(MORE_PAUSE)
        } else {
            interval
        }
    }
}

impl fmt::Debug for IncomingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingMessage")
            .field("hash", &self.hash)
            .field("from", &self.from)
            .field("timestamp_ms", &self.timestamp_ms)
            .field("text_bytes", &self.text.as_ref().map(String::len))
            .field("files", &self.files().len())
            .finish_non_exhaustive()
    }
}

impl IncomingMessage {
    /// Returns the pointers to the files of the message, at most [`crate::MAX_FILES`]. [`crate::Network::download`] fetches one.
    pub fn files(&self) -> &[AttachmentPointer] {
        let data = self.content.data_message.as_ref();
        let files = data.map(|data| data.attachments.as_slice()).unwrap_or_default();
        &files[..files.len().min(MAX_FILES)]
    }
}

impl Event {
    /// The account whose event it is. `None` for bytes that are not readable.
    pub fn from(&self) -> Option<&SessionId> {
        match self {
            Self::Message(message) => Some(&message.from),
            Self::RequestAccepted { from, .. }
            | Self::ExpiryChanged { from, .. }
            | Self::Unsent { from, .. } => Some(from),
            Self::Unreadable { .. } => None,
        }
    }
}

/// The message with the time that its sender signed. The time of the envelope is only a copy, which nodes can change.
///
/// # Errors
/// [`MessageError::TooOld`] if nodes can no longer have the message by right, and it may no longer be remembered here.
/// [`MessageError::FarAhead`] if it was signed more than a day in the future.
pub(super) fn dated(
    mut opened: message::OpenedMessage,
    now_ms: u64,
) -> Result<message::OpenedMessage, MessageError> {
    opened.timestamp_ms = opened.signed_timestamp_ms().unwrap_or(opened.timestamp_ms);
    let gone_ms = opened.timestamp_ms.saturating_add(MAX_TTL_MS + state::LEEWAY_MS);
    if gone_ms <= now_ms {
        return Err(MessageError::TooOld);
    }
    if opened.timestamp_ms > now_ms.saturating_add(FAR_AHEAD_MS) {
        return Err(MessageError::FarAhead);
    }
    Ok(opened)
}

/// The event of an opened message. `None` for what bots do not need: typing, receipts.
pub(super) fn event(
    hash: MessageHash,
    expires_ms: u64,
    opened: message::OpenedMessage,
    owner: &SessionId,
) -> Option<Event> {
    let (from, timestamp_ms) = (opened.sender, opened.timestamp_ms);
    let name = opened.content.display_name().map(str::to_owned);
    let disappearing = disappearing(&opened.content);
    if let Some(unsend) = &opened.content.unsend {
        return Some(Event::Unsent {
            from,
            timestamp_ms: unsend.timestamp?,
        });
    }
    if let Some(response) = &opened.content.request_response {
        return response.is_approved.then_some(Event::RequestAccepted {
            from,
            name,
            timestamp_ms,
        });
    }
    let data = opened.content.data_message.as_ref()?;
    if data.flags == Some(TIMER_CHANGED) {
        return Some(Event::ExpiryChanged {
            from,
            disappearing,
            timestamp_ms,
        });
    }
    // Only the account itself can name another recipient.
    let sent_to = (from == *owner)
        .then(|| data.sync_target.as_ref()?.parse().ok())
        .flatten();
    Some(Event::Message(Box::new(IncomingMessage {
        hash,
        from,
        name,
        text: opened.content.body().map(str::to_owned),
        timestamp_ms,
        disappearing,
        expires_ms,
        sent_to,
        content: opened.content,
    })))
}

fn disappearing(content: &DirectContent) -> Option<Disappearing> {
    let after = content.expiration_timer_secs.filter(|secs| *secs > 0)?;
    let after = Duration::from_secs(after.into());
    match content.expiration_type {
        Some(1) => Some(Disappearing::AfterRead(after)),
        Some(2) => Some(Disappearing::AfterSent(after)),
        _ => None,
    }
}
