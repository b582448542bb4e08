//! The two versions of OMEMO in use, and device ids.

use core::fmt;
use core::str::FromStr;

use rand_core::CryptoRng;

/// Version of OMEMO, named by its XML namespace.
///
/// One device can take part in both versions with one identity key and one device id. Each version has its own
/// prekeys and its own sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `eu.siacs.conversations.axolotl`: XEP-0384 0.3.0, which Conversations, Dino, Gajim and most clients use.
    Axolotl,
    /// `urn:xmpp:omemo:2`: XEP-0384 0.8 to 0.9.
    Omemo2,
}

impl Version {
    /// Returns the XML namespace.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Axolotl => "eu.siacs.conversations.axolotl",
            Self::Omemo2 => "urn:xmpp:omemo:2",
        }
    }

    /// Returns the version of an XML namespace, or `None` for any other namespace.
    pub fn from_namespace(namespace: &str) -> Option<Self> {
        [Self::Axolotl, Self::Omemo2]
            .into_iter()
            .find(|version| version.namespace() == namespace)
    }

    /// Returns the PEP node of the device list (XEP-0384 0.3.0 and 0.9, "Announcing support"). Its item is
    /// `current`.
    pub const fn device_list_node(self) -> &'static str {
        match self {
            Self::Axolotl => "eu.siacs.conversations.axolotl.devicelist",
            Self::Omemo2 => "urn:xmpp:omemo:2:devices",
        }
    }

    /// Returns the PEP node and the item id of a device's bundle (XEP-0384 0.3.0 and 0.9, "Announcing
    /// support").
    ///
    /// ```
    /// use omemo::{DeviceId, Version};
    ///
    /// let device = DeviceId::new(31415).unwrap();
    /// assert_eq!(
    ///     Version::Axolotl.bundle_address(device),
    ///     ("eu.siacs.conversations.axolotl.bundles:31415".to_owned(), "current".to_owned())
    /// );
    /// assert_eq!(
    ///     Version::Omemo2.bundle_address(device),
    ///     ("urn:xmpp:omemo:2:bundles".to_owned(), "31415".to_owned())
    /// );
    /// ```
    pub fn bundle_address(self, device: DeviceId) -> (String, String) {
        match self {
            Self::Axolotl => (
                format!("eu.siacs.conversations.axolotl.bundles:{device}"),
                "current".to_owned(),
            ),
            Self::Omemo2 => ("urn:xmpp:omemo:2:bundles".to_owned(), device.to_string()),
        }
    }

    /// Returns the byte that stands for this version in serialized state.
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Axolotl => 1,
            Self::Omemo2 => 2,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Axolotl),
            2 => Some(Self::Omemo2),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.namespace())
    }
}

/// Number of a device within its account: 1 to 2^31 - 1 (XEP-0384 0.9, "Setup").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u32);

impl DeviceId {
    /// The largest device id.
    pub const MAX: u32 = i32::MAX as u32;

    /// Returns the id, or `None` outside 1 to 2^31 - 1.
    pub const fn new(id: u32) -> Option<Self> {
        if id >= 1 && id <= Self::MAX {
            Some(Self(id))
        } else {
            None
        }
    }

    /// Returns a random id. Draw again while the account's device lists contain it.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        loop {
            if let Some(id) = Self::new(rng.next_u32() >> 1) {
                return id;
            }
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a device id: a decimal number from 1 to 2^31 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device id: a device id is a decimal number from 1 to 2147483647")]
pub struct InvalidDeviceId;

impl FromStr for DeviceId {
    type Err = InvalidDeviceId;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceId> {
        decimal(text).and_then(Self::new).ok_or(InvalidDeviceId)
    }
}

/// Parses a decimal number of digits alone; `u32::from_str` would take a plus sign.
pub(crate) fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_ids_are_positive_signed_numbers() {
        assert_eq!("2147483647".parse(), Ok(DeviceId(DeviceId::MAX)));
        for text in [
            "0",
            "2147483648",
            "+1",
            "-1",
            "",
            " 1",
            "1 ",
            "0x1",
            "99999999999",
        ] {
            assert_eq!(text.parse::<DeviceId>(), Err(InvalidDeviceId), "{text:?}");
        }
    }

    #[test]
    fn namespaces_are_read_back() {
        for version in [Version::Axolotl, Version::Omemo2] {
            assert_eq!(Version::from_namespace(version.namespace()), Some(version));
            assert_eq!(Version::from_byte(version.to_byte()), Some(version));
        }
        assert_eq!(Version::from_namespace("urn:xmpp:omemo:1"), None);
    }
}
