//! A bot that welcomes newcomers and says good morning: `welcome_bot LINK`, with the seed or recovery phrase in
//! `SESSION_SEED`. What it remembers is in the folder `welcome-bot`.
#![expect(clippy::print_stderr, reason = "an example")]

use sogs_client::Server;
use sogs_client::bot::{Bot, Command, Role, Schedule};

#[path = "common/mod.rs"]
mod common;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (link, identity) = common::arguments()?;
    let bot = Bot::new(Server::connect(&link, identity)?)
        .room(link.room().clone())
        .name("Welcome")
        .store(common::Folder::new("welcome-bot")?)
        .on_join(|ctx| async move {
            let text = ctx
                .recall("text")
                .and_then(|text| text.as_str().map(str::to_owned));
            let text = text.unwrap_or_else(|| "Welcome, {name}!".to_owned());
            ctx.reply(text.replace("{name}", &ctx.author_name())).await
        })
        .command(
            Command::new("welcome", |ctx| async move {
                ctx.remember("text", ctx.rest());
                ctx.react("✅").await
            })
            .help("sets the text for newcomers; {name} stands for their name")
            .usage("TEXT…")
            .args(1..)
            .role(Role::Moderator),
        )
        .schedule("morning", Schedule::daily(9, 0, "UTC")?, |ctx| async move {
            ctx.say("Good morning, everybody.").await?;
            Ok(())
        });
    bot.on_ready(move || eprintln!("listening in {}; Ctrl-C ends it", link.room()))
        .run(common::until_ctrl_c())
        .await?;
    Ok(())
}
