//! Events of the mailbox of a Session ID.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackpost_sessiondm::Account;
use serde_json::{Value, json};
use session_network::{
    Event, FolderStorage, Identity, ItemLock, Mailbox, Network, NetworkBuilder, NetworkError, SessionId,
    Storage,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Ended, Seen};
use crate::cmd::dm::network;
use crate::cmd::dm::saving::{Taken, save_files};
use crate::cmd::room::show;
use crate::exit::Failure;
use crate::output;

/// The longest pause between two attempts to reach the mailbox.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// The name under which `watch` stores its reading state.
const READER: &str = "watch";

/// Keeps the state of printed messages beside the cursor file, and everything else in the state folder.
struct Beside {
    shared: FolderStorage,
    printed: FolderStorage,
}

impl Beside {
    fn of(&self, item: &str) -> &FolderStorage {
        if item.starts_with("mailbox-") {
            &self.printed
        } else {
            &self.shared
        }
    }
}

impl Storage for Beside {
    fn load(&self, item: &str) -> io::Result<Option<Vec<u8>>> {
        self.of(item).load(item)
    }

    fn save(&self, item: &str, bytes: &[u8]) -> io::Result<()> {
        self.of(item).save(item, bytes)
    }

    fn update(&self, item: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Vec<u8>) -> io::Result<()> {
        self.of(item).update(item, change)
    }

    fn lock(&self, item: &str) -> io::Result<Option<ItemLock>> {
        self.of(item).lock(item)
    }
}

/// Polling interval of a mailbox, and the files for its state and messages.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The pause between two polls.
    pub(super) interval: Duration,
    /// The file beside which the state of printed messages is kept; `None` for the state folder.
    pub(super) cursor: Option<&'a Path>,
    /// The folder for files of messages.
    pub(super) save: Option<&'a Path>,
}

/// One mailbox.
pub(super) struct Source {
    mailbox: Mailbox,
    network: Network,
    owner: SessionId,
    /// The folder for files of messages.
    save: Option<PathBuf>,
    /// The only account whose messages are printed; `None` for all.
    only: Option<SessionId>,
    interval: Duration,
}

impl Source {
    /// The mailbox of the account that a `sessiondm://` URL sends with.
    pub(super) fn of_url(account: Account, place: Place<'_>) -> Result<Self, Failure> {
        Self::open(account.identity, account.network, None, place)
    }

    /// The mailbox of an identity: all of it if `id` is its own, else what `id` wrote.
    pub(super) fn of_account(
        id: SessionId,
        identity: Identity,
        network: NetworkBuilder,
        place: Place<'_>,
    ) -> Result<Self, Failure> {
        let only = (id != identity.session_id()).then_some(id);
        Self::open(identity, network, only, place)
    }

    /// Returns true for the mailbox of this account, read for the messages of this person.
    pub(super) fn reads(&self, owner: SessionId, only: Option<SessionId>) -> bool {
        self.owner == owner && self.only == only
    }

    fn open(
        identity: Identity,
        network: NetworkBuilder,
        only: Option<SessionId>,
        place: Place<'_>,
    ) -> Result<Self, Failure> {
        if let Some(folder) = place.save.filter(|folder| !folder.is_dir()) {
            let cause = format!("{} is not a folder", folder.display());
            return Err(Failure::usage(cause, "make it, or name another one"));
        }
        let shared = network::folder();
        let network = match place.cursor {
            None => network.storage(shared),
            Some(file) => {
                let mut folder = file.as_os_str().to_owned();
                folder.push(".mailboxes");
                let printed = FolderStorage::new(folder);
                network.storage(Beside { shared, printed })
            }
        };
        let owner = identity.session_id();
        // The reading states of one person's messages and of the whole mailbox are separate.
        let reader = only.map_or_else(|| READER.to_owned(), |id| format!("{READER} {id}"));
        let network = network.build().map_err(|error| network::failed(&error))?;
        let mailbox = network.mailbox_of_reader(identity, &reader);
        Ok(Self {
            mailbox,
            network,
            owner,
            save: place.save.map(Path::to_owned),
            only,
            interval: place.interval,
        })
    }

