//! Alertmanager (webhook version 4) and Grafana (unified alerting, and the legacy alerts before version 9).

use std::fmt::Write as _;

use ackpost_notify::Kind;
use ackpost_operate::model::alert::{Alert, SourceKind};
use serde_json::Value;

use super::IncomingMessage;
use crate::json_value::text;
use crate::reply::Reply;

/// More alerts than this are counted, not listed.
const MAX_LISTED: usize = 20;
const MAX_TEXT_CHARS: usize = 1_000;
/// Annotations that have their own place in the text.
const KNOWN_ANNOTATIONS: [&str; 6] = [
    "summary",
    "description",
    "message",
    "value",
    "runbook_url",
    "runbook",
];

/// Reads a post of Alertmanager.
pub(crate) fn alertmanager(value: &Value) -> Result<IncomingMessage, Reply> {
    let alerts = value.get("alerts").and_then(Value::as_array).ok_or_else(|| {
        Reply::bad_request("this is not an Alertmanager webhook: `alerts` is missing")
            .remedy("point a webhook receiver of Alertmanager here")
    })?;
    let mut incoming = group(value, alerts);
    incoming.alert = Alert::from_webhook(SourceKind::Alertmanager, "", value, "").map(Box::new);
    Ok(incoming)
}

/// Reads a post of Grafana.
pub(crate) fn grafana(value: &Value) -> Result<IncomingMessage, Reply> {
    let title = text(value, "title");
    let message = text(value, "message");
    if let Some(alerts) = value.get("alerts").and_then(Value::as_array) {
        let mut incoming = group(value, alerts);
        if !title.is_empty() {
            incoming.title = clip(title);
        }
        // Its message is already the list of alerts, in the words the operator chose.
        if !message.is_empty() {
            message.trim().clone_into(&mut incoming.body);
        }
        incoming.alert = Alert::from_webhook(SourceKind::Grafana, "", value, "").map(Box::new);
        return Ok(incoming);
    }
    let state = text(value, "state");
    if state.is_empty() && text(value, "ruleName").is_empty() {
        return Err(Reply::bad_request(
            "this is not a Grafana webhook: neither `alerts` nor `state` is there",
        )
        .remedy("point a webhook contact point of Grafana here"));
    }
    let mut body = message.trim().to_owned();
    for found in value
        .get("evalMatches")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_LISTED)
    {
        let number = found.get("value").map(Value::to_string).unwrap_or_default();
        push_line(&mut body, &format!("{} = {number}", clip(text(found, "metric"))));
    }
    push_line(&mut body, text(value, "ruleUrl"));
    let name = if title.is_empty() {
        text(value, "ruleName")
    } else {
        title
    };
    let kind = match state {
        "ok" => Kind::Success,
        "alerting" => Kind::Failure,
        _ => Kind::Warning,
    };
    Ok(IncomingMessage::new(clip(name), body, kind))
}

fn group(value: &Value, alerts: &[Value]) -> IncomingMessage {
    let resolved = text(value, "status") == "resolved";
    let firing = alerts
        .iter()
        .filter(|alert| text(alert, "status") != "resolved")
        .count();
    let dropped = value.get("truncatedAlerts").and_then(Value::as_u64).unwrap_or(0);
    let common = value
        .get("commonLabels")
        .filter(|labels| labels.is_object())
        .or_else(|| value.get("groupLabels"))
        .unwrap_or(&Value::Null);
    let mut name = text(common, "alertname").to_owned();
    if name.is_empty() {
        name = value.get("groupLabels").map(labels).unwrap_or_default();
    }
    if name.is_empty() {
        "alert".clone_into(&mut name);
    }
    let state = if resolved {
        "RESOLVED".to_owned()
    } else {
        format!("FIRING:{firing}")
    };
    let mut title = format!("[{state}] {}", clip(&name));
    let place = ["instance", "job", "service"]
        .iter()
        .map(|name| text(common, name))
        .find(|text| !text.is_empty());
    if let Some(place) = place {
        let _ = write!(title, " ({})", clip(place));
    }
    let mut body = listed(alerts, common, resolved);
    let unlisted = dropped.saturating_add(alerts.len().saturating_sub(MAX_LISTED) as u64);
    if unlisted > 0 {
        push_line(&mut body, &format!("… and {unlisted} more"));
    }
    let shared = labels(&without(common, &Value::Null));
    if !shared.is_empty() && alerts.len() > 1 {
        push_line(&mut body, &format!("All: {shared}"));
    }
    push_line(&mut body, text(value, "externalURL"));
    if body.is_empty() {
        body.clone_from(&title);
    }
    let severity = text(common, "severity").to_lowercase();
    let kind = match severity.as_str() {
        _ if resolved => Kind::Success,
        "info" | "none" => Kind::Info,
        "warning" | "warn" | "minor" => Kind::Warning,
        _ => Kind::Failure,
    };
    IncomingMessage::new(title, body, kind)
}

