//! People: their permissions, moderator rights and bans.

use super::exec::{Act, Done, count, one_token, place_of, place_words, time};
use super::gone::Gone;
use super::messages;
use super::operation::{AdminError, Answer, PermissionChange, Place};
use super::undo::{KeptFuture, Rights, Undo};
use crate::store::{Id, ModChange, PermissionPatch, RoomRow, UserFull};

fn yes(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "yes",
        Some(false) => "no",
        None => "as the room",
    }
}

fn badge(banned: bool, moderator: bool, admin: bool) -> &'static str {
    match (banned, admin, moderator) {
        (true, _, _) => "banned",
        (_, true, _) => "admin",
        (_, _, true) => "moderator",
        _ => "",
    }
}

pub(super) async fn list(act: &Act<'_>, room: Option<&str>, limit: u32) -> Done {
    let room = act.maybe_room(room).await?;
    let people = act
        .admin
        .store
        .people(room.map(|room| room.id), i64::from(limit.min(10_000)))
        .await?;
    let lines = people
        .iter()
        .map(|row| {
            format!(
                "{}  {}  {}",
                row.session_id,
                time(row.last_active),
                badge(row.banned, row.moderator, row.admin)
            )
            .trim_end()
            .to_owned()
        })
        .collect();
    Ok(Answer::show(serde_json::json!({ "people": people }), lines))
}

pub(super) async fn show(act: &Act<'_>, user: &str) -> Done {
    let person = act.known(user).await?;
    let rooms = act.admin.store.rooms().await?;
    let user = &person.user;
    let mut lines = vec![
        format!("session id   {}", user.session_id),
        format!("first seen   {}", time(user.created)),
        format!("last seen    {}", time(user.last_active)),
        format!(
            "on server    {}",
            Some(badge(user.banned, user.moderator, user.admin))
                .filter(|text| !text.is_empty())
                .unwrap_or("member")
        ),
    ];
    let mut overrides = Vec::new();
    for row in &person.overrides {
        let token = rooms
            .iter()
            .find(|room| room.id == row.room_id)
            .map_or("?", |room| room.token.as_str());
        lines.push(format!(
            "in {token}: {} read {}, write {}, upload {}, accessible {}",
            badge(row.banned, row.moderator, row.admin),
            yes(row.read),
            yes(row.write),
            yes(row.upload),
            yes(row.accessible),
        ));
        overrides.push(serde_json::json!({
            "room": token, "banned": row.banned, "moderator": row.moderator, "admin": row.admin, "visible": row.visible_mod,
            "read": row.read, "write": row.write, "upload": row.upload, "accessible": row.accessible,
        }));
    }
    let data = serde_json::json!({
        "session_id": user.session_id, "created": user.created, "last_active": user.last_active,
        "banned": user.banned, "moderator": user.moderator, "admin": user.admin, "visible": user.visible_mod, "rooms": overrides,
    });
    Ok(Answer::show(data, lines))
}

pub(super) async fn permissions(
    act: &Act<'_>,
    user: &str,
    room: &str,
    change: PermissionChange,
    clear: bool,
) -> Done {
    if change.is_empty() && !clear {
        return Err(AdminError::usage(
            "nothing is to be changed",
            "name a permission, or say --clear",
        ));
    }
    let room = act.room(room).await?;
    let person = act.person(user, true).await?;
    let before = person.as_ref().and_then(|person| {
        person
            .overrides
            .iter()
            .find(|row| row.room_id == room.id)
            .copied()
    });
    let value = |set: Option<bool>| set.map(Some).or(clear.then_some(None));
    let patch = PermissionPatch {
        read: value(change.read),
        accessible: value(change.accessible),
        write: value(change.write),
        upload: value(change.upload),
        keep_scheduled: false,
    };
    let words: Vec<String> = [
        ("read", change.read),
        ("write", change.write),
        ("upload", change.upload),
        ("accessible", change.accessible),
    ]
    .iter()
    .filter(|(_, value)| clear || value.is_some())
    .map(|(name, value)| format!("{name} {}", yes(*value)))
    .collect();
    let detail = words.join(", ");
    let mut undo = None;
    if let (false, Some(person)) = (act.dry_run, &person) {
        let scheduled = scheduled(act, room.id, person.user.id).await?;
        act.admin
            .store
            .set_permissions(room.id, person.user.id, patch)
            .await?;
        let plan = Undo::Permissions {
            room_id: room.id,
            user_id: person.user.id,
            read: before.and_then(|row| row.read),
            accessible: before.and_then(|row| row.accessible),
            write: before.and_then(|row| row.write),
            upload: before.and_then(|row| row.upload),
            scheduled,
        };
        undo = act
            .log(
                "permissions",
                Some(&room.token),
                &person.user.session_id,
                detail.clone(),
                Some(plan),
            )
            .await?;
    }
    let shown = person.map_or_else(|| user.to_owned(), |person| person.user.session_id);
    let lines = vec![format!("{shown} in {}: {detail}", room.token)];
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            serde_json::json!({ "session_id": shown, "room": room.token, "changed": detail }),
            lines,
        )
    })
}

