//! Pinned messages.

use serde_json::json;

use crate::http::reply::{Refusal, Reply};
use crate::http::route::{Answer, Cx};
use crate::store::{Id, Pinned};

/// `POST /room/T/pin/ID`
pub(crate) async fn pin(cx: &Cx<'_>, token: &str, message_id: Id) -> Answer {
    let (room, _) = cx.administered(token).await?;
    let user_id = cx.user()?.row.id;
    match cx.app.store.pin(room.id(), message_id, user_id, cx.now).await? {
        Pinned::Done { info_updates, .. } => {
            cx.audit("pin", Some(room.token()), &message_id.to_string(), "")
                .await?;
            Ok(Reply::json(&json!({ "info_updates": info_updates })))
        }
        Pinned::NoMessage => Err(Refusal::not_found()),
    }
}

/// `POST /room/T/unpin/ID` and `/unpin/all`
pub(crate) async fn unpin(cx: &Cx<'_>, token: &str, message_id: Option<Id>) -> Answer {
    let (room, _) = cx.administered(token).await?;
    // Counted from now: counted from their upload, files of an old message would be gone in seconds.
    let files_expire = super::messages::files_expire(cx);
    match cx.app.store.unpin(room.id(), message_id, files_expire).await? {
        Pinned::Done {
            changed,
            info_updates,
        } => {
            if changed > 0 {
                let target = message_id.map_or_else(|| "all".to_owned(), |id| id.to_string());
                cx.audit("unpin", Some(room.token()), &target, "").await?;
            }
            Ok(Reply::json(&match message_id {
                Some(_) => json!({ "info_updates": info_updates, "unpinned": changed > 0 }),
                None => json!({ "info_updates": info_updates, "unpinned": changed }),
            }))
        }
        Pinned::NoMessage => Err(Refusal::not_found()),
    }
}
