//! The one router: requests from the network, from onions and from batches all come through here.
//!
//! `batch` and `onion` call it for the requests that they contain: this circle is a real recursion, bounded by
//! [`RequestOrigin`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use http::{Method, header};
use session_protocol::SessionId;

use super::auth::{Caller, authenticate};
use super::context::{HandlerResult, RequestContext, RequestOrigin};
use super::reply::{Refusal, Reply};
use super::request::{Req, path_int};
use super::routes::{
    deletion, files, general, inbox, legacy, messages, moderation, permissions, pins, reactions, rooms, users,
};
use super::{batch, onion};
use crate::app::App;
use crate::cache::User;
use crate::clock::unix_now;
use crate::store::with_nonce;

/// An id in a path: 66 hexadecimal digits that begin with a kind of user.
fn path_id(segment: &str) -> Option<SessionId> {
    let id: SessionId = segment.parse().ok()?;
    (id.prefix() == session_protocol::Prefix::Account || id.is_blinded()).then_some(id)
}

/// Authenticates and answers a request.
pub(crate) fn serve<'a>(app: &'a Arc<App>, req: &'a Req, way: &'a RequestOrigin) -> BoxFuture<'a, Reply> {
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
pub(crate) async fn dispatch(
    app: &Arc<App>,
    req: &Req,
    caller: Option<Arc<User>>,
    way: &RequestOrigin,
) -> Reply {
    let now = unix_now();
    let cx = RequestContext {
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

/// 405 for a path that has other methods.
fn no_route(methods: &'static str) -> Reply {
    let mut reply = Reply::from(Refusal::page(405));
    reply
        .headers
        .push((header::ALLOW, http::HeaderValue::from_static(methods)));
    reply
}

/// First path segments that are not pages for browsers.
const API: [&str; 9] = [
    "ackpost", "rooms", "room", "user", "inbox", "outbox", "batch", "sequence", "legacy",
];

async fn route(cx: &RequestContext<'_>) -> HandlerResult {
    let Some(path) = cx.req.path.strip_prefix('/') else {
        return Err(Refusal::not_found());
    };
    // An emoji in a path may contain slashes, so it is the rest of the path.
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
            Some(id) => deletion::delete_everywhere(cx, &id).await,
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

async fn room_route(cx: &RequestContext<'_>, token: &str, rest: &[&str], method: &Method) -> HandlerResult {
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
        (["all", id], &Method::DELETE) => deletion::delete_all(cx, token, &person(id)?).await,
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

/// Routes pages for browsers if they are switched on; otherwise nothing is found.
async fn other(cx: &RequestContext<'_>) -> HandlerResult {
    if cx.way.onion || cx.way.depth > 0 || !matches!(cx.req.method, Method::GET | Method::HEAD) {
        return Err(Refusal::not_found());
    }
    match Box::pin(crate::web::respond(cx.app, cx.req)).await {
        Some(page) => Ok(page),
        None => Err(Refusal::not_found()),
    }
}
