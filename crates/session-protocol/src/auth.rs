//! Request authentication: the four `X-SOGS-*` headers.
//!
//! A client turns its [`Signer`] and a [`Request`] into [`AuthHeaders`]. A server reads them into an
//! [`Unverified`] claim, looks at bans and used nonces itself (it has the database), and gets a [`Verified`] id from
//! the signature at last: the order of causes is that of the reference server.

use blake2::{Blake2b512, Digest as _};

use crate::blind::{Blind15, Blind25};
use crate::encoding::{array_from_b64, array_from_hex, b64};
use crate::id::{Prefix, ServerKey, SessionId};
use crate::keys::{self, Identity, Signature};

/// Header with the id whose key signs.
pub const PUBKEY_HEADER: &str = "X-SOGS-Pubkey";
/// Header with 16 bytes that were never used before.
pub const NONCE_HEADER: &str = "X-SOGS-Nonce";
/// Header with unix seconds.
pub const TIMESTAMP_HEADER: &str = "X-SOGS-Timestamp";
/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "X-SOGS-Signature";
/// Maximum difference between a client's clock and the server's, seconds in either direction.
pub const TIMESTAMP_TOLERANCE_SECS: u64 = 86_400;
/// Length of a nonce, bytes.
pub const NONCE_LEN_BYTES: usize = 16;
/// The exact body with which a server tells a client to use its blinded id; Session's apps compare it verbatim.
pub const BLINDING_REQUIRED: &str = "Invalid authentication: this server requires the use of blinded ids";

/// The key an account signs with on one server, and the id it is shown under there.
#[derive(Clone)]
#[non_exhaustive]
pub enum Signer {
    /// The account itself: header id `00`, shown as `05`.
    Account(Box<Identity>),
    /// Blinded, version 1: header id and shown id `15`.
    Blind15(Box<Blind15>),
    /// Blinded, version 2: header id and shown id `25`. No released server takes it yet.
    Blind25(Box<Blind25>),
}

impl Signer {
    /// Signs as the account itself.
    pub fn account(identity: &Identity) -> Self {
        Self::Account(Box::new(identity.clone()))
    }

    /// Signs as the account's version 1 blinded id on `server`.
    pub fn blind15(identity: &Identity, server: &ServerKey) -> Self {
        Self::Blind15(Box::new(identity.blind15(server)))
    }

    /// Signs as the account's version 2 blinded id on `server`.
    pub fn blind25(identity: &Identity, server: &ServerKey) -> Self {
        Self::Blind25(Box::new(identity.blind25(server)))
    }

    /// The id of the request headers.
    pub fn header_id(&self) -> SessionId {
        match self {
            Self::Account(identity) => identity.unblinded_id(),
            Self::Blind15(blind) => blind.id(),
            Self::Blind25(blind) => blind.id(),
        }
    }

    /// The id under which the server shows what this signer posts.
    pub fn shown_id(&self) -> SessionId {
        match self {
            Self::Account(identity) => identity.session_id(),
            Self::Blind15(_) | Self::Blind25(_) => self.header_id(),
        }
    }

    /// The signature of a request: Ed25519 under the header key.
    pub fn sign_request(&self, bytes: &[u8]) -> Signature {
        match self {
            Self::Account(identity) => identity.sign(bytes),
            Self::Blind15(blind) => blind.sign(bytes),
            Self::Blind25(blind) => blind.sign(bytes),
        }
    }

    /// The signature of a message: the one that verifies under [`Signer::shown_id`].
    pub fn sign_message(&self, padded: &[u8]) -> Signature {
        match self {
            Self::Account(identity) => identity.sign_xed25519(padded),
            Self::Blind15(blind) => blind.sign(padded),
            Self::Blind25(blind) => blind.sign(padded),
        }
    }
}

impl core::fmt::Debug for Signer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Signer({})", self.shown_id())
    }
}

/// The part of a request that its signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// Percent-decoded path, then `?` and the query exactly as sent, if there is one.
    pub path: &'a str,
    /// The body; empty for none.
    pub body: &'a [u8],
}

