//! The layers of the hops between a client and a server.
//!
//! Each hop opens its layer and finds either the next hop (by its Ed25519 key) or the server's address, and the body
//! to post there. The answer comes back as the server sealed it; hops add nothing to it.

use rand_core::CryptoRng;
use serde_json::{Map, Value};

use super::{Cipher, OnionError, Sealed, frame, routing_fields, unframe};
use crate::encoding;
use crate::id::ServerKey;
use crate::keys::ServerSecret;

/// The path of a hop that takes onion layers.
pub const HOP_PATH: &str = "/onion_req/v2";

/// One hop: the key its layer is sealed to, and the key by which the hop before it knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// X25519 key.
    pub x25519: [u8; 32],
    /// Ed25519 key, the hop's name in the network.
    pub ed25519: [u8; 32],
}

/// Address to which the last hop posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `http` or `https`.
    pub protocol: String,
    /// Path, for communities [`super::v4::PATH`].
    pub target: String,
}

/// Wraps a sealed request into one layer per hop, innermost last; gives the body to post to the first hop.
/// Without hops it is the body to post to the server itself.
pub fn wrap<R: CryptoRng + ?Sized>(
    sealed: &Sealed,
    destination: &Destination,
    hops: &[Hop],
    cipher: Cipher,
    rng: &mut R,
) -> Result<Vec<u8>, OnionError> {
    let mut routing = Map::new();
    routing.insert("host".to_owned(), destination.host.clone().into());
    routing.insert("target".to_owned(), destination.target.clone().into());
    routing.insert("method".to_owned(), "POST".into());
    routing.insert("protocol".to_owned(), destination.protocol.clone().into());
    routing.insert("port".to_owned(), destination.port.into());
    add_layers(sealed.to_body_with(routing), hops, cipher, rng)
}

/// Wraps a request sealed to a service node, as [`wrap`] does for a server: the last hop finds the node by its
/// Ed25519 key. Without hops it is the body to post to the node itself.
pub fn wrap_to_node<R: CryptoRng + ?Sized>(
    sealed: &Sealed,
    node: &[u8; 32],
    hops: &[Hop],
    cipher: Cipher,
    rng: &mut R,
) -> Result<Vec<u8>, OnionError> {
    let mut routing = Map::new();
    if !hops.is_empty() {
        routing.insert("destination".to_owned(), hex::encode(node).into());
    }
    add_layers(sealed.to_body_with(routing), hops, cipher, rng)
}

fn add_layers<R: CryptoRng + ?Sized>(
    mut body: Vec<u8>,
    hops: &[Hop],
    cipher: Cipher,
    rng: &mut R,
) -> Result<Vec<u8>, OnionError> {
    for (at, hop) in hops.iter().enumerate().rev() {
        let layer = Sealed::new(&body, &ServerKey::from_bytes(hop.x25519), cipher, rng)?;
        let mut routing = Map::new();
        if at > 0 {
            routing.insert("destination".to_owned(), hex::encode(hop.ed25519).into());
        }
        body = layer.to_body_with(routing);
    }
    Ok(body)
}

/// Content of a layer, as its hop reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peeled {
    /// Pass `body` on to the hop with this Ed25519 key.
    Forward {
        /// The next hop.
        ed25519: [u8; 32],
        /// The body to post to it.
        body: Vec<u8>,
    },
    /// Post `body` to a server.
    Deliver {
        /// Address of the server.
        destination: Destination,
        /// The body to post.
        body: Vec<u8>,
    },
}

/// Takes one layer off: the hop's side.
pub fn peel(body: &[u8], hop: &ServerSecret) -> Result<Peeled, OnionError> {
    peel_plaintext(super::open(body, hop)?.plaintext)
}

/// Reads what stood under a hop's layer.
pub(crate) fn peel_plaintext(inner: Vec<u8>) -> Result<Peeled, OnionError> {
    let (blob, json) = unframe(&inner)?;
    let mut fields = routing_fields(json)?;
    if let Some(next) = fields.remove("destination") {
        let ed25519 = next
            .as_str()
            .and_then(encoding::key_from_text)
            .ok_or(OnionError::Malformed("the destination is not a valid key"))?;
        return Ok(Peeled::Forward {
            ed25519,
            body: frame(blob, &Value::Object(fields)),
        });
    }
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let protocol = text("protocol").unwrap_or_else(|| "https".to_owned());
    let default_port = if protocol == "http" { 80 } else { 443 };
    let port = match fields.get("port") {
        None => default_port,
        Some(port) => port
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .ok_or(OnionError::Malformed("the port is not valid"))?,
    };
    let destination = Destination {
        host: text("host").ok_or(OnionError::Malformed("neither a destination nor a host"))?,
        target: text("target").ok_or(OnionError::Malformed("no target"))?,
        port,
        protocol,
    };
    Ok(Peeled::Deliver {
        destination,
        body: inner,
    })
}
