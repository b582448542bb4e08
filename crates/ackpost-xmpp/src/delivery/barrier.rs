//! Questions behind messages to people, whose answers prove that no bounce follows.
//!
//! On Prosody one answer is enough: it handles the stanzas of a stream one after the other, the
//! delivery to sessions on the same server included. On ejabberd, and so on every server that is not
//! known, the session of a recipient who is online looks at the message beside the sender's session,
//! which answers the ping: block lists, privacy rules and modules reject it up to 14 ms later (measured
//! on two busy cores). There a second ping reaches the server a settle time after the first answer.
//! Its answer also proves that nothing sent meanwhile is still on the line. A server that turns out to be
//! slow is given more time, and asked again, unless the line alone is long enough.
//!
//! A kept session asks the same second question behind a message that a room on such a server showed: other
//! occupants have it once the server has lived on for the settle time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::unreachable;
use super::{BarrierState, DeliveryTracker, Key, Query};
use crate::error::XmppError;
use crate::message::{ConfirmedBy, Target};
use crate::ns;
use crate::stanza_error::{ErrorKind, StanzaError};
use crate::xml::Element;

/// Minimum settle time: the time between two answers of a server in which it may reject a message.
const SETTLE_MIN: Duration = Duration::from_millis(30);
/// Maximum settle time for a slow server.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Time by which the fastest answer may have been slower than the line.
const LINE_SLACK: Duration = Duration::from_millis(5);

/// Factor: a server may take this much longer than its slowest answer to reject a message.
const BUSY_FACTOR: u32 = 2;

/// One question behind a batch of messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// Time when it was taken out to be written; `None` before.
    asked: Option<Instant>,
    /// Time when the first question was answered; `None` in the first round.
    since: Option<Instant>,
}

/// A further question that is to be asked later.
pub(super) struct Due {
    pub(super) at: Instant,
    domain: Option<String>,
    covers: Vec<Key>,
    pub(super) since: Instant,
}

impl DeliveryTracker {
    /// Asks a server to answer behind these messages.
    pub(super) fn ask_barrier(&mut self, domain: Option<String>, covers: Vec<Key>, round: Round) {
        let to = domain.clone().unwrap_or_else(|| self.own.domain().to_owned());
        let question = Query::Barrier {
            domain,
            covers,
            round,
        };
        self.ask(&to, Element::new("ping", ns::PING), question);
    }

