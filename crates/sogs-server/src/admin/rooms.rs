//! Rooms: listing, adding, changing, deleting.

use base64::Engine as _;
use session_protocol::RoomToken;
use session_protocol::link::JoinLink;

use super::context::{Done, OperationContext};
use super::operation::{AdminError, Answer, PermissionChange};
use super::undo_entry::Undo;
use super::words::{changes, count};
use super::{archive, removal};
use crate::model::rules::RULES;
use crate::store::operation::LogEntry;
use crate::store::{FileRow, Id, NewFile, NewRoom, RoomDefaults, RoomPatch, RoomPatched, RoomRow};

/// The longest name of a room, in bytes.
const MAX_NAME: usize = 500;
/// The longest description of a room, in bytes.
const MAX_DESCRIPTION: usize = 10_000;
/// The largest room picture, in bytes.
const MAX_IMAGE: usize = 10_000_000;

/// Changes of `room edit`.
pub(super) struct Edit {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) permissions: PermissionChange,
    pub(super) image: Option<String>,
}

fn data(act: &OperationContext<'_>, room: &RoomRow) -> serde_json::Value {
    serde_json::json!({
        "token": room.token,
        "name": room.name,
        "description": room.description,
        "created": room.created,
        "messages": room.message_sequence,
        "active_users": room.active_users,
        "info_updates": room.info_updates,
        "image": room.image_id,
        "read": room.defaults.read,
        "accessible": room.defaults.accessible,
        "write": room.defaults.write,
        "upload": room.defaults.upload,
        "link": link(act, &room.token),
    })
}

/// The join link of a room.
pub(super) fn link(act: &OperationContext<'_>, token: &str) -> Option<String> {
    let token = RoomToken::new(token).ok()?;
    Some(JoinLink::new(act.admin.base_url(), token, act.admin.key).to_string())
}

/// `rwua`, with `-` for what is not allowed.
fn letters(defaults: RoomDefaults) -> String {
    [
        (defaults.read, 'r'),
        (defaults.write, 'w'),
        // Uploading needs posting too.
        (defaults.upload && defaults.write, 'u'),
        (defaults.accessible, 'a'),
    ]
    .iter()
    .map(|(allowed, letter)| if *allowed { *letter } else { '-' })
    .collect()
}

pub(super) async fn list(act: &OperationContext<'_>) -> Done {
    let rooms = act.admin.store.rooms().await?;
    let lines = rooms
        .iter()
        .map(|room| {
            format!(
                "{:<24} {} {:>6} active  {}",
                room.token,
                letters(room.defaults),
                room.active_users,
                room.name
            )
        })
        .collect();
    let data: Vec<_> = rooms.iter().map(|room| data(act, room)).collect();
    Ok(Answer::show(serde_json::json!({ "rooms": data }), lines))
}

pub(super) async fn show(act: &OperationContext<'_>, token: &str) -> Done {
    let room = act.room(token).await?;
    let full = act.admin.store.room_full(room.id).await?;
    let (mods, pins) = full.map(|full| (full.mods, full.pins)).unwrap_or_default();
    let totals = act.admin.store.room_totals(room.id).await?;
    let mut lines = vec![
        format!("token        {}", room.token),
        format!("name         {}", room.name),
        format!("description  {}", room.description.as_deref().unwrap_or("-")),
        format!(
            "permissions  {} (read, write, upload, accessible)",
            letters(room.defaults)
        ),
        format!("link         {}", link(act, &room.token).unwrap_or_default()),
        format!("active       {}", room.active_users),
        format!("moderators   {}", mods.len()),
        format!(
            "messages     {} ({} bytes)",
            totals.messages, totals.message_bytes
        ),
        format!("reactions    {}", totals.reactions),
        format!("files        {} ({} bytes)", totals.files, totals.file_bytes),
    ];
    lines.extend(
        pins.iter()
            .map(|pin| format!("pinned       message {}", pin.message_id)),
    );
    let mut set = serde_json::Map::new();
    for (of, name, value) in act.admin.store.settings().await? {
        if of == room.id && RULES.iter().any(|rule| rule.name == name) {
            lines.push(format!("rule         {name} = {value}"));
            set.insert(name, value.into());
        }
    }
    let mut data = data(act, &room);
    data["rules"] = set.into();
    data["totals"] = serde_json::to_value(totals).unwrap_or_default();
    data["pinned"] = pins.iter().map(|pin| pin.message_id).collect();
    data["moderators"] = mods
        .iter()
        .map(|row| serde_json::json!({ "session_id": row.session_id, "admin": row.admin, "visible": row.visible, "global": row.global }))
        .collect();
    Ok(Answer::show(data, lines))
}

