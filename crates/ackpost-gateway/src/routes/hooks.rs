//! `POST /hook/…`: what other programs post in their own words.

use std::sync::Arc;
use std::time::Duration;

use ackpost_apprise::{Notifier, TagFilter};
use ackpost_notify::{Attachment, Message};
use ackpost_platform::text::one_line;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use serde_json::Value;
use tokio::time::Instant;

use super::notify::{hops, key_services, order};
use super::send::{self, SendRequest};
use super::{AuthenticatedRequest, open};
use crate::attach::{self, Missing};
use crate::auth::Caller;
use crate::compat::credential;
use crate::hook::{self, IncomingMessage, Reader};
use crate::key::Key;
use crate::memory::Share;
use crate::payload::{self, GivenFile, MAX_TEXT_BYTES};
use crate::recipient::Recipient;
use crate::reply::{Reply, is_json};
use crate::state::Gateway;
use crate::token::Scope;
use crate::{replacing, signature, tags, units};

/// Bytes of a text that every service carries in one piece.
const SHORT_BYTES: usize = 1_500;

/// `/hook/PROGRAM/KEY`, `/hook/auto/KEY`, `/hook/json/KEY`.
pub(crate) async fn known(
    State(gateway): State<Arc<Gateway>>,
    Path((kind, key)): Path<(String, String)>,
    request: Request,
) -> Result<Reply, Reply> {
    let mut opened = open_hook(&gateway, request).await?;
    let Recipient { key, filter } = Recipient::parse(&key)?;
    opened.caller.may(Scope::Notify, Some(&key))?;
    let signed = signature::verify(&gateway, &key, &opened.parts.headers, opened.body.raw())?;
    let reader = Reader::named(&kind).ok_or_else(|| {
        Reply::not_found("unknown webhook")
            .remedy("use auto, or the name of a program such as alertmanager, or name one in gateway.toml")
    })?;
    let (value, files) = value(&mut opened).await?;
    let mut incoming = reader.read(&value, &opened.parts.headers)?;
    drop(value);
    incoming.files.extend(files);
    let hops = hops(&gateway, &opened.parts.headers)?;
    let filter = tag_of(&opened, None)?.or(filter);
    pass_on(
        &gateway,
        opened,
        Forwarded {
            key,
            filter,
            incoming,
            signed,
            hops,
        },
    )
    .await
}

/// `/hook/NAME`, as gateway.toml describes it.
pub(crate) async fn configured(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Reply, Reply> {
    let mut opened = open_hook(&gateway, request).await?;
    let config = gateway.config();
    let hook = config.hooks.get(&name).ok_or_else(|| {
        Reply::not_found("unknown webhook").remedy("name it in gateway.toml under [hooks.NAME]")
    })?;
    let key = Key::parse(&hook.key)?;
    opened.caller.may(Scope::Notify, Some(&key))?;
    let signed = signature::verify(&gateway, &key, &opened.parts.headers, opened.body.raw())?;
    let (value, files) = value(&mut opened).await?;
    // Templates take time, in which others are served.
    let (hook, headers) = (hook.clone(), opened.parts.headers.clone());
    let tag = hook.tag.clone();
    let rendered = tokio::task::spawn_blocking(move || hook::from_hook(&hook, &value, &headers)).await;
    let mut incoming = rendered.map_err(|error| Reply::internal(&error))??;
    incoming.files.extend(files);
    let hops = hops(&gateway, &opened.parts.headers)?;
    let filter = tag_of(&opened, tag.as_deref())?;
    pass_on(
        &gateway,
        opened,
        Forwarded {
            key,
            filter,
            incoming,
            signed,
            hops,
        },
    )
    .await
}

/// Programs that can send no header have their token in the query, or GitLab's secret token is one.
async fn open_hook(gateway: &Gateway, request: Request) -> Result<AuthenticatedRequest, Reply> {
    let (mut parts, body) = request.into_parts();
    let secret = parts
        .headers
        .get("x-gitlab-token")
        .and_then(|value| value.to_str().ok());
    let secret = secret.map(str::to_owned);
    credential::into_header(&mut parts, None, secret.as_deref());
    open(gateway, Request::from_parts(parts, body)).await
}

fn tag_of(opened: &AuthenticatedRequest, default: Option<&str>) -> Result<Option<TagFilter>, Reply> {
    let tag = query(&opened.parts, "tag").or_else(|| default.map(str::to_owned));
    tags::parse_text(&tag.unwrap_or_default())
}

/// Reads JSON, a form as an object, or text. Without a type the body is JSON if it can be read as such, else text.
async fn value(opened: &mut AuthenticatedRequest) -> Result<(Value, Vec<GivenFile>), Reply> {
    let headers = &opened.parts.headers;
    let content_type = payload::media(headers);
    let body = &mut opened.body;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    // `curl -d` calls everything a form.
    if is_json(content_type) || (is_form && body.looks_like_json()) {
        return Ok((body.json().await?, Vec::new()));
    }
    if is_form || payload::is_multipart(content_type) {
        let (fields, files) = body.fields(headers, None).await?;
        let value = fields.into_value();
        // GitHub and Slack put their JSON into one field, Uptime Kuma and Discord into another.
        for name in ["payload", "payload_json", "data"] {
            if let Some(text) = value.get(name).and_then(Value::as_str)
                && text.trim_start().starts_with('{')
            {
                let text = text.to_owned();
                return Ok((body.json_of(text).await?, files));
            }
        }
        return Ok((value, files));
    }
    if body.looks_like_json()
        && let Ok(value) = body.json().await
    {
        return Ok((value, Vec::new()));
    }
    Ok((Value::String(body.text()?), Vec::new()))
}

/// A message of another program, and where it goes.
pub(crate) struct Forwarded {
    pub(crate) key: Key,
    pub(crate) filter: Option<TagFilter>,
    pub(crate) incoming: IncomingMessage,
    /// The request carries a valid signature.
    pub(crate) signed: bool,
    /// Number of gateways that the message went through, this one included.
    pub(crate) hops: u32,
}

/// Returns a parameter of the query.
pub(crate) fn query(parts: &Parts, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    pairs
        .find(|(one, _)| one == name)
        .map(|(_, value)| value.into_owned())
}

/// Sends a message of another program to the services of a key.
pub(crate) async fn pass_on(
    gateway: &Gateway,
    opened: AuthenticatedRequest,
    forwarded: Forwarded,
) -> Result<Reply, Reply> {
    let asked = query(&opened.parts, "wait").and_then(|text| units::duration(&text).ok());
    let wait = send::wait(gateway, &opened.parts, asked);
    forward(gateway, &opened.caller, forwarded, opened.body.into_share(), wait).await
}

/// Stores a message, with the memory that it holds.
async fn forward(
    gateway: &Gateway,
    caller: &Caller,
    forwarded: Forwarded,
    mut share: Share,
    wait: Duration,
) -> Result<Reply, Reply> {
    let Forwarded {
        key,
        filter,
        incoming,
        signed,
        hops,
    } = forwarded;
    if incoming.title.len() + incoming.body.len() > MAX_TEXT_BYTES {
        return Err(Reply::larger("the text of title and body", MAX_TEXT_BYTES));
    }
    let services = services(gateway, &key, signed).await?;
    let resolved = resolve(gateway, incoming, &mut share).await?;
    let notes = resolved.incoming.notes.clone();
    let to = KeyServices {
        key,
        filter,
        services,
        hops,
    };
    let mut order = compose(gateway, caller, to, resolved).await?;
    order.wait = wait;
    order.share = Some(share);
    let reply = send::accept(gateway, order).await?;
    Ok(if notes.is_empty() {
        reply
    } else {
        reply.field("notes", notes)
    })
}

/// Returns the services of a key, unless it takes signed requests only and this is none.
pub(crate) async fn services(gateway: &Gateway, key: &Key, signed: bool) -> Result<Arc<Notifier>, Reply> {
    signature::require(gateway, key, signed)?;
    key_services(gateway, key)
        .await?
        .ok_or_else(|| Reply::not_found("this key has no configuration").remedy("save one with /add/KEY"))
}

/// A message whose files are here.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The message; it names the files that are missing.
    pub(crate) incoming: IncomingMessage,
    pub(crate) attachments: Vec<Attachment>,
    missing: Vec<String>,
}

