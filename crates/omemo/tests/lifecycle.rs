//! Life of sessions and prekeys: start, confirmation, restart, changed identities, rotation.

mod common;

use common::{Peer, VERSIONS, connected, rng};
use omemo::{Account, Encrypted, Error, MAX_SKIP, RecipientKey, Session, Version};

#[test]
fn the_key_exchange_is_sent_until_the_first_answer() {
    for version in VERSIONS {
        let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        alice.start(version, &bob);
        let messages = [
            alice.send(&bob, b"0"),
            alice.send(&bob, b"1"),
            alice.send(&bob, b"2"),
        ];
        assert!(messages.iter().all(|message| message.keys[0].key.key_exchange));
        // The first one is lost.
        let opened = bob.receive(&messages[2]).unwrap();
        assert!(opened.new_session && opened.answer_due);
        let opened = bob.receive(&messages[1]).unwrap();
        assert!(!opened.new_session && !opened.answer_due);
        assert!(!alice.session.as_ref().unwrap().is_confirmed());
        let answer = bob.send_empty(&alice);
        assert!(!answer.keys[0].key.key_exchange);
        assert!(alice.receive(&answer).unwrap().content.is_none());
        assert!(alice.session.as_ref().unwrap().is_confirmed());
        assert!(!alice.send(&bob, b"3").keys[0].key.key_exchange);
        assert_eq!(bob.read(&messages[0]).unwrap(), b"0");
    }
}

#[test]
fn a_used_prekey_leaves_the_bundle_and_a_new_one_with_a_new_id_takes_its_place() {
    for version in VERSIONS {
        let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        let ids = |peer: &Peer| -> Vec<u32> {
            let bundle = peer.account.bundle(version);
            bundle.prekeys.iter().map(|prekey| prekey.id).collect()
        };
        let before = ids(&bob);
        assert_eq!(before, (1..=100).collect::<Vec<_>>());
        alice.start(version, &bob);
        let message = alice.send(&bob, b"x");
        bob.read(&message).unwrap();
        let after = ids(&bob);
        assert_eq!(after.len(), 100);
        assert_eq!(after.iter().filter(|id| !before.contains(id)).count(), 1);
        assert!(after.contains(&101));
    }
}

/// Two senders picked the same prekey while the receiver was offline.
#[test]
fn a_used_prekey_serves_until_it_is_deleted() {
    for version in VERSIONS {
        let mut bob = Peer::new("bob@b.example");
        let mut bundle = bob.account.bundle(version);
        bundle.prekeys.truncate(1);
        let mut senders = [0; 3].map(|_| Peer::new("alice@a.example"));
        let mut messages = Vec::new();
        for sender in &mut senders {
            sender.session = Some(Session::initiate(&sender.account, &bundle, &mut rng()).unwrap());
            messages.push(sender.send(&bob, b"x"));
        }
        for message in &messages[..2] {
            bob.session = None;
            assert_eq!(bob.read(message).unwrap(), b"x");
        }
        bob.account.delete_used_prekeys();
        bob.session = None;
        assert_eq!(bob.read(&messages[2]), Err(Error::UnknownPreKey(1)));
    }
}

/// A key exchange whose session was replaced twice is not taken for a new one.
#[test]
fn a_repeated_key_exchange_starts_nothing() {
    for version in VERSIONS {
        let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        let mut messages = Vec::new();
        for _ in 0..4 {
            alice.start(version, &bob);
            let message = alice.send(&bob, b"x");
            bob.read(&message).unwrap();
            messages.push(message);
        }
        let before = bob.state();
        for message in &messages {
            assert_eq!(bob.read(message), Err(Error::Duplicate));
        }
        bob.session = None;
        assert_eq!(bob.read(&messages[0]), Err(Error::Duplicate));
        assert!(bob.state().0 == before.0);
    }
}

