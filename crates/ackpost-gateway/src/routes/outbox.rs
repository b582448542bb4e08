//! `/outbox`, `/outbox/ID`.

use std::sync::Arc;

use ackpost_outbox::{Entry, Filter, OutboxId, Selection};
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::send::refusal;
use super::{AuthenticatedRequest, open};
use crate::auth::Caller;
use crate::reply::Reply;
use crate::state::Gateway;
use crate::token::Scope;
use crate::units;

/// State of one message; `?wait=10` waits until it is final. Answers callers who may send through its key, who may send
/// to URLs if it came without a key, or who may see the outbox.
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Reply> {
    let AuthenticatedRequest { caller, parts, .. } = open(&gateway, request).await?;
    let by_key = caller.may(Scope::Notify, None).is_ok() || caller.may(Scope::Outbox, None).is_ok();
    let by_urls = caller.may(Scope::Urls, None).is_ok();
    if !by_key && !by_urls {
        caller.may(Scope::Outbox, None)?;
    }
    let id: OutboxId = parse(&id)?;
    let reach = caller.reach(&gateway).await?;
    let visible = |entry: &Entry| (by_key && reach.includes(entry)) || (by_urls && entry.origin.is_none());
    let entry = gateway.outbox.get(&id).await.map_err(refusal)?;
    if !entry.as_ref().is_some_and(visible) {
        return Err(unknown());
    }
    let asked = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "wait")
        .and_then(|(_, text)| units::duration(&text).ok());
    let wait = super::send::wait(&gateway, &parts, asked);
    if !wait.is_zero() {
        gateway
            .outbox
            .wait(std::slice::from_ref(&id), wait)
            .await
            .map_err(refusal)?;
    }
    let entry = gateway
        .outbox
        .get(&id)
        .await
        .map_err(refusal)?
        .ok_or_else(unknown)?;
    Ok(([(CONTENT_TYPE, "application/json")], json!(entry).to_string()).into_response())
}

/// The latest entries: `?state=dead,waiting&target=…&limit=…&before=ID`.
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, Reply> {
    let AuthenticatedRequest { caller, parts, .. } = open(&gateway, request).await?;
    caller.may(Scope::Outbox, None)?;
    let filter = filter(parts.uri.query().unwrap_or_default())?;
    let reach = caller.reach(&gateway).await?;
    let entries = gateway
        .outbox
        .list_where(&filter, &|entry| reach.includes(entry))
        .await
        .map_err(refusal)?;
    Ok(([(CONTENT_TYPE, "application/json")], json!(entries).to_string()).into_response())
}

/// The filter of a query.
pub(crate) fn filter(query: &str) -> Result<Filter, Reply> {
    let mut filter = Filter::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = value.trim();
        match name.as_ref() {
            "state" => {
                for word in value
                    .split(',')
                    .filter(|word| !word.trim().is_empty() && *word != "all")
                {
                    let state = word.parse().map_err(|error| {
                        Reply::bad_request("unknown state of an entry").remedy(format!("{error}"))
                    })?;
                    filter.states.push(state);
                }
            }
            "target" if !value.is_empty() => filter.target = Some(value.chars().take(200).collect()),
            "limit" if !value.is_empty() => {
                let limit: usize = value
                    .parse()
                    .map_err(|_| Reply::bad_request("the limit is not a number"))?;
                filter.limit = limit.clamp(1, 1_000);
            }
            "before" if !value.is_empty() => filter.before = Some(parse(value)?),
            _ => {}
        }
    }
    Ok(filter)
}

/// `POST /outbox/ID/retry`, `POST /outbox/ID/drop`.
pub(crate) async fn change(
    State(gateway): State<Arc<Gateway>>,
    Path((id, action)): Path<(String, String)>,
    request: Request,
) -> Result<Reply, Reply> {
    let AuthenticatedRequest { caller, .. } = open(&gateway, request).await?;
    apply(&gateway, &caller, &id, &action).await
}

/// Retries or drops one entry.
pub(crate) async fn apply(
    gateway: &Gateway,
    caller: &Caller,
    id: &str,
    action: &str,
) -> Result<Reply, Reply> {
    caller.may(Scope::Outbox, None)?;
    let id = parse(id)?;
    if !matches!(action, "retry" | "drop") {
        return Err(Reply::not_found("unknown action").remedy("use retry or drop"));
    }
    reached(gateway, caller, &id).await?;
    let selection = Selection::Ids(vec![id]);
    let (changed, done) = if action == "retry" {
        (gateway.outbox.retry(&selection).await, "is tried again")
    } else {
        (gateway.outbox.drop_entries(&selection).await, "is dropped")
    };
    let changed = changed.map_err(refusal)?;
    if changed == 0 {
        return Err(
            Reply::new(axum::http::StatusCode::CONFLICT, "nothing was changed")
                .remedy("the message does not exist, or is already final"),
        );
    }
    Ok(Reply::ok(format!("the message {done}")))
}

/// Refuses an entry that does not exist, or that came in through keys or tags outside of the caller's token.
pub(crate) async fn reached(gateway: &Gateway, caller: &Caller, id: &OutboxId) -> Result<(), Reply> {
    let reach = caller.reach(gateway).await?;
    let entry = gateway.outbox.get(id).await.map_err(refusal)?;
    match entry {
        Some(entry) if reach.includes(&entry) => Ok(()),
        _ => Err(unknown()),
    }
}

fn parse(id: &str) -> Result<OutboxId, Reply> {
    id.parse().map_err(|_| unknown())
}

fn unknown() -> Reply {
    Reply::not_found("the outbox has no message with this id")
        .remedy("the answer to a message contains its id; delivered messages are removed after a while")
}
