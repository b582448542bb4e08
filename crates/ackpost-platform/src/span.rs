//! The one way in which people write a length of time: `90`, `500ms`, `16s`, `5m`, `1h30m`, `1.5h`, `7d`, `2w`.

use std::fmt;
use std::time::Duration;

/// The longest time that is read: about 100 years.
const MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Error of [`parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanError {
    cause: &'static str,
}

impl SpanError {
    /// Returns the fault alone, without the text and the remedy.
    pub fn cause(&self) -> &'static str {
        self.cause
    }
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; write a time such as 500ms, 16s, 5m, 1h30m, 7d or 2w",
            self.cause
        )
    }
}

impl std::error::Error for SpanError {}

/// Reads a length of time: numbers, each with a unit (`ms`, `s`, `m` or `min`, `h`, `d`, `w`), largest first or in any
/// order. A number without a unit stands alone and counts seconds. Upper case and blanks do not matter.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(ackpost_platform::span::parse("1h30m")?, Duration::from_secs(5400));
/// assert_eq!(ackpost_platform::span::parse("1.5h")?, Duration::from_secs(5400));
/// assert!(ackpost_platform::span::parse("5 parsecs").is_err());
/// # Ok::<(), ackpost_platform::span::SpanError>(())
/// ```
///
/// # Errors
/// [`SpanError`] for every other text, and for more than 100 years.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let wrong = |cause| SpanError { cause };
    let text: String = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.bytes().all(is_numeric) {
        return part(&text, Duration::from_secs(1));
    }
    let mut total = Duration::ZERO;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let unit_at = rest.bytes().position(|byte| !is_numeric(byte));
        let (number, unit) = rest.split_at(unit_at.ok_or(wrong("the last number has no unit"))?);
        let end = unit.bytes().position(is_numeric).unwrap_or(unit.len());
        let factor = match &unit[..end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(7 * 86_400),
            _ => return Err(wrong("it is not a time")),
        };
        total = total.saturating_add(part(number, factor)?);
        rest = &unit[end..];
    }
    if total > MAX {
        return Err(wrong("it is more than 100 years"));
    }
    Ok(total)
}

fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// A number of units. Whole numbers are exact.
fn part(number: &str, unit: Duration) -> Result<Duration, SpanError> {
    let too_large = SpanError {
        cause: "it is more than 100 years",
    };
    let whole = number.split('.').next().unwrap_or_default();
    if whole.is_empty() {
        return Err(SpanError {
            cause: "a number is missing",
        });
    }
    if whole.len() > 12 {
        return Err(too_large);
    }
    let number: f64 = number.parse().map_err(|_| SpanError {
        cause: "it is not a time",
    })?;
    // Below 2^53 seconds and with at most 12 digits, whole numbers of units are exact.
    Duration::try_from_secs_f64(number * unit.as_secs_f64())
        .ok()
        .filter(|span| *span <= MAX)
        .ok_or(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_reads_the_same_times() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("500ms", 500),
            ("16s", 16_000),
            (" 5M ", 300_000),
            ("15min", 900_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("0.5", 500),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_their_fault() {
        for (text, cause) in [
            ("", "it is empty"),
            ("m", "a number is missing"),
            (".5h", "a number is missing"),
            ("5x", "it is not a time"),
            ("5 weeks", "it is not a time"),
            ("1y", "it is not a time"),
            ("-5m", "it is not a time"),
            ("nan", "it is not a time"),
            ("1.2.3s", "it is not a time"),
            ("1h5", "the last number has no unit"),
            ("99999999999999999999", "it is more than 100 years"),
            ("999999d", "it is more than 100 years"),
            ("1e300d", "it is not a time"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.cause), Err(cause), "{text}");
        }
    }
}
