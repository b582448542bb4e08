//! Bodies behind http(s) addresses: attachments and configurations.

use std::fmt;
use std::time::Duration;

use super::pool::ConnectionOptions;

/// Request for the body behind an http(s) address.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The address.
    pub url: String,
    /// Asks with POST instead of GET.
    pub post: bool,
    /// False accepts any certificate.
    pub verify: bool,
    /// Longest time for the connection. Default 4 seconds.
    pub connect: Duration,
    /// Longest silence of the server. Default 10 seconds; the whole answer may take six times as long, 30 seconds at least.
    pub read: Duration,
    /// Largest body, in bytes.
    pub most_bytes: u64,
    /// The `User-Agent`.
    pub agent: String,
}

impl FetchRequest {
    /// A request for at most `most_bytes` with the default times, as [`Asset::app_id`](crate::Asset::app_id) `agent`.
    pub fn new(url: impl Into<String>, most_bytes: u64, agent: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            post: false,
            verify: true,
            connect: Duration::from_secs(4),
            read: Duration::from_secs(10),
            most_bytes,
            agent: agent.into(),
        }
    }
}

crate::setters::setters!(FetchRequest {
    with_read(read: Duration),
});

/// Fetched body and its media type.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The `Content-Type` in lower case, empty if there is none.
    pub media_type: String,
    /// The body.
    pub bytes: Vec<u8>,
}

/// Reason why a body cannot be fetched. It never contains the address, which may hold a secret.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The client cannot be made; the cause is in the certificates of the system.
    Tls(String),
    /// The server cannot be reached, or its answer ends early.
    Unreachable(String),
    /// The server answered with this status, which is not a success.
    Status(String),
    /// The body is larger than asked for.
    TooLarge,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(cause) => f.write_str(cause),
            Self::Unreachable(cause) => write!(f, "cannot be fetched: {cause}"),
            Self::Status(status) => write!(f, "cannot be fetched: the server answered {status}"),
            Self::TooLarge => f.write_str("is too large"),
        }
    }
}

impl std::error::Error for FetchError {}

/// Returns scheme, host, port and path of an address, without credentials and query: these may hold a secret.
pub fn shown_address(url: &str) -> String {
    match ::url::Url::parse(url) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let host = url.host_str().unwrap_or_default();
            format!("{}://{host}{port}{}", url.scheme(), url.path())
        }
        Err(_) => "(address)".to_owned(),
    }
}

impl ConnectionOptions {
    /// Fetches the body behind an http(s) address. Redirects are followed to the same origin only.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, request: &FetchRequest) -> Result<Fetched, FetchError> {
        let client = self
            .http_client(request.verify, request.connect, request.read, &request.agent)
            .map_err(FetchError::Tls)?;
        let method = if request.post {
            reqwest::Method::POST
        } else {
            reqwest::Method::GET
        };
        let mut response = client
            .request(method, request.url.as_str())
            .send()
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(FetchError::Status(status.to_string()));
        }
        let media_type = response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| unreachable(&error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > request.most_bytes {
                return Err(FetchError::TooLarge);
            }
        }
        Ok(Fetched { media_type, bytes })
    }
}

/// The innermost cause, which names what happened; the outer ones name the address with its credentials.
fn unreachable(error: &reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Unreachable("no answer in time".to_owned());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    FetchError::Unreachable(cause.to_string())
}
