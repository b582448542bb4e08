//! The moderators' room: opening it, closing it, and the number of waiting cases.

use session_protocol::RoomToken;

use super::context::{Done, OperationContext};
use super::operation::{AdminError, Answer};
use super::rooms;
use super::undo_entry::Undo;
use super::words::count;
use crate::store::{Id, NewRoom, RoomDefaults, RoomPatch, RoomRow};

const NOBODY: RoomDefaults = RoomDefaults {
    read: false,
    accessible: false,
    write: false,
    upload: false,
};

async fn current(act: &OperationContext<'_>) -> Result<Option<RoomRow>, AdminError> {
    let rooms = act.admin.store.rooms().await?;
    Ok(rooms.into_iter().find(|room| room.for_moderators))
}

/// Makes the room, which only moderators can enter.
async fn make(act: &OperationContext<'_>, token: &str) -> Result<Id, AdminError> {
    let new = NewRoom {
        token: token.to_owned(),
        name: "Moderators".to_owned(),
        description: Some("Held posts and reports; moderators decide here".to_owned()),
        defaults: NOBODY,
        now: act.now,
    };
    act.admin
        .store
        .create_room(new)
        .await?
        .ok_or_else(|| AdminError::conflict(format!("room `{token}` already exists"), "try again"))
}

/// Takes all permissions of members from a former moderators' room: they had no effect while it was one.
async fn close(act: &OperationContext<'_>, room_id: Id) -> Result<(), AdminError> {
    let patch = RoomPatch {
        read: Some(NOBODY.read),
        accessible: Some(NOBODY.accessible),
        write: Some(NOBODY.write),
        upload: Some(NOBODY.upload),
        ..RoomPatch::default()
    };
    act.admin.store.patch_rooms(vec![room_id], patch).await?;
    Ok(())
}

/// Opens the moderators' room.
pub(super) async fn on(act: &OperationContext<'_>, token: &str) -> Done {
    RoomToken::new(token).map_err(|error| {
        AdminError::usage(
            format!("`{token}` is not a valid room token: {error}"),
            "a token has letters, digits, _ and -, at most 64",
        )
    })?;
    let before = current(act).await?;
    let room = act.admin.store.room_by_token(token.to_owned()).await?;
    if let Some(room) = &room {
        if room.for_moderators {
            return Err(AdminError::conflict(
                format!("`{token}` is the moderators' room already"),
                "`ackpost server moderation status` shows what waits there",
            ));
        }
        if room.defaults.read || room.defaults.accessible || room.defaults.write {
            return Err(AdminError::conflict(
                format!("members use the room `{token}`"),
                "name a room that does not exist yet; `on` makes it",
            ));
        }
    }
    let mut undo = None;
    if !act.dry_run {
        let (room_id, made) = if let Some(room) = room {
            (room.id, None)
        } else {
            let made = make(act, token).await?;
            (made, Some(made))
        };
        let plan = Undo::ModeratorsRoom {
            before: before.map(|room| room.id),
            made,
        };
        let detail = "moderators' room".to_owned();
        let entry = act.entry("moderation_on", Some(token), token, detail, Some(&plan));
        let set = act.admin.store.set_moderators_room(Some(room_id));
        undo = act.logged(set, move |()| Some(entry.clone())).await?.1;
    }
    let link = rooms::link(act, token);
    let lines = vec![
        format!("moderators of the server and of its rooms decide in the room {token}"),
        link.clone().unwrap_or_default(),
    ];
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(serde_json::json!({ "room": token, "link": link }), lines)
    })
}

/// Closes the moderators' room.
pub(super) async fn off(act: &OperationContext<'_>) -> Done {
    let Some(room) = current(act).await? else {
        return Err(AdminError::not_found(
            "no moderators' room is set",
            "`ackpost server moderation on` opens one",
        ));
    };
    let mut undo = None;
    if !act.dry_run {
        let plan = Undo::ModeratorsRoom {
            before: Some(room.id),
            made: None,
        };
        let token = &room.token;
        let detail = "moderators' room".to_owned();
        let entry = act.entry("moderation_off", Some(token), token, detail, Some(&plan));
        let set = act.admin.store.set_moderators_room(None);
        undo = act.logged(set, move |()| Some(entry.clone())).await?.1;
        close(act, room.id).await?;
    }
    let lines = vec![format!(
        "the room {} is no longer the moderators' room; nothing appears there, and only moderators of the server see it",
        room.token
    )];
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(serde_json::json!({ "room": room.token }), lines)
    })
}

/// Takes back `on` and `off`.
pub(super) async fn back(
    act: &OperationContext<'_>,
    before: Option<Id>,
    made: Option<Id>,
) -> Result<Vec<String>, AdminError> {
    let store = &act.admin.store;
    let rooms = store.rooms().await?;
    let before = before.filter(|id| rooms.iter().any(|room| room.id == *id));
    store.set_moderators_room(before).await?;
    let mut lines = Vec::new();
    if let Some(room) = rooms.iter().find(|room| Some(room.id) == made) {
        if room.message_sequence == 0 {
            store.delete_room(room.id).await?;
        } else {
            close(act, room.id).await?;
            lines.push(format!(
                "the room {} stays, because it has messages; only moderators of the server see it",
                room.token
            ));
        }
    }
    Ok(lines)
}

/// Shows the moderators' room and the number of waiting cases.
pub(super) async fn status(act: &OperationContext<'_>) -> Done {
    let room = current(act).await?;
    let waits = act.admin.store.moderation().await?;
    let link = room.as_ref().and_then(|room| rooms::link(act, &room.token));
    let account = act
        .admin
        .live
        .as_ref()
        .map(|_| act.admin.account.id().to_string());
    let shown = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let token = room.as_ref().map(|room| room.token.clone());
    let held = u64::try_from(waits.held).unwrap_or_default();
    let reported = u64::try_from(waits.reported).unwrap_or_default();
    let lines = vec![
        format!("room      {}", shown(token.as_deref())),
        format!("link      {}", shown(link.as_deref())),
        format!(
            "account   {}",
            account.as_deref().unwrap_or("- (the server is stopped)")
        ),
        format!(
            "waiting   {}, {}",
            count(held, "held post"),
            count(reported, "reported message")
        ),
    ];
    let data = serde_json::json!({ "room": token, "link": link, "account": account, "waiting": waits });
    Ok(Answer::show(data, lines))
}
