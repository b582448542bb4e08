//! Parsers of `sogs.ini` (pysogs) and `sogs.conf` (bunsogs), which return the values that apply here.

use std::collections::BTreeMap;

/// Sections and keys of an ini file, keys in lower case, in file order within a section's map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ini {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Ini {
    /// Reads ini text the way Python's `configparser` does: `key = value` or `key: value`, `#` and `;`
    /// comment lines, indented lines continue a value. Lines before the first section belong to "".
    pub fn parse(text: &str) -> Self {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut section = String::new();
        let mut last: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t'])
                && let Some(value) = last
                    .as_ref()
                    .and_then(|key| sections.get_mut(&section)?.get_mut(key))
            {
                value.push('\n');
                value.push_str(trimmed);
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.trim().clone_into(&mut section);
                last = None;
                continue;
            }
            let Some(at) = trimmed.find(['=', ':']) else {
                continue;
            };
            let key = trimmed[..at].trim().to_lowercase();
            let value = trimmed[at + 1..].trim().trim_matches('"').to_owned();
            sections
                .entry(section.clone())
                .or_default()
                .insert(key.clone(), value);
            last = Some(key);
        }
        Self { sections }
    }

    /// The value of a key, if it is there and not empty.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.sections
            .get(section)?
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The names of the sections that start with `prefix`, without it.
    pub fn sections_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.sections
            .keys()
            .filter_map(move |name| name.strip_prefix(prefix))
    }

    fn flag(&self, section: &str, key: &str) -> Option<bool> {
        match self.get(section, key)?.to_ascii_lowercase().as_str() {
            "yes" | "y" | "true" | "on" | "1" => Some(true),
            "no" | "n" | "false" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    fn number(&self, section: &str, key: &str) -> Option<f64> {
        self.get(section, key)?
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite() && *value >= 0.0)
    }
}

/// A filter as the foreign configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignFilter {
    /// Room token; `None` = every room that has no own setting.
    pub room: Option<String>,
    /// `None` = a word list, else the alphabets.
    pub alphabets: Option<String>,
    /// The word list file, for a word filter.
    pub words_file: Option<String>,
    /// True if a message is accepted and shown to nobody, instead of refused.
    pub silent: bool,
    /// Text of the refusal.
    pub reply: Option<String>,
}

/// Settings of a foreign configuration, in the units of our own configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForeignConfig {
    /// Path or URL of the database, as written.
    pub database: Option<String>,
    /// Path of the key file, as written.
    pub key_file: Option<String>,
    /// Folder of the uploads, as written.
    pub uploads: Option<String>,
    /// Public address.
    pub base_url: Option<String>,
    /// Port to listen on.
    pub port: Option<u16>,
    /// True if blinded ids are required.
    pub require_blind: Option<bool>,
    /// Days until an upload expires; 0 = never.
    pub file_expiry_days: Option<f64>,
    /// Largest upload in bytes.
    pub file_max_bytes: Option<u64>,
    /// Days after which a user no longer counts as active.
    pub active_days: Option<f64>,
    /// Days after which activity is forgotten.
    pub active_prune_days: Option<f64>,
    /// Days until a direct message expires.
    pub dm_expiry_days: Option<f64>,
    /// Days that edited and deleted content is kept.
    pub history_days: Option<f64>,
    /// True if the index page is shown.
    pub show_index: Option<bool>,
    /// True if recent messages are shown on room pages.
    pub show_recent: Option<bool>,
    /// True if filters apply to moderators.
    pub filter_moderators: Option<bool>,
    /// Filters, global ones first.
    pub filters: Vec<ForeignFilter>,
    /// Settings that were understood and have no counterpart, for the report.
    pub ignored: Vec<String>,
}

/// Interprets a pysogs `sogs.ini`.
pub fn pysogs(text: &str) -> ForeignConfig {
    let ini = Ini::parse(text);
    let owned = |section, key| ini.get(section, key).map(str::to_owned);
    let mut config = ForeignConfig {
        database: owned("db", "url"),
        key_file: owned("crypto", "key_file"),
        uploads: owned("files", "uploads_dir"),
        base_url: owned("net", "base_url"),
        require_blind: ini.flag("users", "require_blind_keys"),
        file_expiry_days: ini.number("files", "expiry"),
        file_max_bytes: ini.get("files", "max_size").and_then(bytes),
        active_days: ini.number("rooms", "active_threshold"),
        active_prune_days: ini.number("rooms", "active_prune_threshold"),
        dm_expiry_days: ini.number("direct_messages", "expiry"),
        history_days: ini.number("messages", "history_prune_threshold"),
        show_index: ini.flag("net", "http_show_index"),
        show_recent: ini.flag("net", "http_show_recent"),
        filter_moderators: ini.flag("messages", "filter_mods"),
        ..ForeignConfig::default()
    };
    config.filters.extend(filters_of(&ini, "messages", None));
    for token in ini.sections_under("room:") {
        config
            .filters
            .extend(filters_of(&ini, &format!("room:{token}"), Some(token)));
    }
    for (section, key) in [
        ("net", "omq_listen"),
        ("net", "omq_internal"),
        ("web", "template_path"),
        ("web", "static_path"),
        ("log", "level"),
    ] {
        if let Some(value) = ini.get(section, key) {
            config.ignored.push(format!("[{section}] {key} = {value}"));
        }
    }
    config
}

