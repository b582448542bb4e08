//! `ackpost outbox`: look at stored messages, decide about them, deliver them.

pub(crate) mod place;
mod queue;
mod show;

use std::time::Duration;

use ackpost_apprise::Options;
use ackpost_outbox::{
    Alarm, Filter, FlushSettings, Outbox, OutboxId, RuleError, Selection, State, Stats, Summary,
    WorkerSettings, parse_span,
};
use clap::{Args, Subcommand};
use serde_json::json;

use self::place::{PlaceArgs, failure};
pub(crate) use self::queue::QueueArgs;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use crate::sources::{self, Wanted};
use ackpost_platform::service::{ServiceManager, Signal, Signals};

/// Heading of the options of the outbox in help texts.
pub(crate) const HEADING: &str = "Outbox";

/// `outbox`.
#[derive(Debug, Args)]
pub(crate) struct OutboxArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(subcommand)]
    command: OutboxCommand,
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// List messages, newest first
    List(ListArgs),
    /// Show one message and its history
    Show {
        /// Id of the message
        id: OutboxId,
    },
    /// Retry dead messages with a new time to live, and waiting messages at once
    Retry(SelectArgs),
    /// Drop messages that are not delivered
    Drop(SelectArgs),
    /// Deliver due messages now and print why others wait. Exit code 0: everything was delivered, 1: a message waits,
    /// is dead or arrived only in part
    Flush(FlushArgs),
    /// Run the worker: deliver and retry messages until SIGTERM
    Run(RunArgs),
    /// Count messages by state, service and target
    Stats,
    /// Show the log of the outbox, oldest first
    Log(LogArgs),
    /// Show the answers to alerts from a chat, newest first
    Acts(ActsArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only messages in this state: collecting, waiting, sending, delivered, partial, dead or dropped; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<State>,
    /// Only recipients that contain this text
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Maximum number of results
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only messages older than this one (for the next page)
    #[arg(long, value_name = "ID")]
    before: Option<OutboxId>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SelectArgs {
    /// Ids of the messages
    ids: Vec<OutboxId>,
    /// Every dead message
    #[arg(long)]
    dead: bool,
    /// Every waiting message
    #[arg(long)]
    waiting: bool,
}

#[derive(Debug, Args)]
struct FlushArgs {
    /// Stop after this time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    deadline: Duration,
    /// Retry failing recipients until the deadline
    #[arg(long)]
    retries: bool,
    #[command(flatten)]
    worker: WorkerArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    worker: WorkerArgs,
    /// Send an alarm when a recipient has failed for this long or a message is dead; needs --config or --alarm-url
    #[arg(long, value_name = "TIME", value_parser = span)]
    alarm_after: Option<Duration>,
    /// Recipient of the alarm
    #[arg(long, value_name = "URL", requires = "alarm_after")]
    alarm_url: Vec<String>,
    /// Send the alarm to services of this configuration
    #[arg(short, long, value_name = "CONFIG_URL", requires = "alarm_after")]
    config: Vec<String>,
    /// Only services with this tag
    #[arg(short = 'g', long, value_name = "TAG", requires = "alarm_after")]
    tag: Vec<String>,
}

#[derive(Debug, Clone, Args)]
struct WorkerArgs {
    /// Number of targets that are delivered to at the same time
    #[arg(long, value_name = "N", default_value_t = 16)]
    lanes: usize,
    /// Time after which another worker takes over from one that stopped responding
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = span)]
    lease: Duration,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// Only lines after this number
    #[arg(long, value_name = "NUMBER")]
    since: Option<i64>,
    /// Maximum number of results; without --since the latest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Args)]
