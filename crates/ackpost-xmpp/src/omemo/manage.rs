//! Operations on devices and keys for people.

use ::omemo::{DeviceId, DeviceList, IdentityKey, Session};

use super::device::Device;
use super::error::OmemoError;
use super::left_out::LeftOutReason;
use super::options::Omemo;
use super::own_device::ROUNDS_MAX;
use super::pep::{self, Fetched, VERSIONS};
use super::server::Server;
use super::store::{Address, Known, SessionEntry, State, UNTOLD, transact};
use super::store::{StoreError, ids};
use super::system::now;
use super::trust::Trust;
use crate::account::Account;
use crate::connect::Connector;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::login::{self, Plan};
use crate::message::Target;
use crate::upload::Alone;

/// The OMEMO device of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnDevice {
    /// Id of the OMEMO device.
    pub device: u32,
    /// The fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
    /// Time when its keys were last seen published, in seconds since 1970.
    pub published: u64,
}

/// Result of [`Account::reset_omemo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reset {
    /// Id of the device that was removed; `None` if there was none, or if the state could not be read.
    pub device: Option<u32>,
    /// Reason why the device is still in the own device list, if it is. Senders go on encrypting for it.
    pub still_listed: Option<XmppError>,
}

/// A device as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Address of the account.
    pub jid: Jid,
    /// Id of the OMEMO device.
    pub device: u32,
    /// The namespaces of the versions that it takes part in, as far as its account lists it.
    pub versions: Vec<&'static str>,
    /// The fingerprint, 64 hexadecimal digits; `None` while its bundle was never read.
    pub fingerprint: Option<String>,
    /// The decision about the key.
    pub trust: Option<Trust>,
    /// Reason why messages leave it out, if they do.
    pub left_out: Option<LeftOutReason>,
    /// The session is confirmed: the device has answered.
    pub confirmed: bool,
    /// It is this device.
    pub this: bool,
}

impl Omemo {
    /// Returns the device that the state holds for this account, without asking the server. Blocks while another process
    /// uses the state.
    ///
    /// # Errors
    /// [`OmemoError`] if the state cannot be read or belongs to another account.
    pub fn own_device(&self, account: &Jid) -> Result<Option<OwnDevice>, OmemoError> {
        self.run(account, |_, state| {
            if state.own.is_none() {
                return Ok(None);
            }
            own_device(state).map(Some)
        })
    }

    /// Returns the devices of `of` that the state of `account` knows, without asking the server. Blocks like
    /// [`own_device`](Self::own_device).
    ///
    /// # Errors
    /// [`OmemoError`] if the state cannot be read or belongs to another account.
    pub fn devices(&self, account: &Jid, of: &Jid) -> Result<Vec<DeviceInfo>, OmemoError> {
        let of = of.to_bare();
        self.run(account, move |this, state| known_devices(this, state, &of))
    }

    /// Decides about a key. `fingerprint` has 64 hexadecimal digits, in groups or not. A key that was never seen can be
    /// decided about, too. Blocks like [`own_device`](Self::own_device).
    ///
    /// # Errors
    /// [`OmemoError::NotAFingerprint`], and those of [`own_device`](Self::own_device).
    pub fn set_trust(
        &self,
        account: &Jid,
        of: &Jid,
        fingerprint: &str,
        trust: Trust,
    ) -> Result<(), OmemoError> {
        let key = read_fingerprint(fingerprint)?;
        let of = of.to_bare().to_string();
        self.run(account, move |_, state| {
            let since = now();
            state
                .keys
                .entry((of, *key.x25519()))
                .and_modify(|known| {
                    known.trust = trust;
                    if known.since == UNTOLD {
                        // The person who decides knows of the key.
                        known.since = since;
                    }
                })
                .or_insert(Known { trust, since });
            Ok(())
        })
    }

