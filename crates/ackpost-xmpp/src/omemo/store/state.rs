//! The state of one device.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ::omemo::{Account, DeviceId, DeviceList, IdentityKey, Session, Version};
use zeroize::Zeroizing;

use crate::omemo::error::OmemoError;
use crate::omemo::report::NewKey;
use crate::omemo::trust::Trust;

/// [`Known::since`] of a key that nobody was told of yet.
pub(in crate::omemo) const UNTOLD: u64 = 0;
/// Maximum number of sessions in all.
pub(super) const SESSIONS_MAX: usize = 20_000;
/// Maximum number of known keys in all.
pub(super) const KEYS_MAX: usize = 40_000;
/// Maximum number of device lists in all.
pub(super) const LISTS_MAX: usize = 10_000;
/// Maximum number of entries of all other kinds.
pub(super) const OTHERS_MAX: usize = 10_000;
/// Maximum number of stanzas that are kept for a repetition.
pub(super) const STANZAS_MAX: usize = 64;

/// One device in one version, the key of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::omemo) struct Address {
    /// Bare address of the account.
    pub(in crate::omemo) jid: String,
    pub(in crate::omemo) version: Version,
    pub(in crate::omemo) device: DeviceId,
}

/// A session as it is saved.
#[derive(Clone)]
pub(in crate::omemo) struct SessionEntry {
    /// Time when it was last used, in seconds since 1970.
    pub(in crate::omemo) used: u64,
    /// The other device has answered.
    pub(in crate::omemo) confirmed: bool,
    pub(in crate::omemo) bytes: Zeroizing<Vec<u8>>,
}

impl SessionEntry {
    pub(in crate::omemo) fn of(session: &Session, now: u64) -> Self {
        Self {
            used: now,
            confirmed: session.is_confirmed(),
            bytes: session.to_bytes(),
        }
    }

    pub(in crate::omemo) fn session(&self) -> Result<Session, OmemoError> {
        Ok(Session::from_bytes(&self.bytes)?)
    }
}

/// The device of this account.
#[derive(Clone)]
pub(in crate::omemo) struct Own {
    pub(in crate::omemo) device: DeviceId,
    pub(in crate::omemo) bytes: Zeroizing<Vec<u8>>,
}

/// Knowledge of an identity key of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::omemo) struct Known {
    pub(in crate::omemo) trust: Trust,
    /// Time when a person was told of it, in seconds since 1970; [`UNTOLD`] until then.
    pub(in crate::omemo) since: u64,
}

/// Device lists of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::omemo) struct Lists {
    /// Time when they were read, in seconds since 1970.
    pub(in crate::omemo) at: u64,
    pub(in crate::omemo) axolotl: Vec<DeviceId>,
    pub(in crate::omemo) omemo2: Vec<DeviceId>,
}

impl Lists {
    /// Returns each device once, with the version to use: the older one where a device has both.
    pub(in crate::omemo) fn devices(&self) -> impl Iterator<Item = (Version, DeviceId)> {
        let old = self.axolotl.iter().map(|&device| (Version::Axolotl, device));
        let new = self
            .omemo2
            .iter()
            .filter(|device| !self.axolotl.contains(device))
            .map(|&device| (Version::Omemo2, device));
        old.chain(new)
    }

    pub(in crate::omemo) fn of(&mut self, version: Version) -> &mut Vec<DeviceId> {
        match version {
            Version::Axolotl => &mut self.axolotl,
            Version::Omemo2 => &mut self.omemo2,
        }
    }

    pub(in crate::omemo) fn is_empty(&self) -> bool {
        self.axolotl.is_empty() && self.omemo2.is_empty()
    }
}

/// A device without usable bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::omemo) struct Missing {
    /// Time when it was asked for, in seconds since 1970.
    pub(in crate::omemo) at: u64,
    /// There is a bundle, and it is broken.
    pub(in crate::omemo) broken: bool,
}

/// An encrypted stanza that may have to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::omemo) struct Kept {
    /// Address and id of the message.
    pub(in crate::omemo) name: String,
    /// SHA-256 of the clear text.
    pub(in crate::omemo) digest: [u8; 32],
    /// Time when it was encrypted, in seconds since 1970.
    pub(in crate::omemo) at: u64,
    /// The encrypted elements, as XML.
    pub(in crate::omemo) xml: Vec<String>,
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.name.len() + self.xml.iter().map(String::len).sum::<usize>()
    }
}

