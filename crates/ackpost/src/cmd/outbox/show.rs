//! Output of entries, events and counts.

use std::time::Duration;

use ackpost_notify::Outcome;
use ackpost_outbox::{Act, Entry, Event, LATENCY_MS, Lane, State, Stats};
use serde_json::json;

use crate::context::Context;
use crate::output::{self, one_line as plain};

/// A time in the zone of this machine.
fn local(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "out of range".to_owned(), output::local)
}

/// Headings of [`row`].
pub(crate) fn headings(context: Context) {
    output::heading(
        &format!("{:<16}  {:<10}  {:<23}  TARGET", "ID", "STATE", "ACCEPTED"),
        context,
    );
}

/// One entry on one line.
pub(crate) fn row(entry: &Entry, context: Context) {
    if context.json {
        output::json(entry);
        return;
    }
    let mut text = format!(
        "{}  {:<10}  {}  {}",
        entry.id,
        entry.state.as_str(),
        local(entry.accepted_at),
        entry.target
    );
    if entry.pieces > 1 {
        text.push_str(&format!("  {} of {} parts", entry.pieces_done, entry.pieces));
    }
    if entry.folded > 0 {
        text.push_str(&format!("  +{}", entry.folded));
    }
    if let Some(reason) = entry.outcome.as_ref().and_then(Outcome::reason) {
        text.push_str(&format!("  {}", plain(reason)));
    }
    output::line(&text);
}

/// Prints the act of a person about an alert, on one line.
pub(crate) fn act(act: &Act, context: Context) {
    if context.json {
        output::json(act);
        return;
    }
    let word = |name: &str| {
        plain(
            act.detail
                .get(name)
                .and_then(|value| value.as_str())
                .unwrap_or_default(),
        )
    };
    let mut text = format!(
        "{:>6}  {}  {:<9}  {:<8}  {}  {}  {}",
        act.number,
        local(act.at),
        plain(&act.kind),
        act.result,
        word("who"),
        word("place"),
        word("alert")
    );
    for (name, before) in [("text", "  "), ("ends_at", "  until ")] {
        if act.detail.contains_key(name) {
            text.push_str(before);
            text.push_str(&word(name));
        }
    }
    output::line(&text);
}

/// Returns the state of an undelivered entry: its reason to wait, the time, and the result of the last attempt.
pub(crate) fn left(entry: &Entry) -> String {
    let word = if entry.state.is_final() {
        entry.state.as_str()
    } else {
        "left"
    };
    let mut text = format!("{word:<9} {} for {}: ", entry.id, plain(&entry.target));
    match entry.state {
        // A time in the past says nothing: it goes with the next run.
        State::Waiting if entry.due_at <= std::time::SystemTime::now() => {
            text.push_str(&format!("waits for {}", entry.waits_for.as_str()));
        }
        State::Waiting => text.push_str(&format!(
            "waits for {}, next attempt {}",
            entry.waits_for.as_str(),
            local(entry.due_at)
        )),
        State::Collecting => text.push_str(&format!("collects until {}", local(entry.due_at))),
        State::Partial => text.push_str(entry.outcome.as_ref().map_or("partial", Outcome::word)),
        State::Dead => {}
        state => text.push_str(state.as_str()),
    }
    let outcome = entry.outcome.as_ref();
    for part in [
        outcome.and_then(Outcome::reason),
        outcome.and_then(Outcome::remedy),
    ]
    .into_iter()
    .flatten()
    .filter(|part| !part.is_empty())
    {
        if !text.ends_with(": ") {
            text.push_str("; ");
        }
        text.push_str(&plain(part));
    }
    text
}

