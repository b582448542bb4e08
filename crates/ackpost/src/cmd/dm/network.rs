//! Direct messages to a Session ID over Session's storage network.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use session_network::{
    Disappearing, Draft, Event, FileServer, FolderStorage, IncomingMessage, Mode, Network, NetworkBuilder,
    NetworkError, Seed, Sender, SessionId,
};

use super::saving::{Taken, save_files};
use crate::cmd::identity::{IdentityChoice, store};
use crate::cmd::outbox::place::own_state_folder;
use crate::cmd::room::show;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// The name that recipients see when none is given.
const DEFAULT_NAME: &str = "Ackpost";
/// Time for which a message that was not stored is tried again, with the same bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum number of answers of a mailbox that are read: far more than one holds.
const MAX_POLLS: usize = 64;

/// Options to reach a mailbox of the storage network.
#[derive(Debug, Clone, Args)]
pub(crate) struct NetworkArgs {
    /// For a Session ID: onion (the default) sends requests through three nodes, direct to the node of the mailbox
    #[arg(long, value_name = "MODE", value_parser = ["onion", "direct"], help_heading = "Session network (experimental)")]
    mode: Option<String>,
    /// For a Session ID: seeds of another network, ED25519@IP:PORT or https://HOST:PORT#SHA256, separated by commas
    #[arg(
        long,
        value_name = "SEEDS",
        value_delimiter = ',',
        value_parser = parse_seed,
        help_heading = "Session network (experimental)"
    )]
    network: Vec<Seed>,
    /// For a Session ID: server for the files of another network, X25519@HOST:PORT
    #[arg(
        long,
        value_name = "SERVER",
        value_parser = parse_file_server,
        help_heading = "Session network (experimental)"
    )]
    file_server: Option<FileServer>,
}

/// Error for a failure of the network, with its remedy.
pub(crate) fn failed(error: &NetworkError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}

/// Error for a message that was not stored. A command keeps nothing, so that a repeat makes another message.
fn unsent(error: &NetworkError) -> Failure {
    let (cause, remedy) = error.without_bytes();
    Failure::new(cause, remedy)
}

fn parse_file_server(text: &str) -> Result<FileServer, String> {
    text.parse().map_err(|error: NetworkError| error.to_string())
}

fn parse_seed(text: &str) -> Result<Seed, String> {
    text.parse()
        .map_err(|error: NetworkError| format!("{error}; {}", error.remedy()))
}

/// The folder in which networks keep their state.
pub(crate) fn folder() -> FolderStorage {
    FolderStorage::new(own_state_folder().join(ackpost_sessiondm::FOLDER))
}

impl NetworkArgs {
    /// The network of these options. It keeps nothing until it gets a storage.
    pub(crate) fn builder(&self) -> NetworkBuilder {
        let mode = match self.mode.as_deref() {
            Some("direct") => Mode::Direct,
            _ => Mode::Onion,
        };
        let mut builder = Network::builder().mode(mode);
        if let Some(server) = &self.file_server {
            builder = builder.file_server(server.clone());
        }
        if self.network.is_empty() {
            return builder;
        }
        builder.seeds(self.network.iter().cloned())
    }

    fn open(&self) -> Result<Network, Failure> {
        self.builder()
            .storage(folder())
            .build()
            .map_err(|error| failed(&error))
    }
}

/// Shows the account of `sessiondm://` URLs without a seed: the stored default identity, else the one of the state folder, which
/// is made if there is none.
pub(crate) fn show_id(context: Context) -> Done {
    let (identity, place) = if let Some(identity) = store::load(store::DEFAULT)? {
        (identity, store::path_of(store::DEFAULT)?)
    } else {
        let folder = own_state_folder();
        let identity = ackpost_sessiondm::default_account(&folder)
            .map_err(|problem| Failure::new(problem.cause, problem.remedy))?;
        (identity, folder.join(ackpost_sessiondm::FOLDER).join("account"))
    };
    let id = identity.session_id();
    if context.json {
        output::json(&json!({ "session_id": id, "file": place }));
    } else {
        output::line(&id.to_string());
        output::note(&format!("kept in {}", place.display()));
    }
    Ok(Exit::Success)
}

/// A text, and how to send it.
pub(crate) struct Letter<'a> {
    pub(crate) to: SessionId,
    pub(crate) body: String,
    pub(crate) name: Option<&'a str>,
    pub(crate) expire: Option<Duration>,
}

/// Sends a text to a Session ID.
pub(crate) async fn send(
    letter: &Letter<'_>,
    identity: &IdentityChoice,
    way: &NetworkArgs,
    context: Context,
) -> Done {
    let sender = Sender::new(identity.require()?, letter.name.unwrap_or(DEFAULT_NAME))
        .map_err(|error| failed(&error))?;
    let network = way.open()?;
    let mut draft = Draft::text(&letter.body);
    if let Some(expire) = letter.expire {
        draft = draft.disappearing(Disappearing::AfterSent(expire));
    }
    let messages = network.prepare(&sender, &letter.to, &draft).await;
    let mut before = 0;
    for mut message in messages.map_err(|error| failed(&error))? {
        let delivery = network
            .send_within(&mut message, PATIENCE)
            .await
            .map_err(|error| unsent(&error))?;
        // The round trips for the list of nodes count with the first message.
        let round_trips = network.round_trips() - before;
        before += round_trips;
        if context.json {
            output::json(&json!({
                "hash": delivery.hash.to_string(),
                "time": show::utc_time(seconds(message.timestamp_ms())),
                "from": sender.id(),
                "to": letter.to,
                "signed": delivery.signed,
                "nodes": delivery.swarm,
                "round_trips": round_trips,
            }));
        } else {
            output::words(&format!(
                "{}  to {delivery}, {}, {}",
                letter.to.short(),
                delivery.hash,
                output::count(round_trips, "round trip")
            ));
        }
    }
    // One more request a day.
    if network.look_for_v2_keys(&letter.to).await == Some(true) {
        output::remark(&format!(
            "{}; {}",
            ackpost_sessiondm::RECIPIENT_HAS_VERSION_2,
            ackpost_sessiondm::UPDATE_SOON
        ));
    }
    Ok(Exit::Success)
}

