//! Bots in rooms and chats of real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackpost_testkit::{Ejabberd, Prosody, Receiver, ServerOptions, XmppServer};
use ackpost_xmpp::bot::{
    Bot, BotError, Command, Context, MemoryStore, Outcome, Role, Schedule, StateStore, StoreError,
};
use ackpost_xmpp::{
    About, Content, Event, Events, Mode, Outgoing, Received, RoomTarget, Session, SessionOptions,
};
use common::*;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The servers of these tests, started for them alone.
fn both() -> [XmppServer; 2] {
    [
        Prosody::start(ServerOptions::default()),
        Ejabberd::start(ServerOptions::default()),
    ]
}

/// A store that the bots of a test share, one after the other.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<MemoryStore>>);

impl StateStore for Shared {
    fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.lock().unwrap().load(key)
    }

    fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.lock().unwrap().save(key, bytes)
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Outcome>,
}

impl Running {
    /// Starts a bot, and waits until it is in its rooms.
    async fn start(bot: Bot) -> Self {
        let (ready, is_ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let bot = bot.on_ready(move || ready.send(()).unwrap());
        let task = tokio::spawn(bot.run(async {
            let _ = stopped.await;
        }));
        tokio::time::timeout(Duration::from_secs(20), is_ready)
            .await
            .unwrap()
            .unwrap();
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn here(server: &XmppServer, name: &str) -> RoomTarget {
    let mut target = RoomTarget::new(jid(&server.room(name)));
    target.create = true;
    target
}

/// Somebody in a room of the test.
struct Guest {
    session: Session,
    events: Events,
    target: RoomTarget,
}

impl Guest {
    async fn new(server: &XmppServer, user: &str, target: &RoomTarget) -> Self {
        let options = SessionOptions::receiving(vec![target.clone()]);
        let (session, events) = Session::open(&account(server, user, Mode::StartTls), options)
            .await
            .unwrap();
        let mut guest = Self {
            session,
            events,
            target: target.clone(),
        };
        guest
            .wait("the own presence", |event| match event {
                Event::Occupant {
                    own: true,
                    present: true,
                    ..
                } => Some(()),
                _ => None,
            })
            .await;
        guest
    }

    async fn wait<T>(&mut self, what: &str, mut fits: impl FnMut(Event) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            while let Some(event) = self.events.next().await {
                seen.push(format!("{event:?}"));
                if let Some(found) = fits(event) {
                    return Some(found);
                }
            }
            None
        })
        .await;
        match found {
            Ok(Some(found)) => found,
            _ => panic!("no {what}; seen: {seen:#?}"),
        }
    }

    async fn send(&self, message: Outgoing) {
        delivered(&self.session.send(vec![message]).await[0]);
    }

    async fn say(&self, body: &str) {
        self.send(Outgoing::new(self.target.clone(), Content::text(body)))
            .await;
    }

    /// The next message of the bot in the room.
    async fn hear(&mut self) -> Received {
        self.wait("message of the bot", |event| match event {
            Event::Room(received) if received.from.as_ref().unwrap().resource() == Some("helper") => {
                Some(received)
            }
            _ => None,
        })
        .await
    }

    /// Says a line, and returns the answer of the bot.
    async fn ask(&mut self, body: &str) -> String {
        self.say(body).await;
        // Earlier answers of the bot are passed over.
        self.wait("own text", |event| match event {
            Event::Room(received) if received.own && received.body == body => Some(()),
            _ => None,
        })
        .await;
        self.hear().await.body
    }

    /// Writes to the bot alone, and returns its answer.
    async fn ask_alone(&mut self, to: &str, body: &str) -> String {
        self.send(text(user(to), body)).await;
        self.wait("answer to a private message", |event| match event {
            Event::Chat(received) if !received.own => Some(received.body),
            _ => None,
        })
        .await
    }
}

fn helper(server: &XmppServer, target: &RoomTarget) -> Bot {
    Bot::new(account(server, "carol", Mode::StartTls).nick("helper"))
        .room(target.clone())
        .operators([jid(&format!("bob@{}", server.domain))])
        .command(
            Command::new("add", |ctx: Context| async move {
                let sum = ctx.arg::<u32>(0)?.checked_add(ctx.arg(1)?);
                let sum = sum.ok_or_else(|| BotError::Say("That is too much.".into()))?;
                ctx.reply(sum.to_string()).await
            })
            .help("adds two numbers")
            .usage("A B")
            .args(2..=2),
        )
        .command(
            Command::new("who", |ctx: Context| async move {
                ctx.reply(format!("{} is {:?}", ctx.author_name(), ctx.role()))
                    .await
            })
            .alias("whoami"),
        )
        .command(
            Command::new("clean", |ctx: Context| async move { ctx.reply("clean").await })
                .role(Role::Moderator),
        )
        .command(
            Command::new("stop", |ctx: Context| async move { ctx.reply("never").await }).operators_only(),
        )
        .command(
            Command::new("slow", |ctx: Context| async move { ctx.reply("done").await })
                .cooldown(Duration::from_secs(60)),
        )
        .command(Command::new("count", |ctx: Context| async move {
            let count = ctx.recall("count").and_then(|count| count.as_u64()).unwrap_or(0) + 1;
            ctx.remember("count", count);
            ctx.reply(format!("count {count}")).await
        }))
}

#[test]
fn commands_roles_arguments_and_cooldowns() {
    for server in &both() {
        block_on(async {
            let target = here(server, "bots");
            // Alice makes the room: she is its owner.
            let mut alice = Guest::new(server, "alice", &target).await;
            let bot = Running::start(helper(server, &target)).await;
            let mut bob = Guest::new(server, "bob", &target).await;

            alice.say("!add 2 3").await;
            let answer = alice.hear().await;
            assert_eq!(answer.body, "5");
            let question = answer.reply.expect("an answer to the question");
            assert_eq!(question.to.unwrap().resource(), Some("alice"));
            assert_eq!(alice.ask("!add 2").await, "Usage: !add A B");
            assert_eq!(alice.ask("!ADD x 2").await, "I do not understand “x”.");
            assert_eq!(
                alice.ask(&format!("!add {} 2", u32::MAX)).await,
                "That is too much."
            );
            assert_eq!(alice.ask("!whoami").await, "alice is Admin");
            assert_eq!(alice.ask("!stop").await, "Only operators of the bot may do that.");
            assert_eq!(alice.ask("!clean").await, "clean");
            assert!(
                alice
                    .ask("!help")
                    .await
                    .starts_with("Commands:\n!add A B – adds two numbers\n!who\n!clean\n!slow\n")
            );

            // Bob is an operator by his address, which the room hides from everybody but its moderators.
            assert_eq!(bob.ask("!who").await, "bob is Everyone");
            assert_eq!(bob.ask("!clean").await, "Only moderators may do that.");
            assert_eq!(bob.ask("!slow").await, "done");
            assert!(bob.ask("!slow").await.starts_with("Wait "));
            let bot_address = format!("carol@{}", server.domain);
            assert_eq!(bob.ask_alone(&bot_address, "who").await, "bob is Operator");
            assert_eq!(bob.ask_alone(&bot_address, "!stop").await, "never");
            let in_room = format!("{}/helper", server.room("bots"));
            assert_eq!(bob.ask_alone(&in_room, "who").await, "bob is Everyone");

            // A moderator sees addresses.
            let place = server.room("bots");
            let mut owner = Receiver::join(server.port, &server.domain, "alice", "alicepass", &[]);
            let answer = owner.set(
                "m1",
                Some(&place),
                &format!(
                    "<query xmlns='http://jabber.org/protocol/muc#admin'>\
                     <item jid='carol@{}' affiliation='admin'/></query>",
                    server.domain
                ),
            );
            assert_eq!(answer.attr("type"), "result", "{:?}", server.kind);
            bob.session.close().await;
            let mut bob = Guest::new(server, "bob", &target).await;
            assert_eq!(bob.ask("!who").await, "bob is Operator", "{:?}", server.kind);
            assert_eq!(bob.ask("!stop").await, "never");
            bot.end().await;
        });
    }
}

#[test]
fn nobody_gets_a_role_by_a_bridge_or_by_a_correction() {
    let server = Prosody::start(ServerOptions::default());
    block_on(async {
        let target = here(&server, "bots");
        let mut alice = Guest::new(&server, "alice", &target).await;
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let edits = Arc::new(AtomicU32::new(0));
        let edited = edits.clone();
        let bot = helper(&server, &target)
            .command(
                Command::new("ban", move |_| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    async { Ok(()) }
                })
                .role(Role::Moderator),
            )
            .on_edit(move |_| {
                edited.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }
            });
        let bot = Running::start(bot).await;
        // The account of a bridge is the owner here; the person behind it is not.
        let mut carried = Outgoing::new(target.clone(), Content::text("!ban dora"));
        carried.bridge = Some("lobby".into());
        alice.send(carried).await;
        assert_eq!(alice.hear().await.body, "Only moderators may do that.");
        // A correction does not run a command.
        let first = Outgoing::new(target.clone(), Content::text("hello"));
        let proof = delivered(&alice.session.send(vec![first]).await[0]).clone();
        let mut correction = Outgoing::new(target.clone(), Content::text("!ban dora"));
        correction.replaces = Some(proof.id);
        alice.send(correction).await;
        // Neither does a quote of one in an answer.
        let own = alice
            .wait("the own text", |event| match event {
                Event::Room(received) if received.own && received.body == "hello" => Some(received),
                _ => None,
            })
            .await;
        let mut quote = Outgoing::new(target.clone(), Content::text("> !ban dora\nno"));
        quote.about = Some(About::Reply {
            id: own.archive.unwrap().id,
            to: None,
            quoted: 12,
        });
        alice.send(quote).await;
        assert_eq!(alice.ask("!who").await, "alice is Admin");
        assert_eq!(
            (runs.load(Ordering::SeqCst), edits.load(Ordering::SeqCst)),
            (0, 1)
        );
        bot.end().await;
    });
}