    /// Forgets the sessions with an account; the next message to it starts new ones. With `keys`, the decisions about
    /// its keys are forgotten, too. Blocks like [`own_device`](Self::own_device).
    ///
    /// # Errors
    /// The errors of [`own_device`](Self::own_device).
    pub fn forget(&self, account: &Jid, of: &Jid, keys: bool) -> Result<(), OmemoError> {
        let of = of.to_bare().to_string();
        self.run(account, move |_, state| {
            state.sessions.retain(|address, _| address.jid != of);
            state.missing.retain(|address, _| address.jid != of);
            state.repaired.retain(|address, _| address.jid != of);
            state.answers.retain(|address| address.jid != of);
            state.repairs.retain(|address| address.jid != of);
            state.lists.remove(&of);
            if keys {
                state.keys.retain(|(jid, _), _| *jid != of);
            }
            Ok(())
        })
    }

    /// Forgets all device lists, so that the next message reads them anew. They are read every hour anyway. Blocks like
    /// [`own_device`](Self::own_device).
    ///
    /// # Errors
    /// The errors of [`own_device`](Self::own_device).
    pub fn forget_lists(&self, account: &Jid) -> Result<(), OmemoError> {
        self.run(account, |_, state| {
            state.lists.clear();
            state.missing.clear();
            Ok(())
        })
    }

    fn run<T>(
        &self,
        account: &Jid,
        change: impl FnOnce(&Device, &mut State) -> Result<T, OmemoError>,
    ) -> Result<T, OmemoError> {
        let device = Device {
            omemo: std::sync::Arc::new(self.clone()),
            own: account.to_bare(),
        };
        let own = device.own.to_string();
        transact(&*self.store, &own, |state| change(&device, state))
    }
}

impl Account {
    /// Logs in, makes the OMEMO device if there is none yet, and publishes its keys and the device lists. Nodes that others
    /// cannot read are opened.
    ///
    /// # Errors
    /// [`XmppError`]; [`OmemoError::NoDevice`] in it if the account was given no [`Omemo`].
    pub async fn publish_omemo(&self) -> Result<OwnDevice, XmppError> {
        let device = Device::of(self).ok_or(OmemoError::NoDevice)?;
        let mut online = login::open(&Connector::new(self.clone())?, &Plan::default()).await?;
        let mut alone = Alone {
            online: &mut online,
            account: self,
        };
        let result = device.publish_with(&mut alone, true, ROUNDS_MAX).await.map(drop);
        online.stream.close(std::time::Duration::from_secs(1)).await;
        result?;
        Ok(device.change(|_, state| own_device(state)).await?)
    }

    /// Logs in, reads device lists and bundles of these people and rooms, and returns every device with what a message
    /// would do about it. Devices of the own account are among them. Nothing is sent to anybody.
    ///
    /// # Errors
    /// [`XmppError`]; [`OmemoError::NoDevice`] in it if the account was given no [`Omemo`]. For a person or room that
    /// cannot be encrypted for, the entry of the target has the error.
    pub async fn omemo_devices(
        &self,
        targets: &[Target],
    ) -> Result<Vec<(Jid, Result<Vec<DeviceInfo>, OmemoError>)>, XmppError> {
        let device = Device::of(self).ok_or(OmemoError::NoDevice)?;
        let mut online = login::open(&Connector::new(self.clone())?, &Plan::default()).await?;
        let mut alone = Alone {
            online: &mut online,
            account: self,
        };
        let prepared = device.prepare(&mut alone, targets).await;
        online.stream.close(std::time::Duration::from_secs(1)).await;
        let prepared = prepared?;
        let found = device.change(move |this, state| {
            let mut all = Vec::new();
            for (target, readers) in &prepared.readers {
                let Ok(jid) = target.parse::<Jid>() else { continue };
                let devices = readers.clone().and_then(|readers| {
                    let mut devices = Vec::new();
                    for person in &readers.people {
                        devices.extend(known_devices(this, state, person)?);
                    }
                    Ok(devices)
                });
                all.push((jid, devices));
            }
            all.push((this.own.clone(), known_devices(this, state, &this.own)));
            Ok(all)
        });
        Ok(found.await?)
    }

