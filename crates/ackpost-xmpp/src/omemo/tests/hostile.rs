//! People, servers and clients that mean harm.

use ::omemo::{DeviceList, Encrypted};

use super::super::element::{from_omemo, to_omemo};
use super::super::left_out::LeftOutReason;
use super::super::prepare::{Prepared, Readers};
use super::super::store::Known;
use super::super::system::{now, rng};
use super::*;
use crate::message::Note;

fn encrypted(xml: &str, version: Version) -> Encrypted {
    let stanza = parse(xml);
    let element = stanza.find("encrypted", version.namespace()).unwrap();
    Encrypted::from_element(&to_omemo(element)).unwrap()
}

fn decide(of: &Person, whose: &Person, trust: Trust) {
    let key = whose.account.omemo.as_ref().unwrap().own_device(&whose.jid());
    let fingerprint = key.unwrap().unwrap().fingerprint;
    let omemo = of.account.omemo.as_ref().unwrap();
    omemo
        .set_trust(&of.jid(), &whose.jid(), &fingerprint, trust)
        .unwrap();
}

/// The key that is looked at before decryption must be the one that decrypts.
#[test]
fn a_second_key_for_this_device_does_not_bring_in_a_distrusted_sender() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        let mut carol = Person::new(&pep, "carol");
        alice.publish().await;
        bob.publish().await;
        let bait = carol.text(&alice, "bait").await;
        let mut bait = encrypted(&bait.xml, Version::Axolotl).keys.remove(0);
        let middle = bait.key.data.len() / 2;
        bait.key.data[middle] ^= 1;
        assert!(matches!(bait.key.identity_key(Version::Axolotl), Ok(Some(_))));
        let part = bob.text(&alice, "from bob").await;
        let mut message = encrypted(&part.xml, Version::Axolotl);
        message.keys.insert(0, bait);
        let stanza = Element::new("message", ns::CLIENT)
            .attr("type", "chat")
            .child(from_omemo(&message.to_element()))
            .to_xml();
        decide(&alice, &bob, Trust::Distrusted);
        let untrusted = alice.read(&bob, &stanza).await;
        assert!(
            matches!(
                untrusted,
                Err(OmemoError::Untrusted {
                    reason: LeftOutReason::Distrusted,
                    ..
                })
            ),
            "{untrusted:?}"
        );
        let saved = alice.device.change(|_, state| Ok(state.sessions.len())).await;
        assert_eq!(saved, Ok(0), "nothing has changed");
    });
}

fn without_older_version(pep: &Arc<Mutex<Pep>>, owner: &str) {
    let node = Version::Axolotl.device_list_node().to_owned();
    pep.lock().unwrap().items.remove(&(owner.to_owned(), node));
}

/// Every member of a room sees the key exchanges of the others, and can send them on in its own name.
#[test]
fn a_message_sent_on_under_another_address_does_not_silence_its_author() {
    run(async {
        // The newer version names the author inside: nothing is shown, and nothing is used up.
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        let eve = Person::new(&pep, "eve");
        bob.publish().await;
        without_older_version(&pep, "bob@x.example");
        let part = alice.text(&bob, "by alice").await;
        let sent_on = bob.read(&eve, &part.xml).await;
        assert!(
            matches!(sent_on, Err(OmemoError::Protocol(::omemo::Error::Malformed(_)))),
            "{sent_on:?}"
        );
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("by alice"));

        // The older version does not. The text is then shown with the fingerprint of its author, and the author can go on
        // in a new session.
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        let eve = Person::new(&pep, "eve");
        bob.publish().await;
        let part = alice.text(&bob, "by alice").await;
        let Opened::Content(content) = bob.open(&eve, &parse(&part.xml)).await else {
            panic!("the older version cannot tell");
        };
        let own = alice.account.omemo.as_ref().unwrap().own_device(&alice.jid());
        assert_eq!(content.encryption.fingerprint, own.unwrap().unwrap().fingerprint);
        let Opened::Failed { error, repair, .. } = bob.open(&alice, &parse(&part.xml)).await else {
            panic!("the key exchange was used");
        };
        assert_eq!((error, repair), (OmemoError::ExchangeReused, true));
        bob.follow_up().await;
        // The run after the next message reads what waits for it.
        alice.text(&bob, "not readable yet").await;
        let part = alice.text(&bob, "readable").await;
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("readable"));
    });
}

