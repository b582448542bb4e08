//! This device: its identity and its private prekeys.

use core::fmt;
use std::collections::BTreeMap;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::bundle::{Bundle, PreKey};
use crate::error::Error;
use crate::keys::{Identity, KeyPair, Secret, key_to_wire};
use crate::state::{Kind, Reader, Writer};
use crate::version::{DeviceId, Version};

/// Number of prekeys in a bundle (XEP-0384 0.9, "Key Exchange"; at least 20 in 0.3.0 and 25 in 0.9).
pub const PREKEYS: usize = 100;
/// Most private keys of used prekeys that are kept until [`Account::delete_used_prekeys`].
const MAX_USED_PREKEYS: usize = 1000;
/// Most key exchanges with one prekey until then.
const MAX_USES: usize = 16;
/// The largest id of a prekey.
const MAX_PREKEY_ID: u32 = DeviceId::MAX;

/// Secret state of this device: identity, device id, signed prekeys and prekeys of both versions.
///
/// Save it with [`Account::to_bytes`] whenever a method took it by `&mut`, before anything is sent. Wiped when dropped;
/// `Debug` shows the device id and the fingerprint alone.
///
/// ```
/// use omemo::{Account, DeviceId, Identity, Version};
/// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
///
/// let now = 1_764_460_800; // seconds since 1970, from the caller's clock
/// let identity = Identity::generate(&mut rng);
/// let account = Account::new(identity, DeviceId::random(&mut rng), now, &mut rng);
/// let bundle = account.bundle(Version::Axolotl);
/// assert!(bundle.verify().is_ok());
///
/// let saved = account.to_bytes();
/// assert_eq!(Account::from_bytes(&saved)?.bundle(Version::Axolotl), bundle);
/// # Ok::<(), omemo::Error>(())
/// ```
#[derive(Clone)]
pub struct Account {
    identity: Identity,
    device: DeviceId,
    axolotl: Keys,
    omemo2: Keys,
}

#[derive(Clone)]
struct SignedPreKey {
    id: u32,
    pair: KeyPair,
    signature: [u8; 64],
    /// Seconds since 1970.
    created: u64,
}

/// A prekey. Its public key is computed when it is needed: a device loads 200 prekeys for every message, and uses at most one.
#[derive(Clone)]
struct OneTimeKey {
    secret: Secret,
    /// Ephemeral keys of the key exchanges that used it: usually none or one.
    used_by: Vec<[u8; 32]>,
}

impl OneTimeKey {
    const fn new(secret: Secret) -> Self {
        Self {
            secret,
            used_by: Vec::new(),
        }
    }

    fn pair(&self) -> KeyPair {
        KeyPair::from_secret(&self.secret)
    }

    const fn is_used(&self) -> bool {
        !self.used_by.is_empty()
    }
}

/// Prekeys of one version.
#[derive(Clone)]
struct Keys {
    signed: SignedPreKey,
    /// The signed prekey before, for key exchanges under way.
    previous: Option<SignedPreKey>,
    prekeys: BTreeMap<u32, OneTimeKey>,
    next_id: u32,
}

impl Account {
    /// Creates the state of a new device, with prekeys for both versions. `now` is in seconds since 1970.
    pub fn new<R: CryptoRng + ?Sized>(identity: Identity, device: DeviceId, now: u64, rng: &mut R) -> Self {
        let axolotl = Keys::new(Version::Axolotl, &identity, now, rng);
        let omemo2 = Keys::new(Version::Omemo2, &identity, now, rng);
        Self {
            identity,
            device,
            axolotl,
            omemo2,
        }
    }

    /// Returns the identity.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the device id.
    pub const fn device_id(&self) -> DeviceId {
        self.device
    }

    /// Returns the bundle to publish. Prekeys that were used are not in it.
    pub fn bundle(&self, version: Version) -> Bundle {
        let keys = self.keys(version);
        Bundle {
            version,
            identity_key: *self.identity.public(),
            signed_prekey: PreKey {
                id: keys.signed.id,
                key: keys.signed.pair.public,
            },
            signature: keys.signed.signature,
            prekeys: keys
                .prekeys
                .iter()
                .filter(|(_, key)| !key.is_used())
                .map(|(&id, key)| PreKey {
                    id,
                    key: key.pair().public,
                })
                .collect(),
        }
    }

