//! `POST /notify` and `POST /notify/KEY`.

use std::sync::Arc;

use ackpost_apprise::{Entry, Notifier, TagFilter, Values};
use ackpost_notify::{Asset, Diagnostic, Environment, Foreign, HOPS_HEADER, Message, ServiceUrl};
use ackpost_outbox::AcceptOptions;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::send::{self, SendRequest};
use super::{AuthenticatedRequest, open};
use crate::attach::{self, Missing};
use crate::auth::Caller;
use crate::hook::add_note;
use crate::key::Key;
use crate::payload::Payload;
use crate::reply::Reply;
use crate::state::Gateway;
use crate::token::Scope;
use crate::{catalog, key, signature};

/// Maximum number of services one request may name.
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

async fn to_key(gateway: &Gateway, key: Key, opened: AuthenticatedRequest) -> Result<Reply, Reply> {
    let AuthenticatedRequest {
        caller,
        parts,
        mut body,
    } = opened;
    caller.may(Scope::Notify, Some(&key))?;
    signature::require(gateway, &key, false)?;
    let hops = hops(gateway, &parts.headers)?;
    let (fields, files) = body.fields(&parts.headers, parts.uri.query()).await?;
    let payload = Payload::from_fields(&fields, files, body.into_share())?;
    drop(fields);
    let Some(services) = key_services(gateway, &key).await? else {
        tracing::warn!(%key, "a request named a key without a configuration; nothing was sent");
        return Ok(Reply::no_content().remedy("this key has no configuration"));
    };
    let wait = send::wait(gateway, &parts, payload.wait);
    let origin = PayloadOrigin {
        key: Some(&key),
        hops,
    };
    deliver(gateway, &caller, origin, &services, payload, wait).await
}

/// To URLs that come with the request, or to those of the operator; or, when a header names one, to a key.
pub(crate) async fn stateless(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Reply, Reply> {
    let opened = open(&gateway, request).await?;
    if opened.parts.headers.contains_key(key::HEADER) {
        let key = Key::of_request(None, &opened.parts.headers)?;
        return to_key(&gateway, key, opened).await;
    }
    let AuthenticatedRequest {
        caller,
        parts,
        mut body,
    } = opened;
    caller.may(Scope::Urls, None)?;
    let hops = hops(&gateway, &parts.headers)?;
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
        (false, _) => catalog::load_urls(&payload.urls, config.guest(), gateway.catalog.known()),
        (true, Some(file)) => gateway.catalog.load_file(file).await?,
        (true, None) => return Ok(Reply::no_content().remedy("the request has no URLs")),
    };
    if services.is_empty() {
        let causes: Vec<_> = services.problems().iter().map(send::told).collect();
        let causes = causes.join(" | ");
        // The answer has no body that could say so.
        tracing::warn!(%causes, "a request had no valid URL; nothing was sent");
        return Ok(Reply::no_content().remedy(format!("no valid URL: {causes}")));
    }
    let wait = send::wait(&gateway, &parts, payload.wait);
    let origin = PayloadOrigin { key: None, hops };
    deliver(&gateway, &caller, origin, &services, payload, wait).await
}

/// The services of a key, the operator's file first.
pub(crate) async fn key_services(gateway: &Gateway, key: &Key) -> Result<Option<Arc<Notifier>>, Reply> {
    let file = gateway.operator_file(key);
    let guest = gateway.config().guest();
    gateway.catalog.services(key, file.as_deref(), guest).await
}

/// The way on which a payload came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PayloadOrigin<'a> {
    pub(crate) key: Option<&'a Key>,
    /// Number of gateways that the message went through, this one included.
    pub(crate) hops: u32,
}

