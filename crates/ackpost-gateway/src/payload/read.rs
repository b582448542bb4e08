//! Reading a body within its limits.

use std::sync::Arc;
use std::time::Duration;

use ackpost_platform::text::is_media_type;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::Instant;

use super::characters::{charset, check_encoding, decoded, text};
use super::estimate::{MAX_VALUES, Refusal, estimate};
use super::fields::Fields;
use super::files::{Given, GivenFile, safe_name};
use super::{MAX_TEXT_BYTES, surrogates};
use crate::config::Limits;
use crate::memory::{FREE_BYTES, Memory, Share};
use crate::reply::{Reply, is_json};

/// Step by which the memory for a body grows.
const GROWTH: usize = 1 << 20;
/// Largest rest of a refused body that is read, and the longest time for it.
const READ_AWAY_BYTES: usize = 64 << 20;
const READ_AWAY_FOR: Duration = Duration::from_secs(5);
/// Minimum number of bytes per second that a body has to bring, on average, once it has been coming for a while.
const LEAST_RATE: u64 = 512;
const RATE_COUNTS_AFTER: Duration = Duration::from_secs(10);
/// Piece in which a multipart body is parsed.
const PIECE: usize = 64 << 10;

/// A body that has been read, and the memory that it holds.
#[derive(Debug)]
pub(crate) struct Received {
    bytes: Bytes,
    memory: Arc<Memory>,
    share: Share,
}

impl Received {
    /// The body is parsed; its part of the budget stays taken.
    pub(crate) fn into_share(self) -> Share {
        self.share
    }

    /// Returns the bytes as they came, as long as nothing has been read from them.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// True when it looks like an object or a list in JSON.
    pub(crate) fn looks_like_json(&self) -> bool {
        let first = self.bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        first.is_some_and(|byte| b"{[".contains(byte))
    }

    /// Reads it as JSON. Refuses more than 128 levels and more than 100,000 values; mends halves of characters.
    pub(crate) async fn json(&mut self) -> Result<Value, Reply> {
        let permit = self.memory.permit(self.bytes.len()).await;
        let estimated = match estimate(&self.bytes) {
            Err(Refusal::Syntax(error)) => match surrogates::mend(&self.bytes) {
                Some(mended) => {
                    self.bytes = mended.into();
                    estimate(&self.bytes)
                }
                None => Err(Refusal::Syntax(error)),
            },
            estimated => estimated,
        };
        let estimated = estimated.map_err(|refusal| match refusal {
            Refusal::Syntax(error) => not_json(&error),
            Refusal::TooMany => Reply::bad_request(format!("the JSON holds more than {MAX_VALUES} values"))
                .remedy("send less in one request"),
        })?;
        // Nobody waits for memory while others wait for the permit.
        drop(permit);
        self.share
            .cover_memory(self.bytes.len().saturating_add(estimated))
            .await?;
        let _permit = self.memory.permit(self.bytes.len()).await;
        let value = serde_json::from_slice(&self.bytes).map_err(|error| not_json(&error))?;
        self.bytes = Bytes::new();
        Ok(value)
    }

    /// Returns the bytes as they came.
    pub(crate) fn bytes(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }

    /// Reads a text that was part of the body as JSON, within the same limits.
    pub(crate) async fn json_of(&mut self, text: String) -> Result<Value, Reply> {
        self.bytes = text.into();
        self.json().await
    }

    /// Reads it as the text of a message; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&mut self) -> Result<String, Reply> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(Reply::larger("the text", MAX_TEXT_BYTES));
        }
        Ok(text(bytes))
    }

    /// Reads it by its content type: JSON, multipart, or else a form.
    pub(crate) async fn fields(
        &mut self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<(Fields, Vec<GivenFile>), Reply> {
        let content_type = media(headers);
        let (mut fields, files) = if is_json(content_type) {
            let fields = if self.bytes.is_empty() {
                Fields::default()
            } else {
                Fields::from_json(self.json().await?)?
            };
            (fields, Vec::new())
        } else {
            let _permit = self.memory.permit(self.bytes.len()).await;
            let bytes = std::mem::take(&mut self.bytes);
            if is_multipart(content_type) {
                multipart(content_type, bytes).await?
            } else {
                (form(&bytes)?, Vec::new())
            }
        };
        fields.apply_query(query.unwrap_or_default())?;
        Ok((fields, files))
    }
}

