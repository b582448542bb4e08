//! Time limits. Each message has its own, which begins anew with everything that brings it on. A common one would never end
//! under traffic: the answers to other messages would move it on.

use tokio::time::Instant;

use super::{BarrierState, DeliveryTracker, Job, Key, Query};
use crate::message::Target;

impl DeliveryTracker {
    /// Returns the time to call [`tick`](Self::tick), if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = self.jobs.values().map(|job| job.progress).min()?;
        let due = self.due.iter().map(|due| due.at);
        Some(due.fold(first + self.limit, Instant::min))
    }

    /// Starts the time limits of all messages on their way anew: a connection begins. If it goes on with the session of the one
    /// before, the server lived on. Everything that was under way comes now, and the settle times that were under way are over:
    /// their questions are asked at once.
    pub(crate) fn touch(&mut self) {
        let now = Instant::now();
        for job in self.jobs.values_mut() {
            job.progress = now;
            if job.outlived.is_some() && job.answered_at.is_none() {
                job.answered_at = Some(now);
            }
        }
    }

    /// Starts the time limits of these messages.
    pub(super) fn begin_limits(&mut self, keys: &[Key]) {
        let now = Instant::now();
        for key in keys {
            if let Some(job) = self.jobs.get_mut(key) {
                job.progress = now;
            }
        }
    }

    /// Something came for these messages: their time limits begin anew, and so do those of the messages written behind them
    /// that nothing came for yet, because a server takes the stanzas of a stream one after the other.
    pub(super) fn brought_on(&mut self, keys: &[Key]) {
        self.begin_limits(keys);
        let Some(first) = keys.iter().min() else { return };
        let now = Instant::now();
        for (_, job) in self.jobs.range_mut(first + 1..) {
            if job.is_unanswered() {
                job.progress = now;
            }
        }
    }

    /// Returns the messages that the time limit of has passed.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Key> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.progress + self.limit <= now)
            .map(|(&key, _)| key)
            .collect()
    }

    /// Returns true if the server owes an answer: silence then is the connection's. A receipt is owed by nobody.
    pub(crate) fn is_owed_an_answer(&self) -> bool {
        self.jobs
            .values()
            .any(|job| matches!(job.target, Target::Room(_)) || job.passed == BarrierState::Nothing)
            || self
                .questions
                .values()
                .any(|(_, question)| self.is_open(question))
    }

    /// Forgets the questions about messages that have all ended. Questions about the state of a room stay: a late answer
    /// still counts.
    pub(super) fn forget_answered(&mut self) {
        let questions = std::mem::take(&mut self.questions);
        self.questions = questions
            .into_iter()
            .filter(|(_, (_, question))| {
                self.is_open(question) || question.room().is_some_and(|room| self.rooms.contains_key(room))
            })
            .collect();
    }

    fn is_open(&self, question: &Query) -> bool {
        self.concerns(question)
            .iter()
            .any(|key| self.jobs.contains_key(key))
    }

    /// Returns the messages that a question was asked for.
    pub(super) fn concerns(&self, question: &Query) -> Vec<Key> {
        match question {
            Query::Barrier { covers, .. } | Query::RoomBarrier { covers } => covers.clone(),
            Query::Identity { jobs, .. } | Query::Uptime(jobs) => jobs.clone(),
            Query::Lookalike { job } => vec![*job],
            Query::ArchiveLookup(lookup) => lookup.jobs().to_vec(),
            Query::Destroy { room }
            | Query::Configure { room }
            | Query::Kept { room }
            | Query::HistoryEnd { room }
            | Query::Service { room, .. } => self.jobs_of(room),
        }
    }
}

impl Query {
    /// Returns the room whose state a question is about.
    pub(super) fn room(&self) -> Option<&crate::jid::Jid> {
        match self {
            Self::Destroy { room }
            | Self::Configure { room }
            | Self::Kept { room }
            | Self::HistoryEnd { room }
            | Self::Service { room, .. } => Some(room),
            _ => None,
        }
    }
}

impl Job {
    /// Returns true if nothing came for it yet.
    fn is_unanswered(&self) -> bool {
        self.passed == BarrierState::Nothing && self.answered_at.is_none() && !self.shown && !self.lookalike
    }
}
