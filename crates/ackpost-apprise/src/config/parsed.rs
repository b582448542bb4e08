//! Content of one text before its includes are followed.

use ackpost_notify::Diagnostic;

use crate::entry::Entry;

/// Grammar of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// One URL a line.
    Text,
    /// YAML.
    Yaml,
}

impl Syntax {
    pub(super) fn word(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "yaml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// Content of one text before its includes are followed.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) entries: Vec<Entry>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) includes: Vec<Include>,
}

/// One include, and where it is written.
#[derive(Debug)]
pub(super) struct Include {
    pub(super) location: String,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}
