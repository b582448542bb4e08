//! Public data of devices: bundles and device lists.

use crate::error::Error;
use crate::identity_key::IdentityKey;
use crate::keys::{Identity, key_to_wire};
use crate::version::{DeviceId, Version};
use crate::xeddsa;

/// Most prekeys read from one bundle. Clients publish about 100.
pub const MAX_PREKEYS: usize = 1000;
/// Most devices read from one device list.
pub const MAX_DEVICES: usize = 1000;
/// Longest label of a device, in characters (XEP-0384 0.9, "Device list": fewer than 53).
pub const MAX_LABEL_CHARS: usize = 52;

/// A public prekey of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreKey {
    /// Number of the prekey within the bundle.
    pub id: u32,
    /// X25519 public key.
    pub key: [u8; 32],
}

/// Public keys of one device, as published for others to start a session (XEP-0384 0.3.0 and 0.9,
/// "Announcing support").
///
/// A bundle from outside proves nothing until [`Bundle::verify`] succeeds; [`crate::Session::initiate`] verifies by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The version that the bundle belongs to.
    pub version: Version,
    /// Identity key of the device.
    pub identity_key: IdentityKey,
    /// Signed prekey, which lives for weeks.
    pub signed_prekey: PreKey,
    /// Signature of the signed prekey by the identity key.
    pub signature: [u8; 64],
    /// Prekeys for one session each.
    pub prekeys: Vec<PreKey>,
}

impl Bundle {
    /// Checks the signature of the signed prekey, and that there is a prekey.
    ///
    /// # Errors
    /// [`Error::BadSignature`], [`Error::NoPreKey`], or [`Error::WrongVersion`] if the identity key has not the form of
    /// the version.
    pub fn verify(&self) -> Result<(), Error> {
        let signed = key_to_wire(self.version, &self.signed_prekey.key);
        match self.version {
            Version::Axolotl => xeddsa::verify_x25519(self.identity_key.x25519(), &signed, &self.signature),
            Version::Omemo2 => {
                let key = self.identity_key.ed25519().ok_or(Error::WrongVersion)?;
                xeddsa::verify(key, &signed, &self.signature)
            }
        }?;
        if self.prekeys.is_empty() {
            return Err(Error::NoPreKey);
        }
        Ok(())
    }
}

/// Name of a device with the signature that proves it ([`Version::Omemo2`] since XEP-0384 0.9, "Device list").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Name of the device, for people.
    pub text: String,
    /// Signature of the text by the identity key.
    pub signature: [u8; 64],
}

impl Label {
    /// Signs a label. Characters beyond [`MAX_LABEL_CHARS`] are cut off.
    pub fn new<R: rand_core::CryptoRng + ?Sized>(text: &str, identity: &Identity, rng: &mut R) -> Self {
        let text: String = text.chars().take(MAX_LABEL_CHARS).collect();
        let signature = identity.sign(Version::Omemo2, text.as_bytes(), rng);
        Self { text, signature }
    }

    /// Checks the signature. A label that fails must not be shown.
    ///
    /// # Errors
    /// [`Error::BadSignature`], [`Error::WrongVersion`] if the Ed25519 form of the key is not known, or
    /// [`Error::TooLarge`].
    pub fn verify(&self, identity_key: &IdentityKey) -> Result<(), Error> {
        if self.text.chars().count() > MAX_LABEL_CHARS {
            return Err(Error::TooLarge {
                what: "device label",
                limit: MAX_LABEL_CHARS,
            });
        }
        let key = identity_key.ed25519().ok_or(Error::WrongVersion)?;
        xeddsa::verify(key, self.text.as_bytes(), &self.signature)
    }
}

/// A device in a [`DeviceList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Id of the device.
    pub id: DeviceId,
    /// Name of the device, not verified.
    pub label: Option<Label>,
}

/// Devices of an account in one version (XEP-0384 0.3.0 and 0.9, "Announcing support").
///
/// An account has one list that all its devices write. Add the own device to what was read, never publish a list
/// without the others, and read again after publishing: two devices may write at the same time.
///
/// ```
/// use omemo::{DeviceId, DeviceList, Version};
///
/// let mut list = DeviceList::new(Version::Axolotl);
/// let device = DeviceId::new(31415).unwrap();
/// assert!(list.insert(device));
/// assert!(!list.insert(device));
/// assert!(list.contains(device));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    version: Version,
    devices: Vec<Device>,
}

impl DeviceList {
    /// Creates an empty list.
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            devices: Vec::new(),
        }
    }

    /// Returns the version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Returns the devices in their order, each id once.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Returns whether the list contains the device.
    pub fn contains(&self, id: DeviceId) -> bool {
        self.devices.iter().any(|device| device.id == id)
    }

    /// Adds a device without label. Returns `false` if the list contains it already, or is full ([`MAX_DEVICES`]).
    pub fn insert(&mut self, id: DeviceId) -> bool {
        self.insert_device(Device { id, label: None })
    }

    /// Adds a device. Returns `false` if the list contains it already, or is full ([`MAX_DEVICES`]).
    pub fn insert_device(&mut self, device: Device) -> bool {
        let new = self.devices.len() < MAX_DEVICES && !self.contains(device.id);
        if new {
            self.devices.push(device);
        }
        new
    }

    /// Removes a device. Returns whether the list contained it.
    pub fn remove(&mut self, id: DeviceId) -> bool {
        let before = self.devices.len();
        self.devices.retain(|device| device.id != id);
        self.devices.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_shown_with_a_valid_signature_only() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let identity = Identity::from_seed(&[3; 32]);
        let mut label = Label::new(&"ü".repeat(60), &identity, &mut rng);
        assert_eq!(label.text.chars().count(), MAX_LABEL_CHARS);
        assert_eq!(label.verify(identity.public()), Ok(()));
        let other = Identity::from_seed(&[4; 32]);
        assert_eq!(label.verify(other.public()), Err(Error::BadSignature));
        // An implementation of Ed25519 by others agrees.
        let key = ed25519_dalek::VerifyingKey::from_bytes(identity.public().ed25519().unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&label.signature);
        key.verify_strict(label.text.as_bytes(), &signature).unwrap();
        label.text.pop();
        assert_eq!(label.verify(identity.public()), Err(Error::BadSignature));
        label.text = "x".repeat(53);
        assert!(matches!(
            label.verify(identity.public()),
            Err(Error::TooLarge { .. })
        ));
        let unsigned = IdentityKey::from_x25519(identity.public().x25519()).unwrap();
        assert!(label.verify(&unsigned).is_err());
    }

    #[test]
    fn lists_are_bounded() {
        let mut list = DeviceList::new(Version::Omemo2);
        for id in 1..=1000 {
            assert!(list.insert(DeviceId::new(id).unwrap()));
        }
        assert!(!list.insert(DeviceId::new(5000).unwrap()));
        assert!(list.remove(DeviceId::new(7).unwrap()));
        assert!(!list.remove(DeviceId::new(7).unwrap()));
        assert!(list.insert(DeviceId::new(5000).unwrap()));
    }
}
