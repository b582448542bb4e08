//! The `<encrypted>` element as values.

use crate::error::Error;
use crate::identity_key::IdentityKey;
use crate::version::{DeviceId, Version};
use crate::wire::KeyExchange;

/// Most keys in one message.
pub const MAX_KEYS: usize = 4096;

/// Content of a `<key>` element: key material, encrypted for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedKey {
    /// The bytes inside the element, before base64.
    pub data: Vec<u8>,
    /// True if the bytes carry a key exchange (attribute `prekey` or `kex`).
    pub key_exchange: bool,
}

impl EncryptedKey {
    /// Returns the identity key that a key exchange names, or `None` without key exchange.
    ///
    /// Compare it with what is known of the sender before the first message is decrypted. It is proven to be the
    /// sender's only when decryption succeeds.
    ///
    /// # Errors
    /// [`Error::Malformed`] and the like for a key exchange that cannot be read.
    pub fn identity_key(&self, version: Version) -> Result<Option<IdentityKey>, Error> {
        if self.key_exchange {
            KeyExchange::parse(version, &self.data).map(|exchange| Some(exchange.identity))
        } else {
            Ok(None)
        }
    }
}

/// A key with the device it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientKey {
    /// Bare JID of the recipient. [`Version::Axolotl`] does not transfer it.
    pub jid: Option<String>,
    /// Id of the recipient's device.
    pub device: DeviceId,
    /// The encrypted key material.
    pub key: EncryptedKey,
}

/// The `<encrypted>` element (XEP-0384 0.3.0 and 0.9, "Sending a message").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// Version of OMEMO.
    pub version: Version,
    /// Device of the sender (attribute `sid`).
    pub sender: DeviceId,
    /// One key for each device that can read the message.
    pub keys: Vec<RecipientKey>,
    /// IV of the payload ([`Version::Axolotl`] only).
    pub iv: Option<Vec<u8>>,
    /// Encrypted content; `None` for an empty message.
    pub payload: Option<Vec<u8>>,
}

impl Encrypted {
    /// Returns the keys that may be for a device: those with its id and, where the version transfers it, its JID.
    ///
    /// Device ids of different accounts can be equal in [`Version::Axolotl`], so there may be several.
    pub fn keys_for<'a>(&'a self, jid: &'a str, device: DeviceId) -> impl Iterator<Item = &'a EncryptedKey> {
        self.keys
            .iter()
            .filter(move |key| key.device == device && key.jid.as_deref().is_none_or(|named| named == jid))
            .map(|key| &key.key)
    }
}
