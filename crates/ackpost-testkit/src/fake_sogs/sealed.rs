//! Onion requests (v4, AES-GCM) as another hand wrote them.

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::collections::HashMap;

/// The path that sealed requests are posted to.
pub(super) const PATH: &str = "/oxen/v4/lsrpc";
/// The secret behind [`super::SOGS_KEY`].
const SECRET: [u8; 32] = [0x5e; 32];

/// A sealed request as it was inside.
pub(super) struct Opened {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
    cipher: Aes256Gcm,
}

/// Opens `length ‖ blob ‖ JSON`; `None` for anything else.
pub(super) fn open(outer: &[u8]) -> Option<Opened> {
    let (length, rest) = outer.split_first_chunk::<4>()?;
    let (blob, keys) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let keys: serde_json::Value = serde_json::from_slice(keys).ok()?;
    let theirs: [u8; 32] = hex::decode(keys["ephemeral_key"].as_str()?)
        .ok()?
        .try_into()
        .ok()?;
    let shared = x25519_dalek::x25519(SECRET, theirs);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"LOKI").ok()?;
    mac.update(&shared);
    let cipher = Aes256Gcm::new(&mac.finalize().into_bytes());
    let (nonce, sealed) = blob.split_first_chunk::<12>()?;
    let plain = cipher.decrypt(&Nonce::from(*nonce), sealed).ok()?;
    let mut list = plain.strip_prefix(b"l")?;
    let head: serde_json::Value = serde_json::from_slice(string(&mut list)?).ok()?;
    let body = string(&mut list).unwrap_or_default().to_vec();
    let headers = head["headers"].as_object()?.iter();
    Some(Opened {
        method: head["method"].as_str()?.to_owned(),
        path: head["endpoint"].as_str()?.to_owned(),
        headers: headers
            .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned())))
            .collect(),
        body,
        cipher,
    })
}

impl Opened {
    /// Seals an answer for the client.
    pub(super) fn seal(&self, status: u16, headers: &serde_json::Value, body: &[u8]) -> Vec<u8> {
        let head = serde_json::json!({ "code": status, "headers": headers }).to_string();
        let mut plain = format!("l{}:{head}{}:", head.len(), body.len()).into_bytes();
        plain.extend_from_slice(body);
        plain.push(b'e');
        // The key is used for one answer only.
        let nonce = [0x11; 12];
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), plain.as_slice());
        [nonce.as_slice(), &sealed.expect("an answer is short")].concat()
    }
}

/// The next string of a bencoded list.
fn string<'a>(list: &mut &'a [u8]) -> Option<&'a [u8]> {
    let colon = list.iter().position(|&byte| byte == b':')?;
    let length: usize = std::str::from_utf8(&list[..colon]).ok()?.parse().ok()?;
    let (string, rest) = list[colon + 1..].split_at_checked(length)?;
    *list = rest;
    Some(string)
}
