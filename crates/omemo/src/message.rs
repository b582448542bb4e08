//! Messages: how they are encrypted and decrypted.

use core::fmt;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::account::Account;
use crate::encrypted::{Encrypted, EncryptedKey, MAX_KEYS, RecipientKey};
use crate::error::Error;
use crate::payload;
use crate::session::Session;
use crate::version::{DeviceId, Version};

/// A decrypted message, and what has to follow.
pub struct Decrypted {
    /// The content: the text of the body in [`Version::Axolotl`], an envelope (XEP-0420) in [`Version::Omemo2`].
    /// `None` for an empty message, which keeps sessions going and is not shown.
    pub content: Option<Zeroizing<Vec<u8>>>,
    /// The key material that came through the session. An empty message of [`Version::Axolotl`] can transport a key
    /// for something else in it (XEP-0384 0.3.0, "Sending a key").
    pub key_material: Zeroizing<Vec<u8>>,
    /// A key exchange started a new session: publish the bundle again, a prekey was used.
    pub new_session: bool,
    /// Send an empty message back ([`MessageBuilder::empty`]): the session is new, or the sender's chain has become long
    /// (XEP-0384 0.9, "Business Rules"). Once per session is enough when many waiting messages are read.
    pub answer_due: bool,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field(
                "content_bytes",
                &self.content.as_ref().map(|content| content.len()),
            )
            .field("new_session", &self.new_session)
            .field("answer_due", &self.answer_due)
            .finish_non_exhaustive()
    }
}

/// Builds a message: encrypts the content once, then the key for each device (XEP-0384 0.3.0 "Sending a message", 0.9
/// "Message Encryption").
///
/// ```
/// # use omemo::{Account, DeviceId, Identity, MessageBuilder, Session, Version};
/// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
/// # let account = Account::new(Identity::generate(&mut rng), DeviceId::random(&mut rng), 0, &mut rng);
/// # let other = Account::new(Identity::generate(&mut rng), DeviceId::random(&mut rng), 0, &mut rng);
/// # let bundle = other.bundle(Version::Axolotl);
/// let mut session = Session::initiate(&account, &bundle, &mut rng)?;
/// let mut message = MessageBuilder::new(Version::Axolotl, account.device_id(), b"hello", &mut rng)?;
/// message.add("bob@example.org", other.device_id(), &mut session)?;
/// let encrypted = message.finish();
/// // Save the session now, then send.
/// # assert_eq!(encrypted.keys.len(), 1);
/// # Ok::<(), omemo::Error>(())
/// ```
pub struct MessageBuilder {
    message: Encrypted,
    material: Zeroizing<Vec<u8>>,
}

impl MessageBuilder {
    /// Encrypts the content with a fresh key.
    ///
    /// The content is the text of the body in [`Version::Axolotl`], and an envelope (XEP-0420) in [`Version::Omemo2`].
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than [`crate::MAX_PAYLOAD_BYTES`].
    pub fn new<R: CryptoRng + ?Sized>(
        version: Version,
        sender: DeviceId,
        content: &[u8],
        rng: &mut R,
    ) -> Result<Self, Error> {
        let sealed = payload::seal(version, content, rng)?;
        Ok(Self {
            message: Encrypted {
                version,
                sender,
                keys: Vec::new(),
                iv: sealed.iv.map(|iv| iv.to_vec()),
                payload: Some(sealed.payload),
            },
            material: sealed.material,
        })
    }

    /// Starts an empty message, which carries nothing but the state of the sessions: the answer to a key exchange, or
    /// the start of a new session.
    pub fn empty<R: CryptoRng + ?Sized>(version: Version, sender: DeviceId, rng: &mut R) -> Self {
        let material = payload::empty_material(version, rng);
        // The older format requires an IV, also without payload.
        let iv = (version == Version::Axolotl).then(|| {
            let mut iv = vec![0; 12];
            rng.fill_bytes(&mut iv);
            iv
        });
        Self {
            message: Encrypted {
                version,
                sender,
                keys: Vec::new(),
                iv,
                payload: None,
            },
            material,
        }
    }

