//! The bytes of a saved state: a format number, then the fields in a fixed order.
//!
//! Reading is strict: truncated or altered data is refused, never half read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ::omemo::{DeviceId, MAX_DEVICES, Version};
use zeroize::Zeroizing;

use super::state::{
    Address, KEYS_MAX, Kept, Known, LISTS_MAX, Lists, Missing, OTHERS_MAX, Own, SESSIONS_MAX, STANZAS_MAX,
    SessionEntry, State,
};
use crate::omemo::trust::Trust;

/// The format that this version writes.
const FORMAT: u8 = 1;
/// First bytes of every state.
const MAGIC: &[u8] = b"ackpost-omemo";
const DAMAGED: &str = "it is damaged";
const NEWER: &str = "it was written by a later version of this program";
/// The longest address, in bytes.
const JID_MAX: usize = 3071;
/// The longest single entry, in bytes.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of elements of a kept stanza.
const ELEMENTS_MAX: usize = 8;

/// Destination of the bytes of a state.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// Counts the bytes, and keeps none.
struct Length(usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Sink for Zeroizing<Vec<u8>> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct StateWriter<S>(S);

impl<S: Sink> StateWriter<S> {
    fn raw(&mut self, value: &[u8]) {
        self.0.put(value);
    }

    fn byte(&mut self, value: u8) {
        self.raw(&[value]);
    }

    fn number(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    fn long(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    fn count(&mut self, len: usize) {
        self.number(u32::try_from(len).expect("all lists are bounded"));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.raw(value);
    }

    fn address(&mut self, address: &Address) {
        self.bytes(address.jid.as_bytes());
        self.byte(match address.version {
            Version::Axolotl => 1,
            Version::Omemo2 => 2,
        });
        self.number(address.device.get());
    }

    fn devices(&mut self, devices: &[DeviceId]) {
        self.count(devices.len());
        for device in devices {
            self.number(device.get());
        }
    }
}

struct StateReader<'a>(&'a [u8]);

type Read<T> = Result<T, &'static str>;

impl<'a> StateReader<'a> {
    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DAMAGED),
        }
    }

    fn number(&mut self) -> Read<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Read<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn count(&mut self, max: usize) -> Read<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| DAMAGED)?;
        if count > max { Err(DAMAGED) } else { Ok(count) }
    }

    fn bytes(&mut self, max: usize) -> Read<&'a [u8]> {
        let len = self.count(max)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn secret(&mut self) -> Read<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(self.bytes(BYTES_MAX)?.to_vec()))
    }

    fn text(&mut self, max: usize) -> Read<String> {
        let bytes = self.bytes(max)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DAMAGED)
    }

    fn device(&mut self) -> Read<DeviceId> {
        DeviceId::new(self.number()?).ok_or(DAMAGED)
    }

    fn devices(&mut self) -> Read<Vec<DeviceId>> {
        let count = self.count(MAX_DEVICES)?;
        (0..count).map(|_| self.device()).collect()
    }

    fn address(&mut self) -> Read<Address> {
        let jid = self.text(JID_MAX)?;
        let version = match self.byte()? {
            1 => Version::Axolotl,
            2 => Version::Omemo2,
            _ => return Err(DAMAGED),
        };
        Ok(Address {
            jid,
            version,
            device: self.device()?,
        })
    }

    /// Reads entries whose keys ascend.
    fn map<K: Ord, V>(
        &mut self,
        max: usize,
        mut entry: impl FnMut(&mut Self) -> Read<(K, V)>,
    ) -> Read<BTreeMap<K, V>> {
        let count = self.count(max)?;
        let mut out = BTreeMap::new();
        for _ in 0..count {
            let (key, value) = entry(self)?;
            if out.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(DAMAGED);
            }
            out.insert(key, value);
        }
        Ok(out)
    }

    fn set(&mut self) -> Read<BTreeSet<Address>> {
        let map = self.map(OTHERS_MAX, |input| Ok((input.address()?, ())))?;
        Ok(map.into_keys().collect())
    }
}

