//! Moderation over the API, an addition to the protocol: held posts, reports, and what reactions and replies in the
//! moderators' room decide.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};
use session_protocol::content::Content;

use super::page::Viewer;
use crate::admin::AdminError;
use crate::admin::decide::Outcome;
use crate::cache::{Room, User};
use crate::guard::inspect;
use crate::http::context::{HandlerResult, RequestContext};
use crate::http::memory::SMALL_ANSWER;
use crate::http::reply::{Refusal, Reply};
use crate::model::permission::Rights;
use crate::model::verdict::Verdict;
use crate::moderation;
use crate::store::cases::{CaseKind, Report};
use crate::store::{Id, MessageView};

/// The reaction that reports a message, where a rule says so.
pub(crate) const FLAG: &str = "🚩";
/// Reports of one message that are listed.
const REPORTS: i64 = 100;
/// Reported messages of one answer.
const CASES: i64 = 64;
/// Held posts of one answer.
const HELD: i64 = 256;
/// Content of the held posts of one answer, in bytes; at least one post.
const HELD_BYTES: usize = 1 << 20;

/// Paths below `/ackpost`.
pub(crate) async fn route(cx: &RequestContext<'_>, rest: &[&str], method: &http::Method) -> HandlerResult {
    let number = |segment: &str| crate::http::request::path_int(segment).ok_or(Refusal::not_found());
    match (rest, method) {
        (["moderation"], &http::Method::GET) => about(cx).await,
        (["room", token, "held"], &http::Method::GET) => held(cx, token).await,
        (["room", token, "held", id], &http::Method::POST) => {
            decide(cx, token, CaseKind::Held, number(id)?).await
        }
        (["room", token, "reports"], &http::Method::GET) => reports(cx, token).await,
        (["room", token, "reports", id], &http::Method::POST) => {
            decide(cx, token, CaseKind::Report, number(id)?).await
        }
        (["room", token, "report", id], &http::Method::POST) => report(cx, token, number(id)?).await,
        _ => Err(Refusal::not_found()),
    }
}

/// `GET /ackpost/moderation`: whether members may report, and the account that takes reports as direct messages.
async fn about(cx: &RequestContext<'_>) -> HandlerResult {
    let room = moderation::room(cx.app).await?;
    Ok(Reply::json(&json!({
        "reports": room.is_some(),
        "account": cx.app.moderation.account.id().to_string(),
    })))
}

/// `GET /ackpost/room/T/held[?after]`
async fn held(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    let after = cx.req.int_param("after", 0, 0, Id::MAX)?;
    // The posts, their texts, and the JSON of these.
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    share.cover(3 * HELD_BYTES).await?;
    let store = &cx.app.store;
    let mut rows = store.held_after(room.id(), after, HELD + 1, HELD_BYTES).await?;
    rows.truncate(usize::try_from(HELD).unwrap_or(usize::MAX));
    let last = rows.last().map(|row| row.message_id);
    let list: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            let seen = inspect(row.data.as_deref().unwrap_or_default());
            json!({
                "id": row.message_id, "session_id": row.session_id, "at": row.at, "reason": row.reason,
                "name": seen.name, "text": seen.body, "files": seen.attachments.len(),
            })
        })
        .collect();
    let next = match last {
        Some(last) if !store.held_after(room.id(), last, 1, 0).await?.is_empty() => Some(last),
        _ => None,
    };
    let body = serde_json::to_vec(&json!({ "held": list, "next": next })).unwrap_or_default();
    share.shrink(body.len());
    share.cover(body.len()).await?;
    Ok(Reply::raw_json(share.hold(body)))
}

