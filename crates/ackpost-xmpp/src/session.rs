//! A kept session: one connection for everything an account sends and receives. Pinged, resumed,
//! made again when it breaks; rooms are entered again, and messages not yet confirmed said again
//! with the same origin id.

mod actor;
mod archive;
mod event;
mod sm;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use event::{ArchivePlace, Event, Received};

use crate::connect::Connector;
use crate::oneshot::{merge, parts_of};
use crate::upload::{self, Ask};
use crate::xml::Element;
use crate::{Account, Attachment, Jid, Outcome, Outgoing, RoomTarget, XmppError};
use actor::{Actor, Command};

/// How many commands wait at most; more senders wait for a place.
const COMMANDS_MAX: usize = 1024;
/// How many events wait at most; then they are dropped and counted.
const EVENTS_MAX: usize = 8192;

/// How a session is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Appear online (priority 0). Needed to receive what is sent to the bare address; sending,
    /// rooms and receipts do not need it.
    pub presence: bool,
    /// Rooms to be in all the time.
    pub rooms: Vec<RoomTarget>,
    /// Answer requests for receipts (XEP-0184) with yes.
    pub receipts: bool,
    /// Archives to follow: after a break, and from the id given at the start, what was missed is
    /// fetched. Our own bare address, or rooms.
    pub catch_up: Vec<(Jid, Option<String>)>,
    /// Ask for a session that can be resumed after a break (XEP-0198). Without, each break begins a new one.
    pub resume: bool,
    /// A ping is sent when nothing came for so long.
    pub ping_after: Duration,
    /// How long one message may take, reconnects included.
    pub patience: Duration,
    /// The longest pause between two attempts to connect.
    pub longest_pause: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            presence: false,
            rooms: Vec::new(),
            receipts: false,
            catch_up: Vec::new(),
            resume: true,
            ping_after: Duration::from_secs(60),
            patience: Duration::from_secs(120),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl SessionOptions {
    /// For receiving: online, with receipts, in these rooms.
    pub fn receiving(rooms: Vec<RoomTarget>) -> Self {
        Self {
            presence: true,
            receipts: true,
            rooms,
            ..Self::default()
        }
    }
}

/// A kept session. Clones share it; it ends when the last one is dropped, or by [`close`](Self::close).
#[derive(Clone)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    connector: Arc<Connector>,
    jid: Jid,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("jid", &self.jid)
            .finish_non_exhaustive()
    }
}

/// The events of a session, in order. Ends when the session does.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` when the session is over.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Session {
    /// Logs in and keeps the session. The first login must succeed; later ones are tried again until
    /// the server refuses for good.
    pub async fn open(account: &Account, options: SessionOptions) -> Result<(Self, Events), XmppError> {
        let connector = Arc::new(Connector::new(account.clone())?);
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (events, events_receiver) = mpsc::channel(EVENTS_MAX);
        let actor = Actor::new(connector.clone(), options, receiver, events);
        let (ready, first) = oneshot::channel();
        tokio::spawn(actor.run(ready));
        let jid = first.await.map_err(|_| XmppError::SessionClosed)??;
        Ok((
            Self {
                commands,
                connector,
                jid,
            },
            Events(events_receiver),
        ))
    }

    /// Our address as it was at the first login.
    pub fn jid(&self) -> &Jid {
        &self.jid
    }

    /// Sends messages and reports each, in the order given. Waits through reconnects, for as long as
    /// [`SessionOptions::patience`] says. Several callers may send at once.
    pub async fn send(&self, messages: Vec<Outgoing>) -> Vec<Outcome> {
        let mut waiting = Vec::with_capacity(messages.len());
        for message in messages {
            waiting.push(self.start(message).await);
        }
        let mut outcomes = Vec::with_capacity(waiting.len());
        for started in waiting {
            outcomes.push(match started {
                Err(outcome) => outcome,
                Ok(parts) => {
                    let mut ended = Vec::with_capacity(parts.len());
                    for part in parts {
                        ended.push(Some(
                            part.await
                                .unwrap_or_else(|_| Outcome::failed(XmppError::SessionClosed)),
                        ));
                    }
                    merge(ended)
                }
            });
        }
        outcomes
    }

    async fn start(&self, message: Outgoing) -> Result<Vec<oneshot::Receiver<Outcome>>, Outcome> {
        let mut urls = Vec::new();
        if !message.content.attachments.is_empty() {
            urls = self
                .upload(&message.content.attachments)
                .await
                .map_err(Outcome::failed)?;
        }
        let mut receivers = Vec::new();
        let mut parts = Vec::new();
        for part in parts_of(&message, &urls).map_err(Outcome::failed)? {
            let (sender, receiver) = oneshot::channel();
            parts.push((part, sender));
            receivers.push(receiver);
        }
        self.commands
            .send(Command::Send(parts))
            .await
            .map_err(|_| Outcome::failed(XmppError::SessionClosed))?;
        Ok(receivers)
    }

    async fn upload(&self, files: &[Arc<Attachment>]) -> Result<Vec<(Arc<Attachment>, String)>, XmppError> {
        upload::all(&mut self.clone(), &self.connector, files).await
    }

    /// Enters a room and stays in it.
    pub async fn join(&self, room: RoomTarget) -> Result<(), XmppError> {
        self.commands
            .send(Command::Join(room))
            .await
            .map_err(|_| XmppError::SessionClosed)
    }

    /// Ends the session in order. Messages not yet confirmed end as not confirmed.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Ask for Session {
    async fn ask(&mut self, to: &str, payload: Element) -> Result<Element, XmppError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Ask {
                to: to.to_owned(),
                payload,
                reply,
            })
            .await
            .map_err(|_| XmppError::SessionClosed)?;
        answer.await.map_err(|_| XmppError::SessionClosed)?
    }
}
