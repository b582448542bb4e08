//! A post: padded content and the signature over it.

use std::collections::HashMap;

use crate::auth::Signer;
use crate::content::{Content, ContentError};
use crate::id::{Prefix, SessionId};
use crate::keys::{BadSignature, Signature, VerifyingKey};
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
        Self::from_bytes(content.to_bytes(), signer, padding)
    }

    /// Pads and signs content that is encoded already.
    pub fn from_bytes(content: Vec<u8>, signer: &Signer, padding: Padding) -> Self {
        let data = padding.pad(content);
        let signature = signer.sign_message(&data);
        Self { data, signature }
    }
}

/// Reason why a post's signature does not prove its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The signature does not fit.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    /// The author's id is of a kind that signs no posts.
    #[error("ids of this kind cannot sign posts")]
    UnknownKind,
}

/// Checks the signature of a post as Session's apps do: XEd25519 under a `05` id, Ed25519 under a blinded one.
pub fn verify(author: &SessionId, data: &[u8], signature: &Signature) -> Result<(), VerifyError> {
    check(author.prefix(), &key_of(author)?, data, signature)
}

/// Checks the signatures of many posts, as [`verify`] does; the key of an author who wrote several is decoded once.
#[derive(Debug, Default)]
pub struct Verifier {
    keys: HashMap<SessionId, Result<VerifyingKey, VerifyError>>,
}

impl Verifier {
    /// Most authors that are remembered.
    const MAX_AUTHORS: usize = 4096;

    /// A verifier that does not know the author yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks the signature of one post.
    pub fn verify(
        &mut self,
        author: &SessionId,
        data: &[u8],
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        if self.keys.len() >= Self::MAX_AUTHORS {
            self.keys.clear();
        }
        let key = (*self.keys.entry(*author).or_insert_with(|| key_of(author)))?;
        check(author.prefix(), &key, data, signature)
    }
}

fn key_of(author: &SessionId) -> Result<VerifyingKey, VerifyError> {
    Ok(match author.prefix() {
        Prefix::Account => VerifyingKey::from_x25519(author.key())?,
        Prefix::Blind15 | Prefix::Blind25 | Prefix::Unblinded => VerifyingKey::from_ed25519(author.key())?,
        Prefix::Group | Prefix::System => return Err(VerifyError::UnknownKind),
    })
}

fn check(prefix: Prefix, key: &VerifyingKey, data: &[u8], signature: &Signature) -> Result<(), VerifyError> {
    match prefix {
        Prefix::Account => key.verify_xed25519(data, signature)?,
        _ => key.verify(data, signature)?,
    }
    Ok(())
}

/// Unpads and decodes the `data` of a post.
pub fn open(data: &[u8]) -> Result<Content, ContentError> {
    Content::decode_bounded(unpad(data))
}
