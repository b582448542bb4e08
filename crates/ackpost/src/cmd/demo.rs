//! `ackpost demo`: the whole way of a message, shown step by step.
//!
//! A community server runs inside this process, in a temporary folder. The message goes through the same
//! code as `ackpost send`, and is read back and verified as the Session apps would.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ackpost_apprise::Notifier;
use ackpost_notify::Message;
use clap::Args;
use session_protocol::Identity;
use sogs_client::{ListOptions, RoomToken, ServerKey};
use sogs_server::admin::{self, AdminRequest, InitOptions, Operation};
use sogs_server::{Config, Running};

use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_platform::service::stop_asked;

/// The room of the demo.
const ROOM: &str = "lobby";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the server running until Ctrl-C, and print its join link and page
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &DemoArgs, context: Context) -> Done {
    let folder = Folder::new()?;
    context
        .server_runtime()
        .block_on(show(args.keep, &folder.path, context))
}

async fn show(keep: bool, folder: &Path, context: Context) -> Done {
    let mut steps = Steps {
        begun: Instant::now(),
        json: context.json,
        number: 0,
    };
    let failed = |e: admin::AdminError| Failure::new(e.cause, e.remedy);
    let options = InitOptions {
        listen: Some(([127, 0, 0, 1], 0).into()),
        ..InitOptions::default()
    };
    // `ackpost server init`, `ackpost server room add` and `ackpost server run` do the same.
    admin::init(folder, &options).await.map_err(failed)?;
    let operation = Operation::RoomAdd {
        room: ROOM.to_owned(),
        name: Some("Lobby".to_owned()),
        description: Some("The room of the demo".to_owned()),
        permissions: admin::PermissionChange::default(),
    };
    let request = AdminRequest {
        actor: "demo".to_owned(),
        dry_run: false,
        operation,
    };
    admin::perform(folder, request).await.map_err(failed)?;
    steps.done("room", &format!("made a community server with the room {ROOM}"));

    let running = start(folder).await?;
    let (url, key) = (
        running.url().trim_end_matches('/').to_owned(),
        running.public_key().to_string(),
    );
    steps.done(
        "server",
        &format!("the server listens on {url}; its key is {key}"),
    );

    let sender = fresh_identity()?;
    let said = format!("Hello from ackpost {}.", env!("CARGO_PKG_VERSION"));
    let id = send(&sender, &url, &key, &said, context, &mut steps).await?;
    read_back(&url, &key, id, &said, &mut steps).await?;

    let page = format!("{url}/r/{ROOM}/");
    let link = format!("{url}/{ROOM}?public_key={key}");
    if !keep {
        running.shutdown().await;
        steps.done(
            "end",
            "stopped the server and removed its folder; `ackpost demo --keep` keeps it running",
        );
        return Ok(Exit::Success);
    }
    steps.done("page", &format!("look at the room in a browser: {page}"));
    steps.done("link", &format!("join link: {link}"));
    output::note("Ctrl-C stops the server.");
    stop_asked().await;
    running.shutdown().await;
    Ok(Exit::Success)
}

/// The server, with its own database and a free port.
async fn start(folder: &Path) -> Result<Running, Failure> {
    let config = Config::load(folder).map_err(|e| Failure::new(e.to_string(), "report this as a bug"))?;
    sogs_server::Server::start(config).await.map_err(|e| {
        Failure::new(
            format!("the community server does not start: {e}"),
            "make the temporary folder writable",
        )
    })
}

/// One notification, on the way every notification takes; the number the server gave it.
async fn send(
    sender: &Identity,
    url: &str,
    key: &str,
    said: &str,
    context: Context,
    steps: &mut Steps,
) -> Result<u64, Failure> {
    let seed = sender.expose_seed().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    let mut notifier = Notifier::new();
    notifier
        .add(&format!("session://{key}:{seed}@{host}/{ROOM}?name=Demo"))
        .map_err(|e| Failure::new(e.to_string(), "report this as a bug"))?;
    let report = notifier.notify(Message::new(said).title("Demo")).await;
    output::report(&report, context);
    let target = report
        .targets
        .first()
        .ok_or_else(|| Failure::new("nothing was sent", "report this as a bug"))?;
    let ackpost_notify::Outcome::Delivered { id: Some(id), .. } = &target.outcome else {
        return Err(Failure::new(
            "the message was not delivered",
            "the line above shows the cause",
        ));
    };
    steps.done("sent", &format!("the server accepted the message: id {id}"));
    id.parse().map_err(|_| {
        Failure::new(
            "the server gave an id that is not a number",
            "report this as a bug",
        )
    })
}

/// Reads the message as somebody else, who trusts nothing but the server's key.
async fn read_back(url: &str, key: &str, id: u64, said: &str, steps: &mut Steps) -> Result<(), Failure> {
    let bug = |what: &str| Failure::new(what.to_owned(), "report this as a bug");
    let key: ServerKey = key.parse().map_err(|_| bug("the server's key is not valid"))?;
    let room: RoomToken = ROOM.parse().map_err(|_| bug("the room's token is not valid"))?;
    let failed = |e: sogs_client::SogsError| Failure::new(e.to_string(), e.remedy());
    let reader = sogs_client::Server::builder(url, key)
        .identity(fresh_identity()?)
        .build()
        .map_err(failed)?;
    let messages = reader
        .room(&room)
        .recent(ListOptions::limit(10))
        .await
        .map_err(failed)?;
    let message = messages
        .iter()
        .find(|m| m.id == id)
        .ok_or_else(|| bug("the message is not in the room"))?;
    let body = message.body().unwrap_or_default();
    if !body.ends_with(said) {
        return Err(bug("the message in the room differs"));
    }
    steps.done(
        "read",
        &format!("another identity reads it: {:?}", body.replace("\r\n", " / ")),
    );
    if !message.is_authentic() {
        return Err(bug("the signature of the message does not verify"));
    }
    let author = message.author.to_string();
    let name = message.display_name().unwrap_or_default();
    steps.done(
        "verified",
        &format!("the signature of the message verifies under {author}, the blinded id of {name:?}"),
    );
    Ok(())
}

fn fresh_identity() -> Result<Identity, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| {
        Failure::new(
            format!("cannot get random numbers from the system: {e}"),
            "try again later",
        )
    })?;
    Ok(Identity::from_seed(seed))
}

/// Numbered lines, with the time since the beginning.
struct Steps {
    begun: Instant,
    json: bool,
    number: u32,
}

impl Steps {
    fn done(&mut self, step: &str, text: &str) {
        self.number += 1;
        let time: Duration = self.begun.elapsed();
        if self.json {
            let elapsed_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            output::json(&serde_json::json!({ "step": step, "text": text, "elapsed_ms": elapsed_ms }));
        } else {
            output::line(&format!("{}. {text} ({})", self.number, output::elapsed(time)));
        }
    }
}

/// A folder that only we may read, and that goes when the demo goes.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| {
            Failure::new(
                format!("cannot get random numbers from the system: {e}"),
                "try again later",
            )
        })?;
        let path = std::env::temp_dir().join(format!("ackpost-demo-{:016x}", u64::from_le_bytes(random)));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| {
                Failure::new(
                    format!("cannot make the folder {}: {e}", path.display()),
                    "set TMPDIR to a folder you may write to",
                )
            })?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
