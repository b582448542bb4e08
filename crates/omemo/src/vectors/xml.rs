//! Vectors that are XML.

use super::*;
use crate::xml::{Element, Envelope};
use crate::{Bundle, Encrypted};

fn parse(value: &Value) -> Element {
    Element::parse(text(value)).unwrap()
}

#[test]
fn bundles_are_read_and_written() {
    for vector in of_kind("bundle") {
        let (version, out) = (version(&vector), &vector["out"]);
        let element = parse(&out["xml"]);
        let bundle = Bundle::from_element(&element).unwrap();
        assert_eq!(bundle.verify().is_ok(), out["signature_valid"].as_bool().unwrap());
        assert_eq!(bundle.signed_prekey.key, array(&out["spk_pub"]));
        assert_eq!(bundle.prekeys[0].key, array(&out["opk_pub"]));
        assert_eq!(
            key_to_wire(version, &bundle.signed_prekey.key),
            bytes(&out["signed_bytes"])
        );
        assert_eq!(bundle.to_element().unwrap(), element);
        let mut own = account(version, &vector["in"]["device"]).bundle(version);
        assert_eq!(own.verify(), Ok(()));
        // The signature is random.
        own.signature = bundle.signature;
        assert_eq!(own, bundle);
    }
}

#[test]
fn bundles_with_a_wrong_signature_are_refused() {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    for vector in of_kind("bundle-refuse") {
        let bundle = Bundle::from_element(&parse(&vector["in"]["xml"])).unwrap();
        let version = bundle.version;
        assert_eq!(bundle.verify(), Err(Error::BadSignature));
        let account = Account::new(
            Identity::generate(&mut rng),
            DeviceId::random(&mut rng),
            0,
            &mut rng,
        );
        let session = Session::initiate(&account, &bundle, &mut rng);
        assert_eq!(session.unwrap_err(), Error::BadSignature, "{version}");
    }
}

fn content(version: Version, content: &[u8]) -> String {
    match version {
        Version::Axolotl => String::from_utf8(content.to_vec()).unwrap(),
        Version::Omemo2 => Envelope::from_bytes(content).unwrap().body().unwrap(),
    }
}

#[test]
fn every_receiver_of_a_stanza_reads_it() {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    for vector in of_kind("stanza") {
        let (version, input) = (version(&vector), &vector["in"]);
        let element = parse(&vector["out"]["xml"]);
        let message = Encrypted::from_element(&element).unwrap();
        assert_eq!(message.sender, device_id(&input["sender"]["device"]));
        assert_eq!(message.to_element(), element);
        let sender = account(version, &input["sender"]);
        for receiver in input["receivers"].as_array().unwrap() {
            let mut account = account(version, receiver);
            let mut session = None;
            let jid = text(&receiver["jid"]);
            let key = message.keys_for(jid, account.device_id()).next().unwrap();
            assert_eq!(key.identity_key(version), Ok(Some(*sender.identity().public())));
            let opened = account.decrypt(&message, jid, &mut session, &mut rng).unwrap();
            let plaintext = opened.content.unwrap();
            assert_eq!(
                std::str::from_utf8(&plaintext).unwrap(),
                text(&input["plaintext"])
            );
            assert!(opened.new_session && opened.answer_due);
            assert!(!content(version, &plaintext).is_empty());
            assert!(
                account
                    .bundle(version)
                    .prekeys
                    .iter()
                    .all(|prekey| prekey.id != 1)
            );
            let again = account.decrypt(&message, jid, &mut session, &mut rng);
            assert_eq!(again.unwrap_err(), Error::Duplicate);
        }
    }
}

/// The answer to a stanza ends the key exchange of its sender.
#[test]
fn an_empty_message_confirms_the_session() {
    for vector in of_kind("stanza-empty") {
        let (version, input) = (version(&vector), &vector["in"]);
        let all = of_kind("stanza");
        let first = &all.iter().find(|stanza| stanza["id"] == input["of"]).unwrap()["in"];
        let receiver = account(version, &input["sender"]);
        let receivers = first["receivers"].as_array().unwrap();
        let at = receivers
            .iter()
            .position(|one| one["device"] == input["sender"]["device"])
            .unwrap();
        let mut sender = account(version, &input["receiver"]);
        assert_eq!(sender.device_id(), device_id(&first["sender"]["device"]));
        // The devices of the stanza are sorted by JID in the newer version.
        let mut result = None;
        for place in 0..receivers.len() {
            let ephemeral = KeyPair::from_secret(&array(&first["eks"][place]));
            let mut rng = Scripted::new(&serde_json::json!([first["ratchets"][place]]));
            let bundle = receiver.bundle(version);
            let session = Session::initiate_with(&sender, &bundle, &ephemeral, None, &mut rng).unwrap();
            let message = Encrypted::from_element(&parse(&vector["out"]["xml"])).unwrap();
            assert_eq!(message.payload, None);
            let key = &message.keys[0].key;
            let mut slot = Some(session);
            assert!(!slot.as_ref().unwrap().is_confirmed());
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let unsealed = Session::unseal(&mut slot, &mut sender, version, key, &mut |_| Ok(()), &mut rng);
            if let Ok(unsealed) = unsealed {
                assert_eq!(*unsealed.material, bytes(&vector["out"]["key_material"]));
                assert!(slot.unwrap().is_confirmed());
                result = Some(place);
            }
        }
        assert!(result.is_some(), "{} receiver {at}", vector["id"]);
    }
}

#[test]
fn messages_of_libsignal_are_read() {
    for vector in of_kind("captured") {
        let (version, input) = (version(&vector), &vector["in"]);
        let bundle = Bundle::from_element(&parse(&input["sender_bundle"])).unwrap();
        assert_eq!(bundle.verify(), Ok(()));
        let mut account = account(version, &input["receiver"]);
        let jid = text(&input["receiver"]["jid"]);
        let mut session = None;
        let mut scripted = Scripted::new(&input["ratchet_privs"]);
        for captured in vector["out"]["messages"].as_array().unwrap() {
            let stanza = parse(&captured["xml"]);
            let element = stanza.child("encrypted", version.namespace()).unwrap();
            let message = Encrypted::from_element(element).unwrap();
            assert_eq!(message.sender, device_id(&input["sender"]["device"]));
            let key = message.keys_for(jid, account.device_id()).next().unwrap();
            assert_eq!(key.identity_key(version), Ok(Some(bundle.identity_key)));
            let mut rng = WithSpare::new(&mut scripted);
            let opened = account.decrypt(&message, jid, &mut session, &mut rng).unwrap();
            assert_eq!(
                content(version, &opened.content.unwrap()),
                text(&captured["plaintext"])
            );
        }
    }
}
