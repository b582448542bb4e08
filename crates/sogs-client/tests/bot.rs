//! Bots against the real server.
#![expect(clippy::unwrap_used, reason = "a test")]

mod community;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use community::{Community, Way, admin, person, token};
use sogs_client::bot::{Bot, BotError, Command, Role, Schedule, StateStore, StoreError};
use sogs_client::{ListOptions, Message, Room};

/// A store that outlives the bot.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl StateStore for Shared {
    fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }
}

struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    done: tokio::task::JoinHandle<Result<(), BotError>>,
}

impl Running {
    fn start(bot: Bot) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let done = tokio::spawn(bot.interval(Duration::from_millis(50)).run(async {
            let _ = stopped.await;
        }));
        Self { stop, done }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.done.await.unwrap().unwrap();
    }
}

/// Waits for a message of the room that fits.
async fn wait(room: &Room, fits: impl Fn(&Message) -> bool) -> Message {
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let found = room
                .recent(ListOptions::limit(50))
                .await
                .unwrap()
                .into_iter()
                .find(|m| fits(m));
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the message comes")
}

async fn wait_body(room: &Room, body: &str) -> Message {
    wait(room, |m| m.body() == Some(body)).await
}

fn bot(community: &Community) -> Bot {
    Bot::new(community.server(Way::Direct, &admin()))
        .room(token("main"))
        .name("Bot")
}

/// Gives the bot the time to find out where "now" is.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

#[tokio::test]
async fn commands_have_arguments_roles_cooldowns_and_help() {
    let community = Community::start().await;
    let bot = bot(&community)
        .command(
            Command::new("echo", |ctx| async move { ctx.reply(ctx.rest()).await })
                .alias("say")
                .help("says it again")
                .usage("TEXT…")
                .args(1..)
                .cooldown(Duration::from_secs(60)),
        )
        .command(
            Command::new("add", |ctx| async move {
                let sum = ctx.arg::<i64>(0)? + ctx.arg::<i64>(1)?;
                ctx.reply(sum.to_string()).await
            })
            .args(2..=2),
        )
        .command(
            Command::new("close", |ctx| async move { ctx.reply("closed").await })
                .role(Role::Admin)
                .help("closes"),
        );
    let running = Running::start(bot);
    settled().await;
    let user = community.room(Way::Direct, &person(Way::Direct, 0));
    let asked = user.post("!ECHO  hello   there").await.unwrap().message.unwrap();
    let answer = wait_body(&user, "hello   there").await;
    let quote = answer
        .content()
        .unwrap()
        .data_message
        .as_ref()
        .unwrap()
        .quote
        .clone()
        .unwrap();
    assert_eq!(quote.id, Some(asked.quote_id()), "it is a reply");
    assert_eq!(answer.display_name(), Some("Bot"));
    user.post("!say again").await.unwrap();
    wait(&user, |m| m.body().is_some_and(|b| b.starts_with("Wait "))).await;
    let second = community.room(Way::Direct, &person(Way::Direct, 1));
    second.post("!echo").await.unwrap();
    wait_body(&user, "Usage: !echo TEXT…").await;
    second.post("!add 2 40").await.unwrap();
    wait_body(&user, "42").await;
    second.post("!add 2 x").await.unwrap();
    wait_body(&user, "I do not understand “x”.").await;
    second.post("!close").await.unwrap();
    wait_body(&user, "Only admins may do that.").await;
    second.post("!help").await.unwrap();
    let help = wait(&user, |m| m.body().is_some_and(|b| b.starts_with("Commands:"))).await;
    assert!(help.body().unwrap().contains("!echo TEXT… – says it again"));
    assert!(
        !help.body().unwrap().contains("!close"),
        "what one may not use is not listed"
    );
    running.stop().await;
}