/// A few lines for each alert. Equal ones are written once, with their number.
fn listed(alerts: &[Value], common: &Value, resolved: bool) -> String {
    // Labels that all alerts share are written once, below them.
    let common = if alerts.len() > 1 { common } else { &Value::Null };
    let mut found: Vec<(Vec<String>, usize)> = Vec::new();
    for alert in alerts.iter().take(MAX_LISTED) {
        let lines = lines(alert, common, resolved);
        match found.iter_mut().find(|(known, _)| *known == lines) {
            Some((_, count)) => *count += 1,
            None => found.push((lines, 1)),
        }
    }
    let (mut body, mut links): (String, Vec<String>) = (String::new(), Vec::new());
    for (mut lines, count) in found {
        if let Some(first) = lines.first_mut().filter(|_| count > 1) {
            let _ = write!(first, " ({count} times)");
        }
        for line in lines {
            let is_link = line.starts_with("  ") && line.contains("://");
            if is_link && links.contains(&line) {
                continue;
            }
            push_line(&mut body, &line);
            if is_link {
                links.push(line);
            }
        }
    }
    body
}

/// Returns an annotation, or an empty text.
fn note<'v>(alert: &'v Value, name: &str) -> &'v str {
    alert
        .get("annotations")
        .map(|notes| text(notes, name).trim())
        .unwrap_or_default()
}

fn lines(alert: &Value, common: &Value, all_resolved: bool) -> Vec<String> {
    let own = alert.get("labels").unwrap_or(&Value::Null);
    let mut incoming: Vec<&str> = Vec::new();
    for note in [
        note(alert, "summary"),
        text(own, "summary").trim(),
        note(alert, "description"),
        note(alert, "message"),
    ] {
        if !note.is_empty() && !incoming.contains(&note) {
            incoming.push(note);
        }
    }
    let marked = labels(&without(own, common));
    let mut first = match text(alert, "status") {
        "resolved" if !all_resolved => "resolved: ".to_owned(),
        _ => String::new(),
    };
    if incoming.is_empty() {
        first.push_str(if marked.is_empty() {
            text(own, "alertname")
        } else {
            &marked
        });
    } else {
        let words: Vec<String> = incoming.into_iter().map(clip).collect();
        first.push_str(&words.join(": "));
        if !marked.is_empty() {
            let _ = write!(first, " [{marked}]");
        }
    }
    let mut lines = vec![first];
    let value = [note(alert, "value"), text(alert, "valueString").trim()];
    let value = value.into_iter().find(|value| !value.is_empty());
    lines.extend(value.map(|value| format!("  value: {}", clip(value))));
    lines.extend(other_annotations(alert));
    lines.extend(times(alert).map(|times| format!("  {times}")));
    lines.extend(links(alert));
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// Returns the annotations that have no meaning of their own here. Names with two underscores are Grafana's internal ones.
fn other_annotations(alert: &Value) -> Vec<String> {
    let notes = alert.get("annotations").and_then(Value::as_object);
    let other = notes.into_iter().flatten().filter_map(|(name, value)| {
        let text = value.as_str().map(str::trim).filter(|text| !text.is_empty())?;
        let is_known = KNOWN_ANNOTATIONS.contains(&name.as_str()) || name.starts_with("__");
        (!is_known).then(|| format!("  {}: {}", clip(name), clip(text)))
    });
    let mut other: Vec<String> = other.collect();
    let unlisted = other.len().saturating_sub(MAX_LISTED);
    other.truncate(MAX_LISTED);
    if unlisted > 0 {
        other.push(format!("  … and {unlisted} more annotations"));
    }
    other
}

/// `since START`, or `from START to END` of an alert that is resolved, with the zone.
fn times(alert: &Value) -> Option<String> {
    let start = time(text(alert, "startsAt"));
    let end = time(text(alert, "endsAt")).filter(|_| text(alert, "status") == "resolved");
    match (start, end) {
        (Some(start), Some(end)) => Some(format!("from {start} to {end}")),
        (Some(start), None) => Some(format!("since {start}")),
        (None, Some(end)) => Some(format!("until {end}")),
        (None, None) => None,
    }
}

/// `2026-11-21 10:00:00 UTC` of a time of RFC 3339; the year 1 stands for no time.
fn time(text: &str) -> Option<String> {
    let day = text
        .get(..10)
        .filter(|_| text.is_ascii() && !text.starts_with("0001"))?;
    let clock = text.get(11..19)?;
    let zone = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let zone = match zone {
        "Z" | "z" | "+00:00" | "-00:00" => "UTC",
        "" => return Some(format!("{day} {clock}")),
        zone => zone,
    };
    Some(format!("{day} {clock} {zone}"))
}

/// Returns the links for further reading: the runbook, and the rule or panel that raised the alert.
fn links(alert: &Value) -> impl Iterator<Item = String> {
    let links = [
        ("runbook", note(alert, "runbook_url")),
        ("runbook", note(alert, "runbook")),
        ("source", text(alert, "generatorURL")),
        ("panel", text(alert, "panelURL")),
        ("dashboard", text(alert, "dashboardURL")),
        ("silence", text(alert, "silenceURL")),
    ];
    links
        .into_iter()
        .filter(|(_, address)| !address.is_empty())
        .map(|(name, address)| format!("  {name}: {}", clip(address)))
}

/// The labels that `common` does not have, without the name and the text that the title and the line already show.
fn without(labels: &Value, common: &Value) -> Value {
    let own = labels.as_object().into_iter().flatten();
    own.filter(|(name, value)| {
        common.get(name.as_str()) != Some(*value) && !matches!(name.as_str(), "alertname" | "summary")
    })
    .map(|(name, value)| (name.clone(), value.clone()))
    .collect()
}

fn labels(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    let words: Vec<_> = fields
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect();
    clip(&words.join(" "))
}

fn clip(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= MAX_TEXT_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_TEXT_CHARS).chain(['…']).collect()
}

