//! The moderators' room: opening, closing, and how much waits there.

use session_protocol::RoomToken;

use super::exec::{Done, OperationContext, count};
use super::operation::{AdminError, Answer};
use super::rooms;
use super::undo::Undo;
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

/// Makes the room; nobody but moderators is let in.
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
        .ok_or_else(|| AdminError::conflict(format!("there is a room '{token}' already"), "try again"))
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
            format!("'{token}' is no room token: {error}"),
            "a token has letters, digits, _ and -, at most 64",
        )
    })?;
    let before = current(act).await?;
    let room = act.admin.store.room_by_token(token.to_owned()).await?;
    if let Some(room) = &room {
        if room.for_moderators {
            return Err(AdminError::conflict(
                format!("'{token}' is the moderators' room already"),
                "`ackpost server moderation status` shows what waits there",
            ));
        }
        if room.defaults.read || room.defaults.accessible || room.defaults.write {
            return Err(AdminError::conflict(
                format!("members use the room '{token}'"),
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
        act.admin.store.set_moderators_room(Some(room_id)).await?;
        let plan = Undo::ModeratorsRoom {
            before: before.map(|room| room.id),
            made,
        };
        undo = act
            .log(
                "moderation_on",
                Some(token),
                token,
                "moderators' room".to_owned(),
                Some(plan),
            )
            .await?;
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
            "there is no moderators' room",
            "`ackpost server moderation on` opens one",
        ));
    };
    let mut undo = None;
    if !act.dry_run {
        act.admin.store.set_moderators_room(None).await?;
        close(act, room.id).await?;
        let plan = Undo::ModeratorsRoom {
            before: Some(room.id),
            made: None,
        };
        let token = &room.token;
        undo = act
            .log(
                "moderation_off",
                Some(token),
                token,
                "moderators' room".to_owned(),
                Some(plan),
            )
            .await?;
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

/// Shows the moderators' room and how much waits.
pub(super) async fn status(act: &OperationContext<'_>) -> Done {
    let room = current(act).await?;
    let waits = act.admin.store.moderation().await?;
    let link = room.as_ref().and_then(|room| rooms::link(act, &room.token));
    let account = act.admin.live.as_ref().map(|live| live.account());
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
