//! Log lines of a running server: to standard error, as the configuration says, changeable while it runs.

use sogs_server::Config;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

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

/// Turns the log on.
pub(crate) fn start(config: &Config, verbosity: u8) -> Result<Level, String> {
    let (layer, handle) = reload::Layer::new(filter(config, verbosity)?);
    let registry = tracing_subscriber::registry().with(layer);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    // A second start (in a test) keeps the first.
    let _ = if config.log.json {
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
