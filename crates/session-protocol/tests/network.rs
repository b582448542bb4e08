//! The formats of Session's storage network: every item of `vectors/session-network.json`, which libsession and real
//! nodes made. The intermediate steps of the cryptography are checked beside the code, hostile input in
//! `network_hostile.rs`.
//!
//! The vectors lie in the crate, so that these tests run wherever its source is.
#![expect(clippy::unwrap_used, reason = "a test")]

use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::Value;
use session_protocol::encoding::{array_from_hex, from_b64};
use session_protocol::network::content::DirectContent;
use session_protocol::network::message::{self, MessageError, TextMessage, WireVersion};
use session_protocol::network::nodes::{Node, NodeList, SwarmId};
use session_protocol::network::rpc::{self, Call, Received, Reply, receive};
use session_protocol::network::storage::receipts::{Receipt, StoreAnswer};
use session_protocol::network::storage::{MessageHash, Namespace, OwnerCall, Store};
use session_protocol::onion::path::Peeled;
use session_protocol::onion::{Cipher, ReplyKey, Sealed};
use session_protocol::padding::{Padding, unpad_direct};
use session_protocol::{Identity, ServerSecret, SessionId, keys};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/session-network.json")).unwrap()
}

fn items(section: &str) -> Vec<Value> {
    let items = vectors()[section].as_array().unwrap().clone();
    assert!(!items.is_empty(), "{section} is empty");
    items
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} missing in {item}"))
}

fn bytes(item: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(item, key)).unwrap()
}

fn key(item: &Value, key: &str) -> [u8; 32] {
    array_from_hex(text(item, key)).unwrap()
}

fn person(name: &str) -> Identity {
    // The file has the seed of carol beside her request alone.
    let (section, field, value) = match name {
        "carol" => ("request_signatures", "signed_text", "retrieve1795966656601"),
        name => ("ids", "name", name),
    };
    let items = items(section);
    Identity::from_seed(key(
        items.iter().find(|item| item[field] == value).unwrap(),
        "seed",
    ))
}

/// The list of the vectors as a node answers with it.
fn nodes() -> NodeList {
    let list = NodeList::from_json(&vectors()["swarm"].to_string()).unwrap();
    assert_eq!((list.nodes().len(), list.dropped()), (6, 0));
    list
}

/// The X25519 secret of a node. The file has it for four of the six nodes.
fn known_secret(x25519: &[u8; 32]) -> Option<ServerSecret> {
    let keys = items("snode_keys");
    let node = keys.iter().find(|node| key(node, "x25519") == *x25519)?;
    Some(ServerSecret::from_bytes(key(node, "x25519_secret")))
}

fn secret_of(x25519: &[u8; 32]) -> ServerSecret {
    known_secret(x25519).unwrap()
}

/// The nodes of the list whose secrets are known.
fn playable() -> Vec<Node> {
    let list = nodes();
    let nodes = list
        .nodes()
        .iter()
        .filter(|node| known_secret(&node.x25519().unwrap()).is_some());
    nodes.copied().collect()
}

#[test]
fn ids_and_node_keys() {
    for item in items("ids") {
        let me = Identity::from_seed(key(&item, "seed"));
        assert_eq!(me.ed25519_public(), &key(&item, "ed25519"));
        assert_eq!(me.session_id().to_string(), text(&item, "session_id"));
    }
    for item in items("snode_keys") {
        let node = Identity::from_seed(key(&item, "ed25519_seed"));
        assert_eq!(node.ed25519_public(), &key(&item, "ed25519"));
        assert_eq!(node.x25519_public(), &key(&item, "x25519"));
        assert_eq!(node.x25519_secret(), &key(&item, "x25519_secret"));
        assert_eq!(
            keys::x25519_from_ed25519(&key(&item, "ed25519")).unwrap(),
            key(&item, "x25519")
        );
    }
}

