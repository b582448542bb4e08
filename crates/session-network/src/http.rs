//! One POST over HTTPS, bounded in time and size.

use std::error::Error as _;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use reqwest::{Client, RequestBuilder};
use rustls::CertificateError;
use session_protocol::network::faults::PathFault;
use sha2::{Digest as _, Sha256};

/// Maximum length of an error answer, bytes.
const MAX_FAILURE_LEN_BYTES: usize = 64 * 1024;
/// Longest detail of a failure, characters.
const MAX_DETAIL_CHARS: usize = 200;

/// Reason why an exchange gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpFault {
    /// No program listens on the port.
    #[error("the connection was refused")]
    Refused,
    /// The connection was not made in time.
    #[error("the connection was not made in time")]
    ConnectTimeout,
    /// The answer did not come in time.
    #[error("there was no answer in time")]
    AnswerTimeout,
    /// The host name has no address.
    #[error("the host name cannot be resolved")]
    Dns,
    /// The server shows another certificate than the pinned one.
    #[error("the server shows another certificate than the pinned one")]
    OtherCertificate,
    /// The answer is longer than this call's answer can be.
    #[error("the answer has more than {limit} bytes")]
    TooLong {
        /// The limit, bytes.
        limit: usize,
    },
    /// Another failure of the connection.
    #[error("the connection failed: {detail}")]
    Failed {
        /// Message of the system.
        detail: String,
    },
}

/// The limits of every exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) total: Duration,
}

pub(crate) struct Http {
    limits: Limits,
    use_proxies: bool,
    nodes: OnceLock<Client>,
    round_trips: AtomicU64,
}

/// An answer over HTTP.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl HttpAnswer {
    /// The failure of the path. The body of an answer that came through is not read as text: it may be long.
    pub(crate) fn path_fault(&self) -> Option<PathFault> {
        if self.status == 200 {
            return None;
        }
        PathFault::of(self.status, &self.text())
    }

    pub(crate) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Http {
    pub(crate) fn new(limits: Limits, use_proxies: bool) -> Self {
        Self {
            limits,
            use_proxies,
            nodes: OnceLock::new(),
            round_trips: AtomicU64::new(0),
        }
    }

    /// Number of requests that were made.
    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Posts to a service node, whose certificate says nothing.
    pub(crate) async fn post_to_node(
        &self,
        url: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<HttpAnswer, HttpFault> {
        let client = self.node_client()?;
        self.post(client.post(url), body, limit).await
    }

    /// Posts to a service node what may take longer than other exchanges.
    pub(crate) async fn post_file(
        &self,
        url: &str,
        body: Vec<u8>,
        limit: usize,
        at_least: Duration,
    ) -> Result<HttpAnswer, HttpFault> {
        let client = self.node_client()?;
        let request = client.post(url).timeout(self.limits.total.max(at_least));
        self.post(request, body, limit).await
    }

    fn node_client(&self) -> Result<Client, HttpFault> {
        if let Some(client) = self.nodes.get() {
            return Ok(client.clone());
        }
        let made = self.client(None)?;
        Ok(self.nodes.get_or_init(|| made).clone())
    }

    /// Posts to a server with this certificate.
    pub(crate) async fn post_pinned(
        &self,
        url: &str,
        pin: [u8; 32],
        body: Vec<u8>,
        limit: usize,
    ) -> Result<HttpAnswer, HttpFault> {
        let client = self.client(Some(pin))?;
        self.post(client.post(url), body, limit).await
    }

    fn client(&self, pin: Option<[u8; 32]>) -> Result<Client, HttpFault> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls(pin)?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.limits.connect)
            .timeout(self.limits.total)
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(2)
            .tcp_nodelay(true);
        if !self.use_proxies {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| classify(&error))
    }

    async fn post(
        &self,
        request: RequestBuilder,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<HttpAnswer, HttpFault> {
        let started = Instant::now();
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let response = request
            .body(body)
            .send()
            .await
            .map_err(|error| classify(&error))?;
        let status = response.status().as_u16();
        let limit = if status == 200 {
            limit
        } else {
            MAX_FAILURE_LEN_BYTES
        };
        let mut body = BytesMut::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| classify(&error))?;
            if chunk.len() > limit - body.len() {
                return Err(HttpFault::TooLong { limit });
            }
            body.extend_from_slice(&chunk);
        }
        tracing::debug!(status, bytes = body.len(), elapsed = ?started.elapsed(), "a node answered");
        Ok(HttpAnswer {
            status,
            body: body.freeze(),
        })
    }
}

/// Accepts the pinned certificate, or any where none is pinned: a service node makes its certificate itself, and its
/// answers are sealed under a key that is known. The handshake must be signed by the certificate in any case.
fn tls(pin: Option<[u8; 32]>) -> Result<rustls::ClientConfig, HttpFault> {
    let unusable = |error: ackpost_tls::TlsError| failed(&error.to_string());
    let provider = ackpost_tls::provider().map_err(unusable)?;
    let verifier = ackpost_tls::judged(&provider, move |shown| match pin {
        Some(pin) if Sha256::digest(shown.end_entity)[..] != pin => {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
        _ => Ok(()),
    });
    ackpost_tls::config_with(provider, verifier).map_err(unusable)
}

/// The cause in what the HTTP client reports.
fn classify(error: &reqwest::Error) -> HttpFault {
    let mut detail = error.to_string();
    let mut source = error.source();
    let (mut refused, mut certificate) = (false, false);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            refused |= io.kind() == io::ErrorKind::ConnectionRefused;
            certificate |= is_certificate(io);
        }
        detail = cause.to_string();
        source = cause.source();
    }
    if certificate {
        HttpFault::OtherCertificate
    } else if error.is_dns() {
        HttpFault::Dns
    } else if error.is_timeout() && error.is_connect() {
        HttpFault::ConnectTimeout
    } else if error.is_timeout() {
        HttpFault::AnswerTimeout
    } else if refused {
        HttpFault::Refused
    } else {
        failed(&detail)
    }
}

/// Returns true if the TLS library, somewhere inside, refused the certificate.
fn is_certificate(io: &io::Error) -> bool {
    let Some(inner) = io.get_ref() else {
        return false;
    };
    match inner.downcast_ref::<io::Error>() {
        Some(io) => is_certificate(io),
        None => matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))),
    }
}

fn failed(detail: &str) -> HttpFault {
    HttpFault::Failed {
        detail: detail.chars().take(MAX_DETAIL_CHARS).collect(),
    }
}
