//! The configuration explained: the commented `server.toml` and the reference page, both made from the
//! documentation of the fields in `config.rs`, so that they cannot say something else than the code.

use std::fmt::Write as _;

use super::operation::AdminError;
use crate::config::Config;
use crate::model::rules::{RULES, Scope};

/// The source that documents every option.
const SOURCE: &str = include_str!("../config.rs");

/// An option of the configuration file.
struct OptionDoc {
    section: String,
    name: String,
    text: String,
    /// True if a running server takes a change over at SIGHUP.
    reloadable: bool,
}

/// Reads the documentation of the structs that begin with "/// `[section]`".
fn options() -> Vec<OptionDoc> {
    let mut all = Vec::new();
    let mut section: Option<String> = None;
    let mut doc: Vec<&str> = Vec::new();
    for line in SOURCE.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
        } else if line.starts_with("pub struct ") {
            section = doc
                .first()
                .and_then(|text| text.strip_prefix("`[")?.split("]`").next())
                .map(str::to_owned);
            doc.clear();
        } else if line == "}" {
            section = None;
            doc.clear();
        } else if let (Some(section), Some(field)) = (&section, line.strip_prefix("pub ")) {
            if let Some((name, _)) = field.split_once(':') {
                let text = doc.join(" ");
                let reloadable = text.contains("(reload)");
                let text = text.replace("(reload)", "").trim().to_owned();
                all.push(OptionDoc {
                    section: section.clone(),
                    name: name.to_owned(),
                    text,
                    reloadable,
                });
            }
            doc.clear();
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    all
}

fn toml_of(config: &Config) -> toml::Table {
    toml::Table::try_from(config).unwrap_or_default()
}

/// The configuration file for `config`: every option with its explanation, those at their default commented out.
pub fn commented_config(config: &Config) -> String {
    let (own, defaults) = (toml_of(config), toml_of(&Config::default()));
    let mut text = String::from(
        "# Configuration of an Ackpost community server. Commented options show their default.\n\
         # Those marked (reload) apply to a running server after SIGHUP or `ackpost server reload`,\n\
         # the others when it starts. `ackpost server config check` checks the file.\n",
    );
    let mut last = String::new();
    for option in options() {
        if option.section != last {
            let _ = write!(text, "\n[{}]\n", option.section);
            option.section.clone_into(&mut last);
        }
        for line in wrap(
            &format!(
                "{}{}",
                option.text,
                if option.reloadable { " (reload)" } else { "" }
            ),
            100,
        ) {
            let _ = writeln!(text, "# {line}");
        }
        let value = |table: &toml::Table| {
            table
                .get(&option.section)
                .and_then(|section| section.get(&option.name))
                .cloned()
        };
        match (value(&own), value(&defaults)) {
            (Some(value), default) if Some(&value) != default.as_ref() => {
                let _ = writeln!(text, "{} = {value}", option.name);
            }
            (_, Some(default)) => {
                let _ = writeln!(text, "#{} = {default}", option.name);
            }
            (_, None) => {
                let _ = writeln!(text, "#{} =", option.name);
            }
        }
    }
    text.push_str(PLUGIN_EXAMPLE);
    for plugin in &config.plugins {
        if let Ok(table) = toml::to_string(plugin) {
            let _ = write!(text, "\n[[plugins]]\n{table}");
        }
    }
    text
}

/// Result of merging a reloaded configuration file.
pub(crate) struct Merged {
    /// Changes that took effect, and changes that wait for a restart.
    pub(crate) lines: Vec<String>,
    /// The configuration from now on.
    pub(crate) config: Config,
}

/// Merges the reloadable options of a configuration file into the running configuration. Options that need a restart
/// are compared with the file as it was when the server started: words of the command line may hold instead of it.
pub(crate) fn merge_reloadable(old: &Config, at_start: &Config, new: &Config) -> Result<Merged, AdminError> {
    let (mut merged, wanted, file) = (toml_of(old), toml_of(new), toml_of(at_start));
    let mut lines = Vec::new();
    for option in options() {
        let value = |table: &toml::Table| {
            table
                .get(&option.section)
                .and_then(|section| section.get(&option.name))
                .cloned()
        };
        let name = format!("[{}] {}", option.section, option.name);
        let after = value(&wanted);
        if !option.reloadable {
            if value(&file) != after {
                lines.push(format!("{name} changes at the next start"));
            }
            continue;
        }
        if value(&merged) == after {
            continue;
        }
        lines.push(format!(
            "{name} = {}",
            after
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string)
        ));
        if let Some(section) = merged
            .get_mut(&option.section)
            .and_then(toml::Value::as_table_mut)
        {
            match after {
                Some(after) => drop(section.insert(option.name.clone(), after)),
                None => drop(section.remove(&option.name)),
            }
        }
    }
    if at_start.plugins != new.plugins {
        lines.push("[[plugins]] change at the next start".to_owned());
    }
    let mut config: Config = merged.try_into().map_err(AdminError::failed)?;
    config.dir.clone_from(&old.dir);
    Ok(Merged { lines, config })
}

