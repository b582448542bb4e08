//! `send --queue`, and what every `send` does for messages that still wait.

use std::time::Duration;

use ackpost_notify::outbox::{
    AcceptOptions, Accepted, Budget, Dedup, FlushSettings, Outbox, OutboxId, Quiet, RuleError, State,
    WorkerSettings,
};
use ackpost_notify::{Asset, Message, Problem, Service};
use clap::Args;

use super::place::{PlaceArgs, failure};
use crate::context::{Context, Name};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::sources::Loaded;

/// How long a `send` goes on with what waited before it.
const DRAIN: Duration = Duration::from_secs(10);

/// Sending by way of the outbox.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = super::HEADING)]
pub(crate) struct QueueArgs {
    /// Store the message durably: exit code 0 means stored. What waits is then tried once, unless --no-drain; what does
    /// not arrive goes on with `ackpost gateway run`, `ackpost outbox run`, `ackpost outbox flush` or the next `send`.
    /// In a URL: queue=yes
    #[arg(long)]
    pub(crate) queue: bool,
    /// Give up on a stored message after this time, such as 90s, 2h or 3d (default 24h). In a URL: ttl=
    #[arg(long, value_name = "TIME", requires = "queue", value_parser = super::span)]
    ttl: Option<Duration>,
    /// Fold messages with the same key within a time (default 1h): KEY or KEY/10m; "auto" compares the text. In a URL:
    /// dedup=
    #[arg(long, value_name = "KEY[/TIME]", requires = "queue", value_parser = rule(Dedup::parse))]
    dedup: Option<Dedup>,
    /// Collect messages for this time and send one that says how many. In a URL: digest=
    #[arg(long, value_name = "TIME", requires = "queue", value_parser = super::span)]
    digest: Option<Duration>,
    /// Limit the messages per time to one target, such as 5/16s, or off. In a URL: budget=
    #[arg(long, value_name = "N/TIME", requires = "queue", value_parser = rule(Budget::parse))]
    budget: Option<Budget>,
    /// Send nothing in these hours, such as 22:00-07:00. In a URL: quiet= (and tz=)
    #[arg(long, value_name = "FROM-TO", requires = "queue", value_parser = rule(Quiet::parse))]
    quiet_hours: Option<Quiet>,
    /// Do not deliver waiting messages of the outbox in this run
    #[arg(long)]
    no_drain: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl QueueArgs {
    /// What the flags say about the message.
    fn options(&self) -> AcceptOptions {
        AcceptOptions {
            origin: None,
            ttl: self.ttl,
            digest: self.digest,
            dedup: self.dedup.clone(),
            budget: self.budget,
            quiet: self.quiet_hours,
            asset: None,
            missing_files: Vec::new(),
        }
    }

    /// True when a service is sent to by way of the outbox.
    fn takes(&self, service: &Service) -> bool {
        self.queue
            || service
                .common()
                .queue
                .get("queue")
                .is_some_and(|word| is_yes(word))
    }

    /// Takes the services out that are sent to by way of the outbox, templates resolved, and leaves the others in.
    pub(crate) fn take_from(&self, loaded: &mut Loaded, message: &Message) -> (Vec<Service>, Vec<Problem>) {
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
        services: &[Service],
        asset: &Asset,
        context: Context,
    ) -> Result<(Exit, Vec<OutboxId>), Failure> {
        let services: Vec<&Service> = services.iter().collect();
        let options = AcceptOptions {
            asset: Some(asset.clone()),
            ..self.options()
        };
        let outbox = self.place.open().await?;
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

    /// Tries once what waits in the outbox, if there is one, and prints what came of the entries `own`, unless they were
    /// delivered. Whatever comes of it, the exit code of the command that does it on the side stays.
    pub(crate) async fn drain(&self, own: &[OutboxId], context: Context) {
        if self.no_drain {
            return;
        }
        match self.place.open_existing().await {
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
    // Only what is due: somebody waits for this command to end.
    let settings = FlushSettings {
        deadline: DRAIN,
        now: false,
        wait: false,
        retries: false,
    };
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

/// Prints what the entries of this command wait for, or why they are not delivered.
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
    if context.name == Name::Apprise {
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
