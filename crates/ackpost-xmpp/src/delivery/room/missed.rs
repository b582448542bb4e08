//! Messages to rooms that a broken connection left open: messages that are not in the room's history are searched in
//! its archive (XEP-0313). If they are not there, the outcome depends on whether the server crashed. See
//! `docs/adr/0004-…`.

use tokio::time::Instant;

use super::super::archive_lookup::{Ending, LookupResult};
use super::super::{DeliveryTracker, Job, Key, PriorAttempt};
use crate::error::Doubt;
use crate::jid::Jid;
use crate::message::{ConfirmedBy, Target};
use crate::ns;
use crate::xml::Element;

impl DeliveryTracker {
    /// The room showed a message to us. A server that handles each session beside the others may die before
    /// it is shown to everybody. A kept session, which would notice, asks the server a settle time later: its
    /// answer shows that it lived on.
    pub(super) fn shown(&mut self, key: Key, live: bool) {
        let waits = live && self.ended.is_some() && !self.line.in_order();
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        if waits && is_local(&self.own, &job.target) {
            job.answered_at = Some(Instant::now());
            job.settling = true;
            self.settle_in_room(key);
        } else {
            self.deliver(key, ConfirmedBy::Room);
        }
    }

    /// A message in the archive of a room, if it is one of ours.
    pub(in crate::delivery) fn found_in_room(&mut self, room: &Jid, message: &Element) {
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
        let proven = self.rooms.get(room).is_some_and(|known| known.is_proven(message));
        let origin = message.find("origin-id", ns::SID).and_then(|id| id.get("id"));
        let key = [origin, message.get("id")]
            .into_iter()
            .flatten()
            .find_map(|id| self.by_id.get(id).copied());
        if let Some(key) = key {
            self.brought_on(&[key]);
        }
        if let Some(key) = key
            && self.jobs.get(&key).is_some_and(|job| {
                job.prior == PriorAttempt::Unknown
                    && matches!(&job.target, Target::Room(target) if target.room.same_bare(room))
                    && (proven || job.is_shown_by(message))
            })
        {
            self.deliver(key, ConfirmedBy::Room);
        }
    }

    /// The next step for a message that neither the history nor the archive of its room holds.
    pub(in crate::delivery) fn missed_result(&self, job: &Job, lived_on: Option<bool>) -> LookupResult {
        let shown = job.outlived.is_some();
        // A room elsewhere did not go down with our server.
        let restarted = lived_on == Some(false) && is_local(&self.own, &job.target);
        let in_order = self.last_end == Ending::Said;
        let missing = job.prior == PriorAttempt::Missing || job.not_in_history;
        let whole = job.prior == PriorAttempt::Missing && (in_order || self.line.in_order());
        if shown && (job.outlived == Some(true) || !restarted || in_order) {
            LookupResult::Shown
        } else if shown {
            LookupResult::InDoubt(Doubt::Forgotten)
        } else if whole || (missing && !restarted) {
            LookupResult::Again
        } else if job.prior == PriorAttempt::Missing && self.may_have_lost_the_end(lived_on) {
            LookupResult::InDoubt(Doubt::Forgotten)
        } else if job.doubtful {
            LookupResult::InDoubt(Doubt::NoArchive)
        } else {
            LookupResult::AgainInDoubt
        }
    }
}

/// Returns true if the target is at our own server.
fn is_local(own: &Jid, target: &Target) -> bool {
    let address = target.address();
    let domain = address.domain();
    domain
        .strip_suffix(own.domain())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
