//! `ackpost watch …`: what happens in communities, on XMPP accounts and in mailboxes of Session IDs, as it happens.
//!
//! All services give events of one shape: `service`, `source`, `event`, `time`, and, where they apply, `room`,
//! `from`, `name`, `id`, `body`, `verified`, `own`. `docs/guide/session-sdk.md` lists them.

mod mailbox;
mod place;
mod plan;
mod sogs;
mod xmpp;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::cmd::dm::network::NetworkArgs;
use crate::cmd::room::place::Way;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_platform::service::stop_asked;
use place::Cursors;
use plan::Plan;

/// Maximum time for accounts to leave at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Follow communities, XMPP accounts and mailboxes of Session IDs (experimental).
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// sessions:// or xmpps:// URLs, join links of communities, or saved names. For a mailbox, a sessiondm:// URL or a Session ID (05…): your own for all messages, another one for messages of that person
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    /// Store the position in this file and continue from there; the position in a mailbox is always stored, then beside this file
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Start with this many earlier messages in each community room
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    backlog: u32,
    /// Seconds between two requests to a community server or a mailbox
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Stop after this many events
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// For a mailbox of a Session ID: save the files of the messages in this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Session network (experimental)")]
    save: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    way: Way,
}

/// One event of one source, ready to be printed.
struct Seen {
    /// The event for programs; null if only the place is to be remembered.
    value: Value,
    /// The event for people; `None` if it is only for programs.
    text: Option<String>,
    /// Key and place to remember once it is printed.
    mark: Option<(String, Value)>,
    /// Notified once it is printed.
    printed: Option<oneshot::Sender<()>>,
}

impl Seen {
    /// A place that was reached without an event.
    fn place(key: String, place: Value) -> Self {
        Self {
            value: Value::Null,
            text: None,
            mark: Some((key, place)),
            printed: None,
        }
    }
}

/// Result of a source at its end; `None` when it was closed.
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
    let Plan {
        mailboxes,
        accounts,
        communities,
    } = Plan::of(args, context)?;
    for source in mailboxes {
        let (sender, stop, present) = (sender.clone(), stop.clone(), present.clone());
        sources.spawn(async move {
            let ended = source.run(sender, stop).await;
            drop(present);
            ended
        });
    }
    for access in accounts {
        let source = xmpp::Source::new(access, &cursors);
        let (sender, stop, present) = (sender.clone(), stop.clone(), present.clone());
        sources.spawn(async move {
            let ended = source.run(sender, stop).await;
            drop(present);
            ended
        });
    }
    for rooms in communities {
        let options = sogs::Options {
            backlog: args.backlog,
            interval: Duration::from_secs(args.interval),
        };
        let source = sogs::Source::new(&rooms, options, &cursors);
        sources.spawn(source.run(sender.clone()));
    }
    drop(sender);
    let done = follow(args, context, events, &mut sources, &mut cursors).await;
    let stored = cursors.store();
    // Accounts leave their rooms and end their sessions, instead of just being gone.
    let _ = tell.send(true);
    drop(present);
    let _ = tokio::time::timeout(LEAVE_WITHIN, everybody_left.recv()).await;
    // The first failure is the one to show.
    done.and_then(|exit| stored.map(|()| exit))
}

/// Prints events until there is a reason to end.
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
            // Events of a room that can no longer be read may be missing, so the run fails.
            return Ok(if lost.is_empty() {
                Exit::Success
            } else {
                Exit::Failure
            });
        }
        tokio::select! {
            () = &mut stop => return Ok(Exit::Success),
            Some(ended) = sources.join_next() => {
                failed |= tell_end(ended);
            }
            seen = events.recv() => {
                let Some(seen) = seen else {
                    // The last source has ended; its reason is told before we end too.
                    while let Some(ended) = sources.join_next().await {
                        failed |= tell_end(ended);
                    }
                    return Ok(if failed { Exit::Failure } else { Exit::Success });
                };
                let counts = !seen.value.is_null();
                if counts {
                    print(&seen, context);
                }
                let room = (seen.value["source"].to_string(), seen.value["room"].to_string());
                match seen.value["event"].as_str() {
                    Some("room_lost") => drop(lost.insert(room)),
                    Some("room_back") => drop(lost.remove(&room)),
                    _ => {}
                }
                if let Some((key, place)) = seen.mark {
                    cursors.set(&key, place)?;
                }
                // While events follow each other, the file is not written for each.
                if events.is_empty() {
                    cursors.store()?;
                }
                if let Some(printed) = seen.printed {
                    // A source that has ended needs no answer.
                    let _ = printed.send(());
                }
                left = left.map(|left| left - u64::from(counts));
            }
        }
    }
}

/// Prints why a source ended; returns true if it failed.
fn tell_end(ended: Result<Ended, tokio::task::JoinError>) -> bool {
    let failure = match ended {
        Ok(None) => return false,
        Ok(Some(failure)) => failure,
        Err(error) => Failure::new(
            format!("a source ended by a mistake in this program: {error}"),
            "start again, and report it with the lines before this one",
        ),
    };
    failure.print();
    true
}

fn print(seen: &Seen, context: Context) {
    if context.json {
        output::json(&seen.value);
    } else if let Some(text) = &seen.text {
        output::words(text);
    }
}
