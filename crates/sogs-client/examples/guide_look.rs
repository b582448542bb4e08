//! The first program of `docs/guide/session-sdk.md`.
#![expect(clippy::print_stdout, reason = "an example")]

use sogs_client::{JoinLink, ListOptions, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let link: JoinLink = std::env::args().nth(1).ok_or("give a join link")?.parse()?;
    let server = Server::builder(link.base_url(), link.public_key()).build()?;

    let capabilities = server.capabilities().await?.capabilities;
    println!("the server can do: {}", capabilities.join(", "));
    for room in server.rooms().await? {
        println!("{}: {} ({} active)", room.token, room.name, room.active_users);
    }
    let room = server.room(link.room());
    for message in room.recent(ListOptions::limit(20)).await?.iter().rev() {
        match message.content() {
            Ok(content) => println!("{}: {}", message.author.short(), content.body().unwrap_or("")),
            // The signature does not fit. Session's apps do not show such a message.
            Err(problem) => println!("#{} is not authentic: {problem}", message.id),
        }
    }
    Ok(())
}
