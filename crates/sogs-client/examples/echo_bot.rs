//! A bot that says everything again: `echo_bot LINK`, with the seed or recovery phrase in `SESSION_SEED`.
#![expect(clippy::print_stderr, reason = "an example")]

use sogs_client::bot::{Bot, BotError, Command};
use sogs_client::{Identity, JoinLink, Server};

#[path = "common/mod.rs"]
mod common;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (link, identity) = common::arguments()?;
    let bot = echo_bot(&link, identity)?;
    bot.on_ready(move || eprintln!("listening in {}; Ctrl-C ends it", link.room()))
        .run(common::until_ctrl_c())
        .await?;
    Ok(())
}

fn echo_bot(link: &JoinLink, identity: Identity) -> Result<Bot, BotError> {
    let server = Server::connect(link, identity)?;
    Ok(Bot::new(server)
        .room(link.room().clone())
        .name("Echo")
        .command(
            Command::new("echo", |ctx| async move { ctx.reply(ctx.rest()).await })
                .help("says it again")
                .usage("TEXT…")
                .args(1..),
        )
        .on_direct(|ctx| async move { ctx.direct(ctx.body()).await }))
}
