//! The queue parameters of a URL: `ttl`, `dedup`, `digest`, `budget`, `quiet` (with `tz`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

/// Time for which a message is tried if no other time is given.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);
/// Time in which repeats of a `dedup=KEY` are folded if the key has no window.
pub const DEFAULT_DEDUP_WINDOW: Duration = Duration::from_secs(3600);
/// The most posts a budget may allow in one span.
pub const MAX_BUDGET: u32 = 256;
/// The longest time any of the parameters takes: 60 days.
pub const MAX_SPAN: Duration = Duration::from_secs(60 * 24 * 3600);

/// Rules for queueing the messages for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// After this time since it was accepted an undelivered message goes to the dead-letter box. Default 24 h.
    pub ttl: Option<Duration>,
    /// Rule for folding repeats.
    pub dedup: Option<Dedup>,
    /// Time for which messages are collected and sent as one.
    pub digest: Option<Duration>,
    /// Maximum number of posts in a time span.
    pub budget: Option<RateLimit>,
    /// No posts in these hours.
    pub quiet: Option<QuietHours>,
    /// Time after which the watchdog sends an alarm about a target that keeps failing.
    pub alarm_after: Option<Duration>,
    /// IANA name of the time zone of `quiet`; the system's when left out.
    pub tz: Option<String>,
}

/// Rule for repeats: their key, and the time in which they are folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedup {
    /// Messages with the same key are repeats; `auto` compares title and body instead.
    pub key: String,
    /// Length of the window, from the first message on. At its end the repeats are reported, and a new window begins.
    pub window: Duration,
}

/// Rate limit for posts to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateLimit {
    /// `budget=off`: no limit.
    Unlimited,
    /// At most `count` posts in any `span`.
    Limited {
        /// Maximum number of posts.
        count: u32,
        /// Length of the time span.
        span: Duration,
    },
}

/// Hours in which nothing is sent, in local time. `22:00-07:00` reaches over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// Minutes since midnight when it begins.
    pub from: u16,
    /// Minutes since midnight when it ends.
    pub to: u16,
}

/// A queue parameter that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}=` is not understood: {cause}")]
#[non_exhaustive]
pub struct RuleError {
    /// Name of the parameter.
    pub name: String,
    /// Cause of the error.
    pub cause: String,
    /// Remedy: the value to write.
    pub remedy: String,
}

impl Rules {
    /// Reads what a URL says. `words` are the parameters as written; those that are not for the queue are ignored.
    ///
    /// # Errors
    /// Values of parameters are not valid; each error names its parameter and the remedy. There is at least one.
    pub fn from_words<'a>(
        words: impl IntoIterator<Item = (&'a str, &'a str)>,
        tz: Option<&str>,
    ) -> Result<Self, Vec<RuleError>> {
        let words: BTreeMap<&str, &str> = words.into_iter().collect();
        let mut errors = Vec::new();
        if let Some(Err(error)) = tz.map(|name| zone(Some(name))) {
            errors.push(error);
        }
        let rules = Self {
            ttl: read(&words, "ttl", &mut errors, |word| parse_span("ttl", word)),
            dedup: read(&words, "dedup", &mut errors, Dedup::parse),
            digest: read(&words, "digest", &mut errors, |word| parse_span("digest", word)),
            budget: read(&words, "budget", &mut errors, RateLimit::parse),
            quiet: read(&words, "quiet", &mut errors, QuietHours::parse),
            alarm_after: read(&words, "alarm_after", &mut errors, |word| {
                parse_span("alarm_after", word)
            }),
            tz: tz.map(str::to_owned),
        };
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    /// The time to live that counts.
    pub fn time_to_live(&self) -> Duration {
        self.ttl.unwrap_or(DEFAULT_TTL)
    }

    /// Returns the end of the quiet hours if nothing may be sent now because of them.
    pub fn quiet_until(&self, now_ms: i64) -> Option<i64> {
        let quiet = self.quiet?;
        // The name was checked when the rules were read; a zone that has gone since counts as UTC.
        let zone = zone(self.tz.as_deref()).unwrap_or(TimeZone::UTC);
        quiet.until(now_ms, &zone)
    }
}

impl Dedup {
    /// Parses `KEY` or `KEY/10m`.
    ///
    /// # Errors
    /// The text is not valid; the error has the remedy.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        let (key, window) = match text.rsplit_once('/') {
            Some((key, window)) if window.starts_with(|first: char| first.is_ascii_digit()) => {
                (key, parse_span("dedup", window)?)
            }
            _ => (text, DEFAULT_DEDUP_WINDOW),
        };
        if key.is_empty() || key.len() > 256 {
            return Err(rule(
                "dedup",
                "the key must have 1 to 256 characters",
                "write dedup=KEY or dedup=KEY/10m",
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            window,
        })
    }
}

impl RateLimit {
    /// Limit of pysogs and related servers: 5 posts in any 16 seconds.
    pub const SOGS: Self = Self::Limited {
        count: 5,
        span: Duration::from_secs(16),
    };

