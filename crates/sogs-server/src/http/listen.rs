//! Connection of the listener to the router: the address of the client, and the reading of bodies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bounded_http::{ConnectionLimiter, HeadLimits, MemoryPermit, ReceivingBody, client_address, descriptors};
use bytes::{Bytes, BytesMut};
use http::{Method, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::claim;
use super::context::{RequestOrigin, visible_room};
use super::memory::SMALL_BODY;
use super::reply::{Refusal, Reply, ReplyBody};
use super::request::{Body, Req};
use super::route::serve;
use super::routes::files::{disk, may_upload, too_large};
use crate::app::App;
use crate::arrivals::Sender;
use crate::clock::unix_now;
use crate::config::Storage;
use crate::contents::Opened;

/// Maximum number of bytes read and discarded from a refused body before the connection is closed, and the time
/// limit.
const READ_AWAY_BYTES: usize = 64 * 1024 * 1024;
const READ_AWAY_FOR: Duration = Duration::from_secs(5);
/// Size in bytes above which uploads go to the disk as they arrive; of larger bodies the claims are checked first.
const SPOOL_FROM: u64 = 256 * 1024;
/// Accepts connections until stopped.
pub(crate) fn listen(app: Arc<App>, listener: TcpListener) -> bounded_http::Running {
    // An answer may be a file; an upload may go on to a store.
    let config = app.config();
    let each = if config.files.storage == Storage::S3 { 3 } else { 2 };
    let limiter = ConnectionLimiter::new(descriptors::fitting(config.limits.connections, each));
    let counters = Arc::clone(&app.counters.listener);
    let settings = Arc::clone(&app);
    let limits = move || HeadLimits {
        time: Duration::from_secs_f64(settings.config().limits.header_seconds.max(0.1)),
        ..HeadLimits::default()
    };
    bounded_http::start(vec![listener], limiter, counters, limits, move |request, peer| {
        let app = Arc::clone(&app);
        async move { answer(&app, request, peer).await }
    })
}

async fn answer(
    app: &Arc<App>,
    request: http::Request<ReceivingBody<Incoming>>,
    peer: SocketAddr,
) -> Response<OutBody> {
    let (head, mut body) = request.into_parts();
    let method = head.method;
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let mut req = Req::new(method, &target, head.headers, Body::Memory(Bytes::new()));
    let config = app.config();
    let client = client_address(&config.net.trusted_proxies, peer.ip(), &req.headers);
    let deadline = Instant::now() + Duration::from_secs_f64(config.limits.body_seconds.max(0.1));
    let mut share = app.memory.permit(SMALL_BODY);
    let received = if is_upload(&req) && body.size_hint().upper().is_none_or(|size| size > SPOOL_FROM) {
        spool(app, &req, &mut body, client, deadline).await
    } else {
        match claimed(app, &req, &body).await {
            Ok(()) => collect(&mut body, config.limits.body_bytes, deadline, &mut share)
                .await
                .map(Body::Memory),
            Err(refusal) => Err(refusal),
        }
    };
    let reply = match received {
        Ok(body) => {
            req.body = body;
            let reply = serve(app, &req, &RequestOrigin::direct(app)).await;
            tracing::debug!(%client, method = %req.method, path = %req.path, status = reply.status.as_u16(), "request");
            reply
        }
        Err(refusal) => {
            tracing::debug!(status = refusal.status(), %client, path = %req.path, "a body was refused");
            if refusal.status() != 408 {
                read_away(body);
            }
            let mut reply = Reply::from(refusal);
            // The server would take the rest of the body for the next request.
            reply
                .headers
                .push((header::CONNECTION, http::HeaderValue::from_static("close")));
            reply
        }
    };
    drop(share);
    into_response(reply)
}

/// Checks the claims of a request with a large body before the body is kept.
async fn claimed(app: &App, req: &Req, body: &ReceivingBody<Incoming>) -> Result<(), Refusal> {
    if body.size_hint().upper().is_none_or(|size| size > SPOOL_FROM) {
        claim(app, &req.headers).await?;
    }
    Ok(())
}

/// `POST /room/T/file`
fn is_upload(req: &Req) -> bool {
    req.method == Method::POST && req.path.starts_with("/room/") && req.path.ends_with("/file")
}

/// Returns the time a body may take: more for a longer one.
fn allowed_until(deadline: Instant, received: usize) -> Instant {
    deadline + Duration::from_secs((received / (64 * 1024)) as u64)
}

async fn collect(
    body: &mut ReceivingBody<Incoming>,
    limit: usize,
    deadline: Instant,
    share: &mut MemoryPermit,
) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::page(413));
    }
    let declared = body
        .size_hint()
        .exact()
        .and_then(|size| usize::try_from(size).ok());
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    loop {
        let length = all.len() + first.as_ref().map_or(0, Bytes::len);
        let frame = tokio::time::timeout_at(allowed_until(deadline, length), body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::page(408))? else {
            break;
        };
        let Ok(data) = frame.map_err(|_| Refusal::page(400))?.into_data() else {
            continue;
        };
        let needed = length + data.len();
        if needed > limit {
            return Err(Refusal::page(413));
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_none() && all.is_empty() {
            share.cover(needed).await?;
            first = Some(data);
            continue;
        }
        if needed > all.capacity() {
            // The share covers what is allocated, not only what has arrived. Once a quarter is here, the declared rest
            // is likely to come; before that, claims alone take no memory.
            let capacity = match declared {
                Some(declared) if needed * 4 >= declared => declared.max(needed),
                _ => (2 * needed).min(limit),
            };
            share.cover(capacity).await?;
            let mut larger = BytesMut::with_capacity(capacity);
            larger.extend_from_slice(&all);
            all = larger;
        }
        if let Some(first) = first.take() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads and discards the rest of a refused body while the refusal is sent. A sender that writes to a closed
/// connection sees a broken connection instead of the refusal, and would try again.
fn read_away(mut body: ReceivingBody<Incoming>) {
    tokio::spawn(tokio::time::timeout(READ_AWAY_FOR, async move {
        let mut left = READ_AWAY_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    }));
}

/// Receives an upload on the disk. Everything that can be refused without its bytes is refused before them.
async fn spool(
    app: &App,
    req: &Req,
    body: &mut ReceivingBody<Incoming>,
    client: IpAddr,
    deadline: Instant,
) -> Result<Body, Refusal> {
    let token = req.path.trim_start_matches("/room/").trim_end_matches("/file");
    let Some(claim) = claim(app, &req.headers).await? else {
        visible_room(app, token, None).await?;
        return Err(Refusal::unauthenticated());
    };
    let user = app.user(&claim.claimed_id()).await?;
    let (_, limit) = may_upload(app, token, user.as_deref(), unix_now()).await?;
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let sender = Sender {
        address: Some(client),
        stranger: user.is_none(),
    };
    let mut spool = app.contents.spool(sender).await?;
    loop {
        let received = usize::try_from(spool.size()).unwrap_or(usize::MAX);
        let frame = tokio::time::timeout_at(allowed_until(deadline, received), body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::page(408))? else {
            break;
        };
        let Ok(data) = frame.map_err(|_| Refusal::page(400))?.into_data() else {
            continue;
        };
        if spool.size() + data.len() as u64 > limit {
            return Err(too_large(limit));
        }
        spool.write(&data).await?;
    }
    Ok(Body::Spooled(spool.finish().await.map_err(|error| disk(&error))?))
}

fn into_response(reply: Reply) -> Response<OutBody> {
    let body = match reply.body {
        ReplyBody::Bytes(bytes) => OutBody::Whole(Some(bytes)),
        ReplyBody::File(content) => OutBody::File(Box::new(content)),
    };
    build(reply.status, reply.headers, body)
}

fn build(
    status: http::StatusCode,
    headers: Vec<(header::HeaderName, header::HeaderValue)>,
    body: OutBody,
) -> Response<OutBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    response
}

/// The body of an answer on the wire.
enum OutBody {
    Whole(Option<Bytes>),
    File(Box<Opened>),
}

impl HttpBody for OutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(
                bytes
                    .take()
                    .filter(|bytes| !bytes.is_empty())
                    .map(|bytes| Ok(Frame::data(bytes))),
            ),
            Self::File(content) => content.poll_chunk(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::File(content) => content.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::File(content) => SizeHint::with_exact(content.remaining()),
        }
    }
}
