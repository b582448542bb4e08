//! Key pairs: the identity of a device, and the X25519 pairs of prekeys and ratchets; public keys on the wire.

use core::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha512};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity_key::{IdentityKey, KEY_LEN_BYTES};
use crate::version::Version;

/// 32 secret bytes that are wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// First byte of a key of [`Version::Axolotl`] on the wire.
const AXOLOTL_KEY_TYPE: u8 = 5;

/// Identity key pair of a device. The same pair serves both versions (XEP-0384 0.9, "Key Exchange").
///
/// Wiped when dropped; `Debug` shows the fingerprint alone.
#[derive(Clone)]
pub struct Identity {
    secret: Secret,
    public: IdentityKey,
}

impl Identity {
    /// Creates a new identity from 32 random bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// Returns the identity of a 32-byte Ed25519 seed (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let expanded: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(seed).into());
        Self::from_secret(expanded.first_chunk().expect("64 bytes hold 32"))
    }

    /// Returns the identity of an X25519 private key. The key is clamped (RFC 7748 section 5).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let secret = Zeroizing::new(clamp_integer(*secret));
        let scalar = Zeroizing::new(Scalar::from_bytes_mod_order(*secret));
        let point = EdwardsPoint::mul_base(&scalar);
        let public = IdentityKey {
            x25519: point.to_montgomery().to_bytes(),
            ed25519: Some(point.compress().to_bytes()),
        };
        Self { secret, public }
    }

    /// Returns the public key.
    pub const fn public(&self) -> &IdentityKey {
        &self.public
    }

    /// Returns the clamped X25519 private key. Anyone who has it can act as this device.
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Returns the shared secret with a public key.
    pub(crate) fn agree(&self, theirs: &[u8; 32]) -> Result<Secret, Error> {
        agree(&StaticSecret::from(*self.secret), theirs)
    }

    /// Signs with the identity key (XEdDSA, see [`crate::xeddsa`]), as the version expects it.
    pub(crate) fn sign<R: CryptoRng + ?Sized>(
        &self,
        version: Version,
        message: &[u8],
        rng: &mut R,
    ) -> [u8; 64] {
        let mut nonce = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *nonce);
        let mut signature = crate::xeddsa::sign(&self.secret, message, &nonce);
        if version == Version::Axolotl {
            // The key travels without its sign there; the top bit of the signature carries it.
            signature[63] |= self.public.ed25519.expect("known for an own key")[31] & 0x80;
        }
        signature
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public.fingerprint())
    }
}

impl IdentityKey {
    /// Parses an X25519 key, the form of [`Version::Axolotl`] without its leading byte 05.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for a key that no private key has: one of small order, one that is not on the curve, or
    /// one that is not encoded canonically.
    pub fn from_x25519(key: &[u8; 32]) -> Result<Self, Error> {
        let point = MontgomeryPoint(*key).to_edwards(0).ok_or(Error::InvalidKey)?;
        if point.is_small_order() || point.to_montgomery().as_bytes() != key {
            return Err(Error::InvalidKey);
        }
        Ok(Self {
            x25519: *key,
            ed25519: None,
        })
    }

    /// Parses an Ed25519 key, the form of [`Version::Omemo2`].
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for a key of small order or outside the main subgroup, one that is not on the curve, or
    /// one that is not encoded canonically.
    pub fn from_ed25519(key: &[u8; 32]) -> Result<Self, Error> {
        let point = CompressedEdwardsY(*key).decompress().ok_or(Error::InvalidKey)?;
        if point.is_small_order() || !point.is_torsion_free() || point.compress().as_bytes() != key {
            return Err(Error::InvalidKey);
        }
        Ok(Self {
            x25519: point.to_montgomery().to_bytes(),
            ed25519: Some(*key),
        })
    }

    /// Returns the bytes of the key on the wire and in the associated data.
    pub(crate) fn to_wire(self, version: Version) -> Result<Vec<u8>, Error> {
        match version {
            Version::Axolotl => Ok(key_to_wire(version, &self.x25519)),
            Version::Omemo2 => Ok(self.ed25519.ok_or(Error::WrongVersion)?.to_vec()),
        }
    }

    pub(crate) fn from_wire(version: Version, bytes: &[u8]) -> Result<Self, Error> {
        match version {
            Version::Axolotl => Self::from_x25519(&key_from_wire(version, bytes)?),
            Version::Omemo2 => Self::from_ed25519(bytes.try_into().map_err(|_| Error::InvalidKey)?),
        }
    }
}

