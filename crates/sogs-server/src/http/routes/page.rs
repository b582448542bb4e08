//! A page of messages for one viewer: from memory if it can be, else read, rendered and kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::cache::{Room, User};
use crate::http::answers::{Except, Question, Stamp};
use crate::http::memory::SMALL_ANSWER;
use crate::http::render::{self, ReactionView};
use crate::http::reply::Refusal;
use crate::http::route::RequestContext;
use crate::model::permission::Rights;
use crate::store::{Audience, Id, MessageRow, Page, Reactions};

/// Rows read beyond the limit at first, so that a whisper or two need no second reading.
const SPARE: i64 = 8;
/// Rows of one reading, when many of them are whispers to others.
const MAX_ROWS: i64 = 8192;
/// Readings for one page: with what is kept of a row that is not shown, some 10 MB at most.
const MAX_READINGS: usize = 8;

/// Who looks.
#[derive(Clone, Copy)]
pub(crate) struct Viewer<'a> {
    pub(crate) id: Option<Id>,
    pub(crate) moderator: bool,
    /// Nobody without authentication.
    pub(crate) user: Option<&'a User>,
}

impl<'a> Viewer<'a> {
    /// Somebody with these rights in the room.
    pub(crate) fn new(user: Option<&'a User>, rights: &Rights) -> Self {
        Self {
            id: user.map(|user| user.row.id),
            moderator: rights.moderator,
            user,
        }
    }

    /// Returns true if this person sees a message. Messages of the moderators' room that concern one room are for the
    /// moderators of that room alone. Moderators see whispers to them all, by them and to them; others see whispers to
    /// them.
    pub(crate) fn sees(self, audience: &Audience) -> bool {
        if let Some(room_id) = audience.for_moderators_of
            && !self.user.is_some_and(|user| user.moderates(room_id))
        {
            return false;
        }
        if audience.whisper_to.is_none() && !audience.whisper_mods {
            return true;
        }
        let Some(id) = self.id else { return false };
        audience.whisper_to == Some(id)
            || (self.moderator && (audience.whisper_mods || audience.user_id == id))
    }
}

/// The users to whom a page looks different from what others of their rank see.
fn special(rows: &[MessageRow], reactions: &Reactions, moderator: bool) -> Except {
    let Some(reactors) = &reactions.reactors else {
        return Except::Known;
    };
    let mut users: HashSet<Id> = reactors.iter().copied().collect();
    for row in rows.iter().filter(|row| row.is_whisper()) {
        users.extend(row.whisper_to);
        if moderator {
            users.insert(row.user_id);
        }
    }
    Except::Users(users)
}

fn stamp(room: &Room) -> Stamp {
    Stamp {
        seqno: room.live.seqno.load(Ordering::Acquire),
        rewritten: room.live.rewritten.load(Ordering::Acquire),
    }
}

/// Renders a page for the caller.
pub(crate) async fn page(
    cx: &RequestContext<'_>,
    room: &Arc<Room>,
    rights: &Rights,
    page: Page,
    limit: i64,
    named: i64,
) -> Result<Bytes, Refusal> {
    if let Page::Since(seqno, _) = page
        && seqno >= room.live.seqno.load(Ordering::Acquire)
    {
        return Ok(Bytes::from_static(b"[]"));
    }
    let viewer = Viewer::new(cx.caller.as_deref(), rights);
    let question = Question {
        room_id: room.id(),
        page,
        limit,
        reactors: named,
        moderator: viewer.moderator && viewer.id.is_some(),
    };
    let answers = &cx.app.answers;
    if let Some(body) = answers.get(&question, stamp(room), viewer.id) {
        cx.app.counters.page_hits.fetch_add(1, Ordering::Relaxed);
        return Ok(body);
    }
    let _turn = answers.turn(&question).lock().await;
    let before = stamp(room);
    if let Some(body) = answers.get(&question, before, viewer.id) {
        cx.app.counters.page_hits.fetch_add(1, Ordering::Relaxed);
        return Ok(body);
    }
    cx.app.counters.page_misses.fetch_add(1, Ordering::Relaxed);
    let (rows, shown) = rows(cx, room.id(), page, limit, viewer).await?;
    let reacted: Vec<Id> = shown
        .iter()
        .map(|at| &rows[*at])
        .filter(|row| row.seqno_reactions > 0 && row.data.is_some())
        .map(|row| row.id)
        .collect();
    let reactions = if reacted.is_empty() {
        Reactions {
            rows: Vec::new(),
            reactors: Some(Vec::new()),
        }
    } else {
        cx.app.store.reactions(room.id(), reacted.clone(), named).await?
    };
    let except = special(&rows, &reactions, viewer.moderator);
    let takes_part = |id: &Id| match &except {
        Except::Known => true,
        Except::Users(users) => users.contains(id),
    };
    let own = match viewer.id.filter(takes_part) {
        Some(id) if !reacted.is_empty() => cx.app.store.own_reactions(room.id(), reacted, id).await?,
        _ => Vec::new(),
    };
    // In the moderators' room each viewer sees what concerns the rooms that they moderate.
    let shareable = !viewer.id.is_some_and(|id| takes_part(&id))
        && rows.iter().all(|row| row.for_moderators_of.is_none());
    let body = write(&rows, &shown, page, &reactions, own, named);
    if shareable {
        answers.put(question, before, body.clone(), except);
    }
    // A page of very long messages waits for its reader at the cost of the common budget.
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    share.cover(body.len()).await?;
    Ok(share.hold(body))
}

