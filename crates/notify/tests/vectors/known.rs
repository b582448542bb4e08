//! The lines where we differ on purpose.

use serde_json::Value;

/// One documented difference at one line.
pub(crate) struct Difference {
    /// Its number in `docs/reference/differences-from-apprise.md`.
    pub(crate) number: &'static str,
    /// What is asserted instead.
    pub(crate) check: fn(&Value) -> Result<(), String>,
}

/// The difference a line falls under.
pub(crate) fn difference(_id: &str) -> Option<Difference> {
    None
}
