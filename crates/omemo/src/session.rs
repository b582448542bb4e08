//! Sessions with other devices.

use core::fmt;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::account::Account;
use crate::bundle::Bundle;
use crate::encrypted::EncryptedKey;
use crate::error::Error;
use crate::identity_key::IdentityKey;
use crate::kdf;
use crate::keys::KeyPair;
use crate::ratchet::Ratchet;
use crate::state::{Kind, Reader, Writer};
use crate::version::Version;
use crate::wire::{KeyExchange, Message};

/// Longest key material in bytes. Messages have 16 to 48.
const MAX_MATERIAL_BYTES: usize = 1024;

/// Secret state shared with one other device in one version: an X3DH key agreement and the Double Ratchet that follows
/// from it (XEP-0384 0.9, "Key Exchange" and "Double Ratchet").
///
/// Store one per version, JID and device id. Save it with [`Session::to_bytes`] after every encryption, before the
/// message is sent: a message number that is used twice loses a message, and with it two contents would be
/// encrypted with one key. For the same reason never use copies of one state in two processes.
///
/// A session that the other device replaced by a new one is kept for messages that arrive late. Wiped when dropped;
/// `Debug` shows version and fingerprint alone.
#[derive(Clone)]
pub struct Session {
    version: Version,
    own: IdentityKey,
    theirs: IdentityKey,
    current: Link,
    previous: Option<Box<Link>>,
}

/// One X3DH key agreement and the ratchet that follows from it.
#[derive(Clone)]
struct Link {
    ratchet: Ratchet,
    initiator: bool,
    /// The initiator's ephemeral key, which names the key exchange.
    ephemeral: [u8; 32],
    /// Sent with every message of the initiator until the first answer.
    pending: Option<Pending>,
}

#[derive(Clone, Copy)]
struct Pending {
    prekey: u32,
    signed_prekey: u32,
    registration: Option<u32>,
}

/// The decrypted content of a `<key>` element.
pub(crate) struct Unsealed {
    pub(crate) material: Zeroizing<Vec<u8>>,
    pub(crate) new_session: bool,
    pub(crate) answer_due: bool,
}

/// Called with the key material between authentication and the change of state.
pub(crate) type Accept<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

impl Session {
    /// Starts a session with the device that published the bundle (X3DH, then the first step of the ratchet).
    ///
    /// One of the prekeys is chosen at random. Compare [`Bundle::identity_key`] with what is known of the device first:
    /// this function checks that the bundle is consistent, not whose it is.
    ///
    /// # Errors
    /// Those of [`Bundle::verify`], and [`Error::InvalidKey`] if a key of the bundle has small order.
    pub fn initiate<R: CryptoRng + ?Sized>(
        account: &Account,
        bundle: &Bundle,
        rng: &mut R,
    ) -> Result<Self, Error> {
        let ephemeral = KeyPair::generate(rng);
        Self::initiate_with(account, bundle, &ephemeral, Some(account.device_id().get()), rng)
    }

    /// Starts a session with a given ephemeral key and registration id.
    pub(crate) fn initiate_with<R: CryptoRng + ?Sized>(
        account: &Account,
        bundle: &Bundle,
        ephemeral: &KeyPair,
        registration: Option<u32>,
        rng: &mut R,
    ) -> Result<Self, Error> {
        bundle.verify()?;
        let version = bundle.version;
        let prekey = match &bundle.prekeys[..] {
            [only] => *only,
            all => all[below(all.len(), rng)],
        };
        let (identity, signed) = (account.identity(), &bundle.signed_prekey.key);
        let shared = kdf::x3dh(
            version,
            [
                &identity.agree(signed)?,
                &ephemeral.agree(bundle.identity_key.x25519())?,
                &ephemeral.agree(signed)?,
                &ephemeral.agree(&prekey.key)?,
            ],
        );
        Ok(Self {
            version,
            own: *identity.public(),
            theirs: bundle.identity_key,
            current: Link {
                ratchet: Ratchet::initiate(version, &shared, KeyPair::generate(rng), signed)?,
                initiator: true,
                ephemeral: ephemeral.public,
                pending: Some(Pending {
                    prekey: prekey.id,
                    signed_prekey: bundle.signed_prekey.id,
                    registration: registration.filter(|_| version == Version::Axolotl),
                }),
            },
            previous: None,
        })
    }

