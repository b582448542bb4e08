//! Members and moderators who try to silence or end a bot.
#![expect(clippy::unwrap_used, reason = "a test")]

mod community;

use std::time::{Duration, Instant};

use community::{Community, Way, person, token};
use session_protocol::Identity;
use sogs_client::bot::{Bot, BotError, Command};
use sogs_client::{ListOptions, Room};
use sogs_server::admin::{Operation, RoomScope};
use sogs_server::model::filter::{FilterAction, FilterKind};

/// The bot has no rights, so every limit of the community binds it.
fn bot_identity() -> Identity {
    person(Way::Direct, 60)
}

struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    done: tokio::task::JoinHandle<Result<(), BotError>>,
}

impl Running {
    /// Starts the bot in the rooms `main` and `side`, and returns when it hears `side`.
    async fn start(community: &Community) -> Self {
        community.room_add("side").await;
        let (running, started) = Self::spawn(community);
        let someone = community
            .server(Way::Direct, &person(Way::Direct, 61))
            .room(&token("side"));
        tokio::time::timeout(Duration::from_secs(20), async {
            while tokio::time::timeout(Duration::from_millis(100), started.notified())
                .await
                .is_err()
            {
                let _ = someone.post("are you there?").await;
            }
        })
        .await
        .expect("the bot hears the room");
        running
    }

    /// Starts the bot without waiting for anything; the notification follows the first message that it hears.
    fn spawn(community: &Community) -> (Self, std::sync::Arc<tokio::sync::Notify>) {
        let started = std::sync::Arc::new(tokio::sync::Notify::new());
        let first = started.clone();
        let bot = Bot::new(community.server(Way::Direct, &bot_identity()))
            .room(token("main"))
            .room(token("side"))
            .command(Command::new("ping", |ctx| async move { ctx.reply("pong").await }))
            .on_join(|_| std::future::ready(Ok(())))
            .on_message(move |_| {
                first.notify_one();
                std::future::ready(Ok(()))
            })
            .interval(Duration::from_millis(50));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let done = tokio::spawn(bot.run(async {
            let _ = stopped.await;
        }));
        (Self { stop, done }, started)
    }

    /// Stops the bot and asserts that it was alive and stops at once.
    async fn stop(self) {
        let at = Instant::now();
        self.stop.send(()).expect("the bot runs");
        self.done.await.unwrap().unwrap();
        let took = at.elapsed();
        assert!(took < Duration::from_millis(200), "the stop took {took:?}");
    }
}

async fn set(community: &Community, room: Option<&str>, name: &str, value: &str) {
    community
        .act(Operation::SettingSet {
            room: room.map(str::to_owned),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        })
        .await;
}

/// Waits until as many messages of the room as given have this text.
async fn wait_for(room: &Room, body: &str, count: usize) {
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let messages = room.recent(ListOptions::limit(200)).await.unwrap();
            if messages.iter().filter(|m| m.body() == Some(body)).count() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("“{body}” does not come {count} times"));
}

/// Lines of the log of this thread.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Notes the log until the guard is dropped.
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        use tracing_subscriber::util::SubscriberInitExt as _;
        let lines = self.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .set_default()
    }

    fn warns_of(&self, text: &str) -> bool {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        all.lines()
            .any(|line| line.contains("WARN") && line.contains(text))
    }

    /// Waits for a warning with this text.
    async fn wait_for(&self, text: &str) {
        let heard = async {
            while !self.warns_of(text) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), heard)
            .await
            .unwrap_or_else(|_| panic!("no warning about “{text}”"));
    }
}

/// Asserts that the bot still answers in the room `side`.
async fn answers(community: &Community, count: usize) {
    let side = community
        .server(Way::Direct, &person(Way::Direct, 62))
        .room(&token("side"));
    side.post("!ping").await.unwrap();
    wait_for(&side, "pong", count).await;
}

