//! Direct messages between blinded ids, as they lie in a server's inbox.
//!
//! `0x00 ‖ XChaCha20-Poly1305(E, nonce, M ‖ A) ‖ nonce`, where M is the padded content, A the sender's real Ed25519
//! key, and `E = BLAKE2b-32(secret ‖ sender ‖ recipient)` over a Diffie-Hellman secret of the two. Whoever opens a
//! message checks that A blinds to the sender's id, so the name inside cannot be forged.

use blake2::{Blake2b256, Digest as _};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, Key, KeyInit as _, Nonce};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::blind::{Blinder, absolute15};
use crate::id::{Prefix, ServerKey, SessionId};
use crate::keys::{self, Identity};

/// Length of the nonce at the end, bytes.
pub const NONCE_LEN_BYTES: usize = 24;
/// Bytes that encryption adds to the padded content: version, sender's key, tag, nonce.
pub const OVERHEAD_LEN_BYTES: usize = 1 + 32 + 16 + NONCE_LEN_BYTES;
const VERSION: u8 = 0;

/// Reason why a direct message cannot be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DmError {
    /// The other side's id is not a valid `15` or `25` id.
    #[error("the other side's id is not a valid blinded id")]
    NotBlinded,
    /// Shorter than the shortest message.
    #[error("the message is cut short")]
    Truncated,
    /// A version byte other than 0.
    #[error("the message has version {0}, only 0 is known")]
    UnknownVersion(u8),
    /// The message is not encrypted between these two ids, or was changed.
    #[error("the message cannot be decrypted: it is not between these two ids, or was changed")]
    Decryption,
    /// The sender's key inside does not blind to the sender's id.
    #[error("the sender named inside the message is not the one who sent it")]
    ForgedSender,
}

/// An opened message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedDm {
    /// Padded content.
    pub data: Vec<u8>,
    /// The sender's real id (`05`), proved by the blinded one.
    pub sender: SessionId,
}

/// The two ends of one conversation on one server, seen from one of them.
pub struct Conversation<'a> {
    me: &'a Identity,
    server: ServerKey,
    my_id: SessionId,
    their_id: SessionId,
    secret: Zeroizing<[u8; 32]>,
}

impl<'a> Conversation<'a> {
    /// A conversation of `me` with `them`, a `15` or `25` id; our own id is blinded the same way.
    pub fn new(me: &'a Identity, them: &SessionId, server: &ServerKey) -> Result<Self, DmError> {
        let point = keys::valid_point(them.key()).map_err(|_| DmError::NotBlinded)?;
        let (my_id, shared) = match them.prefix() {
            Prefix::Blind15 => (me.blind15(server).id(), Zeroizing::new(point * me.scalar())),
            Prefix::Blind25 => {
                let blind = me.blind25(server);
                (blind.id(), Zeroizing::new(point * blind.scalar()))
            }
            _ => return Err(DmError::NotBlinded),
        };
        let secret = Zeroizing::new(shared.compress().to_bytes());
        Ok(Self {
            me,
            server: *server,
            my_id,
            their_id: *them,
            secret,
        })
    }

    /// Our id in this conversation.
    pub fn my_id(&self) -> SessionId {
        self.my_id
    }

    /// Encrypts padded content to the other side. `nonce` must be fresh randomness.
    pub fn seal(&self, padded: &[u8], nonce: &[u8; NONCE_LEN_BYTES]) -> Vec<u8> {
        let mut plaintext = Zeroizing::new(Vec::with_capacity(padded.len() + 32));
        plaintext.extend_from_slice(padded);
        plaintext.extend_from_slice(self.me.ed25519_public());
        let ciphertext = self
            .cipher(&self.my_id, &self.their_id)
            .encrypt(&Nonce::<XChaCha20Poly1305>::from(*nonce), plaintext.as_slice())
            .expect("the plaintext is within the cipher's limit");
        let mut message = Vec::with_capacity(ciphertext.len() + 1 + NONCE_LEN_BYTES);
        message.push(VERSION);
        message.extend_from_slice(&ciphertext);
        message.extend_from_slice(nonce);
        message
    }

    /// Opens what the other side sent (an item of our inbox).
    pub fn open_received(&self, message: &[u8]) -> Result<OpenedDm, DmError> {
        self.open(message, &self.their_id, &self.my_id)
    }

    /// Opens what we sent (an item of our outbox).
    pub fn open_sent(&self, message: &[u8]) -> Result<OpenedDm, DmError> {
        self.open(message, &self.my_id, &self.their_id)
    }

    fn open(&self, message: &[u8], from: &SessionId, to: &SessionId) -> Result<OpenedDm, DmError> {
        let (&version, rest) = message.split_first().ok_or(DmError::Truncated)?;
        if version != VERSION {
            return Err(DmError::UnknownVersion(version));
        }
        if message.len() < OVERHEAD_LEN_BYTES {
            return Err(DmError::Truncated);
        }
        let (ciphertext, nonce) = rest
            .split_last_chunk::<NONCE_LEN_BYTES>()
            .ok_or(DmError::Truncated)?;
        let mut data = self
            .cipher(from, to)
            .decrypt(&Nonce::<XChaCha20Poly1305>::from(*nonce), ciphertext)
            .map_err(|_| DmError::Decryption)?;
        let (rest, sender) = data.split_last_chunk::<32>().ok_or(DmError::Truncated)?;
        let (len, sender) = (rest.len(), *sender);
        let sender = self.prove_sender(&sender, from)?;
        data.truncate(len);
        Ok(OpenedDm { data, sender })
    }

    /// `05` id of the Ed25519 key found inside, if that key blinds to `from` on this server.
    fn prove_sender(&self, ed25519: &[u8; 32], from: &SessionId) -> Result<SessionId, DmError> {
        let point = keys::valid_point(ed25519).map_err(|_| DmError::ForgedSender)?;
        let account = SessionId::new(Prefix::Account, point.to_montgomery().to_bytes());
        let blinder = Blinder::new(&self.server);
        // For 15 ids the sign is not compared: old clients blind with the other one.
        let (expected, claimed) = match from.prefix() {
            Prefix::Blind25 => {
                let positive = if ed25519[31] >> 7 == 1 { -point } else { point };
                (blinder.id25_of_point(&account, &positive), *from)
            }
            _ => (absolute15(&blinder.id15_of_point(&point)), absolute15(from)),
        };
        if bool::from(expected.as_bytes().ct_eq(claimed.as_bytes())) {
            Ok(account)
        } else {
            Err(DmError::ForgedSender)
        }
    }

    fn cipher(&self, from: &SessionId, to: &SessionId) -> XChaCha20Poly1305 {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(
            Blake2b256::new()
                .chain_update(*self.secret)
                .chain_update(from.key())
                .chain_update(to.key())
                .finalize()
                .into(),
        );
        XChaCha20Poly1305::new(&Key::<XChaCha20Poly1305>::from(*key))
    }
}

impl core::fmt::Debug for Conversation<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Conversation({} with {})", self.my_id, self.their_id)
    }
}