    /// Starts over with a bundle of the same device, when the session turned out to be broken. Messages of the session
    /// before that arrive late can still be decrypted.
    ///
    /// # Errors
    /// Those of [`Session::initiate`], [`Error::WrongVersion`], and [`Error::IdentityChanged`] if the identity key of
    /// the bundle is another one.
    pub fn restart<R: CryptoRng + ?Sized>(
        &mut self,
        account: &Account,
        bundle: &Bundle,
        rng: &mut R,
    ) -> Result<(), Error> {
        self.check_version(bundle.version)?;
        self.check_identity(&bundle.identity_key)?;
        let new = Self::initiate(account, bundle, rng)?;
        self.replace(new);
        Ok(())
    }

    /// Returns the version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Returns the identity key of the other device.
    pub const fn identity_key(&self) -> &IdentityKey {
        &self.theirs
    }

    /// Returns whether the other device has proven that it has the session: it has sent a message of it. Until then
    /// every message carries the key exchange.
    pub const fn is_confirmed(&self) -> bool {
        self.current.pending.is_none()
    }

    /// Encrypts key material for the other device. [`crate::MessageBuilder::add`] does this for messages.
    ///
    /// # Errors
    /// [`Error::ChainExhausted`] after 2^32 - 1 messages without answer, [`Error::TooLarge`] for more than 1024 bytes:
    /// longer content belongs into a payload.
    pub fn encrypt(&mut self, material: &[u8]) -> Result<EncryptedKey, Error> {
        if material.len() > MAX_MATERIAL_BYTES {
            return Err(Error::TooLarge {
                what: "key material",
                limit: MAX_MATERIAL_BYTES,
            });
        }
        self.encrypt_with(material, None)
    }

    pub(crate) fn encrypt_with(
        &mut self,
        material: &[u8],
        previous: Option<u32>,
    ) -> Result<EncryptedKey, Error> {
        let associated = self.associated(self.current.initiator, true)?;
        let link = &mut self.current;
        let message = match previous {
            None => link.ratchet.encrypt(material, &associated)?,
            Some(previous) => link.ratchet.encrypt_with(material, &associated, previous)?,
        };
        let Some(pending) = link.pending else {
            return Ok(EncryptedKey {
                data: message,
                key_exchange: false,
            });
        };
        let exchange = KeyExchange {
            prekey: pending.prekey,
            signed_prekey: pending.signed_prekey,
            identity: self.own,
            ephemeral: link.ephemeral,
            registration: pending.registration,
            message: &message,
        };
        Ok(EncryptedKey {
            data: exchange.encode(self.version)?,
            key_exchange: true,
        })
    }

    /// Decrypts a `<key>` element of a device whose session is in `slot`. Nothing changes if this fails.
    pub(crate) fn unseal<R: CryptoRng + ?Sized>(
        slot: &mut Option<Self>,
        account: &mut Account,
        version: Version,
        key: &EncryptedKey,
        accept: Accept<'_>,
        rng: &mut R,
    ) -> Result<Unsealed, Error> {
        if let Some(session) = slot {
            session.check_version(version)?;
        }
        if !key.key_exchange {
            let message = Message::parse(version, &key.data)?;
            let session = slot.as_mut().ok_or(Error::NoSession)?;
            return session.decrypt(&message, accept, rng);
        }
        let exchange = KeyExchange::parse(version, &key.data)?;
        let message = Message::parse(version, exchange.message)?;
        if let Some(session) = slot {
            session.check_identity(&exchange.identity)?;
            for previous in [false, true] {
                let same = session
                    .link(previous)
                    .is_some_and(|link| !link.initiator && link.ephemeral == exchange.ephemeral);
                if same {
                    return session.decrypt_in(previous, &message, accept, rng);
                }
            }
        }
        let (new, unsealed) = Self::respond(account, version, &exchange, &message, accept, rng)?;
        account.use_prekey(version, exchange.prekey, exchange.ephemeral, rng);
        match slot {
            Some(session) => session.replace(new),
            None => *slot = Some(new),
        }
        Ok(unsealed)
    }

