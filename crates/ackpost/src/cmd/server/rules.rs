//! `ackpost server filter|settings|raid|log|undo …`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use sogs_server::admin::Operation;
use sogs_server::model::filter::{FilterAction, FilterKind};
use sogs_server::model::rules::RULES;

use super::which::{WhenArgs, moment, range};
use super::{At, ParsedOperation, span};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// The largest file that is read for a pattern, bytes.
const PATTERN_FILE_BYTES: u64 = 1 << 20;

/// Kind of a filter.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindArg {
    /// Words or phrases; * stands for any letters
    Words,
    /// A regular expression
    Regex,
    /// Letters of a script: cyrillic, arabic, persian, han, …
    Alphabet,
    /// Links; the pattern lists hosts that stay allowed
    Links,
    /// Attachments; the pattern lists content types that stay allowed (image/*)
    Attachments,
}

impl From<KindArg> for FilterKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Words => Self::Words,
            KindArg::Regex => Self::Regex,
            KindArg::Alphabet => Self::Alphabet,
            KindArg::Links => Self::Links,
            KindArg::Attachments => Self::Attachments,
        }
    }
}

/// Commands about filters.
#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// List all filters
    List(At),
    /// Add a filter, which is active at once
    Add(FilterAddArgs),
    /// Remove a filter
    Remove {
        #[command(flatten)]
        at: At,
        /// Number of the filter
        id: i64,
    },
    /// Show which filters match a text
    Test {
        #[command(flatten)]
        at: At,
        /// The text of a message
        text: String,
        /// With the filters of this room
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
    },
}

/// Words of `filter add`.
#[derive(Debug, Args)]
pub(crate) struct FilterAddArgs {
    #[command(flatten)]
    at: At,
    /// Kind of the filter
    #[arg(value_enum)]
    kind: KindArg,
    /// The list or pattern, in the form of its kind
    #[arg(default_value = "")]
    pattern: String,
    /// Read the list from a file, one entry a line
    #[arg(long, value_name = "FILE", conflicts_with = "pattern")]
    file: Option<PathBuf>,
    /// Only in this room; without it, everywhere
    #[arg(long, value_name = "TOKEN")]
    room: Option<String>,
    /// Accept the post without showing it, instead of refusing it
    #[arg(long)]
    hide: bool,
    /// Text of the refusal
    #[arg(long, value_name = "TEXT", conflicts_with = "hide")]
    reply: Option<String>,
}

impl FilterCommand {
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List(at) => (at, Operation::FilterList),
            Self::Add(args) => (&args.at, args.operation()?),
            Self::Remove { at, id } => (at, Operation::FilterRemove { id: *id }),
            Self::Test { at, text, room } => (
                at,
                Operation::FilterTest {
                    room: room.clone(),
                    text: text.clone(),
                },
            ),
        })
    }
}

/// The pattern in a file; how long one may be, the community says.
fn pattern(path: &Path) -> std::io::Result<String> {
    let bytes = ackpost_platform::read_limited(path, PATTERN_FILE_BYTES)?;
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

impl FilterAddArgs {
    fn operation(&self) -> Result<Operation, Failure> {
        let pattern = match &self.file {
            None => self.pattern.clone(),
            Some(path) => pattern(path).map_err(|error| {
                Failure::new(
                    format!("{} cannot be read: {error}", path.display()),
                    "check the path; the file must be text in UTF-8",
                )
            })?,
        };
        Ok(Operation::FilterAdd {
            room: self.room.clone(),
            kind: self.kind.into(),
            pattern,
            action: if self.hide {
                FilterAction::Hide
            } else {
                FilterAction::Reject
            },
            reply: self.reply.clone(),
        })
    }
}

/// Commands about rules.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// List rules that are set
    List {
        #[command(flatten)]
        at: At,
        /// Of this room only
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
    },
    /// List every rule with its unit, default and meaning
    Names,
    /// Set a rule
    Set {
        #[command(flatten)]
        at: At,
        /// Name of the rule
        name: String,
        /// Its value
        value: String,
        /// For this room only; without it, for all rooms
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
    },
    /// Clear a rule
    Clear {
        #[command(flatten)]
        at: At,
        /// Name of the rule
        name: String,
        /// For this room only
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
    },
}

impl SettingsCommand {
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List { at, room } => (at, Operation::SettingList { room: room.clone() }),
            Self::Set {
                at,
                name,
                value,
                room,
            } => (
                at,
                Operation::SettingSet {
                    room: room.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                },
            ),
            Self::Clear { at, name, room } => (
                at,
                Operation::SettingSet {
                    room: room.clone(),
                    name: name.clone(),
                    value: None,
                },
            ),
            Self::Names => {
                return Err(Failure::usage(
                    "`settings names` asks no server",
                    "run it without --dir",
                ));
            }
        })
    }
}

