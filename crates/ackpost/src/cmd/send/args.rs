//! The flags of `send`, which are Apprise's, and their allowed values.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use ackpost_notify::{Foreign, Format, Kind, Signs};
use clap::Args;

use crate::cmd::outbox::QueueArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::usage::{BadValue, refuse_value};

/// Message, services and time limits.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) content: ContentArgs,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    unused: UnusedArgs,
    /// Send to one service after another instead of to all at once (-Da)
    #[arg(long, help_heading = "Sending")]
    pub(crate) disable_async: bool,
    /// Count a message without proof of delivery as a failure
    #[arg(long, help_heading = "Sending")]
    pub(crate) require_proof: bool,
    /// Print only errors: nothing when everything was delivered
    #[arg(short, long, help_heading = "Sending")]
    pub(crate) quiet: bool,
    /// List the services, and send nothing
    #[arg(short, long, help_heading = "Sending")]
    pub(crate) dry_run: bool,
    /// List the supported services and the forms of their URLs
    #[arg(short = 'l', long, help_heading = "Sending")]
    pub(crate) details: bool,
    /// Recipients: URLs such as xmpps:// and sessions://, Session join links, URLs of Apprise
    #[arg(value_name = "URL", help_heading = "Arguments")]
    pub(crate) urls: Vec<String>,
}

/// The message.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Message")]
pub(crate) struct ContentArgs {
    /// Text of the message (default: standard input)
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) body: Option<String>,
    /// Title of the message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) title: Option<String>,
    /// File to attach: a path, file:// or http(s)://; may be repeated
    #[arg(short, long, value_name = "ATTACHMENT_URL")]
    pub(crate) attach: Vec<String>,
    /// Type of the message: info, success, warning or failure
    #[arg(
        short,
        long,
        value_name = "TYPE",
        default_value = "info",
        hide_default_value = true
    )]
    notification_type: String,
    /// Format of the message: text, markdown or html (default: `body_format` of a configuration, else text)
    #[arg(short, long, value_name = "FORMAT")]
    input_format: Option<String>,
    /// Replace escapes such as \n, \t and \u2713 in title and body by their characters
    #[arg(short = 'e', long)]
    interpret_escapes: bool,
    /// Replace :names: of emoji by emoji
    #[arg(short = 'j', long)]
    interpret_emojis: bool,
    /// Show the type by a sign before the title: "default" (success, warning, failure), or signs such as "failure=STOP,info=i";
    /// ACKPOST_SIGNS does the same
    #[arg(long, value_name = "SIGNS")]
    signs: Option<String>,
}

/// Sources of services.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct SourceArgs {
    /// Configuration file or http(s) address; may be repeated
    #[arg(short, long, value_name = "CONFIG_URL")]
    pub(crate) config: Vec<String>,
    /// Only services with this tag (default: services without tags). "a,b" wants both, a repeated -g either, "all" every service
    #[arg(short = 'g', long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Maximum depth of includes in configuration files (default 1)
    #[arg(short = 'R', long, value_name = "INTEGER", allow_hyphen_values = true)]
    recursion_depth: Option<String>,
    /// Entries of other services such as Discord: hand them to an installed Apprise (default), skip them, or fail
    #[arg(long, value_name = "apprise|skip|fail")]
    foreign: Option<String>,
    /// Value for ${NAME} in a YAML configuration; may be repeated (-tv)
    #[arg(long, value_name = "NAME=VALUE")]
    template_var: Vec<String>,
}

/// Time limits.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Time limits")]
struct LimitArgs {
    /// Give up on the whole run after this many seconds (0: no limit)
    #[arg(short = 'L', long, value_name = "SECONDS", allow_hyphen_values = true)]
    limit: Option<String>,
    /// Give up on one service after this many seconds (default 60, 0: no limit) (-SL)
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    service_limit: Option<String>,
}

/// Options that Apprise needs for services that are not here.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Accepted for scripts written for Apprise")]
struct UnusedArgs {
    /// Accepted without effect: there are no Python plugins
    #[arg(short = 'P', long, value_name = "PATH")]
    plugin_path: Vec<String>,
    /// Accepted without effect: these services keep nothing on disk
    #[arg(short = 'S', long, value_name = "PATH")]
    storage_path: Option<String>,
    /// Accepted without effect: these services keep nothing on disk (-SPD)
    #[arg(long, value_name = "INTEGER", allow_hyphen_values = true)]
    storage_prune_days: Option<String>,
    /// Number of digits of the ids a dry run shows (default 8) (-SUL)
    #[arg(long, value_name = "INTEGER", allow_hyphen_values = true)]
    storage_uid_length: Option<String>,
    /// Accepted: auto, flush or memory (-SM)
    #[arg(long, value_name = "MODE")]
    storage_mode: Option<String>,
    /// Accepted; these services show no pictures
    #[arg(short = 'T', long, value_name = "THEME")]
    theme: Option<String>,
}