    /// Runs until reading the mailbox fails permanently, or the stop is requested.
    pub(super) async fn run(mut self, sender: mpsc::Sender<Seen>, mut stop: watch::Receiver<bool>) -> Ended {
        let mut wait = self.interval;
        loop {
            let polled = tokio::select! {
                polled = self.mailbox.poll() => polled,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let pause = match polled {
                Ok(polled) => {
                    wait = self.interval;
                    for event in &polled.events {
                        match self.tell(event, &sender, &mut stop).await {
                            Ok(true) => {}
                            Ok(false) => return None,
                            Err(error) => return Some(network::failed(&error)),
                        }
                    }
                    if polled.unreadable > 0 {
                        output::remark(&format!(
                            "{} more entries of the mailbox are not readable",
                            polled.unreadable
                        ));
                    }
                    polled.pause(self.interval)
                }
                Err(error) if error.is_permanent() => return Some(network::failed(&error)),
                Err(error) => {
                    let pause = wait.max(error.retry_after().unwrap_or_default());
                    wait = (wait * 2).min(LONGEST_WAIT);
                    tokio::select! {
                        sent = sender.send(self.offline(&error, pause)) => if sent.is_err() { return None },
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        None
    }

    /// Has an event printed, then keeps that it was. Returns false if nobody prints any more.
    async fn tell(
        &mut self,
        event: &Event,
        sender: &mpsc::Sender<Seen>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, NetworkError> {
        let of_another = |from: &SessionId| self.only.is_some_and(|only| only != *from);
        if event.from().is_none_or(of_another) && self.only.is_some() {
            self.mailbox.handled(1).await?;
            return Ok(true);
        }
        let mut seen = self.seen(event);
        if let (Event::Message(message), Some(folder)) = (event, &self.save) {
            let saved = tokio::select! {
                saved = save_files(&self.network, message, folder, Taken::GetsTime) => saved,
                _ = stop.wait_for(|stop| *stop) => return Ok(false),
            };
            tell_saved(&mut seen, &saved);
        }
        let (printed, was_printed) = oneshot::channel();
        seen.printed = Some(printed);
        let sent = tokio::select! {
            sent = sender.send(seen) => sent.is_ok(),
            _ = stop.wait_for(|stop| *stop) => false,
        };
        // An event that was not printed is dropped, and its sender with it.
        if !sent || was_printed.await.is_err() {
            return Ok(false);
        }
        self.mailbox.handled(1).await?;
        Ok(true)
    }

    fn seen(&self, event: &Event) -> Seen {
        let mut value = network::event_json(event);
        value["event"] = match value["event"].as_str().unwrap_or_default() {
            "message" => "direct".to_owned(),
            other => other.replace('-', "_"),
        }
        .into();
        if let Event::Message(message) = event {
            value["id"] = message.hash.to_string().into();
            value["own"] = (message.from == self.owner).into();
        }
        self.name(value, format!("[direct] {}", network::event_text(event)))
    }

    fn offline(&self, error: &NetworkError, retry_in: Duration) -> Seen {
        let value = json!({
            "event": "offline", "reason": error.to_string(), "remedy": error.remedy(),
            "retry_in_secs": retry_in.as_secs(),
        });
        let text = format!(
            "{}; again in {} s",
            show::safe(&error.to_string()),
            retry_in.as_secs()
        );
        self.name(value, text)
    }

    fn name(&self, mut value: Value, text: String) -> Seen {
        value["service"] = "sessiondm".into();
        value["source"] = self.owner.to_string().into();
        Seen {
            value,
            text: Some(text),
            mark: None,
            printed: None,
        }
    }
}

/// Adds where the files of a message are, or why not.
fn tell_saved(seen: &mut Seen, saved: &[Result<PathBuf, Failure>]) {
    for (number, saved) in saved.iter().enumerate() {
        let (field, value, line) = match saved {
            Ok(path) => {
                let path = path.display().to_string();
                let line = format!("saved {}", show::safe(&path));
                ("saved", path, line)
            }
            Err(failure) => {
                let problem = format!("{}; {}", failure.cause(), failure.remedy());
                let line = format!("NOT SAVED: {}", show::safe(&problem));
                ("problem", problem, line)
            }
        };
        seen.value["files"][number][field] = value.into();
        if let Some(text) = &mut seen.text {
            text.push_str("\n    ");
            text.push_str(&line);
        }
    }
}
