//! Errors of encryption, each with its cause and remedy.

use std::borrow::Cow;

use thiserror::Error;

use super::fingerprint::grouped;
use super::left_out::{LeftOut, LeftOutReason, list};
use crate::jid::Jid;

/// Cause of a failed encryption, decryption or publication.
///
/// `Display` is the cause, [`remedy`](Self::remedy) what a person can do about it. No variant holds a key or a text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OmemoError {
    /// The recipient has no device list, an empty one, or one that this account may not read.
    #[error("{to} publishes no OMEMO keys, or shows them to contacts only")]
    NoKeys {
        /// Address of the recipient.
        to: Jid,
    },
    /// The recipient had keys before, and has no device list now, or hides it.
    #[error("{to} published OMEMO keys before and shows none now")]
    KeysGone {
        /// Address of the recipient.
        to: Jid,
    },
    /// The recipient has devices, and the message cannot be encrypted for any of them.
    #[error("no device of {to} can be encrypted for: {}", list(.devices))]
    NoUsableDevice {
        /// Address of the recipient.
        to: Jid,
        /// The devices, each with the reason.
        devices: Vec<LeftOut>,
    },
    /// The key of the device that sent a message is not trusted.
    #[error("the key of the sending device is not trusted ({reason}): {}", grouped(.fingerprint))]
    Untrusted {
        /// The fingerprint, 64 hexadecimal digits.
        fingerprint: String,
        /// Reason why it is not trusted.
        reason: LeftOutReason,
    },
    /// The key exchange of a message has started a session with another sender, or a session that was forgotten.
    #[error(
        "the key exchange of the message was used before, with another sender or in a session that is forgotten"
    )]
    ExchangeReused,
    /// Members of a room would be left out, and everybody must be able to read the message.
    #[error("the message would not be readable for everybody in {room}: {}", list(.people))]
    MembersLeftOut {
        /// Address of the room.
        room: Jid,
        /// The members, each with the reason.
        people: Vec<LeftOut>,
    },
    /// The room shows no addresses, so that its members' keys cannot be found (XEP-0384 0.9, "Group chats").
    #[error("the room {room} hides the addresses of its members, so that their keys cannot be found")]
    RoomHidesAddresses {
        /// Address of the room.
        room: Jid,
    },
    /// Everybody may enter the room.
    #[error("the room {room} is open: everybody may enter it, so that it has no list of readers")]
    RoomOpen {
        /// Address of the room.
        room: Jid,
    },
    /// The room does not say who its members are.
    #[error("the room {room} shows its members to nobody, or not to this account")]
    RoomListsRefused {
        /// Address of the room.
        room: Jid,
    },
    /// Nobody is in the room whom the message could be encrypted for.
    #[error("no member of {room} can be encrypted for: {}", list(.people))]
    RoomWithoutKeys {
        /// Address of the room.
        room: Jid,
        /// The members, each with the reason.
        people: Vec<LeftOut>,
    },
    /// The keys could not be fetched now.
    #[error("the OMEMO keys of {of} could not be fetched: {reason}")]
    Unavailable {
        /// The account or room that was asked.
        of: Jid,
        /// The event.
        reason: String,
    },
    /// The own server does not take keys.
    #[error("the server does not take the keys of this device ({node}): {condition}{}", words(.text))]
    PublishRefused {
        /// The PEP node.
        node: String,
        /// Defined condition of the stanza error.
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The content has no encrypted form.
    #[error("{what} cannot be encrypted")]
    NotEncryptable {
        /// Name of the content.
        what: &'static str,
    },
    /// Another process uses the state for a long time.
    #[error("another process uses the OMEMO state of this account")]
    StateBusy,
    /// The state is damaged, sealed with another key, or of a later version.
    #[error("cannot read the OMEMO state: {reason}")]
    StateUnusable {
        /// The fault in it.
        reason: String,
    },
    /// The state belongs to another account.
    #[error("the OMEMO state belongs to {owner}, not to {account}")]
    StateOfAnother {
        /// The account that the state was made for.
        owner: String,
        /// The account that logs in.
        account: String,
    },
    /// The state could not be written.
    #[error("cannot save the OMEMO state: {reason}")]
    StateNotSaved {
        /// Message of the operating system.
        reason: String,
    },
    /// A text that should be a fingerprint.
    #[error("not a fingerprint: a fingerprint has 64 hexadecimal digits and belongs to a key")]
    NotAFingerprint,
    /// This account has no device yet.
    #[error("this account has no OMEMO device yet")]
    NoDevice,
    /// The cryptography refused.
    #[error(transparent)]
    Protocol(#[from] ::omemo::Error),
}

impl OmemoError {
    /// Returns true if the same attempt would end the same way until somebody changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::StateBusy | Self::StateNotSaved { .. } => false,
            Self::PublishRefused { condition, .. } => condition != "internal-server-error",
            // The keys of somebody may come with the next attempt.
            Self::MembersLeftOut { people, .. } => people
                .iter()
                .all(|left| left.reason != LeftOutReason::Unavailable),
            _ => true,
        }
    }

    /// Removes the text that the other side wrote.
    pub(crate) fn hide_answer(&mut self) {
        match self {
            Self::PublishRefused { text, .. } => *text = None,
            Self::Unavailable { reason, .. } => "no answer that can be used".clone_into(reason),
            _ => {}
        }
    }

    /// Returns the remedy: a sentence that tells a person what to do.
    pub fn remedy(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NoKeys { .. } => {
                "ask the recipient to turn on OMEMO, and to show the keys to everybody or to add this account to the contacts; or send without encryption"
            }
            Self::KeysGone { .. } => {
                "ask the recipient; if OMEMO was turned off on purpose, forget the keys of the recipient, then send again"
            }
            Self::NoUsableDevice { .. } => {
                "ask the recipient to open a client on one of these devices, or compare the fingerprints and trust a device"
            }
            Self::Untrusted { .. } => "compare the fingerprint with the sender, then trust the key",
            Self::ExchangeReused => "ask the sender to write again; the session is started anew",
            Self::MembersLeftOut { .. } => {
                "ask them to turn on OMEMO, or use omemo=require to send without them"
            }
            Self::RoomHidesAddresses { .. } => {
                "ask the owner of the room to show addresses to anyone (whois)"
            }
            Self::RoomOpen { .. } => "ask the owner of the room to make it members-only",
            Self::RoomListsRefused { .. } => "ask an admin of the room to make this account a member",
            Self::RoomWithoutKeys { .. } => "ask the members to turn on OMEMO, or send without encryption",
            Self::Unavailable { .. } => "try again later",
            Self::PublishRefused { condition, .. } if condition == "internal-server-error" => {
                "try again later; if that does not help, ask the administrator of the server to look at its log"
            }
            Self::PublishRefused { .. } => "ask the administrator of the server to enable PEP (XEP-0163)",
            Self::NotEncryptable { .. } => "send it without encryption",
            Self::StateBusy => "try again when the other process has ended",
            Self::StateUnusable { .. } => {
                "check the key of the state; if the state is lost, remove this device from the device list and make a new one"
            }
            Self::StateOfAnother { .. } => "use one state for each account",
            Self::StateNotSaved { .. } => "check the disk and the permissions of the folder",
            Self::NotAFingerprint => "copy all of it from the client of the key's owner",
            Self::NoDevice => "make one first: log in with OMEMO turned on",
            Self::Protocol(error) => return Cow::Borrowed(error.remedy()),
        })
    }
}

