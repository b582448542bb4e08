//! The content of a direct message: the content of a post, and parts that only make sense between two accounts.

use prost::Message as _;

use crate::content::{DataMessage, Profile};

/// Content of a direct message, which is padded, signed and sealed. Unknown fields are skipped.
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
    /// Start of the expiration timer: 0 unknown, 1 after reading, 2 after sending.
    #[prost(int32, optional, tag = "12")]
    pub expiration_type: Option<i32>,
    /// Time after which the message disappears, seconds.
    #[prost(uint32, optional, tag = "13")]
    pub expiration_timer_secs: Option<u32>,
    /// Time of signing, milliseconds since 1970. Apps drop the message if this differs from the envelope's time.
    #[prost(uint64, optional, tag = "15")]
    pub sig_timestamp: Option<u64>,
}

/// Times of messages that were delivered or read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReceiptMessage {
    /// 0 delivered, 1 read.
    #[prost(int32, optional, tag = "1")]
    pub kind: Option<i32>,
    /// The messages' times, milliseconds since 1970.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub timestamps: Vec<u64>,
}

/// Notice that the other side started or stopped writing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypingMessage {
    /// Time of the notice, milliseconds since 1970.
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
#[prost(skip_debug)]
pub struct MessageRequestResponse {
    /// True if the request was accepted.
    #[prost(bool, required, tag = "1")]
    pub is_approved: bool,
    /// Key of the profile picture.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub profile_key: Option<Vec<u8>>,
    /// Profile of the accepting side, as it claims it.
    #[prost(message, optional, tag = "3")]
    pub profile: Option<Profile>,
}

impl core::fmt::Debug for MessageRequestResponse {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MessageRequestResponse")
            .field("is_approved", &self.is_approved)
            .finish_non_exhaustive()
    }
}

impl DirectContent {
    /// The bytes of this content, not padded.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{AttachmentPointer, Invitation, Preview, Quote, QuotedAttachment, Reaction};
    use crate::id::{Prefix, SessionId};
    use crate::network::message::OpenedMessage;

    #[test]
    fn debug_forms_show_no_text_no_name_and_no_key() {
        let secret = || Some("a secret".to_owned());
        let key = || Some(vec![77; 32]);
        let profile = || {
            Some(Profile {
                display_name: secret(),
                profile_picture: secret(),
                last_update_seconds: Some(1),
            })
        };
        let pointer = AttachmentPointer {
            key: key(),
            digest: key(),
            file_name: secret(),
            caption: secret(),
            url: secret(),
            ..AttachmentPointer::default()
        };
        let content = DirectContent {
            data_message: Some(DataMessage {
                body: secret(),
                attachments: vec![pointer],
                profile_key: key(),
                quote: Some(Quote {
                    author: secret(),
                    attachments: vec![QuotedAttachment {
                        file_name: secret(),
                        ..QuotedAttachment::default()
                    }],
                    ..Quote::default()
                }),
                previews: vec![Preview {
                    title: secret(),
                    ..Preview::default()
                }],
                reaction: Some(Reaction {
                    emoji: secret(),
                    ..Reaction::default()
                }),
                profile: profile(),
                invitation: Some(Invitation {
                    url: secret(),
                    name: secret(),
                }),
                sync_target: secret(),
                ..DataMessage::default()
            }),
            request_response: Some(MessageRequestResponse {
                is_approved: true,
                profile_key: key(),
                profile: profile(),
            }),
            ..DirectContent::default()
        };
        let data = content.data_message.clone().expect("a message");
        let opened = OpenedMessage {
            sender: SessionId::new(Prefix::Account, [5; 32]),
            sender_ed25519: [6; 32],
            timestamp_ms: 7,
            content,
        };
        for shown in [
            format!("{opened:?}"),
            format!("{:?} {:?} {:?}", data.attachments, data.quote, data.previews),
            format!("{:?} {:?} {:?}", data.reaction, data.profile, data.invitation),
        ] {
            assert!(!shown.contains("secret") && !shown.contains("77"), "{shown}");
        }
    }
}