impl State {
    /// Returns the state in the form to save. It is secret.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut length = StateWriter(Length(0));
        self.write(&mut length);
        // A buffer that grows leaves secret bytes behind.
        let mut out = StateWriter(Zeroizing::new(Vec::with_capacity(length.0.0)));
        self.write(&mut out);
        out.0
    }

    fn write<S: Sink>(&self, out: &mut StateWriter<S>) {
        out.raw(MAGIC);
        out.byte(FORMAT);
        out.bytes(self.jid.as_bytes());
        out.byte(self.own.is_some().into());
        if let Some(own) = &self.own {
            out.number(own.device.get());
            out.bytes(&own.bytes);
        }
        out.count(self.sessions.len());
        for (address, entry) in &self.sessions {
            out.address(address);
            out.long(entry.used);
            out.byte(entry.confirmed.into());
            out.bytes(&entry.bytes);
        }
        out.long(self.published);
        out.byte(self.republish.into());
        out.bytes(self.archive.as_deref().unwrap_or_default().as_bytes());
        out.long(self.archive_read);
        out.count(self.keys.len());
        for ((jid, key), known) in &self.keys {
            out.bytes(jid.as_bytes());
            out.raw(key);
            out.byte(known.trust as u8);
            out.long(known.since);
        }
        out.count(self.lists.len());
        for (jid, lists) in &self.lists {
            out.bytes(jid.as_bytes());
            out.long(lists.at);
            out.devices(&lists.axolotl);
            out.devices(&lists.omemo2);
        }
        out.count(self.missing.len());
        for (address, missing) in &self.missing {
            out.address(address);
            out.long(missing.at);
            out.byte(missing.broken.into());
        }
        for set in [&self.answers, &self.repairs] {
            out.count(set.len());
            for address in set {
                out.address(address);
            }
        }
        out.count(self.repaired.len());
        for (address, at) in &self.repaired {
            out.address(address);
            out.long(*at);
        }
        out.count(self.stanzas.len());
        for kept in &self.stanzas {
            out.bytes(kept.name.as_bytes());
            out.raw(&kept.digest);
            out.long(kept.at);
            out.count(kept.xml.len());
            for xml in &kept.xml {
                out.bytes(xml.as_bytes());
            }
        }
    }

    /// Loads what [`State::to_bytes`] returned.
    pub(super) fn from_bytes(bytes: &[u8]) -> Read<Self> {
        let (&format, rest) = bytes
            .strip_prefix(MAGIC)
            .and_then(<[u8]>::split_first)
            .ok_or(DAMAGED)?;
        match format {
            FORMAT => {}
            0 => return Err(DAMAGED),
            _ => return Err(NEWER),
        }
        let mut input = StateReader(rest);
        let jid = input.text(JID_MAX)?;
        let own = if input.flag()? {
            Some(Own {
                device: input.device()?,
                bytes: input.secret()?,
            })
        } else {
            None
        };
        let mut state = Self {
            own,
            sessions: input.map(SESSIONS_MAX, |input| {
                let address = input.address()?;
                let entry = SessionEntry {
                    used: input.long()?,
                    confirmed: input.flag()?,
                    bytes: input.secret()?,
                };
                Ok((address, entry))
            })?,
            published: input.long()?,
            republish: input.flag()?,
            archive: Some(input.text(1024)?).filter(|id| !id.is_empty()),
            archive_read: input.long()?,
            ..Self::new(&jid)
        };
        state.read_about_others(&mut input)?;
        let count = input.count(STANZAS_MAX)?;
        state.stanzas = (0..count)
            .map(|_| {
                let (name, digest, at) = (input.text(2 * JID_MAX)?, input.array()?, input.long()?);
                let elements = input.count(ELEMENTS_MAX)?;
                let xml = (0..elements)
                    .map(|_| input.text(BYTES_MAX))
                    .collect::<Read<_>>()?;
                Ok(Kept {
                    name,
                    digest,
                    at,
                    xml,
                })
            })
            .collect::<Read<VecDeque<_>>>()?;
        if input.0.is_empty() {
            Ok(state)
        } else {
            Err(DAMAGED)
        }
    }

    fn read_about_others(&mut self, input: &mut StateReader<'_>) -> Read<()> {
        self.keys = input.map(KEYS_MAX, |input| {
            let entry = (input.text(JID_MAX)?, input.array()?);
            let trust = match input.byte()? {
                0 => Trust::Undecided,
                1 => Trust::Blind,
                2 => Trust::Verified,
                3 => Trust::Distrusted,
                _ => return Err(DAMAGED),
            };
            Ok((
                entry,
                Known {
                    trust,
                    since: input.long()?,
                },
            ))
        })?;
        self.lists = input.map(LISTS_MAX, |input| {
            let jid = input.text(JID_MAX)?;
            let lists = Lists {
                at: input.long()?,
                axolotl: input.devices()?,
                omemo2: input.devices()?,
            };
            Ok((jid, lists))
        })?;
        self.missing = input.map(OTHERS_MAX, |input| {
            let address = input.address()?;
            let missing = Missing {
                at: input.long()?,
                broken: input.flag()?,
            };
            Ok((address, missing))
        })?;
        self.answers = input.set()?;
        self.repairs = input.set()?;
        self.repaired = input.map(OTHERS_MAX, |input| Ok((input.address()?, input.long()?)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(device: u32) -> Address {
        Address {
            jid: "bob@x.example".to_owned(),
            version: Version::Omemo2,
            device: DeviceId::new(device).unwrap(),
        }
    }

    fn full() -> State {
        let mut state = State::new("me@x.example");
        state.own = Some(Own {
            device: DeviceId::new(5).unwrap(),
            bytes: Zeroizing::new(vec![1, 2, 3]),
        });
        for device in 1..4 {
            let entry = SessionEntry {
                used: 7,
                confirmed: device == 2,
                bytes: Zeroizing::new(vec![9; 40]),
            };
            state.sessions.insert(address(device), entry);
            state.missing.insert(
                address(device),
                Missing {
                    at: 3,
                    broken: device == 1,
                },
            );
            state.answers.insert(address(device));
            state.repairs.insert(address(device + 1));
            state.repaired.insert(address(device), 8);
            let known = Known {
                trust: Trust::Verified,
                since: 4,
            };
            state.keys.insert(
                ("bob@x.example".to_owned(), [u8::try_from(device).unwrap(); 32]),
                known,
            );
        }
        let lists = Lists {
            at: 6,
            axolotl: vec![DeviceId::new(1).unwrap()],
            omemo2: vec![DeviceId::new(2).unwrap(), DeviceId::new(1).unwrap()],
        };
        state.lists.insert("bob@x.example".to_owned(), lists);
        state.stanzas.push_back(Kept {
            name: "bob@x.example 1".to_owned(),
            digest: [4; 32],
            at: 9,
            xml: vec!["<encrypted/>".to_owned()],
        });
        state.archive = Some("id".to_owned());
        state.published = 11;
        state.republish = true;
        state.archive_read = 12;
        state
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        let state = full();
        let bytes = state.to_bytes();
        let read = State::from_bytes(&bytes).unwrap();
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.jid(), "me@x.example");
        assert_eq!(
            (read.published, read.republish, read.archive_read),
            (11, true, 12)
        );
        assert_eq!(read.archive.as_deref(), Some("id"));
        assert_eq!(read.lists["bob@x.example"].devices().count(), 2);
        assert!(read.sessions[&address(2)].confirmed);
        assert_eq!(read.stanzas, state.stanzas);
    }

    /// Freed memory is not wiped.
    #[test]
    fn the_buffer_of_a_saved_state_never_grows() {
        let mut state = full();
        for number in 0..2000 {
            let known = Known {
                trust: Trust::Blind,
                since: number,
            };
            let owner = format!("contact-{number}@x.example");
            state.keys.insert((owner, [7; 32]), known);
        }
        let bytes = state.to_bytes();
        assert_eq!(bytes.capacity(), bytes.len());
    }

    #[test]
    fn cut_extended_and_later_states_are_refused() {
        let bytes = full().to_bytes();
        for len in 0..bytes.len() {
            assert!(State::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(State::from_bytes(&longer).is_err());
        let mut newer = bytes.to_vec();
        newer[MAGIC.len()] = FORMAT + 1;
        assert_eq!(State::from_bytes(&newer).err(), Some(NEWER));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut noise: Vec<u8>, keep in 0usize..200) {
            let _ = State::from_bytes(&noise);
            let bytes = full().to_bytes();
            let mut start = bytes[..keep.min(bytes.len())].to_vec();
            start.append(&mut noise);
            let _ = State::from_bytes(&start);
        }
    }
}
