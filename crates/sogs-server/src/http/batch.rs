//! Batches: each request in one goes through the same router as if it had come alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bounded_http::{MemoryPermit, OutOfMemory};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use session_protocol::SessionId;
use session_protocol::encoding::{b64, from_b64};

use super::auth::banned;
use super::context::{HandlerResult, RequestContext, RequestOrigin};
use super::memory::{SMALL_ANSWER, SMALL_BODY};
use super::reply::{Refusal, Reply, ReplyBody};
use super::request::{Body, Req};
use super::route::dispatch;
use crate::cache::User;

/// Bytes that the answer to a request that changes something has beside what the request sent.
const SMALL_REPLY: usize = 16 * 1024;
/// Subrequests of one outermost request that may find the server busy: each may have waited some seconds for memory.
const MOST_BUSY: usize = 3;
/// Bytes of an answer that are encoded at a time; a multiple of 3.
const PIECE: usize = 48 * 1024;

/// Maximum number of headers of one subrequest.
const MAX_HEADERS: usize = 64;

#[derive(Deserialize)]
struct Sub<'a> {
    method: String,
    path: String,
    #[serde(default)]
    headers: Headers,
    /// `Some` even if the value is `null`.
    #[serde(default, borrow, deserialize_with = "present")]
    json: Option<&'a RawValue>,
    #[serde(default)]
    b64: Option<String>,
    #[serde(default)]
    bytes: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The headers of a subrequest; `null` is none.
#[derive(Default)]
struct Headers(HeaderMap);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MAX_HEADERS} headers")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = HeaderMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if headers.len() == MAX_HEADERS {
                        return Err(de::Error::invalid_length(MAX_HEADERS + 1, &self));
                    }
                    headers.insert(
                        HeaderName::try_from(name).map_err(de::Error::custom)?,
                        HeaderValue::from_str(&value).map_err(de::Error::custom)?,
                    );
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Sub<'_> {
    /// The request, or `None` when it is malformed.
    fn request(self) -> Option<Req> {
        let method = match self.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "DELETE" => Method::DELETE,
            _ => return None,
        };
        if !self.path.starts_with('/') {
            return None;
        }
        let Headers(mut headers) = self.headers;
        let has_body = method == Method::POST || method == Method::PUT;
        let given = [self.json.is_some(), self.b64.is_some(), self.bytes.is_some()]
            .iter()
            .filter(|one| **one)
            .count();
        if given != usize::from(has_body) {
            return None;
        }
        let mut kind = |kind| {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static(kind));
        };
        let body = if let Some(json) = self.json {
            kind("application/json");
            Bytes::copy_from_slice(json.get().as_bytes())
        } else if let Some(text) = self.b64 {
            kind("application/octet-stream");
            Bytes::from(from_b64(text)?)
        } else if let Some(text) = self.bytes {
            kind("application/octet-stream");
            Bytes::from(text)
        } else {
            Bytes::new()
        };
        Some(Req::new(method, &self.path, headers, Body::Memory(body)))
    }
}

/// Reads the requests of a batch one by one, and stops at the first that is malformed or one too many: what a body
/// becomes in memory is at most its own size again, and a record for each allowed request.
struct Requests {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Requests {
    type Value = Vec<Req>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Req>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Requests {
    type Value = Vec<Req>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} requests", self.most)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Req>, A::Error> {
        let mut requests = Vec::new();
        while let Some(sub) = seq.next_element::<Sub<'de>>()? {
            if requests.len() == self.most {
                return Err(de::Error::invalid_length(self.most + 1, &self));
            }
            requests.push(
                sub.request()
                    .ok_or_else(|| de::Error::custom("malformed request"))?,
            );
        }
        Ok(requests)
    }
}

/// `POST /batch` and, with `in_order`, `POST /sequence`, which stops after the first failure.
pub(crate) async fn batch(cx: &RequestContext<'_>, in_order: bool) -> HandlerResult {
    let config = cx.app.config();
    if cx.way.depth >= config.limits.batch_depth {
        return Err(Refusal::page(400));
    }
    // The requests hold the bodies once more; that memory comes out of the budget as well.
    let mut copies = cx.app.memory.permit(SMALL_BODY);
    copies.cover(cx.req.bytes().len()).await?;
    let most = cx.way.allowance.load(Ordering::Acquire);
    // All requests are read before any runs: one malformed request spoils the whole batch.
    let requests: Vec<Req> = cx.req.json_seed(Requests { most })?;
    let spent = cx
        .way
        .allowance
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(requests.len())
        });
    if spent.is_err() {
        return Err(Refusal::page(400));
    }
    let mut answers = Answers {
        out: b"[".to_vec(),
        room: cx.way.answer_room,
        stopped: None,
        share: cx.app.memory.permit(SMALL_ANSWER),
    };
    for request in &requests {
        let status = answers.add(cx, request).await?;
        if in_order && !status.is_success() {
            break;
        }
    }
    let Answers { mut out, share, .. } = answers;
    out.push(b']');
    Ok(Reply::raw_json(share.hold(out)))
}

/// The answers of a batch so far.
struct Answers {
    out: Vec<u8>,
    /// Bytes that all answers may have.
    room: usize,
    /// Reason why nothing is carried out any more, once an answer did not fit or the server was busy too often.
    stopped: Option<Refusal>,
    share: MemoryPermit,
}

