//! The walk-throughs of `docs/guide/session-sdk.md`: this is their code, and here it runs against the real server.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod community;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use community::{Community, Way, admin, person, token};

type Outcome = Result<(), Box<dyn std::error::Error>>;

// guide: info
use sogs_client::{JoinLink, Server};

async fn info(link: &str) -> Outcome {
    let link: JoinLink = link.parse()?;
    let server = Server::builder(link.base_url(), link.public_key()).build()?;
    println!(
        "the server can do: {}",
        server.capabilities().await?.capabilities.join(", ")
    );
    for room in server.rooms().await? {
        println!("{}: {} ({} active)", room.token, room.name, room.active_users);
    }
    let room = server.room(link.room()).info().await?;
    println!("{} has seen {} changes", room.name, room.message_sequence);
    Ok(())
}
// guide: end

// guide: read
use sogs_client::ListOptions;
use sogs_client::poll::{Cursor, Event, PollOptions};

async fn read(
    server: &Server,
    link: &JoinLink,
    saved: Option<&str>,
) -> Result<String, Box<dyn std::error::Error>> {
    let room = server.room(link.room());
    for message in room.recent(ListOptions::limit(20)).await?.iter().rev() {
        match message.content() {
            Ok(content) => println!("{}: {}", message.author.short(), content.body().unwrap_or("")),
            // Forged or broken: Session's apps do not show it, and neither should you.
            Err(problem) => println!("#{} is not to be trusted: {problem}", message.id),
        }
    }

    // From here on, one event after the other; the cursor is all there is to remember.
    let cursor: Cursor = saved.map(serde_json::from_str).transpose()?.unwrap_or_default();
    let mut poll = server.poll(PollOptions::rooms([link.room().clone()]), cursor);
    loop {
        // Edits, deletions, reactions and direct messages are events too.
        let Event::Message { message, .. } = poll.next().await? else {
            continue;
        };
        println!(
            "{} wrote #{}",
            message.display_name().unwrap_or("somebody"),
            message.id
        );
        if message.body() == Some("That is all.") {
            break;
        }
    }
    Ok(serde_json::to_string(poll.cursor())?)
}
// guide: end

// guide: send
use sogs_client::{Identity, Post, SogsError, Upload};

async fn send(link: &JoinLink, me: Identity) -> Result<u64, SogsError> {
    let room = Server::connect(link, me)?.room(link.room());
    let picture = room
        .upload(
            Upload::new(b"...".to_vec())
                .name("chart.png")
                .content_type("image/png"),
        )
        .await?;
    let first = room
        .post(Post::text("The numbers of today").name("Report").file(picture))
        .await?;
    let first = room.message(first.id).await?;
    room.react(first.id, "📈").await?;

    // A post whose answer may get lost: signed once, so that it can be found again and is never there twice.
    let prepared = room
        .prepare(&Post::text("That is all.").name("Report").reply_to(&first))
        .await?;
    match room.post_prepared(&prepared).await {
        Ok(posted) => Ok(posted.id),
        Err(error) if error.is_ambiguous() => match room.find_own(&prepared).await? {
            Some(message) => Ok(message.id),
            None => Ok(room.post_prepared(&prepared).await?.id),
        },
        Err(error) => {
            println!("{error}; {}", error.remedy());
            Err(error)
        }
    }
}
// guide: end

// guide: bot
use sogs_client::bot::{Bot, BotError, Command, Role};

async fn bot(link: &JoinLink, me: Identity, shutdown: impl Future<Output = ()>) -> Result<(), BotError> {
    Bot::new(Server::connect(link, me)?)
        .room(link.room().clone())
        .name("Helper")
        .on_join(|ctx| async move { ctx.reply(format!("Welcome, {}!", ctx.author_name())).await })
        .command(
            Command::new("roll", |ctx| async move {
                let sides: u32 = ctx.arg(0)?;
                if sides == 0 {
                    return Err(BotError::Say("A die has at least one side.".to_owned()));
                }
                let rolls = ctx.recall("rolls").and_then(|n| n.as_u64()).unwrap_or(0) + 1;
                ctx.remember("rolls", rolls);
                ctx.reply(format!("{} (roll number {rolls})", 1 + rolls % u64::from(sides)))
                    .await
            })
            .help("rolls a die")
            .usage("SIDES")
            .args(1..=1)
            .cooldown(Duration::from_secs(5)),
        )
        .command(
            Command::new("pin", |ctx| async move {
                let room = ctx
                    .room()
                    .ok_or_else(|| BotError::Say("Only in the room.".to_owned()))?;
                room.pin(ctx.arg(0)?).await?;
                ctx.react("📌").await
            })
            .usage("NUMBER")
            .args(1..=1)
            .role(Role::Moderator),
        )
        .run(shutdown)
        .await
}
// guide: end

/// The pieces of this file between the marks.
fn sections() -> Vec<(String, String)> {
    let source = include_str!("guide.rs");
    let mut sections = Vec::new();
    for part in source.split("\n// guide: ").skip(1) {
        let (name, code) = part.split_once('\n').unwrap();
        if name != "end" {
            sections.push((name.to_owned(), code.trim().to_owned()));
        }
    }
    sections
}

#[test]
fn the_guide_shows_this_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/session-sdk.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<_> = guide
        .split("\n```rust\n")
        .skip(1)
        .map(|block| block.split("\n```").next().unwrap().trim().to_owned())
        .collect();
    let sections = sections();
    assert_eq!(
        sections.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["info", "read", "send", "bot"]
    );
    for (name, code) in &sections {
        assert!(
            blocks.contains(code),
            "the guide's block for {name:?} is not the code that runs here:\n\n{code}\n"
        );
    }
    assert_eq!(blocks.len(), sections.len(), "every block of the guide runs here");
}

#[tokio::test]
async fn the_walk_throughs_run() {
    let community = Community::start().await;
    let link: JoinLink = format!("{}/main?public_key={}", community.url(), community.key())
        .parse()
        .unwrap();
    info(&link.to_string()).await.unwrap();

    let reader = community.server(Way::Sealed, &person(Way::Sealed, 1));
    let reading = {
        let (reader, link) = (reader.clone(), link.clone());
        tokio::spawn(async move { read(&reader, &link, None).await.map_err(|e| e.to_string()) })
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    let id = send(&link, admin()).await.unwrap();
    let cursor = tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(cursor.contains("main"));
    let room = reader.room(&token("main"));
    assert_eq!(room.message(id).await.unwrap().body(), Some("That is all."));

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = {
        let link = link.clone();
        tokio::spawn(async move {
            bot(&link, admin(), async { drop(stopped.await) })
                .await
                .map_err(|e| e.to_string())
        })
    };
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    room.post("!roll 6").await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let messages = room.recent(ListOptions::limit(10)).await.unwrap();
            if messages.iter().any(|m| m.body() == Some("2 (roll number 1)")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    drop(stop);
    running.await.unwrap().unwrap();
}
