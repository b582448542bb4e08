//! `ackpost doctor`: why does a message not arrive?

use std::net::SocketAddr;
use std::path::PathBuf;

use ackpost_notify::{LoadedUrls, Options};
use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::cmd::identity;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use crate::sources::{self, Wanted};
use ackpost_doctor::{Check, CheckStatus, Diagnosis, Step};

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// URLs to look at
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Check every URL of a configuration; without FILE and URLs, of the default files
    #[arg(short, long, value_name = "FILE")]
    config: Vec<String>,
    /// Of a configuration, only the services with these tags
    #[arg(short = 'g', long, value_name = "TAG")]
    tag: Vec<String>,
    /// Also send a test message to every target and wait for its confirmation
    #[arg(long)]
    send: bool,
    /// Ask this name server about XMPP service records and addresses, not the one of the system; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["server", "send"])]
    dns: Vec<SocketAddr>,
    /// For operators: look at a community server through the join link that people get
    #[arg(long, value_name = "LINK", conflicts_with_all = ["urls", "config", "tag", "send"])]
    server: Option<String>,
    /// PEM file with the certificate authorities to trust for --server
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
}

/// Exit code 0 only when a message would be delivered everywhere.
pub(crate) fn run(args: &DoctorArgs, context: Context) -> Done {
    let found = context.runtime().block_on(async {
        match &args.server {
            Some(link) => {
                let authorities = match &args.ca_file {
                    Some(path) => Some(
                        ackpost_platform::read_limited(path, ackpost_doctor::CA_FILE_BYTES).map_err(
                            |error| {
                                Failure::new(
                                    format!("{}: {error}", path.display()),
                                    "name a PEM file that can be read",
                                )
                            },
                        )?,
                    ),
                    None => None,
                };
                let diagnosis = ackpost_doctor::link(link, authorities).await;
                show(&diagnosis, context);
                Ok(vec![diagnosis.ok])
            }
            None => services(args, context).await,
        }
    })?;
    if found.is_empty() {
        return Err(Failure::new(
            "there is no URL to look at",
            "name a URL, or a configuration with --config",
        ));
    }
    Ok(if found.iter().all(|ok| *ok) {
        Exit::Success
    } else if found.iter().any(|ok| *ok) {
        Exit::Partial
    } else {
        Exit::Failure
    })
}

async fn services(args: &DoctorArgs, context: Context) -> Result<Vec<bool>, Failure> {
    let mut options = Options::default();
    // Join links name no identity: the one that `send` would use is looked at.
    options.context.identity = options.context.identity.or_else(identity::default_seed);
    let look = Check {
        courier: options.courier.clone(),
        send: args.send,
        dns: args.dns.clone(),
    };
    let mut found = Vec::new();
    if !args.urls.is_empty() {
        for text in &args.urls {
            let LoadedUrls { services, problems } = LoadedUrls::from_text(text, &options.context);
            for problem in &problems {
                found.push(tell(&ackpost_doctor::unloadable(&masked(text), problem), context));
            }
            for service in services {
                found.push(tell(&ackpost_doctor::service(&service, &look).await, context));
            }
        }
        return Ok(found);
    }
    let wanted = Wanted {
        urls: &[],
        configs: &args.config,
        tags: &args.tag,
    };
    let loaded = sources::load(options, &wanted, context).await;
    for problem in loaded.problems() {
        if problem.is_error() {
            let place = problem.file.clone().unwrap_or_else(|| "configuration".to_owned());
            found.push(tell(&ackpost_doctor::unloadable(&place, &problem), context));
        } else {
            output::warning(&problem.to_string());
        }
    }
    let values = ackpost_notify::Values::new::<&str, String>([], &ackpost_notify::Environment::system());
    for entry in &loaded.notifier {
        if !args.tag.is_empty() && !loaded.filter.matches(&entry.tags) {
            continue;
        }
        let diagnosis = match entry.resolve(&values) {
            Ok(service) => ackpost_doctor::service(&service, &look).await,
            Err(problem) => ackpost_doctor::unloadable(&entry.masked_url(), &problem),
        };
        found.push(tell(&diagnosis, context));
    }
    Ok(found)
}

/// A URL that did not load holds secrets anywhere: only its schema is shown.
fn masked(text: &str) -> String {
    match text.trim().split_once("://") {
        Some((schema, _)) if schema.len() <= 32 && schema.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            format!("{schema}://…")
        }
        _ => "…".to_owned(),
    }
}

fn tell(diagnosis: &Diagnosis, context: Context) -> bool {
    show(diagnosis, context);
    diagnosis.ok
}

fn show(diagnosis: &Diagnosis, context: Context) {
    if context.json {
        output::json(diagnosis);
        return;
    }
    output::line(&diagnosis.url);
    for step in &diagnosis.steps {
        output::line(&line(step));
        if let Some(remedy) = &step.remedy {
            output::line(&format!("{:<10}{remedy}", ""));
        }
    }
    if let (Some(url), Some(change)) = (&diagnosis.suggested_url, &diagnosis.change) {
        output::line(&format!("  try     {url}"));
        output::line(&format!("{:<10}{change}", ""));
    }
    let verdict = if diagnosis.ok {
        "a message would be delivered"
    } else {
        "a message would not be delivered"
    };
    output::line(&format!("  → {verdict}"));
}

fn line(step: &Step) -> String {
    let style = match step.status {
        CheckStatus::Ok => AnsiColor::Green.on_default(),
        CheckStatus::Warn => AnsiColor::Yellow.on_default(),
        CheckStatus::Fail => AnsiColor::Red.on_default(),
        CheckStatus::Skipped => Style::new().dimmed(),
    };
    let target = step
        .target
        .as_ref()
        .map_or(String::new(), |target| format!(" {target}"));
    let time = match step.status {
        CheckStatus::Skipped => String::new(),
        _ => format!(" ({})", output::elapsed(step.elapsed)),
    };
    format!(
        "  {style}{:<7}{style:#} {}{target}: {}{time}",
        step.status.as_str(),
        step.name,
        step.seen
    )
}
