//! People: their permissions, moderator rights and bans.

use super::exec::{Act, Done, count, one_token, place_of, place_words, time};
use super::messages;
use super::operation::{AdminError, Answer, PermissionChange, Place};
use super::undo::{Rights, Undo};
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
        let plan = Undo::Rights {
            user_id: person.user.id,
            rights: before,
            messages: Vec::new(),
            files: Vec::new(),
        };
        undo = act
            .log(
                "mod_add",
                one_token(rooms.as_deref()),
                &person.user.session_id,
                detail.clone(),
                Some(plan),
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

pub(super) async fn mod_remove(act: &Act<'_>, user: &str, place: &Place) -> Done {
    let rooms = act.rooms(place).await?;
    let person = act.known(user).await?;
    let before = rights(act, &person, rooms.as_deref()).await?;
    let detail = format!("no moderator of {} any more", place_words(rooms.as_deref()));
    if !before.iter().any(|right| right.moderator) {
        return Err(AdminError::not_found(
            format!(
                "{} is no moderator of {}",
                person.user.session_id,
                place_words(rooms.as_deref())
            ),
            "`ackpost server mod list` names them",
        ));
    }
    let mut undo = None;
    if !act.dry_run {
        act.admin
            .store
            .set_moderator(person.user.id, place_of(rooms.as_deref()), ModChange::Dismiss)
            .await?;
        let plan = Undo::Rights {
            user_id: person.user.id,
            rights: before,
            messages: Vec::new(),
            files: Vec::new(),
        };
        undo = act
            .log(
                "mod_remove",
                one_token(rooms.as_deref()),
                &person.user.session_id,
                detail.clone(),
                Some(plan),
            )
            .await?;
    }
    let shown = person.user.session_id;
    let data = serde_json::json!({ "session_id": shown, "global": rooms.is_none(), "rooms": tokens(rooms.as_deref()) });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, vec![format!("{shown} is {detail}")])
    })
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
    let mut swept = messages::Swept::default();
    if let (true, Some(person)) = (delete_posts, &person) {
        let everywhere;
        let of = if let Some(rooms) = rooms.as_deref() {
            rooms
        } else {
            everywhere = act.admin.store.rooms().await?;
            &everywhere
        };
        swept = messages::sweep(act, person.user.id, of, false).await?;
        detail.push_str(", deleted ");
        detail.push_str(&count(swept.messages.len() as u64, "post"));
    }
    let mut undo = None;
    if let (false, Some(person)) = (act.dry_run, &person) {
        let before = rights(act, person, rooms.as_deref()).await?;
        act.admin
            .store
            .ban(person.user.id, place_of(rooms.as_deref()), until)
            .await?;
        let plan = Undo::Rights {
            user_id: person.user.id,
            rights: before,
            messages: swept.messages.clone(),
            files: swept.files,
        };
        undo = act
            .log(
                "ban",
                one_token(rooms.as_deref()),
                &person.user.session_id,
                detail.clone(),
                Some(plan),
            )
            .await?;
    }
    let shown = named(person.as_ref(), user);
    let data = serde_json::json!({
        "session_id": shown, "global": rooms.is_none(), "rooms": tokens(rooms.as_deref()), "until": until, "deleted": swept.messages.len(),
    });
    Ok(Answer {
        changed: 1 + swept.messages.len() as u64,
        undo,
        ..Answer::show(data, vec![format!("{shown} {detail}")])
    })
}

pub(super) async fn unban(act: &Act<'_>, user: &str, place: &Place) -> Done {
    let rooms = act.rooms(place).await?;
    let person = act.known(user).await?;
    let before = rights(act, &person, rooms.as_deref()).await?;
    if !before.iter().any(|right| right.banned) {
        return Err(AdminError::not_found(
            format!(
                "{} is not banned from {}",
                person.user.session_id,
                place_words(rooms.as_deref())
            ),
            "`ackpost server ban list` names the bans",
        ));
    }
    let detail = format!("may return to {}", place_words(rooms.as_deref()));
    let mut undo = None;
    if !act.dry_run {
        act.admin
            .store
            .unban(person.user.id, place_of(rooms.as_deref()))
            .await?;
        let plan = Undo::Rights {
            user_id: person.user.id,
            rights: before,
            messages: Vec::<Id>::new(),
            files: Vec::new(),
        };
        undo = act
            .log(
                "unban",
                one_token(rooms.as_deref()),
                &person.user.session_id,
                detail.clone(),
                Some(plan),
            )
            .await?;
    }
    let shown = person.user.session_id;
    let data = serde_json::json!({ "session_id": shown, "global": rooms.is_none(), "rooms": tokens(rooms.as_deref()) });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, vec![format!("{shown} {detail}")])
    })
}
