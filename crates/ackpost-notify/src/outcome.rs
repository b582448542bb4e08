//! Result of a message at one target.

use std::fmt;
use std::time::Duration;

/// Result of a message at one target. There is no fifth possibility.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message may not be delivered"]
pub enum Outcome {
    /// The other side said that it has the message.
    Delivered {
        /// Kind of the confirmation.
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
        /// Reason, as a lower-case fragment.
        reason: String,
        /// Remedy: an action that a person can take.
        remedy: String,
    },
    /// Not delivered, and trying again later may help.
    Deferred {
        /// Reason, as a lower-case fragment.
        reason: String,
        /// Remedy: an action that a person can take.
        remedy: String,
        /// Time that the other side asked to wait.
        retry_after: Option<Duration>,
    },
    /// Not delivered, and the same attempt would fail again.
    Refused {
        /// Reason, as a lower-case fragment.
        reason: String,
        /// Remedy: an action that a person can take.
        remedy: String,
    },
}

impl Outcome {
    /// Creates the outcome of a refused message.
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
    pub fn with_piece(self, later: Self) -> Self {
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
                confirmed_by: Confirmation::HandedOver | Confirmation::Apprise,
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

    /// True when it is a success without proof: the message was handed over.
    pub fn is_handed_over(&self) -> bool {
        matches!(
            self,
            Self::Delivered {
                confirmed_by: Confirmation::HandedOver | Confirmation::Apprise,
                ..
            }
        )
    }

    /// True when the other side took the message, so that it must not be sent again.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Partial { .. })
    }

    /// Returns the outcome of a message whose text went without some of its files, for these reasons: incomplete, if it was
    /// delivered.
    pub fn without_files(self, missing: &[String]) -> Self {
        if missing.is_empty() {
            return self;
        }
        let reason = format!("the text was sent without {}", missing.join("; without "));
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

    /// Returns the reason, if the message was not delivered.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Partial { reason, .. } | Self::Deferred { reason, .. } | Self::Refused { reason, .. } => {
                Some(reason)
            }
        }
    }

    /// Returns the remedy, if the message was not delivered.
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
    /// The message is not visible: it waits for approval, or a filter hides it.
    Withheld,
    /// The text arrived without some of its files.
    Files,
    /// The confirmation that was asked for did not come.
    Proof,
}

impl Lack {
    /// All kinds.
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

/// Evidence that "delivered" rests on, from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Confirmation {
    /// Written to the connection, nothing more (only when `confirm=sent` asks for no more).
    Sent,
    /// Apprise reported success. Its services answer differently, and some do not answer at all.
    Apprise,
    /// The message was handed over without proof. XMPP: the sender's server passed it to another domain and nothing
    /// came back in time. SOGS: the server accepted it, but its answer does not show our message. Mail: the first mail
    /// server queued it.
    HandedOver,
    /// The server has taken it: SOGS answered with an id and our own message; XMPP answered the ping behind it; ntfy and
    /// Gotify answered with the id of the message, a webhook with a status from 200 to 299.
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
            Self::Apprise => "apprise",
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
