//! `/add/KEY`, `/del/KEY`, `/get/KEY`, `/cfg`, `/json/urls/KEY`.

use std::sync::Arc;

use ackpost_apprise::{Entry, TagFilter, Values};
use ackpost_notify::Environment;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::{AuthenticatedRequest, open};
use crate::auth::Caller;
use crate::key::Key;
use crate::payload::Fields;
use crate::reply::{Reply, wants_json};
use crate::state::Gateway;
use crate::store::ConfigFormat;
use crate::token::Scope;
use crate::{catalog, tags};

/// Longest configuration, the limit of the language (128 KiB).
const MAX_CONFIG_BYTES: usize = 128 << 10;

/// Saves a configuration.
pub(crate) async fn add(
    State(gateway): State<Arc<Gateway>>,
    path: Option<Path<String>>,
    request: Request,
) -> Result<Reply, Reply> {
    let AuthenticatedRequest {
        caller,
        parts,
        mut body,
    } = open(&gateway, request).await?;
    let key = Key::of_request(path.as_ref().map(|path| path.0.as_str()), &parts.headers)?;
    changeable(&gateway, &caller, &key)?;
    let (fields, _) = body.fields(&parts.headers, None).await?;
    let (text, format) = configuration(&fields)?;
    save(&gateway, &caller, &key, &text, format).await
}

/// Checks a configuration and saves it for a key that the caller may change.
pub(crate) async fn save(
    gateway: &Gateway,
    caller: &Caller,
    key: &Key,
    text: &str,
    format: ConfigFormat,
) -> Result<Reply, Reply> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(Reply::larger("the configuration", MAX_CONFIG_BYTES));
    }
    let notifier = catalog::load_text(text, format, gateway.config().guest(), gateway.catalog.known()).await;
    let problems: Vec<String> = notifier.problems().iter().map(ToString::to_string).collect();
    if notifier.is_empty() {
        let mut reply = Reply::bad_request("the configuration holds no service that can be used")
            .remedy("correct what is listed")
            .field("problems", problems.clone());
        for problem in problems {
            reply = reply.line(problem);
        }
        return Err(reply);
    }
    let values = Values::new::<&str, String>([], &Environment::empty());
    let is_foreign = |entry: &Entry| entry.foreign_schema_with(&values).is_some();
    if !caller.may_foreign() && notifier.iter().any(is_foreign) {
        return Err(Reply::forbidden(
            "the configuration uses services that Apprise delivers, and this caller may not use them",
        )
        .remedy("use a token with the right `foreign`, or put the URLs into a file of the operator"));
    }
    gateway
        .catalog
        .store()
        .save(key, format, text)
        .map_err(|error| Reply::internal(&error))?;
    gateway.catalog.forget_key(key);
    gateway.outbox.forget_services();
    gateway.keys_changed.notify_one();
    gateway.answers_changed.notify_one();
    let mut reply = Reply::ok("Successfully saved configuration")
        .field("services", notifier.len())
        .field("problems", problems.clone());
    for problem in problems {
        reply = reply.line(problem);
    }
    Ok(reply)
}

/// `config` with its `format`, or `urls`.
pub(crate) fn configuration(fields: &Fields) -> Result<(String, ConfigFormat), Reply> {
    if let Some(text) = fields.text(&["config"])?.filter(|text| !text.trim().is_empty()) {
        let word = fields.text(&["format"])?.unwrap_or_default();
        let format = match word.trim().to_ascii_lowercase().as_str() {
            "text" => ConfigFormat::Text,
            "yaml" => ConfigFormat::Yaml,
            "" | "auto" => catalog::guess_format(&text),
            _ => return Err(Reply::bad_request("the format is not known").remedy("write text, yaml or auto")),
        };
        return Ok((text, format));
    }
    let urls = fields.list(&["urls", "url"])?;
    // One URL on each line: the language of configurations splits no lines.
    let lines: Vec<String> = urls
        .iter()
        .flat_map(|text| ackpost_apprise::split_urls(text))
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(Reply::bad_request("there is nothing to save")
            .remedy("send `urls`, or `config` with its `format`"));
    }
    Ok((lines.join("\n"), ConfigFormat::Text))
}

/// Deletes a configuration.
pub(crate) async fn del(
    State(gateway): State<Arc<Gateway>>,
    path: Option<Path<String>>,
    request: Request,
) -> Result<Reply, Reply> {
    let AuthenticatedRequest { caller, parts, .. } = open(&gateway, request).await?;
    let key = Key::of_request(path.as_ref().map(|path| path.0.as_str()), &parts.headers)?;
    changeable(&gateway, &caller, &key)?;
    let deleted = gateway
        .catalog
        .store()
        .delete(&key)
        .map_err(|error| Reply::internal(&error))?;
    gateway.catalog.forget_key(&key);
    gateway.outbox.forget_services();
    gateway.keys_changed.notify_one();
    gateway.answers_changed.notify_one();
    Ok(if deleted {
        Reply::ok("Successfully removed configuration")
    } else {
        Reply::no_content()
    })
}

