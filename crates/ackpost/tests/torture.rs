//! Nothing is lost, nothing is doubled: messages to a SOGS room and an XMPP room while the sender is killed with
//! SIGKILL at random instants and the servers are restarted. The messages that arrived are read at the receivers: the
//! community's messages, the archive of the XMPP room.
//!
//! A small round is part of the suite. `scripts/torture` runs the long ones.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and this one prints what it did"
)]

mod support;

use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ackpost_notify::{Context, Message, ServiceUrl};
use ackpost_outbox::{AcceptOptions, Location, Outbox, OutboxConfig, OutboxId, State};
use ackpost_testkit::{Postgres, Prosody, Receiver, ServerOptions, XmppServer};
use session_protocol::{Identity, RoomToken};
use sogs_client::ListOptions;
use support::{Program, SEED};

/// Size of the test.
struct Size {
    messages: usize,
    kills: usize,
    server_restarts: usize,
    workers: usize,
    /// Maximum time for the whole test.
    limit: Duration,
}

impl Size {
    /// From `TORTURE_MESSAGES` and `TORTURE_KILLS`, as `scripts/torture` sets them.
    fn whole() -> Self {
        let number = |name: &str, default: usize| {
            std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
        };
        let (messages, kills) = (number("TORTURE_MESSAGES", 1000), number("TORTURE_KILLS", 100));
        Self {
            messages,
            kills,
            server_restarts: 5,
            workers: 1,
            limit: Duration::from_secs(1200),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_kills_and_restarts() {
    let size = Size {
        messages: 40,
        kills: 6,
        server_restarts: 1,
        workers: 1,
        limit: Duration::from_secs(120),
    };
    let servers = Servers::start();
    torture(servers, &size, None, &mut |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long; scripts/torture runs it"]
async fn kills_and_restarts() {
    torture(Servers::start(), &Size::whole(), None, &mut |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long; scripts/torture runs it"]
async fn two_workers_on_one_file() {
    torture(
        Servers::start(),
        &Size {
            workers: 2,
            ..Size::whole()
        },
        None,
        &mut |_| {},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long; scripts/torture runs it"]
async fn postgresql_restarts_under_two_workers() {
    let mut cluster = Postgres::start();
    let database = cluster.database();
    let url = database.url().to_owned();
    let size = Size {
        workers: 2,
        ..Size::whole()
    };
    let every = (size.kills / 5).max(1);
    let mut disturb = |round: usize| {
        if round % every == every / 2 {
            cluster.kill();
            cluster.restart();
        }
    };
    torture(
        Servers::start(),
        &size,
        Some(Location::Postgres(url.into())),
        &mut disturb,
    )
    .await;
}

/// The folder of the outbox is its own file system that is filled up again and again. Needs the right to mount:
/// root, or `unshare --map-root-user --mount`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long; scripts/torture runs it"]
async fn a_full_disk() {
    let disk = SmallDisk::mount();
    let location = Location::Sqlite(disk.folder.path().join("outbox.db"));
    let filler = disk.folder.path().join("filler");
    let size = Size {
        kills: Size::whole().kills / 2,
        ..Size::whole()
    };
    let mut disturb = |round: usize| {
        if round.is_multiple_of(2) {
            fill(&filler);
        } else {
            let _ = std::fs::remove_file(&filler);
        }
    };
    torture(Servers::start(), &size, Some(location), &mut disturb).await;
}

/// The two servers, which keep their ports over restarts.
struct Servers {
    program: Program,
    community: Option<Child>,
    port: u16,
    key: String,
    prosody: XmppServer,
}

impl Servers {
    fn start() -> Self {
        let program = Program::new();
        let identity = Identity::from_seed(hex::decode(SEED).unwrap().try_into().unwrap());
        let id = identity.session_id().to_string();
        for args in [
            &["server", "init", "community"][..],
            &["server", "room", "add", "--dir", "community", "lobby"],
            // Admins are exempt from the limit of 5 posts in 16 s, which would make this an hour long.
            &[
                "server",
                "mod",
                "add",
                "--dir",
                "community",
                "--room",
                "lobby",
                "--admin",
                &id,
            ],
        ] {
            let ran = program.run(args);
            assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
        }
        let port = ackpost_testkit::reserve_port();
        let prosody = Prosody::start(ServerOptions::default());
        let mut servers = Self {
            program,
            community: None,
            port,
            key: String::new(),
            prosody,
        };
        servers.start_community();
        servers
    }

    fn start_community(&mut self) {
        let listen = format!("127.0.0.1:{}", self.port);
        let mut child = self
            .program
            .command(&["--json", "server", "run", "community", "--listen", &listen])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        said["public_key"].as_str().unwrap().clone_into(&mut self.key);
        self.community = Some(child);
    }

    /// Ends both as a power cut would, and starts them again.
    fn restart(&mut self) {
        stop(self.community.take());
        self.prosody.kill();
        self.prosody.restart();
        self.start_community();
    }

    fn urls(&self) -> [String; 2] {
        let xmpp = self.prosody.port;
        [
            format!(
                "session://{}:{SEED}@127.0.0.1:{}/lobby?budget=off&rto=10",
                self.key, self.port
            ),
            format!(
                "xmpps://alice:alicepass@localhost:{xmpp}/%23{}?verify=no&xmpp=127.0.0.1&budget=off&rto=10",
                self.prosody.room("open")
            ),
        ]
    }

    /// The texts in the community's room, in the order of the server.
    async fn posted(&self) -> Vec<String> {
        let key = self.key.parse().unwrap();
        let identity = Identity::from_seed(hex::decode(SEED).unwrap().try_into().unwrap());
        let base = format!("http://127.0.0.1:{}", self.port);
        let server = sogs_client::Server::builder(&base, key)
            .identity(identity)
            .build()
            .unwrap();
        let room = server.room(&RoomToken::new("lobby").unwrap());
        let options = || ListOptions {
            limit: Some(256),
            reactors: Some(0),
            with_reaction_rows: false,
        };
        let mut page = room.recent(options()).await.unwrap();
        let mut all = Vec::new();
        while let Some(oldest) = page.last().map(|message| message.id) {
            all.extend(
                page.iter()
                    .map(|message| message.body().unwrap_or_default().to_owned()),
            );
            page = room.before(oldest, options()).await.unwrap();
        }
        all.reverse();
        all
    }

    /// The texts in the archive of the XMPP room (XEP-0313), in order.
    fn archived(&self) -> Vec<String> {
        let room = self.prosody.room("open");
        let mut bob = Receiver::join(self.prosody.port, "localhost", "bob", "bobpass", &[&room]);
        let (mut all, mut after) = (Vec::new(), String::new());
        for page in 0..1000 {
            bob.send(&format!(
                "<iq type='set' id='page{page}' to='{room}'><query xmlns='urn:xmpp:mam:2' queryid='q{page}'>\
                 <set xmlns='http://jabber.org/protocol/rsm'><max>50</max>{after}</set></query></iq>"
            ));
            let end = bob
                .wait(Duration::from_secs(30), |stanza| {
                    stanza.attr("id") == format!("page{page}")
                })
                .expect("the archive answers");
            let fin = end.child("fin").unwrap_or_else(|| panic!("no page: {}", end.raw));
            let mut last = None;
            let ours = |stanza: &ackpost_testkit::Element| {
                stanza
                    .child("result")
                    .is_some_and(|result| result.attr("queryid") == format!("q{page}"))
            };
            while let Some(stanza) = bob.wait(Duration::ZERO, ours) {
                let result = stanza.child("result").unwrap();
                last = Some(result.attr("id").to_owned());
                let message = result
                    .child("forwarded")
                    .and_then(|forwarded| forwarded.child("message"))
                    .unwrap();
                all.extend(message.child_text("body").map(str::to_owned));
            }
            match last {
                Some(last) if fin.attr("complete") != "true" => after = format!("<after>{last}</after>"),
                _ => return all,
            }
        }
        panic!("the archive does not end");
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        stop(self.community.take());
    }
}

fn stop(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Accepts, kills, restarts; in the end everything has arrived once and in order.
async fn torture(mut servers: Servers, size: &Size, place: Option<Location>, disturb: &mut dyn FnMut(usize)) {
    let begun = Instant::now();
    let home = servers.program.home();
    let location = place.unwrap_or_else(|| Location::Sqlite(home.join("outbox.db")));
    let key_file = home.join("torture.key");
    let services = servers
        .urls()
        .map(|url| ServiceUrl::parse(&url, &Context::default()).unwrap());
    let mut chance = Chance(0x5eed_0000 + size.messages as u64);
    let mut texts: HashMap<usize, Vec<OutboxId>> = HashMap::new();
    let (mut accepted, mut turned_away, mut restarts, mut order) = (0, 0, 0, Vec::new());
    let mut workers: Vec<Option<Child>> = (0..size.workers).map(|_| None).collect();
    let mut outbox: Option<Outbox> = None;
    for round in 0..size.kills {
        assert!(begun.elapsed() < size.limit, "bounded");
        let at = round % size.workers;
        workers[at] = Some(worker(&servers.program, &location, &key_file));
        disturb(round);
        let due = size.messages * (round + 1) / size.kills;
        while accepted < due {
            let stored = accept(&mut outbox, &location, &key_file, &services, accepted).await;
            let Some(ids) = stored else {
                // Told so, and nothing of it is stored: the sender of the message knows.
                turned_away += 1;
                break;
            };
            texts.insert(accepted, ids);
            order.push(accepted.to_string());
            accepted += 1;
        }
        if (round + 1) * size.server_restarts / size.kills > restarts {
            restarts += 1;
            servers.restart();
        }
        // From "has hardly begun" over "waits for the lease of the one before" to "in the middle of it".
        tokio::time::sleep(Duration::from_millis(chance.below(2200))).await;
        stop(workers[at].take());
    }
    for worker in workers {
        stop(worker);
    }
    // Odd: what was in the way is gone.
    disturb(1);
    while accepted < size.messages {
        let ids = accept(&mut outbox, &location, &key_file, &services, accepted)
            .await
            .expect("nothing is in the way");
        texts.insert(accepted, ids);
        order.push(accepted.to_string());
        accepted += 1;
    }
    let last = worker(&servers.program, &location, &key_file);
    let outbox = outbox.expect("opened");
    let all: Vec<OutboxId> = texts.values().flatten().cloned().collect();
    let mut left = usize::MAX;
    while left > 0 {
        assert!(
            begun.elapsed() < size.limit,
            "{left} left: {:?}",
            outbox.lanes().await
        );
        let entries = outbox.wait(&all, Duration::from_secs(2)).await.unwrap();
        assert_eq!(entries.len(), all.len(), "no entry vanishes");
        let wrong = entries
            .iter()
            .find(|entry| matches!(entry.state, State::Dead | State::Dropped));
        assert!(wrong.is_none(), "{wrong:?}");
        left = entries.iter().filter(|entry| !entry.state.is_final()).count();
    }
    stop(Some(last));
    let stats = outbox.stats().await.unwrap();
    outbox.close().await;
    for (whose, arrived) in [
        ("community", servers.posted().await),
        ("XMPP room", servers.archived()),
    ] {
        check(whose, &arrived, &order);
    }
    let attempts: u64 = stats.services.iter().map(|service| service.attempts).sum();
    println!(
        "{accepted} messages to 2 rooms, {} kills, {restarts} restarts of both servers, {turned_away} turned away: 0 lost, \
         0 doubled, in order; {attempts} attempts, {:.0} s",
        size.kills,
        begun.elapsed().as_secs_f64()
    );
}

fn check(whose: &str, arrived: &[String], order: &[String]) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in arrived {
        *counts.entry(text).or_default() += 1;
    }
    let lost: Vec<_> = order
        .iter()
        .filter(|text| !counts.contains_key(text.as_str()))
        .collect();
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(lost.is_empty(), "{whose}: lost {lost:?}");
    assert!(doubled.is_empty(), "{whose}: doubled {doubled:?}");
    assert!(arrived == order, "{whose}: out of order: {arrived:?}");
}

/// Accepts one message for both rooms; `None` when there is no room for it.
async fn accept(
    outbox: &mut Option<Outbox>,
    location: &Location,
    key_file: &Path,
    services: &[ServiceUrl],
    number: usize,
) -> Option<Vec<OutboxId>> {
    if outbox.is_none() {
        let config = OutboxConfig::new(location.clone(), key_file);
        match Outbox::for_services(config, ackpost_notify::Services::default()).await {
            Ok(opened) => *outbox = Some(opened),
            Err(error) => {
                assert!(error.is_full(), "{error}");
                return None;
            }
        }
    }
    let message = Message::new(number.to_string());
    let services: Vec<&ServiceUrl> = services.iter().collect();
    match outbox
        .as_ref()
        .unwrap()
        .accept(&message, &services, &AcceptOptions::default())
        .await
    {
        Ok(accepted) => Some(accepted.into_iter().map(|one| one.id).collect()),
        Err(error) => {
            assert!(error.is_full(), "{error}");
            None
        }
    }
}

/// A real sender.
fn worker(program: &Program, location: &Location, key_file: &Path) -> Child {
    let place = match location {
        Location::Sqlite(path) => path.display().to_string(),
        Location::Postgres(url) => {
            use secrecy::ExposeSecret as _;
            url.expose_secret().to_owned()
        }
    };
    let key_file = key_file.display().to_string();
    program
        .command(&[
            "outbox",
            "--outbox",
            &place,
            "--outbox-key",
            &key_file,
            "run",
            "--lease",
            "1s",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs")
}

/// A file system of a few megabytes.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "mounting needs root, or unshare --map-root-user --mount"
        );
        Self { folder }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

/// Writes until nothing fits any more.
fn fill(filler: &PathBuf) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(filler).unwrap();
    for bytes in [4096, 256, 1] {
        while file.write(&vec![0; bytes]).is_ok_and(|written| written > 0) {}
    }
}

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