/// What is scheduled for a person in a room, bans apart.
async fn scheduled(act: &Act<'_>, room_id: Id, user_id: Id) -> Result<Vec<KeptFuture>, AdminError> {
    let rows = act.admin.store.futures(room_id, Some(user_id)).await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.banned.is_none())
        .map(|row| row.change)
        .map(|change| (change.at, change.read, change.write, change.upload))
        .collect())
}

pub(super) async fn mods(act: &Act<'_>) -> Done {
    let system = format!("ff{}", act.admin.key);
    let mut mods = act.admin.store.moderators().await?;
    mods.retain(|row| row.session_id != system);
    let lines = mods
        .iter()
        .map(|row| {
            format!(
                "{}  {:<9} of {}{}",
                row.session_id,
                if row.admin { "admin" } else { "moderator" },
                row.room.as_deref().unwrap_or("the whole server"),
                if row.visible { "" } else { ", hidden" }
            )
        })
        .collect();
    Ok(Answer::show(serde_json::json!({ "moderators": mods }), lines))
}

/// The rights of a person in the places that are about to change.
async fn rights(
    act: &Act<'_>,
    person: &UserFull,
    rooms: Option<&[RoomRow]>,
) -> Result<Vec<Rights>, AdminError> {
    let Some(rooms) = rooms else {
        let user = &person.user;
        let until = ban_end(act, &user.session_id, None).await?;
        return Ok(vec![Rights {
            room_id: None,
            moderator: user.moderator,
            admin: user.admin,
            visible: user.visible_mod,
            banned: user.banned,
            until,
        }]);
    };
    let mut all = Vec::with_capacity(rooms.len());
    for room in rooms {
        let row = person.overrides.iter().find(|row| row.room_id == room.id);
        all.push(Rights {
            room_id: Some(room.id),
            moderator: row.is_some_and(|row| row.moderator),
            admin: row.is_some_and(|row| row.admin),
            visible: row.is_none_or(|row| row.visible_mod),
            banned: row.is_some_and(|row| row.banned),
            until: ban_end(act, &person.user.session_id, Some(&room.token)).await?,
        });
    }
    Ok(all)
}

async fn ban_end(act: &Act<'_>, session_id: &str, token: Option<&str>) -> Result<Option<f64>, AdminError> {
    let bans = act.admin.store.bans().await?;
    Ok(bans
        .into_iter()
        .find(|ban| ban.session_id == session_id && ban.room.as_deref() == token)
        .and_then(|ban| ban.until))
}

fn named(person: Option<&UserFull>, text: &str) -> String {
    person.map_or_else(|| text.trim().to_owned(), |person| person.user.session_id.clone())
}

pub(super) async fn mod_add(
    act: &Act<'_>,
    user: &str,
    place: &Place,
    admin: bool,
    visible: Option<bool>,
) -> Done {
    let rooms = act.rooms(place).await?;
    let person = act.person(user, true).await?;
    let visible = visible.unwrap_or(rooms.is_some());
    let detail = format!(
        "{} of {}{}",
        if admin { "admin" } else { "moderator" },
        place_words(rooms.as_deref()),
        if visible { "" } else { ", hidden" }
    );
    let mut undo = None;
    if let (false, Some(person)) = (act.dry_run, &person) {
        let before = rights(act, person, rooms.as_deref()).await?;
        let change = ModChange::Appoint {
            admin: Some(admin),
            visible,
        };
        act.admin
            .store
            .set_moderator(person.user.id, place_of(rooms.as_deref()), change)
            .await?;
        undo = log_rights(
            act,
            "mod_add",
            person,
            rooms.as_deref(),
            before,
            &detail,
            Gone::default(),
        )
        .await?;
    }
    let shown = named(person.as_ref(), user);
    let data = serde_json::json!({ "session_id": shown, "admin": admin, "visible": visible, "global": rooms.is_none(), "rooms": tokens(rooms.as_deref()) });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, vec![format!("{shown} is {detail}")])
    })
}

fn tokens(rooms: Option<&[RoomRow]>) -> Vec<&str> {
    rooms
        .unwrap_or_default()
        .iter()
        .map(|room| room.token.as_str())
        .collect()
}

/// Logs a change of somebody's rights with the way back; the number by which it can be undone.
async fn log_rights(
    act: &Act<'_>,
    action: &str,
    person: &UserFull,
    rooms: Option<&[RoomRow]>,
    before: Vec<Rights>,
    detail: &str,
    gone: Gone,
) -> Result<Option<Id>, AdminError> {
    let plan = Undo::Rights {
        user_id: person.user.id,
        rights: before,
        gone,
    };
    let session_id = &person.user.session_id;
    act.log(
        action,
        one_token(rooms),
        session_id,
        detail.to_owned(),
        Some(plan),
    )
    .await
}

