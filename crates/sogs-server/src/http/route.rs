//! The one router: requests from the network, from onions and from batches all come through here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use http::{Method, StatusCode, header};
use session_protocol::SessionId;

use super::auth::{Caller, authenticate};
use super::reply::{Refusal, Reply};
use super::request::{Req, path_int};
use super::routes::{
    files, general, inbox, legacy, messages, moderation, permissions, pins, reactions, rooms, users,
};
use super::{batch, onion};
use crate::app::{App, unix_now};
use crate::cache::{Room, User};
use crate::model::permission::Rights;
use crate::store::operation::LogEntry;
use crate::store::with_nonce;

/// How a request came here.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// Through an onion: another onion inside is refused.
    pub(crate) onion: bool,
    /// How many batches it is inside of.
    pub(crate) depth: usize,
    /// Subrequests that may still be made on behalf of the outermost request.
    pub(crate) allowance: Arc<AtomicUsize>,
}

impl Way {
    /// Straight from the network.
    pub(crate) fn direct(app: &App) -> Self {
        Self {
            onion: false,
            depth: 0,
            allowance: Arc::new(AtomicUsize::new(app.config().limits.batch_requests)),
        }
    }
}

/// What a handler works with.
pub(crate) struct Cx<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) req: &'a Req,
    pub(crate) caller: Option<Arc<User>>,
    pub(crate) way: &'a Way,
    /// Unix seconds.
    pub(crate) now: f64,
}

/// Result of a handler.
pub(crate) type Answer = Result<Reply, Refusal>;

impl Cx<'_> {
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

    /// Writes a moderator's act into the audit log, with what takes it back.
    pub(crate) async fn audit(
        &self,
        action: &str,
        room: Option<&str>,
        target: &str,
        detail: &str,
        undo: Option<serde_json::Value>,
    ) -> Result<(), Refusal> {
        let actor = self.user()?.row.session_id.clone();
        let mut entry = LogEntry::new(actor, action, self.now)
            .target(target)
            .detail(detail);
        entry.room = room.map(str::to_owned);
        entry.undo = undo;
        Ok(self.app.guard.audit(entry).await?)
    }
}

/// An id in a path: 66 hexadecimal digits that begin with a kind of user.
fn path_id(segment: &str) -> Option<SessionId> {
    let id: SessionId = segment.parse().ok()?;
    (id.prefix() == session_protocol::Prefix::Account || id.is_blinded()).then_some(id)
}

/// Authenticates and answers a request.
pub(crate) fn serve<'a>(app: &'a Arc<App>, req: &'a Req, way: &'a Way) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        match authenticate(app, req).await {
            Err(refusal) => refusal.into(),
            Ok(None) => dispatch(app, req, None, way).await,
            Ok(Some(Caller { user, nonce })) => {
                let (reply, unwritten) = with_nonce(nonce, dispatch(app, req, Some(user), way)).await;
                if let Some(nonce) = unwritten {
                    app.keep_nonce(nonce).await;
                }
                reply
            }
        }
    })
}