#[test]
fn messages_of_the_session_before_a_restart_are_read_late() {
    for version in VERSIONS {
        let (mut alice, mut bob) = connected(version);
        let late = alice.send(&bob, b"late");
        let first_answer = bob.send(&alice, b"to the session before");
        let bundle = bob.account.bundle(version);
        let account = alice.account.clone();
        let session = alice.session.as_mut().unwrap();
        session.restart(&account, &bundle, &mut rng()).unwrap();
        let first = alice.send(&bob, b"new");
        assert!(first.keys[0].key.key_exchange);
        assert_eq!(bob.read(&first).unwrap(), b"new");
        assert_eq!(bob.read(&late).unwrap(), b"late");
        assert_eq!(alice.read(&first_answer).unwrap(), b"to the session before");
        assert!(!alice.session.as_ref().unwrap().is_confirmed());
        let answer = bob.send(&alice, b"answer");
        assert_eq!(alice.read(&answer).unwrap(), b"answer");
        assert!(alice.session.as_ref().unwrap().is_confirmed());
    }
}

/// A device that lost its state cannot read the session before, so a late message must not bring that back.
#[test]
fn a_late_message_does_not_bring_back_the_session_before() {
    for version in VERSIONS {
        let (mut alice, mut bob) = connected(version);
        let late = alice.send(&bob, b"late");
        alice.start(version, &bob);
        let first = alice.send(&bob, b"new");
        assert_eq!(bob.read(&first).unwrap(), b"new");
        assert_eq!(bob.read(&late).unwrap(), b"late");
        let answer = bob.send(&alice, b"answer");
        assert_eq!(alice.read(&answer).unwrap(), b"answer");
    }
}

#[test]
fn two_devices_that_start_at_the_same_time_can_talk() {
    for version in VERSIONS {
        let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        alice.start(version, &bob);
        bob.start(version, &alice);
        let (a, b) = (alice.send(&bob, b"a"), bob.send(&alice, b"b"));
        assert_eq!(alice.read(&b).unwrap(), b"b");
        assert_eq!(bob.read(&a).unwrap(), b"a");
        for round in 0..5u8 {
            let (a, b) = (alice.send(&bob, &[round]), bob.send(&alice, &[round]));
            assert_eq!(alice.read(&b).unwrap(), [round]);
            assert_eq!(bob.read(&a).unwrap(), [round]);
            alice.reload();
            bob.reload();
        }
    }
}

#[test]
fn a_changed_identity_key_is_reported_and_changes_nothing() {
    for version in VERSIONS {
        let (alice, mut bob) = connected(version);
        let mut mallory = Peer::new(alice.jid);
        mallory.start(version, &bob);
        let message = mallory.send(&bob, b"x");
        let before = bob.state();
        let named = message.keys[0].key.identity_key(version).unwrap().unwrap();
        assert_eq!(named, *mallory.account.identity().public());
        assert_eq!(bob.read(&message), Err(Error::IdentityChanged(Box::new(named))));
        assert!(bob.state() == before);
        let bundle = mallory.account.bundle(version);
        let restarted = bob
            .session
            .as_mut()
            .unwrap()
            .restart(&bob.account, &bundle, &mut rng());
        assert_eq!(restarted, Err(Error::IdentityChanged(Box::new(named))));
        // A person accepted the new key.
        bob.session = None;
        assert_eq!(bob.read(&message).unwrap(), b"x");
        assert_eq!(*bob.session.unwrap().identity_key(), named);
    }
}