impl Identity {
    /// Signs a request as the blinded id (`15`) that Session's apps use on `server`. `now` is in Unix seconds; the nonce
    /// comes from `rng`. [`Request::sign`] signs under other ids.
    ///
    /// ```
    /// use session_protocol::auth::Request;
    /// use session_protocol::{Identity, ServerKey};
    ///
    /// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    /// # let now = 1_764_460_800;
    /// # let server_key: ServerKey = "c3b3c6f32f0ab5a57f853cc4f30f5da7fda5624b0c77b3fb0829de562ada081d".parse()?;
    /// let identity = Identity::generate(&mut rng);
    /// let request = Request { method: "GET", path: "/rooms", body: b"" };
    /// let headers = identity.sign_request(&request, &server_key, now, &mut rng);
    /// assert!(headers.pubkey.starts_with("15"));
    /// # Ok::<(), session_protocol::IdError>(())
    /// ```
    pub fn sign_request<R: rand_core::CryptoRng + ?Sized>(
        &self,
        request: &Request<'_>,
        server: &ServerKey,
        now: u64,
        rng: &mut R,
    ) -> AuthHeaders {
        let mut nonce = [0; NONCE_LEN_BYTES];
        rng.fill_bytes(&mut nonce);
        request.sign(&Signer::blind15(self, server), server, &nonce, now)
    }
}

impl Request<'_> {
    /// The bytes to sign: server key, nonce, timestamp digits, method, path, and BLAKE2b-64 of a non-empty body.
    pub fn signed_bytes(
        &self,
        server: &ServerKey,
        nonce: &[u8; NONCE_LEN_BYTES],
        timestamp: &str,
    ) -> Vec<u8> {
        let hash: Option<[u8; 64]> = (!self.body.is_empty()).then(|| Blake2b512::digest(self.body).into());
        signed_bytes(server, nonce, timestamp, self.method, self.path, hash.as_ref())
    }

    /// Signs the request. `nonce` must be fresh randomness, `timestamp` is unix seconds.
    pub fn sign(
        &self,
        signer: &Signer,
        server: &ServerKey,
        nonce: &[u8; NONCE_LEN_BYTES],
        timestamp: u64,
    ) -> AuthHeaders {
        let timestamp = timestamp.to_string();
        let signature = signer.sign_request(&self.signed_bytes(server, nonce, &timestamp));
        AuthHeaders {
            pubkey: signer.header_id().to_string(),
            nonce: b64(nonce),
            timestamp,
            signature: b64(signature),
        }
    }
}

fn signed_bytes(
    server: &ServerKey,
    nonce: &[u8; NONCE_LEN_BYTES],
    timestamp: &str,
    method: &str,
    path: &str,
    body_hash: Option<&[u8; 64]>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192 + path.len());
    bytes.extend_from_slice(server.as_bytes());
    bytes.extend_from_slice(nonce);
    bytes.extend_from_slice(timestamp.as_bytes());
    bytes.extend_from_slice(method.as_bytes());
    bytes.extend_from_slice(path.as_bytes());
    if let Some(hash) = body_hash {
        bytes.extend_from_slice(hash);
    }
    bytes
}

/// The four header values of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthHeaders {
    /// Value of `X-SOGS-Pubkey`.
    pub pubkey: String,
    /// Value of `X-SOGS-Nonce`.
    pub nonce: String,
    /// Value of `X-SOGS-Timestamp`.
    pub timestamp: String,
    /// Value of `X-SOGS-Signature`.
    pub signature: String,
}

impl AuthHeaders {
    /// Names and values, in the order of the specification.
    pub fn pairs(&self) -> [(&'static str, &str); 4] {
        [
            (PUBKEY_HEADER, &self.pubkey),
            (NONCE_HEADER, &self.nonce),
            (TIMESTAMP_HEADER, &self.timestamp),
            (SIGNATURE_HEADER, &self.signature),
        ]
    }

    /// The same values as a server gets them.
    pub fn as_raw(&self) -> RawHeaders<'_> {
        RawHeaders {
            pubkey: Some(&self.pubkey),
            nonce: Some(&self.nonce),
            timestamp: Some(&self.timestamp),
            signature: Some(&self.signature),
        }
    }
}

/// The four headers as they arrived, each of which may be missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawHeaders<'a> {
    /// Value of `X-SOGS-Pubkey`.
    pub pubkey: Option<&'a str>,
    /// Value of `X-SOGS-Nonce`.
    pub nonce: Option<&'a str>,
    /// Value of `X-SOGS-Timestamp`.
    pub timestamp: Option<&'a str>,
    /// Value of `X-SOGS-Signature`.
    pub signature: Option<&'a str>,
}

