//! Decisions about identity keys.

use std::fmt;

/// The decision about an identity key. It belongs to the pair of account and key, never to a device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trust {
    /// Seen, and nobody decided.
    Undecided,
    /// Trusted at first sight.
    Blind,
    /// A person compared the fingerprint.
    Verified,
    /// A person decided against the key.
    Distrusted,
}

impl Trust {
    /// Returns true if a person decided.
    pub const fn is_decided(self) -> bool {
        matches!(self, Self::Verified | Self::Distrusted)
    }

    /// The word used in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Blind => "trusted at first sight",
            Self::Verified => "verified",
            Self::Distrusted => "distrusted",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Rule for the keys that may read messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrustPolicy {
    /// New keys are trusted at first sight until one key of the account is verified; from then on new keys wait for a
    /// decision (blind trust before verification).
    #[default]
    Tofu,
    /// Only keys that a person verified, or that are pinned.
    Pinned,
    /// Every key that is not distrusted.
    Any,
}
