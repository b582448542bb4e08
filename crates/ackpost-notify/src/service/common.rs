//! The parameters that every service has.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::env::Guest;
use crate::message::{Format, Overflow};
use crate::problem::Diagnostic;
use crate::queue_rules::Rules;
use crate::render::RenderOptions;
use crate::url::query::Origin;
use crate::words::{boolean_word, shown_word};

use super::param::QUEUE_PARAMETERS;
use super::reader::ParamReader;

/// The value of a parameter, typed.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// Nothing set.
    None,
    /// yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A decimal number; may be infinite or not a number where the reference accepts that.
    Float(f64),
    /// A word or text.
    Text(String),
}

impl std::fmt::Display for ParamValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Bool(yes) => f.write_str(if *yes { "yes" } else { "no" }),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => f.write_str(&crate::url::number::float_text(*number)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// One effective parameter.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name as written in a URL.
    pub name: &'static str,
    /// Its value; a secret one is `****`.
    pub value: ParamValue,
    /// Source of the value.
    pub origin: Origin,
}

/// The parameters every service has, with their effective values.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the URL, named as it is written there"
)]
pub struct CommonParams {
    /// Handling of long texts.
    pub overflow: Overflow,
    /// Format that the service is sent.
    pub format: Format,
    /// True if certificates are checked.
    pub verify: bool,
    /// True if redirects (to the same origin, D9) are followed.
    pub redirect: bool,
    /// Connect timeout in seconds, as written.
    pub cto: f64,
    /// Read timeout in seconds, as written.
    pub rto: f64,
    /// True if emoji short codes are turned into emoji.
    pub emojis: bool,
    /// True if `emojis=` was written.
    pub emojis_written: bool,
    /// Time zone (IANA name) where a time is shown.
    pub tz: Option<String>,
    /// Further attempts after the first, at most 10.
    pub retry: u32,
    /// Pause between attempts in seconds, at most 20.
    pub wait: f64,
    /// A failure does not count.
    pub optional: bool,
    /// Accepted for compatibility, no effect.
    pub store: bool,
    /// Parameters of the outbox as written ([`QUEUE_PARAMETERS`]).
    pub queue: BTreeMap<&'static str, String>,
    /// Rules for a URL that somebody else handed over.
    pub guest: Option<Guest>,
    /// Parameters of the outbox, typed.
    pub rules: Rules,
    redirect_default: bool,
    /// Formats of the service, if the message has a say in which one is sent, and whether `format=` was written.
    formats: &'static [Format],
    format_written: bool,
}

impl CommonParams {
    /// Returns the rules for a text that is written in `input`.
    pub(crate) fn rendering_of(&self, input: Option<Format>) -> RenderOptions {
        let format = match input {
            Some(input) if !self.format_written && self.formats.contains(&input) => input,
            _ => self.format,
        };
        RenderOptions {
            format,
            ..self.rendering()
        }
    }

    /// Returns the rules for texts.
    pub fn rendering(&self) -> RenderOptions {
        RenderOptions {
            format: self.format,
            overflow: self.overflow,
            emojis: self.emojis,
            emojis_written: self.emojis_written,
        }
    }

    /// Returns `cto` as a duration: at most an hour, and at most 10 s for a URL that somebody else handed over.
    pub fn connect_timeout(&self) -> Duration {
        self.capped(self.cto, GUEST_CONNECT)
    }

    /// Returns `rto` as a duration: at most an hour, and at most 15 s for a URL that somebody else handed over.
    pub fn read_timeout(&self) -> Duration {
        self.capped(self.rto, GUEST_READ)
    }

    fn capped(&self, seconds: f64, guests: Duration) -> Duration {
        let written = timeout(seconds);
        if self.guest.is_some() {
            written.min(guests)
        } else {
            written
        }
    }

    /// `wait` as a duration.
    pub fn wait(&self) -> Duration {
        Duration::try_from_secs_f64(self.wait.abs()).unwrap_or(Duration::from_millis(500))
    }

