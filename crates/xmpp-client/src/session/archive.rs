//! Catching up from archives (XEP-0313).

use std::collections::{HashMap, HashSet, VecDeque};

use crate::Jid;
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
    last: HashMap<Jid, Option<String>>,
    /// Queries under way, by query id: whose archive.
    running: HashMap<String, Jid>,
    /// The same by the id of the iq.
    by_iq: HashMap<String, String>,
    seen: Seen,
}

/// What a query came to.
pub(super) enum Page {
    /// The next question, already built.
    More(Element),
    Done,
    /// The archive no longer knows where we were; the question starts at its beginning.
    Gap(Jid, Element),
    /// No archive.
    Failed,
}

impl Archives {
    pub(super) fn follow(&mut self, archive: Jid, after: Option<String>) {
        self.last.insert(archive.to_bare(), after);
    }

    /// The questions that begin to catch up with every archive that has a place to begin at.
    pub(super) fn catch_up(&mut self, own: &Jid) -> Vec<Element> {
        self.running.clear();
        self.by_iq.clear();
        let archives: Vec<(Jid, String)> = self
            .last
            .iter()
            .filter_map(|(jid, last)| Some((jid.clone(), last.clone()?)))
            .collect();
        archives
            .into_iter()
            .map(|(archive, after)| self.question(&archive, Some(&after), own))
            .collect()
    }

    fn question(&mut self, archive: &Jid, after: Option<&str>, own: &Jid) -> Element {
        let query_id = id::short();
        let iq_id = format!("mam-{}", id::short());
        let mut set = Element::new("set", ns::RSM).child(Element::new("max", ns::RSM).text(PAGE.to_string()));
        if let Some(after) = after {
            set.push(Element::new("after", ns::RSM).text(after));
        }
        let to = (*archive != own.to_bare()).then(|| archive.to_string());
        self.running.insert(query_id.clone(), archive.clone());
        self.by_iq.insert(iq_id.clone(), query_id.clone());
        Element::new("iq", ns::CLIENT)
            .attr("type", "set")
            .attr("id", iq_id)
            .attr_opt("to", to)
            .child(
                Element::new("query", ns::MAM)
                    .attr("queryid", query_id)
                    .child(set),
            )
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
        let query_id = self.by_iq.remove(stanza.get("id")?)?;
        let archive = self.running.remove(&query_id)?;
        if stanza.get("type") == Some("error") {
            let problem = crate::login::StanzaError::of(stanza);
            let had_place = self.last.get(&archive).is_some_and(Option::is_some);
            if problem.condition == "item-not-found" && had_place {
                self.last.insert(archive.clone(), None);
                let question = self.question(&archive, None, own);
                return Some(Page::Gap(archive, question));
            }
            return Some(Page::Failed);
        }
        let fin = stanza.find("fin", ns::MAM)?;
        let last = fin
            .find("set", ns::RSM)
            .and_then(|set| set.content_of("last", ns::RSM));
        let complete = matches!(fin.get("complete"), Some("true" | "1"));
        Some(match last {
            Some(last) if !complete => Page::More(self.question(&archive, Some(&last), own)),
            _ => Page::Done,
        })
    }

    /// Notes where we are. `false` when the message was seen before.
    pub(super) fn note(&mut self, place: &ArchivePlace) -> bool {
        if !self.seen.first_time(format!("{}\0{}", place.by, place.id)) {
            return false;
        }
        if let Some(last) = self.last.get_mut(&place.by) {
            *last = Some(place.id.clone());
        }
        true
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
