//! Messages before they are sealed: sender and content.

use core::fmt;
use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use session_protocol::content::{Profile, Quote};
use session_protocol::network::content::{DirectContent, MessageRequestResponse};
use session_protocol::network::message::{self, MessageError, TextMessage};
use session_protocol::network::storage::{MAX_TTL_MS, MIN_TTL_MS};
use session_protocol::{Identity, Prefix, SessionId};

use crate::error::{Cause, NetworkError};
use crate::file::{MAX_FILES, UploadedFile};
use crate::prepared::PreparedMessage;
use crate::text::{MAX_PIECES, pieces};
use crate::timestamps::{MessageTime, Now, Timestamps};

/// Longest name of a sender, bytes, as in Session's apps.
pub const MAX_NAME_LEN_BYTES: usize = 100;

/// An account that sends, with the name that recipients see.
#[derive(Clone)]
pub struct Sender {
    identity: Identity,
    name: String,
}

impl Sender {
    /// Makes a sender. The recipient's list of requests shows `name`.
    ///
    /// # Errors
    /// [`Cause::Option`] if the name is empty or has more than 100 bytes.
    pub fn new(identity: Identity, name: &str) -> Result<Self, NetworkError> {
        Self::check_name(name)?;
        Ok(Self {
            identity,
            name: name.trim().to_owned(),
        })
    }

    /// Checks a name without an account.
    ///
    /// # Errors
    /// [`Cause::Option`] if the name is empty or has more than 100 bytes.
    pub fn check_name(name: &str) -> Result<(), NetworkError> {
        if (1..=MAX_NAME_LEN_BYTES).contains(&name.trim().len()) {
            return Ok(());
        }
        let rule = "the name of a sender has 1 to 100 bytes";
        Err(NetworkError::new(Cause::Option { rule }))
    }

    /// The account's id.
    pub fn id(&self) -> SessionId {
        self.identity.session_id()
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Rule by which a message disappears from the devices of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disappearing {
    /// So long after it was read.
    AfterRead(Duration),
    /// So long after it was sent.
    AfterSent(Duration),
}

/// A message before it is sealed. `Debug` does not show the text.
#[derive(Clone, PartialEq)]
#[must_use]
pub struct Draft {
    kind: Kind,
    files: Vec<UploadedFile>,
    ttl: Duration,
    disappearing: Option<Disappearing>,
    /// Time and author of the message that it answers.
    answers: Option<(u64, SessionId)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Text(String),
    AcceptRequest,
    Probe,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("ttl", &self.ttl)
            .field("disappearing", &self.disappearing)
            .finish_non_exhaustive()
    }
}

impl Draft {
    /// A text. It becomes several messages if it has more than 2000 code points, the limit of Session's apps.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Kind::Text(text.into()))
    }

    /// The answer to a first message: the other side is told that its request was accepted.
    pub fn accept_request() -> Self {
        Self::new(Kind::AcceptRequest)
    }