#[test]
fn padding() {
    for item in items("padding") {
        let padded = Padding::Block.pad(bytes(&item, "payload"));
        assert_eq!(padded, bytes(&item, "padded"));
        assert_eq!(padded.len() as u64, item["padded_len"].as_u64().unwrap());
        assert_eq!(unpad_direct(&padded), bytes(&item, "payload"));
    }
    for item in items("unpadding") {
        assert_eq!(
            unpad_direct(&bytes(&item, "padded")),
            bytes(&item, "payload"),
            "{item}"
        );
    }
}

#[test]
fn contents_are_read_and_written_byte_for_byte() {
    for item in items("contents") {
        let content = DirectContent::decode_bounded(&bytes(&item, "content")).unwrap();
        let again = DirectContent::decode_bounded(&content.to_bytes()).unwrap();
        assert_eq!(again, content, "{}", text(&item, "name"));
        assert_eq!(
            content.to_bytes(),
            bytes(&item, "content"),
            "{}",
            text(&item, "name")
        );
        // User actions must not be dropped as unknown fields.
        let content = |name: &str| (text(&item, "name") == name).then_some(&content);
        if let Some(content) = content("message request accepted") {
            assert!(content.request_response.as_ref().unwrap().is_approved);
            assert_eq!(content.display_name(), Some("Bob"));
        }
        if let Some(content) = content("typing") {
            assert_eq!(content.typing.as_ref().unwrap().action, Some(0));
        }
        if let Some(content) = content("unsend") {
            assert!(content.unsend.as_ref().unwrap().author.is_some());
        }
    }
}

#[test]
fn our_texts_are_those_of_libsession() {
    let item = items("contents")
        .into_iter()
        .find(|item| item["name"] == "text with a sender's name")
        .unwrap();
    let theirs = DirectContent::decode_bounded(&bytes(&item, "content")).unwrap();
    let data = theirs.data_message.clone().unwrap();
    let ours = TextMessage {
        body: theirs.body().unwrap(),
        sender_name: theirs.display_name().unwrap(),
        name_changed_secs: data.profile.unwrap().last_update_seconds.unwrap(),
        timestamp_ms: data.timestamp.unwrap(),
    };
    assert_eq!(ours.to_content().to_bytes(), bytes(&item, "content"));
}

#[test]
fn messages_of_libsession_and_session_js_open() {
    for item in items("wire") {
        let (from, to) = (person(text(&item, "from")), person(text(&item, "to")));
        let data = bytes(&item, "wire");
        assert_eq!(WireVersion::of(&data), WireVersion::V1);
        let opened = message::open(&data, &to).unwrap_or_else(|error| panic!("{}: {error}", item["name"]));
        assert_eq!(opened.sender, from.session_id());
        assert_eq!(&opened.sender_ed25519, from.ed25519_public());
        if let Some(content) = item["content"].as_str() {
            let content = DirectContent::decode_bounded(&hex::decode(content).unwrap()).unwrap();
            assert_eq!(opened.content, content);
        }
        if let Some(timestamp) = item["envelope_timestamp"].as_u64() {
            assert_eq!(opened.timestamp_ms, timestamp);
        }
        // And ours has the same shape: the same length as libsession's, with everything that it has.
        if text(&item, "by") == "libsession" {
            let ours =
                message::seal(&opened.content, &from, &to.session_id(), &mut UnwrapErr(SysRng)).unwrap();
            assert_eq!(ours.len(), data.len(), "{}", item["name"]);
            assert_eq!(
                ours[..26],
                data[..26],
                "wrapper and envelope up to the sealed box"
            );
            assert_eq!(message::open(&ours, &to).unwrap(), opened);
        }
    }
}

