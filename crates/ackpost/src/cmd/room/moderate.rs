//! People and their rights, and the room's settings.

use serde_json::json;
use session_protocol::person;
use sogs_client::types::{FuturePermission, PermissionChange, Permissions, RoomInfo, Scheduled};
use sogs_client::{RoleChange, Room, RoomUpdate, Scope, SessionId, SogsError};

use super::finder::Finder;
use super::place::{Needs, Place, failed};
use super::{
    BanArgs, LinkArgs, ModsArgs, PermissionsArgs, Rights, ScopeArgs, SettingsArgs, UnbanArgs, all_of, files,
    show,
};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

impl ScopeArgs {
    fn scope(&self, place: &Place) -> Scope {
        if self.global {
            Scope::Global
        } else if self.all_rooms {
            Scope::AllRooms
        } else {
            Scope::room(place.room.token())
        }
    }

    fn shown(&self, place: &Place) -> String {
        if self.global {
            "on the whole server".to_owned()
        } else if self.all_rooms {
            "in all rooms".to_owned()
        } else {
            format!("in {}", place.room.token())
        }
    }
}

/// Prints the result for each person, and returns the exit code for all.
fn people(
    results: Vec<(&SessionId, Result<(), SogsError>)>,
    what: &str,
    wherever: &str,
    context: Context,
) -> Exit {
    let (mut worked, mut lost) = (0, 0);
    for (user, result) in results {
        match result {
            Ok(()) => {
                worked += 1;
                if context.json {
                    output::json(&json!({ "user": user, "done": what, "where": wherever }));
                } else {
                    output::words(&format!("{user}  {what} {wherever}"));
                }
            }
            Err(error) => {
                lost += 1;
                failed(error).print();
            }
        }
    }
    all_of(worked, lost)
}

pub(super) async fn ban(args: &BanArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let scope = args.scope.scope(&place);
    let server = place.room.server();
    let mut results = Vec::new();
    let users = Finder::new(&place).people(&args.people).await?;
    for user in &users {
        let mut result = server.ban(user, &scope, args.time).await;
        if result.is_ok() && args.delete {
            let deleted = if args.scope.global || args.scope.all_rooms {
                server.delete_everywhere(user).await.map(|_| ())
            } else {
                place.room.delete_all(user).await
            };
            result = match deleted {
                // Somebody without a message is banned all the same.
                Err(error) if error.status() == Some(404) => Ok(()),
                other => other,
            };
        }
        results.push((user, result));
    }
    Ok(people(results, "banned", &args.scope.shown(&place), context))
}

pub(super) async fn unban(args: &UnbanArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let scope = args.scope.scope(&place);
    let mut results = Vec::new();
    let users = Finder::new(&place).people(&args.people).await?;
    for user in &users {
        results.push((user, place.room.server().unban(user, &scope).await));
    }
    Ok(people(
        results,
        "no longer banned",
        &args.scope.shown(&place),
        context,
    ))
}

pub(super) async fn mods(args: &ModsArgs, context: Context) -> Done {
    if args.add.is_empty() && args.remove.is_empty() {
        let place = args.way.place(&args.link, Needs::Nothing)?;
        return list_mods(&place, context).await;
    }
    let place = args.way.place(&args.link, Needs::Identity)?;
    let scope = args.scope.scope(&place);
    let visible = if args.hidden {
        Some(false)
    } else {
        args.visible.then_some(true)
    };
    let add = RoleChange {
        visible,
        ..if args.admin {
            RoleChange::ADMIN
        } else {
            RoleChange::MODERATOR
        }
    };
    let remove = if args.admin {
        RoleChange {
            admin: Some(false),
            ..RoleChange::default()
        }
    } else {
        RoleChange::NONE
    };
    let wherever = args.scope.shown(&place);
    let server = place.room.server();
    let mut finder = Finder::new(&place);
    let (mut appointed, mut dismissed) = (Vec::new(), Vec::new());
    for (users, found) in [(&args.add, &mut appointed), (&args.remove, &mut dismissed)] {
        if !users.is_empty() {
            *found = finder.list(&users.join("\n")).await?;
        }
    }
    let mut exits = Vec::new();
    for (users, change, what) in [
        (&appointed, add, if args.admin { "admin" } else { "moderator" }),
        (
            &dismissed,
            remove,
            if args.admin {
                "no longer admin"
            } else {
                "no longer moderator"
            },
        ),
    ] {
        let mut results = Vec::new();
        for user in users {
            results.push((user, server.set_role(user, &scope, change).await.map(|_| ())));
        }
        if !results.is_empty() {
            exits.push(people(results, what, &wherever, context));
        }
    }
    Ok(match exits.as_slice() {
        [first, second] if first != second => Exit::Partial,
        [first, ..] => *first,
        [] => Exit::Success,
    })
}

