//! Catching up from archives (XEP-0313).

use std::collections::{HashMap, HashSet, VecDeque};

use crate::Jid;
use crate::asked::Asked;
use crate::id;
use crate::ns;
use crate::xml::Element;

use super::event::ArchivePlace;

/// How many messages one page holds.
const PAGE: u32 = 100;
/// How many messages are remembered, to show none twice.
const SEEN_MAX: usize = 4096;

/// The archives that are followed, and what was seen of them.
#[derive(Default)]
pub(super) struct Archives {
    /// The id of the last message seen in each.
    last: HashMap<Jid, Place>,
    /// What came live while older messages were still being fetched: the place to go on from after that.
    ahead: HashMap<Jid, String>,
    /// Still to be asked on this connection.
    pending: HashSet<Jid>,
    /// Queries under way, by query id: whose archive.
    running: HashMap<String, Jid>,
    /// The same by the id of the iq.
    by_iq: HashMap<String, String>,
    seen: Seen,
}

/// Where to go on in an archive.
#[derive(Clone)]
enum Place {
    /// Behind this message.
    After(String),
    /// Nothing was seen yet: from this time on (XEP-0082).
    Since(String),
    /// From the beginning.
    Start,
}

/// What a query came to.
pub(super) enum Page {
    /// The next question, already built.
    More(Element),
    Done,
    /// The archive no longer knows where we were; the question starts at its beginning.
    Gap(Jid, Element),
    /// No archive, or not for us.
    Failed(Jid),
}

impl Archives {
    /// Follows an archive from behind this message, or from now on.
    pub(super) fn follow(&mut self, archive: &Jid, after: Option<String>, now: String) {
        let place = after.map_or(Place::Since(now), Place::After);
        self.last.insert(archive.to_bare(), place);
    }

    /// The question that begins to catch up with our own archive. Rooms follow when we are in them:
    /// asked any earlier, what is said between the answer and the join would be missed. On the first
    /// connection only archives that have a place to begin at are asked.
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

    /// The question that begins to catch up with this archive, if it is still to be asked.
    pub(super) fn catch_up_with(&mut self, archive: &Jid, own: &Jid) -> Option<Element> {
        if !self.pending.remove(archive) {
            return None;
        }
        let place = self.last.get(archive)?.clone();
        Some(self.question(archive, &place, own))
    }

    fn question(&mut self, archive: &Jid, place: &Place, own: &Jid) -> Element {
        let query_id = id::short();
        let iq_id = format!("mam-{}", id::short());
        let mut set = Element::new("set", ns::RSM).child(Element::new("max", ns::RSM).text(PAGE.to_string()));
        let mut form = None;
        match place {
            Place::After(after) => set.push(Element::new("after", ns::RSM).text(after.clone())),
            Place::Since(since) => {
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
        self.running.insert(query_id.clone(), archive.clone());
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
        let by = self.running.get(result.get("queryid")?)?.clone();
        // Nobody else may speak for an archive.
        let from = stanza
            .get("from")
            .map_or(Some(own.to_bare()), |from| from.parse().ok())?;
        if from.to_bare() != by {
            return None;
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
        let asked = self.running.get(self.by_iq.get(iq_id)?)?;
        if !Asked::new(&asked.to_string(), own).is_answered_by(stanza) {
            return None;
        }
        let query_id = self.by_iq.remove(iq_id)?;
        let archive = self.running.remove(&query_id)?;
        if stanza.get("type") == Some("error") {
            let problem = crate::login::StanzaError::of(stanza);
            let had_place = matches!(self.last.get(&archive), Some(Place::After(_)));
            if problem.condition == "item-not-found" && had_place {
                self.last.insert(archive.clone(), Place::Start);
                let question = self.question(&archive, &Place::Start, own);
                return Some(Page::Gap(archive, question));
            }
            tracing::debug!(%archive, condition = %problem.condition, "the archive cannot be read");
            return Some(Page::Failed(archive));
        }
        let fin = stanza.find("fin", ns::MAM)?;
        let set = fin.find("set", ns::RSM);
        let last = set.and_then(|set| set.content_of("last", ns::RSM));
        let complete = matches!(fin.get("complete"), Some("true" | "1"));
        Some(match last {
            Some(last) if !complete => Page::More(self.question(&archive, &Place::After(last), own)),
            _ => {
                if let Some(ahead) = self.ahead.remove(&archive) {
                    self.last.insert(archive, Place::After(ahead));
                }
                Page::Done
            }
        })
    }

    /// Notes where we are. `false` when the message was seen before.
    pub(super) fn note(&mut self, place: &ArchivePlace, from_archive: bool) -> bool {
        let fresh = self.seen.first_time(format!("{}\0{}", place.by, place.id));
        let catching_up =
            self.pending.contains(&place.by) || self.running.values().any(|archive| *archive == place.by);
        if let Some(last) = self.last.get_mut(&place.by) {
            if catching_up && !from_archive {
                // Going on from here after a break would skip what is still to be fetched.
                self.ahead.insert(place.by.clone(), place.id.clone());
            } else if fresh || from_archive {
                *last = Place::After(place.id.clone());
            }
        }
        fresh
    }

    /// Whether a message with this id of its author is new.
    pub(super) fn first_time(&mut self, from: &Jid, origin_id: &str) -> bool {
        self.seen.first_time(format!("{from}\0\0{origin_id}"))
    }
}

/// The last few thousand things that were seen.
#[derive(Default)]
struct Seen {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    fn first_time(&mut self, what: String) -> bool {
        if !self.known.insert(what.clone()) {
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