/// `GET /ackpost/room/T/reports[?after]`
async fn reports(cx: &RequestContext<'_>, token: &str) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    let after = cx.req.int_param("after", 0, 0, Id::MAX)?;
    let mut cases = cx.app.store.open_reports(room.id(), after, CASES + 1).await?;
    let most = usize::try_from(CASES).unwrap_or(usize::MAX);
    let has_more = cases.len() > most;
    cases.truncate(most);
    let next = cases.last().map(|case| case.id).filter(|_| has_more);
    let ids = cases.iter().map(|case| case.id).collect();
    let mut reports: HashMap<Id, Vec<Report>> = HashMap::new();
    for (case_id, report) in cx.app.store.reports_of_all(ids, REPORTS).await? {
        reports.entry(case_id).or_default().push(report);
    }
    let list: Vec<Value> = cases
        .into_iter()
        .map(|case| {
            let reports = reports.remove(&case.id).unwrap_or_default();
            json!({
                "id": case.subject_id, "session_id": case.author, "at": case.opened_at, "count": case.reports,
                "text": case.excerpt, "reports": reports,
            })
        })
        .collect();
    let body = serde_json::to_vec(&json!({ "reports": list, "next": next })).unwrap_or_default();
    drop(list);
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    share.cover(body.len()).await?;
    Ok(Reply::raw_json(share.hold(body)))
}

/// `POST /ackpost/room/T/report/ID`
async fn report(cx: &RequestContext<'_>, token: &str, message_id: Id) -> HandlerResult {
    let (room, rights) = cx.readable(token).await?;
    cx.user()?;
    let body: Map<String, Value> = cx.req.json()?;
    let reason = body.get("reason").and_then(Value::as_str).unwrap_or_default();
    let member = cx.member().await?;
    let (text, count) = moderation::file(cx.app, &room, &rights, &member, message_id, reason, cx.now).await?;
    let words = json!({ "id": message_id, "reports": count, "text": text });
    Ok(Reply::json(&words).status(StatusCode::CREATED))
}

/// Reads `{"verdict": "ban", "seconds": 3600}`.
fn verdict(body: &Map<String, Value>) -> Option<Verdict> {
    let word = body.get("verdict")?.as_str()?;
    let seconds = match body.get("seconds") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_f64()
                .filter(|seconds| seconds.is_finite() && *seconds > 0.0)?
                .min(1e10),
        ),
    };
    match (Verdict::of_word(word)?, seconds) {
        (Verdict::Ban(_), seconds) => Some(Verdict::Ban(seconds)),
        (verdict, None) => Some(verdict),
        (_, Some(_)) => None,
    }
}

/// `POST /ackpost/room/T/held/ID` and `/ackpost/room/T/reports/ID`
async fn decide(cx: &RequestContext<'_>, token: &str, kind: CaseKind, message_id: Id) -> HandlerResult {
    let (room, _) = cx.moderated(token).await?;
    let user = Arc::clone(cx.user()?);
    let body: Map<String, Value> = cx.req.json()?;
    let verdict = verdict(&body).ok_or_else(|| {
        Refusal::text(
            400,
            "The verdict is approve, trust, reject, keep, delete or ban; only a ban has seconds",
        )
    })?;
    let outcome = moderation::decide(cx.app, &user, &room, (kind, message_id), verdict, false).await;
    match outcome.map_err(|error| failed(&error))? {
        Outcome::Done(settled) => Ok(Reply::json(&json!({
            "id": message_id, "state": verdict.state(), "log": settled.log,
            "session_id": settled.author.user.session_id,
        }))),
        Outcome::Already(case) => Err(Refusal::text(409, moderation::already(&case))),
        Outcome::Nothing => Err(Refusal::not_found()),
        Outcome::Forbidden(why) => Err(Refusal::text(403, why)),
    }
}

/// Returns the answer for a decision that failed for another reason than the request.
fn failed(error: &AdminError) -> Refusal {
    tracing::error!(cause = %error, "a moderator's decision failed");
    // The database may have kept it without a confirmation. A second decision about the same post is answered 409.
    Refusal::unavailable("The decision was not confirmed; please look, and try again later")
}

