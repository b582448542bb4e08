//! Devices that talk over a server in memory, which can misbehave in one way at a time.

mod attacks;
mod hostile;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use ::omemo::Version;

use super::server::{Answer, Question, Server};
use super::system::{now, rng};
use super::*;
use crate::account::Account;
use crate::connect::Connector;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::message::{Content, Outgoing, Target};
use crate::ns;
use crate::stanza::Part;
use crate::upload::Ask;
use crate::xml::{Element, Incoming, Reader};

/// The faults of the server.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// Refuses `max_items` in publish options, and keeps one item for each node until it is configured.
    old_options: bool,
    /// Fails at so many publications that it understands.
    failures: usize,
    /// The condition of these failures; `internal-server-error` if there is none.
    refusal: Option<&'static str>,
    /// Answers every question about other accounts with this condition.
    condition: Option<&'static str>,
}

#[derive(Default)]
struct Pep {
    /// Items of each node, by owner and node.
    items: HashMap<(String, String), Vec<(String, Element)>>,
    /// Nodes that keep more than one item.
    many: Vec<(String, String)>,
    archives: HashMap<String, Vec<Element>>,
    faults: Faults,
    questions: usize,
    /// Number of round trips.
    rounds: usize,
}

/// A session of one account.
#[derive(Clone)]
struct Wire {
    own: String,
    pep: Arc<Mutex<Pep>>,
}

fn result(inside: Option<Element>) -> Element {
    Element::new("iq", ns::CLIENT)
        .attr("type", "result")
        .child_opt(inside)
}

fn refused(condition: &'static str, kind: &'static str) -> Element {
    let error = Element::new("error", ns::CLIENT)
        .attr("type", kind)
        .child(Element::new(condition, ns::STANZAS));
    Element::new("iq", ns::CLIENT).attr("type", "error").child(error)
}

impl Wire {
    fn answer(&self, question: &Question) -> Answer {
        let mut pep = self.pep.lock().unwrap();
        pep.questions += 1;
        let owner = if question.to.is_empty() {
            self.own.clone()
        } else {
            question.to.clone()
        };
        let mut archived = Vec::new();
        let stanza = match &*question.payload.name {
            _ if owner != self.own && pep.faults.condition.is_some() => {
                refused(pep.faults.condition.unwrap(), "cancel")
            }
            "query" => {
                archived = pep.archives.remove(&self.own).unwrap_or_default();
                result(Some(Element::new("fin", ns::MAM).attr("complete", "true")))
            }
            _ => pep.pubsub(&owner, &question.payload),
        };
        Answer { stanza, archived }
    }
}

impl Pep {
    fn pubsub(&mut self, owner: &str, pubsub: &Element) -> Element {
        let inside = pubsub.elements().next().unwrap();
        let key = (owner.to_owned(), inside.get("node").unwrap().to_owned());
        match &*inside.name {
            "items" => {
                let Some(all) = self.items.get(&key) else {
                    return refused("item-not-found", "cancel");
                };
                let wanted = inside.find("item", ns::PUBSUB).and_then(|item| item.get("id"));
                let mut items = Element::new("items", ns::PUBSUB);
                for (id, payload) in all {
                    if wanted.is_none_or(|wanted| wanted == id) {
                        let item = Element::new("item", ns::PUBSUB).attr("id", id.clone());
                        items.push(item.child(payload.clone()));
                    }
                }
                result(Some(Element::new("pubsub", ns::PUBSUB).child(items)))
            }
            "publish" => {
                let options = pubsub.find("publish-options", ns::PUBSUB);
                let form = options.map(Element::to_xml).unwrap_or_default();
                if self.faults.old_options && form.contains("max_items") {
                    return refused("resource-constraint", "wait");
                }
                if self.faults.failures > 0 {
                    self.faults.failures -= 1;
                    return refused(self.faults.refusal.unwrap_or("internal-server-error"), "wait");
                }
                let item = inside.find("item", ns::PUBSUB).unwrap();
                let entry = (
                    item.get("id").unwrap().to_owned(),
                    item.elements().next().unwrap().clone(),
                );
                let many = form.contains("<value>max</value>") || self.many.contains(&key);
                let items = self.items.entry(key).or_default();
                items.retain(|(id, _)| many && *id != entry.0);
                items.push(entry);
                result(None)
            }
            "configure" => {
                if inside.to_xml().contains("<value>max</value>") {
                    self.many.push(key);
                }
                result(None)
            }
            other => panic!("{other}"),
        }
    }
}

