//! Every item of `vectors/sogs/vectors.json` that concerns bytes and cryptography, and of `more-vectors.json`, which
//! `scripts/session-vectors` makes with libsodium.
//!
//! The tests read the files and take whatever items they have, so that items added to them run without a change here.
#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a test"
)]

use std::path::Path;

use serde_json::Value;
use session_protocol::auth::{AuthError, RawHeaders, Request, Signer, Unverified};
use session_protocol::blind::{Blinder, absolute15, blind15_factor};
use session_protocol::content::{Content, DataMessage, Profile};
use session_protocol::dm::{Conversation, DmError};
use session_protocol::encoding::{array_from_b64, array_from_hex, b64, from_b64};
use session_protocol::keys::{self, Identity, ServerSecret};
use session_protocol::message::{self, SignedPost};
use session_protocol::onion::{self, Cipher, OnionError, Sealed, v4};
use session_protocol::padding::{Padding, unpad};
use session_protocol::{Prefix, ServerKey, SessionId, mnemonic};

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sogs/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn more_vectors() -> Value {
    serde_json::from_str(include_str!("more-vectors.json")).unwrap()
}

fn items(section: &str) -> Vec<Value> {
    let mut items = Vec::new();
    for vectors in [vectors(), more_vectors()] {
        let more = vectors[section]["items"].as_array().unwrap();
        assert!(!more.is_empty(), "{section} is empty");
        items.extend(more.iter().cloned());
    }
    items
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} missing in {item}"))
}

fn bytes<const N: usize>(item: &Value, key: &str) -> [u8; N] {
    array_from_hex(text(item, key)).unwrap_or_else(|| panic!("{key} is not {N} bytes of hex"))
}

fn server() -> ServerSecret {
    ServerSecret::from_bytes(bytes(&vectors()["server"], "x25519_private"))
}

fn who(item: &Value, key: &str) -> Identity {
    Identity::from_seed(bytes(item, key))
}

#[test]
fn the_server_key_follows_from_its_secret() {
    assert_eq!(
        server().public().to_string(),
        text(&vectors()["server"], "x25519_public")
    );
}

#[test]
fn identities() {
    for item in items("identities") {
        let me = who(&item, "ed25519_seed");
        assert_eq!(me.ed25519_public(), &bytes(&item, "ed25519_public"));
        assert_eq!(
            u64::from(me.ed25519_public()[31] >> 7),
            item["ed25519_sign_bit"].as_u64().unwrap()
        );
        assert_eq!(me.x25519_secret(), &bytes(&item, "x25519_private"));
        assert_eq!(me.x25519_public(), &bytes(&item, "x25519_public"));
        assert_eq!(me.session_id().to_string(), text(&item, "session_id"));
        assert_eq!(
            keys::ed25519_from_x25519(me.session_id().key()).unwrap(),
            bytes(&item, "xed25519_public_from_session_id")
        );
        assert_eq!(
            keys::x25519_from_ed25519(me.ed25519_public()).unwrap(),
            *me.x25519_public()
        );
    }
}

