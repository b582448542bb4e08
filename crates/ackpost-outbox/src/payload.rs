//! Sealed content of a row, and the merging of several messages into one.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::OutboxError;
use super::seal::AtRestCipher;
use super::transport::{Destination, SecretText, Sender, StoredMessage};
use super::types::StoredOutcome;
use ackpost_notify::Encoded;
use ackpost_notify::queue_rules::{Rules, span_text};
use ackpost_notify::{Format, Message};

/// Maximum number of messages that a digest shows; the others are counted.
const SHOWN: usize = 20;
/// Maximum number of characters of each title and body.
const SHOWN_CHARACTERS: usize = 400;

/// Everything secret about one entry.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Payload {
    #[serde(rename = "route")]
    pub(crate) destination: Destination,
    pub(crate) rules: Rules,
    pub(crate) fold: Fold,
    /// The message, or those that were collected.
    pub(crate) messages: Vec<StoredMessage>,
    /// Fixed pieces; empty while messages are collected, or until the first attempt at a [`Slim`] entry.
    pub(crate) pieces: Vec<Encoded>,
    /// Outcome of the pieces that were taken so far, if one of them lacks proof or something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partial: Option<StoredOutcome>,
    /// Reference of the row to the content that it shares with others.
    #[serde(skip)]
    pub(crate) share: Option<Share>,
}

/// Reference of an entry to a [`Shared`] row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Id of the row.
    pub(crate) id: i64,
    /// Stamp of the first piece.
    pub(crate) stamp: i64,
    /// Number of the target there; `None` in rows of earlier versions.
    pub(crate) number: Option<i64>,
}

/// A row that refers to a [`Shared`] one, as it is stored.
pub(crate) struct SlimAt<'a> {
    pub(crate) id: &'a str,
    pub(crate) sealed: Option<&'a [u8]>,
    pub(crate) share: i64,
    pub(crate) number: Option<i64>,
    /// Address of the target with this number.
    pub(crate) address: Option<String>,
    pub(crate) stamp: Option<i64>,
}

/// Content that the entries of one message to one URL have in common. Stored once, however many targets the URL names.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shared {
    service: String,
    url: SecretText,
    url_id: String,
    sender: Option<Sender>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest: Option<ackpost_notify::Guest>,
    rules: Rules,
    message: StoredMessage,
}

/// Content that an entry adds to a [`Shared`] row. Nothing is stored for one that adds nothing.
#[derive(Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slim {
    /// Only in rows of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) address: String,
    /// Only in rows of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) stamp: i64,
    #[serde(default, skip_serializing_if = "Fold::is_none")]
    pub(crate) fold: Fold,
    /// Of a digest: the messages behind the shared one. Of repeats: the latest, if it is not the shared one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<StoredMessage>,
    /// One of the repeats had files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) had_files: bool,
    /// Fixed at the first attempt, before anything is sent; from then on they never change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pieces: Vec<Encoded>,
    /// See [`Payload`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partial: Option<StoredOutcome>,
}

impl Slim {
    /// Seals it for its row.
    pub(crate) fn seal(&self, seal: &AtRestCipher, id: &str) -> Vec<u8> {
        if *self == Self::default() {
            return Vec::new();
        }
        let plain = Zeroizing::new(serde_json::to_vec(self).expect("texts and numbers can be written"));
        seal.seal(&place(id), &plain)
    }

    /// Opens a row.
    pub(crate) fn open(seal: &AtRestCipher, id: &str, sealed: &[u8]) -> Result<Self, OutboxError> {
        if sealed.is_empty() {
            return Ok(Self::default());
        }
        let plain = seal.open(&place(id), sealed).ok_or_else(|| damaged(id, BROKEN))?;
        serde_json::from_slice(&plain).map_err(|_| damaged(id, OTHER))
    }

