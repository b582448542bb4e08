//! Onion requests: opened here, answered by the same router, sealed again.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use session_core::onion::{v3, v4};

use super::budget::{SMALL_ANSWER, Share};
use super::reply::{Refusal, Reply, ReplyBody};
use super::request::{Body, Req};
use super::route::{Answer, Cx, Way, serve};

/// Randomness of the operating system.
struct SystemRng;

impl rand_core::TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        getrandom::fill(out).expect("the operating system gives randomness once it is up");
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SystemRng {}

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

/// `POST /oxen/v4/lsrpc`
pub(crate) async fn v4(cx: &Cx<'_>) -> Answer {
    let (request, key) = v4::Request::open(cx.req.bytes(), &cx.app.secret).map_err(|error| {
        tracing::debug!(%error, "an onion request cannot be opened");
        Refusal::page(400)
    })?;
    cx.app.counters.onions.fetch_add(1, Ordering::Relaxed);
    let way = Way {
        onion: true,
        ..cx.way.clone()
    };
    let reply = match inner(
        &request.method,
        &request.endpoint,
        &request.headers,
        request.body.unwrap_or_default(),
    ) {
        Ok(req) => serve(cx.app, &req, &way).await,
        Err(refusal) => refusal.into(),
    };
    let (status, headers, body) = reply.into_bytes(cx.app).await;
    // What is sealed exists twice for a moment.
    let mut share = Share::new(&cx.app.memory, SMALL_ANSWER);
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
        body: ReplyBody::Bytes(share.hold(response.seal(&key, &mut SystemRng))),
    })
}

/// `POST /oxen/v3/lsrpc` and `/loki/v3/lsrpc`
pub(crate) async fn v3(cx: &Cx<'_>) -> Answer {
    let (request, key) = v3::Request::open(cx.req.bytes(), &cx.app.secret).map_err(|error| {
        tracing::debug!(%error, "an onion request cannot be opened");
        Refusal::page(400)
    })?;
    cx.app.counters.onions.fetch_add(1, Ordering::Relaxed);
    let way = Way {
        onion: true,
        ..cx.way.clone()
    };
    let reply = match inner(
        &request.method,
        &request.path(),
        &request.headers,
        request.body.into_bytes(),
    ) {
        Ok(req) => serve(cx.app, &req, &way).await,
        Err(refusal) => refusal.into(),
    };
    let (status, _, body) = reply.into_bytes(cx.app).await;
    let mut share = Share::new(&cx.app.memory, SMALL_ANSWER);
    share.cover(body.len() * 2).await?;
    let sealed = v3::seal_reply(status.as_u16(), &body, &key, &mut SystemRng);
    Ok(Reply::bytes(
        StatusCode::OK,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        share.hold(sealed),
    ))
}