#[test]
fn a_key_that_was_verified_for_one_account_is_not_taken_from_another() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        let eve = Person::new(&pep, "eve");
        alice.publish().await;
        bob.publish().await;
        decide(&bob, &alice, Trust::Verified);
        let part = alice.text(&bob, "by alice").await;
        let sent_on = bob.read(&eve, &part.xml).await;
        assert!(
            matches!(
                sent_on,
                Err(OmemoError::Untrusted {
                    reason: LeftOutReason::OtherAccount,
                    ..
                })
            ),
            "{sent_on:?}"
        );
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("by alice"));
    });
}

/// Hidden, late and distrusted keys are no reason to send clear text.
#[test]
fn a_room_gets_clear_text_only_if_no_member_ever_had_keys() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let mut alice = Person::with(&pep, "alice", |omemo| omemo.mode(EncryptionMode::Auto));
        let mut bob = Person::new(&pep, "bob");
        alice.publish().await;
        bob.publish().await;
        let room: Jid = "room@muc.x.example".parse().unwrap();
        let target = Target::Room(crate::RoomTarget::new(room.clone()));
        let survey = |later: bool| {
            let mut prepared = Prepared::default();
            let readers = Readers {
                people: vec![bob.jid()],
                room: Some(room.clone()),
            };
            prepared.readers.insert(room.to_string(), Ok(readers));
            if later {
                prepared
                    .later
                    .insert("bob@x.example".to_owned(), "silence".to_owned());
            }
            let target = target.clone();
            alice.device.change(move |this, state| {
                let error = this.survey(state, &prepared, &target).unwrap_err();
                let clear = this.may_be_clear(state, &error);
                Ok((error, clear))
            })
        };
        let (error, clear) = survey(false).await.unwrap();
        assert!(
            matches!(error, OmemoError::RoomWithoutKeys { .. }) && clear,
            "{error}"
        );
        let (error, clear) = survey(true).await.unwrap();
        assert!(
            matches!(error, OmemoError::Unavailable { .. }) && !clear,
            "{error}"
        );
        assert!(!error.is_permanent());
        // A key was seen before.
        let seen = alice.device.change(|_, state| {
            let key = ("bob@x.example".to_owned(), [7; 32]);
            let (trust, since) = (Trust::Blind, now());
            state.keys.insert(key, Known { trust, since });
            Ok(())
        });
        seen.await.unwrap();
        let (error, clear) = survey(false).await.unwrap();
        let OmemoError::RoomWithoutKeys { people, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(people[0].reason, LeftOutReason::KeysGone);
        assert!(!clear);
    });
}

/// A server can add a device to the account of the sender: it reads everything from then on.
#[test]
fn a_new_device_of_the_own_account_is_told() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        let mut other = Person::new(&pep, "alice");
        alice.publish().await;
        other.publish().await;
        bob.publish().await;
        let forget = alice.account.omemo.as_ref().unwrap();
        forget.forget_lists(&alice.jid()).unwrap();
        let part = alice.text(&bob, "read by one more").await;
        let report = part
            .notes
            .iter()
            .find_map(|note| match note {
                Note::Encrypted(report) => Some(report.clone()),
                _ => None,
            })
            .unwrap();
        let told: Vec<_> = report.new_keys.iter().filter(|key| key.changed).collect();
        assert_eq!(told.len(), 1, "{report:?}");
        assert_eq!(told[0].jid, alice.jid());
        assert!(report.to_string().contains("of alice@x.example"), "{report}");
    });
}

/// Beyond the limit of repairs, the own entry waits for the daily check. Lists of others are taken as before.
#[test]
fn lists_of_others_are_taken_when_the_own_one_is_not_repaired_any_more() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        alice.text(&bob, "known").await;
        let list = |ids: &[u32]| {
            let mut list = DeviceList::new(Version::Axolotl);
            for id in ids {
                list.insert(::omemo::DeviceId::new(*id).unwrap());
            }
            list
        };
        let (own, others) = (alice.jid(), bob.jid());
        assert!(alice.device.take_list(own.clone(), list(&[1]), true).await);
        alice.follow_up().await;
        assert!(!alice.device.take_list(own, list(&[1]), false).await);
        assert!(!alice.device.take_list(others, list(&[1, 2]), false).await);
        let known = alice.device.change(|_, state| {
            let lists = state.lists["bob@x.example"].clone();
            Ok((lists.axolotl.len(), state.published > 0))
        });
        assert_eq!(known.await, Ok((2, true)));
    });
}

