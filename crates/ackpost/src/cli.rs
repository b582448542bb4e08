//! The clap tree: every command, in one place.
//!
//! Each command has a folder or file under `cmd/` with its own arguments and its `run`.

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::argv::{Ask, Call, Usage};
use crate::cmd;
use crate::context::{Context, Name};
use crate::exit::{Done, Exit};
use crate::{help, log, output};

const STYLES: Styles = Styles::styled()
    .header(Style::new().bold())
    .usage(Style::new().bold())
    .literal(AnsiColor::Cyan.on_default());

/// Post that is acknowledged: messages to XMPP and Session communities, with an answer that is true.
#[derive(Debug, Parser)]
#[command(
    name = "ackpost",
    version,
    styles = STYLES,
    args_override_self = true,
    max_term_width = 100,
    after_help = "`ackpost -t TITLE -b BODY URL…` is short for `ackpost send …`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct GlobalArgs {
    /// Say more, on standard error: -v warnings, -vv information, -vvv debugging, -vvvv everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Debugging output, as -vvv
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,
    /// Results as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour on standard error and in help
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        global = true
    )]
    pub(crate) color: Color,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a message and say what became of it at every target
    Send(cmd::send::SendArgs),
    /// Show what would be sent where, without any network
    Preview(cmd::preview::PreviewArgs),
    /// Look at configuration files
    Config(cmd::config::ConfigArgs),
    /// Show the whole way of a message: a community server in this process, a post to it, and its verification
    Demo(cmd::demo::DemoArgs),
    /// Walk the way of a message and say what stands in it, step by step
    Doctor(cmd::doctor::DoctorArgs),
    /// Take messages over HTTP, store them, deliver them (compatible with Apprise API)
    Gateway(cmd::gateway::GatewayArgs),
    /// Look at stored messages, decide about them, deliver them
    Outbox(cmd::outbox::OutboxArgs),
    /// Host a Session community: set up, run, moderate, import, back up
    #[command(subcommand)]
    Server(cmd::server::ServerCommand),
    /// Session accounts: make, show, import them
    Identity(cmd::identity::IdentityArgs),
    /// Session communities: read, post, react, moderate
    Room(cmd::room::RoomArgs),
    /// Direct messages to people of a Session community
    Dm(cmd::dm::DmArgs),
    /// Follow communities and XMPP accounts: one event after the other
    Watch(cmd::watch::WatchArgs),
    /// List the services and the forms of their URLs
    Details(cmd::details::DetailsArgs),
    /// Accepted for Apprise's sake: these services keep nothing on disk
    Storage(cmd::storage::StorageArgs),
    /// Shell completions, man pages and the command reference
    Generate(cmd::generate::GenerateArgs),
}

/// Runs a command line to its exit code.
pub(crate) fn run(call: &Call) -> Exit {
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
    let cli = match Cli::try_parse_from(&call.words) {
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
    let context = Context::new(call.name, &cli.global);
    // A running community server logs as its configuration says.
    if !matches!(cli.command, Command::Server(cmd::server::ServerCommand::Run(_))) {
        log::start(context.verbosity);
    }
    dispatch(cli.command, context).unwrap_or_else(|failure| failure.print())
}

fn dispatch(command: Command, context: Context) -> Done {
    match command {
        Command::Send(args) => cmd::send::run(&args, context),
        Command::Preview(args) => Ok(cmd::preview::run(&args, context)),
        Command::Config(args) => Ok(cmd::config::run(&args, context)),
        Command::Demo(args) => cmd::demo::run(&args, context),
        Command::Doctor(args) => cmd::doctor::run(&args, context),
        Command::Gateway(args) => cmd::gateway::run(&args, context),
        Command::Outbox(args) => cmd::outbox::run(&args, context),
        Command::Server(command) => cmd::server::run(&command, context),
        Command::Identity(args) => cmd::identity::run(&args, context),
        Command::Room(args) => cmd::room::run(&args, context),
        Command::Dm(args) => cmd::dm::run(&args, context),
        Command::Watch(args) => cmd::watch::run(&args, context),
        Command::Details(args) => Ok(cmd::details::run(&args, context)),
        Command::Storage(args) => Ok(cmd::storage::run(&args, context)),
        Command::Generate(args) => cmd::generate::run(&args, context),
    }
}

/// A value on the command line that is not accepted.
///
/// Scripts written for Apprise find these two lines on standard output, everyone else on standard error.
pub(crate) fn refuse_value(context: Context, text: &str) -> Exit {
    if text.starts_with("Invalid value") {
        return Usage::new(context.name, text.to_owned(), true).print();
    }
    if context.name == Name::Apprise {
        output::line(text);
        output::line("Try 'apprise --help' for more information.");
    } else {
        output::error(text);
        output::note("Try 'ackpost --help' for more information.");
    }
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        super::Cli::command().debug_assert();
    }
}
