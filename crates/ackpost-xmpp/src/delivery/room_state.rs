//! Known state of a room.

use std::time::SystemTime;

use secrecy::SecretString;
use tokio::time::Instant;

use crate::error::XmppError;

/// Password of a room. They are not compared: the first one given for a room counts.
pub(super) type RoomPassword = Option<SecretString>;

/// A room we are in, or entering.
pub(super) struct Room {
    pub(super) wanted_nick: String,
    pub(super) nick: String,
    pub(super) attempt: u32,
    pub(super) password: RoomPassword,
    pub(super) create: bool,
    pub(super) join_id: String,
    pub(super) stage: Stage,
    pub(super) created: bool,
    /// Reason why the room will not have us, while something about it is still being asked.
    pub(super) refused: Option<XmppError>,
    /// Our permanent id in this room (XEP-0421), if the room gives such ids.
    pub(super) occupant_id: Option<String>,
    /// Hold messages back until the history is here: one of them may already be in it.
    pub(super) history_since: Option<SystemTime>,
    /// The oldest message of the history, by the clock of the room.
    pub(super) history_oldest: Option<SystemTime>,
    /// Time when the room was asked for what its stage waits for.
    pub(super) asked: Instant,
    /// Our join made it, and it was not set up or removed in time.
    pub(super) unfinished: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The join is on its way.
    Entering,
    /// Our join made the room, and it is being set up.
    Configuring,
    Inside,
    /// We were in, and the session that was is gone.
    Outside,
    /// The room only came into being by our join, and is being removed again.
    Removing,
}

/// Our state in a room, for the owner of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomView {
    pub(crate) nick: String,
    pub(crate) inside: bool,
    /// The room gives permanent ids (XEP-0421): our own presence has one.
    pub(crate) occupant_ids: bool,
}
