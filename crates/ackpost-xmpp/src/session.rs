//! A kept session: one connection for everything an account sends and receives. Pinged, resumed,
//! made again when it breaks; rooms are entered again, and messages not yet confirmed sent again
//! with the same origin id.

mod actor;
mod archive;
#[cfg(feature = "omemo")]
mod capabilities;
mod command;
#[cfg(feature = "omemo")]
mod encrypted;
pub(crate) mod event;
#[cfg(feature = "omemo")]
mod occupants;
mod options;
mod outlet;
mod queue;
mod refer;
mod sm;
mod stored;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use event::{Encryption, Event, Received};
pub use options::SessionOptions;
pub use refer::{ArchivePlace, Departure, Fallback, Moderated, Reply, Retraction};

use crate::account::Account;
use crate::connect::Connector;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::message::{Attachment, Outcome, Outgoing, RoomTarget};
use crate::ns;
#[cfg(feature = "omemo")]
use crate::omemo::server::{Answer, Question, Server};
use crate::parts::{merge, parts_of};
use crate::upload::{self, Ask};
use crate::xml::Element;
use actor::Actor;
use command::Command;
use options::EVENTS_MAX;
use queue::{QueueReceiver, Taken, queue};

/// Maximum number of commands that wait; further senders wait for a place.
const COMMANDS_MAX: usize = 1024;
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
pub struct Events(QueueReceiver<Event>);

impl Events {
    /// The next event; `None` when the session is over.
    pub async fn next(&mut self) -> Option<Event> {
        Some(match self.0.take().await? {
            Taken::Item(event) => event,
            Taken::Lost(count) => Event::Lagged(count),
        })
    }
}

