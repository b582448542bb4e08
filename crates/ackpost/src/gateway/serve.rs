//! Listening: connections within their limits, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use sogs_server::places::{Place, Places};
use sogs_server::{Steady, descriptors};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::auth::Peer;
use super::metrics::Counted;
use super::state::Gateway;
use super::turn::Turn;

/// More header lines than any client sends.
const MAX_HEADERS: usize = 64;

/// Opens the addresses. A port 0 becomes a free one.
pub(crate) async fn listen(
    addresses: &[SocketAddr],
) -> Result<Vec<TcpListener>, (SocketAddr, std::io::Error)> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        listeners.push(
            TcpListener::bind(address)
                .await
                .map_err(|error| (*address, error))?,
        );
    }
    Ok(listeners)
}

/// Serves until `stop` is set, then lets running requests end for as long as `drain`.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    listeners: Vec<TcpListener>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let limits = gateway.config().limits.clone();
    // A request may open a connection or a file of its own.
    let places = Places::new(descriptors::fitting(limits.connections, 2));
    let requests = Arc::new(Semaphore::new(limits.requests));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let shared = Shared {
            gateway: Arc::clone(&gateway),
            router: router.clone(),
            requests: Arc::clone(&requests),
            stop: stop.clone(),
        };
        accepting.spawn(accept(listener, Arc::clone(&places), shared));
    }
    while accepting.join_next().await.is_some() {}
}

#[derive(Clone)]
struct Shared {
    gateway: Arc<Gateway>,
    router: Router,
    requests: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, places: Arc<Places>, shared: Shared) {
    let mut stop = shared.stop.clone();
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // In a full house silent ones make room; while all are talking, new ones wait in the queue of the system.
                let place = tokio::select! {
                    place = places.take() => place,
                    () = stopped(&mut stop) => break,
                };
                let shared = shared.clone();
                open.spawn(async move { connection(stream, peer, &place, shared).await });
            }
            Err(error) => {
                // Out of file descriptors, or the peer is gone already: neither goes away by spinning.
                tracing::warn!(%error, "a connection could not be taken");
                places.make_room();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    let drain = shared.gateway.config().drain;
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, all).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` returns must not live across an await.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, place: &Place, shared: Shared) {
    let _ = stream.set_nodelay(true);
    let limits = shared.gateway.config().limits.clone();
    let _open = Counted::new(&shared.gateway.counters.connections);
    let (router, requests) = (shared.router, shared.requests);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
        let (router, requests, talk) = (router.clone(), Arc::clone(&requests), place.talk());
        async move {
            // Above the limit a request waits for its turn; its own time limit begins with it.
            let turn = Turn::take(requests).await;
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(turn);
            let body = Body::new(talk.receiving(body));
            let answer = router.oneshot(Request::from_parts(parts, body)).await;
            answer.map(|answer| answer.map(|body| talk.until_sent(body)))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.header_bytes.max(8 << 10))
        .half_close(false);
    let served = builder.serve_connection(TokioIo::new(Steady::new(stream)), service);
    let mut served = std::pin::pin!(served);
    let mut stop = shared.stop;
    let counters = &shared.gateway.counters;
    let ended = tokio::select! {
        // In this order: a request that has arrived is read before its connection has to make room.
        biased;
        ended = served.as_mut() => ended,
        () = place.wanted() => {
            counters.made_room.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "a silent connection made room");
            Ok(())
        }
        () = stopped(&mut stop) => {
            // The request that is being worked on is answered, then the connection closes.
            served.as_mut().graceful_shutdown();
            served.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}
