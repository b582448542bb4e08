//! Servers that swap, hide, repeat and add things, and contacts with worthless keys.

use ::omemo::{Bundle, DeviceId, DeviceList, Encrypted, Identity, MessageBuilder, Session};

use super::super::element::{from_omemo, to_omemo};
use super::super::report::EncryptionReport;
use super::super::system::{now, rng};
use super::*;
use crate::message::{About, Note};

fn id_of(person: &Person) -> u32 {
    let omemo = person.account.omemo.as_ref().unwrap();
    omemo.own_device(&person.jid()).unwrap().unwrap().device
}

fn report(part: &Part) -> EncryptionReport {
    let report = part.notes.iter().find_map(|note| match note {
        Note::Encrypted(report) => Some((**report).clone()),
        _ => None,
    });
    report.expect("it is encrypted")
}

fn names_a_changed_key(part: &Part) -> bool {
    report(part).new_keys.iter().any(|key| key.changed)
}

/// Publishes a bundle with a valid signature and prekeys that no key can be agreed with.
async fn publish_worthless_prekeys(pep: &Arc<Mutex<Pep>>, of: &Person) {
    let account = of.device.change(|_, state| state.account()).await.unwrap();
    let mut bundle: Bundle = account.bundle(Version::Axolotl);
    for prekey in &mut bundle.prekeys {
        prekey.key = [0; 32];
    }
    assert!(bundle.verify().is_ok());
    let (node, item) = Version::Axolotl.bundle_address(account.device_id());
    let element = from_omemo(&bundle.to_element().unwrap());
    let key = (of.jid().to_string(), node);
    pep.lock().unwrap().items.insert(key, vec![(item, element)]);
}

#[test]
fn a_device_with_worthless_prekeys_is_left_out_and_stops_no_message() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let mut alice = Person::new(&pep, "alice");
        let (mut phone, mut bad) = (Person::new(&pep, "bob"), Person::new(&pep, "bob"));
        phone.publish().await;
        bad.publish().await;
        publish_worthless_prekeys(&pep, &bad).await;
        let part = alice.text(&phone, "for the good device").await;
        assert_eq!(
            phone.read(&alice, &part.xml).await.as_deref(),
            Ok("for the good device")
        );
        let left_out = report(&part).left_out;
        assert_eq!(
            (left_out[0].device, left_out[0].reason),
            (Some(id_of(&bad)), LeftOutReason::BadBundle)
        );
        // The same bundle is fetched to start a lost session again.
        let unknown = bad.text(&alice, "of a session that alice loses").await;
        alice.read(&bad, &unknown.xml).await.unwrap();
        let forget = alice.device.change(|_, state| {
            state.sessions.clear();
            Ok(())
        });
        forget.await.unwrap();
        let mut empty =
            MessageBuilder::empty(Version::Axolotl, DeviceId::new(id_of(&bad)).unwrap(), &mut rng()).finish();
        let to = DeviceId::new(id_of(&alice)).unwrap();
        empty.keys.push(::omemo::RecipientKey {
            jid: None,
            device: to,
            key: a_later_key(),
        });
        let stanza = Element::new("message", ns::CLIENT).child(from_omemo(&empty.to_element()));
        let opened = alice.open(&bad, &stanza).await;
        assert!(
            matches!(opened, Opened::Failed { repair: true, .. }),
            "{opened:?}"
        );
        let part = alice.text(&phone, "still delivered").await;
        assert_eq!(
            phone.read(&alice, &part.xml).await.as_deref(),
            Ok("still delivered")
        );
    });
}

/// A key without key exchange, of a session that the receiver does not have.
fn a_later_key() -> ::omemo::EncryptedKey {
    let (mut one, mut other) = (
        ::omemo::Account::new(
            Identity::generate(&mut rng()),
            DeviceId::random(&mut rng()),
            0,
            &mut rng(),
        ),
        ::omemo::Account::new(
            Identity::generate(&mut rng()),
            DeviceId::random(&mut rng()),
            0,
            &mut rng(),
        ),
    );
    let mut session = Session::initiate(&one, &other.bundle(Version::Axolotl), &mut rng()).unwrap();
    let mut slot = None;
    let mut message = MessageBuilder::empty(Version::Axolotl, one.device_id(), &mut rng());
    message.add("other", other.device_id(), &mut session).unwrap();
    other
        .decrypt(&message.finish(), "other", &mut slot, &mut rng())
        .unwrap();
    let mut answer = MessageBuilder::empty(Version::Axolotl, other.device_id(), &mut rng());
    answer
        .add("one", one.device_id(), slot.as_mut().unwrap())
        .unwrap();
    let answer = answer.finish();
    let mut slot = Some(session);
    one.decrypt(&answer, "one", &mut slot, &mut rng()).unwrap();
    slot.unwrap().encrypt(&[0; 16]).unwrap()
}