    /// Stores the time at which the questions go out.
    pub(super) fn barriers_taken(&mut self) {
        for (_, question) in self.questions.values_mut() {
            if let Query::Barrier { round, .. } = question {
                round.asked.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Stores the time at which questions were written that rode along with the login. They were taken out before the
    /// connection was opened, and its time says nothing about how busy the server is.
    pub(crate) fn rode_along(&mut self, at: Instant) {
        for (_, question) in self.questions.values_mut() {
            if let Query::Barrier { round, .. } = question {
                round.asked = round.asked.map(|_| at);
            }
        }
    }

    /// Handles the answer to a ping behind messages to people. `itself`: the domain that was asked answered, not our
    /// server in its place.
    pub(super) fn barrier_passed(
        &mut self,
        answer: &Element,
        itself: bool,
        domain: Option<String>,
        covers: Vec<Key>,
        round: Round,
    ) {
        let problem = (answer.get("type") == Some("error")).then(|| StanzaError::of(answer));
        let unreached = domain
            .as_deref()
            .zip(problem.as_ref())
            .and_then(|(domain, problem)| never_reached(problem, domain));
        if let Some(problem) = &problem
            && unreached.is_none()
            && !proves_order(problem, itself, domain.is_some())
        {
            return self.ask_again(domain, covers, round);
        }
        let now = Instant::now();
        let took = round.asked.map(|asked| now - asked);
        if domain.is_none() {
            self.line.fastest = self.line.fastest.into_iter().chain(took).min();
        }
        let took = took.unwrap_or_default();
        let wait = match round.since {
            _ if unreached.is_some() => None,
            // Other servers are not asked which software they run: they always get the settle time.
            None if domain.is_none() && self.line.in_order() => None,
            None => Some(self.settle_time(took, None)),
            Some(since) => Some(self.settle_time(took, Some(now - since))).filter(|wait| !wait.is_zero()),
        };
        let complete = wait.is_none();
        match round.since {
            _ if !complete || unreached.is_some() => {}
            None => tracing::debug!("proven by order: the server answered behind the message"),
            Some(since) => tracing::debug!(
                after = ?(now - since),
                "proven by the second answer: nothing came back meanwhile"
            ),
        }
        for &key in &covers {
            let Some(job) = self.jobs.get_mut(&key) else {
                continue;
            };
            let foreign = matches!(&job.target, Target::User(jid) if jid.domain() != self.own.domain());
            let passed = if foreign && domain.is_none() {
                BarrierState::Own
            } else if complete {
                BarrierState::Responsible
            } else {
                BarrierState::Answered
            };
            job.passed = job.passed.max(passed);
            if passed >= BarrierState::Answered {
                job.answered_at.get_or_insert(now);
            }
            if unreached.is_some() {
                job.unreached.clone_from(&unreached);
            }
            if complete && job.settling {
                self.deliver(key, ConfirmedBy::Room);
            } else {
                self.resolve(key);
            }
        }
        if let Some(wait) = wait {
            self.ask_later(now + wait, domain, covers, round.since.unwrap_or(now));
        }
    }

    /// Asks once more at this time, for the messages that no barrier has proven yet.
    fn ask_later(&mut self, at: Instant, domain: Option<String>, covers: Vec<Key>, since: Instant) {
        let is_open = |key: &Key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.passed == BarrierState::Answered)
        };
        let covers: Vec<Key> = covers.into_iter().filter(is_open).collect();
        if !covers.is_empty() {
            self.due.push(Due {
                at,
                domain,
                covers,
                since,
            });
        }
    }

    /// Asks our server once the settle time of a message is over that a room showed.
    pub(super) fn settle_in_room(&mut self, key: Key) {
        let now = Instant::now();
        let wait = self.settle_time(Duration::ZERO, None);
        self.due.push(Due {
            at: now + wait,
            domain: None,
            covers: vec![key],
            since: now,
        });
    }

    /// Asks once more when an error proves nothing. After a second error, the messages keep the state that is proven.
    fn ask_again(&mut self, domain: Option<String>, covers: Vec<Key>, round: Round) {
        if round.since.is_none() {
            let now = Instant::now();
            self.due.push(Due {
                at: now + SETTLE_MAX,
                domain,
                covers,
                since: now,
            });
        }
    }

    /// Returns the time to wait with the next question, so that it reaches the server the settle time after the first
    /// answer left it. `took` is how long the latest answer took: what the line does not explain of it is how
    /// busy the server is. `passed` is the time since the first answer, which also counts. Zero, with
    /// `passed`: it was long enough.
    fn settle_time(&mut self, took: Duration, passed: Option<Duration>) -> Duration {
        let fastest = self.line.fastest.unwrap_or_default();
        let busy = took.saturating_sub(fastest);
        // The load of a server changes slowly: the answers before count too, each half as much as the next.
        let before = if passed.is_none() {
            self.busy / 2
        } else {
            self.busy
        };
        self.busy = busy.max(before);
        let left = self.settle_needed().saturating_sub(passed.unwrap_or_default());
        let on_the_line = fastest.saturating_sub(LINE_SLACK);
        match passed {
            // On a long line the answers differ by what happens on it, and each question costs much.
            Some(_) if left.is_zero() || fastest >= SETTLE_MIN => Duration::ZERO,
            Some(_) => left.saturating_sub(on_the_line).max(Duration::from_millis(1)),
            None => left.saturating_sub(on_the_line),
        }
    }

    /// Returns the time that a server must live on after it answered behind a message, or after its room showed it, to have
    /// passed it on to everybody: twice as long as it took lately to answer.
    pub(super) fn settle_needed(&self) -> Duration {
        (self.busy * BUSY_FACTOR).clamp(SETTLE_MIN, SETTLE_MAX)
    }

    /// Asks the second questions whose time has come, one of each domain. `true` when there were some.
    pub(super) fn ask_due(&mut self, now: Instant) -> bool {
        let (due, later): (Vec<Due>, Vec<Due>) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|due| due.at <= now);
        self.due = later;
        let any = !due.is_empty();
        let mut questions: BTreeMap<Option<String>, (Instant, Vec<Key>)> = BTreeMap::new();
        for due in due {
            let covers = due.covers.into_iter().filter(|key| self.jobs.contains_key(key));
            let (since, keys) = questions
                .entry(due.domain)
                .or_insert_with(|| (due.since, Vec::new()));
            // The youngest message decides whether the time was long enough.
            *since = due.since.max(*since);
            keys.extend(covers);
        }
        for (domain, (since, covers)) in questions {
            if covers.is_empty() {
                continue;
            }
            self.begin_limits(&covers);
            let round = Round {
                asked: None,
                since: Some(since),
            };
            self.ask_barrier(domain, covers, round);
        }
        any
    }
}

