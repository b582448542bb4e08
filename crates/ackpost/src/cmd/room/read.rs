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
                    if context.json {
                        output::json(&show::room_json(&info, Some(&link)));
                    } else {
                        output::words(&show::room_text(&info, &link));
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
    for info in server.rooms().await.map_err(failed)? {
        let link = JoinLink::new(server.base_url(), info.token.clone(), server.key());
        if context.json {
            output::json(&show::room_json(&info, Some(&link.to_string())));
        } else {
            output::words(&format!(
                "{:<20} {:>6} active  {}",
                info.token,
                info.active_users,
                show::safe(&info.name)
            ));
        }
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
    if messages.is_empty() && !context.json {
        output::note("no messages");
    }
    for message in messages.iter().rev() {
        print(show::message_json(message), show::message_text(message));
    }
    Ok(())
}
