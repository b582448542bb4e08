//! The transport of the outbox: encodes a message and delivers one encoded piece.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use ackpost_notify::Encoded;
use ackpost_notify::Outcome;
use ackpost_notify::dispatch::{BoxFuture, File, Late, MessageId};
use ackpost_notify::{Format, Kind, Message};

/// Encodes messages and delivers their pieces. [`super::ServiceTransport`] does so with services.
pub trait Transport: Send + Sync + 'static {
    /// Renders a message for one target and encodes its pieces; piece `n` gets the id [`MessageId::piece`]. It uses no
    /// network: the same arguments give pieces that the other side takes for the same message.
    ///
    /// # Errors
    /// The outcome of a message that cannot be sent.
    fn encode(
        &self,
        destination: &Destination,
        message: &Message,
        id: &MessageId,
    ) -> Result<Vec<Encoded>, Outcome>;

    /// Delivers one piece.
    fn deliver<'a>(&'a self, request: DeliveryRequest<'a>) -> BoxFuture<'a, Outcome>;

    /// Takes the pieces that came back after they were reported delivered, since the last call.
    fn take_late(&self) -> Vec<Late> {
        Vec::new()
    }

    /// Forgets what it keeps of destinations between deliveries. It may hold secrets; what is still needed is read again.
    fn forget(&self) {}
}

/// One attempt at one piece.
pub struct DeliveryRequest<'a> {
    /// Destination of the piece.
    pub destination: &'a Destination,
    /// The piece.
    pub piece: &'a Encoded,
    /// The files that go with it (with the first piece).
    pub files: &'a [File],
    /// An earlier attempt may have arrived: look before sending.
    pub repeat: bool,
    /// Time at which the message was accepted, in milliseconds since 1970-01-01 UTC.
    pub accepted_at_ms: i64,
    /// Stores what must be durable during the attempt.
    pub checkpoint: &'a dyn Checkpoint,
}

impl fmt::Debug for DeliveryRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryRequest")
            .field("destination", self.destination)
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

/// Makes durable what changes during an attempt.
pub trait Checkpoint: Send + Sync {
    /// Stores a piece that had to be encoded anew before it is sent, because files have ids only after the upload. Returns
    /// true once it is stored; the piece must not be sent otherwise.
    fn save(&self, piece: Encoded) -> BoxFuture<'_, bool>;

    /// Notes that the piece was sent a second time although nothing shows whether the first one arrived.
    fn repeated(&self) {}

    /// Takes whether a copy of the piece may have arrived although it was not confirmed. Without this call it may
    /// have, so the next attempt looks for it first.
    fn doubt(&self, _may_have_arrived: bool) {}

    /// Takes remarks about the delivery that are not failures, such as a text that was cut off.
    fn noted(&self, _notes: Vec<String>) {}
}

/// Destination of a message: one target of one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Destination {
    /// `sogs`, `xmpp`, …
    pub service: String,
    /// The service's URL with its secrets, from which it is built again.
    pub url: SecretText,
    /// The service's URL, masked.
    pub masked: String,
    /// The first eight digits of the service's uid.
    pub url_id: String,
    /// The target as the service writes it.
    pub address: String,
    /// The target in full without secrets.
    pub target: String,
    /// Settings of the sender, if a configuration has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// Rules for a URL that somebody else handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<ackpost_notify::Guest>,
}

/// The settings of a run that count when a message is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sender {
    /// Value of [`ackpost_notify::Asset::app_id`].
    pub app_id: String,
    /// Value of [`ackpost_notify::Asset::language`].
    pub language: String,
    /// Value of [`ackpost_notify::Asset::http_redirects`].
    pub http_redirects: bool,
}

impl Sender {
    /// Returns the settings of an asset; `None` if they are the defaults.
    pub fn of(asset: &ackpost_notify::Asset) -> Option<Self> {
        let of = |asset: &ackpost_notify::Asset| Self {
            app_id: asset.app_id.clone(),
            language: asset.language.clone(),
            http_redirects: asset.http_redirects,
        };
        Some(of(asset)).filter(|sender| *sender != of(&ackpost_notify::Asset::default()))
    }

    /// Returns the default settings with these values in them.
    pub fn to_asset(&self) -> ackpost_notify::Asset {
        ackpost_notify::Asset {
            app_id: self.app_id.clone(),
            language: self.language.clone(),
            http_redirects: self.http_redirects,
            ..ackpost_notify::Asset::default()
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

    /// Returns the text.
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

/// Title and text of a stored message.
#[derive(Clone, Debug)]
pub struct MessageText {
    /// The title; empty if the message has none.
    pub title: SecretText,
    /// The text as it was accepted, before it was converted for the service.
    pub body: SecretText,
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
    /// Number of gateways that it went through.
    #[serde(default, skip_serializing_if = "is_zero")]
    hops: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
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
            hops: message.hops,
        }
    }

    /// Returns what people read of it.
    pub(crate) fn text(&self) -> MessageText {
        MessageText {
            title: self.title.clone(),
            body: self.body.clone(),
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
            hops: self.hops,
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
