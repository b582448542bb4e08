//! Logging in with a token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::response::Response;
use maud::html;

use super::{form_within, layout, refused, text, to, with_cookie};
use crate::auth::{COOKIE_NAME, client, cookie, is_open_to, of_token};
use crate::reply::Reply;
use crate::state::Gateway;

/// Largest body of the form, and the longest time for it. Nobody has shown a token yet.
const FORM_BYTES: usize = 4 << 10;
const FORM_TIME: Duration = Duration::from_secs(2);

/// The form.
pub(super) async fn form(
    State(gateway): State<Arc<Gateway>>,
    version: Version,
    headers: HeaderMap,
) -> Response {
    gateway.reload_tokens();
    if is_open_to(&gateway, version, &headers) {
        to("/ui")
    } else {
        page(None)
    }
}

fn page(problem: Option<&str>) -> Response {
    let content = html! {
        @if let Some(problem) = problem { p.bad role="alert" { (problem) } }
        form.stack method="post" action="/ui/login" {
            label { "Token" input type="password" name="token" autocomplete="current-password" required autofocus; }
            button type="submit" { "Log in" }
        }
        p { "A token is made with " code { "ackpost gateway token add NAME" } "." }
    };
    layout::page_before_login("Log in", &content)
}

/// Checks the token; guessing is braked as everywhere.
pub(super) async fn enter(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, fields) = match form_within(&gateway, request, FORM_BYTES, FORM_TIME).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let peer = client(&gateway.config(), &parts);
    gateway.reload_tokens();
    let grant = match of_token(&gateway, text(&fields, "token").trim(), peer) {
        Ok(grant) => grant,
        Err(reply) if reply.status() == StatusCode::UNAUTHORIZED => {
            let mut response = page(Some("invalid token"));
            *response.status_mut() = reply.status();
            return response;
        }
        Err(reply) => return refused(&reply),
    };
    match gateway.logins.open(grant, Instant::now()) {
        Ok(session) => {
            // `Secure` is left out: on loopback there is no TLS. A proxy with TLS may add it.
            with_cookie(
                to("/ui"),
                &format!("{COOKIE_NAME}={session}; Path=/; HttpOnly; SameSite=Strict"),
            )
        }
        Err(error) => refused(&Reply::internal(&error)),
    }
}

/// Ends the session, for every browser that holds its cookie.
pub(super) async fn leave(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    if let Some(session) = cookie(request.headers()) {
        gateway.logins.close(&session);
    }
    with_cookie(
        to("/ui/login"),
        &format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"),
    )
}