impl Ask for Wire {
    async fn ask(&mut self, to: &str, payload: Element) -> Result<Element, XmppError> {
        Ok(self.answer(&Question::get(to, payload)).stanza)
    }
}

impl Server for Wire {
    async fn ask_all(&mut self, questions: Vec<Question>) -> Vec<Result<Answer, XmppError>> {
        if !questions.is_empty() {
            self.pep.lock().unwrap().rounds += 1;
        }
        questions
            .iter()
            .map(|question| Ok(self.answer(question)))
            .collect()
    }

    async fn send_unconfirmed(&mut self, stanza: String) {
        let message = parse(&stanza);
        let to = message.get("to").unwrap().to_owned();
        let from = Element::new("message", ns::CLIENT)
            .attr("from", format!("{}/x", self.own))
            .attr("type", "chat");
        let message = message
            .elements()
            .fold(from, |message, child| message.child(child.clone()));
        let forwarded = Element::new("forwarded", ns::FORWARD).child(message);
        let result = Element::new("result", ns::MAM).child(forwarded);
        self.pep
            .lock()
            .unwrap()
            .archives
            .entry(to)
            .or_default()
            .push(result);
    }
}

fn parse(stanza: &str) -> Element {
    let text = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{stanza}"
    );
    let mut rest = text.as_bytes();
    let mut reader = Reader::new();
    loop {
        if let Some(Incoming::Element(element)) = reader.feed(&mut rest).unwrap() {
            return element;
        }
    }
}

/// An account with a device.
#[derive(Clone)]
struct Person {
    device: Device,
    account: Account,
    wire: Wire,
}

impl Person {
    fn new(pep: &Arc<Mutex<Pep>>, name: &str) -> Self {
        Self::with(pep, name, |omemo| omemo)
    }

    fn with(pep: &Arc<Mutex<Pep>>, name: &str, set: impl FnOnce(Omemo) -> Omemo) -> Self {
        let omemo = set(Omemo::new(Arc::new(MemoryStore::default())).mode(EncryptionMode::Require));
        let jid: Jid = format!("{name}@x.example").parse().unwrap();
        let account = Account::new(jid.clone(), "secret".to_owned().into()).omemo(omemo);
        Self {
            device: Device::of(&account).unwrap(),
            wire: Wire {
                own: jid.to_string(),
                pep: pep.clone(),
            },
            account,
        }
    }

    async fn publish(&mut self) -> &mut Self {
        self.device.publish(&mut self.wire).await.unwrap();
        self
    }

    fn jid(&self) -> Jid {
        self.account.jid.clone()
    }

    async fn send(&mut self, message: Outgoing) -> Result<Part, XmppError> {
        let connector = Connector::new(self.account.clone()).unwrap();
        let messages = [message];
        let mut parts = match encrypt_at_once(&self.device, &messages).await {
            Some(parts) => parts,
            None => encrypt(&self.device, &mut self.wire, &connector, &messages).await,
        };
        Ok(parts.remove(0)?.remove(0))
    }

    async fn text(&mut self, to: &Self, text: &str) -> Part {
        let part = self
            .send(Outgoing::new(Target::User(to.jid()), Content::text(text)))
            .await
            .unwrap();
        assert!(!part.xml.contains(text), "{}", part.xml);
        part
    }

    async fn open(&self, from: &Self, stanza: &Element) -> Opened {
        let encrypted = EncryptedMessage::of(stanza, from.jid(), None).unwrap();
        self.device.open(encrypted).await.unwrap()
    }