#[test]
fn blinding() {
    for item in items("blinding") {
        let me = who(&item, "seed");
        let server: ServerKey = text(&item, "server_pk").parse().unwrap();
        assert_eq!(me.session_id().to_string(), text(&item, "session_id"));
        assert_eq!(blind15_factor(&server), bytes(&item, "k15"));
        let blind15 = me.blind15(&server);
        assert_eq!(blind15.expose_scalar(), bytes(&item, "ka15"));
        assert_eq!(blind15.id().to_string(), text(&item, "id15"));
        assert_eq!(absolute15(&blind15.id()).to_string(), text(&item, "id15_abs"));

        let blinder = Blinder::new(&server);
        let mut candidates = blinder
            .candidates15(&me.session_id())
            .unwrap()
            .map(|id| id.to_string());
        candidates.sort();
        let mut expected: Vec<_> = item["id15_candidates_from_session_id"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect();
        expected.sort_unstable();
        assert_eq!(candidates.as_slice(), expected);
        assert!(blinder.matches(&me.session_id(), &blind15.id()));

        let blind25 = me.blind25(&server);
        assert_eq!(blind25.expose_scalar(), bytes(&item, "ka25"));
        assert_eq!(blind25.id().to_string(), text(&item, "id25"));
        assert_eq!(blinder.id25(&me.session_id()).unwrap(), blind25.id());
        assert!(blinder.matches(&me.session_id(), &blind25.id()));

        let stranger = Identity::from_seed([0x77; 32]);
        assert!(!blinder.matches(&stranger.session_id(), &blind15.id()));
        assert!(!blinder.matches(&stranger.session_id(), &blind25.id()));
        assert!(!blinder.matches(&me.session_id(), &me.session_id()));
    }
}

#[test]
fn blind25_signatures() {
    let server = server().public();
    let people: Vec<_> = items("requests")
        .into_iter()
        .chain(items("blinding"))
        .chain(items("messages"))
        .collect();
    for item in items("blind25_signatures") {
        let seed = people
            .iter()
            .find(|p| p["who"] == item["who"])
            .expect("somebody the other sections know");
        let blind = who(seed, "seed").blind25(&server);
        assert_eq!(blind.id().to_string(), text(&item, "id25"));
        let message = text(&item, "message").as_bytes();
        assert_eq!(blind.sign(message), bytes(&item, "signature_hex"));
        message::verify(&blind.id(), message, &bytes(&item, "signature_hex")).unwrap();
    }
}

fn signer(me: &Identity, blinded: bool, server: &ServerKey) -> Signer {
    if blinded {
        Signer::blind15(me, server)
    } else {
        Signer::account(me)
    }
}

#[test]
fn requests() {
    let server = server().public();
    for item in items("requests") {
        let me = who(&item, "seed");
        let body = item["body_b64"]
            .as_str()
            .map(|b| from_b64(b).unwrap())
            .unwrap_or_default();
        let request = Request {
            method: text(&item, "method"),
            path: text(&item, "path"),
            body: &body,
        };
        let timestamp = item["timestamp"].as_u64().unwrap();
        let nonce = bytes(&item, "nonce");
        let signed = request.signed_bytes(&server, &nonce, &timestamp.to_string());
        assert_eq!(hex::encode(&signed), text(&item, "signed_bytes_hex"));

        let signer = signer(&me, item["blinded"].as_bool().unwrap(), &server);
        let headers = request.sign(&signer, &server, &nonce, timestamp);
        for (name, value) in headers.pairs() {
            assert_eq!(value, text(&item["headers"], name), "{name}");
        }

        let parse = |raw| Unverified::parse(raw, false, timestamp + 86_400);
        let verified = parse(headers.as_raw())
            .unwrap()
            .unwrap()
            .verify(&server, &request)
            .unwrap();
        assert_eq!(verified.id(), signer.shown_id());
        assert_eq!(verified.nonce(), &nonce);
        if let Some(variant) = item["signature_libsession_variant_b64"].as_str() {
            let raw = RawHeaders {
                signature: Some(variant),
                ..headers.as_raw()
            };
            parse(raw).unwrap().unwrap().verify(&server, &request).unwrap();
        }
        // The other spellings of the same bytes.
        let pubkey = b64(signer.header_id().as_bytes());
        let (nonce_hex, signature) = (hex::encode(nonce), headers.signature.trim_end_matches('='));
        let raw = RawHeaders {
            pubkey: Some(&pubkey),
            nonce: Some(&nonce_hex),
            signature: Some(signature),
            ..headers.as_raw()
        };
        parse(raw).unwrap().unwrap().verify(&server, &request).unwrap();

        let other = Request {
            method: "PATCH",
            ..request
        };
        let unverified = parse(headers.as_raw()).unwrap().unwrap();
        assert_eq!(
            unverified.verify(&server, &other),
            Err(AuthError::SignatureMismatch)
        );
    }
}

#[test]
fn the_order_of_refusals_is_that_of_the_reference() {
    let server = server().public();
    let me = Identity::from_seed([1; 32]);
    let request = Request {
        method: "GET",
        path: "/rooms",
        body: b"",
    };
    let headers = request.sign(&Signer::account(&me), &server, &[9; 16], 1_000_000);
    let good = headers.as_raw();
    let parse = |raw, blind, now| Unverified::parse(raw, blind, now).map(|u| u.map(|u| u.claimed_id()));

    assert_eq!(parse(RawHeaders::default(), true, 0), Ok(None));
    assert_eq!(
        parse(
            RawHeaders {
                nonce: None,
                pubkey: Some("junk"),
                ..good
            },
            true,
            0
        ),
        Err(AuthError::MissingHeaders { missing: 1 })
    );
    assert_eq!(
        parse(
            RawHeaders {
                pubkey: Some("junk"),
                ..good
            },
            true,
            0
        ),
        Err(AuthError::UndecodablePubkey)
    );
    let account = me.session_id().to_string();
    assert_eq!(
        parse(
            RawHeaders {
                pubkey: Some(&account),
                ..good
            },
            true,
            0
        ),
        Err(AuthError::WrongPrefix)
    );
    let no_point = format!("00{}", "ff".repeat(32));
    assert_eq!(
        parse(
            RawHeaders {
                pubkey: Some(&no_point),
                ..good
            },
            true,
            0
        ),
        Err(AuthError::InvalidPoint)
    );
    // From here on several things are wrong at once; the first cause in the reference's order is named.
    assert_eq!(
        parse(
            RawHeaders {
                nonce: Some("x"),
                ..good
            },
            true,
            0
        ),
        Err(AuthError::BlindingRequired)
    );
    assert_eq!(
        parse(
            RawHeaders {
                nonce: Some("x"),
                ..good
            },
            false,
            0
        ),
        Err(AuthError::InvalidNonce)
    );
    assert_eq!(
        parse(
            RawHeaders {
                signature: Some("x"),
                ..good
            },
            false,
            0
        ),
        Err(AuthError::InvalidSignature)
    );
    for wrong in ["-5", "1e3", " 5", "99999999999999999999"] {
        assert_eq!(
            parse(
                RawHeaders {
                    timestamp: Some(wrong),
                    ..good
                },
                false,
                0
            ),
            Err(AuthError::InvalidTimestamp)
        );
    }
    assert_eq!(parse(good, false, 1_086_401), Err(AuthError::TimestampTooFar));
    assert_eq!(parse(good, false, 913_599), Err(AuthError::TimestampTooFar));
    assert_eq!(parse(good, false, 1_086_400), Ok(Some(me.session_id())));
    assert_eq!(
        AuthError::BlindingRequired.to_string(),
        session_protocol::auth::BLINDING_REQUIRED
    );
}

#[test]
fn mnemonics() {
    for item in items("mnemonics") {
        let entropy: [u8; 16] = bytes(&item, "seed16");
        let phrase = item["mnemonic"].as_str().or(item["encoded"].as_str()).unwrap();
        assert_eq!(*mnemonic::decode(phrase).unwrap(), entropy);
        assert_eq!(*mnemonic::encode(&entropy), phrase);
        let me = Identity::from_mnemonic(phrase).unwrap();
        assert_eq!(me.to_mnemonic().unwrap().as_str(), phrase);
        // Three letters of each word are enough; a last word that repeats another one than it must is not.
        let words: Vec<_> = phrase.split(' ').collect();
        let short: Vec<_> = words.iter().map(|word| &word[..3]).collect();
        assert_eq!(*mnemonic::decode(&short.join(" ")).unwrap(), entropy);
        assert_eq!(
            *mnemonic::decode(&short.join("ly\t").to_uppercase()).unwrap(),
            entropy
        );
        for other in words[..12].iter().filter(|word| **word != words[12]) {
            let wrong = format!("{} {other}", words[..12].join(" "));
            assert_eq!(mnemonic::decode(&wrong), Err(mnemonic::MnemonicError::Checksum));
        }
        assert_eq!(
            Identity::from_seed_hex(text(&item, "seed16"))
                .unwrap()
                .session_id(),
            me.session_id()
        );
        if item["ed25519_pk"].is_string() {
            assert_eq!(me.ed25519_public(), &bytes(&item, "ed25519_pk"));
            assert_eq!(me.session_id().to_string(), text(&item, "session_id"));
        }
    }
}

#[test]
fn messages() {
    let server = server().public();
    for item in items("messages") {
        let me = who(&item, "seed");
        let signer = signer(&me, item["blind"].as_bool().unwrap(), &server);
        let now = item["timestamp"].as_u64().unwrap();
        // session.js wrote the old DataMessage.timestamp and no sigTimestamp.
        let content = Content {
            data_message: Some(DataMessage {
                body: Some(text(&item, "body").to_owned()),
                timestamp: Some(now),
                profile: item["name"].as_str().map(|name| Profile {
                    display_name: Some(name.to_owned()),
                    ..Profile::default()
                }),
                ..DataMessage::default()
            }),
            sig_timestamp: None,
        };
        assert_eq!(hex::encode(content.to_bytes()), text(&item, "content_hex"));
        let data = from_b64(text(&item, "data")).unwrap();
        assert_eq!(message::open(&data).unwrap(), content);
        assert_eq!(data.len() as u64, item["padded_len"].as_u64().unwrap());
        assert_eq!(unpad(&data).len() as u64, item["content_len"].as_u64().unwrap());
        assert_eq!(
            unpad(&data).len() as u64,
            item["pysogs_stored_len"].as_u64().unwrap()
        );

        let author: SessionId = text(&item, "poster_id").parse().unwrap();
        assert_eq!(signer.shown_id(), author);
        let theirs = array_from_b64(text(&item, "signature")).unwrap();
        message::verify(&author, &data, &theirs).unwrap();
        let ours = SignedPost::new(&content, &signer, Padding::BlockLessOne);
        assert_eq!(ours.data, data);
        message::verify(&author, &ours.data, &ours.signature).unwrap();
        assert_eq!(
            ours,
            SignedPost::new(&content, &signer, Padding::BlockLessOne),
            "signing is deterministic"
        );
        for at in [0, data.len() / 2, data.len() - 1] {
            let mut other = data.clone();
            other[at] ^= 1;
            assert!(message::verify(&author, &other, &theirs).is_err());
        }
        if author.prefix() == Prefix::Account {
            let sign_bit = u64::from(theirs[63] >> 7);
            assert_eq!(sign_bit, item["curve25519js_sign_bit_in_sig63"].as_u64().unwrap());
            let libsession = array_from_b64(text(&item, "xed25519_signature_libsession_random")).unwrap();
            message::verify(&author, &data, &libsession).unwrap();
            let strict =
                keys::verify_ed25519(&keys::ed25519_from_x25519(author.key()).unwrap(), &data, &theirs);
            assert_eq!(
                strict.is_ok(),
                item["verifies_as_plain_xed25519_libsession"].as_bool().unwrap()
            );
            // The strict verifier must always accept our signatures.
            let key = keys::ed25519_from_x25519(author.key()).unwrap();
            keys::verify_ed25519(&key, &ours.data, &ours.signature).unwrap();
            let plain = array_from_b64(text(&item, "plain_ed25519_signature_MUST_NOT_BE_USED")).unwrap();
            assert_eq!(plain, me.sign(&data));
            assert_eq!(
                message::verify(&author, &data, &plain).is_ok(),
                item["plain_ed25519_verifies_as_xed25519"].as_bool().unwrap()
            );
        } else {
            // Same nonce derivation as session.js, so here the bytes are equal.
            assert_eq!(ours.signature, theirs);
        }
    }
}

#[test]
fn padding() {
    for item in items("padding") {
        let len = usize::try_from(item["content_len"].as_u64().unwrap()).unwrap();
        for (padding, key) in [
            (Padding::BlockLessOne, "sessionjs_old_desktop_len"),
            (Padding::Block, "libsession_len"),
        ] {
            let content = vec![0x80; len];
            let padded = padding.pad(content.clone());
            assert_eq!(padded.len() as u64, item[key].as_u64().unwrap(), "{len} {key}");
            assert_eq!(padding.padded_len(len), padded.len());
            assert_eq!(unpad(&padded), content);
        }
    }
    let (first, more) = (vectors(), more_vectors());
    let unpads = [&first, &more].map(|vectors| vectors["padding"]["unpad"].as_array().unwrap());
    for item in unpads.into_iter().flatten() {
        assert_eq!(
            hex::encode(unpad(&hex::decode(text(item, "in")).unwrap())),
            text(item, "out"),
            "{item}"
        );
    }
}

#[test]
fn onion_v4() {
    let server = server();
    for item in items("onion_v4") {
        let cipher = Cipher::from_name(text(&item, "enc_type")).unwrap();
        let plaintext = text(&item, "plaintext").as_bytes();
        let iv = hex::decode(text(&item, "iv")).unwrap();
        let secret = bytes(&item, "ephemeral_private");
        let sealed = Sealed::with(plaintext, &server.public(), cipher, secret, &iv).unwrap();
        assert_eq!(sealed.ephemeral, bytes(&item, "ephemeral_public"));
        assert_eq!(sealed.reply.expose_key(), &bytes(&item, "shared_key"));

        // The same blob; behind it the same JSON in another spacing.
        let theirs = hex::decode(text(&item, "request_body_hex")).unwrap();
        let ours = sealed.to_body();
        let blob_end = 4 + sealed.blob.len();
        assert_eq!(ours[..blob_end], theirs[..blob_end]);
        let json = |body: &[u8]| serde_json::from_slice::<Value>(&body[blob_end..]).unwrap();
        let (mut ours_json, theirs_json) = (json(&ours), json(&theirs));
        if theirs_json.get("enc_type").is_some() {
            ours_json["enc_type"] = theirs_json["enc_type"].clone();
        }
        assert_eq!(ours_json, theirs_json);

        let opened = onion::open(&theirs, &server).unwrap();
        assert_eq!(opened.plaintext, plaintext);
        let (request, key) = v4::Request::open(&theirs, &server).unwrap();
        assert_eq!(
            request.to_plaintext(),
            plaintext,
            "the metadata is written as the reference writes it"
        );
        assert_eq!(key.expose_key(), sealed.reply.expose_key());

        let reply = hex::decode(text(&item, "reply_body_hex_random_iv")).unwrap();
        assert_eq!(
            sealed.reply.open(&reply).unwrap(),
            text(&item, "reply_plaintext").as_bytes()
        );
        let response = v4::Response::open(&reply, &sealed.reply).unwrap();
        assert_eq!(response.code, 200);
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert!(serde_json::from_slice::<Value>(&response.body).is_ok());

        let mut changed = theirs.clone();
        changed[4 + iv.len()] ^= 1;
        assert_eq!(
            onion::open(&changed, &server).unwrap_err(),
            OnionError::Decryption
        );
    }
}

#[test]
fn blinded_dm() {
    let server = server().public();
    for item in items("blinded_dm") {
        let (alice, bob) = (who(&item, "sender_seed"), who(&item, "recipient_seed"));
        let padded = hex::decode(text(&item, "plaintext_padded_hex")).unwrap();
        for (from, to, fixed, random) in [
            (
                "sender_id15",
                "recipient_id15",
                Some("message_b64_fixed_nonce"),
                "message_b64_libsession_random_nonce",
            ),
            (
                "sender_id25",
                "recipient_id25",
                None,
                "message25_b64_libsession_random_nonce",
            ),
        ] {
            let (from, to): (SessionId, SessionId) = (
                text(&item, from).parse().unwrap(),
                text(&item, to).parse().unwrap(),
            );
            let sending = Conversation::new(&alice, &to, &server).unwrap();
            let receiving = Conversation::new(&bob, &from, &server).unwrap();
            assert_eq!((sending.my_id(), receiving.my_id()), (from, to));
            let nonce = bytes(&item, "nonce");
            if let Some(fixed) = fixed {
                assert_eq!(b64(sending.seal(&padded, &nonce)), text(&item, fixed));
            }
            for message in [
                sending.seal(&padded, &nonce),
                from_b64(text(&item, random)).unwrap(),
            ] {
                for opened in [receiving.open_received(&message), sending.open_sent(&message)] {
                    let opened = opened.unwrap();
                    assert_eq!(opened.data, padded);
                    assert_eq!(opened.sender.to_string(), text(&item, "sender_session_id"));
                }
                // Turned around, between others, changed: none of it opens.
                assert_eq!(sending.open_received(&message), Err(DmError::Decryption));
                let mut changed = message.clone();
                changed[20] ^= 1;
                assert_eq!(receiving.open_received(&changed), Err(DmError::Decryption));
                changed[0] = 1;
                assert_eq!(receiving.open_received(&changed), Err(DmError::UnknownVersion(1)));
                assert_eq!(receiving.open_received(&message[..72]), Err(DmError::Truncated));
            }
        }
        assert!(matches!(
            Conversation::new(&alice, &bob.session_id(), &server),
            Err(DmError::NotBlinded)
        ));
    }
}
