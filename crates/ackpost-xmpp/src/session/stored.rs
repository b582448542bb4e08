//! Messages that the server stored for us (XEP-0013).
//!
//! A server sends stored messages after our presence and forgets them. ejabberd loses one that it stores at this very moment:
//! it takes the stored messages out in a transaction and adds to them without one. Messages that are stored a moment later
//! would stay there until the next login, because the sender's process had decided that we were offline. So a receiving
//! session asks for the stored messages before it sends its presence: then the server keeps each until we have received it
//! and remove it. It asks again some time after each login.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::addressee::Addressee;
use crate::id;
use crate::jid::Jid;
use crate::ns;
use crate::stream::ServerKind;
use crate::xml::Element;

/// Times after the presence at which the server is asked. An idle server has stored a message at the first one, a busy one
/// at the others.
const ASK_AFTER: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// Maximum time that the presence waits for the messages stored before.
const PRESENCE_WAIT: Duration = Duration::from_secs(5);
/// Maximum number of messages read with one question.
const READ_MAX: usize = 100;
/// Maximum number of questions for messages after one login.
const READS_MAX: u32 = 100;

/// The questions about stored messages of one session.
#[derive(Default)]
pub(super) struct StoredMessages {
    /// Times of the questions still to be asked.
    due: VecDeque<Instant>,
    question: Option<Question>,
    reads: u32,
    /// The presence waits for the stored messages, at the latest until this time.
    presence_until: Option<Instant>,
    /// The server does not know these questions.
    unsupported: bool,
}

/// A question without an answer yet.
struct Question {
    id: String,
    asked: Addressee,
    about: About,
}

enum About {
    /// Which messages are stored.
    List,
    /// The messages of these nodes, and those that have arrived.
    Read {
        /// The author of each, where the list names one.
        nodes: HashMap<String, Option<Jid>>,
        arrived: HashSet<String>,
        more: bool,
    },
    /// Removal of what was read.
    Remove { more: bool },
}

impl StoredMessages {
    /// Plans the questions after a login. Returns a question that has to be asked before the presence is sent; without one,
    /// the presence may be sent at once.
    pub(super) fn logged_in(&mut self, own: &Jid, server: ServerKind, now: Instant) -> Option<Element> {
        self.question = None;
        self.reads = 0;
        self.presence_until = None;
        // Prosody stores and sends in one process, and does not know these questions.
        if self.unsupported || server == ServerKind::Prosody {
            self.due.clear();
            return None;
        }
        self.plan(now);
        // The question before the presence costs a round trip, and only ejabberd is known to need it.
        (server == ServerKind::Ejabberd).then(|| {
            self.presence_until = Some(now + PRESENCE_WAIT);
            self.list(own)
        })
    }

    /// Returns true, once after each login, if the presence has waited for the stored messages and may be sent now.
    pub(super) fn releases_presence(&mut self, now: Instant) -> bool {
        let Some(until) = self.presence_until else {
            return false;
        };
        let is_read = match &self.question {
            None => true,
            Some(question) => matches!(question.about, About::Remove { more: false }),
        };
        if is_read || until <= now {
            self.presence_until = None;
            self.plan(now);
            if !self.unsupported {
                // For what was stored while the presence waited.
                self.due.push_front(now);
            }
            return true;
        }
        false
    }

    fn plan(&mut self, now: Instant) {
        self.due = if self.unsupported {
            VecDeque::new()
        } else {
            ASK_AFTER.iter().map(|&after| now + after).collect()
        };
    }

