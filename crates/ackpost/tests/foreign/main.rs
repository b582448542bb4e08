//! Entries of other services: handed to a real Apprise, skipped, or refused. The reports about them are true.

mod chosen;
mod outcomes;
mod queued;
#[path = "../support/mod.rs"]
mod support;
mod worker;

use serde_json::Value;

use crate::support::apprise::installed;
use crate::support::{Program, Ran};

/// Versions of Apprise that are tested against.
pub(crate) const VERSIONS: [&str; 4] = ["1.2.0", "1.9.7", "2.2.0", "2.3.0"];
/// The services that are not left to Apprise: the sink is reached through its `json://`.
pub(crate) const NATIVE: &str = "xmpp,session";
/// The newest of them.
pub(crate) const NEWEST: &str = "2.3.0";

/// The program with this version of Apprise.
pub(crate) fn program(version: &str) -> Program {
    Program::new()
        .env("ACKPOST_APPRISE", installed(version).display().to_string())
        .env("ACKPOST_NATIVE", NATIVE)
}

/// Returns the outcome of each target, and what confirmed it.
pub(crate) fn outcomes(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (ran.json().iter())
        .map(|one| (text(&one["outcome"]), text(&one["confirmed_by"])))
        .collect()
}
