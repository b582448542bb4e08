//! Messages to people that may have been said already: the account's own archive (XEP-0313) is looked
//! through before they are said again.
//!
//! What stands there was taken by our server. A server that goes down may have archived a message and
//! never passed it on, so what is found counts only where the server says (XEP-0012) that it has been
//! up since before the message was written; else it is said again under the same id. Whether it came
//! back later the archive does not say, so that it counts as handed over and no more.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Courier, Key, Past, Question, stamp_before};
use crate::Jid;
use crate::id;
use crate::message::{Confirm, ConfirmedBy, Note, Target};
use crate::ns;
use crate::xml::Element;

/// How many messages one page holds; servers may give fewer.
const PAGE: u32 = 100;
/// How many pages are looked at, the newest first.
const PAGES_MAX: u32 = 10;

/// A look under way, for messages to one person.
pub(super) struct Look {
    with: Jid,
    since: SystemTime,
    query_id: String,
    jobs: Vec<Key>,
    pages: u32,
}

impl Courier {
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
            .child(field("with", &look.with.to_string()))
            .child(field("start", &stamp_before(look.since)));
        let page = Element::new("set", ns::RSM)
            .child(Element::new("max", ns::RSM).text(PAGE.to_string()))
            .child(Element::new("before", ns::RSM).text(before));
        let query = Element::new("query", ns::MAM)
            .attr("queryid", look.query_id.clone())
            .child(form)
            .child(page);
        let own = self.own.to_string();
        self.ask(&own, query, Question::Look(look));
    }

    /// An archived message, if it is one that we asked for.
    pub(super) fn archived(&mut self, stanza: &Element, from: Option<&Jid>) -> bool {
        let Some(result) = stanza.find("result", ns::MAM) else {
            return false;
        };
        let Some(query_id) = result.get("queryid") else {
            return false;
        };
        let known = self
            .questions
            .values()
            .any(|question| matches!(question, Question::Look(look) if look.query_id == query_id));
        // Nobody else may speak for our archive.
        if !known || from.is_some_and(|from| *from != self.own) {
            return false;
        }
        let message = result
            .find("forwarded", ns::FORWARD)
            .and_then(|forwarded| forwarded.find("message", ns::CLIENT));
        let Some(message) = message else { return true };
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
            && job.past == Past::Unknown
        {
            job.past = Past::Found;
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
        let missing = look
            .jobs
            .iter()
            .any(|key| self.jobs.get(key).is_some_and(|job| job.past == Past::Unknown));
        if let Some(first) = first
            && !complete
            && missing
            && look.pages < PAGES_MAX
        {
            look.pages += 1;
            return self.ask_archive(look, &first);
        }
        let (found, missing) = look
            .jobs
            .into_iter()
            .partition(|key| self.jobs.get(key).is_some_and(|job| job.past == Past::Found));
        let found: Vec<Key> = found;
        self.say_again(missing);
        if !found.is_empty() {
            let domain = self.own.domain().to_owned();
            let query = Element::new("query", ns::LAST);
            self.ask(&domain, query, Question::Uptime(found));
        }
    }

    /// How long the server has been up: the end for the messages that were found.
    pub(super) fn uptime(&mut self, jobs: Vec<Key>, answer: &Element) {
        let up = up_for(answer);
        let mut again = Vec::new();
        for key in jobs {
            let Some(job) = self.jobs.get_mut(&key) else {
                continue;
            };
            if !job.taken_at.is_some_and(|taken_at| lived_since(taken_at, up)) {
                again.push(key);
                continue;
            }
            job.past = Past::Settled;
            job.released = true;
            job.written = true;
            job.passed = super::Passed::Own;
            job.notes.push(Note::FoundInArchive);
            match job.asked {
                Confirm::Sent => self.deliver(key, ConfirmedBy::Sent),
                // Its receipt may still come.
                Confirm::Receipt => {}
                _ => self.deliver(key, ConfirmedBy::HandedOver),
            }
        }
        self.say_again(again);
    }

    fn say_again(&mut self, jobs: Vec<Key>) {
        if jobs.is_empty() {
            return;
        }
        for key in jobs {
            if let Some(job) = self.jobs.get_mut(&key) {
                job.past = Past::Settled;
                self.release(key);
                self.unsealed.push(key);
            }
        }
        self.seal();
    }
}

/// How long a server says that it has been up.
pub(super) fn up_for(answer: &Element) -> Option<Duration> {
    answer
        .find("query", ns::LAST)
        .filter(|_| answer.get("type") == Some("result"))
        .and_then(|query| query.get("seconds"))
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}

/// Whether a server that has been up for so long was up at this time. Not knowing is no.
pub(super) fn lived_since(time: SystemTime, up: Option<Duration>) -> bool {
    // Whole seconds, rounded by nobody knows whom.
    let slack = Duration::from_secs(1);
    matches!((up, SystemTime::now().duration_since(time)), (Some(up), Ok(age)) if up > age + slack)
}
