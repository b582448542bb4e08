//! A bucket of an S3-compatible store.
//!
//! Each call has a time limit and is tried three times while the store is away, busy or fails. Downloads come
//! in pieces, so that a slow reader holds neither a connection to the store nor more memory than one piece; uploads are
//! one streamed request, which the store keeps whole or not at all. Signatures are in the query of the address: no
//! message of an error may hold an address.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ackpost_tls::{CertificateProblem, Verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bounded_http::{MemoryBudget, MemoryPermit, OutOfMemory};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Credentials, S3Action};
use tokio_util::io::ReaderStream;

use super::bucket_address::{address, is_loopback};
use super::credentials::CredentialSource;
use super::error::ContentError;
use crate::config::{Config, ConfigError};

/// Attempts of one call, with growing pauses between them.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(150);
/// Memory of a running upload, in KiB: what is read of the file, and the buffer of the connection.
const UPLOAD_KIB: u32 = 512;
/// Bytes of an answer in XML that are read.
const MAX_ANSWER: usize = 4 << 20;
/// Bytes of a file with authorities that are read; the list of a system has about 220,000.
const MAX_AUTHORITIES: u64 = 1 << 20;
/// Objects on a page of a list.
const PAGE: usize = 1000;
/// Time for which a signed address is valid.
const VALID: Duration = Duration::from_secs(600);
/// Header that names the object to copy.
const COPY_SOURCE: &str = "x-amz-copy-source";
/// Time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);

/// A bucket, and what is needed to ask it. Nothing is read or connected before the first call.
#[derive(Debug)]
pub(crate) struct Bucket {
    address: rusty_s3::Bucket,
    prefix: String,
    credentials: CredentialSource,
    /// File with the authorities that its certificate may be signed by, unless the system names them.
    authorities: Option<PathBuf>,
    timeout: Duration,
    client: OnceLock<Client>,
    /// Memory for transfers, in KiB.
    budget: Arc<MemoryBudget>,
    upload_kib: u32,
    counters: BucketCounters,
}

/// Numbers of a bucket since the process started.
#[derive(Debug, Default)]
pub(crate) struct BucketCounters {
    /// Requests to the store, attempts counted one by one.
    pub(crate) requests: AtomicU64,
    /// Requests that the store refused, did not answer in time or could not answer; missing objects are not counted.
    pub(crate) failed: AtomicU64,
    /// Time between requests and the end of their answers, in milliseconds, summed.
    pub(crate) milliseconds: AtomicU64,
}

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name, without the prefix of a bucket.
    pub(crate) name: String,
    /// Time at which it was stored; `None` if the store's time cannot be read.
    pub(crate) modified: Option<std::time::SystemTime>,
}

/// A file that is to be stored, as it was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    pub(super) path: &'a Path,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
}

/// Failure of a request to the store.
enum Failed {
    /// A failure that a retry may fix.
    Passing(String),
    /// The time limit has passed.
    Late,
    /// The store refused the request.
    Refused(StatusCode, String),
}

impl Bucket {
    /// The bucket of a configuration. `budget` is the memory for transfers.
    pub(crate) fn new(config: &Config, budget: Arc<MemoryBudget>) -> Result<Self, ConfigError> {
        let files = &config.files;
        let free = u32::try_from(budget.available() / 1024).unwrap_or(u32::MAX);
        Ok(Self {
            address: address(files)?,
            prefix: files.s3_prefix.clone(),
            credentials: CredentialSource::new(config),
            authorities: (!files.s3_ca_file.as_os_str().is_empty())
                .then(|| config.dir.join(&files.s3_ca_file)),
            timeout: Duration::from_secs_f64(files.s3_timeout_seconds.clamp(0.1, 86_400.0)),
            client: OnceLock::new(),
            budget,
            upload_kib: UPLOAD_KIB.min(free / 4).max(1),
            counters: BucketCounters::default(),
        })
    }

    /// Returns the counters since the process started.
    pub(crate) fn counters(&self) -> &BucketCounters {
        &self.counters
    }

    /// Bucket, host and prefix, for messages.
    pub(crate) fn shown(&self) -> String {
        let url = self.address.base_url();
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!(
            "bucket {} at {}{port}{}",
            self.address.name(),
            url.host_str().unwrap_or_default(),
            if self.prefix.is_empty() {
                String::new()
            } else {
                format!(", prefix {}", self.prefix)
            }
        )
    }

