//! People and their rights, and the room's settings.

use serde_json::json;
use sogs_client::types::{FuturePermission, PermissionChange, Permissions, Scheduled};
use sogs_client::{RoleChange, RoomUpdate, Scope, SessionId, SogsError};

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

/// Prints what became of each person, and gives the exit code of all.
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
    for user in &args.users {
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
    for user in &args.users {
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
    let mut exits = Vec::new();
    for (users, change, what) in [
        (&args.add, add, if args.admin { "admin" } else { "moderator" }),
        (
            &args.remove,
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

async fn list_mods(place: &Place, context: Context) -> Done {
    let info = place.room.info().await.map_err(failed)?;
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
                output::words(&format!("{user}  {role}{}", if hidden { ", hidden" } else { "" }));
            }
        }
    }
    Ok(Exit::Success)
}

pub(super) async fn members(args: &LinkArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Nothing)?;
    let info = place.room.info().await.map_err(failed)?;
    list_mods(&place, context).await?;
    if info.moderator {
        for (user, permissions) in place.room.permissions().await.map_err(failed)? {
            if !permissions.moderator && !permissions.admin {
                print_permissions(&user, permissions, context);
            }
        }
    } else if !context.json {
        output::note("people with rights of their own, and the banned, are shown to moderators only");
    }
    Ok(Exit::Success)
}

fn print_permissions(user: &SessionId, permissions: Permissions, context: Context) {
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
        return;
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
    output::words(&format!("{user}  {words}"));
}

pub(super) async fn permissions(args: &PermissionsArgs, context: Context) -> Done {
    let place = args.way.place(&args.link, Needs::Identity)?;
    let changes = args.allow.is_some() || args.deny.is_some() || args.reset.is_some();
    let room = &place.room;
    match &args.user {
        Some(user) if changes => {
            let (allow, deny) = (args.allow.unwrap_or_default(), args.deny.unwrap_or_default());
            if let Some(later) = args.later {
                if allow.access || deny.access {
                    return Err(Failure::usage("access cannot be scheduled", "leave the a out"));
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
                print_scheduled(user, &list, context);
            } else {
                let change = change(allow, deny, args.reset.unwrap_or_default());
                print_permissions(
                    user,
                    room.set_permissions(user, change).await.map_err(failed)?,
                    context,
                );
            }
        }
        Some(user) if args.scheduled => {
            print_scheduled(
                user,
                &room.future_permissions_of(user).await.map_err(failed)?,
                context,
            );
        }
        Some(user) => print_permissions(user, room.permissions_of(user).await.map_err(failed)?, context),
        None if args.scheduled => match room.future_permissions().await.map_err(failed)? {
            Scheduled::ByUser(users) => {
                for (user, list) in &users {
                    print_scheduled(user, list, context);
                }
            }
            Scheduled::List(list) => {
                for item in &list {
                    if let Some(user) = &item.session_id {
                        print_scheduled(user, std::slice::from_ref(item), context);
                    }
                }
            }
        },
        None => {
            for (user, permissions) in room.permissions().await.map_err(failed)? {
                print_permissions(&user, permissions, context);
            }
        }
    }
    Ok(Exit::Success)
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

fn print_scheduled(user: &SessionId, list: &[FuturePermission], context: Context) {
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
        output::words(&format!(
            "{}  {user}  {}",
            show::local_time(item.at),
            words.join(", ")
        ));
    }
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
