//! Permissions of single users in a room, now and scheduled.

use serde_json::{Map, Value, json};
use session_protocol::SessionId;

use crate::admin::acts;
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::reply::{Refusal, Reply};
use crate::store::{FuturePermission, FutureRow, Id, OverrideRow, PermissionPatch};

/// Describes an override as JSON; keys sorted.
fn describe(row: &OverrideRow) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(value) = row.accessible {
        out.insert("accessible".into(), json!(value));
    }
    if row.admin {
        out.insert("admin".into(), json!(true));
    }
    if row.banned {
        out.insert("banned".into(), json!(true));
    }
    if row.moderator && !row.visible_mod {
        out.insert("hidden".into(), json!(true));
    }
    if row.moderator && !row.admin {
        out.insert("moderator".into(), json!(true));
    }
    for (name, value) in [("read", row.read), ("upload", row.upload), ("write", row.write)] {
        if let Some(value) = value {
            out.insert(name.into(), json!(value));
        }
    }
    out
}

/// `GET /room/T/permissions[/SID]`
pub(crate) async fn list(cx: &RequestContext<'_>, token: &str, id: Option<&SessionId>) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    if let Some(id) = id {
        let target = cx.app.resolve(id, false).await?.ok_or(Refusal::not_found())?;
        return one(cx, room.id(), target.row.id).await;
    }
    let mut out = Map::new();
    for row in cx.app.store.permissions(room.id()).await? {
        out.insert(row.session_id, Value::Object(describe(&row.row)));
    }
    Ok(Reply::json(&out))
}

async fn one(cx: &RequestContext<'_>, room_id: Id, user_id: Id) -> HandlerResult {
    let user = cx
        .app
        .store
        .user_by_id(user_id)
        .await?
        .ok_or(Refusal::not_found())?;
    let own = user.overrides.iter().find(|row| row.room_id == room_id);
    Ok(Reply::json(&own.map(describe).unwrap_or_default()))
}

/// Reads a change of permissions; `None` when it contradicts itself or says nothing.
fn patch(body: &Map<String, Value>) -> Option<PermissionPatch> {
    let mut patch = PermissionPatch::default();
    let mut any = false;
    for (name, target) in [
        ("read", &mut patch.read),
        ("accessible", &mut patch.accessible),
        ("write", &mut patch.write),
        ("upload", &mut patch.upload),
    ] {
        let value = body.get(name).filter(|value| !value.is_null());
        let default = body
            .get(&format!("default_{name}"))
            .filter(|value| !value.is_null());
        match (value, default) {
            (Some(_), Some(_)) => return None,
            (Some(value), None) => {
                *target = Some(Some(value.as_bool()?));
                any = true;
            }
            (None, Some(value)) => {
                if !value.as_bool()? {
                    return None;
                }
                *target = Some(None);
                any = true;
            }
            (None, None) => {}
        }
    }
    patch.keep_scheduled = match body.get("unschedule") {
        None | Some(Value::Null) => false,
        Some(value) => !value.as_bool()?,
    };
    any.then_some(patch)
}

fn word(value: Option<bool>) -> &'static str {
    match value {
        None => "default",
        Some(true) => "yes",
        Some(false) => "no",
    }
}

/// `POST /room/T/permissions/SID`
pub(crate) async fn set(cx: &RequestContext<'_>, token: &str, id: &SessionId) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    let body: Map<String, Value> = cx.req.json()?;
    let patch = patch(&body).ok_or_else(|| Refusal::page(400))?;
    let target = cx.app.resolve(id, true).await?.ok_or(Refusal::not_found())?;
    let config = cx.app.config();
    let undo = acts::permissions(cx.app.keeper(&config), target.row.id, room.id()).await;
    let detail: Vec<String> = [
        ("read", patch.read),
        ("accessible", patch.accessible),
        ("write", patch.write),
        ("upload", patch.upload),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| format!("{name}={}", word(value))))
    .collect();
    let entry = cx.entry(
        "permissions",
        Some(room.token()),
        &target.row.session_id,
        &detail.join(" "),
        undo,
    )?;
    let act = cx.app.store.set_permissions(room.id(), target.row.id, patch);
    cx.audited(act, entry, |()| true).await?;
    one(cx, room.id(), target.row.id).await
}

fn describe_future(row: &FutureRow, with_id: bool) -> Value {
    let mut out = Map::new();
    out.insert("at".into(), json!(row.change.at));
    if let Some(banned) = row.banned {
        out.insert("banned".into(), json!(banned));
    }
    if let Some(value) = row.change.read {
        out.insert("read".into(), json!(value));
    }
    if with_id {
        out.insert("session_id".into(), json!(row.session_id));
    }
    for (name, value) in [("upload", row.change.upload), ("write", row.change.write)] {
        if let Some(value) = value {
            out.insert(name.into(), json!(value));
        }
    }
    Value::Object(out)
}

/// `GET /room/T/futurePermissions[/SID]`
pub(crate) async fn futures(cx: &RequestContext<'_>, token: &str, id: Option<&SessionId>) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    let user_id = match id {
        None => None,
        Some(id) => Some(
            cx.app
                .resolve(id, false)
                .await?
                .ok_or(Refusal::not_found())?
                .row
                .id,
        ),
    };
    let rows = cx.app.store.futures(room.id(), user_id).await?;
    let out: Vec<Value> = rows
        .iter()
        .map(|row| describe_future(row, user_id.is_none()))
        .collect();
    Ok(Reply::json(&out))
}

/// `POST /room/T/futurePermissions/SID`
pub(crate) async fn schedule(cx: &RequestContext<'_>, token: &str, id: &SessionId) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    let body: Map<String, Value> = cx.req.json()?;
    let flag = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or_else(|| Refusal::page(400)),
    };
    let delay = body
        .get("in")
        .and_then(Value::as_f64)
        .filter(|seconds| *seconds > 0.0 && *seconds < 1e9);
    let delay = delay.ok_or_else(|| Refusal::page(400))?;
    let change = FuturePermission {
        at: cx.now + delay,
        read: flag("read")?,
        write: flag("write")?,
        upload: flag("upload")?,
    };
    if [change.read, change.write, change.upload]
        .iter()
        .all(Option::is_none)
    {
        return Err(Refusal::page(400));
    }
    let target = cx.app.resolve(id, true).await?.ok_or(Refusal::not_found())?;
    let entry = cx.entry(
        "permissions_later",
        Some(room.token()),
        &target.row.session_id,
        &format!("in {delay} seconds"),
        acts::later(target.row.id, room.id(), change.at),
    )?;
    let act = cx.app.store.add_future(room.id(), target.row.id, change);
    cx.audited(act, entry, |()| true).await?;
    let rows = cx.app.store.futures(room.id(), Some(target.row.id)).await?;
    let out: Vec<Value> = rows.iter().map(|row| describe_future(row, false)).collect();
    Ok(Reply::json(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let read = |text: &str| patch(&serde_json::from_str(text).expect("json"));
        assert!(read(r#"{"read":true,"default_read":true}"#).is_none());
        assert!(
            read(r#"{"default_read":false}"#).is_none()
                && read(r#"{"read":1}"#).is_none()
                && read("{}").is_none()
        );
        let patch = read(r#"{"write":false,"default_upload":true,"unschedule":false}"#).expect("patch");
        assert_eq!(
            (patch.write, patch.upload, patch.read),
            (Some(Some(false)), Some(None), None)
        );
        assert!(patch.keep_scheduled);
    }
}
