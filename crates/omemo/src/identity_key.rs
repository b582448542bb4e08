//! The public identity key of a device, and its fingerprint.

use core::fmt;
use core::hash::{Hash, Hasher};

/// Length of an encoded Curve25519 or Ed25519 key in bytes.
pub(crate) const KEY_LEN_BYTES: usize = 32;

/// Public identity key of a device.
///
/// Two keys are equal if their fingerprints are equal. The versions transfer the key in different forms:
/// [`crate::Version::Axolotl`] as an X25519 key, [`crate::Version::Omemo2`] as an Ed25519 key, from which the other follows.
///
/// `Display` writes the fingerprint in eight groups of eight digits, as people compare it.
#[derive(Clone, Copy)]
pub struct IdentityKey {
    pub(crate) x25519: [u8; 32],
    pub(crate) ed25519: Option<[u8; 32]>,
}

impl IdentityKey {
    /// Returns the X25519 form.
    pub const fn x25519(&self) -> &[u8; 32] {
        &self.x25519
    }

    /// Returns the Ed25519 form, if the key was received in that form or is this device's own.
    pub const fn ed25519(&self) -> Option<&[u8; 32]> {
        self.ed25519.as_ref()
    }

    /// Returns the fingerprint: the X25519 form in 64 lower-case hexadecimal digits.
    ///
    /// Both versions of one device have the same fingerprint (XEP-0384 0.9, "Security Considerations").
    pub fn fingerprint(&self) -> String {
        let mut out = String::with_capacity(2 * KEY_LEN_BYTES);
        for byte in self.x25519 {
            push_hex(&mut out, byte);
        }
        out
    }

    /// Returns whether a fingerprint that a person wrote down is that of this key.
    ///
    /// White space, colons and the case of letters do not count, nor does a leading byte 05.
    ///
    /// ```
    /// let key = *omemo::Identity::from_seed(&[7; 32]).public();
    /// assert!(key.has_fingerprint(&key.to_string()));
    /// assert!(key.has_fingerprint(&format!("05{}", key.fingerprint().to_uppercase())));
    /// assert!(!key.has_fingerprint(&key.fingerprint()[..63]));
    /// ```
    pub fn has_fingerprint(&self, text: &str) -> bool {
        let mut digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
        digits.make_ascii_lowercase();
        let own = self.fingerprint();
        digits == own || digits.strip_prefix("05") == Some(&own)
    }
}

impl PartialEq for IdentityKey {
    fn eq(&self, other: &Self) -> bool {
        self.x25519 == other.x25519
    }
}

impl Eq for IdentityKey {}

impl Hash for IdentityKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.x25519.hash(state);
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, group) in self.x25519.chunks(4).enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            for byte in group {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", self.fingerprint())
    }
}

/// Appends a byte as two lower-case hexadecimal digits.
pub(crate) fn push_hex(out: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from_digit(digit.into(), 16).expect("a digit is below 16"));
    }
}
