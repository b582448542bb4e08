//! Taking something back: what each destructive operation remembers, and how it is restored.

use serde::{Deserialize, Serialize};

use super::exec::{Act, Done};
use super::gone::Gone;
use super::operation::{AdminError, Answer};
use super::{archive, newkey, rooms};
use crate::model::filter::{Filter, FilterAction, FilterKind};
use crate::model::raid::Raid;
use crate::store::cases::CaseKind;
use crate::store::operation::LogRow;
use crate::store::{Changed, FileRow, FuturePermission, Id, ModChange, PermissionPatch, RoomPatch, Where};

/// Rights of a person in a place, as they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one column each")]
pub(crate) struct Rights {
    /// The room; `None` = the whole server.
    pub(super) room_id: Option<Id>,
    pub(super) moderator: bool,
    pub(super) admin: bool,
    pub(super) visible: bool,
    pub(super) banned: bool,
    /// When the ban would have ended by itself.
    pub(super) until: Option<f64>,
}

/// A scheduled change of permissions as it was: when, read, write, upload.
pub(crate) type KeptFuture = (f64, Option<bool>, Option<bool>, Option<bool>);

/// What is needed to take something back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Undo {
    RoomAdd {
        room_id: Id,
    },
    RoomEdit {
        room_id: Id,
        name: String,
        description: Option<String>,
        read: bool,
        accessible: bool,
        write: bool,
        upload: bool,
        image: Option<Id>,
        image_file: Option<FileRow>,
    },
    /// Rooms and their permissions as they were: read, accessible, write, upload.
    RoomsEdit {
        rooms: Vec<(Id, bool, bool, bool, bool)>,
    },
    /// Files and when they were to expire.
    FilesExpiry {
        files: Vec<(Id, Option<f64>)>,
    },
    RoomDelete {
        archive: String,
    },
    Permissions {
        room_id: Id,
        user_id: Id,
        read: Option<bool>,
        accessible: Option<bool>,
        write: Option<bool>,
        upload: Option<bool>,
        /// What was scheduled for the person in this room.
        #[serde(default)]
        scheduled: Vec<KeptFuture>,
    },
    Rights {
        user_id: Id,
        rights: Vec<Rights>,
        #[serde(flatten)]
        gone: Gone,
    },
    Messages {
        #[serde(flatten)]
        gone: Gone,
    },
    /// One act that concerned several people.
    Several {
        parts: Vec<Undo>,
        #[serde(flatten)]
        gone: Gone,
    },
    /// A message was pinned; its files expired as noted here.
    Pin {
        room_id: Id,
        message_id: Id,
        /// Who had pinned it before, and when.
        before: Option<(Id, f64)>,
        files: Vec<FileRow>,
    },
    /// A change of permissions was scheduled.
    Later {
        room_id: Id,
        user_id: Id,
        at: f64,
    },
    File {
        file: FileRow,
    },
    /// A held post was shown.
    Approve {
        message_id: Id,
        reason: String,
        at: f64,
    },
    /// A reported message was left where it is.
    ReportKept {
        message_id: Id,
    },
    /// The moderators' room became another one.
    ModeratorsRoom {
        before: Option<Id>,
        /// A room that was made for it.
        #[serde(default)]
        made: Option<Id>,
    },
    /// The server got another key; the former one is kept under this name.
    Key {
        former: String,
    },
    FilterAdd {
        id: Id,
    },
    FilterRemove {
        filter: Filter,
    },
    Setting {
        room_id: Id,
        name: String,
        value: Option<String>,
    },
    RaidOn {
        room_id: Id,
    },
    RaidOff {
        room_id: Id,
        raid: Raid,
    },
}

impl Undo {
    /// What takes back all of these, in one entry of the log.
    pub(super) fn several(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        Self::Several {
            parts,
            gone: Gone::default(),
        }
    }

    /// The content of the picture that a change of a room replaces.
    pub(super) fn image_content(&self) -> Option<String> {
        match self {
            Self::RoomEdit {
                image_file: Some(file),
                ..
            } => Some(file.content.clone()),
            _ => None,
        }
    }
}