#[tokio::test]
async fn newcomers_reactions_edits_and_direct_messages() {
    let community = Community::start().await;
    let early = community.room(Way::Direct, &person(Way::Direct, 5));
    early.post("I was here before the bot").await.unwrap();
    let store = Shared::default();
    let make = || {
        bot(&community)
            .store(store.clone())
            .on_join(|ctx| async move { ctx.reply("Welcome!").await })
            .on_reaction(|ctx| async move {
                ctx.say(format!("{} reactions", ctx.reactions().len())).await?;
                Ok(())
            })
            .on_edit(|ctx| async move { ctx.react("👀").await })
            .on_direct(|ctx| async move { ctx.direct(&format!("you said: {}", ctx.body())).await })
            .command(Command::new("ping", |ctx| async move { ctx.reply("pong").await }))
    };
    let running = Running::start(make());
    settled().await;
    let user = community.room(Way::Direct, &person(Way::Direct, 0));
    early.post("me again").await.unwrap();
    let first = user.post("hello").await.unwrap().id;
    wait_body(&user, "Welcome!").await;
    user.post("and again").await.unwrap();
    user.edit(first, "hello, all").await.unwrap();
    wait(&user, |m| m.id == first && m.reactions.contains_key("👀")).await;
    wait_body(&user, "1 reactions").await;
    let bot_id = user.server().inbox();
    let admin_id = community.server(Way::Direct, &admin()).my_id().await.unwrap();
    bot_id.send(&admin_id, "hi bot", None).await.unwrap();
    bot_id.send(&admin_id, "ping", None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let got = bot_id.received(None).await.unwrap();
            let bodies: Vec<_> = got.iter().filter_map(|m| m.body()).collect();
            if bodies == ["you said: hi bot", "pong"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("both answers come");
    running.stop().await;

    // After a restart the bot knows everybody still, and what came meanwhile is dealt with once.
    user.post("while the bot was away").await.unwrap();
    let running = Running::start(make());
    settled().await;
    let third = community.room(Way::Direct, &person(Way::Direct, 1));
    third.post("new here").await.unwrap();
    wait(&third, |m| {
        m.body() == Some("Welcome!")
            && m.content()
                .unwrap()
                .data_message
                .as_ref()
                .unwrap()
                .quote
                .as_ref()
                .unwrap()
                .author
                == Some(community_id(&community, 1))
    })
    .await;
    running.stop().await;
    let all = third.recent(ListOptions::limit(256)).await.unwrap();
    assert_eq!(all.iter().filter(|m| m.body() == Some("Welcome!")).count(), 2);
}

fn community_id(community: &Community, n: u8) -> String {
    person(Way::Direct, n).blind15(&community.key()).id().to_string()
}

#[tokio::test]
async fn memory_and_schedules_survive_a_restart() {
    let community = Community::start().await;
    let store = Shared::default();
    let make = || {
        bot(&community)
            .store(store.clone())
            .command(Command::new("count", |ctx| async move {
                let n = ctx.recall("n").and_then(|n| n.as_u64()).unwrap_or(0) + 1;
                ctx.remember("n", n);
                ctx.reply(format!("count {n}")).await
            }))
            .schedule(
                "tick",
                Schedule::every(Duration::from_secs(1)),
                |ctx| async move {
                    ctx.say("tick").await?;
                    Ok(())
                },
            )
    };
    let user = community.room(Way::Direct, &person(Way::Direct, 0));
    for n in 1..=3 {
        let running = Running::start(make());
        settled().await;
        user.post("!count").await.unwrap();
        wait_body(&user, &format!("count {n}")).await;
        wait_body(&user, "tick").await;
        running.stop().await;
    }
    assert!(store.0.lock().unwrap().contains_key("schedules"));
}

#[tokio::test]
async fn a_moderation_bot_deletes_bans_and_hears_of_forgeries() {
    let community = Community::start().await;
    let bot = bot(&community)
        .on_message(|ctx| async move {
            if ctx.body().contains("spam") {
                ctx.delete().await?;
                ctx.ban(Some(Duration::from_secs(600))).await?;
                ctx.say("gone").await?;
            }
            Ok(())
        })
        .on_unverified(|ctx| async move {
            let problem = ctx
                .message()
                .and_then(Message::problem)
                .map(ToString::to_string)
                .unwrap_or_default();
            // The deletion comes first: whoever reads the answer finds the message gone.
            ctx.delete().await?;
            ctx.say(format!("forged: {problem}")).await?;
            Ok(())
        });
    let running = Running::start(bot);
    settled().await;
    let user = community.room(Way::Direct, &person(Way::Direct, 0));
    let id = user.post("buy spam").await.unwrap().id;
    let admin_room = community.room(Way::Direct, &admin());
    wait_body(&admin_room, "gone").await;
    assert!(user.post("more").await.is_err());
    assert!(admin_room.message(id).await.is_err());
    let other = community.room(Way::Direct, &person(Way::Direct, 1));
    let mut forged = other.prepare(&"not mine".into()).await.unwrap();
    forged.signature[5] ^= 1;
    let forged = other.post_prepared(&forged).await.unwrap().id;
    wait_body(&admin_room, "forged: the signature does not belong to the author").await;
    assert!(admin_room.message(forged).await.is_err());
    running.stop().await;
}
