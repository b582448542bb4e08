//! The clap tree: every command, in one place.
//!
//! Each command has a folder or file under `cmd/` with its own arguments and its `run`.

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Parser, Subcommand};

use crate::cmd;
use crate::context::GlobalArgs;

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
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a message and report the result for every recipient
    Send(cmd::send::SendArgs),
    /// Show what would be sent where, without any network
    Preview(cmd::preview::PreviewArgs),
    /// Look at configuration files
    Config(cmd::config::ConfigArgs),
    /// Show the whole way of a message: a community server in this process, a post to it, and its verification
    Demo(cmd::demo::DemoArgs),
    /// Check every step of a delivery and show what is wrong
    Doctor(cmd::doctor::DoctorArgs),
    /// Accept messages over HTTP, store and deliver them (compatible with Apprise API)
    Gateway(cmd::gateway::GatewayArgs),
    /// List, retry, drop and deliver stored messages
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        super::Cli::command().debug_assert();
    }
}
