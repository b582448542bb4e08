//! What a handler sees and can do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use session_protocol::SessionId;

use super::command::{self, Role};
use super::pending::{Queues, Waiting};
use super::{BotError, Outcome};
use crate::error::SogsError;
use crate::post::Post;
use crate::room::{Posted, Room};
use crate::server::Server;
use crate::types::{DirectMessage, Message, Reactions};

/// One thing that happened, and the means to answer it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    server: Server,
    room: Option<Room>,
    name: Option<String>,
    message: Option<Arc<Message>>,
    pub(super) direct: Option<Arc<DirectMessage>>,
    pub(super) message_id: Option<u64>,
    pub(super) author: Option<SessionId>,
    pub(super) real_author: Option<SessionId>,
    pub(super) reactions: Reactions,
    pub(super) role: Role,
    line: String,
    args: Vec<String>,
    data: Arc<Mutex<Map<String, Value>>>,
    queues: Arc<Queues>,
    pub(super) waiting: Arc<Waiting>,
}

impl Context {
    pub(super) fn new(
        server: Server,
        room: Option<Room>,
        name: Option<String>,
        message: Option<Arc<Message>>,
        role: Role,
        data: Arc<Mutex<Map<String, Value>>>,
        queues: Arc<Queues>,
    ) -> Self {
        Self {
            message_id: message.as_ref().map(|message| message.id),
            author: message.as_ref().map(|message| message.author),
            server,
            room,
            name,
            message,
            direct: None,
            real_author: None,
            reactions: Reactions::new(),
            role,
            line: String::new(),
            args: Vec::new(),
            data,
            queues,
            waiting: Arc::default(),
        }
    }

    /// The same context with a sign of its own for waiting.
    pub(super) fn for_one_run(&self) -> Self {
        Self {
            waiting: Arc::default(),
            ..self.clone()
        }
    }

