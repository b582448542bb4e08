//! `/compat/…`: what clients of other services post, in their own form and with their own answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::hooks::{self, Forwarded};
use super::notify::hops;
use super::{AuthenticatedRequest, open};
use crate::auth::{Caller, same_origin};
use crate::compat::answer::SHAPE;
use crate::compat::{CompatRoute, CompatService, credential, discord, gotify, ntfy, service, slack};
use crate::hook::IncomingMessage;
use crate::key::Key;
use crate::payload::{self, GivenFile};
use crate::recipient::Recipient;
use crate::reply::{Reply, is_json};
use crate::state::Gateway;

/// Time for which the message is kept, as ntfy's answer says: the outbox's own default.
const EXPIRES: Duration = Duration::from_secs(86_400);

/// The parameters of the paths.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params {
    key: Option<String>,
    tag: Option<String>,
    secret: Option<String>,
}

/// Every path with its handler; those of `root` at the root, too.
pub(crate) fn routes(root: &[CompatService]) -> Vec<(&'static str, MethodRouter<Arc<Gateway>>)> {
    let route = |(service, purpose, path): (CompatService, CompatRoute, &'static str)| {
        let handler = move |State(gateway): State<Arc<Gateway>>,
                            Path(params): Path<Params>,
                            request: Request| async move {
            take(&gateway, service, purpose, &params, request).await
        };
        let method = match (service, purpose) {
            (CompatService::Gotify, CompatRoute::About) => about(path),
            (CompatService::Ntfy, CompatRoute::Trigger) => get(handler).post(handler).put(handler),
            (CompatService::Ntfy | CompatService::Text, _) => post(handler).put(handler),
            _ => post(handler),
        };
        (path, method)
    };
    service::paths(root).map(route).collect()
}

/// gotify's version and health, which some clients ask for first.
fn about(path: &str) -> MethodRouter<Arc<Gateway>> {
    let about = if path.ends_with("health") {
        json!({"health": "green", "database": "green"})
    } else {
        json!({"version": "2.6.1", "commit": "ackpost", "buildDate": ""})
    };
    get(move |State(gateway): State<Arc<Gateway>>| async move {
        let status = gateway
            .health
            .status(&gateway.outbox, gateway.catalog.store())
            .await;
        match status.outbox {
            None => Ok(Reply::ok("").field(SHAPE, about)),
            Some(_) => Err(Reply::unavailable(
                "the gateway cannot accept messages now",
                Duration::from_secs(2),
            )),
        }
    })
}

async fn take(
    gateway: &Gateway,
    service: CompatService,
    purpose: CompatRoute,
    params: &Params,
    request: Request,
) -> Result<Reply, Reply> {
    let (mut parts, body) = request.into_parts();
    // GET changes something here.
    if parts.method == Method::GET {
        same_origin(&gateway.config(), &parts.headers)?;
    }
    credential::into_header(&mut parts, Some(service), params.secret.as_deref());
    let mut opened = open(gateway, Request::from_parts(parts, body)).await?;
    if opened.parts.method == Method::GET && matches!(opened.caller, Caller::Anyone) {
        // A page of any site can make a browser ask for an image at this address.
        return Err(Reply::forbidden("a message by GET needs a token")
            .remedy("add `?token=TOKEN`, or send the message with POST or PUT"));
    }
    let named = params.key.as_deref().map(Recipient::parse).transpose()?;
    if let Some(recipient) = &named {
        opened
            .caller
            .may(crate::token::Scope::Notify, Some(&recipient.key))?;
    }
    let (incoming, topic, answer) = match (service, purpose) {
        (CompatService::Ntfy, CompatRoute::Unnamed) => {
            let (topic, published) = ntfy::from_json(&opened.body.json().await?)?;
            (published.incoming, Some(topic), published.answer)
        }
        (CompatService::Ntfy, _) => {
            let query = opened.parts.uri.query().unwrap_or_default().to_owned();
            let published = ntfy::from_headers(&opened.parts.headers, &query, opened.body.bytes())?;
            (published.incoming, None, published.answer)
        }
        (CompatService::Gotify, _) => {
            let (value, files) = fields(&mut opened).await?;
            let mut posted = gotify::read(&value)?;
            posted.incoming.files = files;
            (posted.incoming, None, posted.answer)
        }
        (CompatService::Slack, _) | (CompatService::Discord, CompatRoute::AsSlack) => {
            let (value, files) = payload_json(&mut opened, "payload").await?;
            let mut incoming = slack::read(&value)?;
            incoming.files = files;
            (incoming, None, Value::Null)
        }
        (CompatService::Discord, _) => {
            let (value, files) = payload_json(&mut opened, "payload_json").await?;
            let mut incoming = discord::read(&value, !files.is_empty())?;
            incoming.files = files;
            (incoming, None, value)
        }
        (CompatService::Text, _) => (text(&mut opened)?, None, Value::Null),
    };
    let recipient = recipient(&opened.caller, named, topic.as_deref(), params)?;
    pass_on(gateway, opened, service, recipient, incoming, answer).await
}

