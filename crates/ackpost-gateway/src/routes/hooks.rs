//! `POST /hook/…`: what other programs post in their own words.

use std::sync::Arc;

use ackpost_notify::{Format, Message, TagFilter};
use axum::extract::{Path, Request, State};
use serde_json::Value;

use super::notify::{key_services, order};
use super::send;
use super::{Opened, open};
use crate::hook::{self, Said};
use crate::key::Key;
use crate::payload;
use crate::reply::{Reply, is_json};
use crate::state::Gateway;
use crate::token::Scope;
use crate::{tags, units};

/// Bytes of a text that every service carries in one piece.
const SHORT_BYTES: usize = 1_500;

/// `/hook/alertmanager/KEY`, `/hook/grafana/KEY`, `/hook/json/KEY`.
pub(crate) async fn known(
    State(gateway): State<Arc<Gateway>>,
    Path((kind, key)): Path<(String, String)>,
    request: Request,
) -> Result<Reply, Reply> {
    let mut opened = open(&gateway, request).await?;
    let key = Key::parse(&key)?;
    opened.caller.may(Scope::Notify, Some(&key))?;
    let value = value(&mut opened).await?;
    let said = match kind.as_str() {
        "alertmanager" => hook::alertmanager(&value)?,
        "grafana" => hook::grafana(&value)?,
        "json" => hook::generic(&value)?,
        _ => {
            return Err(Reply::not_found("there is no such webhook")
                .remedy("use alertmanager, grafana or json, or name one in gateway.toml"));
        }
    };
    pass_on(&gateway, opened, &key, said, None).await
}

/// `/hook/NAME`, as gateway.toml describes it.
pub(crate) async fn configured(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Reply, Reply> {
    let mut opened = open(&gateway, request).await?;
    let config = gateway.config();
    let hook = config.hooks.get(&name).ok_or_else(|| {
        Reply::not_found("there is no webhook of this name")
            .remedy("name it in gateway.toml under [hooks.NAME]")
    })?;
    let key = Key::parse(&hook.key)?;
    opened.caller.may(Scope::Notify, Some(&key))?;
    let said = hook::from_hook(hook, &value(&mut opened).await?)?;
    pass_on(&gateway, opened, &key, said, hook.tag.as_deref()).await
}

/// Reads JSON, a form as an object, or text. Without a type the body is JSON if it can be read as such, else text.
async fn value(opened: &mut Opened) -> Result<Value, Reply> {
    let headers = &opened.parts.headers;
    let content_type = payload::media(headers);
    let body = &mut opened.body;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    // `curl -d` calls everything a form.
    if is_json(content_type) || (is_form && body.looks_like_json()) {
        return body.json().await;
    }
    if is_form || payload::is_multipart(content_type) {
        return Ok(body.fields(headers, None).await?.0.into_value());
    }
    if body.looks_like_json()
        && let Ok(value) = body.json().await
    {
        return Ok(value);
    }
    Ok(Value::String(body.text()))
}

async fn pass_on(
    gateway: &Gateway,
    opened: Opened,
    key: &Key,
    said: Said,
    tag: Option<&str>,
) -> Result<Reply, Reply> {
    let services = key_services(gateway, key).await?.ok_or_else(|| {
        Reply::not_found("there is no configuration under this key").remedy("save one with /add/KEY")
    })?;
    let query = |name: &str| {
        let pairs = url::form_urlencoded::parse(opened.parts.uri.query().unwrap_or_default().as_bytes());
        pairs
            .into_owned()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value)
    };
    let tag = query("tag")
        .or_else(|| tag.map(str::to_owned))
        .unwrap_or_default();
    let filter = tags::parse_text(&tag)?.unwrap_or(TagFilter::All);
    let asked = query("wait").and_then(|text| units::duration(&text).ok());
    let message = Message::new(said.body)
        .title(said.title)
        .kind(said.kind)
        .input_format(Format::Text);
    let mut order = order(&opened.caller, &services, &filter, message)?;
    // The program that posts cannot know how much a service carries.
    if order.message.title.len() + order.message.body.len() > SHORT_BYTES {
        for service in &mut order.services {
            match service.splitting() {
                Ok(split) => *service = split,
                Err(problem) => tracing::warn!(%problem, "a long webhook message is sent in one piece"),
            }
        }
    }
    order.options.origin = Some(key.to_string());
    order.wait = send::wait(gateway, &opened.parts, asked);
    order.share = Some(opened.body.into_share());
    send::accept(gateway, order).await
}