/// A stanza that is sent again must not reach a device that a person distrusted meanwhile.
#[test]
fn a_repeated_stanza_is_not_readable_for_a_device_that_was_distrusted_since() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let mut alice = Person::new(&pep, "alice");
        let (mut phone, mut laptop) = (Person::new(&pep, "bob"), Person::new(&pep, "bob"));
        phone.publish().await;
        laptop.publish().await;
        let to = phone.jid();
        let message = || {
            let mut message = Outgoing::new(Target::User(to.clone()), Content::text("once"));
            message.id = Some("outbox-7".to_owned());
            message
        };
        let first = alice.send(message()).await.unwrap();
        let again = alice.send(message()).await.unwrap();
        assert_eq!(first.xml, again.xml, "byte for byte");
        decide(&alice, &phone, Trust::Distrusted);
        let again = alice.send(message()).await.unwrap();
        let of = |part: &Part| encrypted(&part.xml, Version::Axolotl);
        assert_eq!((of(&first).keys.len(), of(&again).keys.len()), (2, 1));
        assert_eq!(of(&first).payload, of(&again).payload, "it is the same message");
        let Some(Note::Encrypted(report)) = again.notes.first() else {
            panic!("not encrypted");
        };
        assert!(report.repeated);
        assert_eq!(report.left_out[0].reason, LeftOutReason::Distrusted);
        assert!(report.to_string().contains("not readable for device"), "{report}");
        assert_eq!(laptop.read(&alice, &again.xml).await.as_deref(), Ok("once"));
        assert!(phone.read(&alice, &again.xml).await.is_err());
        // The device that read the first copy shows nothing new.
        assert_eq!(laptop.read(&alice, &first.xml).await.as_deref(), Ok(""));
        decide(&alice, &laptop, Trust::Distrusted);
        let refused = alice.send(message()).await;
        assert!(matches!(refused, Err(XmppError::Encryption(_))), "{refused:?}");
    });
}

/// A message with a key exchange from an unknown account.
async fn flood(device: &Device, from: &::omemo::Account) -> Element {
    let asked = device.change(|_, state| {
        let account = state.account()?;
        Ok((account.device_id(), account.bundle(Version::Axolotl)))
    });
    let (to, bundle) = asked.await.unwrap();
    let mut session = ::omemo::Session::initiate(from, &bundle, &mut rng()).unwrap();
    let id = from.device_id();
    let mut message = ::omemo::MessageBuilder::new(Version::Axolotl, id, b"flood", &mut rng()).unwrap();
    message.add("alice@x.example", to, &mut session).unwrap();
    Element::new("message", ns::CLIENT).child(from_omemo(&message.finish().to_element()))
}

/// Any number of strangers can write to us: the state stays small, and the sessions with others stay. `ACKPOST_FLOOD` is the
/// number of those who do.
#[test]
fn a_flood_of_strangers_costs_no_session_with_others() {
    run(async {
        let senders: usize = std::env::var("ACKPOST_FLOOD").map_or(40, |count| count.parse().unwrap());
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let part = alice.text(&bob, "before").await;
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("before"));
        let (id, identity) = (
            ::omemo::DeviceId::random(&mut rng()),
            ::omemo::Identity::generate(&mut rng()),
        );
        let stranger = ::omemo::Account::new(identity, id, now(), &mut rng());
        for n in 0..senders {
            let stanza = flood(&alice.device, &stranger).await;
            let sender: Jid = format!("s{n}@flood.example").parse().unwrap();
            let opened = alice
                .device
                .open(EncryptedMessage::of(&stanza, sender, None).unwrap())
                .await;
            assert!(matches!(opened, Ok(Opened::Content(_))), "{n}: {opened:?}");
            if n == 0 {
                // As if a thousand others had written before.
                let more = alice.device.change(|_, state| {
                    let (first, mut entry) = state
                        .sessions
                        .last_key_value()
                        .map(|(of, entry)| (of.clone(), entry.clone()))
                        .unwrap();
                    entry.used -= 10;
                    for number in 0..1000 {
                        let mut of = first.clone();
                        of.jid = format!("t{number}@flood.example");
                        state.sessions.insert(of, entry.clone());
                    }
                    Ok(())
                });
                more.await.unwrap();
            }
            if n % 20 == 0 {
                alice.follow_up().await;
                pep.lock().unwrap().archives.clear();
                let kept = alice.device.change(|_, state| Ok(state.sessions.len()));
                assert!(kept.await.unwrap() <= 1001);
            }
        }
        alice.follow_up().await;
        pep.lock().unwrap().archives.clear();
        let part = bob.text(&alice, "after the flood").await;
        assert_eq!(
            alice.read(&bob, &part.xml).await.as_deref(),
            Ok("after the flood")
        );
        let part = alice.text(&bob, "and back").await;
        assert!(!part.xml.contains("prekey"), "the session is the one from before");
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("and back"));
    });
}
