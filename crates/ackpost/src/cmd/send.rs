//! `ackpost send`, which is also the default without a command.

mod args;
mod dry_run;

use std::io::IsTerminal as _;

use ackpost_apprise::Options;
use ackpost_notify::{ConnectionOptions, Foreign};
use ackpost_outbox::OutboxId;

use self::args::Checked;
pub(crate) use self::args::{ContentArgs, SendArgs, SourceArgs, signs};
pub(crate) use self::dry_run::{columns, cut};
use crate::cmd::details;
use crate::context::{Context, Invocation};
use crate::exit::{Done, Exit, Failure};
use crate::input;
use crate::output;
use crate::progress::Progress;
use crate::similar::similar;
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
    let connections = ConnectionOptions::default().with_progress(progress.of_deliveries());
    let options = Options::default()
        .with_connections(connections)
        .with_template_values(checked.templates.clone().into_iter().collect())
        .with_recursion(checked.recursion)
        .with_limit(checked.limit)
        .with_service_limit(checked.service_limit)
        .with_sequential(args.disable_async)
        .with_require_proof(args.require_proof);
    let wanted = Wanted {
        urls: &args.urls,
        configs: &args.sources.config,
        tags: &args.sources.tag,
        foreign: checked.foreign,
    };
    let loaded = sources::load(options, &wanted, context).await;
    let problems = loaded.problems();
    output::problems(&problems, context);
    output::refused(&problems, context);
    if let Some(line) = loaded.foreign_line() {
        if loaded.foreign.0 == Foreign::Skip {
            output::remark(&line);
        } else {
            tracing::info!("{line}");
        }
    }
    let wanted = context.name == Invocation::Ackpost && !args.quiet && std::io::stderr().is_terminal();
    if wanted && shows_secret(&args.urls, &loaded.notifier) {
        output::warning(ON_THE_COMMAND_LINE);
    }
    if args.dry_run {
        return Ok(dry_run::print(&loaded, checked.uid_length, context));
    }
    if loaded.notifier.is_empty() && loaded.foreign.1.is_empty() {
        // The reason has been printed above; under Apprise's name, its own message follows.
        if context.name == Invocation::Ackpost && problems.iter().any(ackpost_notify::Diagnostic::is_error) {
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
        let none = match &loaded.foreign {
            (Foreign::Fail, counts) if !counts.is_empty() => return Ok(Exit::Failure),
            (_, counts) if counts.is_empty() => no_match(&args.sources.tag, &loaded.notifier),
            _ => "only entries of other services were chosen, and they are skipped; nothing was sent"
                .to_owned(),
        };
        output::note_own(context, &none);
        return Ok(Exit::NoMatch);
    }
    let (exit, stored) = store_and_deliver(args, loaded, message, &progress, context).await?;
    args.queue.drain(&stored, context).await;
    Ok(exit)
}

/// Stores the messages for the outbox first: they are then safe, even if the rest fails. Returns their ids too.
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
        let whole =
            problems.is_empty() && !loaded.problems().iter().any(ackpost_notify::Diagnostic::is_error);
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
    output::handed_over(&report, context);
    // Problems that were known before have been reported already.
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

/// Explains that no service has the tags, and names those that exist.
fn no_match(wanted: &[String], notifier: &ackpost_apprise::Notifier) -> String {
    const SHOWN: usize = 20;
    let mut known: Vec<String> = notifier
        .iter()
        .flat_map(ackpost_apprise::Entry::tag_names)
        .collect();
    known.sort();
    known.dedup();
    let names: Vec<&str> = wanted
        .iter()
        .flat_map(|one| one.split([',', ' ']))
        .filter(|name| !name.is_empty())
        .collect();
    let mut text = "no service matches the tags; nothing was sent".to_owned();
    for name in &names {
        let meant = similar(name, known.iter().map(String::as_str));
        if !known.iter().any(|one| one == name) && !meant.is_empty() {
            text.push_str(&format!(
                "\n  unknown tag `{name}`: did you mean `{}`?",
                meant.join("` or `")
            ));
        }
    }
    let tags = match known.len() {
        0 => "no service has a tag".to_owned(),
        1..=SHOWN => format!("tags: {}", known.join(", ")),
        more => format!("tags: {} and {} more", known[..SHOWN].join(", "), more - SHOWN),
    };
    text.push_str(&format!("\n  {}", output::one_line(&tags)));
    text
}

/// Returns true when a URL of the command line holds a password or a seed.
fn shows_secret(urls: &[String], notifier: &ackpost_apprise::Notifier) -> bool {
    urls.iter()
        .any(|url| notifier.iter().any(|entry| entry.has_secret_in(url)))
}

/// Nothing to send to. Scripts written for Apprise find these lines on standard output.
fn nothing_loaded(context: Context) -> Exit {
    if context.name == Invocation::Apprise {
        output::line("You must specify at least one service URL or populated configuration file.");
        output::line("Try 'apprise --help' for more information.");
    } else {
        output::error("no service is given; write a URL, or name a configuration file with -c");
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
            let mut notifier = ackpost_apprise::Notifier::with_options(Options::default());
            notifier.add(&url).expect("a URL that loads");
            assert_eq!(
                shows_secret(std::slice::from_ref(&url), &notifier),
                shown,
                "{url}"
            );
        }
    }
}
