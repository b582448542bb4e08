//! One HTTP exchange: bounded in time and size, with every failure put under its cause.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackpost_tls::{CertificateProblem, TlsError, Verify};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use url::Url;

use crate::error::{Cause, SogsError};

/// Piece of a body after which progress is reported, bytes.
const PROGRESS_STEP_BYTES: usize = 16 * 1024;
/// A body from this length on may still be on its way when the system has taken all of it, bytes.
const LARGE_BODY_BYTES: usize = 128 * 1024;
/// Additional timeout for the answer to a large body: time to send the system's buffer (some MB) at half a megabit a
/// second.
const LARGE_BODY_PATIENCE: Duration = Duration::from_mins(1);

/// Callback for progress: bytes sent or received so far, and their total.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Limits of every exchange.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Timeout for the connection to be established.
    pub(crate) connect: Duration,
    /// Timeout between two reads.
    pub(crate) read: Duration,
    /// Timeout for a whole exchange, which may transfer a file.
    pub(crate) total: Duration,
    /// Timeout for a whole call that transfers no file, including redirects and a second attempt.
    pub(crate) call: Duration,
    /// Longest answer, bytes.
    pub(crate) answer_bytes: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
    /// The same client with a longer timeout; created when the first large body is sent.
    patient: Arc<OnceLock<Client>>,
    settings: Settings,
    limits: Limits,
    /// Proxy settings of the environment, to name the proxy when it fails.
    proxies: Option<Arc<Matcher>>,
}

pub(crate) struct HttpRequest {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) upload: Option<Progress>,
    pub(crate) download: Option<Progress>,
    /// Longest answer, bytes, where it is less than the limit of the connection.
    pub(crate) answer_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The answer was longer than the limit and `body` is its beginning.
    pub(crate) truncated: bool,
    /// `Location`, resolved, of a redirect.
    pub(crate) location: Option<Url>,
}

/// Settings that all clients of one server share.
#[derive(Debug, Clone)]
struct Settings {
    tls: rustls::ClientConfig,
    address_rule: Option<AddressRule>,
    user_agent: String,
    use_proxies: bool,
}

/// Says which addresses a connection may go to.
pub type AddressRule = fn(IpAddr) -> bool;

/// Resolves names to the addresses that fit the rule.
struct Checked(AddressRule);

/// Every address of a name is forbidden.
#[derive(Debug, thiserror::Error)]
#[error("the host has no allowed address")]
struct NotAllowed;

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|found| rule(found.ip().to_canonical())).collect();
            if found.is_empty() {
                return Err(NotAllowed.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

impl Settings {
    fn client(&self, limits: &Limits, read: Duration) -> Result<Client, SogsError> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(limits.connect)
            .read_timeout(read)
            .timeout(limits.total)
            .pool_idle_timeout(Duration::from_mins(1))
            .tcp_nodelay(true)
            .user_agent(&self.user_agent);
        if !self.use_proxies {
            builder = builder.no_proxy();
        }
        if let Some(rule) = self.address_rule {
            builder = builder.dns_resolver(Arc::new(Checked(rule)));
        }
        builder.build().map_err(|error| classify(&error, "connect", None))
    }
}

impl Http {
    pub(crate) fn new(
        verify: &Verify,
        needs_tls: bool,
        limits: Limits,
        user_agent: &str,
        use_proxies: bool,
        address_rule: Option<AddressRule>,
    ) -> Result<Self, SogsError> {
        let settings = Settings {
            address_rule,
            tls: tls_settings(verify, needs_tls)?,
            user_agent: user_agent.to_owned(),
            use_proxies,
        };
        let client = settings.client(&limits, limits.read)?;
        let proxies = use_proxies.then(|| Arc::new(Matcher::from_env()));
        Ok(Self {
            client,
            patient: Arc::default(),
            settings,
            limits,
            proxies,
        })
    }

    /// The client for a body of this length.
    fn client_for(&self, body: Option<&Bytes>) -> Result<&Client, SogsError> {
        if body.is_none_or(|body| body.len() < LARGE_BODY_BYTES) {
            return Ok(&self.client);
        }
        if let Some(client) = self.patient.get() {
            return Ok(client);
        }
        let client = self
            .settings
            .client(&self.limits, self.limits.read + LARGE_BODY_PATIENCE)?;
        Ok(self.patient.get_or_init(|| client))
    }

    /// Checks an address that is written in the URL: no resolver is asked for it.
    fn check_literal(&self, url: &Url) -> Result<(), SogsError> {
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        match self.settings.address_rule {
            Some(rule) if !rule(address.to_canonical()) => Err(SogsError::new(Cause::AddressNotAllowed)),
            _ => Ok(()),
        }
    }

    /// Host and port of the proxy on the way to `url`, without its login.
    fn proxy(&self, url: &Url) -> Option<String> {
        let way = self.proxies.as_ref()?.intercept(&url.as_str().parse().ok()?)?;
        let (host, port) = (way.uri().host()?, way.uri().port_u16());
        Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, SogsError> {
        self.check_literal(&request.url)?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| SogsError::invalid("the method is not a valid word"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| SogsError::invalid("a header name is malformed"))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| SogsError::invalid("a header value is malformed"))?;
            headers.insert(name, value);
        }
        let client = self.client_for(request.body.as_ref())?;
        let mut builder = client.request(method, request.url.clone()).headers(headers);
        if let Some(body) = request.body {
            builder = match request.upload {
                None => builder.body(body),
                Some(progress) => builder
                    .header(reqwest::header::CONTENT_LENGTH, body.len())
                    .body(reqwest::Body::wrap_stream(reporting(body, progress))),
            };
        }
        let started = std::time::Instant::now();
        let response = builder
            .send()
            .await
            .map_err(|error| classify(&error, "connect", self.proxy(&request.url)))?;
        if response.status() == reqwest::StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = self.proxy(&request.url)
        {
            let detail = format!("{proxy} wants a login");
            return Err(SogsError::new(Cause::Proxy { detail }).with_status(407));
        }
        tracing::debug!(
            method = request.method,
            server = request.url.host_str().unwrap_or_default(),
            path = request.url.path(),
            peer = ?response.remote_addr(),
            status = response.status().as_u16(),
            elapsed = ?started.elapsed(),
            "answered"
        );
        let limit = self.limits.answer_bytes.min(request.answer_bytes);
        self.read(&request.url, response, request.download, limit).await
    }

    /// Reads the answer up to the limit and no further.
    async fn read(
        &self,
        url: &Url,
        response: Response,
        progress: Option<Progress>,
        limit: usize,
    ) -> Result<HttpResponse, SogsError> {
        let status = response.status().as_u16();
        let headers: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let location = response
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|location| url.join(location).ok());
        let expected = response.content_length().unwrap_or(0);
        let mut body = BytesMut::new();
        let mut truncated = false;
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| classify(&error, "answer", None))?;
            let room = limit - body.len();
            if chunk.len() > room {
                body.extend_from_slice(&chunk[..room]);
                truncated = true;
                break;
            }
            body.extend_from_slice(&chunk);
            if let Some(progress) = &progress {
                progress(body.len() as u64, expected.max(body.len() as u64));
            }
        }
        Ok(HttpResponse {
            status,
            headers,
            body: body.freeze(),
            truncated,
            location,
        })
    }
}

