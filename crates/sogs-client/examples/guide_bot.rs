//! The bot of `docs/guide/session-sdk.md`.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use sogs_client::bot::{Bot, BotError, Command, Context, Role};
use sogs_client::{Identity, JoinLink, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let link: JoinLink = std::env::args().nth(1).ok_or("give a join link")?.parse()?;
    let me = Identity::from_mnemonic(&std::env::var("PHRASE")?)?;
    let bot = Bot::new(Server::connect(&link, me)?)
        .room(link.room().clone())
        .name("Helper")
        .on_join(|ctx| async move { ctx.reply(format!("Welcome, {}!", ctx.author_name())).await })
        .on_message(no_advertising)
        .command(
            Command::new("roll", roll)
                .help("rolls a die")
                .usage("SIDES")
                .args(1..=1)
                .cooldown(Duration::from_secs(5)),
        )
        .command(
            Command::new("pin", |ctx| async move {
                room_of(&ctx)?.pin(ctx.arg(0)?).await?;
                ctx.react("📌").await
            })
            .help("pins a message")
            .usage("NUMBER")
            .args(1..=1)
            .role(Role::Moderator),
        );
    bot.on_ready(move || println!("listening in {}; Ctrl-C ends it", link.room()))
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

async fn roll(ctx: Context) -> Result<(), BotError> {
    let sides: u32 = ctx.arg(0)?;
    if sides == 0 {
        // The person who gave the command is told.
        return Err(BotError::Say("A die has at least one side.".to_owned()));
    }
    let rolls = ctx.recall("rolls").and_then(|n| n.as_u64()).unwrap_or(0) + 1;
    ctx.remember("rolls", rolls);
    ctx.reply(format!("{} (roll number {rolls})", 1 + rolls % u64::from(sides)))
        .await
}

/// Deletes advertising and bans its author for a day. The bot must be a moderator for that.
async fn no_advertising(ctx: Context) -> Result<(), BotError> {
    let (Some(author), Some(id)) = (ctx.author(), ctx.message_id()) else {
        return Ok(());
    };
    if ctx.body().contains("buy coins") && ctx.role() == Role::Everyone {
        let room = room_of(&ctx)?;
        room.ban(author, Some(Duration::from_secs(86_400))).await?;
        room.delete(id).await?;
    }
    Ok(())
}

fn room_of(ctx: &Context) -> Result<sogs_client::Room, BotError> {
    ctx.room()
        .cloned()
        .ok_or_else(|| BotError::Say("Only in the room.".to_owned()))
}