fn checked(name: Option<&str>, description: Option<&str>) -> Result<(), AdminError> {
    if let Some(name) = name
        && (name.trim().is_empty() || name.len() > MAX_NAME)
    {
        return Err(AdminError::usage(
            format!("a name has 1 to {MAX_NAME} bytes"),
            "write a shorter or a real name",
        ));
    }
    if description.is_some_and(|text| text.len() > MAX_DESCRIPTION) {
        return Err(AdminError::usage(
            format!("a description has at most {MAX_DESCRIPTION} bytes"),
            "write a shorter one",
        ));
    }
    Ok(())
}

pub(super) async fn add(
    act: &OperationContext<'_>,
    token: String,
    name: Option<String>,
    description: Option<String>,
    permissions: PermissionChange,
) -> Done {
    RoomToken::new(token.as_str()).map_err(|error| {
        AdminError::usage(
            format!("`{token}` is not a valid room token: {error}"),
            "a token has letters, digits, _ and -, at most 64",
        )
    })?;
    let name = name.unwrap_or_else(|| token.clone());
    checked(Some(&name), description.as_deref())?;
    let taken = || {
        AdminError::conflict(
            format!("room `{token}` already exists"),
            "choose another token, or change the room with `room edit`",
        )
    };
    if act.admin.store.room_by_token(token.clone()).await?.is_some() {
        return Err(taken());
    }
    let defaults = RoomDefaults {
        read: permissions.read.unwrap_or(true),
        accessible: permissions.accessible.unwrap_or(true),
        write: permissions.write.unwrap_or(true),
        upload: permissions.upload.unwrap_or(true),
    };
    let description = description.filter(|text| !text.is_empty());
    let mut undo = None;
    if !act.dry_run {
        let new = NewRoom {
            token: token.clone(),
            name: name.clone(),
            description,
            defaults,
            now: act.now,
        };
        let entry = act.entry("room_add", Some(&token), &token, name.clone(), None);
        let made = act.logged(act.admin.store.create_room(new), move |made: &Option<Id>| {
            let undo = made.and_then(|room_id| serde_json::to_value(Undo::RoomAdd { room_id }).ok())?;
            Some(LogEntry {
                undo: Some(undo),
                ..entry.clone()
            })
        });
        let (made, number) = made.await?;
        made.ok_or_else(taken)?;
        undo = number;
    }
    let link = link(act, &token);
    let lines = vec![format!("room {token} ({name})"), link.clone().unwrap_or_default()];
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            serde_json::json!({ "token": token, "name": name, "link": link }),
            lines,
        )
    })
}

pub(super) async fn edit(act: &OperationContext<'_>, token: &str, edit: Edit) -> Done {
    let room = act.room(token).await?;
    checked(edit.name.as_deref(), edit.description.as_deref())?;
    if edit.name.is_none()
        && edit.description.is_none()
        && edit.permissions.is_empty()
        && edit.image.is_none()
    {
        return Err(AdminError::usage(
            "no change is given",
            "name what to change; see `ackpost server room edit --help`",
        ));
    }
    let image = edit.image.as_deref().map(decode_image).transpose()?;
    let old_image = match room.image_id {
        Some(id) if image.is_some() => act.admin.store.any_file(id).await?,
        _ => None,
    };
    let undo = Undo::RoomEdit {
        room_id: room.id,
        name: room.name.clone(),
        description: room.description.clone(),
        read: room.defaults.read,
        accessible: room.defaults.accessible,
        write: room.defaults.write,
        upload: room.defaults.upload,
        image: room.image_id,
        image_file: old_image,
    };
    let patch = RoomPatch {
        name: edit.name,
        description: edit
            .description
            .map(|text| Some(text).filter(|text| !text.is_empty())),
        read: edit.permissions.read,
        accessible: edit.permissions.accessible,
        write: edit.permissions.write,
        upload: edit.permissions.upload,
        image: None,
    };
    let detail = changes(&patch, edit.image.is_some());
    let mut undo_id = None;
    if !act.dry_run {
        if let Some(old) = &undo.image_content() {
            super::keeper::keep(act.admin.keeper(), old).await?;
        }
        let entry = act.entry(
            "room_edit",
            Some(&room.token),
            &room.token,
            detail.clone(),
            Some(&undo),
        );
        undo_id = apply(act, room.id, patch, image, entry).await?;
    }
    let lines = vec![format!("room {}: {detail}", room.token)];
    Ok(Answer {
        changed: 1,
        undo: undo_id,
        ..Answer::show(
            serde_json::json!({ "token": room.token, "changed": detail }),
            lines,
        )
    })
}

