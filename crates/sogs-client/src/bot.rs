//! Bots: commands, reactions, people who come in, direct messages, posts on a schedule, and a little memory.
//!
//! ```no_run
//! use sogs_client::bot::{Bot, Command};
//! # async fn example(server: sogs_client::Server, room: sogs_client::RoomToken) -> Result<(), sogs_client::bot::BotError> {
//! Bot::new(server)
//!     .room(room)
//!     .command(Command::new("echo", |ctx| async move {
//!         ctx.reply(ctx.rest()).await?;
//!         Ok(())
//!     }).help("says it again").usage("TEXT…").args(1..))
//!     .run(std::future::pending())
//!     .await
//! # }
//! ```
//!
//! Handlers see authentic messages only, and never the bot's own. They run one after the other in the order of
//! events. A handler whose reply has to wait for a rate limit goes on in the background, so that the bot hears what
//! comes meanwhile; replies to one room keep their order. A handler that fails is logged, and answered if its error is
//! meant for people ([`BotError::Say`]). Nothing that a member or a moderator does ends the bot.

mod command;
mod context;
mod pending;
mod schedule;
mod state;

pub use command::{Command, Role};
pub use context::Context;
pub use schedule::Schedule;
pub use state::{MemoryStore, State, StateStore, StoreError};

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use session_protocol::{RoomToken, SessionId};
use tokio::time::Instant;

use crate::error::SogsError;
use crate::poll::{Cursor, Event, Poll, PollOptions};
use crate::room::{ListOptions, MAX_LIMIT};
use crate::server::Server;
use crate::types::{Message, RoomInfo};

use pending::{Pending, Queues};
use schedule::Scheduled;

/// Time a handler gets to end when the bot is stopped.
const STOP_GRACE: Duration = Duration::from_millis(100);

/// What a handler gives back.
pub type Outcome = Result<(), BotError>;
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Context) -> HandlerFuture + Send + Sync>;

/// Why a handler, or the whole bot, stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BotError {
    /// A call failed.
    #[error(transparent)]
    Sogs(#[from] SogsError),
    /// The memory cannot be read or written.
    #[error("the bot's state cannot be kept: {0}")]
    State(#[from] StoreError),
    /// To be told to whoever gave the command.
    #[error("{0}")]
    Say(String),
}

/// A bot in the making.
pub struct Bot {
    parts: Parts,
    options: PollOptions,
    scheduled: Vec<Scheduled>,
    store: Box<dyn StateStore>,
}

/// What handlers and help need of the bot.
struct Parts {
    server: Server,
    prefix: String,
    name: Option<String>,
    commands: Vec<Command>,
    on_message: Vec<Handler>,
    on_unverified: Vec<Handler>,
    on_edit: Vec<Handler>,
    on_delete: Vec<Handler>,
    on_reaction: Vec<Handler>,
    on_join: Vec<Handler>,
    on_direct: Vec<Handler>,
    queues: Arc<Queues>,
}

/// Turns an async function of the context into a handler.
pub(crate) fn handler<F, Fut>(run: F) -> Handler
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(move |ctx| Box::pin(run(ctx)))
}

/// The registration methods that take a handler.
macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        pub fn $name<F, Fut>(mut self, run: F) -> Self
        where
            F: Fn(Context) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Outcome> + Send + 'static,
        {
            self.parts.$name.push(handler(run));
            self
        }
    )*};
}

impl Bot {
    /// A bot without rooms and commands. Its identity is the server's.
    pub fn new(server: Server) -> Self {
        Self {
            parts: Parts {
                server,
                prefix: "!".to_owned(),
                name: None,
                commands: Vec::new(),
                on_message: Vec::new(),
                on_unverified: Vec::new(),
                on_edit: Vec::new(),
                on_delete: Vec::new(),
                on_reaction: Vec::new(),
                on_join: Vec::new(),
                on_direct: Vec::new(),
                queues: Arc::default(),
            },
            options: PollOptions {
                persistent: true,
                ..PollOptions::rooms([])
            },
            scheduled: Vec::new(),
            store: Box::new(MemoryStore::default()),
        }
    }

    /// Listens in a room.
    pub fn room(mut self, room: RoomToken) -> Self {
        self.options.rooms.push(room);
        self
    }

    /// Pause between polls (default 4 s).
    pub fn interval(mut self, interval: Duration) -> Self {
        self.options.interval = interval;
        self
    }

