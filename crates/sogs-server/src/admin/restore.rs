//! Restoring what an entry of the log changed, one function for each kind of thing.

use super::context::OperationContext;
use super::gone::{Gone, Lifetime};
use super::later::{Later, RoomPart};
use super::operation::AdminError;
use super::undo_entry::{KeptFuture, Rights, Undo};
use super::{archive, moderation, newkey, rooms};
use crate::store::cases::CaseKind;
use crate::store::{Changed, FileRow, FuturePermission, Id, ModChange, PermissionPatch, RoomPatch, Where};

type Lines = Result<Vec<String>, AdminError>;

/// Restores what a plan says, in words. Parts of rooms that `later` entries decided about stay.
pub(super) async fn restore(act: &OperationContext<'_>, plan: Undo, later: &Later) -> Lines {
    let mut lifetime = Lifetime::new(act.now, act.admin.config()?.files.expiry_days);
    let mut lines = one(act, plan, later, &mut lifetime).await?;
    lines.extend(lifetime.line());
    Ok(lines)
}

async fn one(act: &OperationContext<'_>, plan: Undo, later: &Later, lifetime: &mut Lifetime) -> Lines {
    let (store, keeper) = (&act.admin.store, act.admin.keeper());
    match plan {
        Undo::RoomAdd { room_id } => remove_room(act, room_id).await,
        Undo::RoomEdit { .. } | Undo::RoomsEdit { .. } => edit_back(act, plan, later).await,
        Undo::RoomDelete { archive } => archive::restore_room(act, &archive).await,
        Undo::FilesExpiry { files } => {
            let files = files
                .into_iter()
                .map(|(id, expiry)| (id, lifetime.of(expiry)))
                .collect();
            store.set_files_expiry(files).await?;
            Ok(Vec::new())
        }
        Undo::Permissions { .. } => restore_permissions(act, plan).await,
        Undo::Rights {
            user_id,
            rights,
            gone,
        } => {
            let mut lines = Vec::new();
            for right in &rights {
                lines.extend(restore_rights(act, user_id, right).await?);
            }
            lines.extend(gone.restore(keeper, lifetime).await?);
            Ok(lines)
        }
        Undo::Messages { gone } => gone.restore(keeper, lifetime).await,
        Undo::File { file } => Gone::file(file).restore(keeper, lifetime).await,
        Undo::Several { parts, gone } => {
            let mut lines = Vec::new();
            for part in parts.into_iter().rev() {
                lines.extend(Box::pin(one(act, part, later, lifetime)).await?);
            }
            lines.extend(gone.restore(keeper, lifetime).await?);
            Ok(lines)
        }
        Undo::Pin {
            room_id,
            message_id,
            before: Some((user_id, at)),
            ..
        } => {
            store.pin(room_id, message_id, user_id, at).await?;
            Ok(Vec::new())
        }
        Undo::Pin {
            room_id,
            message_id,
            files,
            ..
        } => unpin(act, (room_id, message_id), files, lifetime).await,
        Undo::Approve {
            message_id,
            reason,
            at,
        } => hide_again(act, message_id, reason, at).await,
        Undo::ModeratorsRoom { before, made } => moderation::back(act, before, made).await,
        Undo::Key { former } => Ok(vec![newkey::back(act, &former).await?]),
        other => restore_rule(act, other).await,
    }
}