    /// Puts another message to those that were collected.
    pub(crate) fn collect(&mut self, message: StoredMessage) {
        match self.fold {
            Fold::Repeats => {
                self.had_files |= message.had_files;
                self.messages = vec![message];
            }
            _ if self.messages.len() + 1 < SHOWN => {
                self.messages.push(message.shortened(SHOWN_CHARACTERS));
            }
            _ => {}
        }
    }

    /// Returns the messages of the entry, together with the one in the shared row with this id.
    pub(crate) fn with_shared(
        self,
        seal: &AtRestCipher,
        id: &str,
        share: i64,
        shared: &[u8],
    ) -> Result<Vec<StoredMessage>, OutboxError> {
        let plain = seal
            .open(&shared_place(share), shared)
            .ok_or_else(|| damaged(id, BROKEN))?;
        let shared: Shared = serde_json::from_slice(&plain).map_err(|_| damaged(id, OTHER))?;
        Ok(self.all_messages(shared.message))
    }

    /// The messages of the entry, `shared` being the one of the shared row.
    fn all_messages(self, mut shared: StoredMessage) -> Vec<StoredMessage> {
        let mut messages = self.messages;
        if self.fold == Fold::Repeats {
            let mut latest = messages.pop().unwrap_or(shared);
            latest.had_files |= self.had_files;
            return vec![latest];
        }
        shared.had_files |= self.had_files;
        messages.insert(0, shared);
        messages
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

const BROKEN: &str = "the seal is broken";
const OTHER: &str = "it has an unknown format";
const GONE: &str = "its content was removed";

fn damaged(id: &str, cause: &str) -> OutboxError {
    OutboxError::Damaged {
        id: id.to_owned(),
        cause: cause.to_owned(),
    }
}

impl Shared {
    /// Takes what all destinations of a message to one URL have in common.
    pub(crate) fn new(
        destination: &Destination,
        url: SecretText,
        rules: Rules,
        message: StoredMessage,
    ) -> Self {
        Self {
            service: destination.service.clone(),
            url,
            url_id: destination.url_id.clone(),
            sender: destination.sender.clone(),
            guest: destination.guest,
            rules,
            message,
        }
    }

    /// Seals it for its row.
    pub(crate) fn seal(&self, seal: &AtRestCipher, id: i64) -> Vec<u8> {
        let plain = Zeroizing::new(serde_json::to_vec(self).expect("texts and numbers can be written"));
        seal.seal(&shared_place(id), &plain)
    }
}

fn shared_place(id: i64) -> String {
    format!("shared {id}")
}

/// Reason why messages are merged into one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fold {
    /// The message is not merged.
    #[default]
    None,
    /// Repeats of one that was sent.
    Repeats,
    /// Everything within a time.
    Digest,
}

impl Fold {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes the field by reference"
    )]
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Payload {
    /// Opens a row.
    pub(crate) fn open(seal: &AtRestCipher, id: &str, sealed: Option<&[u8]>) -> Result<Self, OutboxError> {
        let sealed = sealed.ok_or_else(|| damaged(id, GONE))?;
        let plain = seal.open(&place(id), sealed).ok_or_else(|| damaged(id, BROKEN))?;
        serde_json::from_slice(&plain).map_err(|_| damaged(id, OTHER))
    }

    /// Opens a row that refers to a shared one.
    pub(crate) fn open_slim(
        seal: &AtRestCipher,
        at: &SlimAt<'_>,
        shared: Option<&[u8]>,
    ) -> Result<Self, OutboxError> {
        let damaged = |cause: &str| damaged(at.id, cause);
        let (Some(sealed), Some(shared)) = (at.sealed, shared) else {
            return Err(damaged(GONE));
        };
        let mut slim = Slim::open(seal, at.id, sealed)?;
        let plain = seal
            .open(&shared_place(at.share), shared)
            .ok_or_else(|| damaged(BROKEN))?;
        let shared: Shared = serde_json::from_slice(&plain).map_err(|_| damaged(OTHER))?;
        let address = match at.number {
            None => std::mem::take(&mut slim.address),
            Some(_) => at.address.clone().ok_or_else(|| damaged(OTHER))?,
        };
        Ok(Self {
            destination: Destination {
                service: shared.service,
                url: shared.url,
                // Only lists show these, and they have their own label.
                masked: String::new(),
                target: address.clone(),
                url_id: shared.url_id,
                address,
                sender: shared.sender,
                guest: shared.guest,
            },
            rules: shared.rules,
            fold: slim.fold,
            share: Some(Share {
                id: at.share,
                stamp: at.stamp.filter(|_| at.number.is_some()).unwrap_or(slim.stamp),
                number: at.number,
            }),
            pieces: std::mem::take(&mut slim.pieces),
            partial: slim.partial.take(),
            messages: slim.all_messages(shared.message),
        })
    }

    /// Seals it for its row.
    pub(crate) fn seal(&self, seal: &AtRestCipher, id: &str) -> Vec<u8> {
        if let Some(share) = self.share {
            // Only an entry with pieces is sealed again, and pieces need no messages.
            let own = share.number.is_none();
            let slim = Slim {
                address: if own {
                    self.destination.address.clone()
                } else {
                    String::new()
                },
                stamp: if own { share.stamp } else { 0 },
                fold: self.fold,
                pieces: self.pieces.clone(),
                partial: self.partial.clone(),
                ..Slim::default()
            };
            return slim.seal(seal, id);
        }
        let plain = Zeroizing::new(serde_json::to_vec(self).expect("texts and numbers can be written"));
        seal.seal(&place(id), &plain)
    }

    /// Puts another message to those that were collected.
    pub(crate) fn collect(&mut self, mut message: StoredMessage) {
        match self.fold {
            // The latest repeat stands for all.
            Fold::Repeats => {
                message.had_files |= self.had_files();
                self.messages = vec![message];
            }
            _ if self.messages.len() < SHOWN => self.messages.push(message.shortened(SHOWN_CHARACTERS)),
            _ => {}
        }
    }

    fn had_files(&self) -> bool {
        self.messages.iter().any(|message| message.had_files)
    }

    /// The message to send, `count` being how many were put together.
    pub(crate) fn message(&self, count: u64) -> Message {
        let first = self
            .messages
            .first()
            .map(StoredMessage::to_message)
            .unwrap_or_default();
        match self.fold {
            Fold::None => first,
            Fold::Repeats => repeats(first, count, self.had_files(), &self.rules),
            Fold::Digest if count <= 1 => first,
            Fold::Digest => digest(&self.messages, count, &self.rules),
        }
    }
}