#[test]
fn a_bot_goes_on_after_a_restart_and_schedules_run_once() {
    for server in &both() {
        block_on(async {
            let target = here(server, "bots");
            let mut alice = Guest::new(server, "alice", &target).await;
            alice.say("!count").await;
            let store = Shared::default();
            let make = || {
                helper(server, &target).store(store.clone()).schedule(
                    "hourly",
                    Schedule::every(Duration::from_secs(3600)),
                    |ctx| async move { ctx.say("an hour passed").await },
                )
            };
            let bot = Running::start(make()).await;
            assert_eq!(
                alice.ask("!count").await,
                "count 1",
                "not the one of before it came"
            );
            bot.end().await;

            // Two commands while it is away, and one after it is back: each runs once, in order.
            alice.say("!count").await;
            alice.say("!whoami").await;
            let bot = Running::start(make()).await;
            assert_eq!(alice.hear().await.body, "count 2");
            let who = alice.hear().await.body;
            // The sender is then proven by the occupant id, if the room gives one.
            assert!(who == "alice is Admin" || who == "alice is Everyone", "{who}");
            assert_eq!(alice.ask("!count").await, "count 3");
            bot.end().await;

            for _ in 0..2 {
                let bot = make().schedule(
                    "fast",
                    Schedule::every(Duration::from_secs(2)),
                    |ctx| async move { ctx.say("tick").await },
                );
                let bot = Running::start(bot).await;
                assert_eq!(alice.hear().await.body, "tick");
                bot.end().await;
            }
        });
    }
}

