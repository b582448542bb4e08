//! Blinded ids: the identity of an account on one server, which cannot be linked to its id elsewhere.
//!
//! Version 1 (`15`) multiplies the account key by a factor of the server alone. From a Session ID two candidates
//! follow, which differ in their top bit, because the id hides the sign of the Ed25519 key: see [`Blinder`].
//! Version 2 (`25`) puts the account into the factor too and always takes the positive key, so there is one.

use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2b512, Blake2bMac, Blake2bMac512, Digest as _};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{IdError, Prefix, ServerKey, SessionId};
use crate::keys::{self, Identity, Signature, edwards_from_x25519};

/// The factor `k` of version 1: BLAKE2b-64 of the server key, reduced modulo the group order.
pub fn blind15_factor(server: &ServerKey) -> [u8; 32] {
    factor15(server).to_bytes()
}

fn factor15(server: &ServerKey) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Blake2b512::digest(server.as_bytes()).into())
}

fn factor25(x25519: &[u8; 32], server: &ServerKey) -> Scalar {
    let hash = Blake2b512::new()
        .chain_update([Prefix::Account as u8])
        .chain_update(x25519)
        .chain_update(server.as_bytes())
        .finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

impl Identity {
    /// This account as one server sees it under version 1 blinding.
    pub fn blind15(&self, server: &ServerKey) -> Blind15 {
        Blind15::new(self, server)
    }

    /// This account as one server sees it under version 2 blinding.
    pub fn blind25(&self, server: &ServerKey) -> Blind25 {
        Blind25::new(self, server)
    }
}

/// An account under version 1 blinding on one server.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Blind15 {
    ka: Scalar,
    hash_prefix: [u8; 32],
    #[zeroize(skip)]
    public: [u8; 32],
}

impl Blind15 {
    /// Blinds `identity` for `server`.
    pub fn new(identity: &Identity, server: &ServerKey) -> Self {
        let ka = factor15(server) * identity.scalar();
        let public = EdwardsPoint::mul_base(&ka).compress().to_bytes();
        Self {
            ka,
            hash_prefix: *identity.hash_prefix(),
            public,
        }
    }

    /// `15` and the blinded key.
    pub fn id(&self) -> SessionId {
        SessionId::new(Prefix::Blind15, self.public)
    }

    /// The blinded secret scalar.
    pub fn expose_scalar(&self) -> [u8; 32] {
        self.ka.to_bytes()
    }

    /// Signs so that a plain Ed25519 verifier accepts it under the blinded key. Deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let r = Scalar::from_hash(
            Sha512::new()
                .chain_update(self.hash_prefix)
                .chain_update(self.public)
                .chain_update(message),
        );
        keys::finish_signature(r, &self.ka, &self.public, message)
    }
}

/// An account under version 2 blinding on one server.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Blind25 {
    ka: Scalar,
    seed_hash: [u8; 32],
    #[zeroize(skip)]
    public: [u8; 32],
}

impl Blind25 {
    /// Blinds `identity` for `server`.
    pub fn new(identity: &Identity, server: &ServerKey) -> Self {
        let k = factor25(identity.x25519_public(), server);
        let ka = if identity.is_negative() { -k } else { k } * identity.scalar();
        let public = EdwardsPoint::mul_base(&ka).compress().to_bytes();
        let mut mac = Blake2bMac::<blake2::digest::consts::U32>::new_from_slice(b"SessCommBlind25_seed")
            .expect("the key is shorter than 64 bytes");
        mac.update(identity.expose_seed());
        Self {
            ka,
            seed_hash: mac.finalize_fixed().into(),
            public,
        }
    }

    /// `25` and the blinded key.
    pub fn id(&self) -> SessionId {
        SessionId::new(Prefix::Blind25, self.public)
    }

    /// The blinded secret scalar.
    pub fn expose_scalar(&self) -> [u8; 32] {
        self.ka.to_bytes()
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.ka
    }

    /// Signs so that a plain Ed25519 verifier accepts it under the blinded key. Deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut mac =
            Blake2bMac512::new_from_slice(b"SessCommBlind25_sig").expect("the key is shorter than 64 bytes");
        mac.update(&self.seed_hash);
        mac.update(&self.public);
        mac.update(message);
        let hash = Zeroizing::new(mac.finalize_fixed().into());
        keys::finish_signature(
            Scalar::from_bytes_mod_order_wide(&hash),
            &self.ka,
            &self.public,
            message,
        )
    }
}

/// Matches Session IDs with the blinded ids of one server; the factor is computed once.
#[derive(Debug, Clone)]
pub struct Blinder {
    server: ServerKey,
    k: Scalar,
    k_inverse: Scalar,
}

/// All ids that follow from one account on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountIds {
    /// The account's `05` id.
    pub account: SessionId,
    /// The positive Ed25519 key of the account.
    pub ed25519: [u8; 32],
    /// The `15` id with its sign bit clear.
    pub blind15: SessionId,
    /// The account's `25` id on this server.
    pub blind25: SessionId,
    /// The `15` id, with its sign bit clear, of the account that the key of the `15` id would be.
    pub beyond15: SessionId,
    /// The same for the key of the `25` id.
    pub beyond25: SessionId,
}

impl Blinder {
    /// A matcher for one server.
    pub fn new(server: &ServerKey) -> Self {
        let k = factor15(server);
        Self {
            server: *server,
            k,
            k_inverse: k.invert(),
        }
    }

