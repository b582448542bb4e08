//! Encryption details in the outcome of a message.

use std::fmt;

use super::fingerprint::grouped;
use super::left_out::{LeftOut, list};
use crate::jid::Jid;

/// For whom a message was encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptionReport {
    /// The devices that can read it, those of the own account included.
    pub devices: Vec<EncryptedFor>,
    /// Devices and people who cannot read it.
    pub left_out: Vec<LeftOut>,
    /// Keys that were seen for the first time with this message.
    pub new_keys: Vec<NewKey>,
    /// It is the stanza of an earlier attempt, byte for byte.
    pub repeated: bool,
}

/// A device that can read a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptedFor {
    /// Address of the account.
    pub jid: Jid,
    /// Id of the OMEMO device.
    pub device: u32,
    /// The namespace of the version.
    pub namespace: &'static str,
    /// It is another device of the sender.
    pub own: bool,
}

/// An identity key that was not known before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey {
    /// Address of the account.
    pub jid: Jid,
    /// Id of the OMEMO device.
    pub device: u32,
    /// The fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The account had other keys before.
    pub changed: bool,
}

impl fmt::Display for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.changed { "changed" } else { "new" };
        write!(
            f,
            "{kind} key of device {} of {}: {}",
            self.device,
            self.jid,
            grouped(&self.fingerprint)
        )
    }
}

impl fmt::Display for EncryptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.repeated {
            f.write_str("encrypted: the stanza of the earlier attempt was sent again")?;
            if !self.left_out.is_empty() {
                write!(f, "; not readable for {}", list(&self.left_out))?;
            }
            return Ok(());
        }
        let readers = self.devices.iter().filter(|device| !device.own).count();
        let devices_left_out = self.left_out.iter().filter(|left| left.device.is_some()).count();
        let all = readers + devices_left_out;
        write!(f, "encrypted for {readers} of {all} ")?;
        f.write_str(if all == 1 { "device" } else { "devices" })?;
        if !self.left_out.is_empty() {
            write!(f, "; not readable for {}", list(&self.left_out))?;
        }
        // A first key needs no report; a second one may be somebody else's.
        for key in self.new_keys.iter().filter(|key| key.changed).take(5) {
            write!(f, "; {key}")?;
        }
        Ok(())
    }
}
