//! State of one connection.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::jid::Jid;
use crate::stream::Stream;

/// A connection and its open questions.
pub(super) struct Live {
    pub(super) stream: Stream,
    pub(super) limit: Duration,
    pub(super) ping_after: Duration,
    pub(super) last_heard: Instant,
    pub(super) pinged: Option<Instant>,
    /// Stanzas were sent that the server was not asked about.
    pub(super) unasked: bool,
    pub(super) self_pings: HashMap<String, Jid>,
    /// Number of stanzas that were queued since everything was written last.
    pub(super) unwritten: usize,
    /// Time to look after the rooms.
    pub(super) rooms_due: Instant,
    /// The rooms that said something since the last look.
    pub(super) heard_rooms: HashSet<Jid>,
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
            unwritten: 0,
            rooms_due: Instant::now() + ping_after,
            heard_rooms: HashSet::new(),
            closed: false,
        }
    }

    pub(super) fn heard(&mut self) {
        self.last_heard = Instant::now();
        self.pinged = None;
    }

    /// Time when the next ping is due, or when the one that was sent should have been answered.
    pub(super) fn ping_due(&self) -> Instant {
        match self.pinged {
            Some(at) => at + self.limit,
            None => self.last_heard + self.ping_after,
        }
    }
}