#[test]
fn handlers_see_who_comes_what_is_said_and_what_is_done_to_it() {
    for server in &both() {
        block_on(async {
            let target = here(server, "bots");
            let mut alice = Guest::new(server, "alice", &target).await;
            let bot = helper(server, &target)
                .on_join(|ctx| async move { ctx.say(format!("welcome, {}", ctx.author_name())).await })
                .on_message(|ctx| async move {
                    if ctx.body() == "react" {
                        return ctx.react("👍").await;
                    }
                    if ctx.body() == "fail" {
                        return Err(BotError::Say("I cannot.".into()));
                    }
                    if ctx.body() == "secret" {
                        return ctx.whisper("for you alone").await;
                    }
                    Ok(())
                })
                .on_reaction(|ctx| async move { ctx.say(format!("seen {:?}", ctx.reactions())).await })
                .on_delete(|ctx| async move { ctx.say(format!("gone {}", ctx.about().is_some())).await })
                .on_direct(|ctx| async move { ctx.reply(format!("you said {}", ctx.body())).await });
            let bot = Running::start(bot).await;
            let mut bob = Guest::new(server, "bob", &target).await;
            assert_eq!(alice.hear().await.body, "welcome, bob");
            assert_eq!(alice.ask("fail").await, "I cannot.");
            alice.say("secret").await;
            let private = alice
                .wait("the private message", |event| match event {
                    Event::Chat(received) => Some(received),
                    _ => None,
                })
                .await;
            assert_eq!(private.body, "for you alone");
            assert_eq!(private.from.unwrap().resource(), Some("helper"));
            alice.say("react").await;
            let own = alice
                .wait("the own text", |event| match event {
                    Event::Room(received) if received.own && received.body == "react" => Some(received),
                    _ => None,
                })
                .await;
            let id = own.archive.unwrap().id;
            let reaction = alice
                .wait("the reaction", |event| match event {
                    Event::Reaction { to, emoji, .. } => Some((to, emoji)),
                    _ => None,
                })
                .await;
            assert_eq!(reaction, (id.clone(), vec!["👍".to_owned()]));
            let about = |about| {
                let mut message = Outgoing::new(target.clone(), Content::text("x"));
                message.about = Some(about);
                message
            };
            bob.send(about(About::Reactions {
                id: id.clone(),
                emoji: vec!["🎉".into()],
            }))
            .await;
            assert_eq!(alice.hear().await.body, "seen [\"🎉\"]");
            alice.send(about(About::Retraction { id })).await;
            assert_eq!(alice.hear().await.body, "gone true");
            let bot_address = format!("carol@{}", server.domain);
            assert_eq!(bob.ask_alone(&bot_address, "hi").await, "you said hi");
            bot.end().await;
        });
    }
}

