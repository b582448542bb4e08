//! What a piece of text is on the wire, fixed before the first attempt.

use serde::{Deserialize, Serialize};

/// What a piece is on the wire. May be stored and sent again: the other side recognises it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Wire {
    /// A post in a community room.
    Sogs(SogsWire),
    /// An XMPP message.
    Xmpp(XmppWire),
}

/// Texts of a piece as a recipient's program is handed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The subject.
    pub subject: Option<String>,
    /// The plain text.
    pub body: String,
    /// The same text as markup, where the service carries one.
    pub html: Option<String>,
}

impl Wire {
    /// Returns true if text behind this piece was cut off.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Sogs(wire) => wire.cut,
            Self::Xmpp(wire) => wire.cut,
        }
    }

    /// Returns the texts that are sent, byte for byte.
    pub fn shown(&self) -> Shown {
        match self {
            Self::Sogs(wire) => Shown {
                body: wire.body.clone(),
                ..Shown::default()
            },
            Self::Xmpp(wire) => {
                let texts = wire.content().on_wire();
                Shown {
                    subject: Some(texts.subject).filter(|subject| !subject.is_empty()),
                    body: texts.body,
                    html: texts.html,
                }
            }
        }
    }
}

/// A post in a community room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SogsWire {
    /// The text.
    pub body: String,
    /// The time that is signed, milliseconds since the epoch.
    pub sent_at_ms: u64,
    /// The signed bytes; `None` while files or a quoted message are still to be added on the way.
    pub fixed: Option<FixedPost>,
    /// Text behind this piece was cut off (`overflow=truncate`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// The signed bytes of a post, signed under each id that the server may want to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedPost {
    /// Padded content, in hex.
    pub data: String,
    /// Signature of the account's own id (05), in hex.
    pub account_signature: String,
    /// Signature of the blinded id (15), in hex.
    pub blinded_signature: String,
    /// Numbers of the uploaded files.
    pub files: Vec<u64>,
    /// Files that could not be uploaded, and why; the text goes without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// An XMPP message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XmppWire {
    /// Stanza id and origin-id.
    pub id: String,
    /// When it was fixed, milliseconds since the epoch: a repeat is looked for from then on.
    pub sent_at_ms: u64,
    /// The plain text.
    pub body: String,
    /// The subject.
    pub subject: Option<String>,
    /// The same text as HTML.
    pub html: Option<String>,
    /// Signs like `*` in the body are not meant as styling.
    pub unstyled: bool,
    /// Text behind this piece was cut off (`overflow=truncate`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl XmppWire {
    /// The texts as the client takes them.
    pub(super) fn content(&self) -> ackpost_xmpp::Content {
        ackpost_xmpp::Content {
            body: self.body.clone(),
            subject: self.subject.clone(),
            html: self.html.clone(),
            ..ackpost_xmpp::Content::default()
        }
    }
}
