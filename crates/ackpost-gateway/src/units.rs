//! Times and sizes as people write them.

use std::time::Duration;

/// Reads a time: `500ms`, `10s`, `5m`, `1h30m`, `7d`; a bare number is seconds.
///
/// # Errors
/// A sentence that names the text and shows how a time is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    ackpost_platform::span::parse(text).map_err(|error| format!("`{text}` is not a time: {error}"))
}

/// `512`, `64KiB`, `16MiB`, `1GiB`; KB, MB and GB are powers of ten.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let bad = || format!("`{text}` is not a size; write one like 65536, 64KiB or 16MiB");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..end].parse().map_err(|_| bad())?;
    let unit: usize = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "k" | "kib" => 1 << 10,
        "mb" => 1_000_000,
        "m" | "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "g" | "gib" => 1 << 30,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).ok_or_else(bad)
}

/// A time as people read it: `0.4 s`, `3 min`, `2 h`, `5 d`.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3_600.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("1kb"), Ok(1_000));
        for bad in ["", "x", "5 weeks", "-1s", "1e400s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(size("99999999999999999999").is_err());
        assert!(size("18446744073709551615GiB").is_err());
    }
}
