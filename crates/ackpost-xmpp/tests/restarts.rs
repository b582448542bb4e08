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
use ackpost_xmpp::{
    ConfirmedBy, Doubt, Event, Events, Mode, Note, Outcome, Session, SessionOptions, Target, XmppError,
};
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

/// Way in which a server goes down.
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
    /// Number of times he came online.
    online: Arc<AtomicUsize>,
    /// True while he is online.
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

/// Number of times the session came online, and its present state.
#[derive(Clone, Copy, Default)]
struct State {
    times: usize,
    online: bool,
    /// Number of times its connection ended although the server had not announced its stop.
    without_a_word: usize,
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
                Event::Offline { reason, .. } => tell.send_modify(|state| {
                    if state.online && !matches!(reason, XmppError::ShuttingDown { .. }) {
                        state.without_a_word += 1;
                    }
                    state.online = false;
                }),
                Event::Ended { .. } => tell.send_modify(|state| state.online = false),
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
    has_archive: bool,
) {
    let is_room = target == ROOM;
    let bob = Witness::start(server.port, is_room);
    let (outcomes, without_a_word) = block_on_threads(async {
        let account = account(&server, "alice", Mode::StartTls).answer_timeout(Duration::from_secs(30));
        let mut options = SessionOptions::default();
        options.max_backoff = Duration::from_secs(1);
        options.send_timeout = PATIENCE;
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
        let without_a_word = state.borrow().without_a_word;
        alice.close().await;
        (outcomes, without_a_word)
    });
    check(
        &server,
        down,
        bob,
        is_room,
        &outcomes,
        without_a_word,
        has_archive,
    );
}

fn check(
    server: &XmppServer,
    down: Down,
    bob: Witness,
    is_room: bool,
    outcomes: &[(String, Outcome)],
    without_a_word: usize,
    has_archive: bool,
) {
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
    let announced_twice = live
        .iter()
        .filter(|(id, times)| **times > 1 && repeated.contains(*id))
        .count();
    let summary = format!(
        "{} {down:?} {}: {} messages, {} delivered, {} repeated in doubt and said so, {} in doubt ({} of them arrived), \
         {} lost, {} doubled without a word, {announced_twice} announced repeats came twice; {without_a_word} connections ended without a word",
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
    if !has_archive {
        return;
    }
    // The other servers have an archive, of accounts and of rooms: nothing is repeated in doubt.
    assert_eq!((repeated.len(), announced_twice), (0, 0), "{summary}");
    // The history of a room ends with a killed ejabberd, and the end of its archive.
    let forgets = server.kind == ServerKind::Ejabberd && down == Down::Killed;
    if server.kind == ServerKind::Prosody && is_room {
        assert!(in_doubt.is_empty(), "{summary}");
    }
    if server.kind == ServerKind::Prosody && down == Down::Stopped {
        // Prosody 0.12 closes a session that can be resumed without a word, also when it stops in order. That looks like a
        // crash: the message on its way is in the archive, and may not have been passed on.
        let known = |(id, why): &(String, Doubt)| *why == Doubt::Restarted && there(id);
        assert!(
            in_doubt.iter().all(known) && in_doubt.len() <= without_a_word,
            "{summary}"
        );
    }
    if !forgets {
        // A stopping ejabberd may cut connections silently. On the wire that looks like a crash, after which its
        // archive cannot be trusted: the message on its way ends in doubt. Messages go one after the other here.
        let forgotten = in_doubt.iter().filter(|(_, why)| *why == Doubt::Forgotten);
        assert!(forgotten.count() <= without_a_word, "{summary}");
        let known = |why: Doubt| why == Doubt::Forgotten || (!is_room && why == Doubt::Restarted);
        assert!(in_doubt.iter().all(|(_, why)| known(*why)), "{in_doubt:?}");
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
        true,
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
        true,
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

/// Without an archive, each message that arrives twice is one whose outcome says that it was repeated.
#[test]
fn prosody_without_an_archive_is_stopped_under_messages_to_a_person() {
    let server = Prosody::start(ServerOptions {
        without_archive: true,
        ..ServerOptions::default()
    });
    let messages = count("ACKPOST_PROOF_MESSAGES", 100);
    let stops = count("ACKPOST_PROOF_STOPS", 2);
    messages_while_it_restarts(server, PERSON, Down::Stopped, stops, messages, false);
}

// --- an idle session ---

/// Messages that were confirmed and seen. Then nothing is sent for 20 s, and the server goes down.
fn nothing_is_repeated_after_a_pause(mut server: XmppServer, down: Down) {
    const PAUSE: Duration = Duration::from_secs(20);
    let bob = Witness::start(server.port, false);
    let ids = block_on_threads(async {
        let account = account(&server, "alice", Mode::StartTls).answer_timeout(Duration::from_secs(30));
        let mut options = SessionOptions::default();
        options.max_backoff = Duration::from_secs(1);
        options.send_timeout = PATIENCE;
        let (alice, events) = Session::open(&account, options).await.unwrap();
        let mut state = follow(events);
        let send = async |number: usize| {
            let id = unique("id").replace(' ', "-");
            let mut message = text(user(PERSON), &format!("message {number}"));
            message.id = Some(id.clone());
            let outcome = alice.send(vec![message]).await.remove(0);
            assert_eq!(delivered(&outcome).confirmed_by, ConfirmedBy::Server);
            assert_eq!(delivered(&outcome).notes, []);
            id
        };
        let mut ids = HashSet::new();
        for number in 0..20 {
            ids.insert(send(number).await);
        }
        tokio::task::block_in_place(|| bob.wait(|bob| bob.has_all(&ids)));
        tokio::time::sleep(PAUSE).await;
        tokio::task::block_in_place(|| {
            match down {
                Down::Killed => server.kill(),
                Down::Stopped => server.stop(),
            }
            server.restart();
        });
        let back = state.wait_for(|state| state.online && state.times > 1);
        tokio::time::timeout(PATIENCE, back)
            .await
            .expect("she comes back")
            .unwrap();
        tokio::task::block_in_place(|| {
            bob.wait(|bob| bob.there.load(Ordering::SeqCst) && bob.online.load(Ordering::SeqCst) > 1);
        });
        // The session repeats messages, if it does, in front of the next one.
        ids.insert(send(20).await);
        tokio::task::block_in_place(|| bob.wait(|bob| bob.has_all(&ids)));
        alice.close().await;
        ids
    });
    let arrived = bob.end();
    let expected: BTreeMap<String, usize> = ids.into_iter().map(|id| (id, 1)).collect();
    assert_eq!(arrived, expected, "each once: {}", server.version);
}

#[test]
fn prosody_is_stopped_under_an_idle_session() {
    nothing_is_repeated_after_a_pause(prosody(), Down::Stopped);
}

#[test]
fn prosody_is_killed_under_an_idle_session() {
    nothing_is_repeated_after_a_pause(prosody(), Down::Killed);
}

#[test]
fn ejabberd_is_stopped_under_an_idle_session() {
    nothing_is_repeated_after_a_pause(ejabberd(), Down::Stopped);
}

#[test]
fn ejabberd_is_killed_under_an_idle_session() {
    nothing_is_repeated_after_a_pause(ejabberd(), Down::Killed);
}
