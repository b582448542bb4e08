//! Alertmanager (webhook version 4) and Grafana (unified alerting, and the legacy alerts before version 9).

use std::fmt::Write as _;

use ackpost_notify::Kind;
use serde_json::Value;

use super::Said;
use crate::reply::Reply;

/// More alerts than this are counted, not listed.
const MAX_LISTED: usize = 20;
const MAX_TEXT_CHARS: usize = 1_000;

/// What Alertmanager posts.
pub(crate) fn alertmanager(value: &Value) -> Result<Said, Reply> {
    let alerts = value.get("alerts").and_then(Value::as_array).ok_or_else(|| {
        Reply::bad_request("this is no Alertmanager webhook: `alerts` is missing")
            .remedy("point a webhook receiver of Alertmanager here")
    })?;
    Ok(group(value, alerts))
}

/// What Grafana posts.
pub(crate) fn grafana(value: &Value) -> Result<Said, Reply> {
    let title = text(value, "title");
    let message = text(value, "message");
    if let Some(alerts) = value.get("alerts").and_then(Value::as_array) {
        let mut said = group(value, alerts);
        if !title.is_empty() {
            said.title = clip(title);
        }
        // Its message is already the list of alerts, in the words the operator chose.
        if !message.is_empty() {
            message.trim().clone_into(&mut said.body);
        }
        return Ok(said);
    }
    let state = text(value, "state");
    if state.is_empty() && text(value, "ruleName").is_empty() {
        return Err(
            Reply::bad_request("this is no Grafana webhook: neither `alerts` nor `state` is there")
                .remedy("point a webhook contact point of Grafana here"),
        );
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
    Ok(Said {
        title: clip(name),
        body,
        kind,
    })
}

fn group(value: &Value, alerts: &[Value]) -> Said {
    let resolved = text(value, "status") == "resolved";
    let firing = alerts
        .iter()
        .filter(|alert| text(alert, "status") != "resolved")
        .count();
    let dropped = value.get("truncatedAlerts").and_then(Value::as_u64).unwrap_or(0);
    let label = |name: &str| {
        let labels = value.get("commonLabels").or_else(|| value.get("groupLabels"));
        labels
            .and_then(|labels| labels.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut name = label("alertname");
    if name.is_empty() {
        name = value.get("groupLabels").map(labels).unwrap_or_default();
    }
    let state = if resolved {
        "RESOLVED".to_owned()
    } else {
        format!("FIRING:{firing}")
    };
    let mut title = format!("[{state}] {}", clip(&name));
    let place = ["instance", "job", "service"]
        .iter()
        .map(|n| label(n))
        .find(|text| !text.is_empty());
    if let Some(place) = place {
        let _ = write!(title, " ({})", clip(&place));
    }
    let mut body = listed(alerts);
    let unlisted = alerts.len().saturating_sub(MAX_LISTED) as u64 + dropped;
    if unlisted > 0 {
        push_line(&mut body, &format!("… and {unlisted} more"));
    }
    push_line(&mut body, text(value, "externalURL"));
    if body.is_empty() {
        body.clone_from(&title);
    }
    let severity = label("severity").to_lowercase();
    let kind = match severity.as_str() {
        _ if resolved => Kind::Success,
        "info" | "none" => Kind::Info,
        "warning" | "warn" => Kind::Warning,
        _ => Kind::Failure,
    };
    Said { title, body, kind }
}

/// One line for each alert, and its links below. Equal lines are written once, with their number.
fn listed(alerts: &[Value]) -> String {
    let mut lines: Vec<(String, usize)> = Vec::new();
    let mut add = |line: String, counted: bool| match lines.iter_mut().find(|(known, _)| *known == line) {
        Some((_, count)) => *count += usize::from(counted),
        None => lines.push((line, 1)),
    };
    for alert in alerts.iter().take(MAX_LISTED) {
        add(line(alert), true);
        for link in links(alert) {
            add(link, false);
        }
    }
    let mut body = String::new();
    for (mut line, count) in lines {
        if count > 1 {
            let _ = write!(line, " ({count} times)");
        }
        push_line(&mut body, &line);
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

fn line(alert: &Value) -> String {
    let mut said: Vec<&str> = Vec::new();
    for name in ["summary", "description", "message"] {
        let note = note(alert, name);
        if !note.is_empty() && !said.contains(&note) {
            said.push(note);
        }
    }
    let all = alert.get("labels").map(labels).unwrap_or_default();
    let mut out = match text(alert, "status") {
        "resolved" => "resolved: ".to_owned(),
        _ => String::new(),
    };
    if said.is_empty() {
        out.push_str(&all);
    } else {
        let words: Vec<String> = said.into_iter().map(clip).collect();
        out.push_str(&words.join(": "));
        if !all.is_empty() {
            let _ = write!(out, " [{all}]");
        }
    }
    let start = text(alert, "startsAt");
    if start.len() >= 19 && start.is_ascii() && !start.starts_with("0001") {
        let _ = write!(out, " since {} {}", &start[..10], &start[11..19]);
    }
    for value in [note(alert, "value"), text(alert, "valueString")] {
        if !value.is_empty() {
            let _ = write!(out, " {}", clip(value));
        }
    }
    out
}

/// Where to read on: the runbook, and the rule or panel that raised the alert.
fn links(alert: &Value) -> impl Iterator<Item = String> {
    let links = [
        ("runbook", note(alert, "runbook_url")),
        ("runbook", note(alert, "runbook")),
        ("source", text(alert, "generatorURL")),
        ("panel", text(alert, "panelURL")),
    ];
    links
        .into_iter()
        .filter(|(_, address)| !address.is_empty())
        .map(|(name, address)| format!("  {name}: {}", clip(address)))
}

fn labels(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    let words: Vec<_> = fields
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .take(MAX_LISTED)
        .collect();
    clip(&words.join(" "))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
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
        let said = alertmanager(&value).expect("understood");
        assert_eq!(said.title, "[FIRING:1] DiskFull (node)");
        assert_eq!(
            said.body,
            "disk of a is full [alertname=DiskFull instance=a] since 2026-11-21 10:00:00\n\
             resolved: instance=b\n… and 2 more\nhttp://am.example.org"
        );
        assert_eq!(said.kind, Kind::Warning);
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
            "High temperature: 34.75C [host=andromeda] since 2020-02-06 00:17:58 34.75\n  \
             runbook: http://wiki/hot\n  source: http://cobalt:9090/graph?g0.tab=1\n\
             High temperature: 17.625C [host=andromeda] since 2020-02-06 00:17:58 34.75 (2 times)\n\
             High temperature [host=andromeda] since 2020-02-06 00:17:58 34.75"
        );
    }

    #[test]
    fn grafana_new_and_old() {
        let new = json!({"status": "resolved", "title": "[RESOLVED] CPU", "message": "back to normal", "alerts": []});
        let said = grafana(&new).expect("understood");
        assert_eq!(
            (said.title.as_str(), said.body.as_str()),
            ("[RESOLVED] CPU", "back to normal")
        );
        assert_eq!(said.kind, Kind::Success);
        let old = json!({"ruleName": "CPU", "state": "alerting", "message": "hot", "ruleUrl": "http://g/1",
                         "evalMatches": [{"metric": "load", "value": 9.5}]});
        let said = grafana(&old).expect("understood");
        assert_eq!(
            (said.title.as_str(), said.body.as_str()),
            ("CPU", "hot\nload = 9.5\nhttp://g/1")
        );
        assert_eq!(said.kind, Kind::Failure);
        assert!(grafana(&json!({"x": 1})).is_err());
    }
}
