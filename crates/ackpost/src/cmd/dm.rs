//! `ackpost dm …`: direct messages to people met in a community.

use clap::{Args, Subcommand};
use serde_json::json;
use session_protocol::SessionId;
use sogs_client::types::DirectMessage;

use crate::cmd::room::place::{Needs, Way, failed};
use crate::cmd::room::show;
use crate::cmd::room::{body_of, parse_id};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Direct messages between people of a community.
#[derive(Debug, Args)]
pub(crate) struct DmArgs {
    #[command(subcommand)]
    command: DmCommand,
}

#[derive(Debug, Subcommand)]
enum DmCommand {
    /// Send a direct message to a blinded id (15…) of the server
    Send(SendArgs),
    /// Read the inbox or the outbox
    Read(ReadArgs),
}

#[derive(Debug, Args)]
struct SendArgs {
    /// Join link of any room of the server, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Whom to, as the community shows them: 15…
    #[arg(value_name = "SESSION_ID", value_parser = parse_id)]
    to: SessionId,
    /// The message; from standard input when left out
    #[arg(short, long, value_name = "TEXT")]
    body: Option<String>,
    /// Name to be shown under
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct ReadArgs {
    /// Join link of any room of the server, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// What we sent instead of what we got
    #[arg(long)]
    sent: bool,
    /// Only what came after this number
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Empty the inbox after it has been read
    #[arg(long, conflicts_with = "sent")]
    clear: bool,
    #[command(flatten)]
    way: Way,
}

pub(crate) fn run(args: &DmArgs, context: Context) -> Done {
    context.runtime().block_on(async {
        match &args.command {
            DmCommand::Send(args) => send(args, context).await,
            DmCommand::Read(args) => read(args, context).await,
        }
    })
}

async fn send(args: &SendArgs, context: Context) -> Done {
    let place = args.way.places(&args.link, Needs::Identity)?.remove(0);
    let body = body_of(args.body.as_deref())?;
    if body.is_empty() {
        return Err(Failure::usage(
            "the message is empty",
            "give a text with --body or on standard input",
        ));
    }
    let name = args.name.as_deref().or(place.name.as_deref());
    let receipt = place
        .room
        .server()
        .inbox()
        .send(&args.to, &body, name)
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
            args.to,
            show::local_time(receipt.expires_at)
        ));
    }
    Ok(Exit::Success)
}

async fn read(args: &ReadArgs, context: Context) -> Done {
    let place = args.way.places(&args.link, Needs::Identity)?.remove(0);
    let inbox = place.room.server().inbox();
    let messages = if args.sent {
        inbox.sent(args.since).await
    } else {
        inbox.received(args.since).await
    };
    let messages = messages.map_err(failed)?;
    place.tell_differences();
    if messages.is_empty() && !context.json {
        output::note(if args.sent {
            "nothing was sent"
        } else {
            "the inbox is empty"
        });
    }
    for message in &messages {
        if context.json {
            output::json(&direct_json(message));
        } else {
            output::words(&direct_text(message));
        }
    }
    if args.clear {
        let count = inbox.clear().await.map_err(failed)?;
        let count = output::count(count, "message");
        output::note(&format!("{count} removed from the inbox"));
    }
    Ok(Exit::Success)
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
