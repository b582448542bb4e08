//! Messages as servers keep them: decoded, unpadded and verified when they come in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_protocol::content::Content;
use session_protocol::encoding::{b64, from_b64};
use session_protocol::message::{self, Verifier, VerifyError};
use session_protocol::{IdError, SessionId};

use super::{flag, is_false, opt_flag};

/// Reactions to a message, by emoji.
pub type Reactions = BTreeMap<String, Reaction>;

/// Reactions with one emoji.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// Order of first use, from 0.
    pub index: u64,
    /// Number of people who reacted with it.
    pub count: u64,
    /// The first few of them, as many as were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactors: Option<Vec<SessionId>>,
    /// True if we are one of them.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "flag")]
    pub you: bool,
}

/// A row of a message list as in the JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RawRow {
    /// Number of the message on the server.
    pub id: u64,
    /// Author of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Time of posting, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<f64>,
    /// Time of the edit or deletion, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<f64>,
    /// The room's sequence number of its last change.
    pub seqno: i64,
    /// Padded content in base64; null when deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Signature in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// True for tombstones.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub deleted: Option<bool>,
    /// True for whispers.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub whisper: Option<bool>,
    /// True if moderators see the whisper.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub whisper_mods: Option<bool>,
    /// Recipient of the whisper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whisper_to: Option<SessionId>,
    /// Set in the answer to a post that was silently filtered.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_flag"
    )]
    pub filtered: Option<bool>,
    /// Reactions to the message, by emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactions: Option<Reactions>,
}

/// A row of a message list.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Row {
    /// A message, new or edited.
    Message(Box<Message>),
    /// A message was deleted.
    Deleted(Tombstone),
    /// Only the reactions of a message changed.
    Reactions(ReactionRow),
}

impl Row {
    /// The sequence number, whatever the row is.
    pub fn seqno(&self) -> i64 {
        match self {
            Self::Message(message) => message.seqno,
            Self::Deleted(tombstone) => tombstone.seqno,
            Self::Reactions(row) => row.seqno,
        }
    }

    /// The number of the message, whatever the row is.
    pub fn id(&self) -> u64 {
        match self {
            Self::Message(message) => message.id,
            Self::Deleted(tombstone) => tombstone.id,
            Self::Reactions(row) => row.id,
        }
    }
}

/// Remaining data of a deleted message.
#[derive(Debug, Clone, PartialEq)]
pub struct Tombstone {
    /// Number of the message.
    pub id: u64,
    /// Author of the message, if the server names one.
    pub author: Option<SessionId>,
    /// Time of posting, unix seconds.
    pub posted: Option<f64>,
    /// Time of the deletion, unix seconds.
    pub deleted_at: Option<f64>,
    /// The room's sequence number of the deletion.
    pub seqno: i64,
}

/// The reactions of a message that has not changed otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ReactionRow {
    /// Number of the message.
    pub id: u64,
    /// The room's sequence number of the change.
    pub seqno: i64,
    /// All its reactions now.
    pub reactions: Reactions,
}

/// Reason why a message's content must not be attributed to its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageProblem {
    /// The signature does not fit: forged, or made by a faulty program. Session's apps drop such messages.
    #[error("the signature does not belong to the author")]
    BadSignature,
    /// Posts of this kind of author cannot be verified.
    #[error("ids of this kind cannot sign posts")]
    Unverifiable,
    /// The content is not a message that we can read.
    #[error("the content cannot be read: {0}")]
    Undecodable(String),
}

/// A message whose content and signature were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Number of the message on the server.
    pub id: u64,
    /// Author according to the server; the signature proves it if [`Message::problem`] is `None`.
    pub author: SessionId,
    /// Time of posting, unix seconds of the server's clock.
    pub posted: f64,
    /// Time of the edit, unix seconds.
    pub edited: Option<f64>,
    /// The room's sequence number of its last change.
    pub seqno: i64,
    /// The padded bytes that were signed.
    pub data: Vec<u8>,
    /// The signature as it was received; 64 bytes if it is well-formed.
    pub signature: Vec<u8>,
    /// Set on messages that only some people see.
    pub whisper: bool,
    /// True if moderators see the whisper.
    pub whisper_mods: bool,
    /// Recipient of the whisper.
    pub whisper_to: Option<SessionId>,
    /// Set in the answer to a post that the server accepts but shows to nobody.
    pub filtered: bool,
    /// Reactions to the message, by emoji.
    pub reactions: Reactions,
    content: Option<Content>,
    problem: Option<MessageProblem>,
}

impl Message {
    /// Returns the problem of the message, if there is one.
    pub fn problem(&self) -> Option<&MessageProblem> {
        self.problem.as_ref()
    }

    /// Returns true if the author wrote the content: it is decoded, and the signature fits.
    pub fn is_authentic(&self) -> bool {
        self.problem.is_none()
    }

    /// The content, if it is its author's word.
    pub fn content(&self) -> Result<&Content, &MessageProblem> {
        match (&self.problem, &self.content) {
            (Some(problem), _) => Err(problem),
            (None, Some(content)) => Ok(content),
            (None, None) => unreachable!("content that is missing is a problem"),
        }
    }

    /// The content whoever wrote it: look at [`Message::problem`] too.
    pub fn unverified_content(&self) -> Option<&Content> {
        self.content.as_ref()
    }

    /// The text, if the message is authentic and has any.
    pub fn body(&self) -> Option<&str> {
        self.content().ok()?.body()
    }

