//! Something wrong with a URL or a configuration: where, why, and what to do.

use std::fmt;

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The thing works, but perhaps not as meant.
    Warning,
    /// A URL, a target or a configuration entry is not used; the run cannot be a full success.
    Error,
}

/// Something wrong with a URL or a configuration entry. No field ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// The configuration file or address, when it came from one.
    pub file: Option<String>,
    /// Line in that file, counted from 1.
    pub line: Option<u32>,
    /// Column in that line in characters, counted from 1.
    pub column: Option<u32>,
    /// The parameter or configuration key it is about.
    pub key: Option<String>,
    /// What is wrong, as a lower-case fragment.
    pub cause: String,
    /// What a person can do about it.
    pub remedy: String,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: None,
            line: None,
            column: None,
            key: None,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// A warning without a place.
    pub fn warning(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(cause, remedy)
        }
    }

    /// Names the parameter or key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds the place, where none is known yet.
    pub fn at(mut self, file: Option<&str>, line: Option<u32>, column: Option<u32>) -> Self {
        if self.file.is_none() {
            self.file = file.map(str::to_owned);
        }
        if self.line.is_none() {
            self.line = line;
            self.column = column;
        }
        self
    }

    /// True when something is not used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
                if let Some(column) = self.column {
                    write!(f, "{column}:")?;
                }
            }
            f.write_str(" ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

impl std::error::Error for Diagnostic {}

/// Some of the URLs handed to [`crate::Notifier::add`] did not load; the others did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddError {
    /// How many services of the same string did load and stay loaded.
    pub loaded: usize,
    /// What is wrong with the others.
    pub problems: Vec<Diagnostic>,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AddError {}
