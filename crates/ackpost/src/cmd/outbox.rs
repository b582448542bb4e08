//! `ackpost outbox`: look at stored messages, decide about them, deliver them.

pub(crate) mod place;
mod queue;
mod show;

use std::time::Duration;

use ackpost_notify::Options;
use ackpost_notify::outbox::{
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
        /// Its id
        id: OutboxId,
    },
    /// Retry dead messages with a new time to live, and waiting messages at once
    Retry(SelectArgs),
    /// Drop messages that are not delivered
    Drop(SelectArgs),
    /// Deliver now what can be delivered. Exit code 0: everything was delivered, 1: something waits, was given up or
    /// arrived only in part; the reasons are printed
    Flush(FlushArgs),
    /// Deliver until SIGTERM
    Run(RunArgs),
    /// Count messages by state, service and target
    Stats,
    /// Show what happened, oldest first
    Log(LogArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only messages in this state: collecting, waiting, sending, delivered, partial, dead or dropped; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<State>,
    /// Only targets with this text in them
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only messages older than this one (for the next page)
    #[arg(long, value_name = "ID")]
    before: Option<OutboxId>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SelectArgs {
    /// These messages
    ids: Vec<OutboxId>,
    /// Every message that was given up
    #[arg(long)]
    dead: bool,
    /// Every message that waits
    #[arg(long)]
    waiting: bool,
}

#[derive(Debug, Args)]
struct FlushArgs {
    /// Stop after this time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    deadline: Duration,
    /// Go on with targets that fail, pause after pause, until the deadline
    #[arg(long)]
    retries: bool,
    #[command(flatten)]
    worker: WorkerArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    worker: WorkerArgs,
    /// Tell somebody when a target has failed for this long or a message was given up; needs --config or --alarm-url
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
    /// At most this many; without --since the latest
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
        // A worker waits for what others store; everything else is about what is there already.
        let found = if matches!(args.command, OutboxCommand::Run(_)) {
            Some(args.place.open().await?)
        } else {
            args.place.open_existing().await?
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

/// What a command says where nothing was ever stored.
fn empty(command: &OutboxCommand, context: Context) -> Done {
    match command {
        OutboxCommand::Show { id } => return Err(unknown(id)),
        OutboxCommand::Retry(args) => return Ok(changes("retried", 0, args, context)),
        OutboxCommand::Drop(args) => return Ok(changes("dropped", 0, args, context)),
        OutboxCommand::Flush(_) if context.json => output::json(&Summary::default()),
        OutboxCommand::Stats if context.json => show::stats(&Stats::default(), &[], context),
        _ if context.json => {}
        _ => output::note("nothing stored"),
    }
    Ok(Exit::Success)
}

fn unknown(id: &OutboxId) -> Failure {
    Failure::new(format!("there is no message {id}"), "see `ackpost outbox list`")
}

async fn act(command: &OutboxCommand, outbox: &Outbox, context: Context) -> Done {
    match command {
        OutboxCommand::List(args) => {
            let filter = Filter {
                states: args.state.clone(),
                target: args.target.clone(),
                limit: args.limit,
                before: args.before.clone(),
            };
            let entries = outbox.list(&filter).await.map_err(|error| failure(&error))?;
            for entry in &entries {
                show::row(entry, context);
            }
            if entries.is_empty() && !context.json {
                output::note("no messages match");
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
            for event in &events {
                show::event(event, context);
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

/// Says how many; ids that nothing could be done about are a failure.
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
        WorkerSettings {
            lanes_at_once: self.lanes.clamp(1, 1000),
            lease: self.lease,
            ..WorkerSettings::default()
        }
    }
}

/// Reads a time from the command line.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    parse_span("time", text).map_err(|error| words(&error))
}

/// What is wrong with a rule, and how to write it.
fn words(error: &RuleError) -> String {
    format!("{}; {}", error.cause, error.remedy)
}

async fn flush(args: &FlushArgs, outbox: &Outbox, context: Context) -> Done {
    let settings = FlushSettings {
        deadline: args.deadline,
        retries: args.retries,
        ..FlushSettings::default()
    };
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

/// What a flush left: why, and when it is tried next.
async fn left(done: &Summary, outbox: &Outbox) -> Result<(), Failure> {
    const SHOWN: usize = 10;
    let filter = Filter {
        states: vec![State::Waiting, State::Collecting, State::Sending],
        limit: SHOWN,
        ..Filter::default()
    };
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
            "--alarm-after has nobody to tell",
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
            failed: _,
        } = done;
        output::note(&format!(
            "{delivered} delivered, {partial} partial, {} put off, {refused} refused, {expired} out of time, {remaining} left",
            output::count(*deferred, "attempt")
        ));
    }
}
