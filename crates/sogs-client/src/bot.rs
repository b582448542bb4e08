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

mod context;
mod pending;
mod state;

pub use ackpost_bot::{MemoryStore, Role, Schedule, ScheduleError, StateStore, StoreError};
pub use context::Context;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ackpost_bot::{Commands, Cooldowns, Found, handler};
use session_protocol::{RoomToken, SessionId};
use tokio::time::Instant;

use crate::call_types::{ListOptions, MAX_LIMIT};
use crate::error::SogsError;
use crate::poll::{Cursor, Event, Poll, PollOptions};
use crate::server::Server;
use crate::types::{Message, RoomInfo};

use pending::{Pending, Queues};
use state::State;

/// Time a handler gets to end when the bot is stopped.
const STOP_GRACE: Duration = Duration::from_millis(100);
/// Shortest and longest pause between two attempts to reach the server at the start.
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Result of a handler.
pub type Outcome = Result<(), BotError>;
/// A command of a bot.
pub type Command = ackpost_bot::Command<Context, Outcome>;
type HandlerFuture = ackpost_bot::HandlerFuture<Outcome>;
type Handler = ackpost_bot::Handler<Context, Outcome>;
type Scheduled = ackpost_bot::Scheduled<Context, Outcome>;

/// Reason why a handler, or the whole bot, stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BotError {
    /// A call failed.
    #[error(transparent)]
    Sogs(#[from] SogsError),
    /// The memory cannot be read or written.
    #[error("the bot's state cannot be kept: {0}")]
    State(#[from] StoreError),
    /// A schedule names a time that does not exist.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The text is sent to the person who gave the command.
    #[error("{0}")]
    Say(String),
}

/// Builder of a bot: settings and handlers before it runs.
pub struct Bot {
    parts: Parts,
    options: PollOptions,
    scheduled: Vec<Scheduled>,
    store: Box<dyn StateStore>,
    on_ready: Option<Box<dyn FnOnce() + Send>>,
}

/// Parts of the bot that handlers and the help text need.
struct Parts {
    server: Server,
    name: Option<String>,
    commands: Commands<Context, Outcome>,
    on_message: Vec<Handler>,
    on_unverified: Vec<Handler>,
    on_edit: Vec<Handler>,
    on_delete: Vec<Handler>,
    on_reaction: Vec<Handler>,
    on_join: Vec<Handler>,
    on_direct: Vec<Handler>,
    queues: Arc<Queues>,
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
                name: None,
                commands: Commands::default(),
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
            on_ready: None,
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

    /// Sets the prefix of commands in rooms (default `!`). In direct messages it may be left out.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.parts.commands.set_prefix(prefix);
        self
    }

    /// Sets the name that the bot is shown under.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.parts.name = Some(name.into());
        self
    }

    /// Sets the store for the state that the bot keeps over a restart. Without a store it begins anew each time.
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
        /// Runs for each message that is not a command.
        on_message,
        /// Runs for each message whose signature or content is wrong; [`Context::message`] has the reason.
        on_unverified,
        /// Runs for each edited message.
        on_edit,
        /// Runs for each deleted message: [`Context::message_id`].
        on_delete,
        /// Runs when the reactions of a message changed: [`Context::reactions`].
        on_reaction,
        /// Runs for the first message that somebody writes in a room, before commands and other handlers.
        on_join,
        /// Runs for each direct message that is not a command.
        on_direct
    }

    /// Runs on a schedule in each room of the bot, also in those that cannot be read now. A daily time that passed less
    /// than an hour ago while the bot was down is made up for; nothing runs twice over a restart (with a store). Nothing
    /// runs before the bot has reached the present.
    ///
    /// `name` identifies the schedule in the store.
    pub fn schedule<F, Fut>(mut self, name: impl Into<String>, schedule: Schedule, run: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.scheduled
            .push(Scheduled::new(name.into(), schedule, handler(run)));
        self
    }

    /// Calls this once, when the bot has reached the present: it sees everything that is written from then on.
    pub fn on_ready(mut self, run: impl FnOnce() + Send + 'static) -> Self {
        self.on_ready = Some(Box::new(run));
        self
    }

    /// Runs until `shutdown` is ready.
    ///
    /// A stop does not wait for replies that a rate limit holds back; the log says how many were given up. An event
    /// whose handler was still running is dealt with again after the next start (with a store).
    ///
    /// # Errors
    ///
    /// [`BotError::Sogs`] if the first turn fails permanently, for example with a wrong server key; [`BotError::State`] if
    /// the store fails. A server that cannot be reached and a ban end nothing, also at the start: the bot tries again.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Outcome {
        let mut on_ready = self.on_ready.take();
        tokio::pin!(shutdown);
        let mut running = tokio::select! {
            () = &mut shutdown => return Ok(()),
            running = Running::start(self) => running?,
        };
        let caught_up = running.poll.caught_up();
        tokio::pin!(caught_up);
        let mut interrupted = false;
        while !interrupted {
            let due = running.next_due();
            let work = tokio::select! {
                () = &mut shutdown => break,
                outcome = running.pending.next() => {
                    finish(outcome)?;
                    continue;
                }
                event = running.poll.next() => Work::Event(event?),
                () = sleep_until(due) => Work::Schedule,
                () = &mut caught_up, if !running.present => {
                    running.present = true;
                    // The place in a quiet room comes without an event.
                    running.keep_place()?;
                    if let Some(run) = on_ready.take() {
                        run();
                    }
                    continue;
                }
            };
            let done = running.work(work);
            tokio::pin!(done);
            tokio::select! {
                outcome = &mut done => outcome?,
                () = &mut shutdown => {
                    if let Ok(outcome) = tokio::time::timeout(STOP_GRACE, &mut done).await {
                        outcome?;
                        break;
                    }
                    tracing::warn!("stopped while a handler was running; its event comes again");
                    interrupted = true;
                }
            }
        }
        if running.pending.len() > 0 {
            tracing::warn!(
                replies = running.pending.len(),
                "stopped while replies waited for a rate limit; they were not sent"
            );
        }
        if interrupted {
            Ok(running.state.save(&running.done)?)
        } else {
            running.keep_place()
        }
    }
}