fn filters_of(ini: &Ini, section: &str, room: Option<&str>) -> Vec<ForeignFilter> {
    let silent = |key| {
        ini.flag(section, key)
            .or_else(|| ini.flag("messages", key))
            .unwrap_or(true)
    };
    let mut found = Vec::new();
    if ini.flag(section, "profanity_filter") == Some(true) {
        found.push(ForeignFilter {
            room: room.map(str::to_owned),
            alphabets: None,
            words_file: ini
                .get(section, "profanity_custom")
                .or_else(|| ini.get("messages", "profanity_custom"))
                .map(str::to_owned),
            silent: silent("profanity_silent"),
            reply: reply(ini, room, &["profanity"]),
        });
    }
    if let Some(list) = ini.get(section, "alphabet_filters") {
        let names: Vec<&str> = list
            .split([',', ' ', '\n'])
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        if !names.is_empty() {
            found.push(ForeignFilter {
                room: room.map(str::to_owned),
                alphabets: Some(names.join(", ")),
                words_file: None,
                silent: silent("alphabet_silent"),
                reply: reply(ini, room, &names),
            });
        }
    }
    found
}

/// The first reply configured for this room and kind, or for `*` (`[filter:ROOM:TYPE] reply = …`).
fn reply(ini: &Ini, room: Option<&str>, kinds: &[&str]) -> Option<String> {
    let rooms = [room.unwrap_or("*"), "*"];
    let text = rooms
        .iter()
        .flat_map(|room| {
            kinds
                .iter()
                .copied()
                .chain(["alphabet", "*"])
                .map(move |kind| format!("filter:{room}:{kind}"))
        })
        .find_map(|section| ini.get(&section, "reply"))?;
    let first = text.lines().next().unwrap_or_default();
    // Placeholders of the reference (mention, name and room) do not apply to a refusal.
    Some(
        first
            .replace("\\@", "")
            .replace("\\p", "")
            .replace("\\r", room.unwrap_or(""))
            .replace("\\t", " ")
            .replace("\\n", "\n")
            .trim()
            .to_owned(),
    )
    .filter(|text| !text.is_empty())
}

/// Interprets a bunsogs `sogs.conf`: `key=value` lines without sections.
pub fn bunsogs(text: &str) -> ForeignConfig {
    let ini = Ini::parse(text);
    let owned = |key| ini.get("", key).map(str::to_owned);
    let mut config = ForeignConfig {
        base_url: owned("url"),
        port: ini.get("", "port").and_then(|port| port.parse().ok()),
        file_expiry_days: ini.number("", "expiry"),
        file_max_bytes: ini.get("", "max_size").and_then(bytes),
        active_days: ini.number("", "active_threshold"),
        active_prune_days: ini.number("", "active_prune_threshold"),
        dm_expiry_days: ini.number("", "dm_expiry"),
        history_days: ini.number("", "history_prune_threshold"),
        ..ForeignConfig::default()
    };
    if let Some(hostname) = ini.get("", "hostname") {
        config.ignored.push(format!("hostname = {hostname}"));
    }
    config
}

/// A size such as `6MB`, `512k` or `10000000`: decimal units, as both programs count.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "K" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "KIB" => 1 << 10,
        "MIB" => 1 << 20,
        _ => return None,
    };
    digits.replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_configurations_are_understood() {
        let py = pysogs(
            "[net]\nbase_url = http://sogs.example:8182\nomq_listen = tcp://127.0.0.1:22128\n[log]\nlevel = INFO\n\
             [messages]\nprofanity_filter = no\nalphabet_filters = cyrillic\n[room:news]\nalphabet_filters = persian\n",
        );
        assert_eq!(py.base_url.as_deref(), Some("http://sogs.example:8182"));
        assert_eq!(py.filters.len(), 2);
        assert_eq!(py.filters[0].alphabets.as_deref(), Some("cyrillic"));
        assert!(py.filters[0].silent && py.filters[0].room.is_none());
        assert_eq!(py.filters[1].room.as_deref(), Some("news"));
        assert_eq!(py.ignored.len(), 2);

        let bun = bunsogs(
            "port=8190\nhostname=127.0.0.1\nurl=http://127.0.0.1:8190\nexpiry=15\nmax_size = 6MB\ndm_expiry=15\n",
        );
        assert_eq!(
            (bun.port, bun.file_max_bytes, bun.dm_expiry_days),
            (Some(8190), Some(6_000_000), Some(15.0))
        );
    }

    #[test]
    fn python_forms_of_ini() {
        let ini =
            Ini::parse("; c\n[A]\nKey: value\n# c\nlong = one\n  two\n[filter:*:persian]\nreply = \"hi\"\n");
        assert_eq!(ini.get("A", "key"), Some("value"));
        assert_eq!(ini.get("A", "long"), Some("one\ntwo"));
        assert_eq!(ini.sections_under("filter:").collect::<Vec<_>>(), ["*:persian"]);
        assert_eq!(ini.get("A", "none"), None);
    }

    #[test]
    fn replies_and_silence() {
        let config = pysogs(
            "[messages]\nalphabet_filters = arabic persian\nalphabet_silent = no\nprofanity_filter = yes\nprofanity_custom = /etc/words\n\
             [filter:*:persian]\nreply = \\@ please write English in \\r\n  second\n",
        );
        assert_eq!(config.filters[0].words_file.as_deref(), Some("/etc/words"));
        assert!(config.filters[0].silent && !config.filters[1].silent);
        assert_eq!(
            config.filters[1].reply.as_deref(),
            Some("please write English in")
        );
    }
}
