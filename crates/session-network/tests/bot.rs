//! A bot on loopback: what it answers, whom it listens to, and that a killed bot answers once.

mod support;

use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSwarm, SwarmFault};
use session_network::bot::{Bot, BotError, Command};
use session_network::{
    Disappearing, Draft, Event, FolderStorage, Identity, Mailbox, Mode, Network, Sender, SessionId,
};
use session_protocol::network::message;
use support::{account, builder, fault, network};

/// The account of the bot.
fn robot() -> Identity {
    account(1)
}

/// Somebody who writes to the bot and reads its answers.
struct Person {
    network: Network,
    sender: Sender,
    mailbox: Mailbox,
}

impl Person {
    fn new(swarm: &FakeSwarm, n: u8) -> Self {
        let network = network(swarm, Mode::Direct);
        Self {
            sender: Sender::new(account(n), "Person").expect("a good name"),
            mailbox: network.mailbox(account(n)),
            network,
        }
    }

    fn id(&self) -> SessionId {
        self.sender.id()
    }

    async fn write(&self, draft: &Draft) {
        let robot = robot().session_id();
        let messages = self.network.prepare(&self.sender, &robot, draft).await;
        for mut message in messages.expect("made") {
            let _ = self.network.send(&mut message).await.expect("stored");
        }
    }

