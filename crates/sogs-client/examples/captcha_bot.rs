//! A bot that asks newcomers a question by direct message: `captcha_bot LINK`, with the seed or recovery phrase of a
//! moderator of the room in `SESSION_SEED`. Whoever writes in the room for the first time may not write on until the
//! sum is answered; the first message is taken away meanwhile. What the bot remembers is in `captcha-bot`.
#![expect(clippy::print_stderr, reason = "an example")]

use std::hash::{BuildHasher as _, RandomState};

use sogs_client::bot::{Bot, BotError, Context};
use sogs_client::types::PermissionChange;
use sogs_client::{Room, Server, SessionId};

#[path = "common/mod.rs"]
mod common;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (link, identity) = common::arguments()?;
    let server = Server::connect(&link, identity)?;
    let room = server.room(link.room());
    let bot = captcha(server, room).store(common::Folder::new("captcha-bot")?);
    bot.on_ready(move || eprintln!("asking newcomers in {}; Ctrl-C ends it", link.room()))
        .run(common::until_ctrl_c())
        .await?;
    Ok(())
}

/// The bot for one room.
pub(crate) fn captcha(server: Server, room: Room) -> Bot {
    Bot::new(server)
        .room(room.token().clone())
        .name("Doorkeeper")
        .on_join(|ctx| async move { ask(&ctx).await })
        .on_direct(move |ctx| {
            let room = room.clone();
            async move { check(&ctx, &room).await }
        })
}

fn key(person: &SessionId) -> String {
    format!("sum/{person}")
}

/// Closes the room for the newcomer, takes the message away, and asks.
async fn ask(ctx: &Context) -> Result<(), BotError> {
    let (Some(room), Some(&person)) = (ctx.room(), ctx.author()) else {
        return Ok(());
    };
    // Hashing with fresh random keys is all the chance a sum needs.
    let chance = RandomState::new().hash_one(0);
    let (a, b) = (chance % 8 + 2, chance / 8 % 8 + 2);
    ctx.remember(key(&person), a + b);
    may_write(room, &person, Some(false)).await?;
    ctx.delete().await?;
    ctx.direct(&format!(
        "Welcome! So that we know you are a person: how much is {a} + {b}?"
    ))
    .await
}

/// Opens the room again for the right answer.
async fn check(ctx: &Context, room: &Room) -> Result<(), BotError> {
    let Some(&person) = ctx.author() else {
        return Ok(());
    };
    let Some(sum) = ctx.recall(&key(&person)).and_then(|sum| sum.as_u64()) else {
        return Ok(());
    };
    if ctx.body().trim().parse() == Ok(sum) {
        ctx.remember(key(&person), ());
        may_write(room, &person, None).await?;
        ctx.direct("Thank you! Please write your message again.").await
    } else {
        ctx.direct("That is not it. Please try again with the number alone.")
            .await
    }
}

/// Sets whether a person may write; `None` returns to what holds for everybody.
async fn may_write(room: &Room, person: &SessionId, write: Option<bool>) -> Result<(), BotError> {
    let change = PermissionChange {
        write,
        default_write: write.is_none(),
        ..PermissionChange::default()
    };
    room.set_permissions(person, change).await?;
    Ok(())
}