/// Prints the table of rules.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every family of commands is asked the same way"
)]
pub(crate) fn names(context: Context) -> Done {
    if context.json {
        for rule in RULES {
            output::json(&serde_json::json!({
                "name": rule.name, "unit": rule.unit, "default": rule.default, "scope": rule.scope, "text": rule.text.trim(),
            }));
        }
        return Ok(Exit::Success);
    }
    for rule in RULES {
        output::line(&format!(
            "{:<20} {} (default: {})",
            rule.name, rule.unit, rule.default
        ));
        output::line(&format!("{:<20} {}", "", rule.text.trim()));
    }
    Ok(Exit::Success)
}

/// Commands about raid mode.
#[derive(Debug, Subcommand)]
pub(crate) enum RaidCommand {
    /// Show where raid mode is on
    Status(At),
    /// Switch raid mode on: new accounts can only read
    On {
        #[command(flatten)]
        at: At,
        /// Only in this room; without it, everywhere
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
        /// End after a time: 15m, 12h, 7d
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        seconds: Option<f64>,
        /// Also treat identities first seen within this time before now as new
        #[arg(long, value_name = "SPAN", value_parser = span)]
        reach_back: Option<f64>,
    },
    /// Delete posts, reactions, files and direct messages of all accounts first seen since a time
    Sweep {
        #[command(flatten)]
        at: At,
        /// First seen from this time on: a length before now (15m, 2h) or a time (2026-11-29T18:00:00Z)
        #[arg(long, value_name = "TIME", value_parser = moment)]
        since: f64,
        /// First seen before this time; without it, now
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<f64>,
        /// Only in this room, without direct messages; by default everywhere
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
        /// Ban these accounts too, from the server or from the room of --room
        #[arg(long)]
        ban: bool,
        /// End the bans after a time: 12h, 7d
        #[arg(long = "for", value_name = "SPAN", value_parser = span, requires = "ban")]
        seconds: Option<f64>,
    },
    /// Switch raid mode off: everybody may write again
    Off {
        #[command(flatten)]
        at: At,
        /// In this room; without it, on the whole server
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
    },
}

impl RaidCommand {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every family of commands is asked the same way"
    )]
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::Status(at) => (at, Operation::RaidList),
            Self::On {
                at,
                room,
                seconds,
                reach_back,
            } => (
                at,
                Operation::RaidOn {
                    room: room.clone(),
                    seconds: *seconds,
                    reach_back: reach_back.unwrap_or(0.0),
                },
            ),
            Self::Sweep {
                at,
                since,
                until,
                room,
                ban,
                seconds,
            } => (
                at,
                Operation::RaidSweep {
                    room: room.clone(),
                    since: *since,
                    until: *until,
                    ban: *ban,
                    seconds: *seconds,
                },
            ),
            Self::Off { at, room } => (at, Operation::RaidOff { room: room.clone() }),
        })
    }
}

/// Words of `log`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    pub(crate) at: At,
    /// Maximum number of results
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Only of this room
    #[arg(long, value_name = "TOKEN")]
    room: Option<String>,
    /// Only by this actor: a person (a session id, a short id, a display name, the number of a message), operator:NAME or
    /// server
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only entries by or about this person (a session id, a short id, `name:TEXT`), or about this object, such as the number
    /// of a message
    #[arg(long)]
    target: Option<String>,
    #[command(flatten)]
    when: WhenArgs,
}

impl LogArgs {
    pub(crate) fn operation(&self) -> Operation {
        Operation::LogList {
            limit: self.limit,
            room: self.room.clone(),
            actor: self.actor.clone(),
            target: self.target.clone(),
            since: self.when.since,
            until: self.when.until,
        }
    }
}

/// Words of `undo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) at: At,
    /// Numbers in the log, or ranges: 17 20-25; without any, the latest entry that can be undone
    #[arg(value_name = "NUMBERS", value_parser = range)]
    ids: Vec<(i64, i64)>,
    /// All entries of this actor: a person (a session id, a short id, a display name, the number of a message), operator:NAME or server
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only entries of this room
    #[arg(long, value_name = "TOKEN")]
    room: Option<String>,
    #[command(flatten)]
    when: WhenArgs,
}

impl UndoArgs {
    pub(crate) fn operation(&self) -> Operation {
        let plain = self.actor.is_none()
            && self.room.is_none()
            && self.when.since.is_none()
            && self.when.until.is_none();
        match self.ids[..] {
            [] if plain => Operation::Undo { id: None },
            [(first, last)] if plain && first == last => Operation::Undo { id: Some(first) },
            _ => Operation::UndoMany {
                ranges: self.ids.clone(),
                actor: self.actor.clone(),
                room: self.room.clone(),
                since: self.when.since,
                until: self.when.until,
            },
        }
    }
}