/// Prints the moderators as JSON, or returns them as rows: person, role.
fn mods_of(info: &RoomInfo, context: Context) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (role, users, hidden) in [
        ("admin", &info.admins, false),
        ("admin", &info.hidden_admins, true),
        ("moderator", &info.moderators, false),
        ("moderator", &info.hidden_moderators, true),
    ] {
        for user in users {
            if context.json {
                output::json(&json!({ "user": user, "role": role, "hidden": hidden }));
            } else {
                let hidden = if hidden { ", hidden" } else { "" };
                rows.push(vec![user.to_string(), format!("{role}{hidden}")]);
            }
        }
    }
    rows
}

async fn list_mods(place: &Place, context: Context) -> Done {
    let info = place.room.info().await.map_err(failed)?;
    let rows = mods_of(&info, context);
    if !context.json {
        output::list("moderators", &["PERSON", "ROLE"], &rows, context);
    }
    Ok(Exit::Success)
}

pub(super) async fn members(args: &LinkArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Nothing)?;
    let info = place.room.info().await.map_err(failed)?;
    let mut rows = mods_of(&info, context);
    if info.moderator {
        for (user, permissions) in place.room.permissions().await.map_err(failed)? {
            if !permissions.moderator && !permissions.admin {
                rows.extend(print_permissions(&user, permissions, context));
            }
        }
    }
    if !context.json {
        let headings = ["PERSON", "ROLE OR PERMISSIONS"];
        output::list("people with a role or permissions", &headings, &rows, context);
        if !info.moderator {
            output::note("only moderators see bans and the permissions of single people");
        }
    }
    Ok(Exit::Success)
}

/// Prints the permissions of a person as JSON, or returns them as a row: person, permissions.
fn print_permissions(user: &SessionId, permissions: Permissions, context: Context) -> Option<Vec<String>> {
    if context.json {
        output::json(&json!({
            "user": user,
            "read": permissions.read,
            "write": permissions.write,
            "upload": permissions.upload,
            "accessible": permissions.accessible,
            "banned": permissions.banned,
            "moderator": permissions.moderator,
            "admin": permissions.admin,
            "hidden": permissions.hidden,
        }));
        return None;
    }
    let mut words = Vec::new();
    for (right, word) in [
        (permissions.read, "read"),
        (permissions.write, "post"),
        (permissions.upload, "upload"),
        (permissions.accessible, "access"),
    ] {
        match right {
            Some(true) => words.push(format!("may {word}")),
            Some(false) => words.push(format!("may not {word}")),
            None => {}
        }
    }
    for (is, word) in [
        (permissions.banned, "banned"),
        (permissions.admin, "admin"),
        (permissions.moderator && !permissions.admin, "moderator"),
        (permissions.hidden, "hidden"),
    ] {
        if is {
            words.push(word.to_owned());
        }
    }
    let words = if words.is_empty() {
        "as everybody".to_owned()
    } else {
        words.join(", ")
    };
    Some(vec![user.to_string(), words])
}

pub(super) async fn permissions(args: &PermissionsArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let who = args.file.text(&args.who)?;
    let mut shown = Shown::default();
    if person::lines(&who).next().is_none() {
        if args.allow.is_some() || args.deny.is_some() || args.reset.is_some() {
            return Err(Failure::usage(
                "no person is given",
                "give an id, a short id, a display name or the number of a message",
            ));
        }
        all_permissions(args, &place.room, &mut shown, context).await?;
    } else {
        for user in Finder::new(&place).list(&who).await? {
            permissions_of(args, &place.room, &user, &mut shown, context).await?;
        }
    }
    if context.json {
        return Ok(Exit::Success);
    }
    if args.scheduled || !shown.scheduled.is_empty() {
        let headings = ["TIME", "PERSON", "CHANGE"];
        output::list("scheduled changes", &headings, &shown.scheduled, context);
    } else {
        output::list("permissions", &["PERSON", "PERMISSIONS"], &shown.rows, context);
    }
    Ok(Exit::Success)
}

/// Rows of `room permissions`.
#[derive(Default)]
struct Shown {
    rows: Vec<Vec<String>>,
    scheduled: Vec<Vec<String>>,
}