/// The program of the guide, unchanged.
#[test]
fn the_program_of_the_guide_is_the_example_and_runs() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join("examples/guide_xmpp_bot.rs")).unwrap();
    // The heading and the lint of the example are not part of the program.
    let program: Vec<&str> = example
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.starts_with("#!["))
        .collect();
    let guide = std::fs::read_to_string(root.join("../../docs/guide/xmpp-bots.md")).unwrap();
    assert!(
        guide.contains(program.join("\n").trim()),
        "the guide does not show the example"
    );

    let server = Prosody::start(ServerOptions::default());
    block_on(async {
        let target = here(&server, "bots");
        let mut alice = Guest::new(&server, "alice", &target).await;
        // Cargo builds examples along with the tests.
        let test = std::env::current_exe().unwrap();
        let built = test
            .parent()
            .and_then(|deps| deps.parent())
            .unwrap()
            .join("examples/guide_xmpp_bot");
        let mut bot = tokio::process::Command::new(built)
            .args([
                format!("carol@{}", server.domain),
                server.room("bots"),
                format!("alice@{}", server.domain),
            ])
            .env("XMPP_PASSWORD", "carolpass")
            .env("XMPP_SERVER", format!("{}:{}", server.host, server.port))
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        alice
            .wait("the bot", |event| match event {
                Event::Occupant {
                    nick, present: true, ..
                } if nick == "helper" => Some(()),
                _ => None,
            })
            .await;
        assert_eq!(alice.ask("!roll 6").await, "2 (roll number 1)");
        assert_eq!(alice.ask("!roll 0").await, "A die has at least one side.");
        assert_eq!(alice.ask("!say hello").await, "hello");
        assert_eq!(
            alice.ask("!forget").await,
            "Only operators of the bot may do that."
        );
        bot.kill().await.unwrap();
    });
}