    /// Waits for so many events.
    async fn events(&mut self, count: usize) -> Vec<Event> {
        let (mut events, end) = (Vec::new(), Instant::now() + Duration::from_secs(60));
        while events.len() < count {
            assert!(Instant::now() < end, "{count} events, and there are {events:?}");
            events.extend(self.mailbox.poll().await.expect("an answer").events);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        events
    }

    /// Waits for so many texts.
    async fn texts(&mut self, count: usize) -> Vec<String> {
        let events = self.events(count).await;
        let text = |event: &Event| match event {
            Event::Message(message) => message.text.clone(),
            other => panic!("{other:?}"),
        };
        events.iter().filter_map(text).collect()
    }
}

fn echo(network: Network) -> Bot {
    let bot = Bot::new(network, robot(), "Robot").expect("a good name");
    bot.interval(Duration::from_millis(50))
        .command(
            Command::new("echo", |ctx| async move { ctx.reply(ctx.rest()).await })
                .alias("say")
                .help("says it again")
                .usage("TEXT…")
                .args(1..),
        )
        .command(
            Command::new("stop", |_| async {
                Err(BotError::Say("I would stop.".to_owned()))
            })
            .operators_only(),
        )
        .command(
            Command::new("add", |ctx| async move {
                let sum = ctx.arg::<i64>(0)? + ctx.arg::<i64>(1)?;
                ctx.reply(sum.to_string()).await
            })
            .cooldown(Duration::from_hours(1))
            .hidden(),
        )
        .on_message(|ctx| async move { ctx.reply(format!("{}: {}", ctx.author_name(), ctx.body())).await })
}

#[tokio::test]
async fn a_bot_accepts_requests_and_answers_commands_and_messages() {
    let swarm = FakeSwarm::start(5);
    let (mut alice, mut boss) = (Person::new(&swarm, 2), Person::new(&swarm, 3));
    let running = echo(network(&swarm, Mode::Direct))
        .operators([boss.id()])
        .run(std::future::pending());
    let running = tokio::spawn(running);
    alice.write(&Draft::text("!echo \"hello  you\" again")).await;
    let events = alice.events(2).await;
    assert!(
        matches!(&events[0], Event::RequestAccepted { from, name, .. }
            if *from == robot().session_id() && name.as_deref() == Some("Robot")),
        "{events:?}"
    );
    let Event::Message(answer) = &events[1] else {
        panic!("{events:?}");
    };
    assert_eq!(answer.text.as_deref(), Some("\"hello  you\" again"));
    for (line, expected) in [
        ("SAY once", "once"),
        ("!echo", "Usage: !echo TEXT…"),
        ("how are you?", "Person: how are you?"),
        ("!stop", "Only operators of the bot may do that."),
        ("add 1 x", "I do not understand “x”."),
        ("add 1 2", "Wait 3600 seconds before you use this again."),
        (
            "help",
            "Commands:\n!echo TEXT… – says it again\n!help – shows this list",
        ),
    ] {
        alice.write(&Draft::text(line)).await;
        assert_eq!(alice.texts(1).await, [expected], "{line}");
    }
    boss.write(&Draft::text("stop")).await;
    let events = boss.events(2).await;
    assert!(matches!(&events[1], Event::Message(said) if said.text.as_deref() == Some("I would stop.")));
    // An answer disappears like its question.
    let hour = Disappearing::AfterSent(Duration::from_hours(1));
    alice
        .write(&Draft::text("say soon gone").disappearing(hour))
        .await;
    let events = alice.events(1).await;
    assert!(
        matches!(&events[0], Event::Message(said) if said.disappearing == Some(hour)),
        "{events:?}"
    );
    running.abort();
}

#[tokio::test]
async fn a_bot_listens_to_the_accounts_it_was_told_to() {
    let swarm = FakeSwarm::start(5);
    let (mut alice, mut stranger) = (Person::new(&swarm, 2), Person::new(&swarm, 3));
    let bot = echo(network(&swarm, Mode::Direct))
        .only([alice.id()])
        .accept_requests(false)
        .on_request_accepted(|ctx| async move { ctx.reply("thank you").await });
    let running = tokio::spawn(bot.run(std::future::pending()));
    stranger.write(&Draft::text("say something")).await;
    alice.write(&Draft::accept_request()).await;
    alice.write(&Draft::text("say yes")).await;
    assert_eq!(alice.texts(2).await, ["thank you", "yes"]);
    assert!(
        stranger
            .mailbox
            .poll()
            .await
            .expect("an answer")
            .events
            .is_empty()
    );
    running.abort();
}

#[tokio::test]
async fn an_answer_is_tried_again_until_the_swarm_signed_it() {
    let swarm = FakeSwarm::start(5);
    let mut alice = Person::new(&swarm, 2);
    alice.write(&Draft::text("say it")).await;
    swarm.add_fault(fault(SwarmFault::NodeBusy).method("store").times(4));
    let bot = echo(network(&swarm, Mode::Direct)).accept_requests(false);
    let running = tokio::spawn(bot.run(std::future::pending()));
    assert_eq!(alice.texts(1).await, ["it"]);
    running.abort();
    // Without patience the event is done all the same, and the bot lives on.
    let mut bob = Person::new(&swarm, 3);
    bob.write(&Draft::text("say lost")).await;
    swarm.add_fault(fault(SwarmFault::NodeBusy).method("store").times(3));
    let before = swarm.count("store");
    let bot = echo(network(&swarm, Mode::Direct))
        .accept_requests(false)
        .only([bob.id()])
        .patience(Duration::ZERO);
    let running = tokio::spawn(bot.run(std::future::pending()));
    let end = Instant::now() + Duration::from_secs(30);
    while swarm.count("store") < before + 3 {
        assert!(Instant::now() < end, "the bot does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bob.write(&Draft::text("say heard")).await;
    assert_eq!(bob.texts(1).await, ["heard"]);
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_is_killed_answers_every_command_once() {
    const COMMANDS: usize = 40;
    let swarm = FakeSwarm::start(5);
    let folder = tempfile::tempdir().expect("a folder");
    let alice = Person::new(&swarm, 2);
    for n in 0..COMMANDS {
        alice.write(&Draft::text(format!("count {n}"))).await;
    }
    // Each run begins anew from the files of the one before, as a new process does.
    let start = || {
        let network = builder(&swarm)
            .mode(Mode::Direct)
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built");
        let count = Command::new("count", |ctx| async move {
            let count = ctx.recall("count").and_then(|count| count.as_u64()).unwrap_or(0) + 1;
            ctx.remember("count", count);
            // Texts that change from run to run must not make a second answer.
            let salt = Instant::now();
            ctx.reply(format!("{count} for {} {salt:?}", ctx.rest())).await?;
            ctx.reply(format!("{count} again")).await
        });
        let bot = Bot::new(network, robot(), "Robot").expect("a good name");
        tokio::spawn(
            bot.interval(Duration::from_millis(20))
                .command(count)
                .run(std::future::pending()),
        )
    };
    let stored = || swarm.stored_at(0, &alice.id().to_string(), 0).len();
    let end = Instant::now() + Duration::from_secs(120);
    let mut kills = 0;
    // Two answers for each command, and one for the request.
    while stored() < 2 * COMMANDS + 1 {
        assert!(Instant::now() < end, "{} answers after {kills} kills", stored());
        let running = start();
        let goal = (stored() + 1 + kills % 5).min(2 * COMMANDS + 1);
        while stored() < goal && Instant::now() < end {
            tokio::time::sleep(Duration::from_micros(300 + 170 * (kills as u64 % 7))).await;
        }
        running.abort();
        kills += 1;
    }
    // Let a last run see that nothing is left to do.
    let running = start();
    let polls = swarm.count("retrieve");
    while swarm.count("retrieve") < polls + 3 {
        assert!(Instant::now() < end, "the last run does not read its mailbox");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.abort();
    let rows = swarm.stored_at(0, &alice.id().to_string(), 0);
    let mut texts = Vec::new();
    for row in &rows {
        let opened = message::open(&row.data, &account(2)).expect("ours");
        texts.extend(opened.content.body().map(str::to_owned));
    }
    assert_eq!(
        (rows.len(), texts.len()),
        (2 * COMMANDS + 1, 2 * COMMANDS),
        "{texts:?}"
    );
    for n in 0..COMMANDS {
        let (first, again) = (format!("{} for {n} ", n + 1), format!("{} again", n + 1));
        assert_eq!(
            texts.iter().filter(|text| text.starts_with(&first)).count(),
            1,
            "{first}"
        );
        assert_eq!(texts.iter().filter(|text| **text == again).count(), 1, "{again}");
    }
    assert!(kills >= 10, "{kills} kills");
}