/// The content type as it was sent.
pub(crate) fn media(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// True for `multipart/form-data`.
pub(crate) fn is_multipart(content_type: &str) -> bool {
    let start = content_type.trim_start().get(..19).unwrap_or_default();
    start.eq_ignore_ascii_case("multipart/form-data")
}

fn not_json(error: &serde_json::Error) -> Reply {
    Reply::bad_request("the body is not valid JSON").remedy(format!(
        "correct line {}, column {}",
        error.line(),
        error.column()
    ))
}

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    bytes: usize,
    time: Duration,
    /// Time after which the body has to keep up with the lowest rate.
    rate_after: Duration,
    /// Name of a limit that no setting raises; `None` if `max_body` is the limit.
    fixed: Option<&'static str>,
}

impl Limit {
    /// Returns the limits of gateway.toml.
    pub(crate) fn configured(limits: &Limits) -> Self {
        Self {
            bytes: limits.body_bytes,
            time: limits.body_time,
            rate_after: RATE_COUNTS_AFTER,
            fixed: None,
        }
    }

    /// Returns limits that no setting raises.
    pub(crate) fn fixed(what: &'static str, bytes: usize, time: Duration) -> Self {
        Self {
            bytes,
            time,
            rate_after: RATE_COUNTS_AFTER,
            fixed: Some(what),
        }
    }

    fn exceeded(&self) -> Reply {
        match self.fixed {
            Some(what) => Reply::larger(what, self.bytes),
            None => Reply::too_large(self.bytes),
        }
    }

    fn too_slow(&self) -> Reply {
        let reply = Reply::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly");
        match self.fixed {
            Some(_) => reply.remedy("send it faster"),
            None => reply.remedy(format!(
                "send it faster, at least {LEAST_RATE} bytes a second, or raise `body_time` in gateway.toml"
            )),
        }
    }
}

/// Reads the whole body: no larger and no slower than its limits, within the memory for all bodies.
pub(crate) async fn body(
    headers: &HeaderMap,
    mut body: Body,
    limit: Limit,
    memory: &Arc<Memory>,
) -> Result<Received, Reply> {
    let received = collect(headers, &mut body, limit, memory).await;
    if received
        .as_ref()
        .is_err_and(|reply| reply.status() != StatusCode::REQUEST_TIMEOUT)
    {
        read_away(body);
    }
    received
}

/// Throws away what is still coming of a refused body, while the refusal is on its way: a client that writes to a closed
/// connection sees that it broke, and not the answer.
fn read_away(mut body: Body) {
    tokio::spawn(tokio::time::timeout(READ_AWAY_FOR, async move {
        let mut left = READ_AWAY_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    }));
}

async fn collect(
    headers: &HeaderMap,
    body: &mut Body,
    limit: Limit,
    memory: &Arc<Memory>,
) -> Result<Received, Reply> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit.bytes as u64) {
        return Err(limit.exceeded());
    }
    let began = Instant::now();
    let end = began + limit.time;
    let mut share = memory.share();
    let mut bytes = Vec::new();
    loop {
        // Memory is not held for a body that does not come.
        let silent = Instant::now() + memory.patience();
        // Nor is a connection held for one that comes byte by byte.
        let due = began + limit.rate_after + Duration::from_secs(bytes.len() as u64 / LEAST_RATE);
        let until = if bytes.len() > FREE_BYTES {
            end.min(silent).min(due)
        } else {
            end.min(due)
        };
        let frame = tokio::time::timeout_at(until, body.frame()).await;
        let Some(frame) = frame.map_err(|_| limit.too_slow())? else {
            break;
        };
        let frame = frame.map_err(|_| Reply::bad_request("the body ended early"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        if length > limit.bytes {
            return Err(limit.exceeded());
        }
        if length > bytes.capacity() {
            let left = announced.map_or(GROWTH, |all| {
                usize::try_from(all)
                    .unwrap_or(limit.bytes)
                    .saturating_sub(bytes.len())
            });
            let more = left.min(GROWTH).max(data.len());
            share.cover(bytes.len() + more).await?;
            bytes
                .try_reserve_exact(more)
                .map_err(|_| Reply::unavailable("too little memory for this body", Duration::from_secs(2)))?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received {
        bytes: bytes.into(),
        memory: Arc::clone(memory),
        share,
    })
}

/// `a=b&c=d`, whatever the content type says.
fn form(bytes: &Bytes) -> Result<Fields, Reply> {
    check_encoding(bytes)?;
    let mut fields = Fields::default();
    for (name, value) in url::form_urlencoded::parse(bytes) {
        fields.push(name.into_owned(), value.into_owned())?;
    }
    Ok(fields)
}

async fn multipart(content_type: &str, bytes: Bytes) -> Result<(Fields, Vec<GivenFile>), Reply> {
    let content_type = super::parts::check(content_type, &bytes)?;
    let bad = |_| {
        Reply::bad_request("the multipart body cannot be read").remedy("check its boundary and its parts")
    };
    let mut request = Request::builder()
        .header(CONTENT_TYPE, content_type)
        .body(Body::from_stream(pieces(bytes)))
        .map_err(|_| Reply::bad_request("the content type cannot be read"))?;
    // The limit of this gateway is checked already; the framework has its own smaller one.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| {
        Reply::bad_request("the multipart body has no boundary").remedy("name it in Content-Type")
    })?;
    let (mut fields, mut files) = (Fields::default(), Vec::new());
    while let Some(part) = parts.next_field().await.map_err(bad)? {
        let name = part.name().unwrap_or_default().to_owned();
        if let Some(file_name) = part.file_name().map(safe_name) {
            let media_type = part
                .content_type()
                .filter(|kind| is_media_type(kind))
                .map(str::to_owned);
            let given = Given::Bytes(part.bytes().await.map_err(bad)?);
            files.push(GivenFile {
                name: Some(file_name),
                media_type,
                given,
            });
        } else {
            let charset = part.content_type().and_then(charset).map(str::to_owned);
            let bytes = part.bytes().await.map_err(bad)?;
            fields.push(name, decoded(charset.as_deref(), bytes)?)?;
        }
        if files.len() > 100 {
            return Err(Reply::bad_request("too many files"));
        }
    }
    Ok((fields, files))
}

