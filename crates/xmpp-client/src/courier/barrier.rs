//! Questions behind messages to people, whose answers prove that no bounce follows.
//!
//! On Prosody one answer is enough: it handles the stanzas of a stream one after the other, the
//! delivery to sessions on the same server included. On ejabberd, and so on every server that is not
//! known, the session of a recipient who is online looks at the message beside the sender's session,
//! which answers the ping: block lists, privacy rules and modules reject it up to 14 ms later (measured
//! on two busy cores). There a second ping reaches the server a settle time after the first answer.
//! Its answer also proves that nothing sent meanwhile is still on the line.

use std::time::Duration;

use tokio::time::Instant;

use super::settle::unreachable;
use super::{Courier, Key, Passed, Question};
use crate::error::XmppError;
use crate::login::StanzaError;
use crate::message::Target;
use crate::ns;
use crate::xml::Element;

/// How long a server has at least, between its two answers, to reject a message.
pub(super) const SETTLE_MIN: Duration = Duration::from_millis(25);
/// How long a slow server is given at most.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// By how much the fastest answer may have been slower than the line.
const LINE_SLACK: Duration = Duration::from_millis(5);

/// Which of the two questions it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// With the time when it was written, once it is.
    First(Option<Instant>),
    Second,
}

/// A second question that is to be asked later.
pub(super) struct Due {
    pub(super) at: Instant,
    domain: Option<String>,
    covers: Vec<Key>,
}

impl Courier {
    /// Asks a server to answer behind these messages.
    pub(super) fn ask_barrier(&mut self, domain: Option<String>, covers: Vec<Key>, round: Round) {
        let to = domain.clone().unwrap_or_else(|| self.own.domain().to_owned());
        let question = Question::Barrier {
            domain,
            covers,
            round,
        };
        self.ask(&to, Element::new("ping", ns::PING), question);
    }

    /// Notes when the first questions went out.
    pub(super) fn barriers_written(&mut self) {
        for (_, question) in self.questions.values_mut() {
            if let Question::Barrier {
                round: Round::First(asked @ None),
                ..
            } = question
            {
                *asked = Some(Instant::now());
            }
        }
    }

    /// Handles the answer to a ping behind messages to people.
    pub(super) fn barrier_passed(
        &mut self,
        answer: &Element,
        domain: Option<String>,
        covers: Vec<Key>,
        round: Round,
    ) {
        let unreached = domain
            .as_deref()
            .filter(|_| answer.get("type") == Some("error"))
            .and_then(|domain| never_reached(&StanzaError::of(answer), domain));
        let complete = match round {
            Round::Second => true,
            // What other servers are is not asked: they are given the time.
            Round::First(_) => unreached.is_some() || domain.is_none() && self.line.in_order(),
        };
        let now = Instant::now();
        for &key in &covers {
            let Some(job) = self.jobs.get_mut(&key) else {
                continue;
            };
            let foreign = matches!(&job.target, Target::User(jid) if jid.domain() != self.own.domain());
            let passed = if foreign && domain.is_none() {
                Passed::Own
            } else if complete {
                Passed::Responsible
            } else {
                Passed::Answered
            };
            job.passed = job.passed.max(passed);
            if passed >= Passed::Answered {
                job.answered_at.get_or_insert(now);
            }
            if unreached.is_some() {
                job.unreached.clone_from(&unreached);
            }
            self.resolve(key);
        }
        if let (Round::First(asked), false) = (round, complete) {
            let covers: Vec<Key> = covers
                .into_iter()
                .filter(|key| {
                    self.jobs
                        .get(key)
                        .is_some_and(|job| job.passed == Passed::Answered)
                })
                .collect();
            if !covers.is_empty() {
                let at = now + self.settle_time(asked.map(|asked| now - asked).unwrap_or_default());
                self.due.push(Due { at, domain, covers });
            }
        }
    }

    /// How long to wait with the second question, so that it reaches the server the settle time after the
    /// first answer left it. `took` is how long that answer took: what the line does not explain of it is
    /// how busy the server is.
    fn settle_time(&self, took: Duration) -> Duration {
        let fastest = self.line.fastest.unwrap_or_default();
        let busy = took.saturating_sub(fastest);
        let on_the_line = fastest.saturating_sub(LINE_SLACK);
        busy.clamp(SETTLE_MIN, SETTLE_MAX).saturating_sub(on_the_line)
    }

    /// Asks the second questions whose time has come. `true` when there were some.
    pub(super) fn ask_due(&mut self, now: Instant) -> bool {
        let (due, later): (Vec<Due>, Vec<Due>) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|due| due.at <= now);
        self.due = later;
        let any = !due.is_empty();
        for Due { domain, covers, .. } in due {
            if covers.iter().any(|key| self.jobs.contains_key(key)) {
                self.progress = now;
                self.ask_barrier(domain, covers, Round::Second);
            }
        }
        any
    }
}

/// An error is an answer too, unless it says that the other domain was never reached.
fn never_reached(problem: &StanzaError, domain: &str) -> Option<XmppError> {
    match problem.condition.as_str() {
        "not-allowed" | "forbidden" => Some(XmppError::RemoteNotAllowed {
            domain: domain.to_owned(),
            text: problem.text.clone(),
        }),
        _ => unreachable(problem, domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Line;
    use crate::{Account, Jid};

    fn courier(fastest_ms: u64) -> Courier {
        let jid: Jid = "alice@localhost".parse().unwrap();
        let mut courier = Courier::new(&Account::new(jid, "x".to_owned().into()));
        courier.note_line(Line {
            fastest: Some(Duration::from_millis(fastest_ms)),
            ..Line::default()
        });
        courier
    }

    #[test]
    fn the_line_counts_toward_the_settle_time() {
        let wait = |line, took| courier(line).settle_time(Duration::from_millis(took)).as_millis();
        assert_eq!(wait(0, 1), 25, "loopback");
        assert_eq!(wait(15, 16), 15, "a short line");
        assert_eq!(wait(100, 101), 0, "a long line is time enough");
        assert_eq!(
            wait(0, 200),
            200,
            "a busy server is given as long as its answer took"
        );
        assert_eq!(wait(100, 300), 105, "what the line does not explain");
        assert_eq!(wait(0, 60_000), 1_000, "never for ever");
    }
}
