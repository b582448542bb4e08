//! The protobuf of a message: `Content` and what it carries in rooms and direct messages.
//!
//! The structs are the wire format: every optional field of the schema is an `Option`, field numbers are on the
//! fields, and unknown fields are skipped. [`Content::text`] makes what a client shows; [`Content::decode_bounded`]
//! is the way in for bytes from outside.

use prost::Message as _;

/// Longest content that [`Content::decode_bounded`] reads, bytes. The network caps a request near 10 MB.
pub const MAX_CONTENT_LEN_BYTES: usize = 10 * 1024 * 1024;
/// Most attachments, previews and quoted attachments together. Clients show 32 attachments at most.
pub const MAX_REPEATED: usize = 1024;
/// Longest body that every client shows whole, in code points.
pub const MAX_BODY_CODE_POINTS: usize = 2_000;
/// Most attachments that a client shows in one message.
pub const MAX_ATTACHMENTS: usize = 32;
/// Maximum difference between `sigTimestamp` and the server's `posted`, milliseconds. Clients drop other messages.
pub const SIG_TIMESTAMP_TOLERANCE_MS: u64 = 6 * 60 * 60 * 1000;

/// Reason why bytes are not valid content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The content is longer than [`MAX_CONTENT_LEN_BYTES`].
    #[error("the content is longer than {MAX_CONTENT_LEN_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_REPEATED`] attachments and previews.
    #[error("the content has more than {MAX_REPEATED} attachments and previews")]
    TooMany,
    /// The bytes are not the protobuf of a `Content`.
    #[error("the content cannot be decoded: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Content of a post, which is padded and signed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Content {
    /// The message to show. Everything else that the schema has is not used in rooms.
    #[prost(message, optional, tag = "1")]
    pub data_message: Option<DataMessage>,
    /// Time of signing, milliseconds since 1970. Clients drop the message unless it is within 6 hours of the server's
    /// `posted`.
    #[prost(uint64, optional, tag = "15")]
    pub sig_timestamp: Option<u64>,
}

/// A visible message.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct DataMessage {
    /// Text of the message.
    #[prost(string, optional, tag = "1")]
    pub body: Option<String>,
    /// Files, at most 32.
    #[prost(message, repeated, tag = "2")]
    pub attachments: Vec<AttachmentPointer>,
    /// 2 is a changed expiration timer; clients refuse flags other than 0 and 2.
    #[prost(uint32, optional, tag = "4")]
    pub flags: Option<u32>,
    /// Key of the profile picture.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub profile_key: Option<Vec<u8>>,
    /// Milliseconds since 1970; only old clients send it.
    #[prost(uint64, optional, tag = "7")]
    pub timestamp: Option<u64>,
    /// The message this one answers.
    #[prost(message, optional, tag = "8")]
    pub quote: Option<Quote>,
    /// Previews of links in the body.
    #[prost(message, repeated, tag = "10")]
    pub previews: Vec<Preview>,
    /// A reaction; in rooms the server's own endpoints are used instead.
    #[prost(message, optional, tag = "11")]
    pub reaction: Option<Reaction>,
    /// The sender's profile, as the sender claims it.
    #[prost(message, optional, tag = "101")]
    pub profile: Option<Profile>,
    /// An invitation to a community.
    #[prost(message, optional, tag = "102")]
    pub invitation: Option<Invitation>,
    /// Set on copies to the sender's own devices.
    #[prost(string, optional, tag = "105")]
    pub sync_target: Option<String>,
    /// The sender accepts no direct messages from people met in communities.
    #[prost(bool, optional, tag = "106")]
    pub blocks_community_message_requests: Option<bool>,
}

/// Name and picture of a sender.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Profile {
    /// The name to show. A profile without it is ignored.
    #[prost(string, optional, tag = "1")]
    pub display_name: Option<String>,
    /// URL of the encrypted picture on the file server.
    #[prost(string, optional, tag = "2")]
    pub profile_picture: Option<String>,
    /// Time of the profile's last change, seconds since 1970.
    #[prost(uint64, optional, tag = "3")]
    pub last_update_seconds: Option<u64>,
}

/// A pointer to the message that is answered.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Quote {
    /// The quoted message's time, milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub id: Option<u64>,
    /// The quoted author's id, as the room shows it.
    #[prost(string, optional, tag = "2")]
    pub author: Option<String>,
    /// The quoted text; only old clients send it.
    #[prost(string, optional, tag = "3")]
    pub text: Option<String>,
    /// The quoted files; only old clients send them.
    #[prost(message, repeated, tag = "4")]
    pub attachments: Vec<QuotedAttachment>,
}

