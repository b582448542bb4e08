//! The bot of `docs/guide/session-direct-messages.md`.
#![expect(clippy::print_stdout, reason = "an example")]

use session_network::bot::{Bot, BotError, Command, Context};
use session_network::{FolderStorage, Identity, Network, Seed};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Identity::from_mnemonic(&std::env::var("PHRASE")?)?;
    println!("write to {}", me.session_id());
    let mut network = Network::builder().storage(FolderStorage::new("bot-state"));
    if let Ok(seed) = std::env::var("NETWORK") {
        // A network for tests.
        network = network.seeds([seed.parse::<Seed>()?]);
    }
    Bot::new(network.build()?, me, "Helper")?
        .command(
            Command::new("note", note)
                .help("keeps a note, and says how many there are")
                .usage("TEXT…")
                .args(1..),
        )
        .on_message(|ctx| async move {
            ctx.reply(format!("Hello {}, try `help`.", ctx.author_name()))
                .await
        })
        .run(std::future::pending())
        .await?;
    Ok(())
}

async fn note(ctx: Context) -> Result<(), BotError> {
    let key = format!("notes of {}", ctx.author());
    let count = ctx.recall(&key).and_then(|count| count.as_u64()).unwrap_or(0) + 1;
    if count > 100 {
        // The person who gave the command is told.
        return Err(BotError::Say("You have 100 notes already.".to_owned()));
    }
    ctx.remember(key, count);
    ctx.reply(format!("note {count}: {}", ctx.rest())).await
}
