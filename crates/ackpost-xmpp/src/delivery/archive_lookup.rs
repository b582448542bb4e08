//! Search for messages that may have been sent already.
//!
//! The account's own archive, or that of the room (XEP-0313), is searched before they are sent again, and the server is
//! asked how long it has been up (XEP-0012).
//!
//! The archive shows that our server took a message. If the server restarted since, that does not prove that it passed
//! the message on, and after a crash the archive may have lost its end. A message is sent again only if the archive
//! shows that it is missing, or, once, if there is no archive to ask or another process saw the end of the connection.
//! Otherwise it ends as handed over or in doubt. See `docs/adr/0004-…`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{DeliveryTracker, Job, Key, PriorAttempt, Query, reaches_back, stored_at};
use crate::error::{Doubt, XmppError};
use crate::id;
use crate::jid::Jid;
use crate::message::{Confirm, ConfirmedBy, Note, Target};
use crate::ns;
use crate::xml::Element;

/// Messages on one page; servers may give fewer.
const PAGE: u32 = 100;
/// Maximum number of pages that are read, the newest first. They are read from the end of the archive, not from a time on,
/// because our clock may be ahead of the server's.
const PAGES_MAX: u32 = 10;
/// The end of the connection before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not known: another process or another call had it.
    Unknown,
    /// The server said that it stops, or closed the stream in order: its archive is whole.
    Said,
    /// The connection was cut, by the network or because the server crashed, or ended for another reason than that the
    /// server stops. If the server is found to have restarted, it may have crashed.
    Cut,
}

/// The next step for a message that may have been sent already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupResult {
    /// It is missing, so it is sent again.
    Again,
    /// Nothing shows whether it is missing.
    AgainInDoubt,
    /// The server took it and lived on.
    HandedOver,
    /// The room showed it before.
    Shown,
    InDoubt(Doubt),
}

/// A look under way, for messages to one person or room.
pub(super) struct ArchiveLookup {
    with: Jid,
    /// The archive is that of the room, not our own.
    in_room: bool,
    query_id: String,
    jobs: Vec<Key>,
    pages: u32,
    /// The oldest message that was read, by the clock of the archive.
    oldest: Option<SystemTime>,
}

impl ArchiveLookup {
    fn new(with: Jid, in_room: bool, jobs: Vec<Key>) -> Self {
        Self {
            with,
            in_room,
            query_id: id::short(),
            jobs,
            pages: 1,
            oldest: None,
        }
    }

    pub(super) fn jobs(&self) -> &[Key] {
        &self.jobs
    }
}

impl DeliveryTracker {
    /// Asks about the messages that must be looked for first.
    pub(super) fn look_up(&mut self, jobs: Vec<Key>) {
        let mut people: BTreeMap<Jid, Vec<Key>> = BTreeMap::new();
        for key in jobs {
            let Some(job) = self.jobs.get(&key) else { continue };
            if let Target::User(to) = &job.target {
                people.entry(to.to_bare()).or_default().push(key);
            }
        }
        for (with, jobs) in people {
            self.ask_archive(ArchiveLookup::new(with, false, jobs), "");
        }
    }

    /// Asks the archive of a room about messages that its history does not hold.
    pub(super) fn look_up_in_room(&mut self, room: &Jid, jobs: Vec<Key>) {
        if !jobs.is_empty() {
            self.ask_archive(ArchiveLookup::new(room.clone(), true, jobs), "");
        }
    }

    fn ask_archive(&mut self, lookup: ArchiveLookup, before: &str) {
        let field = |name: &str, value: &str| {
            Element::new("field", ns::DATA_FORMS)
                .attr("var", name)
                .child(Element::new("value", ns::DATA_FORMS).text(value))
        };
        let form = Element::new("x", ns::DATA_FORMS)
            .attr("type", "submit")
            .child(field("FORM_TYPE", ns::MAM).attr("type", "hidden"))
            .child_opt((!lookup.in_room).then(|| field("with", &lookup.with.to_string())));
        let page = Element::new("set", ns::RSM)
            .child(Element::new("max", ns::RSM).text(PAGE.to_string()))
            .child(Element::new("before", ns::RSM).text(before));
        let query = Element::new("query", ns::MAM)
            .attr("queryid", lookup.query_id.clone())
            .child(form)
            .child(page);
        let archive = if lookup.in_room { &lookup.with } else { &self.own };
        let archive = archive.to_string();
        self.ask(&archive, query, Query::ArchiveLookup(lookup));
    }

