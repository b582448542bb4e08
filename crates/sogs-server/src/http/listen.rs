//! The door to the network: connections, their limits and times, and the reading of bodies.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::{SMALL_BODY, Share};
use super::claim;
use super::reply::{Refusal, Reply, ReplyBody};
use super::request::{Body, Req};
use super::route::{Way, serve, visible_room};
use super::routes::files::{disk, may_upload, too_large};
use super::steady::Steady;
use crate::app::{App, unix_now};
use crate::arrivals::Sender;
use crate::config::Storage;
use crate::contents::Opened;
use crate::descriptors;
use crate::network::Network;
use crate::places::{Place, Places};

/// Most bytes of a request's line and headers; more is refused by closing the connection.
const MAX_HEAD: usize = 32 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// What is thrown away of a refused body before the connection is closed, and for how long.
const READ_AWAY_BYTES: usize = 64 * 1024 * 1024;
const READ_AWAY_FOR: Duration = Duration::from_secs(5);
/// Uploads above this go to the disk as they arrive, and of larger bodies the claims are checked first.
const SPOOL_FROM: u64 = 256 * 1024;
/// How long a connection that has not asked anything yet may still do so when the server stops.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(2);
/// How long a kept connection may be silent until it is closed when the server stops: a request that is on its way
/// by then is answered.
const NEXT_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// A running listener.
pub(crate) struct Listening {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    places: Arc<Places>,
}

impl Listening {
    /// Takes no more connections, lets running requests finish for as long as `grace`, then closes the rest.
    pub(crate) async fn stop(self, grace: Duration) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
        if tokio::time::timeout(grace, self.places.empty()).await.is_err() {
            tracing::warn!("some requests were still running after {} s", grace.as_secs());
        }
    }
}

/// Accepts connections until stopped.
pub(crate) fn listen(app: Arc<App>, listener: TcpListener) -> Listening {
    // An answer may be a file; an upload may go on to a store.
    let config = app.config();
    let each = if config.files.storage == Storage::S3 { 3 } else { 2 };
    let places = Places::new(descriptors::fitting(config.limits.connections, each));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(app, listener, Arc::clone(&places), stopped));
    Listening { stop, task, places }
}

