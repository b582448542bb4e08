//! A post: padded content and the signature over it.

use crate::auth::Signer;
use crate::content::{Content, ContentError};
use crate::id::{Prefix, SessionId};
use crate::keys::{self, BadSignature, Signature};
use crate::padding::{Padding, unpad};

/// The two fields of a post, fixed: posting them again is recognisable as the same message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPost {
    /// Padded content, the bytes of the JSON field `data`.
    pub data: Vec<u8>,
    /// Signature over `data`.
    pub signature: Signature,
}

impl SignedPost {
    /// Encodes, pads and signs.
    pub fn new(content: &Content, signer: &Signer, padding: Padding) -> Self {
        let data = padding.pad(content.to_bytes());
        let signature = signer.sign_message(&data);
        Self { data, signature }
    }
}

/// Why a post's signature does not make it the post of its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The signature does not fit.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    /// The author's id is of a kind that signs no posts.
    #[error("the author's id is of a kind that signs no posts")]
    UnknownKind,
}

/// Checks the signature of a post as Session's apps do: XEd25519 under a `05` id, Ed25519 under a blinded one.
pub fn verify(author: &SessionId, data: &[u8], signature: &Signature) -> Result<(), VerifyError> {
    match author.prefix() {
        Prefix::Account => keys::verify_xed25519(author.key(), data, signature)?,
        Prefix::Blind15 | Prefix::Blind25 | Prefix::Unblinded => {
            keys::verify_ed25519(author.key(), data, signature)?;
        }
        Prefix::Group | Prefix::System => return Err(VerifyError::UnknownKind),
    }
    Ok(())
}

/// Unpads and decodes the `data` of a post.
pub fn open(data: &[u8]) -> Result<Content, ContentError> {
    Content::decode_bounded(unpad(data))
}
