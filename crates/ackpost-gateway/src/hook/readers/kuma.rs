//! Uptime Kuma.

use ackpost_notify::Kind;
use serde_json::Value;

use super::value::{first, text};
use crate::hook::IncomingMessage;
use crate::reply::Reply;

/// Reads a webhook of the type JSON; a form has it in the field `data`.
pub(super) fn read(value: &Value) -> Result<IncomingMessage, Reply> {
    let message = text(value, "msg");
    if message.is_empty() {
        return Err(
            Reply::bad_request("this is not a webhook of Uptime Kuma: `msg` is missing")
                .remedy("add a notification of the type Webhook there"),
        );
    }
    let null = Value::Null;
    let heartbeat = value.get("heartbeat").unwrap_or(&null);
    let monitor = value.get("monitor").unwrap_or(&null);
    let (state, kind) = match heartbeat.get("status").and_then(Value::as_i64) {
        Some(0) => ("down", Kind::Failure),
        Some(1) => ("up", Kind::Success),
        Some(2) => ("pending", Kind::Warning),
        Some(3) => ("maintenance", Kind::Info),
        // A test, or a certificate that expires.
        _ if message.contains("expire") => ("", Kind::Warning),
        _ => ("", Kind::Info),
    };
    let name = first([text(monitor, "pathName"), text(monitor, "name")]);
    if state.is_empty() || name.is_empty() {
        return Ok(IncomingMessage::new("", message, kind));
    }
    let mut incoming = IncomingMessage::new(
        format!("{name}: {state}"),
        first([text(heartbeat, "msg"), message]),
        kind,
    );
    // Monitors of other kinds have this and nothing else.
    let address = Some(text(monitor, "url"))
        .filter(|url| !matches!(*url, "https://" | "http://"))
        .unwrap_or_default();
    let port = monitor
        .get("port")
        .and_then(Value::as_u64)
        .map(|port| format!(":{port}"));
    let host = format!("{}{}", text(monitor, "hostname"), port.unwrap_or_default());
    let place = first([address, &host]).to_owned();
    let since = since(heartbeat);
    incoming.line(&match (place.is_empty(), since.is_empty()) {
        (false, false) => format!("{place}, {since}"),
        _ => format!("{place}{since}"),
    });
    incoming.line(text(monitor, "description"));
    Ok(incoming)
}

/// `since 20:56 (Europe/Berlin)`.
fn since(heartbeat: &Value) -> String {
    let (local, zone) = (text(heartbeat, "localDateTime"), text(heartbeat, "timezone"));
    let (time, zone) = if local.is_empty() {
        (text(heartbeat, "time"), "UTC")
    } else {
        (local, zone)
    };
    match time.get(11..16) {
        Some(clock) if zone.is_empty() => format!("since {clock}"),
        Some(clock) => format!("since {clock} ({zone})"),
        None => String::new(),
    }
}
