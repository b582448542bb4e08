//! The parts of a message for the community: before they are signed, and signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sogs_client::{Post as SogsPost, PreparedPost};

/// A part of a message as it is signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) author: String,
    pub(super) data: String,
    pub(super) signature: String,
    pub(super) files: Vec<u64>,
    pub(super) signed_at: u64,
    pub(super) arrived: bool,
    /// The text and the name of its author, to sign it again.
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) name: String,
}

/// A post before it is signed.
pub(super) struct Draft {
    pub(super) text: String,
    pub(super) name: String,
    pub(super) post: SogsPost,
}

impl Part {
    pub(super) fn of(prepared: &PreparedPost, text: String, name: String) -> Self {
        Self {
            author: prepared.author.to_string(),
            data: STANDARD.encode(&prepared.data),
            signature: STANDARD.encode(prepared.signature),
            files: prepared.files.clone(),
            signed_at: prepared.signed_at_ms,
            arrived: false,
            text,
            name,
        }
    }

    /// The same part, to be signed again unless it arrived.
    pub(super) fn unsigned(&self) -> Self {
        let mut part = self.clone();
        if !part.arrived {
            part.data.clear();
        }
        part
    }

    pub(super) fn prepared(&self) -> Option<PreparedPost> {
        Some(PreparedPost {
            author: self.author.parse().ok()?,
            data: STANDARD.decode(&self.data).ok()?,
            signature: STANDARD.decode(&self.signature).ok()?.try_into().ok()?,
            files: self.files.clone(),
            whisper_to: None,
            whisper_mods: false,
            signed_at_ms: self.signed_at,
        })
    }
}