/// Gets the files of a message. The text goes without a file that cannot be had, and names it.
pub(crate) async fn resolve(
    gateway: &Gateway,
    mut incoming: IncomingMessage,
    share: &mut Share,
) -> Result<Resolved, Reply> {
    let files = std::mem::take(&mut incoming.files);
    let config = gateway.config();
    let until = Instant::now() + config.fetch_time();
    let (attachments, missing) =
        attach::resolve_all(files, &config.attach, share, Missing::Name, until).await?;
    for file in &missing {
        incoming.note(&format!("(file missing: {file})"));
    }
    Ok(Resolved {
        incoming,
        attachments,
        missing,
    })
}

/// A key, and which of its services a message goes to.
pub(crate) struct KeyServices {
    pub(crate) key: Key,
    pub(crate) filter: Option<TagFilter>,
    pub(crate) services: Arc<Notifier>,
    /// Number of gateways that the message went through, this one included.
    pub(crate) hops: u32,
}

/// Returns the message for the services of a key, ready to be stored.
pub(crate) async fn compose(
    gateway: &Gateway,
    caller: &Caller,
    to: KeyServices,
    resolved: Resolved,
) -> Result<SendRequest, Reply> {
    let Resolved {
        mut incoming,
        attachments,
        missing,
    } = resolved;
    let key = to.key;
    let mut message = Message::new(incoming.body)
        // For mail and others, the line breaks of a title would be headers.
        .title(one_line(incoming.title.trim()))
        .kind(incoming.kind)
        .input_format(incoming.format)
        .hops(to.hops);
    message.attachments = attachments;
    gateway.config().signs.add(&mut message);
    let shown = format!("{}\n{}", message.title, message.body);
    let alert = incoming.alert.take();
    let over = alert.as_deref().filter(|alert| alert.resolved).cloned();
    let context = gateway.config().operate.context(&key, alert, shown.trim());
    let filter = to.filter.unwrap_or(TagFilter::All);
    let mut order = order(caller, &to.services, &filter, message)?;
    if let Some(over) = over.filter(|_| gateway.config().operate.replaces(key.as_str())) {
        replacing::edit_earlier(gateway, &key, &over, &mut order.services).await;
    }
    // The program that posts cannot know how much a service carries.
    if order.message.title.len() + order.message.body.len() > SHORT_BYTES {
        for service in &mut order.services {
            *service = service.splitting();
        }
    }
    order.options.origin = Some(key.to_string());
    order.options.context = context;
    order.options.missing_files = missing;
    Ok(order)
}
