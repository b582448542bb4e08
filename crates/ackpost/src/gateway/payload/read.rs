//! Reading a body within its limits.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::fields::Fields;
use super::files::{Given, GivenFile, is_media_type, safe_name};
use crate::gateway::reply::{Reply, is_json};

/// Reads the whole body: no larger than `limit`, no slower than `time`.
pub(crate) async fn body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
) -> Result<Bytes, Reply> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(Reply::too_large(limit));
    }
    match tokio::time::timeout(time, Limited::new(body, limit).collect()).await {
        Err(_) => Err(Reply::new(
            axum::http::StatusCode::REQUEST_TIMEOUT,
            "the body came too slowly",
        )
        .remedy("send it faster, or raise `body_time` in gateway.toml")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reply::too_large(limit)),
        Ok(Err(_)) => Err(Reply::bad_request("the body ended early")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// The fields (and multipart files) of a body that has been read.
pub(crate) async fn fields(
    headers: &HeaderMap,
    query: Option<&str>,
    bytes: Bytes,
) -> Result<(Fields, Vec<GivenFile>), Reply> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (mut fields, files) = if is_json(content_type) {
        (json(&bytes)?, Vec::new())
    } else if content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("multipart/form-data")
    {
        multipart(content_type, bytes).await?
    } else {
        (form(&bytes)?, Vec::new())
    };
    fields.apply_query(query.unwrap_or_default())?;
    Ok((fields, files))
}

fn json(bytes: &Bytes) -> Result<Fields, Reply> {
    if bytes.is_empty() {
        return Ok(Fields::default());
    }
    Fields::from_json(parse_json(bytes)?)
}

/// Any JSON value. The parser refuses more than 128 levels of nesting.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<serde_json::Value, Reply> {
    serde_json::from_slice(bytes).map_err(|error| {
        Reply::bad_request("the body is no JSON").remedy(format!(
            "correct line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

/// `a=b&c=d`, whatever the content type says.
fn form(bytes: &Bytes) -> Result<Fields, Reply> {
    let mut fields = Fields::default();
    for (name, value) in url::form_urlencoded::parse(bytes) {
        fields.push(name.into_owned(), value.into_owned())?;
    }
    Ok(fields)
}

async fn multipart(content_type: &str, bytes: Bytes) -> Result<(Fields, Vec<GivenFile>), Reply> {
    let bad = |_| {
        Reply::bad_request("the multipart body cannot be read").remedy("check its boundary and its parts")
    };
    let request = Request::builder()
        .header(CONTENT_TYPE, content_type)
        .body(Body::from(bytes))
        .map_err(|_| Reply::bad_request("the content type cannot be read"))?;
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| {
        Reply::bad_request("the multipart body has no boundary").remedy("name it in Content-Type")
    })?;
    let (mut fields, mut files) = (Fields::default(), Vec::new());
    while let Some(part) = parts.next_field().await.map_err(bad)? {
        let name = part.name().unwrap_or_default().to_owned();
        match part.file_name().map(safe_name) {
            Some(file_name) => {
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
            }
            None => fields.push(name, part.text().await.map_err(bad)?)?,
        }
        if files.len() > 100 {
            return Err(Reply::bad_request("too many files"));
        }
    }
    Ok((fields, files))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_body_has_a_largest_size_and_a_longest_time() {
        let long = Body::from(vec![0; 11]);
        let result = body(&HeaderMap::new(), long, 10, Duration::from_secs(1)).await;
        assert_eq!(result.expect_err("too large").status().as_u16(), 431);
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let result = body(&HeaderMap::new(), never, 10, Duration::from_millis(20)).await;
        assert_eq!(result.expect_err("too slow").status().as_u16(), 408);
    }
}
