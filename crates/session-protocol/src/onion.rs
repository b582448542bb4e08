//! Onion requests: a request sealed to the server's key, and the layers of hops around it.
//!
//! The body of the POST is `N (uint32 little-endian) ‖ blob[N] ‖ JSON`, where the JSON names the client's one-time
//! key and the cipher ([`Sealed`]). What is inside the blob is [`v4`] or the legacy [`v3`]. The answer is sealed with
//! the same key under a fresh nonce ([`ReplyKey`]). [`path`] adds and takes off the layers of the hops on the way.

use blake2::{Blake2b256, Digest as _};
use chacha20poly1305::XChaCha20Poly1305;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::CryptoRng;
use serde_json::{Map, Value};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, Key, Nonce};

use crate::encoding;
use crate::id::ServerKey;
use crate::keys::{ServerSecret, shared_secret};

pub mod bencode;
pub mod path;
pub mod v3;
pub mod v4;

/// Longest JSON behind the blob, bytes.
pub const MAX_ROUTING_LEN_BYTES: usize = 16 * 1024;
/// Longest JSON inside the blob, bytes: method, endpoint and headers.
pub const MAX_METADATA_LEN_BYTES: usize = 256 * 1024;

/// Reason why an onion request or reply cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnionError {
    /// Not `N ‖ blob[N] ‖ JSON`.
    #[error("the onion request is cut short or not framed as expected")]
    Framing,
    /// The JSON behind the blob has no usable key.
    #[error("the onion request has no valid ephemeral_key")]
    EphemeralKey,
    /// The JSON names a cipher that we do not have.
    #[error("the onion request's enc_type is not known")]
    UnknownCipher,
    /// The blob was not sealed to this key, or was changed on the way.
    #[error("the onion layer cannot be decrypted with this key")]
    Decryption,
    /// The answer is not base64: it is not sealed at all.
    #[error("the answer is not base64")]
    NotBase64,
    /// The decrypted content is not a request or reply of this version.
    #[error("the content of the onion layer is malformed: {0}")]
    Malformed(&'static str),
}

/// Cipher of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cipher {
    /// AES-256-GCM; the default of the format, when `enc_type` is absent.
    #[default]
    AesGcm,
    /// XChaCha20-Poly1305.
    XChaCha20,
}

impl Cipher {
    /// The value of `enc_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
            Self::XChaCha20 => "xchacha20",
        }
    }

    /// Reads `enc_type` in any of its spellings.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "aes-gcm" | "gcm" => Some(Self::AesGcm),
            "xchacha20" | "xchacha20-poly1305" => Some(Self::XChaCha20),
            _ => None,
        }
    }

    /// Length of the nonce in front of the ciphertext, bytes.
    pub fn nonce_len(self) -> usize {
        match self {
            Self::AesGcm => 12,
            Self::XChaCha20 => 24,
        }
    }

    /// The symmetric key of both directions, from the X25519 secret and, for XChaCha20, both public keys.
    fn derive(self, shared: &[u8; 32], client: &[u8; 32], server: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(match self {
            Self::AesGcm => {
                let mut mac = Hmac::<Sha256>::new_from_slice(b"LOKI").expect("HMAC takes any key length");
                mac.update(shared);
                mac.finalize().into_bytes().into()
            }
            Self::XChaCha20 => Blake2b256::new()
                .chain_update(shared)
                .chain_update(client)
                .chain_update(server)
                .finalize()
                .into(),
        })
    }
}

/// The symmetric key of one request and its reply. Wiped when dropped.
#[derive(Clone)]
pub struct ReplyKey {
    cipher: Cipher,
    key: Zeroizing<[u8; 32]>,
}

impl ReplyKey {
    /// A key that was kept.
    pub fn from_key(cipher: Cipher, key: [u8; 32]) -> Self {
        Self {
            cipher,
            key: Zeroizing::new(key),
        }
    }

