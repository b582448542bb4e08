//! The bot of `docs/guide/xmpp-bots.md`.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use ackpost_xmpp::bot::{Bot, BotError, Command, Context, Role, Schedule};
use ackpost_xmpp::{Account, Mode, RoomTarget};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(room)) = (arguments.next(), arguments.next()) else {
        return Err("give the address of the bot, and a room".into());
    };
    let mut account = Account::new(address.parse()?, std::env::var("XMPP_PASSWORD")?.into()).nick("helper");
    if let Ok(server) = std::env::var("XMPP_SERVER") {
        // A server on this machine, without TLS.
        let (host, port) = server.rsplit_once(':').ok_or("XMPP_SERVER must be HOST:PORT")?;
        account = account.host(host).port(port.parse()?).mode(Mode::None);
    }
    let mut operators = Vec::new();
    for operator in arguments {
        operators.push(operator.parse()?);
    }
    Bot::new(account)
        .room(RoomTarget::new(room.parse()?))
        .operators(operators)
        .on_join(|ctx| async move { ctx.whisper(format!("Welcome, {}!", ctx.author_name())).await })
        .command(
            Command::new("roll", roll)
                .help("rolls a die")
                .usage("SIDES")
                .args(1..=1)
                .cooldown(Duration::from_secs(5)),
        )
        .command(
            Command::new("say", |ctx| async move { ctx.say(ctx.rest()).await })
                .help("says something as the bot")
                .usage("TEXT…")
                .args(1..)
                .role(Role::Moderator),
        )
        .command(
            Command::new("forget", |ctx| async move {
                ctx.remember("rolls", ());
                ctx.react("👍").await
            })
            .help("forgets all rolls")
            .operators_only(),
        )
        .schedule("morning", Schedule::daily(9, 0, "UTC")?, |ctx| async move {
            ctx.say("Good morning!").await
        })
        .on_ready(move || println!("listening; Ctrl-C ends it"))
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

async fn roll(ctx: Context) -> Result<(), BotError> {
    let sides: u64 = ctx.arg(0)?;
    if sides == 0 {
        // The person who gave the command is told.
        return Err(BotError::Say("A die has at least one side.".to_owned()));
    }
    let rolls = ctx.recall("rolls").and_then(|n| n.as_u64()).unwrap_or(0) + 1;
    ctx.remember("rolls", rolls);
    ctx.reply(format!("{} (roll number {rolls})", 1 + rolls % sides))
        .await
}
