//! Direct messages over Session's storage network: mailboxes, and texts to other accounts.

use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use session_network::{
    AttachmentPointer, Cause, Delivery, Disappearing, Draft, Event, FileServer, FolderStorage,
    IncomingMessage, MAX_FILES, Mailbox, MemoryStorage, Mode, Network, NetworkError, Polled, Seed, Sender,
    SessionId,
};
use session_protocol::Prefix;
use tokio::sync::Mutex;

use crate::answer::{Answer, Failure, arguments};
use crate::identity;
use crate::pending::Pending;
use crate::process::Kept;

/// Maximum number of files of messages whose pointers are kept, so that they can be downloaded.
const MAX_POINTERS: usize = 1000;

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        Self {
            kind: match error.cause() {
                Cause::Option { .. } | Cause::Seed { .. } => "config",
                _ if error.is_permanent() => "refused",
                _ => "deferred",
            },
            cause: error.to_string(),
            remedy: error.remedy(),
            retry_after: error.retry_after().map(|after| after.as_secs_f64()),
        }
    }
}

/// An account on the storage network, as Python describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    seed: String,
    name: String,
    /// Folder for the state between runs; `None` keeps it in memory.
    folder: Option<String>,
    reader: String,
    direct: bool,
    seeds: Vec<String>,
    file_server: Option<String>,
    proxies: bool,
    timeout: Option<f64>,
}

impl Settings {
    fn build(self) -> Result<Inner, Failure> {
        let identity = identity::from_seed(&self.seed)?;
        let mut builder = Network::builder().use_proxies(self.proxies);
        if self.direct {
            builder = builder.mode(Mode::Direct);
        }
        if !self.seeds.is_empty() {
            let seeds = self.seeds.iter().map(|text| text.parse::<Seed>());
            // The text is not repeated: it may be the seed of an account, which is a secret.
            builder = builder.seeds(seeds.collect::<Result<Vec<_>, _>>().map_err(|_| {
                Failure::config(
                    "a seed of the network cannot be used",
                    "write ED25519@IP:PORT or https://HOST:PORT#SHA256",
                )
            })?);
        }
        if let Some(server) = self.file_server {
            builder = builder.file_server(server.parse::<FileServer>().map_err(|error| {
                Failure::config(
                    format!("the file server cannot be used: {error}"),
                    "write X25519@HOST:PORT",
                )
            })?);
        }
        if let Some(limit) = self
            .timeout
            .and_then(|limit| Duration::try_from_secs_f64(limit).ok())
        {
            builder = builder.call_timeout(limit).send_timeout(limit);
        }
        let network = match self.folder {
            Some(folder) => builder.storage(FolderStorage::new(folder)),
            None => builder.storage(MemoryStorage::default()),
        }
        .build()?;
        let sender = Sender::new(identity.clone(), &self.name)?;
        let mailbox = network.mailbox_of_reader(identity, &self.reader);
        Ok(Inner {
            network,
            sender,
            mailbox: Mutex::new(mailbox),
            pointers: Lock::default(),
        })
    }
}

struct Inner {
    network: Network,
    sender: Sender,
    mailbox: Mutex<Mailbox>,
    pointers: Lock<Pointers>,
}

/// The files of the messages that were read, newest last, each with its number.
#[derive(Default)]
struct Pointers(Vec<(u64, AttachmentPointer)>);

/// An account with its mailbox on the storage network.
#[pyclass(frozen)]
pub struct Direct(Kept<Inner>);

/// A call as Python hands it over.
#[derive(Debug, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
enum Call {
    /// Fetches what is new.
    Poll,
    /// Keeps that so many events were handled.
    Handled {
        count: usize,
    },
    Send {
        to: String,
        text: String,
        files: Vec<FileName>,
        ttl: Option<f64>,
        disappears: Option<Disappears>,
        /// Seconds for which failures that pass are tried again.
        patience: f64,
    },
    /// Tells an account that its message request was accepted.
    Accept {
        to: String,
        patience: f64,
    },
    Download {
        number: u64,
    },
}

