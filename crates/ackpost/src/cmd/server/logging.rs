//! Log lines of a running server: to standard error, as the configuration says, changeable while it runs.

use std::io::{self, Write};

use sogs_server::{Config, LogLevel};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::output;

/// Changes the level of the log later.
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

/// The filter of a level; `-v` on the command line shows at least information, `-vvv` debugging, `-vvvv` everything.
fn filter(config: &Config, verbosity: u8) -> Result<EnvFilter, String> {
    let level = match verbosity {
        0 | 1 => config.log.level.as_str(),
        2 => "info",
        3 => "info,sogs_server=debug,ackpost=debug",
        _ => "debug,sogs_server=trace,ackpost=trace",
    };
    // A word that is no level would pass as the name of a module.
    let unknown = level
        .split(',')
        .map(str::trim)
        .find(|part| !part.contains('=') && !LEVELS.contains(&part.to_ascii_lowercase().as_str()));
    if let Some(word) = unknown {
        return Err(format!("[log] level: unknown level `{word}`"));
    }
    EnvFilter::try_new(level).map_err(|error| format!("[log] level: `{level}` is not a filter: {error}"))
}

/// Words that stand for a level.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Writes log lines in which no words of others mislead: each write is one line.
struct Legible<W> {
    json: bool,
    out: W,
}

impl<W: Write> Write for Legible<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let shown = if self.json {
            output::harmless(text)
        } else {
            output::masked(text)
        };
        self.out.write_all(format!("{shown}\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Turns the log on.
pub(crate) fn start(config: &Config, verbosity: u8) -> Result<Level, String> {
    let (layer, handle) = reload::Layer::new(filter(config, verbosity)?);
    let registry = tracing_subscriber::registry().with(layer);
    let json = config.log.json;
    let lines = fmt::layer()
        .with_writer(move || Legible {
            json,
            out: io::stderr(),
        })
        .with_ansi(false)
        .with_target(false);
    // A second start (in a test) keeps the first.
    let _ = if json {
        registry.with(lines.json()).try_init()
    } else {
        registry.with(lines).try_init()
    };
    Ok(Level(handle))
}

impl Level {
    /// Takes over a new `[log] level`, or with `dry_run` only says what would come of it.
    pub(crate) fn follow(&self, level: &str, verbosity: u8, dry_run: bool) -> LogLevel {
        let mut config = Config::default();
        level.clone_into(&mut config.log.level);
        match filter(&config, 0) {
            Err(cause) => LogLevel::Unusable(cause),
            Ok(_) if verbosity > 1 => {
                LogLevel::Fixed("the words -v of the command line set the level of this process".to_owned())
            }
            Ok(_) if dry_run => LogLevel::Follows,
            Ok(filter) => match self.0.reload(filter) {
                Ok(()) => LogLevel::Follows,
                Err(error) => LogLevel::Fixed(error.to_string()),
            },
        }
    }
}

/// Whether the level of a configuration can be used.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    filter(config, 0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_from_other_words() {
        let of = |level: &str| {
            let mut config = Config::default();
            level.clone_into(&mut config.log.level);
            check(&config)
        };
        for good in [
            "info",
            "WARN",
            "off",
            "info,sogs_server=debug",
            "sogs_server=trace, warn",
        ] {
            assert_eq!(of(good), Ok(()), "{good}");
        }
        for bad in ["inof", "purple", "", "info,sogs_server", "info=purple"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_of_others_are_masked_in_the_log() {
        let written = |json: bool, line: &str| {
            let mut to = Legible {
                json,
                out: Vec::new(),
            };
            to.write_all(line.as_bytes()).expect("memory");
            String::from_utf8(to.out).expect("UTF-8")
        };
        let text = "name=a\u{1b}[2J\u{9b}\u{202e}txt\nINFO faked\u{2028}\n";
        assert_eq!(
            written(false, text),
            "name=a\\u{1b}[2J\\u{9b}\\u{202e}txt\\u{a}INFO faked\\u{2028}\n"
        );
        let value = serde_json::json!({ "name": text });
        let line = written(true, &format!("{value}\n"));
        assert!(!line.trim_end().chars().any(output::misleads), "{line}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).expect("JSON"),
            value
        );
    }
}
