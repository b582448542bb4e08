//! `ackpost doctor`: why does a message not arrive?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use ackpost_apprise::{LoadedUrls, Options};
use ackpost_notify::ServiceUrl;
use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::cmd::outbox::place::own_state_folder;
use crate::cmd::room::show;
use crate::cmd::{bridge, gateway, identity};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use crate::sources::{self, Wanted};
use ackpost_doctor::{Check, CheckStatus, Diagnosis, Step};

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// URLs to check
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Check every URL of a configuration; without FILE and URLs, of the default files
    #[arg(short, long, value_name = "FILE")]
    config: Vec<String>,
    /// Check only services with these tags of the configuration
    #[arg(short = 'g', long, value_name = "TAG")]
    tag: Vec<String>,
    /// Also send a test message to every target and wait for its confirmation
    #[arg(long)]
    send: bool,
    /// For sessiondm:// URLs: also store a message to the sending account, read it again, and store the day of success
    #[arg(long, conflicts_with = "server")]
    live: bool,
    /// Look up XMPP service records and addresses with this name server; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["server", "send"])]
    dns: Vec<SocketAddr>,
    /// Check a community server through a join link, for operators
    #[arg(long, value_name = "LINK", conflicts_with_all = ["urls", "config", "tag", "send"])]
    server: Option<String>,
    /// Look at both rooms of every bridge of this configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["urls", "config", "tag", "send", "live", "server", "dns"])]
    bridge: Option<PathBuf>,
    /// Look at the answers to alerts of this configuration of the gateway
    #[arg(long, value_name = "FILE", conflicts_with_all = ["urls", "config", "tag", "send", "live", "server", "dns", "bridge"])]
    answers: Option<PathBuf>,
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
                                    "name a readable PEM file",
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
            None => match (&args.bridge, &args.answers) {
                (Some(file), _) => {
                    let all = bridge::diagnoses(file).await?;
                    Ok(all.iter().map(|one| tell(one, context)).collect())
                }
                (_, Some(file)) => Ok(vec![tell(&gateway::diagnosis(file).await?, context)]),
                _ => services(args, context).await,
            },
        }
    })?;
    if found.is_empty() {
        return Err(Failure::new(
            "no URL is given",
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
    options.context.services = context.services;
    options
        .connections
        .state_folder
        .get_or_insert_with(own_state_folder);
    let look = Check::default()
        .with_connections(options.connections.clone())
        .with_send(args.send)
        .with_dns(args.dns.clone());
    let look = Look {
        check: look,
        live: args.live,
    };
    let mut found = Vec::new();
    if !args.urls.is_empty() {
        for text in &args.urls {
            let LoadedUrls {
                services, problems, ..
            } = LoadedUrls::from_text(text, &options.context);
            for problem in &problems {
                found.push(tell(&ackpost_doctor::unloadable(&masked(text), problem), context));
            }
            for service in services {
                found.push(tell(&look.at(&service).await, context));
            }
        }
        return Ok(found);
    }
    let wanted = Wanted {
        urls: &[],
        configs: &args.config,
        tags: &args.tag,
        foreign: None,
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
    let values = ackpost_apprise::Values::new::<&str, String>([], &ackpost_notify::Environment::system());
    for entry in &loaded.notifier {
        if !args.tag.is_empty() && !loaded.filter.matches(&entry.tags) {
            continue;
        }
        let diagnosis = match entry.resolve(&values) {
            Ok(service) => look.at(&service).await,
            Err(problem) => ackpost_doctor::unloadable(&entry.masked_url(), &problem),
        };
        found.push(tell(&diagnosis, context));
    }
    Ok(found)
}

/// Options for checking a URL.
struct Look {
    check: Check,
    /// True if the live network is tried; the day on which it worked is kept.
    live: bool,
}

impl Look {
    async fn at(&self, service: &ServiceUrl) -> Diagnosis {
        let mut diagnosis = ackpost_doctor::service(service, &self.check).await;
        if self.live {
            diagnosis.steps.push(self.live(service, diagnosis.ok).await);
            diagnosis.ok &= diagnosis
                .steps
                .iter()
                .all(|step| step.status != CheckStatus::Fail);
        }
        diagnosis
    }

    /// Proves that the network of a `sessiondm://` URL works today.
    async fn live(&self, service: &ServiceUrl, ok: bool) -> Step {
        let began = Instant::now();
        let step = |status, seen: String, remedy: Option<String>| Step {
            name: "live",
            target: None,
            status,
            seen,
            remedy,
            elapsed: began.elapsed(),
        };
        let options = &self.check.connections;
        let account = match ackpost_sessiondm::Account::of(service, options) {
            None => {
                return step(
                    CheckStatus::Skipped,
                    "for sessiondm:// URLs alone".to_owned(),
                    None,
                );
            }
            Some(_) if !ok => return step(CheckStatus::Skipped, "an earlier step failed".to_owned(), None),
            Some(account) => account,
        };
        let today = show::utc_day();
        let proven = match account {
            Ok(account) => account.prove_live(options, &today).await,
            Err(problem) => Err(problem),
        };
        match proven {
            Ok(proof) => {
                let seen = format!(
                    "stored, signed by {} of {} nodes, and read again; {} is kept as the day on which it worked",
                    proof.signed, proof.nodes, proof.day
                );
                step(CheckStatus::Ok, seen, None)
            }
            Err(problem) => step(CheckStatus::Fail, problem.cause, Some(problem.remedy)),
        }
    }
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
    let verdict = match (diagnosis.url.as_str(), diagnosis.ok) {
        (gateway::ANSWERS, true) => "an alert could be answered",
        (gateway::ANSWERS, false) => "an alert could not be answered",
        (url, true) if url.starts_with(bridge::SUBJECT) => "messages would cross",
        (url, false) if url.starts_with(bridge::SUBJECT) => "messages would not cross",
        (_, true) => "a message would be delivered",
        (_, false) => "a message would not be delivered",
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
