//! The mailbox of an account: new messages, each once, opened and verified.

use core::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest as _};
use session_protocol::network::message::{self, MessageError};
use session_protocol::network::nodes::Node;
use session_protocol::network::storage::{
    MAX_ANSWER_LEN_BYTES, MessageHash, Namespace, OwnerCall, RetrieveAnswer, StoredMessage,
};
use session_protocol::{Identity, SessionId};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::error::{Cause, NetworkError};
use crate::network::{Network, off_thread};
use crate::storage::ItemLock;
use crate::swarm_request::SwarmRequest;

mod event;
mod state;

pub use event::{Event, IncomingMessage, Polled};
use event::{dated, event};
pub(crate) use state::State;

/// Part of its limit that a node gives at once: an eighth of 7.8 MB.
const PART: i64 = -8;
/// Maximum number of answers that one poll reads.
const MAX_PAGES: usize = 8;
/// Number of polls after which another node is asked, so that none can hide messages for long.
const POLLS_OF_ONE_NODE: usize = 16;
/// Length of the answers after which a poll reads no further one, bytes: all that a node that keeps its limit has.
const MAX_POLL_LEN_BYTES: usize = MAX_ANSWER_LEN_BYTES * 4 / 3;
/// Time for which a reader waits until another one of its name ends.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two attempts to become the only reader.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Maximum number of unreadable entries that one poll gives as events; more are counted.
const MAX_UNREADABLE_EVENTS: usize = 256;

/// The mailbox of one account.
///
/// [`Mailbox::poll`] advances in memory. [`Mailbox::handled`] keeps that events were handled, one by one or many at once;
/// [`Mailbox::save`] does so for all. An event that was not handled before a crash is given again, so that none is lost. A poll
/// that is dropped before it ends loses nothing either: the next one gives its events.
///
/// A mailbox has one reader at a time for each name ([`Network::mailbox_of_reader`]). The first poll takes a lock in the storage,
/// which ends with the mailbox or its process. Another reader of that name, in any process, gets [`Cause::MailboxInUse`]
/// meanwhile: two of them would both act on a message, or one would hide it from the other.
///
/// # Floods
///
/// Up to 150,000 messages of the last 15 days are remembered. Anybody can send as many from new accounts. The messages with
/// the oldest signed times are then forgotten, and others of that time that arrive late become [`Event::Unreadable`] with
/// [`MessageError::Crowded`]. Newly signed messages always arrive. Messages that are dated ahead fill at most a quarter.
pub struct Mailbox {
    network: Network,
    owner: Identity,
    item: String,
    /// File of the journal of handled events.
    journal: String,
    state: State,
    /// True if what was read before counts.
    resumes: bool,
    /// The right to be the only reader of this name, from the first poll on.
    lock: Option<Arc<ItemLock>>,
    /// Result of a poll that has not ended.
    found: Polled,
    /// A write that has not ended. A later one waits for it, so that it is not overtaken.
    writing: Option<JoinHandle<std::io::Result<()>>>,
    current: Option<[u8; 32]>,
    polls: usize,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("owner", &self.owner.session_id())
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    fn new(network: Network, owner: Identity, reader: &str, resumes: bool) -> Self {
        let mut name = owner.session_id().as_bytes().to_vec();
        name.extend_from_slice(reader.as_bytes());
        let digest = hex::encode(Blake2b::<U16>::digest(name));
        Self {
            network,
            owner,
            item: format!("mailbox-{digest}"),
            journal: format!("mailbox-{digest}-handled"),
            state: State::default(),
            resumes,
            lock: None,
            found: Polled::default(),
            writing: None,
            current: None,
            polls: 0,
        }
    }

