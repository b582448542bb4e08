//! `ackpost server …`: a community server, its upkeep, and everything an operator decides.
//!
//! Commands that look or change something speak to the running server over its local socket; when it is
//! stopped they work on the database directly. The commands only build operations and print answers.

mod act;
mod config;
mod content;
mod data;
mod logging;
mod people;
mod rooms;
mod rules;
mod serve;
mod which;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sogs_server::admin::{Operation, Place};

use crate::context::Context;
use crate::exit::{Done, Failure};

/// Commands of the community server.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Make a community server in a folder: configuration, key, database
    Init(serve::InitArgs),
    /// Run the community server of a folder until it is told to stop
    Run(serve::RunArgs),
    /// Say whether the server runs, and its numbers
    Status(At),
    /// Make the running server read its configuration and rules again
    Reload(At),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Copy database, files, key and configuration into a folder, also while the server runs
    Backup(data::BackupArgs),
    /// Make a community server out of a backup
    Restore(data::RestoreArgs),
    /// Check database, files and message signatures
    Verify(data::VerifyArgs),
    /// Take over a pysogs or bunsogs community
    Import(data::ImportArgs),
    /// Copy the community to another database, from SQLite to PostgreSQL or back
    Migrate(data::MigrateArgs),
    /// Give the stopped server another key: its links change, rooms and messages stay
    NewKey(data::NewKeyArgs),
    /// Rooms
    #[command(subcommand)]
    Room(rooms::RoomCommand),
    /// People and their permissions
    #[command(subcommand)]
    User(people::UserCommand),
    /// Moderators and admins
    #[command(subcommand)]
    Mod(people::ModCommand),
    /// Bans
    #[command(subcommand)]
    Ban(people::BanCommand),
    /// Messages, and posts that wait for approval
    #[command(subcommand)]
    Message(content::MessageCommand),
    /// Moderation from the app: the moderators' room
    #[command(subcommand)]
    Moderation(rooms::ModerationCommand),
    /// Files
    #[command(subcommand)]
    File(content::FileCommand),
    /// Filters: words, patterns, alphabets, links, attachments
    #[command(subcommand)]
    Filter(rules::FilterCommand),
    /// Rules of rooms and of the server
    #[command(subcommand)]
    Settings(rules::SettingsCommand),
    /// Raid mode: new identities read only
    #[command(subcommand)]
    Raid(rules::RaidCommand),
    /// The audit log, newest first
    Log(rules::LogArgs),
    /// Take back something of the audit log
    Undo(rules::UndoArgs),
}

/// Which server, and whether it is only tried.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// Folder of the server
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where something holds.
#[derive(Debug, Args)]
#[group(id = "place", required = true, multiple = false)]
pub(crate) struct PlaceArgs {
    /// In this room; can be given several times
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
    pub(crate) fn place(&self) -> Place {
        if self.global {
            Place::Global
        } else if self.all_rooms {
            Place::EveryRoom
        } else {
            Place::Rooms(self.rooms.clone())
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

/// What a command asks of the server of a folder.
pub(crate) type Asked<'a> = Result<(&'a At, Operation), Failure>;

/// Reads a time of more than nothing, in seconds.
pub(crate) fn span(text: &str) -> Result<f64, String> {
    let span = ackpost_platform::span::parse(text).map_err(|error| error.to_string())?;
    if span.is_zero() || span.as_secs() > 1_000_000_000 {
        return Err("a time is more than nothing and at most thirty years".to_owned());
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