/// Prints the mailbox of the account: all messages, or those of one person.
pub(crate) async fn read(
    id: SessionId,
    identity: &IdentityChoice,
    way: &NetworkArgs,
    save: Option<&Path>,
    context: Context,
) -> Done {
    let identity = identity.require()?;
    let owner = identity.session_id();
    let network = way.open()?;
    let mut mailbox = network.mailbox_from_start(identity);
    let (mut shown, mut lost, mut unreadable) = (0, 0, 0);
    for _ in 0..MAX_POLLS {
        let polled = mailbox.poll().await.map_err(|error| failed(&error))?;
        unreadable += polled.unreadable;
        for event in &polled.events {
            if id == owner || event.from().is_none_or(|author| *author == id) {
                print(event, context);
                shown += 1;
                if let (Event::Message(message), Some(folder)) = (event, save) {
                    for saved in save_files(&network, message, folder, Taken::Fails).await {
                        match saved {
                            Ok(path) => {
                                output::note(&format!("saved {}", show::safe(&path.display().to_string())));
                            }
                            Err(failure) => {
                                failure.print();
                                lost += 1;
                            }
                        }
                    }
                }
            }
        }
        if !polled.more {
            break;
        }
    }
    if unreadable > 0 {
        output::remark(&format!(
            "{unreadable} more entries of the mailbox are not readable"
        ));
    }
    if shown == 0 {
        output::none("messages", context);
    }
    Ok(if lost == 0 { Exit::Success } else { Exit::Partial })
}

fn print(event: &Event, context: Context) {
    if context.json {
        output::json(&event_json(event));
    } else {
        output::words(&event_text(event));
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 52 bits")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// An event, for programs.
pub(crate) fn event_json(event: &Event) -> serde_json::Value {
    let time = |ms: &u64| show::utc_time(seconds(*ms));
    match event {
        Event::Message(message) => message_json(message),
        Event::RequestAccepted {
            from,
            name,
            timestamp_ms,
        } => json!({"event": "request-accepted", "time": time(timestamp_ms), "from": from, "name": name}),
        Event::ExpiryChanged {
            from,
            disappearing,
            timestamp_ms,
        } => json!({
            "event": "expiry-changed", "time": time(timestamp_ms), "from": from,
            "disappears_after_seconds": disappearing.map(after),
        }),
        Event::Unsent { from, timestamp_ms } => {
            json!({"event": "unsent", "from": from, "message_time": time(timestamp_ms)})
        }
        Event::Unreadable { hash, reason } => {
            json!({"event": "unreadable", "hash": hash.to_string(), "problem": reason.to_string()})
        }
        _ => json!({"event": "other"}),
    }
}

fn message_json(message: &IncomingMessage) -> serde_json::Value {
    json!({
        "event": "message",
        "hash": message.hash.to_string(),
        "time": show::utc_time(seconds(message.timestamp_ms)),
        "expires": show::utc_time(seconds(message.expires_ms)),
        "from": message.from,
        "name": message.name,
        "body": message.text,
        "sent_to": message.sent_to,
        "disappears_after_seconds": message.disappearing.map(after),
        "files": message.files().iter().map(|file| json!({
            "name": file.file_name, "content_type": file.content_type, "size": file.size,
        })).collect::<Vec<_>>(),
    })
}

fn after(disappearing: Disappearing) -> u64 {
    match disappearing {
        Disappearing::AfterRead(after) | Disappearing::AfterSent(after) => after.as_secs(),
        _ => 0,
    }
}

/// An event, for people.
pub(crate) fn event_text(event: &Event) -> String {
    let time = |ms: u64| show::local_time(seconds(ms));
    match event {
        Event::Message(message) => {
            let who = show::who(message.name.as_deref(), &message.from);
            let body = message
                .text
                .as_deref()
                .map_or_else(|| "(no text)".to_owned(), show::safe);
            let mut text = format!("{}  {who}\n    {body}", time(message.timestamp_ms));
            for file in message.files() {
                let name = file.file_name.as_deref().unwrap_or("file");
                let size = file.size.unwrap_or_default();
                text.push_str(&format!("\n    [{}, {size} bytes]", show::safe(name)));
            }
            text
        }
        Event::RequestAccepted {
            from,
            name,
            timestamp_ms,
        } => format!(
            "{}  {} accepted the message request",
            time(*timestamp_ms),
            show::who(name.as_deref(), from)
        ),
        Event::ExpiryChanged {
            from, timestamp_ms, ..
        } => format!(
            "{}  {} changed when messages disappear",
            time(*timestamp_ms),
            from.short()
        ),
        Event::Unsent { from, timestamp_ms } => format!(
            "{} took back the message of {}",
            from.short(),
            time(*timestamp_ms)
        ),
        Event::Unreadable { reason, .. } => format!("NOT READABLE: {reason}"),
        _ => "an event that this version does not know".to_owned(),
    }
}
