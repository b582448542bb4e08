//! Messages: reading, posting, editing, deleting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use session_protocol::SessionId;
use session_protocol::encoding::from_b64;
use session_protocol::padding::unpad;

use super::{moderation, page, truthy};
use crate::admin::acts;
use crate::cache::{Room, User};
use crate::guard::{Paced, PolicyDecision, PostFacts};
use crate::http::reply::{Refusal, Reply};
use crate::http::route::{Answer, RequestContext};
use crate::model::permission::Rights;
use crate::moderation::{by_reply, whisper};
use crate::plugin::PluginEvent;
use crate::store::{Changed, Id, NewPost, Page, PostEdit, PostWindow, Posted};

fn seen(cx: &RequestContext<'_>, room: &Room) {
    if let Some(user) = &cx.caller {
        cx.app.activity.see(user, Some(room.id()), cx.now);
    }
}

fn named(cx: &RequestContext<'_>) -> Result<i64, Refusal> {
    cx.req.int_param("reactors", 4, 0, 20)
}

async fn list(cx: &RequestContext<'_>, token: &str, which: Page) -> Answer {
    let (room, rights) = cx.readable(token).await?;
    let limit = cx.req.int_param("limit", 100, 1, 256)?;
    let named = named(cx)?;
    seen(cx, &room);
    Ok(Reply::raw_json(
        page::page(cx, &room, &rights, which, limit, named).await?,
    ))
}

/// `GET /room/T/messages/recent`
pub(crate) async fn recent(cx: &RequestContext<'_>, token: &str) -> Answer {
    list(cx, token, Page::Recent).await
}

/// `GET /room/T/messages/before/ID`
pub(crate) async fn before(cx: &RequestContext<'_>, token: &str, id: Id) -> Answer {
    list(cx, token, Page::Before(id)).await
}

/// `GET /room/T/messages/since/SEQNO?t=r`
pub(crate) async fn since(cx: &RequestContext<'_>, token: &str, seqno: i64) -> Answer {
    let with_reactions = cx.req.param("t").is_some_and(|kinds| kinds.contains('r'));
    list(cx, token, Page::Since(seqno, with_reactions)).await
}

/// `GET /room/T/message/ID`
pub(crate) async fn single(cx: &RequestContext<'_>, token: &str, id: Id) -> Answer {
    let (room, rights) = cx.readable(token).await?;
    let named = named(cx)?;
    seen(cx, &room);
    Ok(Reply::raw_json(
        page::single(cx, &room, &rights, id, named).await?,
    ))
}

#[derive(Deserialize)]
struct PostBody {
    data: Option<Value>,
    signature: Option<Value>,
    whisper_to: Option<Value>,
    whisper_mods: Option<Value>,
    files: Option<Value>,
}

struct Content {
    data: Bytes,
    unpadded: Bytes,
    signature: Bytes,
    files: Vec<Id>,
}

/// Most files of one message.
const MAX_FILES: usize = 256;

impl PostBody {
    fn content(&self) -> Result<Content, Refusal> {
        let bad = || Refusal::page(400);
        let bytes = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).and_then(from_b64);
        let data = Bytes::from(bytes(&self.data).ok_or_else(bad)?);
        let signature = Bytes::from(
            bytes(&self.signature)
                .filter(|bytes| bytes.len() == 64)
                .ok_or_else(bad)?,
        );
        let files = match &self.files {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) if list.len() <= MAX_FILES => {
                list.iter().map(file_id).collect::<Option<_>>().ok_or_else(bad)?
            }
            Some(_) => return Err(bad()),
        };
        let unpadded = data.slice(..unpad(&data).len());
        Ok(Content {
            data,
            unpadded,
            signature,
            files,
        })
    }
}

/// File ids come as numbers, and from some clients as text.
fn file_id(value: &Value) -> Option<Id> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

async fn judge(
    cx: &RequestContext<'_>,
    room: &Room,
    rights: &Rights,
    user: &User,
    content: &Content,
    edit: bool,
) -> Result<PolicyDecision, Refusal> {
    // Moderators quote there what filters look for.
    if room.is_for_moderators() {
        return check_size(cx, room, rights, content).map(|()| PolicyDecision::Accept);
    }
    let facts = PostFacts {
        room_id: room.id(),
        token: room.token(),
        user_id: user.row.id,
        session_id: &user.row.session_id,
        first_seen: user.row.created,
        rights,
        data: &content.unpadded,
        size: content.data.len(),
        now: cx.now,
        edit,
    };
    match cx.app.guard.before_post(facts).await? {
        PolicyDecision::Reject { status, text } => Err(Refusal::text(status, text)),
        judgement => Ok(judgement),
    }
}

