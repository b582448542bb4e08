//! Deleting all messages of a person, in one room or in all of them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use session_protocol::SessionId;

use crate::admin::acts;
use crate::cache::{Room, User};
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::reply::{Refusal, Reply};
use crate::model::permission::Rights;
use crate::store::Id;

/// Returns true if the caller may delete all messages of another person (or their own) in a room.
fn may_delete_all(room: &Room, rights: &Rights, caller: &User, target: &User) -> bool {
    if caller.row.id == target.row.id {
        return !rights.banned;
    }
    if room.rights(Some(target)).admin {
        rights.admin
    } else {
        rights.moderator
    }
}

/// Returns true if the caller sees all posts of a person.
///
/// Some posts of the moderators' room are only for the moderators of one room.
async fn sees_all_of(
    cx: &RequestContext<'_>,
    room: &Room,
    caller: &User,
    target: &User,
) -> Result<bool, Refusal> {
    if !room.is_for_moderators() || caller.row.id == target.row.id {
        return Ok(true);
    }
    let scopes = cx.app.store.scopes_of(room.id(), target.row.id).await?;
    Ok(scopes.into_iter().all(|scope| caller.moderates(scope)))
}

/// `DELETE /room/T/all/SID`
pub(crate) async fn delete_all(cx: &RequestContext<'_>, token: &str, id: &SessionId) -> HandlerResult {
    let (room, rights) = cx.room(token).await?;
    let user = Arc::clone(cx.user()?);
    let Some(target) = cx.app.resolve(id, false).await? else {
        return Err(if rights.moderator {
            Refusal::not_found()
        } else {
            Refusal::permission_denied()
        });
    };
    if !may_delete_all(&room, &rights, &user, &target) || !sees_all_of(cx, &room, &user, &target).await? {
        return Err(Refusal::permission_denied());
    }
    let config = cx.app.config();
    let undo = if target.row.id == user.row.id {
        None
    } else {
        acts::everything_of(cx.app.keeper(&config), target.row.id, vec![room.id()]).await
    };
    let counts = delete_posts(cx, vec![room.id()], Some(room.token()), &target, undo).await?;
    if counts.first().is_none_or(|(_, count)| *count == 0) {
        return Err(Refusal::not_found());
    }
    Ok(Reply::json(&json!({})))
}

/// Deletes all posts of a person in rooms. The audit log says so, unless they are the caller's own.
async fn delete_posts(
    cx: &RequestContext<'_>,
    rooms: Vec<Id>,
    token: Option<&str>,
    target: &User,
    undo: Option<Value>,
) -> Result<Vec<(Id, i64)>, Refusal> {
    let act = cx.app.store.delete_all_posts(rooms, target.row.id, cx.now);
    if target.row.id == cx.user()?.row.id {
        return Ok(act.await?);
    }
    let entry = cx.entry("messages_delete", token, &target.row.session_id, "", undo)?;
    let entries = move |counts: &Vec<(Id, i64)>| match counts.iter().map(|(_, count)| count).sum::<i64>() {
        0 => Vec::new(),
        total => vec![entry.clone().detail(total.to_string())],
    };
    Ok(cx.app.guard.audited(act, entries).await?)
}

/// `DELETE /rooms/all/SID`
pub(crate) async fn delete_everywhere(cx: &RequestContext<'_>, id: &SessionId) -> HandlerResult {
    let user = Arc::clone(cx.user()?);
    let rooms = cx.app.rooms().await?;
    let target = cx.app.resolve(id, false).await?;
    let mut allowed: Vec<&Arc<Room>> = Vec::with_capacity(rooms.len());
    for room in &rooms {
        let rights = room.rights(Some(&user));
        let may = match &target {
            None => rights.moderator,
            Some(target) => {
                may_delete_all(room, &rights, &user, target) && sees_all_of(cx, room, &user, target).await?
            }
        };
        if may {
            allowed.push(room);
        }
    }
    if allowed.is_empty() {
        return Err(Refusal::permission_denied());
    }
    let target = target.ok_or(Refusal::not_found())?;
    let ids: Vec<Id> = allowed.iter().map(|room| room.id()).collect();
    let config = cx.app.config();
    let undo = if target.row.id == user.row.id {
        None
    } else {
        acts::everything_of(cx.app.keeper(&config), target.row.id, ids.clone()).await
    };
    let counts = delete_posts(cx, ids, None, &target, undo).await?;
    let mut by_token = Map::new();
    let mut total = 0;
    for (room, (_, count)) in allowed.iter().zip(&counts) {
        total += count;
        by_token.insert(room.token().to_owned(), json!(count));
    }
    Ok(Reply::json(&json!({ "rooms": by_token, "total": total })))
}
