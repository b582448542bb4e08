//! Devices and people that a message is not readable for, each with the reason.

use std::fmt;

use crate::jid::Jid;

/// A device or a person that a message is not readable for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Address of the account.
    pub jid: Jid,
    /// The device id; `None` for the whole account.
    pub device: Option<u32>,
    /// The reason for it.
    pub reason: LeftOutReason,
}

/// Reason why a device or a person is left out of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftOutReason {
    /// The person has no device list, or shows it to contacts only.
    NoKeys,
    /// The person had keys before, and shows none now.
    KeysGone,
    /// The device is in the list and has no bundle.
    NoBundle,
    /// The bundle is broken, or its signature is wrong.
    BadBundle,
    /// The keys could not be fetched now.
    Unavailable,
    /// A key of this person was verified, and this one was not.
    NotVerified,
    /// The key is not among those that are pinned.
    NotPinned,
    /// A person decided against the key.
    Distrusted,
    /// The key was verified as that of another account.
    OtherAccount,
    /// More devices than one message can have keys for.
    TooMany,
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKeys => "no OMEMO keys",
            Self::KeysGone => "had OMEMO keys before and shows none now",
            Self::NoBundle => "no bundle",
            Self::BadBundle => "broken bundle",
            Self::Unavailable => "keys not available now",
            Self::NotVerified => "key not verified",
            Self::NotPinned => "key not pinned",
            Self::Distrusted => "key distrusted",
            Self::OtherAccount => "verified as the key of another account",
            Self::TooMany => "too many devices",
        })
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Some(device) => write!(f, "device {device} of {} ({})", self.jid, self.reason),
            None => write!(f, "{} ({})", self.jid, self.reason),
        }
    }
}

/// Maximum number of entries that are named in a text.
const NAMED_MAX: usize = 10;

/// Names the entries, as part of a sentence.
pub(super) fn list(left_out: &[LeftOut]) -> String {
    let mut text = left_out
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if left_out.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", left_out.len() - NAMED_MAX));
    }
    text
}
