//! The event that a handler works on, and the means to answer it.

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackpost_bot::Role;
use serde_json::Value;
use session_protocol::SessionId;

use super::memory::Memory;
use super::outcome::{BotError, Outcome};
use crate::draft::{Disappearing, Draft, Sender};
use crate::error::Cause;
use crate::mailbox::{Event, IncomingMessage};
use crate::network::{Network, off_thread};

/// State that all handlers of a bot share.
pub(super) struct Shared {
    pub(super) network: Network,
    pub(super) sender: Sender,
    pub(super) memory: Mutex<Memory>,
    /// Answers are sent one after the other.
    pub(super) outgoing: tokio::sync::Mutex<()>,
    /// Time for which an answer that fails is tried again.
    pub(super) patience: Duration,
}

impl Shared {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the next message of the event: the kept one, if an earlier run made it.
    pub(super) async fn send(self: &Arc<Self>, to: &SessionId, draft: &Draft) -> Result<(), BotError> {
        let _turn = self.outgoing.lock().await;
        let kept = self.memory().kept(to);
        let messages = if let Some(messages) = kept {
            messages
        } else {
            let messages = self.network.prepare(&self.sender, to, draft).await?;
            let (shared, to, copies) = (Arc::clone(self), *to, messages.clone());
            let kept = off_thread(move || shared.memory().keep(&to, &copies)).await;
            kept.and_then(|kept| kept).map_err(|error| match error.cause() {
                Cause::State { .. } => BotError::Memory(error),
                _ => error.into(),
            })?;
            messages
        };
        for mut message in messages {
            let _ = self.network.send_within(&mut message, self.patience).await?;
        }
        Ok(())
    }
}

/// One event, and the means to answer it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    event: Arc<Event>,
    author: SessionId,
    is_operator: bool,
    line: String,
    args: Vec<String>,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, event: Arc<Event>, author: SessionId, is_operator: bool) -> Self {
        Self {
            shared,
            event,
            author,
            is_operator,
            line: String::new(),
            args: Vec::new(),
        }
    }

    /// The same context with the line behind the name of a command.
    pub(super) fn with_line(&self, line: String, args: Vec<String>) -> Self {
        Self {
            line,
            args,
            ..self.clone()
        }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The message, if the event is one.
    pub fn message(&self) -> Option<&IncomingMessage> {
        match &*self.event {
            Event::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The account whose event it is. Proved by a signature.
    pub fn author(&self) -> &SessionId {
        &self.author
    }

    /// The name under which the author wants to be shown, or a short form of the id.
    pub fn author_name(&self) -> String {
        let name = match &*self.event {
            Event::Message(message) => message.name.clone(),
            Event::RequestAccepted { name, .. } => name.clone(),
            _ => None,
        };
        name.unwrap_or_else(|| self.author.short())
    }

    /// Returns true if the author is an operator of the bot.
    pub fn is_operator(&self) -> bool {
        self.is_operator
    }

    pub(super) fn role(&self) -> Role {
        if self.is_operator {
            Role::Operator
        } else {
            Role::Everyone
        }
    }

    /// The text of the message; empty if there is none.
    pub fn body(&self) -> &str {
        self.message()
            .and_then(|message| message.text.as_deref())
            .unwrap_or_default()
    }

    /// The text behind the name of the command, as it was written.
    pub fn rest(&self) -> &str {
        &self.line
    }

    /// The arguments of the command: separated by white space, kept together by quotes.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Reads one argument as a `T`.
    ///
    /// # Errors
    /// [`BotError::Say`] for a missing or wrong argument; the bot answers with its text.
    pub fn arg<T: std::str::FromStr>(&self, index: usize) -> Result<T, BotError> {
        ackpost_bot::argument(&self.args, index).map_err(BotError::Say)
    }

    /// Sends an answer to the author. It disappears like the message that it answers.
    ///
    /// The answer is kept before it is sent, and sent once even if the bot is killed in between: when the event comes
    /// again, the first answer of its handlers is the earlier first one, even if the new text differs.
    ///
    /// # Errors
    /// [`BotError`] if no majority of the swarm signed it in time.
    pub async fn reply(&self, text: impl Into<String>) -> Outcome {
        let mut draft = Draft::text(text);
        if let Some(when) = self.message().and_then(|message| message.disappearing) {
            draft = draft.disappearing(at_least_ten_seconds(when));
        }
        self.shared.send(&self.author, &draft).await
    }

    /// Sends a message to any account, with the same care as [`Context::reply`].
    ///
    /// # Errors
    /// [`BotError`] if no majority of the swarm signed it in time.
    pub async fn send(&self, to: &SessionId, draft: &Draft) -> Outcome {
        self.shared.send(to, draft).await
    }

    /// Returns a value that the bot remembers.
    pub fn recall(&self, key: &str) -> Option<Value> {
        self.shared.memory().recall(key)
    }

    /// Remembers a value; `Value::Null` forgets it. It is kept once the event is done. If the bot is killed before, the
    /// handlers of the event run again with the earlier values.
    pub fn remember(&self, key: impl Into<String>, value: impl Into<Value>) {
        self.shared.memory().remember(key.into(), value.into());
    }
}

/// The nodes keep a message for ten seconds at least.
fn at_least_ten_seconds(when: Disappearing) -> Disappearing {
    match when {
        Disappearing::AfterSent(after) => Disappearing::AfterSent(after.max(Duration::from_secs(10))),
        Disappearing::AfterRead(_) => when,
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("author", &self.author)
            .finish_non_exhaustive()
    }
}
