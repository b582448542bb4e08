//! Logging in with a token.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::{Request, State};
use axum::response::Response;
use maud::html;

use super::{form as read_form, layout, refused, text, to, with_cookie};
use crate::gateway::auth::{COOKIE_NAME, peer};
use crate::gateway::reply::Reply;
use crate::gateway::state::Gateway;

/// The form.
pub(super) async fn form(State(gateway): State<Arc<Gateway>>) -> Response {
    if gateway.is_open() { to("/ui") } else { page(None) }
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
    layout::page("Log in", false, &content)
}

/// Checks the token; guessing is braked as everywhere.
pub(super) async fn enter(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, fields) = match read_form(&gateway, request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let (peer, now) = (peer(&parts), Instant::now());
    let rate = gateway.config().limits.guess_rate;
    if let Err(wait) = gateway.rates.guesses.check(&peer, rate, now) {
        return refused(&Reply::too_many(
            "too many wrong tokens came from this address",
            wait,
        ));
    }
    let Some(grant) = gateway
        .tokens
        .check(text(&fields, "token").trim(), SystemTime::now())
    else {
        let _ = gateway.rates.guesses.take(&peer, rate, now);
        let mut response = page(Some("This is no valid token."));
        *response.status_mut() = axum::http::StatusCode::UNAUTHORIZED;
        return response;
    };
    match gateway.logins.open(grant, now) {
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

/// Ends the session in this browser.
pub(super) async fn leave(State(_): State<Arc<Gateway>>) -> Response {
    with_cookie(
        to("/ui/login"),
        &format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"),
    )
}