/// When a message disappears from the devices: so many seconds after it was sent or read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disappears {
    seconds: f64,
    since: Since,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Since {
    Sent,
    Read,
}

impl Disappears {
    fn rule(&self) -> Result<Disappearing, Failure> {
        let after = Duration::try_from_secs_f64(self.seconds).map_err(|_| {
            Failure::config(
                "a message cannot disappear after this time",
                "give a number of seconds above zero",
            )
        })?;
        Ok(match self.since {
            Since::Sent => Disappearing::AfterSent(after),
            Since::Read => Disappearing::AfterRead(after),
        })
    }

    fn shown(rule: Option<Disappearing>) -> Value {
        match rule {
            Some(Disappearing::AfterSent(after)) => json!({ "seconds": after.as_secs(), "since": "sent" }),
            Some(Disappearing::AfterRead(after)) => json!({ "seconds": after.as_secs(), "since": "read" }),
            _ => Value::Null,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileName {
    name: String,
    media_type: String,
}

impl Pointers {
    fn get(&self, number: u64) -> Result<AttachmentPointer, Failure> {
        let known = self.0.iter().find(|(known, _)| *known == number);
        known.map(|(_, pointer)| pointer.clone()).ok_or_else(|| {
            Failure::config(
                "this file belongs to no message that was read here",
                "download the files of a message before 1000 further files came",
            )
        })
    }

    /// A message, whose files get numbers.
    fn message(&mut self, message: &IncomingMessage) -> Value {
        let files = message.files().iter().map(|pointer| {
            let number = self.0.last().map_or(1, |(last, _)| last + 1);
            self.0.push((number, pointer.clone()));
            json!({
                "id": number, "name": pointer.file_name, "media_type": pointer.content_type, "size": pointer.size,
            })
        });
        let files: Vec<Value> = files.collect();
        let surplus = self.0.len().saturating_sub(MAX_POINTERS);
        self.0.drain(..surplus);
        json!({
            "kind": "message", "hash": message.hash.to_string(), "from": message.from, "name": message.name,
            "text": message.text, "time_ms": message.timestamp_ms, "sent_to": message.sent_to, "files": files,
            "disappears": Disappears::shown(message.disappearing),
        })
    }

    fn event(&mut self, event: &Event) -> Value {
        match event {
            Event::Message(message) => self.message(message),
            Event::RequestAccepted { from, name, .. } => {
                json!({ "kind": "accepted", "from": from, "name": name })
            }
            Event::Unsent { from, timestamp_ms } => {
                json!({ "kind": "unsent", "from": from, "time_ms": timestamp_ms })
            }
            Event::Unreadable { hash, reason } => {
                json!({ "kind": "unreadable", "hash": hash.to_string(), "reason": reason.to_string() })
            }
            _ => json!({ "kind": "other" }),
        }
    }

    fn polled(&mut self, polled: &Polled) -> Value {
        let events: Vec<Value> = polled.events.iter().map(|event| self.event(event)).collect();
        json!({ "events": events, "more": polled.more })
    }
}

fn recipient(text: &str) -> Result<SessionId, Failure> {
    let id = text.trim().parse().ok();
    id.filter(|id: &SessionId| id.prefix() == Prefix::Account)
        .ok_or_else(|| {
            Failure::config(
                "the recipient is not a Session ID",
                "give the 66 characters that start with 05",
            )
        })
}

/// The failure of a message that was not stored. Python does not get its bytes.
fn unsent(error: &NetworkError) -> Failure {
    let (cause, remedy) = error.without_bytes();
    Failure {
        cause,
        remedy,
        ..error.clone().into()
    }
}

fn delivery(delivery: &Delivery) -> Value {
    json!({ "hash": delivery.hash.to_string(), "signed": delivery.signed, "swarm": delivery.swarm })
}

impl Inner {
    fn pointers(&self) -> MutexGuard<'_, Pointers> {
        self.pointers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, to: &SessionId, draft: &Draft, patience: f64) -> Result<Value, Failure> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        let mut deliveries = Vec::new();
        let messages = self.network.prepare(&self.sender, to, draft).await?;
        let count = messages.len();
        for mut message in messages {
            match self.network.send_within(&mut message, patience).await {
                Ok(stored) => deliveries.push(delivery(&stored)),
                Err(error) if deliveries.is_empty() => return Err(unsent(&error)),
                // A repeat of the whole text would double the parts that were stored.
                Err(error) => {
                    let Failure { cause, remedy, .. } = unsent(&error);
                    return Err(Failure {
                        kind: "partial",
                        cause: format!(
                            "{} of {count} parts of the text were stored: {cause}",
                            deliveries.len()
                        ),
                        remedy: format!("send the rest of the text alone; {remedy}"),
                        retry_after: None,
                    });
                }
            }
        }
        Ok(deliveries.into())
    }

    async fn run(&self, call: Call, parts: Vec<Vec<u8>>) -> Result<Answer, Failure> {
        let value = match call {
            Call::Poll => {
                let polled = self.mailbox.lock().await.poll().await?;
                self.pointers().polled(&polled)
            }
            Call::Handled { count } => {
                self.mailbox.lock().await.handled(count).await?;
                Value::Null
            }
            Call::Send {
                to,
                text,
                files,
                ttl,
                disappears,
                patience,
            } => {
                let to = recipient(&to)?;
                let mut draft = Draft::text(text);
                if let Some(ttl) = ttl {
                    // The network refuses a time that it does not keep messages for.
                    draft = draft.ttl(Duration::try_from_secs_f64(ttl).unwrap_or_default());
                }
                if let Some(disappears) = disappears {
                    draft = draft.disappearing(disappears.rule()?);
                }
                // Nothing is uploaded for a message that is refused.
                draft.check()?;
                if files.len() > MAX_FILES {
                    return Err(Failure::config(
                        format!("a message has at most {MAX_FILES} files"),
                        "send the others with another message",
                    ));
                }
                let mut uploaded = Vec::new();
                for (file, bytes) in files.into_iter().zip(parts) {
                    uploaded.push(self.network.upload(&file.name, &file.media_type, &bytes).await?);
                }
                let draft = draft.files(uploaded);
                self.send(&to, &draft, patience).await?
            }
            Call::Accept { to, patience } => {
                self.send(&recipient(&to)?, &Draft::accept_request(), patience)
                    .await?
            }
            Call::Download { number } => {
                let pointer = self.pointers().get(number)?;
                let mut answer = Answer::ok(&json!({ "name": pointer.file_name }));
                answer.bytes = Some(self.network.download(&pointer).await?);
                return Ok(answer);
            }
        };
        Ok(Answer::ok(&value))
    }
}

#[pymethods]
impl Direct {
    /// Opens an account; JSON of an error instead of an account raises `ValueError` with that JSON.
    #[new]
    fn new(settings: &str) -> PyResult<Self> {
        let settings: Settings = arguments(settings)?;
        let inner = settings.build().map_err(crate::community::raised)?;
        Ok(Self(Kept::new(inner)))
    }

    /// Starts a call, given as JSON; `parts` are the bytes of its files.
    fn call(&self, call: &str, parts: Vec<Vec<u8>>) -> PyResult<Pending> {
        let call: Call = arguments(call)?;
        let inner = Arc::clone(&self.0);
        Pending::start(async move {
            match inner.run(call, parts).await {
                Ok(answer) => answer,
                Err(failure) => Answer::error(&failure),
            }
        })
    }
}

/// The folder of the networks in the state folder of the user, which `sessiondm://` uses too.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python hands a copy over")]
pub(crate) fn network_folder(environment: crate::place::Variables) -> String {
    let folder = crate::place::state_folder(&environment).join(ackpost_sessiondm::FOLDER);
    folder.to_string_lossy().into_owned()
}
