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
use crate::guard::{Newcomer, Paced, PolicyDecision, PostFacts};
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::reply::{Refusal, Reply};
use crate::model::permission::Rights;
use crate::moderation::{by_reply, has_command, whisper};
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

async fn list(cx: &RequestContext<'_>, token: &str, which: Page) -> HandlerResult {
    let (room, rights) = cx.readable(token).await?;
    let limit = cx.req.int_param("limit", 100, 1, 256)?;
    let named = named(cx)?;
    seen(cx, &room);
    Ok(Reply::raw_json(
        page::page(cx, &room, &rights, which, limit, named).await?,
    ))
}

/// `GET /room/T/messages/recent`
pub(crate) async fn recent(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    list(cx, token, Page::Recent).await
}

/// `GET /room/T/messages/before/ID`
pub(crate) async fn before(cx: &RequestContext<'_>, token: &str, id: Id) -> HandlerResult {
    list(cx, token, Page::Before(id)).await
}

/// `GET /room/T/messages/since/SEQNO?t=r`
pub(crate) async fn since(cx: &RequestContext<'_>, token: &str, seqno: i64) -> HandlerResult {
    let with_reactions = cx.req.param("t").is_some_and(|kinds| kinds.contains('r'));
    list(cx, token, Page::Since(seqno, with_reactions)).await
}

/// `GET /room/T/message/ID`
pub(crate) async fn single(cx: &RequestContext<'_>, token: &str, id: Id) -> HandlerResult {
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
    /// True if the text may hold the command that reports a message.
    may_report: bool,
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
            may_report: has_command(&unpadded),
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
    // Moderators quote the words there that filters look for.
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

/// Returns the time at which a file that is attached now expires, in Unix seconds; `None` = never.
pub(super) fn files_expire(cx: &RequestContext<'_>) -> Option<f64> {
    let days = cx.app.config().files.expiry_days;
    (days > 0.0).then_some(cx.now + days * 86_400.0)
}

/// Returns the user a whisper is for, or the reason why it cannot be sent.
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
    // A person who has only read so far gets a row now.
    let user = match cx.app.resolve(&id, false).await? {
        Some(user) => Some(user),
        None => cx.app.addressee(&id, cx.now).await?,
    };
    Ok((Some(user.ok_or(Refusal::not_found())?), mods))
}

/// Returns the rate limits that apply to a person with these rights.
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

/// The author of a post. Somebody without a row gets one now, or, with the id that is returned then, in the transaction
/// of the post. Rules that depend on the author, reports and files need the row before.
async fn author(
    cx: &RequestContext<'_>,
    room: &Room,
    content: &Content,
) -> Result<(Arc<User>, Option<SessionId>), Refusal> {
    let user = cx.user()?;
    let needs_row = !content.files.is_empty()
        || room.is_for_moderators()
        || content.may_report
        || !cx.app.guard.treats_all_alike(room.id());
    if user.is_known() || needs_row {
        return Ok((cx.member().await?, None));
    }
    let id = user.name.parse().map_err(|_| Refusal::unauthenticated())?;
    Ok((Arc::clone(user), Some(id)))
}

/// Stores a post, and with it the row of an author who `joins`; the author as stored, number and sequence number.
async fn stored(
    cx: &RequestContext<'_>,
    user: Arc<User>,
    joins: Option<SessionId>,
    new: NewPost,
) -> Result<(Arc<User>, Id, i64), Refusal> {
    let (user, posted) = match joins {
        Some(id) => cx.app.enter_and_post(&id, new).await?,
        None => (user, cx.app.store.post(new).await?),
    };
    match posted {
        Posted::Done { id, seqno } => Ok((user, id, seqno)),
        Posted::RateLimited { wait } => Err(Refusal::rate_limited(wait)),
        Posted::NoRoom => Err(Refusal::not_found()),
    }
}

/// Refuses a post that is over the limit before filters and plugins examine it: their work would be done for nothing.
async fn check_rate(
    cx: &RequestContext<'_>,
    room: &Room,
    user: &User,
    content: &Content,
    windows: &[PostWindow],
) -> Result<(), Refusal> {
    let is_examined = content.may_report || cx.app.guard.examines_posts(room.id());
    if !is_examined || !user.is_known() || windows.is_empty() {
        return Ok(());
    }
    let wait = cx
        .app
        .store
        .post_wait(room.id(), user.row.id, windows.to_vec(), cx.now)
        .await?;
    wait.map_or(Ok(()), |wait| Err(Refusal::rate_limited(wait)))
}