/// Stores the new picture, if there is one, and changes the room; the number of the entry.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether the picture changes, the inner one whether there is one"
)]
async fn apply(
    act: &OperationContext<'_>,
    room_id: Id,
    mut patch: RoomPatch,
    image: Option<Option<Vec<u8>>>,
    entry: LogEntry,
) -> Result<Option<Id>, AdminError> {
    patch.image = match image {
        None => None,
        Some(None) => Some(None),
        Some(Some(bytes)) => Some(Some(store_image(act, room_id, &bytes).await?)),
    };
    let patched = act.admin.store.patch_room(room_id, patch);
    let entry = move |patched: &RoomPatched| matches!(patched, RoomPatched::Done(_)).then(|| entry.clone());
    let (patched, undo) = act.logged(patched, entry).await?;
    match patched {
        RoomPatched::Done(_) => Ok(undo),
        RoomPatched::NoRoom => Err(AdminError::not_found(
            "the room no longer exists",
            "`ackpost server room list` lists the rooms",
        )),
        RoomPatched::NoFile => Err(AdminError::failed("the picture was not stored")),
    }
}

/// `None` removes the picture.
fn decode_image(text: &str) -> Result<Option<Vec<u8>>, AdminError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|_| {
            AdminError::usage(
                "the picture is not valid base64",
                "use `ackpost server room edit --image FILE`",
            )
        })?;
    if bytes.len() > MAX_IMAGE {
        return Err(AdminError::usage(
            format!("the picture is larger than {MAX_IMAGE} bytes"),
            "take a smaller one",
        ));
    }
    if crate::web::picture_type(&bytes).is_none() {
        return Err(AdminError::usage(
            "apps and browsers do not show pictures of this kind",
            "use a PNG, JPEG, GIF or WebP file",
        ));
    }
    Ok(Some(bytes))
}

async fn store_image(act: &OperationContext<'_>, room_id: Id, bytes: &[u8]) -> Result<Id, AdminError> {
    let kept = archive::put_content(act.admin, bytes).await?;
    // A picture needs an uploader.
    let uploader_id = super::upkeep::system_user(act).await?;
    let new = NewFile {
        room_id,
        uploader_id,
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        now: act.now,
        expiry: None,
        filename: None,
        content: kept.name.clone(),
    };
    let id = act.admin.store.add_file(new).await?;
    drop(kept);
    Ok(id)
}

/// Puts a former picture back, if its file is still there or was kept.
pub(super) async fn restore_image(
    act: &OperationContext<'_>,
    room_id: Id,
    image: Option<Id>,
    file: Option<FileRow>,
) -> Result<Vec<String>, AdminError> {
    let Some(room) = act
        .admin
        .store
        .rooms()
        .await?
        .into_iter()
        .find(|room| room.id == room_id)
    else {
        return Ok(Vec::new());
    };
    if room.image_id == image {
        return Ok(Vec::new());
    }
    if image.is_some() {
        let there = match file {
            Some(file) => match super::keeper::bring_file(act.admin.keeper(), file).await? {
                Some(file) => act.admin.store.put_file(file).await?,
                None => false,
            },
            None => false,
        };
        if !there {
            return Ok(vec![
                "the former picture is gone; set it again with --image".to_owned(),
            ]);
        }
    }
    let patch = RoomPatch {
        image: Some(image),
        ..RoomPatch::default()
    };
    act.admin.store.patch_room(room_id, patch).await?;
    Ok(Vec::new())
}

pub(super) async fn delete(act: &OperationContext<'_>, token: &str) -> Done {
    let room = act.room(token).await?;
    let contents = archive::room_counts(act.admin, room.id).await?;
    let messages = contents
        .iter()
        .find(|(name, _)| *name == "messages")
        .map_or(0, |(_, rows)| *rows);
    let mut undo = None;
    if !act.dry_run {
        undo = Some(removal::remove_room(act, &room, count(messages, "message")).await?);
        act.rules_changed().await?;
    }
    let lines = vec![format!("room {} with {}", room.token, count(messages, "message"))];
    let rows: serde_json::Map<String, serde_json::Value> = contents
        .into_iter()
        .map(|(name, rows)| (name.to_owned(), rows.into()))
        .collect();
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(serde_json::json!({ "token": room.token, "rows": rows }), lines)
    })
}
