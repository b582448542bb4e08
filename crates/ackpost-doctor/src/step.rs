//! One step on the path of a message, and the findings there.

use std::time::{Duration, Instant};

use serde::Serialize;

use ackpost_platform::text::one_line;

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// The step is as it should be.
    Ok,
    /// A message gets through, but there is something to check.
    Warn,
    /// A message does not get through.
    Fail,
    /// The step was not checked, because of an earlier step or because it does not apply.
    Skipped,
}

impl CheckStatus {
    /// Returns the word of outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One step and its findings. No text holds a secret.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Name of the step: `dns`, `tls`, `login`, `room`, …
    pub name: &'static str,
    /// The room or address, for steps that come once for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Result of the step.
    pub status: CheckStatus,
    /// Observation, in words.
    pub seen: String,
    /// Remedy, as an imperative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Duration of the step.
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
}

fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Findings about one URL, link, bridge, or the answers to alerts.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// The subject: a masked URL, a bridge, or the answers to alerts.
    pub url: String,
    /// No step failed. For a URL: a message would be delivered.
    pub ok: bool,
    /// The URL as it should be, masked, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_url: Option<String>,
    /// The part of the URL to change, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The steps in their order.
    pub steps: Vec<Step>,
}

/// Collects the steps of a diagnosis. Each step gets the time since the one before it.
#[derive(Debug)]
pub struct Walk {
    diagnosis: Diagnosis,
    began: Instant,
}

impl Walk {
    /// Starts a diagnosis of a masked URL, or of another subject.
    pub fn new(url: impl Into<String>) -> Self {
        let diagnosis = Diagnosis {
            url: url.into(),
            ok: true,
            suggested_url: None,
            change: None,
            steps: Vec::new(),
        };
        Self {
            diagnosis,
            began: Instant::now(),
        }
    }

    /// The time of the next step begins now.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
    }

    fn push(
        &mut self,
        name: &'static str,
        status: CheckStatus,
        seen: &str,
        remedy: Option<String>,
    ) -> &mut Step {
        self.diagnosis.ok &= status != CheckStatus::Fail;
        let elapsed = if status == CheckStatus::Skipped {
            // Nothing was done: the time goes on to the step that it was spent on.
            Duration::ZERO
        } else {
            let elapsed = self.began.elapsed();
            self.began = Instant::now();
            elapsed
        };
        let seen = one_line(seen);
        self.diagnosis.steps.push(Step {
            name,
            target: None,
            status,
            seen,
            remedy,
            elapsed,
        });
        self.diagnosis.steps.last_mut().expect("one was just pushed")
    }

    /// Adds a step. What was seen becomes one line.
    pub fn add(
        &mut self,
        name: &'static str,
        status: CheckStatus,
        seen: impl Into<String>,
        remedy: Option<String>,
    ) -> &mut Step {
        self.push(name, status, &seen.into(), remedy)
    }

    pub(crate) fn ok(&mut self, name: &'static str, seen: impl Into<String>) -> &mut Step {
        self.push(name, CheckStatus::Ok, &seen.into(), None)
    }

    pub(crate) fn warn(
        &mut self,
        name: &'static str,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Step {
        self.push(name, CheckStatus::Warn, &seen.into(), Some(remedy.into()))
    }

    pub(crate) fn fail(
        &mut self,
        name: &'static str,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Step {
        self.push(name, CheckStatus::Fail, &seen.into(), Some(remedy.into()))
    }

    pub(crate) fn skip(&mut self, name: &'static str, why: impl Into<String>) -> &mut Step {
        self.push(name, CheckStatus::Skipped, &why.into(), None)
    }

    /// Skips several steps for the same reason.
    pub(crate) fn skip_all(&mut self, names: &[&'static str], why: &str) {
        for name in names {
            self.skip(name, why);
        }
    }

    /// Proposes another URL; the first proposal counts.
    pub(crate) fn suggest(&mut self, url: String, change: impl Into<String>) {
        if self.diagnosis.suggested_url.is_none() {
            self.diagnosis.suggested_url = Some(url);
            self.diagnosis.change = Some(change.into());
        }
    }

    /// The URL, masked.
    pub(crate) fn url(&self) -> &str {
        &self.diagnosis.url
    }

    /// True while nothing failed.
    pub(crate) fn is_ok(&self) -> bool {
        self.diagnosis.ok
    }

    /// Returns the diagnosis.
    pub fn end(self) -> Diagnosis {
        self.diagnosis
    }
}

impl Step {
    /// Names the room or address the step is about.
    pub(crate) fn of(&mut self, target: impl Into<String>) {
        self.target = Some(target.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_by_the_step_that_took_it() {
        let mut walk = Walk::new("xmpps://");
        walk.begin();
        let spent = Duration::from_millis(30);
        std::thread::sleep(spent);
        walk.skip("tls", "seen as part of the stream");
        walk.fail("stream", "the server says nothing", "wait");
        walk.skip("login", "there is no stream");
        let steps = walk.end().steps;
        assert_eq!(
            (steps[0].elapsed, steps[2].elapsed),
            (Duration::ZERO, Duration::ZERO)
        );
        assert!(steps[1].elapsed >= spent, "{:?}", steps[1].elapsed);
    }
}