impl Answers {
    /// Carries out a request, if its answer will have room, and adds the answer; its status.
    ///
    /// A request that changes something is never carried out without room for its answer: nobody is told that it failed
    /// although it did not.
    async fn add(&mut self, cx: &RequestContext<'_>, request: &Req) -> Result<StatusCode, Refusal> {
        if cx.way.busy.load(Ordering::Relaxed) >= MOST_BUSY {
            self.stopped.get_or_insert_with(|| Refusal::from(OutOfMemory));
        }
        if let Some(refusal) = self.stopped.clone() {
            return Ok(self.refuse(refusal));
        }
        let changes = request.method != Method::GET;
        if changes {
            let most = request.bytes().len().saturating_add(SMALL_REPLY);
            if let Err(refusal) = self.make_room(most).await {
                let status = self.refuse(refusal);
                note_busy(cx, status);
                return Ok(status);
            }
        }
        // Changes that an earlier request made to the caller apply to the next.
        let caller = match &cx.caller {
            Some(user) => Some(again(cx, user).await?),
            None => None,
        };
        let way = RequestOrigin {
            depth: cx.way.depth + 1,
            answer_room: self.room.saturating_sub(self.out.len()),
            ..cx.way.clone()
        };
        let reply = if let Some(user) = caller.as_ref().filter(|user| user.row.banned) {
            Reply::from(banned(cx.app, user).await?)
        } else {
            Box::pin(dispatch(cx.app, request, caller, &way)).await
        };
        // A file is read only if there is room for it.
        let size = encoded_size(&reply);
        if !changes && let Err(refusal) = self.make_room(size).await {
            let status = self.refuse(refusal);
            note_busy(cx, status);
            return Ok(status);
        }
        if changes {
            // Only a batch inside has a large answer. It holds memory of its own and is told in any case, because its
            // requests were carried out.
            let _ = self.share.cover(self.out.len().saturating_add(size)).await;
        }
        let (status, headers, body) = reply.into_bytes(&cx.app.memory).await;
        note_busy(cx, status);
        if size > PIECE {
            self.out.reserve_exact(size.min(self.room));
        }
        self.write(status, &headers, &body);
        Ok(status)
    }

    /// Takes memory for an answer of so many bytes.
    async fn make_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        let length = self.out.len().saturating_add(bytes);
        if length > self.room {
            self.stopped = Some(not_carried_out());
            return Err(not_carried_out());
        }
        self.share.cover(length).await.map_err(Refusal::from)
    }

    fn refuse(&mut self, refusal: Refusal) -> StatusCode {
        let reply = Reply::from(refusal);
        let body = match reply.body {
            ReplyBody::Bytes(bytes) => bytes,
            ReplyBody::File(_) => Bytes::new(),
        };
        self.write(reply.status, &reply.headers, &body);
        reply.status
    }

    fn write(&mut self, status: StatusCode, headers: &[(HeaderName, HeaderValue)], body: &[u8]) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        write_answer(&mut self.out, status, headers, body);
    }
}

fn note_busy(cx: &RequestContext<'_>, status: StatusCode) {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        cx.way.busy.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes that a body takes in the answer: JSON stays, everything else grows by a third in base64.
fn encoded_size(reply: &Reply) -> usize {
    let is_json = |(name, value): &(HeaderName, HeaderValue)| {
        name == header::CONTENT_TYPE && value.as_bytes() == b"application/json"
    };
    if reply.headers.iter().any(is_json) {
        reply.size()
    } else {
        (reply.size() / 3 + 1).saturating_mul(4)
    }
}

fn not_carried_out() -> Refusal {
    Refusal::text(
        413,
        "Not carried out: the answers to this batch are too large; send this request again in another batch",
    )
}

/// Returns the caller as they are now.
///
/// An id that its account no longer admits is answered like an unknown one.
async fn again(cx: &RequestContext<'_>, user: &User) -> Result<Arc<User>, Refusal> {
    let id: SessionId = user.name.parse().map_err(|_| Refusal::unauthenticated())?;
    let now = cx.app.visitor(&id, cx.now).await?;
    now.ok_or_else(Refusal::unauthenticated)
}

fn write_answer(out: &mut Vec<u8>, status: StatusCode, headers: &[(HeaderName, HeaderValue)], body: &[u8]) {
    out.extend_from_slice(format!("{{\"code\":{},\"headers\":{{", status.as_u16()).as_bytes());
    let mut is_json = false;
    for (place, (name, value)) in headers.iter().enumerate() {
        let value = value.to_str().unwrap_or_default();
        is_json |= name == header::CONTENT_TYPE && value == "application/json";
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(
            serde_json::to_string(name.as_str())
                .unwrap_or_default()
                .as_bytes(),
        );
        out.push(b':');
        out.extend_from_slice(serde_json::to_string(value).unwrap_or_default().as_bytes());
    }
    out.extend_from_slice(b"},\"body\":");
    if is_json && !body.is_empty() {
        out.extend_from_slice(body);
    } else {
        out.push(b'"');
        for piece in body.chunks(PIECE) {
            out.extend_from_slice(b64(piece).as_bytes());
        }
        out.push(b'"');
    }
    out.push(b'}');
}
