//! Moderators and bans.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use session_protocol::SessionId;

use super::truthy;
use crate::admin::acts;
use crate::cache::{Room, User};
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::reply::{Refusal, Reply};
use crate::model::permission::Rights;
use crate::store::operation::LogEntry;
use crate::store::{Id, ModChange, Where};

/// Scope of an act: these rooms, or the server.
enum ModerationScope {
    Rooms(Vec<Arc<Room>>),
    Global,
}

impl ModerationScope {
    fn to_store(&self) -> Where {
        match self {
            Self::Rooms(rooms) => Where::Rooms(rooms.iter().map(|room| room.id()).collect()),
            Self::Global => Where::Global,
        }
    }

    /// For each place, its token for the log (nothing for the server), and what takes back a change of rights there.
    async fn undos(&self, cx: &RequestContext<'_>, user_id: Id) -> Vec<(Option<String>, Option<Value>)> {
        let config = cx.app.config();
        let keeper = cx.app.keeper(&config);
        let Self::Rooms(rooms) = self else {
            let undos = acts::rights(keeper, user_id, vec![None]).await;
            return undos.into_iter().map(|undo| (None, undo)).collect();
        };
        let places = rooms.iter().map(|room| Some(&room.full.room)).collect();
        let undos = acts::rights(keeper, user_id, places).await;
        let tokens = rooms.iter().map(|room| Some(room.token().to_owned()));
        tokens.zip(undos).collect()
    }
}

/// Most rooms named in one request.
const MAX_ROOMS: usize = 10_000;

/// Reads the scope of an act and checks the caller's right to it there.
async fn place(
    cx: &RequestContext<'_>,
    body: &Map<String, Value>,
    allowed: impl Fn(&Rights) -> bool,
    allowed_globally: bool,
) -> Result<ModerationScope, Refusal> {
    let global = matches!(body.get("global"), Some(value) if truthy(value));
    let rooms = match body.get("rooms") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return Err(Refusal::page(400)),
    };
    let caller = cx.user()?;
    if rooms.len() > MAX_ROOMS || rooms.is_empty() != global {
        return Err(Refusal::page(400));
    }
    if global {
        return if allowed_globally {
            Ok(ModerationScope::Global)
        } else {
            Err(Refusal::page(403))
        };
    }
    let tokens: Vec<&str> = rooms
        .iter()
        .map(Value::as_str)
        .collect::<Option<_>>()
        .ok_or_else(|| Refusal::page(400))?;
    if tokens.contains(&"*") {
        if tokens.len() > 1 {
            return Err(Refusal::page(400));
        }
        let mine: Vec<Arc<Room>> = cx
            .app
            .rooms()
            .await?
            .into_iter()
            .filter(|room| allowed(&room.rights(Some(caller))))
            .collect();
        return if mine.is_empty() {
            Err(Refusal::page(403))
        } else {
            Ok(ModerationScope::Rooms(mine))
        };
    }
    let mut found: Vec<Arc<Room>> = Vec::with_capacity(tokens.len());
    for token in tokens {
        // A room that does not exist is answered like one that is not the caller's: callers cannot tell them apart.
        let room = cx.app.room(token).await?.ok_or(Refusal::page(403))?;
        if !allowed(&room.rights(Some(caller))) {
            return Err(Refusal::page(403));
        }
        if !found.iter().any(|known| known.id() == room.id()) {
            found.push(room);
        }
    }
    Ok(ModerationScope::Rooms(found))
}

fn object(cx: &RequestContext<'_>) -> Result<Map<String, Value>, Refusal> {
    cx.req.json()
}

/// The change that `moderator` and `admin` mean together, or `None` when they contradict each other or say nothing.
fn change(moderator: Option<bool>, admin: Option<bool>, visible: bool) -> Option<ModChange> {
    match (admin, moderator) {
        (Some(true), None | Some(true)) => Some(ModChange::Appoint {
            admin: Some(true),
            visible,
        }),
        (Some(false), Some(true)) => Some(ModChange::Appoint {
            admin: Some(false),
            visible,
        }),
        (None, Some(true)) => Some(ModChange::Appoint { admin: None, visible }),
        (Some(false), None) => Some(ModChange::Demote),
        (None | Some(false), Some(false)) => Some(ModChange::Dismiss),
        (Some(true), Some(false)) | (None, None) => None,
    }
}

