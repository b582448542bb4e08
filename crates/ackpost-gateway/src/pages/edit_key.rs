//! Adding and editing the configuration of a key.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::{form, layout, refused, text, to, visitor};
use crate::auth::Caller;
use crate::key::Key;
use crate::reply::Reply;
use crate::routes::configure::{changeable, configuration, save};
use crate::state::Gateway;
use crate::store::ConfigFormat;

/// Example in an empty form.
const EXAMPLE: &str = "ops=xmpps://bot:password@example.org/jane";

/// Sends the form "Add a key" on to the page of that key.
pub(super) async fn add(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(response) = visitor(&gateway, &parts) {
        return response;
    }
    let query = parts.uri.query().unwrap_or_default();
    let name = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "key")
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default();
    if name.is_empty() {
        return to("/ui");
    }
    match Key::parse(&name) {
        Ok(key) => to(&format!("/ui/keys/{key}/edit")),
        Err(reply) => refused(&reply),
    }
}

/// Shows the configuration of a key, with its secrets, in a form.
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
    let found = || -> Result<(Key, Option<(String, ConfigFormat)>), Reply> {
        let key = Key::parse(&key)?;
        changeable(&gateway, &caller, &key)?;
        let stored = gateway.catalog.stored(&key)?;
        if stored.is_some() {
            caller.may_see_secrets(&gateway)?;
        }
        let config = stored.map(|stored| (stored.text.clone(), stored.format));
        Ok((key, config))
    };
    match found() {
        Ok((key, Some((config, format)))) => page(&caller, &key, &config, format, None),
        Ok((key, None)) => page(&caller, &key, "", ConfigFormat::Text, None),
        Err(reply) => refused(&reply),
    }
}

/// Saves the form, or shows it again with what is wrong.
pub(super) async fn store(
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
    let allowed = Key::parse(&key).and_then(|key| changeable(&gateway, &caller, &key).map(|()| key));
    let key = match allowed {
        Ok(key) => key,
        Err(reply) => return refused(&reply),
    };
    let saved = async {
        let (config, format) = configuration(&fields)?;
        // Browsers end lines with CR LF.
        save(&gateway, &caller, &key, &config.replace("\r\n", "\n"), format).await
    };
    match saved.await {
        Ok(_) => to(&format!("/ui/keys/{key}")),
        Err(reply) => {
            let format = match text(&fields, "format").as_str() {
                "yaml" => ConfigFormat::Yaml,
                _ => ConfigFormat::Text,
            };
            page(&caller, &key, &text(&fields, "config"), format, Some(&reply))
        }
    }
}

fn page(caller: &Caller, key: &Key, config: &str, format: ConfigFormat, problem: Option<&Reply>) -> Response {
    let content: Markup = html! {
        @if let Some(reply) = problem {
            p.bad role="alert" { (reply.sentence()) }
            @if !reply.lines().is_empty() { ul { @for line in reply.lines() { li.bad { (line) } } } }
        }
        form.stack method="post" action={ "/ui/keys/" (key) "/edit" } {
            label {
                "Configuration"
                textarea name="config" rows="12" spellcheck="false" required placeholder=(EXAMPLE) { (config) }
            }
            label {
                "Format"
                select name="format" {
                    @for one in [ConfigFormat::Text, ConfigFormat::Yaml] {
                        option value=(one.as_str()) selected[one == format] { (one.as_str()) }
                    }
                }
            }
            button type="submit" { "Save" }
        }
        p { "Text: one URL a line, with its tags before it: " code { (EXAMPLE) } }
    };
    let mut response = layout::page(
        &format!("Configuration of {key}"),
        matches!(caller, Caller::Token(_)),
        &content,
    );
    *response.status_mut() = problem.map_or(StatusCode::OK, Reply::status);
    response
}
