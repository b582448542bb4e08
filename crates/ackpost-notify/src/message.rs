//! Messages: title, body, kind, format, and files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;

/// Header in which gateways count the gateways that a message went through, in requests (as Apprise does) and in mails.
pub const HOPS_HEADER: &str = "X-Apprise-Recursion-Count";

/// One notification, before it is rendered for any service.
///
/// ```
/// use ackpost_notify::{Format, Kind, Message};
///
/// let message = Message::new("The backup is done.")
///     .title("Backup")
///     .kind(Kind::Success)
///     .input_format(Format::Markdown);
/// assert_eq!(message.body, "The backup is done.");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The headline; empty means none.
    pub title: String,
    /// The text.
    pub body: String,
    /// Format of the text. `None` ("undeclared") means that no conversion takes place.
    pub input_format: Option<Format>,
    /// Kind of the message; neither SOGS nor XMPP shows it, other services may.
    pub kind: Kind,
    /// Files sent along, in this order.
    pub attachments: Vec<Attachment>,
    /// Turn `\n`, `\t`, `\u2713` … written in title and body into the characters they name.
    pub interpret_escapes: bool,
    /// Turn `:smile:` into its emoji: `Some(true)` always (unless the URL says `emojis=no`),
    /// `Some(false)` never, `None` when the URL says `emojis=yes`.
    pub interpret_emojis: Option<bool>,
    /// Number of gateways that it went through. Channels that may lead back to a gateway send it in [`HOPS_HEADER`].
    pub hops: u32,
}

impl Message {
    /// A message with this body and nothing else.
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Sets the title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Declares what title and body are written in.
    pub fn input_format(mut self, format: Format) -> Self {
        self.input_format = Some(format);
        self
    }

    /// Says what the message is about.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Says how many gateways it went through.
    pub fn hops(mut self, hops: u32) -> Self {
        self.hops = hops;
        self
    }

    /// Adds a file.
    pub fn attach(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Interprets backslash escapes in title and body.
    pub fn escapes(mut self, yes: bool) -> Self {
        self.interpret_escapes = yes;
        self
    }

    /// Forces emoji short codes on or off; see [`Message::interpret_emojis`].
    pub fn emojis(mut self, choice: Option<bool>) -> Self {
        self.interpret_emojis = choice;
        self
    }
}

/// Kind of a message (Apprise's notification type).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Something to know.
    #[default]
    Info,
    /// Something went well.
    Success,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Failure,
}

impl Kind {
    /// All kinds, in Apprise's order.
    pub const ALL: [Self; 4] = [Self::Info, Self::Success, Self::Warning, Self::Failure];

    /// Returns the lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownWord;

    /// Any case, blanks around it ignored.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text, &Self::ALL, Self::as_str)
    }
}

/// Format of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Plain text.
    #[default]
    Text,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
}

impl Format {
    /// All formats, in Apprise's order.
    pub const ALL: [Self; 3] = [Self::Text, Self::Html, Self::Markdown];

    /// Returns the lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Html => "html",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = UnknownWord;

    /// Any case, blanks around it ignored.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text, &Self::ALL, Self::as_str)
    }
}

/// Handling of a text that is longer than a service carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// Leave it to the service: the text is handed over untouched.
    #[default]
    Upstream,
    /// Cut the text off.
    Truncate,
    /// Send it in several pieces.
    Split,
}

impl Overflow {
    /// All ways to handle it, in Apprise's order.
    pub const ALL: [Self; 3] = [Self::Upstream, Self::Truncate, Self::Split];

    /// Returns the lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Truncate => "truncate",
            Self::Split => "split",
        }
    }
}

impl FromStr for Overflow {
    type Err = UnknownWord;

    /// Any case, blanks around it ignored.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        word(text, &Self::ALL, Self::as_str)
    }
}

pub(crate) fn word<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, UnknownWord> {
    let wanted = text.trim();
    all.iter()
        .copied()
        .find(|one| name(*one).eq_ignore_ascii_case(wanted))
        .ok_or_else(|| UnknownWord {
            expected: all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", "),
        })
}

/// A word that is not one of the allowed ones. The word itself is not repeated, it may be anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word; one of: {expected}")]
pub struct UnknownWord {
    /// The allowed words, separated by commas.
    pub expected: String,
}

/// A file that goes with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Source of the bytes.
    pub source: AttachmentSource,
    /// The name shown to the reader; `None` takes the last part of the path or URL.
    pub name: Option<String>,
    /// The media type; `None` is guessed from the name.
    pub media_type: Option<String>,
}

/// Source of the bytes of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachmentSource {
    /// A file on this machine.
    File(PathBuf),
    /// An `http://` or `https://` address that is fetched when the message is sent.
    Url(String),
    /// Bytes in memory.
    Bytes(Bytes),
}

impl Attachment {
    /// A file on this machine.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: AttachmentSource::File(path.into()),
            name: None,
            media_type: None,
        }
    }

    /// Bytes in memory, under a name.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self {
            source: AttachmentSource::Bytes(bytes.into()),
            name: Some(name.into()),
            media_type: None,
        }
    }

    /// Reads the value of `--attach`: a path, `file://…`, or `http(s)://…`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            return Self {
                source: AttachmentSource::Url(text.to_owned()),
                name: None,
                media_type: None,
            };
        }
        if lower.starts_with("file://") {
            let rest = &text["file://".len()..];
            let path = rest.split('?').next().unwrap_or(rest);
            return Self::file(crate::url::percent::decode(path));
        }
        Self::file(text)
    }

    /// The name shown to the reader.
    pub fn file_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        match &self.source {
            AttachmentSource::File(path) => path
                .file_name()
                .map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned()),
            AttachmentSource::Url(url) => {
                let path = url.split(['?', '#']).next().unwrap_or(url);
                let last = path.rsplit('/').next().unwrap_or_default();
                if last.is_empty() {
                    "file".to_owned()
                } else {
                    crate::url::percent::decode(last)
                }
            }
            AttachmentSource::Bytes(_) => "file".to_owned(),
        }
    }
}
