//! The flags of `send`, which are Apprise's, and what they may hold.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use ackpost_notify::{Format, Kind};
use clap::Args;

use crate::cmd::outbox::QueueArgs;
use crate::context::{Context, Name};
use crate::exit::Exit;
use crate::usage::refuse_value;

/// What is sent, where it comes from and how long it may take.
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
    /// Print only errors: nothing when everything was delivered
    #[arg(short, long, help_heading = "Sending")]
    pub(crate) quiet: bool,
    /// Only list the services that would be notified
    #[arg(short, long, help_heading = "Sending")]
    pub(crate) dry_run: bool,
    /// List the supported services and the forms of their URLs
    #[arg(short = 'l', long, help_heading = "Sending")]
    pub(crate) details: bool,
    /// Recipients: session://, sessions://, sogs://, xmpp:// or xmpps:// URLs, or Session join links
    #[arg(value_name = "URL", help_heading = "Arguments")]
    pub(crate) urls: Vec<String>,
}

/// The message.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Message")]
pub(crate) struct ContentArgs {
    /// The message; without it, it is read from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) body: Option<String>,
    /// The title
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) title: Option<String>,
    /// A file to send along: a path, file:// or http(s)://; may be repeated
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
    /// Read \n, \t, \u2713 and the like in title and body as the characters they name
    #[arg(short = 'e', long)]
    interpret_escapes: bool,
    /// Turn :names: of emoji into emoji
    #[arg(short = 'j', long)]
    interpret_emojis: bool,
}

/// Where the services come from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct SourceArgs {
    /// A configuration file or http(s) address; may be repeated
    #[arg(short, long, value_name = "CONFIG_URL")]
    pub(crate) config: Vec<String>,
    /// Only services with this tag; "a,b" wants both, a repeated -g either, "all" every service. Without it, services without tags
    #[arg(short = 'g', long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Maximum depth of includes in configuration files (default 1)
    #[arg(short = 'R', long, value_name = "INTEGER", allow_hyphen_values = true)]
    recursion_depth: Option<String>,
    /// A value for ${NAME} in a YAML configuration; may be repeated (-tv)
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
    /// Accepted; there are no Python plugins here
    #[arg(short = 'P', long, value_name = "PATH")]
    plugin_path: Vec<String>,
    /// Accepted; these services keep nothing on disk
    #[arg(short = 'S', long, value_name = "PATH")]
    storage_path: Option<String>,
    /// Accepted; these services keep nothing on disk (-SPD)
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
    pub(crate) recursion: u32,
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
        }
    }
}

/// Seconds one service may take when nothing is said.
const SERVICE_LIMIT: Duration = Duration::from_mins(1);

/// The content flags, checked (they are those of `preview` too).
pub(crate) struct CheckedContent {
    pub(crate) kind: Kind,
    /// What `-i` says.
    pub(crate) input_format: Option<Format>,
}

impl ContentArgs {
    /// What of it is not accepted.
    pub(crate) fn check(&self, context: Context) -> Result<CheckedContent, String> {
        Ok(CheckedContent {
            kind: word("--notification-type (-n)", &self.notification_type, context)?,
            input_format: match &self.input_format {
                Some(format) => Some(word("--input-format (-i)", format, context)?),
                None => None,
            },
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
        message
    }
}

impl SourceArgs {
    /// How deep files may include others.
    pub(crate) fn recursion(&self) -> Result<u32, String> {
        let Some(text) = &self.recursion_depth else {
            return Ok(1);
        };
        let depth = integer("--recursion-depth' / '-R", text)?;
        // Below zero is as good as "no includes".
        Ok(u32::try_from(depth.max(0)).unwrap_or(u32::MAX))
    }

    /// The values for `${NAME}`.
    pub(crate) fn templates(&self) -> Result<BTreeMap<String, String>, String> {
        let mut values = BTreeMap::new();
        for given in &self.template_var {
            let (name, value) = given.split_once('=').unwrap_or((given, ""));
            let name_is_word =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !name_is_word || !given.contains('=') {
                return Err(format!(
                    "The --template-var (-tv) name '{name}' is not in the expected NAME=VALUE format."
                ));
            }
            if values.insert(name.to_uppercase(), value.to_owned()).is_some() {
                return Err(format!(
                    "The --template-var (-tv) name '{name}' was provided more than once."
                ));
            }
        }
        Ok(values)
    }
}

impl SendArgs {
    /// The flags, checked; the exit code when one is not accepted (it has been said why).
    pub(crate) fn check(&self, context: Context) -> Result<Checked, Exit> {
        self.try_check(false, context)
            .map_err(|text| refuse_value(context, &text))
    }

    /// The same under `storage`, where the days count.
    pub(crate) fn check_for_storage(&self, context: Context) -> Result<Checked, Exit> {
        self.try_check(true, context)
            .map_err(|text| refuse_value(context, &text))
    }

    fn try_check(&self, for_storage: bool, context: Context) -> Result<Checked, String> {
        let uid_length = check_storage(&self.unused, for_storage)?;
        let content = self.content.check(context)?;
        Ok(Checked {
            kind: content.kind,
            input_format: content.input_format,
            recursion: self.sources.recursion()?,
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
fn check_storage(unused: &UnusedArgs, prune: bool) -> Result<usize, String> {
    let from_environment = |variable: &str| -> Result<Option<i64>, String> {
        match std::env::var(variable) {
            Ok(text) if !text.trim().is_empty() => python_int(&text).map(Some).ok_or_else(|| {
                format!("The {variable} environment variable value of '{text}' is not a valid number.")
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
        return Err(format!(
            "The --storage-mode (-SM) value of {mode} is not supported."
        ));
    }
    if prune && days.is_some_and(|d| d < 0) {
        return Err("The --storage-prune-days (-SPD) value can not be lower than zero (0).".to_owned());
    }
    match length {
        Some(digits) if digits < 2 => {
            Err("The --storage-uid-length (-SUL) value can not be lower than two (2).".to_owned())
        }
        Some(digits) => Ok(usize::try_from(digits).unwrap_or(64).min(64)),
        None => Ok(8),
    }
}

/// One of a few words. Scripts written for Apprise find its own sentence and nothing more.
fn word<T: FromStr<Err = ackpost_notify::UnknownWord>>(
    flag: &str,
    text: &str,
    context: Context,
) -> Result<T, String> {
    text.parse().map_err(|error: ackpost_notify::UnknownWord| {
        let cause = format!("The {flag} value of {text} is not supported.");
        if context.name == Name::Apprise {
            return cause;
        }
        format!("{cause} Write one of: {}.", error.expected)
    })
}

fn integer(flag: &str, text: &str) -> Result<i64, String> {
    python_int(text).ok_or_else(|| format!("Invalid value for '{flag}': '{text}' is not a valid integer."))
}

/// A time limit; 0 means none.
fn seconds(flag: &str, text: &str) -> Result<Option<Duration>, String> {
    let compact = underscores(text.trim());
    let Some(number) = compact.and_then(|t| t.parse::<f64>().ok()) else {
        return Err(format!(
            "Invalid value for '{flag}': '{text}' is not a valid float."
        ));
    };
    if number.is_nan() || number < 0.0 {
        return Err(format!(
            "Invalid value for '{flag}': '{text}' is not a number of seconds from 0 up."
        ));
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
