//! Requests over HTTP: one client for each set of settings, bounded answers, and their meaning.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ackpost_notify::service::{Param, Values};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{
    CommonParams, ConnectionOptions, ConnectionPool, Diagnostic, Guest, ParamReader, ServicePool, is_public,
};
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Url};

use crate::net::{ADDRESS_CAUSE, ADDRESS_REMEDY, Failure, allowed, bare, certificate, inside, said, verify};

/// Maximum number of clients that are kept.
const CLIENTS: usize = 16;
/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;
/// Maximum number of redirects of one request.
const REDIRECTS: usize = 5;
/// Longest pause that a server may ask for.
const LONGEST_PAUSE: u64 = 24 * 3600;
/// Longest time of one request, its body included.
const TOTAL: Duration = Duration::from_mins(5);

/// `ca_file=`, the same for all channels.
pub(crate) const CA_FILE: Param = Param::new(
    "ca_file",
    Values::Text("a path"),
    "",
    "PEM file with the certificate authorities to trust.",
    "ca_file=/etc/ackpost/ca.pem",
);

/// The destination of the requests of one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpServer {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) ca_file: Option<String>,
}

impl HttpServer {
    pub(crate) fn read(raw: &RawUrl, secure: bool, reader: &mut ParamReader<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            secure,
            host: raw.host().to_owned(),
            port: raw.port(),
            ca_file: reader.local_path("ca_file")?,
        })
    }

    /// Schema, host and port of requests.
    pub(crate) fn origin(&self) -> String {
        format!("http{}://{}", if self.secure { "s" } else { "" }, self.address())
    }

    /// Host, and the port if it is not the default one.
    pub(crate) fn address(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        match self.port.filter(|port| *port != default) {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// Writes the number of gateways that a message went through, so that a gateway that it comes back to recognises the loop.
pub(crate) fn count_hops(headers: &mut HeaderMap, hops: u32) {
    if hops > 0
        && let Ok(name) = HeaderName::from_bytes(ackpost_notify::HOPS_HEADER.as_bytes())
    {
        headers.insert(name, hops.into());
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl HttpResponse {
    /// Returns the body, if it is a JSON object.
    pub(crate) fn json(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the failure that a status outside of 200 to 299 means. `words` are the server's own, and are left out
    /// for guests.
    pub(crate) fn failure(&self, common: &CommonParams, words: Option<&str>) -> Failure {
        let words = words.filter(|_| common.guest.is_none()).map(said);
        let words = words
            .filter(|words| !words.is_empty())
            .map_or_else(String::new, |words| format!(": {words}"));
        let status = self.status;
        let with = |cause: &str| format!("{cause} ({status}{words})");
        let mut failure = match status {
            401 | 403 => Failure::permanent(
                with("the server refuses the login"),
                "check user, password and token in the URL, and their rights",
            ),
            404 | 405 | 410 => Failure::permanent(
                with("the server has no such address"),
                "check host, port and path in the URL",
            ),
            413 => Failure::permanent(
                with("the message is too large for the server"),
                "send less, or raise the limit of the server",
            ),
            407 => Failure::permanent(with("the proxy wants a login"), "put it into `https_proxy`"),
            429 => Failure::temporary(
                with("the server limits the number of messages"),
                "send less often, or raise the limit of the server",
            ),
            408 | 425 | 500 | 502..=504 | 506..=599 => {
                Failure::temporary(with("the server has a fault"), "look into the log of the server")
            }
            _ => Failure::permanent(
                with("the server refuses the message"),
                "check the parameters of the URL",
            ),
        };
        failure.too_large = status == 413;
        failure.retry_after = self.retry_after.filter(|_| !failure.permanent);
        // Every other status proves that the server did not accept it; the status of a gateway proves nothing.
        failure.in_doubt = matches!(status, 502 | 504 | 520..=527);
        failure
    }
}

/// Settings that a client depends on.
#[derive(Debug, Clone, PartialEq)]
struct ClientKey {
    secure: bool,
    ca_file: Option<String>,
    verify: bool,
    guest: Option<Guest>,
    connect: Duration,
    read: Duration,
    agent: String,
}

/// HTTP clients in use.
#[derive(Default)]
struct HttpClients(Mutex<Vec<(ClientKey, Client)>>);

impl ServicePool for HttpClients {}

/// Resolves names to public addresses alone.
struct PublicOnly;

/// Every address of a name is forbidden.
#[derive(Debug)]
struct NotAllowed;

impl std::fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(ADDRESS_CAUSE)
    }
}

impl std::error::Error for NotAllowed {}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found
                .filter(|found| is_public(found.ip().to_canonical()))
                .collect();
            if public.is_empty() {
                return Err(NotAllowed.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns the client for a URL. It is made once for each set of settings.
fn client(server: &HttpServer, common: &CommonParams, pool: &ConnectionPool) -> Result<Client, Failure> {
    let key = ClientKey {
        secure: server.secure,
        ca_file: server.ca_file.clone(),
        verify: common.verify,
        guest: common.guest,
        connect: common.connect_timeout(),
        read: common.read_timeout(),
        agent: pool.asset().app_id.clone(),
    };
    let clients = pool.of_service(|_| HttpClients::default());
    let mut kept = clients.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, client)) = kept.iter().find(|(known, _)| *known == key) {
        return Ok(client.clone());
    }
    let client = build(server, common, pool.options(), &key)?;
    if kept.len() >= CLIENTS {
        kept.remove(0);
    }
    kept.push((key, client.clone()));
    Ok(client)
}

fn build(
    server: &HttpServer,
    common: &CommonParams,
    options: &ConnectionOptions,
    key: &ClientKey,
) -> Result<Client, Failure> {
    let unusable = |error: ackpost_tls::TlsError| {
        Failure::permanent(
            error.to_string(),
            "check `ca_file=` and the certificates of this system",
        )
    };
    let tls = if server.secure {
        verify(common, options, server.ca_file.as_deref())?
            .client_config()
            .map_err(unusable)?
    } else {
        ackpost_tls::without_certificates().map_err(unusable)?
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(key.connect)
        .read_timeout(key.read)
        .timeout(TOTAL)
        .pool_idle_timeout(Duration::from_mins(1))
        .tcp_nodelay(true)
        .user_agent(&key.agent);
    let public_only = common.guest.is_some_and(|guest| !guest.private_addresses);
    // A proxy would resolve the name, and the address could not be checked.
    if public_only || !options.proxies {
        builder = builder.no_proxy();
    }
    if public_only {
        builder = builder.dns_resolver(Arc::new(PublicOnly));
    }
    builder
        .build()
        .map_err(|error| Failure::permanent(error.to_string(), "check the settings of this program"))
}

/// Sends a request and reads its answer. Redirects to the same host are followed with the same method and body, if the
/// URL allows it.
pub(crate) async fn send(
    server: &HttpServer,
    common: &CommonParams,
    pool: &ConnectionPool,
    mut request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    check_literal(common, &request.url)?;
    let client = client(server, common, pool)?;
    for _ in 0..=REDIRECTS {
        let sent = client
            .request(request.method.clone(), &request.url)
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send()
            .await;
        let response = sent.map_err(|error| classified(server, &error))?;
        let status = response.status();
        if !status.is_redirection() || !response.headers().contains_key(LOCATION) {
            return read(server, response).await;
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| response.url().join(location).ok());
        let same = next
            .as_ref()
            .is_some_and(|next| next.origin() == response.url().origin());
        match next {
            Some(next) if same && common.redirect => request.url = next.into(),
            _ => return Err(elsewhere(common, status.as_u16(), location)),
        }
    }
    Err(Failure::permanent(
        "the server redirects without end",
        "check the path in the URL and the settings of the server",
    ))
}

/// Checks an address that is written in a URL, for which no resolver is asked. The URL is read as the HTTP client reads it:
/// `2130706433`, `0x7f.1` and `127.1` are addresses too.
fn check_literal(common: &CommonParams, url: &str) -> Result<(), Failure> {
    let Ok(url) = Url::parse(url) else {
        // The client refuses it in its own words.
        return Ok(());
    };
    match url.host_str().map(|host| bare(host).parse()) {
        Some(Ok(address)) if !allowed(common, address) => {
            Err(Failure::permanent(ADDRESS_CAUSE, ADDRESS_REMEDY))
        }
        _ => Ok(()),
    }
}

fn elsewhere(common: &CommonParams, status: u16, location: Option<&str>) -> Failure {
    // A query may hold a secret.
    let to = location
        .filter(|_| common.guest.is_none())
        .map(|location| said(location.split(['?', '#']).next().unwrap_or_default()));
    let to = to.map_or_else(|| "elsewhere".to_owned(), |to| format!("to {to}"));
    Failure::permanent(
        format!("the server redirects {to} ({status})"),
        "write that host and path into the URL; a redirect within one host is followed with redirect=yes",
    )
}

async fn read(server: &HttpServer, mut response: reqwest::Response) -> Result<HttpResponse, Failure> {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(part)) => body.extend_from_slice(&part[..part.len().min(ANSWER_BYTES - body.len())]),
            // Without a proof in the body, a good status is none.
            Err(error) if (200..300).contains(&status) => {
                return Err(classified(server, &error).in_doubt(true));
            }
            Ok(None) | Err(_) => break,
        }
    }
    Ok(HttpResponse {
        status,
        body,
        retry_after,
    })
}

/// Returns the failure behind an error of the HTTP client.
fn classified(server: &HttpServer, error: &reqwest::Error) -> Failure {
    let address = server.address();
    let (mut tls, mut kind, mut forbidden) = (None, None, false);
    let mut detail = error.to_string();
    let mut source = error.source();
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
    // Nothing of the message was written before the connection stood.
    let in_doubt = !error.is_connect() && !error.is_builder();
    let failure = match (tls, kind) {
        _ if forbidden => Failure::permanent(ADDRESS_CAUSE, ADDRESS_REMEDY),
        (Some(rustls::Error::InvalidMessage(_)), _) => Failure::permanent(
            format!("{address} does not speak TLS"),
            "use the schema without encryption, or another port",
        ),
        (Some(error), _) => certificate(&address, error),
        _ if error.is_timeout() && error.is_connect() => Failure::temporary(
            format!("{address} did not take the connection in time"),
            "check host, port and firewall, or raise `cto=`",
        ),
        _ if error.is_timeout() => Failure::temporary(
            format!("{address} did not answer in time"),
            "look at the server, or raise `rto=`",
        ),
        (_, Some(io::ErrorKind::ConnectionRefused)) => Failure::temporary(
            format!("nobody listens on {address}"),
            "check host and port in the URL, and that the server runs",
        ),
        _ if error.is_connect() => Failure::temporary(
            format!("no connection to {address}: {}", said(&detail)),
            "check host, port, proxy and firewall",
        ),
        _ if detail.starts_with("invalid HTTP ") => Failure::permanent(
            format!("{address} does not speak HTTP"),
            "check schema and port in the URL",
        ),
        _ => Failure::temporary(
            format!(
                "the connection to {address} broke before the answer: {}",
                said(&detail)
            ),
            "look at the server and the network",
        ),
    };
    failure.in_doubt(in_doubt)
}

/// Makes a header. Line ends, which would begin another header, are errors.
pub(crate) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Diagnostic> {
    let bad =
        |cause: String| Diagnostic::error(cause, "write a name and a value without line ends").key(name);
    let shown = said(name);
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| bad(format!("`{shown}` cannot be the name of a header")))?;
    let value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| bad(format!("the value of the header `{shown}` is not valid")))?;
    Ok((header, value))
}

/// Returns the value of `Authorization` for a user and a password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// Characters that stay in the segments of a path.
const SEGMENT: &str = ":@!$&'()*+=";

/// Returns a path of these segments as it is requested.
pub(crate) fn path(segments: &[String]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.push_str(&percent::encode_except(segment, SEGMENT));
    }
    path
}

/// Returns the credentials in front of the host of a canonical URL.
pub(crate) fn credentials(user: Option<&str>, password: Option<&str>, secrets: bool) -> String {
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return String::new();
    };
    let user = percent::encode(user);
    match password.filter(|password| !password.is_empty()) {
        Some(_) if !secrets => format!("{user}:****@"),
        Some(password) => format!("{user}:{}@", percent::encode(password)),
        None => format!("{user}@"),
    }
}