    /// The author's name for himself, if the message is authentic and has one.
    pub fn display_name(&self) -> Option<&str> {
        self.content().ok()?.display_name()
    }

    /// The time by which other messages quote this one: the author's clock if it is known, else the server's; ms.
    pub fn quote_id(&self) -> u64 {
        self.content
            .as_ref()
            .and_then(|content| content.sig_timestamp)
            .unwrap_or({
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "milliseconds since 1970"
                )]
                {
                    (self.posted * 1000.0) as u64
                }
            })
    }
}

/// A row that lacks what every such row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// No author or time on a message.
    #[error("a message without author or time")]
    Incomplete,
    /// The author is not an id.
    #[error("a message whose author is not an id: {0}")]
    Author(#[from] IdError),
}

impl Row {
    /// Reads a row; `verifier` remembers the authors of rows that are read together.
    pub fn read(raw: RawRow, verifier: &mut Verifier) -> Result<Self, RowError> {
        if raw.deleted == Some(true) {
            let author = raw.session_id.as_deref().map(str::parse).transpose()?;
            return Ok(Self::Deleted(Tombstone {
                id: raw.id,
                author,
                posted: raw.posted,
                deleted_at: raw.edited,
                seqno: raw.seqno,
            }));
        }
        match (raw.session_id.is_none() && raw.data.is_none(), raw.reactions) {
            (true, Some(reactions)) => Ok(Self::Reactions(ReactionRow {
                id: raw.id,
                seqno: raw.seqno,
                reactions,
            })),
            (_, reactions) => {
                let message = Message::read(RawRow { reactions, ..raw }, verifier)?;
                Ok(Self::Message(Box::new(message)))
            }
        }
    }
}

impl TryFrom<RawRow> for Row {
    type Error = RowError;

    fn try_from(raw: RawRow) -> Result<Self, RowError> {
        Self::read(raw, &mut Verifier::new())
    }
}

impl TryFrom<RawRow> for Message {
    type Error = RowError;

    fn try_from(raw: RawRow) -> Result<Self, RowError> {
        Self::read(raw, &mut Verifier::new())
    }
}

impl Message {
    /// Reads, unpads and verifies a message; `verifier` remembers the authors of messages that are read together.
    pub fn read(raw: RawRow, verifier: &mut Verifier) -> Result<Self, RowError> {
        let author: SessionId = raw.session_id.as_deref().ok_or(RowError::Incomplete)?.parse()?;
        let posted = raw.posted.ok_or(RowError::Incomplete)?;
        let data = raw.data.as_deref().and_then(from_b64);
        let signature = raw.signature.as_deref().and_then(from_b64).unwrap_or_default();
        let opened = data.as_deref().map(message::open);
        let verdict = match (&data, signature.first_chunk::<64>()) {
            (Some(data), Some(first)) if signature.len() == first.len() => {
                verifier.verify(&author, data, first)
            }
            _ => Err(VerifyError::BadSignature(session_protocol::keys::BadSignature)),
        };
        let (content, problem) = match (opened, verdict) {
            (None, _) => (None, Some(MessageProblem::Undecodable("not base64".to_owned()))),
            (Some(Err(error)), Ok(())) => (None, Some(MessageProblem::Undecodable(error.to_string()))),
            (Some(Ok(content)), Ok(())) => (Some(content), None),
            (Some(opened), Err(VerifyError::UnknownKind)) => {
                (opened.ok(), Some(MessageProblem::Unverifiable))
            }
            (Some(opened), Err(_)) => (opened.ok(), Some(MessageProblem::BadSignature)),
        };
        Ok(Self {
            id: raw.id,
            author,
            posted,
            edited: raw.edited,
            seqno: raw.seqno,
            data: data.unwrap_or_default(),
            signature,
            whisper: raw.whisper.unwrap_or(false),
            whisper_mods: raw.whisper_mods.unwrap_or(false),
            whisper_to: raw.whisper_to,
            filtered: raw.filtered.unwrap_or(false),
            reactions: raw.reactions.unwrap_or_default(),
            content,
            problem,
        })
    }
}

impl From<Message> for RawRow {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            session_id: Some(message.author.to_string()),
            posted: Some(message.posted),
            edited: message.edited,
            seqno: message.seqno,
            data: Some(b64(&message.data)),
            signature: Some(b64(&message.signature)),
            deleted: None,
            whisper: message.whisper.then_some(true),
            whisper_mods: message.whisper.then_some(message.whisper_mods),
            whisper_to: message.whisper_to,
            filtered: message.filtered.then_some(true),
            reactions: Some(message.reactions),
        }
    }
}

impl From<Row> for RawRow {
    fn from(row: Row) -> Self {
        let empty = |id, seqno| Self {
            id,
            session_id: None,
            posted: None,
            edited: None,
            seqno,
            data: None,
            signature: None,
            deleted: None,
            whisper: None,
            whisper_mods: None,
            whisper_to: None,
            filtered: None,
            reactions: None,
        };
        match row {
            Row::Message(message) => Self::from(*message),
            Row::Deleted(tombstone) => Self {
                session_id: tombstone.author.map(|author| author.to_string()),
                posted: tombstone.posted,
                edited: tombstone.deleted_at,
                deleted: Some(true),
                ..empty(tombstone.id, tombstone.seqno)
            },
            Row::Reactions(row) => Self {
                reactions: Some(row.reactions),
                ..empty(row.id, row.seqno)
            },
        }
    }
}