/// Another identity under the device id of a person, as a server can make it up.
async fn impostor(pep: &Arc<Mutex<Pep>>, of: &Person) -> Person {
    let id = id_of(of);
    let mut again = Person::new(pep, "bob");
    let make = again.device.change(move |_, state| {
        let identity = Identity::generate(&mut rng());
        let id = DeviceId::new(id).unwrap();
        state.set_account(&::omemo::Account::new(identity, id, now(), &mut rng()));
        Ok(())
    });
    make.await.unwrap();
    again.publish().await;
    again
}

/// A server answers the repair of a session, which it provoked itself, with a bundle of its own.
#[test]
fn a_key_that_changes_while_a_session_is_repaired_is_told() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let part = alice.text(&bob, "before").await;
        bob.read(&alice, &part.xml).await.unwrap();
        bob.follow_up().await;
        let part = alice.text(&bob, "reads the answer").await;
        assert!(!names_a_changed_key(&part));
        impostor(&pep, &bob).await;
        let mut empty =
            MessageBuilder::empty(Version::Axolotl, DeviceId::new(id_of(&bob)).unwrap(), &mut rng()).finish();
        empty.keys.push(::omemo::RecipientKey {
            jid: None,
            device: DeviceId::new(id_of(&alice)).unwrap(),
            key: a_later_key(),
        });
        let stanza = Element::new("message", ns::CLIENT).child(from_omemo(&empty.to_element()));
        let opened = alice.open(&bob, &stanza).await;
        assert!(
            matches!(opened, Opened::Failed { repair: true, .. }),
            "{opened:?}"
        );
        let part = alice.text(&bob, "for whom").await;
        assert!(names_a_changed_key(&part), "{:?}", report(&part));
        let part = alice.text(&bob, "told once").await;
        assert!(!names_a_changed_key(&part), "{:?}", report(&part));
    });
}

/// A one-shot sender reads empty messages from the archive, with no person to see whose they are.
#[test]
fn a_key_that_changes_by_an_archived_empty_message_is_told() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        alice.text(&bob, "before").await;
        let mut other = impostor(&pep, &bob).await;
        let (account, bundle) = (
            other.device.change(|_, state| state.account()).await.unwrap(),
            alice.device.change(|_, state| state.account()).await.unwrap(),
        );
        let (to, bundle) = (bundle.device_id(), bundle.bundle(Version::Axolotl));
        let mut session = Session::initiate(&account, &bundle, &mut rng()).unwrap();
        let mut message = MessageBuilder::empty(Version::Axolotl, account.device_id(), &mut rng());
        message.add("alice@x.example", to, &mut session).unwrap();
        let stanza = Element::new("message", ns::CLIENT)
            .attr("to", "alice@x.example")
            .child(from_omemo(&message.finish().to_element()));
        other.wire.send_unconfirmed(stanza.to_xml()).await;
        let part = alice.text(&bob, "for whom").await;
        assert!(!pep.lock().unwrap().archives.contains_key("alice@x.example"));
        assert!(names_a_changed_key(&part), "{:?}", report(&part));
    });
}

