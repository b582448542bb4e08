//! `ackpost send`, and what happens without a command.

mod args;
mod dry_run;

use std::io::IsTerminal as _;

use ackpost_notify::outbox::OutboxId;
use ackpost_notify::{CourierOptions, Options};

use self::args::Checked;
pub(crate) use self::args::{ContentArgs, SendArgs, SourceArgs};
pub(crate) use self::dry_run::{columns, cut};
use crate::cmd::details;
use crate::context::{Context, Name};
use crate::exit::{Done, Exit, Failure};
use crate::input;
use crate::output;
use crate::progress::Progress;
use crate::sources::{self, Loaded, Wanted};

const ON_THE_COMMAND_LINE: &str = "the password or seed in the URL can be seen by everybody on this machine, in the list \
                                   of processes; use ?password_file=PATH, ?seed_file=PATH, {env:NAME} or a \
                                   configuration file";

pub(crate) fn run(args: &SendArgs, context: Context) -> Done {
    if args.details {
        details::print(context);
        return Ok(Exit::Success);
    }
    let checked = match args.check(context) {
        Ok(checked) => checked,
        Err(exit) => return Ok(exit),
    };
    context.runtime().block_on(send(args, &checked, context))
}

async fn send(args: &SendArgs, checked: &Checked, context: Context) -> Done {
    let progress = Progress::new(context);
    let courier = CourierOptions {
        progress: progress.of_deliveries(),
        ..CourierOptions::default()
    };
    let options = Options {
        courier,
        template_values: checked.templates.clone().into_iter().collect(),
        recursion: checked.recursion,
        limit: checked.limit,
        service_limit: checked.service_limit,
        sequential: args.disable_async,
        ..Options::default()
    };
    let wanted = Wanted {
        urls: &args.urls,
        configs: &args.sources.config,
        tags: &args.sources.tag,
    };
    let loaded = sources::load(options, &wanted, context).await;
    let problems = loaded.problems();
    output::problems(&problems, context);
    output::refused(&problems, context);
    let wanted = context.name == Name::Ackpost && !args.quiet && std::io::stderr().is_terminal();
    if wanted && shows_secret(&args.urls, &loaded.notifier) {
        output::warning(ON_THE_COMMAND_LINE);
    }
    if args.dry_run {
        return Ok(dry_run::print(&loaded, checked.uid_length, context));
    }
    if loaded.notifier.is_empty() {
        // Why has been said above; under Apprise's name its own words follow.
        if context.name == Name::Ackpost && problems.iter().any(ackpost_notify::Problem::is_error) {
            return Ok(Exit::Failure);
        }
        return Ok(nothing_loaded(context));
    }
    let body = match &args.content.body {
        Some(body) => body.clone(),
        None => input::message()?,
    };
    let message = args
        .content
        .message(&checked.content(), loaded.notifier.asset(), body);
    if message.body.is_empty() && message.title.trim().is_empty() && message.attachments.is_empty() {
        return Err(Failure::new(
            "no message content specified to deliver",
            "give a body with -b or on standard input",
        ));
    }
    // Only now, as in the reference: an empty message is the graver mistake.
    if loaded.notifier.find(&loaded.filter).next().is_none() {
        output::note_own(context, "no service fits the tags; nothing was sent");
        return Ok(Exit::NoMatch);
    }
    let (exit, stored) = store_and_deliver(args, loaded, message, &progress, context).await?;
    args.queue.drain(&stored, context).await;
    Ok(exit)
}

/// Stores first what goes by way of the outbox: it is safe then, whatever becomes of the rest. Returns its ids too.
async fn store_and_deliver(
    args: &SendArgs,
    mut loaded: Loaded,
    message: ackpost_notify::Message,
    progress: &Progress,
    context: Context,
) -> Result<(Exit, Vec<OutboxId>), Failure> {
    let (queued, problems) = args.queue.take_from(&mut loaded, &message);
    if queued.is_empty() {
        return Ok((deliver(&loaded, message, progress, context).await, Vec::new()));
    }
    output::problems(&problems, context);
    let asset = loaded.notifier.asset();
    let (stored, ids) = args.queue.store(&message, &queued, asset, context).await?;
    if loaded.notifier.find(&loaded.filter).next().is_none() {
        let whole = problems.is_empty() && !loaded.problems().iter().any(ackpost_notify::Problem::is_error);
        return Ok((if whole { stored } else { Exit::Partial }, ids));
    }
    let exit = match deliver(&loaded, message, progress, context).await {
        Exit::Success => stored,
        _ => Exit::Partial,
    };
    Ok((exit, ids))
}

async fn deliver(
    loaded: &Loaded,
    message: ackpost_notify::Message,
    progress: &Progress,
    context: Context,
) -> Exit {
    let filter = &loaded.filter;
    tracing::info!("Notifying {} service(s).", loaded.notifier.find(filter).count());
    let report = loaded.notifier.notify_to(message, filter).await;
    progress.clear();
    output::report(&report, context);
    // What was known before has been said before.
    let said: Vec<String> = loaded.problems().iter().map(ToString::to_string).collect();
    let news: Vec<_> = report
        .problems
        .iter()
        .filter(|p| !said.contains(&p.to_string()))
        .cloned()
        .collect();
    output::problems(&news, context);
    report.status.into()
}

/// Returns true when a URL of the command line holds a password or a seed.
fn shows_secret(urls: &[String], notifier: &ackpost_notify::Notifier) -> bool {
    urls.iter()
        .any(|url| notifier.iter().any(|entry| entry.has_secret_in(url)))
}

/// Nothing to send to. Scripts written for Apprise find these lines on standard output.
fn nothing_loaded(context: Context) -> Exit {
    let text = "You must specify at least one service URL or populated configuration file.";
    let hint = format!("Try '{} --help' for more information.", context.name.as_str());
    for line in [text, hint.as_str()] {
        if context.name == Name::Apprise {
            output::line(line);
        } else {
            output::note(line);
        }
    }
    Exit::Failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_a_secret_that_it_writes_and_none_that_it_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let (key, seed) = ("a03c".repeat(16), "0123456789abcdef".repeat(4));
        let file = |name: &str, secret: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, secret).expect("written");
            path.display().to_string()
        };
        let (password_file, seed_file) = (file("one", "hunter2-Zebra"), file("two", &seed));
        for (url, shown) in [
            ("xmpps://u:hunter2-Zebra@h.org/jane".to_owned(), true),
            ("xmpps://u:hunter2%2DZebra@h.org/jane".to_owned(), true),
            ("xmpps://u@h.org/jane?password=hunter2-Zebra".to_owned(), true),
            (
                format!("xmpps://u@h.org/jane?password_file={password_file}"),
                false,
            ),
            (format!("xmpps://u:{{file:{password_file}}}@h.org/jane"), false),
            (format!("session://{key}:{seed}@h.org/room"), true),
            (
                format!("session://{key}@h.org/room?seed={}", seed.to_uppercase()),
                true,
            ),
            (format!("session://{key}@h.org/room?seed_file={seed_file}"), false),
        ] {
            let mut notifier = ackpost_notify::Notifier::with_options(Options::default());
            notifier.add(&url).expect("a URL that loads");
            assert_eq!(
                shows_secret(std::slice::from_ref(&url), &notifier),
                shown,
                "{url}"
            );
        }
    }
}