#[test]
fn everything_bad_is_refused() {
    for item in items("bad") {
        let error = message::open(&bytes(&item, "wire"), &person(text(&item, "to"))).unwrap_err();
        let name = text(&item, "name");
        match name {
            "session v2 message prefix" => {
                assert_eq!(error, MessageError::ProtocolV2);
                assert_eq!(WireVersion::of(&bytes(&item, "wire")), WireVersion::V2);
            }
            "opened by someone else" | "last byte of the sealed box changed" | "sealed box of 47 bytes" => {
                assert_eq!(error, MessageError::Decryption, "{name}");
            }
            "signed for another recipient (carol), sealed to bob" | "sender's key swapped for dave's" => {
                assert_eq!(error, MessageError::ForgedSender, "{name}");
            }
            "content is not protobuf" => assert!(matches!(error, MessageError::Content(_)), "{error}"),
            "truncated" | "empty" | "inner exactly key and signature (empty message)" => {
                assert!(matches!(error, MessageError::Malformed(_)), "{name}: {error}");
            }
            other => panic!("say which error {other} shall be; it is {error:?}"),
        }
    }
}

#[test]
fn message_hashes() {
    for item in items("message_hash") {
        let id: SessionId = text(&item, "pubkey").parse().unwrap();
        let namespace = Namespace(i16::try_from(item["namespace"].as_i64().unwrap()).unwrap());
        let hash = MessageHash::of(&id, namespace, &bytes(&item, "data"));
        assert_eq!(hash.to_string(), text(&item, "hash"));
        assert_eq!(text(&item, "hash").parse::<MessageHash>().unwrap(), hash);
    }
}

