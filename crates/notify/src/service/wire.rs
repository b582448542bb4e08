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

/// A post in a community room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SogsWire {
    /// The text.
    pub body: String,
    /// The time that is signed, milliseconds since the epoch.
    pub sent_at_ms: u64,
    /// The signed bytes; `None` while files or a quoted message are still to be added on the way.
    pub fixed: Option<FixedPost>,
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
}
