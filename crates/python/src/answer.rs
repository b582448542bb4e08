//! Results on their way to Python.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde_json::{Value, json};

/// The result of a call: JSON, and perhaps bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) bytes: Option<Vec<u8>>,
}

/// A failed call, as the classes of `ackpost.errors` take it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `config`, `refused`, `deferred`, `partial`, `doubt`, `outbox` or `internal`.
    pub(crate) kind: &'static str,
    pub(crate) cause: String,
    pub(crate) remedy: String,
    /// Seconds.
    pub(crate) retry_after: Option<f64>,
}

impl Failure {
    pub(crate) fn config(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: "config",
            cause: cause.into(),
            remedy: remedy.into(),
            retry_after: None,
        }
    }
}

impl From<ackpost_notify::Diagnostic> for Failure {
    fn from(problem: ackpost_notify::Diagnostic) -> Self {
        Self::config(problem.cause, problem.remedy)
    }
}

impl Answer {
    /// A value under `ok`.
    pub(crate) fn ok(value: &impl Serialize) -> Self {
        let text = serde_json::to_string(&json!({ "ok": value }));
        Self {
            text: text.unwrap_or_else(|_| r#"{"ok":null}"#.to_owned()),
            bytes: None,
        }
    }

    /// A failure under `error`.
    pub(crate) fn error(failure: &Failure) -> Self {
        let error = json!({
            "kind": failure.kind, "cause": failure.cause, "remedy": failure.remedy, "retry_after": failure.retry_after,
        });
        Self {
            text: json!({ "error": error }).to_string(),
            bytes: None,
        }
    }

    /// The end of a task that panicked.
    pub(crate) fn broken() -> Self {
        Self::error(&Failure {
            kind: "internal",
            cause: "the native part of Ackpost failed with an internal error".to_owned(),
            remedy: "report the message on standard error".to_owned(),
            retry_after: None,
        })
    }

    /// As Python gets it.
    pub(crate) fn into_python(self, py: Python<'_>) -> (String, Option<Bound<'_, PyBytes>>) {
        let bytes = self.bytes.map(|bytes| PyBytes::new(py, &bytes));
        (self.text, bytes)
    }
}

impl<T: Serialize> From<Result<T, Failure>> for Answer {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(value) => Self::ok(&value),
            Err(failure) => Self::error(&failure),
        }
    }
}

/// Reads the arguments of a call.
pub(crate) fn arguments<T: serde::de::DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(|cause| pyo3::exceptions::PyValueError::new_err(cause.to_string()))
}

/// Seconds as JSON, `null` for none.
pub(crate) fn seconds(duration: Option<std::time::Duration>) -> Value {
    duration.map_or(Value::Null, |duration| json!(duration.as_secs_f64()))
}
