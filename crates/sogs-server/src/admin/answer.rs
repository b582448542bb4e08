//! Results and errors of operations.

use serde::{Deserialize, Serialize};

/// Result of an operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The result for programs.
    pub data: serde_json::Value,
    /// The result for people, one line each.
    pub lines: Vec<String>,
    /// Rows that were (or with `dry_run` would be) changed.
    #[serde(default)]
    pub changed: u64,
    /// Number in the log by which it can be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<i64>,
}

impl Answer {
    /// Returns an answer that only shows something.
    pub fn show(data: impl Serialize, lines: Vec<String>) -> Self {
        Self {
            data: serde_json::to_value(data).unwrap_or_default(),
            lines,
            ..Self::default()
        }
    }
}

/// Error of an operation: its cause and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{cause}")]
pub struct AdminError {
    /// Kind of the failure.
    pub kind: AdminErrorKind,
    /// Description of the error.
    pub cause: String,
    /// Remedy, as an imperative.
    pub remedy: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminErrorKind {
    /// The request is invalid.
    Usage,
    /// There is no such room, person, message, file, filter or log entry.
    NotFound,
    /// The request would break a rule, such as banning a moderator.
    Conflict,
    /// The database or the disk failed.
    Failed,
}

impl AdminError {
    /// A request that makes no sense.
    pub fn usage(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: AdminErrorKind::Usage,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that is not there.
    pub fn not_found(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: AdminErrorKind::NotFound,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that a rule forbids.
    pub fn conflict(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: AdminErrorKind::Conflict,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// A failure of database or disk.
    pub fn failed(cause: impl std::fmt::Display) -> Self {
        Self {
            kind: AdminErrorKind::Failed,
            cause: cause.to_string(),
            remedy: "check the server's log and the free space of its folder, then try again".to_owned(),
        }
    }
}