/// Changes or shows the permissions of one person.
async fn permissions_of(
    args: &PermissionsArgs,
    room: &Room,
    user: &SessionId,
    shown: &mut Shown,
    context: Context,
) -> Result<(), Failure> {
    let changes = args.allow.is_some() || args.deny.is_some() || args.reset.is_some();
    let (allow, deny) = (args.allow.unwrap_or_default(), args.deny.unwrap_or_default());
    match args.later {
        Some(later) if changes => {
            if allow.access || deny.access {
                return Err(Failure::usage("access cannot be scheduled", "leave out the a"));
            }
            let list = room
                .schedule_permissions(
                    user,
                    wanted(allow.read, deny.read),
                    wanted(allow.write, deny.write),
                    wanted(allow.upload, deny.upload),
                    later,
                )
                .await
                .map_err(failed)?;
            shown.scheduled.extend(print_scheduled(user, &list, context));
        }
        _ if changes => {
            let change = change(allow, deny, args.reset.unwrap_or_default());
            let permissions = room.set_permissions(user, change).await.map_err(failed)?;
            shown.rows.extend(print_permissions(user, permissions, context));
        }
        _ if args.scheduled => {
            let list = room.future_permissions_of(user).await.map_err(failed)?;
            shown.scheduled.extend(print_scheduled(user, &list, context));
        }
        _ => {
            let permissions = room.permissions_of(user).await.map_err(failed)?;
            shown.rows.extend(print_permissions(user, permissions, context));
        }
    }
    Ok(())
}

/// Shows the permissions of everybody who has their own.
async fn all_permissions(
    args: &PermissionsArgs,
    room: &Room,
    shown: &mut Shown,
    context: Context,
) -> Result<(), Failure> {
    if !args.scheduled {
        for (user, permissions) in room.permissions().await.map_err(failed)? {
            shown.rows.extend(print_permissions(&user, permissions, context));
        }
        return Ok(());
    }
    match room.future_permissions().await.map_err(failed)? {
        Scheduled::ByUser(users) => {
            for (user, list) in &users {
                shown.scheduled.extend(print_scheduled(user, list, context));
            }
        }
        Scheduled::List(list) => {
            for item in &list {
                if let Some(user) = &item.session_id {
                    let rows = print_scheduled(user, std::slice::from_ref(item), context);
                    shown.scheduled.extend(rows);
                }
            }
        }
    }
    Ok(())
}

fn wanted(allow: bool, deny: bool) -> Option<bool> {
    match (allow, deny) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

fn change(allow: Rights, deny: Rights, reset: Rights) -> PermissionChange {
    PermissionChange {
        read: wanted(allow.read, deny.read),
        write: wanted(allow.write, deny.write),
        upload: wanted(allow.upload, deny.upload),
        accessible: wanted(allow.access, deny.access),
        default_read: reset.read,
        default_write: reset.write,
        default_upload: reset.upload,
        default_accessible: reset.access,
        unschedule: None,
    }
}

/// Prints scheduled changes as JSON, or returns them as rows: time, person, change.
fn print_scheduled(user: &SessionId, list: &[FuturePermission], context: Context) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for item in list {
        if context.json {
            output::json(&json!({
                "user": user,
                "time": show::utc_time(item.at),
                "read": item.read,
                "write": item.write,
                "upload": item.upload,
                "banned": item.banned,
            }));
            continue;
        }
        let mut words = Vec::new();
        for (right, word) in [(item.read, "read"), (item.write, "post"), (item.upload, "upload")] {
            if let Some(right) = right {
                words.push(format!("{} {word}", if right { "may" } else { "may not" }));
            }
        }
        if let Some(banned) = item.banned {
            words.push(if banned { "banned" } else { "no longer banned" }.to_owned());
        }
        rows.push(vec![
            show::local_time(item.at),
            user.to_string(),
            words.join(", "),
        ]);
    }
    rows
}

pub(super) async fn settings(args: &SettingsArgs, context: Context) -> Done {
    let mut update = RoomUpdate {
        name: args.name.clone(),
        description: args
            .description
            .clone()
            .map(|text| Some(text).filter(|text| !text.is_empty())),
        image: None,
        default_read: args.default_read,
        default_accessible: args.default_access,
        default_write: args.default_write,
        default_upload: args.default_upload,
    };
    let changes = args.image.is_some() || update != RoomUpdate::default();
    let place = args
        .way
        .place(&args.link, if changes { Needs::Identity } else { Needs::Nothing })?;
    if let Some(path) = &args.image {
        let pieces = files::read_all(std::slice::from_ref(path))?;
        update.image = Some(files::upload_one(&place, &pieces[0], context).await?.id);
    }
    if changes {
        place.room.update(&update).await.map_err(failed)?;
    }
    let info = place.room.info().await.map_err(failed)?;
    if context.json {
        output::json(&show::room_json(&info, Some(&place.room.join_link().to_string())));
    } else {
        output::words(&show::room_text(&info, &place.room.join_link().to_string()));
        let defaults = [
            (info.default_read, "read"),
            (info.default_accessible, "access"),
            (info.default_write, "post"),
            (info.default_upload, "upload"),
        ];
        let words: Vec<_> = defaults
            .iter()
            .filter_map(|(may, word)| may.map(|may| format!("{word} {}", if may { "yes" } else { "no" })))
            .collect();
        if !words.is_empty() {
            output::words(&format!("    everybody  {}", words.join(", ")));
        }
    }
    Ok(Exit::Success)
}