    /// The text, or why there is none.
    async fn read(&self, from: &Self, xml: &str) -> Result<String, OmemoError> {
        match self.open(from, &parse(xml)).await {
            Opened::Content(content) => Ok(content.elements[0].content()),
            Opened::Quiet => Ok(String::new()),
            Opened::Failed { error, .. } => Err(error),
        }
    }

    async fn follow_up(&mut self) {
        self.device
            .follow_up(&mut self.wire, ROUNDS_MAX, None)
            .await
            .unwrap();
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_sender_that_is_never_online_reads_its_answers_and_then_asks_nothing() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        for number in 0..5 {
            let part = alice.text(&bob, &format!("number {number}")).await;
            assert!(part.xml.contains("prekey"), "no answer yet");
            assert_eq!(bob.read(&alice, &part.xml).await, Ok(format!("number {number}")));
        }
        // One answer for five messages.
        bob.follow_up().await;
        bob.follow_up().await;
        assert_eq!(pep.lock().unwrap().archives["alice@x.example"].len(), 1);
        let part = alice.text(&bob, "after the answer").await;
        assert!(!part.xml.contains("prekey"), "the answer was read");
        assert_eq!(
            bob.read(&alice, &part.xml).await.as_deref(),
            Ok("after the answer")
        );
        let before = pep.lock().unwrap().questions;
        let part = alice.text(&bob, "everything is known").await;
        assert_eq!(pep.lock().unwrap().questions, before);
        assert_eq!(
            bob.read(&alice, &part.xml).await.as_deref(),
            Ok("everything is known")
        );
        // A second copy is shown to nobody.
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok(""));
    });
}

#[test]
fn the_first_message_to_three_devices_takes_two_round_trips_and_the_next_none() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let mut alice = Person::new(&pep, "alice");
        alice.publish().await;
        let mut devices: Vec<Person> = (0..3).map(|_| Person::new(&pep, "bob")).collect();
        for device in &mut devices {
            device.publish().await;
        }
        let before = pep.lock().unwrap().rounds;
        let part = alice.text(&devices[0], "first").await;
        assert_eq!(pep.lock().unwrap().rounds - before, 2);
        for device in &mut devices {
            assert_eq!(device.read(&alice, &part.xml).await.as_deref(), Ok("first"));
            device.follow_up().await;
        }
        alice.text(&devices[0], "reads the answers").await;
        let before = pep.lock().unwrap().rounds;
        alice.text(&devices[0], "next").await;
        assert_eq!(pep.lock().unwrap().rounds, before);
    });
}

#[test]
fn lists_with_many_items_and_without_the_usual_id_are_read() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        let node = Version::Axolotl.device_list_node().to_owned();
        {
            let mut pep = pep.lock().unwrap();
            let items = pep.items.get_mut(&("bob@x.example".to_owned(), node)).unwrap();
            let (_, right) = items.remove(0);
            for number in 0..186 {
                let list = Element::new("list", Version::Axolotl.namespace());
                items.push((format!("old-{number}"), list));
            }
            items.push(("last".to_owned(), right));
        }
        let part = alice.text(&bob, "hello").await;
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("hello"));
    });
}

#[test]
fn a_server_that_keeps_one_item_holds_the_bundles_of_two_devices() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        pep.lock().unwrap().faults.old_options = true;
        let (mut first, mut second) = (Person::new(&pep, "bob"), Person::new(&pep, "bob"));
        first.publish().await;
        second.publish().await;
        let pep = pep.lock().unwrap();
        let bundles = &pep.items[&("bob@x.example".to_owned(), "urn:xmpp:omemo:2:bundles".to_owned())];
        assert_eq!(bundles.len(), 2);
        for version in VERSIONS {
            let node = version.device_list_node().to_owned();
            let lists = &pep.items[&("bob@x.example".to_owned(), node)];
            assert_eq!((lists.len(), lists[0].1.elements().count()), (1, 2), "{version}");
        }
    });
}