/// The recipient of a request: in its path, in its body (ntfy), or the one key of its token (gotify).
fn recipient(
    caller: &Caller,
    named: Option<Recipient>,
    topic: Option<&str>,
    params: &Params,
) -> Result<Recipient, Reply> {
    let mut recipient = match (named, topic) {
        (Some(recipient), _) => recipient,
        (None, Some(topic)) => Recipient::parse(topic)?,
        (None, None) => Recipient {
            key: only_key(caller)?,
            filter: None,
        },
    };
    caller.may(crate::token::Scope::Notify, Some(&recipient.key))?;
    if let Some(tag) = params.tag.as_deref().filter(|tag| *tag != "-") {
        recipient.filter = crate::tags::parse_text(tag)?;
    }
    Ok(recipient)
}

/// The key of a token that is bound to a single one.
fn only_key(caller: &Caller) -> Result<Key, Reply> {
    let key = match caller {
        Caller::Token(grant) => match grant.keys.as_slice() {
            [one] => Key::parse(one).ok(),
            _ => None,
        },
        Caller::Anyone => None,
    };
    key.ok_or_else(|| {
        Reply::bad_request("the request has no key, and its token is not bound to a single key")
            .remedy("post to /compat/gotify/KEY/message, or make a token with `ackpost gateway token add NAME --key KEY`")
    })
}

/// JSON, or a form with its files.
async fn fields(opened: &mut AuthenticatedRequest) -> Result<(Value, Vec<GivenFile>), Reply> {
    let headers = &opened.parts.headers;
    if is_json(payload::media(headers)) || opened.body.looks_like_json() {
        return Ok((opened.body.json().await?, Vec::new()));
    }
    let (fields, files) = opened.body.fields(headers, None).await?;
    Ok((fields.into_value(), files))
}

/// JSON, alone or in a field of a form.
async fn payload_json(
    opened: &mut AuthenticatedRequest,
    field: &str,
) -> Result<(Value, Vec<GivenFile>), Reply> {
    let (value, files) = fields(opened).await?;
    match value.get(field) {
        Some(Value::String(text)) => {
            let text = text.clone();
            drop(value);
            Ok((opened.body.json_of(text).await?, files))
        }
        _ => Ok((value, files)),
    }
}

/// The body is the text; `Title`, `Type` and the query say the rest.
fn text(opened: &mut AuthenticatedRequest) -> Result<IncomingMessage, Reply> {
    let parts = &opened.parts;
    let query = |name: &str| hooks::query(parts, name).unwrap_or_default();
    let body = opened.body.text()?;
    if body.trim().is_empty() {
        return Err(
            Reply::bad_request("the body is empty").remedy("send the text of the message as the body")
        );
    }
    Ok(IncomingMessage::new(
        query("title"),
        body.trim_end(),
        crate::hook::kind_of(&query("type")),
    ))
}

async fn pass_on(
    gateway: &Gateway,
    opened: AuthenticatedRequest,
    service: CompatService,
    recipient: Recipient,
    incoming: IncomingMessage,
    mut answer: Value,
) -> Result<Reply, Reply> {
    let (key, query) = (
        recipient.key.clone(),
        opened.parts.uri.query().unwrap_or_default().to_owned(),
    );
    let forwarded = Forwarded {
        filter: recipient.filter,
        key: recipient.key,
        incoming,
        signed: false,
        hops: hops(gateway, &opened.parts.headers)?,
    };
    let reply = hooks::pass_on(gateway, opened, forwarded).await?;
    let id = reply
        .get("outbox")
        .and_then(|outbox| outbox.pointer("/0/id"))
        .and_then(Value::as_str)
        .unwrap_or("0")
        .to_owned();
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let shape = match service {
        CompatService::Ntfy => {
            answer["id"] = json!(id);
            answer["time"] = json!(seconds.as_secs());
            answer["expires"] = json!((seconds + EXPIRES).as_secs());
            answer["topic"] = json!(key.as_str());
            answer
        }
        CompatService::Gotify => {
            answer["id"] = json!(number_of(&id) & 0x7fff_ffff);
            answer["date"] = json!(ackpost_outbox::time_text(now));
            answer
        }
        CompatService::Discord
            if url::form_urlencoded::parse(query.as_bytes())
                .any(|(name, value)| name == "wait" && value.eq_ignore_ascii_case("true")) =>
        {
            let text = |name: &str| answer.get(name).cloned().unwrap_or(Value::Null);
            let author = json!({"id": "1", "username": text("username").as_str().unwrap_or("Ackpost"), "avatar": null,
                                "discriminator": "0000", "bot": true, "global_name": null});
            let id = number_of(&id).to_string();
            json!({"id": id, "type": 0, "content": text("content").as_str().unwrap_or_default(), "channel_id": "1",
                   "webhook_id": "1", "author": author, "attachments": [], "mentions": [], "mention_roles": [], "components": [],
                   "embeds": text("embeds").as_array().cloned().unwrap_or_default(),
                   "pinned": false, "mention_everyone": false, "tts": false, "flags": 0,
                   "timestamp": ackpost_outbox::time_text(now), "edited_timestamp": null})
        }
        _ => return Ok(reply),
    };
    Ok(reply.field(SHAPE, shape))
}

/// A number for clients that expect one; the name of the entry is in `X-Ackpost-Outbox`.
fn number_of(id: &str) -> u64 {
    let digits = id.bytes().take(12).map(|byte| u64::from(byte & 31));
    digits.fold(1, |number, digit| (number << 5 | digit) & 0x1f_ffff_ffff_ffff)
}
