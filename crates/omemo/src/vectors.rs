//! The vectors of other implementations, see `vectors/README.md`. Every vector of the file is checked.

use std::collections::VecDeque;
use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

use crate::identity_key::IdentityKey;
use crate::kdf::{self, CipherKeys};
use crate::keys::{Identity, KeyPair, key_from_wire, key_to_wire};
use crate::session::Session;
use crate::wire::{KeyExchange, Message};
use crate::{Account, DeviceId, EncryptedKey, Error, Version, payload, xeddsa};

#[cfg(feature = "xml")]
mod xml;

pub(crate) fn all() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/vectors.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

pub(crate) fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<Value> = all().into_iter().filter(|v| v["kind"] == kind).collect();
    assert!(!found.is_empty(), "no vector of kind {kind}");
    found
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

pub(crate) fn version(vector: &Value) -> Version {
    match text(&vector["ns"]) {
        "old" => Version::Axolotl,
        "two" => Version::Omemo2,
        other => panic!("unknown version {other}"),
    }
}

fn device_id(value: &Value) -> DeviceId {
    DeviceId::new(number(value)).unwrap()
}

/// A random source that gives the listed values, each to a request of its length. It fails when none is left.
pub(crate) struct Scripted(VecDeque<Vec<u8>>);

impl Scripted {
    pub(crate) fn new(values: &Value) -> Self {
        Self(values.as_array().unwrap().iter().map(bytes).collect())
    }
}

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("no numbers are drawn here")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("no numbers are drawn here")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.pop_front().expect("the script is over"));
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}

/// The device of a vector, in one version.
pub(crate) fn account(version: Version, device: &Value) -> Account {
    let identity = Identity::from_secret(&array(&device["ik_priv"]));
    if let Some(seed) = device.get("ed25519_seed") {
        assert_eq!(Identity::from_seed(&array(seed)).public(), identity.public());
    }
    if let Some(wire) = device.get("ik_wire") {
        assert_eq!(identity.public().to_wire(version).unwrap(), bytes(wire));
    }
    let prekeys = match device.get("opks") {
        Some(all) => all
            .as_object()
            .unwrap()
            .iter()
            .map(|(id, key)| (id.parse().unwrap(), array(key)))
            .collect(),
        None => vec![(number(&device["opk_id"]), array(&device["opk_priv"]))],
    };
    let signed = array(&device["spk_priv"]);
    Account::for_vector(
        version,
        identity,
        device_id(&device["device"]),
        (number(&device["spk_id"]), &signed),
        &prekeys,
    )
}

/// A vector of a kind that no test knows would be skipped in silence.
#[test]
fn every_kind_of_vector_has_a_test() {
    for vector in all() {
        let kind = text(&vector["kind"]);
        let known = [
            "keys",
            "x25519",
            "x25519-refuse",
            "xeddsa",
            "libsignal-signature",
            "bundle",
            "bundle-raw",
            "bundle-refuse",
            "kdf-root",
            "kdf-chain",
            "payload",
            "payload-legacy",
            "transcript",
            "stanza",
            "stanza-empty",
            "aesgcm",
            "captured",
        ];
        assert!(
            known.contains(&kind),
            "{} is of the unknown kind {kind}",
            vector["id"]
        );
    }
}

