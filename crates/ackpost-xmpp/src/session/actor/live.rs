//! What belongs to one connection.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::Jid;
use crate::stream::Stream;

/// A connection and what it was asked.
pub(super) struct Live {
    pub(super) stream: Stream,
    pub(super) limit: Duration,
    pub(super) ping_after: Duration,
    pub(super) last_heard: Instant,
    pub(super) pinged: Option<Instant>,
    /// Stanzas were sent that the server was not asked about.
    pub(super) unasked: bool,
    pub(super) self_pings: HashMap<String, Jid>,
    /// The server ended the stream in order.
    pub(super) closed: bool,
}

impl Live {
    pub(super) fn new(stream: Stream, limit: Duration, ping_after: Duration) -> Self {
        Self {
            stream,
            limit,
            ping_after,
            last_heard: Instant::now(),
            pinged: None,
            unasked: false,
            self_pings: HashMap::new(),
            closed: false,
        }
    }

    pub(super) fn heard(&mut self) {
        self.last_heard = Instant::now();
        self.pinged = None;
    }

    /// When the next ping is due, or when the one that was sent should have been answered.
    pub(super) fn ping_due(&self) -> Instant {
        match self.pinged {
            Some(at) => at + self.limit,
            None => self.last_heard + self.ping_after,
        }
    }
}