/// `POST /user/SID/moderator`
pub(crate) async fn moderator(cx: &RequestContext<'_>, id: &SessionId) -> HandlerResult {
    let caller = Arc::clone(cx.user()?);
    let body = object(cx)?;
    let place = place(cx, &body, |rights| rights.admin, caller.row.admin).await?;
    let flag = |name: &str| body.get(name).filter(|value| !value.is_null()).map(truthy);
    let visible = flag("visible").unwrap_or(matches!(place, ModerationScope::Rooms(_)));
    let change = change(flag("moderator"), flag("admin"), visible).ok_or_else(|| Refusal::page(400))?;
    let target = cx.app.resolve(id, true).await?.ok_or(Refusal::not_found())?;
    let undos = place.undos(cx, target.row.id).await;
    let (action, detail) = match change {
        ModChange::Appoint {
            admin: Some(true), ..
        } => ("mod_add", "admin"),
        ModChange::Appoint { .. } => ("mod_add", "moderator"),
        ModChange::Demote => ("mod_add", "no longer admin"),
        ModChange::Dismiss => ("mod_remove", ""),
    };
    let act = cx
        .app
        .store
        .set_moderator(target.row.id, place.to_store(), change);
    let entries = entries(cx, action, &target, detail, undos)?;
    let updates = cx.app.guard.audited(act, move |_| entries.clone()).await?;
    let mut by_token = Map::new();
    for (room_id, info_updates) in updates {
        if let Some(room) = cx.app.world.room_by_id(&cx.app.store, room_id).await? {
            by_token.insert(room.token().to_owned(), json!(info_updates));
        }
    }
    Ok(Reply::json(&json!({ "info_updates": by_token })))
}

/// One entry of the audit log for each place of an act.
fn entries(
    cx: &RequestContext<'_>,
    action: &str,
    target: &User,
    detail: &str,
    undos: Vec<(Option<String>, Option<Value>)>,
) -> Result<Vec<LogEntry>, Refusal> {
    undos
        .into_iter()
        .map(|(room, undo)| cx.entry(action, room.as_deref(), &target.row.session_id, detail, undo))
        .collect()
}

/// Returns true if `caller` may ban `target` there.
///
/// Nobody bans themselves or a global moderator; room moderators are banned only by admins.
fn bannable(caller: &User, target: &User, place: &ModerationScope) -> bool {
    if caller.row.id == target.row.id || target.row.moderator || target.row.admin {
        return false;
    }
    match place {
        ModerationScope::Global => true,
        ModerationScope::Rooms(rooms) => rooms
            .iter()
            .all(|room| !room.rights(Some(target)).moderator || room.rights(Some(caller)).admin),
    }
}

/// `POST /user/SID/ban`
pub(crate) async fn ban(cx: &RequestContext<'_>, id: &SessionId) -> HandlerResult {
    let caller = Arc::clone(cx.user()?);
    let body = object(cx)?;
    let global = caller.row.moderator || caller.row.admin;
    let place = place(cx, &body, |rights| rights.moderator, global).await?;
    let timeout = match body.get("timeout") {
        None | Some(Value::Null) => None,
        Some(value) => {
            // Longer than a human life is permanent; zero and less is a mistake.
            let seconds = value
                .as_f64()
                .filter(|seconds| seconds.is_finite() && *seconds > 0.0);
            Some(seconds.ok_or_else(|| Refusal::page(400))?.min(1e10))
        }
    };
    let target = cx.app.resolve(id, true).await?.ok_or(Refusal::not_found())?;
    if !bannable(&caller, &target, &place) {
        return Err(Refusal::permission_denied());
    }
    let undos = place.undos(cx, target.row.id).await;
    let act = cx.app.store.ban(
        target.row.id,
        place.to_store(),
        timeout.map(|seconds| cx.now + seconds),
    );
    let detail = timeout
        .map(|seconds| format!("for {seconds} seconds"))
        .unwrap_or_default();
    let entries = entries(cx, "ban", &target, &detail, undos)?;
    cx.app.guard.audited(act, move |()| entries.clone()).await?;
    cx.app.activity.forget(target.row.id);
    Ok(Reply::json(&json!({})))
}

/// `POST /user/SID/unban`
pub(crate) async fn unban(cx: &RequestContext<'_>, id: &SessionId) -> HandlerResult {
    let caller = Arc::clone(cx.user()?);
    let body = object(cx)?;
    let global = caller.row.moderator || caller.row.admin;
    let place = place(cx, &body, |rights| rights.moderator, global).await?;
    let Some(target) = cx.app.resolve(id, false).await? else {
        return Ok(Reply::json(&json!({})));
    };
    let undos = place.undos(cx, target.row.id).await;
    let act = cx.app.store.unban(target.row.id, place.to_store());
    let entries = entries(cx, "unban", &target, "", undos)?;
    cx.app.guard.audited(act, move |()| entries.clone()).await?;
    Ok(Reply::json(&json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_and_silence_are_refused() {
        assert_eq!(change(Some(false), Some(true), true), None);
        assert_eq!(change(None, None, true), None);
        assert_eq!(
            change(None, Some(true), false),
            Some(ModChange::Appoint {
                admin: Some(true),
                visible: false
            })
        );
        assert_eq!(
            change(Some(true), None, true),
            Some(ModChange::Appoint {
                admin: None,
                visible: true
            })
        );
        assert_eq!(change(None, Some(false), true), Some(ModChange::Demote));
        assert_eq!(change(Some(false), None, true), Some(ModChange::Dismiss));
        assert_eq!(
            change(Some(true), Some(false), true),
            Some(ModChange::Appoint {
                admin: Some(false),
                visible: true
            })
        );
    }
}
