//! Bots in rooms and chats: commands, roles, cooldowns, schedules, and a little memory.
//!
//! ```no_run
//! use ackpost_xmpp::bot::{Bot, Command};
//! use ackpost_xmpp::{Account, RoomTarget};
//!
//! # async fn example(account: Account) -> Result<(), Box<dyn std::error::Error>> {
//! Bot::new(account)
//!     .room(RoomTarget::new("lobby@rooms.example.org".parse()?))
//!     .command(Command::new("echo", |ctx| async move {
//!         ctx.reply(ctx.rest()).await
//!     }).help("says it again").usage("TEXT…").args(1..))
//!     .run(std::future::pending())
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! The bot is built like those of Session communities and of Session direct messages; the three share [`Command`], [`Role`] and
//! [`Schedule`].
//!
//! Handlers never see the bot's own messages. They run one after the other in the order of events. A handler that fails is
//! logged, and answered if its error is meant for people ([`BotError::Say`]). Nothing that a member or a moderator does ends
//! the bot.
//!
//! # Roles
//!
//! A role is only given to a person who is proven to have it now:
//!
//! * [`Role::Operator`]: the real address is in the list of [`Bot::operators`]. In a chat that is the sender. In a room it is the
//!   address that the room shows the bot: in a room that hides addresses, the bot must be a moderator to see them.
//! * [`Role::Admin`]: owners and admins of the room. [`Role::Moderator`]: its moderators.
//! * Everybody else has [`Role::Everyone`]. So has the author of a message from before the bot came in, unless the room
//!   gives permanent ids (XEP-0421) that prove the author, and everybody who writes through a bridge of Ackpost.

mod context;
mod outcome;
mod people;
mod plan;
mod running;

use std::future::Future;
use std::time::Duration;

use ackpost_bot::handler;
pub use ackpost_bot::{MemoryStore, Role, Schedule, ScheduleError, StateStore, StoreError};
pub use context::Context;
pub use outcome::{BotError, Outcome};
pub use plan::Command;

use crate::account::Account;
use crate::jid::Jid;
use crate::message::RoomTarget;
use plan::{Parts, Plan, Scheduled};
use running::Running;

/// Time a handler gets to end when the bot is stopped.
const STOP_GRACE: Duration = Duration::from_millis(100);

/// A bot in the making.
#[must_use]
pub struct Bot(Plan);

/// The registration methods that take a handler.
macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        pub fn $name<F, Fut>(mut self, run: F) -> Self
        where
            F: Fn(Context) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Outcome> + Send + 'static,
        {
            self.0.parts.$name.push(handler(run));
            self
        }
    )*};
}

impl Bot {
    /// Makes a bot without rooms and commands.
    pub fn new(account: Account) -> Self {
        Self(Plan {
            account,
            rooms: Vec::new(),
            store: Box::new(MemoryStore::default()),
            scheduled: Vec::new(),
            on_ready: None,
            parts: Parts::default(),
        })
    }

    /// Adds a room to listen in.
    pub fn room(mut self, room: RoomTarget) -> Self {
        self.0.rooms.push(room);
        self
    }

    /// Sets what commands begin with in rooms. Default: `!`. In chats it may be left out.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.parts.commands.set_prefix(prefix);
        self
    }

    /// Adds people who may use the commands for operators, by their addresses.
    pub fn operators(mut self, people: impl IntoIterator<Item = Jid>) -> Self {
        self.0
            .parts
            .operators
            .extend(people.into_iter().map(|jid| jid.to_bare()));
        self
    }

    /// Sets where the bot keeps what it must remember over a restart. Without a store it begins anew each time. With
    /// one, the bot handles, after the start, the messages written in rooms with an archive (XEP-0313) while it was
    /// away.
    pub fn store(mut self, store: impl StateStore + 'static) -> Self {
        self.0.store = Box::new(store);
        self
    }

    /// Adds a command.
    pub fn command(mut self, command: Command) -> Self {
        self.0.parts.commands.push(command);
        self
    }

    handlers! {
        /// Adds a handler that runs for each message or file in a room that is not a command.
        on_message,
        /// Adds a handler that runs for each correction in a room (XEP-0308). A correction never runs a command.
        on_edit,
        /// Adds a handler that runs when a message was retracted: [`Context::about`] is its id.
        on_delete,
        /// Adds a handler that runs when somebody reacts: [`Context::about`] and [`Context::reactions`].
        on_reaction,
        /// Adds a handler that runs when somebody comes into a room after the bot.
        on_join,
        /// Adds a handler that runs for each chat message that is not a command.
        on_direct
    }

    /// Runs on a schedule in each room of the bot. A daily time that passed less than an hour ago while the bot was down is
    /// made up for; nothing runs twice over a restart (with a store). `name` tells schedules apart in the store.
    pub fn schedule<F, Fut>(mut self, name: impl Into<String>, schedule: Schedule, run: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.0
            .scheduled
            .push(Scheduled::new(name.into(), schedule, handler(run)));
        self
    }

    /// Calls this once, when the bot is in all its rooms: it hears everything that is written from then on.
    pub fn on_ready(mut self, run: impl FnOnce() + Send + 'static) -> Self {
        self.0.on_ready = Some(Box::new(run));
        self
    }

    /// Runs until `shutdown` is ready. An event whose handler was still running is dealt with again after the next start (with a
    /// store, in a room with an archive).
    ///
    /// # Errors
    /// [`BotError::Xmpp`] if the first login fails, or a later one permanently; [`BotError::State`] if the store fails.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Outcome {
        tokio::pin!(shutdown);
        let mut running = tokio::select! {
            () = &mut shutdown => return Ok(()),
            running = Running::start(self.0) => running?,
        };
        let ended = loop {
            let work = tokio::select! {
                () = &mut shutdown => break Ok(()),
                work = running.wait() => work,
            };
            let done = running.work(work);
            tokio::pin!(done);
            tokio::select! {
                outcome = &mut done => match outcome {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error),
                },
                () = &mut shutdown => {
                    if tokio::time::timeout(STOP_GRACE, &mut done).await.is_err() {
                        tracing::warn!("stopped while a handler was running; its event comes again");
                    }
                    break Ok(());
                }
            }
        };
        running.close().await;
        ended
    }
}
