//! Round trips of the formats of Session's storage network, and hostile input: every truncation, every flipped bit,
//! any bytes.
#![expect(clippy::unwrap_used, reason = "a test")]

use getrandom::SysRng;
use proptest::collection::vec;
use proptest::prelude::*;
use rand_core::UnwrapErr;
use session_protocol::encoding::{b64, from_b64};
use session_protocol::network::content::{DirectContent, ReceiptMessage, UnsendRequest};
use session_protocol::network::message::{self, MAX_DATA_LEN_BYTES, MessageError, TextMessage, WireVersion};
use session_protocol::network::nodes::{Node, NodeList};
use session_protocol::network::rpc::{Call, Received, Reply, receive};
use session_protocol::network::storage::receipts::StoreAnswer;
use session_protocol::network::storage::{MessageHash, Namespace, RetrieveAnswer};
use session_protocol::onion::path::{Hop, Peeled};
use session_protocol::onion::{Cipher, Sealed};
use session_protocol::{Identity, Prefix, ServerSecret, SessionId};

/// A node with these keys.
fn node_of(owner: &Identity) -> Node {
    let mut binary = owner.ed25519_public().to_vec();
    binary.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9, 127, 0, 0, 1, 1, 1, 1, 1, 2, 11, 0]);
    NodeList::from_binary(&binary).unwrap().nodes()[0]
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused_or_changes_nothing() {
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let text = TextMessage {
        body: "hello",
        sender_name: "bot",
        name_changed_secs: 1,
        timestamp_ms: 1_785_000_000_000,
    };
    let data = message::seal(
        &text.to_content(),
        &alice,
        &bob.session_id(),
        &mut UnwrapErr(SysRng),
    )
    .unwrap();
    let good = message::open(&data, &bob).unwrap();
    for len in 0..data.len() {
        assert!(message::open(&data[..len], &bob).is_err(), "{len}");
    }
    let mut unchanged = 0;
    for bit in 0..data.len() * 8 {
        let mut bad = data.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // The wrapper, the device and the decoy are not signed; nothing is concluded from them.
        if let Ok(opened) = message::open(&bad, &bob) {
            assert_eq!(opened, good, "{bit}");
            unchanged += 1;
        }
    }
    assert!(
        unchanged < 80 * 8,
        "{unchanged}: 64 bytes of the decoy and a few of the wrapper"
    );
    assert_eq!(message::open(&data, &alice), Err(MessageError::Decryption));
}

#[test]
fn a_call_or_an_answer_with_a_flipped_bit_is_refused() {
    let mut rng = UnwrapErr(SysRng);
    let owner = Identity::from_seed([3; 32]);
    let node = &node_of(&owner);
    let secret = ServerSecret::from_bytes(*owner.x25519_secret());
    let sealed = Call::info().seal(node, &[], Cipher::XChaCha20, &mut rng).unwrap();
    for len in 0..sealed.body.len() {
        assert!(receive(&sealed.body[..len], &secret).is_err(), "{len}");
    }
    let blob_len = 4 + usize::try_from(u32::from_le_bytes(*sealed.body.first_chunk().unwrap())).unwrap();
    for bit in 0..blob_len * 8 {
        let mut bad = sealed.body.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(receive(&bad, &secret).is_err(), "{bit}");
    }
    let reply = Reply {
        status: 200,
        body: "{}".to_owned(),
    };
    let reply = from_b64(reply.seal(false, &sealed.reply, &mut rng)).unwrap();
    for bit in 0..reply.len() * 8 {
        let mut bad = reply.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Reply::open(&b64(&bad), &sealed.reply).is_err(), "{bit}");
    }
}

