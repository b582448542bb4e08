//! What became of a message at one target.

use std::fmt;
use std::time::Duration;

/// What became of a message at one target. There is no fourth possibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side said that it has the message.
    Delivered {
        /// Who or what said so.
        confirmed_by: Confirmation,
        /// The message's id on the other side (SOGS message id, XMPP origin-id), when there is one.
        id: Option<String>,
    },
    /// Not delivered, and trying again later may help.
    Deferred {
        /// What happened, as a lower-case fragment.
        reason: String,
        /// What a person can do about it.
        remedy: String,
        /// How long the other side asked to wait.
        retry_after: Option<Duration>,
    },
    /// Not delivered, and the same attempt would fail again.
    Refused {
        /// What happened, as a lower-case fragment.
        reason: String,
        /// What a person can do about it.
        remedy: String,
    },
}

impl Outcome {
    /// A refusal.
    pub fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// A failure that may pass.
    pub fn deferred(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Deferred {
            reason: reason.into(),
            remedy: remedy.into(),
            retry_after: None,
        }
    }

    /// `delivered`, `deferred` or `refused`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Deferred { .. } => "deferred",
            Self::Refused { .. } => "refused",
        }
    }

    /// True when the other side has the message.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }

    /// What happened, when it was not delivered.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Deferred { reason, .. } | Self::Refused { reason, .. } => Some(reason),
        }
    }

    /// What a person can do about it, when it was not delivered.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Deferred { remedy, .. } | Self::Refused { remedy, .. } => Some(remedy),
        }
    }
}

/// What "delivered" rests on, from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Confirmation {
    /// Written to the connection, nothing more (only when `confirm=sent` asks for no more).
    Sent,
    /// The sender's own server handed it to another domain and nothing came back in time.
    HandedOver,
    /// The server has taken it: SOGS answered 201 with an id; XMPP answered the ping behind it.
    Server,
    /// The room reflected it to us with our id.
    Room,
    /// The recipient's program sent a receipt.
    Receipt,
}

impl Confirmation {
    /// The word used in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::HandedOver => "handed-over",
            Self::Server => "server",
            Self::Room => "room",
            Self::Receipt => "receipt",
        }
    }
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
