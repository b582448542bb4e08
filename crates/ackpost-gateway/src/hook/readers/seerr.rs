//! Jellyseerr and Overseerr. E-mail addresses of people are not passed on.

use ackpost_notify::Kind;
use serde_json::Value;

use super::value::{at, first, list, sentence, text};
use crate::hook::IncomingMessage;
use crate::reply::Reply;

/// Reads a webhook with the default template.
pub(super) fn read(value: &Value) -> Result<IncomingMessage, Reply> {
    let what = text(value, "notification_type");
    if what.is_empty() {
        return Err(Reply::bad_request(
            "this is not a webhook of Jellyseerr: `notification_type` is missing",
        )
        .remedy("use the default template of its webhook agent"));
    }
    let kind = match what {
        "MEDIA_AVAILABLE" => Kind::Success,
        "MEDIA_FAILED" => Kind::Failure,
        _ if what.starts_with("ISSUE_") => Kind::Warning,
        _ => Kind::Info,
    };
    let person = first([
        at(value, "/comment/commentedBy_username"),
        at(value, "/issue/reportedBy_username"),
        at(value, "/request/requestedBy_username"),
    ]);
    let mut event = sentence(first([text(value, "event"), what]));
    if !person.is_empty() {
        event.push_str(&format!(", by {person}"));
    }
    let mut incoming = IncomingMessage::new(first([text(value, "subject"), "Jellyseerr"]), event, kind);
    incoming.line(text(value, "message"));
    let comment = at(value, "/comment/comment_message");
    if comment != text(value, "message") {
        incoming.line(comment);
    }
    for extra in list(value, "extra") {
        let (name, text) = (sentence(text(extra, "name")), text(extra, "value"));
        if !text.is_empty() {
            incoming.line(&format!("{name}: {text}"));
        }
    }
    Ok(incoming)
}
