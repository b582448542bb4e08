//! Any JSON: by a template of the configuration, or by the field names that most programs use.

use ackpost_notify::Kind;
use serde_json::Value;

use super::{IncomingMessage, shortened};
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
pub(crate) fn generic(value: &Value) -> Result<IncomingMessage, Reply> {
    let mut title = first(value, &TITLE_FIELDS).unwrap_or_default();
    let body = first(value, &BODY_FIELDS);
    // Equal ones are written once.
    if body.as_ref() == Some(&title) {
        title.clear();
    }
    let body = match body {
        Some(body) => body,
        // A title with other fields than text: the JSON, too, so that nothing is lost.
        None => match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => {
                // A character has up to four bytes.
                let text = shortened::pretty(other, 4 * MAX_RAW_CHARS + 4);
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
    check(IncomingMessage::new(title, body, kind))
}

/// Refuses a message without a text.
pub(crate) fn check(incoming: IncomingMessage) -> Result<IncomingMessage, Reply> {
    if incoming.title.trim().is_empty() && incoming.body.trim().is_empty() {
        return Err(Reply::bad_request("this gives neither a title nor a body")
            .remedy("send a `message` field, or write a template for the hook in gateway.toml"));
    }
    Ok(incoming)
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

    use super::*;

    #[test]
    fn usual_fields_are_found() {
        let incoming =
            generic(&json!({"event": "deploy", "message": "done", "status": "success"})).expect("a message");
        assert_eq!(incoming, IncomingMessage::new("deploy", "done", Kind::Success));
        let incoming = generic(&json!({"a": 1})).expect("a message");
        assert_eq!(incoming.body, "{\n  \"a\": 1\n}");
        let long = generic(&json!({"list": vec!["x"; 2_000]}))
            .expect("a message")
            .body;
        assert!(long.ends_with(CUT) && long.chars().count() == MAX_RAW_CHARS + CUT.chars().count());
        assert!(generic(&Value::Null).is_err());
        assert!(generic(&json!("")).is_err());
    }
}