#[test]
fn swarms() {
    let list = nodes();
    for item in vectors()["swarm"]["of"].as_array().unwrap() {
        let id: SessionId = text(item, "session_id").parse().unwrap();
        let (swarm, mut members) = list.swarm_of(&id).unwrap();
        assert_eq!(swarm.to_string(), text(item, "swarm_id_hex"));
        members.sort_by_key(|node| node.ed25519);
        let members: Vec<_> = members.iter().map(|node| hex::encode(node.ed25519)).collect();
        let mut expected: Vec<_> = item["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node.as_str().unwrap().to_owned())
            .collect();
        expected.sort();
        assert_eq!(members, expected);
    }
}

#[test]
fn lists_of_nodes_in_every_form_and_their_bad_entries() {
    let list = nodes();
    let states = vectors()["swarm"]["service_node_states"].clone();
    let wrapped = serde_json::json!({"jsonrpc": "2.0", "result": {"service_node_states": states}});
    assert_eq!(NodeList::from_json(&wrapped.to_string()).unwrap(), list);

    let mut binary = Vec::new();
    for node in list.nodes() {
        binary.extend_from_slice(&node.ed25519);
        binary.extend_from_slice(&node.swarm.0.to_be_bytes());
        binary.extend_from_slice(&node.ip.octets());
        binary.extend_from_slice(&node.port.to_be_bytes());
        binary.extend_from_slice(&[0x56, 0xb6, 2, 11, 3]);
    }
    assert_eq!(NodeList::from_binary(&binary).unwrap(), list);
    assert!(NodeList::from_binary(&binary[1..]).is_err());

    let swarm = serde_json::json!({"swarm": "80000000000003e7", "snodes": list.nodes().iter().map(|node| {
        serde_json::json!({
            "ip": node.ip.to_string(), "port": "1", "port_https": node.port,
            "pubkey_ed25519": hex::encode(node.ed25519), "pubkey_x25519": hex::encode(node.x25519().unwrap()),
        })
    }).collect::<Vec<_>>()});
    let read = NodeList::from_swarm_json(&swarm.to_string()).unwrap();
    assert_eq!(read.nodes().len(), 6);
    assert!(
        read.nodes()
            .iter()
            .all(|node| node.swarm == SwarmId(0x8000_0000_0000_03e7))
    );

    // A faulty entry does not affect the others.
    let faults: [(&str, Value); 9] = [
        ("public_ip", "0.0.0.0".into()),
        ("public_ip", "".into()),
        ("public_ip", "::1".into()),
        ("storage_port", 0.into()),
        ("storage_port", 70_000.into()),
        ("pubkey_ed25519", "ab".into()),
        ("pubkey_x25519", "00".repeat(32).into()),
        ("swarm_id", Value::Null),
        ("pubkey_ed25519", states[1]["pubkey_ed25519"].clone()),
    ];
    for (field, value) in faults {
        let mut bad = states.clone();
        bad[0][field] = value;
        let list = NodeList::from_json(&serde_json::json!({"service_node_states": bad}).to_string()).unwrap();
        assert_eq!((list.nodes().len(), list.dropped()), (5, 1), "{field}");
    }
    let mut twice = states.clone();
    twice[1] = twice[0].clone();
    let list = NodeList::from_json(&serde_json::json!({"service_node_states": twice}).to_string()).unwrap();
    assert_eq!((list.nodes().len(), list.dropped()), (5, 1));
}

#[test]
fn requests_through_three_hops_as_real_nodes_took_them() {
    for item in items("onion") {
        let mut body = bytes(&item, "request_body");
        let hops = item["path"].as_array().unwrap();
        let destination = &item["destination"];
        // The file lacks the exit's secret, so its layer stays closed, and what is under it comes from the file.
        let mut opened_layers = 0;
        for (hop, next) in hops.iter().zip(hops[1..].iter().chain([destination])) {
            let Some(secret) = known_secret(&key(hop, "x25519")) else {
                break;
            };
            let Received::PassOn(Peeled::Forward {
                ed25519,
                body: passed_on,
            }) = receive(&body, &secret).unwrap()
            else {
                panic!("a hop passes on");
            };
            assert_eq!(ed25519, key(next, "ed25519"));
            body = passed_on;
            opened_layers += 1;
        }
        assert!(opened_layers >= 2);
        let cipher = item["enc_types"].as_array().unwrap().last().unwrap();
        let cipher = Cipher::from_name(cipher.as_str().unwrap()).unwrap();
        let node = secret_of(&key(destination, "x25519"));
        if opened_layers < hops.len() {
            let plaintext = bytes(&item, "innermost_plaintext");
            body = Sealed::new(&plaintext, &node.public(), cipher, &mut UnwrapErr(SysRng))
                .unwrap()
                .to_body();
        }
        let Received::Call(call) = receive(&body, &node).unwrap() else {
            panic!("the last node answers");
        };
        if opened_layers == hops.len() {
            assert_eq!(call.reply.expose_key(), &key(&item, "reply_key"));
        }
        let json: Value = serde_json::from_slice(&call.json).unwrap();
        assert_eq!(json, item["rpc_body"]);
        assert_eq!(
            json,
            serde_json::from_str::<Value>(&Call::info().to_json()).unwrap()
        );
        assert_eq!(Value::from(call.embed_json), item["embed_json"]);
        assert_eq!(call.reply.cipher(), cipher);

        let reply_key = ReplyKey::from_key(cipher, key(&item, "reply_key"));
        let reply = Reply::open(text(&item, "reply_text"), &reply_key).unwrap();
        let opened = &item["reply_opened"];
        assert_eq!(Value::from(reply.status), opened["status"]);
        let body = match &opened["body"] {
            Value::String(body) => serde_json::from_str(body).unwrap(),
            body => body.clone(),
        };
        assert_eq!(serde_json::from_str::<Value>(&reply.body).unwrap(), body);
    }
}

#[test]
fn our_requests_take_the_same_way_and_zero_hops_too() {
    let mut rng = UnwrapErr(SysRng);
    let nodes = playable();
    let hops: Vec<_> = nodes.iter().map(|node| node.as_hop().unwrap()).collect();
    for cipher in [Cipher::AesGcm, Cipher::XChaCha20] {
        for count in [0, 1, rpc::HOPS] {
            let call = Call::swarm(&person("alice").session_id());
            let node = &nodes[3];
            let sealed = call.seal(node, &hops[..count], cipher, &mut rng).unwrap();
            let mut body = sealed.body;
            for at in 0..count {
                let next = if at + 1 == count {
                    node.ed25519
                } else {
                    hops[at + 1].ed25519
                };
                let received = receive(&body, &secret_of(&hops[at].x25519)).unwrap();
                let Received::PassOn(Peeled::Forward {
                    ed25519,
                    body: passed_on,
                }) = received
                else {
                    panic!("{received:?}");
                };
                assert_eq!(ed25519, next);
                body = passed_on;
            }
            assert!(
                receive(&body, &secret_of(&hops[1].x25519)).is_err(),
                "another node"
            );
            let Received::Call(received) = receive(&body, &secret_of(&node.x25519().unwrap())).unwrap()
            else {
                panic!("the node is the last one");
            };
            assert_eq!(received.json, call.to_json().as_bytes());
            for (embed, body) in [
                (false, "{\"t\":1}"),
                (true, "{\"t\":1}"),
                (true, "no such method"),
            ] {
                let reply = Reply {
                    status: 421,
                    body: body.to_owned(),
                };
                let text = reply.seal(embed, &received.reply, &mut rng);
                assert_eq!(Reply::open(&text, &sealed.reply).unwrap(), reply);
            }
        }
    }
    let too_many = [hops[0]; 9];
    assert!(
        Call::info()
            .seal(&nodes[0], &too_many, Cipher::AesGcm, &mut rng)
            .is_err()
    );
}

#[test]
fn receipts_of_real_nodes_verify() {
    let list = nodes();
    for item in items("store_receipts") {
        let request = &item["request"];
        let id: SessionId = text(request, "pubkey").parse().unwrap();
        let data = from_b64(text(request, "data")).unwrap();
        let number = |key: &str| request[key].as_u64().unwrap();
        let store = Store::new(&id, Namespace::DEFAULT, number("timestamp"), number("ttl"), &data).unwrap();
        assert_eq!(store.to_call().method(), "store");
        assert_eq!(Value::Object(store.to_call().params().clone()), *request);
        assert_eq!(store.hash().to_string(), text(&item["response"], "hash"));

        let answer = StoreAnswer::from_json(&item["response"].to_string()).unwrap();
        assert_eq!(answer.time_ms(), item["response"]["t"].as_u64());
        let (_, members) = list.swarm_of(&id).unwrap();
        let members: Vec<_> = members.iter().map(|node| node.ed25519).collect();
        let receipts = answer.check(&store.hash(), &members);
        assert_eq!((receipts.signed.len(), receipts.faults.len()), (3, 0));
        for receipt in &receipts.signed {
            let entry = &item["response"]["swarm"][hex::encode(receipt.node())];
            assert_eq!(receipt.expiry_ms(), entry["expiry"].as_u64());
            assert_eq!(receipt.already(), !entry["already"].is_null());
            assert!(Receipt::verify(*receipt.node(), receipt.hash(), *receipt.signature()).is_ok());
            for bit in 0..512 {
                let mut bad = *receipt.signature();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Receipt::verify(*receipt.node(), receipt.hash(), bad).is_err());
            }
        }
        // Another message has no receipt in this answer.
        let other = MessageHash::of(&id, Namespace::DEFAULT, b"other");
        assert!(answer.check(&other, &members).signed.is_empty());
    }
}

#[test]
fn signed_requests_that_real_nodes_accepted() {
    for item in items("request_signatures") {
        let owner = Identity::from_seed(key(&item, "seed"));
        let params = &item["params"];
        let hashes: Vec<MessageHash> = params["messages"]
            .as_array()
            .map(|hashes| {
                hashes
                    .iter()
                    .map(|hash| hash.as_str().unwrap().parse().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        let call = match text(&item, "method") {
            "retrieve" => OwnerCall::Retrieve {
                namespace: Namespace(i16::try_from(params["namespace"].as_i64().unwrap()).unwrap()),
                timestamp_ms: params["timestamp"].as_u64().unwrap(),
                last_hash: Some(text(params, "last_hash"))
                    .filter(|hash| !hash.is_empty())
                    .map(|hash| hash.parse().unwrap()),
                max_size: params["max_size"].as_i64().unwrap(),
            },
            "delete" => OwnerCall::Delete { hashes: &hashes },
            other => panic!("{other} is not tried here"),
        };
        assert_eq!(call.signed_text(), text(&item, "signed_text"));
        let signed = call.to_call(&owner).unwrap();
        assert_eq!(signed.method(), text(&item, "method"));
        assert_eq!(Value::Object(signed.params().clone()), *params);
    }
}
