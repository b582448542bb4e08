//! Pinned messages.

use serde_json::json;

use crate::admin::acts;
use crate::http::reply::{Refusal, Reply};
use crate::http::route::{Answer, RequestContext};
use crate::store::{Id, Pinned};

/// `POST /room/T/pin/ID`
pub(crate) async fn pin(cx: &RequestContext<'_>, token: &str, message_id: Id) -> Answer {
    let (room, _) = cx.administered(token).await?;
    let user_id = cx.user()?.row.id;
    let config = cx.app.config();
    let undo = acts::pin(cx.app.keeper(&config), room.id(), message_id).await;
    match cx.app.store.pin(room.id(), message_id, user_id, cx.now).await? {
        Pinned::Done { info_updates, .. } => {
            cx.audit("pin", Some(room.token()), &message_id.to_string(), "", undo)
                .await?;
            Ok(Reply::json(&json!({ "info_updates": info_updates })))
        }
        Pinned::NoMessage => Err(Refusal::not_found()),
    }
}

/// `POST /room/T/unpin/ID` and `/unpin/all`
pub(crate) async fn unpin(cx: &RequestContext<'_>, token: &str, message_id: Option<Id>) -> Answer {
    let (room, _) = cx.administered(token).await?;
    let config = cx.app.config();
    let pinned = match message_id {
        Some(id) => vec![id],
        None => room.full.pins.iter().map(|pin| pin.message_id).collect(),
    };
    let undo = acts::unpin(cx.app.keeper(&config), pinned).await;
    // Counted from now: counted from their upload, files of an old message would be gone in seconds.
    let files_expire = super::messages::files_expire(cx);
    match cx.app.store.unpin(room.id(), message_id, files_expire).await? {
        Pinned::Done {
            changed,
            info_updates,
        } => {
            if changed > 0 {
                let target = message_id.map_or_else(|| "all".to_owned(), |id| id.to_string());
                cx.audit("unpin", Some(room.token()), &target, "", undo).await?;
            }
            Ok(Reply::json(&match message_id {
                Some(_) => json!({ "info_updates": info_updates, "unpinned": changed > 0 }),
                None => json!({ "info_updates": info_updates, "unpinned": changed }),
            }))
        }
        Pinned::NoMessage => Err(Refusal::not_found()),
    }
}
