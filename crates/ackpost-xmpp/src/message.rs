//! Messages to send: targets, contents and results.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;

use crate::error::XmppError;
use crate::jid::Jid;

/// Largest stanza in bytes that is sent to a server that announces no limit (XEP-0478): what stock servers take.
pub const MAX_STANZA_WIRE_BYTES: usize = 256 * 1024;

/// The recipient of a message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Target {
    /// A person: bare address, or full address for one client of theirs.
    User(Jid),
    /// A room (XEP-0045).
    Room(RoomTarget),
}

/// A room and how to enter it.
#[derive(Clone, Debug)]
pub struct RoomTarget {
    /// The bare address of the room. A resource is taken as the nick when `nick` is left out.
    pub room: Jid,
    /// The nick; the account's when left out.
    pub nick: Option<String>,
    /// Password of the room.
    pub password: Option<SecretString>,
    /// True if a room that does not exist may be made.
    pub create: bool,
}

impl RoomTarget {
    /// A room without password that must exist, under the account's nick.
    pub fn new(room: Jid) -> Self {
        Self {
            room,
            nick: None,
            password: None,
            create: false,
        }
    }
}

impl From<RoomTarget> for Target {
    fn from(room: RoomTarget) -> Self {
        Self::Room(room)
    }
}

impl Target {
    /// The address without resource.
    pub fn address(&self) -> Jid {
        match self {
            Self::User(jid) => jid.clone(),
            Self::Room(room) => room.room.to_bare(),
        }
    }
}

/// Certainty that a delivery must have before it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Confirm {
    /// Written to an authenticated session. Says nothing about the recipient.
    Sent,
    /// The server responsible for the recipient took it and did not send it back, and had the time to:
    /// a ping sent behind the message was answered (XEP-0199), and no bounce came before the answer. On
    /// servers other than Prosody a second ping follows a settle time later.
    Server,
    /// The room showed it to everybody, ourselves included. For people the same as `Server`.
    Room,
    /// A client of the recipient said that it has it (XEP-0184); without that it is not delivered. Never
    /// in rooms, where it is `Room`.
    Receipt,
}

/// Proof of a delivery: the level that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfirmedBy {
    /// Written to an authenticated session, as asked.
    Sent,
    /// Our server took it, and no more is known: the server of another domain did not answer in time,
    /// or the confirmation was lost and the message was found in the account's archive.
    HandedOver,
    /// The server responsible for the recipient took it.
    Server,
    /// The room reflected it.
    Room,
    /// A client of the recipient acknowledged it.
    Receipt,
}

impl ConfirmedBy {
    /// The word used in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::HandedOver => "handed over",
            Self::Server => "server",
            Self::Room => "room",
            Self::Receipt => "receipt",
        }
    }

    /// Returns true if this level is at least what was asked for.
    pub fn reaches(self, asked: Confirm) -> bool {
        match asked {
            Confirm::Sent => true,
            Confirm::Server => matches!(self, Self::Server | Self::Room | Self::Receipt),
            Confirm::Room => matches!(self, Self::Room | Self::Server | Self::Receipt),
            Confirm::Receipt => matches!(self, Self::Receipt | Self::Room),
        }
    }
}