    /// Returns the time of the next question, or the end of the wait of the presence.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.presence_until {
            Some(until) => Some(until),
            None => self.due.front().copied(),
        }
    }

    /// Returns the question whose time has come. A question that is still open is given up: its messages stay stored.
    pub(super) fn ask(&mut self, own: &Jid, now: Instant) -> Option<Element> {
        if self.presence_until.is_some() {
            return None;
        }
        let late = self.due.iter().take_while(|due| **due <= now).count();
        if late == 0 {
            return None;
        }
        self.due.drain(..late);
        Some(self.list(own))
    }

    /// Notes a stored message that arrives for the open question. Anybody can write the node of a message: it counts if its
    /// author is the one in the list, or else if our server wrote when it was stored.
    pub(super) fn note(&mut self, message: &Element, domain: &str) {
        let Some(Question {
            about: About::Read { nodes, arrived, .. },
            ..
        }) = &mut self.question
        else {
            return;
        };
        let Some(offline) = message.find("offline", ns::OFFLINE) else {
            return;
        };
        for item in offline.find_all("item", ns::OFFLINE) {
            if let Some(node) = item.get("node")
                && let Some(author) = nodes.get(node)
                && is_stored(message, author.as_ref(), domain)
            {
                arrived.insert(node.to_owned());
            }
        }
    }

    /// Returns true if this is the answer to the open question.
    pub(super) fn is_answer(&self, answer: &Element) -> bool {
        self.question
            .as_ref()
            .is_some_and(|open| answer.get("id") == Some(&*open.id) && open.asked.is_answered_by(answer))
    }

    /// Handles the answer to the open question. Returns the next question, if there is one.
    pub(super) fn answered(&mut self, answer: &Element, own: &Jid) -> Option<Element> {
        let about = self.question.take()?.about;
        if answer.get("type") == Some("error") {
            if matches!(about, About::List) {
                self.unsupported = true;
                self.due.clear();
            }
            return None;
        }
        match about {
            About::List => self.read(answer, own),
            About::Read { arrived, .. } if arrived.is_empty() => None,
            About::Read { arrived, more, .. } => {
                let items = arrived.into_iter().map(|node| item("remove", node));
                Some(self.put("set", own, offline(items), About::Remove { more }))
            }
            About::Remove { more: true } => Some(self.list(own)),
            About::Remove { more: false } => None,
        }
    }

    fn list(&mut self, own: &Jid) -> Element {
        let query = Element::new("query", ns::DISCO_ITEMS).attr("node", ns::OFFLINE);
        self.put("get", own, query, About::List)
    }

    /// Asks for the messages in a list.
    fn read(&mut self, list: &Element, own: &Jid) -> Option<Element> {
        let query = list.find("query", ns::DISCO_ITEMS)?;
        let mut listed = query.find_all("item", ns::DISCO_ITEMS).filter_map(|item| {
            let author = item.get("name").and_then(|name| name.parse::<Jid>().ok());
            let author = author.filter(|author| author.local().is_some());
            item.get("node").map(|node| (node.to_owned(), author))
        });
        let nodes: Vec<(String, Option<Jid>)> = listed.by_ref().take(READ_MAX).collect();
        let more = listed.next().is_some();
        if nodes.is_empty() {
            return None;
        }
        self.reads += 1;
        if self.reads > READS_MAX {
            return None;
        }
        tracing::debug!(messages = nodes.len(), "the server has stored messages");
        let items = offline(nodes.iter().map(|(node, _)| item("view", node.clone())));
        let about = About::Read {
            nodes: nodes.into_iter().collect(),
            arrived: HashSet::new(),
            more,
        };
        Some(self.put("get", own, items, about))
    }

    fn put(&mut self, kind: &'static str, own: &Jid, payload: Element, about: About) -> Element {
        let id = format!("stored-{}", id::short());
        self.question = Some(Question {
            id: id.clone(),
            asked: Addressee::new("", own),
            about,
        });
        Element::new("iq", ns::CLIENT)
            .attr("type", kind)
            .attr("id", id)
            .child(payload)
    }
}

/// Returns true if this is a message that our server had stored.
fn is_stored(message: &Element, author: Option<&Jid>, domain: &str) -> bool {
    if let Some(author) = author {
        let from = message.get("from").and_then(|from| from.parse::<Jid>().ok());
        return from.is_some_and(|from| from.same_bare(author));
    }
    message
        .find_all("delay", ns::DELAY)
        .any(|delay| delay.get("from") == Some(domain))
}

fn offline(items: impl Iterator<Item = Element>) -> Element {
    items.fold(Element::new("offline", ns::OFFLINE), Element::child)
}