    /// Reads all of them, also behind one that is not valid: every problem is reported at once.
    pub(super) fn read(
        reader: &mut ParamReader<'_>,
        formats: &'static [Format],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let overflow = kept(reader.word("overflow", Overflow::default()), &mut problems);
        let (format, format_written) = kept(reader.format(formats), &mut problems);
        let redirect_default = reader.asset.http_redirects;
        let default_retry = reader.asset.default_retry;
        let default_wait = reader.asset.default_wait;
        let tz = kept(reader.time_zone(), &mut problems);
        let mut common = Self {
            overflow,
            format,
            verify: reader.yes_no("verify", true),
            redirect: reader.yes_no("redirect", redirect_default),
            redirect_default,
            formats,
            format_written,
            cto: reader.seconds("cto", 4.0),
            rto: reader.seconds("rto", 4.0),
            emojis_written: reader.query.get("emojis").is_some_and(|value| !value.is_empty()),
            emojis: reader.yes_no("emojis", false),
            tz,
            retry: reader.retry(default_retry),
            wait: reader.wait(default_wait),
            optional: reader.yes_no("optional", false),
            store: reader.yes_no("store", true),
            queue: BTreeMap::new(),
            guest: reader.guest(),
            rules: Rules::default(),
        };
        for param in QUEUE_PARAMETERS {
            if let Some(value) = reader.text(param.name) {
                common.queue.insert(param.name, value);
            }
        }
        if let Some(queue) = common
            .queue
            .get("queue")
            .filter(|word| boolean_word(word).is_none())
        {
            let problem = Diagnostic::error(
                format!("`{}` is neither yes nor no", shown_word(queue)),
                "write queue=yes or queue=no",
            );
            problems.push(problem.key("queue"));
        }
        let words = common.queue.iter().map(|(name, value)| (*name, value.as_str()));
        match Rules::from_words(words, common.tz.as_deref()) {
            Ok(rules) => common.rules = rules,
            Err(errors) => problems.extend(
                errors
                    .into_iter()
                    .map(|error| Diagnostic::error(error.to_string(), error.remedy).key(error.name)),
            ),
        }
        if problems.is_empty() {
            Ok(common)
        } else {
            Err(problems)
        }
    }

    /// The effective value of a common parameter or one of the outbox.
    pub(super) fn value(&self, name: &str) -> ParamValue {
        let text = |text: &str| ParamValue::Text(text.to_owned());
        match name {
            "overflow" => text(self.overflow.as_str()),
            "format" => text(self.format.as_str()),
            "verify" => ParamValue::Bool(self.verify),
            "redirect" => ParamValue::Bool(self.redirect),
            "cto" => ParamValue::Float(self.cto),
            "rto" => ParamValue::Float(self.rto),
            "emojis" => ParamValue::Bool(self.emojis),
            "tz" => self.tz.as_deref().map_or(ParamValue::None, text),
            "retry" => ParamValue::Int(i64::from(self.retry)),
            "wait" => ParamValue::Float(self.wait),
            "optional" => ParamValue::Bool(self.optional),
            "store" => ParamValue::Bool(self.store),
            name => self.queue.get(name).map_or(ParamValue::None, |value| text(value)),
        }
    }

    /// True if the canonical URL can leave the parameter out although its value is not the declared default.
    pub(super) fn is_default(&self, name: &str) -> Option<bool> {
        match name {
            "redirect" => Some(self.redirect == self.redirect_default),
            "format" if !self.formats.is_empty() => Some(!self.format_written),
            _ => None,
        }
    }
}

/// Returns the value, or the default after its problem was added.
fn kept<T: Default>(read: Result<T, Diagnostic>, problems: &mut Vec<Diagnostic>) -> T {
    read.unwrap_or_else(|problem| {
        problems.push(problem);
        T::default()
    })
}

fn timeout(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(3600.0)).unwrap_or(Duration::from_secs(4))
}

/// Longest `cto` and `rto` of a URL that somebody else handed over: its server takes up a slot of the deliveries.
pub(crate) const GUEST_CONNECT: Duration = Duration::from_secs(10);
pub(crate) const GUEST_READ: Duration = Duration::from_secs(15);
