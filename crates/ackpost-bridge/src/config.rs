//! `bridge.toml`: every option, its default and its meaning.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::limits::Limits;

/// The commented default configuration.
pub const DEFAULT_TEXT: &str = include_str!("bridge.toml");
/// Longest configuration file, bytes.
const FILE_BYTES: u64 = 1024 * 1024;
/// Most bridges of one process.
const BRIDGES_MAX: usize = 64;

/// Everything that can be configured.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The database: a file or a URL of PostgreSQL.
    pub database: Option<String>,
    /// The file that gets the metrics.
    pub metrics_file: Option<PathBuf>,
    /// The pairs of rooms.
    #[serde(rename = "bridge")]
    pub bridges: Vec<Bridge>,
}

/// One pair of rooms.
#[derive(Clone, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// The URL of the XMPP account and room.
    pub xmpp: String,
    /// The URL of the community and room.
    pub session: String,
    /// Options.
    pub options: OptionsText,
}

/// Without the URL of the database, which may have a password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("metrics_file", &self.metrics_file)
            .field("bridges", &self.bridges)
            .finish_non_exhaustive()
    }
}

/// Without the URLs, which have a password and a seed.
impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TryFrom<toml::Table> for Bridge {
    type Error = toml::de::Error;

    fn try_from(mut table: toml::Table) -> Result<Self, Self::Error> {
        use serde::de::Error as _;
        let mut text = |key: &'static str| match table.remove(key) {
            Some(toml::Value::String(text)) => Ok(text),
            Some(_) => Err(toml::de::Error::custom(format!("`{key}` is not text"))),
            None => Err(toml::de::Error::missing_field(key)),
        };
        Ok(Self {
            name: text("name")?,
            xmpp: text("xmpp")?,
            session: text("session")?,
            options: table.try_into()?,
        })
    }
}

/// The options as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option, under its name")]
pub struct OptionsText {
    nick: String,
    people: People,
    to_session: String,
    to_xmpp: String,
    no_ping: bool,
    edits: Edits,
    deletes: Deletes,
    reactions: bool,
    replies: Replies,
    files: Files,
    max_file: String,
    private_addresses: bool,
    backfill: String,
    announce: String,
    topic: bool,
    ignore: Vec<String>,
    interval: u64,
}

impl Default for OptionsText {
    fn default() -> Self {
        Self {
            nick: "Session".into(),
            people: People::One,
            to_session: "{name}: {text}".into(),
            to_xmpp: "{name}: {text}".into(),
            no_ping: true,
            edits: Edits::Edit,
            deletes: Deletes::Both,
            reactions: true,
            replies: Replies::Native,
            files: Files::Copy,
            max_file: "10 MiB".into(),
            private_addresses: false,
            backfill: "24h".into(),
            announce: "This room is bridged to a Session community: what is said here is shown there too."
                .into(),
            topic: true,
            ignore: Vec::new(),
            interval: 4,
        }
    }
}

/// Form in which the community shows people of the XMPP room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum People {
    /// All through the identity of the bridge, with their names in the text.
    One,
    /// Each under their own identity.
    Each,
}

/// Corrections of messages that crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edits {
    /// Change the message on the other side.
    Edit,
    /// Send a line with the new text.
    Note,
    /// Drop them.
    Off,
}

/// Deletions of messages that crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deletes {
    /// Those of authors and of moderators.
    Both,
    /// Those of moderators.
    Moderators,
    /// None.
    Off,
}

/// Answers to messages that crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replies {
    /// As answers.
    Native,
    /// As a quoted line.
    Quote,
    /// As plain text.
    Off,
}

/// Files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Files {
    /// Upload them on the other side.
    Copy,
    /// Write their address.
    Link,
    /// Drop them.
    Off,
}

/// Checked options of a bridge.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option, under its name")]
pub struct Options {
    /// The nick in the XMPP room.
    pub nick: String,
    /// Form in which the community shows people of the XMPP room.
    pub people: People,
    /// The form of a message in the community.
    pub to_session: String,
    /// The form of a message in the XMPP room.
    pub to_xmpp: String,
    /// Names that are nicks on the other side are changed invisibly.
    pub no_ping: bool,
    /// Corrections.
    pub edits: Edits,
    /// Deletions.
    pub deletes: Deletes,
    /// Reactions are carried.
    pub reactions: bool,
    /// Answers.
    pub replies: Replies,
    /// Files.
    pub files: Files,
    /// Largest file, bytes.
    pub max_file: u64,
    /// Files may come from private addresses.
    pub private_addresses: bool,
    /// Maximum age of missed messages that the bridge carries.
    pub backfill: Duration,
    /// The line that tells the XMPP room about the bridge.
    pub announce: String,
    /// Topics are carried.
    pub topic: bool,
    /// People and texts that do not cross.
    pub ignore: Vec<Ignore>,
    /// Pause between two looks at the community.
    pub interval: Duration,
}

