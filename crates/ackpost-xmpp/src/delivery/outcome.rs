//! Bounces, barriers, receipts, and the outcome at the end of the time limit.

use super::refusal::{explain, service_missing};
use super::room_state::Stage;
use super::{BarrierState, DeliveryTracker, Identity, Key, answer_timeout};
use crate::addressee::Addressee;
use crate::error::{Step, XmppError};
use crate::jid::Jid;
use crate::message::{Confirm, ConfirmedBy, Target};
use crate::ns;
use crate::stanza_error::StanzaError;
use crate::xml::Element;

impl DeliveryTracker {
    /// Ends a message to a person when everything asked about it has been answered.
    pub(super) fn resolve(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        let Target::User(to) = &job.target else { return };
        if job.identity == Identity::Room {
            let error = XmppError::IsRoom { to: to.clone() };
            return self.fail(key, error);
        }
        if job.identity == Identity::Asked || job.passed < BarrierState::Answered {
            return;
        }
        // A bounce counts once the barrier behind it is passed: servers that are going down send
        // messages back that they would take again a moment later.
        if let Some(error) = &job.bounced {
            let error = job.unreached.clone().unwrap_or_else(|| error.clone());
            return self.fail(key, error);
        }
        if let Some(error) = job.unreached.clone() {
            self.fail(key, error);
        } else if job.passed == BarrierState::Responsible && job.asked != Confirm::Receipt {
            self.deliver(key, ConfirmedBy::Server);
        }
    }

    /// Returns true if a room answered a question, and so has handled the stanzas written before it. An error that our
    /// server may have made proves nothing.
    pub(super) fn room_answered(&self, asked: &Addressee, answer: &Element) -> bool {
        if answer.get("type") != Some("error") {
            return true;
        }
        let problem = StanzaError::of(answer);
        let missing = asked
            .to()
            .and_then(|room| service_missing(&problem, room, self.own.domain()));
        let refuses = matches!(problem.condition.as_str(), "forbidden" | "not-allowed");
        asked.is_itself(answer) && missing.is_none() && (refuses || problem.is_unsupported())
    }

    /// The answer of a room behind messages that need no reflection.
    pub(super) fn room_barrier_passed(&mut self, covers: &[Key]) {
        for &key in covers {
            if let Some(job) = self.jobs.get_mut(&key) {
                job.passed = BarrierState::Responsible;
                let Target::Room(room) = &job.target else { continue };
                let inside = self
                    .rooms
                    .get(&room.room.to_bare())
                    .is_some_and(|room| room.stage == Stage::Inside);
                if inside && job.released && !job.again {
                    self.deliver(key, ConfirmedBy::Server);
                }
            }
        }
    }

    /// Takes a receipt (XEP-0184).
    pub(super) fn receipt(&mut self, id: &str, from: Option<&Jid>) -> bool {
        let Some(&key) = self.by_id.get(id) else {
            return false;
        };
        let Some(job) = self.jobs.get(&key) else {
            return false;
        };
        let Target::User(jid) = &job.target else {
            return false;
        };
        if !from.is_some_and(|from| from.same_bare(jid)) {
            return false;
        }
        self.deliver(key, ConfirmedBy::Receipt);
        true
    }

    /// A message came back.
    pub(super) fn bounce(&mut self, key: Key, stanza: &Element, from: Option<&Jid>) -> bool {
        let Some(job) = self.jobs.get_mut(&key) else {
            return false;
        };
        let to = job.target.address();
        // Only the recipient sends a message back, a room only by itself, or our server for them: a private
        // error from an occupant is none of the room's.
        let speaks = match (&job.target, from) {
            (_, None) => stanza.get("from").is_none(),
            (Target::User(_), Some(from)) => from.same_bare(&to),
            (Target::Room(_), Some(from)) => *from == to.to_bare(),
        };
        if !speaks {
            return false;
        }
        self.brought_on(&[key]);
        let Some(job) = self.jobs.get_mut(&key) else {
            return false;
        };
        let problem = StanzaError::of(stanza);
        if let Target::Room(_) = job.target {
            self.room_bounce(key, &to, &problem);
            return true;
        }
        job.bounced = Some(explain(&problem, &to, self.own.domain()));
        self.resolve(key);
        true
    }