/// 404 for a message of the moderators' room that the caller does not see.
pub(crate) async fn must_see(
    cx: &RequestContext<'_>,
    room: &Room,
    rights: &Rights,
    message_id: Id,
) -> Result<(), Refusal> {
    if !room.is_for_moderators() {
        return Ok(());
    }
    let view = cx.app.store.message_view(room.id(), message_id).await?;
    let viewer = Viewer::new(cx.caller.as_deref(), rights);
    match view.filter(|view| viewer.sees(&view.audience())) {
        Some(_) => Ok(()),
        None => Err(Refusal::not_found()),
    }
}

/// Refusal to change a message of another person: one that the caller does not see is answered as if it did not exist.
pub(crate) async fn not_yours(
    cx: &RequestContext<'_>,
    room: &Room,
    rights: &Rights,
    message_id: Id,
) -> Result<Refusal, Refusal> {
    let view = cx.app.store.message_view(room.id(), message_id).await?;
    let viewer = Viewer::new(cx.caller.as_deref(), rights);
    let own = cx.caller.as_ref().map(|caller| caller.row.id);
    // Authors know that their held post exists.
    let is_seen = |view: &MessageView| {
        own == Some(view.user_id) || ((!view.filtered || rights.moderator) && viewer.sees(&view.audience()))
    };
    Ok(match view.filter(is_seen) {
        Some(_) => Refusal::permission_denied(),
        None => Refusal::not_found(),
    })
}

/// A reaction was given in the moderators' room: it may decide.
pub(crate) async fn reacted(
    cx: &RequestContext<'_>,
    room: &Room,
    user: &User,
    message_id: Id,
    emoji: &str,
) -> Result<(), Refusal> {
    if !room.is_for_moderators() {
        return Ok(());
    }
    match Verdict::of_reaction(emoji) {
        Some(verdict) => by_notice(cx, room, user, message_id, verdict).await,
        None => Ok(()),
    }
}

/// Finds the message that a post in the moderators' room answers, and the room whose moderators alone see both.
pub(crate) async fn answered(
    cx: &RequestContext<'_>,
    room: &Room,
    data: &[u8],
) -> Result<Option<(Id, Option<Id>)>, Refusal> {
    if !room.is_for_moderators() {
        return Ok(None);
    }
    let content = Content::decode_bounded(data).ok();
    let Some(quote) = content.and_then(|content| content.data_message?.quote) else {
        return Ok(None);
    };
    let found = moderation::quoted(cx.app, room.id(), &quote).await?;
    let user = cx.user()?;
    // A guessed quote of what the caller does not see is not an answer to it.
    Ok(found.filter(|(_, scope)| scope.is_none_or(|scope| user.moderates(scope))))
}

/// A post was stored: a held one gets its notice, and a reply in the moderators' room may decide.
pub(crate) async fn posted(
    cx: &RequestContext<'_>,
    room: &Room,
    user: &User,
    answers: Option<(Id, Option<Id>)>,
    data: &[u8],
    is_held: bool,
) -> Result<(), Refusal> {
    if is_held {
        cx.app.moderation.wake();
    }
    let Some((notice_id, _)) = answers else {
        return Ok(());
    };
    let Some(verdict) = Verdict::of_reply(&inspect(data).body) else {
        return Ok(());
    };
    by_notice(cx, room, user, notice_id, verdict).await
}

async fn by_notice(
    cx: &RequestContext<'_>,
    room: &Room,
    user: &User,
    notice_id: Id,
    verdict: Verdict,
) -> Result<(), Refusal> {
    let case = cx.app.store.case_of_notice(notice_id).await?;
    let Some(case) = case.filter(|case| case.kind != CaseKind::More) else {
        return Ok(());
    };
    moderation::decide_in_room(cx.app, room, user, &case, verdict)
        .await
        .map_err(|error| failed(&error))
}