struct ActsArgs {
    /// Only lines before this number (for the next page)
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
    /// Maximum number of results, at most 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Runs the command.
pub(crate) fn run(args: &OutboxArgs, context: Context) -> Done {
    let runtime = match args.command {
        OutboxCommand::Run(_) => context.server_runtime(),
        _ => context.runtime(),
    };
    runtime.block_on(async {
        // A worker waits for messages that others store; all other commands are about existing messages.
        let found = if matches!(args.command, OutboxCommand::Run(_)) {
            Some(args.place.open(context.services).await?)
        } else {
            args.place.open_existing(context.services).await?
        };
        let Some(outbox) = found else {
            args.place.absent()?;
            return empty(&args.command, context);
        };
        let done = act(&args.command, &outbox, context).await;
        outbox.close().await;
        done
    })
}

/// Prints the result of a command if nothing was ever stored.
fn empty(command: &OutboxCommand, context: Context) -> Done {
    match command {
        OutboxCommand::Show { id } => return Err(unknown(id)),
        OutboxCommand::Retry(args) => return Ok(changes("retried", 0, args, context)),
        OutboxCommand::Drop(args) => return Ok(changes("dropped", 0, args, context)),
        OutboxCommand::Flush(_) if context.json => output::json(&Summary::default()),
        OutboxCommand::Stats if context.json => show::stats(&Stats::default(), &[], context),
        OutboxCommand::Log(_) => output::none("events", context),
        OutboxCommand::Acts(_) => output::none("acts", context),
        _ => output::none("messages", context),
    }
    Ok(Exit::Success)
}

/// Prints the messages that wait, newest first, as `mailq` does.
pub(crate) async fn print_waiting(place: &PlaceArgs, context: Context) -> Done {
    const MOST: usize = 1_000;
    let entries = match place.open_existing(context.services).await? {
        None => Vec::new(),
        Some(outbox) => {
            let filter = Filter::default()
                .with_states(vec![State::Waiting, State::Collecting, State::Sending])
                .with_limit(MOST + 1);
            let entries = outbox.list(&filter).await;
            outbox.close().await;
            entries.map_err(|error| failure(&error))?
        }
    };
    if entries.is_empty() {
        // Scripts that watch mail servers look for these words.
        if !context.json {
            output::line("Mail queue is empty");
        }
        return Ok(Exit::Success);
    }
    show::headings(context);
    for entry in entries.iter().take(MOST) {
        show::row(entry, context);
    }
    if entries.len() > MOST {
        output::note(&format!(
            "more than {MOST} messages wait; `ackpost outbox stats` counts them"
        ));
    }
    Ok(Exit::Success)
}

fn unknown(id: &OutboxId) -> Failure {
    Failure::new(
        format!("message {id} does not exist"),
        "see `ackpost outbox list`",
    )
}

async fn act(command: &OutboxCommand, outbox: &Outbox, context: Context) -> Done {
    match command {
        OutboxCommand::List(args) => {
            let filter = Filter::default()
                .with_states(args.state.clone())
                .with_target(args.target.clone())
                .with_limit(args.limit)
                .with_before(args.before.clone());
            let entries = outbox.list(&filter).await.map_err(|error| failure(&error))?;
            if entries.is_empty() {
                output::none("messages", context);
            } else {
                show::headings(context);
            }
            for entry in &entries {
                show::row(entry, context);
            }
        }
        OutboxCommand::Show { id } => {
            let found = outbox.show(id).await.map_err(|error| failure(&error))?;
            let Some((entry, events)) = found else {
                return Err(unknown(id));
            };
            show::whole(&entry, &events, context);
        }
        OutboxCommand::Retry(args) => {
            let changed = outbox
                .retry(&args.selection())
                .await
                .map_err(|error| failure(&error))?;
            return Ok(changes("retried", changed, args, context));
        }
        OutboxCommand::Drop(args) => {
            let changed = outbox
                .drop_entries(&args.selection())
                .await
                .map_err(|error| failure(&error))?;
            return Ok(changes("dropped", changed, args, context));
        }
        OutboxCommand::Flush(args) => return flush(args, outbox, context).await,
        OutboxCommand::Run(args) => return work(args, outbox, context).await,
        OutboxCommand::Stats => {
            let stats = outbox.stats().await.map_err(|error| failure(&error))?;
            let lanes = outbox.lanes().await.map_err(|error| failure(&error))?;
            show::stats(&stats, &lanes, context);
        }
        OutboxCommand::Log(args) => {
            let events = outbox
                .log(args.since, args.limit)
                .await
                .map_err(|error| failure(&error))?;
            if events.is_empty() {
                output::none("events", context);
            }
            for event in &events {
                show::event(event, context);
            }
        }
        OutboxCommand::Acts(args) => {
            let acts = outbox
                .acts(args.before, args.limit)
                .await
                .map_err(|error| failure(&error))?;
            if acts.is_empty() {
                output::none("acts", context);
            }
            for act in &acts {
                show::act(act, context);
            }
        }
    }
    Ok(Exit::Success)
}

impl SelectArgs {
    fn selection(&self) -> Selection {
        match (self.dead, self.waiting) {
            (true, _) => Selection::Dead,
            (_, true) => Selection::Waiting,
            _ => Selection::Ids(self.ids.clone()),
        }
    }
}

/// Prints the number of changed messages; an id that could not be changed is a failure.
fn changes(word: &str, changed: u64, args: &SelectArgs, context: Context) -> Exit {
    if context.json {
        output::json(&json!({ word: changed }));
    } else {
        output::note(&format!("{changed} {word}"));
    }
    if changed < args.ids.len() as u64 {
        output::error(
            "some messages do not exist, or are already delivered, partial or dropped; see `ackpost outbox show ID`",
        );
        return Exit::Failure;
    }
    Exit::Success
}

impl WorkerArgs {
    fn settings(&self) -> WorkerSettings {
        WorkerSettings::default()
            .with_lanes_at_once(self.lanes.clamp(1, 1000))
            .with_lease(self.lease)
    }
}

/// Reads a time from the command line.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    parse_span("time", text).map_err(|error| words(&error))
}

