//! Any JSON: by a template of the configuration, or by the field names that most programs use.

use ackpost_notify::Kind;
use serde_json::Value;

use super::Said;
use crate::config::Hook;
use crate::reply::Reply;

const TITLE_FIELDS: [&str; 6] = ["title", "subject", "name", "event", "summary", "heading"];
const BODY_FIELDS: [&str; 8] = [
    "body",
    "message",
    "text",
    "description",
    "content",
    "msg",
    "details",
    "summary",
];
const KIND_FIELDS: [&str; 5] = ["type", "kind", "severity", "level", "status"];
/// Longest JSON that is passed on when no field is known.
const MAX_RAW_CHARS: usize = 4_000;
/// Marks the end of JSON that is cut.
const CUT: &str = "… (cut: the JSON is longer)";

/// Without a template: the usual fields, else the JSON itself.
pub(crate) fn generic(value: &Value) -> Result<Said, Reply> {
    let title = first(value, &TITLE_FIELDS).unwrap_or_default();
    let body = match first(value, &BODY_FIELDS) {
        Some(body) if body != title => body,
        _ => match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => {
                let text = serde_json::to_string_pretty(other).unwrap_or_default();
                match text.char_indices().nth(MAX_RAW_CHARS) {
                    Some((end, _)) => format!("{}{CUT}", &text[..end]),
                    None => text,
                }
            }
        },
    };
    let kind = first(value, &KIND_FIELDS)
        .map(|word| kind_of(&word))
        .unwrap_or_default();
    check(Said { title, body, kind })
}

/// With the templates of a configured hook; parts it leaves out are found as without one.
pub(crate) fn from_hook(hook: &Hook, value: &Value) -> Result<Said, Reply> {
    let mut said = generic(value).unwrap_or_default();
    if let Some(template) = &hook.title {
        template.render(value).trim().clone_into(&mut said.title);
    }
    if let Some(template) = &hook.body {
        said.body = template.render(value);
    }
    if let Some(template) = &hook.kind {
        said.kind = kind_of(&template.render(value));
    }
    check(said)
}

fn check(said: Said) -> Result<Said, Reply> {
    if said.title.trim().is_empty() && said.body.trim().is_empty() {
        return Err(Reply::bad_request("neither a title nor a body came of this")
            .remedy("send a `message` field, or write a template for the hook in gateway.toml"));
    }
    Ok(said)
}

fn first(value: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match value.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The words programs use for how bad it is.
pub(crate) fn kind_of(word: &str) -> Kind {
    match word.trim().to_lowercase().as_str() {
        "success" | "ok" | "resolved" | "passed" | "up" | "completed" | "succeeded" | "fixed" => {
            Kind::Success
        }
        "warning" | "warn" | "pending" | "unstable" | "degraded" => Kind::Warning,
        "failure" | "failed" | "error" | "critical" | "alerting" | "firing" | "down" | "fatal" | "broken" => {
            Kind::Failure
        }
        _ => Kind::Info,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Template;
    use super::*;

    #[test]
    fn usual_fields_are_found() {
        let said =
            generic(&json!({"event": "deploy", "message": "done", "status": "success"})).expect("said");
        assert_eq!(
            said,
            Said {
                title: "deploy".into(),
                body: "done".into(),
                kind: Kind::Success
            }
        );
        let said = generic(&json!({"a": 1})).expect("said");
        assert_eq!(said.body, "{\n  \"a\": 1\n}");
        let long = generic(&json!({"list": vec!["x"; 2_000]})).expect("said").body;
        assert!(long.ends_with(CUT) && long.chars().count() == MAX_RAW_CHARS + CUT.chars().count());
        assert!(generic(&Value::Null).is_err());
        assert!(generic(&json!("")).is_err());
    }

    #[test]
    fn templates_decide_when_there_are_any() {
        let template = |text: &str| Some(Template::parse(text).expect("legal"));
        let hook = Hook {
            key: "ops".into(),
            tag: None,
            title: template("{{ repo.name }}"),
            body: template("{{#each commits}}* {{ this }}\n{{/each}}"),
            kind: template("{{ state }}"),
        };
        let value =
            json!({"repo": {"name": "ackpost"}, "commits": ["a", "b"], "state": "failed", "message": "no"});
        let said = from_hook(&hook, &value).expect("said");
        assert_eq!(
            said,
            Said {
                title: "ackpost".into(),
                body: "* a\n* b\n".into(),
                kind: Kind::Failure
            }
        );
    }
}
