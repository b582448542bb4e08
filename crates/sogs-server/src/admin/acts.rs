//! Acts of moderators in their apps, logged so that they can be undone.
//!
//! Each function reads what is about to change. `None` means that it cannot be kept, which is logged: an act of a
//! moderator does not fail because its undo does.

use serde_json::Value;

use super::gone::{self, Extent, Gone};
use super::keeper::{self, Keeper};
use super::operation::AdminError;
use super::people;
use super::undo_entry::Undo;
use crate::store::{Id, RoomRow};

fn kept(plan: Result<Undo, AdminError>) -> Option<Value> {
    match plan.map(|plan| serde_json::to_value(plan).ok()) {
        Ok(value) => value,
        Err(error) => {
            tracing::warn!(%error, "a moderator's action succeeded, but cannot be undone");
            None
        }
    }
}

/// Messages are deleted.
pub(crate) async fn messages(keeper: Keeper<'_>, ids: Vec<Id>) -> Option<Value> {
    let gone = Gone::look(keeper, ids, false).await;
    kept(gone.map(|gone| Undo::Messages { gone }))
}

/// All messages of a person in rooms are deleted, with the files.
pub(crate) async fn everything_of(keeper: Keeper<'_>, user_id: Id, rooms: Vec<Id>) -> Option<Value> {
    let extent = Extent {
        rooms: Some(rooms),
        since: f64::MIN,
        until: f64::MAX,
    };
    let trace = gone::trace(keeper, &[user_id], &extent, false, false).await;
    kept(trace.map(|trace| Undo::Messages { gone: trace.gone }))
}

/// Everybody's reactions to a message are removed: one emoji or all.
pub(crate) async fn reactions(keeper: Keeper<'_>, message_id: Id, emoji: Option<&str>) -> Option<Value> {
    let given = keeper.store.reactions_to(vec![message_id]).await;
    kept(given.map_err(AdminError::from).map(|mut given| {
        given.retain(|reaction| emoji.is_none_or(|emoji| emoji == reaction.3));
        Undo::Messages {
            gone: Gone::reactions(given),
        }
    }))
}

/// A message is pinned.
pub(crate) async fn pin(keeper: Keeper<'_>, room_id: Id, message_id: Id) -> Option<Value> {
    let look = async {
        let pins = keeper.store.pins_of(vec![message_id]).await?;
        let files = keeper.store.files_of_messages(vec![message_id]).await?;
        for file in &files {
            keeper::keep(keeper, &file.content).await?;
        }
        Ok(Undo::Pin {
            room_id,
            message_id,
            before: pins.first().map(|(_, _, user_id, at)| (*user_id, *at)),
            files,
        })
    };
    kept(look.await)
}

/// Pins are removed.
pub(crate) async fn unpin(keeper: Keeper<'_>, messages: Vec<Id>) -> Option<Value> {
    let pins = keeper.store.pins_of(messages).await;
    kept(pins.map_err(AdminError::from).map(|pins| Undo::Messages {
        gone: Gone::pins(pins),
    }))
}

/// Rights or bans of a person change in places: rooms, or (`None`) the whole server. One answer for each place.
pub(crate) async fn rights(
    keeper: Keeper<'_>,
    user_id: Id,
    places: Vec<Option<&RoomRow>>,
) -> Vec<Option<Value>> {
    let look = async {
        let bans = keeper.store.bans_of(user_id).await?;
        match keeper.store.user_by_id(user_id).await? {
            Some(person) => Ok((bans, person)),
            None => Err(AdminError::failed("the person no longer exists")),
        }
    };
    let looked = look.await;
    places
        .into_iter()
        .map(|room| {
            let plan = looked.as_ref().map(|(bans, person)| Undo::Rights {
                user_id,
                rights: people::rights(person, room.map(std::slice::from_ref), bans),
                gone: Gone::default(),
            });
            kept(plan.map_err(Clone::clone))
        })
        .collect()
}

/// Permissions of a person in a room change.
pub(crate) async fn permissions(keeper: Keeper<'_>, user_id: Id, room_id: Id) -> Option<Value> {
    let look = async {
        let Some(person) = keeper.store.user_by_id(user_id).await? else {
            return Err(AdminError::failed("the person no longer exists"));
        };
        people::permissions_before(keeper.store, room_id, &person).await
    };
    kept(look.await)
}

/// A change of permissions is scheduled.
pub(crate) fn later(user_id: Id, room_id: Id, at: f64) -> Option<Value> {
    kept(Ok(Undo::Later { room_id, user_id, at }))
}

/// A room is edited.
pub(crate) async fn room_edit(keeper: Keeper<'_>, room: &RoomRow) -> Option<Value> {
    let look = async {
        let image_file = match room.image_id {
            Some(id) => keeper.store.any_file(id).await?,
            None => None,
        };
        if let Some(file) = &image_file {
            keeper::keep(keeper, &file.content).await?;
        }
        Ok(Undo::RoomEdit {
            room_id: room.id,
            name: room.name.clone(),
            description: room.description.clone(),
            read: room.defaults.read,
            accessible: room.defaults.accessible,
            write: room.defaults.write,
            upload: room.defaults.upload,
            image: room.image_id,
            image_file,
        })
    };
    kept(look.await)
}