#[test]
fn keys_have_the_forms_of_both_versions() {
    for vector in of_kind("keys") {
        let out = &vector["out"];
        let identity = Identity::from_seed(&array(&vector["in"]["ed25519_seed"]));
        let public = identity.public();
        assert_eq!(*identity.expose_secret(), array(&out["curve25519_priv"]));
        assert_eq!(*public.x25519(), array(&out["curve25519_pub"]));
        assert_eq!(public.ed25519(), Some(&array(&out["ed25519_pub"])));
        assert_eq!(
            u32::from(public.ed25519().unwrap()[31] >> 7),
            number(&out["sign_bit"])
        );
        assert_eq!(public.to_wire(Version::Axolotl).unwrap(), bytes(&out["pub_0_3"]));
        assert_eq!(public.to_wire(Version::Omemo2).unwrap(), bytes(&out["pub_2"]));
        assert_eq!(public.fingerprint(), text(&out["fingerprint"]));
        assert_eq!(public.to_string().replace(' ', ""), text(&out["fingerprint"]));
        for wire in [Version::Axolotl, Version::Omemo2] {
            assert_eq!(
                IdentityKey::from_wire(wire, &public.to_wire(wire).unwrap()).unwrap(),
                *public
            );
        }
        for sign in [0, 1] {
            let ed = curve25519_dalek::MontgomeryPoint(*public.x25519())
                .to_edwards(sign)
                .unwrap();
            assert_eq!(
                ed.compress().to_bytes(),
                array(&out[format!("ed25519_from_curve_sign{sign}")])
            );
        }
        // The negated secret that signers with a forced sign use belongs to the same key.
        assert_eq!(
            curve25519_dalek::EdwardsPoint::mul_base(&curve25519_dalek::Scalar::from_bytes_mod_order(array(
                &out["priv_forced_sign0"]
            )))
            .to_montgomery()
            .to_bytes(),
            *public.x25519()
        );
    }
}

#[test]
fn x25519_agrees_and_refuses_points_of_small_order() {
    for vector in of_kind("x25519") {
        let pair = KeyPair::from_secret(&array(&vector["in"]["priv"]));
        let shared = pair.agree(&array(&vector["in"]["pub"])).unwrap();
        assert_eq!(*shared, array(&vector["out"]["shared"]));
    }
    for vector in of_kind("x25519-refuse") {
        let pair = KeyPair::from_secret(&array(&vector["in"]["priv"]));
        assert_eq!(pair.agree(&array(&vector["in"]["pub"])), Err(Error::InvalidKey));
    }
}

#[test]
fn xeddsa_signs_byte_for_byte() {
    for vector in of_kind("xeddsa") {
        let (input, out) = (&vector["in"], &vector["out"]);
        let (secret, message, nonce) = (
            array(&input["priv"]),
            bytes(&input["msg"]),
            array(&input["nonce"]),
        );
        let (ed, x) = (array(&out["ed25519_pub"]), array(&out["curve25519_pub"]));
        let own: [u8; 64] = array(&out["sig_own_sign"]);
        assert_eq!(xeddsa::sign(&secret, &message, &nonce), own);
        assert_eq!(
            xeddsa::sign_forced(&secret, &message, &nonce),
            array(&out["sig_sign0_xeddsa"])
        );
        assert_eq!(xeddsa::verify(&ed, &message, &own), Ok(()));
        for form in ["sig_sign0_xeddsa", "sig_0_3_wire"] {
            assert_eq!(xeddsa::verify_x25519(&x, &message, &array(&out[form])), Ok(()));
        }
        let identity = Identity::from_secret(&secret);
        let mut rng = Scripted::new(&serde_json::json!([input["nonce"]]));
        assert_eq!(
            identity.sign(Version::Axolotl, &message, &mut rng),
            array(&out["sig_0_3_wire"])
        );
        let tampered: [u8; 64] = array(&out["tampered"]);
        assert_eq!(out["tampered_valid"], false);
        assert_eq!(xeddsa::verify(&ed, &message, &tampered), Err(Error::BadSignature));
        let key = ed25519_dalek::VerifyingKey::from_bytes(&ed).unwrap();
        key.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&own))
            .unwrap();
    }
}

