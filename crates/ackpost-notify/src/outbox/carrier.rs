//! What the queue knows of services: how a message is fixed, and how one fixed piece is delivered.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::dispatch::Late;
use crate::message::{Format, Kind, Message};
use crate::outcome::Outcome;

/// One piece of a message as it goes on the wire, in whatever shape its service keeps it.
pub type Wire = serde_json::Value;

/// Carries pieces to their targets. The services of this crate do ([`super::ServiceTransport`]); tests bring others.
pub trait Transport: Send + Sync + 'static {
    /// Renders a message for one target and fixes everything that identifies its pieces on the wire. Pure: the
    /// same arguments give pieces that the other side takes for the same message.
    fn prepare(
        &self,
        route: &Destination,
        message: &Message,
        stamp: &MessageId,
    ) -> Result<Vec<Wire>, Outcome>;

    /// Delivers one piece.
    fn deliver<'a>(&'a self, job: Job<'a>) -> BoxFuture<'a, Outcome>;

    /// Takes the pieces that came back after they were reported delivered, since the last call.
    fn take_late(&self) -> Vec<Late> {
        Vec::new()
    }

    /// Forgets what it keeps of routes between deliveries. It may hold secrets; what is still needed is read again.
    fn forget(&self) {}
}

/// What makes the pieces of one message at one target unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// Milliseconds since 1970-01-01 UTC; piece `n` (from 0) is stamped `sent_at_ms + n`. No two pieces
    /// for a target ever have the same.
    pub sent_at_ms: u64,
    /// A text nobody else uses; piece `n` carries `ID-n`.
    pub id: String,
}

impl MessageId {
    /// The stamp of piece `n`.
    pub fn piece(&self, n: usize) -> (u64, String) {
        (self.sent_at_ms + n as u64, format!("{}-{n}", self.id))
    }
}

/// One attempt at one piece.
pub struct Job<'a> {
    /// Its destination.
    pub route: &'a Destination,
    /// The piece.
    pub wire: &'a Wire,
    /// The files that go with it (with the first piece).
    pub files: &'a [StoredFile],
    /// An earlier attempt may have arrived: look before sending.
    pub repeat: bool,
    /// When the message was accepted, in milliseconds since 1970-01-01 UTC.
    pub accepted_at_ms: i64,
    /// Keeps a piece that had to be changed before sending (files have ids only after the upload).
    pub keep: &'a dyn Checkpoint,
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("route", self.route)
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

/// Makes a changed piece durable.
pub trait Checkpoint: Send + Sync {
    /// True once it is stored; the piece must not be sent otherwise.
    fn keep(&self, wire: Wire) -> BoxFuture<'_, bool>;

    /// Notes that the piece was sent a second time although nothing shows whether the first one arrived.
    fn repeated(&self) {}

    /// Takes whether a copy of the piece may have arrived although it was not confirmed. Without this call it may
    /// have, so the next attempt looks for it first.
    fn doubt(&self, _may_have_arrived: bool) {}

    /// Takes remarks about the delivery that are no failures, such as a text that was cut off.
    fn noted(&self, _notes: Vec<String>) {}
}

/// Where a message goes: one target of one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Destination {
    /// `sogs`, `xmpp`, …
    pub service: String,
    /// The service's URL with its secrets, from which it is built again.
    pub url: SecretText,
    /// The same, masked.
    pub masked: String,
    /// The first eight digits of the service's uid.
    pub url_id: String,
    /// The target as the service writes it.
    pub address: String,
    /// The target in full without secrets.
    pub target: String,
    /// Who sends, where a configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// Rules for a URL that somebody else handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<crate::Guest>,
}

/// The settings of a run that count when a message is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sender {
    /// [`crate::Asset::app_id`].
    pub app_id: String,
    /// [`crate::Asset::language`].
    pub language: String,
    /// [`crate::Asset::http_redirects`].
    pub http_redirects: bool,
}

impl Sender {
    /// What an asset says; `None` when it says what is usual.
    pub fn of(asset: &crate::Asset) -> Option<Self> {
        let of = |asset: &crate::Asset| Self {
            app_id: asset.app_id.clone(),
            language: asset.language.clone(),
            http_redirects: asset.http_redirects,
        };
        Some(of(asset)).filter(|sender| *sender != of(&crate::Asset::default()))
    }

    /// The usual settings with these in them.
    pub fn to_asset(&self) -> crate::Asset {
        crate::Asset {
            app_id: self.app_id.clone(),
            language: self.language.clone(),
            http_redirects: self.http_redirects,
            ..crate::Asset::default()
        }
    }
}

/// A text that does not show itself and is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

// Only ever written into sealed rows.
impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A file that was copied in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The name shown to the reader.
    pub name: String,
    /// The media type.
    pub media_type: String,
    /// The whole file.
    pub bytes: Bytes,
}

/// A message without its files, as it is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredMessage {
    title: SecretText,
    body: SecretText,
    format: Option<String>,
    kind: String,
    escapes: bool,
    emojis: Option<bool>,
    /// It came with files, which are stored beside it or not at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) had_files: bool,
}

impl StoredMessage {
    pub(crate) fn new(message: &Message, had_files: bool) -> Self {
        Self {
            had_files,
            title: SecretText::new(message.title.clone()),
            body: SecretText::new(message.body.clone()),
            format: message.input_format.map(|format| format.as_str().to_owned()),
            kind: message.kind.as_str().to_owned(),
            escapes: message.interpret_escapes,
            emojis: message.interpret_emojis,
        }
    }

    pub(crate) fn to_message(&self) -> Message {
        Message {
            title: self.title.reveal().to_owned(),
            body: self.body.reveal().to_owned(),
            input_format: self
                .format
                .as_deref()
                .and_then(|word| word.parse::<Format>().ok()),
            kind: self.kind.parse::<Kind>().unwrap_or_default(),
            attachments: Vec::new(),
            interpret_escapes: self.escapes,
            interpret_emojis: self.emojis,
        }
    }

    /// Cuts title and body, for collections that must stay small.
    pub(crate) fn shortened(mut self, characters: usize) -> Self {
        for text in [&mut self.title, &mut self.body] {
            if text.reveal().chars().count() > characters {
                let cut: String = text.reveal().chars().take(characters).collect();
                *text = SecretText::new(format!("{cut}…"));
            }
        }
        self
    }
}
