//! Looking through the outbox.

use std::sync::Arc;

use ackpost_notify::outbox::{Entry, OutboxId, State as Standing, time_text};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use maud::{Markup, html};

use super::{form, layout, refused, to, visitor};
use crate::auth::Caller;
use crate::reply::Reply;
use crate::routes::outbox::{apply, filter, reached};
use crate::routes::send::refusal;
use crate::state::Gateway;
use crate::token::Scope;

const PAGE: usize = 50;

pub(super) async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let caller = match visitor(&gateway, &parts) {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let query = parts.uri.query().unwrap_or_default();
    let shown = async {
        caller.may(Scope::Outbox, None)?;
        let mut filter = filter(query)?;
        filter.limit = PAGE;
        let reach = caller.reach(&gateway).await?;
        let wanted = |entry: &Entry| reach.includes(entry);
        gateway.outbox.list_where(&filter, &wanted).await.map_err(refusal)
    };
    match shown.await {
        Ok(entries) => layout::page("Outbox", logged_in(&caller), &table(&entries, query)),
        Err(reply) => refused(&reply),
    }
}

fn logged_in(caller: &Caller) -> bool {
    matches!(caller, Caller::Token(_))
}

fn asked(query: &str, name: &str) -> String {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(one, _)| one == name)
        .map_or(String::new(), |(_, v)| v.into_owned())
}

fn table(entries: &[Entry], query: &str) -> Markup {
    let (state, target) = (asked(query, "state"), asked(query, "target"));
    html! {
        form.row method="get" action="/ui/outbox" {
            label {
                "State"
                select name="state" {
                    option value="all" { "all" }
                    @for one in Standing::ALL {
                        option value=(one) selected[one.as_str() == state] { (one) }
                    }
                }
            }
            label { "Target contains" input name="target" value=(target); }
            button type="submit" { "Show" }
        }
        @if entries.is_empty() { p { "Nothing here." } } @else {
            table {
                thead { tr { th { "Message" } th { "Target" } th { "State" } th.wide { "Accepted" } th.wide { "Attempts" } } }
                tbody {
                    @for entry in entries {
                        tr {
                            td.short { a href={ "/ui/outbox/" (entry.id) } { code { (entry.id) } } }
                            td.long { (entry.target) }
                            td.short.(entry.state) { (entry.state) }
                            td.wide { (time_text(entry.accepted_at)) }
                            td.wide { (entry.attempts) }
                        }
                    }
                }
            }
            @if entries.len() == PAGE && let Some(last) = entries.last() {
                p {
                    a href={ "/ui/outbox?" (next(&state, &target, &last.id)) } { "Older" }
                }
            }
        }
    }
}

fn next(state: &str, target: &str, last: &OutboxId) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("state", state)
        .append_pair("target", target)
        .append_pair("before", last.as_str())
        .finish()
}

pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let caller = match visitor(&gateway, &parts) {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let shown = async {
        caller.may(Scope::Outbox, None)?;
        let unknown = || Reply::not_found("there is no such message in the outbox");
        let id: OutboxId = id.parse().map_err(|_| unknown())?;
        reached(&gateway, &caller, &id).await?;
        let (entry, events) = gateway
            .outbox
            .show(&id)
            .await
            .map_err(refusal)?
            .ok_or_else(unknown)?;
        let history: Vec<(String, String, String)> = events
            .into_iter()
            .map(|event| (time_text(event.at), event.kind, event.text))
            .collect();
        Ok(detail(&entry, &history))
    };
    match shown.await {
        Ok(markup) => layout::page(&format!("Message {id}"), logged_in(&caller), &markup),
        Err(reply) => refused(&reply),
    }
}

fn detail(entry: &Entry, history: &[(String, String, String)]) -> Markup {
    let outcome = entry.outcome.as_ref();
    html! {
        dl {
            dt { "State" } dd class=(entry.state) { (entry.state) }
            dt { "Target" } dd { (entry.target) }
            dt { "Service" } dd { code { (entry.url) } }
            dt { "Accepted" } dd { (time_text(entry.accepted_at)) }
            @if !entry.state.is_final() {
                dt { "Next attempt" } dd { (time_text(entry.due_at)) ", it waits for " (entry.waits_for.as_str()) }
                dt { "Kept until" } dd { (time_text(entry.expires_at)) }
            }
            dt { "Attempts" } dd { (entry.attempts) }
            @if entry.pieces > 1 { dt { "Pieces" } dd { (entry.pieces_done) " of " (entry.pieces) } }
            @if let Some(reason) = outcome.and_then(|outcome| outcome.reason()) { dt { "Cause" } dd.bad { (reason) } }
            @if let Some(remedy) = outcome.and_then(|outcome| outcome.remedy()) { dt { "Remedy" } dd { (remedy) } }
        }
        @if entry.state != Standing::Delivered {
            div.row {
                @for (action, label) in [("retry", "Try again"), ("drop", "Drop")] {
                    form method="post" action={ "/ui/outbox/" (entry.id) "/" (action) } { button type="submit" { (label) } }
                }
            }
        }
        @if !history.is_empty() {
            h2 { "What happened" }
            table {
                tbody { @for (at, kind, text) in history { tr { td.wide { (at) } td.short { (kind) } td.long { (text) } } } }
            }
        }
    }
}

pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    Path((id, action)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (parts, _) = match form(&gateway, request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let caller = match visitor(&gateway, &parts) {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    match apply(&gateway, &caller, &id, &action).await {
        Ok(_) => to(&format!("/ui/outbox/{id}")),
        Err(reply) => refused(&reply),
    }
}
