//! Onion layers of service nodes as another hand wrote them.

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use blake2::Blake2b;
use blake2::Digest as _;
use blake2::digest::consts::U32;
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Node;

/// The key of a layer, which also seals the answer.
pub(super) enum Key {
    Gcm(Box<Aes256Gcm>),
    XChaCha(Box<XChaCha20Poly1305>),
}

/// The inside of a layer.
pub(super) enum Layer {
    /// Another layer for the node with this Ed25519 key.
    PassOn { to: String, body: Vec<u8> },
    /// A request for a server outside the network.
    Deliver {
        host: String,
        target: String,
        body: Vec<u8>,
    },
    /// A call for this node.
    Call { json: Vec<u8>, embed: bool, key: Key },
}

/// Opens one layer. `None` if the node cannot.
pub(super) fn open(body: &[u8], node: &Node) -> Option<Layer> {
    let (plain, key) = open_for_server(body, node)?;
    let (inner, fields) = unframe(&plain)?;
    if let Some(to) = fields["destination"].as_str() {
        let mut keys = json!({"ephemeral_key": fields["ephemeral_key"]});
        if let Some(kind) = fields["enc_type"].as_str() {
            keys["enc_type"] = kind.into();
        }
        return Some(Layer::PassOn {
            to: to.to_owned(),
            body: frame(inner, &keys),
        });
    }
    if let Some(host) = fields["host"].as_str() {
        return Some(Layer::Deliver {
            host: host.to_owned(),
            target: fields["target"].as_str()?.to_owned(),
            body: plain,
        });
    }
    fields.get("headers")?;
    Some(Layer::Call {
        json: inner.to_vec(),
        embed: fields["json"] == true,
        key,
    })
}

/// Opens what is sealed to this key. `None` if it is not.
pub(super) fn open_for_server(body: &[u8], node: &Node) -> Option<(Vec<u8>, Key)> {
    let (blob, keys) = unframe(body)?;
    let theirs: [u8; 32] = hex::decode(keys["ephemeral_key"].as_str()?)
        .ok()?
        .try_into()
        .ok()?;
    let shared = x25519_dalek::x25519(node.x25519_secret, theirs);
    let (key, plain) = match keys["enc_type"].as_str() {
        None | Some("aes-gcm" | "gcm") => {
            let mut mac = Hmac::<Sha256>::new_from_slice(b"LOKI").ok()?;
            mac.update(&shared);
            let cipher = Aes256Gcm::new(&mac.finalize().into_bytes());
            let (nonce, sealed) = blob.split_first_chunk::<12>()?;
            let plain = cipher.decrypt(&Nonce::from(*nonce), sealed).ok()?;
            (Key::Gcm(Box::new(cipher)), plain)
        }
        Some("xchacha20" | "xchacha20-poly1305") => {
            let hash = Blake2b::<U32>::new()
                .chain_update(shared)
                .chain_update(theirs)
                .chain_update(node.x25519)
                .finalize();
            let cipher = XChaCha20Poly1305::new(&hash);
            let (nonce, sealed) = blob.split_first_chunk::<24>()?;
            let plain = cipher.decrypt(&XNonce::from(*nonce), sealed).ok()?;
            (Key::XChaCha(Box::new(cipher)), plain)
        }
        Some(_) => return None,
    };
    Some((plain, key))
}

impl Key {
    /// Seals an answer: nonce, ciphertext, tag.
    pub(super) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        // The key is used for one answer only.
        let nonce = [0x2a; 24];
        match self {
            Self::Gcm(cipher) => {
                let short: [u8; 12] = nonce[..12].try_into().expect("twelve of them");
                let sealed = cipher.encrypt(&Nonce::from(short), plain);
                [short.as_slice(), &sealed.expect("an answer is short")].concat()
            }
            Self::XChaCha(cipher) => {
                let sealed = cipher.encrypt(&XNonce::from(nonce), plain);
                [nonce.as_slice(), &sealed.expect("an answer is short")].concat()
            }
        }
    }

    /// A key that no client has.
    pub(super) fn foreign() -> Self {
        Self::Gcm(Box::new(Aes256Gcm::new(&[0x55; 32].into())))
    }
}

fn unframe(body: &[u8]) -> Option<(&[u8], Value)> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let (blob, json) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let json: Value = serde_json::from_slice(json).ok()?;
    json.is_object().then_some((blob, json))
}

fn frame(blob: &[u8], json: &Value) -> Vec<u8> {
    let length = u32::try_from(blob.len()).expect("a short blob");
    [&length.to_le_bytes(), blob, json.to_string().as_bytes()].concat()
}