#[test]
fn messages_that_no_app_would_show_are_not_made() {
    let mut rng = UnwrapErr(SysRng);
    let (alice, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let text = |body: &str| {
        TextMessage {
            body,
            sender_name: "bot",
            name_changed_secs: 1,
            timestamp_ms: 7,
        }
        .to_content()
    };
    let mut seal = |content: &DirectContent, to: &SessionId| message::seal(content, &alice, to, &mut rng);
    let mut without_time = text("x");
    without_time.sig_timestamp = None;
    let mut two_times = text("x");
    two_times.sig_timestamp = Some(8);
    for content in [without_time, two_times] {
        assert_eq!(seal(&content, &bob.session_id()), Err(MessageError::NoSingleTime));
    }
    let blinded = SessionId::new(Prefix::Blind15, *bob.session_id().key());
    let small_order = SessionId::new(Prefix::Account, [0; 32]);
    for to in [blinded, small_order] {
        assert_eq!(seal(&text("x"), &to), Err(MessageError::NotAnAccount));
    }
    let long = seal(&text(&"x".repeat(MAX_DATA_LEN_BYTES)), &bob.session_id());
    assert!(matches!(long, Err(MessageError::TooLong(_))));
    assert!(seal(&text(&"x".repeat(76_000)), &bob.session_id()).is_ok());
    assert_eq!(WireVersion::of(&[0, 9, 1]), WireVersion::Unknown(9));
    assert_eq!(
        message::open(&[0, 9, 1], &bob),
        Err(MessageError::UnknownVersion(9))
    );
}

fn seed() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn content() -> impl Strategy<Value = DirectContent> {
    (
        "\\PC{0,300}",
        "\\PC{0,40}",
        any::<u64>(),
        any::<u64>(),
        vec(any::<u64>(), 0..9),
        any::<Option<u32>>(),
    )
        .prop_map(
            |(body, name, timestamp_ms, name_changed_secs, timestamps, timer)| {
                let text = TextMessage {
                    body: &body,
                    sender_name: &name,
                    name_changed_secs,
                    timestamp_ms,
                };
                DirectContent {
                    receipt: (timestamps.len() > 2).then_some(ReceiptMessage {
                        kind: Some(1),
                        timestamps,
                    }),
                    unsend: timer.map(|_| UnsendRequest {
                        timestamp: Some(timestamp_ms),
                        author: Some(name.clone()),
                    }),
                    expiration_type: timer.map(|_| 2),
                    expiration_timer_secs: timer,
                    ..text.to_content()
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sealed_messages_come_back(a in seed(), b in seed(), content in content()) {
        let (from, to) = (Identity::from_seed(a), Identity::from_seed(b));
        let data = message::seal(&content, &from, &to.session_id(), &mut UnwrapErr(SysRng)).unwrap();
        let opened = message::open(&data, &to).unwrap();
        prop_assert_eq!(opened.sender, from.session_id());
        prop_assert_eq!(Some(opened.timestamp_ms), content.sig_timestamp);
        prop_assert_eq!(opened.content, content);
        let other = message::seal(&message::open(&data, &to).unwrap().content, &from, &to.session_id(), &mut UnwrapErr(SysRng)).unwrap();
        prop_assert_ne!(other, data, "a new one-time key each time");
    }

    #[test]
    fn calls_come_through_any_number_of_hops(secrets in vec(seed(), 1..6), xchacha in any::<bool>()) {
        let mut rng = UnwrapErr(SysRng);
        let cipher = if xchacha { Cipher::XChaCha20 } else { Cipher::AesGcm };
        let nodes: Vec<_> = secrets.into_iter().map(Identity::from_seed).collect();
        let hops: Vec<_> = nodes.iter().map(|node| Hop { x25519: *node.x25519_public(), ed25519: *node.ed25519_public() }).collect();
        let (_, path) = hops.split_last().unwrap();
        let sealed = Call::info().seal(&node_of(nodes.last().unwrap()), path, cipher, &mut rng).unwrap();
        let mut body = sealed.body;
        for (at, node) in nodes.iter().enumerate() {
            match receive(&body, &ServerSecret::from_bytes(*node.x25519_secret())).unwrap() {
                Received::PassOn(Peeled::Forward { ed25519, body: passed_on }) => {
                    prop_assert_eq!(ed25519, hops[at + 1].ed25519);
                    body = passed_on;
                }
                Received::Call(call) => {
                    prop_assert_eq!(at, nodes.len() - 1);
                    prop_assert_eq!(call.reply.expose_key(), sealed.reply.expose_key());
                }
                other @ Received::PassOn(_) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn anything_is_read_or_refused(data in vec(any::<u8>(), 0..2000), text in "\\PC{0,300}") {
        let me = Identity::from_seed([1; 32]);
        let secret = ServerSecret::from_bytes([7; 32]);
        prop_assert!(message::open(&data, &me).is_err());
        let _ = DirectContent::decode_bounded(&data);
        let _ = NodeList::from_binary(&data);
        prop_assert!(receive(&data, &secret).is_err());
        let key = Sealed::new(&data, &secret.public(), Cipher::AesGcm, &mut UnwrapErr(SysRng)).unwrap().reply;
        prop_assert!(Reply::open(&b64(&data), &key).is_err());
        for text in [text.as_str(), &String::from_utf8_lossy(&data)] {
            let _ = NodeList::from_json(text);
            let _ = NodeList::from_swarm_json(text);
            let _ = StoreAnswer::from_json(text);
            let _ = RetrieveAnswer::from_json(text, &me.session_id(), Namespace::DEFAULT);
            let _ = text.parse::<MessageHash>();
        }
    }

    #[test]
    fn hashes_come_back_as_text(mailbox in seed(), namespace in any::<i16>(), data in vec(any::<u8>(), 0..100)) {
        let id = SessionId::new(Prefix::Account, mailbox);
        let hash = MessageHash::of(&id, Namespace(namespace), &data);
        prop_assert_eq!(hash.to_string().parse::<MessageHash>().unwrap(), hash);
        let padded = hash.to_string() + "=";
        prop_assert!(padded.parse::<MessageHash>().is_err());
    }
}