#[test]
fn a_failing_database_of_a_server_is_asked_again() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        pep.lock().unwrap().faults = Faults {
            old_options: true,
            failures: 3,
            ..Faults::default()
        };
        Person::new(&pep, "bob").publish().await;
        assert_eq!(pep.lock().unwrap().faults.failures, 0);

        pep.lock().unwrap().faults.failures = usize::MAX;
        let alice = Person::new(&pep, "alice");
        let mut server = alice.wire.clone();
        let error = alice.device.publish(&mut server).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        assert!(error.to_string().contains("internal-server-error"), "{error}");
    });
}

#[test]
fn every_condition_means_no_devices_or_later() {
    run(async {
        for (condition, permanent) in [
            ("item-not-found", true),
            ("forbidden", true),
            ("not-authorized", true),
            ("service-unavailable", true),
            ("feature-not-implemented", true),
            ("remote-server-not-found", false),
            ("remote-server-timeout", false),
            ("resource-constraint", false),
            ("internal-server-error", false),
        ] {
            let pep = Arc::new(Mutex::new(Pep::default()));
            pep.lock().unwrap().faults.condition = Some(condition);
            let mut alice = Person::with(&pep, "alice", |omemo| omemo.mode(EncryptionMode::Auto));
            let to: Jid = "bob@x.example".parse().unwrap();
            let message = Outgoing::new(Target::User(to.clone()), Content::text("hello"));
            match alice.send(message).await {
                // Only somebody who has no keys gets clear text.
                Ok(part) => {
                    assert!(permanent, "{condition}");
                    let no_keys = crate::Note::NotEncrypted(Box::new(OmemoError::NoKeys { to }));
                    assert_eq!(part.notes, [no_keys]);
                }
                Err(error) => {
                    assert!(!permanent && !error.is_permanent(), "{condition}: {error}");
                    assert!(error.to_string().contains(condition));
                }
            }
        }
    });
}

#[test]
fn an_altered_message_changes_nothing_and_the_true_copy_is_read() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        let part = alice.text(&bob, "the truth").await;
        let payload = "<payload>";
        let at = part.xml.find(payload).unwrap() + payload.len();
        let mut altered = part.xml.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(
            bob.read(&alice, &altered).await,
            Err(OmemoError::Protocol(::omemo::Error::AlteredContent))
        );
        assert_eq!(bob.read(&alice, &part.xml).await.as_deref(), Ok("the truth"));
        // From another sender the same stanza shows nothing.
        let eve = Person::new(&pep, "eve");
        assert_eq!(bob.read(&eve, &part.xml).await, Err(OmemoError::ExchangeReused));
    });
}

#[test]
fn a_lost_session_is_started_again_once_a_day() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let part = alice.text(&bob, "one").await;
        bob.read(&alice, &part.xml).await.unwrap();
        let part = bob.text(&alice, "two").await;
        alice.read(&bob, &part.xml).await.unwrap();
        for repaired in [true, false] {
            let lose = alice.device.change(|_, state| {
                state.sessions.clear();
                Ok(())
            });
            lose.await.unwrap();
            let part = bob.text(&alice, "lost").await;
            let Opened::Failed { error, repair, .. } = alice.open(&bob, &parse(&part.xml)).await else {
                panic!("the session is lost");
            };
            assert_eq!(error, OmemoError::Protocol(::omemo::Error::NoSession));
            assert_eq!(repair, repaired);
            alice.follow_up().await;
            if !repaired {
                break;
            }
            let waiting = pep.lock().unwrap().archives.remove("bob@x.example").unwrap();
            for stanza in waiting {
                let message = stanza
                    .find("forwarded", ns::FORWARD)
                    .and_then(|forwarded| forwarded.find("message", ns::CLIENT));
                assert!(matches!(bob.open(&alice, message.unwrap()).await, Opened::Quiet));
            }
            let part = bob.text(&alice, "found").await;
            assert_eq!(alice.read(&bob, &part.xml).await.as_deref(), Ok("found"));
        }
    });
}

