//! Results of a handler.

use ackpost_bot::{ScheduleError, StoreError};

use crate::error::XmppError;

/// Result of a handler.
pub type Outcome = Result<(), BotError>;

/// Reason why a handler, or the whole bot, stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BotError {
    /// A message was not delivered, or the session ended.
    #[error(transparent)]
    Xmpp(#[from] XmppError),
    /// The memory cannot be read or written.
    #[error("the bot's memory cannot be kept: {0}")]
    State(#[from] StoreError),
    /// A schedule names a time that does not exist.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A text for the person who gave the command.
    #[error("{0}")]
    Say(String),
}
