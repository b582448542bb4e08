//! Configurations behind http(s) addresses.

use std::time::Duration;

use crate::asset::Asset;
use crate::dispatch::ConnectionOptions;
use crate::problem::Diagnostic;
use crate::url::percent;

use super::FILE_BYTES;
use super::load::Syntax;

/// A fetched configuration.
pub(super) struct Fetched {
    pub(super) text: String,
    pub(super) syntax: Option<Syntax>,
    /// The address without credentials and query.
    pub(super) name: String,
}

/// What the query of the address says to us; everything else is the server's.
struct Wish {
    url: ::url::Url,
    syntax: Option<Syntax>,
    post: bool,
    verify: bool,
    connect: Duration,
    read: Duration,
}

/// Fetches a configuration with GET (D27), at most 128 KiB of it, following redirects to the same origin only.
pub(super) async fn fetch(
    text: &str,
    options: &ConnectionOptions,
    asset: &Asset,
) -> Result<Fetched, Diagnostic> {
    let wish = wish(text)?;
    let name = shown(&wish.url);
    let fail = |cause: String, remedy: &str| Diagnostic::error(cause, remedy).at(Some(&name), None, None);
    let client = options
        .http_client(wish.verify, wish.connect, wish.read, &asset.app_id)
        .map_err(|cause| fail(cause, "check the certificates of the system"))?;
    let method = if wish.post {
        reqwest::Method::POST
    } else {
        reqwest::Method::GET
    };
    let unreachable = |error: reqwest::Error| {
        fail(
            format!("the configuration cannot be fetched: {}", fetch_failure(&error)),
            "check the address and the server",
        )
    };
    let mut response = client
        .request(method, wish.url.clone())
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status();
    if !status.is_success() {
        return Err(fail(
            format!("the server answered {status}"),
            "check the address; a server that wants POST needs ?method=post",
        ));
    }
    let kind = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        bytes.extend_from_slice(&part);
        if bytes.len() > FILE_BYTES {
            return Err(fail(
                "the configuration is larger than 128 KiB".to_owned(),
                "split it",
            ));
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        fail(
            "the configuration is not UTF-8 text".to_owned(),
            "let the server send UTF-8",
        )
    })?;
    let syntax = wish.syntax.or_else(|| {
        if kind.contains("yaml") {
            Some(Syntax::Yaml)
        } else if kind.starts_with("text/plain") {
            Some(Syntax::Text)
        } else {
            None
        }
    });
    Ok(Fetched { text, syntax, name })
}

fn wish(text: &str) -> Result<Wish, Diagnostic> {
    let bad = || {
        Diagnostic::error(
            "the address of the configuration is not valid",
            "write http(s)://host/path",
        )
    };
    let mut url = ::url::Url::parse(text).map_err(|_| bad())?;
    let mut wish = Wish {
        url: url.clone(),
        syntax: None,
        post: false,
        verify: true,
        connect: Duration::from_secs(4),
        read: Duration::from_secs(10),
    };
    let mut kept = Vec::new();
    for (key, value) in url.query_pairs() {
        let seconds = || {
            value
                .parse::<f64>()
                .ok()
                .filter(|s| *s > 0.0 && *s < 3600.0)
                .map(Duration::from_secs_f64)
        };
        match key.to_ascii_lowercase().as_str() {
            "format" if value.eq_ignore_ascii_case("yaml") => wish.syntax = Some(Syntax::Yaml),
            "format" if value.eq_ignore_ascii_case("text") => wish.syntax = Some(Syntax::Text),
            "method" => wish.post = value.eq_ignore_ascii_case("post"),
            "verify" => wish.verify = crate::service::boolean_word(&value).unwrap_or(true),
            "cto" => wish.connect = seconds().unwrap_or(wish.connect),
            "rto" => wish.read = seconds().unwrap_or(wish.read),
            "encoding" | "cache" => {}
            _ => kept.push(format!("{}={}", percent::encode(&key), percent::encode(&value))),
        }
    }
    url.set_query(
        if kept.is_empty() {
            None
        } else {
            Some(kept.join("&"))
        }
        .as_deref(),
    );
    wish.url = url;
    Ok(wish)
}

fn shown(url: &::url::Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}

/// The innermost cause, which names what happened; the outer ones name the address with its credentials.
pub(crate) fn fetch_failure(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