/// The text of a configuration, with its secrets: for `apprise --config=http://…/get/KEY`. Not for everybody who
/// happens to be on the machine.
pub(crate) async fn get(
    State(gateway): State<Arc<Gateway>>,
    path: Option<Path<String>>,
    request: Request,
) -> Result<Response, Reply> {
    let AuthenticatedRequest { caller, parts, .. } = open(&gateway, request).await?;
    let key = Key::of_request(path.as_ref().map(|path| path.0.as_str()), &parts.headers)?;
    changeable(&gateway, &caller, &key)?;
    let Some(stored) = gateway.catalog.stored(&key)? else {
        return Ok(Reply::no_content().into_response());
    };
    caller.may_see_secrets(&gateway)?;
    if wants_json(&parts.headers) {
        let text = json!({"format": stored.format.as_str(), "config": stored.text}).to_string();
        return Ok(([(CONTENT_TYPE, "application/json")], text).into_response());
    }
    let content_type = match stored.format {
        ConfigFormat::Text => "text/plain; charset=utf-8",
        ConfigFormat::Yaml => "text/yaml; charset=utf-8",
    };
    Ok((
        StatusCode::OK,
        [(CONTENT_TYPE, content_type)],
        stored.text.clone(),
    )
        .into_response())
}

/// The names of all keys.
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, Reply> {
    let AuthenticatedRequest { caller, .. } = open(&gateway, request).await?;
    caller
        .may(Scope::Read, None)
        .or_else(|_| caller.may(Scope::Configure, None))?;
    let keys: Vec<String> = gateway
        .keys()?
        .iter()
        .filter(|key| {
            caller
                .may(Scope::Read, Some(key))
                .or_else(|_| caller.may(Scope::Configure, Some(key)))
                .is_ok()
        })
        .map(Key::to_string)
        .collect();
    Ok(([(CONTENT_TYPE, "application/json")], json!(keys).to_string()).into_response())
}

/// The URLs and tags of a key. Secrets only for who may configure, and only on `privacy=0`.
pub(crate) async fn urls(
    State(gateway): State<Arc<Gateway>>,
    path: Option<Path<String>>,
    request: Request,
) -> Result<Response, Reply> {
    let AuthenticatedRequest { caller, parts, .. } = open(&gateway, request).await?;
    let key = Key::of_request(path.as_ref().map(|path| path.0.as_str()), &parts.headers)?;
    caller
        .may(Scope::Read, Some(&key))
        .or_else(|_| caller.may(Scope::Configure, Some(&key)))?;
    let query = |name: &str| {
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        pairs
            .into_owned()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value)
    };
    let filter = tags::parse_text(&query("tag").unwrap_or_default())?.unwrap_or(TagFilter::All);
    let exposed = query("privacy").is_some_and(|word| matches!(word.as_str(), "0" | "no" | "false"))
        && caller.may(Scope::Configure, Some(&key)).is_ok()
        && readable(&gateway, &key).is_ok()
        && caller.may_see_secrets(&gateway).is_ok();
    let Some(services) = super::notify::key_services(&gateway, &key).await? else {
        return Ok(Reply::no_content().into_response());
    };
    let mut all_tags = std::collections::BTreeSet::new();
    let urls: Vec<Value> = caller
        .choose(services.iter(), &filter)
        .into_iter()
        .map(|entry| {
            let names = entry.tag_names();
            all_tags.extend(names.iter().cloned());
            let url = if exposed {
                entry.expose_url()
            } else {
                entry.short_url()
            };
            let id = entry.service().map(|service| service.url_id(8));
            json!({"id": id, "url": url, "tags": names})
        })
        .collect();
    let text = json!({"tags": all_tags, "urls": urls}).to_string();
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// Refuses callers who may not change a configuration, and configurations that nobody can change over HTTP.
pub(crate) fn changeable(gateway: &Gateway, caller: &Caller, key: &Key) -> Result<(), Reply> {
    caller.may_whole(Scope::Configure, key)?;
    readable(gateway, key)
}

/// Refuses keys whose configuration is not shown or changed over HTTP.
fn readable(gateway: &Gateway, key: &Key) -> Result<(), Reply> {
    if gateway.config().config_lock {
        return Err(Reply::forbidden("configurations are locked").remedy("see config_lock in gateway.toml"));
    }
    if gateway.operator_file(key).is_some() {
        return Err(
            Reply::forbidden("this key belongs to the operator of the gateway")
                .remedy("change the file that gateway.toml names"),
        );
    }
    Ok(())
}