/// Asks until the bot answers: a bot that begins does not look at what was written before.
async fn answers_again(room: &Room) {
    let pongs = async || {
        let messages = room.recent(ListOptions::limit(200)).await.unwrap();
        messages.iter().filter(|m| m.body() == Some("pong")).count()
    };
    let before = pongs().await;
    tokio::time::timeout(Duration::from_secs(60), async {
        while pongs().await == before {
            let _ = room.post("!ping").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("the bot answers again");
}

#[tokio::test]
async fn slow_mode_in_one_room_leaves_the_bot_awake_in_the_other() {
    let community = Community::start().await;
    set(&community, Some("main"), "slow_seconds", "600").await;
    let bot = Running::start(&community).await;
    for n in 0..3 {
        let main = community.room(Way::Direct, &person(Way::Direct, n));
        main.post("!help").await.unwrap();
    }
    answers(&community, 1).await;
    bot.stop().await;
}

#[tokio::test]
async fn limited_direct_messages_do_not_end_the_bot() {
    let community = Community::start().await;
    set(&community, None, "dm_per_hour", "1").await;
    let bot = Running::start(&community).await;
    let me = bot_identity().blind15(&community.key()).id();
    for n in 0..3 {
        let server = community.server(Way::Direct, &person(Way::Direct, n));
        server.my_id().await.unwrap();
        server.inbox().send(&me, "!help", None).await.unwrap();
    }
    answers(&community, 1).await;
    bot.stop().await;
}

#[tokio::test]
async fn raid_mode_that_binds_the_bot_passes() {
    let community = Community::start().await;
    let member = community.room(Way::Direct, &person(Way::Direct, 0));
    member.post("an old member").await.unwrap();
    let bot = Running::start(&community).await;
    let raid = |on| {
        let room = Some("main".to_owned());
        if on {
            let (seconds, reach_back) = (None, 86_400.0);
            Operation::RaidOn {
                room,
                seconds,
                reach_back,
            }
        } else {
            Operation::RaidOff { room }
        }
    };
    community
        .room(Way::Direct, &community::admin())
        .post("before")
        .await
        .unwrap();
    community.act(raid(true)).await;
    let admin = community.room(Way::Direct, &community::admin());
    admin.post("!help").await.unwrap();
    answers(&community, 1).await;
    community.act(raid(false)).await;
    admin.post("!ping").await.unwrap();
    wait_for(&admin, "pong", 1).await;
    bot.stop().await;
}

#[tokio::test]
async fn a_filter_that_refuses_a_reply_does_not_end_or_delay_the_bot() {
    let log = Lines::default();
    let _guard = log.capture();
    let community = Community::start().await;
    community
        .act(Operation::FilterAdd {
            room: None,
            kind: FilterKind::Words,
            pattern: "Commands".to_owned(),
            action: FilterAction::Reject,
            reply: Some("No such words".to_owned()),
        })
        .await;
    let bot = Running::start(&community).await;
    let at = Instant::now();
    let main = community.room(Way::Direct, &person(Way::Direct, 0));
    main.post("!help").await.unwrap();
    main.post("!ping").await.unwrap();
    wait_for(&main, "pong", 1).await;
    assert!(at.elapsed() < Duration::from_secs(10), "a refusal is not a wait");
    // The owner reads in the log why nothing came.
    assert!(log.warns_of("a handler failed") && log.warns_of("No such words"));
    bot.stop().await;
}

#[tokio::test]
async fn a_ban_of_the_bot_and_a_restart_of_the_server_pass() {
    let mut community = Community::start().await;
    let bot = Running::start(&community).await;
    answers(&community, 1).await;
    for place in [RoomScope::Rooms(vec!["main".to_owned()]), RoomScope::Global] {
        community.ban(&bot_identity(), &place, true).await;
        let main = community.room(Way::Direct, &person(Way::Direct, 0));
        main.post("!ping").await.unwrap();
        community.restart().await;
        // The bot looks while it is banned.
        tokio::time::sleep(Duration::from_millis(300)).await;
        community.ban(&bot_identity(), &place, false).await;
    }
    answers(&community, 2).await;
    bot.stop().await;
}

#[tokio::test]
async fn a_bot_starts_while_it_is_banned_or_the_server_is_away() {
    let log = Lines::default();
    let _guard = log.capture();
    let mut community = Community::start().await;
    let main = || RoomScope::Rooms(vec!["main".to_owned()]);
    // Banned from one room: the other works, and the room works as soon as the ban ends.
    community.ban(&bot_identity(), &main(), true).await;
    let bot = Running::start(&community).await;
    log.wait_for("the room cannot be read").await;
    let side = community
        .server(Way::Direct, &person(Way::Direct, 62))
        .room(&token("side"));
    answers_again(&side).await;
    community.ban(&bot_identity(), &main(), false).await;
    answers_again(&community.room(Way::Direct, &person(Way::Direct, 0))).await;
    bot.stop().await;
    // Banned from the server, and the server away.
    community.ban(&bot_identity(), &RoomScope::Global, true).await;
    let (bot, _) = Running::spawn(&community);
    log.wait_for("polling failed; trying again").await;
    community.ban(&bot_identity(), &RoomScope::Global, false).await;
    answers_again(&side).await;
    bot.stop().await;
    let address = community.interrupt().await;
    let (bot, _) = Running::spawn(&community);
    log.wait_for("the server cannot be reached; trying again").await;
    community.resume(address).await;
    answers_again(&side).await;
    bot.stop().await;
    // A bot that waits for the server stops at once too.
    community.interrupt().await;
    let (bot, _) = Running::spawn(&community);
    tokio::task::yield_now().await;
    bot.stop().await;
}

#[tokio::test]
async fn a_flood_of_commands_is_survived() {
    let community = Community::start().await;
    let bot = Running::start(&community).await;
    for n in 0..10 {
        let main = community.room(Way::Direct, &person(Way::Direct, n));
        for _ in 0..4 {
            main.post("!help").await.unwrap();
        }
    }
    answers(&community, 1).await;
    bot.stop().await;
}
