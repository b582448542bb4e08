//! Bots in direct messages: accepted requests, commands, answers, and a little memory.
//!
//! ```no_run
//! use session_network::bot::{Bot, Command};
//! # async fn example(network: session_network::Network, account: session_network::Identity) -> Result<(), session_network::bot::BotError> {
//! let bot = Bot::new(network, account, "Echo")?;
//! bot.command(Command::new("echo", |ctx| async move {
//!     ctx.reply(ctx.rest()).await
//! }).help("says it again").usage("TEXT…").args(1..))
//!     .run(std::future::pending())
//!     .await
//! # }
//! ```
//!
//! A bot handles each event of its mailbox once, one after the other. The state that it needs after a restart is in the
//! network's [`Storage`](crate::Storage); use a [`FolderStorage`](crate::FolderStorage), because a storage in memory
//! forgets with the process. If the bot is killed, the event in hand comes again, and its handlers run again. Their
//! answers were kept before they were sent, so that no answer is stored twice. A handler that fails is logged, and
//! answered if its error is meant for people ([`BotError::Say`]).
//!
//! A person who wrote to the bot sees its answers in the conversation. A person whom the bot writes to first sees a message
//! request.

mod context;
mod memory;
mod outcome;

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackpost_bot::{Commands, Cooldowns, Found, handler};
use session_protocol::{Identity, SessionId};

pub use context::Context;
pub use outcome::{BotError, Outcome};

use crate::draft::{Draft, Sender};
use crate::mailbox::{Event, IncomingMessage, Mailbox};
use crate::network::{Network, off_thread};
use context::Shared;
use memory::Memory;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use memory::read_any;

/// The name under which a bot remembers how far it read its mailbox.
const READER: &str = "bot";
/// Time for which a bot waits for the answer whether an account publishes keys of version 2.
const KEYS_PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause after polls that failed.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// A command of a bot.
pub type Command = ackpost_bot::Command<Context, Outcome>;
type Handler = ackpost_bot::Handler<Context, Outcome>;

/// A bot in the making.
#[must_use]
pub struct Bot {
    network: Network,
    account: Identity,
    sender: Sender,
    interval: Duration,
    patience: Duration,
    accept_requests: bool,
    only: Option<HashSet<SessionId>>,
    operators: HashSet<SessionId>,
    commands: Commands<Context, Outcome>,
    on_message: Vec<Handler>,
    on_request_accepted: Vec<Handler>,
}

impl Bot {
    /// Makes a bot without commands. Recipients see `name`.
    ///
    /// # Errors
    /// [`BotError::Network`] for a name that [`Sender::new`] refuses.
    pub fn new(network: Network, account: Identity, name: &str) -> Result<Self, BotError> {
        let sender = Sender::new(account.clone(), name)?;
        Ok(Self {
            network,
            account,
            sender,
            interval: Duration::from_secs(5),
            patience: Duration::from_mins(5),
            accept_requests: true,
            only: None,
            operators: HashSet::new(),
            commands: Commands::default(),
            on_message: Vec::new(),
            on_request_accepted: Vec::new(),
        })
    }

    /// Sets the pause between two looks at the mailbox. Default: 5 seconds, as in Session's apps.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long an answer that was not stored is tried again. Default: 5 minutes.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets what commands may begin with. Default: `!`. It may be left out.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.commands.set_prefix(prefix);
        self
    }

    /// Sets whether the bot accepts the request of everybody who writes to it. Default: true.
    pub fn accept_requests(mut self, accept: bool) -> Self {
        self.accept_requests = accept;
        self
    }

    /// Lets the bot listen to these accounts alone. It neither answers nor accepts others. Default: it listens to all.
    pub fn only(mut self, accounts: impl IntoIterator<Item = SessionId>) -> Self {
        self.only = Some(accounts.into_iter().collect());
        self
    }

    /// Adds accounts that may use the commands for operators.
    pub fn operators(mut self, accounts: impl IntoIterator<Item = SessionId>) -> Self {
        self.operators.extend(accounts);
        self
    }

    /// Adds a command.
    pub fn command(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }

    /// Adds a handler that runs for each message that is not a command.
    pub fn on_message<F, Fut>(mut self, run: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.on_message.push(handler(run));
        self
    }

    /// Adds a handler that runs when an account accepts our message request.
    pub fn on_request_accepted<F, Fut>(mut self, run: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.on_request_accepted.push(handler(run));
        self
    }

    /// Runs until `shutdown` is ready. A stop drops the handler that runs; its event comes again after the next start.
    ///
    /// # Errors
    /// [`BotError::Memory`] if the storage fails; [`BotError::Network`] after a permanent error of the mailbox, and with
    /// [`Cause::MailboxInUse`](crate::Cause::MailboxInUse) if another bot of this account runs.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Outcome {
        let work = async {
            let mut running = Running::start(self).await?;
            running.turn().await
        };
        tokio::select! {
            () = shutdown => Ok(()),
            outcome = work => outcome,
        }
    }
}

struct Running {
    bot: Bot,
    shared: Arc<Shared>,
    mailbox: Mailbox,
    /// Time when each account used each command last.
    cooldowns: Cooldowns<SessionId>,
}

impl Running {
    async fn start(bot: Bot) -> Result<Self, BotError> {
        let mut mailbox = bot.network.mailbox_of_reader(bot.account.clone(), READER);
        // Another bot of this account would change the memory after it was read here.
        mailbox.take_lock().await?;
        let (storage, id) = (bot.network.inner.options.shared_storage(), bot.sender.id());
        let memory = off_thread(move || Memory::load(storage, &id)).await;
        let memory = memory.and_then(|memory| memory).map_err(BotError::Memory)?;
        let shared = Arc::new(Shared {
            network: bot.network.clone(),
            sender: bot.sender.clone(),
            memory: Mutex::new(memory),
            outgoing: tokio::sync::Mutex::default(),
            patience: bot.patience,
        });
        Ok(Self {
            bot,
            shared,
            mailbox,
            cooldowns: Cooldowns::default(),
        })
    }

