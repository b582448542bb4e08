//! Version 3 (legacy): a JSON object inside, base64 of the encrypted raw body back.
//!
//! Current clients do not use it; old ones post to `/oxen/v3/lsrpc` or `/loki/v3/lsrpc`.

use rand_core::CryptoRng;
use serde_json::{Value, json};

use super::{Cipher, OnionError, ReplyKey, Sealed, headers_from_json, headers_to_json};
use crate::encoding::{b64, from_b64};
use crate::id::ServerKey;
use crate::keys::ServerSecret;

/// The paths that take these requests.
pub const PATHS: [&str; 2] = ["/oxen/v3/lsrpc", "/loki/v3/lsrpc"];

/// A request inside the onion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Upper-case method.
    pub method: String,
    /// Path and query. Without a leading slash it belongs under `/legacy/`: see [`Request::path`].
    pub endpoint: String,
    /// Headers in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body as text; empty for none.
    pub body: String,
}

impl Request {
    /// The path this request goes to.
    pub fn path(&self) -> String {
        if self.endpoint.starts_with('/') {
            self.endpoint.clone()
        } else {
            format!("/legacy/{}", self.endpoint)
        }
    }

    /// The bytes to seal.
    pub fn to_plaintext(&self) -> Vec<u8> {
        json!({
            "endpoint": self.endpoint,
            "method": self.method,
            "body": self.body,
            "headers": headers_to_json(&self.headers),
        })
        .to_string()
        .into_bytes()
    }

    /// Reads the bytes that were sealed.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, OnionError> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(plaintext) else {
            return Err(OnionError::Malformed("not a JSON object"));
        };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let method = text("method").ok_or(OnionError::Malformed("no method"))?;
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(OnionError::Malformed("the method is not a valid word"));
        }
        Ok(Self {
            method,
            endpoint: text("endpoint").ok_or(OnionError::Malformed("no endpoint"))?,
            headers: headers_from_json(fields.get("headers"))?,
            body: match fields.get("body") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(_) => return Err(OnionError::Malformed("the body is not text")),
            },
        })
    }

    /// Seals the request to a server: the client's side.
    pub fn seal<R: CryptoRng + ?Sized>(
        &self,
        server: &ServerKey,
        cipher: Cipher,
        rng: &mut R,
    ) -> Result<Sealed, OnionError> {
        Sealed::new(&self.to_plaintext(), server, cipher, rng)
    }

    /// Opens a POST body: the server's side. The key is for the reply.
    pub fn open(body: &[u8], server: &ServerSecret) -> Result<(Self, ReplyKey), OnionError> {
        let opened = super::open(body, server)?;
        Ok((Self::from_plaintext(&opened.plaintext)?, opened.reply))
    }
}

/// Seals a reply: the body for a 2xx status, else `{"status_code":N}`, in base64.
pub fn seal_reply<R: CryptoRng + ?Sized>(status: u16, body: &[u8], key: &ReplyKey, rng: &mut R) -> String {
    if (200..300).contains(&status) {
        b64(key.seal(body, rng))
    } else {
        b64(key.seal(json!({ "status_code": status }).to_string().as_bytes(), rng))
    }
}

/// Opens a reply: the raw body. A body `{"status_code":N}` is how failures look; nothing tells them apart from a
/// body that happens to look the same.
pub fn open_reply(sealed: &[u8], key: &ReplyKey) -> Result<Vec<u8>, OnionError> {
    key.open(&from_b64(sealed).ok_or(OnionError::Malformed("the reply is not base64"))?)
}
