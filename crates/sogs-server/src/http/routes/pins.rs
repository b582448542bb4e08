//! Pinned messages.

use serde_json::json;

use crate::admin::acts;
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::reply::{Refusal, Reply};
use crate::store::{Id, Pinned};

/// `POST /room/T/pin/ID`
pub(crate) async fn pin(cx: &RequestContext<'_>, token: &str, message_id: Id) -> HandlerResult {
    let (room, _) = cx.administered(token).await?;
    let user_id = cx.user()?.row.id;
    let config = cx.app.config();
    let undo = acts::pin(cx.app.keeper(&config), room.id(), message_id).await;
    let entry = cx.entry("pin", Some(room.token()), &message_id.to_string(), "", undo)?;
    let act = cx.app.store.pin(room.id(), message_id, user_id, cx.now);
    match cx
        .audited(act, entry, |pinned| matches!(pinned, Pinned::Done { .. }))
        .await?
    {
        Pinned::Done { info_updates, .. } => Ok(Reply::json(&json!({ "info_updates": info_updates }))),
        Pinned::NoMessage => Err(Refusal::not_found()),
    }
}

/// `POST /room/T/unpin/ID` and `/unpin/all`
pub(crate) async fn unpin(cx: &RequestContext<'_>, token: &str, message_id: Option<Id>) -> HandlerResult {
    let (room, _) = cx.administered(token).await?;
    let config = cx.app.config();
    let pinned = match message_id {
        Some(id) => vec![id],
        None => room.full.pins.iter().map(|pin| pin.message_id).collect(),
    };
    let undo = acts::unpin(cx.app.keeper(&config), pinned).await;
    // Counted from now: counted from their upload, files of an old message would be gone in seconds.
    let files_expire = super::messages::files_expire(cx);
    let target = message_id.map_or_else(|| "all".to_owned(), |id| id.to_string());
    let entry = cx.entry("unpin", Some(room.token()), &target, "", undo)?;
    let act = cx.app.store.unpin(room.id(), message_id, files_expire);
    let is_done = |pinned: &Pinned| matches!(pinned, Pinned::Done { changed, .. } if *changed > 0);
    match cx.audited(act, entry, is_done).await? {
        Pinned::Done {
            changed,
            info_updates,
        } => Ok(Reply::json(&match message_id {
            Some(_) => json!({ "info_updates": info_updates, "unpinned": changed > 0 }),
            None => json!({ "info_updates": info_updates, "unpinned": changed }),
        })),
        Pinned::NoMessage => Err(Refusal::not_found()),
    }
}