async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    places: Arc<Places>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // In a full house silent ones make room; while all are talking, new ones wait in the queue of the system.
                // When the server stops meanwhile, the silent ones are gone after their last wait.
                let place = tokio::select! {
                    biased;
                    place = places.take() => place,
                    () = stopping_for(&mut stopped, FIRST_REQUEST_WAIT + NEXT_REQUEST_WAIT) => return,
                };
                let (app, stopped) = (Arc::clone(&app), stopped.clone());
                tokio::spawn(async move {
                    app.counters.connections.fetch_add(1, Ordering::Relaxed);
                    connection(&app, stream, peer, &place, stopped).await;
                    app.counters.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors or the like: others must close something first.
                tracing::warn!(%error, "a connection cannot be accepted");
                places.make_room();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Ends when the server stops.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Ends when the server has been stopping for so long.
async fn stopping_for(stopped: &mut watch::Receiver<bool>, time: Duration) {
    stopping(stopped).await;
    tokio::time::sleep(time).await;
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, Default)]
struct Talk {
    /// It has asked something.
    asked: bool,
    /// An answer is under way.
    busy: bool,
}

async fn connection(
    app: &Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    place: &Place,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let limits = app.config().limits.clone();
    let (talk, mut heard) = watch::channel(Talk::default());
    let (talk, stops) = (&talk, &stopped.clone());
    let service = service_fn(|request| {
        talk.send_replace(Talk {
            asked: true,
            busy: true,
        });
        let (app, here) = (Arc::clone(app), place.talk());
        async move {
            let mut response = answer(&app, request, peer).await;
            if *stops.borrow() {
                // Whoever asks again does so on a new connection, which the next process accepts.
                response
                    .headers_mut()
                    .insert(header::CONNECTION, http::HeaderValue::from_static("close"));
            }
            talk.send_replace(Talk {
                asked: true,
                busy: false,
            });
            Ok::<_, Infallible>(response.map(|body| here.until_sent(body)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs_f64(limits.header_seconds.max(0.1)))
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Steady::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // In this order: a request that has arrived is read before its connection has to make room.
        biased;
        ended = connection.as_mut() => ended,
        () = place.wanted() => {
            app.counters.made_room.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "a silent connection made room");
            return;
        }
        () = stopping(&mut stopped) => tokio::select! {
            ended = connection.as_mut() => ended,
            () = silence(&mut heard) => {
                // What is being answered is answered; then the connection closes.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// Ends when no request is to be expected any more: closing while one is on its way would refuse it.
async fn silence(heard: &mut watch::Receiver<Talk>) {
    loop {
        let talk = *heard.borrow_and_update();
        let patience = if talk.asked {
            NEXT_REQUEST_WAIT
        } else {
            FIRST_REQUEST_WAIT
        };
        tokio::select! {
            changed = heard.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(patience), if !talk.busy => return,
        }
    }
}

async fn answer(app: &Arc<App>, request: http::Request<Incoming>, peer: SocketAddr) -> Response<OutBody> {
    let (head, mut body) = request.into_parts();
    let method = head.method;
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let mut req = Req::new(method, &target, head.headers, Body::Memory(Bytes::new()));
    let config = app.config();
    let client = client(&config.net.trusted_proxies, peer.ip(), &req.headers);
    let deadline = Instant::now() + Duration::from_secs_f64(config.limits.body_seconds.max(0.1));
    let mut share = Share::new(&app.memory, SMALL_BODY);
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
            let reply = serve(app, &req, &Way::direct(app)).await;
            tracing::debug!(%client, method = %req.method, path = %req.path, status = reply.status.as_u16(), "request");
            reply
        }
        Err(refusal) => {
            tracing::debug!(status = refusal.status(), %client, path = %req.path, "a body was refused");
            if refusal.status() != 408 {
                read_away(body);
            }
            let mut reply = Reply::from(refusal);
            // What is left of the body would be taken for the next request.
            reply
                .headers
                .push((header::CONNECTION, http::HeaderValue::from_static("close")));
            reply
        }
    };
    drop(share);
    into_response(reply)
}

/// Address of the client: the peer, or the address a trusted proxy forwards for (the last that is no trusted proxy).
pub fn client(trusted: &[Network], peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
    if !is_trusted(trusted, peer) {
        return peer;
    }
    let mut found = peer;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for text in value.to_str().unwrap_or_default().rsplit(',') {
            let Ok(address) = text.trim().parse() else {
                return found;
            };
            found = address;
            if !is_trusted(trusted, found) {
                return found;
            }
        }
    }
    found
}

fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Checks the claims of a request with a large body before the body is kept.
async fn claimed(app: &App, req: &Req, body: &Incoming) -> Result<(), Refusal> {
    if body.size_hint().upper().is_none_or(|size| size > SPOOL_FROM) {
        claim(app, &req.headers).await?;
    }
    Ok(())
}

/// `POST /room/T/file`
fn is_upload(req: &Req) -> bool {
    req.method == Method::POST && req.path.starts_with("/room/") && req.path.ends_with("/file")
}

/// The time a body may take: more for a longer one.
fn allowed_until(deadline: Instant, received: usize) -> Instant {
    deadline + Duration::from_secs((received / (64 * 1024)) as u64)
}

async fn collect(
    body: &mut Incoming,
    limit: usize,
    deadline: Instant,
    share: &mut Share<'_>,
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

/// Throws away what is still coming of a refused body, while the refusal is on its way. A sender that writes to a closed
/// connection sees that it broke, not the answer that waits for it, and would try again.
fn read_away(mut body: Incoming) {
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
    body: &mut Incoming,
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

#[cfg(test)]
mod client_tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
        let proxy: IpAddr = [10, 0, 0, 1].into();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 192.0.2.7"));
        assert_eq!(
            client(&[proxy.into()], proxy, &headers),
            IpAddr::from([192, 0, 2, 7]),
            "what the proxy saw"
        );
        assert_eq!(
            client(&[], proxy, &headers),
            proxy,
            "nobody is trusted by default"
        );
        let stranger: IpAddr = [203, 0, 113, 9].into();
        assert_eq!(
            client(&[proxy.into()], stranger, &headers),
            stranger,
            "a stranger's header is a claim"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let trusted = ["10.0.0.0/29".parse().expect("a network")];
        let mut headers = http::HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            http::HeaderValue::from_static("6.6.6.6, 1.2.3.4, 10.0.0.2"),
        );
        assert_eq!(
            client(&trusted, ip("9.9.9.9"), &headers),
            ip("9.9.9.9"),
            "a stranger's word counts nothing"
        );
        assert_eq!(
            client(&trusted, ip("10.0.0.1"), &headers),
            ip("1.2.3.4"),
            "the last that is no proxy of ours"
        );
        headers.insert("x-forwarded-for", http::HeaderValue::from_static("nonsense"));
        assert_eq!(client(&trusted, ip("10.0.0.1"), &headers), ip("10.0.0.1"));
    }
}
