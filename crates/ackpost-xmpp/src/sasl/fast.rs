//! FAST tokens: the HT mechanisms of XEP-0484 (draft-schmaus-kitten-sasl-ht).

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::Hash;
use crate::tls::Bindings;

/// The strongest token mechanism both can do, to ask a token for.
pub(crate) fn token_mechanism(offered: &[String], bindings: &Bindings) -> Option<&'static str> {
    ["HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"]
        .into_iter()
        .find(|name| offered.iter().any(|offered| offered == name) && binding(name, bindings).is_some())
}

/// A login by token: one message each way.
pub(crate) struct FastLogin<'a> {
    token: &'a SecretString,
    binding: Vec<u8>,
}

impl<'a> FastLogin<'a> {
    /// `None` when this connection cannot do the mechanism the token is for.
    pub(crate) fn new(mechanism: &str, token: &'a SecretString, bindings: &Bindings) -> Option<Self> {
        Some(Self {
            token,
            binding: binding(mechanism, bindings)?.to_vec(),
        })
    }

    /// Our message: the name, NUL, and the keyed hash.
    pub(crate) fn first(&self, user: &str) -> Vec<u8> {
        let mut message = user.as_bytes().to_vec();
        message.push(0);
        message.extend_from_slice(&self.keyed(b"Initiator"));
        message
    }

    /// Returns true if the server's message proves that it knows the token too.
    pub(crate) fn check(&self, message: &[u8]) -> bool {
        bool::from(message.ct_eq(&self.keyed(b"Responder")))
    }

    fn keyed(&self, role: &[u8]) -> Vec<u8> {
        let data = [role, &self.binding].concat();
        Hash::Sha256
            .hmac(self.token.expose_secret().as_bytes(), &data)
            .to_vec()
    }
}

fn binding<'a>(mechanism: &str, bindings: &'a Bindings) -> Option<&'a [u8]> {
    match mechanism {
        "HT-SHA-256-EXPR" => bindings.exporter.as_deref(),
        "HT-SHA-256-ENDP" => bindings.end_point.as_deref(),
        "HT-SHA-256-NONE" => Some(&[]),
        _ => None,
    }
}
