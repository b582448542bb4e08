//! Context of every handler: the request, the caller, and the rooms that the caller may see.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use session_protocol::SessionId;

use super::reply::{Refusal, Reply};
use super::request::Req;
use crate::app::App;
use crate::cache::{Room, User};
use crate::model::permission::Rights;
use crate::store::StoreResult;
use crate::store::operation::LogEntry;

/// Origin of a request: direct, through an onion, or inside a batch.
#[derive(Debug, Clone)]
pub(crate) struct RequestOrigin {
    /// True if the request came through an onion: another onion inside is refused.
    pub(crate) onion: bool,
    /// Number of batches that contain the request.
    pub(crate) depth: usize,
    /// Subrequests that may still be made on behalf of the outermost request.
    pub(crate) allowance: Arc<AtomicUsize>,
    /// Bytes that the answer to a batch may have: what is left of the batch that contains it.
    pub(crate) answer_room: usize,
    /// Subrequests made on behalf of the outermost request that found the server busy.
    pub(crate) busy: Arc<AtomicUsize>,
}

/// Bytes of all answers of one batch.
const MAX_ANSWER: usize = 32 << 20;

impl RequestOrigin {
    /// Origin of a request that came straight from the network.
    pub(crate) fn direct(app: &App) -> Self {
        Self {
            onion: false,
            depth: 0,
            allowance: Arc::new(AtomicUsize::new(app.config().limits.batch_requests)),
            answer_room: MAX_ANSWER,
            busy: Arc::default(),
        }
    }
}

/// Everything that a handler works with.
pub(crate) struct RequestContext<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) req: &'a Req,
    pub(crate) caller: Option<Arc<User>>,
    pub(crate) way: &'a RequestOrigin,
    /// Unix seconds.
    pub(crate) now: f64,
}

/// Result of a handler.
pub(crate) type HandlerResult = Result<Reply, Refusal>;

impl RequestContext<'_> {
    /// The caller, or 401.
    pub(crate) fn user(&self) -> Result<&Arc<User>, Refusal> {
        self.caller.as_ref().ok_or_else(Refusal::unauthenticated)
    }

    /// The caller with a row in the database, made now if there was none; or 401.
    pub(crate) async fn member(&self) -> Result<Arc<User>, Refusal> {
        let user = self.user()?;
        if user.is_known() {
            return Ok(Arc::clone(user));
        }
        let id: SessionId = user.name.parse().map_err(|_| Refusal::unauthenticated())?;
        Ok(self.app.enter(&id, self.now).await?)
    }

    /// Returns the room of a path with the caller's rights in it. A room that is hidden from the caller is
    /// answered like one that does not exist; a caller who is banned from a room they could see is told so.
    pub(crate) async fn room(&self, token: &str) -> Result<(Arc<Room>, Rights), Refusal> {
        visible_room(self.app, token, self.caller.as_deref()).await
    }

    /// A room whose messages the caller may read.
    pub(crate) async fn readable(&self, token: &str) -> Result<(Arc<Room>, Rights), Refusal> {
        let found = self.room(token).await;
        let (room, rights) = found.map_err(|refusal| refusal.ban_as(cannot_read()))?;
        may_read(&rights)?;
        Ok((room, rights))
    }

    /// A room that the caller moderates.
    pub(crate) async fn moderated(&self, token: &str) -> Result<(Arc<Room>, Rights), Refusal> {
        let refusal = || Refusal::text(403, "This endpoint requires moderator room permissions");
        let found = self.room(token).await;
        let (room, rights) = found.map_err(|other| other.ban_as(refusal()))?;
        self.user()?;
        if !rights.moderator {
            return Err(refusal());
        }
        Ok((room, rights))
    }

    /// A room that the caller administers.
    pub(crate) async fn administered(&self, token: &str) -> Result<(Arc<Room>, Rights), Refusal> {
        let refusal = || Refusal::text(403, "This endpoint requires admin room permissions");
        let found = self.room(token).await;
        let (room, rights) = found.map_err(|other| other.ban_as(refusal()))?;
        self.user()?;
        if !rights.admin {
            return Err(refusal());
        }
        Ok((room, rights))
    }

    /// Writes a moderator's act into the audit log, with the plan that undoes it.
    pub(crate) fn entry(
        &self,
        action: &str,
        room: Option<&str>,
        target: &str,
        detail: &str,
        undo: Option<serde_json::Value>,
    ) -> Result<LogEntry, Refusal> {
        let actor = self.user()?.row.session_id.clone();
        let mut entry = LogEntry::new(actor, action, self.now)
            .target(target)
            .detail(detail);
        entry.room = room.map(str::to_owned);
        entry.undo = undo;
        Ok(entry)
    }

    /// Carries out an act of the caller with its entry of the audit log, unless the result says that nothing was done.
    pub(crate) async fn audited<T: 'static>(
        &self,
        act: impl Future<Output = StoreResult<T>>,
        entry: LogEntry,
        is_done: fn(&T) -> bool,
    ) -> Result<T, Refusal> {
        let entries = move |result: &T| is_done(result).then(|| entry.clone()).into_iter().collect();
        Ok(self.app.guard.audited(act, entries).await?)
    }
}

/// Returns a room that exists for this caller, with their rights; else 404, or 403 with the end of their ban.
pub(crate) async fn visible_room(
    app: &App,
    token: &str,
    caller: Option<&User>,
) -> Result<(Arc<Room>, Rights), Refusal> {
    let room = app.room(token).await?.ok_or(Refusal::not_found())?;
    let rights = room.rights(caller);
    if rights.visible() {
        return Ok((room, rights));
    }
    match caller.filter(|user| rights.banned && room.is_visible_without_ban(user)) {
        Some(user) => {
            let until = app.store.ban_end(user.row.id, Some(room.id())).await?;
            Err(Refusal::banned_from_room(until))
        }
        None => Err(Refusal::not_found()),
    }
}

/// Refuses callers who may not read, with 403.
pub(crate) fn may_read(rights: &Rights) -> Result<(), Refusal> {
    if rights.read {
        return Ok(());
    }
    Err(cannot_read())
}

fn cannot_read() -> Refusal {
    Refusal::text(403, "This endpoint requires room message 'read' permission")
}
