//! Answers, and the one table of refusals.

use std::sync::Arc;

use bounded_http::{MemoryBudget, OutOfMemory};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::memory::SMALL_ANSWER;
use crate::contents::{ContentError, Opened};
use crate::store::StoreError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Seconds after which a client may retry a request that fails now.
const RETRY_SECONDS: u64 = 5;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// In memory.
    Bytes(Bytes),
    /// A file, sent as it is read.
    File(Opened),
}

/// Answer to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: ReplyBody,
}

impl Reply {
    pub(crate) fn bytes(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, kind)],
            body: ReplyBody::Bytes(body.into()),
        }
    }

    /// 200 with JSON that is rendered already.
    pub(crate) fn raw_json(body: impl Into<Bytes>) -> Self {
        Self::bytes(StatusCode::OK, JSON, body)
    }

    /// Answer with a value as JSON.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::raw_json(serde_json::to_vec(value).unwrap_or_default())
    }

    /// The same with another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// An answer without type and body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: ReplyBody::Bytes(Bytes::new()),
        }
    }

    /// Size of the body, bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.body {
            ReplyBody::Bytes(bytes) => bytes.len(),
            ReplyBody::File(content) => usize::try_from(content.remaining()).unwrap_or(usize::MAX),
        }
    }

    /// The whole body in memory; a file is read, as far as there is memory for it.
    pub(crate) async fn into_bytes(
        self,
        memory: &Arc<MemoryBudget>,
    ) -> (StatusCode, Vec<(HeaderName, HeaderValue)>, Bytes) {
        let content = match self.body {
            ReplyBody::Bytes(bytes) => return (self.status, self.headers, bytes),
            ReplyBody::File(content) => content,
        };
        let mut share = memory.permit(SMALL_ANSWER);
        let size = usize::try_from(content.remaining()).unwrap_or(usize::MAX);
        let refusal = match share.cover(size).await {
            Ok(()) => match content.read().await {
                Ok(bytes) => return (self.status, self.headers, share.hold(bytes)),
                Err(error) => {
                    tracing::error!(%error, "an uploaded file cannot be read");
                    Refusal::unavailable("The file cannot be read at the moment; please try again later")
                }
            },
            Err(busy) => busy.into(),
        };
        let reply = Self::from(refusal);
        let ReplyBody::Bytes(bytes) = reply.body else {
            return (reply.status, reply.headers, Bytes::new());
        };
        (reply.status, reply.headers, bytes)
    }
}

/// Seconds after which an upload may be tried again when too many are arriving.
const UPLOADS_WAIT: u64 = 30;

/// Reason why a request is refused: status and body are those of the reference.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    status: u16,
    body: RefusalBody,
    retry_after: Option<u64>,
    ban: Option<Ban>,
}

/// A ban that is the cause of a refusal; headers tell it, because the bodies are those of the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ban {
    /// `room` or `server`.
    place: &'static str,
    /// Time at which the ban ends by itself, in Unix seconds.
    until: Option<f64>,
}

/// The place that the caller is banned from: `room` or `server`. An addition to the protocol.
const BANNED: HeaderName = HeaderName::from_static("x-sogs-banned");
/// The time a ban ends by itself, in whole Unix seconds. An addition to the protocol.
const BANNED_UNTIL: HeaderName = HeaderName::from_static("x-sogs-banned-until");

#[derive(Debug, Clone, PartialEq, Eq)]
enum RefusalBody {
    /// The general page of the status.
    Page,
    /// text/plain: what is missing.
    Text(String),
    /// A bare sentence that the reference sends as HTML.
    Sentence(&'static str),
}

impl Refusal {
    /// The general page of a status.
    pub(crate) const fn page(status: u16) -> Self {
        Self {
            status,
            body: RefusalBody::Page,
            retry_after: None,
            ban: None,
        }
    }

    /// A plain text.
    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            body: RefusalBody::Text(text.into()),
            retry_after: None,
            ban: None,
        }
    }

    /// Refusal if the thing does not exist, or not for the caller.
    pub(crate) const fn not_found() -> Self {
        Self::page(404)
    }

    /// Refusal of a request that needs authentication.
    pub(crate) fn unauthenticated() -> Self {
        Self::text(401, "X-SOGS-* request authentication required")
    }

    /// Refusal if a right is missing, as found while acting.
    pub(crate) const fn permission_denied() -> Self {
        Self {
            status: 403,
            body: RefusalBody::Sentence("Permission denied"),
            retry_after: None,
            ban: None,
        }
    }

    /// Refusal of too many posts; the next one may come after `wait` seconds.
    pub(crate) const fn rate_limited(wait: u64) -> Self {
        Self {
            status: 429,
            body: RefusalBody::Sentence("Rate limited"),
            retry_after: Some(wait),
            ban: None,
        }
    }

    /// The caller is banned from the whole server; the body is that of the reference.
    pub(crate) fn banned(until: Option<f64>) -> Self {
        Self {
            ban: Some(Ban {
                place: "server",
                until,
            }),
            ..Self::text(403, "Banned")
        }
    }

    /// The caller is banned from a room.
    pub(crate) fn banned_from_room(until: Option<f64>) -> Self {
        Self {
            ban: Some(Ban { place: "room", until }),
            ..Self::permission_denied()
        }
    }

    /// The same refusal; a ban in the words that the reference uses for this call.
    pub(crate) fn ban_as(self, reference: Self) -> Self {
        match self.ban {
            Some(ban) => Self {
                ban: Some(ban),
                ..reference
            },
            None => self,
        }
    }

    /// Refusal if too many uploads are arriving at the moment.
    pub(crate) fn uploads_busy() -> Self {
        Self {
            retry_after: Some(UPLOADS_WAIT),
            ..Self::text(
                503,
                "Too many files are arriving at the moment; please try again later",
            )
        }
    }

    /// Refusal if something that is needed does not work now.
    pub(crate) fn unavailable(text: &'static str) -> Self {
        Self {
            retry_after: Some(RETRY_SECONDS),
            ..Self::text(503, text)
        }
    }

    /// Text for a person.
    pub(crate) fn words(&self) -> String {
        match (&self.body, self.status) {
            (RefusalBody::Text(text), _) => format!("{text}."),
            (RefusalBody::Sentence(text), _) => format!("{text}."),
            (RefusalBody::Page, 404) => "This message does not exist.".to_owned(),
            (RefusalBody::Page, _) => "That is not possible.".to_owned(),
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }
}

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Self {
        Self::text(503, "The server is busy; please try again later")
    }
}

