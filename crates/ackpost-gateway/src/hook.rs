//! Webhooks: what other programs post becomes title, body and kind.

mod alerts;
mod generic;
mod jinja;
mod named;
mod readers;
mod shortened;
mod template;

pub(crate) use generic::{generic, kind_of};
pub(crate) use named::from_hook;
pub(crate) use readers::Reader;
pub(crate) use template::Template;

use ackpost_notify::{Format, Kind};
use ackpost_operate::model::alert::Alert;

use crate::payload::GivenFile;

/// The message that another program posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IncomingMessage {
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) kind: Kind,
    /// Format of the body.
    pub(crate) format: Format,
    pub(crate) files: Vec<GivenFile>,
    /// Parts of the request that a chat cannot show, one sentence each. The answer names them.
    pub(crate) notes: Vec<String>,
    /// The alerts that it is about.
    pub(crate) alert: Option<Box<Alert>>,
}

impl Default for IncomingMessage {
    fn default() -> Self {
        Self {
            title: String::new(),
            body: String::new(),
            kind: Kind::default(),
            format: Format::Text,
            files: Vec::new(),
            notes: Vec::new(),
            alert: None,
        }
    }
}

impl IncomingMessage {
    /// Returns a plain text.
    pub(crate) fn new(title: impl Into<String>, body: impl Into<String>, kind: Kind) -> Self {
        Self {
            title: title.into(),
            body: body.into(),
            kind,
            ..Self::default()
        }
    }

    /// Adds a sentence about the message to its body, in the format of the body.
    pub(crate) fn note(&mut self, note: &str) {
        add_note(&mut self.body, self.format, note);
    }

    /// Adds a line to the body, unless it is empty.
    pub(crate) fn line(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if !self.body.is_empty() {
            self.body.push('\n');
        }
        self.body.push_str(line);
    }
}

/// Adds a sentence about a message to its body, as a paragraph of its own where the format has such.
pub(crate) fn add_note(body: &mut String, format: Format, note: &str) {
    if format == Format::Html {
        let note = note
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        body.push_str(&format!("<p>{note}</p>"));
        return;
    }
    if !body.is_empty() {
        body.push('\n');
        if format == Format::Markdown {
            body.push('\n');
        }
    }
    body.push_str(note);
}