    /// A message to oneself that nobody shows.
    pub(crate) fn probe() -> Self {
        Self::new(Kind::Probe)
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            files: Vec::new(),
            ttl: Duration::from_millis(MAX_TTL_MS),
            disappearing: None,
            answers: None,
        }
    }

    /// Lets the text answer a message of the conversation: apps show a quote of it. `timestamp_ms` is the time of that message
    /// ([`IncomingMessage::timestamp_ms`](crate::IncomingMessage::timestamp_ms)), `author` the account that sent it.
    pub fn reply_to(mut self, timestamp_ms: u64, author: SessionId) -> Self {
        self.answers = Some((timestamp_ms, author));
        self
    }

    /// Adds files that were uploaded; they come with the first message of the text.
    pub fn files(mut self, files: impl IntoIterator<Item = UploadedFile>) -> Self {
        self.files.extend(files);
        self
    }

    /// Sets how long the nodes keep the message, from 10 seconds to 14 days. Default: 14 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Lets the message disappear from the devices. After [`Disappearing::AfterSent`] nodes do not have it either.
    pub fn disappearing(mut self, when: Disappearing) -> Self {
        self.disappearing = Some(when);
        self
    }

    fn ttl_ms(&self) -> u64 {
        let ttl = match self.disappearing {
            Some(Disappearing::AfterSent(after)) => after.min(self.ttl),
            _ => self.ttl,
        };
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// Checks everything that no node is needed for: times, the number of files and the length of the text. Call it before
    /// files are uploaded, so that none is uploaded in vain.
    ///
    /// # Errors
    /// [`Cause::Option`] or [`Cause::TextTooLong`].
    pub fn check(&self) -> Result<(), NetworkError> {
        self.texts()?;
        if !(MIN_TTL_MS..=MAX_TTL_MS).contains(&self.ttl_ms()) {
            let rule = "nodes keep a message between 10 seconds and 14 days";
            return Err(NetworkError::new(Cause::Option { rule }));
        }
        if self.files.len() > MAX_FILES {
            let rule = "a message has at most 10 files";
            return Err(NetworkError::new(Cause::Option { rule }));
        }
        if let Some(Disappearing::AfterRead(after) | Disappearing::AfterSent(after)) = self.disappearing
            && u32::try_from(after.as_secs()).map_or(true, |secs| secs == 0)
        {
            let rule = "a message disappears after 1 second to 136 years";
            return Err(NetworkError::new(Cause::Option { rule }));
        }
        Ok(())
    }

    pub(crate) fn prepare(
        &self,
        sender: &Sender,
        recipient: &SessionId,
        now: Now,
        timestamps: &Timestamps,
    ) -> Result<Vec<PreparedMessage>, NetworkError> {
        if recipient.prefix() != Prefix::Account {
            return Err(MessageError::NotAnAccount.into());
        }
        let texts = self.texts()?;
        let timestamps = timestamps.take(texts.len(), now, &sender.id(), &sender.name)?;
        let messages = texts
            .iter()
            .zip(timestamps)
            .enumerate()
            .map(|(number, (text, time))| {
                let mut content = self.content(text, sender, time);
                if let Some(data) = content.data_message.as_mut().filter(|_| number == 0) {
                    data.attachments = self.files.iter().map(|file| file.pointer.clone()).collect();
                    data.quote = self.answers.map(|(timestamp_ms, author)| Quote {
                        id: Some(timestamp_ms),
                        author: Some(author.to_string()),
                        ..Quote::default()
                    });
                }
                let data = message::seal(&content, &sender.identity, recipient, &mut UnwrapErr(SysRng))?;
                Ok(PreparedMessage::new(
                    *recipient,
                    time.timestamp_ms,
                    self.ttl_ms(),
                    data,
                ))
            });
        messages.collect()
    }

    /// The texts of its messages.
    fn texts(&self) -> Result<Vec<&str>, NetworkError> {
        match &self.kind {
            Kind::Text(text) => pieces(text).ok_or_else(|| {
                let limit = MAX_PIECES * session_protocol::content::MAX_BODY_CODE_POINTS;
                NetworkError::new(Cause::TextTooLong { limit })
            }),
            Kind::AcceptRequest | Kind::Probe => Ok(vec![""]),
        }
    }

    fn content(&self, text: &str, sender: &Sender, time: MessageTime) -> DirectContent {
        let mut content = match &self.kind {
            Kind::Text(_) => TextMessage {
                body: text,
                sender_name: &sender.name,
                name_changed_secs: time.name_changed_secs,
                timestamp_ms: time.timestamp_ms,
            }
            .to_content(),
            Kind::AcceptRequest => DirectContent {
                request_response: Some(MessageRequestResponse {
                    is_approved: true,
                    profile_key: None,
                    profile: Some(Profile {
                        display_name: Some(sender.name.clone()),
                        profile_picture: None,
                        last_update_seconds: Some(time.name_changed_secs),
                    }),
                }),
                sig_timestamp: Some(time.timestamp_ms),
                ..DirectContent::default()
            },
            Kind::Probe => DirectContent {
                sig_timestamp: Some(time.timestamp_ms),
                ..DirectContent::default()
            },
        };
        let timer = |after: Duration| u32::try_from(after.as_secs()).ok();
        match self.disappearing {
            Some(Disappearing::AfterRead(after)) => {
                (content.expiration_type, content.expiration_timer_secs) = (Some(1), timer(after));
            }
            Some(Disappearing::AfterSent(after)) => {
                (content.expiration_type, content.expiration_timer_secs) = (Some(2), timer(after));
            }
            None => {}
        }
        content
    }
}
