//! Signatures of webhooks: HMAC-SHA256 over the body, as GitHub, Gitea, Forgejo and Gogs make them with a shared secret.

use std::path::Path;

use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::key::Key;
use crate::reply::Reply;
use crate::state::Gateway;

/// Headers that hold a signature, and what stands before its hexadecimal digits.
const HEADERS: [(&str, &str); 4] = [
    ("x-hub-signature-256", "sha256="),
    ("x-gitea-signature", ""),
    ("x-forgejo-signature", ""),
    ("x-gogs-signature", ""),
];
/// Largest file of a secret, bytes.
const MAX_SECRET: u64 = 4 << 10;

/// Returns true if a key takes signed requests only and this one is signed, false if the key takes any.
pub(crate) fn verify(gateway: &Gateway, key: &Key, headers: &HeaderMap, body: &[u8]) -> Result<bool, Reply> {
    let config = gateway.config();
    let Some(file) = config.signatures.get(key.as_str()) else {
        return Ok(false);
    };
    let secret = secret(file).map_err(|cause| {
        Reply::internal(&format!(
            "the secret of the key {key} cannot be used: {}: {cause}",
            file.display()
        ))
    })?;
    if is_signed(&secret, headers, body) {
        return Ok(true);
    }
    tracing::warn!(%key, "a request without a valid signature was refused");
    Err(unsigned())
}

/// Refuses a request that is not signed, if the key takes signed ones only.
pub(crate) fn require(gateway: &Gateway, key: &Key, signed: bool) -> Result<(), Reply> {
    if !signed && gateway.config().signatures.contains_key(key.as_str()) {
        tracing::warn!(%key, "a request without a signature was refused");
        return Err(unsigned());
    }
    Ok(())
}

fn unsigned() -> Reply {
    Reply::new(
        StatusCode::UNAUTHORIZED,
        "this key takes signed webhooks only, and the signature is missing or not valid",
    )
    .remedy("post to /hook/… with the header X-Hub-Signature-256, and compare the secret of both sides")
}

fn secret(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = ackpost_platform::read_limited(file, MAX_SECRET);
    let bytes = Zeroizing::new(bytes.map_err(|error| error.to_string())?);
    let secret = bytes.trim_ascii();
    if secret.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(Zeroizing::new(secret.to_vec()))
}

/// True if the first signature that the headers hold is that of the body.
fn is_signed(secret: &[u8], headers: &HeaderMap, body: &[u8]) -> bool {
    let given = HEADERS.iter().find_map(|(name, before)| {
        let text = headers.get(*name)?.to_str().ok()?;
        hex::decode(text.trim().strip_prefix(before)?).ok()
    });
    let Some((given, mut mac)) = given.zip(Hmac::<Sha256>::new_from_slice(secret).ok()) else {
        return false;
    };
    mac.update(body);
    // In constant time.
    mac.verify_slice(&given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(headers: &[(&'static str, &str)], secret: &str, body: &str) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    value.parse().expect("a value"),
                )
            })
            .collect();
        is_signed(secret.as_bytes(), &headers, body.as_bytes())
    }

    /// The example of GitHub's documentation of webhooks.
    #[test]
    fn the_documented_signature_is_valid_and_others_are_not() {
        let good = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let (secret, body) = ("It's a Secret to Everybody", "Hello, World!");
        let hub = format!("sha256={good}");
        assert!(signed(&[("x-hub-signature-256", &hub)], secret, body));
        assert!(signed(&[("x-gitea-signature", good)], secret, body));
        for (headers, secret, body) in [
            (vec![], secret, body),
            (vec![("x-hub-signature-256", good)], secret, body),
            (vec![("x-hub-signature-256", "sha256=")], secret, body),
            (vec![("x-hub-signature-256", &hub[..30])], secret, body),
            (vec![("x-hub-signature-256", hub.as_str())], "another", body),
            (
                vec![("x-hub-signature-256", hub.as_str())],
                secret,
                "Hello, World",
            ),
            (vec![("x-hub-signature", hub.as_str())], secret, body),
        ] {
            assert!(!signed(&headers, secret, body), "{headers:?}");
        }
    }
}
