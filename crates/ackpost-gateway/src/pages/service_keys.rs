//! One key: its services, masked, and a test message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ackpost_apprise::Notifier;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::{form, layout, refused, text, visitor};
use crate::auth::Caller;
use crate::key::Key;
use crate::payload::Payload;
use crate::reply::Reply;
use crate::routes::configure::changeable;
use crate::routes::notify::{PayloadOrigin, deliver, key_services};
use crate::routes::send::told;
use crate::signature;
use crate::state::Gateway;
use crate::token::Scope;

/// Time for which a test waits for its outcomes.
const TEST_WAIT: Duration = Duration::from_secs(15);

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let caller = match visitor(&gateway, &parts) {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    match content(&gateway, &caller, &key, None).await {
        Ok(response) => response,
        Err(reply) => refused(&reply),
    }
}

/// Sends a test and shows the result.
pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let (parts, fields) = match form(&gateway, request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let caller = match visitor(&gateway, &parts) {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let sent = async {
        let key = Key::parse(&key)?;
        caller.may(Scope::Notify, Some(&key))?;
        let services = services(&gateway, &key).await?;
        let mut body = text(&fields, "body");
        if body.trim().is_empty() {
            "This is a test.".clone_into(&mut body);
        }
        let payload = Payload {
            requires_files: false,
            title: text(&fields, "title"),
            body,
            kind: ackpost_notify::Kind::Info,
            format: ackpost_notify::Format::Text,
            filter: crate::tags::parse_text(&text(&fields, "tag"))?,
            urls: Vec::new(),
            files: Vec::new(),
            wait: None,
            ttl: None,
            share: gateway.memory.share(),
        };
        signature::require(&gateway, &key, false)?;
        let origin = PayloadOrigin {
            key: Some(&key),
            hops: 1,
        };
        deliver(&gateway, &caller, origin, &services, payload, TEST_WAIT).await
    };
    let reply = match sent.await {
        Err(reply) if reply.status() == StatusCode::FORBIDDEN => return refused(&reply),
        Ok(reply) | Err(reply) => reply,
    };
    let shown = content(&gateway, &caller, &key, Some(&reply)).await;
    // A token that may send, but not read the key, sees the outcome alone.
    let mut response =
        shown.unwrap_or_else(|_| layout::page("Test", matches!(caller, Caller::Token(_)), &outcome(&reply)));
    *response.status_mut() = reply.status();
    response
}

async fn services(gateway: &Gateway, key: &Key) -> Result<Arc<Notifier>, Reply> {
    key_services(gateway, key)
        .await?
        .ok_or_else(|| Reply::not_found("this key has no configuration"))
}

async fn content(
    gateway: &Gateway,
    caller: &Caller,
    key: &str,
    sent: Option<&Reply>,
) -> Result<Response, Reply> {
    let key = Key::parse(key)?;
    caller
        .may(Scope::Read, Some(&key))
        .or_else(|reply| caller.may(Scope::Configure, Some(&key)).map_err(|_| reply))?;
    let may_edit = changeable(gateway, caller, &key).is_ok();
    let may_send = caller.may(Scope::Notify, Some(&key)).is_ok();
    let services = services(gateway, &key).await?;
    let markup = html! {
        @if let Some(reply) = sent { (outcome(reply)) }
        (table(caller, &services))
        @if may_edit { p { a href={ "/ui/keys/" (key) "/edit" } { "Edit the configuration" } } }
        @let problems: Vec<_> = services.problems().iter().filter(|problem| problem.is_error()).map(told).collect();
        @if !problems.is_empty() {
            h2 { "Unusable entries" }
            ul { @for problem in problems { li.bad { (problem) } } }
        }
        @if may_send {
            h2 { "Send a test" }
            form.stack method="post" action={ "/ui/keys/" (key) "/send" } {
                label { "Title" input name="title" maxlength="250"; }
                label { "Text" textarea name="body" rows="3" { "This is a test." } }
                label {
                    "Tag"
                    select name="tag" {
                        option value="" { "all services" }
                        @for tag in tags(caller, &services) { option { (tag) } }
                    }
                }
                button type="submit" { "Send" }
            }
        }
    };
    Ok(layout::page(
        &format!("Key {key}"),
        matches!(caller, Caller::Token(_)),
        &markup,
    ))
}

/// Returns the tags of the services that the caller reaches.
fn tags<'a>(caller: &Caller, services: &'a Notifier) -> BTreeSet<&'a str> {
    let reached = services.iter().filter(|entry| caller.reaches(entry));
    reached
        .flat_map(|entry| entry.tags.iter().map(|tag| tag.name.as_str()))
        .collect()
}

fn outcome(reply: &Reply) -> Markup {
    let class = if reply.status().is_success() {
        "good"
    } else {
        "bad"
    };
    html! {
        p class=(class) role="status" { (reply.sentence()) }
        @if !reply.lines().is_empty() { ul { @for line in reply.lines() { li { (line) } } } }
    }
}

fn table(caller: &Caller, services: &Notifier) -> Markup {
    html! {
        table {
            thead { tr { th { "Service" } th { "URL (masked)" } th { "Tags" } } }
            tbody {
                @for entry in services.iter().filter(|entry| caller.reaches(entry)) {
                    tr {
                        td.short { (entry.service().map_or("template", |service| service.name())) }
                        td { code { (entry.short_url()) } }
                        td { @for tag in &entry.tags { span.tag { (tag) } " " } }
                    }
                }
            }
        }
    }
}
