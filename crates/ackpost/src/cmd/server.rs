//! `ackpost server …`: a community server, its upkeep, and everything an operator decides.
//!
//! Commands that look or change something speak to the running server over its local socket; when it is
//! stopped they work on the database directly. The commands only build operations and print answers.

mod act;
mod config;
mod content;
mod data;
mod json;
mod list;
mod logging;
mod people;
mod reload;
mod rooms;
mod rules;
mod serve;
mod successor;
mod which;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sogs_server::admin::{Operation, RoomScope};

use crate::context::Context;
use crate::exit::{Done, Failure};

/// Commands of the community server.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Create a community server in a folder: configuration, key, database
    Init(serve::InitArgs),
    /// Run the community server of a folder until SIGTERM
    Run(serve::RunArgs),
    /// Show whether the server runs, and its counts
    Status(At),
    /// Reload the configuration and rules of the running server
    Reload(At),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Back up database, files, key and configuration into a folder, also while the server runs
    Backup(data::BackupArgs),
    /// Create a community server from a backup
    Restore(data::RestoreArgs),
    /// Check database, files and message signatures
    Verify(data::VerifyArgs),
    /// Import a pysogs or bunsogs community
    Import(data::ImportArgs),
    /// Copy the community to another database, from SQLite to PostgreSQL or back
    Migrate(data::MigrateArgs),
    /// Replace the key of the stopped server: join links change, rooms and messages stay
    NewKey(data::NewKeyArgs),
    /// List, add, change and delete rooms
    #[command(subcommand)]
    Room(rooms::RoomCommand),
    /// List people and set their permissions
    #[command(subcommand)]
    User(people::UserCommand),
    /// List, appoint and dismiss moderators and admins
    #[command(subcommand)]
    Mod(people::ModCommand),
    /// List, add and lift bans
    #[command(subcommand)]
    Ban(people::BanCommand),
    /// List, delete and pin messages, and decide about held posts
    #[command(subcommand)]
    Message(content::MessageCommand),
    /// Open or close the moderators' room, for moderation from the app
    #[command(subcommand)]
    Moderation(rooms::ModerationCommand),
    /// List, keep, delete and move files
    #[command(subcommand)]
    File(content::FileCommand),
    /// List, add, remove and test filters for words, patterns, alphabets, links and attachments
    #[command(subcommand)]
    Filter(rules::FilterCommand),
    /// List, set and clear rules of rooms and of the server
    #[command(subcommand)]
    Settings(rules::SettingsCommand),
    /// Switch raid mode on and off: new accounts can only read
    #[command(subcommand)]
    Raid(rules::RaidCommand),
    /// Show the audit log, newest first
    Log(rules::LogArgs),
    /// Revert entries of the audit log
    Undo(rules::UndoArgs),
}

/// Which server, and whether it is only tried.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// Folder of the server
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Show what would happen, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Rooms to which something applies.
#[derive(Debug, Args)]
#[group(id = "place", required = true, multiple = false)]
pub(crate) struct PlaceArgs {
    /// In this room; may be repeated
    #[arg(long = "room", value_name = "TOKEN", action = clap::ArgAction::Append)]
    rooms: Vec<String>,
    /// In every room that exists now
    #[arg(long)]
    all_rooms: bool,
    /// On the whole server, later rooms included
    #[arg(long)]
    global: bool,
}

impl PlaceArgs {
    pub(crate) fn place(&self) -> RoomScope {
        if self.global {
            RoomScope::Global
        } else if self.all_rooms {
            RoomScope::EveryRoom
        } else {
            RoomScope::Rooms(self.rooms.clone())
        }
    }
}

/// Runs one command.
pub(crate) fn run(command: &ServerCommand, context: Context) -> Done {
    let act = |at: &At, operation: Operation| act::act(context, at, operation);
    match command {
        ServerCommand::Init(args) => serve::init(args, context),
        ServerCommand::Run(args) => serve::run(args, context),
        ServerCommand::Status(at) => act(at, Operation::Status),
        ServerCommand::Reload(at) => act(at, Operation::Reload),
        ServerCommand::Config(command) => config::run(command, context),
        ServerCommand::Backup(args) => data::backup(args, context),
        ServerCommand::Restore(args) => data::restore(args, context),
        ServerCommand::Verify(args) => data::verify(args, context),
        ServerCommand::Import(args) => data::import(args, context),
        ServerCommand::Migrate(args) => data::migrate(args, context),
        ServerCommand::NewKey(args) => data::new_key(args, context),
        ServerCommand::Room(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::User(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::Mod(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::Ban(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::Message(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::Moderation(command) => {
            let (at, operation) = command.operation();
            act(at, operation)
        }
        ServerCommand::File(command) => command.run(context),
        ServerCommand::Filter(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::Settings(rules::SettingsCommand::Names) => rules::names(context),
        ServerCommand::Settings(command) => {
            command.operation().and_then(|(at, operation)| act(at, operation))
        }
        ServerCommand::Raid(command) => command.operation().and_then(|(at, operation)| act(at, operation)),
        ServerCommand::Log(args) => act(&args.at, args.operation()),
        ServerCommand::Undo(args) => act(&args.at, args.operation()),
    }
}

/// Folder of a server, and the operation that a command asks of it.
pub(crate) type ParsedOperation<'a> = Result<(&'a At, Operation), Failure>;

/// Reads a time of more than nothing, in seconds.
pub(crate) fn span(text: &str) -> Result<f64, String> {
    let span = ackpost_platform::span::parse(text).map_err(|error| error.to_string())?;
    if span.is_zero() || span.as_secs() > 1_000_000_000 {
        return Err("a time must be above 0 and at most thirty years".to_owned());
    }
    Ok(span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "whole seconds are exact")]
    fn spans() {
        assert_eq!(
            ["90", "90s", "15m", "12h", "7d", "2w"].map(|text| span(text).expect(text)),
            [90.0, 90.0, 900.0, 43200.0, 604_800.0, 1_209_600.0]
        );
        for bad in ["", "-1", "1y", "x", "0", "1e300d", "nan"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