/// Encodes an X25519 public key: 05 and the key in [`Version::Axolotl`], the key alone in [`Version::Omemo2`].
pub(crate) fn key_to_wire(version: Version, key: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(KEY_LEN_BYTES + 1);
    if version == Version::Axolotl {
        out.push(AXOLOTL_KEY_TYPE);
    }
    out.extend_from_slice(key);
    out
}

/// Decodes an X25519 public key. Only the canonical encoding is taken: X25519 ignores the top bit and reduces the rest,
/// so a second encoding of an ephemeral key would let one key exchange pass as two.
pub(crate) fn key_from_wire(version: Version, bytes: &[u8]) -> Result<[u8; 32], Error> {
    let key = match version {
        Version::Axolotl => bytes.strip_prefix(&[AXOLOTL_KEY_TYPE]),
        Version::Omemo2 => Some(bytes),
    };
    let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.filter(is_canonical).ok_or(Error::InvalidKey)
}

/// Decodes the ephemeral key of a key exchange. No authentication code covers it, and X25519 gives one result for the key
/// and for its sums with the points of small order: each of them would let the key exchange pass once more. Every key
/// that belongs to a private key is in the main subgroup.
pub(crate) fn ephemeral_from_wire(version: Version, bytes: &[u8]) -> Result<[u8; 32], Error> {
    let key = key_from_wire(version, bytes)?;
    let point = MontgomeryPoint(key).to_edwards(0).ok_or(Error::InvalidKey)?;
    if point.is_small_order() || !point.is_torsion_free() {
        return Err(Error::InvalidKey);
    }
    Ok(key)
}

/// Returns whether the number is below the prime 2^255 - 19.
fn is_canonical(key: &[u8; 32]) -> bool {
    let all_ones = key[31] == 0x7f && key[1..31].iter().all(|&byte| byte == 0xff);
    key[31] <= 0x7f && !(all_ones && key[0] >= 0xed)
}

/// An X25519 key pair. The private half wipes itself when dropped.
#[derive(Clone)]
pub(crate) struct KeyPair {
    secret: StaticSecret,
    pub(crate) public: [u8; 32],
}

impl KeyPair {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self::from_secret(&bytes)
    }

    pub(crate) fn from_secret(bytes: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*bytes);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    pub(crate) fn expose_secret(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    pub(crate) fn agree(&self, theirs: &[u8; 32]) -> Result<Secret, Error> {
        agree(&self.secret, theirs)
    }
}

/// X25519 (RFC 7748). An all-zero result, which a public key of small order gives, is refused.
fn agree(secret: &StaticSecret, theirs: &[u8; 32]) -> Result<Secret, Error> {
    let shared = secret.diffie_hellman(&PublicKey::from(*theirs));
    if shared.was_contributory() {
        Ok(Zeroizing::new(shared.to_bytes()))
    } else {
        Err(Error::InvalidKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity_key::push_hex;

    #[test]
    fn one_key_has_one_encoding() {
        let mut prime = [0xff; 32];
        (prime[0], prime[31]) = (0xed, 0x7f);
        let mut below = prime;
        below[0] = 0xec;
        assert!(is_canonical(&below) && !is_canonical(&prime));
        let identity = Identity::from_seed(&[1; 32]);
        let mut key = *identity.public().x25519();
        assert!(key_from_wire(Version::Omemo2, &key).is_ok() && IdentityKey::from_x25519(&key).is_ok());
        key[31] |= 0x80;
        assert_eq!(key_from_wire(Version::Omemo2, &key), Err(Error::InvalidKey));
        assert_eq!(IdentityKey::from_x25519(&key), Err(Error::InvalidKey));
    }

    #[test]
    fn identity_keys_of_small_or_mixed_order_are_refused() {
        // The points of order 1, 2, 4 and 8 in both forms.
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for key in [[0; 32], one, minus_one] {
            assert!(IdentityKey::from_ed25519(&key).is_err());
            assert!(IdentityKey::from_x25519(&key).is_err());
        }
        for torsion in &curve25519_dalek::constants::EIGHT_TORSION[..] {
            let key = torsion.compress().to_bytes();
            assert!(IdentityKey::from_ed25519(&key).is_err());
            let own = CompressedEdwardsY(*Identity::from_seed(&[1; 32]).public().ed25519().unwrap());
            let mixed = (own.decompress().unwrap() + torsion).compress().to_bytes();
            assert_eq!(IdentityKey::from_ed25519(&mixed).is_ok(), mixed == own.to_bytes());
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let identity = Identity::from_seed(&[1; 32]);
        let text = format!("{identity:?} {:?}", identity.public());
        let mut secret = String::new();
        identity
            .expose_secret()
            .iter()
            .for_each(|&byte| push_hex(&mut secret, byte));
        assert!(!text.contains(&secret));
    }
}