    /// Answers a key exchange: X3DH with the private halves, then the first message.
    fn respond<R: CryptoRng + ?Sized>(
        account: &Account,
        version: Version,
        exchange: &KeyExchange<'_>,
        message: &Message<'_>,
        accept: Accept<'_>,
        rng: &mut R,
    ) -> Result<(Self, Unsealed), Error> {
        let signed = account.signed_prekey(version, exchange.signed_prekey)?;
        let prekey = account.prekey(version, exchange.prekey, &exchange.ephemeral)?;
        let shared = kdf::x3dh(
            version,
            [
                &signed.agree(exchange.identity.x25519())?,
                &account.identity().agree(&exchange.ephemeral)?,
                &signed.agree(&exchange.ephemeral)?,
                &prekey.agree(&exchange.ephemeral)?,
            ],
        );
        let mut session = Self {
            version,
            own: *account.identity().public(),
            theirs: exchange.identity,
            current: Link {
                ratchet: Ratchet::respond(version, shared, signed.clone()),
                initiator: false,
                ephemeral: exchange.ephemeral,
                pending: None,
            },
            previous: None,
        };
        let mut unsealed = session.decrypt_in(false, message, accept, rng)?;
        unsealed.new_session = true;
        unsealed.answer_due = true;
        Ok((session, unsealed))
    }

    /// Decrypts a message without key exchange with the current link or the one before.
    fn decrypt<R: CryptoRng + ?Sized>(
        &mut self,
        message: &Message<'_>,
        accept: Accept<'_>,
        rng: &mut R,
    ) -> Result<Unsealed, Error> {
        let first = self.decrypt_in(false, message, accept, rng);
        // Another ratchet key cannot be told from an altered message: the one before decides.
        let Err(error @ (Error::NotAuthentic | Error::TooFarAhead)) = first else {
            return first;
        };
        if self.previous.is_none() {
            return Err(error);
        }
        match self.decrypt_in(true, message, accept, rng) {
            Err(Error::NotAuthentic | Error::TooFarAhead) => Err(error),
            second => second,
        }
    }

    fn decrypt_in<R: CryptoRng + ?Sized>(
        &mut self,
        previous: bool,
        message: &Message<'_>,
        accept: Accept<'_>,
        rng: &mut R,
    ) -> Result<Unsealed, Error> {
        let initiator = self.link(previous).ok_or(Error::NoSession)?.initiator;
        let associated = self.associated(initiator, false)?;
        let link = match &mut self.previous {
            Some(link) if previous => &mut **link,
            _ => &mut self.current,
        };
        let (material, answer_due) = link.ratchet.decrypt(message, &associated, accept, rng)?;
        let confirmed = link.pending.take().is_some();
        if previous && confirmed {
            // Both devices started a session at the same time, and the other one answered ours: both use ours now.
            if let Some(link) = &mut self.previous {
                std::mem::swap(&mut **link, &mut self.current);
            }
        }
        Ok(Unsealed {
            material,
            new_session: false,
            answer_due,
        })
    }

    fn link(&self, previous: bool) -> Option<&Link> {
        if previous {
            self.previous.as_deref()
        } else {
            Some(&self.current)
        }
    }

    /// Makes the link of `new` the current one and keeps the one before.
    fn replace(&mut self, new: Self) {
        self.theirs = new.theirs;
        self.own = new.own;
        self.previous = Some(Box::new(std::mem::replace(&mut self.current, new.current)));
    }

    fn check_version(&self, version: Version) -> Result<(), Error> {
        if self.version == version {
            Ok(())
        } else {
            Err(Error::WrongVersion)
        }
    }

    fn check_identity(&self, theirs: &IdentityKey) -> Result<(), Error> {
        if self.theirs == *theirs {
            Ok(())
        } else {
            Err(Error::IdentityChanged(Box::new(*theirs)))
        }
    }

