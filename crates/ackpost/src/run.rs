//! Runs a command line and returns its exit code.

use ackpost_notify::Services;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::argv::{Ask, Call};
use crate::cli::{Cli, Command};
use crate::cmd;
use crate::context::{Color, Context};
use crate::exit::{Done, Exit};
use crate::{help, log, output};

/// Runs a command line and returns its exit code.
pub(crate) fn run(call: &Call, services: Services) -> Exit {
    match call.ask {
        Ask::Help => {
            help::print_apprise();
            return Exit::Success;
        }
        Ask::Version => {
            help::print_version(call.name);
            return Exit::Success;
        }
        Ask::Command => {}
    }
    let mut tree = cmd::details::with_names(Cli::command(), services);
    if help::is_asked_for(&call.words) {
        tree = help::complete(tree, &call.words);
    }
    let read = tree
        .try_get_matches_from_mut(&call.words)
        .and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut tree)));
    let cli = match read {
        Ok(cli) => cli,
        Err(e) => {
            // A closed pipe is no reason to fail.
            let _ = e.print();
            return if e.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
        }
    };
    match cli.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let context = Context::new(call.name, &cli.global, services);
    let quiet = matches!(&cli.command, Command::Send(args) if args.quiet);
    output::speak_as(context, quiet);
    if call.replaced {
        output::remark("the message is not UTF-8; invalid bytes are sent as U+FFFD");
    }
    // A running community server logs as its configuration says.
    #[cfg(unix)]
    let logs_itself = matches!(cli.command, Command::Server(cmd::server::ServerCommand::Run(_)));
    #[cfg(not(unix))]
    let logs_itself = false;
    if !logs_itself {
        log::start(context);
    }
    // The exit code of a send is about the message alone: scripts send again when it is not 0.
    let about_output = !matches!(cli.command, Command::Send(_));
    match dispatch(cli.command, context).unwrap_or_else(|failure| failure.print()) {
        Exit::Success if about_output && output::is_incomplete() => Exit::Failure,
        exit => exit,
    }
}

fn dispatch(command: Command, context: Context) -> Done {
    match command {
        Command::Send(args) => cmd::send::run(&args, context),
        Command::Sendmail(args) => cmd::sendmail::run(&args, context),
        Command::Sendxmpp(args) => cmd::sendxmpp::run(&args, context),
        Command::Preview(args) => Ok(cmd::preview::run(&args, context)),
        Command::Config(args) => Ok(cmd::config::run(&args, context)),
        #[cfg(unix)]
        Command::Demo(args) => cmd::demo::run(&args, context),
        Command::Doctor(args) => cmd::doctor::run(&args, context),
        Command::Bridge(args) => cmd::bridge::run(&args, context),
        Command::Gateway(args) => cmd::gateway::run(&args, context),
        Command::Outbox(args) => cmd::outbox::run(&args, context),
        #[cfg(unix)]
        Command::Server(command) => cmd::server::run(&command, context),
        Command::Identity(args) => cmd::identity::run(&args, context),
        Command::Omemo(args) => cmd::omemo::run(&args, context),
        Command::Room(args) => cmd::room::run(&args, context),
        Command::Dm(args) => cmd::dm::run(&args, context),
        Command::Watch(args) => cmd::watch::run(&args, context),
        Command::Details(args) => Ok(cmd::details::run(&args, context)),
        Command::Storage(args) => Ok(cmd::storage::run(&args, context)),
        Command::Generate(args) => {
            let tree = cmd::details::with_names(Cli::command(), context.services);
            cmd::generate::run(&args, tree, context.services)
        }
    }
}
