//! `ackpost server config …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sogs_server::{Config, ConfigError};

use super::logging;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Commands about the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration of a server, and the key and folders it names
    Check(Dir),
    /// Print the current configuration, with every option explained
    Show(Dir),
    /// Print the reference of all options and rules as Markdown
    Reference,
}

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct Dir {
    /// Folder of the server
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Runs one command.
pub(crate) fn run(command: &ConfigCommand, context: Context) -> Done {
    match command {
        ConfigCommand::Check(at) => check(&at.dir, context),
        ConfigCommand::Show(at) => {
            let config = load(&at.dir)?;
            output::raw(sogs_server::admin::commented_config(&config).as_bytes());
            Ok(Exit::Success)
        }
        ConfigCommand::Reference => {
            output::raw(sogs_server::admin::config_reference().as_bytes());
            Ok(Exit::Success)
        }
    }
}

fn load(dir: &std::path::Path) -> Result<Config, Failure> {
    Config::load(dir).map_err(|error| {
        let remedy = match error {
            ConfigError::Read { .. } => error.remedy(),
            _ => "`ackpost server config reference` explains every option",
        };
        Failure::new(error.to_string(), remedy)
    })
}

fn check(dir: &std::path::Path, context: Context) -> Done {
    let config = load(dir)?;
    // Problems stop a server or endanger it; warnings may be intended. Only problems fail the check.
    let mut problems: Vec<(String, &str)> = Vec::new();
    let mut warnings = Vec::new();
    if let Err(error) = logging::check(&config) {
        problems.push((error, "write error, warn, info, debug or trace"));
    }
    match sogs_server::load_key(&config.key_path()) {
        Ok(_) => problems.extend(open_to_others(&config.key_path())),
        Err(error) => problems.push((error.to_string(), error.remedy())),
    }
    if let Err(error) = config.check_database() {
        problems.push((error.to_string(), error.remedy()));
    }
    let base_url = &config.net.base_url;
    if base_url.is_empty() {
        warnings.push("[net] base_url is empty: join links name the address the server listens on, which others may not reach".to_owned());
    } else if !base_url.contains('.') {
        warnings.push(format!(
            "[net] base_url = \"{base_url}\": Session's apps want a host name with a dot in it"
        ));
    }
    for plugin in &config.plugins {
        if plugin.command.is_empty() {
            problems.push((
                format!("[[plugins]] {}: the command is empty", plugin.name),
                "name the program and its words, or remove the plugin",
            ));
        }
    }
    if context.json {
        let (causes, remedies): (Vec<_>, Vec<_>) = problems.iter().cloned().unzip();
        output::json(&serde_json::json!({
            "good": problems.is_empty(), "problems": causes, "remedies": remedies, "warnings": warnings,
        }));
    } else {
        for (cause, remedy) in &problems {
            output::error(&format!("{cause}; {remedy}"));
        }
        for text in &warnings {
            output::warning(text);
        }
        if problems.is_empty() {
            output::line("the configuration has no problems");
        }
    }
    Ok(if problems.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// Returns cause and remedy if others than the owner may read a key.
pub(super) fn open_to_others(path: &std::path::Path) -> Option<(String, &'static str)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o077;
    (mode != 0).then(|| {
        (
            format!("others may read the key {}", path.display()),
            "`chmod 600` it: everybody who reads it can impersonate this community",
        )
    })
}
