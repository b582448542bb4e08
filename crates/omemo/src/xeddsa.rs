//! XEdDSA: signatures by an X25519 private key that verify as Ed25519 signatures.
//!
//! Source: "The XEdDSA and VXEdDSA Signature Schemes", Trevor Perrin, Signal, revision 1, section 2. The scheme there
//! forces the sign of the public key to zero. OMEMO needs the true sign instead: [`crate::Version::Omemo2`] publishes
//! the Ed25519 key, and [`crate::Version::Axolotl`] carries the sign in the top bit of the last byte of the signature.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::error::Error;

/// Signs with an X25519 private key. The signature verifies under the Ed25519 form of the public key, true sign included.
///
/// `nonce` must be 64 fresh random bytes.
pub fn sign(secret: &[u8; 32], message: &[u8], nonce: &[u8; 64]) -> [u8; 64] {
    let clamped = Zeroizing::new(clamp_integer(*secret));
    let scalar = Zeroizing::new(Scalar::from_bytes_mod_order(*clamped));
    let public = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
    finish(&scalar, &clamped, &public, message, nonce)
}

/// Computes `R || s` with `r = SHA-512(FE FF*31 || a || M || Z)`, `R = r·B`, `h = SHA-512(R || A || M)`, `s = r + h·a`.
pub(crate) fn finish(
    scalar: &Scalar,
    scalar_bytes: &[u8; 32],
    public: &[u8; 32],
    message: &[u8],
    nonce: &[u8; 64],
) -> [u8; 64] {
    // 2^256 - 2 in little-endian order, which no encoded scalar or point can be.
    let mut separator = [0xff; 32];
    separator[0] = 0xfe;
    let r = Zeroizing::new(Scalar::from_hash(
        Sha512::new()
            .chain_update(separator)
            .chain_update(scalar_bytes)
            .chain_update(message)
            .chain_update(nonce),
    ));
    let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
    let s = *r + challenge(&big_r, public, message) * scalar;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&big_r);
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

fn challenge(big_r: &[u8; 32], public: &[u8; 32], message: &[u8]) -> Scalar {
    Scalar::from_hash(
        Sha512::new()
            .chain_update(big_r)
            .chain_update(public)
            .chain_update(message),
    )
}

/// Verifies an Ed25519 signature (RFC 8032 section 5.1.7), strictly: `s` must be canonical, the key and `R` must not
/// have small order.
///
/// # Errors
/// [`Error::InvalidKey`] if the key is not a point, [`Error::BadSignature`] if the signature is wrong.
pub fn verify(ed25519: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    let key = CompressedEdwardsY(*ed25519)
        .decompress()
        .ok_or(Error::InvalidKey)?;
    if key.is_small_order() {
        return Err(Error::InvalidKey);
    }
    let (big_r, s) = signature.split_first_chunk::<32>().expect("64 bytes hold 32");
    let s = *s.first_chunk::<32>().expect("64 bytes hold two times 32");
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).ok_or(Error::BadSignature)?;
    let h = challenge(big_r, ed25519, message);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&h, &-key, &s);
    if bool::from(expected.compress().as_bytes().ct_eq(big_r)) && !expected.is_small_order() {
        Ok(())
    } else {
        Err(Error::BadSignature)
    }
}

/// Verifies a signature under an X25519 key, in the two forms that bundles of [`crate::Version::Axolotl`] contain: the
/// top bit of the last byte is the sign of the Ed25519 key (0 for signers that force it).
///
/// # Errors
/// [`Error::InvalidKey`] if the key is not on the curve, [`Error::BadSignature`] if the signature is wrong.
pub fn verify_x25519(x25519: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    let sign = signature[63] >> 7;
    let mut signature = *signature;
    signature[63] &= 0x7f;
    let key = MontgomeryPoint(*x25519)
        .to_edwards(sign)
        .ok_or(Error::InvalidKey)?;
    verify(&key.compress().to_bytes(), message, &signature)
}

/// Signs as the paper says, with the sign of the public key forced to zero.
#[cfg(test)]
pub(crate) fn sign_forced(secret: &[u8; 32], message: &[u8], nonce: &[u8; 64]) -> [u8; 64] {
    let mut scalar = Scalar::from_bytes_mod_order(clamp_integer(*secret));
    let mut public = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
    let mut bytes = clamp_integer(*secret);
    if public[31] >> 7 == 1 {
        scalar = -scalar;
        bytes = scalar.to_bytes();
        public[31] &= 0x7f;
    }
    finish(&scalar, &bytes, &public, message, nonce)
}