    /// The cipher of this exchange.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The key bytes, for comparison with reference vectors.
    pub fn expose_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Encrypts under a fresh nonce: `nonce ‖ ciphertext ‖ tag`.
    pub fn seal<R: CryptoRng + ?Sized>(&self, plaintext: &[u8], rng: &mut R) -> Vec<u8> {
        let mut nonce = [0; 24];
        let nonce = &mut nonce[..self.cipher.nonce_len()];
        rng.fill_bytes(nonce);
        self.seal_with_nonce(plaintext, nonce)
    }

    /// Encrypts under a given nonce of [`Cipher::nonce_len`] bytes, which must never be used twice.
    ///
    /// # Panics
    /// If the nonce has another length, or the plaintext is longer than 64 GB.
    pub fn seal_with_nonce(&self, plaintext: &[u8], nonce: &[u8]) -> Vec<u8> {
        let sealed = match self.cipher {
            Cipher::AesGcm => Aes256Gcm::new(&Key::<Aes256Gcm>::from(*self.key))
                .encrypt(&Nonce::<Aes256Gcm>::try_from(nonce).expect("12 bytes"), plaintext),
            Cipher::XChaCha20 => XChaCha20Poly1305::new(&Key::<XChaCha20Poly1305>::from(*self.key)).encrypt(
                &Nonce::<XChaCha20Poly1305>::try_from(nonce).expect("24 bytes"),
                plaintext,
            ),
        }
        .expect("the plaintext is within the cipher's limit");
        [nonce, &sealed].concat()
    }

    /// Decrypts `nonce ‖ ciphertext ‖ tag`.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OnionError> {
        let (nonce, ciphertext) = sealed
            .split_at_checked(self.cipher.nonce_len())
            .ok_or(OnionError::Decryption)?;
        match self.cipher {
            Cipher::AesGcm => Aes256Gcm::new(&Key::<Aes256Gcm>::from(*self.key)).decrypt(
                &Nonce::<Aes256Gcm>::try_from(nonce).expect("12 bytes"),
                ciphertext,
            ),
            Cipher::XChaCha20 => XChaCha20Poly1305::new(&Key::<XChaCha20Poly1305>::from(*self.key)).decrypt(
                &Nonce::<XChaCha20Poly1305>::try_from(nonce).expect("24 bytes"),
                ciphertext,
            ),
        }
        .map_err(|_| OnionError::Decryption)
    }
}

impl core::fmt::Debug for ReplyKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ReplyKey({})", self.cipher.name())
    }
}

/// A blob and what its receiver needs to open it.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// `nonce ‖ ciphertext ‖ tag`.
    pub blob: Vec<u8>,
    /// The client's one-time X25519 key.
    pub ephemeral: [u8; 32],
    /// Key with which the receiver's answer is sealed.
    pub reply: ReplyKey,
}

impl Sealed {
    /// Seals `plaintext` to `receiver` with a one-time key and nonce from `rng`.
    pub fn new<R: CryptoRng + ?Sized>(
        plaintext: &[u8],
        receiver: &ServerKey,
        cipher: Cipher,
        rng: &mut R,
    ) -> Result<Self, OnionError> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let mut nonce = [0; 24];
        let nonce = &mut nonce[..cipher.nonce_len()];
        rng.fill_bytes(nonce);
        Self::with(plaintext, receiver, cipher, *secret, nonce)
    }

    /// Seals with a given one-time secret and nonce, neither of which may ever be used twice.
    pub fn with(
        plaintext: &[u8],
        receiver: &ServerKey,
        cipher: Cipher,
        ephemeral_secret: [u8; 32],
        nonce: &[u8],
    ) -> Result<Self, OnionError> {
        let secret = StaticSecret::from(ephemeral_secret);
        let ephemeral = PublicKey::from(&secret).to_bytes();
        let shared = shared_secret(&secret, receiver.as_bytes()).ok_or(OnionError::EphemeralKey)?;
        let reply = ReplyKey {
            cipher,
            key: cipher.derive(&shared, &ephemeral, receiver.as_bytes()),
        };
        Ok(Self {
            blob: reply.seal_with_nonce(plaintext, nonce),
            ephemeral,
            reply,
        })
    }

    /// The POST body for a direct request: framed, with the key and cipher behind the blob.
    pub fn to_body(&self) -> Vec<u8> {
        self.to_body_with(Map::new())
    }

    /// The POST body with further routing fields in the JSON.
    pub(crate) fn to_body_with(&self, mut routing: Map<String, Value>) -> Vec<u8> {
        routing.insert("ephemeral_key".to_owned(), hex::encode(self.ephemeral).into());
        // The default stays unnamed, as in the apps; old servers know nothing else.
        if self.reply.cipher != Cipher::AesGcm {
            routing.insert("enc_type".to_owned(), self.reply.cipher.name().into());
        }
        frame(&self.blob, &Value::Object(routing))
    }
}

