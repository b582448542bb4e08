//! Kept sessions while their server goes down and comes back: nothing that is reported delivered is lost,
//! and nothing is sent twice. A repeat in doubt is said in the outcome.
//!
//! `scripts/delivery-proof` runs this with more messages and restarts: `ACKPOST_PROOF_MESSAGES`,
//! `ACKPOST_PROOF_STOPS`, `ACKPOST_PROOF_KILLS`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Prosody, Receiver, ServerKind, ServerOptions, XmppServer};
use ackpost_xmpp::{Doubt, Event, Events, Mode, Note, Outcome, Session, SessionOptions, Target, XmppError};
use common::*;
use tokio::sync::watch;

const PERSON: &str = "bob@localhost";
const ROOM: &str = "open@conference.localhost";
/// Nothing takes as long as this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);
const MAM_PAGE: &str = "<set xmlns='http://jabber.org/protocol/rsm'><max>100</max>";

fn count(variable: &str, usual: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(usual)
}

/// How a server goes down.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Down {
    Stopped,
    Killed,
}

// --- the recipient ---

/// Bob, who is online whenever the server is, and counts what reaches his client: by the id of the message, without
/// leaving repeats out.
struct Witness {
    arrived: Arc<Mutex<BTreeMap<String, usize>>>,
    /// How often he came online.
    online: Arc<AtomicUsize>,
    /// He is online now.
    there: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    fn start(port: u16, is_room: bool) -> Self {
        let arrived = Arc::new(Mutex::new(BTreeMap::new()));
        let online = Arc::new(AtomicUsize::new(0));
        let there = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (arrived, online, there, stop) =
                (arrived.clone(), online.clone(), there.clone(), stop.clone());
            std::thread::spawn(move || {
                let rooms: &[&str] = if is_room { &[ROOM] } else { &[] };
                while !stop.load(Ordering::SeqCst) {
                    let Ok(mut bob) = Receiver::try_join(port, "localhost", "bob", "bobpass", rooms) else {
                        // The server is down.
                        std::thread::sleep(Duration::from_millis(50));
                        continue;
                    };
                    online.fetch_add(1, Ordering::SeqCst);
                    there.store(true, Ordering::SeqCst);
                    while bob.drain(Duration::from_millis(50), |stanza| {
                        if stanza.name == "message" && stanza.child_text("body").is_some() {
                            let id = stanza.attr("id").to_owned();
                            *arrived.lock().unwrap().entry(id).or_insert(0) += 1;
                        }
                    }) && !stop.load(Ordering::SeqCst)
                    {}
                    there.store(false, Ordering::SeqCst);
                }
            })
        };
        let witness = Self {
            arrived,
            online,
            there,
            stop,
            thread: Some(thread),
        };
        witness.wait(|witness| witness.there.load(Ordering::SeqCst));
        witness
    }

    fn wait(&self, fits: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !fits(self) {
            assert!(started.elapsed() < PATIENCE, "it happens in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn has_all(&self, ids: &HashSet<String>) -> bool {
        let arrived = self.arrived.lock().unwrap();
        ids.iter().all(|id| arrived.contains_key(id))
    }

    fn end(mut self) -> BTreeMap<String, usize> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.arrived.lock().unwrap())
    }
}

/// The ids of all messages in an archive that bob may read: his own, or the room's.
fn archived(port: u16, is_room: bool) -> HashSet<String> {
    let rooms: &[&str] = if is_room { &[ROOM] } else { &[] };
    let mut bob = Receiver::join(port, "localhost", "bob", "bobpass", rooms);
    let mut ids = HashSet::new();
    let mut after = String::new();
    for page in 0.. {
        let query = format!("<query xmlns='urn:xmpp:mam:2'>{MAM_PAGE}{after}</set></query>");
        let fin = bob.set(&format!("page{page}"), is_room.then_some(ROOM), &query);
        bob.drain(Duration::from_millis(200), |stanza| {
            if let Some(id) = message_id(&stanza.raw) {
                ids.insert(id);
            }
        });
        let last = fin
            .raw
            .split("<last>")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        match last {
            Some(last) if !fin.raw.contains("complete='true'") => after = format!("<after>{last}</after>"),
            _ => break,
        }
    }
    ids
}

