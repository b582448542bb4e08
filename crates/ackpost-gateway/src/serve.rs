//! Listening: connects the listeners to the router.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bounded_http::{ConnectionLimiter, HeadLimits, descriptors};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use super::auth::Peer;
use super::state::Gateway;
use super::turn::Turn;

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
    mut stop: watch::Receiver<bool>,
) {
    let limits = gateway.config().limits.clone();
    // A request may open a connection or a file of its own.
    let limiter = ConnectionLimiter::new(descriptors::fitting(limits.connections, 2));
    let requests = Arc::new(Semaphore::new(limits.requests));
    let counters = Arc::clone(&gateway.counters.listener);
    let settings = Arc::clone(&gateway);
    let limits = move || {
        let limits = &settings.config().limits;
        HeadLimits {
            time: limits.header_time,
            bytes: limits.header_bytes,
            ..HeadLimits::default()
        }
    };
    let running = bounded_http::start(listeners, limiter, counters, limits, move |mut request, peer| {
        request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
        let (router, requests) = (router.clone(), Arc::clone(&requests));
        async move {
            // Above the limit a request waits for its turn; its own time limit begins with it.
            let turn = Turn::take(requests).await;
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(turn);
            match router.oneshot(Request::from_parts(parts, Body::new(body))).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        }
    });
    // The guard that `wait_for` returns must not live across an await.
    let _ = stop.wait_for(|stop| *stop).await.is_ok();
    running.stop(gateway.config().drain).await;
}
