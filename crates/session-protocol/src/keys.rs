//! Accounts and servers by their secrets: Ed25519 from a seed, its X25519 twin, and the two signatures an account
//! makes with them (plain Ed25519 for requests, XEd25519 for messages that are shown under a `05` id).

use core::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha512};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{IdError, Prefix, ServerKey, SessionId};
use crate::mnemonic::{self, MnemonicError};

/// Length of a signature, bytes.
pub const SIGNATURE_LEN_BYTES: usize = 64;

/// A signature: R and s, as every Ed25519 verifier reads them.
pub type Signature = [u8; SIGNATURE_LEN_BYTES];

/// The signature does not belong to this key and these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the message and the key")]
pub struct BadSignature;

/// One account: everything that follows from its 32-byte seed.
///
/// Wiped when dropped; `Debug` shows the public Session ID alone.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Identity {
    seed: [u8; 32],
    /// `a`: the clamped first half of SHA-512(seed), also the X25519 secret.
    clamped: [u8; 32],
    /// `a` reduced modulo the group order.
    scalar: Scalar,
    /// Second half of SHA-512(seed), the secret prefix of deterministic nonces.
    hash_prefix: [u8; 32],
    #[zeroize(skip)]
    ed25519: [u8; 32],
    #[zeroize(skip)]
    x25519: [u8; 32],
}

impl Identity {
    /// The account of a 32-byte seed (RFC 8032 key generation).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let mut expanded: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(*seed).into());
        let hash_prefix = *expanded.last_chunk().expect("64 bytes");
        expanded[0] &= 0b1111_1000;
        expanded[31] = (expanded[31] & 0b0111_1111) | 0b0100_0000;
        let clamped = *expanded.first_chunk().expect("64 bytes");
        let scalar = Scalar::from_bytes_mod_order(clamped);
        let point = EdwardsPoint::mul_base(&scalar);
        Self {
            seed: *seed,
            clamped,
            scalar,
            hash_prefix,
            ed25519: point.compress().to_bytes(),
            x25519: point.to_montgomery().to_bytes(),
        }
    }

    /// The account of the 16 bytes that a recovery phrase carries: the seed is those bytes and 16 zero bytes.
    pub fn from_entropy(entropy: &[u8; 16]) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        seed[..16].copy_from_slice(entropy);
        Self::from_seed(*seed)
    }

    /// The account of a seed in hexadecimal: 64 digits, or the 32 that a recovery phrase carries.
    pub fn from_seed_hex(text: &str) -> Option<Self> {
        match text.len() {
            64 => {
                let mut seed = Zeroizing::new([0; 32]);
                hex::decode_to_slice(text, &mut *seed).ok()?;
                Some(Self::from_seed(*seed))
            }
            32 => {
                let mut entropy = Zeroizing::new([0; 16]);
                hex::decode_to_slice(text, &mut *entropy).ok()?;
                Some(Self::from_entropy(&entropy))
            }
            _ => None,
        }
    }

    /// The account of a 13-word recovery phrase.
    pub fn from_mnemonic(phrase: &str) -> Result<Self, MnemonicError> {
        Ok(Self::from_entropy(&*mnemonic::decode(phrase)?))
    }

    /// A new account from 16 random bytes, so that it has a recovery phrase like those that Session's apps make.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut entropy = Zeroizing::new([0; 16]);
        rng.fill_bytes(&mut *entropy);
        Self::from_entropy(&entropy)
    }

    /// The recovery phrase, where the seed has one (its second half is zero).
    pub fn to_mnemonic(&self) -> Option<Zeroizing<String>> {
        let (entropy, rest) = self.seed.split_at(16);
        // The existence of a phrase is not a secret, but the bytes are; they are not compared one by one with others.
        rest.iter()
            .all(|&b| b == 0)
            .then(|| mnemonic::encode(entropy.try_into().expect("16 bytes")))
    }

    /// The seed in hexadecimal, wiped when dropped. It has room for a line break: a text that grows beyond its room leaves
    /// a copy behind.
    pub fn expose_seed_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * self.seed.len() + 1));
        for byte in self.seed {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("below 16"));
            }
        }
        text
    }

    /// The seed. Anybody who has it controls this account.
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// `05` and the X25519 key: the id people give each other.
    pub fn session_id(&self) -> SessionId {
        SessionId::new(Prefix::Account, self.x25519)
    }

    /// `00` and the Ed25519 key: the id of unblinded request headers.
    pub fn unblinded_id(&self) -> SessionId {
        SessionId::new(Prefix::Unblinded, self.ed25519)
    }

    /// The Ed25519 public key.
    pub fn ed25519_public(&self) -> &[u8; 32] {
        &self.ed25519
    }

    /// The X25519 public key.
    pub fn x25519_public(&self) -> &[u8; 32] {
        &self.x25519
    }

    /// The X25519 secret, clamped.
    pub fn x25519_secret(&self) -> &[u8; 32] {
        &self.clamped
    }

    /// Plain Ed25519, for unblinded requests.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let r = Scalar::from_hash(Sha512::new().chain_update(self.hash_prefix).chain_update(message));
        finish_signature(r, &self.scalar, &self.ed25519, message)
    }

    /// XEd25519, for messages shown under the `05` id: a signature that verifies under the Edwards key with sign
    /// bit 0, the only one a receiver can rebuild from X25519.
    ///
    /// Deterministic: the nonce hashes a prefix that no Ed25519 signing uses, the secret, and the message, so the
    /// same message always gives the same bytes and a repeated post can be recognised.
    pub fn sign_xed25519(&self, message: &[u8]) -> Signature {
        let negative = self.ed25519[31] >> 7 == 1;
        let a = Zeroizing::new(if negative { -self.scalar } else { self.scalar });
        let mut public = self.ed25519;
        public[31] &= 0x7f;
        // XEdDSA's hash_1 prefix: 2^256 - 2, which no encoded scalar or point can be.
        let mut separator = [0xff; 32];
        separator[0] = 0xfe;
        let r = Scalar::from_hash(
            Sha512::new()
                .chain_update(separator)
                .chain_update(a.as_bytes())
                .chain_update(self.hash_prefix)
                .chain_update(message),
        );
        finish_signature(r, &a, &public, message)
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.scalar
    }

    pub(crate) fn hash_prefix(&self) -> &[u8; 32] {
        &self.hash_prefix
    }

    /// Returns true if the Ed25519 key has its sign bit set, as half of all accounts do.
    pub(crate) fn is_negative(&self) -> bool {
        self.ed25519[31] >> 7 == 1
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.session_id())
    }
}

