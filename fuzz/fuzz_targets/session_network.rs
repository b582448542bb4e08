//! Any bytes as what a mailbox, a node, a client or a list of nodes may send, and any content through both ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_protocol::network::content::DirectContent;
use session_protocol::network::faults::{NodeFault, PathFault};
use session_protocol::network::message;
use session_protocol::network::nodes::NodeList;
use session_protocol::network::rpc::{self, Reply};
use session_protocol::network::storage::receipts::StoreAnswer;
use session_protocol::network::storage::{MessageHash, Namespace, RetrieveAnswer};
use session_protocol::onion::{Cipher, ReplyKey, Sealed};
use session_protocol::{Identity, JoinLink, RoomToken, ServerKey, ServerSecret, SessionId};

/// A random source that repeats itself, so that a finding can be run again.
struct Counter(u64);

impl rand_core::TryRng for Counter {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            *byte = (self.try_next_u64()? >> 56) as u8;
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counter {}

/// Ids, keys, links, phrases and hashes, as people paste them. Each prints what it reads again.
fn read_what_people_write(text: &str) {
    fn comes_back<T: core::str::FromStr + ToString + PartialEq>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value));
        }
    }
    comes_back::<SessionId>(text);
    comes_back::<ServerKey>(text);
    comes_back::<RoomToken>(text);
    comes_back::<JoinLink>(text);
    comes_back::<MessageHash>(text);
    if let Ok(account) = Identity::from_mnemonic(text) {
        let phrase = account.to_mnemonic().expect("made of a phrase");
        assert_eq!(Identity::from_mnemonic(&phrase).unwrap().session_id(), account.session_id());
    }
    let _ = Identity::from_seed_hex(text);
}

fuzz_target!(|data: &[u8]| {
    let mut rng = Counter(1);
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    assert!(message::open(data, &bob).is_err());
    if let Ok(mut content) = DirectContent::decode_bounded(data) {
        content.sig_timestamp = Some(7);
        if let Some(message) = &mut content.data_message {
            message.timestamp = Some(7);
        }
        if let Ok(sealed) = message::seal(&content, &alice, &bob.session_id(), &mut rng) {
            let opened = message::open(&sealed, &bob).unwrap();
            assert_eq!((opened.sender, opened.content), (alice.session_id(), content));
        }
    }

    // A node's side: the bytes as they are, and as the inside of a layer that does open.
    let secret = ServerSecret::from_bytes([7; 32]);
    assert!(rpc::receive(data, &secret).is_err());
    let sealed = Sealed::with(data, &secret.public(), Cipher::AesGcm, [9; 32], &[1; 12]).unwrap();
    let _ = rpc::receive(&sealed.to_body(), &secret);

    // A client's side, likewise.
    let key = ReplyKey::from_key(Cipher::XChaCha20, [5; 32]);
    let answer = session_protocol::encoding::b64(key.seal(data, &mut rng));
    if let Ok(reply) = Reply::open(&answer, &key) {
        assert_eq!(Reply::open(&reply.seal(false, &key, &mut rng), &key).unwrap(), reply);
    }

    let _ = NodeList::from_binary(data);
    if let Ok(text) = core::str::from_utf8(data) {
        for status in [200, 400, 421, 500, 502] {
            let _ = PathFault::of(status, text);
            let _ = NodeFault::of(&Reply { status, body: text.to_owned() });
        }
        let _ = Reply::open(text, &key);
        for list in [NodeList::from_json(text), NodeList::from_swarm_json(text)].into_iter().flatten() {
            let _ = list.swarm_of(&bob.session_id());
        }
        let hash = MessageHash::of(&bob.session_id(), Namespace::DEFAULT, data);
        if let Ok(answer) = StoreAnswer::from_json(text) {
            assert!(answer.check(&hash, &[*alice.ed25519_public()]).signed.is_empty());
        }
        let _ = RetrieveAnswer::from_json(text, &bob.session_id(), Namespace::DEFAULT);
        read_what_people_write(text);
    }
});