#[test]
fn signatures_of_libsignal_verify() {
    for vector in of_kind("libsignal-signature") {
        let signature: [u8; 64] = array(&vector["out"]["sig"]);
        assert_eq!(
            u64::from(signature[63] >> 7),
            vector["out"]["bit7_of_byte63"].as_u64().unwrap()
        );
        let (key, message) = (array(&vector["in"]["pub"]), bytes(&vector["in"]["msg"]));
        assert_eq!(xeddsa::verify_x25519(&key, &message, &signature), Ok(()));
        for bit in 0..512 {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(
                xeddsa::verify_x25519(&key, &message, &altered).is_err(),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn raw_bundles_verify() {
    for vector in of_kind("bundle-raw") {
        let (version, out) = (version(&vector), &vector["out"]);
        let mut bundle = account(version, &vector["in"]["device"]).bundle(version);
        assert_eq!(
            key_to_wire(version, &bundle.signed_prekey.key),
            bytes(&out["spk_pub"])
        );
        assert_eq!(bundle.identity_key.to_wire(version).unwrap(), bytes(&out["ik"]));
        assert_eq!(bundle.verify(), Ok(()));
        bundle.signature = array(&out["spk_signature"]);
        assert_eq!(bundle.verify().is_ok(), out["signature_valid"].as_bool().unwrap());
    }
}

#[test]
fn root_and_chain_steps() {
    for vector in of_kind("kdf-root") {
        let (input, out) = (&vector["in"], &vector["out"]);
        let dh = KeyPair::from_secret(&array(&input["ratchet_priv"]))
            .agree(&array(&input["their_ratchet_pub"]))
            .unwrap();
        assert_eq!(*dh, array(&out["dh"]));
        let (root, chain) = kdf::root_step(version(&vector), &array(&input["root_key"]).into(), &dh);
        assert_eq!(*root, array(&out["next_root_key"]));
        assert_eq!(*chain, array(&out["chain_key"]));
    }
    for vector in of_kind("kdf-chain") {
        let mut chain = array(&vector["in"]["chain_key"]).into();
        for step in vector["out"]["steps"].as_array().unwrap() {
            let (message_key, next) = kdf::chain_step(&chain);
            assert_eq!(*message_key, array(&step["message_key"]));
            assert_eq!(*next, array(&step["next_chain_key"]));
            let keys = CipherKeys::of_message(version(&vector), &message_key);
            assert_eq!(keys.aes, array(&step["aes_key"]));
            assert_eq!(keys.mac, array(&step["mac_key"]));
            assert_eq!(keys.iv, array(&step["iv"]));
            chain = next;
        }
    }
}

#[test]
fn payloads_are_encrypted_byte_for_byte_and_read() {
    for vector in of_kind("payload").iter().chain(&of_kind("payload-legacy")) {
        let (input, out, version) = (&vector["in"], &vector["out"], version(vector));
        let plaintext = bytes(&input["plaintext"]);
        let (payload, material) = (bytes(&out["payload"]), bytes(&out["key_material"]));
        let iv = input.get("iv").map(bytes);
        let opened = payload::open(version, &material, iv.as_deref(), &payload).unwrap();
        assert_eq!(*opened, plaintext, "{}", vector["id"]);
        // Older layouts are read, never written.
        if iv.as_ref().is_none_or(|iv| iv.len() == 12) && vector["kind"] == "payload" {
            let script = match &iv {
                Some(_) => serde_json::json!([input["key"], input["iv"]]),
                None => serde_json::json!([input["key"]]),
            };
            let sealed = payload::seal(version, &plaintext, &mut Scripted::new(&script)).unwrap();
            assert_eq!((sealed.payload, sealed.material.to_vec()), (payload, material));
        }
    }
}

/// One side of a conversation.
struct Side {
    account: Account,
    session: Option<Session>,
    rng: Scripted,
}

impl Side {
    fn receive(&mut self, version: Version, key: &EncryptedKey) -> Result<Vec<u8>, Error> {
        let unsealed = Session::unseal(
            &mut self.session,
            &mut self.account,
            version,
            key,
            &mut |_| Ok(()),
            &mut WithSpare::new(&mut self.rng),
        )?;
        Ok(unsealed.material.to_vec())
    }

    fn state(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let session = self.session.as_ref().map(|session| session.to_bytes().to_vec());
        (self.account.to_bytes().to_vec(), session)
    }
}

/// Gives the first value from the script, for the ratchet key, then constants, for the prekey that takes the place of
/// a used one.
struct WithSpare<'a> {
    script: &'a mut Scripted,
    drawn: bool,
}

impl<'a> WithSpare<'a> {
    fn new(script: &'a mut Scripted) -> Self {
        Self { script, drawn: false }
    }
}

impl TryRng for WithSpare<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.script.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.script.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        if std::mem::replace(&mut self.drawn, true) {
            out.fill(0x42);
            return Ok(());
        }
        self.script.try_fill_bytes(out)
    }
}

impl TryCryptoRng for WithSpare<'_> {}

#[test]
fn transcripts_are_replayed_byte_for_byte() {
    for vector in of_kind("transcript") {
        replay(&vector);
    }
}

fn replay(vector: &Value) {
    let (version, input) = (version(vector), &vector["in"]);
    let libsignal = input.get("pn").is_some();
    let mut alice = Side {
        account: account(version, &input["alice"]),
        session: None,
        rng: Scripted::new(&input["alice_ratchet_privs"]),
    };
    let mut bob = Side {
        account: account(version, &input["bob"]),
        session: None,
        rng: Scripted::new(&input["bob_ratchet_privs"]),
    };
    let ephemeral = KeyPair::from_secret(&array(&input["alice_ek_priv"]));
    let registration = input.get("registration_id").map(number);
    let bundle = bob.account.bundle(version);
    let session = Session::initiate_with(&alice.account, &bundle, &ephemeral, registration, &mut alice.rng);
    alice.session = Some(session.unwrap());
    let mut messages: Vec<(EncryptedKey, Vec<u8>)> = Vec::new();
    for event in vector["out"]["events"].as_array().unwrap() {
        let side = if event["by"] == "alice" {
            &mut alice
        } else {
            &mut bob
        };
        let context = format!("{} {event}", vector["id"]);
        if event["op"] == "send" {
            let session = side.session.as_mut().unwrap();
            let count = session.ratchet().previous();
            let previous = if libsignal { count.saturating_sub(1) } else { count };
            let plaintext = bytes(&event["plaintext"]);
            let key = session.encrypt_with(&plaintext, Some(previous)).unwrap();
            assert_eq!(hex::encode(&key.data), text(&event["bytes"]), "{context}");
            assert_eq!(key.key_exchange, event["prekey"].as_bool().unwrap(), "{context}");
            check_header(version, &key, event);
            assert_eq!(messages.len() as u64, event["msg"].as_u64().unwrap());
            messages.push((key, plaintext));
            continue;
        }
        let (mut key, plaintext) = messages[usize::try_from(number(&event["msg"])).unwrap()].clone();
        if let Some(altered) = event.get("bytes") {
            key.data = bytes(altered);
        }
        let before = side.state();
        let result = side.receive(version, &key);
        if event["result"] == "ok" {
            assert_eq!(result.as_ref(), Ok(&plaintext), "{context}");
        } else {
            assert!(result.is_err(), "{context}");
            assert!(side.state() == before, "{context}");
        }
        // A state that was saved and loaded goes on as if nothing had happened.
        let session = side.session.as_ref().unwrap().to_bytes();
        side.session = Some(Session::from_bytes(&session).unwrap());
        side.account = Account::from_bytes(&side.account.to_bytes()).unwrap();
    }
    assert!(!messages.is_empty());
}

fn check_header(version: Version, key: &EncryptedKey, event: &Value) {
    let inner = if key.key_exchange {
        KeyExchange::parse(version, &key.data).unwrap().message
    } else {
        &key.data
    };
    let header = Message::parse(version, inner).unwrap().header;
    assert_eq!(header.number, number(&event["n"]));
    assert_eq!(header.previous, number(&event["pn"]));
    assert_eq!(header.ratchet_key, array(&event["ratchet_pub"]));
}

#[test]
fn keys_on_the_wire_have_exact_lengths() {
    for (version, good) in [(Version::Axolotl, 33), (Version::Omemo2, 32)] {
        for len in 0..70 {
            let mut wire = vec![9; len];
            if version == Version::Axolotl && len > 0 {
                wire[0] = 5;
            }
            assert_eq!(key_from_wire(version, &wire).is_ok(), len == good);
        }
    }
    assert_eq!(key_from_wire(Version::Axolotl, &[6; 33]), Err(Error::InvalidKey));
}
