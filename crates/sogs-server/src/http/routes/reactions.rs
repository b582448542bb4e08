//! Reactions.

use serde_json::json;

use super::moderation::{self, FLAG, must_see};
use crate::admin::acts;
use crate::cache::Room;
use crate::guard::{Newcomer, Paced};
use crate::http::context::{HandlerResult, RequestContext, may_read};
use crate::http::reply::{Refusal, Reply};
use crate::model::permission::Rights;
use crate::moderation::file;
use crate::plugin::PluginEvent;
use crate::store::{Id, Reacted};

/// Longest reaction in code points.
const MAX_POINTS: usize = 12;

/// Most people in one answer: some 200 KB. A message with more of them does not cost the server more.
const MAX_REACTORS: i64 = 2048;

fn checked(emoji: &str) -> Result<&str, Refusal> {
    let points = emoji.chars().count();
    // A zero byte is a text that PostgreSQL refuses, and no control character is part of an emoji.
    if (1..=MAX_POINTS).contains(&points) && !emoji.chars().any(char::is_control) {
        Ok(emoji)
    } else {
        Err(Refusal::page(400))
    }
}

/// Returns how many reactions changed and the message's sequence number, and tells plugins of a change.
fn changed(
    cx: &RequestContext<'_>,
    token: &str,
    message_id: Id,
    reacted: Reacted,
) -> Result<(i64, i64), Refusal> {
    let (changed, seqno) = match reacted {
        Reacted::Done { changed, seqno } => (changed, seqno),
        Reacted::NoMessage => return Err(Refusal::not_found()),
        Reacted::TooMany => {
            return Err(Refusal::text(
                403,
                "This message has as many different reactions as this room allows",
            ));
        }
    };
    if changed > 0 {
        cx.app.guard.tell(&PluginEvent::Reacted {
            room: token.to_owned(),
            id: message_id,
        });
    }
    Ok((changed, seqno))
}

/// Counts a change of the caller's reactions, or says how long to wait.
fn pace(cx: &RequestContext<'_>, room: &Room, user_id: Id, rights: &Rights) -> Result<(), Refusal> {
    cx.app
        .guard
        .pace(Paced::Reaction, room.id(), user_id, rights, cx.now)
        .map_err(Refusal::rate_limited)
}

/// `PUT /room/T/reaction/ID/EMOJI`
pub(crate) async fn add(cx: &RequestContext<'_>, token: &str, message_id: Id, emoji: &str) -> HandlerResult {
    let (room, rights) = cx.room(token).await?;
    cx.user()?;
    may_read(&rights)?;
    let emoji = checked(emoji)?.to_owned();
    must_see(cx, &room, &rights, message_id).await?;
    let user = cx.member().await?;
    let who = Newcomer {
        room_id: room.id(),
        token: room.token(),
        user_id: user.row.id,
        first_seen: user.row.created,
        rights: &rights,
        now: cx.now,
    };
    match cx.app.guard.before_reaction(who, &emoji).await? {
        None => {}
        Some((status, text)) => return Err(Refusal::text(status, text)),
    }
    pace(cx, &room, user.row.id, &rights)?;
    if emoji == FLAG && cx.app.guard.book().room(room.id()).rules.report_reaction == Some(true) {
        Box::pin(file(cx.app, &room, &rights, &user, message_id, FLAG, cx.now)).await?;
        let seqno = room.live.seqno.load(std::sync::atomic::Ordering::Acquire);
        return Ok(Reply::json(&json!({ "added": false, "seqno": seqno })));
    }
    let kinds = cx
        .app
        .guard
        .limits(room.id())
        .reaction_kinds
        .filter(|_| !rights.admin);
    let reacted = cx
        .app
        .store
        .add_reaction(room.id(), message_id, user.row.id, emoji.clone(), kinds, cx.now)
        .await?;
    let (count, seqno) = changed(cx, room.token(), message_id, reacted)?;
    if count > 0 {
        Box::pin(moderation::reacted(cx, &room, &user, message_id, &emoji)).await?;
    }
    Ok(Reply::json(&json!({ "added": count > 0, "seqno": seqno })))
}

/// `DELETE /room/T/reaction/ID/EMOJI`: the caller's own.
pub(crate) async fn remove(
    cx: &RequestContext<'_>,
    token: &str,
    message_id: Id,
    emoji: &str,
) -> HandlerResult {
    let (room, rights) = cx.room(token).await?;
    let user_id = cx.user()?.row.id;
    may_read(&rights)?;
    let emoji = checked(emoji)?.to_owned();
    must_see(cx, &room, &rights, message_id).await?;
    pace(cx, &room, user_id, &rights)?;
    let reacted = cx
        .app
        .store
        .remove_reactions(room.id(), message_id, Some(user_id), Some(emoji))
        .await?;
    let (count, seqno) = changed(cx, room.token(), message_id, reacted)?;
    Ok(Reply::json(&json!({ "removed": count > 0, "seqno": seqno })))
}

/// `DELETE /room/T/reactions/ID[/EMOJI]`: everybody's.
pub(crate) async fn remove_all(
    cx: &RequestContext<'_>,
    token: &str,
    message_id: Id,
    emoji: Option<String>,
) -> HandlerResult {
    let (room, rights) = cx.moderated(token).await?;
    must_see(cx, &room, &rights, message_id).await?;
    if let Some(emoji) = &emoji {
        checked(emoji)?;
    }
    let config = cx.app.config();
    let undo = acts::reactions(cx.app.keeper(&config), message_id, emoji.as_deref()).await;
    let entry = cx.entry(
        "reactions_delete",
        Some(room.token()),
        &message_id.to_string(),
        emoji.as_deref().unwrap_or(""),
        undo,
    )?;
    let act = cx.app.store.remove_reactions(room.id(), message_id, None, emoji);
    let is_done = |reacted: &Reacted| matches!(reacted, Reacted::Done { changed, .. } if *changed > 0);
    let reacted = cx.audited(act, entry, is_done).await?;
    let (count, seqno) = changed(cx, room.token(), message_id, reacted)?;
    Ok(Reply::json(&json!({ "removed": count, "seqno": seqno })))
}

/// `GET /room/T/reactors/ID/EMOJI[?limit]`
pub(crate) async fn reactors(
    cx: &RequestContext<'_>,
    token: &str,
    message_id: Id,
    emoji: &str,
) -> HandlerResult {
    let (room, rights) = cx.readable(token).await?;
    must_see(cx, &room, &rights, message_id).await?;
    let emoji = checked(emoji)?.to_owned();
    let limit = cx.req.int_param("limit", MAX_REACTORS, 1, MAX_REACTORS)?;
    match cx.app.store.reactors(room.id(), message_id, emoji, limit).await? {
        Some(rows) => Ok(Reply::json(&rows)),
        None => Err(Refusal::not_found()),
    }
}
