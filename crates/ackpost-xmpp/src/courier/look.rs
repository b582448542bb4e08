//! Messages that may have been said already: the account's own archive, or that of the room (XEP-0313), is
//! looked through before they are said again, and the server is asked how long it has been up (XEP-0012).
//!
//! The archive shows that our server took a message. Where the server restarted since, that is not
//! enough to know whether it passed the message on, and after a crash the archive may have lost its
//! end. A message is said again only if the archive shows that it is missing, or, once, if there is no
//! archive to ask. Otherwise it ends as handed over or in doubt. See `docs/adr/0004-…`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{DeliveryTracker, Job, Key, PriorAttempt, Question, stamp_before};
use crate::Jid;
use crate::error::{Doubt, XmppError};
use crate::id;
use crate::message::{Confirm, ConfirmedBy, Note, Target};
use crate::ns;
use crate::xml::Element;

/// How many messages one page holds; servers may give fewer.
const PAGE: u32 = 100;
/// How many pages are looked at, the newest first.
const PAGES_MAX: u32 = 10;
/// A server that lived on for so long after it answered behind a message has passed it on. The slowest
/// session of a recipient that was measured took 14 ms.
pub(super) const PASSED_ON_AFTER: Duration = Duration::from_millis(15);

/// How the connection before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not known: another process or another call had it.
    Unknown,
    /// The server said that it ends: it stopped in order, and its archive is whole.
    Said,
    /// The connection was cut: by the network, or because the server crashed.
    Cut,
}

/// What is to be done about a message that may have been said already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is missing.
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
pub(super) struct Look {
    with: Jid,
    /// The archive is that of the room, not our own.
    in_room: bool,
    since: SystemTime,
    query_id: String,
    jobs: Vec<Key>,
    pages: u32,
}

impl DeliveryTracker {
    /// Asks about the messages that must be looked for first.
    pub(super) fn look_for(&mut self, jobs: Vec<Key>) {
        let mut people: BTreeMap<Jid, (SystemTime, Vec<Key>)> = BTreeMap::new();
        for key in jobs {
            let Some(job) = self.jobs.get(&key) else { continue };
            let (Target::User(to), Some(since)) = (&job.target, job.taken_at) else {
                continue;
            };
            let (earliest, keys) = people.entry(to.to_bare()).or_insert_with(|| (since, Vec::new()));
            *earliest = since.min(*earliest);
            keys.push(key);
        }
        for (with, (since, jobs)) in people {
            let look = Look {
                with,
                in_room: false,
                since,
                query_id: id::short(),
                jobs,
                pages: 1,
            };
            self.ask_archive(look, "");
        }
    }

    /// Asks the archive of a room about messages that its history does not hold.
    pub(super) fn look_in_room(&mut self, room: &Jid, jobs: Vec<Key>) {
        let since = jobs
            .iter()
            .filter_map(|key| self.jobs.get(key).and_then(|job| job.taken_at))
            .min();
        if let Some(since) = since {
            let look = Look {
                with: room.clone(),
                in_room: true,
                since,
                query_id: id::short(),
                jobs,
                pages: 1,
            };
            self.ask_archive(look, "");
        }
    }

    fn ask_archive(&mut self, look: Look, before: &str) {
        let field = |name: &str, value: &str| {
            Element::new("field", ns::DATA_FORMS)
                .attr("var", name)
                .child(Element::new("value", ns::DATA_FORMS).text(value))
        };
        let form = Element::new("x", ns::DATA_FORMS)
            .attr("type", "submit")
            .child(field("FORM_TYPE", ns::MAM).attr("type", "hidden"))
            .child_opt((!look.in_room).then(|| field("with", &look.with.to_string())))
            .child(field("start", &stamp_before(look.since)));
        let page = Element::new("set", ns::RSM)
            .child(Element::new("max", ns::RSM).text(PAGE.to_string()))
            .child(Element::new("before", ns::RSM).text(before));
        let query = Element::new("query", ns::MAM)
            .attr("queryid", look.query_id.clone())
            .child(form)
            .child(page);
        let archive = if look.in_room { &look.with } else { &self.own };
        let archive = archive.to_string();
        self.ask(&archive, query, Question::Look(look));
    }

    /// An archived message, if it is one that we asked for.
    pub(super) fn archived(&mut self, stanza: &Element, from: Option<&Jid>) -> bool {
        let Some(result) = stanza.find("result", ns::MAM) else {
            return false;
        };
        let Some(query_id) = result.get("queryid") else {
            return false;
        };
        let look = self.questions.values().find_map(|(_, question)| match question {
            Question::Look(look) if look.query_id == query_id => Some(look),
            _ => None,
        });
        let Some(look) = look else { return false };
        let room = look.in_room.then(|| look.with.clone());
        // Nobody else may speak for an archive.
        let speaks = match (&room, from) {
            (None, None) => true,
            (None, Some(from)) => *from == self.own,
            (Some(room), from) => from == Some(room),
        };
        if !speaks {
            return false;
        }
        let message = result
            .find("forwarded", ns::FORWARD)
            .and_then(|forwarded| forwarded.find("message", ns::CLIENT));
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
            && job.past == PriorAttempt::Unknown
        {
            job.past = PriorAttempt::Found;
        }
        true
    }

