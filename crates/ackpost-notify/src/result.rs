//! Reports as results, text and JSON.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::message::Message;
use crate::outcome::Outcome;
use crate::report::{Report, Status, TargetReport};

/// Error of [`Report::into_result`]: not every required target has the message as it was asked for.
#[derive(Clone, Debug)]
pub struct NotDelivered {
    report: Box<Report>,
}

impl NotDelivered {
    /// Returns the whole report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns true if the same attempt would fail again.
    pub fn is_permanent(&self) -> bool {
        !self
            .missed()
            .any(|target| matches!(target.outcome, Outcome::Deferred { .. }))
    }

    /// Returns the longest time that a target asked to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        let asked = self.missed().filter_map(|target| match target.outcome {
            Outcome::Deferred { retry_after, .. } => retry_after,
            _ => None,
        });
        asked.max()
    }

    fn missed(&self) -> impl Iterator<Item = &TargetReport> {
        let targets = self.report.targets.iter();
        targets.filter(|target| !target.optional && !target.outcome.is_delivered())
    }
}

impl fmt::Display for NotDelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes: Vec<String> = self
            .missed()
            .map(|target| format!("{}: {}", target.target, target.outcome))
            .collect();
        causes.extend(self.report.problems.iter().map(ToString::to_string));
        if causes.is_empty() {
            causes.push("no service matches".to_owned());
        }
        write!(
            f,
            "the message was not delivered to every target: {}",
            causes.join(". ")
        )
    }
}

impl std::error::Error for NotDelivered {}

/// Success of [`Report::into_result`]: every required target has the message. Unlike the report, it may be dropped unread.
#[derive(Clone, Debug)]
pub struct AllDelivered {
    report: Box<Report>,
}

impl AllDelivered {
    /// Returns the whole report.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl fmt::Display for AllDelivered {
    /// A line for each target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

impl Report {
    /// Returns [`AllDelivered`] if every required target has the message.
    ///
    /// # Errors
    /// [`NotDelivered`], which has the cause and the remedy for each of the others.
    pub fn into_result(self) -> Result<AllDelivered, NotDelivered> {
        if self.is_success() {
            Ok(AllDelivered {
                report: Box::new(self),
            })
        } else {
            Err(NotDelivered {
                report: Box::new(self),
            })
        }
    }
}

impl fmt::Display for Outcome {
    /// The word of the outcome; then the proof and the id, or the cause and the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Delivered { confirmed_by, id } => {
                write!(f, ", confirmed by {confirmed_by}")?;
                id.as_ref().map_or(Ok(()), |id| write!(f, ", id {id}"))
            }
            Self::Partial { reason, remedy, .. }
            | Self::Deferred { reason, remedy, .. }
            | Self::Refused { reason, remedy } => {
                write!(f, ": {reason}")?;
                if remedy.is_empty() {
                    return Ok(());
                }
                write!(f, "; {remedy}")
            }
        }
    }
}

impl fmt::Display for TargetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.outcome)
    }
}

impl fmt::Display for Report {
    /// A line for each target and each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets = self.targets.iter().map(ToString::to_string);
        let problems = self.problems.iter().map(ToString::to_string);
        let lines: Vec<String> = targets.chain(problems).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TargetReport {
    /// The object that `ackpost --json` prints for a target.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (confirmed_by, id) = match &self.outcome {
            Outcome::Delivered { confirmed_by, id } => (Some(confirmed_by.as_str()), id.as_deref()),
            Outcome::Partial { id, .. } => (None, id.as_deref()),
            _ => (None, None),
        };
        let mut object = serializer.serialize_struct("TargetReport", 10)?;
        object.serialize_field("target", &self.target)?;
        object.serialize_field("service", self.service)?;
        object.serialize_field("outcome", self.outcome.word())?;
        object.serialize_field("confirmed_by", &confirmed_by)?;
        object.serialize_field("id", &id)?;
        object.serialize_field("reason", &self.outcome.reason())?;
        object.serialize_field("remedy", &self.outcome.remedy())?;
        object.serialize_field("notes", &self.notes)?;
        object.serialize_field("attempts", &self.attempts)?;
        let elapsed = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        object.serialize_field("elapsed_ms", &elapsed)?;
        object.end()
    }
}

impl Serialize for Report {
    /// `status`, `targets` and `problems`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        let mut object = serializer.serialize_struct("Report", 3)?;
        object.serialize_field("status", self.status.as_str())?;
        object.serialize_field("targets", &self.targets)?;
        object.serialize_field("problems", &problems)?;
        object.end()
    }
}

impl From<&str> for Message {
    fn from(body: &str) -> Self {
        Self::new(body)
    }
}

impl From<String> for Message {
    fn from(body: String) -> Self {
        Self::new(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Confirmation;
    use crate::report::Pieces;

    fn target(outcome: Outcome) -> TargetReport {
        TargetReport {
            service: "xmpp",
            url: "xmpps://bot:****@example.org/jane".to_owned(),
            url_id: "00000000".to_owned(),
            tags: Vec::new(),
            target: "xmpps://bot@example.org → jane@example.org".to_owned(),
            address: "jane@example.org".to_owned(),
            outcome,
            attempts: 1,
            elapsed: Duration::from_millis(12),
            optional: false,
            pieces: Pieces {
                total: 1,
                accepted: 1,
            },
            timed_out: false,
            notes: Vec::new(),
        }
    }

    fn report(status: Status, outcome: Outcome) -> Report {
        Report {
            targets: vec![target(outcome)],
            problems: Vec::new(),
            status,
        }
    }

    #[test]
    fn a_success_is_ok_and_prints_its_proof() {
        let delivered = Outcome::Delivered {
            confirmed_by: Confirmation::Server,
            id: Some("7".to_owned()),
        };
        let report = report(Status::Success, delivered)
            .into_result()
            .expect("a success");
        let line = "xmpps://bot@example.org → jane@example.org: delivered, confirmed by server, id 7";
        assert_eq!(report.to_string(), line);
        let json = serde_json::to_value(report.report()).expect("JSON");
        assert_eq!(json["status"], "SUCCESS");
        assert_eq!(json["targets"][0]["confirmed_by"], "server");
        assert_eq!(json["targets"][0]["elapsed_ms"], 12);
    }

    #[test]
    fn a_failure_is_an_error_with_cause_and_remedy() {
        let outcome = Outcome::Deferred {
            reason: "the server is being restarted".to_owned(),
            remedy: "try again in a minute".to_owned(),
            retry_after: Some(Duration::from_secs(60)),
        };
        let error = report(Status::Failure, outcome)
            .into_result()
            .expect_err("a failure");
        assert!(!error.is_permanent());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
        assert_eq!(
            error.to_string(),
            "the message was not delivered to every target: xmpps://bot@example.org → jane@example.org: deferred: the \
             server is being restarted; try again in a minute"
        );
    }
}