fn push_line(body: &mut String, line: &str) {
    if line.is_empty() {
        return;
    }
    if !body.is_empty() {
        body.push('\n');
    }
    body.push_str(line);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn alertmanager_groups_become_one_message() {
        let value = json!({
            "version": "4", "groupKey": "{}:{alertname=\"DiskFull\"}", "truncatedAlerts": 2, "status": "firing",
            "receiver": "ackpost", "groupLabels": {"alertname": "DiskFull"},
            "commonLabels": {"alertname": "DiskFull", "severity": "warning", "job": "node"},
            "commonAnnotations": {}, "externalURL": "http://am.example.org",
            "alerts": [
                {"status": "firing", "labels": {"alertname": "DiskFull", "instance": "a"},
                 "annotations": {"summary": "disk of a is full"}, "startsAt": "2026-11-21T10:00:00.5Z"},
                {"status": "resolved", "labels": {"instance": "b"}, "annotations": {}, "startsAt": "0001-01-01T00:00:00Z"}
            ]
        });
        let incoming = alertmanager(&value).expect("understood");
        assert_eq!(incoming.title, "[FIRING:1] DiskFull (node)");
        assert_eq!(
            incoming.body,
            "disk of a is full [instance=a]\n  since 2026-11-21 10:00:00 UTC\n\
             resolved: instance=b\n… and 2 more\nAll: severity=warning job=node\nhttp://am.example.org"
        );
        assert_eq!(incoming.kind, Kind::Warning);
        assert!(alertmanager(&json!({"hello": 1})).is_err());
    }

    #[test]
    fn alerts_of_one_summary_stay_apart_and_equal_ones_are_counted() {
        let alert = |description: &str| {
            json!({"status": "firing", "labels": {"host": "andromeda"}, "startsAt": "2020-02-06T00:17:58.4Z",
                   "annotations": {"summary": "High temperature", "description": description, "value": "34.75",
                                   "runbook_url": "http://wiki/hot"},
                   "generatorURL": "http://cobalt:9090/graph?g0.tab=1"})
        };
        let value = json!({"status": "firing", "groupLabels": {"alertname": "Hot"},
                           "alerts": [alert("34.75C"), alert("17.625C"), alert("17.625C"), alert("High temperature")]});
        assert_eq!(
            alertmanager(&value).expect("understood").body,
            "High temperature: 34.75C [host=andromeda]\n  value: 34.75\n  since 2020-02-06 00:17:58 UTC\n  \
             runbook: http://wiki/hot\n  source: http://cobalt:9090/graph?g0.tab=1\n\
             High temperature: 17.625C [host=andromeda] (2 times)\n  value: 34.75\n  since 2020-02-06 00:17:58 UTC\n\
             High temperature [host=andromeda]\n  value: 34.75\n  since 2020-02-06 00:17:58 UTC"
        );
    }

    #[test]
    fn annotations_of_any_name_are_shown_and_counts_do_not_overflow() {
        let value = json!({"status": "firing", "groupLabels": {"alertname": "Hot"}, "truncatedAlerts": u64::MAX,
            "alerts": vec![json!({"status": "firing", "labels": {"host": "a"},
                "annotations": {"summary": "hot", "impact": "the shop is closed", "__panelId__": "3"}}); 30]});
        assert_eq!(
            alertmanager(&value).expect("understood").body,
            format!(
                "hot [host=a] (20 times)\n  impact: the shop is closed\n… and {} more",
                u64::MAX
            )
        );
    }

    #[test]
    fn grafana_new_and_old() {
        let new = json!({"status": "resolved", "title": "[RESOLVED] CPU", "message": "back to normal", "alerts": []});
        let incoming = grafana(&new).expect("understood");
        assert_eq!(
            (incoming.title.as_str(), incoming.body.as_str()),
            ("[RESOLVED] CPU", "back to normal")
        );
        assert_eq!(incoming.kind, Kind::Success);
        let old = json!({"ruleName": "CPU", "state": "alerting", "message": "hot", "ruleUrl": "http://g/1",
                         "evalMatches": [{"metric": "load", "value": 9.5}]});
        let incoming = grafana(&old).expect("understood");
        assert_eq!(
            (incoming.title.as_str(), incoming.body.as_str()),
            ("CPU", "hot\nload = 9.5\nhttp://g/1")
        );
        assert_eq!(incoming.kind, Kind::Failure);
        assert!(grafana(&json!({"x": 1})).is_err());
    }
}
