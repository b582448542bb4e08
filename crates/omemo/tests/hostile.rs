//! Hostile input: every cut, every altered bit, keys of small order, wrong versions. Nothing panics, nothing changes.

mod common;

use common::{Peer, VERSIONS, connected, rng};
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::montgomery::MontgomeryPoint;
use omemo::{Account, Encrypted, EncryptedKey, Error, Session, Version};
use proptest::prelude::*;

/// A first message with key exchange, and the receiver before it.
fn exchange(version: Version) -> (Peer, Encrypted) {
    let (mut alice, bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
    alice.start(version, &bob);
    let message = alice.send(&bob, b"text");
    (bob, message)
}

/// A later message, and the receiver before it.
fn later(version: Version) -> (Peer, Encrypted) {
    let (mut alice, bob) = connected(version);
    let message = alice.send(&bob, b"text");
    (bob, message)
}

fn with_data(message: &Encrypted, data: Vec<u8>) -> Encrypted {
    let mut altered = message.clone();
    altered.keys[0].key.data = data;
    altered
}

#[test]
fn every_altered_bit_of_a_key_is_found() {
    for version in VERSIONS {
        for (bob, message) in [exchange(version), later(version)] {
            let original = message.keys[0].key.data.clone();
            let mut accepted = 0;
            for bit in 0..original.len() * 8 {
                let mut data = original.clone();
                data[bit / 8] ^= 1 << (bit % 8);
                let altered = with_data(&message, data);
                let mut receiver = bob.clone();
                match receiver.read(&altered) {
                    Err(_) => assert!(receiver.state() == bob.state(), "bit {bit} changed the state"),
                    Ok(text) => {
                        assert_eq!(text, b"text");
                        accepted += 1;
                    }
                }
            }
            // The registration id of the older key exchange carries no meaning and is not authenticated: its number takes
            // five bytes, its field number and type one.
            let free = version == Version::Axolotl && message.keys[0].key.key_exchange;
            assert!(
                accepted <= if free { 48 } else { 0 },
                "{accepted} altered bits accepted in {version}"
            );
        }
    }
}

#[test]
fn every_cut_of_a_key_is_found() {
    for version in VERSIONS {
        for (mut bob, message) in [exchange(version), later(version)] {
            let before = bob.state();
            let original = message.keys[0].key.data.clone();
            for len in 0..original.len() {
                assert!(
                    bob.receive(&with_data(&message, original[..len].to_vec()))
                        .is_err(),
                    "length {len}"
                );
            }
            let mut longer = original.clone();
            longer.push(0);
            assert!(bob.receive(&with_data(&message, longer)).is_err());
            assert!(matches!(
                bob.receive(&with_data(&message, vec![0x33; 5000])),
                Err(Error::TooLarge { .. })
            ));
            assert!(bob.state() == before);
            assert!(bob.read(&message).is_ok());
        }
    }
}

/// The message key is not used up by a message whose payload was altered on the way.
#[test]
fn every_altered_bit_of_a_payload_is_found_before_the_state_changes() {
    for version in VERSIONS {
        for (mut bob, message) in [exchange(version), later(version)] {
            let before = bob.state();
            let payload = message.payload.clone().unwrap();
            for bit in 0..payload.len() * 8 {
                let mut altered = message.clone();
                altered.payload.as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(bob.read(&altered), Err(Error::AlteredContent));
            }
            for len in 0..payload.len() {
                let mut altered = message.clone();
                altered.payload = Some(payload[..len].to_vec());
                assert_eq!(bob.read(&altered), Err(Error::AlteredContent));
            }
            if let Some(iv) = &message.iv {
                for bit in 0..iv.len() * 8 {
                    let mut altered = message.clone();
                    altered.iv.as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(bob.read(&altered), Err(Error::AlteredContent));
                }
                for iv in [None, Some(vec![]), Some(vec![0; 11]), Some(vec![0; 17])] {
                    let mut altered = message.clone();
                    altered.iv = iv;
                    assert_eq!(bob.read(&altered), Err(Error::Malformed("IV")));
                }
            }
            assert!(bob.state() == before);
            assert_eq!(bob.read(&message).unwrap(), b"text");
        }
    }
}

#[test]
fn a_message_marked_as_the_other_kind_is_refused() {
    for version in VERSIONS {
        for (mut bob, message) in [exchange(version), later(version)] {
            let before = bob.state();
            let mut altered = message.clone();
            altered.keys[0].key.key_exchange ^= true;
            assert!(bob.receive(&altered).is_err());
            altered.keys[0].key.key_exchange ^= true;
            altered.version = match version {
                Version::Axolotl => Version::Omemo2,
                Version::Omemo2 => Version::Axolotl,
            };
            assert!(bob.receive(&altered).is_err());
            assert!(bob.state() == before);
        }
    }
}

#[test]
fn other_protocol_versions_are_refused() {
    for (mut bob, message) in [exchange(Version::Axolotl), later(Version::Axolotl)] {
        for byte in (0..=255).filter(|&byte| byte != 0x33) {
            let mut data = message.keys[0].key.data.clone();
            data[0] = byte;
            let result = bob.receive(&with_data(&message, data));
            assert_eq!(result.unwrap_err(), Error::UnknownProtocolVersion(byte));
        }
    }
}

/// Points of order 1, 2, 4 and 8 as X25519 keys.
fn small_order() -> Vec<[u8; 32]> {
    let mut keys: Vec<[u8; 32]> = EIGHT_TORSION
        .iter()
        .map(|point| point.to_montgomery().to_bytes())
        .collect();
    let mut one = [0; 32];
    one[0] = 1;
    keys.extend([[0; 32], one]);
    // The prime minus one, the prime, and the prime plus one.
    for low in [0xec, 0xed, 0xee] {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, 0x7f);
        keys.push(key);
    }
    keys
}

