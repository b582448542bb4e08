//! Bodies and answers that take their memory from the budget of all connections.

/// Bytes of a body that are not counted.
pub(super) const SMALL_BODY: usize = 8 * 1024;
/// Bytes of an answer that are not counted: more than a page of messages has.
pub(crate) const SMALL_ANSWER: usize = 256 * 1024;