    /// What commands begin with in rooms (default `!`). In direct messages it may be left out.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.parts.prefix = prefix.into();
        self
    }

    /// The name the bot is shown under.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.parts.name = Some(name.into());
        self
    }

    /// Where the bot keeps what it must remember over a restart. Without a store it begins anew each time.
    pub fn store(mut self, store: impl StateStore + 'static) -> Self {
        self.store = Box::new(store);
        self
    }

    /// Adds a command.
    pub fn command(mut self, command: Command) -> Self {
        self.parts.commands.push(command);
        self
    }

    handlers! {
        /// Runs for each message that is no command.
        on_message,
        /// Runs for each message whose signature or content is wrong: [`Context::message`] tells what.
        on_unverified,
        /// Runs for each edited message.
        on_edit,
        /// Runs for each deleted message: [`Context::message_id`].
        on_delete,
        /// Runs when the reactions of a message changed: [`Context::reactions`].
        on_reaction,
        /// Runs for the first message that somebody writes in a room, before commands and other handlers.
        on_join,
        /// Runs for each direct message that is no command.
        on_direct
    }

    /// Runs on a schedule in each room the bot listens to. A daily time that passed less than an hour ago while the
    /// bot was down is made up for; nothing runs twice over a restart (with a store).
    ///
    /// `name` tells schedules apart in the store.
    pub fn schedule<F, Fut>(mut self, name: impl Into<String>, schedule: Schedule, run: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.scheduled
            .push(Scheduled::new(name.into(), schedule, handler(run)));
        self
    }

    /// Runs until `shutdown` is ready.
    ///
    /// A stop does not wait for replies that a rate limit holds back; the log says how many were given up. An event
    /// whose handler was still running is dealt with again after the next start (with a store).
    ///
    /// # Errors
    ///
    /// [`BotError::Sogs`] if the first turn fails for good, for example with a wrong server key; [`BotError::State`] if
    /// the store fails.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Outcome {
        tokio::pin!(shutdown);
        let mut running = tokio::select! {
            () = &mut shutdown => return Ok(()),
            running = Running::start(self) => running?,
        };
        loop {
            let due = running.next_due();
            let work = tokio::select! {
                () = &mut shutdown => break,
                outcome = running.pending.next() => {
                    finish(outcome)?;
                    continue;
                }
                event = running.poll.next() => Work::Event(event?),
                () = sleep_until(due) => Work::Schedule,
            };
            let stopped = {
                let done = running.work(work);
                tokio::pin!(done);
                tokio::select! {
                    outcome = &mut done => { outcome?; false }
                    () = &mut shutdown => {
                        if let Ok(outcome) = tokio::time::timeout(STOP_GRACE, &mut done).await {
                            outcome?;
                        } else {
                            tracing::warn!("stopped while a handler was running; its event comes again");
                        }
                        true
                    }
                }
            };
            if stopped {
                break;
            }
        }
        if running.pending.len() > 0 {
            tracing::warn!(
                replies = running.pending.len(),
                "stopped while replies waited for a rate limit; they were not sent"
            );
        }
        Ok(running.state.save(&running.done)?)
    }
}

/// What the loop does next.
enum Work {
    Event(Event),
    Schedule,
}

/// Sleeps for ever without a time.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Running {
    bot: Arc<Parts>,
    scheduled: Vec<Scheduled>,
    poll: Poll,
    state: State,
    /// Position behind the last event that was dealt with.
    done: Cursor,
    /// Handlers that wait for a rate limit.
    pending: Pending,
    me: SessionId,
    /// When each person used each command last.
    cooldowns: HashMap<(usize, SessionId), Instant>,
}

impl Running {
    async fn start(bot: Bot) -> Result<Self, BotError> {
        let Bot {
            parts,
            options,
            mut scheduled,
            store,
        } = bot;
        let me = parts.server.my_id().await?;
        let (mut state, cursor) = State::load(store)?;
        for token in &options.rooms {
            // In a room that is new to the bot, those who wrote lately are no newcomers.
            if !parts.on_join.is_empty() && !state.knows(token) {
                let options = ListOptions {
                    limit: Some(MAX_LIMIT),
                    reactors: Some(0),
                    ..ListOptions::default()
                };
                let messages = parts.server.room(token).recent(options).await?;
                state.enter(token);
                for message in messages.iter().rev() {
                    state.see(token, &message.author);
                }
            }
        }
        let poll = parts.server.poll(options, cursor.unwrap_or_else(Cursor::default));
        for schedule in &mut scheduled {
            schedule.begin(&state, parts.server.now_ms());
        }
        Ok(Self {
            bot: Arc::new(parts),
            scheduled,
            done: poll.cursor().clone(),
            pending: Pending::default(),
            poll,
            state,
            me,
            cooldowns: HashMap::new(),
        })
    }

