//! `ackpost dm …`: direct messages to people met in a community, and to a Session ID.

pub(crate) mod network;
pub(crate) mod saving;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use session_protocol::SessionId;
use sogs_client::Inbox;
use sogs_client::types::DirectMessage;

use crate::cmd::room::body_of;
use crate::cmd::room::finder::Finder;
use crate::cmd::room::place::{Needs, Way, failed};
use crate::cmd::room::show;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Direct messages between people of a community, and to a Session ID (experimental).
#[derive(Debug, Args)]
#[command(after_help = ackpost_sessiondm::EXPERIMENTAL)]
pub(crate) struct DmArgs {
    #[command(subcommand)]
    command: DmCommand,
}

#[derive(Debug, Subcommand)]
enum DmCommand {
    /// Send a direct message to a blinded id (15…) of a server, or to a Session ID (05…)
    Send(SendArgs),
    /// Read the inbox or the outbox on a server, or the mailbox of an account
    Read(ReadArgs),
    /// Show the Session ID that sends for sessiondm:// URLs without a seed
    Id,
}

#[derive(Debug, Args)]
struct SendArgs {
    /// Join link of any room of the server, saved name, or sessions:// URL; or the Session ID (05…) of a person
    #[arg(value_name = "LINK")]
    link: String,
    /// Recipient in the community: an id (15…), a short id (15e5…b6fe), a display name, or the number of a message. Not used after a Session ID
    #[arg(value_name = "WHO")]
    to: Option<String>,
    /// Text of the message (default: standard input)
    #[arg(short, long, value_name = "TEXT")]
    body: Option<String>,
    /// Display name of the author
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// For a Session ID: time after which the message disappears from the devices, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_span, help_heading = "Session network (experimental)")]
    expire: Option<Duration>,
    #[command(flatten)]
    network: network::NetworkArgs,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct ReadArgs {
    /// Join link of a room of the server, saved name, or sessions:// URL. Or a Session ID (05…): your own for the whole mailbox, another one for messages of that person
    #[arg(value_name = "LINK")]
    link: String,
    /// Show sent messages instead of received ones
    #[arg(long)]
    sent: bool,
    /// Only messages after this number
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Empty the inbox after reading
    #[arg(long, conflicts_with_all = ["sent", "since"])]
    clear: bool,
    /// For a Session ID: save the files of the messages in this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Session network (experimental)")]
    save: Option<PathBuf>,
    #[command(flatten)]
    network: network::NetworkArgs,
    #[command(flatten)]
    way: Way,
}

fn parse_span(text: &str) -> Result<Duration, String> {
    ackpost_platform::span::parse(text).map_err(|error| error.to_string())
}

/// The Session ID given in place of a LINK.
pub(crate) fn account(link: &str) -> Option<SessionId> {
    link.parse::<SessionId>()
        .ok()
        .filter(|id| id.prefix() == session_protocol::Prefix::Account)
}

pub(crate) fn run(args: &DmArgs, context: Context) -> Done {
    context.runtime().block_on(async {
        match &args.command {
            DmCommand::Send(args) => send(args, context).await,
            DmCommand::Read(args) => read(args, context).await,
            DmCommand::Id => network::show_id(context),
        }
    })
}

async fn send(args: &SendArgs, context: Context) -> Done {
    let text = || {
        let body = body_of(args.body.as_deref())?;
        if body.is_empty() {
            return Err(Failure::usage(
                "the message is empty",
                "give a text with --body or on standard input",
            ));
        }
        Ok(body)
    };
    if let Some(to) = account(&args.link) {
        if args.to.is_some() {
            return Err(Failure::usage(
                "there are two recipients",
                "give one Session ID, or the link of a community and an id of it",
            ));
        }
        let letter = network::Letter {
            to,
            body: text()?,
            name: args.name.as_deref(),
            expire: args.expire,
        };
        return network::send(&letter, &args.way.identity, &args.network, context).await;
    }
    let to = args.to.as_deref().ok_or_else(|| {
        Failure::usage(
            "the recipient is missing",
            "give a person of the community behind the link, such as 15…, or a Session ID (05…) alone",
        )
    })?;
    let place = args.way.places(&args.link, Needs::Identity)?.remove(0);
    let body = text()?;
    let to = Finder::new(&place).find(to).await?;
    let name = args.name.as_deref().or(place.name.as_deref());
    let receipt = place
        .room
        .server()
        .inbox()
        .send(&to, &body, name)
        .await
        .map_err(failed)?;
    if context.json {
        output::json(&json!({
            "id": receipt.id,
            "time": show::utc_time(receipt.posted_at),
            "expires": show::utc_time(receipt.expires_at),
            "from": receipt.sender,
            "to": receipt.recipient,
        }));
    } else {
        output::words(&format!(
            "#{}  to {}, kept until {}",
            receipt.id,
            to,
            show::local_time(receipt.expires_at)
        ));
    }
    Ok(Exit::Success)
}

async fn read(args: &ReadArgs, context: Context) -> Done {
    if let Some(id) = account(&args.link) {
        if args.sent || args.clear || args.since.is_some() {
            return Err(Failure::usage(
                "--sent, --since and --clear are for communities",
                "leave them out",
            ));
        }
        let save = args.save.as_deref();
        return network::read(id, &args.way.identity, &args.network, save, context).await;
    }
    let place = args.way.places(&args.link, Needs::Identity)?.remove(0);
    let inbox = place.room.server().inbox();
    let mut since = args.since;
    let mut shown = 0;
    // One answer has a bound, and messages come while others are printed: it ends when nothing is new.
    loop {
        let messages = if args.sent {
            inbox.sent(since).await
        } else {
            inbox.received(since).await
        };
        let mut messages = messages.map_err(failed)?;
        messages.retain(|message| since.is_none_or(|since| message.item.id > since));
        let Some(newest) = messages.iter().map(|message| message.item.id).max() else {
            break;
        };
        for message in &messages {
            if context.json {
                output::json(&direct_json(message));
            } else {
                output::words(&direct_text(message));
            }
        }
        shown += u64::try_from(messages.len()).unwrap_or(u64::MAX);
        since = Some(newest);
    }
    place.tell_differences();
    if shown == 0 {
        output::none("messages", context);
    }
    if args.clear {
        clear(&inbox, shown).await?;
    }
    Ok(Exit::Success)
}

/// Empties the inbox after `shown` messages were printed.
async fn clear(inbox: &Inbox, shown: u64) -> Result<(), Failure> {
    let removed = inbox.clear().await.map_err(failed)?;
    output::note(&format!(
        "{} removed from the inbox",
        output::count(removed, "message")
    ));
    if removed > shown {
        let unread = output::count(removed - shown, "message");
        return Err(Failure::new(
            format!("{unread} came meanwhile and went unread with the others"),
            "ask the senders to write again",
        ));
    }
    Ok(())
}

/// A direct message, for programs.
pub(crate) fn direct_json(message: &DirectMessage) -> serde_json::Value {
    let content = message.opened.as_ref().ok().map(|(content, _)| content);
    let mut value = json!({
        "id": message.item.id,
        "time": show::utc_time(message.item.posted_at),
        "expires": show::utc_time(message.item.expires_at),
        "from": message.item.sender,
        "to": message.item.recipient,
        "account": message.sender(),
    });
    show::put_content(&mut value, content);
    value["verified"] = message.opened.is_ok().into();
    value["problem"] = json!(message.opened.as_ref().err().map(ToString::to_string));
    value
}

/// A direct message, for people.
pub(crate) fn direct_text(message: &DirectMessage) -> String {
    let item = &message.item;
    let head = |name: Option<&str>| {
        format!(
            "{}  #{}  {} to {}",
            show::local_time(item.posted_at),
            item.id,
            show::who(name, &item.sender),
            item.recipient.short()
        )
    };
    match &message.opened {
        Ok((content, account)) => {
            let mut text = format!("{}\n    account {account}", head(content.display_name()));
            show::content_text(&mut text, Some(content));
            text
        }
        Err(error) => format!("{}\n    NOT TO BE TRUSTED: {error}", head(None)),
    }
}