/// Returns the error in a rule and its remedy.
fn words(error: &RuleError) -> String {
    format!("{}; {}", error.cause, error.remedy)
}

async fn flush(args: &FlushArgs, outbox: &Outbox, context: Context) -> Done {
    let settings = FlushSettings::default()
        .with_deadline(args.deadline)
        .with_retries(args.retries);
    let done = outbox
        .flush(args.worker.settings(), settings)
        .await
        .map_err(|error| failure(&error))?;
    summary(&done, context);
    if !context.json {
        failed(&done, outbox).await?;
        if done.remaining > 0 {
            left(&done, outbox).await?;
        }
    }
    let clean = done.remaining + done.failures() == 0;
    Ok(if clean { Exit::Success } else { Exit::Failure })
}

/// Prints which entries ended without a full delivery, and why.
async fn failed(done: &Summary, outbox: &Outbox) -> Result<(), Failure> {
    for id in &done.failed {
        if let Some(entry) = outbox.get(id).await.map_err(|error| failure(&error))? {
            output::note(&show::left(&entry));
        }
    }
    let more = done.failures().saturating_sub(done.failed.len() as u64);
    if more > 0 {
        output::note(&format!(
            "and {more} more: `ackpost outbox list --state dead --state partial`"
        ));
    }
    Ok(())
}

/// Reports the entries that a flush left, each with its reason and the time of the next attempt.
async fn left(done: &Summary, outbox: &Outbox) -> Result<(), Failure> {
    const SHOWN: usize = 10;
    let filter = Filter::default()
        .with_states(vec![State::Waiting, State::Collecting, State::Sending])
        .with_limit(SHOWN);
    let entries = outbox.list(&filter).await.map_err(|error| failure(&error))?;
    for entry in &entries {
        output::note(&show::left(entry));
    }
    let more = done.remaining.saturating_sub(entries.len() as u64);
    if more > 0 {
        output::note(&format!("and {more} more: `ackpost outbox list --state waiting`"));
    }
    Ok(())
}

async fn work(args: &RunArgs, outbox: &Outbox, context: Context) -> Done {
    let mut settings = args.worker.settings();
    settings.alarm = alarm(args, context).await?;
    let mut signals = Signals::new().map_err(|error| {
        Failure::new(
            format!("signals cannot be received: {error}"),
            "check the limits of the process",
        )
    })?;
    let manager = ServiceManager::from_env();
    manager.ready("delivering");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let until_told = async {
        // There is nothing to read again: only Stop ends it.
        while signals.next().await != Signal::Stop {}
        manager.stopping(settings.drain);
        let _ = stop.send(true);
    };
    let (done, ()) = tokio::join!(
        outbox.run(settings.clone(), until_told),
        manager.watch(stopped, || true)
    );
    summary(&done.map_err(|error| failure(&error))?, context);
    Ok(Exit::Success)
}

async fn alarm(args: &RunArgs, context: Context) -> Result<Option<Alarm>, Failure> {
    let Some(after) = args.alarm_after else {
        return Ok(None);
    };
    let wanted = Wanted {
        urls: &args.alarm_url,
        configs: &args.config,
        tags: &args.tag,
        foreign: None,
    };
    let loaded = sources::load(Options::default(), &wanted, context).await;
    output::problems(&loaded.problems(), context);
    let services: Vec<_> = loaded
        .notifier
        .find(&loaded.filter)
        .filter_map(|entry| entry.service().cloned())
        .collect();
    if services.is_empty() {
        return Err(Failure::usage(
            "--alarm-after has no recipient",
            "give --alarm-url or --config",
        ));
    }
    Ok(Some(Alarm {
        after,
        services: services.into(),
    }))
}

fn summary(done: &Summary, context: Context) {
    if context.json {
        output::json(done);
    } else {
        let Summary {
            delivered,
            partial,
            deferred,
            refused,
            expired,
            remaining,
            ..
        } = done;
        output::note(&format!(
            "{delivered} delivered, {partial} partial, {} deferred, {refused} refused, {expired} expired, {remaining} left",
            output::count(*deferred, "attempt")
        ));
    }
}
