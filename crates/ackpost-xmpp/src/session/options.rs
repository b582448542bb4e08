//! Options of a kept session.

use std::time::Duration;

use crate::jid::Jid;
use crate::message::RoomTarget;

/// Maximum number of events that wait; further ones are dropped and counted.
pub(super) const EVENTS_MAX: usize = 8192;

/// Options of a kept session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Appear online (priority 0). Needed to receive what is sent to the bare address; sending,
    /// rooms and receipts do not need it.
    pub presence: bool,
    /// Rooms to be in all the time.
    pub rooms: Vec<RoomTarget>,
    /// Answer requests for receipts (XEP-0184) with yes.
    pub receipts: bool,
    /// Archives to follow: after a break, and from the id given at the start, what was missed is
    /// fetched. Our own bare address, or rooms.
    pub catch_up: Vec<(Jid, Option<String>)>,
    /// Archives of which no message is known yet: what was stored since this time (XEP-0082) is fetched at the start. An
    /// archive that is in `catch_up` with an id begins there.
    pub catch_up_since: Vec<(Jid, String)>,
    /// Ask for a session that can be resumed after a break (XEP-0198). Without, each break begins a new one.
    pub resume: bool,
    /// A ping is sent when nothing came for so long.
    pub ping_after: Duration,
    /// Longest time that one message may take, reconnects included.
    pub send_timeout: Duration,
    /// The longest pause between two attempts to connect.
    pub max_backoff: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            presence: false,
            rooms: Vec::new(),
            receipts: false,
            catch_up: Vec::new(),
            catch_up_since: Vec::new(),
            resume: true,
            ping_after: Duration::from_secs(60),
            send_timeout: Duration::from_secs(120),
            max_backoff: Duration::from_secs(60),
        }
    }
}

impl SessionOptions {
    /// For receiving: online, with receipts, in these rooms.
    pub fn receiving(rooms: Vec<RoomTarget>) -> Self {
        Self {
            presence: true,
            receipts: true,
            rooms,
            ..Self::default()
        }
    }
}
