//! Configurations behind http(s) addresses.

use std::time::Duration;

use ackpost_notify::dispatch::{FetchError, FetchRequest, shown_address};
use ackpost_notify::grammar::boolean_word;
use ackpost_notify::url::percent;
use ackpost_notify::{ConnectionOptions, Diagnostic};
use url::Url;

use super::FILE_BYTES;
use super::parsed::Syntax;

/// A fetched configuration.
pub(super) struct Fetched {
    pub(super) text: String,
    pub(super) syntax: Option<Syntax>,
    /// The address without credentials and query.
    pub(super) name: String,
}

/// Fetches a configuration with GET (D27), at most 128 KiB of it, following redirects to the same origin only.
pub(super) async fn fetch(
    text: &str,
    options: &ConnectionOptions,
    agent: &str,
) -> Result<Fetched, Diagnostic> {
    let (request, name, syntax) = parse(text, agent)?;
    let fail = |cause: String, remedy: &str| Diagnostic::error(cause, remedy).at(Some(&name), None, None);
    let fetched = options.fetch(&request).await.map_err(|error| match error {
        FetchError::Tls(cause) => fail(cause, "check the certificates of the system"),
        FetchError::Status(status) => fail(
            format!("the server answered {status}"),
            "check the address; a server that wants POST needs ?method=post",
        ),
        FetchError::TooLarge => fail("the configuration is larger than 128 KiB".to_owned(), "split it"),
        error => fail(
            format!("the configuration {error}"),
            "check the address and the server",
        ),
    })?;
    let text = String::from_utf8(fetched.bytes).map_err(|_| {
        fail(
            "the configuration is not UTF-8 text".to_owned(),
            "let the server send UTF-8",
        )
    })?;
    let syntax = syntax.or_else(|| {
        if fetched.media_type.contains("yaml") {
            Some(Syntax::Yaml)
        } else if fetched.media_type.starts_with("text/plain") {
            Some(Syntax::Text)
        } else {
            None
        }
    });
    Ok(Fetched { text, syntax, name })
}

/// The request for a configuration, the address as it is shown, and the grammar that is asked for. Our own parameters are
/// taken out of the query; all others are the server's.
fn parse(text: &str, agent: &str) -> Result<(FetchRequest, String, Option<Syntax>), Diagnostic> {
    let mut url = Url::parse(text).map_err(|_| {
        Diagnostic::error(
            "the address of the configuration is not valid",
            "write http(s)://host/path",
        )
    })?;
    let mut request = FetchRequest::new("", FILE_BYTES as u64, agent);
    let mut syntax = None;
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
            "format" if value.eq_ignore_ascii_case("yaml") => syntax = Some(Syntax::Yaml),
            "format" if value.eq_ignore_ascii_case("text") => syntax = Some(Syntax::Text),
            "method" => request.post = value.eq_ignore_ascii_case("post"),
            "verify" => request.verify = boolean_word(&value).unwrap_or(true),
            "cto" => request.connect = seconds().unwrap_or(request.connect),
            "rto" => request.read = seconds().unwrap_or(request.read),
            "encoding" | "cache" => {}
            _ => kept.push(format!("{}={}", percent::encode(&key), percent::encode(&value))),
        }
    }
    let query = (!kept.is_empty()).then(|| kept.join("&"));
    url.set_query(query.as_deref());
    request.url = url.into();
    let name = shown_address(&request.url);
    Ok((request, name, syntax))
}
