//! Transport of requests to the server: direct, sealed to its key, or through a path of onion hops.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use getrandom::SysRng;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rand_core::UnwrapErr;
use session_protocol::ServerKey;
use session_protocol::onion::path::{self, Destination, Hop};
use session_protocol::onion::{Cipher, v4};
use url::Url;

use crate::error::{Cause, SogsError};

pub(crate) mod http;

use http::{Http, HttpRequest, HttpResponse, Progress};

/// Most redirects followed for one request, all to the same origin.
const MAX_REDIRECTS: usize = 3;

/// Characters of a decoded path that must be escaped in a URL: all but unreserved ones, `/` and what RFC 3986 allows
/// in segments. `%` is escaped, because the path is decoded text.
const PATH_SET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'%')
    .add(b'\\')
    .add(b'^')
    .add(b'|')
    .add(b'[')
    .add(b']');

/// Setting for the sealing of requests to the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encrypt {
    /// Sealed over plain http, direct over https. No answer changes that: anybody on the way could give it. A
    /// plain-http server that accepts no sealed requests needs [`Encrypt::No`].
    #[default]
    Auto,
    /// Always sealed.
    Yes,
    /// Never sealed.
    No,
}

/// A path of onion hops to the server.
#[derive(Debug, Clone)]
pub struct OnionPath {
    /// Address of the first hop, e.g. `https://203.0.113.7:22021`. Its certificate is not checked: the layer is sealed
    /// to its key.
    pub entry: Url,
    /// The hops, first to last; at least one.
    pub hops: Vec<Hop>,
}

/// One request for the server, signed anew for each attempt.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'static str,
    /// Decoded path and raw query.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: Option<Bytes>,
    pub(crate) upload: Option<Progress>,
    pub(crate) download: Option<Progress>,
    /// Longest answer this call can have, bytes.
    pub(crate) answer_bytes: usize,
}

/// Maximum size that sealing adds to an answer: status, headers, nonce, tag; bytes.
const SEALED_EXTRA_BYTES: usize = 64 * 1024;

/// The server's answer, wherever it was unwrapped.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) truncated: bool,
    /// Seconds to add to our clock to get the server's.
    pub(crate) clock_offset: Option<i64>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The four headers for a path; called again when a redirect changes it.
pub(crate) type Sign<'a> = dyn Fn(&str) -> Vec<(String, String)> + Send + Sync + 'a;

/// Route of requests to the server.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) encrypt: Encrypt,
    pub(crate) cipher: Cipher,
    pub(crate) path: Option<OnionPath>,
    /// True if redirects within the origin are followed.
    pub(crate) redirects: bool,
}

#[derive(Debug)]
pub(crate) struct Transport {
    base: Url,
    key: ServerKey,
    route: Route,
    http: Http,
    hop_http: Option<Http>,
}

impl Transport {
    pub(crate) fn new(base: Url, key: ServerKey, route: Route, http: Http, hop_http: Option<Http>) -> Self {
        Self {
            base,
            key,
            route,
            http,
            hop_http,
        }
    }