    /// Parses `5/16s` or `off`.
    ///
    /// # Errors
    /// The text is not valid; the error has the remedy.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Unlimited);
        }
        let remedy = "write how many posts in how much time, such as budget=5/16s, or budget=off";
        let (count, span) = text
            .split_once('/')
            .ok_or_else(|| rule("budget", "it has no `/`", remedy))?;
        let count = count
            .trim()
            .parse()
            .ok()
            .filter(|count| (1..=MAX_BUDGET).contains(count))
            .ok_or_else(|| {
                rule(
                    "budget",
                    &format!("the number is not between 1 and {MAX_BUDGET}"),
                    remedy,
                )
            })?;
        Ok(Self::Limited {
            count,
            span: parse_span("budget", span)?,
        })
    }

    /// Returns the earliest time of the next post, given the times of the latest posts in ascending order. `None`: now.
    pub fn not_before(self, recent: &[i64], now_ms: i64) -> Option<i64> {
        let Self::Limited { count, span } = self else {
            return None;
        };
        let oldest = recent.len().checked_sub(count as usize).map(|at| recent[at])?;
        let free = oldest + i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4);
        (free > now_ms).then_some(free)
    }

    /// Returns the number of post times that must be remembered.
    pub fn remembered(self) -> usize {
        match self {
            Self::Unlimited => 0,
            Self::Limited { count, .. } => count as usize,
        }
    }
}

impl QuietHours {
    /// Parses `22:00-07:00`.
    ///
    /// # Errors
    /// The text is not valid; the error has the remedy.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let remedy = "write when it begins and ends, such as quiet=22:00-07:00";
        let (from, to) = text
            .trim()
            .split_once('-')
            .ok_or_else(|| rule("quiet", "it has no `-`", remedy))?;
        let minutes = |word: &str| -> Option<u16> {
            let (hours, minutes) = word.trim().split_once(':')?;
            let digits = |word: &str| {
                (word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit()))
                    .then(|| word.parse::<u16>().ok())?
            };
            let (hours, minutes) = (digits(hours)?, digits(minutes)?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        match (minutes(from), minutes(to)) {
            (Some(from), Some(to)) if from != to => Ok(Self { from, to }),
            (Some(_), Some(_)) => Err(rule("quiet", "it begins and ends at the same time", remedy)),
            _ => Err(rule("quiet", "a time is not HH:MM", remedy)),
        }
    }

    fn until(self, now_ms: i64, zone: &TimeZone) -> Option<i64> {
        let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
        let minute = u16::try_from(now.hour()).ok()? * 60 + u16::try_from(now.minute()).ok()?;
        let inside = if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        };
        if !inside {
            return None;
        }
        let end = Time::new(
            i8::try_from(self.to / 60).ok()?,
            i8::try_from(self.to % 60).ok()?,
            0,
            0,
        )
        .ok()?;
        let day = if minute < self.to {
            now.date()
        } else {
            now.date().checked_add(1.day()).ok()?
        };
        // If the clocks skip that time, the first moment after the gap counts.
        let end = day
            .to_datetime(end)
            .to_zoned(zone.clone())
            .ok()?
            .timestamp()
            .as_millisecond();
        Some(end.max(now_ms + 1))
    }
}

/// Reads a time of one parameter: `16s`, `5m`, `1h30m`, `2d`; a bare number counts seconds. At most [`MAX_SPAN`].
///
/// # Errors
/// The text is not a span of time, or the span is zero or longer than [`MAX_SPAN`].
pub fn parse_span(name: &str, text: &str) -> Result<Duration, RuleError> {
    let wrong = |cause: &str| rule(name, cause, "write a time such as 16s, 5m, 1h30m or 2d");
    let span = ackpost_platform::span::parse(text).map_err(|error| wrong(error.cause()))?;
    if span.is_zero() || span > MAX_SPAN {
        return Err(wrong("it must be above 0 and at most 60 days"));
    }
    Ok(span)
}

/// `90` as `1m30s`, for texts.
pub fn span_text(span: Duration) -> String {
    let mut rest = span.as_secs();
    if rest == 0 {
        return format!("{} ms", span.as_millis());
    }
    let mut text = String::new();
    for (unit, seconds) in [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
        if rest >= seconds {
            text.push_str(&(rest / seconds).to_string());
            text.push(unit);
            rest %= seconds;
        }
    }
    text
}

/// Parses the value of a parameter, if it is written, and keeps the error.
fn read<T>(
    words: &BTreeMap<&str, &str>,
    name: &str,
    errors: &mut Vec<RuleError>,
    parse: impl FnOnce(&str) -> Result<T, RuleError>,
) -> Option<T> {
    parse(words.get(name)?).map_err(|error| errors.push(error)).ok()
}