/// The own server can refuse keys at any time. That must not turn encryption off for people who have keys.
#[test]
fn a_server_that_takes_no_keys_any_more_gets_no_clear_text() {
    run(async {
        for refused in [Some("not-allowed"), None] {
            let pep = Arc::new(Mutex::new(Pep::default()));
            let mut alice = Person::with(&pep, "alice", |omemo| omemo.mode(EncryptionMode::Auto));
            let mut bob = Person::new(&pep, "bob");
            bob.publish().await;
            alice.text(&bob, "known from now on").await;
            let daily = alice.device.change(|_, state| {
                state.published = 0;
                Ok(())
            });
            daily.await.unwrap();
            pep.lock().unwrap().faults.failures = usize::MAX;
            pep.lock().unwrap().faults.refusal = refused;
            let message = Outgoing::new(Target::User(bob.jid()), Content::text("a secret"));
            let sent = alice.send(message).await;
            assert!(matches!(sent, Err(XmppError::Encryption(_))), "{sent:?}");
        }
        // A server that never took any is no reason to say nothing.
        let pep = Arc::new(Mutex::new(Pep::default()));
        pep.lock().unwrap().faults.failures = usize::MAX;
        pep.lock().unwrap().faults.refusal = Some("not-allowed");
        let mut alice = Person::with(&pep, "alice", |omemo| omemo.mode(EncryptionMode::Auto));
        let to = Target::User("bob@x.example".parse().unwrap());
        let part = alice
            .send(Outgoing::new(to.clone(), Content::text("in clear")))
            .await;
        assert!(matches!(part.unwrap().notes[..], [Note::NotEncrypted(_)]));
        // A failure that passes is waited for.
        pep.lock().unwrap().faults.refusal = None;
        let later = alice.send(Outgoing::new(to, Content::text("later"))).await;
        assert!(later.is_err_and(|error| !error.is_permanent()));
    });
}

/// A reply refers to another message, which has no encrypted form. Its text must not go out in clear text for that.
#[test]
fn the_text_of_a_reply_to_somebody_with_keys_is_never_clear() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let mut alice = Person::with(&pep, "alice", |omemo| omemo.mode(EncryptionMode::Auto));
        let mut bob = Person::new(&pep, "bob");
        bob.publish().await;
        alice.text(&bob, "known from now on").await;
        let mut reply = Outgoing::new(Target::User(bob.jid()), Content::text("a secret"));
        reply.about = Some(About::Reply {
            id: "earlier".to_owned(),
            to: None,
            quoted: 0,
        });
        let sent = alice.send(reply.clone()).await;
        assert!(matches!(sent, Err(XmppError::Encryption(_))), "{sent:?}");
        // Nothing is known of this one, and an emoji alone tells no text.
        reply.target = Target::User("carol@x.example".parse().unwrap());
        assert!(alice.send(reply).await.is_ok());
        let mut reaction = Outgoing::new(Target::User(bob.jid()), Content::default());
        reaction.about = Some(About::Reactions {
            id: "earlier".to_owned(),
            emoji: vec!["👍".to_owned()],
        });
        let part = alice.send(reaction).await.unwrap();
        assert!(matches!(part.notes[..], [Note::NotEncrypted(_)]));
    });
}

/// Elements that a server adds beside an encrypted message must not change what it says.
#[test]
fn nothing_beside_a_message_of_the_newer_version_changes_it() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        let node = Version::Axolotl.device_list_node().to_owned();
        pep.lock()
            .unwrap()
            .items
            .remove(&("bob@x.example".to_owned(), node));
        let part = alice.text(&bob, "do not stop the pump").await;
        let mut stanza = parse(&part.xml);
        for (name, namespace) in [
            ("reply", ns::REPLY),
            ("retract", ns::RETRACT),
            ("retract", ns::RETRACT_0),
            ("x", ns::BRIDGE),
            ("reactions", ns::REACTIONS),
            ("anything", "urn:example:later"),
        ] {
            stanza.push(Element::new(name, namespace).attr("id", "1"));
        }
        stanza.push(fallback(0, 7));
        let Opened::Content(content) = bob.open(&alice, &stanza).await else {
            panic!("it can be read");
        };
        let clear = in_clear(&stanza, &content);
        let names: Vec<String> = clear
            .elements()
            .map(|child| format!("{} {}", child.name, child.ns))
            .collect();
        assert_eq!(
            names,
            [
                "store urn:xmpp:hints",
                "origin-id urn:xmpp:sid:0",
                "body jabber:client"
            ]
        );
    });
}

