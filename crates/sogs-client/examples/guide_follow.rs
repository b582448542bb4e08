//! The second program of `docs/guide/session-sdk.md`.
#![expect(clippy::print_stdout, reason = "an example")]

use sogs_client::poll::{Cursor, Event, PollOptions};
use sogs_client::{JoinLink, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let link: JoinLink = std::env::args().nth(1).ok_or("give a join link")?.parse()?;
    let server = Server::builder(link.base_url(), link.public_key()).build()?;

    // The cursor is all there is to remember. Without one, the poll begins now.
    let cursor: Cursor = match std::fs::read_to_string("cursor.json") {
        Ok(saved) => serde_json::from_str(&saved)?,
        Err(_) => Cursor::default(),
    };
    let mut poll = server.poll(PollOptions::rooms([link.room().clone()]), cursor);
    loop {
        match poll.next().await? {
            Event::Message { message, .. } => {
                let name = message.display_name().unwrap_or("somebody");
                println!("#{} {name}: {}", message.id, message.body().unwrap_or(""));
            }
            Event::Edited { message, .. } => println!("#{} was edited", message.id),
            Event::Deleted { tombstone, .. } => println!("#{} was deleted", tombstone.id),
            Event::Interrupted { error, retry_in } => println!("{error}; again in {retry_in:?}"),
            _ => {}
        }
        std::fs::write("cursor.json", serde_json::to_string(poll.cursor())?)?;
    }
}
