//! The content of a post, and the post as it is signed.

use serde_json::{Map, Value, json};
use session_protocol::SessionId;
use session_protocol::auth::Signer;
use session_protocol::content::{
    AttachmentPointer, Content, DataMessage, Invitation, MAX_ATTACHMENTS, Preview, Profile, Quote,
};
use session_protocol::encoding::b64;
use session_protocol::keys::Signature;
use session_protocol::message::SignedPost;
use session_protocol::padding::Padding;

use crate::call_types::UploadedFile;
use crate::error::SogsError;
use crate::types::Message;

/// A message to post: text, files, an answer to another message, a whisper.
///
/// ```
/// # use sogs_client::Post;
/// let post = Post::text("The build is green again").name("CI");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Post {
    body: String,
    name: Option<String>,
    quote: Option<Quote>,
    previews: Vec<Preview>,
    invitation: Option<Invitation>,
    files: Vec<UploadedFile>,
    whisper_to: Option<SessionId>,
    whisper_mods: bool,
}

impl Post {
    /// Returns a post with this text.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Shows `name` instead of a shortened id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Answers `message`.
    pub fn reply_to(self, message: &Message) -> Self {
        let author = message.author;
        self.quote(message.quote_id(), &author)
    }

    /// Answers the message that `author` signed at `timestamp_ms`.
    pub fn quote(mut self, timestamp_ms: u64, author: &SessionId) -> Self {
        self.quote = Some(Quote {
            id: Some(timestamp_ms),
            author: Some(author.to_string()),
            ..Quote::default()
        });
        self
    }

    /// Attaches a file that was uploaded to the same room.
    pub fn file(mut self, file: UploadedFile) -> Self {
        self.files.push(file);
        self
    }

    /// Shows what is behind a link of the body.
    pub fn preview(mut self, url: impl Into<String>, title: impl Into<String>) -> Self {
        self.previews.push(Preview {
            url: Some(url.into()),
            title: Some(title.into()),
            image: None,
        });
        self
    }

    /// Invites to another community.
    pub fn invite(mut self, url: impl Into<String>, name: impl Into<String>) -> Self {
        self.invitation = Some(Invitation {
            url: Some(url.into()),
            name: Some(name.into()),
        });
        self
    }

    /// Only `user` (and, with [`Post::whisper_mods`], the moderators) will see it. For moderators.
    pub fn whisper_to(mut self, user: SessionId) -> Self {
        self.whisper_to = Some(user);
        self
    }

    /// Only moderators (and, with [`Post::whisper_to`], that user) will see it. For moderators.
    pub fn whisper_mods(mut self) -> Self {
        self.whisper_mods = true;
        self
    }

    /// The content that would be signed at `now_ms`, milliseconds since 1970.
    pub fn content(&self, now_ms: u64) -> Content {
        Content {
            data_message: Some(DataMessage {
                // Apps that show a file or an invitation want a body all the same.
                body: Some(self.body.clone()),
                attachments: self
                    .files
                    .iter()
                    .map(UploadedFile::pointer)
                    .collect::<Vec<AttachmentPointer>>(),
                quote: self.quote.clone(),
                previews: self.previews.clone(),
                profile: self.name.clone().map(|name| Profile {
                    display_name: Some(name),
                    ..Profile::default()
                }),
                invitation: self.invitation.clone(),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(now_ms),
        }
    }

    /// Numbers of the attached files.
    pub(crate) fn file_ids(&self) -> Vec<u64> {
        self.files.iter().map(|file| file.id).collect()
    }

    /// Refuses content that no app would show.
    pub(crate) fn check_shown(content: &Content) -> Result<(), SogsError> {
        if !content.is_visible() {
            return Err(SogsError::invalid("the message is empty: no app would show it"));
        }
        if content.attachments().len() > MAX_ATTACHMENTS {
            return Err(SogsError::invalid(format!(
                "apps show at most {MAX_ATTACHMENTS} files in one message"
            )));
        }
        Ok(())
    }

    /// Encodes, pads and signs. What comes out is fixed: sent again, it is recognisable as the same message.
    pub fn prepare(&self, signer: &Signer, now_ms: u64) -> Result<PreparedPost, SogsError> {
        let content = self.content(now_ms);
        Self::check_shown(&content)?;
        let sealed = SignedPost::new(&content, signer, Padding::Block);
        Ok(PreparedPost {
            author: signer.shown_id(),
            data: sealed.data,
            signature: sealed.signature,
            files: self.file_ids(),
            whisper_to: self.whisper_to,
            whisper_mods: self.whisper_mods,
            signed_at_ms: now_ms,
        })
    }
}

impl From<&str> for Post {
    fn from(body: &str) -> Self {
        Self::text(body)
    }
}

impl From<String> for Post {
    fn from(body: String) -> Self {
        Self::text(body)
    }
}

/// A post with its bytes and signature fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedPost {
    /// The id the server will show, whose key made the signature.
    pub author: SessionId,
    /// The padded content that is signed.
    pub data: Vec<u8>,
    /// Signature over `data`.
    pub signature: Signature,
    /// Numbers of the attached files.
    pub files: Vec<u64>,
    /// The only recipient, if the post is a whisper.
    pub whisper_to: Option<SessionId>,
    /// True if only moderators see the post.
    pub whisper_mods: bool,
    /// Time when it was signed, milliseconds since 1970; always before it was posted.
    pub signed_at_ms: u64,
}

impl PreparedPost {
    pub(crate) fn to_json(&self) -> Value {
        let mut body = self.fields();
        if let Some(user) = &self.whisper_to {
            body.insert("whisper_to".to_owned(), user.to_string().into());
        }
        if self.whisper_mods {
            body.insert("whisper_mods".to_owned(), true.into());
        }
        if !self.files.is_empty() {
            body.insert("files".to_owned(), json!(self.files));
        }
        Value::Object(body)
    }

    /// An edit replaces content and files; who sees the message stays.
    pub(crate) fn to_edit_json(&self) -> Value {
        let mut body = self.fields();
        if !self.files.is_empty() {
            body.insert("files".to_owned(), json!(self.files));
        }
        Value::Object(body)
    }

    fn fields(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("data".to_owned(), b64(&self.data).into());
        body.insert("signature".to_owned(), b64(self.signature).into());
        body
    }

    /// Returns true if `message` is this post: the same bytes under the same signature.
    pub fn is(&self, message: &Message) -> bool {
        message.author == self.author && message.data == self.data && message.signature == self.signature
    }
}
