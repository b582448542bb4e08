//! A page of messages for one viewer: from memory if possible; otherwise read, rendered and kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::cache::{Room, User};
use crate::http::context::RequestContext;
use crate::http::memory::SMALL_ANSWER;
use crate::http::render::{self, ReactionView};
use crate::http::reply::Refusal;
use crate::http::response_cache::{Except, PageKey, Stamp};
use crate::model::permission::Rights;
use crate::store::{Audience, Id, MessageRow, PAGE_BYTES, Page, Reactions};

/// Rows read beyond the limit at first, so that a whisper or two need no second reading.
const SPARE: i64 = 8;
/// Rows of one reading, when many of them are whispers to others.
const MAX_ROWS: i64 = 8192;
/// Content of a page that needs no share of the common budget, in bytes: nearly every page is smaller.
const FEW_BYTES: usize = 160 * 1024;
/// Bytes of memory for each byte of content: the rows, and the text that is made of them.
const COPIES: usize = 3;
/// Readings for one page: with what is kept of a row that is not shown, some 10 MB at most.
const MAX_READINGS: usize = 8;

/// Person who reads a page.
#[derive(Clone, Copy)]
pub(crate) struct Viewer<'a> {
    pub(crate) id: Option<Id>,
    pub(crate) moderator: bool,
    /// The reader; `None` without authentication.
    pub(crate) user: Option<&'a User>,
}

impl<'a> Viewer<'a> {
    /// Returns the viewer with these rights in the room.
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
    let question = PageKey {
        room_id: room.id(),
        page,
        limit,
        reactors: named,
        moderator: viewer.moderator && viewer.id.is_some(),
    };
    let answers = &cx.app.answers;
    let known = || {
        let body = answers.get(&question, Stamp::of(room), viewer.id)?;
        cx.app.counters.page_hits.fetch_add(1, Ordering::Relaxed);
        Some(body)
    };
    if let Some(body) = known() {
        return Ok(body);
    }
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    let turn = answers.turn(&question).lock().await;
    if let Some(body) = known() {
        return Ok(body);
    }
    cx.app.counters.page_misses.fetch_add(1, Ordering::Relaxed);
    if let Some(body) = Box::pin(render_page(cx, room, question, viewer, FEW_BYTES)).await? {
        drop(turn);
        share.cover(body.len()).await?;
        return Ok(share.hold(body));
    }
    // A page of very long messages takes its memory out of the common budget before its rows are read. Nobody waits
    // for the turn meanwhile.
    drop(turn);
    let most = PAGE_BYTES
        .min(cx.app.memory.size() / 2 / COPIES)
        .max(FEW_BYTES + 1);
    share.cover(most * COPIES).await?;
    let _turn = answers.turn(&question).lock().await;
    let body = match known() {
        Some(body) => body,
        None => Box::pin(render_page(cx, room, question, viewer, most))
            .await?
            .unwrap_or_else(|| Bytes::from_static(b"[]")),
    };
    share.shrink(body.len());
    Ok(share.hold(body))
}

/// Reads and renders a page, and keeps it if others may have it; `None` if its content is larger than `most` and `most` is
/// [`FEW_BYTES`].
async fn render_page(
    cx: &RequestContext<'_>,
    room: &Room,
    question: PageKey,
    viewer: Viewer<'_>,
    most: usize,
) -> Result<Option<Bytes>, Refusal> {
    let (page, named) = (question.page, question.reactors);
    let before = Stamp::of(room);
    let Some((rows, shown)) = rows(cx, room.id(), page, question.limit, viewer, most).await? else {
        return Ok(None);
    };
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
        cx.app.answers.put(question, before, body.clone(), except);
    }
    Ok(Some(body))
}

/// Rows of a page, and which of them the viewer sees.
async fn rows(
    cx: &RequestContext<'_>,
    room_id: Id,
    page: Page,
    limit: i64,
    viewer: Viewer<'_>,
    most: usize,
) -> Result<Option<(Vec<MessageRow>, Vec<usize>)>, Refusal> {
    let wanted = usize::try_from(limit).unwrap_or(0);
    let (mut asked, mut from) = (limit + SPARE, page);
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    let mut kept = 0;
    for _ in 0..MAX_READINGS {
        let left = most.saturating_sub(kept);
        let more = cx.app.store.messages_within(room_id, from, asked, left).await?;
        if more.is_cut && most == FEW_BYTES {
            return Ok(None);
        }
        let got = i64::try_from(more.rows.len()).unwrap_or(i64::MAX);
        let next = more.rows.last().map(|row| (row.id, row.seqno));
        for mut row in more.rows {
            // Rows after the last shown one do not make the page personal.
            if shown.len() == wanted {
                break;
            }
            let is_gone_again =
                matches!(page, Page::Since(seqno, _) if row.data.is_none() && row.seqno_creation > seqno);
            if viewer.sees(&row.audience()) && !is_gone_again {
                kept += row.data.as_ref().map_or(0, Vec::len);
                shown.push(rows.len());
            } else {
                // For a row that is not shown, only its audience matters.
                (row.data, row.signature) = (None, None);
                row.session_id = String::new();
            }
            rows.push(row);
        }
        // A part that did not fit is the rest of the page, unless nothing of the page is shown yet.
        let goes_on = if more.is_cut {
            shown.is_empty()
        } else {
            got == asked
        };
        let Some((id, seqno)) = next.filter(|_| shown.len() < wanted && goes_on) else {
            break;
        };
        from = match page {
            Page::Recent | Page::Before(_) => Page::Before(id),
            Page::Since(_, deleted) => Page::Since(seqno, deleted),
            Page::Single(_) => break,
        };
        asked = (asked * 4).min(MAX_ROWS);
    }
    Ok(Some((rows, shown)))
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
    let content: usize = shown
        .iter()
        .map(|at| rows[*at].data.as_ref().map_or(0, Vec::len))
        .sum();
    let mut out = String::with_capacity(64 + shown.len() * 640 + content / 3 * 4);
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
    drop(rows);
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    share.cover(list.len()).await?;
    let list = share.hold(list);
    Ok(list.slice(1..list.len() - 1))
}
