//! Log lines of a running server: to standard error, as the configuration says, changeable while it runs.

use sogs_server::{Config, LogLevel};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::log;

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
    // An unknown level would be taken for the name of a module.
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

/// Turns the log on.
pub(crate) fn start(config: &Config, verbosity: u8) -> Result<Level, String> {
    let (layer, handle) = reload::Layer::new(filter(config, verbosity)?);
    let registry = tracing_subscriber::registry().with(layer);
    // A second start (in a test) keeps the first.
    let _ = registry.with(log::lines(config.log.json)).try_init();
    Ok(Level(handle))
}

impl Level {
    /// Applies a new `[log] level`, or with `dry_run` only reports the result.
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

/// Checks that the log level of a configuration can be used.
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
}