const PLUGIN_EXAMPLE: &str = "\n# Programs that receive events and may decide about posts; one table each.\n\
    #[[plugins]]\n\
    #name = \"words\"\n\
    # Program and arguments; no shell is involved.\n\
    #command = [\"/usr/local/bin/words\", \"--strict\"]\n\
    # Ask it before storing a post.\n\
    #decide = true\n\
    # Kinds of events that it receives: posted, edited, deleted, reacted, joined, moderated, raid; empty = all.\n\
    #events = [\"posted\"]\n\
    # Time for an answer in milliseconds, and the decision after that or while it is away: accept, hold, hide or reject.\n\
    #deadline_ms = 250\n\
    #default = \"accept\"\n";

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.len() + word.len() + 1 > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// The reference page of the documentation, in Markdown.
pub fn config_reference() -> String {
    let defaults = toml_of(&Config::default());
    let mut page = String::from(
        "# Community server: configuration reference\n\n\
         This page is printed by `ackpost server config reference`; do not edit it by hand.\n\n\
         `DIR/server.toml` configures the server. Missing options have their default. Options with ✓ apply to a running server\n\
         after SIGHUP or `ackpost server reload`; the others need a restart. `ackpost server config check --dir DIR` checks\n\
         the file and lists its problems by line.\n",
    );
    let mut last = String::new();
    for option in options() {
        if option.section != last {
            let _ = write!(
                page,
                "\n## [{}]\n\n| option | default | reload | meaning |\n|---|---|---|---|\n",
                option.section
            );
            option.section.clone_into(&mut last);
        }
        let default = defaults
            .get(&option.section)
            .and_then(|section| section.get(&option.name))
            .map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
        let mark = if option.reloadable { "✓" } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {default} | {mark} | {} |",
            option.name,
            option.text.replace('|', "\\|")
        );
    }
    page.push_str(
        "\n## [[plugins]]\n\nOne table for each program that receives events or decides about posts; see [plugins](../guide/community-server-plugins.md).\n\n```toml\n",
    );
    page.push_str(PLUGIN_EXAMPLE.trim_start());
    page.push_str(
        "```\n\n# Rules\n\nThe database stores the rules. They apply immediately, to one room (`--room TOKEN`) or to all rooms:\n\
         `ackpost server settings set NAME VALUE [--room TOKEN] --dir DIR`, `settings clear`, `settings list`.\n\n\
         | rule | value | default | where | meaning |\n|---|---|---|---|---|\n",
    );
    for rule in RULES {
        let place = match rule.scope {
            Scope::Room => "server, room",
            Scope::Server => "server",
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {place} | {} |",
            rule.name,
            rule.unit,
            rule.default,
            rule.text.trim()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_documented_and_every_documented_option_exists() {
        let defaults = toml_of(&Config::default());
        let known = options();
        for (section, table) in &defaults {
            let Some(table) = table.as_table() else { continue };
            for name in table.keys() {
                let doc = known
                    .iter()
                    .find(|doc| doc.section == *section && doc.name == *name);
                assert!(
                    doc.is_some_and(|doc| !doc.text.is_empty()),
                    "[{section}] {name} has no documentation"
                );
            }
        }
        for doc in &known {
            assert!(
                defaults.contains_key(&doc.section),
                "[{}] is not in the configuration",
                doc.section
            );
        }
    }

    #[test]
    fn the_commented_file_means_the_configuration_it_was_made_from() {
        let folder = std::path::Path::new("/srv/x");
        let same = |config: &Config| Config::parse(&commented_config(config), folder).expect("parses");
        let mut config = Config::for_dir(folder);
        assert_eq!(same(&config), config);
        config.net.base_url = "https://sogs.example".to_owned();
        config.files.expiry_days = 3.5;
        config.users.require_blind_keys = false;
        config.metrics.listen = Some(([127, 0, 0, 1], 9100).into());
        config.plugins = vec![crate::plugin::PluginConfig {
            name: "words".to_owned(),
            command: vec!["/bin/true".to_owned()],
            decide: true,
            events: Vec::new(),
            deadline_ms: 250,
            default: crate::plugin::Decision::Hide,
        }];
        assert_eq!(same(&config), config);
        // Every commented-out option must be valid once its comment sign is taken away.
        let uncommented: String = commented_config(&Config::for_dir(folder))
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| line.trim_start_matches('#').to_owned() + "\n")
            .filter(|line| !line.trim_end().ends_with('='))
            .collect();
        Config::parse(&uncommented, folder).expect("every example value is valid");
    }
}
