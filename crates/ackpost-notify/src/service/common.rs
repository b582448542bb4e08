//! The parameters every service has, and how words become values.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::message::{Format, Overflow};
use crate::problem::Diagnostic;
use crate::queue_rules::Rules;
use crate::render::RenderOptions;
use crate::url::number::{python_float, python_int};

use super::Context;
use super::param::{ADDRESS_PARAMETERS, COMMON_PARAMETERS, Param, QUEUE_PARAMETERS, declares};

/// Where the effective value of a parameter comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nothing was written (or nothing usable).
    Default,
    /// The URL.
    Url,
    /// A key of a configuration entry or its `asset:`.
    Config,
}

impl Origin {
    /// `default`, `url` or `config`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Url => "url",
            Self::Config => "config",
        }
    }
}

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
pub struct Parameter {
    /// Its name as written in a URL.
    pub name: &'static str,
    /// Its value; a secret one is `****`.
    pub value: ParamValue,
    /// Where the value comes from.
    pub origin: Origin,
}

/// The parameters every service has, with their effective values.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the URL, named as it is written there"
)]
pub struct CommonParams {
    /// What to do with long texts.
    pub overflow: Overflow,
    /// What the service is sent.
    pub format: Format,
    /// Certificates are checked.
    pub verify: bool,
    /// Redirects (to the same origin, D9) are followed.
    pub redirect: bool,
    /// Connect timeout in seconds, as written.
    pub cto: f64,
    /// Read timeout in seconds, as written.
    pub rto: f64,
    /// Emoji short codes are turned into emoji.
    pub emojis: bool,
    /// `emojis=` was written.
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
    pub guest: Option<crate::Guest>,
    /// Parameters of the outbox, typed.
    pub rules: Rules,
    redirect_default: bool,
}

impl CommonParams {
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

    pub(super) fn read(taken: &mut Taken<'_>) -> Result<Self, Diagnostic> {
        let overflow = taken.word("overflow", Overflow::default())?;
        let format = taken.word("format", Format::default())?;
        let redirect_default = taken.context.asset.http_redirects;
        let default_retry = taken.context.asset.default_retry;
        let default_wait = taken.context.asset.default_wait;
        let tz = taken.time_zone()?;
        let mut common = Self {
            overflow,
            format,
            verify: taken.yes_no("verify", true),
            redirect: taken.yes_no("redirect", redirect_default),
            redirect_default,
            cto: taken.seconds("cto", 4.0),
            rto: taken.seconds("rto", 4.0),
            emojis_written: taken.query.get("emojis").is_some_and(|value| !value.is_empty()),
            emojis: taken.yes_no("emojis", false),
            tz,
            retry: taken.retry(default_retry),
            wait: taken.wait(default_wait),
            optional: taken.yes_no("optional", false),
            store: taken.yes_no("store", true),
            queue: BTreeMap::new(),
            guest: taken.context.env.guest(),
            rules: Rules::default(),
        };
        for param in QUEUE_PARAMETERS {
            if let Some(value) = taken.text(param.name) {
                common.queue.insert(param.name, value);
            }
        }
        if let Some(queue) = common
            .queue
            .get("queue")
            .filter(|word| boolean_word(word).is_none())
        {
            return Err(Diagnostic::error(
                format!("`{}` is neither yes nor no", shown_word(queue)),
                "write queue=yes or queue=no",
            )
            .key("queue"));
        }
        let words = common.queue.iter().map(|(name, value)| (*name, value.as_str()));
        common.rules = Rules::from_words(words, common.tz.as_deref())
            .map_err(|error| Diagnostic::error(error.to_string(), error.remedy).key(error.name))?;
        Ok(common)
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
        (name == "redirect").then_some(self.redirect == self.redirect_default)
    }
}

pub(crate) fn yes_no(yes: bool) -> String {
    (if yes { "yes" } else { "no" }).to_owned()
}

fn timeout(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(3600.0)).unwrap_or(Duration::from_secs(4))
}

/// Remedy for a file that has no other form than a path.
pub(crate) const OPERATOR_FILE: &str =
    "put the URL into a file of the operator, and name that file under `[keys]` in gateway.toml";

/// Longest `cto` and `rto` of a URL that somebody else handed over: its server takes up a slot of the deliveries.
pub(crate) const GUEST_CONNECT: Duration = Duration::from_secs(10);
pub(crate) const GUEST_READ: Duration = Duration::from_secs(15);

