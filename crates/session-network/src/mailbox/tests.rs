//! Tests of one entry at a time, without nodes.

use session_protocol::Prefix;
use session_protocol::content::{AttachmentPointer, DataMessage};
use session_protocol::network::content::DirectContent;
use session_protocol::network::storage::MAX_TTL_MS;

use super::event::FAR_AHEAD_MS;
use super::*;

const NOW: u64 = 1_796_000_000_000;

#[test]
fn the_time_of_a_message_is_the_signed_one() {
    let times = |sig_timestamp, of_data, envelope| {
        let opened = message::OpenedMessage {
            sender: SessionId::new(Prefix::Account, [5; 32]),
            sender_ed25519: [6; 32],
            timestamp_ms: envelope,
            content: DirectContent {
                sig_timestamp,
                data_message: Some(DataMessage {
                    timestamp: of_data,
                    ..DataMessage::default()
                }),
                ..DirectContent::default()
            },
        };
        dated(opened, NOW).map(|opened| opened.timestamp_ms)
    };
    assert_eq!(times(Some(NOW), None, NOW), Ok(NOW));
    // Everybody who has the bytes can write another time on the envelope.
    assert_eq!(times(None, Some(NOW - 7), NOW), Ok(NOW - 7));
    assert_eq!(times(None, None, NOW - 9), Ok(NOW - 9));
    let longest = MAX_TTL_MS + state::LEEWAY_MS;
    assert_eq!(times(Some(NOW - longest + 1), None, NOW), Ok(NOW - longest + 1));
    for old in [(Some(NOW - longest), None), (None, Some(1)), (Some(0), Some(NOW))] {
        assert_eq!(times(old.0, old.1, NOW), Err(MessageError::TooOld));
    }
    assert_eq!(times(Some(NOW + FAR_AHEAD_MS), None, NOW), Ok(NOW + FAR_AHEAD_MS));
    for ahead in [NOW + FAR_AHEAD_MS + 1, u64::MAX] {
        assert_eq!(times(Some(ahead), None, NOW), Err(MessageError::FarAhead));
    }
}

#[test]
fn the_debug_form_of_a_message_shows_no_text_and_no_key() {
    let message = IncomingMessage {
        hash: MessageHash::of(
            &SessionId::new(Prefix::Account, [5; 32]),
            Namespace::DEFAULT,
            b"x",
        ),
        from: SessionId::new(Prefix::Account, [6; 32]),
        name: Some("a secret name".to_owned()),
        text: Some("a secret text".to_owned()),
        timestamp_ms: NOW,
        disappearing: None,
        expires_ms: NOW,
        sent_to: None,
        content: DirectContent {
            data_message: Some(DataMessage {
                body: Some("a secret text".to_owned()),
                attachments: vec![AttachmentPointer {
                    key: Some(vec![77; 64]),
                    ..AttachmentPointer::default()
                }],
                ..DataMessage::default()
            }),
            ..DirectContent::default()
        },
    };
    let shown = format!(
        "{:?}",
        Polled {
            events: vec![Event::Message(Box::new(message))],
            ..Polled::default()
        }
    );
    assert!(!shown.contains("secret") && !shown.contains("77"), "{shown}");
}

#[test]
fn a_message_that_seems_old_by_a_wrong_clock_still_comes() {
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let content = DirectContent {
        data_message: Some(DataMessage::default()),
        sig_timestamp: Some(NOW),
        ..DirectContent::default()
    };
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let data = message::seal(&content, &alice, &bob.session_id(), rng).expect("sealed");
    let stored = StoredMessage {
        hash: MessageHash::of(&bob.session_id(), Namespace::DEFAULT, &data),
        timestamp_ms: NOW,
        expiration_ms: 1,
        data,
    };
    let network = Network::builder().build().expect("good options");
    let mut mailbox = network.mailbox(bob);
    let mut take = |now_ms: u64| {
        let mut polled = Polled::default();
        mailbox.state.forget(now_ms);
        let opening = message::open(&stored.data, &mailbox.owner);
        mailbox.take(&stored, Some(opening), now_ms, &mut polled);
        polled.events
    };
    let year = 365 * 24 * 3_600_000;
    assert!(matches!(
        take(NOW + year)[..],
        [Event::Unreadable {
            reason: MessageError::TooOld,
            ..
        }]
    ));
    assert!(take(NOW + year).is_empty(), "said once");
    assert!(matches!(take(NOW)[..], [Event::Message(_)]));
    for now in [NOW, NOW + MAX_TTL_MS, NOW + MAX_TTL_MS + state::LEEWAY_MS - 1] {
        assert!(take(now).is_empty());
    }
}

