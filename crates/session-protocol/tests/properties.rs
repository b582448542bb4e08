//! Round trips, and any bytes into every decoder.

use getrandom::SysRng;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rand_core::UnwrapErr;
use session_protocol::auth::{RawHeaders, Request, Signer, Unverified};
use session_protocol::blind::Blinder;
use session_protocol::content::{
    AttachmentPointer, Content, DataMessage, Invitation, Preview, Profile, Quote, QuotedAttachment, Reaction,
};
use session_protocol::dm::Conversation;
use session_protocol::keys::{ed25519_from_x25519, x25519_from_ed25519};
use session_protocol::message::{self, SignedPost};
use session_protocol::onion::path::{self, Destination, Hop, Peeled};
use session_protocol::onion::{self, Cipher, Sealed, bencode, v3, v4};
use session_protocol::padding::{Padding, unpad};
use session_protocol::{Identity, JoinLink, Prefix, RoomToken, ServerKey, ServerSecret, SessionId, mnemonic};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "\\PC{0,20}"]
}

fn pointer() -> impl Strategy<Value = AttachmentPointer> {
    (
        any::<u64>(),
        option::of(text()),
        option::of(vec(any::<u8>(), 0..40)),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(any::<u32>()),
        option::of((any::<u32>(), any::<u32>())),
        option::of(text()),
    )
        .prop_map(
            |(id, content_type, key, size, file_name, flags, area, url)| AttachmentPointer {
                id,
                content_type,
                digest: key.clone(),
                key,
                size,
                caption: file_name.clone(),
                file_name,
                flags,
                width: area.map(|(width, _)| width),
                height: area.map(|(_, height)| height),
                url,
            },
        )
}

fn quote() -> impl Strategy<Value = Quote> {
    (
        option::of(any::<u64>()),
        option::of(text()),
        option::of(text()),
        vec(option::of(pointer()), 0..3),
    )
        .prop_map(|(id, author, text, thumbnails)| Quote {
            id,
            author,
            attachments: thumbnails
                .into_iter()
                .map(|thumbnail| QuotedAttachment {
                    thumbnail,
                    file_name: text.clone(),
                    ..Default::default()
                })
                .collect(),
            text,
        })
}

fn content() -> impl Strategy<Value = Content> {
    let message = (
        option::of(text()),
        vec(pointer(), 0..4),
        option::of(any::<u32>()),
        option::of(any::<u64>()),
        option::of(quote()),
        vec(
            (option::of(text()), option::of(text()), option::of(pointer())),
            0..3,
        ),
        option::of((text(), option::of(text()), option::of(any::<u64>()))),
        option::of((text(), text(), any::<i32>())),
    )
        .prop_map(
            |(body, attachments, flags, timestamp, quote, previews, profile, other)| DataMessage {
                body,
                attachments,
                flags,
                profile_key: timestamp.map(|t| t.to_le_bytes().to_vec()),
                timestamp,
                quote,
                previews: previews
                    .into_iter()
                    .map(|(url, title, image)| Preview { url, title, image })
                    .collect(),
                reaction: other.clone().map(|(author, emoji, action)| Reaction {
                    id: timestamp,
                    author: Some(author),
                    emoji: Some(emoji),
                    action: Some(action),
                }),
                profile: profile.map(|(name, profile_picture, last_update_seconds)| Profile {
                    display_name: Some(name),
                    profile_picture,
                    last_update_seconds,
                }),
                invitation: other.clone().map(|(url, name, _)| Invitation {
                    url: Some(url),
                    name: Some(name),
                }),
                sync_target: other.map(|(target, _, _)| target),
                blocks_community_message_requests: flags.map(|flags| flags % 2 == 0),
            },
        );
    (option::of(message), option::of(any::<u64>())).prop_map(|(data_message, sig_timestamp)| Content {
        data_message,
        sig_timestamp,
    })
}

fn seed() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::btree_map("[a-z][a-z-]{0,15}", "[ -~]{0,30}", 0..6)
        .prop_map(|map| map.into_iter().collect())
}