/// Largest `cto` and `rto` that the reference accepts, in seconds (`threading.TIMEOUT_MAX` of Python).
const LONGEST_TIMEOUT: f64 = 9_223_372_036.0;

/// Most parameters of one URL, and keys of one configuration entry. Few are ever written, so they are kept as a list.
pub(crate) const PARAMETERS: usize = 1_000;

/// The query of a URL together with the keys a configuration entry put over it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    values: Vec<Written>,
    /// Names that the URL holds more than once.
    repeated: Vec<String>,
}

#[derive(Clone, Debug)]
struct Written {
    name: String,
    value: String,
    from_config: bool,
}

impl Query {
    pub(crate) fn set(&mut self, name: String, value: String, from_config: bool) {
        let new = Written {
            name,
            value,
            from_config,
        };
        match self.values.iter_mut().find(|known| known.name == new.name) {
            Some(known) => *known = new,
            None => self.values.push(new),
        }
    }

    /// Sets a parameter as it is written in the URL; the last value of a repeated one counts.
    pub(crate) fn read(&mut self, name: String, value: String) {
        if self.find(&name).is_some() && !self.repeated.contains(&name) {
            self.repeated.push(name.clone());
        }
        self.set(name, value, false);
    }

    /// Returns the names that the URL holds more than once.
    pub(crate) fn repeated(&self) -> &[String] {
        &self.repeated
    }

    fn find(&self, name: &str) -> Option<&Written> {
        self.values.iter().find(|written| written.name == name)
    }

    /// How many parameters are written.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|written| written.value.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|written| (written.name.as_str(), written.value.as_str()))
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<(String, bool)> {
        let at = self.values.iter().position(|written| written.name == name)?;
        let written = self.values.remove(at);
        Some((written.value, written.from_config))
    }

    pub(crate) fn origin(&self, name: &str) -> Option<Origin> {
        self.find(name).map(Written::origin)
    }
}

impl Written {
    fn origin(&self) -> Origin {
        if self.from_config {
            Origin::Config
        } else {
            Origin::Url
        }
    }
}

/// Where each parameter came from that is not at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Origins(Vec<(&'static str, Origin)>);

impl Origins {
    pub(crate) fn get(&self, name: &str) -> Origin {
        let known = self.0.iter().find(|(known, _)| *known == name);
        known.map_or(Origin::Default, |(_, origin)| *origin)
    }

    fn set(&mut self, name: &'static str, origin: Origin) {
        self.remove(name);
        self.0.push((name, origin));
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| *known != name);
    }
}

/// Reads parameters out of a query one by one, notes where each came from and what was odd.
pub(crate) struct Taken<'a> {
    pub(crate) query: &'a Query,
    pub(crate) context: &'a Context,
    pub(crate) origins: Origins,
    pub(crate) warnings: Vec<Diagnostic>,
    own: &'static [Param],
}

impl<'a> Taken<'a> {
    pub(super) fn new(query: &'a Query, context: &'a Context, own: &'static [Param]) -> Self {
        Self {
            query,
            context,
            origins: Origins::default(),
            warnings: Vec::new(),
            own,
        }
    }

    /// Tables of the service, of all services, of the outbox and of the address.
    pub(super) fn tables(&self) -> [&'static [Param]; 4] {
        [self.own, COMMON_PARAMETERS, QUEUE_PARAMETERS, ADDRESS_PARAMETERS]
    }

    /// Returns the value of a declared parameter and remembers where it came from.
    fn take(&mut self, name: &'static str) -> Option<&'a str> {
        debug_assert!(
            self.tables().iter().any(|table| declares(table, name)),
            "the parameter {name} is read but not declared"
        );
        let written = self.query.find(name)?;
        self.origins.set(name, written.origin());
        Some(&written.value)
    }

    fn unused(&mut self, name: &'static str, cause: String, remedy: String) {
        self.origins.remove(name);
        self.warnings.push(Diagnostic::warning(cause, remedy).key(name));
    }

    /// Trimmed text; empty counts as not written.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?.trim();
        if value.is_empty() {
            self.origins.remove(name);
            return None;
        }
        Some(value.to_owned())
    }

    /// A path on this machine.
    pub(crate) fn local_path(&mut self, name: &'static str) -> Result<Option<String>, Diagnostic> {
        let path = self.text(name);
        if path.is_some() {
            self.context
                .env
                .refuse_foreign_file("a path on this machine", OPERATOR_FILE)
                .map_err(|problem| problem.key(name))?;
        }
        Ok(path)
    }