    /// Polls and handles until something fails permanently.
    async fn turn(&mut self) -> Outcome {
        let mut wait = self.bot.interval;
        loop {
            let pause = match self.mailbox.poll().await {
                Ok(polled) => {
                    wait = self.bot.interval;
                    let pause = polled.pause(self.bot.interval);
                    for event in polled.events {
                        self.handle(event).await?;
                        self.mailbox.handled(1).await.map_err(BotError::Memory)?;
                    }
                    pause
                }
                Err(error) => {
                    let Some(retry_in) = error.retry_after() else {
                        return Err(error.into());
                    };
                    let pause = wait.max(retry_in);
                    wait = (wait * 2).min(LONGEST_WAIT);
                    tracing::warn!(%error, seconds = pause.as_secs(), "the mailbox cannot be read; trying again");
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Handles one event, unless an earlier run did.
    async fn handle(&mut self, event: Event) -> Outcome {
        let Some(author) = event.from().copied() else {
            tracing::info!("the mailbox has bytes that are not readable");
            return Ok(());
        };
        let is_welcome = self.bot.only.as_ref().is_none_or(|only| only.contains(&author));
        if author == self.mailbox.owner() || !is_welcome {
            return Ok(());
        }
        if !self.shared.memory().begin(&key(&event)) {
            return Ok(());
        }
        let is_operator = self.bot.operators.contains(&author);
        let event = Arc::new(event);
        let ctx = Context::new(Arc::clone(&self.shared), Arc::clone(&event), author, is_operator);
        match &*event {
            Event::Message(message) => self.on_message(message, &ctx).await?,
            Event::RequestAccepted { .. } => call_all(&self.bot.on_request_accepted, &ctx).await?,
            _ => {}
        }
        let (shared, is_message) = (Arc::clone(&self.shared), matches!(&*event, Event::Message(_)));
        let finished = off_thread(move || {
            let mut memory = shared.memory();
            if is_message {
                memory.know(&author);
            }
            memory.finish()
        });
        let finished = finished.await.and_then(|finished| finished);
        finished.map_err(BotError::Memory)?;
        self.look_for_keys(&author).await;
        Ok(())
    }

    async fn on_message(&mut self, message: &IncomingMessage, ctx: &Context) -> Outcome {
        if self.bot.accept_requests && !self.shared.memory().knows(&message.from) {
            let accepted = self.shared.send(&message.from, &Draft::accept_request()).await;
            finish(accepted)?;
        }
        let body = ctx.body().trim();
        let line = self.bot.commands.line(body).unwrap_or(body);
        if self.try_command(line, ctx).await? {
            return Ok(());
        }
        call_all(&self.bot.on_message, ctx).await
    }

    /// Runs the command that `line` names; `false` if it names none.
    async fn try_command(&mut self, line: &str, ctx: &Context) -> Result<bool, BotError> {
        let (commands, now) = (&self.bot.commands, Instant::now());
        match commands.look(line, ctx.role(), *ctx.author(), &mut self.cooldowns, now) {
            Found::Nothing => return Ok(false),
            Found::Say(text) => finish(ctx.reply(text).await)?,
            Found::Run { handler, rest, args } => call(&handler, ctx.with_line(rest, args)).await?,
        }
        Ok(true)
    }

    /// Looks once a day whether an account publishes keys of version 2, which nobody here can use yet.
    async fn look_for_keys(&self, id: &SessionId) {
        let Ok(now) = self.bot.network.network_ms() else {
            return;
        };
        let due = self.shared.memory().is_time_to_look(id, now / 1000);
        if !due {
            return;
        }
        // Messages wait meanwhile.
        let asked = tokio::time::timeout(KEYS_PATIENCE, self.bot.network.publishes_v2_keys(id)).await;
        if asked == Ok(Ok(true)) {
            tracing::warn!(account = %id.short(), "this account publishes keys for version 2 of Session's protocol; update this program soon");
        }
    }
}

/// The mark that tells events apart.
fn key(event: &Event) -> String {
    match event {
        Event::Message(message) => message.hash.to_string(),
        Event::RequestAccepted {
            from, timestamp_ms, ..
        } => format!("accepted {from} {timestamp_ms}"),
        Event::ExpiryChanged {
            from, timestamp_ms, ..
        } => format!("expiry {from} {timestamp_ms}"),
        Event::Unsent { from, timestamp_ms } => format!("unsent {from} {timestamp_ms}"),
        Event::Unreadable { hash, .. } => hash.to_string(),
    }
}

async fn call_all(handlers: &[Handler], ctx: &Context) -> Outcome {
    for run in handlers {
        call(run, ctx.clone()).await?;
    }
    Ok(())
}

/// Runs a handler. Its failure is logged and, where meant so, answered; it does not stop the bot.
async fn call(run: &Handler, ctx: Context) -> Outcome {
    finish(match run(ctx.clone()).await {
        Err(BotError::Say(text)) => ctx.reply(text).await,
        outcome => outcome,
    })
}

/// Logs the failure of a handler. Only a memory that fails ends the bot.
fn finish(outcome: Outcome) -> Outcome {
    match outcome {
        Err(BotError::Memory(error)) => Err(BotError::Memory(error)),
        Err(error) => {
            tracing::warn!(%error, "a handler failed");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