/// Reason why a request's authentication is refused. The texts are those of the reference server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Some of the four headers are there and some are not. Status 400.
    #[error("Invalid authentication headers: missing {missing}/4 required X-SOGS-* headers")]
    MissingHeaders {
        /// Number of missing headers, 1 to 3.
        missing: usize,
    },
    /// Neither 66 hexadecimal digits nor base64 of 33 bytes. Status 400.
    #[error("Invalid authentication: X-SOGS-Pubkey is not a valid 66-hex digit id")]
    UndecodablePubkey,
    /// A prefix other than `00`, `15` and `25`; the text is the reference's, which has no `25`. Status 400.
    #[error("Invalid authentication: X-SOGS-Pubkey must be 00- or 15- prefixed")]
    WrongPrefix,
    /// The key is not a point of the main subgroup. Status 400.
    #[error("Invalid authentication: given X-SOGS-Pubkey is not a valid Ed25519 pubkey")]
    InvalidPoint,
    /// A `00` key on a server that insists on blinded ids; the text is [`BLINDING_REQUIRED`]. Status 400.
    #[error("Invalid authentication: this server requires the use of blinded ids")]
    BlindingRequired,
    /// The nonce is not 16 bytes in base64 or hex. Status 400.
    #[error("Invalid authentication: X-SOGS-Nonce must be 16 bytes (base64 or hex)")]
    InvalidNonce,
    /// The signature is not 64 bytes in base64 or hex. Status 400.
    #[error("Invalid authentication: X-SOGS-Signature must be 64 bytes (base64 or hex)")]
    InvalidSignature,
    /// The timestamp is not a decimal number of seconds. Status 400.
    #[error("Invalid authentication: X-SOGS-Timestamp is not a valid timestamp")]
    InvalidTimestamp,
    /// More than 24 hours from the server's clock. Status 425.
    #[error("Invalid authentication: X-SOGS-Timestamp is too far from current time")]
    TimestampTooFar,
    /// The signature does not verify. Status 401.
    #[error("Invalid authentication: X-SOGS-Signature verification failed")]
    SignatureMismatch,
}

/// A claim of identity with a valid form and time, and a signature that is not checked yet.
///
/// Between [`Unverified::parse`] and [`Unverified::verify`] the server refuses banned ids and used nonces.
#[derive(Debug, Clone)]
pub struct Unverified {
    key: SessionId,
    shown: SessionId,
    nonce: [u8; NONCE_LEN_BYTES],
    timestamp: String,
    seconds: u64,
    signature: Signature,
}

impl Unverified {
    /// Reads the headers. `Ok(None)` is an anonymous request: none of the four is there.
    ///
    /// `now` is the server's clock in unix seconds, `require_blinded` its policy on `00` keys.
    pub fn parse(raw: RawHeaders<'_>, require_blinded: bool, now: u64) -> Result<Option<Self>, AuthError> {
        Self::parse_with(raw, require_blinded, now, |_| false)
    }

    /// Like [`Unverified::parse`], without the costly test of the key's point when `known` says of the header id
    /// that its signatures have verified before.
    pub fn parse_with(
        raw: RawHeaders<'_>,
        require_blinded: bool,
        now: u64,
        known: impl FnOnce(&SessionId) -> bool,
    ) -> Result<Option<Self>, AuthError> {
        let all = [raw.pubkey, raw.nonce, raw.timestamp, raw.signature];
        // An empty header is a missing one, as for the reference server.
        let present = all
            .iter()
            .filter(|value| value.is_some_and(|v| !v.is_empty()))
            .count();
        let [Some(pubkey), Some(nonce), Some(timestamp), Some(signature)] = all else {
            return if present == 0 {
                Ok(None)
            } else {
                Err(AuthError::MissingHeaders { missing: 4 - present })
            };
        };
        match present {
            0 => return Ok(None),
            4 => {}
            _ => return Err(AuthError::MissingHeaders { missing: 4 - present }),
        }

        let (key, shown) = read_key(pubkey, require_blinded, known)?;
        let nonce = match nonce.len() {
            22 | 24 => array_from_b64(nonce),
            32 => array_from_hex(nonce),
            _ => None,
        }
        .ok_or(AuthError::InvalidNonce)?;
        let signature = match signature.len() {
            86 | 88 => array_from_b64(signature),
            128 => array_from_hex(signature),
            _ => None,
        }
        .ok_or(AuthError::InvalidSignature)?;
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
        let seconds: u64 = digits
            .then(|| timestamp.parse().ok())
            .flatten()
            .ok_or(AuthError::InvalidTimestamp)?;
        if now.abs_diff(seconds) > TIMESTAMP_TOLERANCE_SECS {
            return Err(AuthError::TimestampTooFar);
        }
        Ok(Some(Self {
            key,
            shown,
            nonce,
            timestamp: timestamp.to_owned(),
            seconds,
            signature,
        }))
    }