    /// A yes-or-no parameter. An unknown word keeps the default, with a warning (D1).
    pub(crate) fn yes_no(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.take(name) else {
            return default;
        };
        if let Some(yes) = boolean_word(value) {
            return yes;
        }
        let kept = yes_no(default);
        self.unused(
            name,
            format!("`{}` is neither yes nor no", shown_word(value)),
            format!("{name}={kept} is used; write yes or no"),
        );
        default
    }

    /// One of a few words; an unknown one keeps the default, with a warning. As the key of a configuration entry it
    /// keeps the entry from loading, as it does in the reference.
    fn word<T: std::str::FromStr<Err = crate::message::UnknownWord>>(
        &mut self,
        name: &'static str,
        default: T,
    ) -> Result<T, Diagnostic> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        match value.parse() {
            Ok(known) => Ok(known),
            Err(error) if self.query.origin(name) == Some(Origin::Config) => Err(Diagnostic::error(
                format!("`{}` is not known", shown_word(value)),
                format!("write one of: {}", error.expected),
            )
            .key(name)),
            Err(error) => {
                self.unused(
                    name,
                    format!("`{}` is not known", shown_word(value)),
                    format!("the default is used; write one of: {}", error.expected),
                );
                Ok(default)
            }
        }
    }

    fn seconds(&mut self, name: &'static str, default: f64) -> f64 {
        let Some(value) = self.take(name) else {
            return default;
        };
        // The longest wait of the reference's runtime; NaN is outside of every range.
        if let Some(number) = python_float(value).filter(|number| *number > 0.0 && *number <= LONGEST_TIMEOUT)
        {
            return number;
        }
        self.unused(
            name,
            format!("`{}` is not a usable number of seconds", shown_word(value)),
            format!("{default} s is used; write a number above 0, such as 4 or 2.5"),
        );
        default
    }

    fn retry(&mut self, default: u32) -> u32 {
        let Some(value) = self.take("retry") else {
            return default;
        };
        if value.trim().is_empty() {
            self.origins.remove("retry");
            return default;
        }
        match python_int(value) {
            Some(number) if number >= 0 => u32::try_from(number.min(10)).unwrap_or(10),
            _ => {
                self.unused(
                    "retry",
                    format!("`{}` is not a number of retries", shown_word(value)),
                    format!("{default} is used; write a whole number from 0 to 10"),
                );
                default
            }
        }
    }

    fn wait(&mut self, default: f64) -> f64 {
        let Some(value) = self.take("wait") else {
            return default;
        };
        if value.trim().is_empty() {
            self.origins.remove("wait");
            return default;
        }
        match python_float(value) {
            Some(number) if number >= 0.0 && number.is_finite() => number.min(20.0),
            _ => {
                self.unused(
                    "wait",
                    format!("`{}` is not a number of seconds", shown_word(value)),
                    format!("{default} s is used; write a number from 0 to 20"),
                );
                default
            }
        }
    }

    fn time_zone(&mut self) -> Result<Option<String>, Diagnostic> {
        let Some(value) = self.take("tz") else {
            return Ok(None);
        };
        crate::url::time_zone::find(value).map(Some).ok_or_else(|| {
            Diagnostic::error(
                format!("`{}` is no known time zone", shown_word(value)),
                "write an IANA name such as Europe/Berlin, its city, or UTC",
            )
            .key("tz")
        })
    }

    /// Notes that something was odd.
    pub(crate) fn warn(&mut self, problem: Diagnostic) {
        self.warnings.push(problem);
    }
}

/// What may be repeated of a word somebody mistyped: short and plain, else only its length (it may be a secret
/// that slipped into the wrong place).
pub(crate) fn shown_word(value: &str) -> String {
    let value = value.trim();
    if value.chars().count() <= 16
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-._:,/ ".contains(c))
    {
        value.to_owned()
    } else {
        format!("({} characters)", value.chars().count())
    }
}

/// A yes-or-no word: case does not matter; of the words marked `…` in the specification only the first two letters count.
pub(crate) fn boolean_word(value: &str) -> Option<bool> {
    let word = value.trim().to_lowercase();
    let mut chars = word.chars();
    let start: String = chars.by_ref().take(2).collect();
    match start.as_str() {
        "no" | "ne" | "fa" | "of" | "di" | "de" => Some(false),
        "ye" | "tr" | "on" | "en" | "al" => Some(true),
        _ => match word.as_str() {
            "n" | "f" | "0" => Some(false),
            "y" | "t" | "1" => Some(true),
            _ => None,
        },
    }
}