    /// Returns the associated data: sender and receiver in [`Version::Axolotl`], initiator and responder in
    /// [`Version::Omemo2`].
    fn associated(&self, initiator: bool, sending: bool) -> Result<Vec<u8>, Error> {
        let own_first = match self.version {
            Version::Axolotl => sending,
            Version::Omemo2 => initiator,
        };
        let (first, second) = if own_first {
            (self.own, self.theirs)
        } else {
            (self.theirs, self.own)
        };
        let mut out = first.to_wire(self.version)?;
        out.extend(second.to_wire(self.version)?);
        Ok(out)
    }

    /// Returns the state in a form to save. It is secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let links = [Some(&self.current), self.previous.as_deref()];
        let len = links
            .iter()
            .flatten()
            .map(|link| 64 + link.ratchet.written_len())
            .sum::<usize>();
        let mut out = Writer::new(Kind::Session, 192 + len);
        out.byte(self.version.to_byte());
        for key in [&self.own, &self.theirs] {
            out.bytes(key.x25519());
            out.flag(key.ed25519().is_some());
            out.bytes(key.ed25519().unwrap_or(&[0; 32]));
        }
        self.current.write(&mut out);
        out.flag(self.previous.is_some());
        if let Some(previous) = &self.previous {
            previous.write(&mut out);
        }
        out.finish()
    }

    /// Loads what [`Session::to_bytes`] returned.
    ///
    /// # Errors
    /// [`Error::DamagedState`] for any other bytes, [`Error::NewerState`] for a later format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Reader::new(bytes, Kind::Session)?;
        let version = Version::from_byte(input.byte()?).ok_or(Error::DamagedState)?;
        let own = read_identity(version, &mut input)?;
        let theirs = read_identity(version, &mut input)?;
        let current = Link::read(version, &mut input)?;
        let previous = if input.flag()? {
            Some(Box::new(Link::read(version, &mut input)?))
        } else {
            None
        };
        input.finish()?;
        Ok(Self {
            version,
            own,
            theirs,
            current,
            previous,
        })
    }

    #[cfg(test)]
    pub(crate) fn ratchet(&self) -> &Ratchet {
        &self.current.ratchet
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("version", &self.version)
            .field("identity_key", &self.theirs)
            .field("confirmed", &self.is_confirmed())
            .finish_non_exhaustive()
    }
}

fn read_identity(version: Version, input: &mut Reader<'_>) -> Result<IdentityKey, Error> {
    let x25519 = *input.array()?;
    let has_ed25519 = input.flag()?;
    let ed25519 = *input.array()?;
    let key = if has_ed25519 {
        IdentityKey::from_ed25519(&ed25519)
    } else {
        IdentityKey::from_x25519(&x25519)
    };
    match key {
        Ok(key) if key.x25519() == &x25519 && (has_ed25519 || version == Version::Axolotl) => Ok(key),
        _ => Err(Error::DamagedState),
    }
}

impl Link {
    fn write(&self, out: &mut Writer) {
        out.flag(self.initiator);
        out.bytes(&self.ephemeral);
        out.flag(self.pending.is_some());
        if let Some(pending) = self.pending {
            out.number(pending.prekey);
            out.number(pending.signed_prekey);
            out.flag(pending.registration.is_some());
            out.number(pending.registration.unwrap_or(0));
        }
        self.ratchet.write(out);
    }

    fn read(version: Version, input: &mut Reader<'_>) -> Result<Self, Error> {
        let initiator = input.flag()?;
        let ephemeral = *input.array()?;
        let pending = if input.flag()? {
            let (prekey, signed_prekey) = (input.number()?, input.number()?);
            let has_registration = input.flag()?;
            let registration = input.number()?;
            Some(Pending {
                prekey,
                signed_prekey,
                registration: has_registration.then_some(registration),
            })
        } else {
            None
        };
        Ok(Self {
            ratchet: Ratchet::read(version, input)?,
            initiator,
            ephemeral,
            pending,
        })
    }
}

/// Returns a uniform random number below `end`, which is small.
fn below<R: CryptoRng + ?Sized>(end: usize, rng: &mut R) -> usize {
    let end = end as u64;
    // Numbers from the last, incomplete round would make the low ones likelier.
    let limit = u64::MAX - u64::MAX % end;
    loop {
        let drawn = rng.next_u64();
        if drawn < limit {
            return usize::try_from(drawn % end).expect("below a usize");
        }
    }
}
