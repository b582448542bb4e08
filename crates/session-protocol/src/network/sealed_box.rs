//! The anonymous sealed box of libsodium (`crypto_box_seal`): X25519, XSalsa20-Poly1305 and a one-time key.
//!
//! `E ‖ tag ‖ ciphertext`, where E is the one-time key, the nonce is `BLAKE2b-24(E ‖ R)`, and the key is
//! `HSalsa20(X25519(e, R), 0)`.

use blake2::digest::consts::U24;
use blake2::{Blake2b, Digest as _};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use subtle::ConstantTimeEq as _;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::keys::shared_secret;

/// Bytes that a sealed box adds to its content: the one-time key and the tag.
pub(super) const OVERHEAD_LEN_BYTES: usize = 32 + 16;

/// Seals `plaintext` to `recipient` with a one-time secret, which must never be used twice. `None` if the
/// recipient's key is of small order.
pub(super) fn seal(
    plaintext: &[u8],
    recipient: &[u8; 32],
    ephemeral_secret: &Zeroizing<[u8; 32]>,
) -> Option<Vec<u8>> {
    let secret = StaticSecret::from(**ephemeral_secret);
    let ephemeral = PublicKey::from(&secret).to_bytes();
    let shared = shared_secret(&secret, recipient)?;
    let (mut stream, mac) = start(&shared, &nonce(&ephemeral, recipient));
    let mut sealed = Vec::with_capacity(OVERHEAD_LEN_BYTES + plaintext.len());
    sealed.extend_from_slice(&ephemeral);
    sealed.extend_from_slice(&[0; 16]);
    sealed.extend_from_slice(plaintext);
    let (head, ciphertext) = sealed.split_at_mut(OVERHEAD_LEN_BYTES);
    stream.apply_keystream(ciphertext);
    head[32..].copy_from_slice(&mac.compute_unpadded(ciphertext));
    Some(sealed)
}

/// Opens a sealed box with the recipient's key pair. `None` if it was sealed to another key or changed.
pub(super) fn open(sealed: &[u8], secret: &[u8; 32], public: &[u8; 32]) -> Option<Vec<u8>> {
    let (ephemeral, rest) = sealed.split_first_chunk::<32>()?;
    let (tag, ciphertext) = rest.split_first_chunk::<16>()?;
    let shared = shared_secret(&StaticSecret::from(*secret), ephemeral)?;
    let (mut stream, mac) = start(&shared, &nonce(ephemeral, public));
    if !bool::from(mac.compute_unpadded(ciphertext).as_slice().ct_eq(tag)) {
        return None;
    }
    let mut plaintext = ciphertext.to_vec();
    stream.apply_keystream(&mut plaintext);
    Some(plaintext)
}

fn nonce(ephemeral: &[u8; 32], recipient: &[u8; 32]) -> [u8; 24] {
    Blake2b::<U24>::new()
        .chain_update(ephemeral)
        .chain_update(recipient)
        .finalize()
        .into()
}

/// NaCl's box key of an X25519 secret.
fn box_key(shared: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(salsa20::hsalsa::<U10>(&(*shared).into(), &[0; 16].into()).into())
}

/// The key stream behind its first 32 bytes, which are the key of the tag.
fn start(shared: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(&(*box_key(shared)).into(), &(*nonce).into());
    let mut mac_key = Zeroizing::new([0; 32]);
    stream.apply_keystream(&mut *mac_key);
    let mac = Poly1305::new(&(*mac_key).into());
    (stream, mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::message::tests::{bytes, item_bytes, person, vectors};

    #[test]
    fn every_step_matches_libsession() {
        for item in vectors()["sealed_known_ephemeral"].as_array().unwrap() {
            let to = person(item["to"].as_str().unwrap());
            let secret = Zeroizing::new(bytes::<32>(item, "ephemeral_secret"));
            let ephemeral = PublicKey::from(&StaticSecret::from(*secret)).to_bytes();
            assert_eq!(ephemeral, bytes(item, "ephemeral_public"));
            let shared = shared_secret(&StaticSecret::from(*secret), to.x25519_public()).unwrap();
            assert_eq!(*shared, bytes(item, "shared_x25519"));
            assert_eq!(*box_key(&shared), bytes(item, "box_key_hsalsa20"));
            assert_eq!(nonce(&ephemeral, to.x25519_public()), bytes(item, "nonce"));
            let (inner, sealed) = (item_bytes(item, "inner"), item_bytes(item, "sealed"));
            assert_eq!(seal(&inner, to.x25519_public(), &secret).unwrap(), sealed);
            assert_eq!(
                open(&sealed, to.x25519_secret(), to.x25519_public()).unwrap(),
                inner
            );
        }
    }

    #[test]
    fn cut_or_changed_boxes_stay_closed() {
        let to = person("bob");
        let sealed = seal(b"content", to.x25519_public(), &Zeroizing::new([7; 32])).unwrap();
        for len in 0..sealed.len() {
            assert_eq!(open(&sealed[..len], to.x25519_secret(), to.x25519_public()), None);
        }
        for bit in 0..sealed.len() * 8 {
            // X25519 ignores the top bit of a key; the nonce does not.
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&bad, to.x25519_secret(), to.x25519_public()), None, "{bit}");
        }
        assert_eq!(seal(b"content", &[0; 32], &Zeroizing::new([7; 32])), None);
    }
}
