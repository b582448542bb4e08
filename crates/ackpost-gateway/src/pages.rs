//! Pages made on the server: no script, nothing from elsewhere, every secret masked.

mod edit_key;
mod layout;
mod login;
mod outbox;
mod overview;
mod service_keys;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};

pub(crate) use self::layout::{log, problem};
use super::auth::Caller;
use super::payload::{self, Fields};
use super::permit;
use super::reply::Reply;
use super::state::Gateway;

/// The pages, below `/ui`.
pub(crate) fn routes() -> [(&'static str, MethodRouter<Arc<Gateway>>); 11] {
    [
        ("/ui", get(overview::show)),
        ("/ui/style.css", get(layout::style)),
        ("/ui/login", get(login::form).post(login::enter)),
        ("/ui/logout", post(login::leave)),
        ("/ui/keys/{key}", get(service_keys::show)),
        ("/ui/add", get(edit_key::add)),
        ("/ui/keys/{key}/edit", get(edit_key::show).post(edit_key::store)),
        ("/ui/keys/{key}/send", post(service_keys::send)),
        ("/ui/outbox", get(outbox::list)),
        ("/ui/outbox/{id}", get(outbox::one)),
        ("/ui/outbox/{id}/{action}", post(outbox::change)),
    ]
}

/// The caller of a page; without one the way leads to the login.
fn visitor(gateway: &Gateway, request: &axum::http::request::Parts) -> Result<Caller, Response> {
    Caller::identify(gateway, request).map_err(|reply| {
        if reply.status() == StatusCode::UNAUTHORIZED {
            to("/ui/login")
        } else {
            problem(&reply)
        }
    })
}

/// Largest form on one of our own pages, whatever the gateway takes elsewhere.
const FORM_BYTES: usize = 256 << 10;

/// Reads the fields of a form on one of our own pages.
async fn form(gateway: &Gateway, request: Request) -> Result<(axum::http::request::Parts, Fields), Response> {
    form_within(gateway, request, FORM_BYTES, gateway.config().limits.body_time).await
}

/// Reads the fields of a form within a size limit and a time limit.
async fn form_within(
    gateway: &Gateway,
    request: Request,
    bytes: usize,
    time: Duration,
) -> Result<(axum::http::request::Parts, Fields), Response> {
    let (parts, body) = request.into_parts();
    let read = async {
        let limits = &gateway.config().limits;
        let limit = if bytes < limits.body_bytes {
            payload::Limit::fixed("the form", bytes, time.min(limits.body_time))
        } else {
            payload::Limit::configured(limits)
        };
        let received = permit::without(&parts, async {
            payload::body(&parts.headers, body, limit, &gateway.memory).await
        });
        received.await?.fields(&parts.headers, None).await
    };
    match read.await {
        Ok((fields, _)) => Ok((parts, fields)),
        Err(reply) => Err(problem(&reply)),
    }
}

fn text(fields: &Fields, name: &str) -> String {
    fields.text(&[name]).ok().flatten().unwrap_or_default()
}

/// 303 to another page.
fn to(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(value) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn refused(reply: &Reply) -> Response {
    problem(reply)
}
