//! Edits: a new text for a message that keeps its files, its reply and everything else.

use session_protocol::auth::Signer;
use session_protocol::content::{Content, DataMessage, MAX_CONTENT_LEN_BYTES, Profile};
use session_protocol::message::SignedPost;
use session_protocol::padding::{Padding, unpad};

use crate::call_types::Edited;
use crate::calls;
use crate::error::{Cause, SogsError};
use crate::post::{Post, PreparedPost};
use crate::room::Room;
use crate::types::{Message, Withheld};

/// Field numbers of `Content` and its `DataMessage` that an edit changes.
mod field {
    pub(super) const DATA_MESSAGE: u64 = 1;
    pub(super) const SIG_TIMESTAMP: u64 = 15;
    pub(super) const BODY: u64 = 1;
    pub(super) const ATTACHMENTS: u64 = 2;
    pub(super) const TIMESTAMP: u64 = 7;
    pub(super) const QUOTE: u64 = 8;
    pub(super) const PREVIEWS: u64 = 10;
    pub(super) const PROFILE: u64 = 101;
    pub(super) const INVITATION: u64 = 102;
    pub(super) const DISPLAY_NAME: u64 = 1;
}

impl Room {
    /// Edits one's own message. What `post` sets replaces the same part of the message: its text, name, files, reply,
    /// previews or invitation. Everything else stays, also what this program knows nothing of.
    ///
    /// A message that the server does not show us, because a filter hides it, is replaced whole ([`Edited::whole`]).
    ///
    /// Look at [`Edited::withheld`]: a filter of the community may hide the message because of its new text. Ackpost's
    /// server says so; of any other server the message is asked for again.
    ///
    /// # Errors
    /// [`Cause::InvalidInput`] if the message cannot be read as our own word: use [`Room::replace`] then.
    pub async fn edit(&self, id: u64, post: impl Into<Post>) -> Result<Edited, SogsError> {
        let post = post.into();
        let message = match self.message(id).await {
            // A message that a filter hides can be edited and not read.
            Err(error) if error.is(&Cause::NotFound) => return self.replace(id, post).await,
            message => message?,
        };
        if !self.is_own(&message) {
            // The server refuses it. The words of somebody else are not signed for that.
            return self.replace(id, post).await;
        }
        if !message.is_authentic() {
            return Err(SogsError::invalid(format!(
                "message #{id} cannot be edited in part, because it cannot be read; replace it whole"
            )));
        }
        let signer = self.server().signer().await?;
        let prepared = post.prepare_edit(&message, &signer, self.server().now_ms())?;
        let edited = self.send_edit(id, &prepared).await?;
        Ok(Edited {
            whole: false,
            ..edited
        })
    }

    /// Replaces one's own message whole: what `post` does not set is gone. Look at [`Edited::withheld`], as with
    /// [`Room::edit`].
    pub async fn replace(&self, id: u64, post: impl Into<Post>) -> Result<Edited, SogsError> {
        let prepared = self.prepare(&post.into()).await?;
        self.send_edit(id, &prepared).await
    }

    async fn send_edit(&self, id: u64, prepared: &PreparedPost) -> Result<Edited, SogsError> {
        let edited = self.server().run(calls::edit(self.token(), id, prepared)).await?;
        if edited.withheld.is_some() {
            return Ok(edited);
        }
        let withheld = match self.message(id).await {
            Err(error) if error.is(&Cause::NotFound) => Some(Withheld::Unspecified),
            // Any other failure says nothing about the edit, which the server confirmed.
            _ => None,
        };
        Ok(Edited { withheld, ..edited })
    }

    /// Returns true if the message is shown under one of our ids.
    fn is_own(&self, message: &Message) -> bool {
        let key = self.server().key();
        self.server().identity().is_some_and(|me| {
            [me.session_id(), me.blind15(&key).id(), me.blind25(&key).id()].contains(&message.author)
        })
    }
}

impl Post {
    /// Signs `message` with the parts that this post sets.
    fn prepare_edit(
        &self,
        message: &Message,
        signer: &Signer,
        now_ms: u64,
    ) -> Result<PreparedPost, SogsError> {
        let content = self
            .merge(unpad(&message.data), now_ms)
            .filter(|content| content.len() <= MAX_CONTENT_LEN_BYTES)
            .ok_or_else(|| SogsError::invalid("the message cannot be edited in part; replace it whole"))?;
        // Content that would not be read as a message is not signed.
        let decoded = Content::decode_bounded(&content)?;
        Self::check_shown(&decoded)?;
        let SignedPost { data, signature } = SignedPost::from_bytes(content, signer, Padding::Block);
        Ok(PreparedPost {
            author: signer.shown_id(),
            data,
            signature,
            files: self.file_ids(),
            whisper_to: None,
            whisper_mods: false,
            signed_at_ms: now_ms,
        })
    }

