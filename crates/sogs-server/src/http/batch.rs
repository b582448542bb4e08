//! Several requests in one: each goes through the same router as if it had come alone.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use session_core::encoding::{b64, from_b64};

use super::budget::{SMALL_ANSWER, Share};
use super::reply::{Refusal, Reply};
use super::request::{Body, Req};
use super::route::{Answer, Cx, Way, dispatch, is_success};

/// Bytes of all answers of one batch; what would exceed it is answered 413 in its place.
const MAX_ANSWER: usize = 32 << 20;

#[derive(Deserialize)]
struct Sub {
    method: String,
    path: String,
    #[serde(default)]
    headers: Option<std::collections::HashMap<String, String>>,
    /// Present even when it is `null`.
    #[serde(default, deserialize_with = "present")]
    json: Option<Box<RawValue>>,
    #[serde(default)]
    b64: Option<String>,
    #[serde(default)]
    bytes: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Sub {
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
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.unwrap_or_default() {
            headers.insert(
                HeaderName::try_from(name).ok()?,
                HeaderValue::from_str(&value).ok()?,
            );
        }
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

/// `POST /batch` and, with `in_order`, `POST /sequence`, which stops after the first failure.
pub(crate) async fn batch(cx: &Cx<'_>, in_order: bool) -> Answer {
    let config = cx.app.config();
    if cx.way.depth >= config.limits.batch_depth {
        return Err(Refusal::page(400));
    }
    let subs: Vec<Sub> = cx.req.json()?;
    // All are read before any runs: one malformed request spoils the whole.
    let requests: Vec<Req> = subs
        .into_iter()
        .map(Sub::request)
        .collect::<Option<_>>()
        .ok_or_else(|| Refusal::page(400))?;
    let spent = cx
        .way
        .allowance
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(requests.len())
        });
    if spent.is_err() {
        return Err(Refusal::page(400));
    }
    let way = Way {
        depth: cx.way.depth + 1,
        ..cx.way.clone()
    };
    let mut share = Share::new(&cx.app.memory, SMALL_ANSWER);
    let mut out: Vec<u8> = b"[".to_vec();
    for (place, request) in requests.iter().enumerate() {
        // Whatever an earlier one changed about the caller holds for the next.
        let caller = match &cx.caller {
            Some(user) => cx.app.user(&user.row.session_id).await?,
            None => None,
        };
        let reply = if caller.as_ref().is_some_and(|user| user.row.banned) {
            Reply::from(Refusal::text(403, "Banned"))
        } else {
            Box::pin(dispatch(cx.app, request, caller, &way)).await
        };
        let (mut status, mut headers, mut body) = reply.into_bytes(cx.app).await;
        // Files grow by a third in base64.
        let length = out.len() + body.len() / 3 * 4;
        let refusal = if length > MAX_ANSWER {
            Some(Refusal::page(413))
        } else {
            share.cover(length).await.err()
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