    /// The id the caller claims to be: `05` for a `00` key, else the blinded id.
    pub fn claimed_id(&self) -> SessionId {
        self.shown
    }

    /// The nonce, to be looked up among those used in the last 24 hours.
    pub fn nonce(&self) -> &[u8; NONCE_LEN_BYTES] {
        &self.nonce
    }

    /// The client's clock, unix seconds.
    pub fn timestamp(&self) -> u64 {
        self.seconds
    }

    /// Checks the signature. With [`Unverified::verify_hashed`] the only way to a [`Verified`].
    pub fn verify(self, server: &ServerKey, request: &Request<'_>) -> Result<Verified, AuthError> {
        let bytes = request.signed_bytes(server, &self.nonce, &self.timestamp);
        self.verify_bytes(&bytes)
    }

    /// Checks the signature of a request whose body went elsewhere: `body_hash` is its BLAKE2b-64, `None` for an
    /// empty body. `path` is as in [`Request::path`].
    pub fn verify_hashed(
        self,
        server: &ServerKey,
        method: &str,
        path: &str,
        body_hash: Option<&[u8; 64]>,
    ) -> Result<Verified, AuthError> {
        let bytes = signed_bytes(server, &self.nonce, &self.timestamp, method, path, body_hash);
        self.verify_bytes(&bytes)
    }

    fn verify_bytes(self, bytes: &[u8]) -> Result<Verified, AuthError> {
        keys::verify_ed25519(self.key.key(), bytes, &self.signature)
            .map_err(|_| AuthError::SignatureMismatch)?;
        Ok(Verified {
            key: self.key,
            shown: self.shown,
            nonce: self.nonce,
            seconds: self.seconds,
        })
    }
}

/// The header id and the id it is shown under.
fn read_key(
    pubkey: &str,
    require_blinded: bool,
    known: impl FnOnce(&SessionId) -> bool,
) -> Result<(SessionId, SessionId), AuthError> {
    let bytes: [u8; 33] = match pubkey.len() {
        66 => array_from_hex(pubkey),
        _ => array_from_b64(pubkey),
    }
    .ok_or(AuthError::UndecodablePubkey)?;
    let key = SessionId::from_bytes(bytes).map_err(|_| AuthError::WrongPrefix)?;
    let blinded = match key.prefix() {
        Prefix::Unblinded => false,
        Prefix::Blind15 | Prefix::Blind25 => true,
        _ => return Err(AuthError::WrongPrefix),
    };
    if !known(&key) {
        keys::valid_point(key.key()).map_err(|_| AuthError::InvalidPoint)?;
    }
    if blinded {
        return Ok((key, key));
    }
    if require_blinded {
        return Err(AuthError::BlindingRequired);
    }
    let x25519 = keys::montgomery(key.key()).map_err(|_| AuthError::InvalidPoint)?;
    Ok((key, SessionId::new(Prefix::Account, x25519)))
}

/// Proof that the holder of an id's key made the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    key: SessionId,
    shown: SessionId,
    nonce: [u8; NONCE_LEN_BYTES],
    seconds: u64,
}

impl Verified {
    /// The id whose key signed: `00`, `15` or `25`.
    pub fn header_id(&self) -> SessionId {
        self.key
    }

    /// The client's clock, unix seconds.
    pub fn timestamp(&self) -> u64 {
        self.seconds
    }

    /// The id of the caller: `05`, `15` or `25`.
    pub fn id(&self) -> SessionId {
        self.shown
    }

    /// The nonce this request used up.
    pub fn nonce(&self) -> &[u8; NONCE_LEN_BYTES] {
        &self.nonce
    }
}