/// Refusal if a file cannot be stored or sent now. The log has the cause.
impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        if let ContentError::Database(error) = error {
            return error.into();
        }
        tracing::error!(%error, "a file cannot be stored or read");
        if error.is_passing() {
            Self::unavailable("Files are not available at the moment; please try again later")
        } else {
            Self::not_found()
        }
    }
}

/// Seconds after which a caller can look whether a change was kept whose outcome is unknown.
const LOOK_SECONDS: u64 = 10;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        // Neither done nor refused. 500 and 503 say that nothing was kept, and clients repeat a request after them; after
        // 504 they look first.
        if matches!(error, StoreError::Uncertain(_)) {
            tracing::error!(%error, "the outcome of a request is unknown");
            return Self {
                retry_after: Some(LOOK_SECONDS),
                ..Self::text(
                    504,
                    "The database did not confirm the change, which may be kept all the same; look before you try again",
                )
            };
        }
        let Some(wait) = error.retry_after() else {
            tracing::error!(%error, "the store refused");
            return Self::page(500);
        };
        tracing::error!(%error, "the store cannot do it now");
        let text = match error {
            StoreError::Unwritable(_) => {
                "The server cannot store anything at the moment; please try again later"
            }
            _ => "The server is not available at the moment; please try again later",
        };
        Self {
            retry_after: Some(wait.as_secs()),
            ..Self::text(503, text)
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = match refusal.body {
            RefusalBody::Page => Self::bytes(status, HTML, page(status)),
            RefusalBody::Text(text) => Self::bytes(status, TEXT, text),
            RefusalBody::Sentence(text) => Self::bytes(status, HTML, text),
        };
        if let Some(seconds) = refusal.retry_after {
            reply
                .headers
                .push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(ban) = refusal.ban {
            reply.headers.push((BANNED, HeaderValue::from_static(ban.place)));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole seconds of a time of day, saturating"
            )]
            let until = ban.until.map(|until| HeaderValue::from(until.ceil() as i64));
            reply.headers.extend(until.map(|until| (BANNED_UNTIL, until)));
        }
        reply
    }
}

/// The general page of a status, as clients of the reference know it.
fn page(status: StatusCode) -> String {
    let text = match status.as_u16() {
        400 => "The browser (or proxy) sent a request that this server could not understand.",
        403 => {
            "You don&#39;t have the permission to access the requested resource. It is either read-protected or not \
             readable by the server."
        }
        404 => {
            "The requested URL was not found on the server. If you entered the URL manually please check your \
             spelling and try again."
        }
        405 => "The method is not allowed for the requested URL.",
        406 => {
            "The resource identified by the request is only capable of generating response entities which have \
             content characteristics not acceptable according to the accept headers sent in the request."
        }
        408 => {
            "The server closed the network connection because the browser didn&#39;t finish the request within the \
                specified time."
        }
        413 => "The data value transmitted exceeds the capacity limit.",
        _ => "The server could not answer this request.",
    };
    let code = status.as_u16();
    let reason = match code {
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    format!(
        "<!doctype html>\n<html lang=en>\n<title>{code} {reason}</title>\n<h1>{reason}</h1>\n<p>{text}</p>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_without_confirmation_is_neither_done_nor_refused() {
        let reply = Reply::from(Refusal::from(StoreError::Uncertain("connection closed".into())));
        assert_eq!(
            reply.status,
            StatusCode::GATEWAY_TIMEOUT,
            "500 and 503 say: not kept"
        );
        assert!(
            reply
                .headers
                .contains(&(header::RETRY_AFTER, HeaderValue::from(LOOK_SECONDS))),
            "{:?}",
            reply.headers
        );
        let ReplyBody::Bytes(body) = reply.body else {
            panic!("in memory")
        };
        let text = std::str::from_utf8(&body).expect("text");
        assert!(
            text.contains("did not confirm") && text.contains("look before"),
            "{text}"
        );
        assert!(
            !text.contains("refused") && !text.contains("not available"),
            "{text}"
        );
        assert!(
            !text.contains("connection closed"),
            "no details of the database: {text}"
        );
    }

    #[test]
    fn the_page_of_404_is_the_known_one() {
        let ReplyBody::Bytes(body) = Reply::from(Refusal::not_found()).body else {
            panic!("in memory")
        };
        assert_eq!(
            body,
            "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL \
             was not found on the server. If you entered the URL manually please check your spelling and try \
             again.</p>\n"
        );
    }

    #[test]
    fn a_full_disk_says_when_to_come_back() {
        let reply = Reply::from(Refusal::from(StoreError::Unwritable("disk full".to_owned())));
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            reply
                .headers
                .iter()
                .any(|(name, value)| name == header::RETRY_AFTER && value == "5")
        );
    }
}
