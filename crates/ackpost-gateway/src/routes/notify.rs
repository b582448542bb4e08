//! `POST /notify` and `POST /notify/KEY`.

use std::sync::Arc;

use ackpost_notify::outbox::AcceptOptions;
use ackpost_notify::{Asset, Diagnostic, Entry, Environment, Message, Notifier, Service, TagFilter, Values};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};

use super::send::{self, Order};
use super::{Opened, open};
use crate::auth::Caller;
use crate::key::Key;
use crate::payload::Payload;
use crate::reply::Reply;
use crate::state::Gateway;
use crate::token::Scope;
use crate::{attach, catalog, key};

/// Most services one request may name.
const MAX_URLS_BYTES: usize = 64 << 10;

/// To the services of a stored key.
pub(crate) async fn with_key(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path<String>,
    request: Request,
) -> Result<Reply, Reply> {
    let opened = open(&gateway, request).await?;
    to_key(&gateway, Key::parse(&key)?, opened).await
}

async fn to_key(gateway: &Gateway, key: Key, opened: Opened) -> Result<Reply, Reply> {
    let Opened {
        caller,
        parts,
        mut body,
    } = opened;
    caller.may(Scope::Notify, Some(&key))?;
    recursion(gateway, &parts.headers)?;
    let (fields, files) = body.fields(&parts.headers, parts.uri.query()).await?;
    let payload = Payload::from_fields(&fields, files, body.into_share())?;
    drop(fields);
    let Some(services) = key_services(gateway, &key).await? else {
        tracing::warn!(%key, "a request named a key without a configuration; nothing was sent");
        return Ok(Reply::no_content().remedy("there is no configuration under this key"));
    };
    let wait = send::wait(gateway, &parts, payload.wait);
    deliver(gateway, &caller, Some(&key), &services, payload, wait).await
}

/// To URLs that come with the request, or to those of the operator; or, when a header names one, to a key.
pub(crate) async fn stateless(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Reply, Reply> {
    let opened = open(&gateway, request).await?;
    if opened.parts.headers.contains_key(key::HEADER) {
        let key = Key::of_request(None, &opened.parts.headers)?;
        return to_key(&gateway, key, opened).await;
    }
    let Opened {
        caller,
        parts,
        mut body,
    } = opened;
    caller.may(Scope::Urls, None)?;
    recursion(&gateway, &parts.headers)?;
    let config = gateway.config();
    if !config.stateless {
        return Err(Reply::forbidden("sending without a key is switched off").remedy("use /notify/KEY"));
    }
    let (fields, files) = body.fields(&parts.headers, parts.uri.query()).await?;
    let payload = Payload::from_fields(&fields, files, body.into_share())?;
    drop(fields);
    if payload.urls.iter().map(String::len).sum::<usize>() > MAX_URLS_BYTES {
        return Err(Reply::larger("the list of URLs", MAX_URLS_BYTES));
    }
    let services = match (payload.urls.is_empty(), &config.stateless_urls) {
        (false, _) => catalog::load_urls(&payload.urls, config.guest()),
        (true, Some(file)) => gateway.catalog.load_file(file).await?,
        (true, None) => return Ok(Reply::no_content().remedy("the request names no URLs")),
    };
    if services.is_empty() {
        let causes: Vec<_> = services.problems().iter().map(send::told).collect();
        let causes = causes.join(" | ");
        // The answer has no body that could say so.
        tracing::warn!(%causes, "a request named no valid URL; nothing was sent");
        return Ok(Reply::no_content().remedy(format!("no valid URL: {causes}")));
    }
    let wait = send::wait(&gateway, &parts, payload.wait);
    deliver(&gateway, &caller, None, &services, payload, wait).await
}

/// The services of a key, the operator's file first.
pub(crate) async fn key_services(gateway: &Gateway, key: &Key) -> Result<Option<Arc<Notifier>>, Reply> {
    let file = gateway.operator_file(key);
    let guest = gateway.config().guest();
    gateway.catalog.services(key, file.as_deref(), guest).await
}

/// Hands a payload to the services that its tags choose.
pub(crate) async fn deliver(
    gateway: &Gateway,
    caller: &Caller,
    key: Option<&Key>,
    services: &Notifier,
    mut payload: Payload,
    wait: std::time::Duration,
) -> Result<Reply, Reply> {
    let filter = payload.filter.unwrap_or(TagFilter::All);
    let attachments = attach::resolve(payload.files, &gateway.config().attach, &mut payload.share).await?;
    let mut message = Message::new(payload.body)
        .title(payload.title)
        .kind(payload.kind)
        .input_format(payload.format);
    message.attachments = attachments;
    let mut order = order(caller, services, &filter, message)?;
    order.options.ttl = payload.ttl;
    order.options.origin = key.map(Key::to_string);
    order.wait = wait;
    order.share = Some(payload.share);
    send::accept(gateway, order).await
}

/// Chooses the services, and refuses an order that reaches nobody.
pub(crate) fn order(
    caller: &Caller,
    services: &Notifier,
    filter: &TagFilter,
    message: Message,
) -> Result<Order, Reply> {
    let chosen = caller.choose(services.iter(), filter);
    let mut problems: Vec<Diagnostic> = services
        .problems()
        .iter()
        .filter(|problem| problem.is_error())
        .cloned()
        .collect();
    let mut usable = Vec::with_capacity(chosen.len());
    let values = Values::new::<&str, String>([], &Environment::empty());
    for entry in &chosen {
        match service_of(entry, &values) {
            Ok(service) => {
                problems.extend(
                    service
                        .warnings()
                        .iter()
                        .filter(|warning| warning.is_error())
                        .cloned(),
                );
                usable.push(service);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if usable.is_empty() {
        let mut reply = Reply::new(
            StatusCode::FAILED_DEPENDENCY,
            "no service is meant by this request",
        )
        .remedy("check the tags, and the configuration of the key");
        let problems: Vec<String> = problems.iter().map(send::told).collect();
        reply = reply.field("problems", problems.clone());
        for problem in problems {
            reply = reply.line(problem);
        }
        return Err(reply);
    }
    Ok(Order {
        message,
        services: usable,
        problems,
        options: AcceptOptions {
            asset: Some(services.asset())
                .filter(|asset| **asset != Asset::default())
                .cloned(),
            ..AcceptOptions::default()
        },
        wait: std::time::Duration::ZERO,
        share: None,
    })
}

fn service_of(entry: &Entry, values: &Values) -> Result<Service, Diagnostic> {
    entry.resolve(values)
}

/// Gateways may call one another, but not in a circle.
fn recursion(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Reply> {
    let Some(value) = headers.get("x-apprise-recursion-count") else {
        return Ok(());
    };
    let count: i64 = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|count| *count >= 0)
        .ok_or_else(|| Reply::bad_request("X-Apprise-Recursion-Count is no number"))?;
    if count > i64::from(gateway.config().max_recursion) {
        return Err(
            Reply::new(StatusCode::NOT_ACCEPTABLE, "the recursion limit is reached")
                .remedy("this gateway calls itself over others; see max_recursion in gateway.toml"),
        );
    }
    Ok(())
}
