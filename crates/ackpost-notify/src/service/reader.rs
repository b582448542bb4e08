//! Reads the parameters of a URL one by one.

use secrecy::SecretString;

use crate::asset::Asset;
use crate::env::{Environment, Guest};
use crate::message::{Format, UnknownWord};
use crate::problem::Diagnostic;
use crate::url::number::{python_float, python_int};
use crate::url::query::{Origin, Origins, Query};
use crate::words::{boolean_word, shown_word};

use super::param::{ADDRESS_PARAMETERS, COMMON_PARAMETERS, Param, QUEUE_PARAMETERS, declares};

/// Remedy for a file that has no other form than a path.
pub(crate) const OPERATOR_FILE: &str =
    "put the URL into a file of the operator, and name that file under `[keys]` in gateway.toml";

/// Largest `cto` and `rto` that the reference accepts, in seconds (`threading.TIMEOUT_MAX` of Python).
const LONGEST_TIMEOUT: f64 = 9_223_372_036.0;

/// Reads the parameters of a URL one by one, notes where each came from, and collects warnings. Only declared parameters
/// ([`ServiceKind::parameters`](super::ServiceKind)) may be read.
#[derive(Debug)]
pub struct ParamReader<'a> {
    pub(crate) query: &'a Query,
    env: &'a Environment,
    pub(super) asset: &'a Asset,
    identity: Option<&'a SecretString>,
    pub(crate) origins: Origins,
    pub(crate) warnings: Vec<Diagnostic>,
    own: &'static [Param],
}

impl<'a> ParamReader<'a> {
    pub(super) fn new(
        query: &'a Query,
        env: &'a Environment,
        asset: &'a Asset,
        identity: Option<&'a SecretString>,
        own: &'static [Param],
    ) -> Self {
        Self {
            query,
            env,
            asset,
            identity,
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

    /// Returns the rules for a URL that somebody else handed over.
    pub(super) fn guest(&self) -> Option<Guest> {
        self.env.guest()
    }

    /// Returns the seed of the identity that URLs without one send with, if the program has one.
    pub fn default_identity(&self) -> Option<&'a SecretString> {
        self.identity
    }

    /// Returns the trimmed text of a parameter. An empty one counts as not written.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?.trim();
        if value.is_empty() {
            self.origins.remove(name);
            return None;
        }
        Some(value.to_owned())
    }

    /// Returns a path on this machine.
    ///
    /// # Errors
    /// The URL was handed over by somebody else, who must not name files.
    pub fn local_path(&mut self, name: &'static str) -> Result<Option<String>, Diagnostic> {
        let path = self.text(name);
        if path.is_some() {
            self.env
                .refuse_foreign_file("a path on this machine", OPERATOR_FILE)
                .map_err(|problem| problem.key(name))?;
        }
        Ok(path)
    }

    /// Returns a yes-or-no parameter. An unknown word keeps the default, with a warning (D1).
    pub fn yes_no(&mut self, name: &'static str, default: bool) -> bool {
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
    pub(super) fn word<T: std::str::FromStr<Err = UnknownWord>>(
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

    /// Returns the format that is sent, and whether it was written. A format that the service does not have is reported.
    pub(super) fn format(&mut self, formats: &[Format]) -> Result<(Format, bool), Diagnostic> {
        let Some(default) = formats.first().copied() else {
            return Ok((self.word("format", Format::default())?, false));
        };
        let before = self.warnings.len();
        let format = self.word("format", default)?;
        let written = self.query.find("format").is_some() && self.warnings.len() == before;
        if written && !formats.contains(&format) {
            let all: Vec<_> = formats.iter().map(|format| format.as_str()).collect();
            self.unused(
                "format",
                format!("this service cannot send {format}"),
                format!("its own format is used; write one of: {}", all.join(", ")),
            );
            return Ok((default, false));
        }
        Ok((format, written))
    }

    pub(super) fn seconds(&mut self, name: &'static str, default: f64) -> f64 {
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

    pub(super) fn retry(&mut self, default: u32) -> u32 {
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

    pub(super) fn wait(&mut self, default: f64) -> f64 {
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

    pub(super) fn time_zone(&mut self) -> Result<Option<String>, Diagnostic> {
        let Some(value) = self.take("tz") else {
            return Ok(None);
        };
        crate::url::time_zone::find(value).map(Some).ok_or_else(|| {
            Diagnostic::error(
                format!("unknown time zone `{}`", shown_word(value)),
                "write an IANA name such as Europe/Berlin, its city, or UTC",
            )
            .key("tz")
        })
    }

    /// Returns one of a few words (case does not matter), or the default with a warning if it is none of them. `yes` and
    /// `no` may be written in their other forms.
    pub fn one_of<T: Copy>(&mut self, name: &'static str, default: T, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        let same = |written: &str| {
            let found = words.iter().find(|(word, _)| written.eq_ignore_ascii_case(word));
            found.map(|(_, value)| *value)
        };
        let as_boolean = || same(if boolean_word(&text)? { "yes" } else { "no" });
        if let Some(value) = same(&text).or_else(as_boolean) {
            return value;
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.warn(
            Diagnostic::warning(
                format!("`{}` is not known", shown_word(&text)),
                format!("the default is used; write one of: {}", all.join(", ")),
            )
            .key(name),
        );
        default
    }

    /// Adds a warning. An error among the warnings keeps a run from being a full success, such as for a target that is
    /// dropped.
    pub fn warn(&mut self, problem: Diagnostic) {
        self.warnings.push(problem);
    }
}

pub(crate) fn yes_no(yes: bool) -> String {
    (if yes { "yes" } else { "no" }).to_owned()
}