fn reporting(
    body: Bytes,
    progress: Progress,
) -> impl futures_util::Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let total = body.len();
    futures_util::stream::unfold((body, progress), move |(mut rest, progress)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PROGRESS_STEP_BYTES));
        progress((total - rest.len()) as u64, total as u64);
        Some((Ok(piece), (rest, progress)))
    })
}

/// Returns the TLS settings. For plain http nothing is trusted and nothing is loaded, which keeps the start fast.
fn tls_settings(verify: &Verify, needed: bool) -> Result<rustls::ClientConfig, SogsError> {
    let settings = if needed || matches!(verify, Verify::Config(_)) {
        verify.client_config()
    } else {
        ackpost_tls::without_certificates()
    };
    settings.map_err(|error| match error {
        TlsError::Authorities(reason) => {
            SogsError::invalid(format!("the authorities cannot be used: {reason}"))
        }
        other => SogsError::new(Cause::Tls {
            detail: other.to_string(),
        }),
    })
}

/// Finds the cause in what the HTTP client reports. `phase` is what a timeout interrupted, unless it tells itself;
/// `proxy` is the proxy that the connection was made to, if there is one.
fn classify(error: &reqwest::Error, phase: &'static str, proxy: Option<String>) -> SogsError {
    let mut detail = error.to_string();
    let mut source = error.source();
    let mut tls = None;
    let mut kind = None;
    let mut forbidden = false;
    while let Some(cause) = source {
        forbidden |= cause.is::<NotAllowed>();
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            kind = kind.or(Some(io.kind()));
            tls = tls.or_else(|| inside(io));
        }
        tls = tls.or_else(|| cause.downcast_ref::<rustls::Error>());
        detail = cause.to_string();
        source = cause.source();
    }
    let cause = match (tls, kind) {
        // If a proxy is set, the proxy is the one that does not answer.
        (None, _) if error.is_connect() && proxy.is_some() => Cause::Proxy {
            detail: match (proxy, kind) {
                (Some(proxy), Some(io::ErrorKind::ConnectionRefused)) => format!("nobody listens on {proxy}"),
                (proxy, _) => format!("{}: {detail}", proxy.unwrap_or_default()),
            },
        },
        _ if forbidden => Cause::AddressNotAllowed,
        (Some(rustls::Error::InvalidMessage(_)), _) => Cause::NotTls,
        (Some(error), _) => Cause::Tls {
            detail: CertificateProblem::of(error)
                .map_or_else(|| error.to_string(), |problem| problem.to_string()),
        },
        _ if error.is_dns() => Cause::Dns,
        _ if error.is_timeout() => Cause::Timeout {
            phase: if error.is_connect() { "connect" } else { "answer" },
        },
        (_, Some(io::ErrorKind::ConnectionRefused)) => Cause::Refused,
        _ if is_proxy(error) => Cause::Proxy { detail },
        _ if is_no_http(&detail) => Cause::NotASogs,
        _ => Cause::Network {
            detail: if detail.is_empty() {
                phase.to_owned()
            } else {
                detail
            },
        },
    };
    SogsError::new(cause)
}

/// The TLS error that an `io::Error` carries. It names its payload's source as its own, so the payload itself must be
/// looked at, and the TLS library wraps more than once.
fn inside(io: &io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<io::Error>() {
        Some(io) => inside(io),
        None => inner.downcast_ref(),
    }
}

/// Returns true if the answer is not HTTP at all, because another protocol uses the port.
///
/// The HTTP library distinguishes this case only by its text.
fn is_no_http(detail: &str) -> bool {
    detail.starts_with("invalid HTTP ") || detail == "message head is too large"
}

fn is_proxy(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if text.contains("tunnel") || text.contains("proxy") {
            return true;
        }
        source = cause.source();
    }
    false
}
