//! Looking at rooms and messages.

use serde_json::Value;
use sogs_client::{JoinLink, ListOptions};

use super::place::{Needs, Place, failed};
use super::{LinkArgs, LinksArgs, ReadArgs, all_of, show};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

pub(super) async fn info(args: &LinksArgs, context: Context) -> Done {
    let (mut worked, mut lost) = (0, 0);
    for link in &args.links {
        for place in args.way.places(link, Needs::Nothing)? {
            match place.room.info().await {
                Ok(info) => {
                    worked += 1;
                    let link = place.room.join_link().to_string();
                    // Other servers have no such call.
                    let moderation = place.room.server().moderation().await.ok();
                    let reports_to = moderation.filter(|moderation| moderation.reports);
                    let account = reports_to.map(|moderation| moderation.account);
                    if context.json {
                        let mut value = show::room_json(&info, Some(&link));
                        value["reports_to"] = serde_json::json!(account);
                        output::json(&value);
                    } else {
                        let mut text = show::room_text(&info, &link);
                        if let Some(account) = account {
                            text.push_str("\n    reports    as direct messages to ");
                            text.push_str(&account.to_string());
                        }
                        output::words(&text);
                    }
                }
                Err(error) => {
                    lost += 1;
                    failed(error).print();
                }
            }
        }
    }
    Ok(all_of(worked, lost))
}

pub(super) async fn list(args: &LinkArgs, context: Context) -> Done {
    let place = args.way.places(&args.link, Needs::Nothing)?.remove(0);
    let server = place.room.server();
    let mut rows = Vec::new();
    for info in server.rooms().await.map_err(failed)? {
        let link = JoinLink::new(server.base_url(), info.token.clone(), server.key());
        if context.json {
            output::json(&show::room_json(&info, Some(&link.to_string())));
        } else {
            let name = output::one_line(&info.name);
            rows.push(vec![info.token.to_string(), info.active_users.to_string(), name]);
        }
    }
    if !context.json {
        output::list("rooms", &["ROOM", "ACTIVE", "NAME"], &rows, context);
    }
    Ok(Exit::Success)
}

pub(super) async fn read(args: &ReadArgs, context: Context) -> Done {
    let (mut worked, mut lost) = (0, 0);
    let several = args.links.len() > 1;
    for link in &args.links {
        for place in args.way.places(link, Needs::Nothing)? {
            match read_one(&place, args, context, several).await {
                Ok(()) => {
                    worked += 1;
                    place.tell_differences();
                }
                Err(failure) => {
                    lost += 1;
                    failure.print();
                }
            }
        }
    }
    Ok(all_of(worked, lost))
}

async fn read_one(place: &Place, args: &ReadArgs, context: Context, several: bool) -> Result<(), Failure> {
    let print = |value: Value, text: String| {
        if context.json {
            let mut value = value;
            value["room"] = place.shown.as_str().into();
            output::json(&value);
        } else {
            output::words(&text);
        }
    };
    if several && !context.json {
        output::words(&format!("== {}", place.shown));
    }
    let options = ListOptions {
        limit: Some(args.limit),
        with_reaction_rows: true,
        ..ListOptions::default()
    };
    if let Some(seqno) = args.since {
        for row in place.room.since(seqno, options).await.map_err(failed)? {
            print(show::row_json(&row), show::row_text(&row));
        }
        return Ok(());
    }
    let messages = match (args.message, args.before) {
        (Some(id), _) => vec![place.room.message(id).await.map_err(failed)?],
        (None, Some(id)) => place.room.before(id, options).await.map_err(failed)?,
        (None, None) => place.room.recent(options).await.map_err(failed)?,
    };
    if messages.is_empty() {
        output::none("messages", context);
    }
    for message in messages.iter().rev() {
        print(show::message_json(message), show::message_text(message));
    }
    Ok(())
}