/// The id of the message inside an archive's result.
fn message_id(raw: &str) -> Option<String> {
    let result = raw.find("<result ")?;
    let at = result + raw[result..].find("<message ")?;
    let tag = &raw[at..at + raw[at..].find('>')?];
    let (quote, from) = ["'", "\""]
        .into_iter()
        .find_map(|quote| tag.find(&format!(" id={quote}")).map(|at| (quote, at + 5)))?;
    tag[from..].split(quote).next().map(ToOwned::to_owned)
}

// --- the sender ---

/// How often the session came online, and whether it is.
#[derive(Clone, Copy, Default)]
struct State {
    times: usize,
    online: bool,
}

fn follow(mut events: Events) -> watch::Receiver<State> {
    let (tell, state) = watch::channel(State::default());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::Online { .. } => tell.send_modify(|state| {
                    state.times += 1;
                    state.online = true;
                }),
                Event::Offline { .. } | Event::Ended { .. } => tell.send_modify(|state| state.online = false),
                _ => {}
            }
        }
    });
    state
}

/// Takes the server down that often, each time in the middle of the messages and only while both are online.
async fn restarts(
    server: &mut XmppServer,
    down: Down,
    times: usize,
    alice: &mut watch::Receiver<State>,
    bob: &Witness,
) {
    let mut seen = 0;
    for n in 0..=times {
        let back = alice.wait_for(|state| state.online && state.times > seen);
        let state = *tokio::time::timeout(PATIENCE, back)
            .await
            .expect("she comes back")
            .unwrap();
        seen = state.times;
        tokio::task::block_in_place(|| {
            bob.wait(|bob| bob.there.load(Ordering::SeqCst) && bob.online.load(Ordering::SeqCst) > n);
        });
        if n == times {
            return;
        }
        // Some messages go between two restarts; the moment within a delivery is chance.
        tokio::time::sleep(Duration::from_millis(
            450 + u64::from(std::process::id() + u32::try_from(n).unwrap() * 7) % 40,
        ))
        .await;
        tokio::task::block_in_place(|| {
            match down {
                Down::Killed => server.kill(),
                Down::Stopped => server.stop(),
            }
            server.restart();
        });
    }
}

fn messages_while_it_restarts(
    mut server: XmppServer,
    target: &str,
    down: Down,
    times: usize,
    messages: usize,
) {
    let is_room = target == ROOM;
    let bob = Witness::start(server.port, is_room);
    let outcomes = block_on_threads(async {
        let account = account(&server, "alice", Mode::StartTls).answer_timeout(Duration::from_secs(30));
        let mut options = SessionOptions::default();
        options.longest_pause = Duration::from_secs(1);
        options.patience = PATIENCE;
        let (alice, events) = Session::open(&account, options).await.unwrap();
        let mut state = follow(events);
        let over = Arc::new(AtomicBool::new(false));
        let sender = {
            let (target, alice, over) = (target.to_owned(), alice.clone(), over.clone());
            let prefix = unique("message");
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                while outcomes.len() < messages || !over.load(Ordering::SeqCst) {
                    let to: Target = if is_room { room(&target) } else { user(&target) };
                    let id = unique("id").replace(' ', "-");
                    let mut message = text(to, &format!("{prefix} {}", outcomes.len()));
                    message.id = Some(id.clone());
                    outcomes.push((id, alice.send(vec![message]).await.remove(0)));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                outcomes
            })
        };
        restarts(&mut server, down, times, &mut state, &bob).await;
        over.store(true, Ordering::SeqCst);
        let outcomes = sender.await.unwrap();
        alice.close().await;
        outcomes
    });
    check(&server, down, bob, is_room, &outcomes);
}