/// One entry with its history.
pub(crate) fn whole(entry: &Entry, events: &[Event], context: Context) {
    if context.json {
        let mut value = serde_json::to_value(entry).expect("plain values have a JSON form");
        value["events"] = json!(events);
        output::json_document(&value);
        return;
    }
    let mut lines = vec![
        ("id", entry.id.to_string()),
        ("target", plain(&entry.target)),
        ("url", plain(&entry.url)),
        ("state", entry.state.as_str().to_owned()),
        ("accepted", local(entry.accepted_at)),
    ];
    match entry.state {
        State::Waiting => {
            let what = entry.waits_for.as_str();
            let waits = if entry.due_at <= std::time::SystemTime::now() {
                format!("{what}; the next run sends it")
            } else {
                format!("{what}, until {}", local(entry.due_at))
            };
            lines.push(("waits for", waits));
            lines.push(("given up", local(entry.expires_at)));
        }
        State::Collecting => lines.push(("closes", local(entry.due_at))),
        _ => lines.extend(entry.settled_at.map(|at| ("settled", local(at)))),
    }
    lines.push(("attempts", entry.attempts.to_string()));
    if entry.pieces > 1 {
        lines.push(("parts", format!("{} of {}", entry.pieces_done, entry.pieces)));
    }
    if entry.folded > 0 {
        lines.push(("folded", output::count(entry.folded, "further message")));
    }
    match &entry.outcome {
        Some(Outcome::Delivered { confirmed_by, id }) => {
            let id = id
                .as_ref()
                .map(|id| format!(", id {}", plain(id)))
                .unwrap_or_default();
            lines.push(("confirmed", format!("by {confirmed_by}{id}")));
        }
        Some(
            outcome @ (Outcome::Partial { reason, remedy, .. }
            | Outcome::Deferred { reason, remedy, .. }
            | Outcome::Refused { reason, remedy }),
        ) => {
            if let Outcome::Partial { lack, id, .. } = outcome {
                let id = id.as_ref().map(|id| format!(", id {}", plain(id)));
                lines.push(("outcome", format!("{}{}", lack.as_str(), id.unwrap_or_default())));
            }
            lines.push(("reason", plain(reason)));
            if !remedy.is_empty() {
                lines.push(("remedy", plain(remedy)));
            }
        }
        None => {}
    }
    for (name, value) in lines {
        output::line(&format!("{name:<10}  {value}"));
    }
    for one in events {
        event(one, context);
    }
}

/// One line of the log.
pub(crate) fn event(event: &Event, context: Context) {
    if context.json {
        output::json(event);
        return;
    }
    let entry = if event.entry.is_empty() { "-" } else { &event.entry };
    let mut text = format!(
        "{:>6}  {}  {entry:<16}  {}",
        event.number,
        local(event.at),
        event.kind
    );
    if !event.text.is_empty() {
        text.push_str(&format!("  {}", plain(&event.text)));
    }
    output::line(&text);
}

/// Prints the counts.
pub(crate) fn stats(stats: &Stats, lanes: &[Lane], context: Context) {
    if context.json {
        let mut value = serde_json::to_value(stats).expect("plain values have a JSON form");
        value["targets"] = json!(lanes);
        value["latency_ms"] = json!(LATENCY_MS);
        output::json_document(&value);
        return;
    }
    for (name, count) in [
        ("waiting", stats.waiting),
        ("collecting", stats.collecting),
        ("delivered", stats.delivered),
        ("partial", stats.partial),
        ("dead", stats.dead),
        ("dropped", stats.dropped),
    ] {
        output::line(&format!("{name:<10}  {count}"));
    }
    if let Some(seconds) = stats.oldest_waiting_seconds {
        output::line(&format!("{:<10}  {}", "oldest", age(seconds)));
    }
    for service in &stats.services {
        let mean = service.latency_ms_sum.checked_div(service.delivered);
        let mean = mean
            .map(|ms| format!(", {} on average", output::elapsed(Duration::from_millis(ms))))
            .unwrap_or_default();
        let handed_over = match service.handed_over {
            0 => String::new(),
            count => format!(" ({count} of them handed over without proof)"),
        };
        output::line(&format!(
            "{:<10}  {} delivered{handed_over}{mean}, {}, {} partial, {} deferred, {} refused, {} expired, {} repeated in doubt, \
             {} returned after delivery",
            service.service,
            service.delivered,
            output::count(service.attempts, "attempt"),
            service.partial,
            service.deferred,
            service.refused,
            service.expired,
            service.repeated,
            service.late
        ));
    }
    for lane in lanes {
        let mut text = format!("{}: {} waiting", plain(&lane.target), lane.waiting);
        if let Some(seconds) = lane.failing_seconds {
            text.push_str(&format!(", failing for {}", age(seconds)));
        }
        if let Some(reason) = &lane.reason {
            text.push_str(&format!(": {}", plain(reason)));
        }
        output::line(&text);
    }
}

/// `2h 5m`: an age, in the two largest units.
fn age(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let (large, small) = (parts[first], parts.get(first + 1));
    std::iter::once(&large)
        .chain(small.filter(|(count, _)| *count > 0))
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_in_two_units() {
        assert_eq!(age(0), "0s");
        assert_eq!(age(7), "7s");
        assert_eq!(age(3661), "1h 1m");
        assert_eq!(age(125), "2m 5s");
        assert_eq!(age(3600), "1h");
        assert_eq!(age(90_061), "1d 1h");
    }
}