    /// An archived message, if it is one that we asked for.
    pub(super) fn archived(&mut self, stanza: &Element, from: Option<&Jid>) -> bool {
        let Some(result) = stanza.find("result", ns::MAM) else {
            return false;
        };
        let Some(query_id) = result.get("queryid") else {
            return false;
        };
        let lookup = self
            .questions
            .values_mut()
            .find_map(|(_, question)| match question {
                Query::ArchiveLookup(lookup) if lookup.query_id == query_id => Some(lookup),
                _ => None,
            });
        let Some(lookup) = lookup else { return false };
        let room = lookup.in_room.then(|| lookup.with.clone());
        // Nobody else may speak for an archive.
        let speaks = match (&room, from) {
            (None, None) => true,
            (None, Some(from)) => *from == self.own,
            (Some(room), from) => from == Some(room),
        };
        if !speaks {
            return false;
        }
        let forwarded = result.find("forwarded", ns::FORWARD);
        let oldest = [lookup.oldest, forwarded.and_then(stored_at)];
        lookup.oldest = oldest.into_iter().flatten().min();
        let message = forwarded.and_then(|forwarded| forwarded.find("message", ns::CLIENT));
        let Some(message) = message else { return true };
        if let Some(room) = room {
            self.found_in_room(&room, message);
            return true;
        }
        let origin = message.find("origin-id", ns::SID).and_then(|id| id.get("id"));
        let key = [origin, message.get("id")]
            .into_iter()
            .flatten()
            .find_map(|id| self.by_id.get(id).copied());
        let from_us = message
            .get("from")
            .and_then(|from| from.parse::<Jid>().ok())
            .is_some_and(|from| from.same_bare(&self.own));
        if let Some(job) = key.and_then(|key| self.jobs.get_mut(&key))
            && from_us
            && job.prior == PriorAttempt::Unknown
        {
            job.prior = PriorAttempt::Found;
        }
        true
    }

    /// The end of a page, or the refusal of the question.
    pub(super) fn lookup_answered(&mut self, mut lookup: ArchiveLookup, answer: &Element) {
        let fin = answer.find("fin", ns::MAM);
        let complete = fin.is_some_and(|fin| matches!(fin.get("complete"), Some("true" | "1")));
        let first = fin
            .and_then(|fin| fin.find("set", ns::RSM))
            .and_then(|set| set.content_of("first", ns::RSM));
        let oldest = lookup.oldest;
        let read = |job: &Job| complete || job.taken_at.is_some_and(|written| reaches_back(oldest, written));
        let jobs = lookup.jobs.iter().filter_map(|key| self.jobs.get(key));
        let open = jobs
            .filter(|job| job.prior == PriorAttempt::Unknown)
            .any(|job| !read(job));
        if let Some(first) = first
            && open
            && lookup.pages < PAGES_MAX
        {
            lookup.pages += 1;
            return self.ask_archive(lookup, &first);
        }
        for key in &lookup.jobs {
            if let Some(job) = self.jobs.get_mut(key)
                && job.prior == PriorAttempt::Unknown
            {
                job.prior = if read(job) {
                    PriorAttempt::Missing
                } else {
                    PriorAttempt::NoArchive
                };
            }
        }
        let domain = self.own.domain().to_owned();
        let query = Element::new("query", ns::LAST);
        self.ask(&domain, query, Query::Uptime(lookup.jobs));
    }

    /// Decides about messages that were looked for, now that it is known how long the server has been up.
    pub(super) fn uptime(&mut self, jobs: Vec<Key>, answer: &Element) {
        let up = up_for(answer);
        let mut again = Vec::new();
        for key in jobs {
            let Some(job) = self.jobs.get(&key) else {
                continue;
            };
            let lived_on = up
                .filter(|_| job.taken_at.is_some())
                .map(|up| job.age().is_some_and(|age| lived_for(age, up)));
            let result = match job.target {
                Target::User(_) => self.lookup_result(job, lived_on),
                Target::Room(_) => self.missed_result(job, lived_on),
            };
            match result {
                LookupResult::Again => again.push(key),
                LookupResult::AgainInDoubt => {
                    if let Some(job) = self.jobs.get_mut(&key) {
                        job.doubtful = true;
                        job.notes.push(Note::RepeatedInDoubt);
                    }
                    again.push(key);
                }
                LookupResult::HandedOver => self.handed_over(key),
                LookupResult::Shown => self.deliver(key, ConfirmedBy::Room),
                LookupResult::InDoubt(why) => {
                    let error = self.in_doubt(key, why);
                    self.fail(key, error);
                }
            }
        }
        self.send_again(again);
    }

