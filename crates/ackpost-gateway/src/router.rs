//! Every path of the gateway, and the layers around all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{MethodRouter, get, post};

use super::auth::same_origin;
use super::compat::{CompatService, answer};
use super::metrics::Counted;
use super::pages;
use super::reply::{Reply, negotiate};
use super::routes::{compat, configure, hooks, meta, notify, outbox};
use super::state::Gateway;

/// Every path with its handlers; `root` names the services whose paths are at the root. The test of access
/// (`matrix.rs`) has a row for each.
pub(super) fn routes(root: &[CompatService]) -> Vec<(String, MethodRouter<Arc<Gateway>>)> {
    let mut all: Vec<(String, MethodRouter<Arc<Gateway>>)> = Vec::new();
    // Apprise API answers with and without the slash at the end.
    for (path, route) in [
        ("/notify", post(notify::stateless)),
        ("/notify/{key}", post(notify::with_key)),
        ("/add/{key}", post(configure::add)),
        ("/del/{key}", post(configure::del).delete(configure::del)),
        ("/get/{key}", post(configure::get).get(configure::get)),
        ("/add", post(configure::add)),
        ("/del", post(configure::del).delete(configure::del)),
        ("/get", post(configure::get).get(configure::get)),
        ("/json/urls", get(configure::urls).post(configure::urls)),
        ("/cfg", get(configure::list)),
        ("/cfg/{key}", post(configure::get).get(configure::get)),
        ("/json/urls/{key}", get(configure::urls).post(configure::urls)),
        ("/status", get(meta::status)),
        ("/details", get(meta::details)),
        ("/hook/{name}", post(hooks::configured)),
        ("/hook/{kind}/{key}", post(hooks::known)),
        ("/outbox", get(outbox::list)),
        ("/outbox/{id}", get(outbox::one)),
        ("/outbox/{id}/{action}", post(outbox::change)),
    ] {
        all.push((path.to_owned(), route.clone()));
        all.push((format!("{path}/"), route));
    }
    let mut start = get(|| async { Redirect::to("/ui") });
    for (path, route) in compat::routes(root) {
        if path == "/" {
            start = start.merge(route);
        } else {
            all.push((path.to_owned(), route));
        }
    }
    all.push(("/".to_owned(), start));
    all.push(("/healthz".to_owned(), get(meta::healthz)));
    all.push(("/metrics".to_owned(), get(meta::metrics)));
    all.extend(pages::routes().map(|(path, route)| (path.to_owned(), route)));
    all
}

/// The whole service.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let root: Arc<[CompatService]> = gateway.config().compat_root.clone().into();
    routes(&root)
        .into_iter()
        .fold(Router::new(), |router, (path, route)| router.route(&path, route))
        .fallback(|| async { Reply::not_found("unknown path").remedy("see the guide of the gateway") })
        .method_not_allowed_fallback(|| async {
            Reply::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not accept this method",
            )
        })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&gateway),
            from_own_pages,
        ))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), bounded))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| Reply::internal(&"a handler panicked").into_response(),
        ))
        .layer(middleware::from_fn_with_state(root, answer::shape))
        .layer(middleware::from_fn(negotiate))
        .with_state(gateway)
}

/// Refuses a state change that a page of another site makes its visitor's browser send, on every path.
async fn from_own_pages(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if !request.method().is_safe()
        && let Err(reply) = same_origin(&gateway.config(), request.headers())
    {
        return if request.uri().path().starts_with("/ui") {
            pages::problem(&reply)
        } else {
            reply.into_response()
        };
    }
    next.run(request).await
}

/// Time for the whole request, and the counters.
async fn bounded(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let limit = gateway.config().limits.request_time;
    // The path as it came may hold a token.
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or("(no such path)", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    // A client that leaves ends this function in the middle.
    let in_flight = Counted::new(&gateway.counters.in_flight);
    let started = std::time::Instant::now();
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Reply::unavailable("the request took too long", Duration::from_secs(1)).into_response(),
    };
    drop(in_flight);
    let status = response.status();
    gateway.counters.answered(status.as_u16());
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), elapsed = ?started.elapsed(), "request");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), elapsed = ?started.elapsed(), "request");
    }
    response
}