/// Hands a body out piece by piece. The parser copies all that is ready; a pause after each piece keeps that small.
fn pieces(
    mut rest: Bytes,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    // No pause before the first piece: the parser would take the end for an early one.
    let mut pause = true;
    futures_util::stream::poll_fn(move |context| {
        pause = !pause && !rest.is_empty();
        if pause {
            context.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        std::task::Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    const LIMIT: usize = 16 << 20;

    async fn received(bytes: impl Into<Body>) -> Received {
        let memory = Memory::new(64 << 20, 2 * LIMIT);
        body(
            &HeaderMap::new(),
            bytes.into(),
            Limit::fixed("the body", LIMIT, Duration::from_secs(1)),
            &memory,
        )
        .await
        .expect("within its limits")
    }

    async fn fields(
        headers: &HeaderMap,
        query: Option<&str>,
        bytes: Bytes,
    ) -> Result<(Fields, Vec<GivenFile>), Reply> {
        received(bytes).await.fields(headers, query).await
    }

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("a header value"));
        headers
    }

    #[tokio::test]
    async fn three_forms_say_the_same() {
        let boundary = "--x\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nhi\r\n\
            --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../a.txt\"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--x--\r\n";
        for (content_type, text) in [
            ("application/json", "{\"body\":\"hi\"}"),
            ("application/x-www-form-urlencoded", "body=hi"),
            ("multipart/form-data; boundary=x", boundary),
        ] {
            let (read, files) = fields(&headers(content_type), Some("tag=t"), Bytes::from(text))
                .await
                .expect("read");
            assert_eq!(
                read.text(&["body"]).expect("text").as_deref(),
                Some("hi"),
                "{content_type}"
            );
            assert_eq!(read.text(&["tag"]).expect("text").as_deref(), Some("t"));
            if content_type.starts_with("multipart") {
                assert_eq!(files[0].name.as_deref(), Some("a.txt"));
            }
        }
    }

    #[tokio::test]
    async fn characters_take_no_more_memory_than_is_counted() {
        let part = |kind: &str, content: &[u8]| {
            let head = format!(
                "--x\r\nContent-Disposition: form-data; name=\"body\"\r\nContent-Type: {kind}\r\n\r\n"
            );
            [head.as_bytes(), content, b"\r\n--x--\r\n"].concat()
        };
        let multipart = "multipart/form-data; boundary=x";
        let latin = part("text/plain; charset=\"ISO-8859-1\"", b"Gr\xfc\xdfe");
        let (read, _) = fields(&headers(multipart), None, latin.into())
            .await
            .expect("read");
        assert_eq!(read.text(&["body"]).expect("text").as_deref(), Some("Grüße"));
        let (few, many) = (vec![0xff; 100], vec![0xff; MAX_TEXT_BYTES + 1]);
        for (bytes, good) in [(few, true), (many, false)] {
            let form = [b"body=".as_slice(), &bytes].concat();
            for (kind, body) in [
                ("application/x-www-form-urlencoded", form),
                (multipart, part("text/plain", &bytes)),
                (multipart, part("text/plain; charset=iso-8859-1", &bytes)),
            ] {
                let read = fields(&headers(kind), None, body.into()).await;
                assert_eq!(read.is_ok(), good, "{kind}");
                assert!(
                    read.err()
                        .is_none_or(|reply| reply.status() == StatusCode::BAD_REQUEST)
                );
            }
            assert_eq!(received(bytes).await.text().is_ok(), good);
        }
    }

    #[tokio::test]
    async fn hostile_bodies_are_refused() {
        let deep = "[".repeat(100_000);
        for (content_type, text) in [
            ("application/json", deep.as_str()),
            ("application/json", "{\"a\":"),
            ("application/json", "[1]"),
            ("multipart/form-data", "x"),
            ("multipart/form-data; boundary=x", "--x\r\nbroken"),
        ] {
            let result = fields(&headers(content_type), None, Bytes::from(text.to_owned())).await;
            assert_eq!(
                result.expect_err(content_type).status().as_u16(),
                400,
                "{content_type}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_of_many_mebibytes_is_read() {
        let file = vec![7; 15 << 20];
        let mut text =
            b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.jpg\"\r\n\r\n".to_vec();
        text.extend_from_slice(&file);
        text.extend_from_slice(b"\r\n--x--\r\n");
        let headers = headers("multipart/form-data; boundary=x");
        let (_, files) = fields(&headers, None, text.into()).await.expect("read");
        assert!(matches!(&files[0].given, Given::Bytes(bytes) if *bytes == file));
    }

    #[tokio::test]
    async fn json_is_checked_before_it_is_built() {
        let flat = format!("[{}1]", "1,".repeat(7 << 20));
        let nested = format!("[{}1]", "[[[[[[1]]]]]],".repeat(1 << 20));
        for large in [flat, nested] {
            let reply = received(large).await.json().await.expect_err("too many");
            assert_eq!(
                reply.sentence(),
                "the JSON holds more than 100000 values; send less in one request"
            );
        }
        let value = received(r#"{"body": "cut \ud83d"}"#)
            .await
            .json()
            .await
            .expect("mended");
        assert_eq!(value["body"], "cut \u{fffd}");
    }

    #[tokio::test]
    async fn a_body_has_a_largest_size_and_a_longest_time() {
        let patience = Duration::from_millis(50);
        let memory = Memory::with_patience(64 << 20, LIMIT, patience);
        let read = async |text: Body, limit, time| {
            let limit = Limit::fixed("the body", limit, time);
            let reply = body(&HeaderMap::new(), text, limit, &memory).await;
            reply.expect_err("refused").status().as_u16()
        };
        assert_eq!(read(vec![0; 11].into(), 10, Duration::from_secs(1)).await, 431);
        let never = |first: usize| {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![0; first]))]);
            Body::from_stream(first.chain(futures_util::stream::pending()))
        };
        let began = Instant::now();
        assert_eq!(read(never(10), LIMIT, 4 * patience).await, 408);
        assert!(began.elapsed() >= 4 * patience, "it held no memory");
        let never_long = read(never(1 << 20), LIMIT, Duration::from_secs(600));
        assert_eq!(never_long.await, 408, "it held memory");
    }

    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_is_refused() {
        let memory = Memory::new(64 << 20, 2 * LIMIT);
        let drops = |count: usize, size: usize| {
            let drops = futures_util::stream::iter(0..count).then(move |_| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok::<_, std::io::Error>(Bytes::from(vec![0; size]))
            });
            Body::from_stream(drops)
        };
        let limit = Limit {
            rate_after: Duration::from_millis(500),
            ..Limit::fixed("the body", LIMIT, Duration::from_secs(600))
        };
        let headers = HeaderMap::new();
        let reply = body(&headers, drops(10_000, 1), limit, &memory).await;
        assert_eq!(reply.expect_err("refused").status().as_u16(), 408);
        // Slow, but fast enough.
        let received = body(&headers, drops(40, 256), limit, &memory)
            .await
            .expect("read");
        assert_eq!(received.bytes.len(), 40 * 256);
    }
}
