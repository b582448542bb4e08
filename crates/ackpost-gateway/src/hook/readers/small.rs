//! Healthchecks, Proxmox VE and Watchtower.

use ackpost_notify::Kind;
use serde_json::Value;

use super::value::{first, joined, list, text};
use crate::hook::{IncomingMessage, generic, kind_of};
use crate::reply::Reply;

/// Maximum number of lines of a report.
const MAX_LINES: usize = 60;

/// Reads the body that the guide proposes, or a check as the API of Healthchecks writes it.
pub(super) fn healthchecks(value: &Value) -> Result<IncomingMessage, Reply> {
    let (name, status) = (
        first([text(value, "name"), text(value, "check")]),
        text(value, "status"),
    );
    if name.is_empty() || status.is_empty() {
        return generic(value);
    }
    let mut incoming = IncomingMessage::new(format!("{name}: {status}"), "", kind_of(status));
    incoming.line(first([text(value, "desc"), text(value, "description")]));
    for (member, shown) in [
        ("last_ping", "Last ping"),
        ("now", "Time"),
        ("exitstatus", "Exit status"),
        ("body", "Last output"),
        ("tags", "Tags"),
    ] {
        let text = text(value, member);
        if !text.is_empty() {
            incoming.line(&format!("{shown}: {text}"));
        }
    }
    incoming.line(first([text(value, "details_url"), text(value, "url")]));
    if incoming.body.is_empty() {
        incoming.body = format!("The check is {status}");
    }
    Ok(incoming)
}

/// Reads a webhook of Proxmox VE with title, message and severity.
pub(super) fn proxmox(value: &Value) -> Result<IncomingMessage, Reply> {
    let (title, message) = (text(value, "title"), text(value, "message"));
    if title.is_empty() && message.is_empty() {
        return Err(Reply::bad_request("this is not a webhook of Proxmox: `title` and `message` are missing")
            .remedy("set its body to {\"title\": \"{{ escape title }}\", \"message\": \"{{ escape message }}\", \"severity\": \"{{ severity }}\"}"));
    }
    let kind = match text(value, "severity") {
        "error" => Kind::Failure,
        "warning" | "unknown" => Kind::Warning,
        _ => Kind::Info,
    };
    let mut incoming = IncomingMessage::new(title, message, kind);
    let host = value
        .pointer("/fields/hostname")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !incoming.title.contains(host) && !incoming.body.contains(host) {
        incoming.line(&format!("Host: {host}"));
    }
    if incoming.body.is_empty() {
        incoming.body = std::mem::take(&mut incoming.title);
    }
    Ok(incoming)
}

/// Reads Watchtower's report (`json.v1`), or title and message.
pub(super) fn watchtower(value: &Value) -> Result<IncomingMessage, Reply> {
    let (title, message) = (text(value, "title"), text(value, "message"));
    if value.get("entries").is_none() && value.get("report").is_none() {
        if message.is_empty() {
            return generic(value);
        }
        return Ok(IncomingMessage::new(title, message, Kind::Info));
    }
    let mut incoming = IncomingMessage::new(first([title, "Watchtower"]), "", Kind::Info);
    let mut lines = Vec::new();
    let report = value.get("report").unwrap_or(&Value::Null);
    for (member, shown, kind) in [
        ("failed", "failed", Kind::Failure),
        ("updated", "updated", Kind::Success),
        ("skipped", "skipped", Kind::Info),
        ("stale", "has a newer image", Kind::Info),
    ] {
        for container in list(report, member) {
            if incoming.kind == Kind::Info {
                incoming.kind = kind;
            }
            let ids = joined(
                [
                    text(container, "currentImageId"),
                    text(container, "latestImageId"),
                ],
                " → ",
            );
            let about = joined(
                [text(container, "imageName"), &ids, text(container, "error")],
                ", ",
            );
            lines.push(format!("{}: {shown} ({about})", text(container, "name")));
        }
    }
    for entry in list(value, "entries") {
        let bad = matches!(text(entry, "level"), "error" | "fatal" | "panic");
        if bad {
            incoming.kind = Kind::Failure;
        }
        let message = text(entry, "message");
        lines.push(if bad {
            format!("error: {message}")
        } else {
            message.to_owned()
        });
    }
    for line in lines.iter().take(MAX_LINES) {
        incoming.line(line);
    }
    if lines.len() > MAX_LINES {
        incoming.line(&format!("… and {} more", lines.len() - MAX_LINES));
    }
    if incoming.body.is_empty() {
        "Nothing was updated".clone_into(&mut incoming.body);
    }
    Ok(incoming)
}