/// A file of a quoted message.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct QuotedAttachment {
    /// Media type.
    #[prost(string, optional, tag = "1")]
    pub content_type: Option<String>,
    /// File name.
    #[prost(string, optional, tag = "2")]
    pub file_name: Option<String>,
    /// A small picture of it.
    #[prost(message, optional, tag = "3")]
    pub thumbnail: Option<AttachmentPointer>,
    /// Same as [`AttachmentPointer::flags`].
    #[prost(uint32, optional, tag = "4")]
    pub flags: Option<u32>,
}

/// Preview of a link.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Preview {
    /// The link, as in the body.
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    /// Title of the page.
    #[prost(string, optional, tag = "2")]
    pub title: Option<String>,
    /// Picture of the page.
    #[prost(message, optional, tag = "3")]
    pub image: Option<AttachmentPointer>,
}

/// A reaction as a message (not used in rooms).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Reaction {
    /// The message's time, milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub id: Option<u64>,
    /// The message's author.
    #[prost(string, optional, tag = "2")]
    pub author: Option<String>,
    /// Emoji of the reaction.
    #[prost(string, optional, tag = "3")]
    pub emoji: Option<String>,
    /// 0 adds it, 1 removes it.
    #[prost(int32, optional, tag = "4")]
    pub action: Option<i32>,
}

/// An invitation to another community.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Invitation {
    /// Join link of the community.
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    /// Name of the community.
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
}

/// Location and description of a file. In rooms the file is neither encrypted nor padded: no key, no digest.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct AttachmentPointer {
    /// The file's number on the server.
    #[prost(fixed64, required, tag = "1")]
    pub id: u64,
    /// Media type.
    #[prost(string, optional, tag = "2")]
    pub content_type: Option<String>,
    /// Encryption key; absent in rooms.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub key: Option<Vec<u8>>,
    /// Length, bytes. Receivers require exactly this much, or more and cut.
    #[prost(uint32, optional, tag = "4")]
    pub size: Option<u32>,
    /// Digest of the encrypted file; absent in rooms.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub digest: Option<Vec<u8>>,
    /// File name.
    #[prost(string, optional, tag = "7")]
    pub file_name: Option<String>,
    /// 1 marks a voice message.
    #[prost(uint32, optional, tag = "8")]
    pub flags: Option<u32>,
    /// Width of a picture, pixels.
    #[prost(uint32, optional, tag = "9")]
    pub width: Option<u32>,
    /// Height of a picture, pixels.
    #[prost(uint32, optional, tag = "10")]
    pub height: Option<u32>,
    /// Text under the picture.
    #[prost(string, optional, tag = "11")]
    pub caption: Option<String>,
    /// `SERVER_URL/room/TOKEN/file/ID`; receivers take the last segment as the file's number.
    #[prost(string, optional, tag = "101")]
    pub url: Option<String>,
}

/// Writes `Debug` forms that show the name of the type alone: texts, names and keys of messages belong in no log.
macro_rules! debug_without_content {
    ($($name:ident),+) => {
        $(impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })+
    };
}

debug_without_content!(Profile, Quote, QuotedAttachment, Preview, Reaction, Invitation);

impl core::fmt::Debug for DataMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DataMessage")
            .field("body_bytes", &self.body.as_ref().map(String::len))
            .field("attachments", &self.attachments)
            .field("flags", &self.flags)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

impl core::fmt::Debug for AttachmentPointer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AttachmentPointer")
            .field("size", &self.size)
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl Content {
    /// A text message as clients send it: body, time, and the sender's name if one is given.
    pub fn text(body: impl Into<String>, display_name: Option<&str>, now_ms: u64) -> Self {
        Self {
            data_message: Some(DataMessage {
                body: Some(body.into()),
                profile: display_name.map(|name| Profile {
                    display_name: Some(name.to_owned()),
                    ..Profile::default()
                }),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(now_ms),
        }
    }

    /// The bytes of this content, not padded.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads content in memory proportional to its length.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > MAX_CONTENT_LEN_BYTES {
            return Err(ContentError::TooLong);
        }
        check_repeated(bytes)?;
        Ok(Self::decode(bytes)?)
    }

    /// The text, if there is any.
    pub fn body(&self) -> Option<&str> {
        self.data_message
            .as_ref()?
            .body
            .as_deref()
            .filter(|body| !body.is_empty())
    }

    /// The name under which the sender wants to be shown.
    pub fn display_name(&self) -> Option<&str> {
        self.data_message
            .as_ref()?
            .profile
            .as_ref()?
            .display_name
            .as_deref()
            .filter(|name| !name.is_empty())
    }

    /// The attached files.
    pub fn attachments(&self) -> &[AttachmentPointer] {
        self.data_message
            .as_ref()
            .map_or(&[], |message| &message.attachments)
    }

    /// Returns true if clients show anything for this content, by the rule of the desktop app.
    pub fn is_visible(&self) -> bool {
        self.data_message.as_ref().is_some_and(|m| {
            matches!(m.flags.unwrap_or(0), 0 | 2)
                && (m.flags.unwrap_or(0) != 0
                    || m.body.as_deref().is_some_and(|body| !body.is_empty())
                    || !m.attachments.is_empty()
                    || m.quote.is_some()
                    || !m.previews.is_empty()
                    || m.invitation.is_some()
                    || m.reaction.is_some())
        })
    }

    /// Returns true if clients drop the message because `sigTimestamp` is too far from the server's `posted` (seconds).
    pub fn is_out_of_time(&self, posted_secs: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 52 bits")]
        self.sig_timestamp
            .is_some_and(|ms| (ms as f64 - posted_secs * 1000.0).abs() > SIG_TIMESTAMP_TOLERANCE_MS as f64)
    }
}

