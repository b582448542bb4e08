//! `ackpost bridge` by the real binary, between a room of a real server and a community of ours.

#![allow(clippy::print_stdout, reason = "the figures of the proof are read by people")]

#[path = "bridge/commands.rs"]
mod commands;
#[path = "support/schemas.rs"]
mod schemas;
mod support;
#[path = "bridge/view.rs"]
mod view;

use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ackpost_testkit::{Ejabberd, Prosody, XmppServer};
use ackpost_xmpp::{
    About, Account, Content, Event, Mode, Outcome, Outgoing, RoomTarget, Session, SessionOptions, Verify,
};
use sogs_client::{Identity, ListOptions, Post, Room, RoomToken, Row, Server};
use support::Program;
use support::community::Community;
use view::{Line, Process, View, collect};

const PATIENCE: Duration = Duration::from_secs(60);
/// People who write in the community.
const PEOPLE: u8 = 60;
/// Seed of the identity of the bridge.
const SEED: &str = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";

/// A number from the environment, for longer runs of the proof.
fn number(name: &str, usual: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

struct Stage {
    program: Program,
    community: Community,
    server: &'static XmppServer,
    place: String,
}

impl Stage {
    fn new(server: &'static XmppServer) -> Self {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock")
            .as_nanos();
        let place = server.room(&format!("bridge-{}-{nanos}", std::process::id()));
        let community = Community::start("main");
        let config = format!(
            "metrics_file = 'metrics.prom'\n[[bridge]]\nname = 'lobby'\ninterval = 1\nannounce = ''\nprivate_addresses = true\n\
             xmpp = \"xmpps://bob:bobpass@{}:{}/%23{place}?xmpp=127.0.0.1&ca_file={}\"\n\
             session = \"session://{}:{{file:seed}}@{}/main\"\n",
            server.domain,
            server.port,
            server.ca.display(),
            community.key,
            community.url.trim_start_matches("http://"),
        );
        let program = Program::new()
            .file("bridge.toml", &config)
            .secret_file("seed", SEED);
        let me = Identity::from_seed_hex(SEED)
            .expect("a seed")
            .session_id()
            .to_string();
        let made = community.program.run(&[
            "server",
            "mod",
            "add",
            "--dir",
            "community",
            &me,
            "--global",
            "--admin",
        ]);
        assert_eq!(made.code, 0, "{}", made.all());
        Self {
            program,
            community,
            server,
            place,
        }
    }

    fn target(&self) -> RoomTarget {
        let mut target = RoomTarget::new(self.place.parse().expect("an address"));
        target.create = true;
        target
    }

    async fn join(&self, user: &str) -> (Session, ackpost_xmpp::Events) {
        let account = Account::new(
            format!("{user}@{}", self.server.domain)
                .parse()
                .expect("an address"),
            format!("{user}pass").into(),
        )
        .host(&self.server.host)
        .port(self.server.port)
        .mode(Mode::StartTls)
        // People are patient: a busy machine is not what is tested.
        .answer_timeout(PATIENCE)
        .verify(Verify::Authorities(
            std::fs::read(&self.server.ca).expect("a file").into(),
        ));
        let mut options = SessionOptions::default();
        options.rooms = vec![self.target()];
        // Somebody whose connection breaks on a busy machine reads later what they missed.
        options.catch_up = vec![(self.target().room, None)];
        let (session, mut events) = Session::open(&account, options).await.expect("a session");
        let inside = tokio::time::timeout(PATIENCE, async {
            while let Some(event) = events.next().await {
                if matches!(
                    event,
                    Event::Occupant {
                        own: true,
                        present: true,
                        ..
                    }
                ) {
                    break;
                }
            }
        });
        inside.await.expect("in the room");
        (session, events)
    }

    /// The room of the community as somebody sees it.
    fn main(&self, who: u8) -> Room {
        let key = self.community.key.parse().expect("a key");
        Server::builder(&self.community.url, key)
            .proxies_from_environment(false)
            .identity(Identity::from_seed([who; 32]))
            .build()
            .expect("a client")
            .room(&RoomToken::new("main").expect("a token"))
    }

    fn run(&self) -> Process {
        let child = self
            .program
            .command(&[
                "bridge",
                "run",
                "--config",
                "bridge.toml",
                "--database",
                "bridge.db",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        Process(child)
    }

    /// Runs a command of bridges with `--json` and checks what it prints against its schema.
    fn checked(&self, words: &[&str]) -> Vec<serde_json::Value> {
        let mut all = vec!["--json", "bridge"];
        all.extend(words);
        all.extend(["--config", "bridge.toml", "--database", "bridge.db"]);
        let ran = self.program.run(&all);
        let objects = ran.json();
        assert!(!objects.is_empty(), "{words:?}: {}", ran.all());
        let all = &all[1..];
        assert!(schemas::has(all), "{words:?} has no schema");
        schemas::check(all, &objects);
        objects
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

async fn say(session: &Session, message: Outgoing) -> String {
    match session.send(vec![message]).await.remove(0) {
        Outcome::Delivered(proof) => proof.id,
        other => panic!("not delivered: {other:?}"),
    }
}

/// All texts of a community, in order.
async fn texts(room: &Room) -> Vec<String> {
    numbered(room).await.into_iter().map(|(_, text)| text).collect()
}

/// All texts of a community with their numbers, in order.
async fn numbered(room: &Room) -> Vec<(u64, String)> {
    let mut found: Vec<(u64, String)> = Vec::new();
    let mut since = 0;
    loop {
        let rows = room.since(since, ListOptions::limit(256)).await.expect("rows");
        let Some(last) = rows.last() else { break };
        since = last.seqno();
        for row in rows {
            found.retain(|(id, _)| *id != row.id());
            if let Row::Message(message) = row {
                found.push((message.id, message.body().unwrap_or_default().to_owned()));
            }
        }
    }
    found.sort_by_key(|(id, _)| *id);
    found
}

async fn until(what: &str, patience: Duration, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + patience;
    while !done().await {
        assert!(Instant::now() < end, "{what} did not happen within {patience:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The change to a message of this number, besides the message itself.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    Delete,
    Edit,
    React,
}

fn change(number: usize) -> Change {
    match number {
        _ if number % 9 == 8 => Change::Delete,
        _ if number % 7 == 6 => Change::Edit,
        _ if number % 5 == 4 => Change::React,
        _ => Change::None,
    }
}

/// The line that is left of a message after its change.
fn expected(author: &str, body: &str, change: Change) -> Option<Line> {
    let text = match change {
        Change::Delete => return None,
        Change::Edit => format!("{author}: {body}, corrected"),
        Change::None | Change::React => format!("{author}: {body}"),
    };
    Some(Line {
        text,
        reacted: change == Change::React,
    })
}

/// Alice writes, and corrects, takes back and reacts to some of it. Returns the lines expected in the community at the end.
async fn write_in_xmpp(stage: &Stage, count: usize, pause: Duration) -> Vec<Line> {
    let (alice, mut events) = stage.join("alice").await;
    let mut all = Vec::new();
    for number in 0..count {
        let body = format!("word {number}");
        let id = say(&alice, Outgoing::new(stage.target(), Content::text(body.clone()))).await;
        let place = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(Event::Room(received)) = events.next().await
                    && received.own
                    && received.body == body
                {
                    return received.archive.expect("an id of the room").id;
                }
            }
        });
        let place = place.await.expect("the room shows it");
        let plain = |text: &str| Outgoing::new(stage.target(), Content::text(text));
        let mut then = plain("");
        match change(number) {
            Change::None => {}
            Change::Delete => {
                then = plain("taken back");
                then.about = Some(About::Retraction { id: place });
            }
            Change::Edit => {
                then = plain(&format!("{body}, corrected"));
                then.replaces = Some(id);
            }
            Change::React => {
                let emoji = vec!["👍".to_owned()];
                then.about = Some(About::Reactions { id: place, emoji });
            }
        }
        if change(number) != Change::None {
            say(&alice, then).await;
        }
        all.extend(expected("alice", &body, change(number)));
        tokio::time::sleep(pause).await;
    }
    alice.close().await;
    all
}

/// People write in the community, and edit, delete and react to some of it. Returns the lines expected in the XMPP room.
async fn write_in_session(stage: &Stage, count: usize, pause: Duration) -> Vec<Line> {
    // Several people, as the community takes 5 posts in 16 s of each; edits count as posts.
    let rooms: Vec<Room> = (1..=PEOPLE).map(|who| stage.main(who)).collect();
    let mut all = Vec::new();
    for number in 0..count {
        let at = number % rooms.len();
        let (room, author) = (&rooms[at], format!("guest{}", at + 1));
        let body = format!("note {number}");
        let post = |text: &str| Post::text(text).name(author.clone());
        let posted = room.post(post(&body)).await.expect("posted");
        match change(number) {
            Change::None => {}
            Change::Delete => room.delete(posted.id).await.expect("deleted"),
            Change::Edit => {
                let text = format!("{body}, corrected");
                room.edit(posted.id, post(&text)).await.expect("edited");
            }
            Change::React => drop(room.react(posted.id, "👍").await.expect("a reaction")),
        }
        all.extend(expected(&author, &body, change(number)));
        tokio::time::sleep(pause).await;
    }
    all
}

/// The lines of Alice, as the community has them, in order. The reactions are read only where they are expected.
async fn of_alice(room: &Room, wanted: &[Line]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (id, text) in numbered(room).await {
        if !text.starts_with("alice: ") || text.ends_with("begin") {
            continue;
        }
        let may_react = wanted.get(lines.len()).is_some_and(|line| line.reacted);
        let reacted = may_react
            && match room.message(id).await {
                Ok(message) => message.reactions.contains_key("👍"),
                Err(_) => false,
            };
        lines.push(Line { text, reacted });
    }
    lines
}

/// The resident memory of a process, as the system writes it.
fn resident(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:").map(|size| size.trim().to_owned()))
        .unwrap_or_else(|| "not known".to_owned())
}

/// Starts the bridge, and returns when it reads both sides: on its first start it begins with what is written from then on.
async fn begin(stage: &Stage, seen: &Mutex<View>) -> Process {
    let child = stage.run();
    let mut tries = 0;
    until("the first message", PATIENCE, async || {
        if tries % 10 == 0 {
            let post = Post::text("begin").name("guest");
            stage.main(0x70 + tries / 10).post(post).await.expect("posted");
        }
        tries += 1;
        seen.lock().expect("no panic").contains("begin")
    })
    .await;
    let (alice, _events) = stage.join("alice").await;
    say(&alice, Outgoing::new(stage.target(), Content::text("begin"))).await;
    let dora = stage.main(0xd0);
    until("the first word", PATIENCE, async || {
        texts(&dora).await.iter().any(|text| text == "alice: begin")
    })
    .await;
    alice.close().await;
    child
}

/// Ends the bridge in order.
fn end(mut child: Process) {
    support::process::signal(child.id(), "-TERM");
    assert_eq!(child.wait().expect("our child").code(), Some(0), "a clean end");
}

/// Waits until both sides have what was written, and compares line by line.
async fn compare(stage: &Stage, seen: &Mutex<View>, expected: (Vec<Line>, Vec<Line>), longest: Duration) {
    let (in_session, in_xmpp) = expected;
    let dora = stage.main(0xd0);
    let limit = Instant::now() + longest;
    let in_room = || seen.lock().expect("no panic").lines();
    while Instant::now() < limit && (in_room() != in_xmpp || of_alice(&dora, &in_session).await != in_session)
    {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(
        of_alice(&dora, &in_session).await,
        in_session,
        "what crossed into the community"
    );
    assert_eq!(in_room(), in_xmpp, "what crossed into the XMPP room");
}

fn kills(server: &'static XmppServer) {
    let (kills, events) = (number("BRIDGE_KILLS", 10), number("BRIDGE_EVENTS", 80));
    let stage = Stage::new(server);
    block_on(async {
        let (_carol, events_of_carol) = stage.join("carol").await;
        let seen = collect(events_of_carol);
        let mut child = begin(&stage, &seen).await;
        let began = Instant::now();
        let pause = Duration::from_millis(150);
        let writers = async {
            tokio::join!(
                write_in_xmpp(&stage, events / 2, pause),
                write_in_session(&stage, events / 2, pause)
            )
        };
        let killer = async {
            for number in 0..kills {
                // Short and long lives, so that it is hit at every stage.
                tokio::time::sleep(Duration::from_millis(
                    400 + (u64::try_from(number).unwrap_or(0) * 617) % 2_500,
                ))
                .await;
                child.kill().expect("SIGKILL");
                child.wait().expect("our child");
                child = stage.run();
            }
        };
        let (expected, ()) = tokio::join!(writers, killer);
        let longest = PATIENCE + Duration::from_secs(u64::try_from(events).unwrap_or(0));
        compare(&stage, &seen, expected, longest).await;
        println!(
            "{}: {kills} kills, {events} messages with edits, deletions and reactions: 0 lost, 0 doubled, in order, in {:?}",
            stage.server.domain,
            began.elapsed()
        );
        println!("memory at rest: {}", resident(child.id()));
        end(child);
    });
}

/// Median, 95th percentile and maximum of these times, for people.
fn figures(mut delays: Vec<Duration>) -> String {
    delays.sort();
    let at = |percent: usize| {
        let place = (delays.len() * percent / 100).min(delays.len().saturating_sub(1));
        delays.get(place).copied().unwrap_or_default()
    };
    format!(
        "delay {:.2?} (median), {:.2?} (95 %), {:.2?} (longest)",
        at(50),
        at(95),
        at(100)
    )
}

/// Posts twenty notes a second into the community. Returns what the other side will show, and when each was posted.
async fn post_notes(rooms: &[Room], count: usize) -> (Vec<Line>, Vec<Instant>) {
    let mut clock = tokio::time::interval(Duration::from_millis(50));
    let (mut notes, mut posted) = (Vec::new(), Vec::new());
    for number in 0..count {
        clock.tick().await;
        posted.push(Instant::now());
        let at = number % rooms.len();
        let (name, body) = (format!("guest{}", at + 1), format!("note {number}"));
        rooms[at]
            .post(Post::text(body.clone()).name(name.clone()))
            .await
            .expect("posted");
        notes.extend(expected(&name, &body, Change::None));
    }
    (notes, posted)
}

/// Twenty posts a second in each direction: nothing is lost, nothing is doubled, the order is kept, and the delay is printed.
#[test]
fn twenty_posts_a_second_cross_in_order() {
    let seconds = number("BRIDGE_RATE_SECS", 2);
    let count = seconds * 20;
    let stage = Stage::new(Prosody::shared());
    block_on(async {
        let (_carol, events_of_carol) = stage.join("carol").await;
        let seen = collect(events_of_carol);
        let child = begin(&stage, &seen).await;
        let before = resident(child.id());
        let dora = stage.main(0xd0);
        let (alice, _events) = stage.join("alice").await;
        let began = Instant::now();
        let write = async {
            // Four at a time, so that a slow answer of the server does not lower the rate.
            let mut clock = tokio::time::interval(Duration::from_millis(200));
            let mut sent = Vec::new();
            for first in (0..count).step_by(4) {
                clock.tick().await;
                sent.extend([began.elapsed(); 4]);
                let words = (first..first + 4)
                    .map(|number| Outgoing::new(stage.target(), Content::text(format!("word {number}"))));
                for outcome in alice.send(words.collect()).await {
                    outcome.into_result().expect("delivered");
                }
            }
            sent
        };
        let read = async {
            let (mut seen, mut since) = (Vec::new(), 0);
            let longest = Duration::from_secs(120) + Duration::from_secs(u64::try_from(count).unwrap_or(0));
            until("the last word", longest, async || {
                for row in dora.since(since, ListOptions::limit(256)).await.expect("rows") {
                    since = since.max(row.seqno());
                    if let Row::Message(message) = row
                        && message
                            .body()
                            .is_some_and(|body| body.starts_with("alice: word "))
                    {
                        seen.push(began.elapsed());
                    }
                }
                seen.len() >= count
            })
            .await;
            seen
        };
        let (sent, arrived) = tokio::join!(write, read);
        let written = sent.last().copied().unwrap_or_default();
        let delays = arrived
            .iter()
            .zip(&sent)
            .map(|(seen, sent)| seen.saturating_sub(*sent));
        println!(
            "{count} posts in {written:?} into the community: {}",
            figures(delays.collect())
        );

        let began = Instant::now();
        // The community takes 5 posts in 16 s of each. Number 176 would be the bridge itself.
        let rooms: Vec<Room> = (1..=170).map(|who| stage.main(who)).collect();
        let (notes, posted) = post_notes(&rooms, count).await;
        let written = began.elapsed();
        let words =
            (0..count).filter_map(|number| expected("alice", &format!("word {number}"), Change::None));
        let longest = Duration::from_secs(120) + Duration::from_secs(u64::try_from(count).unwrap_or(0));
        compare(&stage, &seen, (words.collect(), notes), longest).await;
        let arrived = seen.lock().expect("no panic").arrived.clone();
        let delays = arrived
            .iter()
            .zip(&posted)
            .map(|(seen, posted)| seen.saturating_duration_since(*posted));
        println!(
            "{count} posts in {written:?} into the XMPP room, which gets 2 in a second: {}, all there after {:?}",
            figures(delays.collect()),
            began.elapsed()
        );
        println!("memory: {before} before, {} after", resident(child.id()));
        alice.close().await;
        end(child);
    });
}

#[test]
fn nothing_is_lost_or_doubled_over_kills_on_prosody() {
    kills(Prosody::shared());
}

#[test]
fn nothing_is_lost_or_doubled_over_kills_on_ejabberd() {
    kills(Ejabberd::shared());
}