    /// Puts the parts that this post sets into encoded content; `None` if the bytes are not a message.
    fn merge(&self, original: &[u8], now_ms: u64) -> Option<Vec<u8>> {
        let Content {
            data_message: Some(mut new),
            sig_timestamp,
        } = self.content(now_ms)
        else {
            return None;
        };
        // An empty text means that the text stays.
        new.body = new.body.filter(|body| !body.is_empty());
        let mut message = Vec::new();
        let mut rest = Vec::new();
        for part in fields(original)? {
            match part.number {
                field::DATA_MESSAGE => message.extend_from_slice(part.inner?),
                field::SIG_TIMESTAMP => {}
                _ => rest.extend_from_slice(part.bytes),
            }
        }
        let mut kept = Vec::new();
        let mut profile = Vec::new();
        for part in fields(&message)? {
            let replaced = match part.number {
                field::BODY => new.body.is_some(),
                field::ATTACHMENTS => !new.attachments.is_empty(),
                field::TIMESTAMP => true,
                field::QUOTE => new.quote.is_some(),
                field::PREVIEWS => !new.previews.is_empty(),
                field::INVITATION => new.invitation.is_some(),
                field::PROFILE => {
                    profile.extend_from_slice(part.inner?);
                    true
                }
                _ => false,
            };
            if !replaced {
                kept.extend_from_slice(part.bytes);
            }
        }
        kept.extend(with_name(new.profile.take(), &profile)?);
        kept.extend(encode(DataMessage { profile: None, ..new }));
        let mut content = rest;
        put(&mut content, field::DATA_MESSAGE, &kept);
        content.extend(
            Content {
                data_message: None,
                sig_timestamp,
            }
            .to_bytes(),
        );
        Some(content)
    }
}

/// The field of the profile with the new name, and everything else of the old profile.
fn with_name(new: Option<Profile>, old: &[u8]) -> Option<Vec<u8>> {
    let name = new.and_then(|profile| profile.display_name);
    let mut profile = Vec::new();
    for part in fields(old)? {
        if name.is_none() || part.number != field::DISPLAY_NAME {
            profile.extend_from_slice(part.bytes);
        }
    }
    if let Some(name) = name {
        put(&mut profile, field::DISPLAY_NAME, name.as_bytes());
    }
    let mut out = Vec::new();
    if !profile.is_empty() {
        put(&mut out, field::PROFILE, &profile);
    }
    Some(out)
}

/// The encoded fields of a message, without its own frame.
fn encode(message: DataMessage) -> Vec<u8> {
    let content = Content {
        data_message: Some(message),
        sig_timestamp: None,
    }
    .to_bytes();
    fields(&content)
        .and_then(|parts| parts.first().and_then(|part| part.inner).map(<[u8]>::to_vec))
        .unwrap_or_default()
}

/// One field of the encoded bytes.
struct Part<'a> {
    number: u64,
    /// Bytes of the field: key and value.
    bytes: &'a [u8],
    /// The value, if it has a length.
    inner: Option<&'a [u8]>,
}

/// Takes a protobuf message apart; `None` if it is malformed or has groups.
fn fields(mut bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (key, after) = varint(bytes)?;
        let (inner, rest) = match key & 7 {
            0 => (None, varint(after)?.1),
            1 => (None, after.get(8..)?),
            5 => (None, after.get(4..)?),
            2 => {
                let (length, after) = varint(after)?;
                let length = usize::try_from(length).ok()?;
                (Some(after.get(..length)?), after.get(length..)?)
            }
            _ => return None,
        };
        parts.push(Part {
            number: key >> 3,
            bytes: &bytes[..bytes.len() - rest.len()],
            inner,
        });
        bytes = rest;
    }
    Some(parts)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Appends a field that has a length.
fn put(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    for mut rest in [number << 3 | 2, value.len() as u64] {
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                out.push(low);
                break;
            }
            out.push(low | 0x80);
        }
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_keeps_what_it_does_not_set() {
        let old = Content {
            data_message: Some(DataMessage {
                body: Some("old".to_owned()),
                profile_key: Some(vec![7; 32]),
                profile: Some(Profile {
                    display_name: Some("Bob".to_owned()),
                    profile_picture: Some("http://files/1".to_owned()),
                    last_update_seconds: Some(5),
                }),
                quote: Some(session_protocol::content::Quote {
                    id: Some(9),
                    author: Some("15aa".to_owned()),
                    ..Default::default()
                }),
                timestamp: Some(3),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(4),
        };
        let mut bytes = old.to_bytes();
        // A field of the future.
        put(&mut bytes, 77, b"later");
        let merged = Post::text("new").merge(&bytes, 1_000).expect("a message");
        let read = Content::decode_bounded(&merged).expect("a message");
        let message = read.data_message.clone().expect("a message");
        let before = old.data_message.expect("a message");
        assert_eq!(message.body.as_deref(), Some("new"));
        assert_eq!(read.sig_timestamp, Some(1_000));
        assert_eq!(message.timestamp, None);
        assert_eq!(
            (message.profile, message.profile_key, message.quote),
            (before.profile, before.profile_key, before.quote)
        );
        let future = fields(&merged).expect("fields");
        assert!(
            future
                .iter()
                .any(|part| part.number == 77 && part.inner == Some(b"later"))
        );

        let renamed = Post::text("")
            .name("Eve")
            .merge(&bytes, 1_000)
            .expect("a message");
        let message = Content::decode_bounded(&renamed)
            .expect("a message")
            .data_message
            .expect("a message");
        let profile = message.profile.expect("a profile");
        assert_eq!(message.body.as_deref(), Some("old"));
        assert_eq!(
            (
                profile.display_name.as_deref(),
                profile.profile_picture.as_deref()
            ),
            (Some("Eve"), Some("http://files/1"))
        );
        assert_eq!(
            Post::text("x").merge(b"\x0b\x0c", 0),
            None,
            "groups are not kept by halves"
        );
    }
}