fn zone(name: Option<&str>) -> Result<TimeZone, RuleError> {
    match name {
        None => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name).map_err(|_| {
            rule(
                "tz",
                "this machine does not know that time zone",
                "write a name such as Europe/Berlin",
            )
        }),
    }
}

fn rule(name: &str, cause: &str, remedy: &str) -> RuleError {
    RuleError {
        name: name.to_owned(),
        cause: cause.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn spans() {
        let seconds = |text: &str| parse_span("ttl", text).map(|span| span.as_secs());
        assert_eq!(seconds("16s"), Ok(16));
        assert_eq!(seconds(" 5M "), Ok(300));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("2d"), Ok(172_800));
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("1.5h"), Ok(5400));
        for bad in [
            "",
            "0",
            "0s",
            "m",
            "5x",
            "1h5",
            "61d",
            "99999999999999999999",
            "-5m",
        ] {
            let error = parse_span("ttl", bad).unwrap_err();
            assert!(
                error.to_string().starts_with("`ttl=` is not understood: "),
                "{bad}: {error}"
            );
            assert!(error.remedy.contains("5m"), "{bad}");
        }
        assert_eq!(span_text(Duration::from_secs(5400)), "1h30m");
        assert_eq!(span_text(Duration::from_millis(20)), "20 ms");
    }

    #[test]
    fn budgets_count_in_any_span() {
        let Ok(budget) = RateLimit::parse("5/16s") else {
            panic!()
        };
        assert_eq!(budget, RateLimit::SOGS);
        assert_eq!(budget.not_before(&[1000, 1001, 1002, 1003], 1004), None);
        assert_eq!(
            budget.not_before(&[1000, 1001, 1002, 1003, 1004], 1005),
            Some(17_000)
        );
        assert_eq!(
            budget.not_before(&[0, 1000, 1001, 1002, 1003, 1004], 1005),
            Some(17_000)
        );
        assert_eq!(budget.not_before(&[1000, 1001, 1002, 1003, 1004], 17_000), None);
        assert_eq!(RateLimit::parse("OFF").unwrap().not_before(&[1, 1, 1], 1), None);
        for bad in ["", "5", "0/16s", "257/1s", "5/", "/16s", "-1/16s"] {
            assert!(RateLimit::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dedup_keys_may_name_their_window() {
        let parsed = |text: &str| Dedup::parse(text).map(|dedup| (dedup.key, dedup.window.as_secs()));
        assert_eq!(parsed("disk"), Ok(("disk".to_owned(), 3600)));
        assert_eq!(parsed("disk/10m"), Ok(("disk".to_owned(), 600)));
        assert_eq!(parsed("disk/sda"), Ok(("disk/sda".to_owned(), 3600)));
        assert_eq!(parsed("disk/sda/2h"), Ok(("disk/sda".to_owned(), 7200)));
        assert!(Dedup::parse(" ").is_err());
        assert!(Dedup::parse("/5m").is_err());
    }

    #[test]
    fn quiet_hours_reach_over_midnight_and_know_summer_time() {
        let words = [("quiet", "22:00-07:00")];
        let rules = Rules::from_words(words, Some("Europe/Berlin")).unwrap();
        // Winter: Berlin is UTC+1.
        assert_eq!(rules.quiet_until(at("2026-01-10T12:00:00Z")), None);
        assert_eq!(rules.quiet_until(at("2026-01-10T20:59:59Z")), None);
        assert_eq!(
            rules.quiet_until(at("2026-01-10T21:00:00Z")),
            Some(at("2026-01-11T06:00:00Z"))
        );
        assert_eq!(
            rules.quiet_until(at("2026-01-11T05:59:59Z")),
            Some(at("2026-01-11T06:00:00Z"))
        );
        assert_eq!(rules.quiet_until(at("2026-01-11T06:00:00Z")), None);
        // The night in which the clocks go forward (29 March 2026) is an hour shorter.
        assert_eq!(
            rules.quiet_until(at("2026-03-28T21:30:00Z")),
            Some(at("2026-03-29T05:00:00Z"))
        );
        // An end inside the hour that is skipped.
        let rules = Rules::from_words([("quiet", "01:00-02:30")], Some("Europe/Berlin")).unwrap();
        assert_eq!(
            rules.quiet_until(at("2026-03-29T00:30:00Z")),
            Some(at("2026-03-29T01:30:00Z"))
        );
        // Within one day.
        let rules = Rules::from_words([("quiet", "12:00-13:00")], Some("UTC")).unwrap();
        assert_eq!(
            rules.quiet_until(at("2026-01-10T12:30:00Z")),
            Some(at("2026-01-10T13:00:00Z"))
        );
        for bad in [
            "",
            "22-7",
            "22:00",
            "24:00-07:00",
            "22:00-22:00",
            "22:60-07:00",
            "+2:00-07:00",
        ] {
            assert!(QuietHours::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_zone_is_named() {
        let error = Rules::from_words([], Some("Nowhere/Land")).unwrap_err().remove(0);
        assert_eq!(error.name, "tz");
    }
}
