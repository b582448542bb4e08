//! Onion requests: opened here, answered by the same router, sealed again.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use session_protocol::onion::{v3, v4};

use super::context::{HandlerResult, RequestContext, RequestOrigin};
use super::memory::SMALL_ANSWER;
use super::reply::{Refusal, Reply, ReplyBody};
use super::request::{Body, Req};
use super::route::serve;

/// Randomness of the operating system, which is always available once the system is up.
fn system_rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn inner(method: &str, target: &str, fields: &[(String, String)], body: Vec<u8>) -> Result<Req, Refusal> {
    let method =
        Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| Refusal::page(400))?;
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| Refusal::page(400))?;
        headers.insert(
            name,
            HeaderValue::from_str(value).map_err(|_| Refusal::page(400))?,
        );
    }
    Ok(Req::new(method, target, headers, Body::Memory(Bytes::from(body))))
}

fn unreadable(error: session_protocol::onion::OnionError) -> Refusal {
    tracing::debug!(%error, "an onion request cannot be opened");
    Refusal::page(400)
}

/// Lets the router answer what was inside.
async fn carry_out(
    cx: &RequestContext<'_>,
    method: &str,
    target: &str,
    fields: &[(String, String)],
    body: Vec<u8>,
) -> Reply {
    cx.app.counters.onions.fetch_add(1, Ordering::Relaxed);
    let way = RequestOrigin {
        onion: true,
        ..cx.way.clone()
    };
    match inner(method, target, fields, body) {
        Ok(req) => serve(cx.app, &req, &way).await,
        Err(refusal) => refusal.into(),
    }
}

/// `POST /oxen/v4/lsrpc`
pub(crate) async fn v4(cx: &RequestContext<'_>) -> HandlerResult {
    let (request, key) = v4::Request::open(cx.req.bytes(), &cx.app.secret).map_err(unreadable)?;
    let reply = carry_out(
        cx,
        &request.method,
        &request.endpoint,
        &request.headers,
        request.body.unwrap_or_default(),
    )
    .await;
    let (status, headers, body) = reply.into_bytes(&cx.app.memory).await;
    // The sealed body exists twice for a moment.
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    share.cover(body.len() * 2).await?;
    let response = v4::Response {
        code: status.as_u16(),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    value.to_str().unwrap_or_default().to_owned(),
                )
            })
            .collect(),
        body: body.into(),
    };
    Ok(Reply {
        status: StatusCode::OK,
        headers: vec![(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        )],
        body: ReplyBody::Bytes(share.hold(response.seal(&key, &mut system_rng()))),
    })
}

/// `POST /oxen/v3/lsrpc` and `/loki/v3/lsrpc`
pub(crate) async fn v3(cx: &RequestContext<'_>) -> HandlerResult {
    let (request, key) = v3::Request::open(cx.req.bytes(), &cx.app.secret).map_err(unreadable)?;
    let reply = carry_out(
        cx,
        &request.method,
        &request.path(),
        &request.headers,
        request.body.into_bytes(),
    )
    .await;
    let (status, _, body) = reply.into_bytes(&cx.app.memory).await;
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    share.cover(body.len() * 2).await?;
    let sealed = v3::seal_reply(status.as_u16(), &body, &key, &mut system_rng());
    Ok(Reply::bytes(
        StatusCode::OK,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        share.hold(sealed),
    ))
}
