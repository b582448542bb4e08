//! Which bodies and answers take their memory from the budget of all connections.

use bounded_http::OutOfMemory;

use super::reply::Refusal;

/// Bytes of a body that are not counted.
pub(super) const SMALL_BODY: usize = 8 * 1024;
/// Bytes of an answer that are not counted: more than a page of messages has.
pub(crate) const SMALL_ANSWER: usize = 256 * 1024;

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Self {
        Self::text(503, "The server is busy; please try again later")
    }
}