/// Next task of the bot's loop.
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
    /// The rooms of the bot, also those that cannot be read now.
    rooms: Vec<RoomToken>,
    poll: Poll,
    /// True once the poll has reached the present. Nothing on a schedule runs before.
    present: bool,
    state: State,
    /// Position behind the last event that was dealt with.
    done: Cursor,
    /// Handlers that wait for a rate limit.
    pending: Pending,
    me: SessionId,
    /// Time of each person's last use of each command.
    cooldowns: Cooldowns<Option<SessionId>>,
}

impl Running {
    async fn start(bot: Bot) -> Result<Self, BotError> {
        let Bot {
            parts,
            options,
            mut scheduled,
            store,
            on_ready: _,
        } = bot;
        let me = own_id(&parts.server, options.interval).await?;
        let (state, cursor) = State::load(store)?;
        let rooms = options.rooms.clone();
        let poll = parts.server.poll(options, cursor.unwrap_or_else(Cursor::default));
        for schedule in &mut scheduled {
            schedule.begin(&state.memory, parts.server.now_ms());
        }
        let mut running = Self {
            bot: Arc::new(parts),
            scheduled,
            done: poll.cursor().clone(),
            pending: Pending::default(),
            rooms: rooms.clone(),
            poll,
            present: false,
            state,
            me,
            cooldowns: Cooldowns::default(),
        };
        for room in &rooms {
            running.meet(room, u64::MAX).await;
        }
        Ok(running)
    }

    /// Meets the people of a room that is new to the bot: authors of the newest messages before this one are not
    /// newcomers. Returns true once the room is known. A room that cannot be read now is tried again with its next message.
    async fn meet(&mut self, room: &RoomToken, before: u64) -> bool {
        if self.bot.on_join.is_empty() || self.state.knows(room) {
            return true;
        }
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors: Some(0),
            ..ListOptions::default()
        };
        match self.bot.server.room(room).recent(options).await {
            Ok(messages) => {
                self.state.enter(room);
                for message in messages.iter().rev().filter(|message| message.id < before) {
                    self.state.see(room, &message.author);
                }
                true
            }
            Err(error) => {
                tracing::warn!(%room, %error, "the people of the room are not known yet");
                false
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if !self.present {
            return None;
        }
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
        let rooms = self.rooms.clone();
        let mut due = Vec::new();
        for schedule in &mut self.scheduled {
            if schedule.due_in(now_ms).is_zero() {
                // Noted before it runs: a post that fails is better than one that comes twice.
                due.push(schedule.done(&mut self.state.memory, now_ms));
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
            // The poll has logged a gap.
            Event::RoomChanged { .. } | Event::Gap { .. } => {}
        }
        self.keep_place()
    }

    /// Stores the position behind the last event that the poll gave. All events before it are dealt with.
    fn keep_place(&mut self) -> Outcome {
        self.done.clone_from(self.poll.cursor());
        Ok(self.state.save(&self.done)?)
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
        let newcomer = self.meet(room, message.id).await && self.state.see(room, &message.author);
        let body = message.body().unwrap_or_default().trim().to_owned();
        let ctx = self.context(Some(room), Some(message));
        if newcomer {
            self.call_all(&bot.on_join, &ctx).await?;
        }
        match bot.commands.line(&body) {
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
        let line = bot.commands.line(&body).unwrap_or(&body);
        if self.try_command(line, &ctx).await? {
            Ok(())
        } else {
            self.call_all(&bot.on_direct, &ctx).await
        }
    }

    /// Runs the command that `line` names; `false` if it names none.
    async fn try_command(&mut self, line: &str, ctx: &Context) -> Result<bool, BotError> {
        let commands = &self.bot.commands;
        let now = Instant::now().into_std();
        match commands.look(line, ctx.role, ctx.author, &mut self.cooldowns, now) {
            Found::Nothing => return Ok(false),
            Found::Say(text) => self.reply(ctx, text).await?,
            Found::Run { handler, rest, args } => self.call(&handler, ctx.with_line(rest, args)).await?,
        }
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
            self.state.memory.recollection(),
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

/// Asks for the id under which the server shows the bot, until the server answers.
async fn own_id(server: &Server, pause: Duration) -> Result<SessionId, SogsError> {
    let mut retry_in = pause.max(MIN_PAUSE);
    loop {
        match server.my_id().await {
            Err(error) if !error.is_permanent() => {
                let seconds = retry_in.max(error.retry_after().unwrap_or_default());
                tracing::warn!(%error, seconds = seconds.as_secs(), "the server cannot be reached; trying again");
                tokio::time::sleep(seconds).await;
                retry_in = (retry_in * 2).min(MAX_PAUSE);
            }
            other => return other,
        }
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