    /// Refuses a configuration whose keys or authorities cannot be read.
    pub(crate) async fn check(&self) -> Result<(), ContentError> {
        self.credentials.get().await?;
        self.client().await.map(drop)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the settings of TLS, with the authorities that are accepted.
    async fn tls(&self) -> Result<ackpost_tls::ClientConfig, ContentError> {
        let failed =
            |error: &dyn std::fmt::Display| ContentError::Store(format!("TLS cannot be set up: {error}"));
        if self.address.base_url().scheme() != "https" {
            return ackpost_tls::without_certificates().map_err(|error| failed(&error));
        }
        let Some(path) = &self.authorities else {
            return Verify::Platform.client_config().map_err(|error| failed(&error));
        };
        let failed = |cause: &dyn std::fmt::Display| {
            ContentError::Store(format!(
                "the authorities of its certificate cannot be read from {} (files.s3_ca_file): {cause}",
                path.display()
            ))
        };
        let file = tokio::fs::metadata(path).await.map_err(|error| failed(&error))?;
        if file.len() > MAX_AUTHORITIES {
            return Err(failed(&format_args!(
                "it has {} bytes, more than {MAX_AUTHORITIES}",
                file.len()
            )));
        }
        let pem = tokio::fs::read(path).await.map_err(|error| failed(&error))?;
        Verify::Authorities(pem.into())
            .client_config()
            .map_err(|error| failed(&error))
    }

    async fn client(&self) -> Result<&Client, ContentError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let tls = self.tls().await?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT.min(self.timeout))
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(16)
            .tcp_nodelay(true)
            .user_agent(concat!("ackpost/", env!("CARGO_PKG_VERSION")));
        if is_loopback(self.address.base_url()) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| ContentError::Store(format!("TLS cannot be set up: {}", error.without_url())))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Reserves memory for a transfer, or reports that others use it.
    async fn memory(&self, kib: u32) -> Result<MemoryPermit, ContentError> {
        let mut permit = self.budget.permit(0);
        match permit.cover(kib.max(1) as usize * 1024).await {
            Ok(()) => Ok(permit),
            Err(OutOfMemory) => Err(ContentError::Busy),
        }
    }

    /// Asks until there is an answer that the call accepts. 404 is [`ContentError::Missing`].
    async fn ask(&self, call: &Call<'_>) -> Result<Got, ContentError> {
        let client = self.client().await?;
        let mut attempt = 0;
        loop {
            let credentials = self.credentials.get().await?;
            let request = self.request(client, &credentials, call).await?;
            let started = Instant::now();
            let outcome = match request.timeout(call.timeout(self.timeout)).send().await {
                Ok(response) if response.status().is_success() => Got::read(response, call.answer_bytes())
                    .await
                    .and_then(|got| call.accepts(got))
                    .map_err(Failed::Passing),
                Ok(response) => Err(refusal(response).await),
                Err(error) if error.is_timeout() => Err(Failed::Late),
                Err(error) => Err(Failed::Passing(cause(error))),
            };
            self.counters.count(started);
            let failed = match outcome {
                Ok(got) => return Ok(got),
                Err(Failed::Refused(StatusCode::NOT_FOUND, code)) if code != "NoSuchBucket" => {
                    return Err(ContentError::Missing);
                }
                Err(failed) => failed,
            };
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            attempt += 1;
            match failed {
                Failed::Passing(_) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt * attempt).await;
                }
                Failed::Passing(cause) => return Err(self.failed(&cause)),
                // A slow store would only get slower by retries.
                Failed::Late => return Err(self.failed("it does not answer in time")),
                Failed::Refused(status, code) => {
                    self.credentials.forget();
                    return Err(self.failed(&format!("it answered {} {code}", status.as_u16())));
                }
            }
        }
    }

    /// Builds a signed request.
    async fn request(
        &self,
        client: &Client,
        credentials: &Credentials,
        call: &Call<'_>,
    ) -> std::io::Result<RequestBuilder> {
        let (bucket, credentials) = (&self.address, Some(credentials));
        Ok(match *call {
            Call::Put { key, file } => {
                let md5 = STANDARD.encode(file.md5);
                let mut action = bucket.put_object(credentials, key);
                // Signed, so that the address is good for these bytes only.
                action.headers_mut().insert("content-md5", md5.clone());
                let source = tokio::fs::File::open(file.path).await?;
                let source = tokio::io::AsyncReadExt::take(source, file.size);
                client
                    .request(Method::PUT, action.sign(VALID))
                    .header(header::CONTENT_LENGTH, file.size)
                    .header("content-md5", md5)
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .body(reqwest::Body::wrap_stream(ReaderStream::with_capacity(
                        source,
                        64 * 1024,
                    )))
            }
            Call::Part { key, from, length } => {
                let request = client.request(Method::GET, bucket.get_object(credentials, key).sign(VALID));
                match length {
                    // A range request for an empty object is an error.
                    0 => request,
                    _ => request.header(
                        header::RANGE,
                        format!("bytes={from}-{}", from.saturating_add(length - 1)),
                    ),
                }
            }
            Call::Copy { key, source } => {
                let mut action = bucket.put_object(credentials, key);
                action.headers_mut().insert(COPY_SOURCE, source.to_owned());
                client
                    .request(Method::PUT, action.sign(VALID))
                    .header(COPY_SOURCE, source)
                    .header(header::CONTENT_LENGTH, 0)
            }
            Call::Size { key } => {
                client.request(Method::HEAD, bucket.head_object(credentials, key).sign(VALID))
            }
            Call::Remove { key } => {
                client.request(Method::DELETE, bucket.delete_object(credentials, key).sign(VALID))
            }
            Call::List { next } => {
                let mut action = ListObjectsV2::new(bucket, credentials);
                action.with_max_keys(PAGE);
                if !self.prefix.is_empty() {
                    action.with_prefix(self.prefix.clone());
                }
                if let Some(next) = next {
                    action.with_continuation_token(next.to_owned());
                }
                client.request(Method::GET, action.sign(VALID))
            }
        })
    }

    fn failed(&self, cause: &str) -> ContentError {
        ContentError::Store(format!("{}: {cause}", self.shown()))
    }

    /// Stores a file under a name. The store checks the MD5 before it confirms.
    pub(super) async fn put(&self, name: &str, file: Measured<'_>) -> Result<(), ContentError> {
        let _memory = self.memory(self.upload_kib).await?;
        let put = Call::Put {
            key: &self.key(name),
            file,
        };
        match self.ask(&put).await {
            Ok(_) => Ok(()),
            Err(ContentError::Missing) => Err(self.failed("the bucket does not exist")),
            Err(error) => Err(error),
        }
    }

    /// Copies an object within the bucket.
    pub(super) async fn copy(&self, from: &str, to: &str) -> Result<(), ContentError> {
        let copy = Call::Copy {
            key: &self.key(to),
            source: &source_of(self.address.name(), &self.key(from)),
        };
        self.ask(&copy).await.map(drop)
    }

    /// Reads `length` bytes from `from` on; with them the size of the whole object.
    pub(super) async fn part(
        &self,
        name: &str,
        from: u64,
        length: u64,
    ) -> Result<(Bytes, u64), ContentError> {
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let memory = self.memory(kib).await?;
        let key = &self.key(name);
        let got = self.ask(&Call::Part { key, from, length }).await?;
        let part = Part {
            bytes: got.bytes,
            _memory: memory,
        };
        Ok((Bytes::from_owner(part), got.size.unwrap_or(0)))
    }

    /// The size of an object.
    pub(super) async fn size(&self, name: &str) -> Result<u64, ContentError> {
        let key = &self.key(name);
        Ok(self.ask(&Call::Size { key }).await?.size.unwrap_or(0))
    }

    /// Removes an object; a missing object counts as removed.
    pub(super) async fn remove(&self, name: &str) -> Result<(), ContentError> {
        let key = &self.key(name);
        match self.ask(&Call::Remove { key }).await {
            Ok(_) | Err(ContentError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A page of the objects below the prefix, and how to ask for the next one.
    pub(super) async fn list(
        &self,
        next: Option<&str>,
    ) -> Result<(Vec<Listed>, Option<String>), ContentError> {
        let got = match self.ask(&Call::List { next }).await {
            Err(ContentError::Missing) => Err(self.failed("the bucket does not exist")),
            other => other,
        }?;
        let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&got.bytes))
            .map_err(|_| self.failed("its list of objects cannot be read"))?;
        let listed = page.contents.into_iter().filter_map(|object| {
            Some(Listed {
                name: object.key.strip_prefix(&self.prefix)?.to_owned(),
                modified: object
                    .last_modified
                    .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                    .map(Into::into),
            })
        });
        Ok((listed.collect(), page.next_continuation_token))
    }
}

