//! `send --queue`, and the work of every `send` for messages that still wait.

use std::time::Duration;

use ackpost_notify::{Asset, Diagnostic, Message, ServiceUrl};
use ackpost_outbox::{
    AcceptOptions, Accepted, Dedup, FlushSettings, Outbox, OutboxId, QuietHours, RateLimit, RuleError, State,
    WorkerSettings,
};
use clap::Args;

use super::place::{PlaceArgs, failure};
use crate::context::{Context, Invocation};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::sources::Loaded;

/// Maximum time for which a `send` goes on with messages that waited before its own.
const DRAIN: Duration = Duration::from_secs(10);

/// Sending by way of the outbox.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = super::HEADING)]
pub(crate) struct QueueArgs {
    /// Store the message durably: exit code 0 means stored. Waiting messages are then tried once, unless --no-drain.
    /// `ackpost gateway run`, `ackpost outbox run`, `ackpost outbox flush` and the next `send` make later attempts.
    /// In a URL: queue=yes
    #[arg(long, help_heading = "Sending")]
    pub(crate) queue: bool,
    /// Give up on a stored message after this time, such as 90s, 2h or 3d (default 24h). In a URL: ttl=
    #[arg(long, value_name = "TIME", requires = "queue", value_parser = super::span)]
    ttl: Option<Duration>,
    /// Send messages with the same key once within a time (default 1h): KEY or KEY/10m; "auto" compares the text. In a URL: dedup=
    #[arg(long, value_name = "KEY[/TIME]", requires = "queue", value_parser = rule(Dedup::parse))]
    dedup: Option<Dedup>,
    /// Collect messages for this time and send one that says how many. In a URL: digest=
    #[arg(long, value_name = "TIME", requires = "queue", value_parser = super::span)]
    digest: Option<Duration>,
    /// Limit the messages per time to one target, such as 5/16s, or off. In a URL: budget=
    #[arg(long, value_name = "N/TIME", requires = "queue", value_parser = rule(RateLimit::parse))]
    budget: Option<RateLimit>,
    /// Send nothing in these hours, such as 22:00-07:00. In a URL: quiet= (and tz=)
    #[arg(long, value_name = "FROM-TO", requires = "queue", value_parser = rule(QuietHours::parse))]
    quiet_hours: Option<QuietHours>,
    /// Do not deliver waiting messages of the outbox in this run
    #[arg(long)]
    no_drain: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl QueueArgs {
    /// Stores every message, as `--queue` does; `later` leaves the delivery to others.
    pub(crate) fn always(place: PlaceArgs, later: bool) -> Self {
        Self {
            queue: true,
            no_drain: later,
            place,
            ..Self::default()
        }
    }

    /// Returns the options of the message from the flags.
    fn options(&self) -> AcceptOptions {
        AcceptOptions::default()
            .with_ttl(self.ttl)
            .with_digest(self.digest)
            .with_dedup(self.dedup.clone())
            .with_budget(self.budget)
            .with_quiet(self.quiet_hours)
    }

    /// True when a service is sent to by way of the outbox.
    fn takes(&self, service: &ServiceUrl) -> bool {
        self.queue
            || service
                .common()
                .queue
                .get("queue")
                .is_some_and(|word| is_yes(word))
    }

    /// Takes the services out that are sent to by way of the outbox, templates resolved, and leaves the others in.
    pub(crate) fn take_from(
        &self,
        loaded: &mut Loaded,
        message: &Message,
    ) -> (Vec<ServiceUrl>, Vec<Diagnostic>) {
        let mut taken = Vec::new();
        let mut problems = Vec::new();
        let mut indices = Vec::new();
        {
            let plan = loaded.notifier.plan(message, &loaded.filter);
            for planned in plan.services {
                if self.takes(&planned.service) {
                    indices.extend(
                        loaded
                            .notifier
                            .iter()
                            .position(|entry| std::ptr::eq(entry, planned.entry)),
                    );
                    taken.push(planned.service);
                }
            }
            if !taken.is_empty() {
                problems = plan.problems;
            }
        }
        indices.sort_unstable();
        indices.dedup();
        for index in indices.into_iter().rev() {
            loaded.notifier.remove(index);
        }
        (taken, problems)
    }

    /// Stores a message for these services, in one commit, and says so.
    pub(crate) async fn store(
        &self,
        message: &Message,
        services: &[ServiceUrl],
        asset: &Asset,
        context: Context,
    ) -> Result<(Exit, Vec<OutboxId>), Failure> {
        let services: Vec<&ServiceUrl> = services.iter().collect();
        let options = self.options().with_asset(Some(asset.clone()));
        let outbox = self.place.open(context.services).await?;
        let stored = outbox.accept(message, &services, &options).await;
        let shown = match &stored {
            Ok(accepted) => {
                for one in accepted {
                    print(one, context);
                }
                let missing = accepted.first().map(|one| one.missing_files.as_slice());
                for cause in missing.unwrap_or_default() {
                    output::error(&format!("{cause}; the message is stored without it"));
                }
                let whole = missing.unwrap_or_default().is_empty();
                let exit = if whole { Exit::Success } else { Exit::Partial };
                Ok((exit, accepted.iter().map(|one| one.id.clone()).collect()))
            }
            Err(error) => Err(failure(error)),
        };
        outbox.close().await;
        shown
    }

    /// Tries each waiting entry of the outbox once, if there is an outbox, and prints the result of the entries `own`,
    /// unless they were delivered. The result does not change the exit code of the command.
    pub(crate) async fn drain(&self, own: &[OutboxId], context: Context) {
        if self.no_drain {
            return;
        }
        match self.place.open_existing(context.services).await {
            Ok(None) => {}
            Ok(Some(outbox)) => {
                drain(&outbox, context).await;
                tell(&outbox, own, context).await;
                outbox.close().await;
            }
            Err(error) => drop(error.print()),
        }
    }
}

/// Reads a rule from the command line.
fn rule<T>(parse: fn(&str) -> Result<T, RuleError>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| parse(text).map_err(|error| super::words(&error))
}

/// A yes as URLs know it.
fn is_yes(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    ["ye", "tr", "on", "en", "al"]
        .iter()
        .any(|yes| word.starts_with(yes))
        || ["y", "t", "1"].contains(&word.as_str())
}

async fn drain(outbox: &Outbox, context: Context) {
    // Only due entries are tried: somebody waits for this command to end.
    let settings = FlushSettings::default()
        .with_deadline(DRAIN)
        .with_now(false)
        .with_wait(false)
        .with_retries(false);
    match outbox.flush(WorkerSettings::default(), settings).await {
        Ok(done) => {
            if done.delivered + done.partial + done.refused + done.expired > 0 {
                let lost = done.refused + done.expired;
                let mut text = format!("outbox: {} delivered", done.delivered);
                if done.partial > 0 {
                    text.push_str(&format!(
                        ", {} partial (see `ackpost outbox list --state partial`)",
                        done.partial
                    ));
                }
                if lost > 0 {
                    text.push_str(&format!(
                        ", {lost} given up (see `ackpost outbox list --state dead`)"
                    ));
                }
                output::note_own(context, &text);
            }
        }
        Err(error) => output::warning(&format!(
            "the outbox could not be emptied: {error}; {}",
            error.remedy()
        )),
    }
}

/// Prints the reason why the entries of this command wait or are not delivered.
async fn tell(outbox: &Outbox, own: &[OutboxId], context: Context) {
    const SHOWN: usize = 10;
    let mut more = 0;
    let mut shown = 0;
    for id in own {
        let Ok(Some(entry)) = outbox.get(id).await else {
            continue;
        };
        if entry.state == State::Delivered {
            continue;
        }
        shown += 1;
        if shown > SHOWN {
            more += 1;
        } else {
            say(&super::show::left(&entry), context);
        }
    }
    if more > 0 {
        say(&format!("and {more} more: `ackpost outbox list`"), context);
    }
}

/// Prints a line about the outbox; under Apprise's name it goes to the log.
fn say(text: &str, context: Context) {
    if context.name == Invocation::Apprise {
        tracing::info!("{text}");
    } else {
        output::note_own(context, text);
    }
}

fn print(one: &Accepted, context: Context) {
    if context.json {
        output::json(&serde_json::json!({
            "target": one.target,
            "service": one.service,
            "outcome": "queued",
            "id": one.id,
            "state": one.state,
            "folded": one.folded,
        }));
    }
    let how = if one.folded { " (with others)" } else { "" };
    let text = format!("stored    {} as {}{how}", one.target, one.id);
    say(&text, context);
}
