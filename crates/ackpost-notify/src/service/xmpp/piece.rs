//! Pieces of XMPP messages, encoded and decoded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dispatch::delivery::{Delivery, File};
use crate::problem::Diagnostic;
use crate::service::encoded::{Encoded, Shown};
use crate::service::target::Target;

use super::params::NAME;

/// An XMPP message. The outbox stores it; the names of the fields stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct XmppPiece {
    /// Stanza id and origin-id.
    pub(super) id: String,
    /// Time of the encoding, milliseconds since the epoch: a repeat is looked for from then on.
    pub(super) sent_at_ms: u64,
    /// The plain text.
    pub(super) body: String,
    /// The subject.
    pub(super) subject: Option<String>,
    /// The same text as HTML.
    pub(super) html: Option<String>,
    /// Signs like `*` in the body are not meant as styling.
    pub(super) unstyled: bool,
}

impl XmppPiece {
    /// Encodes the piece.
    pub(super) fn encode(&self) -> Encoded {
        Encoded::from_value(NAME, self)
    }

    /// Returns the texts as the client takes them.
    pub(super) fn content(&self) -> ackpost_xmpp::Content {
        ackpost_xmpp::Content {
            body: self.body.clone(),
            subject: self.subject.clone(),
            html: self.html.clone(),
            ..ackpost_xmpp::Content::default()
        }
    }

    /// Returns the texts as a recipient's program is handed them.
    pub(super) fn shown(&self) -> Shown {
        let texts = self.content().on_wire();
        Shown {
            subject: Some(texts.subject).filter(|subject| !subject.is_empty()),
            body: texts.body,
            html: texts.html,
        }
    }
}

/// A delivery whose pieces are decoded.
#[derive(Clone)]
pub(super) struct XmppDelivery {
    pub(super) target: Target,
    pub(super) pieces: Vec<XmppPiece>,
    /// Files that go with the first piece.
    pub(super) files: Arc<[File]>,
    pub(super) repeat: Vec<bool>,
}

impl XmppDelivery {
    /// Decodes the pieces.
    pub(super) fn of(delivery: &Delivery) -> Result<Self, Diagnostic> {
        let pieces = delivery.pieces.iter().map(|piece| piece.to_value(NAME));
        let mut pieces = pieces.collect::<Result<Vec<XmppPiece>, _>>()?;
        for piece in &mut pieces {
            piece.sent_at_ms = delivery.begun_ms(piece.sent_at_ms);
        }
        Ok(Self {
            target: delivery.target.clone(),
            pieces,
            files: Arc::clone(&delivery.files),
            repeat: delivery.repeat.clone(),
        })
    }

    /// Returns true if an earlier attempt at the piece with this number may have arrived.
    pub(super) fn is_repeat(&self, piece: usize) -> bool {
        self.repeat.get(piece).copied().unwrap_or_default()
    }

    /// Returns true if an earlier attempt at any piece may have arrived.
    pub(super) fn has_repeats(&self) -> bool {
        self.repeat.contains(&true)
    }
}
