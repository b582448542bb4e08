//! Whole conversations: any order, loss, duplicates, altered messages, saving and loading in between.

mod common;

use common::{Peer, VERSIONS};
use omemo::{Encrypted, Error, Version};
use proptest::prelude::*;

/// Receiving chains that the older version keeps.
const KEPT_CHAINS: usize = 5;

/// A message on its way.
struct Sent {
    message: Encrypted,
    text: Vec<u8>,
    /// Number of the sender's chain.
    chain: usize,
    read: bool,
}

/// One direction of the conversation, and what the model knows of its sender.
#[derive(Default)]
struct Direction {
    sent: Vec<Sent>,
    /// Number of the sender's present chain.
    chain: usize,
    /// Newest chain that the receiver has seen.
    seen: Option<usize>,
}

struct Conversation {
    peers: [Peer; 2],
    directions: [Direction; 2],
    /// True once the second device has received a message.
    answered: bool,
}

impl Conversation {
    fn new(version: Version) -> Self {
        let (mut alice, bob) = (Peer::new("alice@a.example"), Peer::new("bob@b.example"));
        alice.start(version, &bob);
        Self {
            peers: [alice, bob],
            directions: [Direction::default(), Direction::default()],
            answered: false,
        }
    }

    fn send(&mut self, by: usize, text: &[u8]) {
        if by == 1 && !self.answered {
            return;
        }
        let receiver = self.peers[1 - by].clone();
        let message = self.peers[by].send(&receiver, text);
        let direction = &mut self.directions[by];
        direction.sent.push(Sent {
            message,
            text: text.to_vec(),
            chain: direction.chain,
            read: false,
        });
    }

    fn deliver(&mut self, version: Version, by: usize, pick: usize) {
        let direction = &mut self.directions[by];
        if direction.sent.is_empty() {
            return;
        }
        let at = pick % direction.sent.len();
        let sent = &mut direction.sent[at];
        let receiver = &mut self.peers[1 - by];
        let before = receiver.state();
        let result = receiver.read(&sent.message);
        if sent.read {
            assert!(result.is_err());
            assert!(receiver.state() == before, "a duplicate changed the state");
            return;
        }
        let gone = version == Version::Axolotl
            && direction
                .seen
                .is_some_and(|seen| sent.chain + KEPT_CHAINS <= seen);
        match result {
            Ok(text) => assert_eq!(text, sent.text),
            Err(error) => {
                assert!(gone, "{error} for a message that should be readable");
                assert!(receiver.state() == before);
                return;
            }
        }
        sent.read = true;
        self.answered |= by == 0;
        if direction.seen.is_none_or(|seen| sent.chain > seen) {
            direction.seen = Some(sent.chain);
            // The receiver draws a new ratchet key.
            self.directions[1 - by].chain += 1;
        }
    }

    /// Delivers a copy with one altered bit: nothing happens.
    fn alter(&mut self, by: usize, pick: usize, bit: usize) {
        let direction = &self.directions[by];
        if direction.sent.is_empty() {
            return;
        }
        let sent = &direction.sent[pick % direction.sent.len()];
        let mut message = sent.message.clone();
        // The end of the data is inside the ratchet message in every form: ciphertext, code, or length.
        let data = &mut message.keys[0].key.data;
        let bit = bit % 128;
        let at = data.len() - 8 - 1 - bit / 8;
        data[at] ^= 1 << (bit % 8);
        let receiver = &mut self.peers[1 - by];
        let before = receiver.state();
        assert!(receiver.receive(&message).is_err());
        assert!(receiver.state() == before, "an altered message changed the state");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_order_can_be_read(steps in prop::collection::vec((0u8..9, 0usize..64, 0usize..512), 1..80)) {
        for version in VERSIONS {
            let mut conversation = Conversation::new(version);
            for &(step, pick, bit) in &steps {
                match step {
                    0 | 1 => conversation.send(0, &[step, 7, 7]),
                    2 | 3 => conversation.send(1, b"text"),
                    4 | 5 => conversation.deliver(version, 0, pick),
                    6 | 7 => conversation.deliver(version, 1, pick),
                    _ if pick % 2 == 0 => conversation.alter(pick % 4 / 2, pick, bit),
                    _ => conversation.peers.iter_mut().for_each(Peer::reload),
                }
            }
        }
    }

    #[test]
    fn any_content_comes_back(content: Vec<u8>) {
        for version in VERSIONS {
            let (mut alice, mut bob) = common::connected(version);
            let message = alice.send(&bob, &content);
            prop_assert_eq!(bob.read(&message), Ok(content.clone()));
        }
    }
}

#[test]
fn a_long_conversation_turns_its_chains() {
    for version in VERSIONS {
        let (mut alice, mut bob) = common::connected(version);
        for round in 0..50u8 {
            let (to, from) = (alice.send(&bob, &[round]), bob.send(&alice, &[round, round]));
            assert_eq!(bob.read(&to).unwrap(), [round]);
            assert_eq!(alice.read(&from).unwrap(), [round, round]);
        }
        assert!(alice.session.as_ref().unwrap().to_bytes().len() < 2000);
    }
}

/// The last message of a chain arrives after the next chain has begun.
#[test]
fn late_messages_of_earlier_chains_are_read() {
    for version in VERSIONS {
        let (mut alice, mut bob) = common::connected(version);
        let mut late = Vec::new();
        for round in 0..4u8 {
            let kept = [alice.send(&bob, &[round]), alice.send(&bob, &[round, 1])];
            assert_eq!(bob.read(&kept[0]).unwrap(), [round]);
            late.push((kept[1].clone(), [round, 1]));
            let answer = bob.send(&alice, b"answer");
            alice.read(&answer).unwrap();
        }
        let newest = alice.send(&bob, b"newest");
        bob.read(&newest).unwrap();
        for (message, text) in &late {
            assert_eq!(bob.read(message).unwrap(), *text);
            assert_eq!(bob.read(message), Err(Error::Duplicate));
        }
    }
}
