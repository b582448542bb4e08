//! Direct messages between blinded ids.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};
use session_protocol::SessionId;
use session_protocol::encoding::{b64, from_b64};

use crate::cache::User;
use crate::guard::{DmFacts, MANY_DMS};
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::reply::{Refusal, Reply};
use crate::store::{Id, InboxRow, Mailbox, NewDm};

/// The caller, who must use a blinded id.
fn blinded<'a>(cx: &'a RequestContext<'_>) -> Result<&'a Arc<User>, Refusal> {
    let user = cx.user()?;
    if user.name.starts_with("15") || user.name.starts_with("25") {
        Ok(user)
    } else {
        Err(Refusal::text(
            403,
            "This endpoint requires the use of a blinded id",
        ))
    }
}

fn describe(row: &InboxRow) -> Value {
    json!({
        "expires_at": row.expiry,
        "id": row.id,
        "message": b64(&row.body),
        "posted_at": row.posted_at,
        "recipient": row.recipient,
        "sender": row.sender,
    })
}

/// `GET /inbox`, `/outbox`, and both with `/since/ID`
pub(crate) async fn list(cx: &RequestContext<'_>, received: bool, since: Option<Id>) -> HandlerResult {
    let user_id = blinded(cx)?.row.id;
    let limit = cx.req.int_param("limit", 100, 1, 256)?;
    let mailbox = if received { Mailbox::Inbox } else { Mailbox::Outbox };
    let rows = cx
        .app
        .mailbox(user_id, mailbox, since.unwrap_or(0), limit)
        .await?;
    if rows.is_empty() && since.is_some() {
        return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
    }
    let out: Vec<Value> = rows.iter().map(describe).collect();
    Ok(Reply::json(&out))
}

/// `DELETE /inbox`
pub(crate) async fn empty(cx: &RequestContext<'_>) -> HandlerResult {
    let user_id = blinded(cx)?.row.id;
    let deleted = cx.app.store.delete_dms(user_id).await?;
    Ok(Reply::json(&json!({ "deleted": deleted })))
}

/// `POST /inbox/SID`
pub(crate) async fn send(cx: &RequestContext<'_>, to: &SessionId) -> HandlerResult {
    blinded(cx)?;
    if !to.is_blinded() {
        return Err(Refusal::not_found());
    }
    let recipient = cx
        .app
        .addressee(to, cx.now)
        .await?
        .filter(|user| !user.row.banned)
        .ok_or(Refusal::not_found())?;
    let body: Map<String, Value> = cx.req.json()?;
    let message = body
        .get("message")
        .and_then(Value::as_str)
        .and_then(from_b64)
        .filter(|bytes| !bytes.is_empty());
    let message = message.ok_or_else(|| Refusal::page(400))?;
    let config = cx.app.config();
    if message.len() > config.direct_messages.max_bytes {
        return Err(Refusal::page(413));
    }
    let sender = cx.member().await?;
    if cx.app.moderation.account.is(to) {
        let name = sender.name.parse().map_err(|_| Refusal::unauthenticated())?;
        Box::pin(crate::moderation::by_direct_message(
            cx.app, &sender, &name, &message, cx.now,
        ))
        .await?;
        // The message counts for the limit; its text names the sender's account, and nobody needs it any more.
        return store(cx, &sender, &recipient, Vec::new(), None).await;
    }
    let facts = DmFacts {
        user_id: sender.row.id,
        session_id: &sender.row.session_id,
        first_seen: sender.row.created,
        moderator: sender.row.moderator || sender.row.admin,
        trusted: sender.trusted_somewhere(),
        banned_somewhere: sender.banned_somewhere(),
        now: cx.now,
    };
    if let Some((status, text)) = cx.app.guard.before_dm(facts).await? {
        return Err(Refusal::text(status, text));
    }
    let limit = cx.app.guard.dms_per_hour(facts.moderator);
    store(cx, &sender, &recipient, message, limit).await
}

async fn store(
    cx: &RequestContext<'_>,
    sender: &User,
    recipient: &User,
    message: Vec<u8>,
    per_hour: Option<u32>,
) -> HandlerResult {
    let config = cx.app.config();
    let expiry = cx.now + config.direct_messages.expiry_days * 86_400.0;
    let new = NewDm {
        recipient_id: recipient.row.id,
        sender_id: sender.row.id,
        recipient_as: recipient.name.clone(),
        sender_as: sender.name.clone(),
        body: Bytes::from(message),
        now: cx.now,
        expiry,
    };
    let id = match per_hour {
        None => cx.app.store.add_dm(new).await?,
        // Counted again where it is stored: many requests at once do not pass together.
        Some(limit) => cx
            .app
            .store
            .add_dm_within(new, cx.now - 3600.0, i64::from(limit))
            .await?
            .ok_or_else(|| Refusal::text(429, MANY_DMS))?,
    };
    Ok(Reply::json(&json!({
        "expires_at": expiry,
        "id": id,
        "posted_at": cx.now,
        "recipient": recipient.name,
        "sender": sender.name,
    }))
    .status(StatusCode::CREATED))
}