    /// Becomes the only reader of this name, and reads what was handled before.
    pub(crate) async fn take_lock(&mut self) -> Result<(), NetworkError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let storage = self.network.inner.options.shared_storage();
        let (item, journal, resumes) = (self.item.clone(), self.journal.clone(), self.resumes);
        let taken = off_thread(move || {
            // The last write of a reader that was dropped holds the lock a moment longer.
            let end = Instant::now() + LOCK_PATIENCE;
            let lock = loop {
                match storage.lock(&item)? {
                    Some(lock) => break lock,
                    None if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
                    None => return Err(NetworkError::new(Cause::MailboxInUse)),
                }
            };
            let mut state = State::default();
            if resumes {
                // Damaged bytes mean that messages of the last 14 days are given once more.
                let saved = storage.load(&item)?;
                state = saved
                    .and_then(|bytes| State::from_bytes(&bytes))
                    .unwrap_or_default();
                if let Some(journal) = storage.load(&journal)? {
                    state.add_journal(&journal);
                }
            }
            Ok((lock, state))
        });
        let (lock, state) = taken.await??;
        self.lock = Some(Arc::new(lock));
        if self.resumes {
            self.state = state;
        }
        Ok(())
    }

    /// Address of the account.
    pub fn owner(&self) -> SessionId {
        self.owner.session_id()
    }

    /// Fetches new events. Apps do so every 5 seconds while they are open, and every 60 to 120 seconds else.
    ///
    /// # Errors
    /// [`NetworkError`] if no node of the swarm answers. [`Cause::MailboxInUse`] while another reader of this name is at work.
    pub async fn poll(&mut self) -> Result<Polled, NetworkError> {
        if self.resumes {
            self.take_lock().await?;
        }
        if !self.found.events.is_empty() {
            let mut found = core::mem::take(&mut self.found);
            found.more = true;
            return Ok(found);
        }
        let mut request = SwarmRequest::start(&self.network, &self.owner()).await?;
        self.polls += 1;
        if self.polls.is_multiple_of(POLLS_OF_ONE_NODE) {
            self.current = None;
        }
        loop {
            let current = self.current;
            let Some(node) = request.next_node(|node| current.is_none_or(|key| key == node.ed25519)) else {
                return Err(request.failure().await);
            };
            if let Some(polled) = self.read(&mut request, &node).await? {
                self.current = Some(node.ed25519);
                return Ok(polled);
            }
            self.current = None;
        }
    }

    /// Keeps that all events that polls gave were handled, and how far the mailbox was read.
    ///
    /// # Errors
    /// [`Cause::State`] if the storage fails. [`Cause::MailboxInUse`] before the first poll, while there is another reader.
    pub async fn save(&mut self) -> Result<(), NetworkError> {
        self.take_lock().await?;
        self.state.close_all();
        self.write().await
    }

    /// Keeps that the oldest `count` of the events that polls gave, and that were not handled yet, were handled. A later run
    /// gives the other ones again. A call that is dropped before it ends may have its effect.
    ///
    /// # Errors
    /// Those of [`Mailbox::save`].
    pub async fn handled(&mut self, count: usize) -> Result<(), NetworkError> {
        self.take_lock().await?;
        self.state.close(count);
        match self.state.journal_bytes() {
            Some(journal) => self.put(self.journal.clone(), journal).await,
            None => self.write().await,
        }
    }

    /// Writes the state of the mailbox. Events that are open are not part of it.
    async fn write(&mut self) -> Result<(), NetworkError> {
        if self.state.is_changed() {
            let bytes = self.state.to_bytes();
            self.put(self.item.clone(), bytes).await?;
            self.state.saved();
        }
        Ok(())
    }

    /// Writes an item off the async threads. The lock is held until it is written, also if this call is dropped.
    async fn put(&mut self, item: String, bytes: Vec<u8>) -> Result<(), NetworkError> {
        if let Some(earlier) = &mut self.writing {
            let _ = earlier.await;
        }
        let storage = self.network.inner.options.shared_storage();
        let lock = self.lock.clone();
        let writing = self.writing.insert(spawn_blocking(move || {
            let written = storage.save(&item, &bytes);
            drop(lock);
            written
        }));
        let written = writing.await;
        self.writing = None;
        Ok(written.map_err(std::io::Error::other)??)
    }

    /// Reads one node's answers. `None` if another node should be asked.
    async fn read(
        &mut self,
        request: &mut SwarmRequest,
        node: &Node,
    ) -> Result<Option<Polled>, NetworkError> {
        let mut read_len = 0;
        self.found = Polled::default();
        for page in 0..MAX_PAGES {
            let last_hash = self.state.cursor(&node.ed25519);
            let owner = &self.owner;
            let make = |now: u64, _: &Node| {
                let call = OwnerCall::Retrieve {
                    namespace: Namespace::DEFAULT,
                    timestamp_ms: now,
                    last_hash,
                    max_size: PART,
                };
                Ok(call.to_call(owner)?)
            };
            let limit = MAX_ANSWER_LEN_BYTES * 4 / 3;
            let reply = match request.ask(node, &make, limit).await {
                Ok(reply) => reply,
                // The messages of earlier pages are kept.
                Err(_) if page > 0 => None,
                Err(error) => return Err(error),
            };
            read_len += reply.as_ref().map_or(0, |reply| reply.body.len());
            let answer = match reply {
                Some(reply) => self.parsed(reply.body).await?,
                None => None,
            };
            let Some(answer) = answer else {
                request.unreadable();
                self.found.more = page > 0;
                return Ok((page > 0).then(|| core::mem::take(&mut self.found)));
            };
            let now = match self.network.network_ms() {
                Ok(now) => now,
                Err(_) if page > 0 => {
                    self.found.more = true;
                    break;
                }
                Err(error) => return Err(error),
            };
            // Nodes alone cannot make this program forget: the local clock must say so as well.
            self.state.forget(now.min(self.network.local_ms()));
            let (answer, opened) = self.opened(answer).await?;
            let mut polled = core::mem::take(&mut self.found);
            polled.dropped += answer.dropped;
            let moved = answer.last_hash.is_some() && answer.last_hash != last_hash;
            for (stored, opened) in answer.messages.iter().zip(opened) {
                self.take(stored, opened, now, &mut polled);
            }
            polled.more = answer.more && moved;
            self.found = polled;
            if self.found.postponed > 0 {
                tracing::warn!(
                    messages = self.found.postponed,
                    "the mailbox had more messages within two weeks than can be remembered; new ones wait for old ones to be handled"
                );
                self.found.more = false;
                break;
            }
            if let Some(last) = answer.last_hash {
                self.state.set_cursor(node.ed25519, last);
            }
            if !self.found.more || read_len >= MAX_POLL_LEN_BYTES {
                break;
            }
        }
        Ok(Some(core::mem::take(&mut self.found)))
    }

    /// Reads an answer off the async threads. `None` if it is not readable.
    async fn parsed(&self, body: String) -> Result<Option<RetrieveAnswer>, NetworkError> {
        let id = self.owner();
        off_thread(move || RetrieveAnswer::from_json(&body, &id, Namespace::DEFAULT).ok()).await
    }

    /// Opens the messages of an answer off the async threads: thousands take seconds. `None` beside a message that is known.
    async fn opened(
        &self,
        answer: RetrieveAnswer,
    ) -> Result<(RetrieveAnswer, Vec<Option<Opening>>), NetworkError> {
        let stored = answer.messages.iter();
        let known: Vec<bool> = stored
            .map(|stored| self.state.knows(stored.hash.as_bytes()))
            .collect();
        let owner = self.owner.clone();
        off_thread(move || {
            let messages = answer.messages.iter().zip(known);
            let opened = messages
                .map(|(stored, known)| (!known).then(|| message::open(&stored.data, &owner)))
                .collect();
            (answer, opened)
        })
        .await
    }

    /// Takes one message, unless it is known.
    fn take(&mut self, stored: &StoredMessage, opening: Option<Opening>, now_ms: u64, polled: &mut Polled) {
        let (hash, expires_ms) = (stored.hash, stored.expiration_ms);
        let Some(opening) = opening.filter(|_| !self.state.knows(hash.as_bytes())) else {
            polled.known += 1;
            return;
        };
        let opened = opening
            .and_then(|opened| dated(opened, now_ms))
            .and_then(|opened| self.expected(opened, now_ms));
        if opened.is_ok() && !self.state.make_room(now_ms) {
            polled.postponed += 1;
            return;
        }
        // Making room may have forgotten messages of its time.
        let opened = opened.and_then(|opened| self.expected(opened, now_ms));
        match opened {
            Ok(opened) => {
                // Until then a node may give the message. Later ones are refused by their signed time.
                let until = state::forgotten_ms(opened.timestamp_ms);
                self.state.is_new(hash.as_bytes(), until, now_ms);
                // Apps know a message by its sender and time: the same text sealed anew is the same message.
                let mut key = opened.sender.as_bytes().to_vec();
                key.extend_from_slice(&opened.timestamp_ms.to_be_bytes());
                if self.state.is_new(&key, until, now_ms) {
                    if let Some(event) = event(hash, expires_ms, opened, &self.owner.session_id()) {
                        self.state.open(&[hash.as_bytes(), &key], until);
                        polled.events.push(event);
                    }
                } else {
                    polled.known += 1;
                }
            }
            Err(reason) => {
                let mut key = hash.as_bytes().to_vec();
                if matches!(
                    reason,
                    MessageError::TooOld | MessageError::FarAhead | MessageError::Crowded
                ) {
                    // The clock may be wrong: if it is set right, the message still comes. One that is dated ahead comes in its
                    // time.
                    key.push(0);
                }
                self.take_unreadable(hash, &key, reason, polled);
            }
        }
    }
}