/// In the older version a quotation is marked beside the text. Only lines that quote may be hidden by it.
#[test]
fn a_fallback_beside_the_older_version_hides_quotations_and_nothing_else() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        for (text, start, end, stays) in [
            ("> stop the pump?\ndo not", 0, 17, true),
            ("> stop the pump?\n\ndo not", 0, 18, true),
            ("do not stop the pump", 0, 7, false),
            ("> really?\nnot now", 0, 14, false),
            ("> really?\nnot now", 2, 10, false),
            ("short", 0, 5000, false),
        ] {
            let part = alice
                .send(Outgoing::new(Target::User(bob.jid()), Content::text(text)))
                .await
                .unwrap();
            let mut stanza = parse(&part.xml);
            stanza.push(fallback(start, end));
            let Opened::Content(content) = bob.open(&alice, &stanza).await else {
                panic!("it can be read");
            };
            let clear = in_clear(&stanza, &content);
            assert_eq!(clear.content_of("body", ns::CLIENT).as_deref(), Some(text));
            assert_eq!(clear.find("fallback", ns::FALLBACK).is_some(), stays, "{text}");
        }
    });
}

fn fallback(start: usize, end: usize) -> Element {
    let range = Element::new("body", ns::FALLBACK)
        .attr("start", start.to_string())
        .attr("end", end.to_string());
    Element::new("fallback", ns::FALLBACK)
        .attr("for", ns::REPLY)
        .child(range)
}

/// One text in both versions for one device, as some clients send it.
#[test]
fn a_message_in_both_versions_is_shown_once_and_one_part_is_enough() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        alice.publish().await;
        let sender = alice.device.change(|_, state| state.account()).await.unwrap();
        let receiver = bob.device.change(|_, state| state.account()).await.unwrap();
        let mut parts = Vec::new();
        for version in VERSIONS {
            let mut session = Session::initiate(&sender, &receiver.bundle(version), &mut rng()).unwrap();
            let text = match version {
                Version::Axolotl => b"once".to_vec(),
                Version::Omemo2 => ::omemo::xml::Envelope::text("alice@x.example", "once")
                    .to_bytes(&mut rng())
                    .to_vec(),
            };
            let mut message = MessageBuilder::new(version, sender.device_id(), &text, &mut rng()).unwrap();
            message
                .add("bob@x.example", receiver.device_id(), &mut session)
                .unwrap();
            parts.push(from_omemo(&message.finish().to_element()));
        }
        let stanza = |parts: &[Element]| {
            let message = Element::new("message", ns::CLIENT);
            parts
                .iter()
                .fold(message, |message, part| message.child(part.clone()))
        };
        // The newer part is damaged: the older one is read.
        let spare = bob.clone();
        let mut damaged = Encrypted::from_element(&to_omemo(&parts[1])).unwrap();
        damaged.payload.as_mut().unwrap()[0] ^= 1;
        let damaged = stanza(&[parts[0].clone(), from_omemo(&damaged.to_element())]);
        let saved = {
            let mut bytes = None;
            let store = spare.account.omemo.as_ref().unwrap().store.clone();
            store
                .update(&mut |saved| {
                    bytes = saved.map(|saved| zeroize::Zeroizing::new(saved.to_vec()));
                    None
                })
                .unwrap();
            bytes.unwrap()
        };
        assert_eq!(bob.read(&alice, &damaged.to_xml()).await.as_deref(), Ok("once"));
        bob.account
            .omemo
            .as_ref()
            .unwrap()
            .store
            .update(&mut |_| Some(saved.clone()))
            .unwrap();
        assert_eq!(
            bob.read(&alice, &stanza(&parts).to_xml()).await.as_deref(),
            Ok("once")
        );
        // A server can send each part again by itself.
        for part in &parts {
            let again = bob.open(&alice, &stanza(std::slice::from_ref(part))).await;
            assert!(matches!(again, Opened::Quiet), "{again:?}");
        }
    });
}

/// One account may list any number of devices. It costs the others neither time nor place.
#[test]
fn bundles_of_a_bounded_number_of_devices_are_fetched_for_one_account() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let mut list = DeviceList::new(Version::Axolotl);
        list.insert(DeviceId::new(id_of(&bob)).unwrap());
        for id in 1..1000 {
            list.insert(DeviceId::new(id).unwrap());
        }
        let key = (
            "bob@x.example".to_owned(),
            Version::Axolotl.device_list_node().to_owned(),
        );
        let item = ("current".to_owned(), from_omemo(&list.to_element()));
        pep.lock().unwrap().items.insert(key, vec![item]);
        let before = pep.lock().unwrap().questions;
        alice.text(&bob, "hello").await;
        let asked = pep.lock().unwrap().questions - before;
        assert!(asked <= 110, "{asked} questions");
    });
}