/// One layer as its receiver opened it.
#[derive(Debug)]
pub struct Opened {
    /// The decrypted content.
    pub plaintext: Vec<u8>,
    /// Key to seal the answer with.
    pub reply: ReplyKey,
}

/// Opens a POST body with the receiver's secret.
pub fn open(body: &[u8], receiver: &ServerSecret) -> Result<Opened, OnionError> {
    let (blob, json) = unframe(body)?;
    let fields = routing_fields(json)?;
    let cipher = match fields.get("enc_type") {
        None | Some(Value::Null) => Cipher::default(),
        Some(Value::String(name)) => Cipher::from_name(name).ok_or(OnionError::UnknownCipher)?,
        Some(_) => return Err(OnionError::UnknownCipher),
    };
    let ephemeral = fields
        .get("ephemeral_key")
        .and_then(Value::as_str)
        .and_then(encoding::key_from_text)
        .ok_or(OnionError::EphemeralKey)?;
    let shared = receiver.shared_with(&ephemeral).ok_or(OnionError::EphemeralKey)?;
    let reply = ReplyKey {
        cipher,
        key: cipher.derive(&shared, &ephemeral, receiver.public().as_bytes()),
    };
    let plaintext = reply.open(blob)?;
    Ok(Opened { plaintext, reply })
}

pub(crate) fn frame(blob: &[u8], json: &Value) -> Vec<u8> {
    let len = u32::try_from(blob.len()).expect("a blob is far below 4 GB");
    let mut body = Vec::with_capacity(blob.len() + 256);
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(blob);
    body.extend_from_slice(json.to_string().as_bytes());
    body
}

pub(crate) fn unframe(body: &[u8]) -> Result<(&[u8], &[u8]), OnionError> {
    let (len, rest) = body.split_first_chunk::<4>().ok_or(OnionError::Framing)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| OnionError::Framing)?;
    rest.split_at_checked(len).ok_or(OnionError::Framing)
}

pub(crate) fn routing_fields(json: &[u8]) -> Result<Map<String, Value>, OnionError> {
    if json.len() > MAX_ROUTING_LEN_BYTES {
        return Err(OnionError::Framing);
    }
    match serde_json::from_slice(json) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(OnionError::EphemeralKey),
    }
}

/// Header names and values out of JSON: text, and numbers and booleans as their text.
fn headers_from_json(value: Option<&Value>) -> Result<Vec<(String, String)>, OnionError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name.clone(), text.clone())),
                Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
                _ => Err(OnionError::Malformed("a header is neither text nor a number")),
            })
            .collect(),
        Some(_) => Err(OnionError::Malformed("the headers are not a JSON object")),
    }
}

fn headers_to_json(headers: &[(String, String)]) -> Value {
    Value::Object(
        headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect(),
    )
}

fn metadata(json: &[u8]) -> Result<Map<String, Value>, OnionError> {
    if json.len() > MAX_METADATA_LEN_BYTES {
        return Err(OnionError::Malformed("the metadata is too long"));
    }
    match serde_json::from_slice(json) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(OnionError::Malformed("the metadata is not a JSON object")),
    }
}
