//! Catching up from archives (XEP-0313).

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use crate::addressee::Addressee;
use crate::id;
use crate::jid::Jid;
use crate::ns;
use crate::xml::Element;

use super::refer::ArchivePlace;

/// Messages on one page.
const PAGE: u32 = 100;
/// Maximum number of pages that are read from one archive after a login.
const PAGES_MAX: u32 = 10_000;
/// Maximum number of messages that are remembered, to show none twice.
const SEEN_MAX: usize = 4096;

/// The archives that are followed, and the messages seen in them.
#[derive(Default)]
pub(super) struct Archives {
    /// The id of the last message seen in each.
    last: HashMap<Jid, Place>,
    /// The position of messages that came live while older ones were still being fetched.
    ahead: HashMap<Jid, String>,
    /// Archives still to be queried on this connection.
    pending: HashSet<Jid>,
    /// The running queries, by query id.
    running: HashMap<String, Running>,
    /// Query ids, by the id of the iq.
    by_iq: HashMap<String, String>,
    seen: Seen,
}

/// A query for one page.
struct Running {
    archive: Jid,
    /// The id of the last message before this page.
    after: Option<String>,
    /// Number of messages that came.
    results: u32,
    /// Number of pages before this one.
    pages: u32,
}

/// The position from which to go on in an archive.
#[derive(Clone)]
enum Place {
    /// After the message with this id.
    After(String),
    /// Nothing was seen yet: from this time on (XEP-0082), which is the start of this session.
    Since(String),
    /// An earlier session began at this time and saw nothing.
    Earlier(String),
    /// From the beginning.
    Start,
}

/// The result of a query.
pub(super) enum Page {
    /// The next question, already built.
    More(Element),
    Done(Jid),
    /// The archive no longer knows where we were; the question starts at its beginning.
    Gap(Jid, Element),
    /// The archive cannot be read. With true, it may be a matter of time; else there is none, or we may not read it.
    Failed(Jid, bool),
}

impl Archives {
    /// Follows an archive from behind this message, or from now on.
    pub(super) fn follow(&mut self, archive: &Jid, after: Option<String>, now: String) {
        let place = after.map_or(Place::Since(now), Place::After);
        self.last.insert(archive.to_bare(), place);
    }

    /// Follows an archive from this time on, unless the id of a message is known.
    pub(super) fn follow_since(&mut self, archive: &Jid, since: String) {
        let place = self.last.entry(archive.to_bare()).or_insert(Place::Start);
        if !matches!(place, Place::After(_)) {
            *place = Place::Earlier(since);
        }
    }

    /// The question that begins to catch up with our own archive. Rooms follow when we are in them: an earlier question
    /// would miss the messages between the answer and the join. On the first connection only archives that have a place
    /// to begin at are asked.
    pub(super) fn catch_up(&mut self, own: &Jid, first: bool) -> Option<Element> {
        self.running.clear();
        self.by_iq.clear();
        self.ahead.clear();
        self.pending = self
            .last
            .iter()
            .filter(|(_, place)| !(first && matches!(place, Place::Since(_))))
            .map(|(jid, _)| jid.clone())
            .collect();
        self.catch_up_with(&own.to_bare(), own)
    }

    /// Marks a room that we had left for a while: its messages of that time are requested once we are in again.
    pub(super) fn again(&mut self, room: &Jid) {
        if self.last.contains_key(room) {
            self.pending.insert(room.clone());
        }
    }

    /// The question that begins to catch up with this archive, if it is still to be asked.
    pub(super) fn catch_up_with(&mut self, archive: &Jid, own: &Jid) -> Option<Element> {
        if !self.pending.remove(archive) {
            return None;
        }
        let place = self.last.get(archive)?.clone();
        Some(self.question(archive, &place, own, 0))
    }

