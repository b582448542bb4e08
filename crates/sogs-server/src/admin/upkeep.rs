//! Upkeep of rooms: pins, the lifetime of files, and changes of all rooms at once.

use super::context::{Done, OperationContext};
use super::gone::Gone;
use super::operation::{AdminError, Answer, PermissionChange, RoomScope};
use super::undo_entry::Undo;
use super::words::{count, one_token, place_words, time};
use crate::store::{Id, Pinned, RoomPatch, RoomRow};

/// The server's own appearance as a user, who pins and uploads for operators.
pub(super) async fn system_user(act: &OperationContext<'_>) -> Result<Id, AdminError> {
    let name = format!("ff{}", act.admin.key);
    let (user, _) = act
        .admin
        .store
        .ensure_user(crate::store::Person::named(name), act.now)
        .await?;
    Ok(user.user.id)
}

/// Changes what every room lets everybody do.
pub(super) async fn edit_every(act: &OperationContext<'_>, permissions: PermissionChange) -> Done {
    if permissions.is_empty() {
        return Err(AdminError::usage(
            "no change is given",
            "name a permission: --read, --write, --upload or --accessible",
        ));
    }
    let differs = |wanted: Option<bool>, now: bool| wanted.is_some_and(|wanted| wanted != now);
    let rooms: Vec<RoomRow> = act
        .admin
        .store
        .rooms()
        .await?
        .into_iter()
        .filter(|room| {
            let now = room.defaults;
            differs(permissions.read, now.read)
                || differs(permissions.accessible, now.accessible)
                || differs(permissions.write, now.write)
                || differs(permissions.upload, now.upload)
        })
        .collect();
    let patch = RoomPatch {
        read: permissions.read,
        accessible: permissions.accessible,
        write: permissions.write,
        upload: permissions.upload,
        ..RoomPatch::default()
    };
    let words = super::words::changes(&patch, false);
    let detail = format!(
        "{} of {}: {words}",
        count(rooms.len() as u64, "room"),
        place_words(Some(&rooms))
    );
    let mut undo = None;
    if !act.dry_run && !rooms.is_empty() {
        let ids = rooms.iter().map(|room| room.id).collect();
        let plan = Undo::RoomsEdit {
            rooms: rooms
                .iter()
                .map(|room| {
                    let was = room.defaults;
                    (room.id, was.read, was.accessible, was.write, was.upload)
                })
                .collect(),
        };
        let entry = act.entry(
            "room_edit",
            one_token(Some(&rooms)),
            "all rooms",
            words.clone(),
            Some(&plan),
        );
        let changed = act.admin.store.patch_rooms(ids, patch);
        undo = act.logged(changed, move |()| Some(entry.clone())).await?.1;
    }
    let tokens: Vec<&str> = rooms.iter().map(|room| room.token.as_str()).collect();
    let lines = if rooms.is_empty() {
        vec!["every room already has these permissions".to_owned()]
    } else {
        vec![detail]
    };
    Ok(Answer {
        changed: rooms.len() as u64,
        undo,
        ..Answer::show(serde_json::json!({ "rooms": tokens, "changed": words }), lines)
    })
}

/// Keeps files that are attached to messages permanently.
pub(super) async fn keep_files(act: &OperationContext<'_>, place: &RoomScope) -> Done {
    let rooms = act.rooms(place).await?;
    let mut files = Vec::new();
    match &rooms {
        None => files = act.admin.store.expiring_files(None).await?,
        Some(rooms) => {
            for room in rooms {
                files.extend(act.admin.store.expiring_files(Some(room.id)).await?);
            }
        }
    }
    let detail = format!(
        "{} of {} kept permanently",
        count(files.len() as u64, "file"),
        place_words(rooms.as_deref())
    );
    let mut undo = None;
    if !act.dry_run && !files.is_empty() {
        let kept = files.iter().map(|(id, _)| (*id, None)).collect();
        let plan = Undo::FilesExpiry {
            files: files.iter().map(|(id, at)| (*id, Some(*at))).collect(),
        };
        let target = files.len().to_string();
        let entry = act.entry(
            "file_keep",
            one_token(rooms.as_deref()),
            &target,
            detail.clone(),
            Some(&plan),
        );
        let changed = act.admin.store.set_files_expiry(kept);
        undo = act.logged(changed, move |_| Some(entry.clone())).await?.1;
    }
    Ok(Answer {
        changed: files.len() as u64,
        undo,
        ..Answer::show(serde_json::json!({ "files": files.len() }), vec![detail])
    })
}

