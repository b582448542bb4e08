//! Target of a message.

/// One recipient of a message: a room token or a JID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// As it is addressed and shown: `lobby`, `jane@example.org`, `#room@conf.example.org`.
    pub address: String,
    /// True for rooms.
    pub room: bool,
}
