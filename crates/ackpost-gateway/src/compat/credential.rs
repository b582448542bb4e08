//! Tokens where the clients of other services put them.

use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine as _;

use super::CompatService;

/// Longest value that is taken for a token.
const MAX_BYTES: usize = 1 << 10;

/// Moves the token of a request into `Authorization`, unless the request has that header. A token is in the path
/// (`secret`), in `?token=`, for gotify in `X-Gotify-Key`, for ntfy in `?auth=`. Sessions of the pages do not
/// count under `/compat`.
pub(crate) fn into_header(parts: &mut Parts, service: Option<CompatService>, secret: Option<&str>) {
    if service.is_some() {
        parts.headers.remove(COOKIE);
    }
    if parts.headers.contains_key(AUTHORIZATION) {
        return;
    }
    let gotify = || {
        parts
            .headers
            .get("x-gotify-key")
            .and_then(|value| value.to_str().ok())
    };
    let value = secret
        .or_else(|| gotify().filter(|_| service == Some(CompatService::Gotify)))
        .map(bearer)
        .or_else(|| query(parts, "token").map(|token| bearer(&token)))
        .or_else(|| {
            query(parts, "auth")
                .filter(|_| service == Some(CompatService::Ntfy))
                .and_then(|auth| whole_header(&auth))
        });
    if let Some(value) = value.filter(|value| value.len() <= MAX_BYTES)
        && let Ok(mut value) = HeaderValue::from_str(&value)
    {
        value.set_sensitive(true);
        parts.headers.insert(AUTHORIZATION, value);
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(one, value)| one == name && !value.is_empty());
    found.map(|(_, value)| value.into_owned())
}

/// ntfy: the whole header in base64 for URLs, without padding.
fn whole_header(auth: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(auth.trim_end_matches('='))
        .ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn read(
        service: CompatService,
        uri: &str,
        header: Option<(&str, &str)>,
        secret: Option<&str>,
    ) -> Option<String> {
        let mut request = Request::builder().uri(uri).header("cookie", "ackpost=session");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        into_header(&mut parts, Some(service), secret);
        assert!(!parts.headers.contains_key(COOKIE));
        let value = parts.headers.get(AUTHORIZATION)?;
        Some(value.to_str().expect("text").to_owned())
    }

    #[test]
    fn tokens_are_found_where_clients_put_them() {
        let is = |found: Option<String>, expected: &str| assert_eq!(found.as_deref(), Some(expected));
        is(read(CompatService::Slack, "/x", None, Some("t")), "Bearer t");
        is(read(CompatService::Gotify, "/x?token=t", None, None), "Bearer t");
        is(
            read(CompatService::Gotify, "/x", Some(("X-Gotify-Key", "k")), None),
            "Bearer k",
        );
        is(
            read(CompatService::Ntfy, "/x?auth=QmVhcmVyIHRrX3g", None, None),
            "Bearer tk_x",
        );
        is(
            read(
                CompatService::Slack,
                "/x?token=q",
                Some(("authorization", "Bearer h")),
                Some("p"),
            ),
            "Bearer h",
        );
        assert_eq!(
            read(
                CompatService::Slack,
                "/x?auth=QmVhcmVyIHRrX3g",
                Some(("X-Gotify-Key", "k")),
                None
            ),
            None
        );
        assert_eq!(read(CompatService::Ntfy, "/x?auth=%%%", None, None), None);
        assert_eq!(
            read(CompatService::Text, "/x", None, Some(&"x".repeat(2_000))),
            None
        );
    }
}