/// The flags, checked.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) kind: Kind,
    pub(crate) input_format: Option<Format>,
    pub(crate) signs: Option<Signs>,
    pub(crate) recursion: u32,
    pub(crate) foreign: Option<Foreign>,
    pub(crate) templates: BTreeMap<String, String>,
    /// `None`: no limit.
    pub(crate) limit: Option<Duration>,
    /// `None`: no limit.
    pub(crate) service_limit: Option<Duration>,
    pub(crate) uid_length: usize,
}

impl Checked {
    /// The part that concerns the message.
    pub(crate) fn content(&self) -> CheckedContent {
        CheckedContent {
            kind: self.kind,
            input_format: self.input_format,
            signs: self.signs.clone(),
        }
    }
}

/// Time limit for one service by default.
const SERVICE_LIMIT: Duration = Duration::from_mins(1);

/// The content flags, checked (they are those of `preview` too).
pub(crate) struct CheckedContent {
    pub(crate) kind: Kind,
    /// Format given with `-i`.
    pub(crate) input_format: Option<Format>,
    /// Signs of the types, if they are shown.
    pub(crate) signs: Option<Signs>,
}

impl ContentArgs {
    /// Checks the content flags.
    pub(crate) fn check(&self) -> Result<CheckedContent, BadValue> {
        Ok(CheckedContent {
            kind: word("--notification-type (-n)", &self.notification_type)?,
            input_format: match &self.input_format {
                Some(format) => Some(word("--input-format (-i)", format)?),
                None => None,
            },
            signs: signs(self.signs.as_deref()).map_err(BadValue::of_ours)?,
        })
    }

    /// The message these flags describe, with this body. `asset` holds the format of a configuration, for where no flag
    /// names one.
    pub(crate) fn message(
        &self,
        checked: &CheckedContent,
        asset: &ackpost_notify::Asset,
        body: String,
    ) -> ackpost_notify::Message {
        let mut message = ackpost_notify::Message::new(body)
            .title(self.title.clone().unwrap_or_default())
            .kind(checked.kind)
            .input_format(checked.input_format.or(asset.body_format).unwrap_or(Format::Text))
            .escapes(self.interpret_escapes)
            .emojis(self.interpret_emojis.then_some(true));
        for file in &self.attach {
            message = message.attach(ackpost_notify::Attachment::parse(file));
        }
        if let Some(signs) = &checked.signs {
            signs.add(&mut message);
        }
        message
    }
}

/// The signs of an option, else of `ACKPOST_SIGNS`.
pub(crate) fn signs(option: Option<&str>) -> Result<Option<Signs>, String> {
    const VARIABLE: &str = "ACKPOST_SIGNS";
    let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let (name, text) = match (option, &variable) {
        (Some(text), _) => ("--signs", text),
        (None, Some(text)) => (VARIABLE, text.as_str()),
        (None, None) => return Ok(None),
    };
    let signs = text.parse().map_err(|cause| format!("{name}: {cause}"));
    signs.map(Some)
}

impl SourceArgs {
    /// Returns the depth to which files may include others.
    pub(crate) fn recursion(&self) -> Result<u32, BadValue> {
        let Some(text) = &self.recursion_depth else {
            return Ok(1);
        };
        let depth = integer("--recursion-depth' / '-R", text)?;
        // Below zero is as good as "no includes".
        Ok(u32::try_from(depth.max(0)).unwrap_or(u32::MAX))
    }

    /// Returns the rule for entries of other services; `None` leaves it to the configuration.
    pub(crate) fn foreign(&self) -> Result<Option<Foreign>, BadValue> {
        let read = |word: &String| {
            word.parse::<Foreign>().map_err(|error| {
                BadValue::the(&format!("--foreign value of {word} is not supported"))
                    .with_remedy(&format!("write one of: {}", error.expected), true)
            })
        };
        self.foreign.as_ref().map(read).transpose()
    }

    /// The values for `${NAME}`.
    pub(crate) fn templates(&self) -> Result<BTreeMap<String, String>, BadValue> {
        let mut values = BTreeMap::new();
        for given in &self.template_var {
            let (name, value) = given.split_once('=').unwrap_or((given, ""));
            let name_is_word =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !name_is_word || !given.contains('=') {
                return Err(BadValue::the(&format!(
                    "--template-var (-tv) name '{name}' is not in the expected NAME=VALUE format"
                )));
            }
            if values.insert(name.to_uppercase(), value.to_owned()).is_some() {
                return Err(BadValue::the(&format!(
                    "--template-var (-tv) name '{name}' was provided more than once"
                )));
            }
        }
        Ok(values)
    }
}

impl SendArgs {
    /// The flags, checked; the exit code when one is not accepted (it has been said why).
    pub(crate) fn check(&self, context: Context) -> Result<Checked, Exit> {
        self.try_check(false)
            .map_err(|value| refuse_value(context, value))
    }

    /// The same under `storage`, where the days count.
    pub(crate) fn check_for_storage(&self, context: Context) -> Result<Checked, Exit> {
        self.try_check(true).map_err(|value| refuse_value(context, value))
    }