    /// `pages`: number of pages read before.
    fn question(&mut self, archive: &Jid, place: &Place, own: &Jid, pages: u32) -> Element {
        let query_id = id::short();
        let iq_id = format!("mam-{}", id::short());
        let mut set = Element::new("set", ns::RSM).child(Element::new("max", ns::RSM).text(PAGE.to_string()));
        let mut form = None;
        match place {
            Place::After(after) => set.push(Element::new("after", ns::RSM).text(after.clone())),
            Place::Since(since) | Place::Earlier(since) => {
                let field = |name: &str, value: &str| {
                    Element::new("field", ns::DATA_FORMS)
                        .attr("var", name)
                        .child(Element::new("value", ns::DATA_FORMS).text(value))
                };
                form = Some(
                    Element::new("x", ns::DATA_FORMS)
                        .attr("type", "submit")
                        .child(field("FORM_TYPE", ns::MAM).attr("type", "hidden"))
                        .child(field("start", since)),
                );
            }
            Place::Start => {}
        }
        let to = (*archive != own.to_bare()).then(|| archive.to_string());
        let running = Running {
            archive: archive.clone(),
            after: match place {
                Place::After(after) => Some(after.clone()),
                Place::Since(_) | Place::Earlier(_) | Place::Start => None,
            },
            results: 0,
            pages,
        };
        self.running.insert(query_id.clone(), running);
        self.by_iq.insert(iq_id.clone(), query_id.clone());
        let query = Element::new("query", ns::MAM)
            .attr("queryid", query_id)
            .child_opt(form)
            .child(set);
        Element::new("iq", ns::CLIENT)
            .attr("type", "set")
            .attr("id", iq_id)
            .attr_opt("to", to)
            .child(query)
    }

    /// The archived message in a stanza: the message, its place, and when it was stored.
    pub(super) fn result<'a>(
        &mut self,
        stanza: &'a Element,
        own: &Jid,
    ) -> Option<(&'a Element, ArchivePlace, Option<String>)> {
        let result = stanza.find("result", ns::MAM)?;
        let query_id = result.get("queryid")?;
        let by = self.running.get(query_id)?.archive.clone();
        // Nobody else may speak for an archive.
        let from = stanza
            .get("from")
            .map_or(Some(own.to_bare()), |from| from.parse().ok())?;
        if from.to_bare() != by {
            return None;
        }
        if let Some(running) = self.running.get_mut(query_id) {
            running.results += 1;
        }
        let id = result.get("id")?.to_owned();
        let forwarded = result.find("forwarded", ns::FORWARD)?;
        let message = forwarded.find("message", ns::CLIENT)?;
        let stamp = forwarded
            .find("delay", ns::DELAY)
            .and_then(|delay| delay.get("stamp"))
            .map(ToOwned::to_owned);
        Some((message, ArchivePlace { by, id }, stamp))
    }

    /// The end of a page. `None` when the stanza is none.
    pub(super) fn page(&mut self, stanza: &Element, own: &Jid) -> Option<Page> {
        // Nobody else may speak for an archive.
        let iq_id = stanza.get("id")?;
        let asked = &self.running.get(self.by_iq.get(iq_id)?)?.archive;
        if !Addressee::new(&asked.to_string(), own).is_answered_by(stanza) {
            return None;
        }
        let query_id = self.by_iq.remove(iq_id)?;
        let Running {
            archive,
            after,
            results,
            pages,
        } = self.running.remove(&query_id)?;
        if stanza.get("type") == Some("error") {
            let problem = crate::stanza_error::StanzaError::of(stanza);
            let had_place = matches!(self.last.get(&archive), Some(Place::After(_)));
            if problem.condition == "item-not-found" && had_place {
                self.last.insert(archive.clone(), Place::Start);
                let question = self.question(&archive, &Place::Start, own, pages + 1);
                return Some(Page::Gap(archive, question));
            }
            tracing::debug!(%archive, condition = %problem.condition, "the archive cannot be read");
            let temporary = problem.may_pass(crate::stanza_error::ErrorOrigin::Room);
            return Some(Page::Failed(archive, temporary));
        }
        let Some(fin) = stanza.find("fin", ns::MAM) else {
            tracing::debug!(%archive, "the archive gave an answer without an end");
            return Some(Page::Failed(archive, false));
        };
        let set = fin.find("set", ns::RSM);
        let last = set.and_then(|set| set.content_of("last", ns::RSM));
        let complete = matches!(fin.get("complete"), Some("true" | "1"));
        Some(match last {
            // Nobody may make us ask for ever.
            Some(last)
                if !complete && (results == 0 || after.as_ref() == Some(&last) || pages >= PAGES_MAX) =>
            {
                tracing::debug!(%archive, pages, results, "the archive does not come to an end");
                Page::Failed(archive, false)
            }
            Some(last) if !complete => {
                Page::More(self.question(&archive, &Place::After(last), own, pages + 1))
            }
            _ => {
                if let Some(ahead) = self.ahead.remove(&archive) {
                    self.last.insert(archive.clone(), Place::After(ahead));
                }
                Page::Done(archive)
            }
        })
    }

    /// Notes where we are. `false` when the message was seen before.
    pub(super) fn note(&mut self, place: &ArchivePlace, from_archive: bool) -> bool {
        let fresh = self.seen.first_time(&format!("{}\0{}", place.by, place.id));
        let catching_up = self.pending.contains(&place.by)
            || self.running.values().any(|running| running.archive == place.by);
        if let Some(last) = self.last.get_mut(&place.by) {
            if catching_up && !from_archive {
                // Continuing from here after a break would skip messages that are still to be fetched.
                self.ahead.insert(place.by.clone(), place.id.clone());
            } else if fresh || from_archive {
                *last = Place::After(place.id.clone());
            }
        }
        fresh
    }

    /// Remembers a message of an author. Returns whether the same came before with a place in an archive, and without one.
    pub(super) fn seen_before(&mut self, from: &Jid, message: &str, placed: bool) -> (bool, bool) {
        let key = |placed: bool| format!("{from}\0\0{placed}\0{message}");
        let before = (self.seen.knows(&key(true)), self.seen.knows(&key(false)));
        self.seen.first_time(&key(placed));
        before
    }
}

