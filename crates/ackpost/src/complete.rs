//! Completion in the shell: the shell asks the program itself, so that values such as tags, accounts and rooms are offered.
//!
//! The scripts of `ackpost generate completions` call the program with [`VARIABLE`] set; clap's engine answers.

#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

use ackpost_apprise::{Notifier, Options};
use ackpost_notify::Services;
use ackpost_outbox::State;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
#[cfg(unix)]
use sogs_server::admin::{self, AdminRequest, Operation};

use crate::cli::Cli;
use crate::cmd;

/// Set by the completion scripts; its value is the name of the shell.
const VARIABLE: &str = "ACKPOST_COMPLETE";
/// Longest time that a list of values may take: a person waits at the prompt.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest number of values that are offered.
const MOST: usize = 1000;

/// Answers a request of a completion script. Returns true if this was one.
pub(crate) fn answer(services: Services) -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let folder = std::env::current_dir().ok();
    // An error has nowhere to go: whatever is printed would become a completion.
    let _ = CompleteEnv::with_factory(|| tree(services))
        .var(VARIABLE)
        .bin("ackpost")
        .completer("ackpost")
        .try_complete(std::env::args_os(), folder.as_deref());
    true
}

/// Returns the script that a shell loads.
pub(crate) fn script(shell: &str) -> Option<Vec<u8>> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell)?;
    let mut text = Vec::new();
    shell
        .write_registration(VARIABLE, "ackpost", "ackpost", "ackpost", &mut text)
        .ok()?;
    Some(text)
}

fn tree(services: Services) -> Command {
    offer(cmd::details::with_names(Cli::command(), services), "")
}

fn offer(command: Command, path: &str) -> Command {
    let mut command = command.mut_args(|arg| match source(&arg, path) {
        Some(values) => arg.add(ArgValueCandidates::new(values)),
        None => arg,
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        let below = format!("{path} {name}");
        command = command.mut_subcommand(&name, |sub| offer(sub, below.trim()));
    }
    command
}

/// Source of the values of an argument.
type Values = fn() -> Vec<CompletionCandidate>;

/// Returns the source of the values of an argument.
fn source(arg: &Arg, path: &str) -> Option<Values> {
    let first = path.split(' ').next().unwrap_or_default();
    let value = arg
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string)
        .unwrap_or_default();
    Some(match (first, arg.get_long(), arg.get_id().as_str()) {
        ("send" | "preview" | "doctor" | "outbox", Some("tag"), _) => tags,
        ("identity", None, "name") if path != "identity new" && path != "identity import" => identities,
        ("room" | "dm" | "watch", Some("identity"), _) => identities,
        ("room", None, "names") => communities,
        ("room" | "dm", None, _) if value == "LINK" && path != "room save" => communities,
        ("outbox", Some("state"), _) => states,
        ("server", Some("room"), _) => rooms,
        ("server", None, _) if value == "TOKEN" && path != "server room add" => rooms,
        ("server", None, "name") if path.starts_with("server settings") => rules,
        ("gateway", None, "name") if path == "gateway token remove" => tokens,
        _ => return None,
    })
}

/// Runs a request with a limit of time.
fn bounded<T: Default>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .ok()
        .and_then(|runtime| runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.ok() }))
        .unwrap_or_default()
}

fn candidates(mut values: Vec<String>) -> Vec<CompletionCandidate> {
    values.sort();
    values.dedup();
    values.truncate(MOST);
    values.into_iter().map(CompletionCandidate::new).collect()
}

/// Tags of the default configuration files.
fn tags() -> Vec<CompletionCandidate> {
    let env = ackpost_notify::Environment::system();
    let mut notifier = Notifier::with_options(Options::default());
    bounded(async {
        for file in ackpost_apprise::config::default_paths(&env) {
            notifier.add_config(&file.to_string_lossy()).await;
        }
    });
    candidates(
        notifier
            .iter()
            .flat_map(ackpost_apprise::Entry::tag_names)
            .collect(),
    )
}

/// Names of the stored identities.
fn identities() -> Vec<CompletionCandidate> {
    candidates(cmd::identity::store::names().unwrap_or_default())
}

/// Names of the saved communities.
fn communities() -> Vec<CompletionCandidate> {
    candidates(cmd::room::saved::names().unwrap_or_default())
}

fn states() -> Vec<CompletionCandidate> {
    candidates(State::ALL.iter().map(|state| state.as_str().to_owned()).collect())
}

/// The community server needs a Unix system.
#[cfg(not(unix))]
fn rules() -> Vec<CompletionCandidate> {
    Vec::new()
}

/// The community server needs a Unix system.
#[cfg(not(unix))]
fn rooms() -> Vec<CompletionCandidate> {
    Vec::new()
}

/// Rules of a community.
#[cfg(unix)]
fn rules() -> Vec<CompletionCandidate> {
    candidates(
        sogs_server::model::rules::RULES
            .iter()
            .map(|rule| rule.name.to_owned())
            .collect(),
    )
}

/// Rooms of the community in the current folder.
#[cfg(unix)]
fn rooms() -> Vec<CompletionCandidate> {
    let folder = Path::new(".");
    if !folder.join("server.toml").is_file() {
        return Vec::new();
    }
    let request = AdminRequest {
        actor: String::new(),
        dry_run: true,
        operation: Operation::RoomList,
    };
    let answer = bounded(async { admin::perform(folder, request).await.ok() });
    let rooms = answer.map(|answer| answer.data).unwrap_or_default();
    let list = rooms
        .get("rooms")
        .unwrap_or(&rooms)
        .as_array()
        .cloned()
        .unwrap_or_default();
    let token = |room: &serde_json::Value| {
        room.get("token")
            .and_then(|token| token.as_str())
            .map(str::to_owned)
    };
    candidates(list.iter().filter_map(token).collect())
}

/// Names of the tokens of the gateway.
fn tokens() -> Vec<CompletionCandidate> {
    candidates(cmd::gateway::token_names())
}