    fn next_due(&self) -> Option<Instant> {
        let now_ms = self.bot.server.now_ms();
        self.scheduled
            .iter()
            .map(|schedule| schedule.due_in(now_ms))
            .min()
            .map(|wait| Instant::now() + wait)
    }

    async fn work(&mut self, work: Work) -> Outcome {
        match work {
            Work::Event(event) => self.handle(event).await,
            Work::Schedule => self.run_due().await,
        }
    }

    async fn run_due(&mut self) -> Outcome {
        let now_ms = self.bot.server.now_ms();
        let rooms: Vec<_> = self.poll.room_infos().map(|info| info.token.clone()).collect();
        let mut due = Vec::new();
        for schedule in &mut self.scheduled {
            if schedule.due_in(now_ms).is_zero() {
                // Noted before it runs: a post that fails is better than one that comes twice.
                schedule.done(&mut self.state, now_ms);
                due.push(schedule.handler.clone());
            }
        }
        self.state.save(&self.done)?;
        for run in due {
            for room in &rooms {
                let ctx = self.context(Some(room), None);
                self.call(&run, ctx).await?;
            }
        }
        Ok(())
    }

    /// Deals with one event, then remembers that it is dealt with.
    async fn handle(&mut self, event: Event) -> Outcome {
        match event {
            Event::Message { room, message } => self.on_message(&room, *message).await?,
            Event::Edited { room, message } => {
                if message.author != self.me && message.is_authentic() {
                    let ctx = self.context(Some(&room), Some(*message));
                    self.call_all(&self.bot.clone().on_edit, &ctx).await?;
                }
            }
            Event::Deleted { room, tombstone } => {
                let mut ctx = self.context(Some(&room), None);
                ctx.message_id = Some(tombstone.id);
                ctx.author = tombstone.author;
                self.call_all(&self.bot.clone().on_delete, &ctx).await?;
            }
            Event::Reactions { room, row } => {
                let mut ctx = self.context(Some(&room), None);
                ctx.message_id = Some(row.id);
                ctx.reactions = row.reactions;
                self.call_all(&self.bot.clone().on_reaction, &ctx).await?;
            }
            Event::Direct(message) => self.on_direct(*message).await?,
            Event::Interrupted { error, retry_in } => {
                tracing::warn!(%error, seconds = retry_in.as_secs(), "polling failed; trying again");
            }
            Event::RoomLost { room, error } => tracing::warn!(%room, %error, "the room cannot be read"),
            Event::RoomBack { room } => tracing::info!(%room, "the room can be read again"),
            Event::InboxLost { error } => tracing::warn!(%error, "the inbox cannot be read"),
            Event::InboxBack => tracing::info!("the inbox can be read again"),
            Event::RoomChanged { .. } => {}
        }
        self.done.clone_from(self.poll.cursor());
        self.state.save(&self.done)?;
        Ok(())
    }

    async fn on_message(&mut self, room: &RoomToken, message: Message) -> Outcome {
        if message.author == self.me {
            return Ok(());
        }
        let bot = self.bot.clone();
        if !message.is_authentic() {
            let ctx = self.context(Some(room), Some(message));
            return self.call_all(&bot.on_unverified, &ctx).await;
        }
        let newcomer = self.state.see(room, &message.author);
        let body = message.body().unwrap_or_default().trim().to_owned();
        let ctx = self.context(Some(room), Some(message));
        if newcomer {
            self.call_all(&bot.on_join, &ctx).await?;
        }
        match body.strip_prefix(&bot.prefix) {
            Some(line) if self.try_command(line, &ctx).await? => Ok(()),
            _ => self.call_all(&bot.on_message, &ctx).await,
        }
    }

    async fn on_direct(&mut self, message: crate::types::DirectMessage) -> Outcome {
        let bot = self.bot.clone();
        let Ok((content, sender)) = &message.opened else {
            return Ok(());
        };
        let body = content.body().unwrap_or_default().trim().to_owned();
        let mut ctx = self.context(None, None);
        ctx.author = Some(message.item.sender);
        ctx.real_author = Some(*sender);
        ctx.direct = Some(Arc::new(message.clone()));
        ctx.role = self.role_anywhere(&message.item.sender);
        let line = body.strip_prefix(&bot.prefix).unwrap_or(&body);
        if self.try_command(line, &ctx).await? {
            Ok(())
        } else {
            self.call_all(&bot.on_direct, &ctx).await
        }
    }

