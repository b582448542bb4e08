//! The handlers, by subject.

pub(crate) mod compat;
pub(crate) mod configure;
pub(crate) mod hooks;
pub(crate) mod meta;
pub(crate) mod notify;
pub(crate) mod outbox;
pub(crate) mod send;

use axum::extract::Request;
use axum::http::request::Parts;

use super::auth::Caller;
use super::payload;
use super::permit;
use super::reply::Reply;
use super::state::Gateway;

/// A request whose caller is known and whose body has been read.
pub(crate) struct AuthenticatedRequest {
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    pub(crate) body: payload::Received,
}

/// Identifies the caller first: nobody unknown gets a byte of the body read.
pub(crate) async fn open(gateway: &Gateway, request: Request) -> Result<AuthenticatedRequest, Reply> {
    let (parts, body) = request.into_parts();
    let caller = Caller::identify(gateway, &parts)?;
    let limits = &gateway.config().limits;
    let body = permit::without(&parts, async {
        payload::body(
            &parts.headers,
            body,
            payload::Limit::configured(limits),
            &gateway.memory,
        )
        .await
    })
    .await?;
    Ok(AuthenticatedRequest { caller, parts, body })
}
