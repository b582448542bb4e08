//! Rooms: list, description, polling, changes.

use serde_json::{Map, Value, json};

use super::files::visible_file;
use crate::admin::acts;
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::render;
use crate::http::reply::{Refusal, Reply};
use crate::store::{RoomPatch, RoomPatched};

/// `GET /rooms`
pub(crate) async fn list(cx: &RequestContext<'_>) -> HandlerResult {
    let days = cx.app.config().rooms.active_days;
    let rooms = cx.app.rooms().await?;
    let shown: Vec<Value> = rooms
        .iter()
        .filter_map(|room| {
            let rights = room.rights(cx.caller.as_deref());
            rights.visible().then(|| render::room(room, &rights, days))
        })
        .collect();
    Ok(Reply::json(&shown))
}

/// `GET /room/T`
pub(crate) async fn info(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    let found = cx.room(token).await;
    let (room, rights) = found.map_err(|refusal| refusal.ban_as(Refusal::not_found()))?;
    Ok(Reply::json(&render::room(
        &room,
        &rights,
        cx.app.config().rooms.active_days,
    )))
}

/// `GET /room/T/pollInfo/N`
pub(crate) async fn poll(cx: &RequestContext<'_>, token: &str, known: i64) -> HandlerResult {
    let (room, rights) = cx.readable(token).await?;
    if let Some(user) = &cx.caller {
        cx.app.activity.see(user, Some(room.id()), cx.now);
    }
    Ok(Reply::json(&render::poll_info(
        &room,
        &rights,
        known,
        cx.app.config().rooms.active_days,
    )))
}

/// A name on one line.
fn clean_name(name: &str) -> String {
    name.chars().filter(|c| *c >= ' ').collect()
}

/// A description: lines and tabs stay.
fn clean_description(text: &str) -> Option<String> {
    let clean: String = text
        .chars()
        .filter(|c| *c >= ' ' || matches!(c, '\t' | '\n'))
        .collect();
    (!clean.is_empty()).then_some(clean)
}

/// Keys of a room that a request can change.
const KEYS: [&str; 7] = [
    "name",
    "description",
    "default_read",
    "default_accessible",
    "default_write",
    "default_upload",
    "image",
];

fn patch(body: &Map<String, Value>) -> Option<RoomPatch> {
    let mut patch = RoomPatch::default();
    let mut any = false;
    if let Some(name) = body.get("name") {
        patch.name = Some(clean_name(name.as_str()?));
        any = true;
    }
    match body.get("description") {
        None => {}
        Some(Value::Null) => {
            patch.description = Some(None);
            any = true;
        }
        Some(value) => {
            patch.description = Some(clean_description(value.as_str()?));
            any = true;
        }
    }
    for (key, target) in [
        ("default_read", &mut patch.read),
        ("default_accessible", &mut patch.accessible),
        ("default_write", &mut patch.write),
        ("default_upload", &mut patch.upload),
    ] {
        if let Some(value) = body.get(key).filter(|value| !value.is_null()) {
            *target = Some(value.as_bool()?);
            any = true;
        }
    }
    if let Some(image) = body.get("image").filter(|value| !value.is_null()) {
        // Anything that is not a file of the room is answered as such.
        patch.image = Some(Some(image.as_i64().unwrap_or(-1)));
        any = true;
    }
    any.then_some(patch)
}

/// `PUT /room/T`
pub(crate) async fn update(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    let (room, rights) = cx.administered(token).await?;
    let body: Map<String, Value> = cx.req.json()?;
    let patch = patch(&body).ok_or_else(|| Refusal::page(400))?;
    if let Some(Some(image)) = patch.image {
        // The picture becomes public, so it must be a file that the caller may see.
        visible_file(cx, &room, &rights, image)
            .await
            .map_err(|refusal| match refusal.status() {
                404 => Refusal::page(406),
                _ => refusal,
            })?;
    }
    let config = cx.app.config();
    let undo = acts::room_edit(cx.app.keeper(&config), &room.full.room).await;
    // Keys that nobody knows may hold anything, such as a zero byte, which PostgreSQL refuses.
    let keys: Vec<&str> = body
        .keys()
        .map(String::as_str)
        .filter(|key| KEYS.contains(key))
        .collect();
    let entry = cx.entry(
        "room_edit",
        Some(room.token()),
        room.token(),
        &keys.join(", "),
        undo,
    )?;
    let act = cx.app.store.patch_room(room.id(), patch);
    match cx
        .audited(act, entry, |patched| matches!(patched, RoomPatched::Done(_)))
        .await?
    {
        RoomPatched::Done(info_updates) => Ok(Reply::json(&json!({ "info_updates": info_updates }))),
        RoomPatched::NoRoom => Err(Refusal::not_found()),
        RoomPatched::NoFile => Err(Refusal::page(406)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_and_descriptions_keep_theirs() {
        assert_eq!(clean_name("a\nb\tc\u{7}é"), "abcé");
        assert_eq!(clean_description("a\nb\tc\u{7}").as_deref(), Some("a\nb\tc"));
        assert_eq!(clean_description("\u{7}"), None);
    }

    #[test]
    fn wrong_types_and_nothing_are_refused() {
        let read = |text: &str| patch(&serde_json::from_str(text).expect("json"));
        assert!(
            read("{}").is_none()
                && read(r#"{"name":1}"#).is_none()
                && read(r#"{"default_read":"yes"}"#).is_none()
        );
        assert!(read(r#"{"description":5}"#).is_none() && read(r#"{"other":1}"#).is_none());
        assert_eq!(
            read(r#"{"description":null}"#).expect("patch").description,
            Some(None)
        );
        assert_eq!(read(r#"{"image":"x"}"#).expect("patch").image, Some(Some(-1)));
    }
}
