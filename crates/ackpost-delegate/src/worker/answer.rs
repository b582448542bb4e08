//! The answer of a process, and the Apprise that gave it.

use serde::Deserialize;

/// The words of Apprise about it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WorkerResponse {
    /// The URL is one that this Apprise can use.
    pub(crate) loaded: bool,
    /// Apprise reported success.
    pub(crate) ok: bool,
    /// HTTP codes of the failures.
    pub(crate) codes: Vec<u16>,
    /// Some recipient may have the message although Apprise reported a failure.
    pub(crate) open: bool,
    /// The name of the service.
    pub(crate) service: String,
    /// The last warnings; they may hold secrets.
    pub(crate) lines: Vec<String>,
    /// Memory of the process.
    pub(super) kib: u64,
}

/// The Apprise that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Installed {
    /// Its version.
    pub version: String,
    /// The interpreter that runs it.
    pub python: std::path::PathBuf,
}
