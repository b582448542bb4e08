//! Posting, editing, deleting, reacting, pinning.

use serde_json::json;
use sogs_client::{Post, Posted, Withheld};

use super::finder::Finder;
use super::place::{Needs, Place, failed};
use super::{DeleteArgs, EditArgs, PinArgs, PostArgs, ReactArgs, all_of, body_of, files, show};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

pub(super) async fn post(args: &PostArgs, context: Context) -> Done {
    let mut places = Vec::new();
    for link in &args.links {
        places.extend(args.way.places(link, Needs::Identity)?);
    }
    let body = if args.text.body.is_none() && !args.attach.is_empty() {
        String::new()
    } else {
        body_of(args.text.body.as_deref())?
    };
    // Everything is looked at before anything goes out.
    let attachments = files::read_all(&args.attach)?;
    let (mut worked, mut lost) = (0, 0);
    for place in &places {
        match post_one(place, args, &body, &attachments, context).await {
            Ok(posted) => {
                print_posted(place, &posted, context);
                match posted.withheld {
                    None => worked += 1,
                    Some(withheld) => {
                        lost += 1;
                        Failure::new(withheld.reason(), withheld.remedy()).print();
                    }
                }
            }
            Err(failure) => {
                lost += 1;
                failure.print();
            }
        }
    }
    Ok(all_of(worked, lost))
}

fn print_posted(place: &Place, posted: &Posted, context: Context) {
    let id = posted.id;
    if !context.json {
        let withheld = if posted.withheld.is_some() {
            "  withheld"
        } else {
            ""
        };
        output::words(&format!("{}  #{id}{withheld}", place.shown));
        return;
    }
    // A server may give back its number alone.
    let mut value = match &posted.message {
        Some(message) => show::message_json(message),
        None => json!({ "id": id }),
    };
    value["room"] = place.shown.as_str().into();
    value["withheld"] = json!(posted.withheld.map(Withheld::reason));
    output::json(&value);
}

async fn post_one(
    place: &Place,
    args: &PostArgs,
    body: &str,
    attachments: &[files::Piece],
    context: Context,
) -> Result<Posted, Failure> {
    let mut post = Post::text(body).name(name(args.text.name.as_deref(), place));
    if let Some(id) = args.reply_to {
        post = post.reply_to(&place.room.message(id).await.map_err(failed)?);
    }
    for piece in attachments {
        post = post.file(files::upload_one(place, piece, context).await?);
    }
    if let Some(who) = &args.whisper {
        post = post.whisper_to(Finder::new(place).find(who).await?);
    }
    if args.whisper_mods {
        post = post.whisper_mods();
    }
    place.room.post_or_find(post).await.map_err(failed)
}

/// The name to show: of the command line, of the URL, or none.
fn name(given: Option<&str>, place: &Place) -> String {
    given.or(place.name.as_deref()).unwrap_or_default().to_owned()
}

pub(super) async fn edit(args: &EditArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let body = match (&args.body, &args.name) {
        (None, Some(_)) => String::new(),
        (body, _) => body_of(body.as_deref())?,
    };
    let post = Post::text(body).name(args.name.as_deref().unwrap_or_default());
    let edited = if args.whole {
        place.room.replace(args.id, post).await
    } else {
        place.room.edit(args.id, post).await
    };
    let edited = edited.map_err(failed)?;
    if edited.whole && !args.whole {
        output::remark(
            "the server does not show the message, so it was replaced completely: its files, name and reply are lost",
        );
    }
    let withheld = edited.withheld;
    if context.json {
        let reason = withheld.map(Withheld::reason);
        output::json(&json!({ "room": place.shown, "id": args.id, "done": "edited", "withheld": reason }));
    } else {
        let end = if withheld.is_some() { ", withheld" } else { "" };
        output::words(&format!("{}  #{}  edited{end}", place.shown, args.id));
    }
    match withheld {
        None => Ok(Exit::Success),
        Some(withheld) => Err(Failure::new(withheld.reason(), withheld.remedy())),
    }
}

fn done(context: Context, place: &Place, id: u64, what: &str) {
    if context.json {
        output::json(&json!({ "room": place.shown, "id": id, "done": what }));
    } else {
        output::words(&format!("{}  #{id}  {what}", place.shown));
    }
}

pub(super) async fn delete(args: &DeleteArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    if args.ids.is_empty() {
        return delete_all(args, &place, context).await;
    }
    let (mut worked, mut lost) = (0, 0);
    for &id in &args.ids {
        match place.room.delete(id).await {
            Ok(()) => {
                worked += 1;
                done(context, &place, id, "deleted");
            }
            Err(error) => {
                lost += 1;
                failed(error).print();
            }
        }
    }
    Ok(all_of(worked, lost))
}

