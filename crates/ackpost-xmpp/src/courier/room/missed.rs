//! Messages to rooms that a broken connection left open: what the room's history does not hold is looked for in
//! its archive (XEP-0313), and then decided by whether the server crashed. See `docs/adr/0004-…`.

use tokio::time::Instant;

use super::super::look::{Ending, PASSED_ON_AFTER, Verdict};
use super::super::{DeliveryTracker, Job, Key, PriorAttempt};
use crate::Jid;
use crate::error::Doubt;
use crate::message::{ConfirmedBy, Target};
use crate::ns;
use crate::xml::Element;

impl DeliveryTracker {
    /// The room showed a message to us. A server that handles each session beside the others may die before
    /// it is shown to everybody: a kept session, which would notice, waits for that moment.
    pub(super) fn shown(&mut self, key: Key, live: bool) {
        let waits = live && self.ended.is_some() && !self.line.in_order();
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        if waits && is_local(&self.own, &job.target) {
            let now = Instant::now();
            job.answered_at = Some(now);
            job.shown_until = Some(now + PASSED_ON_AFTER);
        } else {
            self.deliver(key, ConfirmedBy::Room);
        }
    }

    /// Ends the messages that were shown, and whose server lived on.
    pub(in crate::courier) fn shown_long_enough(&mut self, now: Instant) {
        let shown: Vec<Key> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.shown_until.is_some_and(|until| until <= now))
            .map(|(&key, _)| key)
            .collect();
        for key in shown {
            self.deliver(key, ConfirmedBy::Room);
        }
    }

    /// A message in the archive of a room, if it is one of ours.
    pub(in crate::courier) fn found_in_room(&mut self, room: &Jid, message: &Element) {
        let Some(author) = message.get("from").and_then(|from| from.parse::<Jid>().ok()) else {
            return;
        };
        let was_us = author.same_bare(room)
            && self
                .rooms
                .get(room)
                .is_some_and(|known| known.was_us(&author, message));
        if !was_us {
            return;
        }
        let origin = message.find("origin-id", ns::SID).and_then(|id| id.get("id"));
        let key = [origin, message.get("id")]
            .into_iter()
            .flatten()
            .find_map(|id| self.by_id.get(id).copied());
        if let Some(key) = key
            && self.jobs.get(&key).is_some_and(|job| {
                job.past == PriorAttempt::Unknown
                    && matches!(&job.target, Target::Room(target) if target.room.same_bare(room))
                    && job.is_shown_by(message)
            })
        {
            self.deliver(key, ConfirmedBy::Room);
        }
    }

    /// What is to be done about a message that neither the history nor the archive of its room holds.
    pub(in crate::courier) fn verdict_on_missed(&self, job: &Job, lived_on: Option<bool>) -> Verdict {
        let shown = job.lived.is_some();
        // A room elsewhere did not go down with our server.
        let restarted = lived_on == Some(false) && is_local(&self.own, &job.target);
        let in_order = self.last_end == Ending::Said;
        let whole = job.past == PriorAttempt::Missing && (in_order || self.line.in_order());
        let passed_on = job.lived.is_some_and(|lived| lived >= PASSED_ON_AFTER);
        if shown && (passed_on || !restarted || in_order) {
            Verdict::Shown
        } else if shown {
            Verdict::InDoubt(Doubt::Forgotten)
        } else if !restarted || whole {
            Verdict::Again
        } else if job.doubtful {
            Verdict::InDoubt(Doubt::NoArchive)
        } else {
            Verdict::AgainInDoubt
        }
    }
}

/// Whether the target is at our own server.
fn is_local(own: &Jid, target: &Target) -> bool {
    let address = target.address();
    let domain = address.domain();
    domain
        .strip_suffix(own.domain())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
