//! Accepts connections within their limits, answers requests, and stops in order.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::{ConnectionLimiter, Permit, ReceivingBody, WriteTimeoutStream};

/// Time in which a connection without a request may still send one when the listener stops.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(2);
/// Silence after which a kept connection is closed when the listener stops. A request that arrives before
/// is answered.
const NEXT_REQUEST_WAIT: Duration = Duration::from_millis(500);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits on the head of a request. A request beyond them is refused with 431, or its connection is closed.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Longest time from the start of a request, or of the connection, to the end of its head.
    pub time: Duration,
    /// Maximum number of bytes of the request line and the header lines.
    pub bytes: usize,
    /// Maximum number of header lines.
    pub lines: usize,
}

impl Default for HeadLimits {
    /// 10 seconds, 32 KiB, 64 lines.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            bytes: 32 * 1024,
            lines: 64,
        }
    }
}

/// Numbers of connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections open now.
    pub open: AtomicU64,
    /// Silent connections that were closed for another one, since the start.
    pub evicted: AtomicU64,
}

/// Listeners that accept connections until [`Running::stop`]. Dropped, they go on.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<JoinSet<()>>>,
}

impl Running {
    /// Accepts no more connections, lets running requests end for as long as `grace`, and closes the rest.
    pub async fn stop(self, grace: Duration) {
        let _ = self.stop.send(true);
        let mut connections = Vec::with_capacity(self.tasks.len());
        for task in self.tasks {
            connections.extend(task.await);
        }
        let all = async {
            for connections in &mut connections {
                while connections.join_next().await.is_some() {}
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("some requests were still running after {} s", grace.as_secs_f32());
        }
    }
}

/// Accepts connections of `listeners` and calls `handler` for each request with the address of the peer.
///
/// `limits` is asked at each new connection. The handler's answer counts as active until its body is sent. When the
/// listener stops, an answer closes its connection, so that the next request goes to the next process.
pub fn start<H, F, B>(
    listeners: Vec<TcpListener>,
    limiter: Arc<ConnectionLimiter>,
    counters: Arc<Counters>,
    limits: impl Fn() -> HeadLimits + Send + Sync + 'static,
    handler: H,
) -> Running
where
    H: Fn(Request<ReceivingBody<Incoming>>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        limiter,
        counters,
        limits,
        handler,
    });
    let tasks = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(listener, Arc::clone(&shared), stopped.clone())))
        .collect();
    Running { stop, tasks }
}

struct Shared<L, H> {
    limiter: Arc<ConnectionLimiter>,
    counters: Arc<Counters>,
    limits: L,
    handler: H,
}

async fn accept<L, H, F, B>(
    listener: TcpListener,
    shared: Arc<Shared<L, H>>,
    mut stopped: watch::Receiver<bool>,
) -> JoinSet<()>
where
    L: Fn() -> HeadLimits + Send + Sync + 'static,
    H: Fn(Request<ReceivingBody<Incoming>>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping(&mut stopped) => return open,
        };
        match accepted {
            Ok((stream, peer)) => {
                // While all connections are active, new ones wait in the backlog of the system. When the listener
                // stops meanwhile, the silent ones are gone after their last wait.
                let permit = tokio::select! {
                    biased;
                    permit = shared.limiter.acquire() => permit,
                    () = stopping_for(&mut stopped, FIRST_REQUEST_WAIT + NEXT_REQUEST_WAIT) => return open,
                };
                let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
                open.spawn(async move {
                    shared.counters.open.fetch_add(1, Ordering::Relaxed);
                    connection(&shared, stream, peer, &permit, stopped).await;
                    shared.counters.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                // Out of file descriptors, or the peer is gone already.
                tracing::warn!(%error, "a connection cannot be accepted");
                shared.limiter.evict_one();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while open.try_join_next().is_some() {}
    }
}

/// Ends when the listener stops.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // A listener that nobody can stop any more goes on.
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ends when the listener has been stopping for `time`.
async fn stopping_for(stopped: &mut watch::Receiver<bool>, time: Duration) {
    stopping(stopped).await;
    tokio::time::sleep(time).await;
}

/// State of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// A request has arrived.
    asked: bool,
    /// A request is being answered.
    busy: bool,
}

async fn connection<L, H, F, B>(
    shared: &Shared<L, H>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: &Permit,
    mut stopped: watch::Receiver<bool>,
) where
    L: Fn() -> HeadLimits,
    H: Fn(Request<ReceivingBody<Incoming>>, SocketAddr) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static,
{
    let _ = stream.set_nodelay(true);
    let limits = (shared.limits)();
    let (progress, mut observed) = watch::channel(Progress::default());
    let (progress, stops) = (&progress, &stopped.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let refusal = if head_bytes(&request) > limits.bytes {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else {
            (!names_one_host(&request)).then_some(StatusCode::BAD_REQUEST)
        };
        progress.send_replace(Progress {
            asked: true,
            busy: true,
        });
        let active = permit.activate();
        let answer = match refusal {
            None => Ok((shared.handler)(request.map(|body| active.receiving(body)), peer)),
            Some(status) => Err(status),
        };
        async move {
            let mut response = match answer {
                Ok(answer) => answer
                    .await
                    .map(|body| Either::Left(active.hold_until_sent(body))),
                Err(status) => refused(status),
            };
            if *stops.borrow() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            progress.send_replace(Progress {
                asked: true,
                busy: false,
            });
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.time)
        .max_buf_size(limits.bytes.max(8 * 1024))
        .max_headers(limits.lines)
        .serve_connection(TokioIo::new(WriteTimeoutStream::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // In this order: a request that has arrived is read before its connection may be closed for another one.
        biased;
        ended = connection.as_mut() => ended,
        () = permit.evicted() => {
            shared.counters.evicted.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "a silent connection was closed for another one");
            return;
        }
        () = stopping(&mut stopped) => tokio::select! {
            ended = connection.as_mut() => ended,
            () = silence(&mut observed) => {
                // The request that is being answered is answered; then the connection closes.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// Returns the bytes of the request line and the header lines, without optional spaces. hyper lets a head pass that is
/// longer than its buffer may be if it arrives in one piece.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    let lines = request.headers().iter();
    let lines: usize = lines
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    // The method, two spaces, the version and a line end; an empty line at the end.
    request.method().as_str().len() + target + 12 + lines + 2
}

/// Returns true unless a request of HTTP/1.1 has no `Host`, or a request has several (RFC 9112, section 3.2).
fn names_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// The refusal of a head, before the handler sees it. The connection closes.
fn refused<B: Body<Data = Bytes>>(status: StatusCode) -> Response<Either<B, Empty<Bytes>>> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Ends when no request is to be expected any more: closing while one is on its way would refuse it.
async fn silence(observed: &mut watch::Receiver<Progress>) {
    loop {
        let progress = *observed.borrow_and_update();
        let wait = if progress.asked {
            NEXT_REQUEST_WAIT
        } else {
            FIRST_REQUEST_WAIT
        };
        tokio::select! {
            changed = observed.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(wait), if !progress.busy => return,
        }
    }
}
