//! Any bytes as a key of both kinds and versions, as saved state and as an attachment: what fails changes nothing.
#![no_main]

use std::convert::Infallible;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use omemo::{
    Account, Attachment, DeviceId, Encrypted, EncryptedKey, Identity, MessageBuilder, RecipientKey, Session,
    Version,
};
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

/// A receiver with a session, for each version.
static RECEIVERS: LazyLock<Vec<(Account, Session)>> = LazyLock::new(|| {
    let mut rng = Counter(1);
    let id = DeviceId::new(1).unwrap();
    let account = |seed: u8, rng: &mut Counter| Account::new(Identity::from_seed(&[seed; 32]), id, 0, rng);
    let alice = account(1, &mut rng);
    let mut pairs = Vec::new();
    for version in [Version::Axolotl, Version::Omemo2] {
        let mut bob = account(2, &mut rng);
        let mut sending = Session::initiate(&alice, &bob.bundle(version), &mut rng).unwrap();
        let mut message = MessageBuilder::new(version, id, b"text", &mut rng).unwrap();
        message.add("bob@b.example", id, &mut sending).unwrap();
        let mut session = None;
        bob.decrypt(&message.finish(), "bob@b.example", &mut session, &mut rng)
            .unwrap();
        pairs.push((bob, session.unwrap()));
    }
    pairs
});

fuzz_target!(|data: &[u8]| {
    let mut rng = Counter(2);
    for (account, session) in &*RECEIVERS {
        let id = account.device_id();
        for key_exchange in [false, true] {
            for payload in [None, Some(data.to_vec())] {
                let message = Encrypted {
                    version: session.version(),
                    sender: id,
                    keys: vec![RecipientKey {
                        jid: None,
                        device: id,
                        key: EncryptedKey {
                            data: data.to_vec(),
                            key_exchange,
                        },
                    }],
                    iv: Some(data.iter().copied().take(12).collect()),
                    payload,
                };
                let _ = message.keys[0].key.identity_key(message.version);
                let (mut receiver, mut slot) = (account.clone(), Some(session.clone()));
                if receiver
                    .decrypt(&message, "bob@b.example", &mut slot, &mut rng)
                    .is_err()
                {
                    assert_eq!(slot.unwrap().to_bytes(), session.to_bytes());
                    assert_eq!(receiver.to_bytes(), account.to_bytes());
                }
            }
        }
    }
    if let Ok(session) = Session::from_bytes(data) {
        assert_eq!(&*session.to_bytes(), data);
    }
    if let Ok(account) = Account::from_bytes(data) {
        assert_eq!(&*account.to_bytes(), data);
    }
    let mut file = data.to_vec();
    let attachment = Attachment::encrypt(&mut file, &mut rng);
    attachment.decrypt(&mut file).unwrap();
    assert_eq!(file, data);
    assert!(attachment.decrypt(&mut file).is_err());
    assert!(file.is_empty());
});