fn cipher() -> impl Strategy<Value = Cipher> {
    prop_oneof![Just(Cipher::AesGcm), Just(Cipher::XChaCha20)]
}

proptest! {
    #[test]
    fn content_comes_back(content in content()) {
        prop_assert_eq!(Content::decode_bounded(&content.to_bytes()).unwrap(), content);
    }

    #[test]
    fn padding_comes_off(content in vec(any::<u8>(), 0..700)) {
        for (padding, remainder) in [(Padding::Block, 0), (Padding::BlockLessOne, 159)] {
            let padded = padding.pad(content.clone());
            prop_assert_eq!(padded.len() % 160, remainder);
            prop_assert_eq!(padded.len(), padding.padded_len(content.len()));
            prop_assert_eq!(unpad(&padded), &content[..]);
        }
    }

    #[test]
    fn lists_come_back(first in vec(any::<u8>(), 0..300), second in option::of(vec(any::<u8>(), 0..300))) {
        let strings: Vec<&[u8]> = [Some(&first), second.as_ref()].into_iter().flatten().map(Vec::as_slice).collect();
        let encoded = bencode::encode_list(&strings);
        prop_assert_eq!(bencode::decode_list(&encoded).unwrap(), (first.as_slice(), second.as_deref()));
    }

    #[test]
    fn phrases_come_back(entropy in any::<[u8; 16]>()) {
        let phrase = mnemonic::encode(&entropy);
        prop_assert_eq!(phrase.split(' ').count(), 13);
        prop_assert_eq!(*mnemonic::decode(&phrase).unwrap(), entropy);
    }

    #[test]
    fn links_come_back(host in "[a-z]{1,10}(\\.[a-z]{2,6}){0,2}(:[1-9][0-9]{1,3})?", token in "[A-Za-z0-9_-]{1,64}", key in any::<[u8; 32]>()) {
        let link = JoinLink::new(format!("https://{host}"), RoomToken::new(token).unwrap(), ServerKey::from_bytes(key));
        prop_assert_eq!(link.to_string().parse::<JoinLink>().unwrap(), link);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,200}") {
        let _ = text.parse::<JoinLink>();
        let _ = text.parse::<SessionId>();
        let _ = text.parse::<ServerKey>();
        let _ = mnemonic::decode(&text);
        let raw = RawHeaders { pubkey: Some(&text), nonce: Some(&text), timestamp: Some(&text), signature: Some(&text) };
        prop_assert!(Unverified::parse(raw, false, 0).is_err() || text.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..2000)) {
        let secret = ServerSecret::from_bytes([7; 32]);
        let _ = Content::decode_bounded(&bytes);
        let _ = message::open(&bytes);
        let _ = unpad(&bytes);
        let _ = bencode::decode_list(&bytes);
        let _ = onion::open(&bytes, &secret);
        let _ = path::peel(&bytes, &secret);
        let _ = v4::Request::from_plaintext(&bytes);
        let _ = v4::Response::from_plaintext(&bytes);
        let _ = v3::Request::from_plaintext(&bytes);
        let (me, them) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let conversation = Conversation::new(&me, &them.blind15(&secret.public()).id(), &secret.public()).unwrap();
        prop_assert!(conversation.open_received(&bytes).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn posts_verify_under_the_shown_id_and_nothing_else(seed in seed(), server in any::<[u8; 32]>(), content in content(), at in any::<prop::sample::Index>()) {
        let me = Identity::from_seed(seed);
        let server = ServerKey::from_bytes(server);
        for signer in [Signer::account(&me), Signer::blind15(&me, &server), Signer::blind25(&me, &server)] {
            let post = SignedPost::new(&content, &signer, Padding::Block);
            message::verify(&signer.shown_id(), &post.data, &post.signature).unwrap();
            prop_assert_eq!(&message::open(&post.data).unwrap(), &content);
            let mut other = post.data.clone();
            other[at.index(post.data.len())] ^= 1;
            prop_assert!(message::verify(&signer.shown_id(), &other, &post.signature).is_err());
            let mut other = post.signature;
            other[at.index(63)] ^= 1;
            prop_assert!(message::verify(&signer.shown_id(), &post.data, &other).is_err());
        }
    }

    #[test]
    fn requests_verify_and_blinded_ids_match(seed in seed(), server in any::<[u8; 32]>(), path in "/[\\PC]{0,30}", body in vec(any::<u8>(), 0..100), nonce in any::<[u8; 16]>()) {
        let me = Identity::from_seed(seed);
        let server = ServerKey::from_bytes(server);
        let request = Request { method: "POST", path: &path, body: &body };
        for signer in [Signer::account(&me), Signer::blind15(&me, &server), Signer::blind25(&me, &server)] {
            let headers = request.sign(&signer, &server, &nonce, 1_000);
            let unverified = Unverified::parse(headers.as_raw(), false, 1_000).unwrap().unwrap();
            let verified = unverified.verify(&server, &request).unwrap();
            prop_assert_eq!(verified.id(), signer.shown_id());
        }
        let blinder = Blinder::new(&server);
        prop_assert!(blinder.matches(&me.session_id(), &me.blind15(&server).id()));
        prop_assert!(blinder.matches(&me.session_id(), &me.blind25(&server).id()));
        let candidates = blinder.candidates15(&me.session_id()).unwrap();
        prop_assert!(candidates.contains(&me.blind15(&server).id()));
        for blinded in candidates {
            prop_assert_eq!(blinder.account15(&blinded).unwrap(), me.session_id());
        }
        prop_assert!(blinder.account15(&me.session_id()).is_err());
    }

    #[test]
    fn all_ids_of_an_account_at_once_are_those_of_the_single_functions(seed in any::<[u8; 32]>(), server in any::<[u8; 32]>()) {
        let me = Identity::from_seed(seed);
        let server = ServerKey::from_bytes(server);
        let blinder = Blinder::new(&server);
        let account_of = |ed25519: &[u8; 32]| SessionId::new(Prefix::Account, x25519_from_ed25519(ed25519).unwrap());
        let ids = blinder.ids(&me.session_id()).unwrap();
        for blinded in blinder.candidates15(&me.session_id()).unwrap() {
            prop_assert_eq!(blinder.ids(&blinded).unwrap(), ids);
        }
        prop_assert_eq!(ids.account, me.session_id());
        prop_assert_eq!(ids.ed25519, ed25519_from_x25519(me.x25519_public()).unwrap());
        prop_assert_eq!(ids.blind15, blinder.candidates15(&me.session_id()).unwrap()[0]);
        prop_assert_eq!(ids.blind25, blinder.id25(&me.session_id()).unwrap());
        let beyond = |key: &[u8; 32]| blinder.candidates15(&account_of(key)).unwrap()[0];
        prop_assert_eq!([ids.beyond15, ids.beyond25], [ids.blind15, ids.blind25].map(|id| beyond(id.key())));
        let key = ids.blind25.key();
        let owner = blinder.account15(&SessionId::new(Prefix::Blind15, *key)).unwrap();
        prop_assert_eq!(blinder.beyond(key).unwrap(), [beyond(key), blinder.id25(&owner).unwrap()]);
        prop_assert!(blinder.ids(&ids.blind25).is_err());
        prop_assert!(blinder.ids(&SessionId::new(Prefix::Account, [0; 32])).is_err());
        prop_assert!(blinder.beyond(&[0; 32]).is_err());
    }

    #[test]
    fn onion_requests_and_replies_come_back(server in any::<[u8; 32]>(), cipher in cipher(), endpoint in "/\\PC{0,40}", headers in headers(), body in option::of(vec(any::<u8>(), 0..500)), code in 100u16..1000) {
        let mut rng = UnwrapErr(SysRng);
        let server = ServerSecret::from_bytes(server);
        let request = v4::Request { method: "POST".to_owned(), endpoint: endpoint.clone(), headers: headers.clone(), body: body.clone() };
        let sealed = request.seal(&server.public(), cipher, &mut rng).unwrap();
        let (opened, key) = v4::Request::open(&sealed.to_body(), &server).unwrap();
        prop_assert_eq!(opened, request);
        let headers: Vec<_> = headers.into_iter().filter(|(name, _)| name != "content-length").collect();
        let response = v4::Response { code, headers: headers.clone(), body: body.clone().unwrap_or_default() };
        prop_assert_eq!(v4::Response::open(&response.seal(&key, &mut rng), &sealed.reply).unwrap(), response);

        let request = v3::Request { method: "GET".to_owned(), endpoint, headers, body: String::from_utf8_lossy(&body.clone().unwrap_or_default()).into_owned() };
        let sealed = request.seal(&server.public(), cipher, &mut rng).unwrap();
        let (opened, key) = v3::Request::open(&sealed.to_body(), &server).unwrap();
        prop_assert_eq!(opened, request);
        let body = body.unwrap_or_default();
        let reply = v3::seal_reply(200, &body, &key, &mut rng);
        prop_assert_eq!(v3::open_reply(reply.as_bytes(), &sealed.reply).unwrap(), body);
    }

    #[test]
    fn hops_pass_on_what_the_client_sealed(secrets in vec(any::<[u8; 32]>(), 0..4), server in any::<[u8; 32]>(), plaintext in vec(any::<u8>(), 0..200), cipher in cipher()) {
        let mut rng = UnwrapErr(SysRng);
        let server = ServerSecret::from_bytes(server);
        let secrets: Vec<_> = secrets.into_iter().map(ServerSecret::from_bytes).collect();
        let hops: Vec<_> = (0u8..).zip(&secrets).map(|(n, secret)| Hop { x25519: *secret.public().as_bytes(), ed25519: [n; 32] }).collect();
        let destination = Destination { host: "sogs.example.org".to_owned(), port: 8080, protocol: "http".to_owned(), target: v4::PATH.to_owned() };
        let sealed = Sealed::new(&plaintext, &server.public(), cipher, &mut rng).unwrap();
        let mut body = path::wrap(&sealed, &destination, &hops, cipher, &mut rng).unwrap();
        for (at, secret) in secrets.iter().enumerate() {
            match path::peel(&body, secret).unwrap() {
                Peeled::Forward { ed25519, body: next } => {
                    prop_assert_eq!(ed25519, hops[at + 1].ed25519);
                    body = next;
                }
                Peeled::Deliver { destination: found, body: next } => {
                    prop_assert_eq!(at, secrets.len() - 1);
                    prop_assert_eq!(&found, &destination);
                    body = next;
                }
            }
        }
        let opened = onion::open(&body, &server).unwrap();
        prop_assert_eq!(opened.plaintext, plaintext);
        prop_assert_eq!(opened.reply.expose_key(), sealed.reply.expose_key());
    }

    #[test]
    fn direct_messages_come_back_and_name_their_sender(a in seed(), b in seed(), server in any::<[u8; 32]>(), data in vec(any::<u8>(), 0..400), nonce in any::<[u8; 24]>()) {
        prop_assume!(a != b);
        let server = ServerKey::from_bytes(server);
        let (alice, bob) = (Identity::from_seed(a), Identity::from_seed(b));
        for (from, to) in [(alice.blind15(&server).id(), bob.blind15(&server).id()), (alice.blind25(&server).id(), bob.blind25(&server).id())] {
            let sending = Conversation::new(&alice, &to, &server).unwrap();
            let sealed = sending.seal(&data, &nonce);
            let opened = Conversation::new(&bob, &from, &server).unwrap().open_received(&sealed).unwrap();
            prop_assert_eq!(&opened.data, &data);
            prop_assert_eq!(opened.sender, alice.session_id());
            prop_assert_eq!(sending.open_sent(&sealed).unwrap(), opened);
        }
    }
}