/// Everything that one device remembers.
pub(in crate::omemo) struct State {
    pub(super) jid: String,
    pub(in crate::omemo) own: Option<Own>,
    /// Time when list and bundles were last seen to be right, in seconds since 1970.
    pub(in crate::omemo) published: u64,
    /// The bundles have changed since they were published.
    pub(in crate::omemo) republish: bool,
    /// The last message that was read from the own archive.
    pub(in crate::omemo) archive: Option<String>,
    /// Time when the archive was last read, in seconds since 1970.
    pub(in crate::omemo) archive_read: u64,
    pub(in crate::omemo) sessions: BTreeMap<Address, SessionEntry>,
    pub(in crate::omemo) keys: BTreeMap<(String, [u8; 32]), Known>,
    pub(in crate::omemo) lists: BTreeMap<String, Lists>,
    pub(in crate::omemo) missing: BTreeMap<Address, Missing>,
    /// Sessions that an empty message is owed to.
    pub(in crate::omemo) answers: BTreeSet<Address>,
    /// Sessions that are broken and have to be started again.
    pub(in crate::omemo) repairs: BTreeSet<Address>,
    /// Time when a session was last started again without a person's command, in seconds since 1970.
    pub(in crate::omemo) repaired: BTreeMap<Address, u64>,
    pub(in crate::omemo) stanzas: VecDeque<Kept>,
}

impl State {
    pub(in crate::omemo) fn new(jid: &str) -> Self {
        Self {
            jid: jid.to_owned(),
            own: None,
            published: 0,
            republish: false,
            archive: None,
            archive_read: 0,
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            lists: BTreeMap::new(),
            missing: BTreeMap::new(),
            answers: BTreeSet::new(),
            repairs: BTreeSet::new(),
            repaired: BTreeMap::new(),
            stanzas: VecDeque::new(),
        }
    }

    /// Returns the bare address of the account.
    pub(in crate::omemo) fn jid(&self) -> &str {
        &self.jid
    }

    pub(in crate::omemo) fn account(&self) -> Result<Account, OmemoError> {
        let own = self.own.as_ref().ok_or(OmemoError::NoDevice)?;
        Ok(Account::from_bytes(&own.bytes)?)
    }

    pub(in crate::omemo) fn set_account(&mut self, account: &Account) {
        self.own = Some(Own {
            device: account.device_id(),
            bytes: account.to_bytes(),
        });
    }

    pub(in crate::omemo) fn device(&self) -> Result<DeviceId, OmemoError> {
        self.own
            .as_ref()
            .map(|own| own.device)
            .ok_or(OmemoError::NoDevice)
    }

    pub(in crate::omemo) fn trust_of(&self, jid: &str, key: &IdentityKey) -> Option<Trust> {
        self.keys
            .get(&(jid.to_owned(), *key.x25519()))
            .map(|known| known.trust)
    }

    pub(in crate::omemo) fn keys_of<'a>(
        &'a self,
        jid: &'a str,
    ) -> impl Iterator<Item = (&'a [u8; 32], &'a Known)> {
        self.keys
            .range((jid.to_owned(), [0; 32])..)
            .take_while(move |((owner, _), _)| owner == jid)
            .map(|((_, key), known)| (key, known))
    }

    /// Returns the key of a device if nobody was told of it yet.
    pub(in crate::omemo) fn untold(&self, address: &Address, key: &IdentityKey) -> Option<NewKey> {
        let entry = (address.jid.clone(), *key.x25519());
        if self.keys.get(&entry)?.since != UNTOLD {
            return None;
        }
        // The own account has a key already: that of this device.
        let changed =
            address.jid == self.jid || self.keys_of(&address.jid).any(|(_, known)| known.since != UNTOLD);
        Some(NewKey {
            jid: address.jid.parse().ok()?,
            device: address.device.get(),
            fingerprint: key.fingerprint(),
            changed,
        })
    }

    /// Notes that a person is told of these keys.
    pub(in crate::omemo) fn told(&mut self, keys: &[NewKey], now: u64) {
        for new in keys {
            let owner = new.jid.to_string();
            let entry = self.keys.iter_mut().find(|((jid, key), known)| {
                *jid == owner
                    && known.since == UNTOLD
                    && IdentityKey::from_x25519(key).is_ok_and(|key| key.has_fingerprint(&new.fingerprint))
            });
            if let Some((_, known)) = entry {
                known.since = now;
            }
        }
    }

    /// Replaces a device list, and forgets devices that are no longer in it.
    pub(in crate::omemo) fn set_list(
        &mut self,
        jid: &str,
        version: Version,
        devices: Vec<DeviceId>,
        now: u64,
    ) {
        let lists = self.lists.entry(jid.to_owned()).or_default();
        lists.at = now;
        if *lists.of(version) != devices {
            *lists.of(version) = devices;
            // A device that came back may have a bundle by now.
            self.missing.retain(|address, _| address.jid != jid);
        }
    }
}

/// The ids of the devices in a list.
pub(in crate::omemo) fn ids(list: &DeviceList) -> Vec<DeviceId> {
    list.devices().iter().map(|device| device.id).collect()
}
