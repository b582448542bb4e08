//! Bans: listing and adding them.

use super::context::{Done, OperationContext};
use super::gone::{self, Extent, Gone, Trace};
use super::names;
use super::operation::{AdminError, Answer, RoomScope};
use super::people::{ids, rights, tokens, who, with_name};
use super::undo_entry::Undo;
use super::words::{count, one_token, place_words, time};
use crate::store::operation::Erase;
use crate::store::{Id, RoomRow, UserFull};

pub(super) async fn bans(act: &OperationContext<'_>) -> Done {
    let bans = act.admin.store.bans().await?;
    let known = names::by_id(
        &act.admin.store,
        &act.admin.key,
        bans.iter().map(|ban| ban.session_id.clone()).collect(),
    )
    .await?;
    let name = |id: &str| known.get(id).map_or("", String::as_str);
    let lines = bans
        .iter()
        .map(|ban| {
            let until = ban
                .until
                .map_or_else(|| "permanently".to_owned(), |at| format!("until {}", time(at)));
            format!(
                "{}  {}  {until}  {}",
                ban.session_id,
                ban.room.as_deref().unwrap_or("the whole server"),
                name(&ban.session_id)
            )
            .trim_end()
            .to_owned()
        })
        .collect();
    let data: Vec<_> = bans
        .iter()
        .map(|ban| with_name(ban, name(&ban.session_id)))
        .collect();
    Ok(Answer::show(serde_json::json!({ "bans": data }), lines))
}

/// Collects the posts, uploads and reactions of people in rooms, or in all of them.
async fn everything(
    act: &OperationContext<'_>,
    people: &[Id],
    rooms: Option<&[RoomRow]>,
) -> Result<Trace, AdminError> {
    let everywhere;
    let of = if let Some(rooms) = rooms {
        rooms
    } else {
        everywhere = act.admin.store.rooms().await?;
        &everywhere
    };
    gone::trace(act.admin.keeper(), people, &Extent::rooms(of), true, act.dry_run).await
}

/// Refuses a ban that ends at once or later than a time can say.
fn check_length(seconds: Option<f64>) -> Result<(), AdminError> {
    if seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 1e9)) {
        return Err(AdminError::usage(
            "a ban lasts from one second to thirty years",
            "give another time, or none for a permanent ban",
        ));
    }
    Ok(())
}

/// Refuses to ban the server itself.
fn spare_own_account(
    act: &OperationContext<'_>,
    people: &[(String, Option<UserFull>)],
) -> Result<(), AdminError> {
    if let Some((shown, _)) = people.iter().find(|(shown, _)| act.admin.is_own_account(shown)) {
        return Err(AdminError::usage(
            format!("{shown} is the server's own account; nobody was banned"),
            "leave it out: without it, moderators get no notices",
        ));
    }
    Ok(())
}

pub(super) async fn ban(
    act: &OperationContext<'_>,
    user: &str,
    place: &RoomScope,
    seconds: Option<f64>,
    delete_posts: bool,
) -> Done {
    check_length(seconds)?;
    let rooms = act.rooms(place).await?;
    let people = act.several(user, true).await?;
    spare_own_account(act, &people)?;
    let until = seconds.map(|seconds| act.now + seconds);
    let mut detail = format!(
        "banned from {}{}",
        place_words(rooms.as_deref()),
        until.map_or_else(String::new, |at| format!(" until {}", time(at)))
    );
    let known: Vec<Id> = people
        .iter()
        .filter_map(|(_, person)| Some(person.as_ref()?.user.id))
        .collect();
    let mut trace = Trace::default();
    if delete_posts {
        trace = everything(act, &known, rooms.as_deref()).await?;
        detail.push_str(", deleted ");
        detail.push_str(&count(trace.gone.messages.len() as u64, "post"));
        detail.push_str(" and ");
        detail.push_str(&count(trace.erase.reactions.len() as u64, "reaction"));
    }
    let deleted = trace.gone.messages.len() as u64;
    let mut undo = None;
    if !act.dry_run {
        let bans = act.admin.store.bans().await?;
        let mut parts = Vec::with_capacity(people.len());
        for (_, person) in &people {
            let Some(person) = person else { continue };
            parts.push(Undo::Rights {
                user_id: person.user.id,
                rights: rights(person, rooms.as_deref(), &bans),
                gone: Gone::default(),
            });
        }
        let places: Vec<Option<Id>> = match rooms.as_deref() {
            Some(rooms) => rooms.iter().map(|room| Some(room.id)).collect(),
            None => vec![None],
        };
        let plan = Undo::Several {
            parts,
            gone: trace.gone,
        };
        let entry = act.entry(
            "ban",
            one_token(rooms.as_deref()),
            &who(&people),
            detail.clone(),
            Some(&plan),
        );
        let erase = Erase {
            now: act.now,
            bans: known
                .iter()
                .flat_map(|user| places.iter().map(|room| (*user, *room)))
                .collect(),
            until,
            log: Some(entry),
            ..trace.erase
        };
        undo = act.erase(erase).await?.log;
    }
    let data = serde_json::json!({
        "session_id": people[0].0, "people": ids(&people), "global": rooms.is_none(),
        "rooms": tokens(rooms.as_deref()), "until": until, "deleted": deleted,
    });
    let lines = people
        .iter()
        .map(|(shown, _)| format!("{shown} {detail}"))
        .collect();
    Ok(Answer {
        changed: people.len() as u64 + deleted,
        undo,
        ..Answer::show(data, lines)
    })
}