    /// Replaces the signed prekeys that are `max_age` seconds old or older at `now`. Returns whether one was replaced,
    /// that is, whether the bundles must be published again.
    ///
    /// The previous signed prekey stays valid for one more period. XEP-0384 0.9 ("Key Exchange") asks for a new one every
    /// week to every month.
    pub fn rotate_signed_prekeys<R: CryptoRng + ?Sized>(
        &mut self,
        now: u64,
        max_age: u64,
        rng: &mut R,
    ) -> bool {
        let mut rotated = false;
        for version in [Version::Axolotl, Version::Omemo2] {
            let signed = &self.keys(version).signed;
            if now.saturating_sub(signed.created) >= max_age {
                let id = following(signed.id);
                let new = SignedPreKey::new(version, &self.identity, id, now, rng);
                let keys = self.keys_mut(version);
                keys.previous = Some(std::mem::replace(&mut keys.signed, new));
                rotated = true;
            }
        }
        rotated
    }

    /// Deletes the private keys of used prekeys.
    ///
    /// Call it once all waiting messages (offline messages, the archive) are read, or after every message when reading
    /// live. Until then a second message to the same prekey can still be read (XEP-0384 0.9, "Business Rules").
    pub fn delete_used_prekeys(&mut self) {
        for version in [Version::Axolotl, Version::Omemo2] {
            self.keys_mut(version).prekeys.retain(|_, key| !key.is_used());
        }
    }

