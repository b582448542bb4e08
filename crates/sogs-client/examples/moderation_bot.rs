//! A bot that keeps a room in order: `moderation_bot LINK`, with the seed or recovery phrase in `SESSION_SEED`.
//! It must be a moderator. What it remembers is in the folder `moderation-bot`.
#![expect(clippy::print_stderr, reason = "an example")]

use std::time::Duration;

use serde_json::json;
use sogs_client::bot::{Bot, BotError, Command, Context, Role};
use sogs_client::{Server, SessionId};

#[path = "common/mod.rs"]
mod common;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (link, identity) = common::arguments()?;
    let bot = Bot::new(Server::connect(&link, identity)?)
        .room(link.room().clone())
        .name("Moderation")
        .store(common::Folder::new("moderation-bot")?)
        .on_message(check_words)
        .on_edit(check_words)
        // Session's apps do not show forgeries; they need not lie around either.
        .on_unverified(|ctx| async move { ctx.delete().await })
        .command(
            Command::new("forbid", |ctx| async move {
                let mut words = words(&ctx);
                words.push(ctx.arg::<String>(0)?.to_lowercase());
                ctx.remember("words", json!(words));
                ctx.react("✅").await
            })
            .help("deletes messages with this word from now on")
            .usage("WORD")
            .args(1..=1)
            .role(Role::Moderator),
        )
        .command(
            Command::new("mute", |ctx| async move {
                let (user, minutes) = (ctx.arg::<SessionId>(0)?, ctx.arg::<u64>(1)?);
                let room = ctx
                    .room()
                    .ok_or_else(|| BotError::Say("Use this in the room.".to_owned()))?;
                room.ban(&user, Some(Duration::from_secs(minutes * 60))).await?;
                ctx.reply(format!("Muted for {minutes} minutes.")).await
            })
            .help("bans somebody for some minutes")
            .usage("SESSION_ID MINUTES")
            .args(2..=2)
            .role(Role::Moderator),
        );
    bot.on_ready(move || eprintln!("watching {}; Ctrl-C ends it", link.room()))
        .run(common::until_ctrl_c())
        .await?;
    Ok(())
}

fn words(ctx: &Context) -> Vec<String> {
    ctx.recall("words")
        .and_then(|words| serde_json::from_value(words).ok())
        .unwrap_or_default()
}

/// Deletes a message with a forbidden word, and mutes its author the third time.
async fn check_words(ctx: Context) -> Result<(), BotError> {
    let body = ctx.body().to_lowercase();
    if ctx.role() >= Role::Moderator || !words(&ctx).iter().any(|word| body.contains(word.as_str())) {
        return Ok(());
    }
    ctx.delete().await?;
    let key = format!(
        "strikes {}",
        ctx.author().map(ToString::to_string).unwrap_or_default()
    );
    let strikes = ctx.recall(&key).and_then(|n| n.as_u64()).unwrap_or(0) + 1;
    if strikes < 3 {
        ctx.remember(key, strikes);
        ctx.whisper(format!("That word is not used here. Strike {strikes} of 3."))
            .await?;
    } else {
        ctx.remember(key, serde_json::Value::Null);
        ctx.ban(Some(Duration::from_secs(3600))).await?;
    }
    Ok(())
}
