//! `ackpost bridge`: an XMPP room and a Session community as one conversation.

mod check;
mod place;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ackpost_bridge::{Store, run as carry};
use ackpost_doctor::Diagnosis;
use ackpost_platform::service::{self, stop_asked};
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
pub(crate) use check::SUBJECT;
use place::Place;

/// Maximum time for bridges to end.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Interval between two writes of the metrics file.
const METRICS_EVERY: Duration = Duration::from_secs(15);

/// `bridge`.
#[derive(Debug, Args)]
pub(crate) struct BridgeArgs {
    /// The configuration file [default: ~/.config/ackpost/bridge.toml, else /etc/ackpost/bridge.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The database; overrides the configuration file [default: bridge.db in the state folder]
    #[arg(long, value_name = "FILE|URL", global = true)]
    database: Option<String>,
    #[command(subcommand)]
    command: BridgeCommand,
}

#[derive(Debug, Subcommand)]
enum BridgeCommand {
    /// Carry messages between the rooms of the configuration, until SIGTERM
    Run(NamesArgs),
    /// Check the configuration, both rooms and the permissions of the bridge there, without carrying messages
    Check(NamesArgs),
    /// Show the numbers of carried, waiting and refused messages, and the last error
    Status(StatusArgs),
    /// Show the counterparts of a message
    Map(MapArgs),
    /// Pause a bridge; messages from the pause cross afterwards
    Pause(PauseArgs),
    /// Print a configuration file that explains every option
    Config,
}

#[derive(Debug, Args)]
struct NamesArgs {
    /// Names of bridges [default: all of the configuration]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    names: NamesArgs,
    /// Print metrics in the text format of Prometheus
    #[arg(long)]
    metrics: bool,
}

#[derive(Debug, Args)]
struct MapArgs {
    /// Name of the bridge
    name: String,
    /// Number of the message in the community, or its id in the XMPP room
    id: String,
}

#[derive(Debug, Args)]
struct PauseArgs {
    /// Name of the bridge
    name: String,
    /// End the pause
    #[arg(long)]
    off: bool,
}

/// Runs the command.
pub(crate) fn run(args: &BridgeArgs, context: Context) -> Done {
    if let BridgeCommand::Config = args.command {
        output::raw(ackpost_bridge::DEFAULT_TEXT.as_bytes());
        return Ok(Exit::Success);
    }
    let place = Place::load(args.config.as_deref(), args.database.as_deref())?;
    match &args.command {
        BridgeCommand::Config => Ok(Exit::Success),
        BridgeCommand::Run(names) => {
            service::with_few_heaps();
            context.server_runtime().block_on(start(&place, names, context))
        }
        BridgeCommand::Check(names) => context
            .runtime()
            .block_on(check::run(&place, &names.names, context)),
        BridgeCommand::Status(status) => {
            context
                .runtime()
                .block_on(show::status(&place, &status.names.names, status.metrics, context))
        }
        BridgeCommand::Map(map) => context
            .runtime()
            .block_on(show::map(&place, &map.name, &map.id, context)),
        BridgeCommand::Pause(pause) => context.runtime().block_on(pause_one(&place, pause, context)),
    }
}

/// The findings of the doctor about the bridges of a configuration.
pub(crate) async fn diagnoses(config: &Path) -> Result<Vec<Diagnosis>, Failure> {
    check::diagnoses(&Place::load(Some(config), None)?).await
}

async fn pause_one(place: &Place, args: &PauseArgs, context: Context) -> Done {
    place.chosen(std::slice::from_ref(&args.name))?;
    let store = place.open().await?;
    store
        .set_paused(&args.name, !args.off)
        .await
        .map_err(|error| place::store_failure(&error))?;
    if context.json {
        output::json(&json!({ "name": args.name, "paused": !args.off }));
    } else if args.off {
        output::line(&format!("{}: the pause ends", args.name));
    } else {
        output::line(&format!("{}: paused", args.name));
    }
    Ok(Exit::Success)
}

async fn start(place: &Place, names: &NamesArgs, context: Context) -> Done {
    let chosen = place.chosen(&names.names)?;
    if chosen.is_empty() {
        return Err(Failure::new(
            "the configuration has no bridge",
            "add a [[bridge]] section; `ackpost bridge config` explains it",
        ));
    }
    let all = chosen
        .iter()
        .map(|bridge| place::parts(bridge))
        .collect::<Result<Vec<_>, _>>()?;
    place::refuse_doubles(&all)?;
    let store = place.open().await?;
    let mut held = Vec::new();
    for parts in &all {
        held.push(
            store
                .hold(&parts.name)
                .await
                .map_err(|error| place::store_failure(&error))?,
        );
    }
    let service = service::ServiceManager::from_env();
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for parts in all {
        if context.json {
            output::json(&json!({ "name": parts.name, "running": true }));
        } else {
            output::note(&format!(
                "{}: carrying between {} and {}",
                parts.name,
                parts.place.room,
                parts.room.join_link()
            ));
        }
        let (store, stopped) = (store.clone(), stopped.clone());
        running.spawn(async move {
            let name = parts.name.clone();
            (name, Box::pin(carry(parts, store, stopped)).await)
        });
    }
    service.ready("carrying");
    let mut failed = None;
    let mut metrics = tokio::time::interval(METRICS_EVERY);
    let asked = stop_asked();
    let mut asked = std::pin::pin!(asked);
    loop {
        tokio::select! {
            () = &mut asked => break,
            ended = running.join_next() => match ended {
                None => break,
                Some(Ok((name, Err(error)))) => {
                    let failure = Failure::new(format!("{name}: {error}"), error.remedy());
                    // The others go on; the process ends with the last.
                    failed = Some(failure);
                    if let Some(failure) = &failed {
                        output::error(&format!("{}; {}", failure.cause(), failure.remedy()));
                    }
                }
                Some(_) => {}
            },
            _ = metrics.tick() => write_metrics(place, &store).await,
        }
    }
    service.stopping(LEAVE_WITHIN);
    stop.send_replace(true);
    let _ = tokio::time::timeout(LEAVE_WITHIN, async {
        while running.join_next().await.is_some() {}
    })
    .await;
    drop(held);
    store.close().await;
    failed.map_or(Ok(Exit::Success), |_| Ok(Exit::Failure))
}

async fn write_metrics(place: &Place, store: &Store) {
    let Some(file) = &place.config.metrics_file else {
        return;
    };
    let names: Vec<&str> = place
        .config
        .bridges
        .iter()
        .map(|bridge| bridge.name.as_str())
        .collect();
    match show::metrics(store, &names).await {
        Ok(text) => {
            if let Err(error) = place::replace_public(file, text.as_bytes()) {
                tracing::warn!(file = %file.display(), %error, "the metrics cannot be written");
            }
        }
        Err(error) => tracing::warn!(%error, "the metrics cannot be read"),
    }
}
