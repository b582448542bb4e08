//! Key derivations, all over SHA-256: X3DH, root and chain steps, message keys, payload keys.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::Secret;
use crate::version::Version;

pub(crate) type HmacSha256 = Hmac<Sha256>;

/// AES-256 key, HMAC key and IV, in the order in which the 80 bytes are derived.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct CipherKeys {
    pub(crate) aes: [u8; 32],
    pub(crate) mac: [u8; 32],
    pub(crate) iv: [u8; 16],
}

impl CipherKeys {
    /// Derives the keys with a salt of 32 zero bytes.
    fn derive(key: &[u8], info: &[u8]) -> Self {
        let mut out = Zeroizing::new([0; 80]);
        expand(&[0; 32], key, info, &mut *out);
        Self {
            aes: *out.first_chunk().expect("80 bytes"),
            mac: *out[32..].first_chunk().expect("80 bytes"),
            iv: *out[64..].first_chunk().expect("80 bytes"),
        }
    }

    /// Derives the keys of one ratchet message from its message key.
    pub(crate) fn of_message(version: Version, message_key: &[u8; 32]) -> Self {
        let info: &[u8] = match version {
            Version::Axolotl => b"WhisperMessageKeys",
            Version::Omemo2 => b"OMEMO Message Key Material",
        };
        Self::derive(message_key, info)
    }

    /// Derives the keys of a payload of [`Version::Omemo2`] from its content key.
    pub(crate) fn of_payload(key: &[u8]) -> Self {
        Self::derive(key, b"OMEMO Payload")
    }

    /// Returns the HMAC over the parts.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> HmacSha256 {
        hmac(&self.mac, parts)
    }
}

fn expand(salt: &[u8], ikm: &[u8], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand(info, out)
        .expect("80 bytes are fewer than 255 blocks");
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> HmacSha256 {
    let mut mac = HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Derives the shared secret of X3DH from the Diffie-Hellman results, in their order.
pub(crate) fn x3dh(version: Version, dhs: [&Secret; 4]) -> Secret {
    let info: &[u8] = match version {
        Version::Axolotl => b"WhisperText",
        Version::Omemo2 => b"OMEMO X3DH",
    };
    let mut ikm = Zeroizing::new([0xff; 32 * 5]);
    for (out, dh) in ikm[32..].chunks_exact_mut(32).zip(dhs) {
        out.copy_from_slice(&**dh);
    }
    let mut out = Zeroizing::new([0; 32]);
    expand(&[0; 32], &*ikm, info, &mut *out);
    out
}

/// Derives the next root key and a chain key.
pub(crate) fn root_step(version: Version, root: &Secret, dh: &Secret) -> (Secret, Secret) {
    let info: &[u8] = match version {
        Version::Axolotl => b"WhisperRatchet",
        Version::Omemo2 => b"OMEMO Root Chain",
    };
    let mut out = Zeroizing::new([0; 64]);
    expand(&**root, &**dh, info, &mut *out);
    (
        Zeroizing::new(*out.first_chunk().expect("64 bytes")),
        Zeroizing::new(*out[32..].first_chunk().expect("64 bytes")),
    )
}

/// Derives the message key and the next chain key.
pub(crate) fn chain_step(chain_key: &Secret) -> (Secret, Secret) {
    let step = |constant: u8| Zeroizing::new(hmac(chain_key, &[&[constant]]).finalize().into_bytes().into());
    (step(1), step(2))
}
