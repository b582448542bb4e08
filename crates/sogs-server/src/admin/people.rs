//! People: their permissions, and taking rights and bans from them.

use super::context::{Done, OperationContext};
use super::gone::Gone;
use super::names;
use super::operation::{AdminError, Answer, PermissionChange, RoomScope};
use super::undo_entry::{KeptFuture, Rights, Undo};
use super::words::{count, one_token, place_of, place_words, time};
use crate::store::operation::{BanRow, PeopleQuery};
use crate::store::{DynStore, Id, ModChange, PermissionPatch, RoomRow, UserFull};

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

pub(super) async fn list(
    act: &OperationContext<'_>,
    room: Option<&str>,
    limit: u32,
    (since, until): (Option<f64>, Option<f64>),
    name: Option<&str>,
) -> Done {
    let room = act.maybe_room(room).await?;
    let limit = limit.min(10_000);
    let query = PeopleQuery {
        room_id: room.map(|room| room.id),
        since: since.unwrap_or(f64::MIN),
        until: until.unwrap_or(f64::MAX),
        skip: 0,
        limit: i64::from(limit),
    };
    let mut people = if let Some(name) = name {
        let wanted = name.to_lowercase();
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        names::search(
            &act.admin.store,
            query,
            |known| known.to_lowercase().contains(&wanted),
            most,
        )
        .await?
    } else {
        let rows = act.admin.store.people(query).await?;
        let mut known = names::by_number(&act.admin.store, rows.iter().map(|row| row.id).collect()).await?;
        rows.into_iter()
            .map(|row| {
                let name = known.remove(&row.id).unwrap_or_default();
                (row, name)
            })
            .collect()
    };
    // The account of the moderators' room is the server's own, not a person.
    people.retain(|(row, _)| !act.admin.is_own_account(&row.session_id));
    let mut lines = Vec::with_capacity(people.len());
    let mut data = Vec::with_capacity(people.len());
    for (row, name) in &people {
        let line = format!(
            "{}  {}  {:<9} {name}",
            row.session_id,
            time(row.last_active),
            badge(row.banned, row.moderator, row.admin)
        );
        lines.push(line.trim_end().to_owned());
        data.push(with_name(row, name));
    }
    Ok(Answer::show(serde_json::json!({ "people": data }), lines))
}

/// A row of a list with the display name of its person; `null` when none is known.
pub(super) fn with_name(row: &impl serde::Serialize, name: &str) -> serde_json::Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert(
            "name".to_owned(),
            Some(name).filter(|name| !name.is_empty()).into(),
        );
    }
    value
}

pub(super) async fn show(act: &OperationContext<'_>, user: &str) -> Done {
    let person = act.known(user).await?;
    let rooms = act.admin.store.rooms().await?;
    let user = &person.user;
    let name = names::by_number(&act.admin.store, vec![user.id])
        .await?
        .remove(&user.id);
    let mut lines = vec![
        format!("session id   {}", user.session_id),
        format!("name         {}", name.as_deref().unwrap_or("-")),
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
        "session_id": user.session_id, "name": name, "created": user.created, "last_active": user.last_active,
        "banned": user.banned, "moderator": user.moderator, "admin": user.admin, "visible": user.visible_mod, "rooms": overrides,
    });
    Ok(Answer::show(data, lines))
}

pub(super) async fn permissions(
    act: &OperationContext<'_>,
    user: &str,
    room: &str,
    change: PermissionChange,
    clear: bool,
) -> Done {
    if change.is_empty() && !clear {
        return Err(AdminError::usage(
            "no change is given",
            "name a permission, or give --clear",
        ));
    }
    let room = act.room(room).await?;
    let people = act.several(user, true).await?;
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
    if !act.dry_run {
        let mut parts = Vec::new();
        for person in people.iter().filter_map(|(_, person)| person.as_ref()) {
            parts.push(permissions_before(&act.admin.store, room.id, person).await?);
        }
        let plan = Undo::several(parts);
        let target = who(&people);
        let mut entry = Some(act.entry(
            "permissions",
            Some(&room.token),
            &target,
            detail.clone(),
            Some(&plan),
        ));
        // The entry for all goes with the first: no change is without one.
        for person in people.iter().filter_map(|(_, person)| person.as_ref()) {
            let set = act.admin.store.set_permissions(room.id, person.user.id, patch);
            let entry = entry.take();
            undo = undo.or(act.logged(set, move |()| entry.clone()).await?.1);
        }
    }
    let lines = people
        .iter()
        .map(|(shown, _)| format!("{shown} in {}: {detail}", room.token))
        .collect();
    Ok(Answer {
        changed: people.len() as u64,
        undo,
        ..Answer::show(
            serde_json::json!({ "session_id": people[0].0, "people": ids(&people), "room": room.token, "changed": detail }),
            lines,
        )
    })
}

