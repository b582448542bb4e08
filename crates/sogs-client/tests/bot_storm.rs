//! A bot as its own program, among hostile members and moderators, for as long as `HOSTILE_SECONDS` says.
//!
//! `scripts/hostile-bot` runs it for ten minutes; the suite for a few seconds.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::print_stderr, reason = "it reports what was done to the bot")]

mod community;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use community::{Community, Way, admin, person, token};
use session_protocol::Identity;
use sogs_client::{ListOptions, Room};
use sogs_server::admin::{Operation, PermissionChange, RoomScope};
use sogs_server::model::filter::{FilterAction, FilterKind};
use tokio::process::{Child, Command};

/// Time in the suite.
const DEFAULT_SECONDS: u64 = 6;
/// Kinds of trouble; each comes at least once.
const KINDS: u8 = 9;
/// Longest wait for an answer afterwards: a pause after a ban, the replies that wait, and a rate limit.
const PATIENCE: Duration = Duration::from_secs(150);
/// Longest time for the stop.
const STOP_WITHIN: Duration = Duration::from_millis(200);
/// Most memory of the bot at the end, kilobytes.
const MAX_KILOBYTES: u64 = 200_000;

/// The bot has no rights, so every limit of the community binds it.
fn bot_identity() -> Identity {
    Identity::from_seed([0xb0; 32])
}

fn start_bot(community: &Community) -> Child {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().and_then(Path::parent).unwrap().join("examples");
    let link = format!("{}/main?public_key={}", community.url(), community.key());
    Command::new(examples.join("echo_bot"))
        .arg(link)
        .env("SESSION_SEED", "b0".repeat(32))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn setting(community: &Community, room: Option<&str>, name: &str, value: &str) {
    community
        .act(Operation::SettingSet {
            room: room.map(str::to_owned),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        })
        .await;
}

/// Writes commands and direct messages as fast as the limits let somebody.
async fn flood(community: &Community, round: u8, people: u8) {
    let bot = bot_identity().blind15(&community.key()).id();
    for n in 0..people {
        let someone = person(Way::Direct, round.wrapping_mul(7) % 60 + n);
        let server = community.server(Way::Direct, &someone);
        let room = server.room(&token("main"));
        // Refusals are part of it.
        for text in ["!help", "!echo", "!echo \u{202e}x", "!help echo"] {
            let _ = room.post(text).await;
        }
        let _ = server.inbox().send(&bot, "!help", None).await;
        let _ = server.inbox().send(&bot, "a word", None).await;
    }
}

async fn may_read(community: &Community, read: Option<bool>, clear: bool) {
    let permissions = PermissionChange {
        read,
        ..PermissionChange::default()
    };
    community
        .act(Operation::UserPermissions {
            user: bot_identity().session_id().to_string(),
            room: "main".to_owned(),
            permissions,
            clear,
        })
        .await;
}

/// One kind of trouble, taken back at the end.
async fn trouble(community: &mut Community, kind: u8, pause: Duration) -> &'static str {
    let room = || Some("main".to_owned());
    let here = || RoomScope::Rooms(vec!["main".to_owned()]);
    match kind {
        0 => {
            setting(community, Some("main"), "slow_seconds", "600").await;
            tokio::time::sleep(pause).await;
            setting(community, Some("main"), "slow_seconds", "0").await;
            "slow mode"
        }
        1 => {
            setting(community, None, "dm_per_hour", "1").await;
            tokio::time::sleep(pause).await;
            setting(community, None, "dm_per_hour", "1000").await;
            "limited direct messages"
        }
        2 => {
            let (seconds, reach_back) = (None, 86_400.0);
            community
                .act(Operation::RaidOn {
                    room: room(),
                    seconds,
                    reach_back,
                })
                .await;
            tokio::time::sleep(pause).await;
            community.act(Operation::RaidOff { room: room() }).await;
            "raid mode"
        }
        3 => {
            community.ban(&bot_identity(), &here(), true).await;
            tokio::time::sleep(pause).await;
            community.ban(&bot_identity(), &here(), false).await;
            "a ban from the room"
        }
        4 => {
            community.ban(&bot_identity(), &RoomScope::Global, true).await;
            tokio::time::sleep(pause).await;
            community.ban(&bot_identity(), &RoomScope::Global, false).await;
            "a ban from the server"
        }
        5 => {
            // Removed with all its posts, and let in again.
            community
                .act(Operation::BanAdd {
                    user: bot_identity().session_id().to_string(),
                    place: here(),
                    seconds: Some(0.5),
                    delete_posts: true,
                })
                .await;
            tokio::time::sleep(pause).await;
            community.ban(&bot_identity(), &here(), false).await;
            "kicked"
        }
        6 => {
            may_read(community, Some(false), false).await;
            tokio::time::sleep(pause).await;
            may_read(community, None, true).await;
            "no permission to read"
        }
        7 => {
            let room = "main".to_owned();
            let id = community.ask(Operation::RoomDelete { room }).await.undo;
            assert!(id.is_some(), "the deletion can be undone");
            tokio::time::sleep(pause).await;
            community.act(Operation::Undo { id }).await;
            "a deleted room"
        }
        _ => {
            community.restart().await;
            tokio::time::sleep(pause).await;
            "a restart"
        }
    }
}