/// `R = r·B`, `c = SHA-512(R ‖ A ‖ M)`, `s = r + c·a`: the common end of all four signatures here.
pub(crate) fn finish_signature(r: Scalar, secret: &Scalar, public: &[u8; 32], message: &[u8]) -> Signature {
    let r = Zeroizing::new(r);
    let big_r = EdwardsPoint::mul_base(&r).compress();
    let c = Scalar::from_hash(
        Sha512::new()
            .chain_update(big_r.as_bytes())
            .chain_update(public)
            .chain_update(message),
    );
    let s = *r + c * secret;
    let mut signature = [0; SIGNATURE_LEN_BYTES];
    signature[..32].copy_from_slice(big_r.as_bytes());
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

/// A public key that is ready to verify: decoded and tested once, for as many signatures as there are.
///
/// Verifies with libsodium's strictness: canonical key, R and s, no key or R of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey {
    public: [u8; 32],
    /// `-A`, the form in which the equation needs it.
    minus: EdwardsPoint,
}

impl VerifyingKey {
    /// The key of an Ed25519 public key.
    pub fn from_ed25519(public: &[u8; 32]) -> Result<Self, BadSignature> {
        let point = CompressedEdwardsY(*public).decompress().ok_or(BadSignature)?;
        if point.is_small_order() || !is_canonical(public) {
            return Err(BadSignature);
        }
        Ok(Self {
            public: *public,
            minus: -point,
        })
    }

    /// The positive Ed25519 key of an X25519 public key, for [`VerifyingKey::verify_xed25519`].
    pub fn from_x25519(x25519: &[u8; 32]) -> Result<Self, BadSignature> {
        let point = edwards_from_x25519(x25519).map_err(|_| BadSignature)?;
        if point.is_small_order() {
            return Err(BadSignature);
        }
        Ok(Self {
            public: point.compress().to_bytes(),
            minus: -point,
        })
    }

    /// Checks a plain Ed25519 signature.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let (big_r, s) = signature.split_first_chunk::<32>().expect("64 bytes");
        let s = *s.first_chunk().expect("64 bytes");
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).ok_or(BadSignature)?;
        let c = Scalar::from_hash(
            Sha512::new()
                .chain_update(big_r)
                .chain_update(self.public)
                .chain_update(message),
        );
        // Everything here is public, so the time may depend on it.
        let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&c, &self.minus, &s);
        if expected.compress().as_bytes() == big_r && !expected.is_small_order() {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }

    /// Checks an XEd25519 signature, in both forms that [`verify_xed25519`] takes.
    pub fn verify_xed25519(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if signature[63] & 0x80 == 0 {
            return self.verify(message, signature);
        }
        let (mut key, mut signature) = (*self, *signature);
        key.public[31] ^= 0x80;
        key.minus = -key.minus;
        signature[63] &= 0x7f;
        key.verify(message, &signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", hex::encode(self.public))
    }
}