fn item(action: &'static str, node: String) -> Element {
    Element::new("item", ns::OFFLINE)
        .attr("action", action)
        .attr("node", node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Jid {
        "alice@example.org/x".parse().unwrap()
    }

    fn parse(xml: &str) -> Element {
        crate::xml::parse(xml).unwrap()
    }

    fn result(question: &Element, inside: &str) -> Element {
        let id = question.get("id").unwrap();
        parse(&format!(
            "<iq xmlns='jabber:client' type='result' id='{id}'>{inside}</iq>"
        ))
    }

    fn list(nodes: impl Iterator<Item = usize>) -> String {
        let items: Vec<String> = nodes
            .map(|node| format!("<item jid='alice@example.org' name='bob@example.org/y' node='{node}'/>"))
            .collect();
        let items = items.concat();
        format!(
            "<query xmlns='{}' node='{}'>{items}</query>",
            ns::DISCO_ITEMS,
            ns::OFFLINE
        )
    }

    fn message(node: &str) -> Element {
        parse(&format!(
            "<message xmlns='jabber:client' from='bob@example.org/y'><offline xmlns='{}'><item node='{node}'/></offline></message>",
            ns::OFFLINE
        ))
    }

    /// A session after its login, and the question it asks then.
    fn asked() -> (StoredMessages, Element) {
        let now = Instant::now();
        let mut stored = StoredMessages::default();
        let first = stored.logged_in(&own(), ServerKind::Ejabberd, now).unwrap();
        assert_eq!(stored.answered(&result(&first, &list(0..0)), &own()), None);
        assert!(stored.releases_presence(now) && !stored.releases_presence(now));
        let second = stored.ask(&own(), now).unwrap();
        assert_eq!(stored.answered(&result(&second, &list(0..0)), &own()), None);
        assert!(stored.ask(&own(), now).is_none(), "once");
        let question = stored.ask(&own(), now + ASK_AFTER[0]).unwrap();
        (stored, question)
    }

    #[test]
    fn the_presence_waits_until_the_stored_messages_have_arrived() {
        let now = Instant::now();
        let mut stored = StoredMessages::default();
        let question = stored.logged_in(&own(), ServerKind::Ejabberd, now).unwrap();
        assert!(!stored.releases_presence(now));
        assert_eq!(
            stored.ask(&own(), now + ASK_AFTER[0]),
            None,
            "one question at a time"
        );
        let view = stored.answered(&result(&question, &list(1..3)), &own()).unwrap();
        assert!(!stored.releases_presence(now));
        stored.note(&message("1"), "example.org");
        stored.note(&message("2"), "example.org");
        assert!(stored.answered(&result(&view, ""), &own()).is_some());
        assert!(stored.releases_presence(now) && !stored.releases_presence(now));
        assert_eq!(stored.due(), Some(now), "it asks again at once");
    }

    #[test]
    fn the_presence_does_not_wait_for_ever() {
        let now = Instant::now();
        let mut stored = StoredMessages::default();
        stored.logged_in(&own(), ServerKind::Ejabberd, now).unwrap();
        assert_eq!(stored.due(), Some(now + PRESENCE_WAIT));
        assert!(stored.releases_presence(now + PRESENCE_WAIT));
    }

    #[test]
    fn other_servers_are_asked_after_the_presence() {
        let now = Instant::now();
        let mut stored = StoredMessages::default();
        assert_eq!(stored.logged_in(&own(), ServerKind::Unknown, now), None);
        assert!(!stored.releases_presence(now));
        assert_eq!(stored.due(), Some(now + ASK_AFTER[0]));
    }

    #[test]
    fn prosody_is_not_asked() {
        let mut stored = StoredMessages::default();
        assert_eq!(
            stored.logged_in(&own(), ServerKind::Prosody, Instant::now()),
            None
        );
        assert!(stored.due().is_none() && !stored.releases_presence(Instant::now()));
    }

    #[test]
    fn only_messages_that_arrived_are_removed() {
        let (mut stored, question) = asked();
        let view = stored.answered(&result(&question, &list(1..4)), &own()).unwrap();
        assert_eq!(
            view.to_xml().matches("action='view'").count(),
            3,
            "{}",
            view.to_xml()
        );
        for node in ["2", "3", "9"] {
            stored.note(&message(node), "example.org");
        }
        let removal = stored.answered(&result(&view, ""), &own()).unwrap().to_xml();
        assert!(
            removal.contains("type='set'") && removal.matches("action='remove'").count() == 2,
            "{removal}"
        );
        assert!(
            removal.contains("node='2'") && removal.contains("node='3'"),
            "{removal}"
        );
    }

    /// Anybody can write the node of a stored message into a message of their own.
    #[test]
    fn a_stranger_removes_no_stored_message() {
        let from = |from: &str, delay: &str| {
            let offline = format!("<offline xmlns='{}'><item node='1'/></offline>", ns::OFFLINE);
            parse(&format!(
                "<message xmlns='jabber:client' from='{from}'>{offline}{delay}</message>"
            ))
        };
        let delayed = |by: &str| {
            format!(
                "<delay xmlns='{}' from='{by}' stamp='2026-01-01T00:00:00Z'/>",
                ns::DELAY
            )
        };
        let unnamed = format!(
            "<query xmlns='{}' node='{}'><item jid='alice@example.org' node='1'/></query>",
            ns::DISCO_ITEMS,
            ns::OFFLINE
        );
        for (list, message, counts) in [
            (
                list(1..2),
                from("mallory@example.org/z", &delayed("example.org")),
                false,
            ),
            (list(1..2), from("bob@example.org/other", ""), true),
            (
                unnamed.clone(),
                from("mallory@evil.example/z", &delayed("evil.example")),
                false,
            ),
            (unnamed.clone(), from("mallory@evil.example/z", ""), false),
            (unnamed, from("bob@example.org/y", &delayed("example.org")), true),
        ] {
            let (mut stored, question) = asked();
            let view = stored.answered(&result(&question, &list), &own()).unwrap();
            stored.note(&message, "example.org");
            let removal = stored.answered(&result(&view, ""), &own());
            assert_eq!(removal.is_some(), counts, "{}", message.to_xml());
        }
    }

    #[test]
    fn a_long_list_is_read_in_pages() {
        let (mut stored, mut question) = asked();
        for _ in 0..3 {
            let view = stored
                .answered(&result(&question, &list(0..250)), &own())
                .unwrap();
            assert_eq!(view.to_xml().matches("<item").count(), READ_MAX);
            stored.note(&message("0"), "example.org");
            let removal = stored.answered(&result(&view, ""), &own()).unwrap();
            question = stored.answered(&result(&removal, ""), &own()).unwrap();
        }
        assert_eq!(stored.answered(&result(&question, &list(0..0)), &own()), None);
    }

    #[test]
    fn a_server_that_never_removes_is_not_asked_for_ever() {
        let (mut stored, mut question) = asked();
        for _ in 0..READS_MAX {
            let view = stored
                .answered(&result(&question, &list(0..250)), &own())
                .unwrap();
            stored.note(&message("0"), "example.org");
            let removal = stored.answered(&result(&view, ""), &own()).unwrap();
            question = stored.answered(&result(&removal, ""), &own()).unwrap();
        }
        assert_eq!(stored.answered(&result(&question, &list(0..250)), &own()), None);
    }

    #[test]
    fn a_server_that_does_not_know_the_question_is_asked_once() {
        let (mut stored, question) = asked();
        let id = question.get("id").unwrap();
        let error = parse(&format!("<iq xmlns='jabber:client' type='error' id='{id}'/>"));
        assert_eq!(stored.answered(&error, &own()), None);
        assert_eq!(stored.due(), None);
        assert_eq!(
            stored.logged_in(&own(), ServerKind::Ejabberd, Instant::now()),
            None
        );
        assert_eq!(stored.due(), None);
    }

    #[test]
    fn only_our_server_may_answer() {
        let (stored, question) = asked();
        let id = question.get("id").unwrap();
        let forged = parse(&format!(
            "<iq xmlns='jabber:client' type='result' from='mallory@example.org' id='{id}'>{}</iq>",
            list(0..3)
        ));
        assert!(!stored.is_answer(&forged));
    }
}