fn place(id: &str) -> String {
    format!("entry {id}")
}

fn repeats(mut message: Message, count: u64, had_files: bool, rules: &Rules) -> Message {
    let window = rules
        .dedup
        .as_ref()
        .map(|dedup| span_text(dedup.window))
        .unwrap_or_default();
    let times = if count == 1 {
        "once more".to_owned()
    } else {
        format!("{count} more times")
    };
    let files = if had_files { ", files left out" } else { "" };
    let remark = format!("(repeated {times} within {window}{files})");
    let paragraph = match message.input_format {
        Some(Format::Html) => format!("<p>{remark}</p>"),
        Some(Format::Markdown) => format!("\n\n{remark}"),
        _ => format!("\n{remark}"),
    };
    message.body = format!("{}{paragraph}", message.body.trim_end());
    message
}

fn digest(messages: &[StoredMessage], count: u64, rules: &Rules) -> Message {
    let within = rules.digest.map(span_text).unwrap_or_default();
    let first = messages
        .first()
        .map(StoredMessage::to_message)
        .unwrap_or_default();
    let html = first.input_format == Some(Format::Html);
    let mut lines = Vec::with_capacity(messages.len() + 1);
    let mut kind = first.kind;
    let mut hops = first.hops;
    for (number, stored) in (1..).zip(messages) {
        let one = stored.to_message();
        kind = if severity(one.kind) > severity(kind) {
            one.kind
        } else {
            kind
        };
        hops = hops.max(one.hops);
        let text = match (one.title.trim(), one.body.trim()) {
            ("", body) => body.to_owned(),
            (title, "") => title.to_owned(),
            (title, body) => format!("{title}: {body}"),
        };
        lines.push(if html {
            format!("<li>{text}</li>")
        } else {
            format!("{number}. {text}")
        });
    }
    let unseen = count.saturating_sub(messages.len() as u64);
    let rest = (unseen > 0).then(|| format!("and {unseen} more"));
    let body = if html {
        let rest = rest.map(|rest| format!("<p>{rest}</p>")).unwrap_or_default();
        format!("<ol>{}</ol>{rest}", lines.concat())
    } else {
        lines.extend(rest);
        lines.join("\n")
    };
    Message {
        title: format!("{count} messages in {within}"),
        body,
        kind,
        hops,
        attachments: Vec::new(),
        ..first
    }
}