/// Returns true if the y of an encoded point is below the field's prime, as every encoder writes it.
fn is_canonical(public: &[u8; 32]) -> bool {
    let above = public[0] >= 0xed && public[1..31].iter().all(|&b| b == 0xff) && public[31] & 0x7f == 0x7f;
    !above
}

/// Plain Ed25519 verification; see [`VerifyingKey`].
pub fn verify_ed25519(public: &[u8; 32], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    VerifyingKey::from_ed25519(public)?.verify(message, signature)
}

/// XEd25519 verification under an X25519 key.
///
/// Besides the strict form, the form of the npm package curve25519-js is taken: it leaves the sign of the real key
/// in the top bit of the last byte, and that bit goes back onto the key first.
pub fn verify_xed25519(x25519: &[u8; 32], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    VerifyingKey::from_x25519(x25519)?.verify_xed25519(message, signature)
}

/// Returns the Edwards point of an X25519 key: `y = (u - 1)/(u + 1)`, sign bit 0.
pub(crate) fn edwards_from_x25519(x25519: &[u8; 32]) -> Result<EdwardsPoint, IdError> {
    MontgomeryPoint(*x25519).to_edwards(0).ok_or(IdError::NotAKey)
}

/// The positive Ed25519 key of an X25519 key (libsession calls it `xed25519_pubkey`).
pub fn ed25519_from_x25519(x25519: &[u8; 32]) -> Result<[u8; 32], IdError> {
    Ok(edwards_from_x25519(x25519)?.compress().to_bytes())
}

/// The X25519 key of an Ed25519 key.
pub fn x25519_from_ed25519(ed25519: &[u8; 32]) -> Result<[u8; 32], IdError> {
    Ok(valid_point(ed25519)?.to_montgomery().to_bytes())
}

/// The X25519 key of an Ed25519 key whose point was tested before.
pub(crate) fn montgomery(ed25519: &[u8; 32]) -> Result<[u8; 32], IdError> {
    let point = CompressedEdwardsY(*ed25519)
        .decompress()
        .ok_or(IdError::NotAKey)?;
    Ok(point.to_montgomery().to_bytes())
}

/// Decodes a point as strictly as libsodium's `crypto_core_ed25519_is_valid_point`: canonical, of large order, in
/// the main subgroup.
pub(crate) fn valid_point(bytes: &[u8; 32]) -> Result<EdwardsPoint, IdError> {
    let point = CompressedEdwardsY(*bytes).decompress().ok_or(IdError::NotAKey)?;
    // The one point with x = 0 and a sign besides is of small order.
    if is_canonical(bytes) && !point.is_small_order() && is_torsion_free(&point) {
        Ok(point)
    } else {
        Err(IdError::NotAKey)
    }
}

/// Returns true if a public point is in the main subgroup.
///
/// A point is in it if and only if the group order times the point is zero, that is, if the order minus one takes it to
/// its opposite. The time depends on the (fixed) order alone.
pub(crate) fn is_torsion_free(point: &EdwardsPoint) -> bool {
    mul_public(point, &-Scalar::ONE) == -point
}

/// A public factor times a public point, in time that depends on the factor.
pub(crate) fn mul_public(point: &EdwardsPoint, factor: &Scalar) -> EdwardsPoint {
    EdwardsPoint::vartime_double_scalar_mul_basepoint(factor, point, &Scalar::ZERO)
}

/// A community server's X25519 secret. Wiped when dropped; `Debug` shows the public key alone.
#[derive(Clone)]
pub struct ServerSecret {
    secret: StaticSecret,
    public: ServerKey,
}

impl ServerSecret {
    /// The key pair of 32 secret bytes (the content of the file `key_x25519`).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let secret = StaticSecret::from(bytes);
        let public = ServerKey::from_bytes(PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// A new key pair.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self::from_bytes(*bytes)
    }

    /// The public key, as in join links.
    pub fn public(&self) -> ServerKey {
        self.public
    }

    /// The 32 secret bytes, to be written to the key file.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    /// The X25519 secret shared with `theirs`; `None` when theirs is a point of small order.
    pub(crate) fn shared_with(&self, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        shared_secret(&self.secret, theirs)
    }
}

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerSecret({})", self.public)
    }
}