/// The last few thousand things that were seen, as hashes under a random key: the texts would take ten times the memory, and
/// nobody can choose two texts with one hash.
#[derive(Default)]
struct Seen {
    key: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    fn knows(&self, what: &str) -> bool {
        self.known.contains(&self.key.hash_one(what))
    }

    fn first_time(&mut self, what: &str) -> bool {
        let what = self.key.hash_one(what);
        if !self.known.insert(what) {
            return false;
        }
        self.order.push_back(what);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "room@conference.example.org";

    struct Reading {
        archives: Archives,
        own: Jid,
    }

    impl Reading {
        fn begin() -> (Self, Element) {
            let own: Jid = "alice@example.org".parse().unwrap();
            let room: Jid = ROOM.parse().unwrap();
            let mut archives = Archives::default();
            archives.follow(&room, Some("0".to_owned()), String::new());
            archives.again(&room);
            let question = archives.catch_up_with(&room, &own).unwrap();
            (Self { archives, own }, question)
        }

        /// A page with so many messages and this end.
        fn page(&mut self, question: &Element, messages: u32, fin: &str) -> Page {
            let query = question
                .find("query", ns::MAM)
                .and_then(|query| query.get("queryid"));
            let query = query.unwrap();
            for message in 0..messages {
                let stanza = crate::xml::parse(&format!(
                    "<message xmlns='jabber:client' from='{ROOM}'><result xmlns='{}' queryid='{query}' id='{message}'>\
                     <forwarded xmlns='{}'><message xmlns='jabber:client'/></forwarded></result></message>",
                    ns::MAM,
                    ns::FORWARD
                ));
                assert!(self.archives.result(&stanza.unwrap(), &self.own).is_some());
            }
            let id = question.get("id").unwrap();
            let answer =
                format!("<iq xmlns='jabber:client' type='result' from='{ROOM}' id='{id}'>{fin}</iq>");
            let answer = crate::xml::parse(&answer).unwrap();
            self.archives.page(&answer, &self.own).unwrap()
        }
    }

    fn last(id: u32) -> String {
        format!(
            "<fin xmlns='{}'><set xmlns='{}'><last>{id}</last></set></fin>",
            ns::MAM,
            ns::RSM
        )
    }

    #[test]
    fn an_archive_that_does_not_come_to_an_end_is_not_asked_for_ever() {
        // The same place again, and a page without messages.
        for (messages, repeated) in [(1, true), (0, false)] {
            let (mut reading, question) = Reading::begin();
            let Page::More(question) = reading.page(&question, 1, &last(1)) else {
                panic!("a page with messages has a next one");
            };
            let end = last(if repeated { 1 } else { 2 });
            assert!(matches!(
                reading.page(&question, messages, &end),
                Page::Failed(..)
            ));
        }
        // A new place each time.
        let (mut reading, mut question) = Reading::begin();
        for page in 1..=PAGES_MAX {
            let Page::More(next) = reading.page(&question, 1, &last(page)) else {
                panic!("page {page} is the last");
            };
            question = next;
        }
        assert!(matches!(
            reading.page(&question, 1, &last(PAGES_MAX + 1)),
            Page::Failed(..)
        ));
    }

    #[test]
    fn an_answer_without_an_end_is_a_gap() {
        let (mut reading, question) = Reading::begin();
        assert!(matches!(reading.page(&question, 1, ""), Page::Failed(..)));
    }
}