    /// Computes all ids of the account with this `05` or `15` id. The key is tested once.
    ///
    /// # Errors
    /// The id is of another kind, or its key is not a key.
    pub fn ids(&self, id: &SessionId) -> Result<AccountIds, IdError> {
        let (account, positive, blinded) = match id.prefix() {
            Prefix::Account => {
                let positive = account_point(id)?;
                (*id, positive, keys::mul_public(&positive, &self.k))
            }
            Prefix::Blind15 => {
                let blinded = keys::valid_point(id.key())?;
                let point = keys::mul_public(&blinded, &self.k_inverse);
                let account = SessionId::new(Prefix::Account, point.to_montgomery().to_bytes());
                let is_negative = point.compress().as_bytes()[31] & 0x80 != 0;
                (account, if is_negative { -point } else { point }, blinded)
            }
            _ => return Err(IdError::WrongKind),
        };
        let blinded25 = keys::mul_public(&positive, &factor25(account.key(), &self.server));
        Ok(AccountIds {
            account,
            ed25519: positive.compress().to_bytes(),
            blind15: absolute_of_point(&blinded),
            blind25: SessionId::new(Prefix::Blind25, blinded25.compress().to_bytes()),
            beyond15: absolute15(&self.id15_of_point(&blinded)),
            beyond25: absolute15(&self.id15_of_point(&blinded25)),
        })
    }

    /// The `15` id with its sign bit clear of the account that a blinded key would be, and the `25` id of the account whose
    /// blinded key of version 1 it would be. The key is tested once.
    ///
    /// # Errors
    /// The key is not a key.
    pub fn beyond(&self, blinded: &[u8; 32]) -> Result<[SessionId; 2], IdError> {
        let point = keys::valid_point(blinded)?;
        let account = keys::mul_public(&point, &self.k_inverse);
        let is_negative = account.compress().as_bytes()[31] & 0x80 != 0;
        let positive = if is_negative { -account } else { account };
        let account = SessionId::new(Prefix::Account, account.to_montgomery().to_bytes());
        Ok([
            absolute15(&self.id15_of_point(&point)),
            self.id25_of_point(&account, &positive),
        ])
    }

    /// The two `15` ids that `account` (a `05` id) may have here. The first has the top bit clear and is the
    /// "absolute" id to store and compare; which one is real depends on a sign that the Session ID does not tell.
    pub fn candidates15(&self, account: &SessionId) -> Result<[SessionId; 2], IdError> {
        let point = keys::mul_public(&account_point(account)?, &self.k);
        let point = point.compress().to_bytes();
        let (mut clear, mut set) = (point, point);
        clear[31] &= 0x7f;
        set[31] |= 0x80;
        Ok([
            SessionId::new(Prefix::Blind15, clear),
            SessionId::new(Prefix::Blind15, set),
        ])
    }

    /// The `05` id of a `15` id here: the factor is the server's alone, so it can be divided out. Both signs of the blinded
    /// key give the same id.
    pub fn account15(&self, blinded: &SessionId) -> Result<SessionId, IdError> {
        if blinded.prefix() != Prefix::Blind15 {
            return Err(IdError::WrongKind);
        }
        let point = keys::valid_point(blinded.key())?;
        let account = keys::mul_public(&point, &self.k_inverse);
        Ok(SessionId::new(
            Prefix::Account,
            account.to_montgomery().to_bytes(),
        ))
    }

    /// Returns true if the blinded id (15 or 25) belongs to `account` (a `05` id) on this server.
    pub fn matches(&self, account: &SessionId, blinded: &SessionId) -> bool {
        match blinded.prefix() {
            Prefix::Blind15 => self
                .candidates15(account)
                .is_ok_and(|[abs, _]| absolute15(blinded) == abs),
            Prefix::Blind25 => self.id25(account).is_ok_and(|id| id == *blinded),
            _ => false,
        }
    }

    /// The one `25` id of `account` (a `05` id) here.
    pub fn id25(&self, account: &SessionId) -> Result<SessionId, IdError> {
        Ok(self.id25_of_point(account, &account_point(account)?))
    }

    /// The `15` id of an Ed25519 key whose point was tested.
    pub(crate) fn id15_of_point(&self, point: &EdwardsPoint) -> SessionId {
        SessionId::new(
            Prefix::Blind15,
            keys::mul_public(point, &self.k).compress().to_bytes(),
        )
    }

    /// The `25` id of an account, by its positive point, which was tested.
    pub(crate) fn id25_of_point(&self, account: &SessionId, positive: &EdwardsPoint) -> SessionId {
        let k = factor25(account.key(), &self.server);
        SessionId::new(
            Prefix::Blind25,
            keys::mul_public(positive, &k).compress().to_bytes(),
        )
    }
}

/// The `15` id with the top bit of its last byte cleared: equal for both candidates of one account.
/// Other ids come back unchanged.
pub fn absolute15(id: &SessionId) -> SessionId {
    if id.prefix() != Prefix::Blind15 {
        return *id;
    }
    let mut key = *id.key();
    key[31] &= 0x7f;
    SessionId::new(Prefix::Blind15, key)
}

fn absolute_of_point(point: &EdwardsPoint) -> SessionId {
    absolute15(&SessionId::new(Prefix::Blind15, point.compress().to_bytes()))
}

fn account_point(account: &SessionId) -> Result<EdwardsPoint, IdError> {
    if account.prefix() != Prefix::Account {
        return Err(IdError::WrongKind);
    }
    let point = edwards_from_x25519(account.key())?;
    if point.is_small_order() || !keys::is_torsion_free(&point) {
        Err(IdError::NotAKey)
    } else {
        Ok(point)
    }
}