fn check(server: &XmppServer, down: Down, bob: Witness, is_room: bool, outcomes: &[(String, Outcome)]) {
    let delivered: HashSet<String> = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.delivered().is_some())
        .map(|(id, _)| id.clone())
        .collect();
    let until = Instant::now() + Duration::from_secs(3);
    while !bob.has_all(&delivered) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    // A repeat comes after its first.
    std::thread::sleep(Duration::from_millis(300));
    let live = bob.end();
    let archive = archived(server.port, is_room);
    let (mut in_doubt, mut repeated) = (Vec::new(), HashSet::new());
    for (id, outcome) in outcomes {
        match outcome {
            Outcome::Delivered(proof) => {
                if proof.notes.contains(&Note::RepeatedInDoubt) {
                    repeated.insert(id.clone());
                }
            }
            Outcome::Refused(XmppError::InDoubt { why, .. }) => in_doubt.push((id.clone(), *why)),
            other => panic!("neither delivered nor in doubt: {other:?}"),
        }
    }
    let there = |id: &String| live.contains_key(id) || archive.contains(id);
    let lost: Vec<&String> = delivered.iter().filter(|id| !there(id)).collect();
    let twice: Vec<_> = live
        .iter()
        .filter(|(id, times)| **times > 1 && !repeated.contains(*id))
        .collect();
    let summary = format!(
        "{} {down:?} {}: {} messages, {} delivered, {} repeated in doubt and said so, {} in doubt ({} of them arrived), \
         {} lost, {} doubled",
        server.version,
        if is_room { "room" } else { "person" },
        outcomes.len(),
        delivered.len(),
        repeated.len(),
        in_doubt.len(),
        in_doubt.iter().filter(|(id, _)| there(id)).count(),
        lost.len(),
        twice.len()
    );
    eprintln!("{summary}");
    assert!(
        lost.is_empty() && twice.is_empty(),
        "{summary}\nlost {lost:?}\ndoubled {twice:?}\nin doubt {in_doubt:?}"
    );
    // The history of a room ends with a killed ejabberd, and the end of its archive.
    let forgets = server.kind == ServerKind::Ejabberd && down == Down::Killed;
    if (is_room && !forgets) || (server.kind == ServerKind::Prosody && down == Down::Stopped) {
        assert!(in_doubt.is_empty() && repeated.is_empty(), "{summary}");
    }
    if down == Down::Stopped {
        assert!(repeated.is_empty(), "its archive is whole: {summary}");
        assert!(
            in_doubt.iter().all(|(_, why)| *why == Doubt::Restarted),
            "{in_doubt:?}"
        );
    }
}

fn block_on_threads<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn stops(server: XmppServer, target: &str) {
    let messages = count("ACKPOST_PROOF_MESSAGES", 100);
    messages_while_it_restarts(
        server,
        target,
        Down::Stopped,
        count("ACKPOST_PROOF_STOPS", 2),
        messages,
    );
}

fn kills(server: XmppServer, target: &str) {
    let messages = count("ACKPOST_PROOF_MESSAGES", 100);
    messages_while_it_restarts(
        server,
        target,
        Down::Killed,
        count("ACKPOST_PROOF_KILLS", 3),
        messages,
    );
}

fn prosody() -> XmppServer {
    Prosody::start(ServerOptions::default())
}

fn ejabberd() -> XmppServer {
    Ejabberd::start(ServerOptions::default())
}

#[test]
fn prosody_is_stopped_under_messages_to_a_person() {
    stops(prosody(), PERSON);
}

#[test]
fn prosody_is_stopped_under_messages_to_a_room() {
    stops(prosody(), ROOM);
}

#[test]
fn prosody_is_killed_under_messages_to_a_person() {
    kills(prosody(), PERSON);
}

#[test]
fn prosody_is_killed_under_messages_to_a_room() {
    kills(prosody(), ROOM);
}

#[test]
fn ejabberd_is_stopped_under_messages_to_a_person() {
    stops(ejabberd(), PERSON);
}

#[test]
fn ejabberd_is_stopped_under_messages_to_a_room() {
    stops(ejabberd(), ROOM);
}

#[test]
fn ejabberd_is_killed_under_messages_to_a_person() {
    kills(ejabberd(), PERSON);
}

#[test]
fn ejabberd_is_killed_under_messages_to_a_room() {
    kills(ejabberd(), ROOM);
}
