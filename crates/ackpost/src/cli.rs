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

/// Send messages to XMPP and Session communities, and report whether the other side confirmed them
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
    /// Show the texts and recipients of a message, without sending it
    Preview(cmd::preview::PreviewArgs),
    /// Check configuration files
    Config(cmd::config::ConfigArgs),
    /// Try Ackpost: run a community server in this process, post to it and verify the message
    #[cfg(unix)]
    Demo(cmd::demo::DemoArgs),
    /// Check every step of a delivery and show what is wrong
    Doctor(cmd::doctor::DoctorArgs),
    /// Carry messages between an XMPP room and a Session community, as one conversation
    Bridge(cmd::bridge::BridgeArgs),
    /// Accept messages over HTTP and SMTP, store and deliver them (compatible with Apprise API)
    Gateway(cmd::gateway::GatewayArgs),
    /// Accept a mail like sendmail and send it to the services of the configuration, for cron and other programs
    Sendmail(cmd::sendmail::SendmailArgs),
    /// Send like sendxmpp and go-sendxmpp, with their options and configuration files, for unchanged scripts
    Sendxmpp(cmd::sendxmpp::SendxmppArgs),
    /// List, retry, drop and deliver stored messages
    Outbox(cmd::outbox::OutboxArgs),
    /// Host a Session community: set up, run, moderate, import, back up
    #[cfg(unix)]
    #[command(subcommand)]
    Server(cmd::server::ServerCommand),
    /// Create, show and import Session accounts
    Identity(cmd::identity::IdentityArgs),
    /// Encrypt over XMPP end to end (OMEMO): make keys, list devices, decide whom to trust
    Omemo(cmd::omemo::OmemoArgs),
    /// Read, post, react and moderate in Session communities
    Room(cmd::room::RoomArgs),
    /// Send and read direct messages in a Session community, or to a Session ID (experimental)
    Dm(cmd::dm::DmArgs),
    /// Print the events of communities and XMPP accounts as they happen
    Watch(cmd::watch::WatchArgs),
    /// List the services and the forms of their URLs
    Details(cmd::details::DetailsArgs),
    /// List the ids of services, for scripts written for Apprise
    Storage(cmd::storage::StorageArgs),
    /// Print completions, man pages and the command reference
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