    /// Returns true if requests are sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        match self.route.encrypt {
            _ if self.route.path.is_some() => true,
            Encrypt::Yes => true,
            Encrypt::No => false,
            Encrypt::Auto => self.base.scheme() == "http",
        }
    }

    pub(crate) async fn send(&self, request: &Outgoing<'_>, sign: &Sign<'_>) -> Result<Answer, SogsError> {
        if self.is_sealed() {
            self.sealed(request, sign).await
        } else {
            self.direct(request, sign).await
        }
    }

    async fn direct(&self, request: &Outgoing<'_>, sign: &Sign<'_>) -> Result<Answer, SogsError> {
        let mut url = join(&self.base, request.path);
        let mut path = request.path.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = request.headers.to_vec();
            headers.extend(sign(&path));
            let response = self
                .http
                .send(HttpRequest {
                    method: request.method,
                    url: url.clone(),
                    headers,
                    body: request.body.clone(),
                    upload: request.upload.clone(),
                    download: request.download.clone(),
                    answer_bytes: request.answer_bytes,
                })
                .await?;
            let Some(next) = self.redirect(&url, &response)? else {
                return Ok(answer(response));
            };
            path = decoded_path(&next);
            url = next;
        }
        Err(SogsError::new(Cause::Redirected { to: shown(&url) }))
    }

    /// Sends the request sealed, and again where the server's own sealed answer redirects within its origin.
    async fn sealed(&self, request: &Outgoing<'_>, sign: &Sign<'_>) -> Result<Answer, SogsError> {
        let mut path = request.path.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.sealed_once(request, &path, sign).await?;
            if !is_redirect(answer.status) {
                return Ok(answer);
            }
            let from = join(&self.base, &path);
            let to = answer.header("location").and_then(|to| from.join(to).ok());
            path = decoded_path(&self.within_origin(&from, to.as_ref(), answer.status)?);
        }
        Err(SogsError::new(Cause::Redirected {
            to: shown(&self.base),
        }))
    }

    async fn sealed_once(
        &self,
        request: &Outgoing<'_>,
        path: &str,
        sign: &Sign<'_>,
    ) -> Result<Answer, SogsError> {
        let mut headers = request.headers.to_vec();
        headers.extend(sign(path));
        let inner = v4::Request {
            method: request.method.to_owned(),
            endpoint: path.to_owned(),
            headers,
            body: request.body.as_ref().map(|body| body.to_vec()),
        };
        let mut rng = UnwrapErr(SysRng);
        let bad_key = |_| SogsError::invalid("the server's public key is not a usable X25519 key");
        let sealed = inner
            .seal(&self.key, self.route.cipher, &mut rng)
            .map_err(bad_key)?;
        let (http, mut url, body) = match (&self.route.path, &self.hop_http) {
            (Some(onion), Some(http)) => {
                let destination = Destination {
                    host: self.base.host_str().unwrap_or_default().to_owned(),
                    port: self.base.port_or_known_default().unwrap_or(80),
                    protocol: self.base.scheme().to_owned(),
                    target: join(&self.base, v4::PATH).path().to_owned(),
                };
                let body = path::wrap(&sealed, &destination, &onion.hops, self.route.cipher, &mut rng)
                    .map_err(|_| SogsError::invalid("a hop's key is not a usable X25519 key"))?;
                (http, join(&onion.entry, path::HOP_PATH), body)
            }
            _ => (&self.http, join(&self.base, v4::PATH), sealed.to_body()),
        };
        let body = Bytes::from(body);
        for _ in 0..=MAX_REDIRECTS {
            let response = http
                .send(HttpRequest {
                    method: "POST",
                    url: url.clone(),
                    headers: vec![("content-type".to_owned(), "application/octet-stream".to_owned())],
                    body: Some(body.clone()),
                    upload: request.upload.clone(),
                    download: request.download.clone(),
                    answer_bytes: request.answer_bytes.saturating_add(SEALED_EXTRA_BYTES),
                })
                .await?;
            if let Some(next) = self.redirect(&url, &response)? {
                url = next;
                continue;
            }
            return self.unseal(response, &sealed.reply);
        }
        Err(SogsError::new(Cause::Redirected { to: shown(&url) }))
    }

    /// The next URL of a redirect to the same origin; an error for any other redirect.
    fn redirect(&self, from: &Url, response: &HttpResponse) -> Result<Option<Url>, SogsError> {
        if !is_redirect(response.status) {
            return Ok(None);
        }
        self.within_origin(from, response.location.as_ref(), response.status)
            .map(Some)
    }

    fn within_origin(&self, from: &Url, to: Option<&Url>, status: u16) -> Result<Url, SogsError> {
        match to {
            Some(to) if self.route.redirects && to.origin() == from.origin() => Ok(to.clone()),
            Some(to) => Err(SogsError::new(Cause::Redirected { to: shown(to) }).with_status(status)),
            None => Err(SogsError::new(Cause::NotASogs).with_status(status)),
        }
    }

    fn unseal(
        &self,
        response: HttpResponse,
        key: &session_protocol::onion::ReplyKey,
    ) -> Result<Answer, SogsError> {
        let outer = answer(response);
        if outer.status == 200
            && !outer.truncated
            && let Ok(inner) = v4::Response::open(&outer.body, key)
        {
            let mut answer = Answer {
                status: inner.code,
                headers: inner.headers,
                body: inner.body.into(),
                truncated: false,
                clock_offset: None,
            };
            answer.clock_offset = clock_offset(&answer).or(outer.clock_offset);
            return Ok(answer);
        }
        if outer.truncated {
            return Err(SogsError::new(Cause::AnswerTooLong {
                limit: outer.body.len(),
            }));
        }
        let text = plain_text(&outer);
        if self.route.path.is_some() && outer.status != 400 {
            return Err(SogsError::new(Cause::Hop {
                detail: format!("answered {}", outer.status),
            })
            .with_status(outer.status)
            .with_text(&text));
        }
        let cause = match outer.status {
            // Text instead of sealed bytes: a server or a login page that knows nothing of onion requests.
            200..=299 if is_text(&outer.body) => Cause::NotSealed,
            // An answer that opens with another key, or a request that does not: either way the key is not theirs.
            200..=299 | 400 => Cause::WrongServerKey,
            429 => Cause::RateLimited,
            413 => Cause::TooLarge,
            500..=599 if outer.status != 501 => Cause::ServerError,
            _ => Cause::NotSealed,
        };
        Err(SogsError::new(cause)
            .with_status(outer.status)
            .with_text(&text)
            .with_retry_after(retry_after(&outer)))
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Sealed bytes are random; text, or less than a nonce and a tag, is none.
fn is_text(body: &[u8]) -> bool {
    body.len() < 28 || std::str::from_utf8(body).is_ok()
}

fn answer(response: HttpResponse) -> Answer {
    let mut answer = Answer {
        status: response.status,
        headers: response.headers,
        body: response.body,
        truncated: response.truncated,
        clock_offset: None,
    };
    answer.clock_offset = clock_offset(&answer);
    answer
}

/// Puts a decoded path with raw query behind the base URL.
pub(crate) fn join(base: &Url, path: &str) -> Url {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut url = base.clone();
    let full = format!(
        "{}{}",
        base.path().trim_end_matches('/'),
        utf8_percent_encode(path, PATH_SET)
    );
    url.set_path(&full);
    url.set_query(query);
    url
}

fn decoded_path(url: &Url) -> String {
    let path = percent_encoding::percent_decode_str(url.path())
        .decode_utf8_lossy()
        .into_owned();
    match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Scheme, host and port: what may be shown of a URL.
fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The text of an answer, where it is text for people and not a page.
pub(crate) fn plain_text(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(1024)]).into_owned();
    let page = text.trim_start().starts_with('<');
    let binary = text.contains('\u{fffd}') || text.contains('\0');
    if page || binary { String::new() } else { text }
}

/// `Retry-After` in seconds or as a date, against the answer's own `Date`.
pub(crate) fn retry_after(answer: &Answer) -> Option<std::time::Duration> {
    let value = answer.header("retry-after")?.trim();
    let seconds = if let Ok(seconds) = value.parse::<u64>() {
        seconds
    } else {
        let now = answer.header("date").and_then(http_date).unwrap_or_else(now_secs);
        u64::try_from(http_date(value)? - now).ok()?
    };
    // A server that asks for more than a day is not believed further than that.
    Some(std::time::Duration::from_secs(seconds.min(86_400)))
}

fn clock_offset(answer: &Answer) -> Option<i64> {
    Some(answer.header("date").and_then(http_date)? - now_secs())
}

fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|date| date.timestamp().as_second())
}

pub(crate) fn now_secs() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