    /// `lived_on`: whether the server has been up since before the message was written, if it says so.
    fn lookup_result(&self, job: &Job, lived_on: Option<bool>) -> LookupResult {
        let answered = job.outlived.is_some();
        let passed_on = job.outlived == Some(true);
        let restarted = lived_on == Some(false);
        // Such a server archives a message and passes it on in one step, which only a crash interrupts, and loses
        // nothing of its archive.
        let in_order = self.line.in_order();
        let one_step = in_order && self.last_end != Ending::Cut;
        let whole = lived_on == Some(true) || in_order || self.last_end == Ending::Said;
        match job.prior {
            PriorAttempt::Found if !restarted || one_step || passed_on => LookupResult::HandedOver,
            PriorAttempt::Found => LookupResult::InDoubt(Doubt::Restarted),
            PriorAttempt::Missing if whole => LookupResult::Again,
            _ if passed_on => LookupResult::HandedOver,
            PriorAttempt::Missing if self.may_have_lost_the_end(lived_on) => {
                LookupResult::InDoubt(Doubt::Forgotten)
            }
            PriorAttempt::NoArchive if answered && !restarted => LookupResult::HandedOver,
            _ if answered => LookupResult::InDoubt(Doubt::Forgotten),
            _ if job.doubtful => LookupResult::InDoubt(Doubt::NoArchive),
            _ => LookupResult::AgainInDoubt,
        }
    }

    /// Returns true if the server crashed under the messages: an archive then lacks the last, although the recipient may have it.
    pub(super) fn may_have_lost_the_end(&self, lived_on: Option<bool>) -> bool {
        lived_on == Some(false) && self.last_end == Ending::Cut
    }

    /// Ends a message that the server took over an earlier connection.
    fn handed_over(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        job.notes.push(if job.prior == PriorAttempt::Found {
            Note::FoundInArchive
        } else {
            Note::TakenBefore
        });
        job.prior = PriorAttempt::Settled;
        job.released = true;
        job.written = true;
        job.passed = super::BarrierState::Own;
        match job.asked {
            Confirm::Sent => self.deliver(key, ConfirmedBy::Sent),
            // Its receipt may still come.
            Confirm::Receipt => {}
            _ => self.deliver(key, ConfirmedBy::HandedOver),
        }
    }

    /// The error of a message that is not sent again although it is unknown whether it arrived.
    pub(super) fn in_doubt(&self, key: Key, why: Doubt) -> XmppError {
        let to = self
            .jobs
            .get(&key)
            .map_or_else(|| self.own.clone(), |job| job.target.address());
        XmppError::InDoubt { to, why }
    }

    /// The connection ended; the last word on it came then. A session that is resumed goes on where it was, so the
    /// questions and the settle times stay until it is known that it is not ([`start_over`](Self::start_over)).
    pub(crate) fn cut(&mut self, last_word: Instant, ending: Ending) {
        self.last_end = ending;
        let needed = self.settle_needed();
        for job in self.jobs.values_mut() {
            if let Some(answered_at) = job.answered_at.take() {
                let lived = last_word.saturating_duration_since(answered_at);
                job.outlived = Some(job.outlived == Some(true) || lived >= needed);
            }
        }
    }

    fn send_again(&mut self, jobs: Vec<Key>) {
        if jobs.is_empty() {
            return;
        }
        for key in jobs {
            if let Some(job) = self.jobs.get_mut(&key) {
                job.prior = PriorAttempt::Settled;
                job.outlived = None;
                self.release(key);
                self.without_barrier.push(key);
            }
        }
        self.add_barrier();
    }
}

/// Returns the time for which a server says that it has been up.
fn up_for(answer: &Element) -> Option<Duration> {
    answer
        .find("query", ns::LAST)
        .filter(|_| answer.get("type") == Some("result"))
        .and_then(|query| query.get("seconds"))
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}

impl Job {
    /// Returns the time since it was written; `None` if a clock was set back meanwhile. The larger of two clocks counts: one
    /// can be set, and the other one stands still while the machine sleeps.
    fn age(&self) -> Option<Duration> {
        let by_date = self
            .taken_at
            .and_then(|taken_at| SystemTime::now().duration_since(taken_at).ok());
        let steady = self.taken.map(|taken| taken.elapsed());
        by_date.max(steady)
    }
}

/// Returns true if a server that has been up for so long was up so long ago.
fn lived_for(age: Duration, up: Duration) -> bool {
    // Whole seconds, rounded by nobody knows whom.
    up > age + Duration::from_secs(1)
}