/// Pins a message; its files are kept as long as it is pinned.
pub(super) async fn pin(act: &OperationContext<'_>, room: &str, id: Id) -> Done {
    let room = act.room(room).await?;
    let store = &act.admin.store;
    let before = store.pins_of(vec![id]).await?;
    let files = store.files_of_messages(vec![id]).await?;
    let detail = format!("message {id} of {}", room.token);
    let mut undo = None;
    if !act.dry_run {
        let user = system_user(act).await?;
        for file in &files {
            super::keeper::keep(act.admin.keeper(), &file.content).await?;
        }
        let plan = Undo::Pin {
            room_id: room.id,
            message_id: id,
            before: before.first().map(|(_, _, user_id, at)| (*user_id, *at)),
            files,
        };
        let target = id.to_string();
        let entry = act.entry("pin", Some(&room.token), &target, String::new(), Some(&plan));
        let pinned = act.logged(store.pin(room.id, id, user, act.now), move |pinned| {
            (*pinned != Pinned::NoMessage).then(|| entry.clone())
        });
        let (pinned, number) = pinned.await?;
        if pinned == Pinned::NoMessage {
            return Err(AdminError::not_found(
                format!(
                    "message {id} of `{}` does not exist or cannot be pinned",
                    room.token
                ),
                "whispers, hidden and deleted messages cannot; `ackpost server message list` shows the others",
            ));
        }
        undo = number;
    }
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            serde_json::json!({ "room": room.token, "id": id }),
            vec![format!("{detail} is pinned")],
        )
    })
}

/// Unpins one message of a room, or all, and says when their files expire.
pub(super) async fn unpin(act: &OperationContext<'_>, room: &str, id: Option<Id>) -> Done {
    let room = act.room(room).await?;
    let store = &act.admin.store;
    let full = store.room_full(room.id).await?;
    let pinned: Vec<Id> = full
        .map(|full| full.pins.iter().map(|pin| pin.message_id).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .filter(|pinned| id.is_none_or(|id| id == *pinned))
        .collect();
    if pinned.is_empty() {
        return Err(AdminError::not_found(
            match id {
                Some(id) => format!("message {id} of `{}` is not pinned", room.token),
                None => format!("no message of `{}` is pinned", room.token),
            },
            "`ackpost server room show` names the pinned messages",
        ));
    }
    let pins = store.pins_of(pinned.clone()).await?;
    let files = store.files_of_messages(pinned.clone()).await?;
    let days = act.admin.config()?.files.expiry_days;
    let expire = (days > 0.0).then_some(act.now + days * 86_400.0);
    let mut lines = vec![format!(
        "{} of {} unpinned",
        count(pinned.len() as u64, "message"),
        room.token
    )];
    if let (false, Some(at)) = (files.is_empty(), expire) {
        lines.push(format!(
            "{} expire at {}; `ackpost server file keep` keeps them",
            count(files.len() as u64, "file"),
            time(at)
        ));
    }
    let mut undo = None;
    if !act.dry_run {
        let target = id.map_or_else(|| "all".to_owned(), |id| id.to_string());
        let plan = Undo::Messages {
            gone: Gone::pins(pins),
        };
        let entry = act.entry("unpin", Some(&room.token), &target, String::new(), Some(&plan));
        let unpinned = store.unpin(room.id, id, expire);
        undo = act.logged(unpinned, move |_| Some(entry.clone())).await?.1;
    }
    Ok(Answer {
        changed: pinned.len() as u64,
        undo,
        ..Answer::show(
            serde_json::json!({ "room": room.token, "unpinned": pinned, "files": files.len(), "files_expire": expire }),
            lines,
        )
    })
}
