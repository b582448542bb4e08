//! Kept sessions while their server goes down and comes back: nothing is lost, nothing is shown twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use testkit::{Ejabberd, Prosody, ServerOptions, XmppServer};
use tokio::sync::watch;
use xmpp_client::{Event, Events, Mode, Outcome, RoomTarget, Session, SessionOptions, Target};

const PERSON: &str = "bob@localhost";
const ROOM: &str = "open@conference.localhost";
/// Nothing takes as long as this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// What happened to one session besides messages, for the moment when a test fails.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    fn note(&self, event: &Event) {
        let mut story = self.0.lock().unwrap();
        if story.len() < 200 {
            story.push(format!("{event:?}"));
        }
    }
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.lock().unwrap().join("\n"))
    }
}

/// How often each origin id arrived, with its text.
type Arrived = Arc<Mutex<BTreeMap<String, (usize, String)>>>;

fn options(rooms: bool, receiving: bool) -> SessionOptions {
    let mut options = SessionOptions::default();
    if receiving {
        let rooms: Vec<RoomTarget> = rooms.then(|| RoomTarget::new(jid(ROOM))).into_iter().collect();
        options = SessionOptions::receiving(rooms);
        options.catch_up = vec![(jid(PERSON), None), (jid(ROOM), None)];
    }
    options.longest_pause = Duration::from_secs(1);
    options.patience = PATIENCE;
    options
}

async fn open(server: &XmppServer, user: &str, options: SessionOptions) -> (Session, Events) {
    // An answer that takes long on a busy machine is no broken connection here.
    let account = account(server, user, Mode::StartTls).answer_timeout(Duration::from_secs(30));
    Session::open(&account, options).await.unwrap()
}

/// How often a session came online, and where it is now.
#[derive(Clone, Copy, Default)]
struct State {
    times: usize,
    online: bool,
    /// In the room, where that matters.
    inside: bool,
}

/// Follows the events of a session to their end.
fn follow(mut events: Events, story: Story, arrived: Option<(Arrived, String)>) -> watch::Receiver<State> {
    let (tell, state) = watch::channel(State::default());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match &event {
                Event::Online { .. } => tell.send_modify(|state| {
                    state.times += 1;
                    state.online = true;
                }),
                Event::Offline { .. } | Event::Ended { .. } => tell.send_modify(|state| {
                    state.online = false;
                    state.inside = false;
                }),
                Event::Occupant {
                    own: true, present, ..
                } => {
                    tell.send_modify(|state| state.inside = *present);
                }
                Event::Chat(received) | Event::Room(received) => {
                    if let Some((arrived, prefix)) = &arrived
                        && received.body.starts_with(prefix)
                    {
                        let id = received.origin_id.clone().unwrap();
                        // Whoever is told looks at what arrived: the lock has to be free by then.
                        {
                            let mut arrived = arrived.lock().unwrap();
                            let entry = arrived.entry(id).or_insert((0, received.body.clone()));
                            entry.0 += 1;
                        }
                        tell.send_modify(|_| ());
                    }
                    continue;
                }
                _ => {}
            }
            story.note(&event);
        }
    });
    state
}

/// Waits until a session is online, and in the room where that matters.
async fn there(state: &mut watch::Receiver<State>, in_room: bool) {
    let ready = state.wait_for(|state| state.online && (state.inside || !in_room));
    tokio::time::timeout(PATIENCE, ready)
        .await
        .expect("it comes online in time")
        .unwrap();
}

/// The server goes down that many times, each time in the middle of the messages and only while both
/// are online: what is not online cannot break.
async fn restarts(
    server: &mut XmppServer,
    kill: bool,
    times: usize,
    [alice, bob]: [&mut watch::Receiver<State>; 2],
) {
    let mut seen = 0;
    for _ in 0..times {
        let state = *tokio::time::timeout(
            PATIENCE,
            alice.wait_for(|state| state.online && state.times > seen),
        )
        .await
        .expect("she comes online again")
        .unwrap();
        seen = state.times;
        there(bob, false).await;
        tokio::time::sleep(Duration::from_millis(450)).await;
        tokio::task::block_in_place(|| {
            if kill {
                server.kill();
            } else {
                server.stop();
            }
            server.restart();
        });
    }
    tokio::time::timeout(
        PATIENCE,
        alice.wait_for(|state| state.online && state.times > seen),
    )
    .await
    .expect("she comes online after the last one")
    .unwrap();
}