    /// Returns the state in a form to save. It is secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let len = |keys: &Keys| {
            keys.prekeys
                .values()
                .map(|key| 40 + 32 * key.used_by.len())
                .sum::<usize>()
        };
        let mut out = Writer::new(Kind::Account, 1024 + len(&self.axolotl) + len(&self.omemo2));
        out.bytes(self.identity.expose_secret());
        out.number(self.device.get());
        self.axolotl.write(&mut out);
        self.omemo2.write(&mut out);
        out.finish()
    }

    /// Loads what [`Account::to_bytes`] returned.
    ///
    /// # Errors
    /// [`Error::DamagedState`] for any other bytes, [`Error::NewerState`] for a later format. Do not replace a damaged
    /// state by a new device silently: tell a person.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Reader::new(bytes, Kind::Account)?;
        let identity = Identity::from_secret(&*input.secret()?);
        let device = DeviceId::new(input.number()?).ok_or(Error::DamagedState)?;
        let axolotl = Keys::read(&mut input)?;
        let omemo2 = Keys::read(&mut input)?;
        input.finish()?;
        Ok(Self {
            identity,
            device,
            axolotl,
            omemo2,
        })
    }

    const fn keys(&self, version: Version) -> &Keys {
        match version {
            Version::Axolotl => &self.axolotl,
            Version::Omemo2 => &self.omemo2,
        }
    }

    const fn keys_mut(&mut self, version: Version) -> &mut Keys {
        match version {
            Version::Axolotl => &mut self.axolotl,
            Version::Omemo2 => &mut self.omemo2,
        }
    }

    /// Returns the key pair of a signed prekey.
    pub(crate) fn signed_prekey(&self, version: Version, id: u32) -> Result<&KeyPair, Error> {
        let keys = self.keys(version);
        [Some(&keys.signed), keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == id)
            .map(|key| &key.pair)
            .ok_or(Error::UnknownPreKey(id))
    }

    /// Returns the key pair of a prekey for a key exchange with this ephemeral key.
    ///
    /// A key exchange that used the prekey already is a duplicate: its session was replaced by newer ones.
    pub(crate) fn prekey(&self, version: Version, id: u32, ephemeral: &[u8; 32]) -> Result<KeyPair, Error> {
        let key = self
            .keys(version)
            .prekeys
            .get(&id)
            .ok_or(Error::UnknownPreKey(id))?;
        if key.used_by.contains(ephemeral) {
            return Err(Error::Duplicate);
        }
        if key.used_by.len() >= MAX_USES {
            return Err(Error::UnknownPreKey(id));
        }
        Ok(key.pair())
    }

    /// Marks a prekey as used by a key exchange. The first time, a new prekey takes its place in the bundle.
    pub(crate) fn use_prekey<R: CryptoRng + ?Sized>(
        &mut self,
        version: Version,
        id: u32,
        ephemeral: [u8; 32],
        rng: &mut R,
    ) {
        let keys = self.keys_mut(version);
        if let Some(key) = keys.prekeys.get_mut(&id) {
            key.used_by.push(ephemeral);
            if key.used_by.len() == 1 {
                keys.add_prekey(rng);
            }
        }
        while keys.prekeys.len() > PREKEYS + MAX_USED_PREKEYS {
            let oldest = keys
                .prekeys
                .iter()
                .find(|(_, key)| key.is_used())
                .map(|(&id, _)| id);
            let Some(oldest) = oldest else { break };
            keys.prekeys.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(crate) fn for_vector(
        version: Version,
        identity: Identity,
        device: DeviceId,
        signed: (u32, &[u8; 32]),
        prekeys: &[(u32, [u8; 32])],
    ) -> Self {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let mut account = Self::new(identity, device, 0, &mut rng);
        let signature = {
            let pair = KeyPair::from_secret(signed.1);
            account
                .identity
                .sign(version, &key_to_wire(version, &pair.public), &mut rng)
        };
        let keys = account.keys_mut(version);
        keys.signed = SignedPreKey {
            id: signed.0,
            pair: KeyPair::from_secret(signed.1),
            signature,
            created: 0,
        };
        keys.prekeys = prekeys
            .iter()
            .map(|(id, secret)| (*id, OneTimeKey::new(Zeroizing::new(*secret))))
            .collect();
        account
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("device", &self.device)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Returns the id after this one; after the largest comes 1.
const fn following(id: u32) -> u32 {
    if id >= MAX_PREKEY_ID { 1 } else { id + 1 }
}

impl SignedPreKey {
    fn new<R: CryptoRng + ?Sized>(
        version: Version,
        identity: &Identity,
        id: u32,
        now: u64,
        rng: &mut R,
    ) -> Self {
        let pair = KeyPair::generate(rng);
        let signature = identity.sign(version, &key_to_wire(version, &pair.public), rng);
        Self {
            id,
            pair,
            signature,
            created: now,
        }
    }

    fn write(&self, out: &mut Writer) {
        out.number(self.id);
        out.bytes(self.pair.expose_secret());
        out.bytes(&self.signature);
        out.long(self.created);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: input.number()?,
            pair: KeyPair::from_secret(&*input.secret()?),
            signature: *input.array()?,
            created: input.long()?,
        })
    }
}

impl Keys {
    fn new<R: CryptoRng + ?Sized>(version: Version, identity: &Identity, now: u64, rng: &mut R) -> Self {
        let mut keys = Self {
            signed: SignedPreKey::new(version, identity, 1, now, rng),
            previous: None,
            prekeys: BTreeMap::new(),
            next_id: 1,
        };
        for _ in 0..PREKEYS {
            keys.add_prekey(rng);
        }
        keys
    }

    /// Adds a prekey with an id that was never used before (in 2^31 prekeys).
    fn add_prekey<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        while self.prekeys.contains_key(&self.next_id) {
            self.next_id = following(self.next_id);
        }
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        self.prekeys.insert(self.next_id, OneTimeKey::new(secret));
        self.next_id = following(self.next_id);
    }

    fn write(&self, out: &mut Writer) {
        self.signed.write(out);
        out.flag(self.previous.is_some());
        if let Some(previous) = &self.previous {
            previous.write(out);
        }
        out.number(self.next_id);
        out.count(self.prekeys.len());
        for (id, key) in &self.prekeys {
            out.number(*id);
            out.bytes(&*key.secret);
            out.count(key.used_by.len());
            for ephemeral in &key.used_by {
                out.bytes(ephemeral);
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let signed = SignedPreKey::read(input)?;
        let previous = if input.flag()? {
            Some(SignedPreKey::read(input)?)
        } else {
            None
        };
        let next_id = input.number()?;
        let mut prekeys = BTreeMap::new();
        for _ in 0..input.count(PREKEYS + MAX_USED_PREKEYS)? {
            let id = input.number()?;
            let mut key = OneTimeKey::new(input.secret()?);
            for _ in 0..input.count(MAX_USES)? {
                key.used_by.push(*input.array()?);
            }
            prekeys.insert(id, key);
        }
        Ok(Self {
            signed,
            previous,
            prekeys,
            next_id,
        })
    }
}