/// A device that was set up anew under its old id has another key.
#[test]
fn a_changed_key_is_taken_until_one_was_verified() {
    run(async {
        for verified in [false, true] {
            let pep = Arc::new(Mutex::new(Pep::default()));
            let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
            alice.publish().await;
            bob.publish().await;
            let part = bob.text(&alice, "first").await;
            assert_eq!(alice.read(&bob, &part.xml).await.as_deref(), Ok("first"));
            let old = bob.account.omemo.as_ref().unwrap().own_device(&bob.jid());
            let old = old.unwrap().unwrap();
            if verified {
                let omemo = alice.account.omemo.as_ref().unwrap();
                omemo
                    .set_trust(&alice.jid(), &bob.jid(), &old.fingerprint, Trust::Verified)
                    .unwrap();
            }
            let mut again = Person::new(&pep, "bob");
            let id = old.device;
            let make = again.device.change(move |_, state| {
                let identity = ::omemo::Identity::generate(&mut rng());
                let id = ::omemo::DeviceId::new(id).unwrap();
                state.set_account(&::omemo::Account::new(identity, id, now(), &mut rng()));
                Ok(())
            });
            make.await.unwrap();
            again.publish().await;
            let part = again.text(&alice, "second").await;
            let opened = alice.open(&again, &parse(&part.xml)).await;
            match opened {
                Opened::Content(content) => {
                    assert!(!verified);
                    let key = content.new_key.unwrap();
                    assert_eq!((key.device, key.changed), (id, true));
                    assert_ne!(key.fingerprint, old.fingerprint);
                }
                Opened::Failed { error, repair, .. } => {
                    assert!(verified && !repair);
                    assert!(matches!(error, OmemoError::Untrusted { .. }), "{error}");
                }
                Opened::Quiet => panic!("it has a text"),
            }
        }
    });
}

#[test]
fn texts_of_people_stay_in_the_archive_for_those_who_show_them() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        alice.publish().await;
        bob.publish().await;
        let part = bob.text(&alice, "for a person").await;
        bob.wire.send_unconfirmed(part.xml.clone()).await;
        // The second message waits for an answer to the first one.
        alice.text(&bob, "a run").await;
        alice.text(&bob, "a run that reads the archive").await;
        assert!(!pep.lock().unwrap().archives.contains_key("alice@x.example"));
        assert_eq!(alice.read(&bob, &part.xml).await.as_deref(), Ok("for a person"));
    });
}

#[test]
fn a_message_of_the_newer_version_is_hidden_whole_and_envelopes_are_checked() {
    run(async {
        let pep = Arc::new(Mutex::new(Pep::default()));
        let (mut alice, mut bob) = (Person::new(&pep, "alice"), Person::new(&pep, "bob"));
        bob.publish().await;
        let node = Version::Axolotl.device_list_node().to_owned();
        pep.lock()
            .unwrap()
            .items
            .remove(&("bob@x.example".to_owned(), node));
        let mut message = Outgoing::new(
            Target::User(bob.jid()),
            Content {
                subject: Some("A title".to_owned()),
                body: "a text".to_owned(),
                ..Content::default()
            },
        );
        message.replaces = Some("earlier".to_owned());
        let part = alice.send(message).await.unwrap();
        for hidden in ["A title", "a text", "earlier", "<body"] {
            assert!(!part.xml.contains(hidden), "{hidden}: {}", part.xml);
        }
        assert!(
            part.xml
                .contains("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>")
        );
        assert!(part.xml.contains("<store xmlns='urn:xmpp:hints'/>"));
        let stanza = parse(&part.xml);
        let Opened::Content(content) = bob.open(&alice, &stanza).await else {
            panic!("it can be read");
        };
        let clear = in_clear(&stanza, &content);
        assert_eq!(
            clear.content_of("body", ns::CLIENT).as_deref(),
            Some("A title\na text")
        );
        assert_eq!(
            clear
                .find("replace", ns::CORRECT)
                .and_then(|replace| replace.get("id")),
            Some("earlier")
        );
        assert!(clear.find("encrypted", Version::Omemo2.namespace()).is_none());
    });
}