    /// Runs the command that `line` names; `false` if it names none.
    async fn try_command(&mut self, line: &str, ctx: &Context) -> Result<bool, BotError> {
        let Some((name, rest)) = command::split(line) else {
            return Ok(false);
        };
        let bot = self.bot.clone();
        if name.eq_ignore_ascii_case("help") && !bot.commands.iter().any(|c| c.answers_to("help")) {
            self.reply(ctx, command::help(&bot.commands, &bot.prefix, ctx.role))
                .await?;
            return Ok(true);
        }
        let Some((index, command)) = bot.commands.iter().enumerate().find(|(_, c)| c.answers_to(name)) else {
            return Ok(false);
        };
        let mut ctx = ctx.clone();
        ctx.set_line(rest);
        if let Some(refusal) = command.refusal(&ctx, &bot.prefix) {
            self.reply(&ctx, refusal).await?;
            return Ok(true);
        }
        if let (Some(wait), Some(author)) = (command.cooldown, ctx.author)
            && ctx.role < Role::Moderator
        {
            let now = Instant::now();
            // Nobody's memory grows without end: what has cooled down is forgotten.
            self.cooldowns.retain(|(index, _), last| {
                bot.commands[*index]
                    .cooldown
                    .is_some_and(|wait| now.duration_since(*last) < wait)
            });
            if let Some(last) = self.cooldowns.get(&(index, author)) {
                let left = wait.saturating_sub(now.duration_since(*last));
                let unit = if left.as_secs() == 0 { "second" } else { "seconds" };
                let text = format!("Wait {} {unit} before you use this again.", left.as_secs() + 1);
                self.reply(&ctx, text).await?;
                return Ok(true);
            }
            self.cooldowns.insert((index, author), now);
        }
        self.call(&command.handler, ctx).await?;
        Ok(true)
    }

    async fn call_all(&mut self, handlers: &[Handler], ctx: &Context) -> Outcome {
        for run in handlers {
            self.call(run, ctx.clone()).await?;
        }
        Ok(())
    }

    /// Runs a handler. Its failure is logged and, where meant so, answered; it does not stop the bot.
    async fn call(&mut self, run: &Handler, ctx: Context) -> Outcome {
        let ctx = ctx.for_one_run();
        let (run, waiting) = (run.clone(), ctx.waiting.clone());
        let answered = Box::pin(async move {
            match run(ctx.clone()).await {
                Err(BotError::Say(text)) => ctx.reply(text).await,
                outcome => outcome,
            }
        });
        finish(self.pending.run(answered, &waiting).await)
    }

    /// Replies for the bot itself, under the same rules as a handler.
    async fn reply(&mut self, ctx: &Context, text: String) -> Outcome {
        let ctx = ctx.for_one_run();
        let waiting = ctx.waiting.clone();
        let reply = Box::pin(async move { ctx.reply(text).await });
        finish(self.pending.run(reply, &waiting).await)
    }

    fn context(&self, room: Option<&RoomToken>, message: Option<Message>) -> Context {
        let author = message.as_ref().map(|message| message.author);
        let role = match (room.and_then(|room| self.poll.room_info(room)), &author) {
            (Some(info), Some(author)) => role_in(info, author),
            _ => Role::Everyone,
        };
        Context::new(
            self.bot.server.clone(),
            room.map(|room| self.bot.server.room(room)),
            self.bot.name.clone(),
            message.map(Arc::new),
            role,
            self.state.data(),
            self.bot.queues.clone(),
        )
    }

    /// The highest role a person has in any room we listen to: what counts in direct messages.
    fn role_anywhere(&self, user: &SessionId) -> Role {
        self.poll
            .room_infos()
            .map(|info| role_in(info, user))
            .max()
            .unwrap_or(Role::Everyone)
    }
}

/// Logs the failure of a handler. Only a store that fails ends the bot.
fn finish(outcome: Outcome) -> Outcome {
    match outcome {
        Err(BotError::State(error)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "a handler failed");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn role_in(info: &RoomInfo, user: &SessionId) -> Role {
    if info.admins.contains(user) || info.hidden_admins.contains(user) {
        Role::Admin
    } else if info.moderators.contains(user) || info.hidden_moderators.contains(user) {
        Role::Moderator
    } else {
        Role::Everyone
    }
}
