//! The alerts of a message: kept with the message, and found again when somebody answers it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Labels of an alert, by name.
pub type Labels = BTreeMap<String, String>;

/// Maximum number of labels of one alert.
const MAX_LABELS: usize = 64;
/// Longest name or value of a label, in bytes.
const MAX_LABEL_BYTES: usize = 1_024;
/// Maximum number of alerts of one message that are kept.
const MAX_MEMBERS: usize = 64;
/// Longest text of the message that is kept, in bytes.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// Minimum number of matchers of a silence; one of them is the name of the alert.
const FEWEST_MATCHERS: usize = 2;
const NAME: &str = "alertname";

/// The kind of program that raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SourceKind {
    /// Prometheus Alertmanager.
    Alertmanager,
    /// Grafana, with alerts that it manages itself.
    Grafana,
}

impl SourceKind {
    /// The lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Grafana => "grafana",
        }
    }
}

/// The alerts that one message was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// The program that raised it.
    pub source: SourceKind,
    /// The key of the gateway that it came through.
    pub key: String,
    /// Name of the group in the program.
    pub group_key: String,
    /// All alerts of the message were over.
    pub resolved: bool,
    /// Labels that the program grouped by.
    pub group: Labels,
    /// Labels that all alerts share.
    pub common: Labels,
    /// The alerts.
    pub members: Vec<Member>,
    /// The text of the message.
    pub text: String,
}

/// One alert of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// The program's own name of the alert.
    pub fingerprint: String,
    /// Its labels.
    pub labels: Labels,
    /// True if the alert was resolved.
    pub resolved: bool,
}

/// Reason why no silence can be made for an alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// The alert lacks a name, or has nothing but a name.
    #[error("a silence needs `alertname` and at least one more label; this alert has {0}")]
    TooBroad(String),
    /// A name is not a label that all alerts of the message share.
    #[error("this alert has no label `{0}` that a silence could use")]
    NoSuchLabel(String),
}

impl MatcherError {
    /// The remedy, as an imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::TooBroad(_) => {
                "make the silence in the alerting program, or group the alerts by more labels"
            }
            Self::NoSuchLabel(_) => "leave the name out, or write a label that the message shows",
        }
    }
}

impl Alert {
    /// Reads a webhook of Alertmanager (version 4) or Grafana (unified alerting). `key` is the key of the gateway, `text` the
    /// text of the message. Returns `None` if the webhook has no alerts with labels, or labels of a size that nobody uses.
    pub fn from_webhook(source: SourceKind, key: &str, value: &Value, text: &str) -> Option<Self> {
        let all = value.get("alerts")?.as_array()?;
        let dropped = value.get("truncatedAlerts").and_then(Value::as_u64).unwrap_or(0);
        if all.is_empty() || all.len() > MAX_MEMBERS || dropped > 0 {
            return Self::of_group(source, key, value, text);
        }
        let mut members = Vec::with_capacity(all.len());
        for alert in all {
            members.push(Member {
                fingerprint: word(alert, "fingerprint"),
                labels: labels(alert.get("labels"))?,
                resolved: word(alert, "status") == "resolved",
            });
        }
        let alert = Self {
            members,
            ..Self::of_group(source, key, value, text)?
        };
        Some(alert)
    }

    /// Keeps the text of the message, cut at 8 KiB.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        let mut end = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].clone_into(&mut self.text);
        self
    }

    /// Reads what all alerts of a webhook share. The alerts themselves are too many.
    fn of_group(source: SourceKind, key: &str, value: &Value, text: &str) -> Option<Self> {
        let alert = Self {
            source,
            key: key.to_owned(),
            group_key: word(value, "groupKey"),
            resolved: word(value, "status") == "resolved",
            group: labels(value.get("groupLabels"))?,
            common: labels(value.get("commonLabels"))?,
            members: Vec::new(),
            text: String::new(),
        };
        Some(alert.with_text(text))
    }

    /// The name of the alert, or an empty text.
    pub fn name(&self) -> &str {
        self.shared().get(NAME).map_or("", String::as_str)
    }

    /// The labels that every alert of the message has: those of its only alert, or the common ones.
    fn shared(&self) -> &Labels {
        match self.members.as_slice() {
            [one] => &one.labels,
            _ => &self.common,
        }
    }

    /// Labels and values that a silence for this message matches, each exactly. `only` narrows them to the name of the alert
    /// and these labels, which makes the silence broader.
    ///
    /// # Errors
    /// [`MatcherError`] if fewer than two labels are left, if `alertname` is missing, or if a name is unknown.
    pub fn matchers(&self, only: &[String]) -> Result<Labels, MatcherError> {
        let mut all = self.shared().clone();
        if self.members.len() != 1 {
            all.extend(self.group.clone());
        }
        if let Some(unknown) = only.iter().find(|name| !all.contains_key(*name)) {
            return Err(MatcherError::NoSuchLabel(unknown.clone()));
        }
        if !only.is_empty() {
            all.retain(|name, _| name == NAME || only.contains(name));
        }
        // An empty value matches every alert that lacks the label.
        all.retain(|_, value| !value.is_empty());
        if !all.contains_key(NAME) || all.len() < FEWEST_MATCHERS {
            let found: Vec<&str> = all.keys().map(String::as_str).collect();
            let found = if found.is_empty() {
                "no label that all of its alerts share".to_owned()
            } else {
                format!("`{}` alone", found.join("`, `"))
            };
            return Err(MatcherError::TooBroad(found));
        }
        Ok(all)
    }

    /// Names the alert across messages: a later message about the same alerts has the same subject.
    pub fn subject(&self) -> String {
        let mut all = self.shared().clone();
        all.extend(self.group.clone());
        let labels: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        format!("{} {} {}", self.source.as_str(), self.key, labels.join(","))
    }
}

