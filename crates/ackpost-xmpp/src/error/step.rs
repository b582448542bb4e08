//! The step during which a failure happened, and the reason why its outcome is unknown.

/// Reason why it is unknown whether a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// The message is in the account's archive, but the server restarted before it surely passed it on.
    Restarted,
    /// The server crashed while it handled the message. Its archive does not have the message and may have lost its
    /// latest entries.
    Forgotten,
    /// The connection broke a second time, and no archive shows whether the message arrived.
    NoArchive,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Restarted => "the server archived it and restarted, perhaps before it passed it on",
            Self::Forgotten => "the server crashed at this moment, and its archive, which may have lost the latest entries, does not have it",
            Self::NoArchive => "the connection broke twice, and no archive shows whether it arrived",
        })
    }
}

/// The step at which time ran out or the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Waiting for the server's first words.
    Opening,
    /// Waiting for the features of a stream that the server has opened.
    Features,
    /// Asking for STARTTLS.
    StartTls,
    /// The TLS handshake.
    Tls,
    /// Logging in.
    Login,
    /// Binding a resource.
    Binding,
    /// Writing messages.
    Writing,
    /// Waiting for the confirmation.
    Confirming,
    /// Joining a room.
    Joining,
    /// Looking for the upload service and a slot.
    Upload,
    /// Asking for something else (archive, contact list).
    Query,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Opening => "opening the stream",
            Self::Features => "waiting for the features of the opened stream",
            Self::StartTls => "asking for STARTTLS",
            Self::Tls => "negotiating TLS",
            Self::Login => "logging in",
            Self::Binding => "starting the session",
            Self::Writing => "writing the message",
            Self::Confirming => "waiting for the confirmation",
            Self::Joining => "joining the room",
            Self::Upload => "preparing the upload",
            Self::Query => "waiting for an answer",
        })
    }
}
