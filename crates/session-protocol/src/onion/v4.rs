//! Version 4: a bencoded list of the metadata and the body, posted to `/oxen/v4/lsrpc`.
//!
//! The reply has the same shape and is returned raw with HTTP status 200, whatever the status inside.

use rand_core::CryptoRng;
use serde_json::{Value, json};

use super::{Cipher, OnionError, ReplyKey, Sealed, bencode, headers_from_json, headers_to_json, metadata};
use crate::id::ServerKey;
use crate::keys::ServerSecret;

/// The path that takes these requests.
pub const PATH: &str = "/oxen/v4/lsrpc";

/// A request inside the onion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Upper-case method.
    pub method: String,
    /// Path and query; starts with `/`, may hold any Unicode.
    pub endpoint: String,
    /// Headers in the order they came. There is no default content type.
    pub headers: Vec<(String, String)>,
    /// The body; `None` where there is none (GET, DELETE), which is not the same bytes as an empty one.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// The bytes to seal.
    pub fn to_plaintext(&self) -> Vec<u8> {
        let meta = json!({
            "method": self.method,
            "endpoint": self.endpoint,
            "headers": headers_to_json(&self.headers),
        })
        .to_string();
        match &self.body {
            None => bencode::encode_list(&[meta.as_bytes()]),
            Some(body) => bencode::encode_list(&[meta.as_bytes(), body]),
        }
    }

    /// Reads the bytes that were sealed.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, OnionError> {
        let (meta, body) = bencode::decode_list(plaintext)?;
        let fields = metadata(meta)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let method = text("method").ok_or(OnionError::Malformed("no method"))?;
        let endpoint = text("endpoint").ok_or(OnionError::Malformed("no endpoint"))?;
        if !endpoint.starts_with('/') {
            return Err(OnionError::Malformed("the endpoint does not start with a slash"));
        }
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(OnionError::Malformed("the method is not a valid word"));
        }
        let headers = headers_from_json(fields.get("headers"))?;
        Ok(Self {
            method,
            endpoint,
            headers,
            body: body.map(<[u8]>::to_vec),
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

/// The reply inside the onion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub code: u16,
    /// Headers with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, possibly empty.
    pub body: Vec<u8>,
}

impl Response {
    /// The bytes to seal: always two strings, without a content length.
    pub fn to_plaintext(&self) -> Vec<u8> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| name != "content-length")
            .collect();
        let meta = json!({ "code": self.code, "headers": headers_to_json(&headers) }).to_string();
        bencode::encode_list(&[meta.as_bytes(), &self.body])
    }

    /// Reads the bytes that were sealed.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, OnionError> {
        let (meta, body) = bencode::decode_list(plaintext)?;
        let fields = metadata(meta)?;
        let code = fields
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (100..1000).contains(code))
            .ok_or(OnionError::Malformed("no status code"))?;
        let headers = headers_from_json(fields.get("headers"))?
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        Ok(Self {
            code,
            headers,
            body: body.unwrap_or_default().to_vec(),
        })
    }

    /// Seals the reply: the server's side.
    pub fn seal<R: CryptoRng + ?Sized>(&self, key: &ReplyKey, rng: &mut R) -> Vec<u8> {
        key.seal(&self.to_plaintext(), rng)
    }

    /// Opens the reply: the client's side.
    pub fn open(sealed: &[u8], key: &ReplyKey) -> Result<Self, OnionError> {
        Self::from_plaintext(&key.open(sealed)?)
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}