/// Takes back an entry of the log.
pub(super) async fn undo(act: &Act<'_>, id: Option<Id>) -> Done {
    let store = &act.admin.store;
    let Some(entry) = store.log_entry(id).await? else {
        return Err(match id {
            Some(id) => AdminError::not_found(
                format!("the log has no entry {id}"),
                "`ackpost server log` shows what was done",
            ),
            None => AdminError::not_found(
                "there is nothing to undo",
                "`ackpost server log` shows what was done",
            ),
        });
    };
    if let Some(at) = entry.undone_at {
        return Err(AdminError::conflict(
            format!(
                "entry {} was taken back already at {}",
                entry.id,
                super::exec::time(at)
            ),
            "do it again by its own command if you want it after all",
        ));
    }
    if entry.undo.is_none() {
        return Err(AdminError::conflict(
            format!("entry {} ({}) cannot be undone", entry.id, entry.action),
            "use the opposite command",
        ));
    }
    let mut lines = vec![format!(
        "undo of entry {}: {} {}",
        entry.id, entry.action, entry.detail
    )];
    if !act.dry_run {
        lines.extend(take_back(act, &entry).await?);
        act.rules_changed().await?;
    }
    let data = serde_json::json!({ "undone": entry.id, "action": entry.action, "detail": entry.detail });
    Ok(Answer {
        changed: 1,
        ..Answer::show(data, lines)
    })
}

