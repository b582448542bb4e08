//! Answers to gestures, as people read them.

use std::time::Duration;

use jiff::Timestamp;

use super::alert::{Alert, Labels, labels_text};

/// A silence, as an answer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silenced<'a> {
    /// End of the silence.
    pub until: Timestamp,
    /// The person, by the name that everybody there sees.
    pub by: &'a str,
    /// Its matchers.
    pub matchers: &'a Labels,
}

impl Silenced<'_> {
    /// The answer to the gesture.
    pub fn answer(&self, now: Timestamp) -> String {
        format!(
            "🔕 silenced until {} by {}: {} (to end it early, answer: unsilence)",
            clock(self.until, now),
            self.by,
            labels_text(self.matchers)
        )
    }

    /// The answer if there was such a silence before.
    pub fn already(&self, now: Timestamp) -> String {
        format!(
            "🔕 already silenced until {} by {}: {}",
            clock(self.until, now),
            self.by,
            labels_text(self.matchers)
        )
    }

    /// The line below the message of the alert.
    pub fn state(&self, now: Timestamp) -> String {
        format!("🔕 silenced until {} by {}", clock(self.until, now), self.by)
    }
}

/// `16:20 UTC`, with the date if it is another day.
pub fn clock(time: Timestamp, now: Timestamp) -> String {
    let (time, today) = (
        time.to_zoned(jiff::tz::TimeZone::UTC),
        now.to_zoned(jiff::tz::TimeZone::UTC),
    );
    let format = if time.date() == today.date() {
        "%H:%M UTC"
    } else {
        "%Y-%m-%d %H:%M UTC"
    };
    time.strftime(format).to_string()
}

/// `2h`, `1h30m`, `45m`.
pub fn span(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}

/// The answer to an acknowledgement, and the line below the message of the alert.
pub fn acknowledged(by: &str, text: &str) -> String {
    if text.is_empty() {
        format!("👀 acknowledged by {by}")
    } else {
        format!("👀 acknowledged by {by}: {text}")
    }
}

/// The answer to the end of a silence, and the line below the message of the alert.
pub fn unsilenced(by: &str) -> String {
    format!("🔔 the silence was ended by {by}")
}

/// The answer to a question about an alert that is not silenced.
pub fn status(name: &str, firing: usize) -> String {
    match firing {
        0 => format!("✅ {name}: nothing fires, and no silence was made from a conversation"),
        1 => format!("🔴 {name}: 1 alert fires"),
        firing => format!("🔴 {name}: {firing} alerts fire"),
    }
}

/// An alert in a list, with the number that names it.
pub fn listed(alert: &Alert, number: &str) -> String {
    let state = if alert.resolved { "✅" } else { "🔴" };
    let labels = alert
        .matchers(&[])
        .map_or_else(|_| alert.name().to_owned(), |labels| labels_text(&labels));
    format!("{state} #{number} {labels}")
}

/// The line when a silence ended and alerts are still firing.
pub fn ended(name: &str, firing: usize) -> String {
    let alerts = ackpost_platform::text::count(firing as u64, "alert");
    let still = if firing == 1 { "is still" } else { "are still" };
    format!("🔔 the silence of {name} ended, and {alerts} {still} firing")
}

/// An error, as an answer shows it.
pub fn failed(cause: &str, remedy: &str) -> String {
    format!("⚠️ {cause}; {remedy}")
}

/// The private answer to a person who may not answer alerts.
pub fn refused() -> String {
    "⚠️ you may not answer alerts here; ask the operator to add you to `allow` in [operate]".to_owned()
}

/// The message of an alert with a line about its state below it.
pub fn with_state(text: &str, state: &str) -> String {
    format!("{}\n{state}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_the_time_the_person_and_the_labels() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let matchers = [("instance", "db1"), ("alertname", "DiskFull")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let silenced = Silenced {
            until: at("2026-11-30T16:20:10Z"),
            by: "jane",
            matchers: &matchers,
        };
        let now = at("2026-11-30T14:20:10Z");
        assert_eq!(
            silenced.answer(now),
            "🔕 silenced until 16:20 UTC by jane: alertname=DiskFull, instance=db1 (to end it early, answer: unsilence)"
        );
        assert_eq!(
            silenced.state(at("2026-11-29T23:00:00Z")),
            "🔕 silenced until 2026-11-30 16:20 UTC by jane"
        );
        assert_eq!(span(Duration::from_secs(5_400)), "1h30m");
        assert_eq!(span(Duration::from_secs(7_200)), "2h");
        assert_eq!(acknowledged("jane", "on it"), "👀 acknowledged by jane: on it");
        assert_eq!(
            ended("DiskFull", 1),
            "🔔 the silence of DiskFull ended, and 1 alert is still firing"
        );
    }
}