    /// The end of a page, or the refusal of the question.
    pub(super) fn looked(&mut self, mut look: Look, answer: &Element) {
        let fin = answer.find("fin", ns::MAM);
        let complete = fin.is_none_or(|fin| matches!(fin.get("complete"), Some("true" | "1")));
        let first = fin
            .and_then(|fin| fin.find("set", ns::RSM))
            .and_then(|set| set.content_of("first", ns::RSM));
        let missing = look.jobs.iter().any(|key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.past == PriorAttempt::Unknown)
        });
        if let Some(first) = first
            && !complete
            && missing
            && look.pages < PAGES_MAX
        {
            look.pages += 1;
            return self.ask_archive(look, &first);
        }
        let nothing = if fin.is_some() {
            PriorAttempt::Missing
        } else {
            PriorAttempt::NoArchive
        };
        for key in &look.jobs {
            if let Some(job) = self.jobs.get_mut(key)
                && job.past == PriorAttempt::Unknown
            {
                job.past = nothing;
            }
        }
        let domain = self.own.domain().to_owned();
        let query = Element::new("query", ns::LAST);
        self.ask(&domain, query, Question::Uptime(look.jobs));
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
                .zip(job.taken_at)
                .map(|(up, taken_at)| lived_since(taken_at, up));
            let verdict = match job.target {
                Target::User(_) => self.verdict(job, lived_on),
                Target::Room(_) => self.verdict_on_missed(job, lived_on),
            };
            match verdict {
                Verdict::Again => again.push(key),
                Verdict::AgainInDoubt => {
                    if let Some(job) = self.jobs.get_mut(&key) {
                        job.doubtful = true;
                        job.notes.push(Note::RepeatedInDoubt);
                    }
                    again.push(key);
                }
                Verdict::HandedOver => self.handed_over(key),
                Verdict::Shown => self.deliver(key, ConfirmedBy::Room),
                Verdict::InDoubt(why) => {
                    let error = self.in_doubt(key, why);
                    self.fail(key, error);
                }
            }
        }
        self.say_again(again);
    }

    /// `lived_on`: whether the server has been up since before the message was written, if it says so.
    fn verdict(&self, job: &Job, lived_on: Option<bool>) -> Verdict {
        let answered = job.lived.is_some();
        let passed_on = job.lived.is_some_and(|lived| lived >= PASSED_ON_AFTER);
        let restarted = lived_on == Some(false);
        // Such a server archives a message and passes it on in one step, which only a crash interrupts, and loses
        // nothing of its archive.
        let in_order = self.line.in_order();
        let one_step = in_order && self.last_end != Ending::Cut;
        let whole = lived_on == Some(true) || in_order || self.last_end == Ending::Said;
        match job.past {
            PriorAttempt::Found if !restarted || one_step || passed_on => Verdict::HandedOver,
            PriorAttempt::Found => Verdict::InDoubt(Doubt::Restarted),
            PriorAttempt::Missing if whole => Verdict::Again,
            _ if passed_on => Verdict::HandedOver,
            PriorAttempt::NoArchive if answered && !restarted => Verdict::HandedOver,
            _ if answered => Verdict::InDoubt(Doubt::Forgotten),
            _ if job.doubtful => Verdict::InDoubt(Doubt::NoArchive),
            _ => Verdict::AgainInDoubt,
        }
    }

    /// Ends a message that the server took over an earlier connection.
    fn handed_over(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        job.notes.push(if job.past == PriorAttempt::Found {
            Note::FoundInArchive
        } else {
            Note::TakenBefore
        });
        job.past = PriorAttempt::Settled;
        job.released = true;
        job.written = true;
        job.passed = super::Passed::Own;
        match job.asked {
            Confirm::Sent => self.deliver(key, ConfirmedBy::Sent),
            // Its receipt may still come.
            Confirm::Receipt => {}
            _ => self.deliver(key, ConfirmedBy::HandedOver),
        }
    }

    /// The error of a message that is not said again although nobody knows whether it arrived.
    pub(super) fn in_doubt(&self, key: Key, why: Doubt) -> XmppError {
        let to = self
            .jobs
            .get(&key)
            .map_or_else(|| self.own.clone(), |job| job.target.address());
        XmppError::InDoubt { to, why }
    }

    /// The connection ended; the last word on it came then.
    pub(crate) fn cut(&mut self, last_word: Instant, ending: Ending) {
        self.last_end = ending;
        self.due.clear();
        for job in self.jobs.values_mut() {
            if let Some(answered_at) = job.answered_at.take() {
                let lived = last_word.saturating_duration_since(answered_at);
                job.lived = Some(job.lived.unwrap_or_default().max(lived));
            }
        }
    }

    fn say_again(&mut self, jobs: Vec<Key>) {
        if jobs.is_empty() {
            return;
        }
        for key in jobs {
            if let Some(job) = self.jobs.get_mut(&key) {
                job.past = PriorAttempt::Settled;
                job.lived = None;
                self.release(key);
                self.unsealed.push(key);
            }
        }
        self.seal();
    }
}

/// How long a server says that it has been up.
fn up_for(answer: &Element) -> Option<Duration> {
    answer
        .find("query", ns::LAST)
        .filter(|_| answer.get("type") == Some("result"))
        .and_then(|query| query.get("seconds"))
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}

/// Whether a server that has been up for so long was up at this time.
fn lived_since(time: SystemTime, up: Duration) -> bool {
    // Whole seconds, rounded by nobody knows whom.
    let slack = Duration::from_secs(1);
    SystemTime::now()
        .duration_since(time)
        .is_ok_and(|age| up > age + slack)
}
