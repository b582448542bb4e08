//! Result of a message at one target.

use std::fmt;
use std::time::Duration;

/// Result of a message at one target. There is no fifth possibility.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message may not be delivered"]
pub enum Outcome {
    /// The other side said that it has the message.
    Delivered {
        /// Who or what said so.
        confirmed_by: Confirmation,
        /// The message's id on the other side (SOGS message id, XMPP origin-id), when there is one.
        id: Option<String>,
    },
    /// The other side took the message, but not as it was asked for. It must not be sent again.
    Partial {
        /// The part that is missing.
        lack: Lack,
        /// The message's id on the other side, when there is one.
        id: Option<String>,
        /// What happened, as a lower-case fragment.
        reason: String,
        /// What a person can do about it.
        remedy: String,
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

    /// Returns the outcome of a message in several pieces that were all taken: the first that was not taken as it was
    /// asked for, else the weakest confirmation, with the first id.
    pub(crate) fn with_piece(self, later: Self) -> Self {
        match (self, later) {
            (
                Self::Delivered { confirmed_by, id },
                Self::Delivered {
                    confirmed_by: other,
                    id: later,
                },
            ) => Self::Delivered {
                confirmed_by: confirmed_by.min(other),
                id: id.or(later),
            },
            (Self::Delivered { id: first, .. }, mut partial) => {
                if let (Self::Partial { id, .. }, Some(first)) = (&mut partial, first) {
                    *id = Some(first);
                }
                partial
            }
            (mut partial, Self::Delivered { id: later, .. } | Self::Partial { id: later, .. }) => {
                if let Self::Partial { id: id @ None, .. } = &mut partial {
                    *id = later;
                }
                partial
            }
            (earlier, _) => earlier,
        }
    }

    /// Returns `delivered`, `handed-over`, the word of a [`Lack`], `deferred` or `refused`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered {
                confirmed_by: Confirmation::HandedOver,
                ..
            } => "handed-over",
            Self::Delivered { .. } => "delivered",
            Self::Partial { lack, .. } => lack.as_str(),
            Self::Deferred { .. } => "deferred",
            Self::Refused { .. } => "refused",
        }
    }

    /// True when the other side has the message as it was asked for.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }

    /// True when the other side took the message, so that it must not be sent again.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Partial { .. })
    }

    /// The same outcome for a message whose text went without some of its files, for these reasons.
    pub(crate) fn without_files(self, missing: &[String]) -> Self {
        if missing.is_empty() {
            return self;
        }
        let reason = format!("the text went without {}", missing.join("; without "));
        match self {
            Self::Delivered { id, .. } => Self::Partial {
                lack: Lack::Files,
                id,
                reason,
                remedy: "send the missing file again".to_owned(),
            },
            Self::Partial {
                lack,
                id,
                reason: first,
                remedy,
            } => Self::Partial {
                lack,
                id,
                reason: format!("{first}; {reason}"),
                remedy,
            },
            other => other,
        }
    }

    /// What happened, when it was not delivered.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Partial { reason, .. } | Self::Deferred { reason, .. } | Self::Refused { reason, .. } => {
                Some(reason)
            }
        }
    }

    /// What a person can do about it, when it was not delivered.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Partial { remedy, .. } | Self::Deferred { remedy, .. } | Self::Refused { remedy, .. } => {
                Some(remedy)
            }
        }
    }
}

/// The part of a delivery that is missing although the other side took the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lack {
    /// Nobody sees the message: it waits for approval, or a filter hides it.
    Withheld,
    /// The text arrived without some of its files.
    Files,
    /// The confirmation that was asked for did not come.
    Proof,
}

impl Lack {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Withheld, Self::Files, Self::Proof];

    /// Returns the word used in `--json` and in the text: `withheld`, `incomplete` or `unconfirmed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::Files => "incomplete",
            Self::Proof => "unconfirmed",
        }
    }
}

/// What "delivered" rests on, from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Confirmation {
    /// Written to the connection, nothing more (only when `confirm=sent` asks for no more).
    Sent,
    /// The message was handed over without proof. XMPP: the sender's server passed it to another domain and nothing
    /// came back in time. SOGS: the server accepted it, but its answer does not show our message.
    HandedOver,
    /// The server has taken it: SOGS answered with an id and our own message; XMPP answered the ping behind it.
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
