//! Log lines of a running server: to standard error, as the configuration says, changeable while it runs.

use std::io::{self, Write};

use sogs_server::Config;
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
    EnvFilter::try_new(level).map_err(|error| format!("[log] level = \"{level}\" is no level: {error}"))
}

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
    /// Takes over the level of a configuration.
    pub(crate) fn follow(&self, config: &Config, verbosity: u8) {
        match filter(config, verbosity) {
            Ok(filter) => {
                if let Err(error) = self.0.reload(filter) {
                    tracing::warn!(%error, "the level of the log stays as it was");
                }
            }
            Err(error) => tracing::warn!("{error}; the level of the log stays as it was"),
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