/// Counts a stored post for raid mode.
async fn note_post(cx: &RequestContext<'_>, room: &Room, rights: &Rights, user: &User) {
    if room.is_for_moderators() {
        return;
    }
    let who = Newcomer {
        room_id: room.id(),
        token: room.token(),
        user_id: user.row.id,
        first_seen: user.row.created,
        rights,
        now: cx.now,
    };
    // The post is stored, whatever happens to the count.
    if let Err(error) = cx.app.guard.after_post(who).await {
        tracing::warn!(%error, "raid mode could not be switched on");
    }
}

/// `POST /room/T/message`
pub(crate) async fn post(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    let (room, rights) = cx.room(token).await?;
    cx.user()?;
    let body: PostBody = cx.req.json()?;
    if !rights.write {
        return Err(Refusal::permission_denied());
    }
    let content = body.content()?;
    let (user, joins) = author(cx, &room, &content).await?;
    let (whisper_to, whisper_mods) = whisper_target(cx, &rights, &body).await?;
    check_size(cx, &room, &rights, &content)?;
    let windows = windows(cx, &room, &rights);
    check_rate(cx, &room, &user, &content, &windows).await?;
    // A report is not a post: it needs no approval, and may quote words that filters refuse.
    // Nearly every post is something else, and a large future costs more than the look at it.
    let report = if content.may_report {
        Box::pin(by_reply(cx.app, &room, &rights, &user, &content.unpadded, cx.now)).await?
    } else {
        None
    };
    let judgement = if report.is_some() {
        PolicyDecision::Accept
    } else {
        judge(cx, &room, &rights, &user, &content, false).await?
    };
    let answers = if room.is_for_moderators() {
        Box::pin(moderation::answered(cx, &room, &content.unpadded)).await?
    } else {
        None
    };
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
        windows,
    };
    let (user, id, seqno) = stored(cx, user, joins, new).await?;
    cx.app.counters.posts.fetch_add(1, Ordering::Relaxed);
    if report.is_none() {
        note_post(cx, &room, &rights, &user).await;
    }
    let is_private = filtered || whisper_to.is_some() || whisper_mods;
    tell_posted(cx, &room, &user, &content, id, is_private);
    // The answer is sent only after the post is stored: the rate limit of posts bounds the answers, too.
    if let Some(answer) = report {
        whisper(cx.app, room.id(), user.row.id, &answer).await?;
    }
    if is_held || answers.is_some() {
        let told = moderation::posted(cx, &room, &user, answers, &content.unpadded, is_held);
        Box::pin(told).await?;
    }
    let mut out = echo(cx, &user, &content, id, seqno);
    if filtered {
        out.extend(hidden(is_held));
    }
    if whisper_to.is_some() || whisper_mods {
        out.extend(whispered(whisper_to.as_deref(), whisper_mods));
    }
    Ok(Reply::json(&out).status(StatusCode::CREATED))
}

/// The fields of a post that is not shown.
fn hidden(is_held: bool) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("filtered".into(), json!(true));
    // An addition to the protocol: `false` says that a filter hides the message.
    out.insert("held".into(), json!(is_held));
    out
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
pub(crate) async fn edit(cx: &RequestContext<'_>, token: &str, message_id: Id) -> HandlerResult {
    let (room, rights) = cx.room(token).await?;
    let user = Arc::clone(cx.user()?);
    let body: PostBody = cx.req.json()?;
    if !rights.write {
        return Err(Refusal::permission_denied());
    }
    let content = body.content()?;
    check_size(cx, &room, &rights, &content)?;
    cx.app
        .guard
        .pace(Paced::Edit, room.id(), user.row.id, &rights, cx.now)
        .map_err(Refusal::rate_limited)?;
    let filtered = judge(cx, &room, &rights, &user, &content, true).await? != PolicyDecision::Accept;
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
        Changed::NotYours => Err(moderation::not_yours(cx, &room, &rights, message_id).await?),
    }
}

/// `DELETE /room/T/message/ID`
pub(crate) async fn delete(cx: &RequestContext<'_>, token: &str, message_id: Id) -> HandlerResult {
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
    let act = cx.app.store.delete_post(room.id(), message_id, only, cx.now);
    let changed = if rights.moderator {
        let target = message_id.to_string();
        let entry = cx.entry("message_delete", Some(room.token()), &target, "", undo)?;
        cx.audited(act, entry, |changed| matches!(changed, Changed::Done(_)))
            .await?
    } else {
        act.await?
    };
    match changed {
        Changed::Done(_) => {
            cx.app.guard.tell(&PluginEvent::Deleted {
                room: room.token().to_owned(),
                id: message_id,
            });
            Ok(Reply::json(&json!({})))
        }
        Changed::NoMessage => Err(Refusal::not_found()),
        Changed::NotYours => Err(moderation::not_yours(cx, &room, &rights, message_id).await?),
    }
}