fn severity(kind: ackpost_notify::Kind) -> u8 {
    use ackpost_notify::Kind;
    match kind {
        Kind::Info => 0,
        Kind::Success => 1,
        Kind::Warning => 2,
        Kind::Failure => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(fold: Fold) -> Payload {
        let rules = Rules::from_words([("digest", "5m"), ("dedup", "k/10m")], None).unwrap();
        let destination = Destination {
            service: "test".to_owned(),
            url: SecretText::new("test://secret@host/a"),
            masked: "test://****@host/a".to_owned(),
            url_id: "00000000".to_owned(),
            address: "a".to_owned(),
            target: "test://host/a".to_owned(),
            sender: None,
            guest: None,
        };
        Payload {
            destination,
            rules,
            fold,
            messages: Vec::new(),
            partial: None,
            pieces: Vec::new(),
            share: None,
        }
    }

    #[test]
    fn a_digest_counts_what_it_does_not_show() {
        let mut payload = payload(Fold::Digest);
        for number in 1..=25 {
            payload.collect(StoredMessage::new(
                &Message::new(format!("text {number}")).title("disk"),
                false,
            ));
        }
        let message = payload.message(25);
        assert_eq!(message.title, "25 messages in 5m");
        assert!(
            message.body.starts_with("1. disk: text 1\n2. disk: text 2\n"),
            "{}",
            message.body
        );
        assert!(
            message.body.ends_with("20. disk: text 20\nand 5 more"),
            "{}",
            message.body
        );
    }

    #[test]
    fn a_digest_of_one_is_that_one() {
        let mut payload = payload(Fold::Digest);
        let message = Message::new("text").title("title").input_format(Format::Html);
        payload.collect(StoredMessage::new(&message, false));
        assert_eq!(payload.message(1), message);
    }

    #[test]
    fn repeats_are_counted_behind_the_latest() {
        let mut payload = payload(Fold::Repeats);
        payload.collect(StoredMessage::new(&Message::new("90 % full"), false));
        payload.collect(StoredMessage::new(&Message::new("91 % full\n"), false));
        assert_eq!(
            payload.message(1).body,
            "91 % full\n(repeated once more within 10m)"
        );
        assert_eq!(
            payload.message(7).body,
            "91 % full\n(repeated 7 more times within 10m)"
        );
        for had_files in [true, false] {
            payload.collect(StoredMessage::new(&Message::new("92 % full"), had_files));
            assert_eq!(
                payload.message(8).body,
                "92 % full\n(repeated 8 more times within 10m, files left out)",
                "what is not sent is said, whichever repeat had it"
            );
        }
    }

    #[test]
    fn nothing_secret_shows_in_debug() {
        let shown = format!("{:?}", payload(Fold::None).destination);
        assert!(!shown.contains("secret"), "{shown}");
    }
}
