//! The third program of `docs/guide/session-sdk.md`.
#![expect(clippy::print_stdout, reason = "an example")]

use sogs_client::{Identity, JoinLink, Post, Server, Upload};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let link: JoinLink = std::env::args().nth(1).ok_or("give a join link")?.parse()?;
    // The 13 words that Session's apps show. `Identity::from_seed_hex` takes a seed.
    let me = Identity::from_mnemonic(&std::env::var("PHRASE")?)?;
    let room = Server::connect(&link, me)?.room(link.room());

    let chart = Upload::new(b"...".to_vec())
        .name("chart.png")
        .content_type("image/png");
    let chart = room.upload(chart).await?;
    let first = room
        .post(Post::text("The numbers of today").name("Report").file(chart))
        .await?;
    room.react(first.id, "📈").await?;
    // An edit keeps what it does not set: here the file and the name.
    room.edit(first.id, "The numbers of today, corrected").await?;

    // A post that is signed once: if its answer gets lost, it can be found, and is never there twice.
    let first = room.message(first.id).await?;
    let reply = Post::text("That is all.").name("Report").reply_to(&first);
    let prepared = room.prepare(&reply).await?;
    let id = match room.post_prepared(&prepared).await {
        Ok(posted) => posted.id,
        Err(error) if error.is_ambiguous() => match room.find_own(&prepared).await? {
            Some(message) => message.id,
            None => room.post_prepared(&prepared).await?.id,
        },
        Err(error) => return Err(format!("{error}; {}", error.remedy()).into()),
    };
    println!("posted #{} and #{id}", first.id);
    Ok(())
}