/// Refuses a message that is larger than the rules of the room allow.
fn check_size(
    cx: &RequestContext<'_>,
    room: &Room,
    rights: &Rights,
    content: &Content,
) -> Result<(), Refusal> {
    let limit = cx.app.guard.limits(room.id()).message_bytes;
    match limit.filter(|limit| content.data.len() > *limit && !rights.admin) {
        Some(limit) => Err(Refusal::text(
            413,
            format!("Messages in this room are at most {limit} bytes"),
        )),
        None => Ok(()),
    }
}

/// When a file that is attached now expires, in Unix seconds; `None` = never.
pub(super) fn files_expire(cx: &RequestContext<'_>) -> Option<f64> {
    let days = cx.app.config().files.expiry_days;
    (days > 0.0).then_some(cx.now + days * 86_400.0)
}

/// The user a whisper is for, or why it cannot be sent.
async fn whisper_target(
    cx: &RequestContext<'_>,
    rights: &Rights,
    body: &PostBody,
) -> Result<(Option<Arc<User>>, bool), Refusal> {
    let to = body.whisper_to.as_ref().filter(|value| truthy(value));
    let mods = body.whisper_mods.as_ref().is_some_and(truthy);
    if to.is_none() && !mods {
        return Ok((None, false));
    }
    if !rights.moderator {
        return Err(Refusal::permission_denied());
    }
    let Some(to) = to else { return Ok((None, mods)) };
    let id: SessionId = to
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Refusal::page(400))?;
    // Somebody who has only read so far gets a row now.
    let user = match cx.app.resolve(&id, false).await? {
        Some(user) => Some(user),
        None => cx.app.addressee(&id, cx.now).await?,
    };
    Ok((Some(user.ok_or(Refusal::not_found())?), mods))
}

/// The rate limits that apply to somebody with these rights.
fn windows(cx: &RequestContext<'_>, room: &Room, rights: &Rights) -> Vec<PostWindow> {
    if rights.admin {
        return Vec::new();
    }
    cx.app
        .guard
        .limits(room.id())
        .windows
        .iter()
        .filter(|window| window.posts > 0 && !(window.moderators_exempt && rights.moderator))
        .map(|window| PostWindow {
            posts: window.posts,
            seconds: window.seconds,
        })
        .collect()
}

/// `POST /room/T/message`
pub(crate) async fn post(cx: &RequestContext<'_>, token: &str) -> Answer {
    let (room, rights) = cx.room(token).await?;
    cx.user()?;
    let body: PostBody = cx.req.json()?;
    if !rights.write {
        return Err(Refusal::permission_denied());
    }
    let content = body.content()?;
    let user = cx.member().await?;
    let (whisper_to, whisper_mods) = whisper_target(cx, &rights, &body).await?;
    check_size(cx, &room, &rights, &content)?;
    // A report is no post: it needs no approval, and may quote words that filters refuse.
    let report = Box::pin(by_reply(cx.app, &room, &rights, &user, &content.unpadded, cx.now)).await?;
    let judgement = if report.is_some() {
        PolicyDecision::Accept
    } else {
        judge(cx, &room, &rights, &user, &content, false).await?
    };
    let answers = Box::pin(moderation::answered(cx, &room, &content.unpadded)).await?;
    let filtered = judgement != PolicyDecision::Accept || report.is_some();
    let is_held = matches!(judgement, PolicyDecision::Hold(_));
    let held = match judgement {
        PolicyDecision::Hold(reason) => Some(reason),
        _ => None,
    };
    let new = NewPost {
        room_id: room.id(),
        user_id: user.row.id,
        posted_as: Some(user.name.clone()),
        now: cx.now,
        data: content.unpadded.clone(),
        data_size: i64::try_from(content.data.len()).unwrap_or(i64::MAX),
        signature: content.signature.clone(),
        filtered,
        held,
        whisper_to: whisper_to.as_ref().map(|user| user.row.id),
        whisper_mods,
        for_moderators_of: answers.and_then(|(_, scope)| scope),
        files: content.files.clone(),
        files_expire: files_expire(cx),
        windows: windows(cx, &room, &rights),
    };
    let (id, seqno) = match cx.app.store.post(new).await? {
        Posted::Done { id, seqno } => (id, seqno),
        Posted::RateLimited { wait } => return Err(Refusal::rate_limited(wait)),
        Posted::NoRoom => return Err(Refusal::not_found()),
    };
    cx.app.counters.posts.fetch_add(1, Ordering::Relaxed);
    tell_posted(
        cx,
        &room,
        &user,
        &content,
        id,
        filtered || whisper_to.is_some() || whisper_mods,
    );
    // Not before the post is stored: its rate limit bounds the answers, too.
    if let Some(answer) = report {
        whisper(cx.app, room.id(), user.row.id, &answer).await?;
    }
    Box::pin(moderation::posted(
        cx,
        &room,
        &user,
        answers,
        &content.unpadded,
        is_held,
    ))
    .await?;
    let mut out = echo(cx, &user, &content, id, seqno);
    if filtered {
        out.insert("filtered".into(), json!(true));
        // An addition to the protocol: `false` says that a filter hides the message.
        out.insert("held".into(), json!(is_held));
    }
    if whisper_to.is_some() || whisper_mods {
        out.extend(whispered(whisper_to.as_deref(), whisper_mods));
    }
    Ok(Reply::json(&out).status(StatusCode::CREATED))
}