impl fmt::Display for ConfirmedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The type of a message, by which a client treats it (RFC 6121 section 5.2.2). Rooms always get `groupchat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Part of a conversation; stored while the recipient is away.
    #[default]
    Chat,
    /// A single message.
    Normal,
    /// News; never stored.
    Headline,
}

/// The content of a message. Characters that XML forbids are replaced by U+FFFD and counted in the outcome.
#[derive(Clone, Default)]
pub struct Content {
    /// Plain text of the message. May be empty when there are attachments or a subject for a room.
    pub body: String,
    /// A subject line. A subject without body changes the topic of a room.
    pub subject: Option<String>,
    /// The same text as HTML; carried as XHTML-IM (XEP-0071) beside the body, reduced to what that allows.
    pub html: Option<String>,
    /// The language of the text (BCP 47), for example `en`.
    pub lang: Option<String>,
    /// Set when signs like `*` in the body are not meant as message styling (XEP-0393).
    pub unstyled: bool,
    /// The type of a message, by which a client treats it.
    pub kind: MessageType,
    /// Files, each sent as its own message behind the text.
    pub attachments: Vec<Arc<Attachment>>,
}

impl Content {
    /// A plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }
}

/// The texts of a message as their stanza carries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireTexts {
    /// The subject; empty means none.
    pub subject: String,
    /// The plain text, with line ends of XML and without the characters that XML forbids.
    pub body: String,
    /// The XHTML-IM part, as XML.
    pub html: Option<String>,
    /// Number of characters that were replaced by U+FFFD.
    pub replaced: usize,
}

/// A file to upload (XEP-0363). The same [`Arc`] given to several targets is uploaded once.
pub struct Attachment {
    /// The name the recipient sees.
    pub name: String,
    /// The media type, for example `image/png`.
    pub media_type: String,
    /// The whole file.
    pub data: Bytes,
    /// Called with the bytes sent so far and in all.
    pub progress: Option<Box<dyn Fn(u64, u64) + Send + Sync>>,
}

impl Attachment {
    /// A file without a progress report.
    pub fn new(name: impl Into<String>, media_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            media_type: media_type.into(),
            data: data.into(),
            progress: None,
        }
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("name", &self.name)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The relation of a message to another one. In rooms other messages are named by the id that the room gave them (XEP-0359), in
/// chats by the id that their author gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum About {
    /// An answer (XEP-0461).
    Reply {
        /// The message that is answered.
        id: String,
        /// Its author; in rooms with the nick as resource.
        to: Option<Jid>,
        /// Number of characters at the beginning of the body that quote that message, for clients without replies (XEP-0428).
        quoted: usize,
    },
    /// Our reactions to it (XEP-0444). The list replaces the one before; an empty one takes all back.
    Reactions {
        /// The message.
        id: String,
        /// Emoji of the reaction, all of them.
        emoji: Vec<String>,
    },
    /// It is retracted (XEP-0424). The body of this message is for clients that do not know that.
    Retraction {
        /// The message.
        id: String,
    },
}

/// One message for one target.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The recipient.
    pub target: Target,
    /// The content of a message.
    pub content: Arc<Content>,
    /// Certainty that the delivery must have. `None`: the server for people, the reflection for rooms.
    pub confirm: Option<Confirm>,
    /// The stanza id and origin id (XEP-0359). Give the id of an earlier attempt to make a repetition
    /// recognisable; `None` takes a fresh random one.
    pub id: Option<String>,
    /// The id of the earlier message that this one corrects (XEP-0308).
    pub replaces: Option<String>,
    /// The relation of the message to another one: an answer, a reaction, or its end. Never encrypted.
    pub about: Option<About>,
    /// The address of a file that is shown as such (XEP-0066); it becomes the text of the message if that is empty.
    pub file: Option<String>,
    /// The name of the bridge that carries it, as a mark for other bridges.
    pub bridge: Option<String>,
    /// An earlier attempt with the same `id` may have arrived, no sooner than this. A message that is found is not sent
    /// again. In a room, the history is searched while it is entered; a room that a kept session is in already is not
    /// entered, so repeat with [`send`](crate::send). For a person, the account's own archive (XEP-0313) is searched,
    /// if the server keeps one; the outcome is then [`ConfirmedBy::HandedOver`] with [`Note::FoundInArchive`]. If
    /// nothing shows whether it arrived, it is sent again once ([`Note::RepeatedInDoubt`]), or ends as
    /// [`XmppError::InDoubt`].
    pub repeat_since: Option<std::time::SystemTime>,
}

impl Outgoing {
    /// A message with the defaults: a fresh id, confirmed by the server or by the room.
    pub fn new(target: impl Into<Target>, content: impl Into<Arc<Content>>) -> Self {
        Self {
            target: target.into(),
            content: content.into(),
            confirm: None,
            id: None,
            replaces: None,
            about: None,
            file: None,
            bridge: None,
            repeat_since: None,
        }
    }

    /// The level that counts for this target.
    pub(crate) fn asked(&self) -> Confirm {
        match (&self.target, self.confirm) {
            (Target::User(_), None | Some(Confirm::Room)) => Confirm::Server,
            (Target::Room(_), None | Some(Confirm::Receipt)) => Confirm::Room,
            (_, Some(level)) => level,
        }
    }
}

impl From<Jid> for Target {
    fn from(jid: Jid) -> Self {
        Self::User(jid)
    }
}

/// The result of one message.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "a message may not be delivered; `into_result` makes a failure an error"]
pub enum Outcome {
    /// It was confirmed.
    Delivered(Delivered),
    /// It was not confirmed, but may be later: see [`XmppError::retry_after`].
    Deferred(XmppError),
    /// It was not confirmed, and repeating it unchanged is pointless.
    Refused(XmppError),
}

/// A confirmed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The proof.
    pub confirmed_by: ConfirmedBy,
    /// Its stanza and origin id; with several parts (files), that of the first.
    pub id: String,
    /// Further facts for the sender.
    pub notes: Vec<Note>,
}

/// Something that did not hinder the delivery and that the sender should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Number of characters that XML forbids; they were replaced by U+FFFD.
    CharactersReplaced(usize),
    /// The nick was taken or changed by the room; this one was used.
    NickChanged(String),
    /// The room did not exist and was created, as allowed.
    RoomCreated,
    /// The server rejected channel binding; the login went without it.
    WithoutChannelBinding,
    /// The certificate of the server was not verified, as asked.
    CertificateNotVerified,
    /// An earlier attempt is in the account's archive (XEP-0313); it was not sent again.
    FoundInArchive,
    /// The server had taken it before the connection broke; it was not sent again.
    TakenBefore,
    /// It was sent a second time under the same id: the connection broke before it was confirmed, and
    /// nothing shows whether the first one arrived.
    RepeatedInDoubt,
    /// The contact list was asked for as a check, and refused with this condition.
    NoContactList(String),
    /// The message was encrypted, for these devices.
    #[cfg(feature = "omemo")]
    Encrypted(Box<crate::omemo::EncryptionReport>),
    /// The message went out in clear text, because it could not be encrypted and
    /// [`EncryptionMode::Auto`](crate::omemo::EncryptionMode::Auto) allows that.
    #[cfg(feature = "omemo")]
    NotEncrypted(Box<crate::omemo::OmemoError>),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CharactersReplaced(1) => f.write_str("1 character that XML forbids was replaced"),
            Self::CharactersReplaced(n) => write!(f, "{n} characters that XML forbids were replaced"),
            Self::NickChanged(nick) => write!(f, "the nick in the room is {nick}"),
            Self::RoomCreated => f.write_str("the room was created"),
            Self::WithoutChannelBinding => {
                f.write_str("the server rejected channel binding; logged in without it")
            }
            Self::CertificateNotVerified => f.write_str("the certificate was not verified"),
            Self::FoundInArchive => {
                f.write_str("the account's archive contains an earlier attempt; it was not sent again")
            }
            Self::TakenBefore => {
                f.write_str("the server had accepted it before the connection broke; it was not sent again")
            }
            Self::RepeatedInDoubt => f.write_str(
                "sent twice under the same id: the connection broke, and no archive shows whether the first one arrived",
            ),
            Self::NoContactList(condition) => write!(f, "the contact list cannot be read: {condition}"),
            #[cfg(feature = "omemo")]
            Self::Encrypted(report) => report.fmt(f),
            #[cfg(feature = "omemo")]
            Self::NotEncrypted(cause) => write!(f, "not encrypted: {cause}"),
        }
    }
}

impl fmt::Display for Outcome {
    /// The word of the outcome; then the proof and the id, or the cause and the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered(proof) => write!(
                f,
                "delivered, confirmed by {}, id {}",
                proof.confirmed_by, proof.id
            ),
            Self::Deferred(error) => write!(f, "deferred: {error}; {}", error.remedy()),
            Self::Refused(error) => write!(f, "refused: {error}; {}", error.remedy()),
        }
    }
}

impl Outcome {
    /// Deferred or refused, as the error is transient or permanent.
    pub fn failed(error: XmppError) -> Self {
        if error.is_permanent() {
            Self::Refused(error)
        } else {
            Self::Deferred(error)
        }
    }

    /// Returns the proof.
    ///
    /// # Errors
    /// The error of a message that was deferred or refused.
    pub fn into_result(self) -> Result<Delivered, XmppError> {
        match self {
            Self::Delivered(proof) => Ok(proof),
            Self::Deferred(error) | Self::Refused(error) => Err(error),
        }
    }

    /// The proof, if there is one.
    pub fn delivered(&self) -> Option<&Delivered> {
        match self {
            Self::Delivered(proof) => Some(proof),
            _ => None,
        }
    }

    /// The error, if there is one.
    pub fn error(&self) -> Option<&XmppError> {
        match self {
            Self::Delivered(_) => None,
            Self::Deferred(error) | Self::Refused(error) => Some(error),
        }
    }
}
