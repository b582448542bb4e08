//! Looking through the outbox.

use std::sync::Arc;

use ackpost_outbox::{Act, Entry, MessageText, OutboxId, State as EntryState, time_text};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use maud::{Markup, html};

use super::{form, layout, refused, to, visitor};
use crate::auth::{Caller, Reach};
use crate::reply::Reply;
use crate::routes::outbox::{apply, filter, reached};
use crate::routes::send::{is_handed_over, refusal};
use crate::state::Gateway;
use crate::token::Scope;

const PAGE: usize = 50;
/// Characters of a message in the list.
const SUMMARY: usize = 60;
/// Characters of a text on the page of a message.
const TEXT: usize = 4_000;
/// Answers to alerts below the messages.
const ACTS: usize = 20;

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
        let entries = gateway
            .outbox
            .list_where(&filter, &wanted)
            .await
            .map_err(refusal)?;
        // The log names people of every key.
        let acts = match reach {
            Reach::Everything if filter.before.is_none() => {
                gateway.outbox.acts(None, ACTS).await.map_err(refusal)?
            }
            _ => Vec::new(),
        };
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let texts = texts(&gateway, &caller, &entry.id).await?;
            rows.push((entry, texts.first().map(summary)));
        }
        Ok((rows, acts))
    };
    match shown.await {
        Ok((rows, acts)) => layout::page(
            "Outbox",
            logged_in(&caller),
            &html! { (table(&rows, query)) (answers(&acts)) },
        ),
        Err(reply) => refused(&reply),
    }
}

/// Returns the stored messages of an entry, for a caller who may see secrets: a message may hold any.
async fn texts(gateway: &Gateway, caller: &Caller, id: &OutboxId) -> Result<Vec<MessageText>, Reply> {
    if caller.may_see_secrets(gateway).is_err() {
        return Ok(Vec::new());
    }
    // A damaged message must not hide the list that shows where it is.
    Ok(gateway.outbox.texts(id).await.unwrap_or_default())
}

/// Returns the title of a message, or the beginning of its text.
fn summary(message: &MessageText) -> String {
    let title = message.title.reveal().trim();
    let text = if title.is_empty() {
        message.body.reveal().trim()
    } else {
        title
    };
    shortened(text.lines().next().unwrap_or_default(), SUMMARY)
}

/// Returns at most `most` characters of a text.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
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

fn table(rows: &[(Entry, Option<String>)], query: &str) -> Markup {
    let (state, target) = (asked(query, "state"), asked(query, "target"));
    html! {
        form.row method="get" action="/ui/outbox" {
            label {
                "State"
                select name="state" {
                    option value="all" { "all" }
                    @for one in EntryState::ALL {
                        option value=(one) selected[one.as_str() == state] { (one) }
                    }
                }
            }
            label { "Target contains" input name="target" value=(target); }
            button type="submit" { "Show" }
        }
        @if rows.is_empty() { p { "No messages." } } @else {
            table {
                thead { tr { th { "Message" } th { "Text" } th { "Target" } th { "State" } th.wide { "Accepted" } th.wide { "Attempts" } } }
                tbody {
                    @for (entry, text) in rows {
                        tr {
                            td.short { a href={ "/ui/outbox/" (entry.id) } { code { (entry.id) } } }
                            td.long dir="auto" { (text.as_deref().unwrap_or_default()) }
                            td.long { (entry.target) }
                            td.short.(entry.state) {
                                @if is_handed_over(entry) { "handed-over" } @else { (entry.state) }
                            }
                            td.wide { (time_text(entry.accepted_at)) }
                            td.wide { (entry.attempts) }
                        }
                    }
                }
            }
            @if rows.len() == PAGE && let Some((last, _)) = rows.last() {
                p {
                    a href={ "/ui/outbox?" (next(&state, &target, &last.id)) } { "Older" }
                }
            }
        }
    }
}

/// The latest answers to alerts.
fn answers(acts: &[Act]) -> Markup {
    let word = |act: &Act, name: &str| {
        let text = act.detail.get(name).and_then(|value| value.as_str());
        text.unwrap_or_default().to_owned()
    };
    html! {
        @if !acts.is_empty() {
            h2 { "Answers to alerts" }
            table {
                thead { tr { th { "Time" } th { "Command" } th { "Result" } th { "Person" } th.wide { "Room" } th { "Alert" } } }
                tbody {
                    @for act in acts {
                        tr {
                            td.short { (time_text(act.at)) }
                            td.short { (act.kind) }
                            td.short { (act.result) }
                            td.long { (word(act, "who")) }
                            td.wide { (word(act, "place")) }
                            td.long { (word(act, "alert")) }
                        }
                    }
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
        let unknown = || Reply::not_found("the outbox has no message with this id");
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
        let texts = texts(&gateway, &caller, &id).await?;
        let hidden = caller.may_see_secrets(&gateway).is_err();
        Ok(html! { (detail(&entry, &history)) (message(&entry, &texts, hidden)) })
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
            dt { "State" }
            dd class=(entry.state) {
                (entry.state)
                @if is_handed_over(entry) { " (handed over without proof)" }
            }
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
        @if entry.state != EntryState::Delivered {
            div.row {
                @for (action, label) in [("retry", "Try again"), ("drop", "Drop")] {
                    form method="post" action={ "/ui/outbox/" (entry.id) "/" (action) } { button type="submit" { (label) } }
                }
            }
        }
        @if !history.is_empty() {
            h2 { "History" }
            table {
                tbody { @for (at, kind, text) in history { tr { td.wide { (at) } td.short { (kind) } td.long { (text) } } } }
            }
        }
    }
}

/// The title and text of a message, or the reason why they are not shown.
fn message(entry: &Entry, texts: &[MessageText], hidden: bool) -> Markup {
    html! {
        h2 { "Message" }
        @if hidden { p { "Log in with a token to see the text." } }
        @else if matches!(entry.state, EntryState::Delivered | EntryState::Dropped) {
            p { "The text of a delivered or dropped message is not kept." }
        }
        @else if texts.is_empty() { p { "The text cannot be read." } }
        @for one in texts {
            @if !one.title.reveal().is_empty() { h3 dir="auto" { (one.title.reveal()) } }
            pre dir="auto" { (shortened(one.body.reveal(), TEXT)) }
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