/// Restores rules, schedules and cases.
async fn restore_rule(act: &OperationContext<'_>, plan: Undo) -> Lines {
    let store = &act.admin.store;
    let room = match &plan {
        Undo::FilterRemove { filter } => filter.room,
        Undo::Setting { room_id, .. } | Undo::RaidOff { room_id, .. } => {
            Some(*room_id).filter(|room_id| *room_id != 0)
        }
        _ => None,
    };
    if let Some(line) = missing_room(act, room).await? {
        return Ok(vec![line]);
    }
    let mut lines = Vec::new();
    match plan {
        Undo::Later { room_id, user_id, at } => drop(store.remove_future(room_id, user_id, at).await?),
        Undo::ReportKept { message_id } => store.reopen_case(CaseKind::Report, message_id).await?,
        Undo::FilterAdd { id } => drop(store.remove_filter(id).await?),
        Undo::FilterRemove { filter } => {
            let id = store.add_filter(filter).await?;
            lines.push(format!("the filter is number {id} now"));
        }
        Undo::Setting { room_id, name, value } => store.set_setting(room_id, name, value).await?,
        Undo::RaidOn { room_id } => store.set_raid(room_id, None).await?,
        Undo::RaidOff { room_id, raid } => store.set_raid(room_id, Some(raid)).await?,
        _ => {}
    }
    Ok(lines)
}

/// A sentence if the room of a plan no longer exists: the rest of the plan is carried out all the same.
async fn missing_room(act: &OperationContext<'_>, room: Option<Id>) -> Result<Option<String>, AdminError> {
    let Some(room_id) = room else { return Ok(None) };
    let rooms = act.admin.store.rooms().await?;
    Ok(rooms
        .iter()
        .all(|room| room.id != room_id)
        .then(|| format!("left out: room number {room_id} no longer exists")))
}

async fn remove_room(act: &OperationContext<'_>, room_id: Id) -> Lines {
    let store = &act.admin.store;
    let rooms = store.rooms().await?;
    let Some(room) = rooms.into_iter().find(|room| room.id == room_id) else {
        return Ok(Vec::new());
    };
    if room.message_sequence > 0 {
        return Err(AdminError::conflict(
            format!("people have written in `{}` since", room.token),
            "`ackpost server room delete` removes it with its messages",
        ));
    }
    store.delete_room(room_id).await?;
    Ok(Vec::new())
}

/// Restores the parts of rooms that an edit changed and nobody changed since.
async fn edit_back(act: &OperationContext<'_>, plan: Undo, later: &Later) -> Lines {
    let open = |room_id: Id| {
        let parts = later.open_parts(room_id, &plan);
        move |part: RoomPart| parts.contains(&part)
    };
    let store = &act.admin.store;
    match &plan {
        Undo::RoomEdit {
            room_id,
            name,
            description,
            read,
            accessible,
            write,
            upload,
            image,
            image_file,
        } => {
            let open = open(*room_id);
            let patch = RoomPatch {
                name: open(RoomPart::Name).then(|| name.clone()),
                description: open(RoomPart::Description).then(|| description.clone()),
                read: open(RoomPart::Read).then_some(*read),
                accessible: open(RoomPart::Accessible).then_some(*accessible),
                write: open(RoomPart::Write).then_some(*write),
                upload: open(RoomPart::Upload).then_some(*upload),
                image: None,
            };
            store.patch_room(*room_id, patch).await?;
            if !open(RoomPart::Image) {
                return Ok(Vec::new());
            }
            rooms::restore_image(act, *room_id, *image, image_file.clone()).await
        }
        Undo::RoomsEdit { rooms } => {
            for (room_id, read, accessible, write, upload) in rooms {
                let open = open(*room_id);
                let patch = RoomPatch {
                    read: open(RoomPart::Read).then_some(*read),
                    accessible: open(RoomPart::Accessible).then_some(*accessible),
                    write: open(RoomPart::Write).then_some(*write),
                    upload: open(RoomPart::Upload).then_some(*upload),
                    ..RoomPatch::default()
                };
                store.patch_room(*room_id, patch).await?;
            }
            Ok(Vec::new())
        }
        _ => Ok(Vec::new()),
    }
}

