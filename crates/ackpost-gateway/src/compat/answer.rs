//! Answers in the form that the clients of each service expect, with the status and the cause that ours have.
//!
//! Headers carry what the form of a service has no field for: `X-Ackpost-Outbox` names the entries of the outbox,
//! `X-Ackpost-Note` the parts that a chat cannot show, `X-Ackpost-Problem` the cause of a refusal.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};

use super::{CompatService, service};
use crate::reply::Reply;

/// Field of a [`Reply`] that holds the success as the service would tell it.
pub(crate) const SHAPE: &str = "\u{0}shape";

/// Writes the replies of `/compat` in the form of their service.
pub(crate) async fn shape(
    State(root): State<Arc<[CompatService]>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let service = path.and_then(|path| service::of_path(&root, path.as_str()));
    let mut response = next.run(request).await;
    let Some(service) = service.filter(|service| *service != CompatService::Text) else {
        return response;
    };
    match response.extensions_mut().remove::<Reply>() {
        Some(reply) => write(service, &reply),
        None => response,
    }
}

fn write(service: CompatService, reply: &Reply) -> Response {
    let status = match reply.status() {
        // Apprise API's word for a body that is too large.
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        other => other,
    };
    let failed = !status.is_success();
    let body = match (service, failed) {
        (CompatService::Slack, false) => "ok".to_owned(),
        (CompatService::Slack, true) => format!("{}\n{}\n", slack_word(status, reply), reply.sentence()),
        (_, true) => refusal(service, status, reply).to_string(),
        (_, false) => reply.get(SHAPE).map(Value::to_string).unwrap_or_default(),
    };
    let no_body = body.is_empty() && !failed;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = if no_body { StatusCode::NO_CONTENT } else { status };
    let headers = response.headers_mut();
    if !no_body {
        let kind = if service == CompatService::Slack {
            "text/plain; charset=utf-8"
        } else {
            "application/json"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(wait) = reply.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait));
    }
    let outbox = reply
        .get("outbox")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let ids: Vec<&str> = outbox
        .filter_map(|one| one.get("id")?.as_str())
        .take(64)
        .collect();
    let mut add = |name: &'static str, text: &str| {
        let text: String = text
            .chars()
            .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
            .take(1_000)
            .collect();
        if let Ok(value) = HeaderValue::from_str(&text)
            && !text.is_empty()
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("x-ackpost-outbox", &ids.join(","));
    let notes = reply.get("notes").and_then(Value::as_array).into_iter().flatten();
    let notes: Vec<&str> = notes.filter_map(Value::as_str).collect();
    add("x-ackpost-note", &notes.join("; "));
    if failed {
        add("x-ackpost-problem", &reply.sentence());
    }
    response
}

/// Slack's own words, where it has one for the case.
fn slack_word(status: StatusCode, reply: &Reply) -> String {
    if let Some(word) = reply.get("slack").and_then(Value::as_str) {
        return word.to_owned();
    }
    let word = match status.as_u16() {
        400 | 413 => "invalid_payload",
        401 => "invalid_token",
        403 => "action_prohibited",
        404 => "no_service",
        429 => "rate_limited",
        424 => "channel_not_found",
        _ => "rollup_error",
    };
    word.to_owned()
}

fn refusal(service: CompatService, status: StatusCode, reply: &Reply) -> Value {
    let cause = reply.sentence();
    let number = status.as_u16();
    match service {
        CompatService::Ntfy => {
            let code = u32::from(number) * 100 + u32::from(number != 400);
            json!({"code": code, "http": number, "error": cause})
        }
        CompatService::Gotify => json!({
            "error": status.canonical_reason().unwrap_or("Error"), "errorCode": number, "errorDescription": cause,
        }),
        _ => {
            let code = match number {
                400 => 50_035,
                401 => 50_027,
                403 => 50_013,
                404 => 10_015,
                413 => 40_005,
                _ => 0,
            };
            let mut object = json!({"message": cause, "code": code});
            if let Some(wait) = reply.retry_after_seconds().filter(|_| number == 429) {
                object["retry_after"] = json!(wait);
                object["global"] = json!(false);
            }
            object
        }
    }
}
