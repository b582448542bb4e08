//! A bucket of an S3-compatible store.
//!
//! Each call has a time limit and is tried three times while the store is away, busy or fails. Downloads come
//! in pieces, so that a slow reader holds neither a connection to the store nor more memory than one piece; uploads are
//! one streamed request, which the store keeps whole or not at all. Signatures are in the query of the address: no
//! message of an error may hold an address.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bounded_http::{MemoryBudget, MemoryPermit, OutOfMemory};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use tokio_util::io::ReaderStream;
use url::{Host, Url};

use super::credentials::CredentialSource;
use super::error::ContentError;
use crate::config::{Config, ConfigError, Files};

/// Largest upload in bytes; S3 takes larger objects in several parts only.
const MAX_OBJECT: u64 = 5_000_000_000;
/// Attempts of one call, with growing pauses between them.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(150);
/// Memory of a running upload, in KiB: what is read of the file, and the buffer of the connection.
const UPLOAD_KIB: u32 = 512;
/// Bytes of an answer in XML that are read.
const MAX_ANSWER: usize = 4 << 20;
/// Objects on a page of a list.
const PAGE: usize = 1000;
/// How long an address is valid.
const VALID: Duration = Duration::from_secs(600);
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// A bucket, and what is needed to ask it. Nothing is read or connected before the first call.
#[derive(Debug)]
pub(crate) struct Bucket {
    address: rusty_s3::Bucket,
    prefix: String,
    credentials: CredentialSource,
    timeout: Duration,
    client: OnceLock<Client>,
    /// Memory for transfers, in KiB.
    budget: Arc<MemoryBudget>,
    upload_kib: u32,
}

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name, without the prefix of a bucket.
    pub(crate) name: String,
    /// When it was stored; unknown if the store's time cannot be read.
    pub(crate) modified: Option<std::time::SystemTime>,
}

/// A file that is to be stored, as it was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    pub(super) path: &'a Path,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
}

fn wrong(option: &'static str, message: &str) -> ConfigError {
    ConfigError::Value {
        option,
        message: message.to_owned(),
    }
}

fn endpoint(files: &Files) -> Result<Url, ConfigError> {
    let option = "files.s3_endpoint";
    let text = if files.s3_endpoint.is_empty() {
        format!("https://s3.{}.amazonaws.com", files.s3_region)
    } else {
        files.s3_endpoint.clone()
    };
    let url = Url::parse(&text).map_err(|_| wrong(option, "is a URL such as https://s3.example.org"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong(option, "starts with https:// or http:// and has a host"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong(
            option,
            "holds no user, password or query; keys belong in files.s3_credentials_file",
        ));
    }
    if url.scheme() == "http" && !is_loopback(&url) && !files.s3_allow_http {
        return Err(wrong(
            option,
            "starts with https:// for another machine; set files.s3_allow_http = true on a network that you trust",
        ));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn address(files: &Files) -> Result<rusty_s3::Bucket, ConfigError> {
    let plain = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c) || more.contains(&c))
    };
    let name = &files.s3_bucket;
    if !(3..=63).contains(&name.len()) || !plain(name, b"") || name.starts_with('.') {
        return Err(wrong(
            "files.s3_bucket",
            "is the name of a bucket: 3 to 63 letters, digits, dots and hyphens",
        ));
    }
    if files.s3_region.is_empty() || files.s3_region.len() > 63 || !plain(&files.s3_region, b"") {
        return Err(wrong(
            "files.s3_region",
            "is the name of a region such as us-east-1",
        ));
    }
    let prefix = &files.s3_prefix;
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let whole = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.len() > 200 || !plain(prefix, b"/") || (!prefix.is_empty() && whole.split('/').any(odd)) {
        return Err(wrong(
            "files.s3_prefix",
            "is empty or like community/: at most 200 letters, digits, dots, hyphens, and single slashes inside",
        ));
    }
    if files.max_size > MAX_OBJECT {
        return Err(wrong(
            "files.max_size",
            "is at most 5000000000 with files.storage = \"s3\"",
        ));
    }
    if files.s3_timeout_seconds < 0.1 {
        return Err(wrong("files.s3_timeout_seconds", "is at least 0.1"));
    }
    let style = if files.s3_path_style {
        UrlStyle::Path
    } else {
        UrlStyle::VirtualHost
    };
    rusty_s3::Bucket::new(endpoint(files)?, style, name.clone(), files.s3_region.clone()).map_err(|_| {
        wrong(
            "files.s3_path_style",
            "is true for this address: the bucket cannot be part of its host name",
        )
    })
}

/// Refuses options of `[files]` that name no usable bucket.
pub(crate) fn check(files: &Files) -> Result<(), ConfigError> {
    address(files).map(drop)
}

