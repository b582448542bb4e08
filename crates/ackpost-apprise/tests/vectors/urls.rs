//! Runs the vectors of `url` and `params`.

use ackpost_apprise::LoadedUrls;
use ackpost_notify::{ParamValue, ServiceUrl};
use serde_json::{Value, json};

use super::{context, run, same};

#[test]
fn url() {
    run("url", check);
}

#[test]
fn params() {
    run("params", check_params);
}

pub(crate) fn load(line: &Value) -> LoadedUrls {
    LoadedUrls::from_text(line["input"]["url"].as_str().expect("a URL"), &context())
}

pub(crate) fn check(line: &Value) -> Result<(), String> {
    let loaded = load(line);
    let expected = &line["expected"];
    same(
        "valid",
        &(loaded.problems.is_empty()),
        &expected["valid"].as_bool().expect("valid"),
    )?;
    let theirs = expected["services"].as_array().expect("services");
    same("number of services", &loaded.services.len(), &theirs.len())?;
    for (ours, theirs) in loaded.services.iter().zip(theirs) {
        check_service(ours, theirs)?;
    }
    Ok(())
}

pub(crate) fn check_service(ours: &ServiceUrl, theirs: &Value) -> Result<(), String> {
    let text = |key: &str| theirs[key].as_str().unwrap_or_default().to_owned();
    same("url", &ours.expose_url(), &text("url"))?;
    same("privacy", &ours.apprise_masked_url(), &text("privacy"))?;
    same("url_id", &ours.url_id(8), &text("url_id"))?;
    same("service", &ours.name().to_owned(), &text("service"))?;
    same("host", &ours.host().to_owned(), &text("host"))?;
    same("port", &json!(ours.port()), &theirs["port"])?;
    same("secure", &json!(ours.secure()), &theirs["secure"])?;
    same("len", &json!(ours.common().retry + 1), &theirs["len"])?;
    if theirs["service"] == "sogs" {
        let mut rooms: Vec<String> = ours.targets().into_iter().map(|target| target.address).collect();
        rooms.sort();
        let mut wanted: Vec<String> = theirs["rooms"]
            .as_array()
            .expect("rooms")
            .iter()
            .map(|room| room.as_str().expect("a room").to_owned())
            .collect();
        // D3: no room twice, in the order written; the vectors have them sorted.
        wanted.sort();
        wanted.dedup();
        same("rooms", &rooms, &wanted)?;
    } else {
        let param = |name: &str| {
            ours.parameters()
                .into_iter()
                .find(|one| one.name == name)
                .map(|one| one.value)
        };
        for name in ["roster", "subject", "keepalive", "scramplus"] {
            same(
                name,
                &param(name),
                &Some(ParamValue::Bool(theirs[name].as_bool().expect("a boolean"))),
            )?;
        }
        same("mode", &param("mode"), &Some(ParamValue::Text(text("mode"))))?;
        let host = match param("xmpp") {
            Some(ParamValue::Text(host)) => host,
            _ => String::new(),
        };
        same("xmpp", &host, &text("xmpp"))?;
        let mut targets: Vec<Value> = ours
            .targets()
            .into_iter()
            .map(|target| {
                let jid = target
                    .address
                    .strip_prefix('#')
                    .filter(|_| target.room)
                    .unwrap_or(&target.address);
                json!({"type": if target.room { "groupchat" } else { "chat" }, "jid": jid})
            })
            .collect();
        let mut wanted = theirs["targets"].as_array().expect("targets").clone();
        if wanted.is_empty() {
            let own = text("jid").split('/').next().unwrap_or_default().to_owned();
            wanted.push(json!({"type": "chat", "jid": own}));
        }
        wanted.dedup();
        targets.sort_by_key(ToString::to_string);
        wanted.sort_by_key(ToString::to_string);
        same("targets", &targets, &wanted)?;
    }
    // The printed URL reads back as the same.
    let again = ServiceUrl::parse(&ours.expose_url(), &context())
        .map_err(|problem| format!("not stable: {problem}"))?;
    // The canonical URL has the rooms sorted, a delivery has them as written (D3).
    let places = |service: &ServiceUrl| {
        let mut places: Vec<String> = service
            .targets()
            .into_iter()
            .map(|target| target.address)
            .collect();
        places.sort();
        places
    };
    same("stable targets", &places(&again), &places(ours))?;
    let third = ServiceUrl::parse(&again.expose_url(), &context())
        .map_err(|problem| format!("not stable: {problem}"))?;
    same("stable", &third.expose_url(), &again.expose_url())
}

fn check_params(line: &Value) -> Result<(), String> {
    let loaded = load(line);
    let expected = &line["expected"];
    same(
        "valid",
        &(loaded.problems.is_empty()),
        &expected["valid"].as_bool().expect("valid"),
    )?;
    let Some(service) = loaded.services.first() else {
        return Ok(());
    };
    for (name, value) in expected.as_object().expect("an object") {
        let ours = match name.as_str() {
            "valid" | "log" => continue,
            "query" => json!(service.expose_url().split_once('?').expect("a query").1),
            name => {
                let value = service
                    .parameters()
                    .into_iter()
                    .find(|one| one.name == name)
                    .map(|one| one.value);
                match value {
                    Some(ParamValue::Bool(yes)) => json!(yes),
                    Some(ParamValue::Int(number)) => json!(number),
                    Some(ParamValue::Float(number)) if number.is_finite() => json!(number),
                    Some(ParamValue::Float(number)) if number.is_nan() => json!("nan"),
                    Some(ParamValue::Float(_)) => json!("inf"),
                    Some(ParamValue::Text(text)) => json!(text),
                    Some(ParamValue::None) | None => Value::Null,
                }
            }
        };
        same(name, &ours, value)?;
    }
    Ok(())
}