/// Describes people for the log: the id of one, or their number.
pub(super) fn who(people: &[(String, Option<UserFull>)]) -> String {
    match people {
        [(shown, _)] => shown.clone(),
        _ => format!("{} people", people.len()),
    }
}

pub(super) fn ids(people: &[(String, Option<UserFull>)]) -> Vec<&str> {
    people.iter().map(|(shown, _)| shown.as_str()).collect()
}

/// Returns the current permissions of a person in a room, to restore them later.
pub(super) async fn permissions_before(
    store: &DynStore,
    room_id: Id,
    person: &UserFull,
) -> Result<Undo, AdminError> {
    let before = person.overrides.iter().find(|row| row.room_id == room_id);
    Ok(Undo::Permissions {
        room_id,
        user_id: person.user.id,
        read: before.and_then(|row| row.read),
        accessible: before.and_then(|row| row.accessible),
        write: before.and_then(|row| row.write),
        upload: before.and_then(|row| row.upload),
        scheduled: scheduled(store, room_id, person.user.id).await?,
    })
}

/// Returns the changes of permissions scheduled for a person in a room, without bans.
async fn scheduled(store: &DynStore, room_id: Id, user_id: Id) -> Result<Vec<KeptFuture>, AdminError> {
    let rows = store.futures(room_id, Some(user_id)).await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.banned.is_none())
        .map(|row| row.change)
        .map(|change| (change.at, change.read, change.write, change.upload))
        .collect())
}

pub(super) async fn mods(act: &OperationContext<'_>) -> Done {
    let system = format!("ff{}", act.admin.key);
    let mut mods = act.admin.store.moderators().await?;
    mods.retain(|row| row.session_id != system);
    let known = names::by_id(
        &act.admin.store,
        &act.admin.key,
        mods.iter().map(|row| row.session_id.clone()).collect(),
    )
    .await?;
    let name = |id: &str| known.get(id).map_or("", String::as_str);
    let lines = mods
        .iter()
        .map(|row| {
            format!(
                "{}  {:<9} of {}{}  {}",
                row.session_id,
                if row.admin { "admin" } else { "moderator" },
                row.room.as_deref().unwrap_or("the whole server"),
                if row.visible { "" } else { ", hidden" },
                name(&row.session_id)
            )
            .trim_end()
            .to_owned()
        })
        .collect();
    let data: Vec<_> = mods
        .iter()
        .map(|row| with_name(row, name(&row.session_id)))
        .collect();
    Ok(Answer::show(serde_json::json!({ "moderators": data }), lines))
}

/// The rights of a person in the places that are about to change; `bans` are those of the whole server and of all rooms.
pub(super) fn rights(person: &UserFull, rooms: Option<&[RoomRow]>, bans: &[BanRow]) -> Vec<Rights> {
    let session_id = &person.user.session_id;
    let end = |token: Option<&str>| {
        bans.iter()
            .find(|ban| ban.session_id == *session_id && ban.room.as_deref() == token)
            .and_then(|ban| ban.until)
    };
    let Some(rooms) = rooms else {
        let user = &person.user;
        return vec![Rights {
            room_id: None,
            moderator: user.moderator,
            admin: user.admin,
            visible: user.visible_mod,
            banned: user.banned,
            until: end(None),
        }];
    };
    rooms
        .iter()
        .map(|room| {
            let row = person.overrides.iter().find(|row| row.room_id == room.id);
            Rights {
                room_id: Some(room.id),
                moderator: row.is_some_and(|row| row.moderator),
                admin: row.is_some_and(|row| row.admin),
                visible: row.is_none_or(|row| row.visible_mod),
                banned: row.is_some_and(|row| row.banned),
                until: end(Some(&room.token)),
            }
        })
        .collect()
}

fn named(person: Option<&UserFull>, text: &str) -> String {
    person.map_or_else(|| text.trim().to_owned(), |person| person.user.session_id.clone())
}

pub(super) async fn mod_add(
    act: &OperationContext<'_>,
    user: &str,
    place: &RoomScope,
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
        let bans = act.admin.store.bans_of(person.user.id).await?;
        let before = rights(person, rooms.as_deref(), &bans);
        let change = ModChange::Appoint {
            admin: Some(admin),
            visible,
        };
        let plan = Undo::Rights {
            user_id: person.user.id,
            rights: before,
            gone: Gone::default(),
        };
        let target = &person.user.session_id;
        let entry = act.entry(
            "mod_add",
            one_token(rooms.as_deref()),
            target,
            detail.clone(),
            Some(&plan),
        );
        let set = act
            .admin
            .store
            .set_moderator(person.user.id, place_of(rooms.as_deref()), change);
        undo = act.logged(set, move |_| Some(entry.clone())).await?.1;
    }
    let shown = named(person.as_ref(), user);
    let data = serde_json::json!({ "session_id": shown, "admin": admin, "visible": visible, "global": rooms.is_none(), "rooms": tokens(rooms.as_deref()) });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, vec![format!("{shown} is {detail}")])
    })
}

