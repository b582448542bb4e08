//! Result of a message at every target.

use std::time::Duration;

use crate::outcome::Outcome;
use crate::problem::Diagnostic;

/// Result of one message: one line per target, and the verdict on the whole.
#[derive(Clone, Debug)]
#[must_use = "it says which targets do not have the message; `into_result` makes a failure an error"]
#[non_exhaustive]
pub struct Report {
    /// One entry per target, in the order of the services and of their targets.
    pub targets: Vec<TargetReport>,
    /// Problems of everything that did not load, was dropped or could not be resolved (only errors; D6, D7).
    pub problems: Vec<Diagnostic>,
    /// The verdict, computed while the chains ran.
    pub status: Status,
}

impl Report {
    /// The report of a run that sends nothing.
    pub fn without_targets(status: Status, problems: Vec<Diagnostic>) -> Self {
        Self {
            targets: Vec::new(),
            problems,
            status,
        }
    }

    /// True only for a full success.
    pub fn is_success(&self) -> bool {
        self.status == Status::Success
    }

    /// Returns the number of targets that have the message.
    pub fn delivered(&self) -> usize {
        self.targets
            .iter()
            .filter(|target| target.outcome.is_delivered())
            .count()
    }
}

/// The verdict on a whole run; the numbers of Apprise's exit codes belong to the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Every required target has the message.
    Success,
    /// Nothing was delivered, or nothing could be loaded.
    Failure,
    /// Services are loaded, but none matches the tags.
    NoMatch,
    /// At least one delivery, and at least one required failure or problem.
    Partial,
    /// Nothing but time limits.
    Timeout,
}

impl Status {
    /// The upper-case word Apprise uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::NoMatch => "NOMATCH",
            Self::Partial => "PARTIAL",
            Self::Timeout => "TIMEOUT",
        }
    }
}

/// Result of a message at one target.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct TargetReport {
    /// `sogs` or `xmpp`.
    pub service: &'static str,
    /// The masked URL of the service, without parameters that have their default.
    pub url: String,
    /// The first eight digits of the service's uid.
    pub url_id: String,
    /// The tags the service carries.
    pub tags: Vec<String>,
    /// The target in full but without secrets, e.g. `sessions://open.getsession.org/lobby` or `xmpps://u@x.org → #room@conf.x.org`.
    pub target: String,
    /// The bare address, e.g. `lobby` or `#room@conf.x.org`.
    pub address: String,
    /// Outcome at the target. With several pieces: delivered only if every piece was.
    pub outcome: Outcome,
    /// Number of attempts, including the last.
    pub attempts: u32,
    /// From the first attempt's start to the end of the last.
    pub elapsed: Duration,
    /// `optional=yes`: a failure here does not count.
    pub optional: bool,
    /// Number of pieces, and number of pieces that have been accepted.
    pub pieces: Pieces,
    /// True when a time limit cut it off.
    pub timed_out: bool,
    /// Remarks that are not failures ("display name shortened", "sent again without -PLUS").
    pub notes: Vec<String>,
}

/// Pieces of one message at one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pieces {
    /// Number of pieces.
    pub total: usize,
    /// Number of pieces that the other side has.
    pub accepted: usize,
}