#[test]
fn invented_entries_make_no_message_new_again_and_few_events() {
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let content = DirectContent {
        data_message: Some(DataMessage::default()),
        sig_timestamp: Some(NOW),
        ..DirectContent::default()
    };
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let id = bob.session_id();
    let stored = |data: Vec<u8>| StoredMessage {
        hash: MessageHash::of(&id, Namespace::DEFAULT, &data),
        timestamp_ms: NOW,
        expiration_ms: 1,
        data,
    };
    let message = stored(message::seal(&content, &alice, &id, rng).expect("sealed"));
    let network = Network::builder().build().expect("good options");
    let mut mailbox = network.mailbox(bob);
    let take = |mailbox: &mut Mailbox, stored: &StoredMessage, polled: &mut Polled| {
        let opening = message::open(&stored.data, &mailbox.owner);
        mailbox.take(stored, Some(opening), NOW, polled);
    };
    let mut polled = Polled::default();
    take(&mut mailbox, &message, &mut polled);
    assert!(matches!(polled.events[..], [Event::Message(_)]));
    let mut polled = Polled::default();
    for n in 0..100_001_u32 {
        take(&mut mailbox, &stored(n.to_be_bytes().to_vec()), &mut polled);
    }
    assert_eq!(
        (polled.events.len(), polled.unreadable),
        (MAX_UNREADABLE_EVENTS, 100_001 - MAX_UNREADABLE_EVENTS)
    );
    let mut polled = Polled::default();
    take(&mut mailbox, &message, &mut polled);
    assert_eq!((polled.events.len(), polled.known), (0, 1));
}

/// A sealed message of this sender and time, as a node gives it.
fn sealed_at(sender: &Identity, to: &Identity, signed_ms: u64) -> StoredMessage {
    let content = DirectContent {
        data_message: Some(DataMessage::default()),
        sig_timestamp: Some(signed_ms),
        ..DirectContent::default()
    };
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let data = message::seal(&content, sender, &to.session_id(), rng).expect("sealed");
    StoredMessage {
        hash: MessageHash::of(&to.session_id(), Namespace::DEFAULT, &data),
        timestamp_ms: NOW,
        expiration_ms: 1,
        data,
    }
}

#[test]
fn a_flood_of_strangers_blocks_nobody() {
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let network = Network::builder().build().expect("good options");
    let mut mailbox = network.mailbox(bob.clone());
    let take = |mailbox: &mut Mailbox, stored: &StoredMessage| {
        let mut polled = Polled::default();
        let opening = message::open(&stored.data, &bob);
        mailbox.take(stored, Some(opening), NOW + 5, &mut polled);
        mailbox.state.close_all();
        polled
    };
    let early = sealed_at(&alice, &bob, NOW - 3_600_000);
    assert!(matches!(
        take(&mut mailbox, &early).events[..],
        [Event::Message(_)]
    ));
    // Messages of so many accounts, signed within the last minute, one after the other.
    let until = state::forgotten_ms(NOW - 60_000);
    for n in 0..150_000_u64 {
        for part in [1, 2] {
            mailbox
                .state
                .is_new(&[n.to_be_bytes(), [part; 8]].concat(), until + n / 3, NOW);
        }
    }
    let polled = take(&mut mailbox, &sealed_at(&alice, &bob, NOW));
    assert!(matches!(polled.events[..], [Event::Message(_)]), "{polled:?}");
    assert_eq!(polled.postponed, 0);
    // The oldest ones were forgotten. Neither a message of theirs is new again, nor is a late one of that time lost in silence.
    for late in [early, sealed_at(&alice, &bob, NOW - 3_600_001)] {
        let polled = take(&mut mailbox, &late);
        assert!(
            matches!(
                polled.events[..],
                [Event::Unreadable {
                    reason: MessageError::Crowded,
                    ..
                }]
            ),
            "{polled:?}"
        );
        assert!(take(&mut mailbox, &late).events.is_empty(), "said once");
    }
}

#[test]
fn a_mailbox_that_always_has_more_is_asked_once_a_second_at_most() {
    let polled = |more| Polled {
        more,
        ..Polled::default()
    };
    for (interval, more, expected) in [(60, false, 60), (60, true, 1), (0, true, 0)] {
        let pause = polled(more).pause(Duration::from_secs(interval));
        assert_eq!(pause, Duration::from_secs(expected));
    }
}
