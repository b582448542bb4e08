//! Context of a handler: the event that it handles and the actions that it can take.

use std::sync::Arc;
use std::time::Duration;

use ackpost_bot::{Recollection, Role};
use serde_json::Value;
use session_protocol::SessionId;

use super::pending::{Queues, Waiting};
use super::{BotError, Outcome};
use crate::call_types::Posted;
use crate::error::SogsError;
use crate::post::Post;
use crate::room::Room;
use crate::server::Server;
use crate::types::{DirectMessage, Message, Reactions};

/// One event, and the means to answer it. Cheap to clone.
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
    data: Recollection,
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
        data: Recollection,
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

    /// The same context with its own sign for waiting.
    pub(super) fn for_one_run(&self) -> Self {
        Self {
            waiting: Arc::default(),
            ..self.clone()
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

    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the room; `None` for direct messages.
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

    /// Author of the event, under the id that the server knows.
    pub fn author(&self) -> Option<&SessionId> {
        self.author.as_ref()
    }

    /// The real id (`05`) of the author of a direct message.
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

    /// Text after the command's name, as it was written.
    pub fn rest(&self) -> &str {
        &self.line
    }

    /// The command's arguments: separated by white space, kept together by quotes.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Parses one argument as a `T`. If it is missing or wrong, the error tells the caller.
    pub fn arg<T: std::str::FromStr>(&self, index: usize) -> Result<T, BotError> {
        ackpost_bot::argument(&self.args, index).map_err(BotError::Say)
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

    /// Posts in the room under the bot's name, waiting where the server limits the rate. If the answer of the server is lost,
    /// it looks whether the message is there.
    pub async fn post(&self, post: Post) -> Result<Posted, SogsError> {
        let room = self
            .room
            .as_ref()
            .ok_or_else(|| SogsError::invalid("no room to post in"))?;
        let post = match &self.name {
            Some(name) => post.name(name.clone()),
            None => post,
        };
        let posted = self
            .queues
            .send(Some(room.token()), &self.waiting, || {
                room.post_or_find(post.clone())
            })
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
            .ok_or_else(|| SogsError::invalid("nobody to whisper to"))?;
        self.post(Post::text(text).whisper_to(author)).await
    }

    /// Sends the author a direct message.
    pub async fn direct(&self, text: &str) -> Outcome {
        let author = self
            .author
            .ok_or_else(|| SogsError::invalid("nobody to write to"))?;
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
        let author = self.author.ok_or_else(|| SogsError::invalid("nobody to ban"))?;
        Ok(room.ban(&author, timeout).await?)
    }

    fn here(&self) -> Result<(&Room, u64), SogsError> {
        match (&self.room, self.message_id) {
            (Some(room), Some(id)) => Ok((room, id)),
            _ => Err(SogsError::invalid("this is not a message in a room")),
        }
    }

    /// A value the bot remembers.
    pub fn recall(&self, key: &str) -> Option<Value> {
        self.data.recall(key)
    }

    /// Remembers a value; it is in the store before the next event is dealt with. `Value::Null` forgets it.
    pub fn remember(&self, key: impl Into<String>, value: impl Into<Value>) {
        self.data.remember(key, value);
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