/// Deletes all messages of people.
async fn delete_all(args: &DeleteArgs, place: &Place, context: Context) -> Done {
    let people = Finder::new(place).list(&args.file.text(&args.all_of)?).await?;
    let (mut worked, mut lost) = (0, 0);
    for user in &people {
        let done = if args.everywhere {
            place.room.server().delete_everywhere(user).await.map(|deleted| {
                let count = output::count(deleted.total, "message");
                (json!(deleted), format!("{count} of {} deleted", user.short()))
            })
        } else {
            place.room.delete_all(user).await.map(|()| {
                let words = format!("{}  all messages of {} deleted", place.shown, user.short());
                (
                    json!({ "room": place.shown, "user": user, "done": "deleted" }),
                    words,
                )
            })
        };
        match done {
            Ok((value, words)) => {
                worked += 1;
                if context.json {
                    output::json(&value);
                } else {
                    output::words(&words);
                }
            }
            Err(error) => {
                lost += 1;
                failed(error).print();
            }
        }
    }
    Ok(all_of(worked, lost))
}

pub(super) async fn react(args: &ReactArgs, context: Context) -> Done {
    let needs = if args.who { Needs::Nothing } else { Needs::Identity };
    let place = args.way.place(&args.link, needs)?;
    let room = &place.room;
    let emoji = args.emoji.as_deref().unwrap_or_default();
    if !(args.who || args.clear || args.remove || looks_like_emoji(emoji)) {
        return Err(Failure::usage(
            format!("`{emoji}` is not an emoji"),
            "give the emoji itself, as in \u{1f44d}",
        ));
    }
    if args.who {
        let mut rows = Vec::new();
        for (user, time) in room.reactors(args.id, emoji, None).await.map_err(failed)? {
            if context.json {
                output::json(&json!({ "from": user, "time": show::utc_time(time) }));
            } else {
                rows.push(vec![show::local_time(time), user.to_string()]);
            }
        }
        if !context.json {
            output::list("reactions", &["TIME", "PERSON"], &rows, context);
        }
        return Ok(Exit::Success);
    }
    let (changed, what) = if args.clear {
        let removed = room
            .clear_reactions(args.id, args.emoji.as_deref())
            .await
            .map_err(failed)?
            .removed;
        (removed, "reactions removed")
    } else if args.remove {
        (
            u64::from(room.unreact(args.id, emoji).await.map_err(failed)?.removed),
            "reaction removed",
        )
    } else {
        (
            u64::from(room.react(args.id, emoji).await.map_err(failed)?.added),
            "reaction added",
        )
    };
    if context.json {
        output::json(&json!({ "room": place.shown, "id": args.id, "done": what, "changed": changed }));
    } else if changed == 0 {
        output::words(&format!("{}  #{}  nothing to change", place.shown, args.id));
    } else {
        output::words(&format!("{}  #{}  {what}", place.shown, args.id));
    }
    Ok(Exit::Success)
}

/// Servers take any 1 to 12 code points, but no app shows words as a reaction.
fn looks_like_emoji(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii() && !c.is_alphanumeric())
}

pub(super) async fn pin(args: &PinArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    match args.id {
        Some(id) if args.remove => {
            let unpinned = place.room.unpin(id).await.map_err(failed)?.unpinned;
            done(
                context,
                &place,
                id,
                if unpinned == 0 {
                    "was not pinned"
                } else {
                    "unpinned"
                },
            );
        }
        Some(id) => {
            place.room.pin(id).await.map_err(failed)?;
            done(context, &place, id, "pinned");
        }
        None => {
            let unpinned = place.room.unpin_all().await.map_err(failed)?.unpinned;
            if context.json {
                output::json(&json!({ "room": place.shown, "unpinned": unpinned }));
            } else {
                let count = output::count(unpinned, "message");
                output::words(&format!("{}  {count} unpinned", place.shown));
            }
        }
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_not_emoji() {
        for emoji in [
            "\u{1f44d}",
            "\u{2764}\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "\u{1f1eb}\u{1f1f7}",
            "\u{a9}\u{fe0f}",
            "\u{1f469}\u{200d}\u{1f680}",
        ] {
            assert!(looks_like_emoji(emoji), "{emoji}");
        }
        for word in ["", "thumbsup", ":+1:", "+1", "ok", "\u{e4}h", "\u{597d}"] {
            assert!(!looks_like_emoji(word), "{word}");
        }
    }
}