impl Mailbox {
    /// Refuses a message that may have been forgotten early, and one of too many that are dated ahead.
    fn expected(
        &self,
        opened: message::OpenedMessage,
        now_ms: u64,
    ) -> Result<message::OpenedMessage, MessageError> {
        let signed_ms = opened.timestamp_ms;
        if self.state.is_below_floor(signed_ms) || self.state.is_crowded_ahead(signed_ms, now_ms) {
            return Err(MessageError::Crowded);
        }
        Ok(opened)
    }

    /// Gives an event for unreadable bytes, unless they are known or the poll gave enough of these.
    fn take_unreadable(&mut self, hash: MessageHash, key: &[u8], reason: MessageError, polled: &mut Polled) {
        if !self.state.is_new_unreadable(key) {
            polled.known += 1;
            return;
        }
        let is_unreadable = |event: &&Event| matches!(event, Event::Unreadable { .. });
        if polled.events.iter().filter(is_unreadable).count() >= MAX_UNREADABLE_EVENTS {
            polled.unreadable += 1;
            return;
        }
        self.state.open_unreadable(key);
        polled.events.push(Event::Unreadable { hash, reason });
    }
}

impl Network {
    /// Opens the mailbox of an account. Nothing is read or sent before the first [`Mailbox::poll`].
    pub fn mailbox(&self, owner: Identity) -> Mailbox {
        Mailbox::new(self.clone(), owner, "", true)
    }

    /// Opens the mailbox of an account for a reader that remembers for itself what it handled: two programs with different
    /// names both get every event.
    pub fn mailbox_of_reader(&self, owner: Identity, reader: &str) -> Mailbox {
        Mailbox::new(self.clone(), owner, reader, true)
    }

    /// Opens the mailbox of an account as if nothing had been read before, beside any other reader. Do not [`Mailbox::save`] it,
    /// unless it shall replace what is kept.
    pub fn mailbox_from_start(&self, owner: Identity) -> Mailbox {
        Mailbox::new(self.clone(), owner, "", false)
    }
}

/// Opened bytes of a mailbox, or the reason why they are not a message.
type Opening = Result<message::OpenedMessage, MessageError>;

impl SwarmRequest {
    /// Notes that an answer could not be read.
    fn unreadable(&mut self) {
        self.note(Cause::Unreadable {
            detail: "it is not a list of messages",
        });
    }
}

#[cfg(test)]
mod tests;