/// What can be taken from a person by its own command.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Moderation,
    Ban,
}

pub(super) async fn mod_remove(act: &Act<'_>, user: &str, place: &Place) -> Done {
    take(act, user, place, Taken::Moderation).await
}

pub(super) async fn unban(act: &Act<'_>, user: &str, place: &Place) -> Done {
    take(act, user, place, Taken::Ban).await
}

async fn take(act: &Act<'_>, user: &str, place: &Place, what: Taken) -> Done {
    let rooms = act.rooms(place).await?;
    let rooms = rooms.as_deref();
    let person = act.known(user).await?;
    let (shown, words) = (&person.user.session_id, place_words(rooms));
    let before = rights(act, &person, rooms).await?;
    let there = before.iter().any(|right| match what {
        Taken::Moderation => right.moderator,
        Taken::Ban => right.banned,
    });
    if !there {
        return Err(match what {
            Taken::Moderation => AdminError::not_found(
                format!("{shown} is no moderator of {words}"),
                "`ackpost server mod list` names them",
            ),
            Taken::Ban => AdminError::not_found(
                format!("{shown} is not banned from {words}"),
                "`ackpost server ban list` names the bans",
            ),
        });
    }
    let (action, detail) = match what {
        Taken::Moderation => ("mod_remove", format!("no moderator of {words} any more")),
        Taken::Ban => ("unban", format!("may return to {words}")),
    };
    let mut undo = None;
    if !act.dry_run {
        let (store, id, place) = (&act.admin.store, person.user.id, place_of(rooms));
        match what {
            Taken::Moderation => drop(store.set_moderator(id, place, ModChange::Dismiss).await?),
            Taken::Ban => store.unban(id, place).await?,
        }
        undo = log_rights(act, action, &person, rooms, before, &detail, Gone::default()).await?;
    }
    let data = serde_json::json!({ "session_id": shown, "global": rooms.is_none(), "rooms": tokens(rooms) });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, vec![format!("{shown} {}", sentence(what, &detail))])
    })
}

/// The detail of the log as the end of a sentence about the person.
fn sentence(what: Taken, detail: &str) -> String {
    match what {
        Taken::Moderation => format!("is {detail}"),
        Taken::Ban => detail.to_owned(),
    }
}

pub(super) async fn bans(act: &Act<'_>) -> Done {
    let bans = act.admin.store.bans().await?;
    let lines = bans
        .iter()
        .map(|ban| {
            let until = ban
                .until
                .map_or_else(|| "for good".to_owned(), |at| format!("until {}", time(at)));
            format!(
                "{}  {}  {until}",
                ban.session_id,
                ban.room.as_deref().unwrap_or("the whole server")
            )
        })
        .collect();
    Ok(Answer::show(serde_json::json!({ "bans": bans }), lines))
}

pub(super) async fn ban(
    act: &Act<'_>,
    user: &str,
    place: &Place,
    seconds: Option<f64>,
    delete_posts: bool,
) -> Done {
    if seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 1e9)) {
        return Err(AdminError::usage(
            "a ban lasts between a second and thirty years",
            "give another span, or none for a ban for good",
        ));
    }
    let rooms = act.rooms(place).await?;
    let person = act.person(user, true).await?;
    let until = seconds.map(|seconds| act.now + seconds);
    let mut detail = format!(
        "banned from {}{}",
        place_words(rooms.as_deref()),
        until.map_or_else(String::new, |at| format!(" until {}", time(at)))
    );
    let mut gone = Gone::default();
    if let (true, Some(person)) = (delete_posts, &person) {
        let everywhere;
        let of = if let Some(rooms) = rooms.as_deref() {
            rooms
        } else {
            everywhere = act.admin.store.rooms().await?;
            &everywhere
        };
        let reactions;
        (gone, reactions) = messages::sweep(act, person.user.id, of, true).await?;
        detail.push_str(", deleted ");
        detail.push_str(&count(gone.messages.len() as u64, "post"));
        detail.push_str(" and ");
        detail.push_str(&count(reactions, "reaction"));
    }
    let deleted = gone.messages.len() as u64;
    let mut undo = None;
    if let (false, Some(person)) = (act.dry_run, &person) {
        let before = rights(act, person, rooms.as_deref()).await?;
        act.admin
            .store
            .ban(person.user.id, place_of(rooms.as_deref()), until)
            .await?;
        undo = log_rights(act, "ban", person, rooms.as_deref(), before, &detail, gone).await?;
    }
    let shown = named(person.as_ref(), user);
    let data = serde_json::json!({
        "session_id": shown, "global": rooms.is_none(), "rooms": tokens(rooms.as_deref()), "until": until, "deleted": deleted,
    });
    Ok(Answer {
        changed: 1 + deleted,
        undo,
        ..Answer::show(data, vec![format!("{shown} {detail}")])
    })
}
