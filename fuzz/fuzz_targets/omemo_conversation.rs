//! Two devices that send, lose, repeat, reorder and alter messages, lose sessions, start again and are saved and loaded in
//! between: an unaltered message is read at most once, with the right text, and what fails changes nothing.
#![no_main]

use std::collections::BTreeSet;
use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use omemo::{Account, DeviceId, Encrypted, Error, Identity, MessageBuilder, Session, Version};
use rand_core::{TryCryptoRng, TryRng};

/// Numbers that count up: no two keys are equal, and every run is the same.
struct Counter(u64);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let Ok(number) = self.try_next_u64();
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

const JIDS: [&str; 2] = ["alice@a.example", "bob@b.example"];
/// Most steps of one run: each costs some operations on curves.
const STEPS_MAX: usize = 64;

struct Device {
    account: Account,
    session: Option<Session>,
}

impl Device {
    fn state(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let session = self.session.as_ref().map(|session| session.to_bytes().to_vec());
        (self.account.to_bytes().to_vec(), session)
    }
}

/// A message that was sent, and its text.
struct Sent {
    to: usize,
    message: Encrypted,
    text: Vec<u8>,
}

struct World {
    version: Version,
    devices: [Device; 2],
    sent: Vec<Sent>,
    read: BTreeSet<usize>,
    rng: Counter,
}

impl World {
    fn new(version: Version) -> Self {
        let mut rng = Counter(3);
        let devices = [1, 2].map(|seed| Device {
            account: Account::new(Identity::from_seed(&[seed; 32]), id(seed), 0, &mut rng),
            session: None,
        });
        Self {
            version,
            devices,
            sent: Vec::new(),
            read: BTreeSet::new(),
            rng,
        }
    }

    fn send(&mut self, from: usize) {
        let to = 1 - from;
        let bundle = self.devices[to].account.bundle(self.version);
        let (receiver, device) = (self.devices[to].account.device_id(), &mut self.devices[from]);
        let session = match &mut device.session {
            Some(session) => session,
            slot => slot.insert(Session::initiate(&device.account, &bundle, &mut self.rng).unwrap()),
        };
        let text = format!("text {}", self.sent.len()).into_bytes();
        let sender = device.account.device_id();
        let mut message = MessageBuilder::new(self.version, sender, &text, &mut self.rng).unwrap();
        message.add(JIDS[to], receiver, session).unwrap();
        self.sent.push(Sent {
            to,
            message: message.finish(),
            text,
        });
    }

    fn deliver(&mut self, which: u8) {
        let at = usize::from(which) % self.sent.len().max(1);
        let Some(sent) = self.sent.get(at) else { return };
        let device = &mut self.devices[sent.to];
        let before = device.state();
        match device
            .account
            .decrypt(&sent.message, JIDS[sent.to], &mut device.session, &mut self.rng)
        {
            Ok(read) => {
                assert_eq!(read.content.as_ref().map(|text| &text[..]), Some(&sent.text[..]));
                assert!(self.read.insert(at), "read twice");
            }
            Err(error) => {
                assert!(!matches!(error, Error::AlteredContent), "nobody altered it");
                assert!(device.state() == before, "a failure changes nothing");
            }
        }
    }

    fn deliver_altered(&mut self, which: u8, place: u8, bit: u8) {
        let at = usize::from(which) % self.sent.len().max(1);
        let Some(sent) = self.sent.get(at) else { return };
        let mut message = sent.message.clone();
        let key = &mut message.keys[0].key;
        let place = usize::from(place) * key.data.len() / 256;
        key.data[place] ^= 1 << (bit % 8);
        let device = &mut self.devices[sent.to];
        let before = device.state();
        let result = device
            .account
            .decrypt(&message, JIDS[sent.to], &mut device.session, &mut self.rng);
        match result {
            // Parts that no code covers, such as the id of a used prekey or the registration id, may change nothing.
            Ok(read) => {
                assert_eq!(read.content.as_ref().map(|text| &text[..]), Some(&sent.text[..]));
                assert!(self.read.insert(at), "read twice");
            }
            Err(_) => assert!(device.state() == before, "a failure changes nothing"),
        }
    }

    fn save_and_load(&mut self, who: usize) {
        let device = &mut self.devices[who];
        device.account = Account::from_bytes(&device.account.to_bytes()).unwrap();
        device.session = device
            .session
            .take()
            .map(|session| Session::from_bytes(&session.to_bytes()).unwrap());
    }

    fn start_again(&mut self, who: usize) {
        let bundle = self.devices[1 - who].account.bundle(self.version);
        let device = &mut self.devices[who];
        if let Some(session) = &mut device.session {
            session.restart(&device.account, &bundle, &mut self.rng).unwrap();
        }
    }
}

fn id(seed: u8) -> DeviceId {
    DeviceId::new(u32::from(seed)).unwrap()
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let version = if first % 2 == 0 {
        Version::Axolotl
    } else {
        Version::Omemo2
    };
    let mut world = World::new(version);
    let mut bytes = rest.iter().copied();
    for _ in 0..STEPS_MAX {
        let Some(step) = bytes.next() else { break };
        let who = usize::from(step >> 7);
        let mut next = || bytes.next().unwrap_or_default();
        match step % 16 {
            0..=5 => world.send(who),
            6..=10 => world.deliver(next()),
            11 => world.deliver_altered(next(), next(), next()),
            12 => world.save_and_load(who),
            13 => world.start_again(who),
            14 => {
                let now = u64::from(next()) * 24 * 3600;
                world.devices[who]
                    .account
                    .rotate_signed_prekeys(now, 7 * 24 * 3600, &mut world.rng);
            }
            _ if next() % 2 == 0 => world.devices[who].session = None,
            _ => world.devices[who].account.delete_used_prekeys(),
        }
    }
});
