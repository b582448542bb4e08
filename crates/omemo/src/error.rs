//! Errors of all operations.

use crate::identity_key::IdentityKey;
use crate::limits::MAX_SKIP;

/// Cause of a failed operation. No operation that fails changes any state.
///
/// `Display` names the cause in one line; [`Error::remedy`] says what can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes or XML that do not follow the specification. The text names the part.
    #[error("cannot read the {0}: it does not follow the specification")]
    Malformed(&'static str),
    /// Input beyond a limit of this crate. The text names the part; the number is the limit in its unit.
    #[error("cannot read the {what}: it exceeds the limit of {limit}")]
    TooLarge {
        /// The part that is too large.
        what: &'static str,
        /// The limit, in bytes or in entries.
        limit: usize,
    },
    /// A protocol version byte other than 0x33 in a message of [`crate::Version::Axolotl`].
    #[error("cannot read the message: unknown protocol version byte {0:#04x}")]
    UnknownProtocolVersion(u8),
    /// A session, bundle or message of the other [`crate::Version`].
    #[error("cannot combine the session and the message: they belong to different versions of OMEMO")]
    WrongVersion,
    /// A public key that is not a valid point, or a point of small order.
    #[error("cannot use the public key: it is not a valid Curve25519 key")]
    InvalidKey,
    /// A signature that does not belong to the key and the bytes.
    #[error("cannot trust the bundle: the signature of the signed prekey is wrong")]
    BadSignature,
    /// A bundle without prekeys, or a key exchange that names none.
    #[error("cannot set up a session: there is no prekey")]
    NoPreKey,
    /// A key exchange for a prekey or signed prekey that this device does not have (any more).
    #[error("cannot set up a session: this device has no private key for prekey {0}")]
    UnknownPreKey(u32),
    /// A key exchange from another identity key than the session's.
    #[error("cannot accept the key exchange: the identity key of the device has changed")]
    IdentityChanged(Box<IdentityKey>),
    /// A message without key exchange from a device without session.
    #[error("cannot decrypt the message: there is no session with the device")]
    NoSession,
    /// A message without a key for this device.
    #[error("cannot decrypt the message: it is not encrypted for this device")]
    NotForThisDevice,
    /// A message that was decrypted before.
    #[error("cannot decrypt the message a second time: it was decrypted before")]
    Duplicate,
    /// A message that skips more messages than [`crate::MAX_SKIP`].
    #[error("cannot decrypt the message: it skips more than {limit} messages", limit = MAX_SKIP)]
    TooFarAhead,
    /// An authentication code that is wrong: the message was altered or belongs to another session.
    #[error("cannot decrypt the message: it was altered, or it belongs to another session")]
    NotAuthentic,
    /// A payload or an attachment whose authentication code is wrong, although its key is right.
    #[error("cannot decrypt the content: it was altered or cut")]
    AlteredContent,
    /// A sending chain that reached its last message number.
    #[error("cannot encrypt the message: the sending chain is exhausted")]
    ChainExhausted,
    /// A session that cannot send before it has received.
    #[error("cannot encrypt the message: the session has not received a message yet")]
    NotReady,
    /// Serialized state that was cut, altered, or written for another purpose.
    #[error("cannot load the state: it is damaged")]
    DamagedState,
    /// Serialized state of a newer format than this version of the crate knows.
    #[error("cannot load the state: it has format {0}, which this version does not know")]
    NewerState(u8),
}

impl Error {
    /// Returns what a person or a program can do about the error, as an imperative sentence.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::UnknownProtocolVersion(_) => {
                "report the client that sent it, or ask the sender to update it"
            }
            Self::TooLarge { .. } => "send a smaller message, or to fewer devices",
            Self::WrongVersion => "use the session of the same version and device",
            Self::InvalidKey | Self::BadSignature | Self::NoPreKey => {
                "leave the device out until it publishes a valid bundle"
            }
            Self::IdentityChanged(_) => {
                "compare the new fingerprint with its owner, then remove the session and decrypt again"
            }
            Self::UnknownPreKey(_) | Self::NoSession => {
                "fetch the sender's bundle, start a new session and send an empty message"
            }
            Self::NotForThisDevice => {
                "publish this device in the device list, then ask the sender to send again"
            }
            Self::Duplicate => "ignore the message",
            Self::TooFarAhead | Self::NotAuthentic => {
                "ask the sender to send again; start a new session if it repeats"
            }
            // XEP-0384 0.9, "Business Rules": no reason for a new session.
            Self::AlteredContent => "ask the sender to send again",
            Self::ChainExhausted => "start a new session",
            Self::NotReady => "wait for the first message of the other device",
            Self::DamagedState => {
                "restore nothing: remove the device from the device list and create a new one"
            }
            Self::NewerState(_) => "update the program",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error with its remedy, word for word.
    #[test]
    fn causes_and_remedies_read_well() {
        let key = crate::Identity::from_seed(&[1; 32]);
        let all = [
            Error::Malformed("bundle"),
            Error::TooLarge {
                what: "payload",
                limit: 3,
            },
            Error::UnknownProtocolVersion(0x44),
            Error::WrongVersion,
            Error::InvalidKey,
            Error::BadSignature,
            Error::NoPreKey,
            Error::UnknownPreKey(7),
            Error::IdentityChanged(Box::new(*key.public())),
            Error::NoSession,
            Error::NotForThisDevice,
            Error::Duplicate,
            Error::TooFarAhead,
            Error::NotAuthentic,
            Error::AlteredContent,
            Error::ChainExhausted,
            Error::NotReady,
            Error::DamagedState,
            Error::NewerState(9),
        ];
        let mut text = String::new();
        for error in &all {
            text.push_str(&format!("{error}\n  {}\n", error.remedy()));
        }
        assert_eq!(text, include_str!("errors.txt"));
    }
}