#[test]
fn the_previous_signed_prekey_serves_one_more_period() {
    const WEEK: u64 = 7 * 24 * 3600;
    for version in VERSIONS {
        let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        alice.start(version, &bob);
        let old = alice.send(&bob, b"old");
        assert!(!bob.account.rotate_signed_prekeys(WEEK - 1, WEEK, &mut rng()));
        let before = bob.account.bundle(version);
        assert!(bob.account.rotate_signed_prekeys(WEEK, WEEK, &mut rng()));
        let bundle = bob.account.bundle(version);
        assert_eq!(bundle.verify(), Ok(()));
        assert_eq!((before.signed_prekey.id, bundle.signed_prekey.id), (1, 2));
        let mut later = bob.clone();
        assert_eq!(bob.read(&old).unwrap(), b"old");
        assert!(later.account.rotate_signed_prekeys(2 * WEEK, WEEK, &mut rng()));
        assert_eq!(later.read(&old), Err(Error::UnknownPreKey(1)));
        // A clock that went back does not rotate.
        assert!(!later.account.rotate_signed_prekeys(0, WEEK, &mut rng()));
    }
}

#[test]
fn a_long_chain_without_answer_asks_for_one() {
    for version in VERSIONS {
        let (mut alice, mut bob) = connected(version);
        let due: Vec<bool> = (0..60)
            .map(|_| {
                let message = alice.send(&bob, b"x");
                bob.receive(&message).unwrap().answer_due
            })
            .collect();
        assert_eq!(due.iter().filter(|due| **due).count(), 1);
        assert!(due[53]);
    }
}

#[test]
fn one_identity_serves_both_versions_and_sessions_do_not_mix() {
    let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
    let bundles = VERSIONS.map(|version| bob.account.bundle(version));
    assert_eq!(bundles[0].identity_key, bundles[1].identity_key);
    assert_ne!(bundles[0].signed_prekey.key, bundles[1].signed_prekey.key);
    alice.start(Version::Axolotl, &bob);
    let old = alice.send(&bob, b"old");
    bob.read(&old).unwrap();
    alice.start(Version::Omemo2, &bob);
    let two = alice.send(&bob, b"two");
    assert_eq!(bob.read(&two), Err(Error::WrongVersion));
    let mut session = bob.session.take();
    let mut message = omemo::MessageBuilder::empty(Version::Omemo2, bob.account.device_id(), &mut rng());
    let added = message.add(alice.jid, alice.account.device_id(), session.as_mut().unwrap());
    assert_eq!(added, Err(Error::WrongVersion));
    assert_eq!(bob.read(&two).unwrap(), b"two");
}

#[test]
fn one_message_serves_many_devices() {
    for version in VERSIONS {
        let alice = Peer::new("alice@a.example");
        let mut devices = [0; 5].map(|_| Peer::new("bob@b.example"));
        let mut message =
            omemo::MessageBuilder::new(version, alice.account.device_id(), b"hello", &mut rng()).unwrap();
        for device in &devices {
            let bundle = device.account.bundle(version);
            let mut session = Session::initiate(&alice.account, &bundle, &mut rng()).unwrap();
            message
                .add(device.jid, device.account.device_id(), &mut session)
                .unwrap();
        }
        let message = message.finish();
        for device in &mut devices {
            assert_eq!(device.read(&message).unwrap(), b"hello");
        }
        let mut stranger = Peer::new("bob@b.example");
        assert_eq!(stranger.read(&message), Err(Error::NotForThisDevice));
        if version == Version::Omemo2 {
            devices[0].jid = "carol@c.example";
            assert_eq!(devices[0].read(&message), Err(Error::NotForThisDevice));
        }
    }
}

/// Device ids of two accounts can be equal in the older version: the right key is found among both.
#[test]
fn a_key_for_another_account_with_the_same_device_id_is_passed_over() {
    let version = Version::Axolotl;
    let (mut alice, mut bob) = connected(version);
    let mut message = alice.send(&bob, b"x");
    let mut other = message.keys[0].clone();
    other.key.data = vec![0x33, 1, 2, 3];
    message.keys.insert(0, other);
    assert_eq!(bob.read(&message).unwrap(), b"x");
}