/// The fields of a whisper.
fn whispered(to: Option<&User>, mods: bool) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("whisper".into(), json!(true));
    out.insert("whisper_mods".into(), json!(mods));
    if let Some(to) = to {
        out.insert("whisper_to".into(), json!(to.row.session_id));
    }
    out
}

/// A stored post as its author gets it back.
fn echo(cx: &RequestContext<'_>, user: &User, content: &Content, id: Id, seqno: i64) -> Map<String, Value> {
    // The texts that came in are the base64 of what is stored, unless their padding differed.
    let mut out = Map::new();
    out.insert("id".into(), json!(id));
    out.insert("session_id".into(), json!(user.name));
    out.insert("posted".into(), json!(cx.now));
    out.insert("seqno".into(), json!(seqno));
    out.insert(
        "data".into(),
        json!(session_protocol::encoding::b64(&content.data)),
    );
    out.insert(
        "signature".into(),
        json!(session_protocol::encoding::b64(&content.signature)),
    );
    out.insert("reactions".into(), json!({}));
    out
}

fn tell_posted(cx: &RequestContext<'_>, room: &Room, user: &User, content: &Content, id: Id, hidden: bool) {
    if !cx.app.guard.hub().listens() {
        return;
    }
    cx.app.guard.tell(&PluginEvent::Posted {
        room: room.token().to_owned(),
        id,
        session_id: user.name.clone(),
        posted: cx.now,
        text: crate::guard::inspect(&content.unpadded).body,
        files: content.files.len(),
        hidden,
    });
}

/// `PUT /room/T/message/ID`
pub(crate) async fn edit(cx: &RequestContext<'_>, token: &str, message_id: Id) -> Answer {
    let (room, rights) = cx.room(token).await?;
    let user = Arc::clone(cx.user()?);
    let body: PostBody = cx.req.json()?;
    if !rights.write {
        return Err(Refusal::permission_denied());
    }
    let content = body.content()?;
    let filtered = judge(cx, &room, &rights, &user, &content, true).await? != PolicyDecision::Accept;
    cx.app
        .guard
        .pace(Paced::Edit, room.id(), user.row.id, &rights, cx.now)
        .map_err(Refusal::rate_limited)?;
    let edit = PostEdit {
        room_id: room.id(),
        message_id,
        user_id: user.row.id,
        posted_as: Some(user.name.clone()),
        now: cx.now,
        data: content.unpadded.clone(),
        data_size: i64::try_from(content.data.len()).unwrap_or(i64::MAX),
        signature: content.signature.clone(),
        filtered,
        files: content.files.clone(),
        files_expire: files_expire(cx),
    };
    match cx.app.store.edit_post(edit).await? {
        Changed::Done(_) => {
            cx.app.guard.tell(&PluginEvent::Edited {
                room: room.token().to_owned(),
                id: message_id,
            });
            // An addition to the protocol: from now on a filter hides the message.
            let words = if filtered {
                json!({ "filtered": true, "held": false })
            } else {
                json!({})
            };
            Ok(Reply::json(&words))
        }
        Changed::NoMessage => Err(Refusal::not_found()),
        Changed::NotYours => Err(Refusal::permission_denied()),
    }
}

