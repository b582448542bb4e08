//! The connections that deliveries share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::asset::Asset;
use crate::service::Service;

use super::{Attempt, Parcel};

/// How connections are made.
#[derive(Clone, Debug)]
pub struct CourierOptions {
    /// Proxies from `http_proxy`, `https_proxy`, `no_proxy` are used for http(s).
    pub proxies: bool,
    /// Trust exactly this TLS configuration instead of the platform's roots (tests, embedders).
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Largest attachment that is read, in bytes.
    pub attachment_bytes: u64,
}

impl Default for CourierOptions {
    fn default() -> Self {
        Self {
            proxies: true,
            tls: None,
            attachment_bytes: 64 * 1024 * 1024,
        }
    }
}

impl CourierOptions {
    /// An http client for everything that is not a community server (configurations, attachments). Redirects are
    /// followed to the same origin only. The error is a cause to show.
    pub(crate) fn http_client(
        &self,
        verify: bool,
        connect: Duration,
        read: Duration,
        agent: &str,
    ) -> Result<reqwest::Client, String> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect)
            .read_timeout(read)
            .timeout(read.saturating_mul(6).max(Duration::from_secs(30)))
            .user_agent(agent)
            .redirect(reqwest::redirect::Policy::custom(|attempt| {
                let origin = attempt.previous().first().map(|first| first.origin());
                if attempt.previous().len() > 5 {
                    attempt.error("too many redirects")
                } else if origin.is_some_and(|origin| origin == attempt.url().origin()) {
                    attempt.follow()
                } else {
                    attempt.error("redirected to another server")
                }
            }));
        if let Some(tls) = &self.tls {
            builder = builder.tls_backend_preconfigured(rustls::ClientConfig::clone(tls));
        } else if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("no TLS provider is installed".to_owned());
        } else if !verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if !self.proxies {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| error.to_string())
    }
}

/// Holds the connections of a run (or of a resident process), so that URLs of one account share one.
pub struct Courier {
    pub(crate) options: CourierOptions,
    pub(crate) asset: Asset,
    pub(crate) paces: Mutex<HashMap<String, super::lane::Pace>>,
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

impl Courier {
    /// No connection is made yet.
    pub fn new(options: CourierOptions, asset: Asset) -> Self {
        Self {
            options,
            asset,
            paces: Mutex::default(),
        }
    }

    /// Sends the pieces of one parcel, in order, once, and says what became of each. Waits only for the server's own
    /// rate limit. What a repeat needs to be recognised is in the pieces' [`super::WireIdentity`].
    pub async fn deliver(&self, service: &Service, parcel: &Parcel) -> Vec<Attempt> {
        service.endpoint().deliver(service.common(), self, parcel).await
    }

    /// Ends every kept connection in good order.
    pub async fn close(&self) {}

    /// Waits until one more piece may go to `lane` by the server's own limit.
    pub(crate) async fn pace(&self, lane: &str, posts: u32, window: Duration) {
        loop {
            let wait = {
                let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
                paces
                    .entry(lane.to_owned())
                    .or_default()
                    .take(tokio::time::Instant::now(), posts, window)
            };
            match wait {
                None => return,
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}