    /// Logs in and removes devices from the own device lists: those that are lost and that every sender still encrypts
    /// for. Returns the ids that were in a list.
    ///
    /// # Errors
    /// [`XmppError`]; [`OmemoError::NoDevice`] in it if the account was given no [`Omemo`].
    pub async fn remove_omemo_devices(&self, devices: &[u32]) -> Result<Vec<u32>, XmppError> {
        let device = Device::of(self).ok_or(OmemoError::NoDevice)?;
        let mut online = login::open(&Connector::new(self.clone())?, &Plan::default()).await?;
        let mut alone = Alone {
            online: &mut online,
            account: self,
        };
        let result = device.remove(&mut alone, devices).await;
        online.stream.close(std::time::Duration::from_secs(1)).await;
        result
    }
}

impl Account {
    /// Logs in, removes the state of the OMEMO device with its keys, sessions and decisions, and takes the device out of the
    /// own device lists. A state that cannot be read is removed as well; its device stays in the lists.
    ///
    /// # Errors
    /// [`XmppError`] if nothing has been removed; [`OmemoError::NoDevice`] in it if the account was given no [`Omemo`].
    pub async fn reset_omemo(&self) -> Result<Reset, XmppError> {
        let device = Device::of(self).ok_or(OmemoError::NoDevice)?;
        let mut online = login::open(&Connector::new(self.clone())?, &Plan::default()).await?;
        let mut alone = Alone {
            online: &mut online,
            account: self,
        };
        let result = device.reset(&mut alone).await;
        online.stream.close(std::time::Duration::from_secs(1)).await;
        result
    }
}

impl Device {
    async fn reset(&self, server: &mut impl Server) -> Result<Reset, XmppError> {
        let own = match self
            .change(|_, state| Ok(state.own.as_ref().map(|own| own.device)))
            .await
        {
            Err(OmemoError::StateUnusable { .. }) => None,
            other => other?,
        };
        let store = self.omemo.store.clone();
        let cleared = tokio::task::spawn_blocking(move || store.clear()).await;
        cleared
            .unwrap_or_else(|_| Err(StoreError::NotSaved("the removal was cut off".to_owned())))
            .map_err(OmemoError::from)?;
        let Some(own) = own else {
            return Ok(Reset {
                device: None,
                still_listed: None,
            });
        };
        let still_listed = self.unlist(server, &[own.get()]).await.err();
        // Nobody reads bundles of devices that are not listed: one that stays does no harm.
        let _ = server
            .ask_all(VERSIONS.map(|version| pep::bundle_removal(version, own)).into())
            .await;
        Ok(Reset {
            device: Some(own.get()),
            still_listed,
        })
    }

    async fn remove(&self, server: &mut impl Server, devices: &[u32]) -> Result<Vec<u32>, XmppError> {
        let (removed, changed) = self.unlist(server, devices).await?;
        let own = self.own.to_string();
        self.change(move |_, state| {
            // Without a device, the account keeps no state.
            if state.own.is_some() {
                for list in &changed {
                    state.set_list(&own, list.version(), ids(list), now());
                }
            }
            Ok(())
        })
        .await?;
        Ok(removed)
    }

    /// Takes devices out of the own lists on the server. Returns those that were in a list, and the changed lists.
    async fn unlist(
        &self,
        server: &mut impl Server,
        devices: &[u32],
    ) -> Result<(Vec<u32>, Vec<DeviceList>), XmppError> {
        let questions = VERSIONS.map(|version| pep::list_question("", version));
        let answers = server.ask_all(questions.into()).await;
        let mut removed = Vec::new();
        let mut changed = Vec::new();
        for (version, answer) in VERSIONS.into_iter().zip(&answers) {
            let mut list = match pep::read_list(answer, version) {
                Fetched::There(list) => list,
                Fetched::Broken | Fetched::Nothing => continue,
                Fetched::Later(reason) => {
                    let of = self.own.clone();
                    return Err(OmemoError::Unavailable { of, reason }.into());
                }
            };
            let before = list.devices().len();
            for id in devices {
                if DeviceId::new(*id).is_some_and(|id| list.remove(id)) && !removed.contains(id) {
                    removed.push(*id);
                }
            }
            if list.devices().len() < before {
                changed.push(list);
            }
        }
        pep::publish(server, changed.iter().map(pep::Item::list).collect()).await?;
        Ok((removed, changed))
    }
}

