//! `ackpost watch …`: what happens in communities and on XMPP accounts, as it happens.
//!
//! Both services give events of one shape: `service`, `source`, `event`, `time`, and, where they apply, `room`,
//! `from`, `name`, `id`, `body`, `verified`, `own`. `docs/guide/session-sdk.md` lists them.

mod place;
mod sogs;
mod xmpp;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use ackpost_notify::Service;
use clap::Args;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cmd::room::place::{Needs, Way};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_platform::service::stop_asked;
use place::Cursors;

/// How long accounts have to leave at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Follow communities and XMPP accounts.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// sessions:// or xmpps:// URLs, join links of communities, or saved names
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    /// Remember in this file what has been seen, and go on from there
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Begin with this many messages of the past in each community room
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    backlog: u32,
    /// Seconds between two looks at a community server
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// End after so many events
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    #[command(flatten)]
    way: Way,
}

/// One event of one source, ready to be printed.
struct Seen {
    /// For programs.
    value: Value,
    /// For people; `None` for what only programs want to know.
    text: Option<String>,
    /// Key and place to remember once it is printed.
    mark: Option<(String, Value)>,
}

/// What a source ends with; `None` when it was closed.
type Ended = Option<Failure>;

pub(crate) fn run(args: &WatchArgs, context: Context) -> Done {
    context.runtime().block_on(watch(args, context))
}

async fn watch(args: &WatchArgs, context: Context) -> Done {
    let mut cursors = Cursors::load(args.cursor.clone())?;
    let (sender, events) = mpsc::channel::<Seen>(64);
    let (tell, stop) = watch::channel(false);
    // Each account holds one of these until it has left.
    let (present, mut everybody_left) = mpsc::channel::<()>(1);
    let mut sources = JoinSet::new();
    for url in &args.urls {
        let scheme = url
            .split_once("://")
            .map_or("", |(scheme, _)| scheme)
            .to_ascii_lowercase();
        if matches!(scheme.as_str(), "xmpp" | "xmpps") {
            let mut access = Service::parse(url, &ackpost_notify::Context::default())
                .map_err(unusable)?
                .xmpp()
                .ok_or_else(|| Failure::usage("this is no XMPP account", "give an xmpps:// URL"))?
                .map_err(unusable)?;
            access.account = args.way.trust(access.account)?;
            let source = xmpp::Source::new(access, &cursors);
            let (sender, stop, present) = (sender.clone(), stop.clone(), present.clone());
            sources.spawn(async move {
                let ended = source.run(sender, stop).await;
                drop(present);
                ended
            });
        } else {
            let places = args.way.places(url, Needs::Nothing)?;
            let options = sogs::Options {
                backlog: args.backlog,
                interval: Duration::from_secs(args.interval),
            };
            let source = sogs::Source::new(&places, options, &cursors);
            sources.spawn(source.run(sender.clone()));
        }
    }
    drop(sender);
    let done = follow(args, context, events, &mut sources, &mut cursors).await;
    // Accounts leave their rooms and end their sessions, instead of just being gone.
    let _ = tell.send(true);
    drop(present);
    let _ = tokio::time::timeout(LEAVE_WITHIN, everybody_left.recv()).await;
    done
}

/// Prints what comes until there is a reason to end.
async fn follow(
    args: &WatchArgs,
    context: Context,
    mut events: mpsc::Receiver<Seen>,
    sources: &mut JoinSet<Ended>,
    cursors: &mut Cursors,
) -> Done {
    let mut left = args.count;
    let mut failed = false;
    let mut lost = HashSet::new();
    let mut stop = std::pin::pin!(stop_asked());
    loop {
        if left == Some(0) {
            // What was waited for has not been seen where it cannot be read.
            return Ok(if lost.is_empty() {
                Exit::Success
            } else {
                Exit::Failure
            });
        }
        tokio::select! {
            () = &mut stop => return Ok(Exit::Success),
            Some(ended) = sources.join_next() => {
                if let Ok(Some(failure)) = ended {
                    failure.print();
                    failed = true;
                }
            }
            seen = events.recv() => {
                let Some(seen) = seen else {
                    // The last source has ended; its reason is told before we end too.
                    while let Some(ended) = sources.join_next().await {
                        if let Ok(Some(failure)) = ended {
                            failure.print();
                            failed = true;
                        }
                    }
                    return Ok(if failed { Exit::Failure } else { Exit::Success });
                };
                print(&seen, context);
                let room = (seen.value["source"].to_string(), seen.value["room"].to_string());
                match seen.value["event"].as_str() {
                    Some("room_lost") => drop(lost.insert(room)),
                    Some("room_back") => drop(lost.remove(&room)),
                    _ => {}
                }
                if let Some((key, place)) = seen.mark {
                    cursors.set(&key, place)?;
                }
                left = left.map(|left| left - 1);
            }
        }
    }
}

fn print(seen: &Seen, context: Context) {
    if context.json {
        output::json(&seen.value);
    } else if let Some(text) = &seen.text {
        output::words(text);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn unusable(problem: ackpost_notify::Diagnostic) -> Failure {
    Failure::usage(problem.to_string(), "see `ackpost details` for the forms")
}