/// Answers a request of a caller who is known already (or nobody).
pub(crate) async fn dispatch(app: &Arc<App>, req: &Req, caller: Option<Arc<User>>, way: &Way) -> Reply {
    let now = unix_now();
    let cx = Cx {
        app,
        req,
        caller,
        way,
        now,
    };
    let reply = route(&cx).await.unwrap_or_else(Reply::from);
    app.counters.requests.fetch_add(1, Ordering::Relaxed);
    if reply.status.as_u16() >= 400 {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    if reply.status.as_u16() >= 500 {
        app.counters.failed.fetch_add(1, Ordering::Relaxed);
    }
    reply
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

/// 403 for those who may not read.
pub(crate) fn may_read(rights: &Rights) -> Result<(), Refusal> {
    if rights.read {
        return Ok(());
    }
    Err(cannot_read())
}

fn cannot_read() -> Refusal {
    Refusal::text(403, "This endpoint requires room message 'read' permission")
}

/// 405 for a path that has other methods.
fn no_route(methods: &'static str) -> Reply {
    let mut reply = Reply::from(Refusal::page(405));
    reply
        .headers
        .push((header::ALLOW, http::HeaderValue::from_static(methods)));
    reply
}

/// First segments of what is no page for browsers.
const API: [&str; 9] = [
    "ackpost", "rooms", "room", "user", "inbox", "outbox", "batch", "sequence", "legacy",
];

async fn route(cx: &Cx<'_>) -> Answer {
    let Some(path) = cx.req.path.strip_prefix('/') else {
        return Err(Refusal::not_found());
    };
    // An emoji may contain slashes as far as the path is concerned: it is the rest.
    let parts: Vec<&str> = path.split('/').collect();
    let method = if cx.req.method == Method::HEAD {
        &Method::GET
    } else {
        &cx.req.method
    };
    if parts.iter().any(|part| part.is_empty()) && !path.is_empty() && parts.get(2) != Some(&"reaction") {
        return other(cx).await;
    }
    let open = matches!(parts[0], "capabilities" | "oxen" | "loki") || cx.app.config().users.allow_anonymous;
    if cx.caller.is_none() && !open && API.contains(&parts[0]) {
        return Err(Refusal::unauthenticated());
    }
    match (parts.as_slice(), method) {
        (["capabilities"], &Method::GET) => Ok(general::capabilities(cx)),
        (["batch"], &Method::POST) => batch::batch(cx, false).await,
        (["sequence"], &Method::POST) => batch::batch(cx, true).await,
        (["rooms"], &Method::GET) => rooms::list(cx).await,
        (["rooms", "all", id], &Method::DELETE) => match path_id(id) {
            Some(id) => messages::delete_everywhere(cx, &id).await,
            None => Err(Refusal::not_found()),
        },
        (["room", token, rest @ ..], _) => room_route(cx, token, rest, method).await,
        (["user", id, act], &Method::POST) => match (path_id(id), *act) {
            (Some(id), "moderator") => users::moderator(cx, &id).await,
            (Some(id), "ban") => users::ban(cx, &id).await,
            (Some(id), "unban") => users::unban(cx, &id).await,
            _ => Err(Refusal::not_found()),
        },
        (["inbox"], &Method::GET) => inbox::list(cx, true, None).await,
        (["outbox"], &Method::GET) => inbox::list(cx, false, None).await,
        (["inbox"], &Method::DELETE) => inbox::empty(cx).await,
        ([mailbox @ ("inbox" | "outbox"), "since", id], &Method::GET) => match path_int(id) {
            Some(id) => inbox::list(cx, *mailbox == "inbox", Some(id)).await,
            None => Err(Refusal::not_found()),
        },
        (["inbox", id], &Method::POST) => match path_id(id) {
            Some(id) => inbox::send(cx, &id).await,
            None => Err(Refusal::not_found()),
        },
        (["oxen", "v4", "lsrpc"], &Method::POST) if !cx.way.onion && cx.way.depth == 0 => onion::v4(cx).await,
        (["oxen" | "loki", "v3", "lsrpc"], &Method::POST) if !cx.way.onion && cx.way.depth == 0 => {
            onion::v3(cx).await
        }
        (["ackpost", rest @ ..], _) => Box::pin(moderation::route(cx, rest, method)).await,
        (["legacy", rest @ ..], _) if cx.app.config().net.legacy_routes => {
            legacy::route(cx, rest, method).await
        }
        (["capabilities" | "rooms" | "outbox"], _) => Ok(no_route("GET, HEAD, OPTIONS")),
        (["batch" | "sequence"], _) => Ok(no_route("POST, OPTIONS")),
        (["inbox"], _) => Ok(no_route("DELETE, GET, HEAD, OPTIONS")),
        _ => other(cx).await,
    }
}

async fn room_route(cx: &Cx<'_>, token: &str, rest: &[&str], method: &Method) -> Answer {
    let number = |segment: &str| path_int(segment).ok_or(Refusal::not_found());
    let person = |segment: &str| path_id(segment).ok_or(Refusal::not_found());
    match (rest, method) {
        ([], &Method::GET) => rooms::info(cx, token).await,
        ([], &Method::PUT) => rooms::update(cx, token).await,
        (["pollInfo", known], &Method::GET) => rooms::poll(cx, token, number(known)?).await,
        (["messages", "recent"], &Method::GET) => messages::recent(cx, token).await,
        (["messages", "before", id], &Method::GET) => messages::before(cx, token, number(id)?).await,
        (["messages", "since", seqno], &Method::GET) => messages::since(cx, token, number(seqno)?).await,
        (["message"], &Method::POST) => messages::post(cx, token).await,
        (["message", id], &Method::GET) => messages::single(cx, token, number(id)?).await,
        (["message", id], &Method::PUT) => messages::edit(cx, token, number(id)?).await,
        (["message", id], &Method::DELETE) => messages::delete(cx, token, number(id)?).await,
        (["all", id], &Method::DELETE) => messages::delete_all(cx, token, &person(id)?).await,
        (["pin", id], &Method::POST) => pins::pin(cx, token, number(id)?).await,
        (["unpin", "all"], &Method::POST) => pins::unpin(cx, token, None).await,
        (["unpin", id], &Method::POST) => pins::unpin(cx, token, Some(number(id)?)).await,
        (["reaction", id, emoji @ ..], &Method::PUT) if !emoji.is_empty() => {
            reactions::add(cx, token, number(id)?, &emoji.join("/")).await
        }
        (["reaction", id, emoji @ ..], &Method::DELETE) if !emoji.is_empty() => {
            reactions::remove(cx, token, number(id)?, &emoji.join("/")).await
        }
        (["reactions", id], &Method::DELETE) => reactions::remove_all(cx, token, number(id)?, None).await,
        (["reactions", id, emoji @ ..], &Method::DELETE) => {
            reactions::remove_all(cx, token, number(id)?, Some(emoji.join("/"))).await
        }
        (["reactors", id, emoji @ ..], &Method::GET) if !emoji.is_empty() => {
            reactions::reactors(cx, token, number(id)?, &emoji.join("/")).await
        }
        (["file"], &Method::POST) => files::upload(cx, token).await,
        (["file", id] | ["file", id, _], &Method::GET) => files::download(cx, token, number(id)?).await,
        (["permissions"], &Method::GET) => permissions::list(cx, token, None).await,
        (["permissions", id], &Method::GET) => permissions::list(cx, token, Some(&person(id)?)).await,
        (["permissions", id], &Method::POST) => permissions::set(cx, token, &person(id)?).await,
        (["futurePermissions"], &Method::GET) => permissions::futures(cx, token, None).await,
        (["futurePermissions", id], &Method::GET) => {
            permissions::futures(cx, token, Some(&person(id)?)).await
        }
        (["futurePermissions", id], &Method::POST) => permissions::schedule(cx, token, &person(id)?).await,
        (
            []
            | ["message" | "permissions" | "futurePermissions" | "file", ..]
            | ["messages", "recent"]
            | ["pollInfo", _]
            | [
                "reaction" | "reactions" | "reactors" | "pin" | "unpin" | "all",
                _,
                ..,
            ],
            _,
        ) => Ok(no_route(methods(rest))),
        _ => Err(Refusal::not_found()),
    }
}

/// The methods of a path below a room.
fn methods(rest: &[&str]) -> &'static str {
    match rest {
        [] => "GET, HEAD, OPTIONS, PUT",
        ["message", _] => "DELETE, GET, HEAD, OPTIONS, PUT",
        ["reaction", ..] => "DELETE, OPTIONS, PUT",
        ["reactions" | "all", ..] => "DELETE, OPTIONS",
        ["message" | "file"] | ["pin" | "unpin", ..] => "OPTIONS, POST",
        ["permissions" | "futurePermissions", _] => "GET, HEAD, OPTIONS, POST",
        _ => "GET, HEAD, OPTIONS",
    }
}

/// Pages for browsers, if they are switched on; else nothing is there.
async fn other(cx: &Cx<'_>) -> Answer {
    if cx.way.onion || cx.way.depth > 0 || !matches!(cx.req.method, Method::GET | Method::HEAD) {
        return Err(Refusal::not_found());
    }
    match crate::web::respond(cx.app, cx.req).await {
        Some(page) => Ok(page),
        None => Err(Refusal::not_found()),
    }
}

/// Whether a status ends a sequence.
pub(crate) fn is_success(status: StatusCode) -> bool {
    status.is_success()
}