/// Asks the bot until it answers with a text that nobody else writes.
async fn answers(room: &Room) {
    let started = Instant::now();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let word = format!("echo-{}", now.unwrap().as_millis());
    while started.elapsed() < PATIENCE {
        let _ = room.post(format!("!echo {word}")).await;
        for _ in 0..40 {
            let messages = room.recent(ListOptions::limit(100)).await.unwrap_or_default();
            if messages.iter().any(|message| message.body() == Some(&word)) {
                eprintln!("it answers after {:?}", started.elapsed());
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    panic!("the bot does not answer within {PATIENCE:?}");
}

/// Resident memory of a process, kilobytes.
fn kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_bot_outlives_a_storm_answers_afterwards_and_stops_at_once() {
    let seconds = std::env::var("HOSTILE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let storm = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    let mut community = Community::start().await;
    community
        .act(Operation::FilterAdd {
            room: None,
            kind: FilterKind::Words,
            pattern: "Commands".to_owned(),
            action: FilterAction::Reject,
            reply: Some("No such words".to_owned()),
        })
        .await;
    let mut bot = start_bot(&community);
    let moderator = community.room(Way::Direct, &admin());
    answers(&moderator).await;

    let started = Instant::now();
    let mut round = 0u8;
    while started.elapsed() < storm || round < KINDS {
        // In the short form few replies are left waiting at the end.
        let (people, pause) = if storm.as_secs() > 60 {
            (6, 6_000)
        } else {
            (u8::from(round.is_multiple_of(3)), 700)
        };
        flood(&community, round, people).await;
        let pause = Duration::from_millis(pause);
        let name = trouble(&mut community, round % KINDS, pause).await;
        eprintln!("{:>5.0?} s: {name}", started.elapsed().as_secs());
        assert!(bot.try_wait().unwrap().is_none(), "the bot ended after {name}");
        round = round.wrapping_add(1);
    }

    answers(&community.room(Way::Direct, &admin())).await;
    let pid = bot.id().unwrap();
    let memory = kilobytes(pid);
    eprintln!("{memory} kB after {round} rounds");
    assert!(memory < MAX_KILOBYTES, "{memory} kB");
    let stop = Instant::now();
    let sent = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    let status = tokio::time::timeout(Duration::from_secs(10), bot.wait())
        .await
        .unwrap()
        .unwrap();
    let took = stop.elapsed();
    eprintln!("it stops within {took:?}");
    assert!(status.success(), "{status}");
    assert!(took < STOP_WITHIN, "the stop took {took:?}");
}
