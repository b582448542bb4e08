//! gotify: `{title, message, priority, extras}` as JSON, form or multipart.

use ackpost_notify::{Format, Kind};
use serde_json::{Value, json};

use crate::hook::IncomingMessage;
use crate::reply::Reply;

/// A message, and the values that gotify's answer repeats.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) incoming: IncomingMessage,
    pub(crate) answer: Value,
}

/// Reads a message; `fields` is the JSON, or the form as an object.
pub(crate) fn read(fields: &Value) -> Result<Posted, Reply> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = text("message");
    if message.trim().is_empty() {
        return Err(Reply::bad_request("the field `message` is missing").remedy("send `message`"));
    }
    let priority = match fields.get("priority") {
        None | Some(Value::Null) => 0,
        Some(Value::Number(number)) => number.as_i64().unwrap_or_default(),
        Some(value) => value
            .as_str()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| {
                Reply::bad_request("the field `priority` is not a number").remedy("send 0 to 10")
            })?,
    };
    let kind = match priority {
        ..=3 => Kind::Info,
        4..=7 => Kind::Warning,
        _ => Kind::Failure,
    };
    let mut incoming = IncomingMessage::new(text("title").trim(), message.trim_end(), kind);
    let extra = |path: &str| {
        fields
            .get("extras")
            .and_then(|extras| extras.pointer(path))
            .and_then(Value::as_str)
    };
    if extra("/client::display/contentType") == Some("text/markdown") {
        incoming.format = Format::Markdown;
    }
    for link in [
        "/client::notification/click/url",
        "/client::notification/bigImageUrl",
    ] {
        let link = extra(link).unwrap_or_default();
        if !incoming.body.contains(link) {
            incoming.line(link);
        }
    }
    let mut answer = json!({"appid": 1, "message": message, "title": text("title"), "priority": priority});
    if let Some(extras) = fields.get("extras").filter(|extras| extras.is_object()) {
        answer["extras"] = extras.clone();
    }
    Ok(Posted { incoming, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_watchtower_is_read() {
        let message = "Found new busybox:latest image (fd7dc98638c8)\nStopping /nsx-test-target (bc10b34da82b) with SIGTERM\n";
        let value = json!({"message": message, "title": "Watchtower updates on docker01", "priority": 0,
                           "extras": {"client::display": {"contentType": "text/plain"}}});
        let posted = read(&value).expect("legal");
        assert_eq!(
            posted.incoming,
            IncomingMessage::new("Watchtower updates on docker01", message.trim_end(), Kind::Info)
        );
        assert_eq!(posted.answer["message"], message);
    }

    #[test]
    fn priorities_links_and_mistakes() {
        let value = json!({"message": "*x*", "priority": "8", "extras": {
            "client::display": {"contentType": "text/markdown"},
            "client::notification": {"click": {"url": "https://a.example"}}}});
        let incoming = read(&value).expect("legal").incoming;
        assert_eq!(
            (incoming.kind, incoming.format),
            (Kind::Failure, Format::Markdown)
        );
        assert_eq!(incoming.body, "*x*\nhttps://a.example");
        assert_eq!(
            read(&json!({"message": "x", "priority": 5}))
                .expect("legal")
                .incoming
                .kind,
            Kind::Warning
        );
        for bad in [
            json!({}),
            json!({"message": " "}),
            json!([]),
            json!({"message": "x", "priority": "loud"}),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