pub(super) fn own_device(state: &State) -> Result<OwnDevice, OmemoError> {
    let account = state.account()?;
    Ok(OwnDevice {
        device: account.device_id().get(),
        fingerprint: account.identity().public().fingerprint(),
        published: state.published,
    })
}

/// Every device that is listed or has a session.
pub(super) fn known_devices(this: &Device, state: &State, of: &Jid) -> Result<Vec<DeviceInfo>, OmemoError> {
    let name = of.to_string();
    let lists = state.lists.get(&name).cloned().unwrap_or_default();
    let mut devices: Vec<DeviceId> = lists.devices().map(|(_, device)| device).collect();
    for address in state.sessions.keys().filter(|address| address.jid == name) {
        if !devices.contains(&address.device) {
            devices.push(address.device);
        }
    }
    let own = state.own.as_ref().map(|own| own.device);
    let mut out = Vec::new();
    for device in devices {
        let is_this = *of == this.own && own == Some(device);
        let mut info = DeviceInfo {
            jid: of.clone(),
            device: device.get(),
            versions: Vec::new(),
            fingerprint: None,
            trust: None,
            left_out: None,
            confirmed: false,
            this: is_this,
        };
        let mut key: Option<IdentityKey> = None;
        for version in VERSIONS {
            if lists.clone().of(version).contains(&device) {
                info.versions.push(version.namespace());
            }
            let address = Address {
                jid: name.clone(),
                version,
                device,
            };
            let session: Option<Session> = state
                .sessions
                .get(&address)
                .map(SessionEntry::session)
                .transpose()?;
            if let Some(session) = session {
                info.confirmed |= session.is_confirmed();
                key = Some(*session.identity_key());
            } else if let Some(missing) = state.missing.get(&address) {
                info.left_out = Some(if missing.broken {
                    LeftOutReason::BadBundle
                } else {
                    LeftOutReason::NoBundle
                });
            }
        }
        if is_this {
            info.fingerprint = Some(own_device(state)?.fingerprint);
            info.left_out = None;
        } else if let Some(key) = key {
            info.fingerprint = Some(key.fingerprint());
            info.trust = state.trust_of(&name, &key);
            info.left_out = this.trust_rules().objection(state, &name, &key);
        }
        out.push(info);
    }
    Ok(out)
}

/// Reads 64 hexadecimal digits, in groups or not, with or without the leading 05.
fn read_fingerprint(text: &str) -> Result<IdentityKey, OmemoError> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace() && !b":-".contains(byte))
        .map(|byte| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()
        .ok_or(OmemoError::NotAFingerprint)?;
    let digits = match digits.len() {
        64 => &digits[..],
        66 if digits.starts_with(&[0, 5]) => &digits[2..],
        _ => return Err(OmemoError::NotAFingerprint),
    };
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    IdentityKey::from_x25519(&key).map_err(|_| OmemoError::NotAFingerprint)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::omemo::store::MemoryStore;

    #[test]
    fn decisions_are_made_by_fingerprint_and_kept() {
        let omemo = Omemo::new(Arc::new(MemoryStore::default()));
        let own: Jid = "me@x.example".parse().unwrap();
        let bob: Jid = "bob@x.example/phone".parse().unwrap();
        let key = *::omemo::Identity::from_seed(&[1; 32]).public();
        assert_eq!(omemo.own_device(&own), Ok(None));
        let grouped = crate::omemo::fingerprint::grouped(&key.fingerprint());
        omemo.set_trust(&own, &bob, &grouped, Trust::Verified).unwrap();
        let with_byte = format!("05{}", key.fingerprint());
        assert_eq!(
            read_fingerprint(&with_byte).map(|key| *key.x25519()),
            Ok(*key.x25519())
        );
        let trust = omemo.run(&own, |_, state| Ok(state.trust_of("bob@x.example", &key)));
        assert_eq!(trust, Ok(Some(Trust::Verified)));
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"0".repeat(64)] {
            let result = omemo.set_trust(&own, &bob, text, Trust::Verified);
            assert!(result.is_err(), "{text}");
        }
        omemo.forget(&own, &bob, true).unwrap();
        let trust = omemo.run(&own, |_, state| Ok(state.trust_of("bob@x.example", &key)));
        assert_eq!(trust, Ok(None));
    }
}