/// Takes back one entry; what came of it, in words.
pub(super) async fn take_back(act: &Act<'_>, entry: &LogRow) -> Result<Vec<String>, AdminError> {
    let text = entry.undo.as_deref().unwrap_or_default();
    let plan: Undo = serde_json::from_str(text)
        .map_err(|error| AdminError::failed(format!("entry {} cannot be read: {error}", entry.id)))?;
    let lines = restore(act, plan).await?;
    act.admin.store.log_undone(entry.id, act.now).await?;
    act.log(
        "undo",
        entry.room.as_deref(),
        &entry.id.to_string(),
        format!("{} {}", entry.action, entry.detail),
        None,
    )
    .await?;
    Ok(lines)
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of undo")]
async fn restore(act: &Act<'_>, plan: Undo) -> Result<Vec<String>, AdminError> {
    let store = &act.admin.store;
    let mut lines = Vec::new();
    match plan {
        Undo::RoomAdd { room_id } => {
            let Some(room) = store.rooms().await?.into_iter().find(|room| room.id == room_id) else {
                return Ok(lines);
            };
            if room.message_sequence > 0 {
                return Err(AdminError::conflict(
                    format!("people have written in '{}' since", room.token),
                    "`ackpost server room delete` removes it with its messages",
                ));
            }
            store.delete_room(room_id).await?;
        }
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
            let patch = RoomPatch {
                name: Some(name),
                description: Some(description),
                read: Some(read),
                accessible: Some(accessible),
                write: Some(write),
                upload: Some(upload),
                image: None,
            };
            store.patch_room(room_id, patch).await?;
            lines.extend(rooms::restore_image(act, room_id, image, image_file).await?);
        }
        Undo::RoomsEdit { rooms } => {
            for (room_id, read, accessible, write, upload) in rooms {
                let patch = RoomPatch {
                    read: Some(read),
                    accessible: Some(accessible),
                    write: Some(write),
                    upload: Some(upload),
                    ..RoomPatch::default()
                };
                store.patch_room(room_id, patch).await?;
            }
        }
        Undo::FilesExpiry { files } => {
            store.set_files_expiry(files).await?;
        }
        Undo::RoomDelete { archive } => lines.extend(archive::restore_room(act, &archive).await?),
        Undo::Permissions {
            room_id,
            user_id,
            read,
            accessible,
            write,
            upload,
            scheduled,
        } => {
            let patch = PermissionPatch {
                read: Some(read),
                accessible: Some(accessible),
                write: Some(write),
                upload: Some(upload),
                keep_scheduled: true,
            };
            restore_permissions(act, room_id, user_id, patch, scheduled).await?;
        }
        Undo::Rights {
            user_id,
            rights,
            gone,
        } => {
            for right in &rights {
                restore_rights(act, user_id, right).await?;
            }
            lines.extend(gone.restore(act.admin.keeper()).await?);
        }
        Undo::Messages { gone } => lines.extend(gone.restore(act.admin.keeper()).await?),
        Undo::Several { parts, gone } => {
            for part in parts.into_iter().rev() {
                lines.extend(Box::pin(restore(act, part)).await?);
            }
            lines.extend(gone.restore(act.admin.keeper()).await?);
        }
        Undo::Pin {
            room_id,
            message_id,
            before,
            files,
        } => {
            if let Some((user_id, at)) = before {
                store.pin(room_id, message_id, user_id, at).await?;
            } else {
                store.unpin(room_id, Some(message_id), None).await?;
                for file in files {
                    let (id, expiry) = (file.id, file.expiry);
                    if !store.put_file(file).await? {
                        store.set_file_expiry(id, expiry).await?;
                    }
                }
            }
        }
        Undo::Later { room_id, user_id, at } => drop(store.remove_future(room_id, user_id, at).await?),
        Undo::File { file } => lines.extend(Gone::file(file).restore(act.admin.keeper()).await?),
        Undo::Approve {
            message_id,
            reason,
            at,
        } => {
            if store.hide_shown(message_id, reason, at).await? == Changed::NoMessage {
                return Err(AdminError::conflict(
                    format!("the post {message_id} was deleted or hidden since"),
                    "there is nothing to take back any more",
                ));
            }
            lines.push("it waits for approval again; whose app fetched it meanwhile has seen it".to_owned());
        }
        Undo::ReportKept { message_id } => store.reopen_case(CaseKind::Report, message_id).await?,
        Undo::ModeratorsRoom { before, made } => {
            lines.extend(super::moderation::back(act, before, made).await?);
        }
        Undo::Key { former } => lines.push(newkey::back(act, &former).await?),
        Undo::FilterAdd { id } => {
            store.remove_filter(id).await?;
        }
        Undo::FilterRemove { filter } => {
            let id = store.add_filter(filter).await?;
            lines.push(format!("the filter is number {id} now"));
        }
        Undo::Setting { room_id, name, value } => store.set_setting(room_id, name, value).await?,
        Undo::RaidOn { room_id } => store.set_raid(room_id, None).await?,
        Undo::RaidOff { room_id, raid } => store.set_raid(room_id, Some(raid)).await?,
    }
    Ok(lines)
}

async fn restore_rights(act: &Act<'_>, user_id: Id, right: &Rights) -> Result<(), AdminError> {
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
        // A ban for good forgets when the present one would have ended.
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
    Ok(())
}

/// Permissions as they were, and what was scheduled and is not due yet.
async fn restore_permissions(
    act: &Act<'_>,
    room_id: Id,
    user_id: Id,
    mut patch: PermissionPatch,
    mut scheduled: Vec<KeptFuture>,
) -> Result<(), AdminError> {
    let store = &act.admin.store;
    if !scheduled.is_empty() {
        // Parts of the schedule may be left; it is written anew as a whole, with what was added since.
        for row in store.futures(room_id, Some(user_id)).await? {
            let change = row.change;
            let kept = (change.at, change.read, change.write, change.upload);
            if row.banned.is_none()
                && !scheduled
                    .iter()
                    .any(|known| known.0.to_bits() == kept.0.to_bits())
            {
                scheduled.push(kept);
            }
        }
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
    Ok(())
}

/// A filter in the form of the log.
pub(super) fn filter_words(kind: FilterKind, action: FilterAction, pattern: &str) -> String {
    let mut shown: String = pattern
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if pattern.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("{} {} {shown}", action.as_str(), kind.as_str())
}
