//! A request as handlers see it: the same from the network, from an onion, and from a batch.

use std::marker::PhantomData;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeOwned, DeserializeSeed};

use super::reply::Refusal;
use crate::contents::StagedUpload;

/// Bodies up to this size may hold any number of values: 64 KiB become 2 MiB at most.
const FEW_VALUES_BYTES: usize = 64 * 1024;
/// Maximum number of JSON values in a larger body. No call of the protocol needs more than a few hundred.
const MAX_VALUES: usize = 10_000;

/// A body, in memory or (an upload) already on disk.
#[derive(Debug)]
pub(crate) enum Body {
    /// In memory.
    Memory(Bytes),
    /// On disk, counted and hashed while it arrived.
    Spooled(StagedUpload),
}

/// A request.
#[derive(Debug)]
pub(crate) struct Req {
    pub(crate) method: Method,
    /// Percent-decoded, without the query.
    pub(crate) path: String,
    /// As sent, without the question mark; empty for none.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Req {
    /// Takes `PATH?QUERY` apart and decodes the path.
    pub(crate) fn new(method: Method, target: &str, headers: HeaderMap, body: Body) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.contains('%') {
            percent_decode_str(path).decode_utf8_lossy().into_owned()
        } else {
            path.to_owned()
        };
        Self {
            method,
            path,
            query: query.to_owned(),
            headers,
            body,
        }
    }

    /// Returns the part of the target that the signature covers: the decoded path, and the query as sent.
    pub(crate) fn signed_target(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Memory(bytes) => bytes,
            Body::Spooled(_) => &[],
        }
    }

    /// The body as JSON. A body of another declared type is refused.
    ///
    /// Reading makes up to 32 bytes of each byte of JSON, so a large body with many values is refused before that.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        if self.bytes().len() > FEW_VALUES_BYTES && values(self.bytes()) > MAX_VALUES {
            return Err(Refusal::text(
                413,
                format!("The body holds more than {MAX_VALUES} JSON values"),
            ));
        }
        self.json_seed(PhantomData)
    }

    /// Reads the body as JSON by a reader that bounds what it takes.
    pub(crate) fn json_seed<'a, S: DeserializeSeed<'a>>(&'a self, seed: S) -> Result<S::Value, Refusal> {
        if let Some(kind) = self.header(header::CONTENT_TYPE) {
            let kind = kind
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            if !(kind.is_empty() || kind == "application/json" || kind.ends_with("+json")) {
                return Err(Refusal::page(400));
            }
        }
        let mut json = serde_json::Deserializer::from_slice(self.bytes());
        let value = seed.deserialize(&mut json).map_err(|_| Refusal::page(400))?;
        json.end().map_err(|_| Refusal::page(400))?;
        Ok(value)
    }

    /// The first value of a query parameter, decoded.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(key) == name).then(|| form_decode(value))
        })
    }

    /// A whole number among the query parameters, moved into the bounds; no number is refused.
    pub(crate) fn int_param(&self, name: &str, default: i64, min: i64, max: i64) -> Result<i64, Refusal> {
        match self.param(name) {
            None => Ok(default),
            Some(text) => lenient_int(&text)
                .map(|n| n.clamp(min, max))
                .ok_or_else(|| Refusal::page(400)),
        }
    }
}

/// Counts what separates or opens JSON values outside of texts: at least the number of values less one.
fn values(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

fn form_decode(text: &str) -> String {
    if text.contains(['%', '+']) {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    } else {
        text.to_owned()
    }
}

/// A whole number as the reference reads it: blanks around, a sign, single underscores between digits.
fn lenient_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits.bytes().filter(|byte| *byte != b'_') {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value = value.saturating_mul(10).saturating_add(digit);
    }
    Some(if negative { -value } else { value })
}

/// A number in a path: digits only, as far as 63 bits go.
pub(crate) fn path_int(segment: &str) -> Option<i64> {
    (!segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()))
        .then(|| segment.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Req {
        Req::new(Method::GET, target, HeaderMap::new(), Body::Memory(Bytes::new()))
    }

    #[test]
    fn paths_are_decoded_and_queries_kept() {
        let req = get("/room/t/reaction/1/%F0%9F%91%8D?a=%20b");
        assert_eq!(req.path, "/room/t/reaction/1/👍");
        assert_eq!(req.signed_target(), "/room/t/reaction/1/👍?a=%20b");
        assert_eq!(req.param("a").as_deref(), Some(" b"));
        assert_eq!(get("/rooms?").signed_target(), "/rooms");
    }

    #[test]
    fn a_large_body_of_many_values_is_refused_and_one_long_text_is_not() {
        let post = |body: String| Req::new(Method::POST, "/x", HeaderMap::new(), Body::Memory(body.into()));
        let refused = |body: String| {
            post(body)
                .json::<serde_json::Value>()
                .err()
                .map(|refusal| refusal.status())
        };
        assert_eq!(refused(format!("[{}1]", "1,".repeat(100_000))), Some(413));
        assert_eq!(
            refused(format!("{{{}\"a\":1}}", "\"a\":1,".repeat(20_000))),
            Some(413)
        );
        assert_eq!(refused(format!("[\"{}\"]", "[,\\\"".repeat(100_000))), None);
        assert_eq!(refused(format!("[{}1]", "1,".repeat(9_000))), None);
    }

    #[test]
    fn numbers_are_read_like_the_reference_does() {
        let limit = |query: &str| get(&format!("/x?{query}")).int_param("limit", 100, 1, 256);
        assert_eq!(limit("").ok(), Some(100));
        assert_eq!(limit("limit=0").ok(), Some(1));
        assert_eq!(limit("limit=-5").ok(), Some(1));
        assert_eq!(limit("limit=9999999999999999999999").ok(), Some(256));
        assert_eq!(limit("limit=+1_0").ok(), Some(10));
        assert!(limit("limit=x").is_err() && limit("limit=").is_err() && limit("limit=1.5").is_err());
        assert_eq!(path_int("12"), Some(12));
        assert!(
            path_int("-1").is_none() && path_int("").is_none() && path_int("99999999999999999999").is_none()
        );
    }
}