    pub(super) fn set_line(&mut self, line: &str) {
        line.clone_into(&mut self.line);
        self.args = command::arguments(line);
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The room; `None` for direct messages.
    pub fn room(&self) -> Option<&Room> {
        self.room.as_ref()
    }

    /// The message; `None` for direct messages, deletions, reactions and schedules.
    pub fn message(&self) -> Option<&Message> {
        self.message.as_deref()
    }

    /// The direct message, if it is one.
    pub fn direct_message(&self) -> Option<&DirectMessage> {
        self.direct.as_deref()
    }

    /// The number of the message this is about.
    pub fn message_id(&self) -> Option<u64> {
        self.message_id
    }

    /// Who did it, as the server knows them.
    pub fn author(&self) -> Option<&SessionId> {
        self.author.as_ref()
    }

    /// The real id (`05`) of who wrote a direct message.
    pub fn real_author(&self) -> Option<&SessionId> {
        self.real_author.as_ref()
    }

    /// The author's name, or a short form of the id.
    pub fn author_name(&self) -> String {
        let name = self.message.as_ref().and_then(|message| message.display_name());
        match (name, &self.author) {
            (Some(name), _) => name.to_owned(),
            (None, Some(id)) => id.short(),
            (None, None) => String::new(),
        }
    }

    /// The author's role in this room, or in direct messages the highest in any of the bot's rooms.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The reactions, where they are what changed.
    pub fn reactions(&self) -> &Reactions {
        &self.reactions
    }

    /// The text of the message.
    pub fn body(&self) -> &str {
        match (&self.message, &self.direct) {
            (Some(message), _) => message.body().unwrap_or_default(),
            (None, Some(direct)) => direct.body().unwrap_or_default(),
            (None, None) => "",
        }
    }

    /// What follows the command's name, as it was written.
    pub fn rest(&self) -> &str {
        &self.line
    }

    /// The command's arguments: separated by white space, kept together by quotes.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// One argument, read as a `T`; a missing or wrong one is told to the caller.
    pub fn arg<T: std::str::FromStr>(&self, index: usize) -> Result<T, BotError> {
        let text = self
            .args
            .get(index)
            .ok_or_else(|| BotError::Say(format!("Argument {} is missing.", index + 1)))?;
        text.trim_start_matches('@')
            .parse()
            .map_err(|_| BotError::Say(format!("I do not understand “{text}”.")))
    }

    /// Answers where the question was asked: in the room as a reply, or as a direct message.
    pub async fn reply(&self, text: impl Into<String>) -> Outcome {
        let text = text.into();
        match (&self.room, &self.message, &self.author) {
            (Some(_), Some(message), _) => {
                self.post(Post::text(text).reply_to(message)).await?;
            }
            (Some(_), None, _) => {
                self.post(Post::text(text)).await?;
            }
            (None, _, Some(author)) => self.send_direct(author, &text).await?,
            (None, _, None) => {}
        }
        Ok(())
    }

    async fn send_direct(&self, recipient: &SessionId, text: &str) -> Result<(), SogsError> {
        let inbox = self.server.inbox();
        self.queues
            .send(None, &self.waiting, || {
                inbox.send(recipient, text, self.name.as_deref())
            })
            .await?;
        Ok(())
    }

    /// Says something in the room.
    pub async fn say(&self, text: impl Into<String>) -> Result<Posted, SogsError> {
        self.post(Post::text(text)).await
    }

    /// Posts in the room under the bot's name, waiting where the server limits the rate.
    pub async fn post(&self, post: Post) -> Result<Posted, SogsError> {
        let room = self
            .room
            .as_ref()
            .ok_or_else(|| SogsError::invalid("there is no room here to post in"))?;
        let post = match &self.name {
            Some(name) => post.name(name.clone()),
            None => post,
        };
        let posted = self
            .queues
            .send(Some(room.token()), &self.waiting, || room.post(post.clone()))
            .await?;
        if let Some(withheld) = posted.withheld {
            tracing::warn!(room = %room.token(), id = posted.id, "{}", withheld.reason());
        }
        Ok(posted)
    }

    /// Says something that only the author sees (for bots that are moderators).
    pub async fn whisper(&self, text: impl Into<String>) -> Result<Posted, SogsError> {
        let author = self
            .author
            .ok_or_else(|| SogsError::invalid("there is nobody to whisper to"))?;
        self.post(Post::text(text).whisper_to(author)).await
    }

    /// Sends the author a direct message.
    pub async fn direct(&self, text: &str) -> Outcome {
        let author = self
            .author
            .ok_or_else(|| SogsError::invalid("there is nobody to write to"))?;
        Ok(self.send_direct(&author, text).await?)
    }

    /// Reacts to the message.
    pub async fn react(&self, emoji: &str) -> Outcome {
        let (room, id) = self.here()?;
        room.react(id, emoji).await?;
        Ok(())
    }

    /// Deletes the message (for bots that are moderators).
    pub async fn delete(&self) -> Outcome {
        let (room, id) = self.here()?;
        Ok(room.delete(id).await?)
    }

    /// Bans the author from the room (for bots that are moderators); `timeout` lifts the ban again.
    pub async fn ban(&self, timeout: Option<Duration>) -> Outcome {
        let (room, _) = self.here()?;
        let author = self
            .author
            .ok_or_else(|| SogsError::invalid("there is nobody to ban"))?;
        Ok(room.ban(&author, timeout).await?)
    }

    fn here(&self) -> Result<(&Room, u64), SogsError> {
        match (&self.room, self.message_id) {
            (Some(room), Some(id)) => Ok((room, id)),
            _ => Err(SogsError::invalid("there is no message in a room here")),
        }
    }

    /// A value the bot remembers.
    pub fn recall(&self, key: &str) -> Option<Value> {
        self.data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Remembers a value; it is in the store before the next event is dealt with. `Value::Null` forgets it.
    pub fn remember(&self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if value.is_null() {
            data.shift_remove(&key);
        } else {
            data.insert(key, value);
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("room", &self.room.as_ref().map(|room| room.token().clone()))
            .field("author", &self.author)
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}