/// Strangers provoke repairs at will. A message to somebody else does not wait for their servers.
#[test]
fn a_message_does_not_wait_for_repairs_with_strangers() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let part = alice.text(&bob, "before").await;
        bob.read(&alice, &part.xml).await.unwrap();
        bob.follow_up().await;
        alice.text(&bob, "reads the answer").await;
        let key = a_later_key();
        let to = DeviceId::new(id_of(&alice)).unwrap();
        let mut repairs = 0;
        for id in 1..=40 {
            let mut empty =
                MessageBuilder::empty(Version::Axolotl, DeviceId::new(id).unwrap(), &mut rng()).finish();
            empty.keys.push(::omemo::RecipientKey {
                jid: None,
                device: to,
                key: key.clone(),
            });
            let stanza = Element::new("message", ns::CLIENT).child(from_omemo(&empty.to_element()));
            let eve = Person::new(&pep, "eve");
            let opened = alice.open(&eve, &stanza).await;
            repairs += usize::from(matches!(opened, Opened::Failed { repair: true, .. }));
        }
        assert_eq!(repairs, 8, "of one account in a day");
        let before = pep.lock().unwrap().questions;
        alice.text(&bob, "at once").await;
        assert_eq!(pep.lock().unwrap().questions, before);
        // A program that listens does the work.
        alice.follow_up().await;
        assert_eq!(pep.lock().unwrap().questions, before + 8);
    });
}

/// A message to a room could be passed off as one to this person alone.
#[test]
fn an_envelope_to_somebody_else_is_refused() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let sender = alice.device.change(|_, state| state.account()).await.unwrap();
        let receiver = bob.device.change(|_, state| state.account()).await.unwrap();
        for (to, fits) in [("room@muc.x.example", false), ("bob@x.example", true)] {
            let mut envelope = ::omemo::xml::Envelope::text("alice@x.example", "text");
            envelope.to = Some(to.to_owned());
            let text = envelope.to_bytes(&mut rng()).to_vec();
            let bundle = receiver.bundle(Version::Omemo2);
            let mut session = Session::initiate(&sender, &bundle, &mut rng()).unwrap();
            let mut message =
                MessageBuilder::new(Version::Omemo2, sender.device_id(), &text, &mut rng()).unwrap();
            message
                .add("bob@x.example", receiver.device_id(), &mut session)
                .unwrap();
            let stanza =
                Element::new("message", ns::CLIENT).child(from_omemo(&message.finish().to_element()));
            let read = bob.read(&alice, &stanza.to_xml()).await;
            assert_eq!(read.is_ok(), fits, "{to}: {read:?}");
        }
    });
}

/// Device ids of two people can be equal, and the older version has no addresses in its keys.
#[test]
fn a_repeated_stanza_keeps_no_key_of_a_distrusted_device_with_the_id_of_another() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let mut alice = Person::new(&pep, "alice");
        let mut bob = Person::new(&pep, "bob");
        alice.publish().await;
        bob.publish().await;
        let mut twin = Person::new(&pep, "alice");
        let id = id_of(&bob);
        let make = twin.device.change(move |_, state| {
            let identity = Identity::generate(&mut rng());
            let id = DeviceId::new(id).unwrap();
            state.set_account(&::omemo::Account::new(identity, id, now(), &mut rng()));
            Ok(())
        });
        make.await.unwrap();
        twin.publish().await;
        let omemo = alice.account.omemo.clone().unwrap();
        omemo.forget_lists(&alice.jid()).unwrap();
        let to = bob.jid();
        let message = || {
            let mut message = Outgoing::new(Target::User(to.clone()), Content::text("once"));
            message.id = Some("outbox-7".to_owned());
            message
        };
        alice.send(message()).await.unwrap();
        let key = twin.account.omemo.as_ref().unwrap().own_device(&alice.jid());
        let key = key.unwrap().unwrap().fingerprint;
        omemo
            .set_trust(&alice.jid(), &alice.jid(), &key, Trust::Distrusted)
            .unwrap();
        let again = alice.send(message()).await.unwrap();
        assert!(bob.read(&alice, &again.xml).await.is_ok());
        let sealed = Encrypted::from_element(&to_omemo(
            parse(&again.xml)
                .find("encrypted", Version::Axolotl.namespace())
                .unwrap(),
        ))
        .unwrap();
        assert_eq!(sealed.keys.len(), 1, "the key of the other device is gone");
    });
}