/// People and texts that do not cross.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignore {
    /// A name, on either side.
    Nick(String),
    /// A real address; `*` stands for anything.
    Jid(String),
    /// A Session ID.
    Session(String),
    /// The beginning of a text.
    Text(String),
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct ConfigError {
    place: String,
    cause: String,
    remedy: String,
}

impl ConfigError {
    fn new(place: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Remedy, as an imperative.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a valid configuration.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let bytes = ackpost_platform::read_limited(path, FILE_BYTES).map_err(|error| {
            ConfigError::new(
                place.clone(),
                error.to_string(),
                "name a file that this user may read; `ackpost bridge config` prints one",
            )
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ConfigError::new(place.clone(), "it is not UTF-8", "write it as UTF-8"))?;
        Self::parse(&text, &place)
    }

    /// Reads a text; `place` names it in errors.
    ///
    /// # Errors
    /// The text is not a valid configuration.
    pub fn parse(text: &str, place: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let message = error
                .message()
                .lines()
                .next()
                .unwrap_or("it is not TOML")
                .to_owned();
            ConfigError::new(place, message, "compare it with `ackpost bridge config`")
        })?;
        let mut config = config;
        config.metrics_file = config.metrics_file.filter(|file| !file.as_os_str().is_empty());
        config.database = config.database.filter(|database| !database.is_empty());
        config.check(place)?;
        Ok(config)
    }

    fn check(&self, place: &str) -> Result<(), ConfigError> {
        if self.bridges.len() > BRIDGES_MAX {
            return Err(ConfigError::new(
                place,
                format!("more than {BRIDGES_MAX} bridges"),
                "run several processes",
            ));
        }
        for (at, bridge) in self.bridges.iter().enumerate() {
            let valid = !bridge.name.is_empty()
                && bridge.name.len() <= 32
                && bridge
                    .name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
            if !valid {
                return Err(ConfigError::new(
                    place,
                    format!("`{}` is not a valid name of a bridge", bridge.name.escape_debug()),
                    "take 1 to 32 lower-case letters, digits, `-` and `_`",
                ));
            }
            if self.bridges[..at].iter().any(|other| other.name == bridge.name) {
                return Err(ConfigError::new(
                    place,
                    format!("two bridges have the name `{}`", bridge.name),
                    "give each its own name",
                ));
            }
            bridge.options()?;
        }
        Ok(())
    }
}

impl Bridge {
    /// Checks the options.
    ///
    /// # Errors
    /// An option has a value that it cannot have.
    pub fn options(&self) -> Result<Options, ConfigError> {
        let text = &self.options;
        let fail = |key: &str, cause: &str, remedy: &str| {
            ConfigError::new(format!("{}.{key}", self.name), cause, remedy)
        };
        for (key, form) in [("to_session", &text.to_session), ("to_xmpp", &text.to_xmpp)] {
            if form.matches("{text}").count() != 1 || form.matches("{name}").count() != 1 || form.len() > 200
            {
                return Err(fail(
                    key,
                    "it needs {name} and {text}, once each",
                    "write \"{name}: {text}\"",
                ));
            }
        }
        if text.nick.trim().is_empty()
            || text.nick.chars().count() > 32
            || text.nick.chars().any(char::is_control)
        {
            return Err(fail("nick", "it is not a valid nick", "take 1 to 32 characters"));
        }
        if !(1..=60).contains(&text.interval) {
            return Err(fail("interval", "it is out of range", "take 1 to 60 seconds"));
        }
        if text.announce.chars().count() > 500 {
            return Err(fail("announce", "it is too long", "take at most 500 characters"));
        }
        let backfill = match text.backfill.as_str() {
            "0" => Duration::ZERO,
            written => ackpost_platform::span::parse(written)
                .map_err(|error| fail("backfill", &error.to_string(), "write it as \"24h\" or \"0\""))?,
        };
        // An older message would be refused as soon as it is read.
        if backfill > Limits::default().expiry {
            return Err(fail("backfill", "it is too long", "take at most 24 hours"));
        }
        Ok(Options {
            nick: text.nick.clone(),
            people: text.people,
            to_session: text.to_session.clone(),
            to_xmpp: text.to_xmpp.clone(),
            no_ping: text.no_ping,
            edits: text.edits,
            deletes: text.deletes,
            reactions: text.reactions,
            replies: text.replies,
            files: text.files,
            max_file: size(&text.max_file).ok_or_else(|| {
                fail(
                    "max_file",
                    "it is not a size",
                    "write it as \"10 MiB\", 50 MiB at most",
                )
            })?,
            private_addresses: text.private_addresses,
            backfill,
            announce: text.announce.clone(),
            topic: text.topic,
            ignore: text
                .ignore
                .iter()
                .map(|written| {
                    ignore(written).ok_or_else(|| {
                        fail(
                            "ignore",
                            &format!("`{}` has an unknown form", written.escape_debug()),
                            "write nick:NAME, jid:PATTERN, session:ID or text:START",
                        )
                    })
                })
                .collect::<Result<_, _>>()?,
            interval: Duration::from_secs(text.interval),
        })
    }
}

