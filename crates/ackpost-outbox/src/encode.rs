//! The pieces of a message.

use ackpost_notify::{Encoded, Message, MessageId, Outcome};

use super::transport::{Destination, Transport};
use super::types::OutboxId;

/// Encodes the pieces of a message, or returns why it can never be sent.
pub(super) fn encode(
    transport: &dyn Transport,
    destination: &Destination,
    message: &Message,
    id: &OutboxId,
    stamp: i64,
) -> Result<Vec<Encoded>, (String, String)> {
    let stamp = MessageId {
        sent_at_ms: u64::try_from(stamp).unwrap_or(0),
        id: id.to_string(),
    };
    match transport.encode(destination, message, &stamp) {
        Ok(pieces) if pieces.is_empty() => Err((
            "there is nothing to send: title and body are empty".to_owned(),
            "give a body or a title".to_owned(),
        )),
        Ok(pieces) => Ok(pieces),
        Err(Outcome::Deferred { reason, remedy, .. } | Outcome::Refused { reason, remedy }) => {
            Err((reason, remedy))
        }
        Err(Outcome::Delivered { .. } | Outcome::Partial { .. }) => {
            Err(("it cannot be rendered".to_owned(), "report this".to_owned()))
        }
    }
}

/// Number of pieces, as the database counts them.
pub(super) fn count_of(pieces: &[Encoded]) -> i64 {
    i64::try_from(pieces.len()).unwrap_or(i64::MAX)
}
