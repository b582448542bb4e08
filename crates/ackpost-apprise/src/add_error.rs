//! Error of a list that URLs are added to.

use std::fmt;

use ackpost_notify::Diagnostic;

/// Some of the URLs handed to [`crate::Notifier::add`] did not load; the others did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddError {
    /// Number of services of the same string that loaded and stay loaded.
    pub loaded: usize,
    /// Problems of the others.
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

impl std::error::Error for AddError {
    /// The first problem.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problems.first().map(|problem| problem as _)
    }
}