#[test]
fn a_session_can_send_only_after_it_has_received() {
    // The responder's session exists only from the first message on, so nothing can be sent before.
    let bob = Peer::new("bob@b.example");
    assert!(bob.session.is_none());
    let (mut alice, mut bob) = connected(Version::Omemo2);
    let _lost: Vec<_> = (0..=MAX_SKIP).map(|_| alice.send(&bob, b"lost")).collect();
    let before = bob.state();
    let far = alice.send(&bob, b"far");
    assert_eq!(bob.read(&far), Err(Error::TooFarAhead));
    assert!(bob.state() == before);
}

#[test]
fn saved_accounts_are_bounded() {
    let mut bob = Peer::new("bob@b.example");
    let mut bundle = bob.account.bundle(Version::Axolotl);
    bundle.prekeys.truncate(1);
    // Sixteen key exchanges may use one prekey until it is deleted; more are refused.
    for round in 0..20 {
        let mut alice = Peer::new("alice@a.example");
        alice.session = Some(Session::initiate(&alice.account, &bundle, &mut rng()).unwrap());
        let message = alice.send(&bob, b"x");
        bob.session = None;
        assert_eq!(bob.read(&message).is_ok(), round < 16, "{round}");
    }
    assert!(Account::from_bytes(&bob.account.to_bytes()).is_ok());
}

#[test]
fn key_material_is_bounded() {
    for version in VERSIONS {
        let (mut alice, mut bob) = connected(version);
        let mut encrypt = |len| {
            let material: Vec<u8> = vec![7; len];
            alice.session.as_mut().unwrap().encrypt(&material)
        };
        assert!(matches!(encrypt(1025), Err(Error::TooLarge { .. })));
        let mut message = Encrypted {
            version,
            sender: alice.account.device_id(),
            keys: vec![RecipientKey {
                jid: None,
                device: bob.account.device_id(),
                key: encrypt(1024).unwrap(),
            }],
            iv: None,
            payload: None,
        };
        let opened = bob.receive(&message).unwrap();
        assert_eq!(opened.key_material.as_slice(), [7; 1024]);
        assert!(opened.content.is_none());
        message.keys[0].key.data.clear();
        assert_eq!(bob.receive(&message).unwrap_err(), Error::Malformed("message"));
    }
}

/// An empty message transports a key for something else.
#[test]
fn a_key_is_transported() {
    let (mut alice, mut bob) = connected(Version::Axolotl);
    let mut message = omemo::MessageBuilder::empty(Version::Axolotl, alice.account.device_id(), &mut rng());
    let key = message.key_material().to_vec();
    assert_eq!(key.len(), 16);
    message
        .add(bob.jid, bob.account.device_id(), alice.session.as_mut().unwrap())
        .unwrap();
    let message = message.finish();
    assert_eq!(
        (message.iv.as_ref().map(Vec::len), &message.payload),
        (Some(12), &None)
    );
    assert_eq!(bob.receive(&message).unwrap().key_material.as_slice(), key);
}

#[test]
fn values_can_be_shared_between_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Account>();
    check::<Session>();
    check::<Encrypted>();
    check::<Error>();
    check::<omemo::Attachment>();
    check::<omemo::MessageBuilder>();
}

/// After a start at the same time, the first message that answers one of the two sessions decides for it: from then on the
/// chains turn, so no long chain ever asks for an answer.
#[test]
fn two_devices_that_started_at_the_same_time_agree_on_one_session() {
    for version in VERSIONS {
        let (mut alice, mut bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        alice.start(version, &bob);
        bob.start(version, &alice);
        let (a, b) = (alice.send(&bob, b"a"), bob.send(&alice, b"b"));
        alice.read(&b).unwrap();
        bob.read(&a).unwrap();
        for _ in 0..60 {
            let message = alice.send(&bob, b"a");
            assert!(!bob.receive(&message).unwrap().answer_due);
            let message = bob.send(&alice, b"b");
            assert!(!alice.receive(&message).unwrap().answer_due);
        }
    }
}