/// X25519; `None` when the other side's point contributes nothing.
pub(crate) fn shared_secret(secret: &StaticSecret, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = secret.diffie_hellman(&PublicKey::from(*theirs));
    shared
        .was_contributory()
        .then(|| Zeroizing::new(shared.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_matches_the_reference_implementation() {
        for n in 0..32 {
            let me = Identity::from_seed([n; 32]);
            let theirs = ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
            assert_eq!(me.ed25519_public(), theirs.verifying_key().as_bytes());
            let message = vec![n; usize::from(n) * 7];
            assert_eq!(
                me.sign(&message),
                ed25519_dalek::Signer::sign(&theirs, &message).to_bytes()
            );
        }
    }

    #[test]
    fn verification_is_as_strict_as_the_reference_implementation() {
        let reference = |public: &[u8; 32], message: &[u8], signature: &Signature| {
            ed25519_dalek::VerifyingKey::from_bytes(public)
                .and_then(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)))
                .is_ok()
        };
        let me = Identity::from_seed([5; 32]);
        let good = me.sign(b"message");
        let mut cases = vec![(*me.ed25519_public(), good)];
        for bit in 0..512 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            cases.push((*me.ed25519_public(), bad));
        }
        // s + L is the same number for a careless verifier.
        let mut big = good;
        let order = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0;
        for (byte, add) in big[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + add + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        cases.push((*me.ed25519_public(), big));
        // Keys and R of small order, and keys that are written with y above the prime.
        for torsion in curve25519_dalek::constants::EIGHT_TORSION {
            let point = torsion.compress().to_bytes();
            let mut zero = [0; 64];
            zero[..32].copy_from_slice(&point);
            cases.push((point, zero));
            cases.push((*me.ed25519_public(), zero));
            let mut mixed = good;
            mixed[..32].copy_from_slice(&point);
            cases.push((*me.ed25519_public(), mixed));
        }
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut key = [0xff; 32];
                (key[0], key[31]) = (low, high);
                assert!(VerifyingKey::from_ed25519(&key).is_err());
            }
        }
        let mut accepted = 0;
        for (key, signature) in cases {
            let ours = verify_ed25519(&key, b"message", &signature).is_ok();
            assert_eq!(
                ours,
                reference(&key, b"message", &signature),
                "{}",
                hex::encode(signature)
            );
            accepted += u32::from(ours);
        }
        assert_eq!(accepted, 1);
    }

    #[test]
    fn points_outside_the_main_subgroup_are_found() {
        for n in 0..8 {
            let point = EdwardsPoint::mul_base(&Scalar::from(n + 1u64));
            for (at, torsion) in curve25519_dalek::constants::EIGHT_TORSION.iter().enumerate() {
                let mixed = point + torsion;
                assert_eq!(is_torsion_free(&mixed), mixed.is_torsion_free());
                assert_eq!(is_torsion_free(&mixed), at == 0);
            }
        }
    }

    #[test]
    fn xed25519_verifies_for_both_signs_and_not_for_another_message() {
        let (mut positive, mut negative) = (0, 0);
        for n in 0..32 {
            let me = Identity::from_seed([n; 32]);
            if me.is_negative() {
                negative += 1;
            } else {
                positive += 1;
            }
            let signature = me.sign_xed25519(b"post");
            assert_eq!(verify_xed25519(me.x25519_public(), b"post", &signature), Ok(()));
            assert_eq!(
                verify_xed25519(me.x25519_public(), b"pest", &signature),
                Err(BadSignature)
            );
            assert_eq!(signature[63] & 0x80, 0, "strict verifiers reject a set top bit");
        }
        assert!(positive > 0 && negative > 0);
    }

    #[test]
    fn a_line_with_a_seed_leaves_no_copy_behind() {
        let me = Identity::from_seed([0xc1; 32]);
        let mut text = me.expose_seed_hex();
        assert_eq!(*text, "c1".repeat(32));
        let before = text.as_ptr();
        text.push('\n');
        assert_eq!(text.as_ptr(), before, "the text was not moved");
        let again = Identity::from_seed_hex(text.trim()).expect("a seed");
        assert_eq!(again.session_id(), me.session_id());
        assert!(
            Identity::from_seed_hex(&text).is_none() && Identity::from_seed_hex(&"g".repeat(64)).is_none()
        );
        let entropy = Identity::from_seed_hex(&"5a".repeat(16)).expect("a phrase");
        assert_eq!(
            entropy.session_id(),
            Identity::from_entropy(&[0x5a; 16]).session_id()
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let me = Identity::from_seed([0xc1; 32]);
        let shown = format!("{me:?} {:?}", ServerSecret::from_bytes([0x5e; 32]));
        assert!(
            !shown.contains("c1c1c1c1") && !shown.contains("5e5e5e5e"),
            "{shown}"
        );
    }

    #[test]
    fn points_that_are_not_keys_are_refused() {
        // The identity, a point of order 8, and an encoding that is not canonical.
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(valid_point(&identity).is_err());
        let order8 = crate::encoding::array_from_hex(
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        )
        .unwrap();
        assert!(valid_point(&order8).is_err());
        assert!(valid_point(&[0xff; 32]).is_err());
    }
}