/// Labels of a silence as people read them: `alertname=DiskFull, instance=db1`, the name first.
pub fn labels_text(labels: &Labels) -> String {
    let mut words: Vec<String> = Vec::with_capacity(labels.len());
    for (name, value) in labels {
        let word = format!("{name}={value}");
        if name == NAME {
            words.insert(0, word);
        } else {
            words.push(word);
        }
    }
    words.join(", ")
}

fn word(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str).unwrap_or_default();
    text.chars().take(MAX_LABEL_BYTES).collect()
}

/// Labels of a webhook. `None` if they are larger than any that people use.
fn labels(value: Option<&Value>) -> Option<Labels> {
    let mut labels = Labels::new();
    for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
        let Some(value) = value.as_str() else { continue };
        if labels.len() == MAX_LABELS || name.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES {
            return None;
        }
        labels.insert(name.clone(), value.to_owned());
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(labels: &Value) -> Alert {
        let value = json!({"status": "firing", "groupKey": "{}:{}", "groupLabels": {"alertname": labels["alertname"]},
                           "commonLabels": labels,
                           "alerts": [{"status": "firing", "fingerprint": "f1", "labels": labels}]});
        Alert::from_webhook(SourceKind::Alertmanager, "ops", &value, "text").expect("an alert")
    }

    #[test]
    fn a_silence_matches_every_label_of_one_alert() {
        let alert = one(&json!({"alertname": "DiskFull", "instance": "db1", "job": "node", "empty": ""}));
        let matchers = alert.matchers(&[]).expect("matchers");
        assert_eq!(
            labels_text(&matchers),
            "alertname=DiskFull, instance=db1, job=node"
        );
        let narrowed = alert.matchers(&["instance".to_owned()]).expect("matchers");
        assert_eq!(labels_text(&narrowed), "alertname=DiskFull, instance=db1");
        let unknown = alert.matchers(&["host".to_owned()]);
        assert_eq!(unknown, Err(MatcherError::NoSuchLabel("host".to_owned())));
        assert!(
            alert.matchers(&["alertname".to_owned()]).is_err(),
            "the name alone is too broad"
        );
        assert!(
            alert.matchers(&["empty".to_owned()]).is_err(),
            "an empty value matches everything"
        );
    }

    #[test]
    fn a_silence_of_a_group_matches_what_its_alerts_share() {
        let value = json!({"status": "firing", "groupLabels": {"alertname": "DiskFull"},
                           "commonLabels": {"alertname": "DiskFull", "job": "node"},
                           "alerts": [{"labels": {"alertname": "DiskFull", "job": "node", "instance": "a"}},
                                      {"labels": {"alertname": "DiskFull", "job": "node", "instance": "b"}}]});
        let alert = Alert::from_webhook(SourceKind::Grafana, "ops", &value, "").expect("an alert");
        let matchers = alert.matchers(&[]).expect("matchers");
        assert_eq!(labels_text(&matchers), "alertname=DiskFull, job=node");
        let unknown = alert.matchers(&["instance".to_owned()]);
        assert!(unknown.is_err(), "the alerts do not share it");
    }

    #[test]
    fn too_few_labels_make_no_silence() {
        for labels in [
            json!({"alertname": "Watchdog"}),
            json!({}),
            json!({"job": "node", "instance": "a"}),
        ] {
            assert!(one(&labels).matchers(&[]).is_err(), "{labels}");
        }
        let text = one(&json!({"alertname": "Watchdog"}))
            .matchers(&[])
            .expect_err("too broad")
            .to_string();
        assert_eq!(
            text,
            "a silence needs `alertname` and at least one more label; this alert has `alertname` alone"
        );
    }

    #[test]
    fn alerts_that_the_program_left_out_are_never_matched_by_the_labels_of_one() {
        let value = json!({"truncatedAlerts": 4, "groupLabels": {"alertname": "DiskFull"},
                           "commonLabels": {"alertname": "DiskFull", "job": "node"},
                           "alerts": [{"labels": {"alertname": "DiskFull", "job": "node", "instance": "a"}}]});
        let alert = Alert::from_webhook(SourceKind::Alertmanager, "ops", &value, "").expect("an alert");
        let matchers = alert.matchers(&[]).expect("matchers");
        assert_eq!(labels_text(&matchers), "alertname=DiskFull, job=node");
    }

    #[test]
    fn hostile_webhooks_give_no_alert_or_a_bounded_one() {
        let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("l{n}"), json!("x"))).collect();
        for value in [
            json!({}),
            json!({"alerts": "x"}),
            json!({"alerts": [{"labels": many}]}),
            json!({"alerts": [{"labels": {"alertname": "x".repeat(5_000)}}]}),
        ] {
            let alert = Alert::from_webhook(SourceKind::Alertmanager, "ops", &value, "");
            assert_eq!(alert, None, "{value}");
        }
        let text = "é".repeat(10_000);
        let value = json!({"alerts": [{"labels": {"alertname": "A"}}]});
        let alert = Alert::from_webhook(SourceKind::Alertmanager, "ops", &value, &text).expect("an alert");
        assert_eq!(alert.text.len(), 8 << 10);
    }

    #[test]
    fn a_later_message_about_the_same_alert_has_the_same_subject() {
        let (labels, other) = (
            json!({"alertname": "A", "instance": "1"}),
            json!({"alertname": "A", "instance": "2"}),
        );
        let again = Alert {
            text: "again".to_owned(),
            resolved: true,
            ..one(&labels)
        };
        assert_eq!(one(&labels).subject(), again.subject());
        assert_ne!(one(&labels).subject(), one(&other).subject());
    }
}
