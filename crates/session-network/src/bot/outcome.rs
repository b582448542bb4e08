//! Results of a handler.

use crate::error::NetworkError;

/// Result of a handler.
pub type Outcome = Result<(), BotError>;

/// Reason why a handler, or the whole bot, stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BotError {
    /// A call failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The bot's memory cannot be kept.
    #[error("the bot's memory cannot be kept: {0}")]
    Memory(NetworkError),
    /// A text for the account that wrote the message.
    #[error("{0}")]
    Say(String),
}
