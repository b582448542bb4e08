//! Selection of messages and times for a command: ranges of numbers, `--since`.

use clap::Args;

use super::span;

/// A span of time.
#[derive(Debug, Args)]
pub(crate) struct WhenArgs {
    /// From this time on: a length before now (90s, 15m, 12h, 7d) or a time (2026-11-29T18:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) since: Option<f64>,
    /// Before this time, in the same form
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) until: Option<f64>,
}

/// A moment in Unix seconds: a span before now, a time with its zone, or Unix seconds with an `@`.
pub(crate) fn moment(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let wrong =
        || format!("`{text}` is not a time: write 2h for two hours ago, 2026-11-29T18:00:00Z or @1795975200");
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds
            .parse()
            .ok()
            .filter(|seconds: &f64| (0.0..=1e11).contains(seconds))
            .ok_or_else(wrong);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_duration().as_secs_f64());
    }
    let ago = span(text).map_err(|_| wrong())?;
    Ok(jiff::Timestamp::now().as_duration().as_secs_f64() - ago)
}

/// Numbers from the first to the second, both included: `17` or `17-25`.
pub(crate) fn range(text: &str) -> Result<(i64, i64), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.trim().trim_start_matches('#').parse().ok();
    match (number(first), number(last)) {
        (Some(first), Some(last)) if 0 < first && first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is not a number or a range: write 17 or 17-25")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_moments() {
        assert_eq!(range("17"), Ok((17, 17)));
        assert_eq!(range("17-25"), Ok((17, 25)));
        for bad in ["", "25-17", "0", "-3", "a-b", "1-2-3"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("@1795975200"), Ok(1_795_975_200.0));
        assert_eq!(moment("2026-11-29T18:00:00Z"), Ok(1_795_975_200.0));
        assert_eq!(moment("2026-11-29T19:00:00+01:00"), Ok(1_795_975_200.0));
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        assert!((moment("2h").expect("a span") - (now - 7200.0)).abs() < 60.0);
        for bad in ["", "soon", "2026-11-29", "@x", "-2h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