fn ignore(written: &str) -> Option<Ignore> {
    let (kind, value) = written.split_once(':')?;
    let value = value.to_owned();
    if value.is_empty() {
        return None;
    }
    Some(match kind {
        "nick" => Ignore::Nick(value),
        "jid" => Ignore::Jid(value.to_lowercase()),
        "session" => Ignore::Session(value.to_lowercase()),
        "text" => Ignore::Text(value),
        _ => return None,
    })
}

/// `10 MiB`, `500 KiB` or a number of bytes; at most 50 MiB, because a file passes through memory.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=50 * 1024 * 1024).contains(&bytes).then_some(bytes)
}

impl Options {
    /// Returns true if a message of this person with this text does not cross.
    pub(crate) fn ignores(&self, name: &str, jid: Option<&str>, session: Option<&str>, text: &str) -> bool {
        self.ignore.iter().any(|ignore| match ignore {
            Ignore::Nick(nick) => nick == name,
            Ignore::Jid(pattern) => jid.is_some_and(|jid| matches(pattern, &jid.to_lowercase())),
            Ignore::Session(id) => session == Some(id.as_str()),
            Ignore::Text(start) => text.starts_with(start.as_str()),
        })
    }
}

/// Returns true if a text fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUM: &str = "[[bridge]]\nname = 'lobby'\nxmpp = 'x'\nsession = 's'\n";

    #[test]
    fn the_printed_defaults_are_the_defaults() {
        let uncommented: String = DEFAULT_TEXT
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(option) if !option.starts_with(' ') && !option.is_empty() => format!("{option}\n"),
                _ => "\n".to_owned(),
            })
            .collect();
        let printed = Config::parse(&uncommented, "printed").expect("the printed file is valid");
        let minimum = Config::parse(MINIMUM, "minimum").expect("the minimum is valid");
        let options = |config: &Config| format!("{:?}", config.bridges[0].options().expect("options"));
        assert_eq!(options(&printed), options(&minimum));
        assert_eq!(
            Config::parse(DEFAULT_TEXT, "as it is")
                .expect("valid")
                .bridges
                .len(),
            0
        );
    }

    #[test]
    fn unknown_options_and_wrong_values_are_refused_with_a_remedy() {
        for (line, cause) in [
            (
                "people = 'both'",
                "unknown variant `both`, expected `one` or `each`",
            ),
            ("persons = 'each'", "unknown field `persons`"),
            ("edits = 'perhaps'", "unknown variant `perhaps`"),
            ("max_file = '1 TiB'", "it is not a size"),
            ("to_xmpp = '{text}'", "it needs {name} and {text}"),
            ("ignore = ['everybody']", "has an unknown form"),
            ("interval = 0", "it is out of range"),
            ("backfill = 'long'", "lobby.backfill"),
            ("nick = ''", "it is not a valid nick"),
        ] {
            let error = Config::parse(&format!("{MINIMUM}{line}\n"), "test").expect_err(line);
            assert!(error.to_string().contains(cause), "{line}: {error}");
            assert!(!error.remedy().is_empty());
        }
        let twice = Config::parse(&format!("{MINIMUM}{MINIMUM}"), "test").expect_err("two of one name");
        assert!(twice.to_string().contains("two bridges have the name `lobby`"));
    }

    #[test]
    fn patterns_of_addresses() {
        for (pattern, text, fits) in [
            ("*@spam.example", "a@spam.example", true),
            ("*@spam.example", "a@spam.example.org", false),
            ("a@b", "a@b", true),
            ("a@b", "a@b/c", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
