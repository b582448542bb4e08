//! Limits of a session.

/// Largest number of messages that one message may skip in a chain (XEP-0384 0.9, "Double Ratchet",
/// recommends 1000).
pub const MAX_SKIP: u32 = 1000;
/// Largest number of stored keys of skipped messages in one session. The oldest are dropped first.
pub const MAX_SKIPPED_KEYS: usize = 2000;