impl Session {
    /// Logs in and keeps the session. The first login must succeed; later ones are tried again until
    /// the server refuses permanently.
    ///
    /// # Errors
    /// [`XmppError`] if the first login fails.
    pub async fn open(account: &Account, options: SessionOptions) -> Result<(Self, Events), XmppError> {
        let connector = Arc::new(Connector::new(account.clone())?);
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (events, events_receiver) = queue(EVENTS_MAX);
        #[cfg(feature = "omemo")]
        let outlet = encrypted::outlet(account, &options, &commands, events);
        #[cfg(not(feature = "omemo"))]
        let outlet = outlet::Outlet::Direct(events);
        let actor = Actor::new(connector.clone(), options, receiver, outlet);
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
    /// [`SessionOptions::send_timeout`] says. Several callers may send at once.
    pub async fn send(&self, messages: Vec<Outgoing>) -> Vec<Outcome> {
        let mut waiting = Vec::with_capacity(messages.len());
        #[cfg(feature = "omemo")]
        if let Some(device) = crate::omemo::Device::of(&self.connector.account) {
            for parts in self.encrypt(&device, &messages).await {
                waiting.push(match parts {
                    Ok(parts) => self.hand_over(parts).await,
                    Err(error) => Err(Outcome::failed(error)),
                });
            }
            return Self::outcomes(waiting).await;
        }
        for message in messages {
            waiting.push(self.start(message).await);
        }
        Self::outcomes(waiting).await
    }

    async fn outcomes(waiting: Vec<Result<Vec<oneshot::Receiver<Outcome>>, Outcome>>) -> Vec<Outcome> {
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
        self.hand_over(parts_of(&message, &urls).map_err(Outcome::failed)?)
            .await
    }

    async fn hand_over(
        &self,
        stanzas: Vec<crate::stanza::Part>,
    ) -> Result<Vec<oneshot::Receiver<Outcome>>, Outcome> {
        let mut receivers = Vec::new();
        let mut parts = Vec::new();
        for part in stanzas {
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

    #[cfg(feature = "omemo")]
    async fn encrypt(
        &self,
        device: &crate::omemo::Device,
        messages: &[Outgoing],
    ) -> Vec<Result<Vec<crate::stanza::Part>, XmppError>> {
        match crate::omemo::encrypt_at_once(device, messages).await {
            Some(parts) => parts,
            None => crate::omemo::encrypt(device, &mut self.clone(), &self.connector, messages).await,
        }
    }

    async fn upload(&self, files: &[Arc<Attachment>]) -> Result<Vec<(Arc<Attachment>, String)>, XmppError> {
        upload::all(&mut self.clone(), &self.connector, files).await
    }

    /// Enters a room and stays in it.
    ///
    /// # Errors
    /// [`XmppError::SessionClosed`] if the session has ended. A refusal of the room comes as an [`Event`].
    pub async fn join(&self, room: RoomTarget) -> Result<(), XmppError> {
        self.commands
            .send(Command::Join(room))
            .await
            .map_err(|_| XmppError::SessionClosed)
    }

    /// Leaves a room and stays out of it until the next [`join`](Self::join).
    ///
    /// # Errors
    /// [`XmppError::SessionClosed`] if the session has ended.
    pub async fn leave(&self, room: Jid) -> Result<(), XmppError> {
        self.commands
            .send(Command::Leave(room))
            .await
            .map_err(|_| XmppError::SessionClosed)
    }

    /// Removes the message of somebody from a room, as a moderator (XEP-0425). `id` is the one that the room gave it.
    /// Returns false if the room refuses: this account is not a moderator there, or the room does not know the extension.
    ///
    /// # Errors
    /// The room did not answer.
    pub async fn moderate(&self, room: &Jid, id: &str, reason: &str) -> Result<bool, XmppError> {
        let room = room.to_bare().to_string();
        let request = Element::new("moderate", ns::MODERATE)
            .attr("id", id)
            .child(Element::new("retract", ns::RETRACT))
            .child(Element::new("reason", ns::MODERATE).text(reason));
        let answer = self.request("set", &room, request).await?;
        if answer.get("type") == Some("result") {
            return Ok(true);
        }
        // Before version 0.3 of XEP-0425.
        let request = Element::new("moderate", ns::MODERATE_0)
            .child(Element::new("retract", ns::RETRACT_0))
            .child(Element::new("reason", ns::MODERATE_0).text(reason));
        let request = Element::new("apply-to", ns::FASTEN).attr("id", id).child(request);
        let answer = self.request("set", &room, request).await?;
        Ok(answer.get("type") == Some("result"))
    }

    async fn request(&self, kind: &'static str, to: &str, payload: Element) -> Result<Element, XmppError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Ask {
                kind,
                to: to.to_owned(),
                payload,
                reply,
            })
            .await
            .map_err(|_| XmppError::SessionClosed)?;
        answer.await.map_err(|_| XmppError::SessionClosed)?
    }

    /// Uploads a file (XEP-0363) and returns its address for everybody. A message that shows it has the address as
    /// [`Outgoing::file`].
    ///
    /// # Errors
    /// The server has no upload service, the file is too large for it, or the upload failed.
    pub async fn upload_file(&self, file: Attachment) -> Result<String, XmppError> {
        let done = self.upload(&[Arc::new(file)]).await?;
        done.into_iter()
            .next()
            .map(|(_, url)| url)
            .ok_or(XmppError::SessionClosed)
    }

    /// Ends the session in order. Messages not yet confirmed end as not confirmed.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Asks questions over a session, a few at a time.
#[cfg(feature = "omemo")]
impl Server for Session {
    async fn ask_all(&mut self, questions: Vec<Question>) -> Vec<Result<Answer, XmppError>> {
        command::ask_all(&self.commands, questions).await
    }

    async fn send_unconfirmed(&mut self, stanza: String) {
        let _ = self.commands.send(Command::SendUnconfirmed(stanza)).await;
    }
}

impl Ask for Session {
    async fn ask(&mut self, to: &str, payload: Element) -> Result<Element, XmppError> {
        self.request("get", to, payload).await
    }
}
