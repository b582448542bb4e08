//! Answers to requests, in the form the client asked for.
//!
//! Handlers say *what* happened ([`Reply`]); the [`negotiate`] layer turns it into JSON or text. So no handler
//! looks at `Accept`, and an error looks the same wherever it arose.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// The result of a request, before it is written as JSON or text.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    /// One line for people. For a refusal: the cause.
    text: String,
    remedy: Option<String>,
    /// Further members of the JSON form.
    fields: Map<String, Value>,
    /// Further lines of the text form.
    lines: Vec<String>,
    retry_after: Option<Duration>,
    challenge: bool,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            remedy: None,
            fields: Map::new(),
            lines: Vec::new(),
            retry_after: None,
            challenge: false,
        }
    }

    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, text)
    }

    /// Nothing there; Apprise API's answer for an unknown key.
    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, "")
    }

    pub(crate) fn bad_request(cause: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, cause)
    }

    /// Authentication is needed, or the given credentials are not valid.
    pub(crate) fn unauthorized() -> Self {
        let mut reply = Self::new(StatusCode::UNAUTHORIZED, "a valid token is needed").remedy(
            "send `Authorization: Bearer TOKEN`, or the token as the password of HTTP Basic; \
             `ackpost gateway token add` makes one",
        );
        reply.challenge = true;
        reply
    }

    pub(crate) fn forbidden(cause: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, cause)
    }

    pub(crate) fn not_found(cause: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, cause)
    }

    /// Refuses a body that is larger than the configured limit. Apprise API documents 431 for this.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::larger("the body", limit).remedy("send less, or raise `max_body` in gateway.toml")
    }

    /// Refuses something that is larger than a limit which no setting changes.
    pub(crate) fn larger(what: &str, limit: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("{what} is larger than {limit} bytes"),
        )
        .remedy("send less; no setting raises this limit")
    }

    pub(crate) fn too_many(cause: impl Into<String>, wait: Duration) -> Self {
        let mut reply = Self::new(StatusCode::TOO_MANY_REQUESTS, cause).remedy("wait and try again");
        reply.retry_after = Some(wait);
        reply
    }

    pub(crate) fn unavailable(cause: impl Into<String>, wait: Duration) -> Self {
        let mut reply = Self::new(StatusCode::SERVICE_UNAVAILABLE, cause).remedy("try again");
        reply.retry_after = Some(wait);
        reply
    }

    /// Something of ours failed. The cause is logged; the client learns only that it was not its fault.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway could not do this")
            .remedy("the cause is in its log")
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Returns a further member of the JSON form.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Returns the seconds of `Retry-After`.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |wait: Duration| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        self.retry_after.map(seconds)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Further lines of the text form.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the cause without the remedy.
    pub(crate) fn cause(&self) -> &str {
        &self.text
    }

    /// Cause and remedy in one line, for pages.
    pub(crate) fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.text),
            None => self.text.clone(),
        }
    }

    fn write(self, form: Form) -> Response {
        let (status, retry_after, challenge) = (self.status, self.retry_after_seconds(), self.challenge);
        let mut response = match form {
            // There is no body to say why in.
            _ if status == StatusCode::NO_CONTENT => self.without_body(),
            Form::Json => {
                let kind = [(CONTENT_TYPE, "application/json")];
                (status, kind, self.into_json().to_string()).into_response()
            }
            Form::Text => {
                let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
                (status, kind, self.into_text()).into_response()
            }
            Form::Html => super::pages::log(status, &self.into_text()),
        };
        if let Some(seconds) = retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if challenge {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"ackpost\""),
            );
        }
        response
    }

    fn without_body(self) -> Response {
        let mut response = self.status.into_response();
        let reason = self
            .remedy
            .as_deref()
            .unwrap_or_default()
            .replace(|c: char| !(' '..='~').contains(&c), "?");
        if let Ok(reason) = HeaderValue::from_str(&reason)
            && !reason.is_empty()
        {
            response.headers_mut().insert("x-ackpost-problem", reason);
        }
        response
    }

    fn into_json(self) -> Value {
        let mut object = Map::new();
        let failed = self.status.is_client_error() || self.status.is_server_error();
        let (error, message) = if failed {
            (Value::String(self.text), None)
        } else {
            (Value::Null, Some(self.text))
        };
        object.insert("error".into(), error);
        if let Some(remedy) = self.remedy {
            object.insert("remedy".into(), Value::String(remedy));
        }
        if let Some(message) = message {
            object.insert("message".into(), Value::String(message));
        }
        object.extend(self.fields);
        Value::Object(object)
    }

    fn into_text(self) -> String {
        let mut text = self.sentence();
        text.push('\n');
        for line in self.lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// Format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    /// For people who try the API in a browser, as Apprise API does.
    Html,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if wants_json(headers) {
            return Self::Json;
        }
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        if accept.is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html")) {
            return Self::Html;
        }
        Self::Text
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes a [`Reply`] in the form the client asked for, and puts the headers on that every answer has.
pub(crate) async fn negotiate(request: Request, next: Next) -> Response {
    let form = Form::of(request.headers());
    let mut response = next.run(request).await;
    if let Some(reply) = response.extensions_mut().remove::<Reply>() {
        response = reply.write(form);
    } else if response.status().is_client_error() && !response.headers().contains_key(CONTENT_TYPE) {
        // The router's own refusals (unknown path, wrong method) come without a body.
        let allow = response.headers().get(axum::http::header::ALLOW).cloned();
        let text = match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => "this path does not accept this method",
            StatusCode::NOT_FOUND => "unknown path",
            _ => "the request was refused",
        };
        response = Reply::new(response.status(), text).write(form);
        if let Some(allow) = allow {
            response.headers_mut().insert(axum::http::header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers
        .entry("cache-control")
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert("referrer-policy", HeaderValue::from_static("same-origin"));
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// JSON when `Accept` asks for it, or when a JSON body came and `Accept` leaves it open.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default()
    };
    let accept = text(ACCEPT).to_ascii_lowercase();
    if accept.contains("json") {
        return true;
    }
    let open = accept.is_empty() || accept.contains("*/*");
    open && !accept.contains("text/") && is_json(text(CONTENT_TYPE))
}

/// `application/json`, `text/json`, `application/…+json`, with or without parameters.
pub(crate) fn is_json(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    matches!(
        kind.as_str(),
        "application/json" | "text/json" | "application/x-json" | "text/x-json"
    ) || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str, content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(ACCEPT, accept), (CONTENT_TYPE, content_type)] {
            if !value.is_empty() {
                headers.insert(name, value.parse().expect("a header value"));
            }
        }
        headers
    }

    #[test]
    fn the_form_of_the_answer() {
        assert!(wants_json(&headers("application/json", "")));
        assert!(wants_json(&headers("*/*", "application/json; charset=utf-8")));
        assert!(wants_json(&headers("", "application/json")));
        assert!(!wants_json(&headers("", "application/x-www-form-urlencoded")));
        assert!(!wants_json(&headers("text/plain", "application/json")));
        assert_eq!(Form::of(&headers("text/html,*/*;q=0.8", "")), Form::Html);
        assert_eq!(Form::of(&headers("*/*", "")), Form::Text);
    }
}