/// `DELETE /room/T/message/ID`
pub(crate) async fn delete(cx: &RequestContext<'_>, token: &str, message_id: Id) -> Answer {
    let (room, rights) = cx.room(token).await?;
    let user = Arc::clone(cx.user()?);
    if !rights.moderator && !rights.write {
        return Err(Refusal::permission_denied());
    }
    moderation::must_see(cx, &room, &rights, message_id).await?;
    let only = (!rights.moderator).then_some(user.row.id);
    let config = cx.app.config();
    let undo = if rights.moderator {
        acts::messages(cx.app.keeper(&config), vec![message_id]).await
    } else {
        None
    };
    match cx
        .app
        .store
        .delete_post(room.id(), message_id, only, cx.now)
        .await?
    {
        Changed::Done(_) => {
            if rights.moderator {
                let target = message_id.to_string();
                cx.audit("message_delete", Some(room.token()), &target, "", undo)
                    .await?;
            }
            cx.app.guard.tell(&PluginEvent::Deleted {
                room: room.token().to_owned(),
                id: message_id,
            });
            Ok(Reply::json(&json!({})))
        }
        Changed::NoMessage => Err(Refusal::not_found()),
        Changed::NotYours => Err(Refusal::permission_denied()),
    }
}

/// Whether somebody may delete all messages of another (or oneself) in a room.
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

/// `DELETE /room/T/all/SID`
pub(crate) async fn delete_all(cx: &RequestContext<'_>, token: &str, id: &SessionId) -> Answer {
    let (room, rights) = cx.room(token).await?;
    let user = Arc::clone(cx.user()?);
    let Some(target) = cx.app.resolve(id, false).await? else {
        return Err(if rights.moderator {
            Refusal::not_found()
        } else {
            Refusal::permission_denied()
        });
    };
    if !may_delete_all(&room, &rights, &user, &target) {
        return Err(Refusal::permission_denied());
    }
    let config = cx.app.config();
    let undo = if target.row.id == user.row.id {
        None
    } else {
        acts::everything_of(cx.app.keeper(&config), target.row.id, vec![room.id()]).await
    };
    let counts = cx
        .app
        .store
        .delete_all_posts(vec![room.id()], target.row.id, cx.now)
        .await?;
    let count = counts.first().map_or(0, |(_, count)| *count);
    if count == 0 {
        return Err(Refusal::not_found());
    }
    if target.row.id != user.row.id {
        cx.audit(
            "messages_delete",
            Some(room.token()),
            &target.row.session_id,
            &count.to_string(),
            undo,
        )
        .await?;
    }
    Ok(Reply::json(&json!({})))
}

/// `DELETE /rooms/all/SID`
pub(crate) async fn delete_everywhere(cx: &RequestContext<'_>, id: &SessionId) -> Answer {
    let user = Arc::clone(cx.user()?);
    let rooms = cx.app.rooms().await?;
    let target = cx.app.resolve(id, false).await?;
    let allowed: Vec<&Arc<Room>> = rooms
        .iter()
        .filter(|room| {
            let rights = room.rights(Some(&user));
            target.as_ref().map_or(rights.moderator, |target| {
                may_delete_all(room, &rights, &user, target)
            })
        })
        .collect();
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
    let counts = cx.app.store.delete_all_posts(ids, target.row.id, cx.now).await?;
    let mut by_token = Map::new();
    let mut total = 0;
    for (room, (_, count)) in allowed.iter().zip(&counts) {
        total += count;
        by_token.insert(room.token().to_owned(), json!(count));
    }
    if target.row.id != user.row.id && total > 0 {
        cx.audit(
            "messages_delete",
            None,
            &target.row.session_id,
            &total.to_string(),
            undo,
        )
        .await?;
    }
    Ok(Reply::json(&json!({ "rooms": by_token, "total": total })))
}
