//! The role of a command's author.

/// The people who may use a command. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everybody.
    Everyone,
    /// Moderators and admins of the room.
    Moderator,
    /// Admins of the room.
    Admin,
    /// Operators of the bot: people whom its owner names.
    Operator,
}

impl Role {
    /// The answer to a person who may not use a command of this role.
    pub(crate) fn refusal(self) -> &'static str {
        match self {
            Self::Operator => "Only operators of the bot may do that.",
            Self::Admin => "Only admins may do that.",
            Self::Everyone | Self::Moderator => "Only moderators may do that.",
        }
    }
}