/// Returns true if an error to a ping shows that the domain has handled the stanzas written before it.
///
/// Another domain proves it by its own error that says that it does not know pings: any other may be our server's
/// report that the domain was not reached. Our own server proves it by any error but a temporary one.
fn proves_order(problem: &StanzaError, itself: bool, other_domain: bool) -> bool {
    if other_domain {
        itself && problem.is_unsupported()
    } else {
        problem.kind != ErrorKind::Wait
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
    use crate::account::Account;
    use crate::jid::Jid;
    use crate::message::{Content, Outgoing};
    use crate::stream::Line;

    fn tracker(fastest_ms: u64) -> DeliveryTracker {
        let jid: Jid = "alice@localhost".parse().unwrap();
        let mut tracker = DeliveryTracker::new(&Account::new(jid, "x".to_owned().into()));
        tracker.note_login(Line {
            fastest: Some(Duration::from_millis(fastest_ms)),
            ..Line::default()
        });
        tracker
    }

    #[test]
    fn the_line_counts_toward_the_settle_time() {
        let wait = |line, took| {
            let took = Duration::from_millis(took);
            tracker(line).settle_time(took, None).as_millis()
        };
        assert_eq!(wait(0, 1), 30, "loopback");
        assert_eq!(wait(15, 16), 20, "a short line");
        assert_eq!(wait(100, 101), 0, "a long line is time enough");
        assert_eq!(
            wait(0, 200),
            400,
            "a busy server is given twice as long as its answer took"
        );
        assert_eq!(wait(100, 300), 305, "what the line does not explain");
        assert_eq!(wait(0, 60_000), 1_000, "never for ever");
    }

    /// A one-shot send takes its question out before it connects; the time until it is written does not count.
    #[test]
    fn the_time_of_the_login_is_not_taken_for_the_time_of_an_answer() {
        let ms = Duration::from_millis;
        let message = Outgoing::new(Target::User("bob@localhost".parse().unwrap()), Content::text("x"));
        let part = crate::parts::parts_of(&message, &[]).unwrap().remove(0);
        let mut tracker = tracker(100);
        tracker.add(1, part);
        tracker.add_barrier();
        assert!(!tracker.take_out().is_empty());
        // The connection and the login take 800 ms, the answer takes as long as the line.
        let now = Instant::now();
        let taken_out = now - ms(900);
        for (_, question) in tracker.questions.values_mut() {
            if let Query::Barrier { round, .. } = question {
                round.asked = Some(taken_out);
            }
        }
        tracker.logged_in();
        tracker.flushed();
        tracker.rode_along(now - ms(100));
        let id = tracker.questions.keys().next().unwrap().clone();
        let answer = Element::new("iq", ns::CLIENT)
            .attr("type", "result")
            .attr("from", "localhost")
            .attr("id", id);
        assert!(tracker.handle(&answer));
        assert_eq!(tracker.due.len(), 1, "it is asked once more");
        // Whatever this machine does meanwhile is far from the 800 ms of the login, which would double to a second.
        assert!(
            tracker.due[0].at < now + ms(500),
            "at once, because the line is long"
        );
    }

    #[test]
    fn a_server_that_turns_out_to_be_slow_is_asked_again() {
        let ms = Duration::from_millis;
        let mut tracker = tracker(0);
        assert_eq!(tracker.settle_time(ms(1), None), ms(30));
        assert_eq!(tracker.settle_time(ms(2), Some(ms(32))), ms(0), "it was not");
        assert_eq!(tracker.settle_time(ms(80), Some(ms(105))), ms(55), "it was");
        assert_eq!(tracker.settle_time(ms(3), Some(ms(163))), ms(0));
        assert_eq!(tracker.settle_time(ms(3), None), ms(80), "and that is remembered");
        assert_eq!(tracker.settle_time(ms(3), None), ms(40));
        assert_eq!(
            tracker.settle_time(ms(60_000), Some(ms(1_000))),
            ms(0),
            "never for ever"
        );
    }

    #[test]
    fn over_a_long_line_it_is_asked_twice_and_no_more() {
        let ms = Duration::from_millis;
        assert_eq!(tracker(100).settle_time(ms(400), Some(ms(400))), ms(0));
    }
}