/// Refuses content with more than [`MAX_REPEATED`] attachments and previews. Two bytes of input can make a whole
/// struct of a repeated field, so those are counted before anything is decoded.
pub(crate) fn check_repeated(bytes: &[u8]) -> Result<(), ContentError> {
    if count_repeated(bytes, Level::Content, MAX_REPEATED) > MAX_REPEATED {
        return Err(ContentError::TooMany);
    }
    Ok(())
}

/// The messages that hold repeated fields.
#[derive(Clone, Copy)]
enum Level {
    Content,
    DataMessage,
    Quote,
}

/// Counts repeated elements, stopping soon after `limit`. Malformed input ends the walk: decoding reports it.
fn count_repeated(mut bytes: &[u8], level: Level, limit: usize) -> usize {
    let mut count = 0;
    while count <= limit && !bytes.is_empty() {
        let Some((key, rest)) = varint(bytes) else {
            return count;
        };
        let (field, kind) = (key >> 3, key & 7);
        let skip = match kind {
            0 => match varint(rest) {
                Some((_, after)) => rest.len() - after.len(),
                None => return count,
            },
            1 => 8,
            2 => {
                let Some((len, after)) = varint(rest) else {
                    return count;
                };
                let Some(inner) = usize::try_from(len).ok().and_then(|len| after.get(..len)) else {
                    return count;
                };
                count += match (level, field) {
                    (Level::Content, 1) => {
                        count_repeated(inner, Level::DataMessage, limit - count.min(limit))
                    }
                    (Level::DataMessage, 8) => count_repeated(inner, Level::Quote, limit - count.min(limit)),
                    (Level::DataMessage, 2 | 10) | (Level::Quote, 4) => 1,
                    _ => 0,
                };
                rest.len() - after.len() + inner.len()
            }
            5 => 4,
            // Groups: the schema has none and decoding skips them. What is in one is counted as if it stood here.
            _ => 0,
        };
        let Some(next) = rest.get(skip..) else {
            return count;
        };
        bytes = next;
    }
    count
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(at * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_fields_are_bounded() {
        // 5,000 attachments of zero bytes each: 2 bytes of input apiece.
        let inner: Vec<u8> = [0x12, 0x00].repeat(5_000);
        let mut bytes = vec![0x0a];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend(inner);
        assert_eq!(Content::decode_bounded(&bytes), Err(ContentError::TooMany));
    }

    #[test]
    fn unknown_fields_are_skipped_and_garbage_is_refused() {
        let mut bytes = Content::text("hi", None, 1).to_bytes();
        bytes.extend([0xb2, 0x0f, 0x03, 1, 2, 3]); // field 246, three bytes
        assert_eq!(Content::decode_bounded(&bytes).unwrap().body(), Some("hi"));
        assert!(matches!(
            Content::decode_bounded(&[0x0a, 0x05, 0x01]),
            Err(ContentError::Malformed(_))
        ));
        assert!(matches!(
            Content::decode_bounded(&[0x0a, 0x03, 0x0a, 0x01, 0xff]),
            Err(ContentError::Malformed(_))
        ));
    }

    #[test]
    fn the_parts_that_clients_show() {
        assert!(Content::text("x", None, 0).is_visible());
        assert!(!Content::text("", Some("Bot"), 0).is_visible());
        assert!(!Content::default().is_visible());
        assert!(!Content::text("x", None, 0).is_out_of_time(6.0 * 3600.0));
        assert!(Content::text("x", None, 0).is_out_of_time(6.0 * 3600.0 + 0.002));
    }
}