#[test]
fn bundles_with_keys_of_small_order_start_no_session() {
    for version in VERSIONS {
        let (alice, bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        for key in small_order() {
            let mut bundle = bob.account.bundle(version);
            for prekey in &mut bundle.prekeys {
                prekey.key = key;
            }
            assert_eq!(
                Session::initiate(&alice.account, &bundle, &mut rng()).unwrap_err(),
                Error::InvalidKey
            );
            let mut bundle = bob.account.bundle(version);
            bundle.signed_prekey.key = key;
            assert_eq!(
                Session::initiate(&alice.account, &bundle, &mut rng()).unwrap_err(),
                Error::BadSignature
            );
        }
        let mut bundle = bob.account.bundle(version);
        bundle.prekeys.clear();
        assert_eq!(
            Session::initiate(&alice.account, &bundle, &mut rng()).unwrap_err(),
            Error::NoPreKey
        );
    }
}

/// Replaces one 32-byte key in the bytes of a key exchange.
#[test]
fn key_exchanges_with_keys_of_small_order_are_refused() {
    for version in VERSIONS {
        let (bob, message) = exchange(version);
        let data = message.keys[0].key.data.clone();
        let before = bob.state();
        let mut places = 0;
        for at in 0..data.len() - 34 {
            let is_key = match version {
                Version::Axolotl => data[at] == 33 && data[at + 1] == 5,
                Version::Omemo2 => data[at] == 32,
            };
            if !is_key {
                continue;
            }
            places += 1;
            let start = at + 1 + usize::from(version == Version::Axolotl);
            for key in small_order() {
                let mut altered = data.clone();
                altered[start..start + 32].copy_from_slice(&key);
                let mut receiver = bob.clone();
                assert!(receiver.receive(&with_data(&message, altered)).is_err());
                assert!(receiver.state() == before);
            }
        }
        assert!(places >= 3, "{places}");
    }
}

/// No code covers the ephemeral key, and a point of small order added to it changes no result of X25519: the same message
/// would pass as a second key exchange.
#[test]
fn a_key_exchange_is_not_read_twice_with_a_shifted_ephemeral_key() {
    for version in VERSIONS {
        let (mut bob, message) = exchange(version);
        let data = &message.keys[0].key.data;
        let tag: &[u8] = match version {
            Version::Axolotl => &[0x12, 33, 5],
            Version::Omemo2 => &[0x22, 32],
        };
        let at = data.windows(tag.len()).position(|window| window == tag).unwrap() + tag.len();
        let key = MontgomeryPoint(*data[at..].first_chunk().unwrap());
        let key = key.to_edwards(0).unwrap();
        assert_eq!(bob.read(&message).unwrap(), b"text");
        let before = bob.state();
        for shift in &EIGHT_TORSION[1..] {
            let mut shifted = data.clone();
            shifted[at..at + 32].copy_from_slice((key + shift).to_montgomery().as_bytes());
            let result = bob.read(&with_data(&message, shifted));
            assert_eq!(result, Err(Error::InvalidKey), "{version}");
            assert!(bob.state() == before);
        }
    }
}

#[test]
fn damaged_state_is_not_loaded() {
    for version in VERSIONS {
        let (alice, _) = connected(version);
        let (account, session) = alice.state();
        let session = session.unwrap();
        for len in 0..session.len() {
            assert!(Session::from_bytes(&session[..len]).is_err());
        }
        for bit in 0..session.len() * 8 {
            let mut altered = session.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Session::from_bytes(&altered).is_err(), "bit {bit}");
        }
        for len in (0..account.len()).step_by(7) {
            assert!(Account::from_bytes(&account[..len]).is_err());
        }
        for bit in (0..account.len() * 8).step_by(13) {
            let mut altered = account.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Account::from_bytes(&altered).is_err(), "bit {bit}");
        }
        assert_eq!(Account::from_bytes(&session).unwrap_err(), Error::DamagedState);
        assert_eq!(Session::from_bytes(&account).unwrap_err(), Error::DamagedState);
        let mut newer = session;
        newer[0] = 2;
        assert_eq!(Session::from_bytes(&newer).unwrap_err(), Error::NewerState(2));
    }
}

#[test]
fn nothing_secret_is_printed() {
    let (alice, bob) = connected(Version::Omemo2);
    let printed = format!("{:?} {:?} {:?}", alice.account, alice.session, bob.account);
    assert!(printed.len() < 600, "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_as_a_key_change_nothing(data: Vec<u8>, key_exchange: bool) {
        for version in VERSIONS {
            let (mut bob, message) = later(version);
            let before = bob.state();
            for mut data in [data.clone(), [&[0x33][..], &data[..]].concat()] {
                data.truncate(6000);
                let mut altered = message.clone();
                altered.keys[0].key = EncryptedKey { data, key_exchange };
                prop_assert!(bob.receive(&altered).is_err());
            }
            prop_assert!(bob.state() == before);
        }
    }

    #[test]
    fn any_bytes_as_state_are_loaded_or_refused(bytes: Vec<u8>) {
        prop_assert!(Account::from_bytes(&bytes).is_err());
        prop_assert!(Session::from_bytes(&bytes).is_err());
    }
}
