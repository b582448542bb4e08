//! Several requests in one: each goes through the same router as if it had come alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use session_protocol::SessionId;
use session_protocol::encoding::{b64, from_b64};

use super::auth::banned;
use super::memory::{SMALL_ANSWER, SMALL_BODY};
use super::reply::{Refusal, Reply};
use super::request::{Body, Req};
use super::route::{Answer, RequestContext, RequestOrigin, dispatch, is_success};
use crate::cache::User;

/// Bytes of all answers of one batch; what would exceed it is answered 413 in its place.
const MAX_ANSWER: usize = 32 << 20;

/// Maximum number of headers of one subrequest.
const MAX_HEADERS: usize = 64;

#[derive(Deserialize)]
struct Sub<'a> {
    method: String,
    path: String,
    #[serde(default)]
    headers: Headers,
    /// Present even when it is `null`.
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
pub(crate) async fn batch(cx: &RequestContext<'_>, in_order: bool) -> Answer {
    let config = cx.app.config();
    if cx.way.depth >= config.limits.batch_depth {
        return Err(Refusal::page(400));
    }
    // The requests hold the bodies once more; that memory comes out of the budget as well.
    let mut copies = cx.app.memory.permit(SMALL_BODY);
    copies.cover(cx.req.bytes().len()).await?;
    let most = cx.way.allowance.load(Ordering::Acquire);
    // All are read before any runs: one malformed request spoils the whole.
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
    let way = RequestOrigin {
        depth: cx.way.depth + 1,
        ..cx.way.clone()
    };
    let mut share = cx.app.memory.permit(SMALL_ANSWER);
    let mut out: Vec<u8> = b"[".to_vec();
    for (place, request) in requests.iter().enumerate() {
        // Whatever an earlier one changed about the caller holds for the next.
        let caller = match &cx.caller {
            Some(user) => Some(again(cx, user).await?),
            None => None,
        };
        let reply = if let Some(user) = caller.as_ref().filter(|user| user.row.banned) {
            Reply::from(banned(cx.app, user).await?)
        } else {
            Box::pin(dispatch(cx.app, request, caller, &way)).await
        };
        let (mut status, mut headers, mut body) = reply.into_bytes(cx.app).await;
        // Files grow by a third in base64.
        let length = out.len() + body.len() / 3 * 4;
        let refusal = if length > MAX_ANSWER {
            Some(Refusal::page(413))
        } else {
            share.cover(length).await.err().map(Refusal::from)
        };
        if let Some(refusal) = refusal {
            (status, headers, body) = Reply::from(refusal).into_bytes(cx.app).await;
        }
        if place > 0 {
            out.push(b',');
        }
        write_answer(&mut out, status, &headers, &body);
        if in_order && !is_success(status) {
            break;
        }
    }
    out.push(b']');
    Ok(Reply::raw_json(share.hold(out)))
}

/// The caller as they are now. An id that its account does not admit any more is answered like one that never was.
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
        out.extend_from_slice(b64(body).as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}