async fn unpin(
    act: &OperationContext<'_>,
    (room_id, message_id): (Id, Id),
    files: Vec<FileRow>,
    lifetime: &mut Lifetime,
) -> Lines {
    let store = &act.admin.store;
    store.unpin(room_id, Some(message_id), None).await?;
    for file in files {
        let file = lifetime.of_file(file);
        let (id, expiry) = (file.id, file.expiry);
        if !store.put_file(file).await? {
            store.set_file_expiry(id, expiry).await?;
        }
    }
    Ok(Vec::new())
}

async fn hide_again(act: &OperationContext<'_>, message_id: Id, reason: String, at: f64) -> Lines {
    if act.admin.store.hide_shown(message_id, reason, at).await? == Changed::NoMessage {
        return Err(AdminError::conflict(
            format!("the post {message_id} was deleted or hidden since"),
            "nothing is left to revert",
        ));
    }
    Ok(vec![
        "it waits for approval again; people whose app fetched it have seen it".to_owned(),
    ])
}

async fn restore_rights(act: &OperationContext<'_>, user_id: Id, right: &Rights) -> Lines {
    if let Some(line) = missing_room(act, right.room_id).await? {
        return Ok(vec![line]);
    }
    let store = &act.admin.store;
    let place = || {
        right
            .room_id
            .map_or(Where::Global, |room| Where::Rooms(vec![room]))
    };
    let banned = store
        .user_by_id(user_id)
        .await?
        .is_some_and(|person| match right.room_id {
            None => person.user.banned,
            Some(room) => person
                .overrides
                .iter()
                .any(|row| row.room_id == room && row.banned),
        });
    if banned {
        // A permanent ban forgets the end of the present one.
        store.ban(user_id, place(), None).await?;
        store.unban(user_id, place()).await?;
    }
    if right.banned {
        store.ban(user_id, place(), right.until).await?;
    } else if right.moderator {
        store
            .set_moderator(
                user_id,
                place(),
                ModChange::Appoint {
                    admin: Some(right.admin),
                    visible: right.visible,
                },
            )
            .await?;
    } else {
        store.set_moderator(user_id, place(), ModChange::Dismiss).await?;
    }
    Ok(Vec::new())
}

/// Restores permissions, and scheduled changes that are not due yet.
async fn restore_permissions(act: &OperationContext<'_>, plan: Undo) -> Lines {
    let Undo::Permissions {
        room_id,
        user_id,
        read,
        accessible,
        write,
        upload,
        mut scheduled,
    } = plan
    else {
        return Ok(Vec::new());
    };
    if let Some(line) = missing_room(act, Some(room_id)).await? {
        return Ok(vec![line]);
    }
    let mut patch = PermissionPatch {
        read: Some(read),
        accessible: Some(accessible),
        write: Some(write),
        upload: Some(upload),
        keep_scheduled: true,
    };
    let store = &act.admin.store;
    if !scheduled.is_empty() {
        // Parts of the schedule may be left; it is written anew as a whole, with what was added since.
        add_since(act, (room_id, user_id), &mut scheduled).await?;
        patch.keep_scheduled = false;
    }
    store.set_permissions(room_id, user_id, patch).await?;
    for (at, read, write, upload) in scheduled.into_iter().filter(|row| row.0 > act.now) {
        let change = FuturePermission {
            at,
            read,
            write,
            upload,
        };
        store.add_future(room_id, user_id, change).await?;
    }
    Ok(Vec::new())
}

/// Adds the changes that were scheduled since.
async fn add_since(
    act: &OperationContext<'_>,
    (room_id, user_id): (Id, Id),
    scheduled: &mut Vec<KeptFuture>,
) -> Result<(), AdminError> {
    for row in act.admin.store.futures(room_id, Some(user_id)).await? {
        let change = row.change;
        let kept = (change.at, change.read, change.write, change.upload);
        let is_known = scheduled
            .iter()
            .any(|known| known.0.to_bits() == kept.0.to_bits());
        if row.banned.is_none() && !is_known {
            scheduled.push(kept);
        }
    }
    Ok(())
}