#[expect(clippy::ref_option, reason = "thiserror hands over the field as it is")]
fn words(text: &Option<String>) -> String {
    text.as_ref()
        .map(|words| format!(" (the server says: {words})"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error with its remedy, word for word.
    #[test]
    fn causes_and_remedies_read_well() {
        let to: Jid = "bob@example.org".parse().unwrap();
        let room: Jid = "room@muc.example.org".parse().unwrap();
        let left = |device, reason| LeftOut {
            jid: to.clone(),
            device,
            reason,
        };
        let devices = vec![
            left(Some(7), LeftOutReason::NoBundle),
            left(None, LeftOutReason::NoKeys),
        ];
        let all = [
            OmemoError::NoKeys { to: to.clone() },
            OmemoError::KeysGone { to: to.clone() },
            OmemoError::NoUsableDevice {
                to: to.clone(),
                devices: devices.clone(),
            },
            OmemoError::Untrusted {
                fingerprint: "0123456789abcdef".repeat(4),
                reason: LeftOutReason::NotVerified,
            },
            OmemoError::ExchangeReused,
            OmemoError::MembersLeftOut {
                room: room.clone(),
                people: devices.clone(),
            },
            OmemoError::MembersLeftOut {
                room: room.clone(),
                people: vec![
                    left(None, LeftOutReason::Unavailable),
                    left(None, LeftOutReason::KeysGone),
                ],
            },
            OmemoError::RoomHidesAddresses { room: room.clone() },
            OmemoError::RoomOpen { room: room.clone() },
            OmemoError::RoomListsRefused { room: room.clone() },
            OmemoError::RoomWithoutKeys {
                room,
                people: vec![left(None, LeftOutReason::NoKeys); 12],
            },
            OmemoError::Unavailable {
                of: to.clone(),
                reason: "remote-server-timeout".to_owned(),
            },
            OmemoError::PublishRefused {
                node: "urn:xmpp:omemo:2:bundles".to_owned(),
                condition: "service-unavailable".to_owned(),
                text: Some("no".to_owned()),
            },
            OmemoError::NotEncryptable {
                what: "the topic of a room",
            },
            OmemoError::StateBusy,
            OmemoError::StateUnusable {
                reason: "it is damaged".to_owned(),
            },
            OmemoError::StateOfAnother {
                owner: "a@example.org".to_owned(),
                account: "b@example.org".to_owned(),
            },
            OmemoError::StateNotSaved {
                reason: "no space left".to_owned(),
            },
            OmemoError::NotAFingerprint,
            OmemoError::NoDevice,
            OmemoError::Protocol(::omemo::Error::NoSession),
        ];
        let mut text = String::new();
        for error in &all {
            let class = if error.is_permanent() {
                "refused"
            } else {
                "deferred"
            };
            text.push_str(&format!("{class}: {error}\n  {}\n", error.remedy()));
        }
        assert_eq!(text, include_str!("errors.txt"), "\n{text}");
    }
}