    /// Returns the key material that each device receives: with [`MessageBuilder::empty`], a random key of 16 bytes in
    /// [`Version::Axolotl`] that can serve for something else (key transport), and 32 zero bytes in [`Version::Omemo2`].
    pub fn key_material(&self) -> &[u8] {
        &self.material
    }

    /// Encrypts the key for one device. `jid` is the bare JID of its account.
    ///
    /// # Errors
    /// [`Error::WrongVersion`] for a session of the other version, [`Error::TooLarge`] beyond [`MAX_KEYS`], and those of
    /// [`Session::encrypt`]. The message can still be sent to the other devices.
    pub fn add(&mut self, jid: &str, device: DeviceId, session: &mut Session) -> Result<(), Error> {
        if session.version() != self.message.version {
            return Err(Error::WrongVersion);
        }
        if self.message.keys.len() >= MAX_KEYS {
            return Err(Error::TooLarge {
                what: "list of keys",
                limit: MAX_KEYS,
            });
        }
        let key = session.encrypt(&self.material)?;
        self.message.keys.push(RecipientKey {
            jid: (self.message.version == Version::Omemo2).then(|| jid.to_owned()),
            device,
            key,
        });
        Ok(())
    }

    /// Returns the message. Save the sessions before it is sent.
    pub fn finish(self) -> Encrypted {
        self.message
    }
}

impl fmt::Debug for MessageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageBuilder")
            .field("version", &self.message.version)
            .field("keys", &self.message.keys.len())
            .finish_non_exhaustive()
    }
}

impl Account {
    /// Decrypts a message. `jid` is the own bare JID; `session` is the session with the sending device, if there is one.
    ///
    /// A key exchange starts a session in `session`. Check [`EncryptedKey::identity_key`] before, if the device is known
    /// without a session. Save the account and the session afterwards. Nothing changes if decryption fails: neither
    /// the session nor the prekeys.
    ///
    /// # Errors
    /// [`Error::NotForThisDevice`], [`Error::NoSession`], [`Error::Duplicate`] (ignore it quietly),
    /// [`Error::IdentityChanged`] (remove the session to accept the new key), [`Error::NotAuthentic`],
    /// [`Error::AlteredContent`] and others.
    pub fn decrypt<R: CryptoRng + ?Sized>(
        &mut self,
        message: &Encrypted,
        jid: &str,
        session: &mut Option<Session>,
        rng: &mut R,
    ) -> Result<Decrypted, Error> {
        let device = self.device_id();
        let mut result = Err(Error::NotForThisDevice);
        for key in message.keys_for(jid, device).take(MAX_SAME_ID) {
            let this = self.decrypt_key(message, key, session, rng);
            match (&this, &result) {
                (Ok(_) | Err(Error::Duplicate | Error::IdentityChanged(_) | Error::AlteredContent), _) => {
                    return this;
                }
                (_, Err(Error::NotForThisDevice)) => result = this,
                // The first cause is kept: the other key may be for an account with the same device id.
                _ => {}
            }
        }
        result
    }

    fn decrypt_key<R: CryptoRng + ?Sized>(
        &mut self,
        message: &Encrypted,
        key: &EncryptedKey,
        session: &mut Option<Session>,
        rng: &mut R,
    ) -> Result<Decrypted, Error> {
        let mut content = None;
        // The payload is part of what has to be right before the state changes.
        let mut accept = |material: &[u8]| {
            content = match &message.payload {
                Some(payload) => Some(payload::open(
                    message.version,
                    material,
                    message.iv.as_deref(),
                    payload,
                )?),
                None => None,
            };
            Ok(())
        };
        let unsealed = Session::unseal(session, self, message.version, key, &mut accept, rng)?;
        Ok(Decrypted {
            content,
            key_material: unsealed.material,
            new_session: unsealed.new_session,
            answer_due: unsealed.answer_due,
        })
    }
}

/// Most keys with one device id that are tried.
const MAX_SAME_ID: usize = 4;