/// The value that names the object to copy: bucket and key, escaped.
fn source_of(bucket: &str, key: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    format!("{bucket}/{}", percent_encoding::utf8_percent_encode(key, KEPT))
}

/// One request to the store.
enum Call<'a> {
    Put { key: &'a str, file: Measured<'a> },
    Part { key: &'a str, from: u64, length: u64 },
    Size { key: &'a str },
    Copy { key: &'a str, source: &'a str },
    Remove { key: &'a str },
    List { next: Option<&'a str> },
}

impl BucketCounters {
    fn count(&self, started: Instant) {
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.milliseconds.fetch_add(took, Ordering::Relaxed);
    }
}

impl Call<'_> {
    /// Returns the time limit for the whole exchange.
    fn timeout(&self, each: Duration) -> Duration {
        match self {
            Self::Put { file, .. } => each + Duration::from_secs(file.size / (64 * 1024)),
            Self::Part { length, .. } => each + Duration::from_secs(length / (64 * 1024)),
            _ => each,
        }
    }

    /// Longest body of an answer.
    fn answer_bytes(&self) -> usize {
        match self {
            Self::Part { length, .. } => usize::try_from(*length).unwrap_or(usize::MAX),
            _ => MAX_ANSWER,
        }
    }

    /// Refuses an answer that is not what was asked for.
    fn accepts(&self, got: Got) -> Result<Got, String> {
        match self {
            Self::Part { from, length, .. } => {
                let size = got.size.ok_or("its answer does not say how long the object is")?;
                let expected = size.saturating_sub(*from).min(*length);
                if got.bytes.len() as u64 != expected {
                    return Err(format!("it sent {} bytes instead of {expected}", got.bytes.len()));
                }
                if !got.partial && (*from > 0 || size > *length) {
                    return Err("it ignores `Range`".to_owned());
                }
            }
            // A copy that fails on the way has the status of a success.
            Self::Copy { .. } if String::from_utf8_lossy(&got.bytes).contains("<Error>") => {
                return Err("it could not copy the object".to_owned());
            }
            Self::Size { .. } if got.size.is_none() => {
                return Err("its answer has no `Content-Length`".to_owned());
            }
            _ => {}
        }
        Ok(got)
    }
}

/// An answer of the store.
struct Got {
    /// True if this is a part of an object.
    partial: bool,
    /// Bytes of the whole object.
    size: Option<u64>,
    bytes: Bytes,
}

impl Got {
    async fn read(response: Response, limit: usize) -> Result<Self, String> {
        Ok(Self {
            partial: response.status() == StatusCode::PARTIAL_CONTENT,
            size: whole_size(&response),
            bytes: body(response, limit).await?,
        })
    }
}

/// A piece with its share of the memory.
struct Part {
    bytes: Bytes,
    _memory: MemoryPermit,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body of at most `limit` bytes.
async fn body(mut response: Response, limit: usize) -> Result<Bytes, String> {
    let mut all = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(cause)? {
        if all.len() + chunk.len() > limit {
            return Err(format!("its answer is longer than {limit} bytes"));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn length(response: &Response) -> Option<u64> {
    let value = response.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// The size of the whole object: after the slash of `Content-Range`, else the length.
fn whole_size(response: &Response) -> Option<u64> {
    match response.headers().get(header::CONTENT_RANGE) {
        Some(range) => range.to_str().ok()?.rsplit_once('/')?.1.parse().ok(),
        None => length(response),
    }
}

/// The status of a refusal, and the code that the store names.
async fn refusal(response: Response) -> Failed {
    let status = response.status();
    let text = body(response, 64 * 1024).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let code: String = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map_or("", |(code, _)| code)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    if status.is_server_error() || matches!(status.as_u16(), 408 | 429) || code == "BadDigest" {
        return Failed::Passing(format!("it answered {} {code}", status.as_u16()));
    }
    Failed::Refused(status, code)
}

/// Reason why a request failed, without the address, whose query holds a signature.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    let error = error.without_url();
    if let Some(problem) = CertificateProblem::behind(&error) {
        return match problem {
            CertificateProblem::Untrusted | CertificateProblem::IsAuthority => {
                format!("{problem}; name the file of its authority in files.s3_ca_file")
            }
            other => other.to_string(),
        };
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
