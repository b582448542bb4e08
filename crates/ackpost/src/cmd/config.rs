//! `ackpost config check`: every entry, tag and group of configuration files, and every problem.

use ackpost_apprise::{Notifier, Options, TagFilter, foreign_words};
use ackpost_notify::{Diagnostic, Foreign};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cmd::identity;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::usage::{BadValue, refuse_value};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List every entry, tag and problem of configuration files; exit code 0 only without problems
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Maximum depth of includes
    #[arg(short = 'R', long, value_name = "INTEGER", default_value_t = 1)]
    recursion_depth: u32,
    /// Show URLs with their secrets and with every default
    #[arg(long)]
    show_secrets: bool,
    /// Files, or file:// and http(s):// addresses (default: the default configuration files)
    #[arg(value_name = "FILE")]
    files: Vec<String>,
}

pub(crate) fn run(args: &ConfigArgs, context: Context) -> Exit {
    let What::Check(args) = &args.what;
    let mut files = args.files.clone();
    if files.is_empty() {
        let env = ackpost_notify::Environment::system();
        files.extend(
            ackpost_apprise::config::default_paths(&env)
                .iter()
                .map(|p| p.to_string_lossy().into_owned()),
        );
    }
    if files.is_empty() {
        return refuse_value(context, BadValue::no_configuration());
    }
    let mut options = Options::default().with_recursion(args.recursion_depth);
    // As `send` reads it: a join link without a seed means the stored identity.
    options.context.identity = identity::default_seed();
    options.context.services = context.services;
    let mut notifier = Notifier::with_options(options);
    context.runtime().block_on(async {
        for file in &files {
            notifier.add_config(file).await;
        }
    });
    let problems = notifier.problems().to_vec();
    if context.json {
        print_json(&notifier, &problems, args.show_secrets);
    } else {
        print(&notifier, args.show_secrets);
        for problem in &problems {
            if problem.is_error() {
                output::error(&problem.to_string());
            } else {
                output::warning(&problem.to_string());
            }
        }
        let counts = notifier.settle_foreign(Foreign::Apprise, &TagFilter::All);
        if !counts.is_empty() {
            let way = match notifier.asset().foreign.unwrap_or_default() {
                Foreign::Apprise => "through Apprise",
                Foreign::Skip => "skipped",
                Foreign::Fail => "not delivered",
            };
            output::line(&format!("{} ({way})", foreign_words(&counts)));
        }
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        output::line(&format!(
            "{}, {}",
            count(notifier.len(), "service"),
            count(problems.len(), "problem")
        ));
    }
    if problems.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    }
}

fn print_json(notifier: &Notifier, problems: &[Diagnostic], secrets: bool) {
    let services: Vec<_> = notifier
        .iter()
        .map(|entry| {
            json!({
                "url": if secrets { entry.expose_url() } else { entry.masked_url() },
                "privacy": entry.masked_url(),
                "tags": entry.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "file": entry.file,
                "line": entry.line,
            })
        })
        .collect();
    let problems: Vec<_> = problems
        .iter()
        .map(|p| {
            json!({"file": p.file, "line": p.line, "column": p.column, "key": p.key, "cause": p.cause, "remedy": p.remedy})
        })
        .collect();
    output::json_document(&json!({ "services": services, "problems": problems }));
}

fn print(notifier: &Notifier, secrets: bool) {
    for entry in notifier {
        let place = match (&entry.file, entry.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            (Some(file), None) => format!("{file}: "),
            _ => String::new(),
        };
        let url = if secrets {
            entry.expose_url()
        } else {
            entry.short_url()
        };
        output::line(&format!("{place}{url}"));
        if !entry.tags.is_empty() {
            let tags: Vec<String> = entry.tags.iter().map(ToString::to_string).collect();
            output::line(&format!("    tags: {}", tags.join(", ")));
        }
    }
}