    /// Handles the answer of a target about its identity.
    pub(super) fn identified(&mut self, target: &Jid, jobs: &[Key], answer: &Element) {
        const PEOPLE_MAX: usize = 10_000;
        let room = answer.find("query", ns::DISCO_INFO).is_some_and(|query| {
            query
                .find_all("identity", ns::DISCO_INFO)
                .any(|identity| identity.get("category") == Some("conference"))
        });
        if !room && answer.get("type") == Some("result") && self.people.len() < PEOPLE_MAX {
            self.people.insert(target.clone());
        }
        // A room that ends in this moment swallows a message without sending it back; asked about it, its service
        // knows it no more (XEP-0030, section 8).
        let nobody = Some(StanzaError::of(answer))
            .filter(|problem| answer.get("type") == Some("error") && problem.condition == "item-not-found")
            .map(|problem| explain(&problem, target, self.own.domain()));
        for &key in jobs {
            if let Some(job) = self.jobs.get_mut(&key) {
                job.identity = if room { Identity::Room } else { Identity::Person };
                if job.bounced.is_none() {
                    job.bounced.clone_from(&nobody);
                }
                self.resolve(key);
            }
        }
    }

    /// Handles a time limit: asks the questions that are due, or ends each message whose time is over with the outcome
    /// that is certain now.
    pub(crate) fn tick(&mut self) {
        let now = tokio::time::Instant::now();
        if self.ask_due(now) {
            return;
        }
        let overdue = self.overdue(now);
        if overdue.is_empty() {
            return;
        }
        for key in overdue {
            match self.outcome_now(key) {
                Some(Ok(level)) => self.deliver(key, level),
                Some(Err(error)) => self.fail(key, error),
                None => {}
            }
        }
        self.forget_answered();
    }

    fn outcome_now(&self, key: Key) -> Option<Result<ConfirmedBy, XmppError>> {
        let job = self.jobs.get(&key)?;
        if let Some(error) = job.unreached.as_ref().or(job.bounced.as_ref()) {
            return Some(Err(error.clone()));
        }
        Some(match &job.target {
            Target::User(to) => match job.passed {
                BarrierState::Nothing => Err(answer_timeout(Step::Confirming, self.limit)),
                // The level asked for was not reached, whatever the servers say.
                _ if job.asked == Confirm::Receipt => Err(XmppError::NoReceipt {
                    to: to.clone(),
                    after: self.limit,
                }),
                // A server that left a question unanswered may have dropped the message as well.
                BarrierState::Responsible if job.identity == Identity::Asked => Ok(ConfirmedBy::HandedOver),
                BarrierState::Responsible => Ok(ConfirmedBy::Server),
                BarrierState::Own | BarrierState::Answered => Ok(ConfirmedBy::HandedOver),
            },
            Target::Room(target) => {
                let room = target.room.to_bare();
                let known = self.rooms.get(&room);
                if let Some(refusal) = known.and_then(|room| room.refused.as_ref()) {
                    // Its service was asked about and said nothing.
                    return Some(Err(refusal.clone()));
                }
                if job.lookalike || job.settling {
                    return Some(Ok(ConfirmedBy::Room));
                }
                match known.map(|room| room.stage) {
                    Some(Stage::Removing) => Err(XmppError::NoSuchRoom { room, removed: false }),
                    Some(Stage::Inside | Stage::Outside) if job.released => Err(XmppError::NoEcho {
                        room,
                        after: self.limit,
                    }),
                    _ if job.taken_at.is_some() => Err(XmppError::JoinUnanswered {
                        room,
                        after: self.limit,
                    }),
                    _ => Err(answer_timeout(Step::Joining, self.limit)),
                }
            }
        })
    }

    /// The connection or the login ended. Messages that were written may have arrived.
    pub(crate) fn fail_all(&mut self, error: &XmppError) {
        let keys: Vec<Key> = self.jobs.keys().copied().collect();
        for key in keys {
            let Some(job) = self.jobs.get(&key) else { continue };
            // On a session that is logged in, whatever was taken out may be on the wire in part.
            let written = self.online && job.taken_at.is_some();
            let error = match &job.bounced {
                Some(bounced) => bounced.clone(),
                None if written => error.clone().after_writing(),
                None => error.clone(),
            };
            self.fail(key, error);
        }
    }

    /// Drops a message that its owner no longer waits for.
    pub(crate) fn cancel(&mut self, key: Key, error: XmppError) {
        self.fail(key, error);
    }
}
