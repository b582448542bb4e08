//! The event that a handler works on, and the means to answer it.

use std::sync::Arc;

use ackpost_bot::{Recollection, Role};
use serde_json::Value;

use super::outcome::{BotError, Outcome};
use crate::jid::Jid;
use crate::message::{About, Content, Outgoing, RoomTarget};
use crate::session::{Received, Session};

/// One event, and the means to answer it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(super) session: Session,
    pub(super) room: Option<RoomTarget>,
    pub(super) received: Option<Arc<Received>>,
    /// The author's address in the room or chat.
    pub(super) from: Option<Jid>,
    /// The author's real address, if it is proven.
    pub(super) jid: Option<Jid>,
    pub(super) occupant_id: Option<String>,
    /// The author writes from a room, so that their address ends with a nick.
    pub(super) has_nick: bool,
    pub(super) role: Role,
    pub(super) about: Option<String>,
    pub(super) reactions: Vec<String>,
    pub(super) line: String,
    pub(super) args: Vec<String>,
    pub(super) memory: Recollection,
}

impl Context {
    pub(super) fn new(session: Session, memory: Recollection, room: Option<RoomTarget>) -> Self {
        Self {
            has_nick: room.is_some(),
            session,
            room,
            received: None,
            from: None,
            jid: None,
            occupant_id: None,
            role: Role::Everyone,
            about: None,
            reactions: Vec::new(),
            line: String::new(),
            args: Vec::new(),
            memory,
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

    /// Returns the key that tells people apart for cooldowns.
    ///
    /// This is the real address, else the occupant id, else the address in the room.
    pub(super) fn person(&self) -> String {
        match (&self.jid, &self.occupant_id, &self.from) {
            (Some(jid), _, _) => format!("jid:{}", jid.to_bare()),
            (None, Some(id), _) => format!("id:{id}"),
            (None, None, Some(from)) => format!("nick:{from}"),
            (None, None, None) => String::new(),
        }
    }

    /// The session of the bot, for everything that the context has no method for.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The address of the room; `None` for chats.
    pub fn room(&self) -> Option<&Jid> {
        self.room.as_ref().map(|room| &room.room)
    }

    /// The message; `None` for reactions, retractions, joins and schedules.
    pub fn message(&self) -> Option<&Received> {
        self.received.as_deref()
    }

    /// The author's address: in rooms with the nick as resource.
    pub fn author(&self) -> Option<&Jid> {
        self.from.as_ref()
    }

    /// The author's real address, if the room shows it to the bot or they wrote a chat message.
    pub fn real_author(&self) -> Option<&Jid> {
        self.jid.as_ref()
    }

    /// The author's nick, or the first part of their address.
    pub fn author_name(&self) -> &str {
        match &self.from {
            Some(from) if self.has_nick => from.resource().unwrap_or_default(),
            Some(from) => from.local().unwrap_or_else(|| from.domain()),
            None => "",
        }
    }

    /// The author's role in this room; in chats the highest in any room of the bot that shows their address.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The id of the message that was retracted or got reactions.
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// All emoji of the author for that message.
    pub fn reactions(&self) -> &[String] {
        &self.reactions
    }

    /// The text of the message, without the quote of an answer.
    pub fn body(&self) -> String {
        self.received
            .as_ref()
            .map(|received| received.own_words())
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

    /// Answers where the question was asked: in the room as an answer (XEP-0461), or in the chat.
    ///
    /// # Errors
    /// [`BotError::Xmpp`] if the answer was not delivered.
    pub async fn reply(&self, text: impl Into<String>) -> Outcome {
        match (&self.room, &self.from) {
            (Some(room), _) => {
                let mut message = Outgoing::new(room.clone(), Content::text(text));
                message.about = self.named().map(|id| About::Reply {
                    id,
                    to: self.from.clone(),
                    quoted: 0,
                });
                self.send(message).await
            }
            (None, Some(from)) => self.send_to(from, text).await,
            (None, None) => Ok(()),
        }
    }

    /// The id by which others name the message.
    fn named(&self) -> Option<String> {
        let received = self.received.as_ref()?;
        if received.room {
            received.archive.as_ref().map(|place| place.id.clone())
        } else {
            received.id.clone()
        }
    }

    /// Says something in the room.
    ///
    /// # Errors
    /// [`BotError::Say`] outside of rooms; [`BotError::Xmpp`] if it was not delivered.
    pub async fn say(&self, text: impl Into<String>) -> Outcome {
        let room = self.room.clone().ok_or_else(Self::no_room)?;
        self.send(Outgoing::new(room, Content::text(text))).await
    }

    /// Says something that only the author sees: a private message in the room, or an answer in the chat.
    ///
    /// # Errors
    /// [`BotError::Xmpp`] if it was not delivered.
    pub async fn whisper(&self, text: impl Into<String>) -> Outcome {
        match &self.from {
            Some(from) => self.send_to(from, text).await,
            None => Ok(()),
        }
    }

    async fn send_to(&self, to: &Jid, text: impl Into<String>) -> Outcome {
        self.send(Outgoing::new(to.clone(), Content::text(text))).await
    }

    /// Reacts to the message (XEP-0444); replaces the earlier reactions of the bot to it.
    ///
    /// # Errors
    /// [`BotError::Say`] if there is no message with an id; [`BotError::Xmpp`] if it was not delivered.
    pub async fn react(&self, emoji: &str) -> Outcome {
        let id = self
            .named()
            .ok_or_else(|| BotError::Say("There is no message to react to.".to_owned()))?;
        let content = Content::text("");
        let mut message = match (&self.room, &self.from) {
            (Some(room), _) => Outgoing::new(room.clone(), content),
            (None, Some(from)) => Outgoing::new(from.clone(), content),
            (None, None) => return Ok(()),
        };
        message.about = Some(About::Reactions {
            id,
            emoji: vec![emoji.to_owned()],
        });
        self.send(message).await
    }

    /// Removes the message from the room (XEP-0425), for bots that are moderators. Returns false if the room refuses.
    ///
    /// # Errors
    /// [`BotError::Say`] outside of rooms; [`BotError::Xmpp`] if the room did not answer.
    pub async fn delete(&self, reason: &str) -> Result<bool, BotError> {
        let room = self.room().ok_or_else(Self::no_room)?;
        let id = self
            .named()
            .ok_or_else(|| BotError::Say("There is no message to remove.".to_owned()))?;
        Ok(self.session.moderate(room, &id, reason).await?)
    }

    fn no_room() -> BotError {
        BotError::Say("There is no room here.".to_owned())
    }

    /// Sends any message, and waits until it is confirmed.
    ///
    /// # Errors
    /// [`BotError::Xmpp`] if it was not delivered.
    pub async fn send(&self, message: Outgoing) -> Outcome {
        for outcome in self.session.send(vec![message]).await {
            outcome.into_result()?;
        }
        Ok(())
    }

    /// Returns a value that the bot remembers.
    pub fn recall(&self, key: &str) -> Option<Value> {
        self.memory.recall(key)
    }

    /// Remembers a value; it is in the store before the next event is dealt with. `Value::Null` forgets it.
    pub fn remember(&self, key: impl Into<String>, value: impl Into<Value>) {
        self.memory.remember(key, value);
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("room", &self.room())
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
