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
use super::config::Config;
use super::permit::RequestPermit;
use super::state::Gateway;

/// Descriptors of a connection: a request may open another connection or a file.
const PER_REQUEST: usize = 2;

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

/// Returns the connections of HTTP and of SMTP that fit into the descriptors of the process together.
pub(crate) fn fitting(config: &Config) -> (usize, usize) {
    let (http, smtp) = (config.limits.connections, config.smtp.connections);
    let smtp = if config.smtp.listens() { smtp } else { 0 };
    let wanted = http.saturating_mul(PER_REQUEST).saturating_add(smtp);
    shared(http, smtp, descriptors::fitting(wanted, 1))
}

/// Divides descriptors in proportion to what is wanted.
fn shared(http: usize, smtp: usize, descriptors: usize) -> (usize, usize) {
    let wanted = http.saturating_mul(PER_REQUEST).saturating_add(smtp).max(1);
    let part = |connections: usize| {
        let part = connections as u128 * descriptors as u128 / wanted as u128;
        usize::try_from(part)
            .unwrap_or(connections)
            .clamp(1, connections.max(1))
    };
    (part(http), part(smtp))
}

/// Serves until `stop` is set, then lets running requests end for as long as `drain`.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    listeners: Vec<TcpListener>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let limits = gateway.config().limits.clone();
    let limiter = ConnectionLimiter::new(fitting(&gateway.config()).0);
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
            // Above the limit a request waits for its permit; its own time limit begins with it.
            let permit = RequestPermit::take(requests).await;
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(permit);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_smtp_share_the_descriptors() {
        assert_eq!(shared(512, 256, 1_280), (512, 256), "all fit");
        let (http, smtp) = shared(512, 256, 640);
        assert_eq!((http, smtp), (256, 128));
        assert!(http * PER_REQUEST + smtp <= 640);
        assert_eq!(shared(512, 0, 1_024).0, 512);
        assert_eq!(shared(512, 256, 0), (1, 1));
    }
}
