//! An act, as the log keeps it.

use ackpost_outbox::{Act, ActResult, NewAct};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Incoming, Words};
use crate::model::alert::{Alert, Labels};
use crate::model::words::Silenced;

/// An act, as the log keeps it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) who: String,
    pub(super) shown: String,
    pub(super) at: String,
    detail: Map<String, Value>,
}

impl Record {
    /// The part that is known before anything is done.
    pub(super) fn of(incoming: &Incoming, who: String, about: Option<(&Alert, &str)>) -> Self {
        let via = match incoming.words {
            Words::Text { .. } => "text",
            Words::Reactions { .. } => "reaction",
        };
        let mut detail = Map::new();
        detail.insert("who".to_owned(), json!(who));
        detail.insert("shown".to_owned(), json!(incoming.shown));
        detail.insert("place".to_owned(), json!(incoming.at));
        detail.insert("via".to_owned(), json!(via));
        if let Some((alert, message)) = about {
            detail.insert("alert".to_owned(), json!(alert.name()));
            detail.insert("message".to_owned(), json!(message));
        }
        Self {
            who,
            shown: incoming.shown.clone(),
            at: incoming.at.clone(),
            detail,
        }
    }

    pub(super) fn said(mut self, text: &str) -> Self {
        if !text.is_empty() {
            self.detail.insert("text".to_owned(), json!(text));
        }
        self
    }

    pub(super) fn answered(mut self, answer: &str) -> Self {
        self.detail.insert("answer".to_owned(), json!(answer));
        self
    }

    pub(super) fn silenced(
        mut self,
        (id, ends_at): (String, Timestamp),
        matchers: &Labels,
        source: &str,
        subject: &str,
    ) -> Self {
        for (name, value) in [
            ("subject", json!(subject)),
            ("silence", json!(id)),
            ("ends_at", json!(ends_at.to_string())),
            ("matchers", json!(matchers)),
            ("source", json!(source)),
        ] {
            self.detail.insert(name.to_owned(), value);
        }
        self
    }

    pub(super) fn unsilenced(mut self, standing: &Standing) -> Self {
        self.detail.insert("silence".to_owned(), json!(standing.silence));
        self.detail
            .insert("matchers".to_owned(), json!(standing.matchers));
        self.detail.insert("source".to_owned(), json!(standing.source));
        self
    }

    /// The silence that the record holds.
    pub(super) fn standing(&self) -> Option<Standing> {
        Standing::read(&self.detail)
    }

    pub(super) fn act<'a>(
        &self,
        gesture: &'a str,
        subject: &'a str,
        kind: &'a str,
        result: ActResult,
    ) -> NewAct<'a> {
        NewAct {
            gesture,
            subject,
            kind,
            result,
            detail: self.detail.clone(),
        }
    }
}

/// A silence that was made from a conversation.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) silence: String,
    pub(super) ends_at: Timestamp,
    pub(super) who: String,
    pub(super) shown: String,
    pub(super) at: String,
    pub(super) alert: String,
    pub(super) by_reaction: bool,
    pub(super) matchers: Labels,
    pub(super) source: String,
}

impl Standing {
    /// The latest silence of a log (newest first) that was not ended and lasts beyond `now`.
    pub(super) fn of(acts: &[Act], now: Timestamp) -> Option<Self> {
        for act in acts.iter().filter(|act| act.result == ActResult::Done) {
            match act.kind.as_str() {
                "unsilence" => return None,
                "silence" | "ack" if act.detail.contains_key("silence") => {
                    return Self::read(&act.detail).filter(|standing| standing.ends_at > now);
                }
                _ => {}
            }
        }
        None
    }

    /// All silences of a log (newest first) that were not ended and last beyond `now`, newest first. An earlier one may still hold
    /// beside the latest.
    pub(super) fn all_of(acts: &[Act], now: Timestamp) -> Vec<Self> {
        acts.iter()
            .filter(|act| act.result == ActResult::Done)
            .take_while(|act| act.kind != "unsilence")
            .filter(|act| matches!(act.kind.as_str(), "silence" | "ack"))
            .filter_map(|act| Self::read(&act.detail))
            .filter(|standing| standing.ends_at > now)
            .collect()
    }

    /// Returns true if the silence matches every alert that these labels match.
    pub(super) fn covers(&self, matchers: &Labels) -> bool {
        self.matchers
            .iter()
            .all(|(name, value)| matchers.get(name) == Some(value))
    }

    pub(super) fn read(detail: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            silence: text("silence")?,
            ends_at: text("ends_at")?.parse().ok()?,
            who: text("who")?,
            shown: text("shown")?,
            at: text("place")?,
            alert: text("alert").unwrap_or_default(),
            by_reaction: text("via").as_deref() == Some("reaction"),
            matchers: serde_json::from_value(detail.get("matchers")?.clone()).ok()?,
            source: text("source")?,
        })
    }

    pub(super) fn silenced(&self) -> Silenced<'_> {
        Silenced {
            until: self.ends_at,
            by: &self.shown,
            matchers: &self.matchers,
        }
    }
}

/// True if a person did this by a reaction on this message.
pub(super) fn is_reaction_of(act: &Act, who: &str, message: &str) -> bool {
    let is = |name: &str, value: &str| act.detail.get(name).and_then(Value::as_str) == Some(value);
    is("via", "reaction") && is("who", who) && is("message", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(labels: &[(&str, &str)]) -> Map<String, Value> {
        let ends_at = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let matchers: Labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let detail = json!({
            "silence": "a", "ends_at": ends_at.to_string(), "who": "jane", "shown": "jane", "place": "ops",
            "matchers": matchers, "source": "main",
        });
        detail.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_narrower_silence_does_not_cover_a_broader_one() {
        let read = |labels: &[(&str, &str)]| Standing::read(&act(labels)).expect("a silence");
        let narrow = read(&[("alertname", "DiskFull"), ("instance", "db1"), ("disk", "sda")]);
        let broad = read(&[("alertname", "DiskFull"), ("instance", "db1")]);
        let other = read(&[("alertname", "DiskFull"), ("instance", "db2")]);
        assert!(broad.covers(&narrow.matchers) && broad.covers(&broad.matchers));
        assert!(!narrow.covers(&broad.matchers) && !other.covers(&narrow.matchers));
    }
}
