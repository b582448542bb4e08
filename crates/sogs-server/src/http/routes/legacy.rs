//! Rest of the API before version 4: a room directory that old link previews and directories still read.
//!
//! Posting and moderating through it needed tokens that were encrypted to an account id. Servers that insist on
//! blinded ids cannot serve that, and no current client asks for it.

use std::sync::atomic::Ordering;

use http::Method;
use serde_json::{Value, json};
use session_protocol::encoding::b64;

use crate::cache::Room;
use crate::contents::ContentError;
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::memory::SMALL_ANSWER;
use crate::http::reply::{Refusal, Reply};

fn describe(room: &Room) -> Value {
    let row = &room.full.room;
    let mut out = json!({ "id": row.token, "name": row.name });
    if let Some(image) = row.image_id {
        out["image_id"] = json!(image);
    }
    out
}

/// Everything below `/legacy/`.
pub(crate) async fn route(cx: &RequestContext<'_>, parts: &[&str], method: &Method) -> HandlerResult {
    if *method != Method::GET {
        return Err(Refusal::not_found());
    }
    match parts {
        ["rooms"] => {
            let rooms = cx.app.rooms().await?;
            let shown: Vec<Value> = rooms
                .iter()
                .filter(|room| room.rights(cx.caller.as_deref()).visible())
                .map(|room| describe(room))
                .collect();
            Ok(Reply::json(&json!({ "rooms": shown, "status_code": 200 })))
        }
        ["rooms", token] => {
            let (room, _) = cx.room(token).await?;
            Ok(Reply::json(
                &json!({ "room": describe(&room), "status_code": 200 }),
            ))
        }
        ["rooms", token, "image"] => {
            let (room, _) = cx.room(token).await?;
            let image = room.full.room.image_id.ok_or(Refusal::not_found())?;
            let file = cx
                .app
                .store
                .file(room.id(), image)
                .await?
                .ok_or(Refusal::not_found())?;
            // The picture, its base64, and the JSON around that.
            let mut share = cx.app.memory.permit(SMALL_ANSWER);
            let size = usize::try_from(file.size).unwrap_or(usize::MAX);
            share.cover(size.saturating_mul(4)).await?;
            let size = u64::try_from(file.size).unwrap_or(0);
            let content = cx.app.contents.open(&file.content, size).await?;
            let bytes = content.read().await.map_err(ContentError::Disk)?;
            let body = json!({ "result": b64(bytes), "status_code": 200 }).to_string();
            Ok(Reply::raw_json(share.hold(body)))
        }
        ["member_count"] => {
            let token = cx.req.header("room").ok_or_else(|| Refusal::page(400))?;
            let (room, _) = cx.readable(token).await?;
            let count = room.live.active.load(Ordering::Acquire);
            Ok(Reply::json(&json!({ "member_count": count, "status_code": 200 })))
        }
        ["moderators"] => {
            let token = cx.req.header("room").ok_or_else(|| Refusal::page(400))?;
            let (room, _) = cx.readable(token).await?;
            let mods: Vec<&str> = room
                .full
                .mods
                .iter()
                .filter(|one| one.visible && !one.session_id.starts_with("ff"))
                .map(|one| one.session_id.as_str())
                .collect();
            Ok(Reply::json(&json!({ "moderators": mods, "status_code": 200 })))
        }
        _ => Err(Refusal::not_found()),
    }
}