/// Hands a payload to the services that its tags choose.
pub(crate) async fn deliver(
    gateway: &Gateway,
    caller: &Caller,
    origin: PayloadOrigin<'_>,
    services: &Notifier,
    mut payload: Payload,
    wait: std::time::Duration,
) -> Result<Reply, Reply> {
    let filter = payload.filter.take().unwrap_or(TagFilter::All);
    let config = gateway.config();
    let (attachments, missing) = attach::resolve_all(
        std::mem::take(&mut payload.files),
        &config.attach,
        &mut payload.share,
        if payload.requires_files {
            Missing::Refuse
        } else {
            Missing::Name
        },
        Instant::now() + config.fetch_time(),
    )
    .await?;
    for file in &missing {
        add_note(
            &mut payload.body,
            payload.format,
            &format!("(file missing: {file})"),
        );
    }
    let mut message = Message::new(payload.body)
        .title(payload.title)
        .kind(payload.kind)
        .input_format(payload.format)
        .hops(origin.hops);
    message.attachments = attachments;
    gateway.config().signs.add(&mut message);
    let mut order = order(caller, services, &filter, message)?;
    order.options.ttl = payload.ttl;
    order.options.missing_files = missing;
    order.options.origin = origin.key.map(Key::to_string);
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
) -> Result<SendRequest, Reply> {
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
            Ok(service) if service.foreign_schema().is_some() => match rule(caller, services, &service) {
                Ok(true) => usable.push(service),
                Ok(false) => {}
                Err(problem) => problems.push(problem),
            },
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
        let mut reply = Reply::new(StatusCode::FAILED_DEPENDENCY, "no service matches this request")
            .remedy("check the tags, and the configuration of the key");
        let problems: Vec<String> = problems.iter().map(send::told).collect();
        reply = reply.field("problems", problems.clone());
        for problem in problems {
            reply = reply.line(problem);
        }
        return Err(reply);
    }
    Ok(SendRequest {
        message,
        services: usable,
        problems,
        options: AcceptOptions::default().with_asset(
            Some(services.asset())
                .filter(|asset| **asset != Asset::default())
                .cloned(),
        ),
        wait: std::time::Duration::ZERO,
        share: None,
    })
}

/// Returns true if a service that Apprise delivers is used, false if the configuration leaves such services out.
fn rule(caller: &Caller, services: &Notifier, service: &ServiceUrl) -> Result<bool, Diagnostic> {
    let schema = service.foreign_schema().unwrap_or_default();
    if service.common().guest.is_some() && !caller.may_foreign() {
        return Err(Diagnostic::error(
            format!(
                "{schema}:// came over HTTP, and this caller may not name services that Apprise delivers"
            ),
            "use a token with the right `foreign`, or put the URL into a file of the operator",
        ));
    }
    match services.asset().foreign.unwrap_or_default() {
        Foreign::Apprise => Ok(true),
        Foreign::Skip => Ok(false),
        Foreign::Fail => Err(Diagnostic::error(
            format!(
                "{schema}:// would go through Apprise, and the configuration of the key says `foreign: fail`"
            ),
            "write `foreign: apprise` into the configuration to hand it to an installed Apprise",
        )),
    }
}

fn service_of(entry: &Entry, values: &Values) -> Result<ServiceUrl, Diagnostic> {
    entry.resolve(values)
}

/// Returns the number of gateways that a message went through, this one included. Gateways may call one another, but not
/// in a loop.
pub(crate) fn hops(gateway: &Gateway, headers: &HeaderMap) -> Result<u32, Reply> {
    let Some(value) = headers.get(HOPS_HEADER) else {
        return Ok(1);
    };
    let count: u64 = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Reply::bad_request("X-Apprise-Recursion-Count is not a number"))?;
    next_hop(gateway, count).ok_or_else(|| {
        Reply::new(StatusCode::NOT_ACCEPTABLE, "the recursion limit is reached").remedy(
            "the request went through too many gateways, perhaps in a loop; see max_recursion in gateway.toml",
        )
    })
}

/// Counts this gateway after `count` others; `None` if there were too many.
pub(crate) fn next_hop(gateway: &Gateway, count: u64) -> Option<u32> {
    let count = u32::try_from(count).ok()?;
    (count <= gateway.config().max_recursion).then(|| count.saturating_add(1))
}