/// Messages over one session while its server goes down: each is reported delivered, and each arrives
/// exactly once by its origin id.
fn messages_while_it_restarts(mut server: XmppServer, target: &str, kill: bool, times: usize, count: usize) {
    let prefix = unique("thousand");
    let is_room = target == ROOM;
    let arrived = Arrived::default();
    let (alices, bobs) = (Story::default(), Story::default());
    let outcomes = block_on_threads(async {
        let (bob, bob_events) = open(&server, "bob", options(is_room, true)).await;
        let follows = (arrived.clone(), prefix.clone());
        let mut bob_state = follow(bob_events, bobs.clone(), Some(follows));
        // What is said before he is in, he does not get.
        there(&mut bob_state, is_room).await;
        let (alice, alice_events) = open(&server, "alice", options(is_room, false)).await;
        let mut alice_state = follow(alice_events, alices.clone(), None);
        let sender = {
            let (prefix, target, alice) = (prefix.clone(), target.to_owned(), alice.clone());
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for chunk in 0..count / 10 {
                    let to = || -> Target { if is_room { room(&target) } else { user(&target) } };
                    let messages = (0..10)
                        .map(|n| text(to(), &format!("{prefix} {}", chunk * 10 + n)))
                        .collect();
                    outcomes.extend(alice.send(messages).await);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                outcomes
            })
        };
        restarts(&mut server, kill, times, [&mut alice_state, &mut bob_state]).await;
        let outcomes = sender.await.unwrap();
        // Everything is sent; what is still missing he has to fetch.
        let _ = tokio::time::timeout(
            Duration::from_secs(60),
            bob_state.wait_for(|_| arrived.lock().unwrap().len() >= count),
        )
        .await;
        // What comes twice comes later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop((alice, bob));
        outcomes
    });
    let story = || format!("alice:\n{alices}\nbob:\n{bobs}");
    let failures: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| outcome.delivered().is_none())
        .collect();
    assert!(
        failures.is_empty(),
        "{} failures, the first {:?}\n{}",
        failures.len(),
        failures[0],
        story()
    );
    let sent: HashSet<&str> = outcomes
        .iter()
        .map(|outcome| delivered(outcome).id.as_str())
        .collect();
    assert_eq!(sent.len(), count);
    let arrived = arrived.lock().unwrap();
    let missing: Vec<_> = outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| !arrived.contains_key(&delivered(outcome).id))
        .map(|(n, outcome)| (n, delivered(outcome)))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}\n{}", story());
    assert!(arrived.keys().all(|id| sent.contains(id.as_str())));
    let twice: Vec<_> = arrived.values().filter(|(times, _)| *times != 1).collect();
    assert!(twice.is_empty(), "not exactly once: {twice:?}\n{}", story());
}

fn block_on_threads<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn prosody() -> XmppServer {
    Prosody::start(ServerOptions::default())
}

fn ejabberd() -> XmppServer {
    Ejabberd::start(ServerOptions::default())
}

#[test]
fn prosody_restarts_five_times_under_a_thousand_messages_to_a_person() {
    messages_while_it_restarts(prosody(), PERSON, false, 5, 1_000);
}

#[test]
fn prosody_is_killed_five_times_under_a_thousand_messages_to_a_room() {
    messages_while_it_restarts(prosody(), ROOM, true, 5, 1_000);
}

#[test]
fn prosody_restarts_under_messages_to_a_room() {
    messages_while_it_restarts(prosody(), ROOM, false, 2, 300);
}

#[test]
fn ejabberd_restarts_five_times_under_a_thousand_messages_to_a_person() {
    messages_while_it_restarts(ejabberd(), PERSON, false, 5, 1_000);
}

#[test]
fn ejabberd_restarts_under_messages_to_a_room() {
    messages_while_it_restarts(ejabberd(), ROOM, false, 2, 300);
}
