//! The content of a direct message: what a room's content holds, and what only makes sense between two accounts.

use prost::Message as _;

use super::message::{MAX_DATA_LEN_BYTES, MessageError};
use crate::content::{ContentError, DataMessage, Profile, check_repeated};

/// What is padded, signed and sealed. Unknown fields are skipped.
///
/// The message itself is that of [`crate::content`]; in direct messages its `timestamp` equals `sig_timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DirectContent {
    /// The message to show.
    #[prost(message, optional, tag = "1")]
    pub data_message: Option<DataMessage>,
    /// Messages of ours that the other side has read.
    #[prost(message, optional, tag = "5")]
    pub receipt: Option<ReceiptMessage>,
    /// The other side writes, or stopped writing.
    #[prost(message, optional, tag = "6")]
    pub typing: Option<TypingMessage>,
    /// A message that its author takes back.
    #[prost(message, optional, tag = "9")]
    pub unsend: Option<UnsendRequest>,
    /// The other side accepted our message request.
    #[prost(message, optional, tag = "10")]
    pub request_response: Option<MessageRequestResponse>,
    /// When the expiration timer starts: 0 unknown, 1 after reading, 2 after sending.
    #[prost(int32, optional, tag = "12")]
    pub expiration_type: Option<i32>,
    /// After how many seconds the message disappears.
    #[prost(uint32, optional, tag = "13")]
    pub expiration_timer_secs: Option<u32>,
    /// When it was signed, milliseconds since 1970. Apps drop the message if this differs from the envelope's time.
    #[prost(uint64, optional, tag = "15")]
    pub sig_timestamp: Option<u64>,
}

/// Which messages arrived or were read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReceiptMessage {
    /// 0 delivered, 1 read.
    #[prost(int32, optional, tag = "1")]
    pub kind: Option<i32>,
    /// The messages' times, milliseconds since 1970.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub timestamps: Vec<u64>,
}

/// Whether somebody writes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypingMessage {
    /// Milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// 0 started, 1 stopped.
    #[prost(int32, optional, tag = "2")]
    pub action: Option<i32>,
}

/// A message that its author takes back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnsendRequest {
    /// The message's time, milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// The message's author, as text.
    #[prost(string, optional, tag = "2")]
    pub author: Option<String>,
}

/// The answer to a first message from an unknown account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MessageRequestResponse {
    /// Whether the request was accepted.
    #[prost(bool, required, tag = "1")]
    pub is_approved: bool,
    /// Key of the profile picture.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub profile_key: Option<Vec<u8>>,
    /// Who the accepting side says to be.
    #[prost(message, optional, tag = "3")]
    pub profile: Option<Profile>,
}

impl DirectContent {
    /// The bytes of this content, not padded.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads content of at most [`MAX_DATA_LEN_BYTES`] in memory proportional to its length.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_DATA_LEN_BYTES {
            return Err(MessageError::TooLong(bytes.len()));
        }
        check_repeated(bytes)?;
        Ok(Self::decode(bytes).map_err(ContentError::from)?)
    }

    /// The text, if there is any.
    pub fn body(&self) -> Option<&str> {
        self.data_message
            .as_ref()?
            .body
            .as_deref()
            .filter(|body| !body.is_empty())
    }

    /// The name under which the sender wants to be shown, from a message or from an accepted request.
    pub fn display_name(&self) -> Option<&str> {
        let message = self.data_message.as_ref().and_then(|m| m.profile.as_ref());
        let response = self.request_response.as_ref().and_then(|r| r.profile.as_ref());
        message
            .or(response)?
            .display_name
            .as_deref()
            .filter(|name| !name.is_empty())
    }
}
