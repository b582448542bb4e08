//! Something wrong with a URL or a configuration: where, why, and what to do.

use std::fmt;

/// Severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The thing works, but perhaps not as meant.
    Warning,
    /// A URL, a target or a configuration entry is not used; the run cannot be a full success.
    Error,
}

/// Difference between problems that a program has to tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// No difference that a program would act on.
    #[default]
    Other,
    /// The URL is right, but its service has no such parameter here. Apprise has it and could be handed the URL.
    UnsupportedParameter,
}

/// Something wrong with a URL or a configuration entry. No field ever holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Severity of the problem.
    pub severity: Severity,
    /// The configuration file or address, when it came from one.
    pub file: Option<String>,
    /// Line in that file, counted from 1.
    pub line: Option<u32>,
    /// Column in that line in characters, counted from 1.
    pub column: Option<u32>,
    /// The parameter or configuration key it is about.
    pub key: Option<String>,
    /// Cause, as a lower-case fragment.
    pub cause: String,
    /// Remedy: an action that a person can take.
    pub remedy: String,
    /// Kind of the problem, for programs.
    pub kind: ProblemKind,
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
            kind: ProblemKind::Other,
        }
    }

    /// Returns the error for a parameter that Apprise has and that the service does not have here.
    pub fn unsupported_parameter(service: &str, name: &str) -> Self {
        let mut problem = Self::error(
            format!("Ackpost's own {service} service has no `{name}`"),
            "remove it, or install Apprise, which has it",
        )
        .key(name);
        problem.kind = ProblemKind::UnsupportedParameter;
        problem
    }

    /// Returns true if Apprise could be handed the URL, because it has a parameter that is missing here.
    pub fn is_unsupported_parameter(&self) -> bool {
        self.kind == ProblemKind::UnsupportedParameter
    }

    /// A warning without a place.
    pub fn warning(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(cause, remedy)
        }
    }

    /// Makes one problem of all those of one URL, so that none hides the others: it names every key, cause and remedy.
    pub(crate) fn joined(mut problems: Vec<Self>) -> Self {
        // The URL is handed to a program that knows the parameter.
        if let Some(at) = problems.iter().position(Self::is_unsupported_parameter) {
            return problems.swap_remove(at);
        }
        if problems.len() == 1 {
            return problems.remove(0);
        }
        let all = |part: fn(&Self) -> Option<&str>, between: &str| {
            let mut parts: Vec<&str> = Vec::new();
            for part in problems.iter().filter_map(part) {
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
            parts.join(between)
        };
        let joined = Self::error(
            all(|problem| Some(&problem.cause), "; "),
            all(|problem| Some(&problem.remedy), "; "),
        );
        let keys = all(|problem| problem.key.as_deref(), ", ");
        if keys.is_empty() { joined } else { joined.key(keys) }
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