pub(super) fn tokens(rooms: Option<&[RoomRow]>) -> Vec<&str> {
    rooms
        .unwrap_or_default()
        .iter()
        .map(|room| room.token.as_str())
        .collect()
}

/// Kinds of entries that a command removes from a person: moderation rights or bans.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Moderation,
    Ban,
}

impl Taken {
    /// The action of the audit log, and its detail.
    fn logged_as(self, place: &str) -> (&'static str, String) {
        match self {
            Self::Moderation => ("mod_remove", format!("no moderator of {place} any more")),
            Self::Ban => ("unban", format!("may return to {place}")),
        }
    }

    fn is_not_there(self, shown: &str, place: &str) -> AdminError {
        match self {
            Self::Moderation => AdminError::not_found(
                format!("{shown} is not a moderator of {place}"),
                "`ackpost server mod list` lists them",
            ),
            Self::Ban => AdminError::not_found(
                format!("{shown} is not banned from {place}"),
                "`ackpost server ban list` lists the bans",
            ),
        }
    }
}

pub(super) async fn mod_remove(act: &OperationContext<'_>, user: &str, place: &RoomScope) -> Done {
    take(act, user, place, Taken::Moderation).await
}

pub(super) async fn unban(act: &OperationContext<'_>, user: &str, place: &RoomScope) -> Done {
    take(act, user, place, Taken::Ban).await
}

async fn take(act: &OperationContext<'_>, user: &str, place: &RoomScope, what: Taken) -> Done {
    let rooms = act.rooms(place).await?;
    let rooms = rooms.as_deref();
    let words = place_words(rooms);
    let bans = act.admin.store.bans().await?;
    let mut people = Vec::new();
    let mut not = Vec::new();
    for person in act.all_known(user).await? {
        let before = rights(&person, rooms, &bans);
        let there = before.iter().any(|right| match what {
            Taken::Moderation => right.moderator,
            Taken::Ban => right.banned,
        });
        if there {
            people.push((person, before));
        } else {
            not.push(person.user.session_id);
        }
    }
    if let (true, Some(shown)) = (people.is_empty(), not.first()) {
        return Err(what.is_not_there(shown, &words));
    }
    let (action, detail) = what.logged_as(&words);
    let shown: Vec<String> = people
        .iter()
        .map(|(person, _)| person.user.session_id.clone())
        .collect();
    let changed = people.len() as u64;
    let mut undo = None;
    if !act.dry_run {
        let store = &act.admin.store;
        let ids: Vec<Id> = people.iter().map(|(person, _)| person.user.id).collect();
        let parts = people
            .into_iter()
            .map(|(person, before)| Undo::Rights {
                user_id: person.user.id,
                rights: before,
                gone: Gone::default(),
            })
            .collect();
        let target = match &shown[..] {
            [one] => one.clone(),
            _ => count(changed, "person").replace("persons", "people"),
        };
        let plan = Undo::several(parts);
        let mut entry = Some(act.entry(action, one_token(rooms), &target, detail.clone(), Some(&plan)));
        // The entry for all goes with the first: no change is without one.
        for id in ids {
            let (place, entry) = (place_of(rooms), entry.take());
            let number = match what {
                Taken::Moderation => {
                    let set = store.set_moderator(id, place, ModChange::Dismiss);
                    act.logged(set, move |_| entry.clone()).await?.1
                }
                Taken::Ban => {
                    let set = store.unban(id, place);
                    act.logged(set, move |()| entry.clone()).await?.1
                }
            };
            undo = undo.or(number);
        }
    }
    let mut lines: Vec<String> = shown
        .iter()
        .map(|shown| format!("{shown} {}", sentence(what, &detail)))
        .collect();
    lines.extend(
        not.iter()
            .map(|shown| format!("{shown} unchanged: nothing to remove")),
    );
    let data = serde_json::json!({
        "session_id": shown.first(), "people": shown, "global": rooms.is_none(), "rooms": tokens(rooms),
    });
    Ok(Answer {
        changed,
        undo,
        ..Answer::show(data, lines)
    })
}

/// The detail of the log as the end of a sentence about the person.
fn sentence(what: Taken, detail: &str) -> String {
    match what {
        Taken::Moderation => format!("is {detail}"),
        Taken::Ban => detail.to_owned(),
    }
}