/// An answer that is not the one that was asked for.
enum Failed {
    /// Trying again may help.
    Passing(String),
    /// The time is over.
    Late,
    /// The store said no.
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
            timeout: Duration::from_secs_f64(files.s3_timeout_seconds.clamp(0.1, 86_400.0)),
            client: OnceLock::new(),
            budget,
            upload_kib: UPLOAD_KIB.min(free / 4).max(1),
        })
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

    /// Refuses a configuration whose keys cannot be read.
    pub(crate) async fn check_credentials(&self) -> Result<(), ContentError> {
        self.credentials.get().await.map(drop)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn client(&self) -> Result<&Client, ContentError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let failed =
            |error: &dyn std::fmt::Display| ContentError::Store(format!("TLS cannot be set up: {error}"));
        let provider = rustls::crypto::CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let tls = if self.address.base_url().scheme() == "https" {
            use rustls_platform_verifier::BuilderVerifierExt as _;
            tls.with_platform_verifier()
                .map_err(|error| failed(&error))?
                .with_no_client_auth()
        } else {
            tls.with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
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
        let client = builder.build().map_err(|error| failed(&error.without_url()))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Takes memory for a transfer, or reports that others have it.
    async fn memory(&self, kib: u32) -> Result<MemoryPermit, ContentError> {
        let mut permit = self.budget.permit(0);
        match permit.cover(kib.max(1) as usize * 1024).await {
            Ok(()) => Ok(permit),
            Err(OutOfMemory) => Err(ContentError::Busy),
        }
    }

    /// Asks until there is an answer that the call accepts. 404 is [`ContentError::Missing`].
    async fn ask(&self, call: &Call<'_>) -> Result<Got, ContentError> {
        let client = self.client()?;
        let mut attempt = 0;
        loop {
            let credentials = self.credentials.get().await?;
            let request = self.request(client, &credentials, call).await?;
            let failed = match request.timeout(call.timeout(self.timeout)).send().await {
                Ok(response) if response.status().is_success() => {
                    match Got::read(response, call.answer_bytes())
                        .await
                        .and_then(|got| call.accepts(got))
                    {
                        Ok(got) => return Ok(got),
                        Err(cause) => Failed::Passing(cause),
                    }
                }
                Ok(response) => refusal(response).await,
                Err(error) if error.is_timeout() => Failed::Late,
                Err(error) => Failed::Passing(cause(error)),
            };
            attempt += 1;
            match failed {
                Failed::Refused(StatusCode::NOT_FOUND, code) if code != "NoSuchBucket" => {
                    return Err(ContentError::Missing);
                }
                Failed::Passing(_) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt * attempt).await;
                }
                Failed::Passing(cause) => return Err(self.failed(&cause)),
                // One that is slow would only get slower.
                Failed::Late => return Err(self.failed("it does not answer in time")),
                Failed::Refused(status, code) => {
                    self.credentials.forget();
                    return Err(self.failed(&format!("it answered {} {code}", status.as_u16())));
                }
            }
        }
    }

    /// A signed request.
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
                    // A range of nothing is an error.
                    0 => request,
                    _ => request.header(
                        header::RANGE,
                        format!("bytes={from}-{}", from.saturating_add(length - 1)),
                    ),
                }
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

    /// Stores a file under a name. The store checks the MD5 before it says that it has it.
    pub(super) async fn put(&self, name: &str, file: Measured<'_>) -> Result<(), ContentError> {
        let _memory = self.memory(self.upload_kib).await?;
        let put = Call::Put {
            key: &self.key(name),
            file,
        };
        match self.ask(&put).await {
            Ok(_) => Ok(()),
            Err(ContentError::Missing) => Err(self.failed("there is no such bucket")),
            Err(error) => Err(error),
        }
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

    /// Removes an object; one that is not there is removed already.
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
            Err(ContentError::Missing) => Err(self.failed("there is no such bucket")),
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

/// One request to the store.
enum Call<'a> {
    Put { key: &'a str, file: Measured<'a> },
    Part { key: &'a str, from: u64, length: u64 },
    Size { key: &'a str },
    Remove { key: &'a str },
    List { next: Option<&'a str> },
}

impl Call<'_> {
    /// Time for the whole exchange.
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
    /// It is a part of an object.
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

/// Reads a body of at most so many bytes.
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

/// Why a request failed, without the address, whose query holds a signature.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(change: impl FnOnce(&mut Files)) -> Files {
        let mut files = Files {
            s3_bucket: "my-files".to_owned(),
            ..Files::default()
        };
        change(&mut files);
        files
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        let shown = |files: &Files| address(files).map(|bucket| bucket.base_url().to_string());
        assert_eq!(
            shown(&files(|_| ())).expect("Amazon S3"),
            "https://s3.us-east-1.amazonaws.com/my-files/"
        );
        let hosted = files(|files| files.s3_path_style = false);
        assert_eq!(
            shown(&hosted).expect("Amazon S3"),
            "https://my-files.s3.us-east-1.amazonaws.com/"
        );
        for good in [
            "http://127.0.0.1:9000",
            "http://localhost",
            "http://[::1]:1",
            "https://s3.example.org/x",
        ] {
            check(&files(|files| files.s3_endpoint = good.to_owned())).expect(good);
        }
        for bad in [
            "http://s3.example.org",
            "http://localhost.example.org",
            "https://key:secret@s3.example.org",
            "https://s3.example.org/?x=1",
            "ftp://s3.example.org",
            "s3.example.org",
        ] {
            let error = check(&files(|files| files.s3_endpoint = bad.to_owned())).expect_err(bad);
            assert!(error.to_string().starts_with("files.s3_endpoint: "), "{error}");
        }
        check(&files(|files| {
            files.s3_endpoint = "http://s3.example.org".to_owned();
            files.s3_allow_http = true;
        }))
        .expect("allowed by the operator");
        for prefix in [
            "/",
            "a//b",
            "../x/",
            "a/./b",
            "a/..",
            "a b",
            "ä/",
            &"x".repeat(201),
        ] {
            check(&files(|files| files.s3_prefix = prefix.to_owned())).expect_err(prefix);
        }
        for prefix in ["", "community/", "a/b", "a."] {
            check(&files(|files| files.s3_prefix = prefix.to_owned())).expect(prefix);
        }
        for bucket in ["", "ab", "a/b", "a?b", ".ab", &"x".repeat(64)] {
            check(&files(|files| files.s3_bucket = bucket.to_owned())).expect_err(bucket);
        }
        check(&files(|files| files.max_size = MAX_OBJECT + 1)).expect_err("too large for one request");
    }
}