    fn try_check(&self, for_storage: bool) -> Result<Checked, BadValue> {
        let uid_length = check_storage(&self.unused, for_storage)?;
        let content = self.content.check()?;
        Ok(Checked {
            kind: content.kind,
            signs: content.signs,
            input_format: content.input_format,
            recursion: self.sources.recursion()?,
            foreign: self.sources.foreign()?,
            templates: self.sources.templates()?,
            limit: match &self.limits.limit {
                None => None,
                Some(text) => seconds("--limit' / '-L", text)?,
            },
            service_limit: match &self.limits.service_limit {
                None => Some(SERVICE_LIMIT),
                Some(text) => seconds("--service-limit' / '-SL", text)?,
            },
            uid_length,
        })
    }
}

/// Checks what concerns Apprise's storage, environment before flags; the number of digits of ids.
fn check_storage(unused: &UnusedArgs, prune: bool) -> Result<usize, BadValue> {
    let from_environment = |variable: &str| -> Result<Option<i64>, BadValue> {
        match std::env::var(variable) {
            Ok(text) if !text.trim().is_empty() => python_int(&text).map(Some).ok_or_else(|| {
                BadValue::the(&format!(
                    "{variable} environment variable value of '{text}' is not a valid number"
                ))
            }),
            _ => Ok(None),
        }
    };
    let given = |flag: &str, text: &Option<String>| text.as_deref().map(|t| integer(flag, t)).transpose();
    let days = given("--storage-prune-days' / '-SPD", &unused.storage_prune_days)?;
    let length = given("--storage-uid-length' / '-SUL", &unused.storage_uid_length)?;
    let days = from_environment("APPRISE_STORAGE_PRUNE_DAYS").map(|set| days.or(set))?;
    let length = from_environment("APPRISE_STORAGE_UID_LENGTH").map(|set| length.or(set))?;
    if let Some(mode) = &unused.storage_mode
        && !["auto", "flush", "memory"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(mode.trim()))
    {
        return Err(BadValue::the(&format!(
            "--storage-mode (-SM) value of {mode} is not supported"
        )));
    }
    if prune && days.is_some_and(|d| d < 0) {
        return Err(BadValue::the(
            "--storage-prune-days (-SPD) value can not be lower than zero (0)",
        ));
    }
    match length {
        Some(digits) if digits < 2 => Err(BadValue::the(
            "--storage-uid-length (-SUL) value can not be lower than two (2)",
        )),
        Some(digits) => Ok(usize::try_from(digits).unwrap_or(64).min(64)),
        None => Ok(8),
    }
}

/// One of a few words. Scripts written for Apprise find its own sentence and nothing more.
fn word<T: FromStr<Err = ackpost_notify::UnknownWord>>(flag: &str, text: &str) -> Result<T, BadValue> {
    text.parse().map_err(|error: ackpost_notify::UnknownWord| {
        BadValue::the(&format!("{flag} value of {text} is not supported"))
            .with_remedy(&format!("write one of: {}", error.expected), false)
    })
}

fn integer(flag: &str, text: &str) -> Result<i64, BadValue> {
    python_int(text).ok_or_else(|| BadValue::invalid(flag, text, ["a valid integer", "a whole number"]))
}

/// A time limit; 0 means none.
fn seconds(flag: &str, text: &str) -> Result<Option<Duration>, BadValue> {
    let compact = underscores(text.trim());
    let Some(number) = compact.and_then(|t| t.parse::<f64>().ok()) else {
        return Err(BadValue::invalid(flag, text, ["a valid float", "a number"]));
    };
    if number.is_nan() || number < 0.0 {
        let wanted = "a number of seconds from 0 up";
        return Err(BadValue::invalid(flag, text, [wanted, wanted]));
    }
    // More than the clock holds is as good as no limit.
    Ok(Duration::try_from_secs_f64(number)
        .ok()
        .filter(|limit| !limit.is_zero()))
}

fn python_int(text: &str) -> Option<i64> {
    let text = underscores(text.trim())?;
    text.strip_prefix('+')
        .filter(|t| !t.starts_with('-'))
        .unwrap_or(&text)
        .parse()
        .ok()
}

/// Digits may be grouped: `1_000`.
fn underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (i, b) in bytes.iter().enumerate() {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        if *b == b'_' && !(digit(i.checked_sub(1)) && digit(Some(i + 1))) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_what_they_say() {
        let ok = |text| seconds("-L", text).expect("a number");
        assert_eq!(ok("2.5"), Some(Duration::from_millis(2500)));
        assert_eq!(ok("1e2"), Some(Duration::from_secs(100)));
        assert_eq!(ok("1_0"), Some(Duration::from_secs(10)));
        assert_eq!((ok("0"), ok("inf")), (None, None));
        for bad in ["-1", "nan", "x", "", "_1"] {
            assert!(seconds("-L", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn template_values_need_names() {
        let args = |given: &[&str]| SourceArgs {
            template_var: given.iter().map(|&g| g.to_owned()).collect(),
            ..SourceArgs::default()
        };
        assert_eq!(args(&["room=a=b"]).templates().expect("good")["ROOM"], "a=b");
        assert!(args(&["room=a", "ROOM=b"]).templates().is_err());
        assert!(args(&["room"]).templates().is_err() && args(&["1 room=a"]).templates().is_err());
    }
}