/// Rows of a page, and which of them the viewer sees.
async fn rows(
    cx: &RequestContext<'_>,
    room_id: Id,
    page: Page,
    limit: i64,
    viewer: Viewer<'_>,
) -> Result<(Vec<MessageRow>, Vec<usize>), Refusal> {
    let wanted = usize::try_from(limit).unwrap_or(0);
    let (mut asked, mut from) = (limit + SPARE, page);
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..MAX_READINGS {
        let more = cx.app.store.messages(room_id, from, asked).await?;
        let got = i64::try_from(more.len()).unwrap_or(i64::MAX);
        let next = more.last().map(|row| (row.id, row.seqno));
        for mut row in more {
            // What lies beyond the last shown row does not make the page anybody's own.
            if shown.len() == wanted {
                break;
            }
            let is_gone_again =
                matches!(page, Page::Since(seqno, _) if row.data.is_none() && row.seqno_creation > seqno);
            if viewer.sees(&row.audience()) && !is_gone_again {
                shown.push(rows.len());
            } else {
                // Only who sees it matters.
                (row.data, row.signature) = (None, None);
                row.session_id = String::new();
            }
            rows.push(row);
        }
        let Some((id, seqno)) = next.filter(|_| shown.len() < wanted && got == asked) else {
            break;
        };
        from = match page {
            Page::Recent | Page::Before(_) => Page::Before(id),
            Page::Since(_, deleted) => Page::Since(seqno, deleted),
            Page::Single(_) => break,
        };
        asked = (asked * 4).min(MAX_ROWS);
    }
    Ok((rows, shown))
}

fn write(
    rows: &[MessageRow],
    shown: &[usize],
    page: Page,
    reactions: &Reactions,
    own: Vec<Id>,
    named: i64,
) -> Bytes {
    let mut by_message: HashMap<Id, Vec<_>> = HashMap::new();
    for row in &reactions.rows {
        by_message.entry(row.message_id).or_default().push(row);
    }
    let view = ReactionView {
        by_message,
        own,
        named: usize::try_from(named).unwrap_or(0),
    };
    let since = match page {
        Page::Since(seqno, true) => Some(seqno),
        _ => None,
    };
    let mut out = String::with_capacity(64 + shown.len() * 640);
    out.push('[');
    for (place, at) in shown.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        render::message(&mut out, &rows[*at], since, &view);
    }
    out.push(']');
    Bytes::from(out)
}

/// Renders one message for the caller, or 404.
pub(crate) async fn single(
    cx: &RequestContext<'_>,
    room: &Arc<Room>,
    rights: &Rights,
    message_id: Id,
    named: i64,
) -> Result<Bytes, Refusal> {
    let viewer = Viewer::new(cx.caller.as_deref(), rights);
    let rows = cx
        .app
        .store
        .messages(room.id(), Page::Single(message_id), 1)
        .await?;
    let row = rows
        .first()
        .filter(|row| viewer.sees(&row.audience()))
        .ok_or(Refusal::not_found())?;
    let mut reactions = Reactions::default();
    let mut own = Vec::new();
    if row.seqno_reactions > 0 {
        reactions = cx.app.store.reactions(room.id(), vec![message_id], named).await?;
        if let Some(id) = viewer.id {
            own = cx
                .app
                .store
                .own_reactions(room.id(), vec![message_id], id)
                .await?;
        }
    }
    let list = write(&rows[..1], &[0], Page::Single(message_id), &reactions, own, named);
    Ok(list.slice(1..list.len() - 1))
}
